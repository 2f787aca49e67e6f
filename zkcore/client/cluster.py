"""A whole ensemble of nodes in one process: the quickest way to try zkcore, and to test code that uses it.

It lives in memory, or on disk. Its nodes come and go while it runs: killed and started again, added and removed.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Self
from weakref import WeakSet

from zkcore.client.files import members_in
from zkcore.client.members import caught_up, change, instead, replace_all, with_member, with_voter, without
from zkcore.client.node import EmbeddedClient, Node, warn_if_even
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.errors import BadArgumentsError, ConfigurationError, NotLeadingError, SessionClosedError
from zkcore.events.dispatcher import Dispatcher
from zkcore.replica.host import Host
from zkcore.replica.leading import LiveSession
from zkcore.replica.members import Members
from zkcore.replica.pump import Pump
from zkcore.replica.rules import Rules
from zkcore.storage.directories import Directories
from zkcore.storage.file import FileStorage, Fsync
from zkcore.storage.storage import MemoryStorage, Storage
from zkcore.transport.transport import LocalNetwork
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["LocalCluster", "local_cluster"]


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
        first = EnsembleConfig(range(1, count + 1), observers=range(count + 1, count + observers + 1))
        warn_if_even(first, stacklevel=3)
        self._firsts = {me: Members(first) for me in first.members}
        """Who the members were when each node began, by its number."""
        self.network = LocalNetwork()
        """Cut and heal links here."""
        self._limits = limits
        self._rules = rules if rules is not None else Rules()
        self._directories = None if data_dir is None else Directories(
            data_dir, first, cluster=cluster, fsync=fsync
        )
        self._new = new
        self._storages: dict[PeerId, Storage] = {}
        if self._directories is None:
            self._storages.update((me, MemoryStorage()) for me in first.members)
        self._pump = Pump()
        self._nodes: dict[PeerId, Node] = {}
        self._clients: WeakSet[EmbeddedClient] = WeakSet()
        self.events = Dispatcher()
        """What happens to any of the nodes, now and after a restart; `node.events` has what happens to one."""
        self._closed = False

    def __repr__(self) -> str:
        up = f"{len(self._nodes)} of {len(self._firsts)} up"
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

    @property
    def ensemble(self) -> EnsembleConfig:
        """Who votes and who listens, as far as the nodes that are up know."""
        return self.members().config

    def members(self) -> Members:
        """The newest of what the nodes that are up know of the members; see `Node.members`."""
        known = [node.members() for node in self._nodes.values()] or list(self._firsts.values())
        return max(known, key=lambda members: members.version)

    def start_node(self, me: PeerId) -> None:
        """Start a node that is down, on what it had saved."""
        self._check_open()
        if me not in self._firsts or me in self._nodes:
            raise BadArgumentsError(f"node {me} is not one of {tuple(self._firsts)} that is down")
        if self._directories is not None and me not in self._storages:
            self._storages[me] = self._open_directory(self._directories, me)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the number of voters was warned about once
            node = Node(
                me,
                self._firsts[me],
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

    # --- members

    async def add_node(self, me: PeerId | None = None, *, promote: bool = False) -> PeerId:
        """Add a node, an observer, and start it; its number, by default the next that is free. With `promote` it has
        been made a voter when this returns. Raises as `Node.reconfigure`."""
        self._check_open()
        used = {*self._firsts, *self.members().config.members, *(self._directories.added if self._directories else ())}
        number = max(used) + 1 if me is None else me
        if number in self._firsts:
            raise BadArgumentsError(f"there is a node {number}; give another number, or start that")
        members = await self._changing(lambda known: with_member(known, number))
        if self._directories is None:
            self._storages[number] = MemoryStorage()
        else:
            self._storages[number] = self._directories.open_added(number, ensemble=members.config)
        self._firsts[number] = members
        self.start_node(number)
        if promote:
            await self.promote(number)
        return number

    async def promote(self, me: PeerId) -> Members:
        """Make a voter of an observer, as soon as it is in line. See `Node.promote`."""
        async with self.client() as client:
            return await caught_up(client, self.members, lambda members: with_voter(members, me))

    async def remove_node(self, me: PeerId) -> Members:
        """Have a node, be it up or down, be a member no longer, and stop it; its directory, if it has one, is left
        alone. A leader hands over first. Raises as `Node.remove`."""
        members = await self._changing(lambda known: without(known, [me]))
        await self._forget(me)
        return members

    async def replace(self, old: PeerId, new: PeerId | None = None) -> PeerId:
        """Put a node that begins with nothing in the place of `old`, a voter that may be down, in one step: there are
        as many voters all the time. Its number, by default the next that is free."""
        if old not in self.ensemble.voters:
            raise BadArgumentsError(f"node {old} is none of the voters {self.ensemble.voters}")
        number = await self.add_node(new)
        async with self.client() as client:
            await caught_up(client, self.members, lambda members: instead(members, old, number))
        await self._forget(old)
        return number

    async def reconfigure(self, members: Members, *, version: int = -1) -> Members:
        """See `Node.reconfigure`. Starts and stops nothing."""
        async with self.client() as client:
            return await replace_all(client, members, version=version)

    async def _changing(self, wanted: Callable[[Members], Members]) -> Members:
        async with self.client() as client:
            return await change(client, self.members, wanted)

    def _open_directory(self, directories: Directories, me: PeerId) -> FileStorage:
        return directories.open_added(me) if me in directories.added else directories.open(me)

    def _open_directories(self, directories: Directories) -> None:
        """Those of the members, as the one knows that knows most."""
        self._storages.update(directories.open_all(new=self._new))
        for me in directories.added:
            storage = directories.open_added(me)
            self._storages[me] = storage
            self._firsts[me] = Members(storage.ensemble or EnsembleConfig([me]))
        known = [members_in(storage, me, self._firsts[me].config) for me, storage in self._storages.items()]
        newest = max(known, key=lambda membership: membership.zxid)
        for me in set(self._firsts) - set(newest.config.members):
            self._close_storage(me)
            del self._firsts[me]

    async def _forget(self, me: PeerId) -> None:
        if me in self._nodes:
            await self.stop_node(me)
        self._firsts.pop(me, None)
        self._storages.pop(me, None)

    # --- what there is to do

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
            for me in sorted(self._firsts)
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
                self._open_directories(self._directories)
            for me in sorted(self._firsts):
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
