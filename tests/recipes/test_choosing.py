"""Choosing an instance: each way by itself."""

from __future__ import annotations

from collections import Counter
from itertools import count
from random import Random
from typing import Any

import pytest

from zkcore.errors import BadArgumentsError
from zkcore.recipes.choosing import Choice, Choose, Instance, Status, UnderWay, chooser, ring_of
from zkcore.ring import BadKeyError, HashRing

THREE = (Instance("a", "at a"), Instance("b", "at b"), Instance("c", "at c", weight=2.0))


def new(by: Choice, instances: tuple[Instance, ...] = THREE, under_way: UnderWay | None = None) -> Choose:
    return chooser(
        by,
        instances,
        turns=count(),
        chance=Random(1).random,
        under_way=under_way or UnderWay(),
        ring=ring_of(HashRing(), instances),
        factor=1.25,
    )


def names(choose: Choose, times: int) -> str:
    return "".join(choose(number).name for number in range(times))


def test_round_robin_is_one_after_the_other() -> None:
    assert names(new(Choice.ROUND_ROBIN), 7) == "abcabca"


def test_random_is_each_as_often() -> None:
    counts = Counter(names(new(Choice.RANDOM), 3000))
    assert all(900 < counts[name] < 1100 for name in "abc")


def test_weighted_is_in_proportion() -> None:
    counts = Counter(names(new(Choice.WEIGHTED), 4000))
    assert 900 < counts["a"] < 1100
    assert 900 < counts["b"] < 1100
    assert 1850 < counts["c"] < 2150


def test_the_least_loaded_has_least_for_its_weight() -> None:
    under_way = UnderWay()
    choose = new(Choice.LEAST_LOADED, under_way=under_way)
    begun = [(each, under_way.begin(each)) for each in (choose(None).name for _ in range(40))]
    assert [under_way.of(name) for name in "abc"] == [10, 10, 20]
    for _, mine in [each for each in begun if each[0] == "b"][:5]:
        under_way.end(mine)
    assert choose(None).name == "b"


def test_what_an_instance_says_of_its_load_counts() -> None:
    instances = (Instance("a", "", load=3), Instance("b", "", load=1), Instance("c", "", load=3, weight=2.0))
    under_way = UnderWay()
    choose = new(Choice.LEAST_LOADED, instances, under_way)
    assert choose(None).name == "b"
    under_way.begin("b")
    assert choose(None).name == "c"


def test_sticky_is_the_same_for_the_same_key_and_moves_only_what_must() -> None:
    before, choose = names(new(Choice.STICKY), 1000), new(Choice.STICKY, THREE[:2])
    assert names(new(Choice.STICKY), 1000) == before
    assert 400 < before.count("c") < 600
    after = names(choose, 1000)
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "c")


def test_sticky_goes_elsewhere_only_where_one_has_more_than_its_share() -> None:
    under_way = UnderWay()
    choose = new(Choice.STICKY, under_way=under_way)
    home = choose("hot").name
    chosen, begun = [], []
    for _ in range(100):
        chosen.append(choose("hot").name)
        begun.append(under_way.begin(chosen[-1]))
    assert chosen[0] == home
    assert {name: chosen.count(name) for name in "abc"} == {name: under_way.of(name) for name in "abc"}
    share = {"a": 32, "b": 32, "c": 63}  # 1.25 * (100 + 1) by weight, rounded up
    assert all(chosen.count(name) <= share[name] for name in "abc")
    assert chosen.count(home) >= share[home] - 1
    for mine in begun:
        under_way.end(mine)
    assert choose("hot").name == home


@pytest.mark.parametrize(("key", "error"), [(None, BadArgumentsError), (1.5, BadKeyError)])
def test_sticky_needs_a_key(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        new(Choice.STICKY)(key)


def test_a_ring_is_made_of_the_one_before() -> None:
    rng, ring = Random(3), HashRing()
    for _ in range(30):
        instances = [Instance(name, "", weight=rng.choice((1, 2))) for name in "abcdef" if rng.random() < 0.6]
        ring = ring_of(ring, instances)
        fresh = HashRing({each.name: each.weight for each in instances})
        if instances:
            assert ring.owners(range(200)) == fresh.owners(range(200))
        else:
            assert len(ring) == 0


def test_who_has_nothing_under_way_and_is_gone_is_forgotten() -> None:
    under_way = UnderWay()
    a, b = under_way.begin("a"), under_way.begin("b")
    under_way.end(a)
    under_way.forget(["c"])
    assert under_way._by_name.keys() == {"b"}
    under_way.end(b)
    assert under_way.total == under_way.of("b") == under_way.of("x") == 0


def test_who_is_forgotten_while_work_with_it_begins_is_no_error_at_its_end() -> None:
    under_way = UnderWay()
    mine = under_way.begin("a")
    mine.pop()  # another thread looks just before it is counted
    under_way.forget([])
    mine.append(None)
    under_way.end(mine)
    assert under_way.total == 0


# --- instances as bytes


def test_an_instance_says_itself_in_bytes() -> None:
    instance = Instance("a", "10.0.0.7:80", {"zone": "a"}, 2.5, Status.DRAINING, 17.0, 99)
    assert Instance.decode("a", instance.encode(), 99) == instance


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b"\xff", b"3", b'{"address":1,"load":0,"metadata":{},"status":"up","weight":1}',
        b'{"address":"","load":0,"metadata":[],"status":"up","weight":1}',
        b'{"address":"","load":0,"metadata":{"a":1},"status":"up","weight":1}',
        b'{"address":"","load":-1,"metadata":{},"status":"up","weight":1}',
        b'{"address":"","load":0,"metadata":{},"status":"asleep","weight":1}',
        b'{"address":"","load":0,"metadata":{},"status":"up","weight":NaN}',
    ],
)  # fmt: skip
def test_what_is_no_instance_is_none(data: bytes) -> None:
    assert Instance.decode("a", data, 1) is None
