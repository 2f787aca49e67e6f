"""HashRing: what moves and what does not, whatever came and went before, wherever points meet."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import Counter

import mmh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.ring import (
    MD5_32,
    MMH3_32,
    MMH3_64,
    BadArgumentsError,
    BadKeyError,
    HashFunction,
    HashRing,
    Member,
    NodeExistsError,
    NoNodeError,
)
from zkcore.ring.slots import NUMBER

KEYS = [f"user:{number}:profile" for number in range(300)]

CROWDED = HashFunction.custom("crowded", lambda key: mmh3.hash(key) << 23)
"""Only 512 positions, so that nodes meet at most of them."""

HASHES = st.sampled_from([MMH3_32, MMH3_64, MD5_32, CROWDED])
SLOTS = st.sampled_from([1 << 10, 1 << 14, 1 << 32])
POINTS = st.sampled_from([1, 3, 40])
NAMES = st.sampled_from([f"n{number}" for number in range(8)])
WEIGHTS = st.sampled_from([0.3, 1.0, 2.5, 7.0])


def naive_owner(ring: HashRing, weights: dict[str, float], points: int, slots: int, key: str) -> str:
    """The rule in its plainest form: the first point at the start of the key's slot or after it; names decide."""
    hash = ring.hash
    standing = sorted(
        (position, name)
        for name, weight in weights.items()
        for position in hash.positions(name, max(1, round(weight * points)))
    )
    size = (1 << hash.bits) // slots
    start = hash.position(key) // size * size
    at = bisect_left(standing, (start, ""))
    return standing[at % len(standing)][1]


def check_table(ring: HashRing) -> None:
    """Every slot of the table names the owner of its beginning, or 0 where one must look closer."""
    circle = ring._circle
    points = list(circle.points())
    assert [point >> NUMBER for point in points] == sorted(point >> NUMBER for point in points)
    assert len(points) == circle.size
    for slot, number in enumerate(circle.table):
        start = slot << circle.slot_shift
        at = bisect_left(points, start << NUMBER)
        holds_point = at < len(points) and points[at] >> NUMBER + circle.slot_shift == slot
        if not points or (holds_point and circle.slot_shift != circle.cell_shift):
            assert number == 0
        else:
            assert number == points[at % len(points)] & (1 << NUMBER) - 1


# --- any history ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    hash=HASHES, slots=SLOTS, points=POINTS,
    steps=st.lists(st.tuples(NAMES, st.sampled_from(["leave", "weigh"]), WEIGHTS), max_size=25),
)  # fmt: skip
def test_after_any_history_a_ring_is_the_ring_of_its_nodes(
    hash: HashFunction, slots: int, points: int, steps: list[tuple[str, str, float]]
) -> None:
    """No key is lost after any sequence of changes, and how the nodes came to be there leaves no trace."""
    ring, weights = HashRing(points=points, slots=slots, hash=hash), dict[str, float]()
    for name, what, weight in steps:
        if name not in weights:
            ring, weights[name] = ring.with_node(name, weight), weight
        elif what == "leave":
            ring = ring.without_node(name)
            del weights[name]
        else:
            ring, weights[name] = ring.with_weight(name, weight), weight
    check_table(ring)
    assert dict.fromkeys(ring.nodes) == dict.fromkeys(weights)
    if weights:
        backwards = dict(reversed(weights.items()))
        expected = [naive_owner(ring, weights, points, slots, key) for key in KEYS[:60]]
        assert ring.owners(KEYS[:60]) == expected
        assert [ring.owner(key) for key in KEYS[:60]] == expected
        assert HashRing(backwards, points=points, slots=slots, hash=hash).owners(KEYS[:60]) == expected


@pytest.mark.parametrize("names", [["a", "b", "c"], ["c", "b", "a"]])
def test_where_nodes_meet_the_first_name_owns(names: list[str]) -> None:
    everywhere = HashFunction.custom("one point", lambda key: 0)
    ring = HashRing(names, hash=everywhere)
    assert list(ring.preference("k")) == ["a", "b", "c"]
    assert ring.without_node("a").owner("k") == "b"
    assert ring.without_node("a").with_node("a").owner("k") == "a"


def test_a_lowered_weight_leaves_no_points_behind() -> None:
    ring = HashRing({"a": 10, "b": 1}, points=160).with_weight("a", 1).without_node("a")
    assert set(ring.owners(KEYS)) == {"b"}


# --- minimal movement -------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(hash=HASHES, slots=SLOTS, names=st.sets(NAMES, min_size=2), weight=WEIGHTS)
def test_only_keys_of_the_node_that_comes_or_goes_move(
    hash: HashFunction, slots: int, names: set[str], weight: float
) -> None:
    small = HashRing(names, points=20, slots=slots, hash=hash)
    large = small.with_node("new", weight)
    for key, before, after in zip(KEYS, small.owners(KEYS), large.owners(KEYS), strict=True):
        assert after in (before, "new")
        expected = [node for node in large.preference(key) if node != "new"]
        assert list(small.preference(key)) == expected, "nor does the order of the others change"
    assert large.without_node("new").owners(KEYS) == small.owners(KEYS)


@settings(max_examples=40, deadline=None)
@given(low=WEIGHTS, high=WEIGHTS)
def test_a_weight_moves_only_keys_from_or_to_its_node(low: float, high: float) -> None:
    low, high = sorted((low, high))
    ring = HashRing(["a", "b", "c", "d"], points=30).with_weight("a", low)
    for before, after in zip(ring.owners(KEYS), ring.with_weight("a", high).owners(KEYS), strict=True):
        assert after in (before, "a")


def test_an_old_version_stays_as_it_was_and_shares_its_blocks_with_the_new() -> None:
    old = HashRing([f"node-{number}" for number in range(300)], points=100)
    owners = old.owners(KEYS)
    new = old.with_node("new")
    assert old.owners(KEYS) == owners
    shared = sum(a is b for a, b in zip(old._circle.blocks, new._circle.blocks, strict=True))
    assert shared > 0.9 * len(old._circle.blocks)


# --- weights and balance ----------------------------------------------------------------------------------------------


def test_shares_follow_weights() -> None:
    ring = HashRing({"a": 1, "b": 2.5, "c": 0.5})
    shares = ring.shares()
    for name, weight in {"a": 1, "b": 2.5, "c": 0.5}.items():
        # With v points a share scatters by 1/sqrt(v) of itself: 4% for 640, 6% for 320. Five times that is certain.
        assert shares[name] == pytest.approx(weight / 4, rel=5 / (640 * weight) ** 0.5)
    counted = Counter(ring.owners(range(20_000)))
    for name, share in shares.items():
        assert counted[name] / 20_000 == pytest.approx(share, abs=0.02)


def test_a_hundred_nodes_are_balanced_by_default() -> None:
    peaks = [max(HashRing([f"set-{s}-node-{n}" for n in range(100)]).shares().values()) * 100 for s in range(4)]
    assert sum(peaks) / len(peaks) < 1.12


def test_a_tiny_weight_has_a_point_all_the_same() -> None:
    assert HashRing({"a": 1, "b": 1e-9}).shares()["b"] > 0


# --- one key ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash", [MMH3_32, MMH3_64, MD5_32, CROWDED], ids=lambda hash: hash.name)
def test_text_bytes_and_digits_of_a_key_are_the_same_key(hash: HashFunction) -> None:
    ring = HashRing(["a", "b", "c", "d", "e"], hash=hash)
    for number in range(50):
        assert ring.owner(number) == ring.owner(str(number)) == ring.owner(str(number).encode())
    assert ring.owners([1, "x", b"y"]) == [ring.owner(1), ring.owner("x"), ring.owner(b"y")]
    assert ring.owners(iter(range(9))) == [ring.owner(number) for number in range(9)]


@pytest.mark.parametrize("key", [None, 1.5, ("a",), True], ids=repr)
@pytest.mark.parametrize("hash", [MMH3_32, MMH3_64, MD5_32, CROWDED], ids=lambda hash: hash.name)
def test_a_key_of_another_type_is_named(hash: HashFunction, key: object) -> None:
    ring = HashRing(["a"], hash=hash)
    for ask in (ring.owner, ring.preference, ring.position, lambda key: ring.owners([key])):
        with pytest.raises(BadKeyError, match="key") as caught:
            ask(key)  # type: ignore[arg-type]
        assert repr(key) in str(caught.value)


def test_owners_do_not_depend_on_machine_or_version() -> None:
    """Pinned: another release, or a machine of the other byte order, must give the same owners."""
    ring = HashRing([f"node-{number}" for number in range(10)])
    assert "".join(owner[-1] for owner in ring.owners(range(20))) == PINNED, sys.byteorder


PINNED = "25579291841089449797"


# --- ketama -----------------------------------------------------------------------------------------------------------


def test_ketama_owners_are_those_of_libketama() -> None:
    """The owners are those of another implementation of ketama."""
    ring = HashRing.ketama([f"10.0.1.{number}:11211" for number in range(1, 9)])
    assert "".join(owner.split(":")[0][-1] for owner in ring.owners([f"key-{n}" for n in range(40)])) == KETAMA
    assert ring._circle.size == 8 * 160


KETAMA = "3363688782131887885715247827186613625637"


def test_ketama_shares_points_by_weight_and_follows_changes() -> None:
    ring = HashRing.ketama({"a": 1, "b": 2, "c": 3})
    assert ring._circle.size == (20 * 2 + 40 * 2 + 60 * 2) * 2
    again = ring.without_node("c").with_node("c", 3)
    assert again.owners(KEYS) == ring.owners(KEYS)
    check_table(again)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "1", True], ids=repr)
def test_a_bad_weight_names_the_node(weight: float) -> None:
    for make in (
        lambda: HashRing({"abc": weight}),
        lambda: HashRing(["x"]).with_node("abc", weight),
        lambda: HashRing(["abc"]).with_weight("abc", weight),
    ):
        with pytest.raises(BadArgumentsError, match="'abc'"):
            make()


def test_too_many_points_are_refused() -> None:
    with pytest.raises(BadArgumentsError, match=r"'heavy'.*weights are relative"):
        HashRing({"heavy": 1e9})


def test_nodes_must_have_names_and_only_one_each() -> None:
    with pytest.raises(NodeExistsError, match="'a'"):
        HashRing(["a", "b", "a"])
    with pytest.raises(NodeExistsError, match="'a'"):
        HashRing(["a"]).with_node("a")
    with pytest.raises(BadArgumentsError, match="''"):
        HashRing([""])
    with pytest.raises(BadArgumentsError, match="7"):
        HashRing([7])  # type: ignore[list-item]
    with pytest.raises(BadArgumentsError, match="'abc'"):
        HashRing("abc")
    assert HashRing([Member("a", 2.0), "b"]).members["a"].weight == 2.0


def test_a_node_that_is_not_there_is_named() -> None:
    ring = HashRing(["a"])
    with pytest.raises(NoNodeError, match="'b'"):
        ring.without_node("b")
    with pytest.raises(NoNodeError, match="'b'"):
        ring.with_weight("b", 2)


def test_an_empty_ring_names_the_key_it_has_no_owner_for() -> None:
    for ring in (HashRing(), HashRing(["a"]).without_node("a")):
        assert not ring.nodes
        for ask in (ring.owner, ring.preference, ring.owners):
            with pytest.raises(NoNodeError, match="'k'"):
                ask("k")


@pytest.mark.parametrize("slots", [0, 1000, 1 << 9, 1 << 33, "many"], ids=repr)
def test_a_bad_number_of_slots_or_points_is_refused(slots: int) -> None:
    with pytest.raises(BadArgumentsError, match="slots"):
        HashRing(["a"], slots=slots)
    with pytest.raises(BadArgumentsError, match="points"):
        HashRing(["a"], points=0)
    with pytest.raises(BadArgumentsError, match="bits"):
        HashFunction.custom("short", lambda key: 1, bits=16)
