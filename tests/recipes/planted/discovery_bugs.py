"""Bugs of discovery, and of following."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.recipes import discovery as discovery_module
from zkcore.recipes.cache import Cache, CacheView
from zkcore.recipes.choosing import Instance
from zkcore.recipes.discovery import Discovery
from zkcore.recipes.following import Following
from zkcore.testing.mutants.mutant import Real
from zkcore.zxid import Zxid

CHOOSES = "nobody_chooses_what_he_knows_to_be_gone_and_all_are_found_in_the_end"


def _all_are_up(_: Real) -> Real:
    def up(instances: tuple[Instance, ...]) -> tuple[Instance, ...]:
        return instances

    return up


def _unproved(_: Real) -> Real:
    async def sync(self: Cache) -> Zxid:
        return self.zxid

    return sync




def _always_fresh(_: Real) -> Any:
    return property(lambda self: 0.0)


def _never_gone(real: Real) -> Real:
    def take(self: Discovery, view: CacheView) -> None:
        before = self._instances or ()
        real(self, view)
        names = {each.name for each in self.instances}
        kept = [each for each in before if each.name not in names]
        self._instances = tuple(sorted([*self.instances, *kept], key=lambda each: each.name))

    return take


def _one_session(real: Real) -> Real:
    def __init__(self: Following, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **{**options, "reconnect": None})

    return __init__


plant(
    "drained-chosen",
    "an instance that says that it takes nothing more is chosen all the same",
    (discovery_module, "_up", _all_are_up),
    play=CHOOSES,
    seed=0,
)
plant(
    "stale-said-fresh",
    "what is followed is said to be fresh though nobody has proved it",
    (Cache, "sync", _unproved),
    play=CHOOSES,
    seed=0,
)
plant(
    "age-forgotten",
    "what is followed is said to be fresh also where nobody answers",
    (Following, "age", _always_fresh),
    play=CHOOSES,
    seed=0,
)
plant(
    "instance-kept",
    "an instance that has gone is shown for ever",
    (Discovery, "_take", _never_gone),
    play=CHOOSES,
    seed=0,
)
plant(
    "followed-once",
    "what is followed ends with its session, though there is a way to the next",
    (Following, "__init__", _one_session),
    play=CHOOSES,
    seed=0,
)
