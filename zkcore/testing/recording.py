"""A run of the simulator, written down as a script (scenario.py).

Only the inputs of the nodes are kept, and what their disks held after a crash: which message was delivered when, which
save ended, how much time passed. Where they went in as one batch, because they had waited for a save to end, they are
written before the end of that save, and so they will wait for it again. Delays, faults and the seed are no longer
needed then; the script is the run, and any of its lines may be left out.

A script is not quite the run where a node stood still (time is told to it after what arrived) and where it took a
snapshot (the log before it goes at once). Both hardly ever matter; whoever replays a script looks whether it still
breaks what the run broke.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from attrs import Factory, define, fields, frozen

from zkcore.testing.checkers import Violation
from zkcore.testing.disk import Disk
from zkcore.testing.faults import Plan
from zkcore.testing.load import BarePeers, Machine
from zkcore.testing.node import Node
from zkcore.testing.world import World
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.ready import Append, Ready, Saved, Write
from zkcore.zxid import counter_of, epoch_of

__all__ = ["Recording", "record"]


@frozen
class Recording:
    """The commands of a run, up to the violation that ended it; the strikes that came about in it, and how many pieces
    of load there were."""

    steps: tuple[str, ...]
    violation: Violation | None
    strikes: tuple[str, ...]
    loads: int


@define(eq=False)
class _Seen:
    """What was seen of one node since it was last quiet."""

    batch: list[str] = Factory(list)  # fed, and not drained yet
    stalled: bool = False  # more time than was due passed at once
    saving: list[Write] = Factory(list)  # of the Ready that is out
    written: int = 0  # so many of them are on the disk ...
    records: int = 0  # ... and so many records of the next
    sent: int = 0  # so many messages have left since
    save_ended_at: int | None = None  # and was not written down yet: what waited for it goes first


class _Recorder:
    """Sees what happens to every node of a world, in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen = {me: _Seen() for me in world.nodes}
        self._payloads = 0
        self.steps: list[str] = []
        network, oracle = world.network, world.oracle
        self._follow(network, "on_link", lambda one, other: self._write(f"link {one} {other} unheard"))
        self._follow(network, "unplug", self._crashed)
        self._follow(oracle, "wrote", self._wrote)
        self._follow(oracle, "sent", self._sent)
        for me, node in world.nodes.items():
            self._follow_disk(me, node.disk)

    def _follow(self, owner: object, name: str, see: Callable[..., None]) -> None:
        """Call `see` before every call of that function, with the same arguments."""
        real = getattr(owner, name)

        def both(*arguments: Any, **named: Any) -> Any:
            see(*arguments, **named)
            return real(*arguments, **named)

        setattr(owner, name, both)

    def _follow_disk(self, me: PeerId, disk: Disk) -> None:
        self._follow(disk, "wipe", lambda: self._write(f"wipe {me}"))
        self._follow(disk, "lose", lambda after: self._write(f"lose {me} {epoch_of(after)}.{counter_of(after)}"))

    def follow(self, me: PeerId, machine: Machine) -> None:
        """A new incarnation of `me` begins."""
        self._write(f"start {me}")
        seen = self._seen[me] = _Seen()
        add = seen.batch.append
        self._follow(machine, "tick", lambda ticks=1: self._ticks(me, machine, ticks))
        self._follow(machine, "receive", lambda sender, message: add(f"deliver {sender}>{me}"))
        self._follow(machine, "report_linked", lambda peer: add(f"deliver {peer}>{me}"))
        self._follow(machine, "report_lost", lambda peer: add(f"drop {peer}>{me}"))
        self._follow(machine, "compact", lambda ref: add(f"snapshot {me}"))
        self._follow(machine, "read_index", lambda token: add(f"read {me}"))
        self._follow(machine, "transfer", lambda target=None: add(f"transfer {me} {target or ''}".strip()))
        self._follow(machine, "propose", lambda first, payloads: add(f"propose {me} {self._words(payloads)}"))
        real = machine.drain

        def drain() -> Ready[Any]:
            self._drains(me, seen)
            ready = real()
            if ready.writes:
                self._flush()
                seen.saving, seen.written, seen.records = ready.writes, 0, 0
            return ready

        machine.drain = drain  # type: ignore[method-assign]

    def _ticks(self, me: PeerId, machine: Machine, ticks: int) -> None:
        """After a stall more than the machine is due may pass at once: it is told as to a node that stood still."""
        seen = self._seen[me]
        seen.stalled = ticks > machine.ticks_until_due
        seen.batch.append(f"tick {me} {ticks}")

    def _words(self, payloads: list[bytes]) -> str:
        """A word of the same length for each payload: what it says means nothing to a Peer."""
        words = []
        for payload in payloads:
            self._payloads += 1
            words.append(f"p{self._payloads}".ljust(len(payload), "-"))
        return " ".join(words)

    # --- writing it down, in an order that puts what waited for a save before its end

    def _write(self, *steps: str) -> None:
        self._flush()
        self.steps += steps

    def _flush(self) -> None:
        for me, seen in self._seen.items():
            if seen.save_ended_at is not None:
                seen.save_ended_at = None
                self.steps.append(f"save {me}")

    def _drains(self, me: PeerId, seen: _Seen) -> None:
        if seen.saving:
            self._flush()
            seen.saving, seen.written, seen.records = [], 0, 0
            seen.save_ended_at = self._world.now
        if not seen.batch:
            return
        batch = seen.batch[:]
        seen.batch.clear()
        stalled, seen.stalled = seen.stalled, False
        if batch[0].startswith("tick") and not stalled:
            self._write(batch.pop(0))  # a node that is busy would be told of the time last
        if seen.save_ended_at == self._world.now:
            self.steps += batch
            self._flush()
        elif len(batch) <= 1 and not stalled:
            self._write(*batch)
        else:
            self._write(f"pause {me}", *batch, f"resume {me}")

    def _wrote(self, me: PeerId, write: Write) -> None:
        seen = self._seen[me]
        seen.sent = 0
        whole = seen.saving[seen.written]
        if isinstance(write, Append) and isinstance(whole, Append) and len(write.payloads) < len(whole.payloads):
            seen.records = len(write.payloads)
        else:
            seen.written += 1

    def _sent(self, me: PeerId, to: PeerId, message: object) -> None:
        self._seen[me].sent += 1

    def _crashed(self, me: PeerId) -> None:
        seen = self._seen[me]
        if seen.saving and seen.written == len(seen.saving) and seen.sent:
            self._write(f"save {me}", f"crash {me}")  # what stood behind the save had begun to leave
        elif seen.written or seen.records:
            self._write(f"crash {me} keep {seen.written} records {seen.records}")
        else:
            self._write(f"crash {me}")
        self._seen[me] = _Seen()

    def end(self) -> None:
        """The run is over, perhaps in the middle of a save or of an input that broke something."""
        self._flush()
        for me, seen in self._seen.items():
            if seen.saving and seen.written:
                self.steps.append(f"save {me}")
            self.steps += seen.batch


class _Recorded(BarePeers):
    """Bare Peers that are followed by a recorder, once there is one."""

    recorder: _Recorder | None = None

    def start(self, node: Node, saved: Saved) -> Machine:
        machine = super().start(node, saved)
        if self.recorder is not None:
            self.recorder.follow(node.me, machine)
        return machine


def _opening(plan: Plan) -> list[str]:
    """The ensemble, with what differs from the usual limits; all saves last until they are said to be over."""
    usual, config = Limits(), plan.config
    words = [f"nodes {len(config.voters)}"]
    if config.observers:
        words.append(f"observers={len(config.observers)}")
    if config.groups:
        words.append("groups=" + "/".join(",".join(map(str, group)) for group in config.groups))
    if config.weights:
        words.append("weights=" + ",".join(f"{voter}:{weight}" for voter, weight in config.weights))
    if plan.snapshot_filler:
        words.append(f"filler={plan.snapshot_filler}")
    limits = {each.name: getattr(plan.limits, each.name) for each in fields(Limits)}
    words += [f"{name}={value}" for name, value in limits.items() if value != getattr(usual, name)]
    return [" ".join(words), *(f"hold-saves {me}" for me in config.members)]


def record(
    plan: Plan,
    *,
    without: frozenset[str] = frozenset(),
    leave_out: Container[str] = (),
    on_files: bool | None = None,
) -> Recording:
    """Run the world of `plan` with bare Peers on its nodes, and write it down. The other arguments are World's."""
    world = World(
        plan.seed, plan=plan, without=without, make_program=_Recorded, leave_out=leave_out, on_files=on_files
    )
    recorder = _Recorder(world)
    assert isinstance(world.program, _Recorded)
    world.program.recorder = recorder
    violation = world.verdict()
    recorder.end()
    steps = (*_opening(plan), *recorder.steps)
    return Recording(steps, violation, tuple(world.faults.came_about), world.loads)
