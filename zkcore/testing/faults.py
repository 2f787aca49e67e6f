"""Which faults a world has, and when they strike.

Each seed first draws which classes of fault are on, then how often each strikes, and how fast network and disks are
(swarm testing: a world in which everything fails all the time hides the bugs that need a long healthy stretch). Some
seeds have one class only, and a few none. The times at which a class strikes come from a random stream of that class;
what a strike does (strikes.py) from one of its own, so that any of them can be left out by name, as "crash/3".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from random import Random

from attrs import evolve, frozen

from zkcore.testing.network import MILLISECOND
from zkcore.testing.node import Node, Strike, Trap
from zkcore.testing.strikes import LinkStrikes, NodeStrikes, Repairs, Scene
from zkcore.testing.trace import NANOSECONDS, random_stream
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["CLASSES", "SPIKES", "Faults", "Plan", "draw_plan"]

CLASSES: dict[str, tuple[float, float]] = {
    "link-loss": (0.02, 1.0), "partition": (0.02, 0.4), "clog": (0.03, 0.5), "slow-link": (0.02, 0.3),
    "cut-in-sync": (0.03, 0.6), "crash": (0.02, 0.4), "crash-in-save": (0.03, 0.6), "crash-all": (0.01, 0.1),
    "pause": (0.02, 0.4), "slow-disk": (0.02, 0.4), "disk-failure": (0.02, 0.4), "disk-full": (0.02, 0.4),
    "wipe": (0.01, 0.1), "lose-log": (0.01, 0.1), "hit": (0.02, 0.4), "lying-sync": (0.02, 0.3),
    "roll-back": (0.02, 0.2),
}  # fmt: skip
"""The rate of each class where it is on, strikes in a virtual second: the lowest and the highest."""

ON_FILES = ("hit", "lying-sync", "roll-back")
"""Those that only a storage in files knows."""

SPIKES = "spikes"
"""One more class, that of single messages that are late. It has no strikes: it is a share of all messages."""


@frozen(kw_only=True)
class Plan:
    """All that a seed decides before its world begins. Rates are per virtual second."""

    seed: int
    voters: tuple[PeerId, ...]
    observers: tuple[PeerId, ...]
    groups: tuple[tuple[PeerId, ...], ...]
    weights: tuple[tuple[PeerId, int], ...]
    limits: Limits
    chaos_ns: int
    rates: dict[str, float]
    load_rate: float
    batch: int
    transfer_share: float
    delay_ns: int
    jitter_ns: int
    spike_share: float
    spike_ns: int
    notice_ns: int
    relink_ns: int
    save_ns: int
    tick_ns: tuple[int, ...]
    snapshot_every: int
    snapshot_filler: int
    over_wire: bool
    spares: tuple[PeerId, ...] = ()
    """Nodes that are no members in the beginning."""
    reconfigure_share: float = 0.0
    """The share of the load that asks for other members."""

    @property
    def config(self) -> EnsembleConfig:
        """Who takes part."""
        return EnsembleConfig(
            self.voters, observers=self.observers, groups=self.groups, weights=self.weights
        )

    def seed_config(self, me: PeerId) -> EnsembleConfig:
        """What `me` is started with: a spare has been told of the members, and that it will be an observer."""
        if me not in self.spares:
            return self.config
        return evolve(self.config, observers=(*self.observers, me))


def draw_plan(seed: int, *, reconfigure: bool = False) -> Plan:
    """The plan of `seed`. With `reconfigure` there are nodes more, and the members change; all else is the same."""
    return _with_spares(_draw_plan(seed)) if reconfigure else _draw_plan(seed)


def _with_spares(plan: Plan) -> Plan:
    """In some worlds the members change once or twice, in others all the time."""
    rng = random_stream(plan.seed, "plan/members")
    count = len(plan.voters) + len(plan.observers)
    spares = tuple(range(count + 1, count + 1 + rng.choice((0, 1, 2, 2, 3))))
    changes = 10 ** rng.uniform(0.3, 2)
    share = min(0.3, changes / (plan.load_rate * plan.chaos_ns / NANOSECONDS))
    tick_ns = (*plan.tick_ns, *(rng.choice(plan.tick_ns) for _ in spares))
    return evolve(plan, spares=spares, reconfigure_share=share, tick_ns=tick_ns)


def _draw_plan(seed: int) -> Plan:
    rng = random_stream(seed, "plan")
    voters = tuple(range(1, 1 + rng.choices((1, 2, 3, 4, 5, 7), (4, 6, 45, 8, 32, 5))[0]))
    observers = tuple(range(len(voters) + 1, len(voters) + 1 + rng.choices((0, 1, 2), (70, 20, 10))[0]))
    on = _draw_classes(random_stream(seed, "plan/faults"))
    tick = 10 * MILLISECOND
    skewed = rng.random() < 0.3
    spike_share, spike_ns = 10 ** rng.uniform(-2.5, -1.3), int(10 ** rng.uniform(7.3, 9.3))
    chaos_ns = rng.randrange(45, 76) * NANOSECONDS
    load_rate, batch = 10 ** rng.uniform(-0.3, 1.3), rng.choice((1, 3, 8))
    delay_ns = int(10 ** rng.uniform(5, 7.3))  # 0.1 to 20 ms, and up to twice that between two given nodes
    jitter_ns = int(10 ** rng.uniform(4, 7)) if rng.random() < 0.7 else 0
    records = load_rate * batch * chaos_ns / NANOSECONDS
    limits = _draw_limits(
        rng,
        must_pass=records * (4 * delay_ns + 2 * jitter_ns) / (20 * NANOSECONDS),
        snapshots=(2000 + 16 * records) * (len(voters) + len(observers)),
    )
    return Plan(
        seed=seed,
        voters=voters,
        observers=observers,
        groups=_draw_groups(rng, voters) if len(voters) > 3 and rng.random() < 0.2 else (),
        weights=_draw_weights(rng, voters) if rng.random() < 0.1 else (),
        limits=limits,
        chaos_ns=chaos_ns,
        rates={
            **{name: _between(rng, *CLASSES[name]) for name in CLASSES if name in on},
            **_draw_rates_on_files(random_stream(seed, "plan/files"), others=len(on)),
        },
        load_rate=load_rate,
        batch=batch,
        transfer_share=10 ** rng.uniform(-2.5, -1) if rng.random() < 0.5 else 0.0,
        delay_ns=delay_ns,
        jitter_ns=jitter_ns,
        spike_share=spike_share if SPIKES in on else 0.0,
        spike_ns=spike_ns,
        notice_ns=int(10 ** rng.uniform(6, 8.7)),
        relink_ns=int(10 ** rng.uniform(6.5, 8.5)),
        save_ns=int(10 ** rng.uniform(4.5, 7)),
        tick_ns=tuple(int(tick * rng.uniform(0.8, 1.25)) if skewed else tick for _ in (*voters, *observers)),
        snapshot_every=rng.choice((3, 10, 40, 100)) if rng.random() < 0.5 else 0,
        snapshot_filler=rng.choice((0, 400, 2000)),
        over_wire=rng.random() < 0.05,
    )


def _draw_classes(rng: Random) -> set[str]:
    classes = [*(name for name in CLASSES if name not in ON_FILES), SPIKES]
    purity = rng.random()
    if purity < 0.04:
        return set()
    if purity < 0.2:
        return {rng.choice(classes)}
    return {name for name in classes if rng.random() < 0.5}


def _draw_rates_on_files(rng: Random, *, others: int) -> dict[str, float]:
    """Half of them, where there are several `others`; and a few worlds have one alone."""
    on = {name for name in ON_FILES if rng.random() < 0.5}
    if others < 2:
        on = {rng.choice(ON_FILES)} if not others and rng.random() < 0.25 else set()
    return {name: _between(rng, *CLASSES[name]) for name in ON_FILES if name in on}


def _draw_groups(rng: Random, voters: tuple[PeerId, ...]) -> tuple[tuple[PeerId, ...], ...]:
    count = rng.choice((2, 3))
    return tuple(voters[first::count] for first in range(count))


def _draw_weights(rng: Random, voters: tuple[PeerId, ...]) -> tuple[tuple[PeerId, int], ...]:
    weights = {voter: rng.choice((0, 1, 1, 2, 3)) for voter in voters}
    weights[rng.choice(voters)] = 1  # somebody must decide
    return tuple(weights.items())


def _draw_limits(rng: Random, *, must_pass: float, snapshots: float) -> Limits:
    """`must_pass` records must fit into the window, and `snapshots`, the bytes of one for everybody, must be sent in a
    second, or nobody could catch up in time from nothing."""
    small = rng.random() < 0.5  # small limits make the rare paths common
    return Limits(
        deliver_bytes=rng.choice((40, 400)) if small else 1 << 20,
        read_bytes=rng.choice((1, 60, 600)) if small else 1 << 20,
        tail_bytes=rng.choice((1, 100, 1000)) if small else 1 << 20,
        window_bytes=rng.choice((1, 100, 1000)) + int(20 * must_pass) if small else 1 << 20,
        outstanding_proposals=rng.choice((1, 10)) if rng.random() < 0.2 else 10_000,
        outstanding_bytes=rng.choice((40, 400)) if rng.random() < 0.1 else 1 << 20,
        retained_records=rng.choice((1, 3, 20, 1000)),
        transfer_ticks=rng.choice((5, 20, 100)),
        snapshot_chunk_bytes=rng.choice((40, 400, 4096)),
        snapshot_bytes_per_tick=rng.choice((20, 100)) + int(snapshots) // 100 if small else 4 << 20,
        last_counter=rng.choice((5, 40)) if rng.random() < 0.1 else 0xFFF00000,
    )


def _between(rng: Random, low: float, high: float) -> float:
    """As likely in each decade."""
    return float(low * (high / low) ** rng.random())


class Faults:
    """Strikes until `stop`, except those that `leave_out` names. `came_about` holds the names of those that did
    something, in the order in which they did it."""

    def __init__(self, scene: Scene, plan: Plan, *, leave_out: Container[str] = ()) -> None:
        self._scene = scene
        self._plan = plan
        self._leave_out = leave_out
        self._on = True
        self._times = {name: random_stream(plan.seed, f"times/{name}") for name in plan.rates}
        self._repairs = Repairs(scene)
        self._links = LinkStrikes(scene, self._repairs, ends_ns=plan.chaos_ns)
        self._nodes = NodeStrikes(scene, self._repairs, save_ns=plan.save_ns, came_about=self._note)
        self.came_about: dict[str, Strike] = {}
        self._strikes: dict[str, Callable[[Strike], bool]] = {
            "link-loss": self._links.lose_link,
            "partition": self._links.partition,
            "clog": self._links.clog,
            "slow-link": self._links.slow_link,
            "cut-in-sync": self._nodes.cut_in_sync,
            "crash": self._nodes.crash,
            "crash-in-save": self._nodes.crash_in_save,
            "crash-all": self._nodes.crash_all,
            "pause": self._nodes.pause,
            "slow-disk": self._nodes.slow_disk,
            "disk-failure": self._nodes.disk_failure,
            "disk-full": self._nodes.disk_full,
            "wipe": self._nodes.wipe,
            "lose-log": self._nodes.lose_log,
            "hit": self._nodes.hit,
            "lying-sync": self._nodes.lying_sync,
            "roll-back": self._nodes.roll_back,
        }
        for name in plan.rates:
            self._next(name, 0)

    @property
    def counts(self) -> Counter[str]:
        """How many strikes of each class came about."""
        return Counter(strike.fault for strike in self.came_about.values())

    def stop(self) -> None:
        """No more faults, and what they have broken is mended: partitions end, who stands still goes on, the disks
        have room. Who is down is for the world to start."""
        self._on = False
        self._repairs.end()
        self._scene.network.end_spikes()
        for node in self._scene.nodes.values():
            node.trap = None
            node.slow_until = 0
            if node.up and node.paused:
                node.resume()

    def save_ns(self, node: Node, rng: Random) -> int:
        """How long a save of `node` takes that begins now."""
        return self._nodes.save_ns(node, rng)

    def can_spare(self, node: Node) -> bool:
        """Whether nothing is lost if the disk of `node` silently goes back to an earlier state."""
        return self._nodes.can_spare(node)

    def befell(self, node: Node, trap: Trap) -> None:
        """The moment of `trap` came, and `node` is down: it is started again some time."""
        self._nodes.befell(node, trap)

    def _next(self, fault: str, number: int) -> None:
        wait = int(self._times[fault].expovariate(self._plan.rates[fault]) * NANOSECONDS)
        self._scene.at(self._scene.now + wait, self._strike, fault, number)

    def _strike(self, fault: str, number: int) -> None:
        if not self._on:
            return
        strike = Strike(fault, number, random_stream(self._plan.seed, f"fault/{fault}/{number}"))
        if strike.name not in self._leave_out and self._strikes[fault](strike):
            self._note(strike)
        self._next(fault, number + 1)

    def _note(self, strike: Strike) -> None:
        if strike.name in self.came_about:
            return  # a disk that is full is full for a while
        self.came_about[strike.name] = strike
        self._scene.trace.say(self._scene.now, f"*** {strike.name}")
        self._scene.trace.mark(self._scene.now, 6, list(CLASSES).index(strike.fault), strike.number)
