"""The counter, the atomic value under it, and ids in blocks: nothing is lost, made twice, or given out twice."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import Asking, Point, Run, World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    ConnectionLostError,
    CounterOverflowError,
    IdsExhaustedError,
    ItemTooLargeError,
    SessionExpiredError,
)
from zkcore.recipes.atomic_value import AtomicValue
from zkcore.recipes.codec import json_codec, text_codec
from zkcore.recipes.counter import HIGHEST, LOWEST, Counter
from zkcore.recipes.ids import IdGenerator
from zkcore.tree.requests import Create, Delete, GetData, Once, SetData

PATH = "/app/number"


def stored(world: World) -> bytes:
    return world.tree.read(GetData(PATH)).data


def value_of(world: World, client: Client | None = None) -> AtomicValue[Any]:
    return AtomicValue(client or world.client(), PATH, initial=0, codec=json_codec)


# --- the counter


def test_a_counter_counts_from_its_start_and_is_stored_as_kazoo_does() -> None:
    world = World()
    counter = Counter(world.client(), PATH, start=7)
    assert world.run(counter.get()) == 7
    assert world.run(counter.add(5)) == 12
    assert world.run(counter.add(-20)) == -8
    assert stored(world) == b"-8"
    assert [world.run(counter.next()) for _ in range(2)] == [-8, -7]
    assert world.run(Counter(world.client(), PATH).get()) == -6


def test_a_znode_without_data_as_kazoo_makes_it_counts_from_the_start() -> None:
    world = World()
    client = world.client()
    world.do(client.session_id, Create("/app"))
    world.do(client.session_id, Create(PATH))
    assert world.run(Counter(client, PATH, start=3).add()) == 4
    assert stored(world) == b"4"


@pytest.mark.parametrize("data", [b"1.5", b"0x10", b"1_0", b" 1", "١".encode(), b"9223372036854775808", b"1" * 5000])
def test_what_is_no_number_of_64_bits_is_no_counter(data: bytes) -> None:
    world = World()
    client = world.client()
    world.do(client.session_id, Create("/app"))
    world.do(client.session_id, Create(PATH, data))
    for what in (Counter(client, PATH).get(), Counter(client, PATH).add(1), IdGenerator(client, PATH).next()):
        with pytest.raises(CodecError, match="no whole number of 64 bits"):
            world.run(what)
    assert stored(world) == data


def test_a_sum_beyond_64_bits_is_refused_and_nothing_is_lost() -> None:
    world = World()
    counter = Counter(world.client(), PATH)
    assert world.run(counter.add(HIGHEST)) == HIGHEST
    with pytest.raises(CounterOverflowError, match="does not fit 64 bits"):
        world.run(counter.add(1))
    with pytest.raises(OverflowError):
        world.run(counter.next())
    assert world.run(counter.get()) == HIGHEST
    world.run(counter.add(-HIGHEST))
    assert world.run(counter.add(LOWEST)) == LOWEST
    with pytest.raises(CounterOverflowError):
        world.run(counter.add(-1))


@pytest.mark.parametrize("number", [1.5, "1", None, True])
def test_a_counter_adds_whole_numbers_only(number: Any) -> None:
    world = World()
    with pytest.raises(BadArgumentsError, match="whole number"):
        world.run(Counter(world.client(), PATH).add(number))
    with pytest.raises(BadArgumentsError):
        Counter(world.client(), PATH, start=number)


@pytest.mark.parametrize("path", ["", "/", "number", "/app/"])
def test_each_needs_a_path_of_its_own(path: str) -> None:
    client = World().client()
    for kind in (Counter, IdGenerator):
        with pytest.raises(BadArgumentsError):
            kind(client, path)
    with pytest.raises(BadArgumentsError):
        AtomicValue(client, path, initial=b"")


# --- the atomic value


def test_a_value_is_its_initial_one_until_it_is_set() -> None:
    world = World()
    value = value_of(world)
    assert world.run(value.get()) == 0
    world.run(value.set({"a": 1}))
    assert world.run(value.get()) == {"a": 1}
    world.run(value.set(5))
    assert world.run(value.update(lambda now: now + 1)) == 6
    assert world.run(value.get()) == 6


def test_a_value_is_replaced_only_if_it_is_what_is_expected() -> None:
    world = World()
    value = value_of(world)
    assert world.run(value.compare_and_set(1, 2)) is False
    assert world.run(value.compare_and_set(0, 2)) is True  # nothing is stored yet
    assert world.run(value.compare_and_set(0, 3)) is False
    assert world.run(value.compare_and_set(2, 3)) is True
    assert world.run(value.get()) == 3


def test_a_znode_that_was_deleted_and_made_anew_is_not_taken_for_the_one_that_was_read() -> None:
    """It has the same version again, and even the same data."""
    world = World()
    value = value_of(world)
    world.run(value.set("old"))
    seen: list[Any] = []

    def change(now: Any) -> Any:
        seen.append(now)
        if len(seen) == 1:
            session = world.client().session_id
            world.do(session, Delete(PATH))
            world.do(session, Create(PATH, b'"new"'))
        return now + "+"

    assert world.run(value.update(change)) == "new+"
    assert seen == ["old", "new"]


def test_a_value_that_does_not_fit_or_cannot_be_encoded_changes_nothing() -> None:
    world = World()
    value = value_of(world)
    world.run(value.set(1))
    with pytest.raises(ItemTooLargeError, match="store the data elsewhere"):
        world.run(value.set("x" * (2 << 20)))
    with pytest.raises(CodecError):
        world.run(value.update(lambda now: {now}))
    with pytest.raises(ZeroDivisionError):
        world.run(divide(value))
    assert world.run(value.get()) == 1
    text = AtomicValue(world.client(), PATH, initial="", codec=text_codec)
    world.do(world.client().session_id, SetData(PATH, b"\xff"))
    for what in (text.get(), text.compare_and_set("", "x")):
        with pytest.raises(CodecError):
            world.run(what)
    world.run(text.set("good"))
    assert world.run(text.get()) == "good"


async def divide(value: AtomicValue[Any]) -> None:
    await value.update(lambda now: now // 0)


# --- ids in blocks


def test_ids_are_given_out_from_blocks_that_are_reserved() -> None:
    world = World()
    first, second = (IdGenerator(world.client(), PATH, block=3, start=10) for _ in range(2))
    assert [world.run(first.next()) for _ in range(2)] == [10, 11]
    assert [world.run(second.next()) for _ in range(2)] == [13, 14]
    assert [world.run(first.next()) for _ in range(2)] == [12, 16]
    assert world.run(second.next_block(5)) == range(19, 24)
    assert world.run(second.next()) == 15
    assert stored(world) == b"24"
    asked = len(world.asked)
    world.run(first.next())
    assert len(world.asked) == asked, "a block is given out without asking"


def test_the_last_ids_are_given_out_and_none_behind_them() -> None:
    world = World()
    ids = IdGenerator(world.client(), PATH, block=4, last=5)
    with pytest.raises(IdsExhaustedError, match="6 ids are left up to 5, and 7 are wanted"):
        world.run(ids.next_block(7))
    assert [world.run(ids.next()) for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    for what in (ids.next(), ids.next_block(1), IdGenerator(world.client(), PATH, last=3).next()):
        with pytest.raises(IdsExhaustedError, match="0 ids are left"):
            world.run(what)


@pytest.mark.parametrize(
    "options",
    [{"block": 0}, {"block": 1.5}, {"start": -1}, {"last": 1 << 63}, {"start": 5, "last": 4}, {"last": "9"}],
)
def test_a_range_of_ids_is_one(options: dict[str, Any]) -> None:
    with pytest.raises(BadArgumentsError):
        IdGenerator(World().client(), PATH, **options)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_block_has_at_least_one_id(count: Any) -> None:
    world = World()
    with pytest.raises(BadArgumentsError):
        world.run(IdGenerator(world.client(), PATH).next_block(count))


# --- everything at once, and at every await


@pytest.mark.parametrize("seed", range(40))
def test_what_is_added_at_once_is_added_once_and_ids_are_given_out_once(seed: int) -> None:
    world = World()
    rng = Random(seed)

    def lose(run: Run, point: Point) -> str | None:
        losing = isinstance(point, Asking) and rng.random() < 0.15
        return rng.choice(("lost before", "lost after", "throttled")) if losing else None

    world.script = lose
    amounts = [rng.randrange(-9, 10) for _ in range(6)]
    sums = [world.start(Counter(world.client(), PATH).add(amount)) for amount in amounts]
    client = world.client()
    generators = [IdGenerator(client if number % 2 else world.client(), "/ids", block=2) for number in range(3)]
    ids = [world.start(each.next()) for each in generators for _ in range(4)]
    while any(not run.is_over for run in (*sums, *ids)):
        if not world.step_any(rng):
            world.time += 0.01
    world.script = lambda run, point: None
    assert world.run(Counter(world.client(), PATH).get()) == sum(amounts)
    given = [run.outcome() for run in ids]
    assert len(given) == len(set(given))


CHANGES: dict[str, Callable[[Client], Coroutine[Any, Any, Any]]] = {
    "add": lambda client: Counter(client, PATH).add(5),
    "set": lambda client: AtomicValue(client, PATH, initial=0, codec=json_codec).set(8),
    "compare": lambda client: AtomicValue(client, PATH, initial=0, codec=json_codec).compare_and_set(3, 8),
    "reserve": lambda client: IdGenerator(client, PATH, block=5).next(),
}


@pytest.mark.parametrize("action", [*ACTIONS, "throttled"])
@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("first", [False, True])
def test_a_fault_at_any_await_changes_it_once_or_not_at_all(action: str, what: str, first: bool) -> None:
    for at in range(40):
        world = World()
        if first:
            world.run(Counter(world.client(), "/app/other").add(1))
        else:
            world.run(Counter(world.client(), PATH).add(3))
        run, hit = attempt(world, CHANGES[what](world.client()), action, at)
        before = 0 if first else 3
        after = before if what == "compare" and first else 8 if what in ("set", "compare") else before + 5
        now = world.run(Counter(world.client(), PATH).get())
        assert now == after if run.error is None else now in (before, after), f"{action} at {at}"
        if not hit:
            return
    raise AssertionError("it never came to an end")


def test_a_session_that_ends_before_an_answer_says_that_it_may_have_been_added() -> None:
    """And one that ended before anything was sent says that it was not."""
    world = World()
    client = world.client()
    actions = {"sent": "lost after", "again": "expired"}

    def script(run: Run, point: Point) -> str | None:
        if not isinstance(point, Asking) or not isinstance(point.op, Once):
            return None
        return actions.pop(next(iter(actions)), None) if actions else None

    world.script = script
    run = world.start(Counter(client, PATH).add(1))
    world.settle()
    with pytest.raises(ConnectionLostError) as caught:
        run.outcome()
    assert caught.value.applied == "unknown"
    world.script = lambda run, point: "expired"
    run = world.start(Counter(world.client(), PATH).add(1))
    world.settle()
    with pytest.raises(SessionExpiredError):
        run.outcome()
    world.script = lambda run, point: None
    assert stored(world) == b"1"
