"""The blocking face of `zkcore.recipes.lock`."""

from __future__ import annotations

from zkcore.recipes.contender import Contender
from zkcore.recipes.lock import Lock as AsyncLock
from zkcore.sync.client import Client
from zkcore.sync.holding import Holdable
from zkcore.sync.port import mirrors, run

__all__ = ["Lock"]


@mirrors(AsyncLock)
class Lock(Holdable):
    """`zkcore.Lock` for blocking code, with the signatures of `threading.Lock`. Several threads may use one Lock.

    ::

        with zkcore.Lock(zk, "/locks/report") as lease:
            resource.write(data, token=lease.fencing_token)
    """

    _inner: AsyncLock

    def __init__(self, client: Client, path: str, *, identifier: str | None = None) -> None:
        self._inner = AsyncLock(client.unblocked, path, identifier=identifier)

    @property
    def path(self) -> str:
        """The znode whose children wait for the lock."""
        return self._inner.path

    def locked(self) -> bool:
        return run(self._inner.locked())

    def holder(self) -> Contender | None:
        return run(self._inner.holder())

    def contenders(self) -> tuple[Contender, ...]:
        return run(self._inner.contenders())
