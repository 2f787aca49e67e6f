"""The blocking face of `zkcore.recipes.persistent_ephemeral`."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from zkcore.recipes.changes import Changes as AsyncChanges
from zkcore.recipes.lease import Lease as AsyncLease
from zkcore.recipes.persistent_ephemeral import PersistentEphemeral as AsyncPersistentEphemeral
from zkcore.sync.changes import Changes
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.node import EmbeddedClient
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["PersistentEphemeral"]


@mirrors(AsyncPersistentEphemeral)
class PersistentEphemeral:
    """`zkcore.PersistentEphemeral` for blocking code. The cluster's thread looks after it.

    ::

        with zkcore.PersistentEphemeral(zk, "/services/web-1", data=b"port=80", reconnect=cluster.client) as there:
            for lease in there.changes():                    # None while it is not there
                ...
    """

    def __init__(
        self, client: Client, path: str, *, data: bytes = b"", reconnect: Callable[[], EmbeddedClient]
    ) -> None:
        # What reconnects later does so on the cluster's thread, where nothing may block.
        unblocked = (lambda: reconnect()._inner) if callable(reconnect) else reconnect
        self._inner = AsyncPersistentEphemeral(client.unblocked, path, data=data, reconnect=unblocked)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """Where the znode is."""
        return self._inner.path

    @property
    def lease(self) -> Lease | None:
        """How long the znode is there; None while it is not, as far as can be known."""
        inner = self._inner.lease
        return None if inner is None else Lease(inner)

    def start(self, *, timeout: float | None = None) -> Lease:
        return Lease(run(self._inner.start(timeout=seconds(timeout))))

    def close(self) -> None:
        run(self._inner.close())

    def changes(self) -> Changes[Lease | None]:
        return Changes(_Leases(self._inner.changes()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Leases:
    """Leases as blocking code has them."""

    def __init__(self, inner: AsyncChanges[AsyncLease | None]) -> None:
        self._inner = inner
        self.aclose = inner.aclose

    async def __anext__(self) -> Lease | None:
        lease = await self._inner.__anext__()
        return None if lease is None else Lease(lease)
