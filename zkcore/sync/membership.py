"""The blocking face of `zkcore.recipes.membership`."""

from __future__ import annotations

from zkcore.recipes.membership import Member
from zkcore.recipes.membership import Membership as AsyncMembership
from zkcore.sync.changes import Changes
from zkcore.sync.client import Client
from zkcore.sync.holding import LeaseContext
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run

__all__ = ["Membership"]


@mirrors(AsyncMembership)
class Membership(LeaseContext):
    """`zkcore.Membership` for blocking code.

    ::

        group = zkcore.Membership(zk, "/workers", name="host-7", data=b"port=8080")
        with group:                                   # joins, and leaves at the end
            for members in group.changes():
                rebalance(members)
    """

    _inner: AsyncMembership

    def __init__(self, client: Client, path: str, *, name: str | None = None, data: bytes = b"") -> None:
        self._inner = AsyncMembership(client.unblocked, path, name=name, data=data)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode whose children are the members."""
        return self._inner.path

    @property
    def is_member(self) -> bool:
        """Whether this object is a member, as far as it can know. Local."""
        return self._inner.is_member

    @property
    def lease(self) -> Lease | None:
        """How long this object is a member; None where it is none."""
        inner = self._inner.lease
        return None if inner is None else Lease(inner)

    def join(self) -> Lease:
        return Lease(run(self._inner.join()))

    def leave(self) -> None:
        run(self._inner.leave())

    def update(self, data: bytes) -> None:
        run(self._inner.update(data))

    def members(self) -> frozenset[Member]:
        return run(self._inner.members())

    def changes(self) -> Changes[frozenset[Member]]:
        return Changes(self._inner.changes())
