"""Bugs of the latch."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes import latch
from zkcore.recipes.latch import CountDownLatch
from zkcore.recipes.waiting import FOR_EVER, Patience, ask
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Relation, Request

PLAY = "a_latch_opens_neither_early_nor_never"


def _open_one_early(real: Real) -> Real:
    async def try_to(self: CountDownLatch, port: Port, relation: Relation, *more: Request[Any]) -> bool:
        self._count -= 1
        try:
            return await real(self, port, relation, *more)  # type: ignore[no-any-return]
        finally:
            self._count += 1

    return try_to


def _asked_as_often_as_sent(_: Real) -> Real:
    async def ask_once(port: Port, request: Request[Any], patience: Patience) -> Any:
        return await ask(port, request, patience)

    return ask_once


def _opened_afterwards(real: Real) -> Real:
    async def try_to(self: CountDownLatch, port: Port, relation: Relation, *more: Request[Any]) -> bool:
        if not await real(self, port, relation):
            return False
        for request in more:
            await ask(port, request, FOR_EVER)
        return True

    return try_to


plant(
    "latch-early",
    "the last count but one opens the latch",
    (CountDownLatch, "_try", _open_one_early),
    play=PLAY,
    seed=0,
)
plant(
    "counted-twice",
    "a count whose answer was lost is asked for again, and may count twice",
    (latch, "ask_once", _asked_as_often_as_sent),
    play=PLAY,
    seed=2,
)
plant(
    "opened-afterwards",
    "the last one counts first and opens then, and may be gone in between",
    (CountDownLatch, "_try", _opened_afterwards),
    play=PLAY,
    seed=18,
)
