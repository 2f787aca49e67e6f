"""Shrinking: few steps of many, and they still fail.

The algorithm is tested on plain numbers, the rest on bugs that are planted for it.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkcore.testing.checkers import Violation
from zkcore.testing.faults import draw_plan
from zkcore.testing.handwired import RefusedError
from zkcore.testing.interpreter import ScenarioError
from zkcore.testing.recording import record
from zkcore.testing.replicas import Replicas
from zkcore.testing.scenario import Scenario
from zkcore.testing.scenario_guards import unguarded
from zkcore.testing.shrink import replay, shorten, shrink, shrink_script


def never() -> bool:
    return False


# --- leaving out ------------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 99)), st.integers(1, 100))
def test_exactly_what_is_needed_is_left(needed: set[int], count: int) -> None:
    needed = {each for each in needed if each < count}
    assert set(shorten(range(count), lambda kept: kept if needed <= set(kept) else None, never)) == needed


@given(st.sets(st.integers(0, 60), min_size=1))
def test_no_single_item_can_be_left_out(pairs: set[int]) -> None:
    """It fails with an even number of the items that matter: some smaller failure is found, if not the smallest."""

    def fails(kept: list[int]) -> bool:
        return len(pairs & set(kept)) % 2 == len(pairs) % 2

    found = shorten(range(61), lambda kept: kept if fails(kept) else None, never)
    assert fails(found)
    assert not any(fails(found[:index] + found[index + 1 :]) for index in range(len(found)))


def test_an_attempt_may_use_less_than_it_was_given() -> None:
    assert shorten(range(100), lambda kept: [7] if 7 in kept else None, never) == [7]


def test_a_spent_budget_ends_it_with_what_was_found() -> None:
    attempts: list[int] = []

    def attempt(kept: list[int]) -> list[int] | None:
        attempts.append(len(kept))
        return kept if 3 in kept else None

    assert 3 in shorten(range(64), attempt, lambda: len(attempts) >= 4)
    assert len(attempts) == 4


# --- scripts ----------------------------------------------------------------------------------------------------------


def test_steps_that_make_no_sense_are_skipped() -> None:
    replayed = replay(["nodes 1", "start 2", "start 1", "deliver 2>1", "elect 1"])
    assert replayed.violation is None
    assert replayed.steps == ["nodes 1", "start 1", "elect 1"]


def test_a_step_that_was_half_done_ends_a_replay() -> None:
    steps = ["nodes 2", "start", "link 1 2", "deliver 1>2 9", "propose 1 a"]
    with pytest.raises(ScenarioError):
        Scenario("\n".join(steps)).run()
    assert replay(steps).steps == steps[:3]


def test_steps_that_break_nothing_are_not_shrunk() -> None:
    with pytest.raises(ValueError, match="do not break X9"):
        shrink_script(["nodes 1", "start", "elect 1"], "X9", never)


def test_a_recorded_run_is_the_run() -> None:
    """Nothing breaks by hand that did not break in the world, and hardly a step of it makes no sense."""
    run = record(draw_plan(3))
    assert run.violation is None
    replayed = replay(run.steps)
    assert replayed.violation is None
    assert len(replayed.steps) > 0.98 * len(run.steps)


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_a_seed_that_breaks_nothing_is_not_shrunk() -> None:
    assert shrink(3, budget_s=1) is None


@pytest.mark.parametrize("mutant", ["ack-before-durable", "commit-without-quorum"])
def test_a_failing_seed_becomes_a_short_script_that_fails(mutant: str) -> None:
    with unguarded(mutant):
        shrunk = shrink(0, budget_s=20)
        assert shrunk is not None
        assert len(shrunk.script) < 20
        assert shrunk.recorded > 5 * len(shrunk.script)
        outputs = Scenario(shrunk.as_scenario()).run()
        assert outputs[-1][-1] == f"broken: {shrunk.violation}"
    with pytest.raises((ScenarioError, RefusedError)):
        Scenario(shrunk.as_scenario()).run()  # without the bug nothing breaks


def test_what_only_the_world_sees_is_shrunk_in_the_world() -> None:
    with unguarded("stale-leader-serves"):
        shrunk = shrink(0, budget_s=6)
    assert shrunk is not None
    assert shrunk.violation.invariant == "L4"
    assert shrunk.script == ()
    assert shrunk.strikes


def test_replicas_are_shrunk_in_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Replicas.tell

    def tell(self: Replicas, node: object, event: object) -> None:
        real(self, node, event)  # type: ignore[arg-type]
        if "delivered" in str(event):
            raise Violation("planted", "something was delivered")

    monkeypatch.setattr(Replicas, "tell", tell)
    shrunk = shrink(0, make_program=Replicas, budget_s=6)
    assert shrunk is not None
    assert shrunk.violation.invariant == "planted"
    assert shrunk.strikes == ()
