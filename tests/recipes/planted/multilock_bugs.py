"""Bugs of several locks at once."""

from __future__ import annotations

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes.multilock import _Joint
from zkcore.recipes.waiting import Patience
from zkcore.testing.mutants.mutant import Real

PLAY = "several_locks_are_held_all_or_none_and_nobody_waits_in_a_circle"


def _first_is_enough(_: Real) -> Real:
    async def take(self: _Joint, port: Port, patience: Patience) -> bool:
        await self._enter(port, patience)
        return await self._attempts[0].wait_for_turn(port, patience)

    return take


def _one_by_one(_: Real) -> Real:
    async def take(self: _Joint, port: Port, patience: Patience) -> bool:
        for attempt in self._attempts:
            if not await attempt.take(port, patience):
                return False
        return True

    return take


def _leaves_the_first(_: Real) -> Real:
    async def leave(self: _Joint, port: Port) -> None:
        await self._attempts[0].leave(port)

    return leave


plant(
    "half-held",
    "who is in front of one line takes all of them for his",
    (_Joint, "take", _first_is_enough),
    play=PLAY,
    seed=0,
)
plant(
    "locked-one-by-one",
    "the locks are acquired one after the other, so that two wait for each other",
    (_Joint, "take", _one_by_one),
    play=PLAY,
    seed=0,
)
plant(
    "half-released",
    "only one of several locks is released",
    (_Joint, "leave", _leaves_the_first),
    play=PLAY,
    seed=0,
)
