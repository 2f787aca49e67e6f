"""Bugs of the topic."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes import topic as topic_module
from zkcore.recipes.topic import Subscription
from zkcore.recipes.waiting import Patience, ask
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Request

ORDER = "every_subscriber_gets_every_message_in_one_order"
SLOW = "who_is_slow_is_told_what_it_has_missed_and_nothing_is_missed_in_silence"


def _asks_again(_: Real) -> Real:
    async def ask_once(port: Port, request: Request[Any], patience: Patience) -> Any:
        return await ask(port, request, patience)

    return ask_once


def _says_nothing(_: Real) -> Real:
    async def _missed_between(self: Subscription[Any], number: int | None, first: Any) -> int:
        return 0

    return _missed_between


def _keeps_what_it_read_before_it_was_interrupted(_: Real) -> Real:
    async def _fetch(self: Subscription[Any]) -> None:
        read, number = await self._read_on()
        self._read.extend(read)
        missed = await self._missed_between(number, read[0]) if read else 0
        self._number = read[-1].number if read else number
        if missed:
            raise topic_module.MessagesMissedError("some")

    return _fetch


plant(
    "published-again",
    "a message whose publishing was not answered is published again",
    (topic_module, "ask_once", _asks_again),
    play=ORDER,
    seed=12,
)
plant(
    "missed-in-silence",
    "a subscriber that is too slow gets what is kept, and is not told what is not",
    (Subscription, "_missed_between", _says_nothing),
    play=SLOW,
    seed=0,
)
plant(
    "missed-when-interrupted",
    "a subscriber that is interrupted before it knows whether it missed something is not told any more",
    (Subscription, "_fetch", _keeps_what_it_read_before_it_was_interrupted),
    play=SLOW,
    seed=0,
)
