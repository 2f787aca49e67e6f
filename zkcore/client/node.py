"""Nodes on asyncio, and a whole cluster of them in one process.

A Node is one replica wired to the storage and the transport of the host application. `local_cluster` wires several to
each other, in memory: the quickest way to try zkcore, and to test code that uses it. A `data_dir` makes either durable.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from weakref import WeakSet

from zkcore.client.client import Client
from zkcore.client.embedded import EmbeddedPort
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT, check_timeout
from zkcore.errors import (
    BadArgumentsError,
    ConfigurationError,
    NotLeadingError,
    SessionClosedError,
    ZkcoreError,
)
from zkcore.events.dispatcher import Dispatcher
from zkcore.forks import Process
from zkcore.replica.host import Host
from zkcore.replica.leading import LiveSession
from zkcore.replica.pump import Pump
from zkcore.replica.replica import Replica
from zkcore.replica.rules import Rules
from zkcore.replica.telling import SLOW_SECONDS
from zkcore.storage.directories import Directories
from zkcore.storage.file import FileStorage, Fsync
from zkcore.storage.members import name_of
from zkcore.storage.storage import MemoryStorage, Storage
from zkcore.transport.transport import Inbox, LocalNetwork, Transport
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.peer import PeerStatus
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["EmbeddedClient", "LocalCluster", "Node", "local_cluster"]

_log = logging.getLogger("zkcore.node")

STUCK_SECONDS = 10.0
"""After so much delay an event loop is taken for stuck."""

_HAND_OVER_SECONDS = 1.0
"""How long a leader that is stopped may take to hand over."""


class EmbeddedClient(Client):
    """A Client whose replicas run in this process. Use it as an async context manager, or await `start` and `close`.

    `timeout` is the session's, in seconds.
    """

    def __init__(self, hosts: Callable[[], Sequence[Host]], *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> None:
        check_timeout(timeout)
        self._hosts = hosts
        self._timeout = timeout
        self._port: EmbeddedPort | None = None

    def __repr__(self) -> str:
        return "<Client not started>" if self._port is None else super().__repr__()

    @property
    def port(self) -> EmbeddedPort:  # type: ignore[override]
        """The Port; SessionClosedError before `start`."""
        if self._port is None:
            raise SessionClosedError("the client is not started: await start(), or use it as a context manager")
        return self._port

    async def start(self) -> Self:
        """Open the session; waits until there is a leader."""
        if self._port is not None:
            raise SessionClosedError("this client was started before; make a new one")
        if not self._hosts():
            raise SessionClosedError("the cluster or node of this client is not running")
        self._port = EmbeddedPort(self._hosts, timeout=self._timeout)
        await self._port.start()
        return self

    async def close(self) -> None:
        """End the session, and with it its ephemeral znodes."""
        if self._port is not None:
            await self._port.close()

    def abandon(self) -> None:
        """Go away without a word, as a crash would; the session is left to expire."""
        if self._port is not None:
            self._port.abandon()

    def freeze(self, *, frozen: bool = True) -> None:
        """Stop sending heartbeats, as a process does that is paused; or begin again. For tests and demonstrations."""
        self.port.freeze(frozen=frozen)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _warn_if_even(ensemble: EnsembleConfig, *, stacklevel: int) -> None:
    count = len(ensemble.voters)
    if count % 2 == 0:
        warnings.warn(
            f"{count} voters tolerate no more failures than {count - 1}, and need one more to agree; use an odd number",
            stacklevel=stacklevel + 1,
        )


def _open_files(
    me: PeerId, ensemble: EnsembleConfig, data_dir: str | os.PathLike[str], *, new: bool, cluster: str, fsync: Fsync
) -> FileStorage:
    if me not in ensemble.members:
        raise ConfigurationError(f"server {me} is not among the members {ensemble.members}; add it, or start another")
    return FileStorage(
        data_dir, node=me, cluster=cluster or name_of(ensemble), ensemble=ensemble, new=new, fsync=fsync
    )


class Node:
    """One replica of an ensemble, on the asyncio loop it is started on.

    `me` is its number among the members of `ensemble`. `transport` makes the node's Transport, given the Inbox to
    fill; `storage` is used by this node alone. With `save_on_thread` a save does not stop the event loop: the default
    for every storage but MemoryStorage. `rules` say what clients may do, the same everywhere. So many transactions as
    `snapshot_every` lie between two snapshots. Use it as an async context manager, or call `start` and `stop`.

    Instead of a `storage` there may be a `data_dir`: then it is a FileStorage in that directory, with `fsync` as told
    there, which is closed when the node stops. The first time, and only then, `new` makes it: an empty directory
    is otherwise taken for one that has lost everything. The ensemble is kept in it, and other voters are refused. It is
    that of `cluster`, a name which by default comes of the voters.

    What happens to the node is told to `events`, see there. To those belongs what takes longer than
    `slow_request_seconds` from a request to its answer, or `slow_save_seconds` to become durable.

    Raises ConfigurationError; StorageError where the directory cannot be used, and StorageCorruptError where the
    storage is damaged beyond telling. An even number of voters is warned about.
    """

    def __init__(
        self,
        me: PeerId,
        ensemble: EnsembleConfig,
        *,
        transport: Callable[[Inbox], Transport],
        storage: Storage | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        new: bool = False,
        cluster: str = "",
        fsync: Fsync = "always",
        limits: Limits | None = None,
        rules: Rules | None = None,
        pump: Pump | None = None,
        save_on_thread: bool | None = None,
        snapshot_every: int = 100_000,
        events: Dispatcher | None = None,
        slow_request_seconds: float = SLOW_SECONDS,
        slow_save_seconds: float = SLOW_SECONDS,
    ) -> None:
        _warn_if_even(ensemble, stacklevel=2)
        self.me = me
        self._process = Process()
        self._files: FileStorage | None = None
        if storage is None:
            if data_dir is None:
                raise ConfigurationError(f"node {me} has nowhere to save to; give it a data_dir, or a storage")
            storage = self._files = _open_files(
                me, ensemble, data_dir, new=new, cluster=cluster, fsync=fsync
            )
        elif data_dir is not None:
            raise ConfigurationError(f"node {me} has a storage and a data_dir; give one of them")
        on_thread = not isinstance(storage, MemoryStorage) if save_on_thread is None else save_on_thread
        try:
            replica = Replica(me, ensemble, storage, limits=limits, rules=rules)
            self._host = Host(
                replica, transport, pump=pump, save_on_thread=on_thread, snapshot_every=snapshot_every, events=events,
                slow_request_seconds=slow_request_seconds, slow_save_seconds=slow_save_seconds,
            )  # fmt: skip
        except BaseException:
            self._close_files()
            raise

    def __repr__(self) -> str:
        return f"<Node {self.status()}>"

    @property
    def host(self) -> Host:
        """The shell that runs the replica."""
        return self._host

    @property
    def replica(self) -> Replica:
        """The replica. Look, but do not touch: the host feeds it."""
        return self._host.replica

    @property
    def events(self) -> Dispatcher:
        """What happens to this node: subscribe, or iterate over a `stream`. See `zkcore.events`."""
        return self._host.telling.events

    def start(self) -> None:
        """Begin. Needs a running event loop."""
        self._host.start()

    async def stop(self) -> None:
        """End, and where this node leads, hand over first: the others need not find out that there is no leader. That
        takes a second at most, whatever comes of it. `host.stop()` ends at once, as a crash would. In a process that
        was forked since, it does nothing: the node is that of the other."""
        if not self._process.is_here:
            return
        try:
            if self._host.running and self.replica.leader == self.me:
                async with asyncio.timeout(_HAND_OVER_SECONDS):
                    await self.transfer()
        except (ZkcoreError, TimeoutError) as error:
            _log.info("node %s stops without handing over: %s", self.me, error, extra={"zk_node": self.me})
        finally:
            self._host.stop()
        await self._host.wait_saved()
        self._close_files()

    def _close_files(self) -> None:
        if self._files is not None:
            self._files.close()

    async def transfer(self, target: PeerId | None = None) -> PeerId:
        """Hand the leadership over to the voter `target`, by default to the one that lacks least; who leads then.

        Raises NotLeadingError where this node does not lead, BadArgumentsError for a `target` that cannot take over
        now, and TransferFailedError where nobody took over: this node leads on, or has stopped leading for another
        reason. Cancelling it stops the wait, not the transfer.
        """
        return await self._host.transfer(target)

    def sessions(self) -> list[LiveSession]:
        """All sessions of the ensemble. Raises NotLeadingError where this node does not lead."""
        return self.replica.sessions()

    async def kill_session(self, session: int) -> bool:
        """End a session, wherever it is served, as if it had expired. Whether there was one. Raises NotLeadingError
        where this node does not lead."""
        return await self._host.kill_session(session)

    def status(self) -> PeerStatus:
        """What the node knows of itself."""
        return self.replica.status()

    def is_alive(self, *, stuck_seconds: float = STUCK_SECONDS) -> bool:
        """Whether the node runs, or comes back by itself: a new start would help it no further. Not so before `start`
        and after `stop`, where it has halted, where its storage has failed for good, and where its event loop has not
        turned for `stuck_seconds`. That no quorum can be reached, or that the disk is full, is no reason. May be asked
        from any thread."""
        host = self._host
        return host.alive and host.overdue_seconds < stuck_seconds

    def is_ready(self, *, stuck_seconds: float = STUCK_SECONDS) -> bool:
        """Whether the node serves clients: it is alive and not read-only, and leads or follows a leader that has a
        quorum, as far as it knows. May be asked from any thread."""
        return self.is_alive(stuck_seconds=stuck_seconds) and self._host.running and self.replica.serving

    def explain(self) -> tuple[str, ...]:
        """In words, a line for each reason: why the node does not lead, why there is no quorum, who lags behind and by
        how much, what its clients' requests wait for, and what is the matter with its storage."""
        return self._host.explain()

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> EmbeddedClient:
        """A client of this node alone: it is suspended while the node cannot serve."""
        return EmbeddedClient(lambda: (self._host,), timeout=timeout)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class LocalCluster:
    """An ensemble of nodes in one process: voters, numbered from 1, then observers. Make it with `local_cluster`.

    Nodes can be killed and restarted, links cut and healed; what a node had saved outlives it.
    """

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
        for number, least, what in ((count, 1, "nodes"), (observers, 0, "observers")):
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise ConfigurationError(f"a cluster of {number!r} {what}; give a number, at least {least}")
        self.ensemble = EnsembleConfig(range(1, count + 1), observers=range(count + 1, count + observers + 1))
        _warn_if_even(self.ensemble, stacklevel=3)
        self.network = LocalNetwork()
        """Cut and heal links here."""
        self._limits = limits
        self._rules = rules if rules is not None else Rules()
        self._directories = None if data_dir is None else Directories(
            data_dir, self.ensemble, cluster=cluster, fsync=fsync
        )
        self._new = new
        self._storages: dict[PeerId, Storage] = {}
        if self._directories is None:
            self._storages.update((me, MemoryStorage()) for me in self.ensemble.members)
        self._pump = Pump()
        self._nodes: dict[PeerId, Node] = {}
        self._clients: WeakSet[EmbeddedClient] = WeakSet()
        self.events = Dispatcher()
        """What happens to any of the nodes, now and after a restart; `node.events` has what happens to one."""
        self._closed = False

    def __repr__(self) -> str:
        up = f"{len(self._nodes)} of {len(self.ensemble.members)} up"
        return f"<LocalCluster {'closed' if self._closed else up}>"

    # --- nodes

    @property
    def nodes(self) -> dict[PeerId, Node]:
        """The nodes that are up, by number."""
        return dict(self._nodes)

    @property
    def leader(self) -> PeerId | None:
        """The node that leads with a quorum behind it, or None."""
        leaders = [node for node in self._nodes.values() if node.replica.serving and node.replica.leader == node.me]
        return max(leaders, key=lambda node: node.status().current_epoch).me if leaders else None

    def start_node(self, me: PeerId) -> None:
        """Start a node that is down, on what it had saved."""
        self._check_open()
        if me not in self.ensemble.members or me in self._nodes:
            raise BadArgumentsError(f"node {me} is not one of {self.ensemble.members} that is down")
        if self._directories is not None and me not in self._storages:
            self._storages[me] = self._directories.open(me)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the number of voters was warned about once
            node = Node(
                me,
                self.ensemble,
                storage=self._storages[me],
                transport=lambda inbox: self.network.attach(me, inbox),
                limits=self._limits,
                rules=self._rules,
                pump=self._pump,
                save_on_thread=False,  # so that nothing is saved any more when a node was killed
            )
        node.events.subscribe(self.events.tell)
        self._nodes[me] = node
        node.start()

    def kill(self, me: PeerId) -> None:
        """Stop a node as a crash would: at once, with nothing flushed."""
        node = self._node(me)
        del self._nodes[me]
        self.network.detach(me)
        node.host.stop()
        self._close_storage(me)

    async def stop_node(self, me: PeerId) -> None:
        """Stop a node as one does that is not needed for a while: a leader hands over first."""
        node = self._node(me)
        try:
            await node.stop()
        finally:
            if self._nodes.get(me) is node:
                del self._nodes[me]
                self.network.detach(me)
                self._close_storage(me)

    def _close_storage(self, me: PeerId) -> None:
        """Whoever starts the node again reads its directory anew."""
        storage = self._storages[me]
        if isinstance(storage, FileStorage):
            del self._storages[me]
            storage.close()

    async def transfer(self, target: PeerId | None = None) -> PeerId:
        """Have the leader hand over. See `Node.transfer`; raises NotLeadingError where nobody leads."""
        return await self._leading().transfer(target)

    def _leading(self) -> Node:
        leader = self.leader
        if leader is None:
            raise NotLeadingError(None)
        return self._nodes[leader]

    def sessions(self) -> list[LiveSession]:
        """All sessions of the ensemble, as the leader sees them. Raises NotLeadingError where nobody leads."""
        return self._leading().sessions()

    async def kill_session(self, session: int) -> bool:
        """End a session, as if it had expired. Whether there was one. Raises NotLeadingError where nobody leads."""
        return await self._leading().kill_session(session)

    def _node(self, me: PeerId) -> Node:
        self._check_open()
        if me not in self._nodes:
            raise BadArgumentsError(f"node {me} is not up")
        return self._nodes[me]

    def explain(self) -> tuple[str, ...]:
        """What every node says of itself, in words; see `Node.explain`."""
        return tuple(
            f"node {me}: {line}"
            for me in self.ensemble.members
            for line in (self._nodes[me].explain() if me in self._nodes else ("down",))
        )

    async def wait_for_leader(self) -> PeerId:
        """The leader, as soon as there is one."""
        while (leader := self.leader) is None:
            self._check_open()
            await asyncio.sleep(0.005)
        return leader

    # --- clients

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> EmbeddedClient:
        """A client of the whole cluster. It prefers the leader, where a write has the shortest way, and moves on when
        its node fails. `timeout` is the session's, in seconds."""
        self._check_open()
        client = EmbeddedClient(self._hosts, timeout=timeout)
        self._clients.add(client)
        return client

    def _hosts(self) -> list[Host]:
        leader = self.leader
        return [node.host for node in sorted(self._nodes.values(), key=lambda node: (node.me != leader, node.me))]

    # --- life

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosedError("the cluster is closed")

    async def start(self) -> Self:
        """Start all nodes and wait for a leader."""
        try:
            if self._directories is not None:
                self._storages.update(self._directories.open_all(new=self._new))
            for me in self.ensemble.members:
                self.start_node(me)
            await self.wait_for_leader()
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Stop everything. Clients that are open are closed: whatever they wait for ends with an error."""
        if self._closed:
            return
        for client in self._clients:
            client.abandon()
        for me in list(self._nodes):
            self.kill(me)
        for me in list(self._storages):
            self._close_storage(me)
        self.events.close()
        self._closed = True

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


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
    """An ensemble of `count` voters and as many `observers` as asked for in this process, as an async context manager.
    `rules` say what clients may do.

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
