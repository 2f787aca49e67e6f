"""What all algorithms promise, and what each does its own way."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.ring import (
    BadArgumentsError,
    BadKeyError,
    BoundedLoad,
    HashRing,
    Holder,
    Jump,
    Maglev,
    Member,
    NodeExistsError,
    NoNodeError,
    Partitioned,
    Placement,
    Rendezvous,
    UnsatisfiableError,
    UnsupportedError,
    balance,
    moved_fraction,
)
from zkcore.ring.members import Nodes

KEYS = [f"key-{number}" for number in range(400)]

Maker = Callable[[Nodes], Placement]

MAKERS: dict[str, Maker] = {
    "ring": lambda nodes: HashRing(nodes, points=20),
    "ketama": HashRing.ketama,
    "rendezvous": Rendezvous,
    "jump": Jump,
    "maglev": lambda nodes: Maglev(nodes, slots=211),
    "partitioned": lambda nodes: Partitioned(Rendezvous(nodes), partitions=100),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
but_jump = pytest.mark.parametrize(
    "make", [make for name, make in MAKERS.items() if name != "jump"], ids=[name for name in MAKERS if name != "jump"]
)
NAMES = [f"n{number}" for number in range(7)]


# --- what all promise -------------------------------------------------------------------------------------------------


@every
def test_the_owner_comes_first_and_everybody_once(make: Maker) -> None:
    placement = make(NAMES)
    assert (len(placement), set(placement), "n3" in placement, "x" in placement) == (7, set(NAMES), True, False)
    for key, owner in zip(KEYS[:60], placement.owners(KEYS[:60]), strict=True):
        order = list(placement.preference(key))
        assert order[0] == owner == placement.owner(key)
        assert sorted(order) == NAMES
        assert placement.replicas(key, 3) == tuple(order[:3])


@but_jump
@settings(max_examples=15, deadline=None)
@given(names=st.permutations(NAMES))
def test_the_order_in_which_nodes_came_does_not_matter(make: Maker, names: list[str]) -> None:
    one_by_one = make(names[:2])
    for name in names[2:]:
        one_by_one = one_by_one.with_node(name)
    assert make(NAMES).owners(KEYS) == make(names).owners(KEYS) == one_by_one.owners(KEYS)


@but_jump
@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([0.5, 1.0, 3.0])), max_size=12))
def test_after_any_changes_every_key_has_an_owner_who_is_there(make: Maker, steps: list[tuple[str, float]]) -> None:
    placement, there = make(["base"]), {"base"}
    for name, weight in steps:
        if name in there and weight == 1.0:
            placement = placement.without_node(name)
            there.remove(name)
        elif name in there:
            placement = placement.with_weight(name, weight)
        else:
            placement = placement.with_node(name, weight)
            there.add(name)
        assert set(placement.owners(KEYS[:100])) <= there == set(placement.nodes)


@every
def test_replicas_are_in_different_racks(make: Maker) -> None:
    racks = {name: f"rack-{number % 3}" for number, name in enumerate(NAMES)}
    placement = make([Member(name, labels={"rack": racks[name]}) for name in NAMES])
    for key in KEYS[:100]:
        nodes = placement.replicas(key, 3, distinct_by="rack")
        assert len({racks[node] for node in nodes}) == 3
        assert nodes[0] == placement.owner(key)
        order = list(placement.preference(key))
        firsts = {racks[node]: node for node in reversed(order)}
        assert set(nodes) == set(firsts.values()), "of each rack the first"
    with pytest.raises(UnsatisfiableError, match="'rack'"):
        placement.replicas("k", 4, distinct_by="rack")
    with pytest.raises(BadArgumentsError, match=r"'n\d' has no label 'zone'"):
        placement.replicas("k", 2, distinct_by="zone")
    assert placement.with_node("new", labels={"rack": "rack-9"}).members["new"].labels == {"rack": "rack-9"}


@every
def test_others_stand_in_for_nodes_that_are_down_and_ownership_stays(make: Maker) -> None:
    placement = make(NAMES)
    for key in KEYS[:60]:
        order = list(placement.preference(key))
        assert placement.holders(key, 3, down=()) == tuple(map(Holder, order[:3]))
        assert placement.holders(key, 3, down={order[0], order[2], order[3]}) == (
            Holder(order[4], order[0]), Holder(order[1]), Holder(order[5], order[2]),
        )  # fmt: skip
        assert placement.owner(key) == order[0]
    with pytest.raises(UnsatisfiableError, match="stand in for node"):
        placement.holders("k", 3, down=set(NAMES[:5]))
    with pytest.raises(BadArgumentsError, match="'n1'"):
        placement.holders("k", 3, down="n1")


@every
def test_a_stand_in_is_in_no_rack_that_serves_already(make: Maker) -> None:
    racks = {name: f"rack-{number % 3}" for number, name in enumerate(NAMES)}
    placement = make([Member(name, labels={"rack": racks[name]}) for name in NAMES])
    for key in KEYS[:60]:
        first = placement.owner(key)
        holders = placement.holders(key, 3, down={first}, distinct_by="rack")
        assert racks[holders[0].node] == racks[first], "the only rack that is free"
        assert len({racks[holder.node] for holder in holders}) == 3


@every
def test_bad_input_is_named(make: Maker) -> None:
    placement = make(NAMES)
    with pytest.raises(UnsatisfiableError, match=r"8 replicas .* 7 nodes"):
        placement.replicas("k", 8)
    for number in (0, -1, 1.5, True):
        with pytest.raises(BadArgumentsError, match="1 or more"):
            placement.replicas("k", number)  # type: ignore[arg-type]
    for key in (None, 2.5, True):
        with pytest.raises(BadKeyError, match=repr(key)):
            placement.owner(key)  # type: ignore[arg-type]
    with pytest.raises(NodeExistsError, match="'n1'"):
        placement.with_node("n1")
    with pytest.raises(NoNodeError, match="'x'"):
        placement.without_node("x")
    with pytest.raises(NoNodeError, match="'k'"):
        make([]).owner("k")


# --- one by one -------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(weight=st.sampled_from([0.2, 1.0, 5.0]), raised=st.sampled_from([1.1, 4.0]))
def test_rendezvous_moves_exactly_what_it_must(weight: float, raised: float) -> None:
    small = Rendezvous(NAMES)
    large = small.with_node("new", weight)
    more = large.with_weight("new", weight * raised)
    for key in KEYS[:150]:
        assert large.owner(key) in (small.owner(key), "new")
        assert more.owner(key) in (large.owner(key), "new")
        assert [node for node in large.preference(key) if node != "new"] == list(small.preference(key))


def test_rendezvous_respects_weights() -> None:
    measured = balance(Rendezvous({"a": 1, "b": 2, "c": 5}), range(16_000))
    # a's 2,000 keys scatter by sqrt(2000), 2% of them; five times that is certain.
    assert measured.peak_to_mean < 1.11
    assert measured.least_to_mean > 0.89


def test_jump_grows_and_shrinks_at_its_end_only() -> None:
    small = Jump(NAMES)
    large = small.with_node("new")
    assert all(after in (before, "new") for before, after in zip(small.owners(KEYS), large.owners(KEYS), strict=True))
    assert large.without_node("new").owners(KEYS) == small.owners(KEYS)
    assert balance(small, range(14_000)).peak_to_mean < 1.12
    for refused in (lambda: small.without_node("n0"), lambda: small.with_weight("n0", 2), lambda: Jump({"n0": 2})):
        with pytest.raises(UnsupportedError, match="'n0'"):
            refused()


def test_maglev_is_even_and_moves_little_more_than_it_must() -> None:
    names = [f"node-{number}" for number in range(20)]
    old = Maglev(names)
    shares = old.shares().values()
    assert max(shares) - min(shares) <= 1.01 / Maglev.SLOTS, "no two differ by more than one slot"
    new = old.without_node("node-7")
    assert 0.05 <= old.diff(new).moved < 0.10, "5% must move; measured 5.4%"
    assert old.diff(new).moved == pytest.approx(moved_fraction(old, new, range(20_000)), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(names=st.permutations(NAMES))
def test_nodes_of_a_crowded_maglev_take_turns_by_name(names: list[str]) -> None:
    assert Maglev(names, slots=11).owners(KEYS) == Maglev(NAMES, slots=11).owners(KEYS)


def test_maglev_respects_weights_and_keeps_a_place_for_the_lightest() -> None:
    shares = Maglev({"a": 1, "b": 3, "c": 0.5}).shares()
    assert shares == pytest.approx({"a": 2 / 9, "b": 6 / 9, "c": 1 / 9}, abs=1e-3)
    featherweight = Maglev({"a": 1, "b": 1e-9}, slots=101)
    assert list(featherweight.preference("k")) == ["a", "b"]
    for slots in (1, 4, 65536, "many"):
        with pytest.raises(BadArgumentsError, match="prime"):
            Maglev(["a"], slots=slots)  # type: ignore[arg-type]
    with pytest.raises(BadArgumentsError, match="more slots"):
        Maglev(["a", "b", "c", "d"], slots=3)


@settings(max_examples=30, deadline=None)
@given(
    factor=st.sampled_from([1.0, 1.05, 1.25, 2.0]), weights=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=1),
    count=st.integers(0, 300), seed=st.randoms(use_true_random=False),
)  # fmt: skip
def test_no_load_exceeds_its_bound_and_every_key_has_a_node(factor, weights, count, seed) -> None:  # type: ignore
    nodes = {f"n{number}": weight for number, weight in enumerate(weights)}
    placement = BoundedLoad(HashRing(nodes, points=5), factor=factor)
    keys = list(range(count))
    assignment = placement.assign(keys)
    assert set(assignment) == set(keys)
    assert assignment.loads == {name: list(assignment.values()).count(name) for name in nodes}
    for name, weight in nodes.items():
        due = count * weight / sum(weights)
        assert assignment.loads[name] <= assignment.capacities[name] < factor * due + 1 + 1e-6
    seed.shuffle(keys)
    assert placement.assign(keys) == assignment, "whatever the order of the keys"


def test_bounded_load_moves_little_when_a_node_goes() -> None:
    names = [f"node-{number}" for number in range(20)]
    old = BoundedLoad(HashRing(names), factor=1.25)
    keys = list(range(4000))
    moved = moved_fraction(old, old.without_node("node-7"), keys)
    assert 0.03 < moved < 0.10, "its 5%, and few that were crowded out"
    assert old.with_node("x").with_weight("x", 2).members["x"].weight == 2


def test_bounded_load_has_no_owner_of_one_key() -> None:
    bounded = BoundedLoad(HashRing(["a"]))
    with pytest.raises(UnsupportedError, match=r"'k'.*assign"):
        bounded.owner("k")
    for factor in (0.9, float("nan"), "1", True):
        with pytest.raises(BadArgumentsError, match="factor"):
            BoundedLoad(HashRing(["a"]), factor=factor)  # type: ignore[arg-type]
    with pytest.raises(NoNodeError, match="'k'"):
        BoundedLoad(HashRing()).assign(["k"])


def test_partitions_are_assigned_with_bounded_loads() -> None:
    names = [f"node-{number}" for number in range(8)]
    table = Partitioned(BoundedLoad(HashRing(names), factor=1.0), partitions=64)
    assert max(table.shares().values()) == pytest.approx(1 / 8)
    assert table.owner("k") == table.replicas("k", 2)[0]
    assert table.with_weight("node-1", 2).partition("k") == table.partition("k")
    with pytest.raises(BadArgumentsError, match="partitions"):
        Partitioned(HashRing(), partitions=0)


# --- statistics and pictures ------------------------------------------------------------------------------------------


def test_balance_compares_with_what_weights_entitle_to() -> None:
    measured = balance(HashRing({"a": 3, "b": 1}, points=4000), range(8000))
    assert sum(measured.loads.values()) == 8000
    assert measured.peak_to_mean == pytest.approx(1, abs=0.15)
    for count in (lambda: balance(HashRing(["a"]), []), lambda: moved_fraction(HashRing(["a"]), HashRing(["a"]), [])):
        with pytest.raises(BadArgumentsError, match="without keys"):
            count()


@pytest.mark.parametrize("names", [["a"], ["a", "<b&c>"], NAMES], ids=len)
def test_a_picture_is_well_formed_and_names_everybody(names: list[str]) -> None:
    root = ElementTree.fromstring(HashRing(names).plot())
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text.rpartition(": ")[0] for text in texts] == sorted(names)
    shapes = [element for element in root if element.tag.endswith(("path", "circle"))]
    assert len(shapes) == 1 if len(names) == 1 else len(shapes) > 50
    with pytest.raises(UnsatisfiableError):
        HashRing().plot()
