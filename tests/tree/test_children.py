"""The order of children, whatever came and went, in families of all sizes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zkcore.errors import InvariantViolation
from zkcore.tree.children import Families

NUMBERS = st.integers(0, 2000)


def path(number: int) -> str:
    return f"/a/{number:04}"


class OneFamily(RuleBasedStateMachine):
    """Children come and go one by one and in spans, which takes a family across the sizes at which it is held
    otherwise; beside it stands a sorted list of the same."""

    def __init__(self) -> None:
        super().__init__()
        self.families = Families()
        self.expected: list[str] = []

    def come(self, number: int) -> None:
        if path(number) not in self.expected:
            self.families.add("/a", path(number))
            self.expected.insert(bisect_left(self.expected, path(number)), path(number))

    def go(self, number: int) -> None:
        if path(number) in self.expected:
            self.families.remove("/a", path(number))
            self.expected.remove(path(number))

    @rule(numbers=st.lists(NUMBERS, max_size=10))
    def some_come(self, numbers: list[int]) -> None:
        for number in numbers:
            self.come(number)

    @rule(numbers=st.lists(NUMBERS, max_size=10))
    def some_go(self, numbers: list[int]) -> None:
        for number in numbers:
            self.go(number)

    @rule(first=NUMBERS, count=st.integers(1, 300), step=st.sampled_from([-1, 1, 2, 7]))
    def a_span_comes(self, first: int, count: int, step: int) -> None:
        for number in range(first, first + count * step, step):
            self.come(max(number, 0))

    @rule(first=NUMBERS, count=st.integers(1, 600), step=st.sampled_from([-1, 1, 2]))
    def a_span_goes(self, first: int, count: int, step: int) -> None:
        for number in range(first, first + count * step, step):
            self.go(number)

    @rule()
    def all_are_filled_in_anew(self) -> None:
        self.families = Families()
        self.families.fill(self.expected[::2] + self.expected[1::2])

    @rule(number=NUMBERS)
    def a_page_begins_anywhere(self, number: int) -> None:
        mark = path(number)
        assert list(self.families.after("/a", mark)) == self.expected[bisect_right(self.expected, mark) :]
        assert list(self.families.since("/a", mark)) == self.expected[bisect_left(self.expected, mark) :]

    @invariant()
    def the_order_is_that_of_the_paths(self) -> None:
        assert list(self.families.of("/a")) == self.expected
        assert list(reversed(self.families.of("/a"))) == self.expected[::-1]
        assert self.families.count("/a") == len(self.expected)
        self.families.check(self.expected)


OneFamily.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_any_history_of_one_family = OneFamily.TestCase


def test_families_do_not_mix() -> None:
    families = Families()
    for number in range(300):
        families.add("/a", path(number))
        families.add(path(number), f"{path(number)}/b")
    assert families.count("/a") == 300
    assert list(families.of("/a/0007")) == ["/a/0007/b"]
    families.remove("/a/0007", "/a/0007/b")
    assert families.count("/a/0007") == 0
    assert list(families.of("/nobody")) == list(families.after("/nobody", "")) == []


def runs_of(families: Families) -> list[int]:
    family: Any = families.of("/a")
    return [len(run) for run in family._runs]


def test_what_comes_in_sequence_fills_its_runs_and_what_goes_leaves_no_crumbs() -> None:
    families = Families()
    for number in range(1280):
        families.add("/a", path(number))
    assert runs_of(families) == [128] * 10
    for number in range(1280):
        if number % 10:
            families.remove("/a", path(number))
    assert len(runs_of(families)) <= 4
    for number in range(0, 700, 10):
        families.remove("/a", path(number))
    assert families.of("/a") == list(map(path, range(700, 1280, 10)))


@pytest.mark.parametrize("count", [3, 300])
def test_a_child_too_few_or_too_many_is_found(count: int) -> None:
    families = Families()
    families.fill([path(number) for number in range(count)])
    for wrong in (range(count - 1), range(count + 1)):
        with pytest.raises(InvariantViolation, match="lists of children"):
            families.check([path(number) for number in wrong])
