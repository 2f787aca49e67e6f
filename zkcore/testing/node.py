"""One node of a simulated world: a host as the contract of Peer wants it, and all that can befall a host.

It queues what arrives, feeds it, and drains: early messages out, events told, writes saved, messages out, links closed.
A save takes time, and while it lasts the node is silent and what arrives waits. Then time itself is told, by the rule
for hosts: after a stall first what arrived, then one tick of at most half the sync limit.

A node can crash (between any two steps, and inside a save, of which a prefix then survives), stand still, or have its
storage refuse a save, or not read back what it holds. Its disk outlives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from random import Random
from typing import Any, Protocol

from attrs import frozen

from zkcore.errors import StorageError
from zkcore.testing.checkers import Oracle
from zkcore.testing.disk import Disk, held_in
from zkcore.testing.load import Machine, Program
from zkcore.testing.network import Clock, Network
from zkcore.testing.sightings import Sightings
from zkcore.testing.trace import Trace
from zkcore.transport.wire import decode, encode
from zkcore.zab.messages import Ack, Message, PeerId, Ping
from zkcore.zab.peer import Peer
from zkcore.zab.ready import (
    NOTHING,
    Delivered,
    Ready,
    SaveEpochs,
    SnapshotRef,
    Truncate,
    Write,
)

__all__ = ["Node", "Strike", "Surroundings", "Target", "Trap", "Trouble"]


@frozen(eq=False)
class Strike:
    """One blow of one class of fault, and the generator of everything that is drawn for it."""

    fault: str
    number: int
    rng: Random

    @property
    def name(self) -> str:
        return f"{self.fault}/{self.number}"


class Target(Enum):
    """Which save a trap waits for."""

    ANY = auto()
    EPOCHS = auto()
    SYNC = auto()

    def fits(self, writes: Sequence[Write], *, syncing: bool) -> bool:
        """Whether it is one of these writes; `syncing` is a node whose log is being brought in line with a leader's."""
        if self is Target.ANY:
            return True
        if self is Target.EPOCHS:
            return any(isinstance(write, SaveEpochs) for write in writes)
        return syncing or any(isinstance(write, Truncate) for write in writes)


class Trouble(Enum):
    """What happens in a save that was waited for."""

    CRASH = auto()
    FAIL = auto()
    FULL = auto()
    CUT = auto()
    """The save goes well, and meanwhile the link to the leader breaks."""


@frozen(eq=False)
class Trap:
    """`trouble` waits for a save of the kind `target`. Where that lasts for a while, it is over at the time `until`."""

    target: Target
    trouble: Trouble
    strike: Strike
    until: int = 0


class Surroundings(Clock, Protocol):
    """What a node asks of its world."""

    oracle: Oracle
    network: Network
    program: Program
    sightings: Sightings
    trace: Trace
    half_sync_ticks: int
    snapshot_every: int
    over_wire: bool
    """Whether every message is turned into bytes and back on its way, as a real transport does."""

    def save_ns(self, node: Node) -> int:
        """How long a save of `node` takes that begins now."""

    def befell(self, node: Node, trap: Trap) -> None:
        """What `trap` waited for came about. Unless it is a CUT, `node` is down now: start it again some time."""

    def can_spare(self, node: Node) -> bool:
        """Whether nothing is lost if the disk of `node`, which says nothing of it, goes back to an earlier state."""

    def storage_failed(self, node: Node) -> None:
        """The storage of `node` does not read back what it holds, and `node` is down: start it again soon."""

    def load_stream(self, node: Node, number: int) -> Random:
        """The generator of what `node` does in the load called `number`; no longer good when the next is asked for."""


_RECEIVE, _LINKED, _LOST, _COMPACT = range(4)

_SIGNS = frozenset({Ack, Ping})
"""What a follower sends to nobody but its leader, as long as it follows."""


class Node:
    """The host of one member. `tick_ns` is the length of its ticks: clocks do not run alike."""

    def __init__(self, me: PeerId, world: Surroundings, disk: Disk, rng: Random, *, tick_ns: int) -> None:
        self.me = me
        self.disk = disk
        self.oracle = world.oracle
        self.sightings = world.sightings
        self.machine: Machine | None = None
        self.survivor: Machine | None = None  # what is left of the machine when its storage refused a save
        self.paused = False
        self.trap: Trap | None = None
        self.slow_until = 0
        self.followed: dict[PeerId, int] = {}  # when each of the others was last heard to follow this node
        self.stalled_at = 0  # when a stall last ended: the world's patience with this node begins anew
        self._world = world
        self._rng = rng
        self.tick_ns = tick_ns
        self._life = 0  # counts incarnations: what one has begun must not happen to the next
        self._inbox: list[tuple[int, PeerId, object]] = []
        self._lost: dict[PeerId, int] = {}  # losses that are queued; nothing goes to such a peer
        self._saving: Ready[Any] | None = None
        self._overdue = False  # a save ended while the node stood still
        self._ticked_at = 0
        self._due_at = 0
        self._wake_at = 0  # the earliest wake-up that is scheduled, or 0
        self._wanted: deque[int] = deque()  # numbers of the load that waits for the node to be idle
        self._since_snapshot = 0
        self._compacting = False

    @property
    def up(self) -> bool:
        return self.machine is not None

    @property
    def now(self) -> int:
        """The virtual time."""
        return self._world.now

    @property
    def busy(self) -> bool:
        """Whether it is silent at the moment: in a save, or standing still."""
        return self._saving is not None or self.paused

    @property
    def peer(self) -> Peer | None:
        return None if self.machine is None else self._world.program.peer(self.machine)

    # --- life and death

    def start(self) -> None:
        """Begin a new incarnation from what the disk holds."""
        world = self._world
        saved = self.disk.load()
        self.oracle.started(self.me, saved)
        self.machine = world.program.start(self, saved)
        if self.disk.face_harm():  # what it read first was hit
            saved = self.disk.load()
            self.oracle.damaged(self.me, saved, held_in(self.disk.storage))
            self.oracle.started(self.me, saved)
        self.survivor = None
        self._life += 1
        self._ticked_at = self.stalled_at = world.now
        self._wake_at = 0
        world.trace.say(world.now, f"{self.me} starts: {saved}")
        world.trace.mark(world.now, 1, self.me, saved.last, saved.accepted_epoch, saved.current_epoch)
        self.sightings.started(saved)
        world.network.plug(self.me, self)
        try:
            self._drain()
        except StorageError as error:
            self._on_storage_error(error)

    def crash(self, rng: Random, *, survives: bool = False) -> None:
        """Everything that is not on the disk is gone. Inside a save, a prefix of it is on the disk; `rng` decides
        which, and whether some of what was to be sent after it has left. Where the process `survives`, it is only that
        the storage refused a save."""
        world = self._world
        ready, self._saving = self._saving, None
        if ready is not None:
            kept = self.disk.save_part(ready.writes, rng, survives=survives)
            if kept == len(ready.writes):  # so the messages behind the save may have begun to leave
                for to, message in ready.messages[: rng.randrange(len(ready.messages) + 1)]:
                    self._send(to, message)
            world.trace.say(world.now, f"{self.me} had saved {kept} of {len(ready.writes)} writes")
        if not survives:
            self.disk.lose_power(rng, spared=world.can_spare(self))
        if self.disk.face_harm():
            self.oracle.damaged(self.me, self.disk.load(), held_in(self.disk.storage))
        world.trace.say(world.now, f"{self.me} is down")
        world.trace.mark(world.now, 2, self.me)
        self.machine = None
        self.paused = self._overdue = self._compacting = False
        self.trap = None
        self._life += 1
        self._since_snapshot = 0
        self._wanted.clear()
        self._inbox.clear()
        self._lost.clear()
        world.network.unplug(self.me)

    def _on_storage_error(self, error: StorageError) -> None:
        """What is read was hit: the host throws the Peer away, and opens the storage anew."""
        machine = self.machine
        self._world.trace.say(self.now, f"{self.me}: {error}")
        self.sightings.see("damage met by a read")
        self.crash(self._rng, survives=True)
        self.survivor = machine
        self._world.storage_failed(self)

    def pause(self) -> None:
        """Stand still: the process is stopped, its links stay up, a save under way goes on."""
        self.paused = True

    def resume(self) -> None:
        """Go on, with everything that arrived meanwhile."""
        self.paused = False
        self.stalled_at = self._world.now
        if self._overdue:
            self._overdue = False
            self._end_save(self._life)
        else:
            self._run()

    # --- the Inbox

    def receive(self, sender: PeerId, message: Message) -> None:
        machine, world = self.machine, self._world
        now = world.now
        if machine is None or self._saving is not None or self.paused or now > self._due_at + self.tick_ns:
            self._inbox.append((_RECEIVE, sender, message))
            self._run()
            return
        # What `_run` would do: nothing waits, and most of what happens in a world comes this way.
        passed = (now - self._ticked_at) // self.tick_ns
        if passed:
            self._ticked_at += passed * self.tick_ns
            machine.tick(passed)
        world.trace.arrived(now, sender, self.me, message)
        if type(message) in _SIGNS:
            self.followed[sender] = now
        try:
            machine.receive(sender, message)
            self._drain()
        except StorageError as error:
            self._on_storage_error(error)

    def report_linked(self, peer: PeerId, where: str = "") -> None:
        self._inbox.append((_LINKED, peer, None))
        self._run()

    def report_lost(self, peer: PeerId, why: str = "") -> None:
        self._inbox.append((_LOST, peer, None))
        self._lost[peer] = self._lost.get(peer, 0) + 1
        self._run()

    def want_load(self, number: int) -> None:
        """Run a step of the program's load, called `number`, as soon as this node is idle."""
        self._wanted.append(number)
        self._run()

    # --- feeding

    def _run(self) -> None:
        machine = self.machine
        if machine is not None and self._saving is None and not self.paused:
            try:
                self._take_turn(machine)
            except StorageError as error:
                self._on_storage_error(error)

    def _take_turn(self, machine: Machine) -> None:
        world = self._world
        passed = (world.now - self._ticked_at) // self.tick_ns
        stalled = world.now > self._due_at + self.tick_ns
        if passed and not stalled:
            self._ticked_at += passed * self.tick_ns
            machine.tick(passed)
        if self._inbox:
            self._feed(machine)
        if stalled:
            self._ticked_at = self.stalled_at = world.now
            machine.tick(min(passed, world.half_sync_ticks))
        while self._wanted:
            number = self._wanted.popleft()
            world.trace.mark(world.now, 7, self.me, number)
            world.program.step(self, world.load_stream(self, number))
        self._drain()

    def _feed(self, machine: Machine) -> None:
        world = self._world
        trace, now = world.trace, world.now
        inbox, self._inbox = self._inbox, []
        for kind, peer, thing in inbox:
            if kind == _RECEIVE:
                trace.arrived(now, peer, self.me, thing)  # type: ignore[arg-type]
                if type(thing) in _SIGNS:
                    self.followed[peer] = now
                machine.receive(peer, thing)
                continue
            trace.mark(now, 3, kind, self.me, peer)
            if kind == _LINKED:
                trace.say(now, f"{self.me} -- {peer}  linked")
                machine.report_linked(peer)
            elif kind == _LOST:
                trace.say(now, f"{self.me} -- {peer}  lost")
                self._lost[peer] -= 1
                machine.report_lost(peer)
            else:
                assert isinstance(thing, SnapshotRef)
                self._compacting = False
                machine.compact(thing)

    # --- draining

    def _drain(self) -> None:
        machine = self.machine
        assert machine is not None
        while (ready := machine.drain()) is not NOTHING:
            for to, message in ready.early:
                self._send(to, message)
            for event in ready.events:
                self._tell(event)
            if ready.writes:
                self._begin_save(ready)
                return
            self._finish(ready)
        world = self._world
        if world.snapshot_every and self._since_snapshot >= world.snapshot_every and not self._compacting:
            self._take_snapshot()
        self._due_at = due = self._ticked_at + machine.ticks_until_due * self.tick_ns
        if not world.now < self._wake_at <= due:
            self._wake_at = due
            world.at(due, self._wake, self._life, due)

    def _wake(self, life: int, at: int) -> None:
        if life != self._life:
            return
        if at == self._wake_at:
            self._wake_at = 0
        if self.busy:
            return  # the end of the save, or of the pause, will do
        if self._world.now >= self._due_at:
            self._world.trace.mark(at, 8, self.me)
            self._run()
        elif not self._wake_at:
            self._wake_at = self._due_at
            self._world.at(self._due_at, self._wake, self._life, self._due_at)

    def _send(self, to: PeerId, message: Message) -> None:
        world = self._world
        sent = decode(encode(message)) if world.over_wire else message
        if not self._lost.get(to) and world.network.send(self.me, to, sent):
            if world.trace.lines is not None:
                world.trace.say(world.now, f"{self.me} -> {to}  {message}")
            self.oracle.sent(self.me, to, message)
            self.sightings.sent(message)

    def _tell(self, event: Any) -> None:
        world = self._world
        if world.trace.lines is not None:
            world.trace.say(world.now, f"{self.me} {event}")
        self.oracle.told(self.me, event)
        world.program.tell(self, event)
        if type(event) is Delivered:
            world.trace.mark(world.now, 4, self.me, event.first, len(event.payloads))
            self._since_snapshot += len(event.payloads)
        else:
            self.sightings.told(event)

    def _finish(self, ready: Ready[Any]) -> None:
        for to, message in ready.messages:
            self._send(to, message)
        for peer in ready.closes:
            if not self._lost.get(peer):
                self._world.trace.say(self._world.now, f"{self.me} -- {peer}  closes")
                self._world.network.close(self.me, peer)

    # --- saving

    def _begin_save(self, ready: Ready[Any]) -> None:
        world = self._world
        self._saving = ready
        world.at(world.now + world.save_ns(self), self._end_save, self._life)

    def _end_save(self, life: int) -> None:
        if life != self._life:
            return
        if self.paused:
            self._overdue = True
            return
        world, ready = self._world, self._saving
        assert ready is not None
        trap, syncing = self.trap, self.oracle.durable[self.me].syncing
        if trap is not None and trap.target.fits(ready.writes, syncing=syncing):
            self.trap = None
            if trap.trouble is not Trouble.CUT:
                machine = self.machine
                survives = trap.trouble is not Trouble.CRASH
                self.crash(trap.strike.rng, survives=survives)
                self.survivor = machine if survives else None
            world.befell(self, trap)
            if self.machine is None:
                return
        self._saving = None
        self.disk.save(ready.writes)
        self.oracle.save_ended(self.me)
        world.trace.mark(world.now, 5, self.me, len(ready.writes))
        if world.trace.lines is not None:
            for write in ready.writes:
                world.trace.say(world.now, f"{self.me} saved {write}")
        try:
            self._finish(ready)
            self._drain()
        except StorageError as error:
            self._on_storage_error(error)
        self._run_if_waited()

    def _run_if_waited(self) -> None:
        """What arrived while the save lasted, and the time it took, are the next batch."""
        if self._saving is None and self.machine is not None and (
            self._inbox or self._wanted or self._world.now >= self._due_at
        ):  # fmt: skip
            self._run()

    def _take_snapshot(self) -> None:
        """Save the state as of now; the log before it may go a little later, or after a crash never."""
        world, peer = self._world, self.peer
        ref = SnapshotRef(world.program.position(self))
        if peer is None or peer.last_delivered < ref.zxid:
            return  # the state outlived a failure of the storage, and the new Peer has not come as far yet
        self.disk.save_snapshot(ref, world.program.snapshot(self))
        world.trace.say(world.now, f"{self.me} took {ref}")
        self._since_snapshot = 0
        self._compacting = True
        world.at(world.now + 1 + self._rng.randrange(100_000_000), self._ask_to_compact, self._life, ref)

    def _ask_to_compact(self, life: int, ref: SnapshotRef) -> None:
        if life == self._life:
            self._inbox.append((_COMPACT, 0, ref))
            self._run()
