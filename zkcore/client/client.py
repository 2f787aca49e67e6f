"""The client: ZooKeeper's verbs, as kazoo names them, over a Port.

This module must not know what kind of Port it has, nor any clock or event loop.
"""

from __future__ import annotations

from collections.abc import Iterable

from zkcore.client.building import creation, deletion, replacement
from zkcore.client.port import LastingWatcher, Port, SessionState, Watcher
from zkcore.client.transaction import Transaction
from zkcore.errors import NodeExistsError, NoNodeError
from zkcore.jute.records import ACL, Stat
from zkcore.replica.levels import Read, ReadLevel, Sync
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import parent_of, validate
from zkcore.tree.requests import (
    Create,
    Created,
    Exists,
    GetACL,
    GetChildren,
    GetData,
    NodeACL,
    NodeData,
    Request,
    SetACL,
)
from zkcore.tree.watch_requests import AddWatch, WatchMode
from zkcore.zxid import Zxid

__all__ = ["Client"]

class Client:
    """The znodes of an ensemble, through one session.

    Every verb may raise, beside what it names itself: OutcomeUnknownError where the session was suspended while the
    request was under way (a write may then have been applied), SessionExpiredError or SessionClosedError where there
    is no session any more, ThrottledError where more is under way than the ensemble takes (nothing happened; wait for
    some answers). While the session is suspended requests wait; use your own timeout (`asyncio.timeout`) to wait less.

    How fresh a read must be is said in `read`; see `zkcore.Read`.

    A `watch` is called once when what was read changes, with the WatchEvent, or with None where the session ended
    first. Watches outlive the loss of a replica: the next one tells what happened meanwhile.
    """

    def __init__(self, port: Port) -> None:
        self.port = port

    def __repr__(self) -> str:
        session = self.port.session
        return f"<Client session={session.id:#x} {session.state}>"

    @property
    def session_id(self) -> int:
        """The id of the session: the `ephemeral_owner` of the ephemeral znodes this client creates."""
        return self.port.session.id

    @property
    def state(self) -> SessionState:
        """How the session is; see SessionState."""
        return self.port.session.state

    @property
    def session_timeout(self) -> float:
        """After so many seconds of silence the session expires: as asked for, or what the ensemble's rules allow."""
        return self.port.session.timeout

    @property
    def last_zxid(self) -> Zxid:
        """The newest transaction whose effect this client may have seen: tell it to another, who can then read with
        `Read.at_least` what this one has read or written."""
        return self.port.session.last_zxid

    async def create(
        self,
        path: str,
        value: bytes = b"",
        *,
        acl: Iterable[ACL] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl: float | None = None,
        makepath: bool = False,
    ) -> str:
        """Create a znode and give its path, to which `sequence` adds ten digits that count up. An `ephemeral` one is
        deleted when the session ends, a `container` some time after the last of its children has gone, and one with a
        `ttl` some time after it has gone so many seconds without a change, and has no children.

        `acl` says who may do what with it; None is the default of the ensemble (`Rules.access`). `makepath` creates
        missing parents, with the same ACL.

        Raises NodeExistsError, NoNodeError (the parent is missing), NoChildrenForEphemeralsError, NoAuthError,
        InvalidACLError, QuotaExceededError, BadArgumentsError.
        """
        request: Request[Created] = creation(
            path, value, acl=acl, ephemeral=ephemeral, sequence=sequence, container=container, ttl=ttl
        )
        if makepath and (parent := parent_of(path)) != "/":
            await self.ensure_path(parent, acl=acl)
        return (await self.port.request(request)).path

    async def get(self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION) -> NodeData:
        """The data of a znode and its Stat. Raises NoNodeError, BadArgumentsError."""
        try:
            return await self.port.request(GetData(path, watch is not None), watch=watch, read=read)
        except NoNodeError:
            validate(path)  # what is there has a path: only what is not need be looked at
            raise

    async def set(self, path: str, value: bytes, *, version: int = -1) -> Stat:
        """Replace the data of a znode; the new Stat. With a `version` only if it is still the one the znode has.

        Raises NoNodeError, BadVersionError, BadArgumentsError.
        """
        return await self.port.request(replacement(path, value, version=version))

    async def delete(self, path: str, *, version: int = -1) -> None:
        """Delete a znode. With a `version` only if it is still the one the znode has.

        Raises NoNodeError, BadVersionError, NotEmptyError, BadArgumentsError.
        """
        await self.port.request(deletion(path, version=version))

    async def exists(
        self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION
    ) -> Stat | None:
        """The Stat of a znode, or None where there is none; it may be watched all the same."""
        validate(path)
        return await self.port.request(Exists(path, watch is not None), watch=watch, read=read)

    async def get_children(
        self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION
    ) -> list[str]:
        """The names of the children, in order. Raises NoNodeError, BadArgumentsError."""
        try:
            return list(await self.port.request(GetChildren(path, watch is not None), watch=watch, read=read))
        except NoNodeError:
            validate(path)
            raise

    async def get_acls(self, path: str, *, read: ReadLevel = Read.SESSION) -> NodeACL:
        """The ACL of a znode and its Stat. What proves an id is shown as `x` to those who may not change the ACL.
        Raises NoNodeError, NoAuthError, BadArgumentsError."""
        validate(path)
        return await self.port.request(GetACL(path), read=read)

    async def set_acls(self, path: str, acls: Iterable[ACL], *, version: int = -1) -> Stat:
        """Replace the ACL of a znode; the new Stat. With a `version` only if it is still its `aversion`.

        Raises NoNodeError, NoAuthError, InvalidACLError, BadVersionError, BadArgumentsError."""
        validate(path)
        return await self.port.request(SetACL(path, tuple(acls), version=version))

    def transaction(self) -> Transaction:
        """Several changes that all happen, or none: `async with client.transaction() as t: t.create(...)`. See
        Transaction."""
        return Transaction(self.port)

    async def add_watch(self, path: str, watch: LastingWatcher, *, recursive: bool = False) -> None:
        """Have `watch` called with every WatchEvent of a znode from now on, whether or not there is one, until
        `remove_watch`: when it comes, changes or goes, and when its children come and go. With `recursive` instead with
        the coming, change and going of the znode and of everything below it.

        What happens while the session is suspended is told afterwards; where that is too much, or too long ago, `watch`
        is called with a Resync: read again what it is about. When the session ends it is called with None."""
        mode = WatchMode.PERSISTENT_RECURSIVE if recursive else WatchMode.PERSISTENT
        await self.port.request(AddWatch(path, mode), watch=watch)

    async def remove_watch(self, path: str, watch: Watcher | LastingWatcher) -> None:
        """Call `watch` no more for what happens at `path`; without effect where it does not watch that."""
        self.port.unwatch(path, watch)

    async def sync(self) -> Zxid:
        """Wait until this client's replica has applied everything that was proposed before; up to which zxid it has.
        Every read from then on, whatever its level, shows that, and every write of anybody that was answered before.

        Unlike Apache ZooKeeper's, it rests on a quorum: a leader that was deposed without knowing it cannot answer."""
        return await self.port.request(Sync(), read=Read.LINEARIZABLE)

    async def add_auth(self, scheme: str, credentials: str | bytes) -> None:
        """Have this session known by what `credentials` prove, from the next request on: for `digest` and `scrypt`
        that is `user:password`. Several may be added. Raises AuthFailedError, BadArgumentsError for too many."""
        await self.port.authenticate(scheme, credentials.encode() if isinstance(credentials, str) else credentials)

    async def ensure_path(self, path: str, *, acl: Iterable[ACL] | None = None) -> None:
        """Create `path` and whatever is missing above it, with the ACL `acl`, by default the ensemble's."""
        validate(path)
        if path == "/" or await self.exists(path) is not None:
            return
        entries = DEFAULT_ACL if acl is None else tuple(acl)
        await self.ensure_path(parent_of(path), acl=entries)
        try:
            await self.port.request(Create(path, b"", acl=entries))
        except NodeExistsError:
            pass  # somebody else was faster
