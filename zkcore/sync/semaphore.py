"""The blocking face of `zkcore.recipes.semaphore`."""

from __future__ import annotations

from zkcore.recipes.contender import Contender
from zkcore.recipes.semaphore import BoundedSemaphore as AsyncBoundedSemaphore
from zkcore.recipes.semaphore import Semaphore as AsyncSemaphore
from zkcore.sync.client import Client
from zkcore.sync.holding import Holdable
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run

__all__ = ["BoundedSemaphore", "Semaphore"]


@mirrors(AsyncSemaphore)
class Semaphore(Holdable):
    """`zkcore.Semaphore` for blocking code, with the signatures of `threading.Semaphore`. Several threads may use one.

    ::

        semaphore = zkcore.Semaphore(zk, "/limits/api", value=3)
        with semaphore:                       # no more than three at a time
            call()
    """

    _inner: AsyncSemaphore

    def __init__(self, client: Client, path: str, *, value: int = 1, identifier: str | None = None) -> None:
        self._inner = AsyncSemaphore(client.unblocked, path, value=value, identifier=identifier)

    @property
    def path(self) -> str:
        """The znode below which the permits are."""
        return self._inner.path

    @property
    def value(self) -> int:
        """How many permits it was made with."""
        return self._inner.value

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases of the permits that this object holds and has not lost, the oldest first."""
        return tuple(map(Lease, self._inner.leases))

    def release(self, n: int = 1) -> None:
        run(self._inner.release(n))

    def holders(self) -> tuple[Contender, ...]:
        return run(self._inner.holders())

    def available(self) -> int:
        return run(self._inner.available())


@mirrors(AsyncBoundedSemaphore)
class BoundedSemaphore(Semaphore):
    """`zkcore.BoundedSemaphore` for blocking code, with the signatures of `threading.BoundedSemaphore`."""

    def __init__(self, client: Client, path: str, *, value: int = 1, identifier: str | None = None) -> None:
        self._inner = AsyncBoundedSemaphore(client.unblocked, path, value=value, identifier=identifier)

    def release(self, n: int = 1) -> None:
        run(self._inner.release(n))
