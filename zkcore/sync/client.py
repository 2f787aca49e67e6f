"""The blocking face of `zkcore.client.client`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal, ParamSpec, TypeVar, overload

from zkcore.client.atomically import MOST_ATTEMPTS, Committed
from zkcore.client.client import Client as AsyncClient
from zkcore.client.events import MOST_EVENTS
from zkcore.client.port import LastingWatcher, SessionState, StateListener, Watcher
from zkcore.client.retry import Retry
from zkcore.jute.records import ACL, Id, Stat
from zkcore.replica.levels import Read, ReadLevel
from zkcore.replica.members import Members
from zkcore.sync.atomically import Atomic, blocking_atomic
from zkcore.sync.callbacks import Callbacks
from zkcore.sync.changes import Events, States
from zkcore.sync.port import mirrors, run, seconds
from zkcore.sync.reads import Reads
from zkcore.sync.transaction import Transaction
from zkcore.tree.requests import ChildKind, ChildPage, Children, Created, NodeACL, NodeData
from zkcore.tree.watch_requests import WatcherType
from zkcore.zxid import Zxid

__all__ = ["Client"]

P = ParamSpec("P")
R = TypeVar("R")


@mirrors(AsyncClient)
class Client:
    """`zkcore.Client` for blocking code: the same verbs, answers and errors. May be used by several threads at once.

    Watchers and listeners are called on a thread of the client's own, one after the other in the order of events. They
    may make blocking calls; whatever else there is to call waits meanwhile.
    """

    def __init__(self, client: AsyncClient, callbacks: Callbacks) -> None:
        self._unblocked = client
        self._callbacks = callbacks

    def __repr__(self) -> str:
        return repr(self.unblocked)

    @property
    def unblocked(self) -> AsyncClient:
        """The client whose coroutines complete without suspending: what a recipe is made of."""
        return self._unblocked

    def chroot(self, path: str) -> Client:
        return Client(self.unblocked.chroot(path), self._callbacks)

    def with_retry(self, retry: Retry | None = None) -> Client:
        return Client(self.unblocked.with_retry(retry), self._callbacks)

    @property
    def session_id(self) -> int:
        return self.unblocked.session_id

    @property
    def state(self) -> SessionState:
        return self.unblocked.state

    def add_listener(self, listener: StateListener) -> None:
        self.unblocked.add_listener(self._callbacks.later(listener))

    def remove_listener(self, listener: StateListener) -> None:
        self.unblocked.remove_listener(self._callbacks.later(listener))

    def states(self) -> States:
        return States(self.unblocked.states())

    @property
    def session_timeout(self) -> float:
        return self.unblocked.session_timeout

    @property
    def last_zxid(self) -> Zxid:
        return self.unblocked.last_zxid

    @overload
    def create(
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
    def create(
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
    def create(
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
        create: Callable[..., Coroutine[Any, Any, str | Created]] = self.unblocked.create
        return run(
            create(
                path, value, acl=acl, ephemeral=ephemeral, sequence=sequence, container=container, ttl=ttl,
                makepath=makepath, exist_ok=exist_ok, include_data=include_data,
            )
        )  # fmt: skip

    def get(self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION) -> NodeData:
        return run(self.unblocked.get(path, self._called(watch), read=read))

    def set(self, path: str, value: bytes, *, version: int = -1) -> Stat:
        return run(self.unblocked.set(path, value, version=version))

    def delete(self, path: str, *, version: int = -1, recursive: bool = False, missing_ok: bool = False) -> None:
        run(self.unblocked.delete(path, version=version, recursive=recursive, missing_ok=missing_ok))

    def exists(self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION) -> Stat | None:
        return run(self.unblocked.exists(path, self._called(watch), read=read))

    @overload
    def get_children(
        self, path: str, watch: Watcher | None = None, *, include_data: Literal[False] = False,
        read: ReadLevel = Read.SESSION,
    ) -> list[str]: ...  # fmt: skip
    @overload
    def get_children(
        self, path: str, watch: Watcher | None = None, *, include_data: Literal[True], read: ReadLevel = Read.SESSION
    ) -> Children: ...
    def get_children(
        self,
        path: str,
        watch: Watcher | None = None,
        *,
        include_data: bool = False,
        read: ReadLevel = Read.SESSION,
    ) -> list[str] | Children:
        called = self._called(watch)
        if include_data:
            return run(self.unblocked.get_children(path, called, include_data=True, read=read))
        return run(self.unblocked.get_children(path, called, read=read))

    def list_children(
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
        return run(
            self.unblocked.list_children(
                path, after=after, prefix=prefix, limit=limit, kind=kind, with_stat=with_stat, with_data=with_data,
                read=read,
            )
        )  # fmt: skip

    def get_all_children_number(self, path: str, *, read: ReadLevel = Read.SESSION) -> int:
        return run(self.unblocked.get_all_children_number(path, read=read))

    def get_ephemerals(self, prefix: str = "/", *, read: ReadLevel = Read.SESSION) -> list[str]:
        return run(self.unblocked.get_ephemerals(prefix, read=read))

    def who_am_i(self) -> tuple[Id, ...]:
        return run(self.unblocked.who_am_i())

    def multi_read(self, *, read: ReadLevel = Read.SESSION) -> Reads:
        return Reads(self.unblocked.multi_read(read=read))

    def get_acls(self, path: str, *, read: ReadLevel = Read.SESSION) -> NodeACL:
        return run(self.unblocked.get_acls(path, read=read))

    def set_acls(self, path: str, acls: Iterable[ACL], *, version: int = -1) -> Stat:
        return run(self.unblocked.set_acls(path, acls, version=version))

    def transaction(self) -> Transaction:
        return Transaction(self.unblocked.transaction())

    @overload
    def atomically(self, function: Atomic[P, R], /) -> Callable[P, Committed[R]]: ...

    @overload
    def atomically(
        self, function: None = None, /, *, attempts: int = MOST_ATTEMPTS, timeout: float | None = None
    ) -> Callable[[Atomic[P, R]], Callable[P, Committed[R]]]: ...

    def atomically(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        attempts: int = MOST_ATTEMPTS,
        timeout: float | None = None,
    ) -> Any:
        port = self.unblocked.port
        if function is not None:
            return blocking_atomic(port, function, attempts=attempts, timeout=seconds(timeout))
        return lambda function: blocking_atomic(port, function, attempts=attempts, timeout=seconds(timeout))

    def add_watch(self, path: str, watch: LastingWatcher, *, recursive: bool = False) -> None:
        run(self.unblocked.add_watch(path, self._callbacks.later(watch), recursive=recursive))

    def watch(self, path: str, *, recursive: bool = False, most: int = MOST_EVENTS) -> Events:
        return Events(self.unblocked.watch(path, recursive=recursive, most=most))

    def remove_watch(self, path: str, watch: Watcher | LastingWatcher) -> None:
        run(self.unblocked.remove_watch(path, self._callbacks.later(watch)))

    def remove_all_watches(self, path: str) -> None:
        run(self.unblocked.remove_all_watches(path))

    def has_watch(self, path: str, *, watcher_type: WatcherType = WatcherType.ANY) -> bool:
        return run(self.unblocked.has_watch(path, watcher_type=watcher_type))

    def sync(self) -> Zxid:
        return run(self.unblocked.sync())

    def ensure_path(self, path: str, *, acl: Iterable[ACL] | None = None) -> None:
        run(self.unblocked.ensure_path(path, acl=acl))

    def reconfig(
        self,
        joining: str | None = None,
        leaving: str | Iterable[int] | None = None,
        new_members: str | Members | None = None,
        from_config: int = -1,
    ) -> NodeData:
        return run(self.unblocked.reconfig(joining, leaving, new_members, from_config))

    def get_config(self, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION) -> NodeData:
        return run(self.unblocked.get_config(self._called(watch), read=read))

    def members(self, *, read: ReadLevel = Read.SESSION) -> Members:
        return run(self.unblocked.members(read=read))

    def add_auth(self, scheme: str, credentials: str | bytes) -> None:
        run(self.unblocked.add_auth(scheme, credentials))

    def _called(self, watch: Watcher | None) -> Watcher | None:
        return None if watch is None else self._callbacks.later(watch)
