"""The blocking face of `zkcore.recipes.latch`."""

from __future__ import annotations

from zkcore.recipes.latch import CountDownLatch as AsyncCountDownLatch
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["CountDownLatch"]


@mirrors(AsyncCountDownLatch)
class CountDownLatch:
    """`zkcore.CountDownLatch` for blocking code. Several threads may use one.

    ::

        latch = zkcore.CountDownLatch(zk, "/ready", count=3)
        latch.count_down()                # three times, by whomever
        latch.wait()                      # until then
    """

    def __init__(self, client: Client, path: str, *, count: int) -> None:
        self._inner = AsyncCountDownLatch(client.unblocked, path, count=count)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode that is counted down."""
        return self._inner.path

    def count_down(self) -> None:
        run(self._inner.count_down())

    def count(self) -> int:
        return run(self._inner.count())

    def wait(self, timeout: float | None = None) -> bool:
        return run(self._inner.wait(seconds(timeout)))
