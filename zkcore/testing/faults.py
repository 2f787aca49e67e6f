"""Which faults a world has, and when they strike.

Each seed first draws which classes of fault are on, then how often each strikes, and how fast network and disks are
(swarm testing: a world in which everything fails all the time hides the bugs that need a long healthy stretch). Every
class draws from a random stream of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Protocol

from attrs import frozen

from zkcore.testing.network import MICROSECOND, MILLISECOND, Clock, Network
from zkcore.testing.node import Node, Target, Trouble
from zkcore.testing.trace import NANOSECONDS, Trace, random_stream
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId, Role

__all__ = ["Faults", "Plan", "draw_plan"]

CLASSES = (
    "link-loss", "partition", "crash", "crash-in-save", "crash-all", "slow-disk", "pause", "disk-failure", "disk-full",
)  # fmt: skip


@frozen(kw_only=True)
class Plan:
    """All that a seed decides before its world begins. Rates are per virtual second."""

    seed: int
    voters: tuple[PeerId, ...]
    limits: Limits
    chaos_ns: int
    rates: dict[str, float]
    load_rate: float
    batch: int
    delay_ns: int
    jitter_ns: int
    notice_ns: int
    relink_ns: int
    save_ns: int
    tick_ns: tuple[int, ...]
    snapshot_every: int
    snapshot_filler: int
    over_wire: bool


def draw_plan(seed: int) -> Plan:
    """The plan of `seed`."""
    rng = random_stream(seed, "plan")
    size = rng.choices((1, 2, 3, 4, 5, 7), (4, 6, 45, 8, 32, 5))[0]
    on = [name for name in CLASSES if rng.random() < 0.5]
    tick = 10 * MILLISECOND
    skewed = rng.random() < 0.3
    small = rng.random() < 0.5  # small limits make the rare paths common
    return Plan(
        seed=seed,
        voters=tuple(range(1, size + 1)),
        limits=Limits(
            deliver_bytes=rng.choice((40, 400)) if small else 1 << 20,
            read_bytes=rng.choice((1, 60, 600)) if small else 1 << 20,
            tail_bytes=rng.choice((1, 100, 1000)) if small else 1 << 20,
            snapshot_chunk_bytes=rng.choice((40, 400, 4096)),
            last_counter=rng.choice((5, 40)) if rng.random() < 0.1 else 0xFFF00000,
        ),
        chaos_ns=rng.randrange(10, 31) * NANOSECONDS,
        rates={name: 10 ** rng.uniform(-1.3, 0.3 if name != "crash-all" else -0.7) for name in on},
        load_rate=10 ** rng.uniform(0, 1.6),
        batch=rng.choice((1, 3, 8)),
        delay_ns=int(10 ** rng.uniform(5, 7.3)),  # 0.1 to 20 ms, and up to twice that between two given nodes
        jitter_ns=int(10 ** rng.uniform(4, 7)) if rng.random() < 0.7 else 0,
        notice_ns=int(10 ** rng.uniform(6, 8.7)),
        relink_ns=int(10 ** rng.uniform(6.5, 8.5)),
        save_ns=int(10 ** rng.uniform(4.5, 7)),
        tick_ns=tuple(int(tick * rng.uniform(0.8, 1.25)) if skewed else tick for _ in range(size)),
        snapshot_every=rng.choice((3, 10, 40, 100)) if rng.random() < 0.5 else 0,
        snapshot_filler=rng.choice((0, 0, 100, 2000)),
        over_wire=rng.random() < 0.05,
    )


class Scene(Clock, Protocol):
    """What the faults need of their world."""

    network: Network
    trace: Trace
    nodes: dict[PeerId, Node]


class Faults:
    """Strikes until `stop`. `counts` says how often each class did."""

    def __init__(self, scene: Scene, plan: Plan, seed: int) -> None:
        self._scene = scene
        self._plan = plan
        self._on = True
        self._undo: list[Callable[[], None]] = []
        self._full_until: dict[PeerId, int] = {}
        self.counts: Counter[str] = Counter()
        self._streams = {name: random_stream(seed, f"fault/{name}") for name in CLASSES}
        self._strikes: dict[str, Callable[[Random], bool]] = {
            "link-loss": self._lose_link,
            "partition": self._partition,
            "crash": self._crash,
            "crash-in-save": self._crash_in_save,
            "crash-all": self._crash_all,
            "slow-disk": self._slow_disk,
            "pause": self._pause,
            "disk-failure": self._disk_failure,
            "disk-full": self._disk_full,
        }
        for name in plan.rates:
            self._next(name)

    def stop(self) -> None:
        """No more faults, and what they have broken is mended: partitions end, who stands still goes on, the disks
        have room. Who is down is for the world to start."""
        self._on = False
        for undo in self._undo:
            undo()
        for node in self._scene.nodes.values():
            node.trouble = None
            node.slow_until = 0
            if node.up and node.paused:
                node.resume()

    def _next(self, name: str) -> None:
        wait = int(self._streams[name].expovariate(self._plan.rates[name]) * NANOSECONDS)
        self._scene.at(self._scene.now + wait, self._strike, name)

    def _strike(self, name: str) -> None:
        if self._on:
            if self._strikes[name](self._streams[name]):
                self._note(name)
            self._next(name)

    def _note(self, name: str) -> None:
        self.counts[name] += 1
        self._scene.trace.say(self._scene.now, f"*** {name}")
        self._scene.trace.mark(self._scene.now, 6, CLASSES.index(name))

    # --- whom it hits

    def _victim(self, rng: Random) -> Node | None:
        """A node that is up; the leader, where there is one, half of the time."""
        up = [node for node in self._scene.nodes.values() if node.up]
        if not up:
            return None
        leaders = [node for node in up if node.peer is not None and node.peer.role is Role.LEADING]
        return rng.choice(leaders if leaders and rng.random() < 0.5 else up)

    def _start_later(self, node: Node, wait: int) -> None:
        self._scene.at(self._scene.now + 1 + wait, self._start, node)

    def _start(self, node: Node) -> None:
        if self._on and not node.up:
            node.start()
            if self._full_until.get(node.me, 0) > self._scene.now:
                node.trouble = (Target.ANY, Trouble.FULL)

    # --- the network

    def _lose_link(self, rng: Random) -> bool:
        ids = self._plan.voters
        return len(ids) > 1 and self._scene.network.reset(*rng.sample(ids, 2))

    def _partition(self, rng: Random) -> bool:
        ids = self._plan.voters
        if len(ids) < 2:
            return False
        shape = rng.random()
        if shape < 0.4:
            victim = self._victim(rng)
            aside = [victim.me if victim is not None else ids[0]]
        elif shape < 0.7:
            aside = sorted(rng.sample(ids, rng.randrange(1, len(ids))))
        else:
            aside = []
        one_pair = tuple(rng.sample(ids, 2))
        cut = [(one, other) for one in aside for other in ids if other not in aside] if aside else [one_pair]
        silence = rng.choice(("none", "one way", "both ways"))
        duration = int(rng.expovariate(0.5) * NANOSECONDS) + MILLISECOND
        notice = rng.randrange(3 * NANOSECONDS)
        for one, other in cut:
            mute = {"none": (), "one way": (one,), "both ways": (one, other)}[silence]
            self._scene.network.block(one, other, mute=mute, notice_ns=notice)
        self._scene.trace.say(self._scene.now, f"partition {cut}, muted: {silence}, for {duration / NANOSECONDS:.3f} s")

        def unblock() -> None:
            for one, other in cut:
                self._scene.network.unblock(one, other)

        self._mend_later(duration, unblock)
        return True

    def _mend_later(self, wait: int, mend: Callable[[], None]) -> None:
        """Mend after `wait`, or when the faults stop; once."""
        pending = [mend]

        def undo() -> None:
            while pending:
                pending.pop()()

        self._undo.append(undo)
        self._scene.at(self._scene.now + wait, undo)

    # --- nodes

    def _crash(self, rng: Random) -> bool:
        node = self._victim(rng)
        if node is None:
            return False
        node.crash()
        self._start_later(node, int(rng.expovariate(1) * NANOSECONDS))
        return True

    def _crash_all(self, rng: Random) -> bool:
        for node in self._scene.nodes.values():
            if node.up:
                node.crash()
                self._start_later(node, rng.randrange(NANOSECONDS))
        return True

    def _pause(self, rng: Random) -> bool:
        node = self._victim(rng)
        if node is None or node.paused:
            return False
        node.pause()

        def resume() -> None:
            if node.up and node.paused:
                node.resume()

        self._mend_later(int(rng.expovariate(0.7) * NANOSECONDS), resume)
        return True

    # --- disks

    def _slow_disk(self, rng: Random) -> bool:
        node = self._victim(rng)
        if node is None:
            return False
        node.slow_until = self._scene.now + int(rng.expovariate(0.5) * NANOSECONDS)
        return True

    def save_ns(self, node: Node, rng: Random) -> int:
        """How long a save takes: a slow disk needs up to a second, now and then longer than anybody waits."""
        if node.slow_until > self._scene.now:
            return int(10 ** rng.uniform(6, 9.6 if rng.random() < 0.1 else 8.7))
        return self._plan.save_ns // 2 + rng.randrange(self._plan.save_ns) + 10 * MICROSECOND

    def _set_up(self, rng: Random, trouble: Trouble) -> bool:
        """Counted when it comes about: see `befell`."""
        node = self._victim(rng)
        if node is not None and node.trouble is None:
            node.trouble = (rng.choice(list(Target)), trouble)
        return False

    def _crash_in_save(self, rng: Random) -> bool:
        return self._set_up(rng, Trouble.CRASH)

    def _disk_failure(self, rng: Random) -> bool:
        return self._set_up(rng, Trouble.FAIL)

    def _disk_full(self, rng: Random) -> bool:
        return self._set_up(rng, Trouble.FULL)

    def befell(self, node: Node, trouble: Trouble) -> None:
        """The host throws the Peer away; a new one begins from what the storage holds, or the process restarts."""
        name = {Trouble.CRASH: "crash-in-save", Trouble.FAIL: "disk-failure", Trouble.FULL: "disk-full"}[trouble]
        self._note(name)
        rng, now = self._streams[name], self._scene.now
        if trouble is Trouble.FULL and self._full_until.get(node.me, 0) <= now:
            self._full_until[node.me] = now + int(rng.expovariate(1) * NANOSECONDS)
        longest = NANOSECONDS if trouble is Trouble.CRASH else 200 * MILLISECOND
        self._start_later(node, rng.randrange(longest))
        if trouble is Trouble.CRASH and rng.random() < 0.5:
            self._crash_with(rng)

    def _crash_with(self, rng: Random) -> None:
        """A crash in a save seldom comes alone: the power that failed was the leader's, too, and it stays away longer
        than others. What a save had half done matters most while nobody is left who knows better."""
        for other in self._scene.nodes.values():
            if other.up and other.peer is not None:
                leads = other.peer.role is Role.LEADING
                if leads or rng.random() < 0.5:
                    other.crash()
                    self._start_later(other, rng.randrange(4 * NANOSECONDS if leads else NANOSECONDS))
