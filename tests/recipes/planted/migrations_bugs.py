"""Bugs of migrations, beside those of the lock (lock_bugs.py)."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes.contender import Attempt
from zkcore.recipes.lease import Lease
from zkcore.recipes.migrations import Migrations, MigrationStep
from zkcore.recipes.waiting import Patience
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Create, SetData

STEPS = "each_step_is_done_once_and_in_order"


def _forgets_what_is_done(real: Real) -> Real:
    async def _recorded(self: Migrations, port: Port) -> list[tuple[str, bytes]]:
        recorded: list[tuple[str, bytes]] = await real(self, port)
        return [(name, b"begun") for name, _ in recorded[-1:]] if len(recorded) == 1 else recorded[:-1]

    return _recorded


def _recorded_before_it_is_run(_: Real) -> Real:
    async def _run(
        self: Migrations, port: Port, lease: Lease, number: int, name: str, step: Any, *, is_again: bool
    ) -> None:
        path = f"{self.path}/steps/{number:06}-{name}"
        if not is_again:
            await self._write(port, lease, Create(path, b"begun"))
        await self._write(port, lease, SetData(path, b"done"))
        await step(MigrationStep(name, is_again, lease))

    return _run


def _nobody_waits(_: Real) -> Real:
    async def wait_for_turn(self: Attempt, port: Port, patience: Patience) -> bool:
        return True

    return wait_for_turn


plant(
    "step-run-twice",
    "who migrates runs the last of the steps that are done again",
    (Migrations, "_recorded", _forgets_what_is_done),
    play=STEPS,
    seed=0,
)
plant(
    "step-recorded-early",
    "a step is recorded as done before it is run, and is never run where that fails",
    (Migrations, "_run", _recorded_before_it_is_run),
    play=STEPS,
    seed=0,
)
plant(
    "steps-at-once",
    "nobody waits for who is at work",
    (Attempt, "wait_for_turn", _nobody_waits),
    play=STEPS,
    seed=0,
)
