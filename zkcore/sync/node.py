"""The blocking face of `zkcore.client.node`."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import Self

from zkcore.client.client import Client as AsyncClient
from zkcore.client.cluster import LocalCluster as AsyncLocalCluster
from zkcore.client.node import EmbeddedClient as AsyncEmbeddedClient
from zkcore.client.port import SessionState
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.errors import SessionClosedError
from zkcore.replica.leading import LiveSession
from zkcore.replica.members import Members
from zkcore.replica.rules import Rules
from zkcore.storage.file import Fsync
from zkcore.sync.callbacks import Callbacks
from zkcore.sync.client import Client
from zkcore.sync.events import Dispatcher
from zkcore.sync.port import BlockingPort, LoopThread, mirrors
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["EmbeddedClient", "LocalCluster", "local_cluster"]


@mirrors(AsyncEmbeddedClient)
class EmbeddedClient(Client):
    """`zkcore.EmbeddedClient` for blocking code, as a context manager or with `start` and `close`."""

    def __init__(self, inner: AsyncEmbeddedClient, thread: LoopThread) -> None:
        self._inner = inner
        self._thread = thread
        self._callbacks = Callbacks()
        self._client: AsyncClient | None = None

    def __repr__(self) -> str:
        return "<Client not started>" if self._client is None else repr(self._client)

    @property
    def unblocked(self) -> AsyncClient:
        """See `Client.unblocked`; SessionClosedError before `start`."""
        if self._client is None:
            raise SessionClosedError("the client is not started: call start(), or use it as a context manager")
        return self._client

    def abandon(self) -> None:
        self._thread.do(self._inner.abandon)

    def freeze(self, *, frozen: bool = True) -> None:
        self._thread.do(lambda: self._inner.freeze(frozen=frozen))

    def start(self) -> Self:
        self._thread.call(self._inner.start())
        self._client = AsyncClient(BlockingPort(self._inner.port, self._thread))
        self._client.add_listener(self._on_state)
        return self

    def close(self) -> None:
        if self._client is not None and self._thread.is_here:
            self._thread.call(self._inner.close())
            self._callbacks.join()

    def _on_state(self, state: SessionState) -> None:
        if state is SessionState.CLOSED:  # whoever closed it; the other listeners are about to be told
            asyncio.get_running_loop().call_soon(self._callbacks.end)

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
        self,
        count: int,
        *,
        observers: int = 0,
        limits: Limits | None = None,
        rules: Rules | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        new: bool = False,
        cluster: str = "",
        fsync: Fsync = "always",
    ) -> None:
        self._inner = AsyncLocalCluster(
            count,
            observers=observers,
            limits=limits,
            rules=rules,
            data_dir=data_dir,
            new=new,
            cluster=cluster,
            fsync=fsync,
        )
        self.network = self._inner.network
        """Cut and heal links here."""
        self.events = Dispatcher(self._inner.events)
        """What happens to any of the nodes: subscribe, or iterate over a `stream`. See `zkcore.events`."""
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

    @property
    def ensemble(self) -> EnsembleConfig:
        return self._inner.ensemble if self._thread is None else self._running().do(lambda: self._inner.ensemble)

    def members(self) -> Members:
        return self._running().do(self._inner.members)

    def add_node(self, me: PeerId | None = None, *, promote: bool = False) -> PeerId:
        return self._running().call(self._inner.add_node(me, promote=promote))

    def promote(self, me: PeerId) -> Members:
        return self._running().call(self._inner.promote(me))

    def remove_node(self, me: PeerId) -> Members:
        return self._running().call(self._inner.remove_node(me))

    def replace(self, old: PeerId, new: PeerId | None = None) -> PeerId:
        return self._running().call(self._inner.replace(old, new))

    def reconfigure(self, members: Members, *, version: int = -1) -> Members:
        return self._running().call(self._inner.reconfigure(members, version=version))

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

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> EmbeddedClient:
        return EmbeddedClient(self._inner.client(timeout=timeout), self._running())

    def start(self) -> Self:
        if self._thread is not None:
            raise SessionClosedError("this cluster was started before; make a new one")
        self._thread = LoopThread("zkcore-cluster")
        try:
            self._thread.call(self._inner.start())
        except BaseException:
            self._thread.stop()
            self.events.end()
            raise
        return self

    def close(self) -> None:
        if self._thread is not None and self._thread.is_here:
            try:
                self._thread.call(self._inner.close())
            except SessionClosedError:
                pass  # closed before
            self._thread.stop()
            self.events.end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def local_cluster(
    count: int = 3,
    *,
    observers: int = 0,
    limits: Limits | None = None,
    rules: Rules | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    new: bool = False,
    cluster: str = "",
    fsync: Fsync = "always",
) -> LocalCluster:
    """An ensemble of `count` voters and as many `observers` as asked for in this process, as a context manager. `rules`
    say what clients may do.

    It lives in memory, or, with a `data_dir`, on disk: each node in a directory of its own there, `node-1` and so on,
    with `fsync` as told at FileStorage. The first time, and only then, `new` makes them. A node whose directory is
    missing or empty has lost everything, and is made whole by the others. They are those of `cluster`, a name which by
    default comes of the voters.

    Raises ConfigurationError for no voters at all; warns of an even number. Entering it raises StorageError where a
    directory cannot be used, is that of an ensemble with other voters, or all are missing.
    """
    return LocalCluster(
        count,
        observers=observers,
        limits=limits,
        rules=rules,
        data_dir=data_dir,
        new=new,
        cluster=cluster,
        fsync=fsync,
    )
