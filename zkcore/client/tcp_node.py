"""A node of an ensemble of several processes, ready made: a Node, its storage and its links over TCP in one object.

`start_node` is for programs that want no more than to say who they are and who the others are. Whoever wants to choose
otherwise wires a `Node` by hand. This module must not know what the links carry, nor what is saved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from hashlib import sha256
from types import TracebackType
from typing import Self
from weakref import WeakSet

from attrs import Attribute, Factory, field, frozen

from zkcore.client.node import STUCK_SECONDS, EmbeddedClient, Node
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.errors import ConfigurationError, SessionClosedError
from zkcore.events.dispatcher import Dispatcher
from zkcore.forks import Process
from zkcore.replica.leading import LiveSession
from zkcore.replica.rules import Rules
from zkcore.replica.telling import SLOW_SECONDS
from zkcore.storage.file import FileStorage, Fsync
from zkcore.storage.storage import Storage
from zkcore.transport.address import parse_address
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
    members: tuple[tuple[PeerId, str], ...] = field(converter=_pairs)
    """Where each member is reached by the others, this one included: ``{1: "zk1:2888", 2: "[::1]:2889"}``."""
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
    ensemble: EnsembleConfig = field(init=False)
    """Who votes and who listens: what comes of `members`, `observers`, `groups` and `weights`."""

    def __attrs_post_init__(self) -> None:
        for (one, _), (other, _) in zip(self.members, self.members[1:], strict=False):
            if one == other:
                raise ConfigurationError(f"member {one} is listed twice in members; give every one a number of its own")
        for member, address in self.members:
            parse_address(address, key=f"members[{member}]")
        if self.bind is not None:
            parse_address(self.bind, key="bind")
        if self.me not in dict(self.members):
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
        object.__setattr__(self, "ensemble", self._ensemble())
        if not self.cluster:
            object.__setattr__(self, "cluster", _derived_name(self.members, self.observers))

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
            storage = config.storage
            if storage is None:
                storage = await made(lambda: _open_storage(config), undo=FileStorage.close)
                parts.callback(storage.close)
            node = Node(
                config.me, config.ensemble, storage=storage, transport=transport.start, limits=config.limits,
                rules=config.rules, snapshot_every=config.snapshot_every, events=self.events,
                slow_request_seconds=config.slow_request_seconds, slow_save_seconds=config.slow_save_seconds,
            )  # fmt: skip
            node.start()
            parts.push_async_callback(node.stop)
            self._node = node
            self._parts = parts.pop_all()
        return self

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
        """See `Node.explain`."""
        return self.node.explain()

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
        dict(config.members),
        cluster=config.cluster,
        security=config.security,
        bind=config.bind,
        limits=links,
        events=events,
    )


def _open_storage(config: NodeConfig) -> FileStorage:
    assert config.data_dir is not None
    return FileStorage(
        config.data_dir,
        node=config.me,
        cluster=config.cluster,
        ensemble=config.ensemble,
        new=config.new,
        fsync=config.fsync,
    )


def start_node(config: NodeConfig) -> TcpNode:
    """The node that `config` describes, linked with the other members over TCP, as an async context manager::

        async with zkcore.start_node(config) as node, node.client() as zk:
            await zk.create("/here", ephemeral=True)

    One process may have several. See `TcpNode.start` for what it raises.
    """
    return TcpNode(config)
