"""The blocking face of `zkcore.recipes.multilock`."""

from __future__ import annotations

from collections.abc import Iterable

from zkcore.recipes.contender import Contender
from zkcore.recipes.multilock import MultiLock as AsyncMultiLock
from zkcore.sync.client import Client
from zkcore.sync.holding import Holdable
from zkcore.sync.port import mirrors, run

__all__ = ["MultiLock"]


@mirrors(AsyncMultiLock)
class MultiLock(Holdable):
    """`zkcore.MultiLock` for blocking code. Several threads may use one.

    ::

        with zkcore.MultiLock(zk, ["/accounts/ada", "/accounts/bob"]) as lease:
            transfer(token=lease.fencing_token)
    """

    _inner: AsyncMultiLock

    def __init__(self, client: Client, paths: Iterable[str], *, identifier: str | None = None) -> None:
        self._inner = AsyncMultiLock(client.unblocked, paths, identifier=identifier)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that it holds together."""
        return self._inner.paths

    def holders(self) -> dict[str, Contender | None]:
        return run(self._inner.holders())
