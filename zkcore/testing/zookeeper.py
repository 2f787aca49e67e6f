"""An ensemble that ZooKeeper's clients can connect to, for tests of code that uses kazoo or another of them.

It runs in the process of the test, in memory, on a thread of its own, and is there in milliseconds; there is no JVM::

    with zookeeper_server() as server:
        zk = KazooClient(hosts=server.hosts)
        zk.start()
        ...
        server.expire_session(zk.client_id[0])

Servers can be slow: within ``server.lag(0.5)`` clients hear everything half a second late, within
``server.lag_replication(2, 0.5)`` member 2 hears so late of the others, and shows what is no longer so.

The pytest plugin has it as the fixture `zk_server`. Real time passes in it. For code that uses zkcore itself there are
worlds on virtual time (`zkcore.testing.app_world`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from zkcore.client.cluster import LocalCluster
from zkcore.errors import BadArgumentsError
from zkcore.replica.rules import Rules
from zkcore.server.limits import ListenerLimits
from zkcore.server.listener import ClientListener
from zkcore.sync.port import LoopThread
from zkcore.testing.lag import LateListener, Lateness, LateNetwork
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId

__all__ = ["ZookeeperServer", "zookeeper_server"]


class ZookeeperServer:
    """See the module; make it with `zookeeper_server`. All methods may be called from any thread."""

    def __init__(
        self, nodes: int, *, rules: Rules | None, limits: Limits | None, listener: ListenerLimits | None
    ) -> None:
        self._cluster_of = nodes, rules, limits
        self._limits = listener
        self._thread: LoopThread | None = None
        self._cluster: LocalCluster | None = None
        self._listeners: dict[PeerId, ClientListener] = {}
        self._addresses: dict[PeerId, str] = {}
        self._network = LateNetwork()
        self._telling: defaultdict[PeerId, Lateness] = defaultdict(Lateness)  # how late each node tells its clients

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

    @contextmanager
    def lag(self, seconds: float, *, node: PeerId | None = None) -> Iterator[None]:
        """Within it clients are told everything so much later, answers and events alike: all of them, or those of one
        node, also where that is restarted meanwhile. What still waits at the end is told then. Several add up.

        A client that hears nothing for too long takes the server for dead. Raises BadArgumentsError."""
        thread, cluster = self._running()
        self._check_lag(cluster, seconds, node)
        nodes = cluster.ensemble.members if node is None else (node,)
        with self._late(thread, [self._telling[me] for me in nodes], seconds):
            yield

    @contextmanager
    def lag_replication(self, node: PeerId, seconds: float) -> Iterator[None]:
        """Within it a member hears everything so much later from the others, and its clients read what was. At the end
        it hears what it has missed.

        Beyond the sync limit of the ensemble, two seconds by default, it is given up. Raises BadArgumentsError."""
        thread, cluster = self._running()
        self._check_lag(cluster, seconds, node)
        with self._late(thread, [self._network.lateness[node]], seconds):
            yield

    @staticmethod
    def _check_lag(cluster: LocalCluster, seconds: float, node: PeerId | None) -> None:
        if not (math.isfinite(seconds) and seconds > 0):
            raise BadArgumentsError(f"a lag of {seconds} s; give a number of seconds above 0")
        if node is not None and node not in cluster.ensemble.members:
            raise BadArgumentsError(f"node {node} is none of {cluster.ensemble.members}")

    @contextmanager
    def _late(self, thread: LoopThread, late: list[Lateness], seconds: float) -> Iterator[None]:
        stack = ExitStack()

        def begin() -> None:
            for each in late:
                stack.enter_context(each.more(seconds))

        thread.do(begin)
        try:
            yield
        finally:
            if thread is self._thread:  # else the server has gone meanwhile
                thread.do(stack.close)

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
        self._cluster = LocalCluster(nodes, rules=rules, limits=limits)
        self._cluster.network = self._network
        await self._cluster.start()
        for me in self._cluster.nodes:
            await self._listen(self._cluster, me)

    async def _stop(self) -> None:
        for listener in self._listeners.values():
            await listener.stop()
        if self._cluster is not None:
            await self._cluster.close()

    async def _listen(self, cluster: LocalCluster, me: PeerId) -> None:
        address = self._addresses.get(me, "127.0.0.1:0")
        listener = LateListener(
            cluster.nodes[me].host, address, limits=self._limits, words=["*"], lateness=self._telling[me]
        )
        await listener.start()
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


def zookeeper_server(
    nodes: int = 1,
    *,
    rules: Rules | None = None,
    limits: Limits | None = None,
    listener: ListenerLimits | None = None,
) -> ZookeeperServer:
    """An ensemble of so many nodes that speaks ZooKeeper's client protocol, as a context manager. `rules` say what
    clients may do, and `listener` what a node puts up with, and whether it serves reads where it has no leader. Raises
    ConfigurationError for no nodes at all."""
    return ZookeeperServer(nodes, rules=rules, limits=limits, listener=listener)
