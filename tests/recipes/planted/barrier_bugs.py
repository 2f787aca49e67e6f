"""Bugs of the barrier."""

from __future__ import annotations

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes.barrier import Barrier, _Pass
from zkcore.recipes.contender import Attempt
from zkcore.recipes.waiting import Patience, Watch
from zkcore.testing.mutants.mutant import Real

PASSES = "nobody_passes_a_barrier_before_all_are_there"
LEAVES = "nobody_leaves_a_barrier_before_all_are_done"


def _one_is_enough_less(real: Real) -> Real:
    async def wait_to_pass(
        self: Barrier, port: Port, attempt: Attempt, version: int, patience: Patience
    ) -> _Pass | None:
        self.parties -= 1
        try:
            passed: _Pass | None = await real(self, port, attempt, version, patience)
            return passed
        finally:
            self.parties += 1

    return wait_to_pass


def _does_not_wait_for_others(_: Real) -> Real:
    async def wait_for_others(self: Barrier, port: Port, passed: _Pass) -> None:
        pass

    return wait_for_others


def _never_leaves(_: Real) -> Real:
    async def leave(self: Attempt, port: Port) -> None:
        pass

    return leave


def _does_not_look_at_itself(real: Real) -> Real:
    async def passed(
        self: Barrier, port: Port, attempt: Attempt, version: int, patience: Patience, watch: Watch
    ) -> _Pass | None:
        found: _Pass | None = await real(self, port, attempt, version, patience, watch)
        if found is None:
            watch.end()
        return found

    return passed


plant(
    "barrier-passed-early",
    "parties pass when all but one are there",
    (Barrier, "_wait_to_pass", _one_is_enough_less),
    play=PASSES,
    seed=0,
)
plant(
    "barrier-left-early",
    "who is done leaves, and does not wait for those who are not",
    (Barrier, "_wait_for_others", _does_not_wait_for_others),
    play=LEAVES,
    seed=1,
)
plant(
    "party-kept",
    "a party whose wait was cancelled stays, and lets others pass",
    (Attempt, "leave", _never_leaves),
    play=PASSES,
    seed=0,
)
plant(
    "pass-unseen",
    "a party does not watch whether somebody else lets it pass",
    (Barrier, "_passed", _does_not_look_at_itself),
    play=PASSES,
    seed=0,
)
