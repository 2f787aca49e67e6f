"""Ids in the order of time: made without asking, and never twice, whatever clocks, pauses and sessions do."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import Asking, Point, Run, ScriptedPort, World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    ClockError,
    CodecError,
    ConnectionLostError,
    IdsExhaustedError,
    LeaseLostError,
    NodeExistsError,
    NotStartedError,
    SessionExpiredError,
)
from zkcore.recipes.time_ids import EPOCH_MS, LEAD_MS, TOLERANCE_MS, TimeIdGenerator
from zkcore.tree.requests import Create, CreateWithParents, Delete, Exists, GetData, Multi, Once, SetData

PATH = "/ids"
NOW = 1_800_000_000.0


def new_world() -> World:
    world = World()
    world.time = NOW
    return world


def new(world: World, client: Client | None = None) -> TimeIdGenerator:
    return TimeIdGenerator(client or world.client(), PATH)


def started(world: World, client: Client | None = None) -> TimeIdGenerator:
    ids = new(world, client)
    world.run(ids.start())
    return ids


def mark(world: World, worker: int) -> int:
    return int(world.tree.read(GetData(f"{PATH}/mark-{worker}")).data)


def now_ms(world: World) -> int:
    return int(world.time * 1000) - EPOCH_MS


def set_clock(client: Client, seconds: float) -> None:
    """From now on this client's wall clock goes so many seconds wrong."""
    port: Any = client.port
    wall = ScriptedPort.wall
    port.wall = lambda: wall(port) + seconds


# --- what an id is


def test_an_id_says_when_it_was_made_by_whom_and_grows() -> None:
    world = new_world()
    ids, other = started(world), started(world)
    assert (ids.worker, other.worker) == (0, 1)
    made = [world.run(ids.next()) for _ in range(3)]
    assert made == sorted(set(made))
    assert [TimeIdGenerator.parts(each).sequence for each in made] == [0, 1, 2]
    assert TimeIdGenerator.parts(made[0]) == (datetime.fromtimestamp(NOW, UTC), 0, 0)
    theirs = world.run(other.next())
    assert TimeIdGenerator.parts(theirs).worker == 1
    world.time += 0.001
    assert world.run(ids.next()) > theirs
    assert all(0 < each < 1 << 63 for each in made)


def test_ids_are_made_without_asking_but_for_the_mark() -> None:
    world = new_world()
    ids = started(world)
    world.run(ids.next())
    world.asked.clear()
    for _ in range(100):
        world.time += 0.025
        world.run(ids.next())
    assert world.asked == []
    world.time += LEAD_MS / 1000
    world.run(ids.next())
    assert len(world.asked) == 1
    assert mark(world, 0) == now_ms(world) + LEAD_MS


def test_more_ids_than_a_millisecond_has_go_into_the_next() -> None:
    world = new_world()
    ids = started(world)
    made = [world.run(ids.next()) for _ in range(4097)]
    assert len(set(made)) == 4097
    assert TimeIdGenerator.parts(made[-1])[1:] == (0, 0)
    assert (TimeIdGenerator.parts(made[-1]).time - TimeIdGenerator.parts(made[0]).time).microseconds == 1000


# --- the number of a worker


def test_who_has_given_his_number_back_or_never_had_one_makes_no_ids() -> None:
    world = new_world()
    ids = new(world)
    for what in (ids.next(), use(lambda: ids.worker)):
        with pytest.raises(NotStartedError, match="start it"):
            world.run(what)
    world.run(ids.start())
    with pytest.raises(BadArgumentsError, match="started before"):
        world.run(ids.start())
    world.run(ids.close())
    world.run(ids.close())
    with pytest.raises(NotStartedError):
        world.run(ids.next())
    assert world.children(f"{PATH}/workers") == []


async def use(what: Any) -> None:
    what()


def test_nobody_makes_ids_after_the_lease_was_lost() -> None:
    """Also where the holder's own clock alone says so, and where somebody took the number away."""
    world = new_world()
    client = world.client()
    ids = started(world, client)
    world.run(ids.next())
    world.expire(client)
    with pytest.raises(LeaseLostError):
        world.run(ids.next())
    by_clock = world.client()
    ids = started(world, by_clock)
    world.run(ids.next())
    session: Any = by_clock.port.session
    session.alive_until = world.time
    with pytest.raises(LeaseLostError):
        world.run(ids.next())
    ids = started(world)
    assert ids.lease is not None
    world.do(world.client().session_id, Delete(ids.lease.path))
    with pytest.raises(LeaseLostError):
        world.run(ids.next())  # it has no mark yet, and gets none
    assert world.tree.read(Exists(f"{PATH}/mark-{ids.worker}")) is None or mark(world, ids.worker) < now_ms(world) + 1


def test_the_next_holder_of_a_number_begins_behind_what_the_last_may_have_used() -> None:
    world = new_world()
    client = world.client()
    ids = started(world, client)
    world.run(ids.next())
    world.expire(client)
    session = world.client().session_id
    for number in range(1, 1024):  # nobody shall have another choice
        world.do(session, Create(f"{PATH}/workers/{number}"))
    again = started(world)
    assert again.worker == 0
    assert world.run(again.next()) >> 22 == now_ms(world) + LEAD_MS + 1


def test_a_number_whose_time_is_not_past_is_the_last_choice() -> None:
    world = new_world()
    client = world.client()
    world.run(started(world, client).next())
    world.expire(client)
    assert started(world).worker == 1
    world.time += LEAD_MS / 1000 + 1
    assert started(world).worker == 0


def test_all_numbers_may_be_taken() -> None:
    world = new_world()
    session = world.client().session_id
    world.do(session, CreateWithParents(f"{PATH}/workers"))
    for number in range(1024):
        world.do(session, Create(f"{PATH}/workers/{number}"))
    with pytest.raises(IdsExhaustedError, match="all 1024 numbers of workers are taken"):
        world.run(new(world).start())


def test_two_who_want_the_same_number_at_once_get_two() -> None:
    for seed in range(30):
        world = new_world()
        rng = Random(seed)
        all_ = [new(world) for _ in range(4)]
        runs = [world.start(each.start()) for each in all_]
        while any(not run.is_over for run in runs):
            world.step_any(rng)
        assert sorted(each.worker for each in all_) == [0, 1, 2, 3]


# --- clocks


def test_a_clock_that_is_set_back_a_little_changes_nothing() -> None:
    world = new_world()
    client = world.client()
    ids = started(world, client)
    before = world.run(ids.next())
    set_clock(client, -TOLERANCE_MS / 1000 + 1)
    assert world.run(ids.next()) == before + 1


def test_a_clock_that_is_set_far_back_is_refused_until_it_is_right() -> None:
    world = new_world()
    client = world.client()
    ids = started(world, client)
    before = world.run(ids.next())
    set_clock(client, -3600)
    with pytest.raises(ClockError, match="set it right, or wait") as caught:
        world.run(ids.next())
    assert caught.value.retryable
    world.sleep(3600)
    assert world.run(ids.next()) > before


@pytest.mark.parametrize("seconds", [-NOW, EPOCH_MS / 1000 + (1 << 41) / 1000 - NOW])
def test_a_clock_that_shows_no_time_of_ids_is_refused(seconds: float) -> None:
    world = new_world()
    client = world.client()
    set_clock(client, seconds)
    with pytest.raises((ClockError, IdsExhaustedError)):
        world.run(started(world, client).next())


@pytest.mark.parametrize("number", [-1, 1 << 63])
def test_what_no_generator_made_has_no_parts(number: int) -> None:
    with pytest.raises(BadArgumentsError):
        TimeIdGenerator.parts(number)


@pytest.mark.parametrize("path", ["", "/", "ids"])
def test_a_generator_needs_a_path_of_its_own(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        TimeIdGenerator(World().client(), path)


def test_a_mark_that_is_none_is_told() -> None:
    world = new_world()
    session = world.client().session_id
    world.do(session, CreateWithParents(f"{PATH}/mark-0", b"yesterday"))
    with pytest.raises(CodecError):
        world.run(new(world).start())
    world.do(session, SetData(f"{PATH}/mark-0", b"5"))
    assert started(world).worker == 0


# --- everything at every await, and at once


def test_a_holder_that_is_paused_while_it_raises_its_mark_raises_nothing_of_the_next() -> None:
    """It comes back with a request from before its end, and after another has begun with its number."""
    world = new_world()
    client = world.client()
    ids = started(world, client)
    world.run(ids.next())
    world.time += 60
    paused: list[Run] = []
    world.script = lambda run, point: "stuck before" if run in paused else None
    run = world.start(ids.next())
    paused.append(run)
    world.settle()
    path = ids.lease.path if ids.lease is not None else ""
    other = world.client().session_id
    world.do(other, Delete(path))  # its session ended
    again = started(world)
    assert again.worker == 0
    theirs = world.run(again.next())
    world.script = lambda run, point: None
    point = run.at
    assert isinstance(point, Asking)
    point.is_stuck = False  # and now the request arrives
    world.settle()
    with pytest.raises(LeaseLostError):
        run.outcome()
    assert world.run(again.next()) == theirs + 1


@pytest.mark.parametrize("seed", range(60))
def test_no_id_is_made_twice_whatever_is_lost_and_whoever_ends(seed: int) -> None:
    world = new_world()
    rng = Random(seed)

    def lose(run: Run, point: Point) -> str | None:
        losing = isinstance(point, Asking) and rng.random() < 0.1
        return rng.choice(("lost before", "lost after", "interrupted before", "throttled")) if losing else None

    world.script = lose
    given: list[int] = []

    async def work(client: Client, ids: TimeIdGenerator) -> None:
        await ids.start()
        for _ in range(3):
            given.append(await ids.next())
        await ids.close()

    clients = [world.client() for _ in range(6)]
    for client in clients:
        set_clock(client, rng.uniform(-2, 2))
        world.start(work(client, new(world, client)))
    for client in clients:
        for _ in range(rng.randrange(20)):
            if not world.step_any(rng):
                world.sleep(rng.random())
        if rng.random() < 0.4:
            world.expire(client)
            late = world.client()
            world.start(work(late, new(world, late)))
    world.sleep(5)
    assert len(given) == len(set(given))


@pytest.mark.parametrize("action", [*ACTIONS, "throttled"])
def test_a_fault_at_any_await_leaves_no_number_taken_and_makes_no_id_twice(action: str) -> None:
    for at in range(40):
        world = new_world()
        client = world.client()
        ids = new(world, client)

        async def use_one(ids: TimeIdGenerator = ids) -> list[int]:
            async with ids:
                return [await ids.next(), await ids.next()]

        run, hit = attempt(world, use_one(), action, at, also=(LeaseLostError, ConnectionLostError))
        workers = f"{PATH}/workers"
        assert world.tree.read(Exists(workers)) is None or world.children(workers) == [], f"{action} at {at}"
        later = started(world)
        assert run.error is not None or world.run(later.next()) not in run.result
        if not hit:
            return
    raise AssertionError("it never came to an end")


def test_a_task_that_raises_the_mark_for_another_generator_life_raises_nothing() -> None:
    """Close and start again while a `next` is under way: it ends with the number it began with."""
    world = new_world()
    ids = started(world)
    world.run(ids.next())
    world.time += 60
    held: list[Point] = []

    def hold(run: Run, point: Point) -> str | None:
        is_raise = isinstance(point, Asking) and isinstance(point.op, Once) and isinstance(point.op.request, Multi)
        if is_raise and not held:
            held.append(point)
            return "stuck after"
        return None

    world.script = hold
    run = world.start(ids.next())
    world.settle()
    world.script = lambda run, point: None
    world.run(ids.close())
    with pytest.raises(NodeExistsError):
        world.do(world.client().session_id, Create(f"{PATH}/mark-0"))
    world.run(ids.start())
    asking = run.at
    assert isinstance(asking, Asking)
    asking.is_stuck = False
    world.settle()
    assert run.error is None or isinstance(run.error, (LeaseLostError, SessionExpiredError))
    made = world.run(ids.next())
    assert made != run.result
