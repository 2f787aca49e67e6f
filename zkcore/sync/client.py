"""The blocking face of `zkcore.client`."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from zkcore.client.client import Client as AsyncClient
from zkcore.client.node import DEFAULT_SESSION_TIMEOUT, EmbeddedClient
from zkcore.client.node import LocalCluster as AsyncLocalCluster
from zkcore.client.port import LastingWatcher, SessionState, Watcher
from zkcore.errors import SessionClosedError
from zkcore.jute.records import ACL, Stat
from zkcore.replica.leading import LiveSession
from zkcore.replica.levels import Read, ReadLevel
from zkcore.replica.rules import Rules
from zkcore.sync.port import BlockingPort, LoopThread, mirrors, run
from zkcore.sync.transaction import Transaction
from zkcore.tree.requests import NodeACL, NodeData
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zxid import Zxid

__all__ = ["Client", "LocalCluster", "local_cluster"]


@mirrors(EmbeddedClient)
class Client:
    """`zkcore.Client` for blocking code: the same verbs, answers and errors. May be used by several threads at once.

    Watchers are called on the cluster's own thread and must not make blocking calls.
    """

    def __init__(self, inner: EmbeddedClient, thread: LoopThread) -> None:
        self._inner = inner
        self._thread = thread
        self._client: AsyncClient | None = None

    def __repr__(self) -> str:
        return "<Client not started>" if self._client is None else repr(self._client)

    @property
    def unblocked(self) -> AsyncClient:
        """The client whose coroutines complete without suspending: what a recipe is made of."""
        if self._client is None:
            raise SessionClosedError("the client is not started: call start(), or use it as a context manager")
        return self._client

    @property
    def session_id(self) -> int:
        return self.unblocked.session_id

    @property
    def state(self) -> SessionState:
        return self.unblocked.state

    @property
    def session_timeout(self) -> float:
        return self.unblocked.session_timeout

    @property
    def last_zxid(self) -> Zxid:
        return self.unblocked.last_zxid

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
    ) -> str:
        create = self.unblocked.create
        return run(
            create(
                path, value, acl=acl, ephemeral=ephemeral, sequence=sequence, container=container, ttl=ttl,
                makepath=makepath,
            )
        )  # fmt: skip

    def get(self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION) -> NodeData:
        return run(self.unblocked.get(path, watch, read=read))

    def set(self, path: str, value: bytes, *, version: int = -1) -> Stat:
        return run(self.unblocked.set(path, value, version=version))

    def delete(self, path: str, *, version: int = -1) -> None:
        run(self.unblocked.delete(path, version=version))

    def exists(self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION) -> Stat | None:
        return run(self.unblocked.exists(path, watch, read=read))

    def get_children(self, path: str, watch: Watcher | None = None, *, read: ReadLevel = Read.SESSION) -> list[str]:
        return run(self.unblocked.get_children(path, watch, read=read))

    def get_acls(self, path: str, *, read: ReadLevel = Read.SESSION) -> NodeACL:
        return run(self.unblocked.get_acls(path, read=read))

    def set_acls(self, path: str, acls: Iterable[ACL], *, version: int = -1) -> Stat:
        return run(self.unblocked.set_acls(path, acls, version=version))

    def transaction(self) -> Transaction:
        return Transaction(self.unblocked.transaction())

    def add_watch(self, path: str, watch: LastingWatcher, *, recursive: bool = False) -> None:
        run(self.unblocked.add_watch(path, watch, recursive=recursive))

    def remove_watch(self, path: str, watch: Watcher | LastingWatcher) -> None:
        run(self.unblocked.remove_watch(path, watch))

    def sync(self) -> Zxid:
        return run(self.unblocked.sync())

    def ensure_path(self, path: str, *, acl: Iterable[ACL] | None = None) -> None:
        run(self.unblocked.ensure_path(path, acl=acl))

    def add_auth(self, scheme: str, credentials: str | bytes) -> None:
        run(self.unblocked.add_auth(scheme, credentials))

    def abandon(self) -> None:
        self._thread.do(self._inner.abandon)

    def freeze(self, *, frozen: bool = True) -> None:
        self._thread.do(lambda: self._inner.freeze(frozen=frozen))

    def start(self) -> Self:
        self._thread.call(self._inner.start())
        self._client = AsyncClient(BlockingPort(self._inner.port, self._thread))
        return self

    def close(self) -> None:
        if self._client is not None:
            self._thread.call(self._inner.close())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@mirrors(AsyncLocalCluster)
class LocalCluster:
    """`zkcore.LocalCluster` for blocking code. Its event loop has a thread of its own."""

    def __init__(
        self, count: int, *, observers: int = 0, limits: Limits | None = None, rules: Rules | None = None
    ) -> None:
        self._inner = AsyncLocalCluster(count, observers=observers, limits=limits, rules=rules)
        self.ensemble = self._inner.ensemble
        self.network = self._inner.network
        """Cut and heal links here."""
        self._thread: LoopThread | None = None

    def __repr__(self) -> str:
        return repr(self._inner)

    def _running(self) -> LoopThread:
        if self._thread is None:
            raise SessionClosedError("the cluster is not running: call start(), or use it as a context manager")
        return self._thread

    @property
    def leader(self) -> PeerId | None:
        return self._running().do(lambda: self._inner.leader)

    def start_node(self, me: PeerId) -> None:
        self._running().do(lambda: self._inner.start_node(me))

    def kill(self, me: PeerId) -> None:
        self._running().do(lambda: self._inner.kill(me))

    def stop_node(self, me: PeerId) -> None:
        self._running().call(self._inner.stop_node(me))

    def wait_for_leader(self) -> PeerId:
        return self._running().call(self._inner.wait_for_leader())

    def transfer(self, target: PeerId | None = None) -> PeerId:
        return self._running().call(self._inner.transfer(target))

    def sessions(self) -> list[LiveSession]:
        return self._running().do(self._inner.sessions)

    def kill_session(self, session: int) -> bool:
        return self._running().call(self._inner.kill_session(session))

    def explain(self) -> tuple[str, ...]:
        return self._running().do(self._inner.explain)

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> Client:
        return Client(self._inner.client(timeout=timeout), self._running())

    def start(self) -> Self:
        if self._thread is not None:
            raise SessionClosedError("this cluster was started before; make a new one")
        self._thread = LoopThread("zkcore-cluster")
        try:
            self._thread.call(self._inner.start())
        except BaseException:
            self._thread.stop()
            raise
        return self

    def close(self) -> None:
        if self._thread is not None:
            try:
                self._thread.call(self._inner.close())
            except SessionClosedError:
                pass  # closed before
            self._thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def local_cluster(
    count: int = 3, *, observers: int = 0, limits: Limits | None = None, rules: Rules | None = None
) -> LocalCluster:
    """An ensemble of `count` voters and as many `observers` as asked for in this process, in memory, as a context
    manager. `rules` say what clients may do.

    Raises ConfigurationError for no voters at all; warns of an even number.
    """
    return LocalCluster(count, observers=observers, limits=limits, rules=rules)
