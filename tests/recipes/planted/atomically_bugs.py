"""Bugs of functions that are carried out atomically."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.client import atomically
from zkcore.client.port import Port
from zkcore.recipes.waiting import FOR_EVER, ask
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Check, Request

MONEY = "money_is_moved_as_if_one_came_after_the_other"


def _nothing_to_check(_: Real) -> Real:
    def check(self: Any, path: str) -> Check:
        return Check("/")

    return check


def _always(_: Real) -> Real:
    def holds(self: Any, stat: object) -> bool:
        return True

    return holds


def _asked_again(_: Real) -> Real:
    async def settle(port: Port, request: Request[Any]) -> Any:
        return await ask(port, request, FOR_EVER)

    return settle


def _before_it(real: Real) -> Real:
    def done_at(port: Port, answers: Any) -> int:
        return int(real(port, answers)) - 1

    return done_at


plant(
    "atomically-unchecked",
    "what was read is not checked when the attempt commits",
    (atomically._Seen, "check", _nothing_to_check),
    play=MONEY,
    seed=0,
)
plant(
    "atomically-half-seen",
    "what was read before is not looked at again with the next read",
    (atomically._Seen, "holds", _always),
    play=MONEY,
    seed=0,
)
plant(
    "atomically-twice",
    "a commit that was not answered is sent again as another one",
    (atomically, "settle", _asked_again),
    play=MONEY,
    seed=30,
)
plant(
    "atomically-announced-early",
    "what was done is announced with the zxid before it",
    (atomically, "done_at", _before_it),
    play=MONEY,
    seed=0,
)
