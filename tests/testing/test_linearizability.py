"""The linearizability checker: known histories, histories made from a real order, broken ones, and a second opinion.

The second opinion tries every permutation, so it is slow and plainly right.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.testing.linearizability import (
    IMPOSSIBLE,
    UNKNOWN,
    Add,
    Counter,
    Create,
    Delete,
    End,
    Held,
    Look,
    Model,
    Operation,
    Read,
    Refusal,
    Register,
    Result,
    Verdict,
    Write,
    check,
)

MISSING, EXISTS, VERSION = Refusal.MISSING, Refusal.EXISTS, Refusal.VERSION


def op(invoked: int, returned: int | None, call: object, result: object = UNKNOWN, key: object = "k") -> Operation:
    return Operation(key, call, invoked, returned, result)


# --- the models, one operation after the other -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "call", "result", "after"),
    [
        (None, Read(), MISSING, None),
        (Held("x", 2), Read(), Held("x", 2), Held("x", 2)),
        (Held("x", 2, 7), Read(), Held("x", 2), Held("x", 2, 7)),
        (Held("x", 2), Read(), Held("x", 1), IMPOSSIBLE),
        (Held("x", 2), Read(), MISSING, IMPOSSIBLE),
        (Held("x", 2), Look(), 2, Held("x", 2)),
        (Held("x", 2), Look(), 1, IMPOSSIBLE),
        (None, Create("x"), 0, Held("x", 0)),
        (None, Create("x", 7), UNKNOWN, Held("x", 0, 7)),
        (None, Create("x"), EXISTS, IMPOSSIBLE),
        (Held("x", 2), Create("y"), EXISTS, Held("x", 2)),
        (Held("x", 2), Create("y"), 0, IMPOSSIBLE),
        (Held("x", 2), Create("y"), UNKNOWN, Held("x", 2)),
        (Held("x", 2, 7), Write("y"), 3, Held("y", 3, 7)),
        (Held("x", 2), Write("y", 2), 3, Held("y", 3)),
        (Held("x", 2), Write("y", 1), VERSION, Held("x", 2)),
        (Held("x", 2), Write("y", 1), 3, IMPOSSIBLE),
        (None, Write("y"), MISSING, None),
        (Held("x", 2), Delete(), None, None),
        (Held("x", 2), Delete(1), VERSION, Held("x", 2)),
        (None, Delete(), MISSING, None),
        (None, Delete(), None, IMPOSSIBLE),
        (Held("x", 2, 7), End(7), None, None),
        (Held("x", 2, 8), End(7), None, Held("x", 2, 8)),
    ],
)
def test_a_register_does(state: Held | None, call: object, result: object, after: object) -> None:
    assert Register().step(state, call, result) == after


@pytest.mark.parametrize(
    ("state", "call", "result", "after"),
    [
        (2, Add(3), 5, 5), (2, Add(3), 3, IMPOSSIBLE), (2, Add(3), UNKNOWN, 5),
        (2, Add(), 2, 2), (2, Add(), 3, IMPOSSIBLE),
    ],
)  # fmt: skip
def test_a_counter_does(state: int, call: Add, result: object, after: object) -> None:
    assert Counter().step(state, call, result) == after


# --- histories that speak for themselves ------------------------------------------------------------------------------

MADE = op(0, 1, Create("a"), 0)

FINE: dict[str, list[Operation]] = {
    "nothing": [],
    "one after the other": [MADE, op(2, 3, Write("b"), 1), op(4, 5, Read(), Held("b", 1))],
    "a read beside a write sees what was": [MADE, op(2, 5, Write("b"), 1), op(3, 4, Read(), Held("a", 0))],
    "a read beside a write sees what comes": [MADE, op(2, 5, Write("b"), 1), op(3, 4, Read(), Held("b", 1))],
    "the first of two reads sees it and so does the second": [
        MADE, op(2, 9, Write("b"), 1), op(3, 4, Read(), Held("b", 1)), op(5, 6, Read(), Held("b", 1))],
    "what returns at the moment of a call overlaps it": [MADE, op(1, 1, Read(), MISSING)],
    "a lost write that was seen": [MADE, op(2, None, Write("b")), op(3, 4, Read(), Held("b", 1))],
    "a lost write that was not": [MADE, op(2, None, Write("b")), op(3, 4, Read(), Held("a", 0))],
    "a lost write that comes late": [
        MADE, op(2, None, Write("b")), op(3, 4, Read(), Held("a", 0)), op(90, 91, Read(), Held("b", 1))],
    "a write that was given up after it happened": [
        MADE, op(2, 9, Write("b")), op(3, 4, Read(), Held("a", 0)), op(10, 11, Read(), Held("b", 1))],
    "a write that was given up and never happened": [MADE, op(2, 9, Write("b")), op(10, 11, Read(), Held("a", 0))],
    "a refusal beside the write that is its reason": [
        MADE, op(2, 9, Write("b"), 1), op(3, 4, Write("c", 0), VERSION)],
    "an owner that may go at any time": [
        op(0, 1, Create("a", 7), 0), op(0, None, End(7)), op(2, 3, Look(), 0), op(4, 5, Look(), MISSING)],
    "two keys, each in an order that the other forbids": [
        op(0, 9, Create("a"), 0, "k"), op(1, 8, Create("a"), 0, "l"),
        op(2, 3, Read(), Held("a", 0), "l"), op(4, 5, Read(), MISSING, "k")],
}  # fmt: skip

BROKEN: dict[str, list[Operation]] = {
    "a stale read": [MADE, op(2, 3, Write("b"), 1), op(4, 5, Read(), Held("a", 0))],
    "a lost write": [MADE, op(2, 3, Write("b"), 1), op(4, 5, Write("c"), 1)],
    "a read from the future": [MADE, op(2, 3, Read(), Held("b", 1)), op(4, 5, Write("b"), 1)],
    "a read that goes back": [
        MADE, op(2, 9, Write("b"), 1), op(3, 4, Read(), Held("b", 1)), op(5, 6, Read(), Held("a", 0))],
    "two that both won": [MADE, op(2, 9, Write("b", 0), 1), op(3, 8, Write("c", 0), 1)],
    "a refusal without a reason": [MADE, op(2, 3, Write("b", 0), VERSION)],
    "a value nobody wrote": [MADE, op(2, 3, Read(), Held("z", 0))],
    "a lost write that comes and goes": [
        MADE, op(2, None, Write("b")), op(3, 4, Read(), Held("b", 1)), op(5, 6, Read(), Held("a", 0))],
    "a write that comes after it was given up": [
        MADE, op(2, 4, Write("b")), op(5, 6, Read(), Held("a", 0)), op(7, 8, Read(), Held("b", 1))],
    "a lost write that comes before it was asked for": [
        MADE, op(2, 3, Read(), Held("b", 1)), op(4, None, Write("b"))],
    "one key of two": [op(0, 1, Create("a"), 0, "l"), MADE, op(2, 3, Read(), MISSING)],
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_a_history_that_can_have_happened(name: str) -> None:
    result = check(FINE[name], Register())
    assert result.verdict is Verdict.LINEARIZABLE, result.why
    assert result.why == ""


@pytest.mark.parametrize("name", BROKEN)
def test_a_history_that_cannot(name: str) -> None:
    assert check(BROKEN[name], Register()).verdict is Verdict.BROKEN


def test_the_explanation_says_what_cannot_be_explained_and_why() -> None:
    history = [MADE, op(2, 3, Write("b"), 1), op(4, None, Delete(7)), op(5, 6, Read(), Held("a", 0))]
    result = check(history, Register())
    assert result.orders == {"k": (history[0], history[1])}
    assert result.why.splitlines() == [
        "key 'k': no order of the operations explains "
        "[5..6] client None: Read() -> Held(value='a', version=0, owner=None)",
        "the longest order that explains all that returned before it ends with:",
        "  [0..1] client None: Create(value='a', owner=None) -> 0",
        "  [2..3] client None: Write(value='b', version=None) -> 1",
        "the state, by that order and others, is one of:",
        "  Held(value='b', version=1, owner=None)",
        "under way with it:",
        "  [4..] client None: Delete(version=7) -> UNKNOWN",
    ]


def test_a_search_that_is_given_up_says_so() -> None:
    """Twenty writes at once and a read of what none of them wrote: a proof would take all their orders."""
    history = [MADE, *(op(2, 9, Write(number), UNKNOWN) for number in range(20)), op(3, 10, Read(), Held("z", 20))]
    result = check(history, Register(), max_steps=5000)
    assert result.verdict is Verdict.UNDECIDED
    assert 5000 < result.steps < 5100
    assert "no answer within 5000 steps" in result.why


def test_what_is_broken_is_broken_beside_a_key_that_is_undecided() -> None:
    hard = [op(2, 9, Write(number), UNKNOWN, "hard") for number in range(20)]
    history = [op(0, 1, Create("a"), 0, "hard"), *hard, op(3, 10, Read(), Held("z", 20), "hard"), MADE]
    assert check(history, Register(), max_steps=5000).verdict is Verdict.UNDECIDED
    broken = [op(0, 1, Look(), 5)]
    assert check([*broken, *history], Register(), max_steps=5000).verdict is Verdict.BROKEN


@pytest.mark.parametrize("wrong", [op(3, 2, Read(), MISSING), op(3, None, Read(), MISSING), op(3, 2, Read())])
def test_times_that_cannot_be_are_refused(wrong: Operation) -> None:
    with pytest.raises(ValueError, match="an operation"):
        check([wrong], Register())


def test_no_configuration_is_looked_at_twice() -> None:
    """Nine additions at once that all come to the same have 9! orders, and 2^9 configurations of nine."""
    history = [*(op(0, 9, Add(1), UNKNOWN) for _ in range(9)), op(0, 10, Add(), 99)]
    result = check(history, Counter())
    assert result.verdict is Verdict.BROKEN
    assert result.steps < 9 * 10 * 2**9


def test_what_may_have_happened_and_would_have_changed_nothing_is_not_tried() -> None:
    """Else there were 2^30 sets of deletions without effect."""
    history = [*(op(0, None, Delete()) for _ in range(30)), op(1, 2, Look(), 0)]
    result = check(history, Register())
    assert result.verdict is Verdict.BROKEN
    assert result.steps == 31


def test_many_operations_are_no_deep_recursion() -> None:
    history = [op(2 * number, 2 * number + 1, Add(1), number + 1) for number in range(20_000)]
    result = check(history, Counter())
    assert result.verdict is Verdict.LINEARIZABLE
    assert result.steps == 20_000


# --- histories made from a real order ---------------------------------------------------------------------------------


def call_of(rng: Random, number: int) -> Any:
    return rng.choice([
        Read(), Look(), Read(), Create(number), Create(number, rng.randrange(3)), Write(number), Write(number),
        Write(number, rng.randrange(3)), Delete(), Delete(rng.randrange(3)), End(rng.randrange(3)),
    ])  # fmt: skip


def recorded(rng: Random, count: int, *, overlap: int, lost: float = 0.1) -> list[Operation]:
    """A history that did happen: every operation at a moment of its own, and around it as much time as it takes so
    that about `overlap` are under way at once."""
    state: Held | None = None
    history = []
    for number in range(count):
        moment, call = 100 * (number + 1), call_of(rng, number)
        invoked, returned = moment - rng.randrange(50 * overlap), moment + rng.randrange(50 * overlap)
        if rng.random() < lost:  # of which half happened
            if rng.random() < 0.5:
                state = Register().step(state, call, UNKNOWN)
            history.append(op(invoked, rng.choice((None, returned)), call))
        else:
            state, result = Register()._do(state, call)
            history.append(op(invoked, returned, call, result))
    rng.shuffle(history)
    return history


def replay(order: Sequence[Operation], model: Model) -> object:
    """The state after `order`, or IMPOSSIBLE."""
    state: object = model.initial
    for operation in order:
        state = model.step(state, operation.call, operation.result)
        if state is IMPOSSIBLE:
            break
    return state


def respects_time(order: Sequence[Operation]) -> bool:
    """Nothing comes after what was invoked when it had returned."""
    latest = 0
    for operation in order:
        if operation.returned is not None and operation.returned < latest:
            return False
        latest = max(latest, operation.invoked)
    return True


@given(st.randoms(use_true_random=False), st.integers(1, 60), st.integers(1, 8))
def test_what_happened_is_accepted_with_an_order_that_proves_it(rng: Random, count: int, overlap: int) -> None:
    history = recorded(rng, count, overlap=overlap)
    result = check(history, Register())
    assert result.verdict is Verdict.LINEARIZABLE, result.why
    (order,) = result.orders.values()
    assert replay(order, Register()) is not IMPOSSIBLE
    assert respects_time(order)
    assert set(history) - set(order) <= {operation for operation in history if operation.result is UNKNOWN}


# --- and broken -------------------------------------------------------------------------------------------------------


def writes(rng: Random, count: int) -> list[Operation]:
    """Writes and reads of which all succeed, some of them overlapping, and none forgotten."""
    history = [op(0, 1, Create("first"), 0)]
    held = Held("first", 0)
    for number in range(1, count):
        moment = 100 * number
        spread = rng.randrange(90), rng.randrange(90)
        if rng.random() < 0.5:
            held = Held(number, held.version + 1)
            history.append(op(moment - spread[0], moment + spread[1], Write(number), held.version))
        else:
            history.append(op(moment - spread[0], moment + spread[1], Read(), held))
    return history


@given(st.randoms(use_true_random=False), st.integers(2, 60))
def test_a_stale_read_is_refused(rng: Random, count: int) -> None:
    history = writes(rng, count)
    end = 100 * count + 100
    later = Held("last", sum(isinstance(operation.call, Write) for operation in history) + 1)
    before = op(end + 2, end + 3, Read(), Held("last", later.version))
    history += [op(end, end + 1, Write("last"), later.version), before]
    assert check(history, Register()).verdict is Verdict.LINEARIZABLE
    stale = rng.choice([Held("first", 0), MISSING, Held("first", later.version)])
    assert check([*history[:-1], before._replace(result=stale)], Register()).verdict is Verdict.BROKEN


@given(st.randoms(use_true_random=False), st.integers(3, 60))
def test_a_write_that_was_lost_is_refused(rng: Random, count: int) -> None:
    """One write is confirmed and leaves no trace: the next to be written gets the same version."""
    history = writes(rng, count)
    written = [operation for operation in history if isinstance(operation.call, Write)]
    if written:
        lost = rng.choice(written)
        twin = op(lost.invoked, lost.returned, Write("twin"), lost.result)
        assert check([*history, twin], Register()).verdict is Verdict.BROKEN


@given(st.randoms(use_true_random=False), st.integers(3, 60))
def test_results_that_changed_places_are_refused(rng: Random, count: int) -> None:
    """The answers to two writes that do not overlap are those of each other."""
    history = writes(rng, count)
    written = [index for index, operation in enumerate(history) if isinstance(operation.call, Write)]
    apart = [
        (one, other)
        for one, other in combinations(written, 2)
        if (history[one].returned or 0) < history[other].invoked
    ]
    if apart:
        one, other = rng.choice(apart)
        results = history[one].result, history[other].result
        history[one] = history[one]._replace(result=results[1])
        history[other] = history[other]._replace(result=results[0])
        assert check(history, Register()).verdict is Verdict.BROKEN


# --- the second opinion -----------------------------------------------------------------------------------------------


def by_brute_force(history: Sequence[Operation], model: Model) -> bool:
    """Whether any permutation of what returned, with any of what may have happened, explains it all."""
    certain = [operation for operation in history if operation.result is not UNKNOWN]
    perhaps = [operation for operation in history if operation.result is UNKNOWN]
    return any(
        respects_time(order) and replay(order, model) is not IMPOSSIBLE
        for count in range(len(perhaps) + 1)
        for some in combinations(perhaps, count)
        for order in permutations([*certain, *some])
    )


CALLS: dict[Any, tuple[Any, ...]] = {
    Read(): (Held("a", 0), Held("b", 0), Held("a", 1), Held("b", 1), MISSING, UNKNOWN),
    Look(): (0, 1, MISSING, UNKNOWN),
    Create("a"): (0, 0, EXISTS, UNKNOWN),
    Create("b", 7): (0, EXISTS, UNKNOWN),
    Write("a"): (1, 2, MISSING, UNKNOWN),
    Write("b", 0): (1, MISSING, VERSION, UNKNOWN),
    Delete(): (None, MISSING, UNKNOWN),
    End(7): (None, UNKNOWN),
}


@st.composite
def arbitrary(draw: st.DrawFn) -> list[Operation]:
    """Up to six operations with any results at all, most of them overlapping."""
    history = []
    for _ in range(draw(st.integers(1, 6))):
        call = draw(st.sampled_from(list(CALLS)))
        result = draw(st.sampled_from(CALLS[call]))
        invoked = draw(st.integers(0, 6))
        returned: int | None = invoked + draw(st.integers(0, 4))
        if result is UNKNOWN and draw(st.booleans()):
            returned = None
        history.append(op(invoked, returned, call, result))
    return history


def agree(history: list[Operation]) -> Result:
    result = check(history, Register())
    assert (result.verdict is Verdict.LINEARIZABLE) == by_brute_force(history, Register()), result.why
    assert result.verdict is not Verdict.UNDECIDED
    return result


@settings(max_examples=300)
@given(arbitrary())
def test_any_small_history_is_judged_as_by_brute_force(history: list[Operation]) -> None:
    agree(history)


@settings(max_examples=200)
@given(st.randoms(use_true_random=False), st.integers(2, 6), st.integers(1, 6))
def test_a_history_with_one_result_changed_is_judged_as_by_brute_force(rng: Random, count: int, overlap: int) -> None:
    history = recorded(rng, count, overlap=overlap, lost=0.2)
    agree(history)
    index = rng.randrange(count)
    if history[index].returned is not None:
        history[index] = history[index]._replace(result=rng.choice(CALLS[Read()] + CALLS[Write("a")]))
        agree(history)


def test_the_two_opinions_are_asked_about_good_and_bad_histories() -> None:
    """Half of what is compared above must be broken, or the comparison proves little."""
    verdicts = []
    for seed in range(200):
        rng = Random(seed)
        history = recorded(rng, 5, overlap=3)
        index = rng.randrange(5)
        if history[index].returned is not None:
            history[index] = history[index]._replace(result=rng.choice(CALLS[Read()]))
        verdicts.append(agree(history).verdict)
    assert 40 < verdicts.count(Verdict.BROKEN) < 160
