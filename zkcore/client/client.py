"""The client: ZooKeeper's verbs, as kazoo names them, over a Port.

This module must not know what kind of Port it has, nor any clock or event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal, ParamSpec, TypeVar, overload

from zkcore.client.atomically import MOST_ATTEMPTS, Atomic, Committed, atomic
from zkcore.client.building import creation, deletion, reconfiguration, replacement, with_parents
from zkcore.client.chroot import ChrootPort, without_chroot
from zkcore.client.events import MOST_EVENTS, Events
from zkcore.client.port import LastingWatcher, Port, SessionState, StateListener, Watcher
from zkcore.client.reads import Reads
from zkcore.client.retry import Retry, RetryPort
from zkcore.client.states import States
from zkcore.client.transaction import Transaction
from zkcore.client.trees import delete_tree
from zkcore.errors import BadArgumentsError, NodeExistsError, NoNodeError, NoWatcherError
from zkcore.jute.records import ACL, Id, Stat
from zkcore.replica.levels import Read, ReadLevel, Sync
from zkcore.replica.members import Members
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import CONFIG, parent_of, validate
from zkcore.tree.requests import (
    ChildKind,
    ChildPage,
    Children,
    Create,
    CreateContainer,
    Created,
    CreateIfAbsent,
    CreateTTL,
    CreateWithParents,
    Exists,
    GetACL,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    ListChildren,
    NodeACL,
    NodeData,
    Request,
    SetACL,
    WhoAmI,
)
from zkcore.tree.watch_requests import AddWatch, CheckWatches, WatcherType, WatchMode
from zkcore.zxid import Zxid

__all__ = ["Client"]

P = ParamSpec("P")
R = TypeVar("R")


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

    def chroot(self, path: str) -> Client:
        """A client of this same session for which `path` is the root: every path that it takes, gives, is told by a
        watch or named by an error is one below that. What is made of it, a recipe or another such client, sees no more.

        The znode `path` need not exist; `ensure_path("/")` creates it. Raises BadArgumentsError for what is no path."""
        return Client(ChrootPort(self.port, path))

    def with_retry(self, retry: Retry | None = None) -> Client:
        """A client of this same session that asks again where that can help and does no harm: see Retry. By default
        it does for 30 seconds, and every write is carried out once."""
        return Client(RetryPort(self.port, Retry() if retry is None else retry))

    @property
    def session_id(self) -> int:
        """The id of the session: the `ephemeral_owner` of the ephemeral znodes this client creates."""
        return self.port.session.id

    @property
    def state(self) -> SessionState:
        """How the session is; see SessionState."""
        return self.port.session.state

    def add_listener(self, listener: StateListener) -> None:
        """Have `listener` called with every new SessionState, in order, until `remove_listener`. It must return at
        once; what it raises is logged."""
        self.port.listen(listener)

    def remove_listener(self, listener: StateListener) -> None:
        """Call `listener` no more; without effect where it is not called."""
        self.port.unlisten(listener)

    def states(self) -> States:
        """An iterator over the states of the session: first the present one, then the newest whenever it has changed.
        It hides what came and went meanwhile, but never LOST. See States."""
        return States(self.port)

    @property
    def session_timeout(self) -> float:
        """After so many seconds of silence the session expires: as asked for, or what the ensemble's rules allow."""
        return self.port.session.timeout

    @property
    def last_zxid(self) -> Zxid:
        """The newest transaction whose effect this client may have seen: tell it to another, who can then read with
        `Read.at_least` what this one has read or written."""
        return self.port.session.last_zxid

    @overload
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
        exist_ok: bool = False,
        include_data: Literal[False] = False,
    ) -> str: ...
    @overload
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
        exist_ok: bool = False,
        include_data: Literal[True],
    ) -> Created: ...
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
        exist_ok: bool = False,
        include_data: bool = False,
    ) -> str | Created:
        """Create a znode and give its path, to which `sequence` adds ten digits that count up; with `include_data` the
        path and the Stat. An `ephemeral` one is deleted when the session ends, a `container` some time after the last
        of its children has gone, and one with a `ttl` some time after it has gone so many seconds without a change, and
        has no children.

        `acl` says who may do what with it; None is the default of the ensemble (`Rules.access`). `makepath` creates
        missing parents in the same transaction, with the same ACL; for a znode with a `ttl` it takes another one
        before. With `exist_ok` a znode that is there already is left as it is.

        Raises NodeExistsError, NoNodeError (the parent is missing), NoChildrenForEphemeralsError, NoAuthError,
        InvalidACLError, QuotaExceededError, BadArgumentsError.
        """
        request = creation(
            path, value, acl=acl, ephemeral=ephemeral, sequence=sequence, container=container, ttl=ttl,
            exist_ok=exist_ok,
        )  # fmt: skip
        created = await self._create_with_parents(request, exist_ok=exist_ok) if makepath else None
        if created is None:
            answer: Request[Created] = request
            created = await self.port.request(answer)
        return created if include_data else created.path

    async def _create_with_parents(
        self, request: Create | CreateContainer | CreateTTL | CreateIfAbsent, *, exist_ok: bool
    ) -> Created | None:
        """None where the parents are there now, and only the znode itself is still to be created."""
        whole = with_parents(request)
        if whole is None:
            await self.ensure_path(parent_of(request.path), acl=request.acl)
            return None
        while True:
            try:
                return await self.port.request(whole)
            except NodeExistsError:
                if not exist_ok:
                    raise
            stat = await self.exists(request.path)
            if stat is not None:  # else it was deleted since
                return Created(request.path, stat)

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

    async def delete(
        self, path: str, *, version: int = -1, recursive: bool = False, missing_ok: bool = False
    ) -> None:
        """Delete a znode. With a `version` only if it is still the one the znode has. With `missing_ok` it is no error
        if there is none.

        `recursive` deletes all below it, too: in one transaction where they are not more than a thousand, else in
        several, from the bottom up; those who look meanwhile then see a part of it.

        Raises NoNodeError, BadVersionError, NotEmptyError, NoAuthError, BadArgumentsError.
        """
        request: Request[Any] = deletion(path, version=version, missing_ok=missing_ok)
        if not recursive:
            await self.port.request(request)
            return
        if version != -1:
            raise BadArgumentsError(f"{path}: a version is that of one znode; leave it out, or recursive", path=path)
        try:
            await delete_tree(self.port, path)
        except NoNodeError:
            if not missing_ok:
                raise

    async def exists(
        self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION
    ) -> Stat | None:
        """The Stat of a znode, or None where there is none; it may be watched all the same."""
        validate(path)
        return await self.port.request(Exists(path, watch is not None), watch=watch, read=read)

    @overload
    async def get_children(
        self, path: str, watch: Watcher | None = None, *, include_data: Literal[False] = False,
        read: ReadLevel = Read.SESSION,
    ) -> list[str]: ...  # fmt: skip
    @overload
    async def get_children(
        self, path: str, watch: Watcher | None = None, *, include_data: Literal[True], read: ReadLevel = Read.SESSION
    ) -> Children: ...
    async def get_children(
        self,
        path: str,
        watch: Watcher | None = None,
        *,
        include_data: bool = False,
        read: ReadLevel = Read.SESSION,
    ) -> list[str] | Children:
        """The names of the children, in order; with `include_data` as a tuple, and beside it the Stat of the znode.
        Raises NoNodeError, BadArgumentsError."""
        watched = watch is not None
        try:
            if include_data:
                return await self.port.request(GetChildren2(path, watched), watch=watch, read=read)
            return list(await self.port.request(GetChildren(path, watched), watch=watch, read=read))
        except NoNodeError:
            validate(path)
            raise

    async def list_children(
        self,
        path: str,
        *,
        after: str = "",
        prefix: str = "",
        limit: int = 1000,
        kind: ChildKind = ChildKind.ANY,
        with_stat: bool = False,
        with_data: bool = False,
        read: ReadLevel = Read.SESSION,
    ) -> ChildPage:
        """A page of the children: the first `limit` whose names come after `after` and begin with `prefix`, of one
        `kind`, and with what else is asked for of each. A page may be shorter and not the last: go on with
        `after=page.after` until that is None. Each page is of the moment it is asked for.

        Raises NoNodeError, BadArgumentsError."""
        validate(path)
        request = ListChildren(
            path, after=after, prefix=prefix, limit=limit, kind=kind, with_stat=with_stat, with_data=with_data
        )
        return await self.port.request(request, read=read)

    async def get_all_children_number(self, path: str, *, read: ReadLevel = Read.SESSION) -> int:
        """How many znodes there are below a znode, at any depth. Cost: a walk over all of them. Raises NoNodeError,
        BadArgumentsError."""
        validate(path)
        return await self.port.request(GetAllChildrenNumber(path), read=read)

    async def get_ephemerals(self, prefix: str = "/", *, read: ReadLevel = Read.SESSION) -> list[str]:
        """The paths of this session's ephemeral znodes that begin with `prefix`, in order. It is compared as a string,
        as in ZooKeeper: `/a` finds `/ab`, too."""
        return list(await self.port.request(GetEphemerals(prefix), read=read))

    async def who_am_i(self) -> tuple[Id, ...]:
        """As whom this session is known: each scheme, and the name in it without what proves it."""
        return await self.port.request(WhoAmI())

    def multi_read(self, *, read: ReadLevel = Read.SESSION) -> Reads:
        """Several reads of one state: `async with client.multi_read() as r: r.get("/a"); r.exists("/b")`, and then
        `r.results`. See Reads."""
        return Reads(self.port, read=read)

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

    @overload
    def atomically(self, function: Atomic[P, R], /) -> Callable[P, Coroutine[Any, Any, Committed[R]]]: ...

    @overload
    def atomically(
        self, function: None = None, /, *, attempts: int = MOST_ATTEMPTS, timeout: float | None = None
    ) -> Callable[[Atomic[P, R]], Callable[P, Coroutine[Any, Any, Committed[R]]]]: ...

    def atomically(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        attempts: int = MOST_ATTEMPTS,
        timeout: float | None = None,
    ) -> Any:
        """Decorator: a function of an AtomicTransaction `t` that is carried out as if nobody else were there::

            @zk.atomically
            async def transfer(t, giver, taker, amount):
                has = int(await t.get(giver))
                t.set(giver, b"%d" % (has - amount))
                t.set(taker, b"%d" % (int(await t.get(taker)) + amount))

            done = await transfer("/account/ada", "/account/bob", 30)

        Where what it read was changed by others before it could commit, it is called again from its beginning: at most
        `attempts` times, and not after `timeout` seconds. So it must do nothing that cannot be done twice but through
        `t`. The call gives a Committed: what the function returned, and from which zxid on everybody sees it.

        Raises what the function does, and then nothing is written; what is wrong with what it writes;
        TransactionConflictError; and OutcomeUnknownError where the session ended before it was known whether it was
        committed. However often a commit must be sent, it happens once. Where the call is cancelled, it may have.
        """
        if function is not None:
            return atomic(self.port, function, attempts=attempts, timeout=timeout)
        return lambda function: atomic(self.port, function, attempts=attempts, timeout=timeout)

    async def add_watch(self, path: str, watch: LastingWatcher, *, recursive: bool = False) -> None:
        """Have `watch` called with every WatchEvent of a znode from now on, whether or not there is one, until
        `remove_watch`: when it comes, changes or goes, and when its children come and go. With `recursive` instead with
        the coming, change and going of the znode and of everything below it.

        What happens while the session is suspended is told afterwards; where that is too much, or too long ago, `watch`
        is called with a Resync: read again what it is about. When the session ends it is called with None."""
        mode = WatchMode.PERSISTENT_RECURSIVE if recursive else WatchMode.PERSISTENT
        await self.port.request(AddWatch(path, mode), watch=watch)

    def watch(self, path: str, *, recursive: bool = False, most: int = MOST_EVENTS) -> Events:
        """An iterator over what happens to a znode from now on, whether or not there is one, or with `recursive` to it
        and everything below it: what `add_watch` would tell. First comes a Resync: read what there is. One comes later,
        too, where events are missing: because nobody knows them any more, or because more than `most` have gathered
        while nobody asked for them. See Events, and `aclose` it at the end.

        Raises BadArgumentsError."""
        return Events(self.port, path, recursive=recursive, most=most)

    async def remove_watch(self, path: str, watch: Watcher | LastingWatcher) -> None:
        """Call `watch` no more for what happens at `path`; without effect where it does not watch that."""
        self.port.unwatch(path, watch)

    async def remove_all_watches(self, path: str) -> None:
        """Call nobody any more for what happens at `path`, of all that were given to this session to be called.
        Without effect where there is nobody."""
        validate(path)
        self.port.unwatch(path, None)

    async def has_watch(self, path: str, *, watcher_type: WatcherType = WatcherType.ANY) -> bool:
        """Whether the replica watches `path` for this session."""
        validate(path)
        try:
            await self.port.request(CheckWatches(path, watcher_type))
        except NoWatcherError:
            return False
        return True

    async def sync(self) -> Zxid:
        """Wait until this client's replica has applied everything that was proposed before; up to which zxid it has.
        Every read from then on, whatever its level, shows that, and every write of anybody that was answered before.

        Unlike Apache ZooKeeper's, it rests on a quorum: a leader that was deposed without knowing it cannot answer."""
        return await self.port.request(Sync(), read=Read.LINEARIZABLE)

    async def reconfig(
        self,
        joining: str | None = None,
        leaving: str | Iterable[int] | None = None,
        new_members: str | Members | None = None,
        from_config: int = -1,
    ) -> NodeData:
        """Change who the members of the ensemble are: who votes, who only observes, and where they are.

        `joining` are lines as in ZooKeeper's configuration, `server.4=zk4:2888:2888:participant;2181`, parted by
        commas, of members that come, or of present ones that move or change their role; `leaving` the numbers of those
        that go. Or `new_members` are all there will be, as such lines or as Members: where voters have groups or
        weights there is no other way. With a `from_config` it happens only if that is the version of the members now
        (`get_config`, `members`).

        Gives what `/zookeeper/config` says then, and its Stat. Once it is answered the change is made, and those that
        have left may be switched off. While it is under way quorums of both, of the members before and of those to be,
        must be up. Where a leader has to go with it, or is lost meanwhile, the outcome is unknown as that of any write:
        read who the members are.

        Raises BadArgumentsError, which names the member and the rule; BadVersionError; NewConfigNoQuorumError where
        too few of the members to be follow the leader: add those that are missing as observers first;
        ReconfigInProgressError; NoAuthError; and ReconfigDisabledError.
        """
        return await self.port.request(reconfiguration(joining, leaving, new_members, from_config))

    async def get_config(self, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION) -> NodeData:
        """Who the members of the ensemble are, as ZooKeeper's text, and its Stat; for a client of a part of the tree,
        too. `Members.parse` reads it."""
        port = without_chroot(self.port)
        return await port.request(GetData(CONFIG, watch is not None), watch=watch, read=read)

    async def members(self, *, read: ReadLevel = Read.SESSION) -> Members:
        """Who the members of the ensemble are, and as of which version. Raises ConfigurationError where the server does
        not say it: one that stands alone, here or at Apache, has nobody to name until it is given an address."""
        return Members.parse((await self.get_config(read=read)).data.decode())

    async def add_auth(self, scheme: str, credentials: str | bytes) -> None:
        """Have this session known by what `credentials` prove, from the next request on: for `digest` and `scrypt`
        that is `user:password`. Several may be added. Raises AuthFailedError, BadArgumentsError for too many."""
        await self.port.authenticate(scheme, credentials.encode() if isinstance(credentials, str) else credentials)

    async def ensure_path(self, path: str, *, acl: Iterable[ACL] | None = None) -> None:
        """Create `path` and whatever is missing above it in one transaction, with the ACL `acl`, by default the
        ensemble's."""
        if await self.exists(path) is not None:
            return
        try:
            await self.port.request(CreateWithParents(path, b"", acl=DEFAULT_ACL if acl is None else tuple(acl)))
        except NodeExistsError:
            pass  # somebody else was faster
