"""The blocking face of `zkcore.recipes.counter`."""

from __future__ import annotations

from zkcore.recipes.counter import Counter as AsyncCounter
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run

__all__ = ["Counter"]


@mirrors(AsyncCounter)
class Counter:
    """`zkcore.Counter` for blocking code. Several threads may use one.

    ::

        visits = zkcore.Counter(zk, "/visits")
        print(visits.add(5))
    """

    def __init__(self, client: Client, path: str, *, start: int = 0) -> None:
        self._inner = AsyncCounter(client.unblocked, path, start=start)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode that holds the number."""
        return self._inner.path

    def get(self) -> int:
        return run(self._inner.get())

    def add(self, amount: int = 1) -> int:
        return run(self._inner.add(amount))

    def next(self) -> int:
        return run(self._inner.next())
