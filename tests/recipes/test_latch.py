"""The latch: it opens with the last count, neither before nor never, and counts nothing twice."""

from __future__ import annotations

import pytest
from faults import ACTIONS, attempt
from scripted import World

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, ConfigMismatchError, LatchCountError
from zkcore.recipes.latch import MAX_COUNT, CountDownLatch
from zkcore.tree.requests import Create, Delete

PATH = "/latches/ready"


def latch(client: Client, count: int = 3) -> CountDownLatch:
    return CountDownLatch(client, PATH, count=count)


def test_it_opens_with_the_last_count_and_stays_open() -> None:
    world = World()
    waiting = [world.start(latch(world.client()).wait()) for _ in range(3)]
    world.settle()
    for left in (2, 1, 0):
        assert not any(run.is_over for run in waiting)
        world.run(latch(world.client()).count_down())
        world.settle()
        assert world.run(latch(world.client()).count()) == left
    assert [run.outcome() for run in waiting] == [True, True, True]
    assert world.run(latch(world.client()).wait(0)) is True


def test_who_waits_is_woken_once_and_not_at_every_count() -> None:
    world = World()
    waiters = [world.client() for _ in range(3)]
    for client in waiters:
        world.start(latch(client).wait())
    world.settle()
    world.asked.clear()
    counter = world.client()
    for _ in range(2):
        world.run(latch(counter).count_down())
        world.settle()
    assert {session for session, _ in world.asked} == {counter.session_id}
    world.run(latch(counter).count_down())
    world.settle()
    assert sum(session != counter.session_id for session, _ in world.asked) == len(waiters)


def test_those_who_count_at_once_are_in_nobodys_way() -> None:
    world = World()
    runs = [world.start(latch(world.client(), 20).count_down()) for _ in range(20)]
    world.settle()
    assert [run.error for run in runs] == [None] * 20
    assert world.run(latch(world.client(), 20).wait(0)) is True
    assert len([op for _, op in world.asked if op.writes]) <= 3 * len(runs)


def test_one_count_too_many_is_an_error_that_says_what_to_do_and_changes_nothing() -> None:
    world = World()
    for _ in range(3):
        world.run(latch(world.client()).count_down())
    with pytest.raises(LatchCountError, match="3 times before"):
        world.run(latch(world.client()).count_down())
    assert world.run(latch(world.client()).count()) == 0


def test_a_latch_of_none_is_open_from_the_beginning() -> None:
    world = World()
    assert world.run(latch(world.client(), 0).wait(0)) is True
    with pytest.raises(LatchCountError):
        world.run(latch(world.client(), 0).count_down())


@pytest.mark.parametrize("timeout", [0, 0.5])
def test_a_wait_ends_in_time(timeout: float) -> None:
    world = World()
    run = world.start(latch(world.client()).wait(timeout))
    world.sleep(timeout)
    assert run.outcome() is False
    with pytest.raises(BadArgumentsError):
        world.run(latch(world.client()).wait(-1))


def test_a_latch_for_another_count_or_something_else_is_refused() -> None:
    world = World()
    world.run(latch(world.client()).count_down())
    other = latch(world.client(), 4)
    for use in (other.wait, other.count_down, other.count):
        with pytest.raises(ConfigMismatchError, match="b'latch 3'"):
            world.run(use())
    world.do(1, Create("/value", b"7"))
    with pytest.raises(ConfigMismatchError):
        world.run(CountDownLatch(world.client(), "/value", count=3).wait())
    assert world.run(latch(world.client()).count()) == 2


@pytest.mark.parametrize(("path", "count"), [("/", 3), (PATH, -1), (PATH, MAX_COUNT + 1), ("latch", 1)])
def test_it_has_a_path_and_a_count_that_can_be(path: str, count: int) -> None:
    with pytest.raises(BadArgumentsError):
        CountDownLatch(World().client(), path, count=count)


def test_a_latch_that_somebody_deletes_begins_anew() -> None:
    world = World()
    world.run(latch(world.client()).count_down())
    waiting = world.start(latch(world.client()).wait())
    world.settle()
    world.do(1, Delete(PATH))
    for _ in range(3):
        assert not waiting.is_over
        world.run(latch(world.client()).count_down())
        world.settle()
    assert waiting.outcome() is True


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_it_is_counted(action: str, before: int) -> None:
    """It is counted once, or, where the caller did not live to hear it, perhaps not at all."""
    for at in range(30):
        world = World()
        for _ in range(before):
            world.run(latch(world.client()).count_down())
        run, hit = attempt(world, latch(world.client()).count_down(), action, at)
        counted = 3 - world.run(latch(world.client()).count()) - before
        assert counted == 1 if run.error is None else counted in (0, 1), f"{action} at {at}"
        is_open = world.run(latch(world.client()).wait(0))
        assert is_open == (before + counted == 3)
        if not hit:
            assert at >= 2
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_it_is_waited_for(action: str) -> None:
    for at in range(30):
        world = World()
        counter, client = latch(world.client(), 1), world.client()
        waiter = latch(client, 1)
        run, hit = attempt(world, waiter.wait(), action, at, then=counter.count_down(), session=client.session_id)
        assert run.error is not None or run.result is True
        if not hit:
            assert at >= 4
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ["stuck before", "stuck after"])
def test_a_wait_returns_in_time_though_no_answer_comes(action: str) -> None:
    for at in range(10):
        world = World()
        run, hit = attempt(world, latch(world.client()).wait(0.5), action, at)
        assert run.outcome() is False, f"{action} at {at}"
        if not hit:
            assert at >= 3
            return
    raise AssertionError("it never came to an end")
