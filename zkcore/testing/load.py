"""What runs on the nodes of a simulated world: the seam between the world and the machines it drives.

The world knows nodes, links, disks and time. A Program knows what machine runs on a node, what load is put on it and
what state it builds from what is delivered. `BarePeers` drives the ZAB core by itself, with transactions that mean
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from zkcore.errors import BadArgumentsError, ConfigurationError, RequestError, StorageFailedError, ThrottledError
from zkcore.testing.backlog import Backlog, held_by_quorum
from zkcore.testing.checkers import chain
from zkcore.zab.membership import Membership
from zkcore.zab.messages import PeerId
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Delivered, Event, ReadDropped, ReadReady, Ready, Restored, Saved, SnapshotRef
from zkcore.zxid import Zxid, format_zxid

if TYPE_CHECKING:
    from zkcore.testing.faults import Plan
    from zkcore.testing.node import Node

__all__ = ["BarePeers", "ChangingPeers", "Machine", "Program"]


class Machine(Protocol):
    """What a node feeds and drains: a Peer, or something built around one with the same contract."""

    @property
    def ticks_until_due(self) -> int: ...
    def tick(self, ticks: int = 1) -> None: ...
    def receive(self, sender: PeerId, message: Any) -> None: ...
    def report_linked(self, peer: PeerId) -> None: ...
    def report_lost(self, peer: PeerId) -> None: ...
    def compact(self, snapshot: SnapshotRef) -> None: ...
    def drain(self) -> Ready[Any]: ...


class Program(Protocol):
    """What runs on every node of a world."""

    def start(self, node: Node, saved: Saved) -> Machine:
        """A machine for a new incarnation of `node`: `node.survivor` where the storage failed and the process did not,
        else one with an empty application state."""

    def peer(self, machine: Machine) -> Peer:
        """The Peer inside `machine`."""

    def serves(self, node: Node) -> bool:
        """Whether load on `node`, which is up, makes sense at the moment."""

    def step(self, node: Node, rng: Random) -> None:
        """Put a little load on `node`: inputs to its machine, which is ready for them."""

    def tell(self, node: Node, event: Event) -> None:
        """Apply `event` to the state of `node`, and check the state that results."""

    def position(self, node: Node) -> Zxid:
        """The zxid that the state of `node` is as of."""

    def snapshot(self, node: Node) -> bytes:
        """The state of `node` as a snapshot."""

    def idle(self) -> bool:
        """Whether nobody waits for an answer."""

    def check(self, nodes: Iterable[Node]) -> None:
        """The end: all nodes are up and agree. Raises Violation."""


_HEADER = Struct(">QI")


class BarePeers:
    """Peers alone. A transaction is a few random bytes, and the state a digest of all of them."""

    changes_members: ClassVar[bool] = False
    """Whether its worlds have nodes more than members, and the members change (faults.py)."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._config = plan.config
        self._limits = plan.limits
        self._transfer_share = plan.transfer_share
        self._batch = plan.batch
        self._filler = plan.snapshot_filler  # makes a snapshot large enough to be sent in pieces
        self._states: dict[PeerId, tuple[Zxid, int]] = {}
        self._asked: dict[PeerId, set[int]] = {}  # read-index questions without an answer
        self._questions: list[Zxid] = []  # what was committed when each was asked
        self._backlogs: dict[PeerId, Backlog] = {}
        self._nodes: dict[PeerId, Node] = {}

    def start(self, node: Node, saved: Saved) -> Machine:
        self._states[node.me] = (0, 0)
        self._asked[node.me] = set()
        self._backlogs[node.me] = Backlog(self._limits)
        self._nodes[node.me] = node
        try:
            return self._peer(node, saved)
        except StorageFailedError:
            return self._peer(node, node.disk.load())

    def _peer(self, node: Node, saved: Saved) -> Peer:
        version, config = node.oracle.configs.at(saved.snapshot)
        begun = Membership(version, config) if version else self._plan.seed_config(node.me)
        return Peer(node.me, begun, saved, node.disk.storage, self._limits)

    def peer(self, machine: Machine) -> Peer:
        assert isinstance(machine, Peer)
        return machine

    def serves(self, node: Node) -> bool:
        assert isinstance(node.machine, Peer)
        return node.machine.next_zxid is not None

    def step(self, node: Node, rng: Random) -> None:
        """Propose a batch, where this node leads; perhaps ask for a read index, other members, or hand over."""
        assert isinstance(node.machine, Peer)
        if self._plan.reconfigure_share and rng.random() < self._plan.reconfigure_share:
            self._reconfigure(node, node.machine, rng)
        first = node.machine.next_zxid
        if first is None:
            return
        if rng.random() < 0.2:
            self._ask(node, node.machine)
        payloads = [rng.randbytes(8 + rng.randrange(24)) for _ in range(1 + rng.randrange(self._batch))]
        self._propose(node, node.machine, first, payloads)
        if rng.random() < self._transfer_share:
            self._transfer(node, node.machine, rng)

    def _propose(self, node: Node, peer: Peer, first: Zxid, payloads: list[bytes]) -> None:
        backlog = self._backlogs[node.me]
        try:
            peer.propose(first, payloads)
        except ThrottledError:
            node.sightings.see("throttled")
            if not backlog.is_full(self._states[node.me][0], first) and not self._plan.reconfigure_share:
                node.oracle.fail("L5", f"node {node.me} takes no proposals, and all but few of its own are committed")
        else:
            if backlog.is_full(self._held(node, peer), first):
                node.oracle.fail("L5", f"node {node.me} takes more proposals, and too many are not committed")
            backlog.proposed(first, payloads)

    def _held(self, node: Node, peer: Peer) -> Zxid:
        """What a quorum of the leader's members has; or had before it asked for others, and that is committed."""
        oracle = node.oracle
        config = oracle.configs.records[oracle.configs.of_leader(node.me, peer.epoch)]
        committed = oracle.committed[-1] if oracle.configs.changed and oracle.committed else 0
        return max(held_by_quorum(config, oracle.durable), committed)

    def _transfer(self, node: Node, peer: Peer, rng: Random) -> None:
        target = rng.choice(self._config.members) if rng.random() < 0.5 else None
        try:
            peer.transfer(target)
        except BadArgumentsError:
            node.sightings.see("transfer refused")

    def _reconfigure(self, node: Node, peer: Peer, rng: Random) -> None:
        """Ask for other members: some of those that there are, or all others beside them as observers, so that they can
        be voters next time. Not while a disk is damaged and nobody knows, and none that could not do without one that
        is: the ensemble can as it is."""
        if any(other.disk.unsound for other in self._nodes.values()):
            return
        ids, now, first = node.oracle.nodes, peer.status().config.newest, peer.next_zxid
        members = list(now.members) if rng.random() < 0.7 else list(ids)
        voters = rng.sample(members, min(len(members), rng.choice((1, 2, 3, 3, 3, 4, 5))))
        weights = {voter: rng.choice((0, 1, 1, 2)) for voter in voters} if rng.random() < 0.1 else {}
        if rng.random() < 0.4:
            voters, weights = list(now.voters), dict(now.weights)
        others = [each for each in ids if each not in voters]
        observers = others if rng.random() < 0.7 else rng.sample(others, rng.randrange(len(others) + 1))
        expected = rng.choice((None, None, peer.status().version, 0))
        try:
            if first is not None:
                config = EnsembleConfig(voters, observers=observers, weights=weights)
                if not config.is_quorum([each for each, disk in node.oracle.durable.items() if disk.damage is None]):
                    return
                peer.reconfigure(first, config, expected=expected)
                node.oracle.configs.asked(node.me, peer.epoch, config)
                node.sightings.see("other members proposed")
        except (RequestError, ConfigurationError) as error:
            node.sightings.see(f"refused: {type(error).__name__}")

    def _ask(self, node: Node, peer: Peer) -> None:
        """Ask for proof of leadership. The token is the number of the question."""
        committed = node.oracle.committed
        self._asked[node.me].add(len(self._questions))
        peer.read_index(len(self._questions))
        self._questions.append(committed[-1] if committed else 0)

    def tell(self, node: Node, event: Event) -> None:
        if isinstance(event, ReadReady | ReadDropped):
            self._asked[node.me].remove(event.token)
            if isinstance(event, ReadReady) and event.zxid < self._questions[event.token]:
                then = format_zxid(self._questions[event.token])
                node.oracle.fail("X17", f"node {node.me} {event}, and {then} was committed when it was asked")
        elif isinstance(event, Delivered):
            zxid, digest = self._states[node.me]
            for zxid, payload in enumerate(event.payloads, event.first):
                digest = chain(digest, zxid, payload)
            self._states[node.me] = (zxid, digest)
            self._backlogs[node.me].delivered(zxid)
            node.oracle.check_state(node.me, zxid, digest)
        elif isinstance(event, Restored):
            zxid, digest = _HEADER.unpack_from(node.disk.read_snapshot(event.snapshot))
            self._states[node.me] = (zxid, digest)
            node.oracle.check_state(node.me, event.snapshot.zxid, digest)

    def position(self, node: Node) -> Zxid:
        return self._states[node.me][0]

    def snapshot(self, node: Node) -> bytes:
        return _HEADER.pack(*self._states[node.me]) + bytes(self._filler)

    def idle(self) -> bool:
        return not any(self._asked.values())

    def check(self, nodes: Iterable[Node]) -> None:
        """Every state was checked when it was reached."""


class ChangingPeers(BarePeers):
    """Peers whose ensemble changes while it runs."""

    changes_members = True
