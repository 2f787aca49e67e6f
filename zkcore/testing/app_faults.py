"""What goes wrong in an AppWorld without the test saying so: by the seed.

The test names classes of fault. Each seed then decides which of them are on (a world in which everything fails all the
time hides the bugs that need a long healthy stretch), and how often each strikes; when, whom, and for how long. Every
class draws from a stream of its own. What broke is mended after a while, so that there is progress between the strikes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from zkcore.errors import ConfigurationError
from zkcore.testing.processes import Life
from zkcore.testing.trace import random_stream

if TYPE_CHECKING:
    from zkcore.testing.app_world import AppWorld, Place
    from zkcore.testing.apps import App

__all__ = ["CLASSES", "AppFaults"]

CLASSES: dict[str, str] = {
    "crash": "a node or an app crashes, and is started again",
    "delay": "a message from or to an app is late, and holds up those behind it",
    "expire": "the ensemble ends a session",
    "partition": "some nodes and apps are cut off from the others",
    "pause": "a node or an app stands still for a while",
    "reset": "the link between two nodes breaks and is made anew",
}
"""The classes, and what each does."""

_SELDOM, _OFTEN = 1 / 60, 1 / 4
"""Strikes of a class in a virtual second, where it is on: as likely in each decade between these."""

_LATE_LEAST, _LATE_MOST = 0.0005, 0.02
"""The share of messages that is late."""

_SHORT, _LONG = 0.05, 30.0
"""Seconds until what broke is mended, in the same way."""


def _between(rng: Random, low: float, high: float) -> float:
    return float(low * (high / low) ** rng.random())


class AppFaults:
    """Strikes from `begin` to `end`.

    Raises ConfigurationError for a class that there is not.
    """

    def __init__(self, world: AppWorld, names: str) -> None:
        self._world = world
        self._strikes: dict[str, Callable[[Random], bool]] = {
            "crash": self._crash,
            "expire": self._expire,
            "partition": self._partition,
            "pause": self._pause,
            "reset": self._reset,
        }
        self._on = False
        self._struck: Counter[str] = Counter()
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        for name in wanted:
            if name not in CLASSES:
                raise ConfigurationError(f"there is no class of faults {name!r}; there are {', '.join(CLASSES)}")
        plan = random_stream(world.seed, "faults")
        chosen = {name for name in sorted(set(wanted)) if plan.random() < 0.75}
        self._late_share = _between(plan, _LATE_LEAST, _LATE_MOST) if "delay" in chosen else 0.0
        self._rates = {name: _between(plan, _SELDOM, _OFTEN) for name in sorted(chosen - {"delay"})}
        self._streams = {name: random_stream(world.seed, f"faults/{name}") for name in self._rates}

    def begin(self) -> None:
        """From now on."""
        self._on = True
        self._world.distances.late_share = self._late_share
        for name in self._rates:
            self._next(name)

    def end(self) -> None:
        """No more."""
        self._on = False
        self._world.distances.late_share = 0.0

    @property
    def counts(self) -> Counter[str]:
        """How many strikes of each class there were."""
        late = self._world.distances.late
        return self._struck + Counter(delay=late) if late else Counter(self._struck)

    def _next(self, name: str) -> None:
        self._later(self._streams[name].expovariate(self._rates[name]), self._strike, name)

    def _strike(self, name: str) -> None:
        if self._on:
            if self._strikes[name](self._streams[name]):
                self._struck[name] += 1
            self._next(name)

    def _later(self, seconds: float, action: Callable[..., None], *args: object) -> None:
        self._world.loop.call_later(seconds, action, *args, context=self._world.context)

    def _mend_later(self, rng: Random, action: Callable[..., None], *args: object) -> None:
        self._later(_between(rng, _SHORT, _LONG), self._mend, action, args)

    def _mend(self, action: Callable[..., None], args: tuple[object, ...]) -> None:
        if self._on:  # afterwards all is mended already
            action(*args)

    # --- the classes

    def _victim(self, rng: Random) -> Place | None:
        """A node or an app that is up and runs; both kinds as likely, where there are any."""
        world = self._world
        nodes: list[Place] = [me for me in world.nodes if world.life(me) is Life.RUNNING]
        apps: list[Place] = [app for app in world.apps if app.process.life is Life.RUNNING]
        kinds = [kind for kind in (nodes, apps) if kind]
        return rng.choice(rng.choice(kinds)) if kinds else None

    def _crash(self, rng: Random) -> bool:
        victim = self._victim(rng)
        if victim is None:
            return False
        if isinstance(victim, int):
            self._world.kill(victim)
        else:
            self._world.crash(victim)
        self._mend_later(rng, self._start, victim)
        return True

    def _start(self, victim: int | App) -> None:
        down = victim not in self._world.nodes if isinstance(victim, int) else not victim.up
        if down:
            self._world.restart(victim)

    def _pause(self, rng: Random) -> bool:
        victim = self._victim(rng)
        if victim is None:
            return False
        self._world.pause(victim)
        self._mend_later(rng, self._go_on, victim)
        return True

    def _go_on(self, victim: int | App) -> None:
        if self._world.life(victim) is Life.PAUSED:
            self._world.resume(victim)

    def _partition(self, rng: Random) -> bool:
        world = self._world
        places: list[Place] = [*world.ensemble.members, *world.apps]
        rng.shuffle(places)
        count = rng.randrange(1, len(places)) if rng.random() < 0.5 else 1
        world.partition(places[:count], places[count:])
        self._mend_later(rng, world.heal)
        return True

    def _reset(self, rng: Random) -> bool:
        nodes = self._world.nodes
        if len(nodes) < 2:
            return False
        one, two = rng.sample(nodes, 2)
        self._world.reset(one, two)
        return True

    def _expire(self, rng: Random) -> bool:
        sessions = self._world.sessions
        if not sessions or self._world.leader is None:
            return False
        self._world.expire(rng.choice(sessions))
        return True
