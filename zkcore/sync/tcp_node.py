"""The blocking face of `zkcore.client.tcp_node`."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from zkcore.client.node import STUCK_SECONDS
from zkcore.client.tcp_node import NodeConfig
from zkcore.client.tcp_node import TcpNode as AsyncTcpNode
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.errors import SessionClosedError
from zkcore.replica.leading import LiveSession
from zkcore.replica.members import Members
from zkcore.sync.events import Dispatcher
from zkcore.sync.node import EmbeddedClient
from zkcore.sync.port import LoopThread, mirrors
from zkcore.zab.messages import PeerId
from zkcore.zab.peer import PeerStatus

__all__ = ["TcpNode", "start_node"]


@mirrors(AsyncTcpNode)
class TcpNode:
    """`zkcore.TcpNode` for blocking code. Its event loop has a thread of its own."""

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self._inner = AsyncTcpNode(config)
        self.events = Dispatcher(self._inner.events)
        """What happens to this node: subscribe, also before the start, or iterate over a `stream`. See
        `zkcore.events`."""
        self._thread: LoopThread | None = None

    def __repr__(self) -> str:
        return repr(self._inner)

    def _running(self) -> LoopThread:
        if self._thread is None:
            raise SessionClosedError(f"node {self.me} does not run: call start(), or use it as a context manager")
        return self._thread

    @property
    def unblocked(self) -> AsyncTcpNode:
        """What this is a face of: it belongs to the event loop of its own thread."""
        return self._inner

    @property
    def me(self) -> PeerId:
        return self._inner.me

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> EmbeddedClient:
        thread = self._running()
        return EmbeddedClient(thread.do(lambda: self._inner.client(timeout=timeout)), thread)

    def status(self) -> PeerStatus:
        return self._running().do(self._inner.status)

    def explain(self) -> tuple[str, ...]:
        return self._running().do(self._inner.explain)

    def is_alive(self, *, stuck_seconds: float = STUCK_SECONDS) -> bool:
        return self._inner.is_alive(stuck_seconds=stuck_seconds)

    def is_ready(self, *, stuck_seconds: float = STUCK_SECONDS) -> bool:
        return self._inner.is_ready(stuck_seconds=stuck_seconds)

    def members(self) -> Members:
        return self._running().do(self._inner.members)

    def reconfigure(self, members: Members, *, version: int = -1) -> Members:
        return self._running().call(self._inner.reconfigure(members, version=version))

    def add(self, member: PeerId, address: str) -> Members:
        return self._running().call(self._inner.add(member, address))

    def promote(self, member: PeerId) -> Members:
        return self._running().call(self._inner.promote(member))

    def remove(self, gone: PeerId | Iterable[PeerId]) -> Members:
        return self._running().call(self._inner.remove(gone))

    def transfer(self, target: PeerId | None = None) -> PeerId:
        return self._running().call(self._inner.transfer(target))

    def sessions(self) -> list[LiveSession]:
        return self._running().do(self._inner.sessions)

    def kill_session(self, session: int) -> bool:
        return self._running().call(self._inner.kill_session(session))

    def start(self) -> Self:
        if self._thread is not None:
            raise SessionClosedError("this node was started before; make a new one")
        self._thread = LoopThread(f"zkcore-node-{self.me}")
        try:
            self._thread.call(self._inner.start())
        except BaseException:
            self._thread.stop()
            self.events.end()
            raise
        return self

    def stop(self) -> None:
        if self._thread is not None and self._thread.is_here:
            try:
                self._thread.call(self._inner.stop())
            except SessionClosedError:
                pass  # stopped before
            self._thread.stop()
            self.events.end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_node(config: NodeConfig) -> TcpNode:
    """The node that `config` describes, linked with the other members over TCP, as a context manager. One process may
    have several."""
    return TcpNode(config)
