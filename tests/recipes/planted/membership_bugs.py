"""Bugs of the membership."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes import membership as membership_module
from zkcore.recipes.membership import Member, Membership
from zkcore.recipes.waiting import Watch
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Request

SEES = "in_the_end_everybody_sees_everybody"


def _nobody_goes(real: Real) -> Real:
    seen: dict[Membership, frozenset[Member]] = {}

    async def look(self: Membership, watch: Watch) -> frozenset[Member]:
        seen[self] = seen.get(self, frozenset()) | await real(self, watch)
        return seen[self]

    return look


def _not_undone(_: Real) -> Real:
    async def undo(port: Port, request: Request[Any], path: str) -> None:
        pass

    return undo


plant(
    "leave-missed",
    "who is gone stays in the view of the others",
    (Membership, "_look", _nobody_goes),
    play=SEES,
    seed=0,
)
plant(
    "joined-unknowingly",
    "a member whose joining was cancelled stays, and keeps its own name from itself",
    (membership_module, "_undo", _not_undone),
    play=SEES,
    seed=10,
)
