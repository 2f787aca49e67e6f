"""Bugs of the event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes import event as event_module
from zkcore.recipes.waiting import Patience, Watch, ask
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Exists

GATES = "nobody_waits_for_what_is_set_nor_passes_what_is_not"
FLAGS = "what_is_cleared_is_not_set_again_by_an_answer_that_was_lost"


def _looks_and_then_watches(_: Real) -> Real:
    async def wait_until(port: Port, request: Exists, holds: Callable[[Any], bool], patience: Patience) -> bool:
        watch = Watch(port)
        while not holds(await ask(port, Exists(request.path), patience)):
            await watch.ask(request, patience)  # whatever the answer is by now
            if not await watch.changed(patience):
                return False
        return True

    return wait_until


plant(
    "set-missed",
    "what is set between the look and the watch is waited for in vain",
    (event_module, "wait_until", _looks_and_then_watches),
    play=GATES,
    seed=0,
)
plant(
    "set-again",
    "setting whose answer was lost is done again, also where somebody has cleared it meanwhile",
    (event_module, "ask_once", lambda real: ask),
    play=FLAGS,
    seed=4,
)
