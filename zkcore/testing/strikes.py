"""What each class of fault does when it strikes: to links, to nodes, to disks.

A Strike names one blow and has a generator of its own for everything that must be decided about it, from the victim to
the moment of its mending: to leave one strike out never changes what another draws. When strikes come is decided
elsewhere (faults.py); what each of them needs of the world is a Scene.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Protocol

from zkcore.testing.checkers import Oracle
from zkcore.testing.disk import held_in
from zkcore.testing.file_disk import FileDisk
from zkcore.testing.network import MICROSECOND, MILLISECOND, Clock, Network
from zkcore.testing.node import Node, Strike, Target, Trap, Trouble
from zkcore.testing.sim_files import SimFiles
from zkcore.testing.trace import NANOSECONDS, Trace
from zkcore.zab.messages import PeerId, Role

__all__ = ["LinkStrikes", "NodeStrikes", "Repairs", "Scene"]


class Scene(Clock, Protocol):
    """What strikes need of their world."""

    network: Network
    oracle: Oracle
    trace: Trace
    nodes: dict[PeerId, Node]


def pick_victim(scene: Scene, rng: Random) -> Node | None:
    """A node that is up; the leader, where there is one, half of the time. What is drawn does not depend on who is up,
    so a strike hits the same node in a world in which another strike was left out, if it can."""
    order = rng.sample(list(scene.nodes.values()), len(scene.nodes))
    prefer_leader = rng.random() < 0.5
    up = [node for node in order if node.up]
    leaders = [node for node in up if node.peer is not None and node.peer.role is Role.LEADING]
    return next(iter(leaders if leaders and prefer_leader else up), None)


class Repairs:
    """What was broken, and when it is mended: each thing at its time, or all at once when the faults end."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._undo: list[Callable[[], None]] = []
        self._over = False

    def end(self) -> None:
        """Mend everything now. Who is down is for the world to start."""
        self._over = True
        for undo in self._undo:
            undo()

    def mend_later(self, wait: int, mend: Callable[[], None]) -> None:
        """Mend after `wait`, or at the end; once."""
        pending = [mend]

        def undo() -> None:
            while pending:
                pending.pop()()

        self._undo.append(undo)
        self._scene.at(self._scene.now + wait, undo)

    def start_later(self, node: Node, wait: int, then: Callable[[], None] | None = None) -> None:
        """Start `node` after `wait` if it is still down then, and do `then`."""
        self._scene.at(self._scene.now + 1 + wait, self._start, node, then)

    @property
    def over(self) -> bool:
        """Whether the faults have ended."""
        return self._over

    def _start(self, node: Node, then: Callable[[], None] | None) -> None:
        if not self._over and not node.up:
            node.start()
            if then is not None:
                then()


class LinkStrikes:
    """Links that break, fall silent, clog or slow down. `ends_ns` is when the faults end."""

    def __init__(self, scene: Scene, repairs: Repairs, *, ends_ns: int) -> None:
        self._scene = scene
        self._repairs = repairs
        self._ends_ns = ends_ns

    def lose_link(self, strike: Strike) -> bool:
        ids = list(self._scene.nodes)
        return len(ids) > 1 and self._scene.network.reset(*strike.rng.sample(ids, 2))

    def partition(self, strike: Strike) -> bool:
        """Part one node, some or a single pair from the rest; while nobody notices, what they send may vanish."""
        rng, network = strike.rng, self._scene.network
        cut = self._draw_cut(rng)
        silence = rng.choice(("none", "one way", "both ways"))
        duration = int(rng.expovariate(0.5) * NANOSECONDS) + MILLISECOND
        notice = rng.randrange(3 * NANOSECONDS)
        for one, other in cut:
            mute = {"none": (), "one way": (one,), "both ways": (one, other)}[silence]
            network.block(one, other, mute=mute, notice_ns=notice)
        self._say(f"{strike.name} of {cut}, muted: {silence}", duration)

        def unblock() -> None:
            for one, other in cut:
                network.unblock(one, other)

        self._repairs.mend_later(duration, unblock)
        return bool(cut)

    def clog(self, strike: Strike) -> bool:
        """Nothing arrives from some node or other for a while, in one direction or both; nothing is lost."""
        rng, now = strike.rng, self._scene.now
        cut = self._draw_cut(rng)
        duration = int(10 ** rng.uniform(7.5, 9.7))
        until = min(now + duration, self._ends_ns)
        both = rng.random() < 0.5
        for one, other in cut:
            self._scene.network.clog(one, other, until)
            if both:
                self._scene.network.clog(other, one, until)
        self._say(f"{strike.name} of {cut}{', both ways' if both else ''}", until - now)
        return bool(cut)

    def slow_link(self, strike: Strike) -> bool:
        """Two nodes are far apart for a while, farther one way than the other."""
        rng = strike.rng
        cut = self._draw_cut(rng)
        duration = int(rng.expovariate(0.2) * NANOSECONDS) + MILLISECOND
        there, back = (int(10 ** rng.uniform(6.5, 8.5)) for _ in range(2))
        self._slow(cut, there, back)
        self._say(f"{strike.name} of {cut} by {there / MILLISECOND:.0f} and {back / MILLISECOND:.0f} ms", duration)
        self._repairs.mend_later(duration, lambda: self._slow(cut, -there, -back))
        return bool(cut)

    def _slow(self, cut: list[tuple[PeerId, PeerId]], there: int, back: int) -> None:
        for one, other in cut:
            self._scene.network.slow_down(one, other, there)
            self._scene.network.slow_down(other, one, back)

    def _draw_cut(self, rng: Random) -> list[tuple[PeerId, PeerId]]:
        """The links of one node, perhaps the leader, or between two groups, or just one link."""
        ids = list(self._scene.nodes)
        if len(ids) < 2:
            return []
        shape = rng.random()
        if shape >= 0.7:
            one, other = rng.sample(ids, 2)
            return [(one, other)]
        if shape < 0.4:
            victim = pick_victim(self._scene, rng)
            aside = [victim.me if victim is not None else ids[0]]
        else:
            aside = sorted(rng.sample(ids, rng.randrange(1, len(ids))))
        return [(one, other) for one in aside for other in ids if other not in aside]

    def _say(self, what: str, duration: int) -> None:
        self._scene.trace.say(self._scene.now, f"{what}, for {duration / NANOSECONDS:.3f} s")


class NodeStrikes:
    """Nodes that crash or stand still, and disks that are slow, full or broken.

    `came_about` is called with a strike that waited in a Trap when its moment has come. `save_ns` is how long a save
    takes on a good disk.
    """

    def __init__(
        self, scene: Scene, repairs: Repairs, *, save_ns: int, came_about: Callable[[Strike], None]
    ) -> None:
        self._scene = scene
        self._repairs = repairs
        self._save_ns = save_ns
        self._came_about = came_about

    # --- processes

    def crash(self, strike: Strike) -> bool:
        node = pick_victim(self._scene, strike.rng)
        wait = int(strike.rng.expovariate(1) * NANOSECONDS)
        if node is None:
            return False
        node.crash(strike.rng)
        self._repairs.start_later(node, wait)
        return True

    def crash_all(self, strike: Strike) -> bool:
        waits = [strike.rng.randrange(NANOSECONDS) for _ in self._scene.nodes]
        for node, wait in zip(self._scene.nodes.values(), waits, strict=True):
            if node.up:
                node.crash(strike.rng)
                self._repairs.start_later(node, wait)
        return True

    def pause(self, strike: Strike) -> bool:
        node = pick_victim(self._scene, strike.rng)
        if node is None or node.paused:
            return False
        node.pause()

        def resume() -> None:
            if node.up and node.paused:
                node.resume()

        self._repairs.mend_later(int(strike.rng.expovariate(0.7) * NANOSECONDS), resume)
        return True

    # --- disks

    def slow_disk(self, strike: Strike) -> bool:
        node = pick_victim(self._scene, strike.rng)
        if node is None:
            return False
        node.slow_until = self._scene.now + int(strike.rng.expovariate(0.5) * NANOSECONDS)
        return True

    def save_ns(self, node: Node, rng: Random) -> int:
        """How long a save takes: a slow disk needs up to a second, now and then longer than anybody waits."""
        if node.slow_until > self._scene.now:
            return int(10 ** rng.uniform(6, 9.6 if rng.random() < 0.1 else 8.7))
        return self._save_ns // 2 + int(rng.random() * self._save_ns) + 10 * MICROSECOND

    def wipe(self, strike: Strike) -> bool:
        """A disk is replaced by an empty one; its node knows that it is no new member."""
        return self._damage(strike, lambda node: node.disk.wipe())

    def lose_log(self, strike: Strike) -> bool:
        """The end of a log turns out to be unreadable, or all of it."""
        return self._damage(strike, lambda node: self._lose(node, strike.rng))

    def _damage(self, strike: Strike, damage: Callable[[Node], None]) -> bool:
        """Crash a node and damage its disk."""
        oracle, node = self._scene.oracle, pick_victim(self._scene, strike.rng)
        if node is None or not self._may_be_damaged(node):
            return False
        wait = int(strike.rng.expovariate(1) * NANOSECONDS)
        node.crash(strike.rng)
        damage(node)
        oracle.damaged(node.me, node.disk.load(), held_in(node.disk.storage))
        self._repairs.start_later(node, wait)
        return True

    def _may_be_damaged(self, node: Node) -> bool:
        """One node at a time, since that is what the protocol promises to survive, and only where the others can make a
        quorum without it."""
        oracle = self._scene.oracle
        if any(disk.damage is not None for disk in oracle.durable.values()):
            return False
        if any(other.disk.unsound for other in self._scene.nodes.values()):
            return False
        if not oracle.configs.settled:
            return False  # whoever would vouch for it may be in the other half
        config = oracle.configs.committed
        if not config.is_quorum([voter for voter in config.voters if voter != node.me]):
            return False
        return oracle.durable[node.me].last > 0  # else it has nothing to lose

    def can_spare(self, node: Node) -> bool:
        """Whether the ensemble comes to no harm if the disk of `node` goes back to an earlier state, and nobody knows:
        no other is damaged, what this one may have acknowledged is on a quorum of the others, and each of those that
        could ask for a promise has come as far as any that this one may have given."""
        oracle, mine = self._scene.oracle, self._scene.oracle.durable[node.me]
        others = [other for other in self._scene.nodes.values() if other is not node]
        if any(other.disk.unsound or oracle.durable[other.me].damage is not None for other in others):
            return False
        if oracle.configs.changed:
            return False  # a disk that forgets a change votes as before it
        config = oracle.configs.committed
        voters = [voter for voter in config.voters if voter != node.me]
        if any(oracle.durable[v].current < mine.accepted for v in voters if config.can_lead(v)):
            return False
        holders = [voter for voter in voters if oracle.durable[voter].keeps(mine.last)]
        return mine.damage is None and config.is_quorum(holders)

    def hit(self, strike: Strike) -> bool:
        """A bit turns over, a sector cannot be read, a write has gone astray, on a disk in use. Whoever reads there
        finds out, or the next start, which comes before long."""
        rng, node = strike.rng, pick_victim(self._scene, strike.rng)
        wait = int(rng.expovariate(0.5) * NANOSECONDS)
        if node is None or not isinstance(node.disk, FileDisk) or not self._may_be_damaged(node):
            return False
        where = node.disk.hit(rng)
        self._scene.trace.say(self._scene.now, f"{strike.name}: {node.me}, {where}")
        self._scene.at(self._scene.now + wait, self._restart, node, rng)
        return True

    def _restart(self, node: Node, rng: Random) -> None:
        if node.up and not self._repairs.over and node.disk.unsound:
            node.crash(rng)
            self._repairs.start_later(node, rng.randrange(NANOSECONDS))

    def lying_sync(self, strike: Strike) -> bool:
        """A disk says that it has stored what it was given, and has not. The next crash shows it, if it comes while the
        ensemble can spare what is lost; else there was no lie."""
        rng, node = strike.rng, pick_victim(self._scene, strike.rng)
        duration, crashes = int(rng.expovariate(0.5) * NANOSECONDS), rng.random() < 0.7
        if node is None or not isinstance(node.disk, FileDisk) or not self._may_be_damaged(node):
            return False
        node.disk.lie()

        def end() -> None:
            if crashes and node.up and not self._repairs.over and node.disk.unsound and self.can_spare(node):
                node.crash(rng)
                self._repairs.start_later(node, rng.randrange(NANOSECONDS))
            node.disk.settle()

        self._repairs.mend_later(duration, end)
        return True

    def roll_back(self, strike: Strike) -> bool:
        """A disk is copied, and later the copy takes its place, if that comes while the ensemble can spare what is
        lost."""
        rng, node = strike.rng, pick_victim(self._scene, strike.rng)
        age = int(rng.expovariate(0.3) * NANOSECONDS)
        if node is None or not isinstance(node.disk, FileDisk) or not self._may_be_damaged(node):
            return False
        self._scene.at(self._scene.now + age, self._roll_back, strike, node, node.disk.copy(rng))
        return False  # not yet

    def _roll_back(self, strike: Strike, node: Node, copy: SimFiles) -> None:
        rng, oracle = strike.rng, self._scene.oracle
        if self._repairs.over or not node.up or node.disk.unsound or not self.can_spare(node):
            return
        node.crash(rng)
        assert isinstance(node.disk, FileDisk)
        if oracle.durable[node.me].damage is not None or not self.can_spare(node):
            self._repairs.start_later(node, rng.randrange(NANOSECONDS))
            return  # its last save changed that
        node.disk.roll_back(copy)
        if node.disk.face_harm():
            oracle.damaged(node.me, node.disk.load(), held_in(node.disk.storage))
            self._came_about(strike)
        self._repairs.start_later(node, rng.randrange(NANOSECONDS))

    def _lose(self, node: Node, rng: Random) -> None:
        zxids = self._scene.oracle.durable[node.me].zxids
        node.disk.lose(rng.choice(zxids) if zxids and rng.random() < 0.8 else 0)

    # --- what waits for a save

    def crash_in_save(self, strike: Strike) -> bool:
        return self._set_trap(strike, Trouble.CRASH)

    def cut_in_sync(self, strike: Strike) -> bool:
        """The link to the leader breaks while a follower's log is being brought in line."""
        return self._set_trap(strike, Trouble.CUT, Target.SYNC)

    def disk_failure(self, strike: Strike) -> bool:
        return self._set_trap(strike, Trouble.FAIL)

    def disk_full(self, strike: Strike) -> bool:
        return self._set_trap(strike, Trouble.FULL)

    def _set_trap(self, strike: Strike, trouble: Trouble, target: Target | None = None) -> bool:
        node = pick_victim(self._scene, strike.rng)
        if node is not None and node.trap is None:
            node.trap = Trap(target or strike.rng.choice(list(Target)), trouble, strike)
        return False  # not yet: see `befell`

    def befell(self, node: Node, trap: Trap) -> None:
        """The link breaks; or the host throws the Peer away, and a new one begins from what the storage holds; or the
        process restarts."""
        strike, rng = trap.strike, trap.strike.rng
        self._came_about(strike)
        if trap.trouble is Trouble.CUT:
            leader = node.peer.leader if node.peer is not None else None
            if leader is not None and leader != node.me:
                self._scene.network.reset(node.me, leader)
            return
        then = partial(self._fill_again, node, trap) if trap.trouble is Trouble.FULL else None
        longest = NANOSECONDS if trap.trouble is Trouble.CRASH else 200 * MILLISECOND
        self._repairs.start_later(node, rng.randrange(longest), then)
        if trap.trouble is Trouble.CRASH and rng.random() < 0.5:
            self._crash_with(rng)

    def _fill_again(self, node: Node, trap: Trap) -> None:
        """A disk that is full stays so for a while, whoever is started on it."""
        until = trap.until or self._scene.now + int(trap.strike.rng.expovariate(1) * NANOSECONDS)
        if self._scene.now < until:
            node.trap = Trap(Target.ANY, Trouble.FULL, trap.strike, until)

    def _crash_with(self, rng: Random) -> None:
        """A crash in a save seldom comes alone: the power that failed was the leader's, too, and it stays away longer
        than others. What a save had half done matters most while nobody is left who knows better."""
        for other in self._scene.nodes.values():
            if other.up and other.peer is not None:
                leads = other.peer.role is Role.LEADING
                if leads or rng.random() < 0.5:
                    other.crash(rng)
                    self._repairs.start_later(other, rng.randrange(4 * NANOSECONDS if leads else NANOSECONDS))
