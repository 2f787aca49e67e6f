"""The config: versions, checks before a change, history, and changes made at once."""

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
    BadVersionError,
    CodecError,
    InvalidValueError,
    ItemTooLargeError,
    NoNodeError,
    SessionExpiredError,
)
from zkcore.recipes.codec import json_codec
from zkcore.recipes.config import Config, Versioned
from zkcore.tree.requests import SetData

PATH = "/config/limits"


def new(world: World, client: Client | None = None, **more: Any) -> Config[Any]:
    return Config(client or world.client(), PATH, codec=json_codec, **more)


def values(found: tuple[Versioned[Any], ...]) -> list[tuple[int, Any]]:
    return [(each.version, each.value) for each in found]


def test_a_value_is_set_read_and_changed_with_versions_that_count() -> None:
    world = World()
    config = new(world)
    with pytest.raises(NoNodeError):
        world.run(config.get())
    made = [world.run(config.set({"rate": rate})) for rate in range(3)]
    assert [each.version for each in made] == [0, 1, 2]
    assert [each.zxid for each in made] == sorted({each.zxid for each in made})
    assert world.run(new(world).get()) == made[-1]
    assert world.run(config.update(lambda limits: {"rate": limits["rate"] * 10})).value == {"rate": 20}


def test_a_change_of_a_version_that_is_gone_is_refused() -> None:
    world = World()
    config = new(world)
    with pytest.raises(NoNodeError):
        world.run(config.set(1, version=0))
    world.run(config.set(1))
    assert world.run(config.set(2, version=0)).version == 1
    with pytest.raises(BadVersionError, match="has version 1, not 0"):
        world.run(config.set(3, version=0))
    assert world.run(config.get()).value == 2


def test_what_is_not_valid_is_not_set_by_any_way() -> None:
    world = World()

    def positive(value: int) -> None:
        if value <= 0:
            raise ValueError(f"{value} is not positive")

    world.run(new(world).set(-1))
    config = new(world, validate=positive)
    world.asked.clear()
    with pytest.raises(InvalidValueError, match="0 is not positive; nothing was set"):
        world.run(config.set(0))
    assert world.asked == []
    world.run(config.set(1))
    for change in (config.update(lambda value: value - 1), config.rollback(0)):
        with pytest.raises(InvalidValueError):
            world.run(change)
    assert values(world.run(config.history())) == [(0, -1), (1, 1)]


def test_values_of_the_past_are_kept_and_can_be_set_again() -> None:
    world = World()
    config = new(world, history=3)
    for value in "abcde":
        made = world.run(config.set(value))
    assert values(world.run(config.history())) == [(1, "b"), (2, "c"), (3, "d"), (4, "e")]
    assert world.run(config.history())[-1] == made
    back = world.run(config.rollback(2))
    assert (back.version, back.value) == (5, "c")
    assert values(world.run(config.history())) == [(2, "c"), (3, "d"), (4, "e"), (5, "c")]
    with pytest.raises(NoNodeError, match="not kept"):
        world.run(config.rollback(1))
    world.run(new(world, history=0).set("f"))
    assert len(world.children(PATH)) == 3
    world.run(new(world, history=1).set("g"))
    assert values(world.run(config.history())) == [(6, "f"), (7, "g")]


def test_changes_that_are_made_at_once_are_all_made() -> None:
    for seed in range(40):
        world = World()
        rng = Random(seed)
        world.run(new(world).set(0))

        def lose(run: Run, point: Point, rng: Random = rng) -> str | None:
            losing = isinstance(point, Asking) and rng.random() < 0.1
            return rng.choice(("lost before", "lost after")) if losing else None

        world.script = lose
        runs = [world.start(new(world, history=2).update(lambda value: value + 1)) for _ in range(6)]
        while any(not run.is_over for run in runs):
            world.step_any(rng)
        assert sorted(run.outcome().value for run in runs) == [1, 2, 3, 4, 5, 6]
        world.script = lambda run, point: None
        assert values(world.run(new(world).history())) == [(4, 4), (5, 5), (6, 6)]


def test_a_history_that_is_read_while_values_change_has_no_gaps() -> None:
    for seed in range(40):
        world = World()
        rng = Random(seed)
        world.run(new(world).set(0))
        reading = world.start(new(world).history())
        world.start(_count_to(new(world, history=2), 6))
        while not reading.is_over:
            world.step_any(rng)
        read = values(reading.outcome())
        assert read == [(version, version) for version in range(read[0][0], read[-1][0] + 1)]


@pytest.mark.parametrize(("kept", "expected"), [(10, [0, 1, 2]), (3, [1, 2]), (2, [2])])
def test_a_history_ends_though_the_value_changes_between_any_two_of_its_reads(kept: int, expected: list[int]) -> None:
    """It is that of the moment in which it was asked for, as far as it is still there."""
    world = World()
    for number in range(3):
        world.run(new(world, history=kept).set(number))
    reading = world.start(new(world).history())
    writer = new(world, history=kept)
    for number in range(3, 20):
        if world.step(reading) and not reading.is_over:
            world.start(writer.set(number))
            while any(world.step(run) for run in list(world.runs) if run is not reading):
                pass
    assert [each.version for each in reading.outcome()] == expected


async def _count_to(config: Config[Any], end: int) -> None:
    for number in range(1, end + 1):
        await config.set(number)


# --- looking on


class Looker:
    """Somebody who notes every value that is seen."""

    def __init__(self, world: World, client: Client) -> None:
        self.seen: list[Any] = []
        self.changes = new(world, client).watch()
        self.run = world.start(self._look())

    async def _look(self) -> None:
        while True:
            try:
                async for now in self.changes:
                    self.seen.append(None if now is None else now.value)
                return
            except CodecError:
                self.seen.append("undecodable")


def test_who_looks_on_sees_every_newest_value_also_behind_one_that_cannot_be_decoded() -> None:
    world = World()
    client = world.client()
    looker = Looker(world, client)
    world.settle()
    for value in (1, 2):
        world.run(new(world).set(value))
        world.settle()
    world.do(world.client().session_id, SetData(PATH, b"{"))
    world.settle()
    world.do(world.client().session_id, SetData(PATH, b"3"))
    world.settle()
    assert looker.seen == [None, 1, 2, "undecodable", 3]
    world.expire(client)
    world.settle()
    with pytest.raises(SessionExpiredError):
        looker.run.outcome()


def test_a_wait_ends_with_the_first_value_that_will_do_or_in_time() -> None:
    world = World()
    waiting = world.start(new(world).wait_for(lambda value: value > 2))
    hasty = world.start(new(world).wait_for(lambda value: value > 2, timeout=1))
    world.settle()
    for value in (1, 2):
        world.run(new(world).set(value))
    world.sleep(1)
    assert hasty.outcome() is None
    assert not waiting.is_over
    world.run(new(world).set(3))
    world.settle()
    assert waiting.outcome().value == 3


# --- bad input


@pytest.mark.parametrize("path", ["", "/", "config"])
def test_a_config_needs_a_path_of_its_own(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        Config(World().client(), path)


@pytest.mark.parametrize("history", [-1, 1001])
def test_a_history_is_of_some_length(history: int) -> None:
    with pytest.raises(BadArgumentsError):
        new(World(), history=history)


def test_a_value_that_is_too_large_with_what_is_kept_is_refused_before_it_is_sent() -> None:
    world = World()
    with pytest.raises(ItemTooLargeError):
        world.run(new(world).set("x" * (1 << 20)))
    world.run(new(world).set("x" * 600_000))
    with pytest.raises(ItemTooLargeError, match="keep no history"):
        world.run(new(world).set("y" * 600_000))
    assert world.run(new(world, history=0).set("y" * 600_000)).version == 1


def fail(_: object) -> object:
    raise ValueError("of its own")


def test_a_codec_or_a_change_that_fails_changes_nothing() -> None:
    world = World()
    world.run(new(world).set(1))
    with pytest.raises(CodecError):
        world.run(new(world).set(object()))
    with pytest.raises(CodecError):
        world.run(new(world).update(lambda value: {value}))
    with pytest.raises(ValueError, match="of its own"):
        world.run(new(world).update(fail))
    assert world.run(new(world).get()).version == 0


# --- everything at every await


CHANGES: dict[str, Callable[[Config[Any]], Coroutine[Any, Any, Versioned[Any]]]] = {
    "first": lambda config: config.set("new"),
    "set": lambda config: config.set("new"),
    "update": lambda config: config.update(lambda value: value + "+"),
    "rollback": lambda config: config.rollback(0),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("what", CHANGES)
def test_a_fault_at_any_await_changes_it_once_or_not_at_all(action: str, what: str) -> None:
    for at in range(40):
        world = World()
        config = new(world)
        if what != "first":
            world.run(new(world).set("old"))
        run, hit = attempt(world, CHANGES[what](config), action, at)
        try:
            now = values(world.run(new(world).history()))
        except NoNodeError:
            now = []
        before = [] if what == "first" else [(0, "old")]
        after = [*before, (len(before), {"first": "new", "set": "new", "update": "old+", "rollback": "old"}[what])]
        assert now in ([after] if run.error is None else [before, after]), f"{action} at {at}"
        if not hit:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")
