"""Bugs of running everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes import everywhere as everywhere_module
from zkcore.recipes import execution as execution_module
from zkcore.recipes.everywhere import Everywhere
from zkcore.recipes.execution import OutcomeState
from zkcore.recipes.lease import Lease
from zkcore.testing.mutants.mutant import Real

RUNS = "everybody_runs_it_once_and_who_asked_is_told_when_all_have"


def _begins_at_the_beginning(real: Real) -> Real:
    async def _runs(self: Any, port: Port, after: str) -> Any:
        return await real(self, port, "")

    return _runs


def _begins_whatever_was_begun(real: Real) -> Real:
    async def _begin(self: Any, port: Port, lease: Lease, path: str) -> bool:
        await real(self, port, lease, path)
        return True

    return _begin


def _who_has_begun_is_done(_: Real) -> Real:
    def _is_over(states: Mapping[str, OutcomeState]) -> bool:
        return OutcomeState.WAITING not in states.values()

    return _is_over


def _asks_by_name(_: Real) -> Real:
    def _is_asked(header: dict[str, Any], lease: Lease) -> bool:
        return lease.path.rpartition("/")[2] in header["members"]

    return _is_asked


plant(
    "action-run-twice",
    "a member looks through all executions again, and does not mind that it has begun one before",
    (Everywhere, "_runs", _begins_at_the_beginning),
    (Everywhere, "_begin", _begins_whatever_was_begun),
    play=RUNS,
    seed=0,
)
plant(
    "action-run-by-its-successor",
    "who comes back under a name runs what its predecessor was asked for, and has begun",
    (everywhere_module, "_is_asked", _asks_by_name),
    (Everywhere, "_begin", _begins_whatever_was_begun),
    play=RUNS,
    seed=0,
)
plant(
    "complete-before-the-last",
    "an execution is complete when the last member has begun",
    (execution_module, "_is_over", _who_has_begun_is_done),
    play=RUNS,
    seed=0,
)
