"""Bugs of the reentrant lock."""

from __future__ import annotations

from planting import plant

from zkcore.recipes.holding import Line
from zkcore.recipes.lease import Lease
from zkcore.testing.mutants.mutant import Real


def _lets_go_with_the_first_level(_: Real) -> Real:
    async def release(self: Line, lease: Lease) -> None:
        lease.end()
        held = self._held.pop(lease, None)
        if held is not None:
            await self.client.port.shield(held.turn.leave)

    return release


def _stands_in_line_behind_itself(_: Real) -> Real:
    def again(self: Line, owner: object) -> Lease | None:
        return None

    return again


plant(
    "inner-release-lets-go",
    "the end of an inner level gives the lock to the next, while the outer one goes on",
    (Line, "_release", _lets_go_with_the_first_level),
    play="one_holds_a_reentrant_lock_until_its_outermost_end",
    seed=0,
)
plant(
    "waits-for-itself",
    "an owner that acquires again stands in line behind its own contender",
    (Line, "_again", _stands_in_line_behind_itself),
    play="one_holds_a_reentrant_lock_until_its_outermost_end",
    seed=0,
)
