"""A node of an ensemble of several processes, ready made: a Node, its storage and its links over TCP in one object.

`start_node` is for programs that want no more than to say who they are and who the others are. Whoever wants to choose
otherwise wires a `Node` by hand. This module must not know what the links carry, nor what is saved.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from hashlib import sha256
from types import TracebackType
from typing import Self
from weakref import WeakSet

from attrs import Attribute, Factory, field, frozen

from zkcore.client.files import members_in, open_files
from zkcore.client.joining import Doorkeeper, Lookout, find_members, places_of, vote_when_caught_up
from zkcore.client.node import STUCK_SECONDS, EmbeddedClient, Node
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.errors import ConfigurationError, JoinRefusedError, SessionClosedError, ZkcoreError
from zkcore.events.dispatcher import Dispatcher
from zkcore.events.kinds import Joined, JoinWaits, PromotionRefused, Removed
from zkcore.forks import Process
from zkcore.replica.leading import LiveSession
from zkcore.replica.members import Members
from zkcore.replica.rules import Rules
from zkcore.replica.telling import SLOW_SECONDS
from zkcore.storage.file import FileStorage, Fsync
from zkcore.storage.storage import Storage
from zkcore.transport.address import parse_address
from zkcore.transport.asking import Asking
from zkcore.transport.limits import LinkLimits
from zkcore.transport.security import Security, mode_of
from zkcore.transport.tcp import TcpTransport
from zkcore.transport.threads import made
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.peer import PeerStatus
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["NodeConfig", "TcpNode", "start_node"]


def _pairs(members: Mapping[PeerId, str] | Iterable[tuple[PeerId, str]]) -> tuple[tuple[PeerId, str], ...]:
    pairs = tuple(members.items() if isinstance(members, Mapping) else members)
    for member, _ in pairs:
        if isinstance(member, bool) or not isinstance(member, int):
            raise ConfigurationError(f"members has {member!r}, which is no server number; give one from 1 to 255")
    return tuple(sorted(pairs))


def _seeds(join: str | Iterable[str]) -> tuple[str, ...]:
    return (join,) if isinstance(join, str) else tuple(join)


def _sorted_ids(ids: Iterable[PeerId]) -> tuple[PeerId, ...]:
    return tuple(sorted(ids))


def _known(_: object, attribute: Attribute[Security], value: Security) -> None:
    mode_of(value)


@frozen(kw_only=True)
class NodeConfig:
    """Who a node is, who the others are, and what it is allowed.

    All but `me`, `bind` and where the data is must be the same for all members. Raises ConfigurationError, which names
    what to change.
    """

    me: PeerId
    """The number of this member, 1 to 255."""
    members: tuple[tuple[PeerId, str], ...] = field(converter=_pairs, default=())
    """Where each member is reached by the others, this one included: ``{1: "zk1:2888", 2: "[::1]:2889"}``. Those the
    ensemble begins with: once its members have been changed, what every member has saved counts, and not this."""
    security: Security = field(validator=_known)
    """`Tls`, `SharedSecret`, or `Plaintext()` for none."""
    data_dir: str | os.PathLike[str] | None = None
    """Where this member keeps its data: a directory of its own ..."""
    storage: Storage | None = None
    """... or a Storage, which it does not close."""
    new: bool = False
    """Whether this is the first start of this member ever. Then `data_dir` is made; else it must be there, and one that
    is empty has lost its data. See `FileStorage`."""
    fsync: Fsync = "always"
    """When what goes to `data_dir` becomes durable. See `FileStorage`."""
    join: tuple[str, ...] = field(converter=_seeds, default=())
    """Instead of `members`, for one that joins an ensemble that runs: where one of its members is reached, or several
    of them. It needs `address` and `cluster`, and the same security. With `new` it is made a member, an observer."""
    address: str = ""
    """With `join`: where this member is reached by the others."""
    promote: bool = False
    """With `join`: whether it is made a voter as soon as it is in line. It asks for that whenever it starts, and is an
    observer."""
    bind: str | None = None
    """Where to listen, if that is elsewhere: as "0.0.0.0:2888" for all addresses of this machine."""
    observers: tuple[PeerId, ...] = field(default=(), converter=_sorted_ids)
    """Members that do not vote."""
    groups: Iterable[Iterable[PeerId]] = ()
    """See `EnsembleConfig`."""
    weights: Mapping[PeerId, int] | Iterable[tuple[PeerId, int]] = ()
    """See `EnsembleConfig`."""
    cluster: str = ""
    """The name of the ensemble, by which members of another are told from those of this one, on the network and on
    disk. By default it comes of the members and their addresses; where these may change it needs a name."""
    snapshot_every: int = 100_000
    """So many transactions lie between two snapshots."""
    limits: Limits = Factory(Limits)
    links: LinkLimits | None = None
    """By default those of `LinkLimits`, with the sync limit of `limits` for patience."""
    rules: Rules = Factory(Rules)
    """What clients may do."""
    slow_request_seconds: float = SLOW_SECONDS
    """A request that waits longer for its answer is told as a SlowRequest, see `zkcore.events`; infinity is never."""
    slow_save_seconds: float = SLOW_SECONDS
    """What takes longer to become durable is told as a SlowSave."""
    ensemble: EnsembleConfig | None = field(init=False)
    """Who votes and who listens in the beginning: what comes of `members`, `observers`, `groups` and `weights`. None
    for one that joins."""

    def __attrs_post_init__(self) -> None:
        for (one, _), (other, _) in zip(self.members, self.members[1:], strict=False):
            if one == other:
                raise ConfigurationError(f"member {one} is listed twice in members; give every one a number of its own")
        for member, address in self.members:
            parse_address(address, key=f"members[{member}]")
        if self.bind is not None:
            parse_address(self.bind, key="bind")
        if self.join:
            self._check_joining()
        elif self.me not in dict(self.members):
            raise ConfigurationError(
                f"me is {self.me!r}, which is none of the members {[member for member, _ in self.members]}; "
                "add its address to members, or correct me"
            )
        for observer in self.observers:
            if observer not in dict(self.members):
                raise ConfigurationError(f"observer {observer!r} has no address; add it to members")
        if (self.data_dir is None) == (self.storage is None):
            raise ConfigurationError(
                "give data_dir, a directory of this member's own, or storage; MemoryStorage() forgets everything"
            )
        if self.new and self.storage is not None:
            raise ConfigurationError("new says that data_dir is to be made; with storage leave it out")
        object.__setattr__(self, "ensemble", None if self.join else self._ensemble())
        if not self.cluster:
            object.__setattr__(self, "cluster", _derived_name(self.members, self.observers))

    def _check_joining(self) -> None:
        if self.members or self.observers or self.groups or self.weights:
            raise ConfigurationError("join finds out who the members are; leave out members, or else join")
        for seed in self.join:
            parse_address(seed, key="join")
        parse_address(self.address, key="address")
        if not self.cluster:
            raise ConfigurationError("a member that joins must say which cluster it means; give its name")
        EnsembleConfig([self.me])  # is it a number?

    def _ensemble(self) -> EnsembleConfig:
        return EnsembleConfig(
            [member for member, _ in self.members if member not in self.observers],
            observers=self.observers,
            groups=self.groups,
            weights=self.weights,
        )


def _derived_name(members: Iterable[tuple[PeerId, str]], observers: Iterable[PeerId]) -> str:
    lines = [f"server.{member}={address}{':observer' * (member in observers)}" for member, address in members]
    return sha256("\n".join(lines).encode()).hexdigest()[:16]


class TcpNode:
    """A node that is linked with the other members over TCP. Make it with `start_node`, and use it as an async context
    manager, or await `start` and `stop`.
    """

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self._node: Node | None = None
        self._started = False
        self._lookout: Lookout | None = None
        self._process = Process()
        self._parts = AsyncExitStack()
        self._clients: WeakSet[EmbeddedClient] = WeakSet()
        self.events = Dispatcher()
        """What happens to this node, its links among it. See `Node.events`; one may subscribe before the start."""

    def __repr__(self) -> str:
        return f"<TcpNode {self.config.me} {'not running' if self._node is None else self._node.status()}>"

    @property
    def me(self) -> PeerId:
        """The number of this member."""
        return self.config.me

    @property
    def node(self) -> Node:
        """What it consists of. Raises SessionClosedError where it does not run, ForkedError in a process that was
        forked from the one it runs in."""
        if self._started:
            self._process.check()
        if self._node is None:
            raise SessionClosedError(f"node {self.me} does not run: await start(), or use it as a context manager")
        return self._node

    # --- life

    async def start(self) -> Self:
        """Take the port, open the storage, and begin. What the other members are doing does not matter: clients wait
        until there is a leader.

        Raises ConfigurationError where the port or the certificate cannot be used, and StorageError where the directory
        cannot. Then, and when it is cancelled, nothing is running, and nothing is left behind.
        """
        if self._started:
            raise SessionClosedError("this node was started before; make a new one")
        self._started = True
        self._process = Process()
        config = self.config
        async with AsyncExitStack() as parts:
            transport = await parts.enter_async_context(_transport_of(config, self.events))
            self._asking = Asking(
                config.me, self._address, cluster=config.cluster, security=config.security, limits=config.links
            )
            storage, members = await self._begin(parts)
            node = Node(
                config.me, members, storage=storage, transport=transport.start, limits=config.limits,
                rules=config.rules, snapshot_every=config.snapshot_every, events=self.events,
                slow_request_seconds=config.slow_request_seconds, slow_save_seconds=config.slow_save_seconds,
            )  # fmt: skip
            transport.set_members(places_of(members), version=members.version, sure=False)
            node.start()
            parts.push_async_callback(node.stop)
            transport.answer_with(Doorkeeper(node).answer)
            self._lookout = Lookout(
                node, transport, self._asking, address=self._address, seeds=config.join,
                patience=config.limits.sync_limit_ticks * config.limits.tick_ms / 1000,
            )  # fmt: skip
            work = [self._lookout.run(self._tell_removed)]
            if config.promote:
                work.append(self._vote(node))
            for task in [asyncio.create_task(each) for each in work]:
                parts.callback(task.cancel)
            self._node = node
            self._parts = parts.pop_all()
        return self

    async def _begin(self, parts: AsyncExitStack) -> tuple[Storage, Members]:
        """The storage, and the members to begin with."""
        config = self.config
        first = Members(config.ensemble, addresses=dict(config.members)) if config.ensemble is not None else None
        if config.storage is not None:
            if first is None:
                first = await self._find(joins=not _knows_anything(config.storage))
            return config.storage, first
        if first is None and not config.new:
            return await self._begin_again(parts)
        if first is None:
            first = await self._find(joins=True)
        members = first
        opened = await made(lambda: _open_storage(config, members), undo=lambda opened: opened[0].close())
        parts.callback(opened[0].close)
        return opened

    async def _begin_again(self, parts: AsyncExitStack) -> tuple[Storage, Members]:
        """For one that has joined, at an earlier start, and does not know where the others are unless its log says
        so."""
        config, directory = self.config, self.config.data_dir
        assert directory is not None
        storage = await made(
            lambda: FileStorage(directory, node=config.me, cluster=config.cluster, fsync=config.fsync),
            undo=FileStorage.close,
        )
        parts.callback(storage.close)
        kept = storage.ensemble
        if kept is not None and members_in(storage, config.me, kept).zxid:
            return storage, Members(kept)
        return storage, await self._find(joins=False)

    async def _find(self, *, joins: bool) -> Members:
        config = self.config
        members = await find_members(
            self._asking, config.join, address=config.address, joins=joins, tell=self._tell_waiting
        )
        if config.me not in members.config.members:
            raise JoinRefusedError(
                f"member {config.me} is none of the members {members.config}: it was removed, or has never joined; "
                "join with an empty directory, and new=True"
            )
        self.events.tell(Joined(node=config.me, members=str(members)))
        return members

    @property
    def _address(self) -> str:
        return self.config.address if self.config.join else dict(self.config.members)[self.me]

    def _tell_removed(self, members: Members) -> None:
        self.events.tell(Removed(node=self.me, members=str(members)))

    def _tell_waiting(self, seed: str, why: str) -> None:
        self.events.tell(JoinWaits(node=self.me, seed=seed, why=why))

    async def _vote(self, node: Node) -> None:
        try:
            await vote_when_caught_up(node)
        except ZkcoreError as error:
            self.events.tell(PromotionRefused(node=self.me, why=str(error)))

    async def stop(self) -> None:
        """End: close the clients that are open, hand the leadership over, within a second, break the links and close
        the storage. In a process that was forked since, it does nothing: the node is that of the other."""
        if not self._process.is_here:
            return
        for client in self._clients:
            client.abandon()
        self._node = None
        await self._parts.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # --- use

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> EmbeddedClient:
        """A client of this node. It is suspended while the node cannot serve. `timeout` is the session's, in
        seconds."""
        client = self.node.client(timeout=timeout)
        self._clients.add(client)
        return client

    def status(self) -> PeerStatus:
        """See `Node.status`."""
        return self.node.status()

    def explain(self) -> tuple[str, ...]:
        """See `Node.explain`; and where the others say that this is no member any more, that."""
        lines = self.node.explain()
        removed = self._lookout.removed if self._lookout is not None else None
        return lines if removed is None else (f"node {self.me} was removed: the members are {removed}", *lines)

    def members(self) -> Members:
        """See `Node.members`."""
        return self.node.members()

    async def reconfigure(self, members: Members, *, version: int = -1) -> Members:
        """See `Node.reconfigure`."""
        return await self.node.reconfigure(members, version=version)

    async def add(self, member: PeerId, address: str) -> Members:
        """See `Node.add`."""
        return await self.node.add(member, address)

    async def promote(self, member: PeerId) -> Members:
        """See `Node.promote`."""
        return await self.node.promote(member)

    async def remove(self, gone: PeerId | Iterable[PeerId]) -> Members:
        """See `Node.remove`."""
        return await self.node.remove(gone)

    async def transfer(self, target: PeerId | None = None) -> PeerId:
        """See `Node.transfer`."""
        return await self.node.transfer(target)

    def sessions(self) -> list[LiveSession]:
        """See `Node.sessions`."""
        return self.node.sessions()

    async def kill_session(self, session: int) -> bool:
        """See `Node.kill_session`."""
        return await self.node.kill_session(session)

    def is_alive(self, *, stuck_seconds: float = STUCK_SECONDS) -> bool:
        """See `Node.is_alive`."""
        return self._node is not None and self._node.is_alive(stuck_seconds=stuck_seconds)

    def is_ready(self, *, stuck_seconds: float = STUCK_SECONDS) -> bool:
        """See `Node.is_ready`."""
        return self._node is not None and self._node.is_ready(stuck_seconds=stuck_seconds)


def _transport_of(config: NodeConfig, events: Dispatcher) -> TcpTransport:
    limits = config.limits
    patience = limits.sync_limit_ticks * limits.tick_ms / 1000
    links = config.links if config.links is not None else LinkLimits(patience_seconds=patience)
    return TcpTransport(
        config.me,
        dict(config.members) if not config.join else {config.me: config.address},
        cluster=config.cluster,
        security=config.security,
        bind=config.bind,
        limits=links,
        events=events,
    )


def _open_storage(config: NodeConfig, members: Members) -> tuple[FileStorage, Members]:
    assert config.data_dir is not None
    return open_files(
        config.data_dir, config.me, members, cluster=config.cluster, new=config.new, fsync=config.fsync
    )  # fmt: skip


def _knows_anything(storage: Storage) -> bool:
    saved = storage.load()
    return bool(saved.last or saved.snapshot or saved.accepted_epoch or saved.damage is not None)


def start_node(config: NodeConfig) -> TcpNode:
    """The node that `config` describes, linked with the other members over TCP, as an async context manager::

        async with zkcore.start_node(config) as node, node.client() as zk:
            await zk.create("/here", ephemeral=True)

    One process may have several. See `TcpNode.start` for what it raises.
    """
    return TcpNode(config)
