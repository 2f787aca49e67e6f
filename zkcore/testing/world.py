"""A whole ensemble in one thread and in virtual time, decided by a seed.

A world goes through four phases. Chaos: faults and load. Heal: the faults stop, what they broke is mended, all nodes
are started. Converge: within a bounded virtual time one leader is established, everybody follows it, and new load is
committed and delivered everywhere. Final checks: every storage holds what the checkers saw it save. Invariants are
checked after every step of all of them (checkers.py).

There is one heap of (time, sequence, action); a world is a function of its seed, whatever the hash seed or the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from heapq import heappop, heappush
from random import Random
from typing import Any

from attrs import frozen

from zkcore.storage.storage import MemoryStorage
from zkcore.testing.checkers import Oracle, Violation
from zkcore.testing.configs import decides
from zkcore.testing.disk import Disk
from zkcore.testing.faults import Faults, Plan, draw_plan
from zkcore.testing.file_disk import FileDisk
from zkcore.testing.load import BarePeers, Program
from zkcore.testing.network import MILLISECOND, Network
from zkcore.testing.node import Node, Trap
from zkcore.testing.sightings import Sightings
from zkcore.testing.trace import NANOSECONDS, NumberedStreams, Trace, random_stream
from zkcore.zab.messages import PeerId, Role
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import Transition
from zkcore.zab.ready import Write
from zkcore.zxid import format_zxid

__all__ = ["Report", "World", "simulate"]

CONVERGE_NS = 60 * NANOSECONDS
"""Within this an ensemble whose faults have ended must serve again."""

LOOK_NS = 100 * MILLISECOND
"""How often the world looks whether the ensemble has converged ..."""

LEADERS_NS = 250 * MILLISECOND
"""... and whether leaders have quorums."""

LEADER_GRACE_NS = NANOSECONDS
"""A leader that hears no quorum may take this much longer than its sync limit to step down (L4): its time goes in
ticks, and may begin late."""


@frozen(kw_only=True)
class Report:
    """What came of a seed.

    `events` counts what happened: arrivals, links, ticks, saves, deliveries, load, faults. `node_faults` are the
    strikes that came about, by class, on nodes, disks and links; `message_faults` single messages, by what befell
    them; `sometimes` the rare paths taken (sightings.py). `strikes` names those strikes, for `leave_out`; the load is
    called "load/0", "load/1" and so on, `loads` of it in all. `converge_ns` is the virtual time from the end of the
    faults until all was well.
    """

    seed: int
    voters: int
    events: int
    node_faults: dict[str, int]
    message_faults: dict[str, int]
    sometimes: dict[str, int]
    strikes: tuple[str, ...]
    loads: int
    committed: int
    epochs: int
    virtual_ns: int
    converge_ns: int
    digest: int
    violation: Violation | None
    lines: list[str] | None


class World:
    """One ensemble. `make_program` makes what runs on its nodes: `BarePeers`, or `ChangingPeers`, whose members change,
    or `Replicas` with clients.

    `leave_out` names strikes and load that shall not happen ("crash/3", "load/17"): what is left draws what it would
    have drawn. `without` names invariants that are not checked. `on_files` says whether the storages are those in
    files, on files that are simulated; in worlds with an odd seed they are, unless told otherwise.
    """

    def __init__(
        self,
        seed: int,
        *,
        plan: Plan | None = None,
        keep_trace: bool = False,
        without: frozenset[str] = frozenset(),
        make_program: Callable[[Plan], Program] = BarePeers,
        leave_out: Container[str] = (),
        on_files: bool | None = None,
    ) -> None:
        self.seed = seed
        self.now = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        if plan is None:
            plan = draw_plan(seed, reconfigure=getattr(make_program, "changes_members", False))
        self.plan = plan
        self.trace = Trace(keep=keep_trace)
        config = plan.config
        self.oracle = Oracle(config, spares=plan.spares, window_bytes=plan.limits.window_bytes, without=without)
        ids = self.oracle.nodes
        self.sightings = Sightings(self.oracle)
        self.network = Network(self, ids, plan, seed)
        self.network.on_link = self.oracle.linked
        self.program = make_program(plan)
        self.half_sync_ticks = plan.limits.sync_limit_ticks // 2
        self.snapshot_every = plan.snapshot_every
        self.over_wire = plan.over_wire
        self.nodes: dict[PeerId, Node] = {}
        on_files = bool(seed % 2) if on_files is None else on_files
        for me, tick_ns in zip(ids, plan.tick_ns, strict=True):
            wrote = self._wrote_at(me)
            disk = FileDisk(me, wrote) if on_files else Disk(MemoryStorage(), wrote)
            self.nodes[me] = Node(me, self, disk, random_stream(seed, f"node/{me}"), tick_ns=tick_ns)
        self._disks = {me: random_stream(seed, f"disk/{me}") for me in ids}
        self._load_times = random_stream(seed, "load")
        self._load_streams = NumberedStreams(seed, "load")
        self.loads = 0  # how many pieces of load there were
        self._loading = True
        self._leave_out = leave_out
        self.faults = Faults(self, plan, leave_out=leave_out)
        self._looks = 0
        self._leading_since: dict[PeerId, int] = {}
        self._healed_at = 0
        self.converge_ns = 0

    # --- the clock

    def at(self, time: int, action: Callable[..., None], *arguments: object) -> None:
        """Call `action(*arguments)` at the virtual `time`."""
        self._sequence += 1
        heappush(self._heap, (time, self._sequence, action, arguments))

    def run_until(self, time: int) -> None:
        """Let everything happen that happens before `time`."""
        heap = self._heap
        while heap and heap[0][0] < time:
            self.now, _, action, arguments = heappop(heap)
            action(*arguments)
        self.now = time

    # --- what nodes ask of it

    def save_ns(self, node: Node) -> int:
        """See Surroundings."""
        return self.faults.save_ns(node, self._disks[node.me])

    def befell(self, node: Node, trap: Trap) -> None:
        """See Surroundings."""
        self.faults.befell(node, trap)

    def can_spare(self, node: Node) -> bool:
        """See Surroundings."""
        return self.faults.can_spare(node)

    def storage_failed(self, node: Node) -> None:
        """See Surroundings."""
        self.at(self.now + 1 + self._disks[node.me].randrange(200 * MILLISECOND), self._start, node)

    def _start(self, node: Node) -> None:
        if not node.up:
            node.start()

    def load_stream(self, node: Node, number: int) -> Random:
        """See Surroundings."""
        return self._load_streams.get(number, node.me)

    def _wrote_at(self, me: PeerId) -> Callable[[Write], None]:
        def wrote(write: Write) -> None:
            self.sightings.writing(me, write)
            self.oracle.wrote(me, write)

        return wrote

    # --- the phases

    def verdict(self) -> Violation | None:
        """Run, and give back the violation that ended it, if any. An exception out of the core is one, too."""
        try:
            self.run()
        except Violation as violation:
            return violation
        except Exception as error:
            raised = Violation("raised", f"{type(error).__name__}: {error}")
            raised.__cause__ = error
            return raised
        return None

    def run(self) -> None:
        """All phases. Raises Violation."""
        for node in self.nodes.values():
            self.at(self._load_times.randrange(100 * MILLISECOND), node.start)
        self.at(LEADERS_NS, self._look)
        self._load_later()
        self.run_until(self.plan.chaos_ns)
        self._heal()
        self._converge()
        self._check_storages()
        self.program.check(self.nodes.values())

    def _heal(self) -> None:
        self.trace.say(self.now, "=== the faults end")
        self._healed_at = self.now
        self._loading = False
        self.faults.stop()
        for node in self.nodes.values():
            node.disk.settle()
            if node.up and node.disk.unsound:
                node.crash(self._disks[node.me])  # so that it is looked through
            self._start(node)

    def _converge(self) -> None:
        """Serve again, and show it by committing something new."""
        deadline = self.now + CONVERGE_NS
        before: int | None = None
        while self.now < deadline:
            self.run_until(self.now + LOOK_NS)
            if self._settled():
                if before is not None and len(self.oracle.committed) > before:
                    self.converge_ns = self.now - self._healed_at
                    return
                before = len(self.oracle.committed) if before is None else before
                self._put_load()
        peers = [node.peer for node in self.nodes.values() if node.peer is not None]
        states = "; ".join(f"{peer.status()} ({', '.join(peer.explain())})" for peer in peers)
        last = self.oracle.committed[-1] if self.oracle.committed else 0
        late = f"no agreement {CONVERGE_NS // NANOSECONDS} s after the faults"
        raise Violation("L2", f"{late}: {states}; committed is {format_zxid(last)}")

    def _settled(self) -> bool:
        """One established leader, all members established with it, all their logs alike, whole and delivered, nobody
        waiting, and no change of the members under way."""
        members = [me for me in self.nodes if me in self.oracle.configs.committed.members]
        peers = [self.nodes[me].peer for me in members]
        leaders = [peer for peer in peers if peer is not None and peer.role is Role.LEADING]
        if len(leaders) != 1 or not self.program.idle() or isinstance(leaders[0].status().config, Transition):
            return False
        leader, committed = leaders[0], self.oracle.committed
        last = committed[-1] if committed else 0
        return all(
            peer is not None and peer.established and peer.leader == leader.leader and peer.epoch == leader.epoch
            and peer.last_logged == last and self.oracle.delivered[me] == len(committed)
            and self.oracle.durable[me].damage is None
            for me, peer in zip(members, peers, strict=True)
        )  # fmt: skip

    def _check_storages(self) -> None:
        for me, node in self.nodes.items():
            durable = self.oracle.durable[me]
            held = [(entry.zxid, entry.payload) for entry in node.disk.storage.entries(durable.base, 1 << 40)]
            if held != [(zxid, self.oracle.born[zxid]) for zxid in durable.zxids]:
                raise Violation("storage", f"node {me} does not hold the records that it saved")

    # --- load, and leaders that nobody follows

    def _load_later(self) -> None:
        wait = int(self._load_times.expovariate(self.plan.load_rate) * NANOSECONDS)
        self.at(self.now + wait, self._load_now)

    def _load_now(self) -> None:
        if self._loading:
            if f"load/{self.loads}" in self._leave_out:
                self.loads += 1
            else:
                self._put_load()
            self._load_later()

    def _put_load(self) -> None:
        """All nodes where it makes sense take one step of the load each."""
        number = self.loads
        self.loads += 1
        for node in self.nodes.values():
            if node.up and self.program.serves(node):
                node.want_load(number)

    def _look(self) -> None:
        self._looks += 1
        leaders = 0
        for node in self.nodes.values():
            peer = node.peer
            if peer is not None and peer.role is Role.LEADING and peer.established:
                leaders += 1
                self._check_leader(node, peer)
            elif self._leading_since:
                self._leading_since.pop(node.me, None)
        if leaders > 1:
            self.sightings.see("two leaders at once")
        if self._looks % 4 == 0:
            self._listen_to(list(self.nodes.values())[self._looks // 4 % len(self.nodes)])
        self.at(self.now + LEADERS_NS, self._look)

    def _listen_to(self, node: Node) -> None:
        """What a node says of itself can be asked for at any time."""
        if node.peer is not None:
            status = node.peer.status()
            node.peer.explain()
            self.sightings.heard(status)
            if self.oracle.configs.changed and not node.busy:
                version = self.oracle.configs.version_of(node.me)
                if status.version != version:
                    what = f"goes by version {format_zxid(status.version)}, and has {format_zxid(version)} on disk"
                    self.oracle.fail("X16", f"node {node.me} {what}")

    def _check_leader(self, node: Node, peer: Peer) -> None:
        """An established leader that hears no quorum follow it must step down before long (L4)."""
        if node.busy:
            self._leading_since.pop(node.me, None)
            return
        since = max(self._leading_since.setdefault(node.me, self.now), node.stalled_at)
        patience = self.plan.limits.sync_limit_ticks * node.tick_ns + LEADER_GRACE_NS
        if self.now - since > patience:
            heard = [other for other, last in node.followed.items() if self.now - last <= patience]
            if not decides(self.oracle.configs.of(node.me), [node.me, *heard]):
                self.oracle.fail("L4", f"node {node.me} has led epoch {peer.epoch} without a quorum for too long")


def simulate(
    seed: int,
    *,
    plan: Plan | None = None,
    keep_trace: bool = False,
    without: frozenset[str] = frozenset(),
    make_program: Callable[[Plan], Program] = BarePeers,
    leave_out: Container[str] = (),
    on_files: bool | None = None,
) -> Report:
    """Run the world of `seed` to its end, or to its first violation. The arguments are those of World."""
    world = World(
        seed, plan=plan, keep_trace=keep_trace, without=without, make_program=make_program, leave_out=leave_out,
        on_files=on_files,
    )  # fmt: skip
    violation = world.verdict()
    return Report(
        seed=seed,
        voters=len(world.plan.voters),
        events=world.trace.events,
        node_faults=dict(world.faults.counts),
        message_faults=dict(world.network.message_faults),
        sometimes=dict(world.sightings.counts),
        strikes=tuple(world.faults.came_about),
        loads=world.loads,
        committed=len(world.oracle.committed),
        epochs=len(world.oracle.established),
        virtual_ns=world.now,
        converge_ns=world.converge_ns,
        digest=world.trace.digest,
        violation=violation,
        lines=world.trace.lines,
    )
