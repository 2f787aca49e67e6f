"""The membership: who is there. Every member is an ephemeral znode, which goes with its session.

This module must not know what the members do.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from attrs import frozen

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import BadArgumentsError, MultiError, NodeExistsError, NoNodeError, NotMemberError, SessionError
from zkcore.recipes.changes import Changes
from zkcore.recipes.contender import made_at, remove_made
from zkcore.recipes.entered import Entered
from zkcore.recipes.guarded import Guarded
from zkcore.recipes.lease import Lease
from zkcore.recipes.waiting import FOR_EVER, Watch, ask, nonce, once
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.requests import CreateWithParents, Exists, GetChildren, GetData, ListChildren, Multi, Request, SetData
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Member", "Membership"]


@frozen
class Member:
    """One who is there, as everybody sees it."""

    name: str
    data: bytes
    fencing_token: Zxid
    """The zxid at which it joined: who leaves and joins again has a higher one."""


_ENTERED: Entered[Guarded] = Entered("zkcore_memberships_entered")


class Membership:
    """A group at `path`, a znode that is created where it is missing, and this process as one of its members, if it
    joins.

    ::

        group = zkcore.Membership(zk, "/workers", name="host-7", data=b"port=8080")
        async with group:                                   # joins, and leaves at the end
            async for members in group.changes():
                rebalance(members)

    Making one does no I/O. `name` is the member's, of which there is one at a time; without one it gets a name of
    chance. `data` is what the others see of it. Who only looks needs neither, and does not join.

    To be a member is to hold a lease: it is lost when the session is, and the body of the `with` is cancelled then, as
    that of a lock. A member that is gone without leaving is seen until its session expires.
    """

    def __init__(self, client: Client, path: str, *, name: str | None = None, data: bytes = b"") -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("a group needs a path of its own, not the root")
        if name is not None:
            if "/" in name:
                raise BadArgumentsError(f"the name {name!r} of a member has a '/' in it; choose one without")
            validate(f"{path}/{name}")
        self.path = path
        self._client = client
        self._name = name
        self._data = data
        self._lease: Lease | None = None

    def __repr__(self) -> str:
        return f"<Membership {self.path} {'member' if self.is_member else 'no member'}>"

    @property
    def is_member(self) -> bool:
        """Whether this object is a member, as far as it can know. Local."""
        return self.lease is not None

    @property
    def lease(self) -> Lease | None:
        """How long this object is a member: `lost` is set when it is none any more. None where it is none."""
        lease = self._lease
        return None if lease is None or lease.released or lease.is_lost() else lease

    async def join(self) -> Lease:
        """Become a member. Raises NodeExistsError where there is one of that name: another, or this object, or this
        process as it was before, whose session has not expired yet. Cancelling it leaves no member behind."""
        port = self._client.port
        name = self._name or nonce(port)
        path = f"{self.path}/{name}"
        create = CreateWithParents(path, self._data, acl=DEFAULT_ACL, mode=CreateMode.EPHEMERAL)
        request = once(port, create)
        try:
            created: Any = await ask(port, request, FOR_EVER)
        except NodeExistsError:
            raise NodeExistsError(
                f"there is a member {name} of {self.path} already; wait until it has left or its session has expired, "
                "or take another name",
                path=path,
            ) from None
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes the member
        except BaseException:
            await port.tidy_up(lambda port: _undo(port, request, path))
            raise
        self._lease = Lease(port, path, created.stat.czxid, self._leave)
        return self._lease

    async def leave(self) -> None:
        """Be a member no more. Raises NotMemberError where this object is none, or has ceased to be one with its
        session. Cancelling it does not stop it."""
        lease = self._lease
        if lease is None or lease.released:
            raise NotMemberError(f"nobody joined {self.path} by this object; join first, and leave once")
        lost = lease.is_lost()
        await lease.release()
        if lost:
            raise NotMemberError(f"the membership of {self.path} was lost with the session, before it was left")

    async def update(self, data: bytes) -> None:
        """Replace what the others see of this member. Raises NotMemberError."""
        lease = self.lease
        if lease is None:
            raise NotMemberError(f"only a member of {self.path} has data to update; join first")
        own = made_at(lease.path, lease.fencing_token)
        try:  # nobody else writes it, so that twice is as good as once
            await ask(self._client.port, Multi([own, SetData(lease.path, data)]), FOR_EVER)
        except MultiError:
            raise NotMemberError(f"{lease.path} is gone: the session ended, or somebody deleted it") from None
        self._data = data

    async def members(self) -> frozenset[Member]:
        """Who is there: as of the replica that serves this client, and a moment ago."""
        port = self._client.port
        found: set[Member] = set()
        after: str | None = ""
        while after is not None:
            try:
                page = await ask(port, ListChildren(self.path, after=after, with_stat=True, with_data=True), FOR_EVER)
            except NoNodeError:
                break
            for name, stat, data in page.children:
                if stat is not None and stat.ephemeral_owner:
                    found.add(Member(name, data or b"", stat.czxid))
            after = page.after
        return frozenset(found)

    def changes(self) -> Changes[frozenset[Member]]:
        """An iterator over who is there: first who is now, then all of them again whenever somebody came, went, or
        has other data. Of members that came and went quickly nothing may be seen."""
        return Changes(self._client.port, self._look)

    async def __aenter__(self) -> Lease:
        lease = await self.join()
        _ENTERED.push(self, Guarded(self._client.port, lease))
        return lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        body = _ENTERED.pop(self)
        if body is not None:
            await body.end(kind, error, trace)
        elif self._lease is not None:  # entered in another context, as fixtures of tests are
            await self._lease.release()

    # --- within

    async def _leave(self, lease: Lease) -> None:
        lease.end()
        await self._client.port.shield(lambda port: remove_made(port, lease.path, lease.fencing_token))

    async def _look(self, watch: Watch) -> frozenset[Member]:
        found: set[Member] = set()
        while True:
            try:
                names = await watch.ask(GetChildren(self.path, watch=True), FOR_EVER)
                break
            except NoNodeError:
                if await watch.ask(Exists(self.path, watch=True), FOR_EVER) is None:
                    return frozenset()
        for name in names:
            try:
                data, stat = await watch.ask(GetData(f"{self.path}/{name}", watch=True), FOR_EVER)
            except NoNodeError:
                continue  # the watch on the children tells of it
            if stat.ephemeral_owner:
                found.add(Member(name, data, stat.czxid))
        return frozenset(found)


async def _undo(port: Port, request: Request[Any], path: str) -> None:
    """Take back an interrupted `join`. Asked again, the request says whether the member is this one's doing."""
    try:
        created = await ask(port, request, FOR_EVER)
        await remove_made(port, path, created.stat.czxid)
    except (NodeExistsError, SessionError):
        pass  # it is somebody else's; or the end of the session has removed it
