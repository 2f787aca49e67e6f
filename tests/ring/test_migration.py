"""Diffs and plans: what moves, in which order, and that every promise holds at every step, in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.ring import (
    MD5_32,
    BadArgumentsError,
    HashRing,
    Maglev,
    Member,
    Migration,
    MigrationPlan,
    Partitioned,
    Phase,
    Placement,
    PlanError,
    Rendezvous,
    UnsatisfiableError,
    UnsupportedError,
)

KEYS = list(range(150))
RACKS = "rstu"

Maker = Callable[[list[Member]], Placement]

MAKERS = st.sampled_from(
    [
        lambda members: HashRing(members, points=12),
        lambda members: Maglev(members, slots=31),
        lambda members: Partitioned(Rendezvous(members), partitions=40),
    ]
)
NUMBERS = st.sets(st.integers(0, 11), min_size=6, max_size=12)


def members(numbers: set[int]) -> list[Member]:
    """Node i is in rack i modulo 4, so six nodes are in four racks wherever they begin, or nearly."""
    return [Member(f"n{number}", labels={"rack": RACKS[number % 4]}) for number in sorted(numbers)]


def rack(node: str) -> str:
    return RACKS[int(node[1:]) % 4]


def racks_of(numbers: set[int]) -> int:
    return len({number % 4 for number in numbers})


# --- diffs ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(make=MAKERS, before=NUMBERS, after=NUMBERS, n=st.integers(1, 3))
def test_a_diff_says_of_every_key_whether_it_moves_and_where(
    make: Maker, before: set[int], after: set[int], n: int
) -> None:
    old, new = make(members(before)), make(members(after))
    diff = old.diff(new, n)
    for key in KEYS:
        found = [each for each in diff if old.position(key) in each]
        if old.replicas(key, n) == new.replicas(key, n):
            assert found == []
        else:
            assert [(each.old, each.new) for each in found] == [(old.replicas(key, n), new.replicas(key, n))]
    assert diff.moved == pytest.approx(sum(diff.flows().values()))
    stops = [each.stop for each in diff]
    assert all(stop <= each.start for stop, each in zip(stops, list(diff)[1:], strict=False))


def test_what_a_new_node_takes_is_what_moves() -> None:
    old = HashRing(["a", "b", "c"])
    new = old.with_node("d")
    diff = old.diff(new)
    assert diff.moved == pytest.approx(new.shares()["d"])
    assert {target for _, target in diff.flows()} == {"d"}
    assert len(old.diff(HashRing(["c", "b", "a"]))) == 0


@settings(max_examples=30, deadline=None)
@given(make=MAKERS, numbers=NUMBERS, n=st.integers(1, 3), by_rack=st.booleans())
def test_arcs_say_the_same_as_replicas(
    make: Maker, numbers: set[int], n: int, by_rack: bool
) -> None:
    placement = make(members(numbers))
    distinct_by = "rack" if by_rack else None
    if by_rack and racks_of(numbers) < n:
        with pytest.raises(UnsatisfiableError, match="rack"):
            placement.arcs(n, distinct_by=distinct_by)
        return
    arcs = placement.arcs(n, distinct_by=distinct_by)
    for key in KEYS:
        assert arcs.at(placement.position(key)) == placement.replicas(key, n, distinct_by=distinct_by)
    assert sum(arcs.shares().values()) == pytest.approx(1)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="md5"):
        HashRing(["a"]).diff(HashRing(["a"], hash=MD5_32))
    for ask in (Rendezvous(["a"]).arcs, Rendezvous(["a"]).plot):
        with pytest.raises(UnsupportedError, match="Partitioned"):
            ask()


# --- plans ------------------------------------------------------------------------------------------------------------


def follow(plan: MigrationPlan, rng: Random, check: Callable[[Migration], None]) -> Migration:
    """Follow a plan as a real cluster might: moves end in any order, some fail, crashes forget the rest."""
    migration = Migration(plan)
    while not migration.complete:
        migration.begin()
        assert len(migration.under_way) <= plan.at_once
        move = rng.choice(migration.under_way)
        what = rng.random()
        if what < 0.1:
            migration.fail(move)
        elif what < 0.2:
            migration = Migration(plan, migration.finished)
        else:
            if move.phase is not Phase.DROP:
                for each in move.ranges:
                    assert move.source in migration.at(each.start), "who gives the data has it"
            migration.finish(move)
        check(migration)
    assert migration.begin() == []
    return migration


@settings(max_examples=60, deadline=None)
@given(
    make=MAKERS, before=NUMBERS, after=NUMBERS, n=st.integers(1, 3), by_rack=st.booleans(),
    at_once=st.integers(1, 4), losses=st.integers(0, 2), seed=st.integers(0, 999),
)  # fmt: skip
def test_a_plan_keeps_every_promise_at_every_step(
    make: Maker, before: set[int], after: set[int], n: int, by_rack: bool, at_once: int, losses: int, seed: int
) -> None:
    if by_rack:
        n = min(n, racks_of(before), racks_of(after))
    lost = {f"n{number}" for number in sorted(before - after)[: min(losses, n - 1)]}
    distinct_by = "rack" if by_rack else None
    old, new = make(members(before)), make(members(after))
    plan = old.plan(new, n, distinct_by=distinct_by, at_once=at_once, lost=lost)
    starts = {key: set(old.replicas(key, n, distinct_by=distinct_by)) - lost for key in KEYS}

    def check(migration: Migration) -> None:
        for key in KEYS[::5]:
            nodes = migration.replicas(key)
            assert len(set(nodes)) == len(nodes) >= min(n, len(starts[key]))
            assert not lost & set(nodes)
            if by_rack:
                assert len({rack(node) for node in nodes}) == len(nodes)

    migration = follow(plan, Random(seed), check)
    for key in KEYS:
        assert migration.replicas(key) == new.replicas(key, n, distinct_by=distinct_by)


@settings(max_examples=30, deadline=None)
@given(make=MAKERS, before=NUMBERS, after=NUMBERS, n=st.integers(1, 3), seed=st.integers(0, 999))
def test_an_aborted_plan_leads_back(
    make: Maker, before: set[int], after: set[int], n: int, seed: int
) -> None:
    old, new, rng = make(members(before)), make(members(after)), Random(seed)
    plan = old.plan(new, n, at_once=3)
    migration = Migration(plan)
    for _ in range(rng.randrange(len(plan.moves) + 1)):
        migration.begin()
        migration.finish(rng.choice(migration.under_way))
    migration.begin()
    migration.abort()
    assert migration.begin() == []
    assert migration.under_way == ()
    back = migration.back()

    def check(on_the_way: Migration) -> None:
        assert all(len(on_the_way.replicas(key)) >= n for key in KEYS[::7])

    home = follow(back, rng, check)
    assert all(home.replicas(key) == old.replicas(key, n) for key in KEYS)
    onward = follow(plan, rng, check)
    assert all(onward.owner(key) == new.owner(key) for key in KEYS)


def test_more_replicas_are_copied_and_fewer_dropped() -> None:
    ring = HashRing(["a", "b"], points=20)
    grown = ring.plan(ring.with_node("c"), 3, minimum=2)
    assert {move.phase for move in grown.moves} == {Phase.COPY}
    shrunk = MigrationPlan.between(ring.arcs(2), ring.arcs(1), marks={"a": "a", "b": "b"}, minimum=1, at_once=1)
    assert {move.phase for move in shrunk.moves} == {Phase.DROP}
    assert shrunk.share == 0
    assert [step.fewest_replicas for step in shrunk.steps()][-1] == 1


def test_a_dry_run_changes_nothing_and_tells_all() -> None:
    old = HashRing(["a", "b", "c", "d"], points=30)
    plan = old.plan(old.without_node("d"), 2, at_once=2)
    steps = list(plan.steps())
    assert [move for step in steps for move in step.moves] == list(plan.moves)
    assert all(len(step.moves) <= 2 and step.fewest_replicas == 2 for step in steps)
    assert steps[-1].moved == pytest.approx(plan.share)
    assert [str(move) for step in plan.steps() for move in step.moves] == str(plan).splitlines()[1:]
    assert Migration(plan).finished == frozenset()


def test_a_move_knows_its_keys() -> None:
    old = HashRing(["a", "b"])
    new = old.with_node("c")
    plan = old.plan(new)
    for key in KEYS:
        about = [move for move in plan.moves if old.position(key) in move]
        assert [(move.source, move.target) for move in about] == (
            [(old.owner(key), "c")] if new.owner(key) == "c" else []
        )


# --- bad input --------------------------------------------------------------------------------------------------------


def test_promises_that_cannot_be_kept_are_refused() -> None:
    old: Placement = HashRing(["a", "b", "c"])
    new = old.without_node("c")
    with pytest.raises(PlanError, match=r"replicas of .* are lost"):
        old.plan(new, 1, lost={"c"})
    with pytest.raises(PlanError, match="'a' is lost"):
        old.plan(new, 2, lost={"a"})
    with pytest.raises(PlanError, match="3 replicas"):
        old.plan(new, 2, minimum=3)
    with pytest.raises(UnsatisfiableError, match="3 replicas"):
        old.plan(new, 3)
    with pytest.raises(BadArgumentsError, match="at a time"):
        old.plan(new, at_once=0)
    with pytest.raises(BadArgumentsError, match="'abc'"):
        old.plan(new, lost="abc")
    with pytest.raises(BadArgumentsError, match="'a' has no label 'rack'"):
        old.plan(new, 2, distinct_by="rack")


def test_no_move_begins_before_an_earlier_phase_is_over() -> None:
    old = HashRing(["a", "b", "c", "d"])
    migration = Migration(old.plan(HashRing(["b", "c", "e"]), 2, lost={"a"}, at_once=99))
    copies = migration.begin()
    assert {move.phase for move in copies} == {Phase.COPY}
    for move in copies:
        assert migration.begin() == []
        migration.finish(move)
    assert {move.phase for move in migration.begin()} == {Phase.HAND_OVER}


def test_only_what_is_under_way_can_finish() -> None:
    old = HashRing(["a", "b", "c"])
    plan = old.plan(old.without_node("c"))
    migration = Migration(plan)
    with pytest.raises(PlanError, match="move 0 is not under way"):
        migration.finish(plan.moves[0])
    migration.begin()
    with pytest.raises(PlanError, match="abort first"):
        migration.back()
    with pytest.raises(PlanError, match="no move 99"):
        Migration(plan, [99])


def test_finished_moves_must_be_possible_and_nothing_goes_back_to_the_lost() -> None:
    old = HashRing(["a", "b", "c", "d"])
    plan = old.plan(HashRing(["b", "c", "e"]), 2, lost={"a"})
    last = plan.moves[-1]
    assert last.phase is Phase.HAND_OVER
    assert plan.moves[0].phase is Phase.COPY
    with pytest.raises(PlanError, match="phase before"):
        Migration(plan, [last.number])
    with pytest.raises(PlanError, match="no way back"):
        Migration(plan).back()
