"""An ensemble that ZooKeeper's clients can connect to, for tests of code that uses kazoo or another of them.

It runs in the process of the test, in memory, on a thread of its own, and is there in milliseconds; there is no JVM::

    with zookeeper_server() as server:
        zk = KazooClient(hosts=server.hosts)
        zk.start()
        ...
        server.expire_session(zk.client_id[0])

Real time passes in it. For code that uses zkcore itself there are worlds on virtual time (`zkcore.testing.app_world`).
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from zkcore.client.node import LocalCluster
from zkcore.errors import BadArgumentsError
from zkcore.replica.rules import Rules
from zkcore.server.listener import ClientListener
from zkcore.sync.port import LoopThread
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId

__all__ = ["ZookeeperServer", "zookeeper_server"]


class ZookeeperServer:
    """See the module; make it with `zookeeper_server`. All methods may be called from any thread."""

    def __init__(self, nodes: int, *, rules: Rules | None, limits: Limits | None) -> None:
        self._cluster_of = nodes, rules, limits
        self._thread: LoopThread | None = None
        self._cluster: LocalCluster | None = None
        self._listeners: dict[PeerId, ClientListener] = {}
        self._addresses: dict[PeerId, str] = {}

    def __repr__(self) -> str:
        return f"<ZookeeperServer {self.hosts or 'not running'}>"

    @property
    def hosts(self) -> str:
        """What a client is given: "127.0.0.1:41231,127.0.0.1:41233", a place for each node, whether or not it is up."""
        return ",".join(self._addresses[me] for me in sorted(self._addresses))

    @property
    def leader(self) -> PeerId | None:
        """The number of the node that leads; None where nobody does."""
        thread, cluster = self._running()
        return thread.do(lambda: cluster.leader)

    @property
    def sessions(self) -> list[int]:
        """The ids of all sessions. Raises NotLeadingError where nobody leads."""
        thread, cluster = self._running()
        return thread.do(lambda: [session.session for session in cluster.sessions()])

    def expire_session(self, session: int) -> bool:
        """End a session as if its client had been silent for too long; whether there was one. With kazoo that is
        `client.client_id[0]`. Raises NotLeadingError where nobody leads."""
        thread, cluster = self._running()
        return thread.call(cluster.kill_session(session))

    def kill(self, node: PeerId) -> None:
        """Stop a node as a crash would; what it had saved is there when it is restarted. Its clients lose their
        connection. Raises BadArgumentsError where it is not up."""
        thread, cluster = self._running()
        thread.call(self._kill(cluster, node))

    def restart(self, node: PeerId) -> None:
        """Start a node that was killed, at the address it had. Returns when it serves clients, or where there is no
        quorum, at once. Raises BadArgumentsError where it is up."""
        thread, cluster = self._running()
        thread.call(self._start_node(cluster, node))

    def drop_connections(self, node: PeerId | None = None) -> None:
        """Break all connections, or those of one node: the clients lose no session, and come again."""
        thread, _ = self._running()
        thread.do(lambda: self._drop(node))

    # --- life

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("this server runs already; make another one")
        self._thread = LoopThread("zkcore-zookeeper")
        try:
            self._thread.call(self._start())
        except BaseException:
            self._stop_thread()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread, _ = self._running()
        try:
            thread.call(self._stop())
        finally:
            self._stop_thread()

    def _stop_thread(self) -> None:
        assert self._thread is not None
        self._thread.stop()
        self._thread = self._cluster = None
        self._addresses.clear()

    def _running(self) -> tuple[LoopThread, LocalCluster]:
        if self._thread is None or self._cluster is None:
            raise RuntimeError("this server does not run; use it as a context manager")
        return self._thread, self._cluster

    # --- on the thread of the ensemble

    async def _start(self) -> None:
        nodes, rules, limits = self._cluster_of
        self._cluster = await LocalCluster(nodes, rules=rules, limits=limits).start()
        for me in self._cluster.nodes:
            await self._listen(self._cluster, me)

    async def _stop(self) -> None:
        for listener in self._listeners.values():
            await listener.stop()
        if self._cluster is not None:
            await self._cluster.close()

    async def _listen(self, cluster: LocalCluster, me: PeerId) -> None:
        address = self._addresses.get(me, "127.0.0.1:0")
        listener = await ClientListener(cluster.nodes[me].host, address, words=["*"]).start()
        self._listeners[me] = listener
        self._addresses[me] = listener.address

    async def _kill(self, cluster: LocalCluster, node: PeerId) -> None:
        cluster.kill(node)
        await self._listeners.pop(node).stop()

    async def _start_node(self, cluster: LocalCluster, node: PeerId) -> None:
        cluster.start_node(node)
        await self._listen(cluster, node)
        if len(cluster.nodes) * 2 > len(cluster.ensemble.members):
            await cluster.wait_for_leader()

    def _drop(self, node: PeerId | None) -> None:
        if node is not None and node not in self._listeners:
            raise BadArgumentsError(f"node {node} is not up")
        for me, listener in self._listeners.items():
            if node in (None, me):
                listener.drop_connections()


def zookeeper_server(nodes: int = 1, *, rules: Rules | None = None, limits: Limits | None = None) -> ZookeeperServer:
    """An ensemble of so many nodes that speaks ZooKeeper's client protocol, as a context manager. `rules` say what
    clients may do. Raises ConfigurationError for no nodes at all."""
    return ZookeeperServer(nodes, rules=rules, limits=limits)
