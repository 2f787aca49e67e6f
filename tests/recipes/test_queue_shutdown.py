"""The queue: shut down for everybody, and what task_done and join mean where many share it."""

from __future__ import annotations

import queue as standard
import sys

import pytest
from faults import ACTIONS, attempt
from queues import PATH, claim, drain, fill, new
from scripted import World

from zkcore.client.client import Client
from zkcore.errors import LeaseLostError, NotClaimedError, QueueEmptyError, QueueShutDownError


def test_a_queue_that_is_shut_down_takes_no_more_and_gives_out_what_it_has() -> None:
    world = World()
    fill(world, "a", "b")
    world.run(new(world).shutdown())
    queue = new(world)
    for call in (queue.put("c"), queue.put("c", delay=1), queue.put_nowait("c"), queue.put_many([1])):
        with pytest.raises(QueueShutDownError, match="takes no more"):
            world.run(call)
    assert [world.run(new(world).get()) for _ in range(2)] == ["a", "b"]
    for each in (new(world).get(), new(world).get_nowait(), new(world).claim().__aenter__()):
        with pytest.raises(QueueShutDownError, match="gives out no more"):
            world.run(each)
    world.run(new(world).shutdown())
    assert world.run(new(world).join()) is True


def test_who_waits_for_an_item_or_for_room_is_told() -> None:
    world = World()
    getting = world.start(new(world).get())
    world.settle()
    world.run(new(world).shutdown())
    with pytest.raises(QueueShutDownError):
        getting.outcome()

    world = World()
    fill(world, "a", maxsize=1)
    putting = world.start(new(world, maxsize=1).put("b"))
    world.settle()
    world.run(new(world).shutdown())
    with pytest.raises(QueueShutDownError):
        putting.outcome()
    assert drain_until_shut_down(world) == ["a"]


def drain_until_shut_down(world: World) -> list[object]:
    taken: list[object] = []
    while True:
        try:
            taken.append(world.run(new(world).get()))
        except QueueShutDownError:
            return taken


def test_consumers_stay_as_long_as_something_may_come_back_or_be_due() -> None:
    world = World()
    fill(world, "a")
    world.run(new(world).put("later", delay=5))
    _, held = claim(world)
    world.run(new(world).shutdown())
    getting = world.start(new(world).get())
    with pytest.raises(QueueEmptyError):
        world.run(new(world).get_nowait())
    world.settle()
    assert not getting.is_over
    world.run(held.release())
    world.settle()
    assert getting.outcome() == "a"
    waiting = [world.start(new(world).get()) for _ in range(2)]
    world.sleep(5)
    assert [run.result for run in waiting if run.error is None] == ["later"]
    assert [type(run.error) for run in waiting if run.error is not None] == [QueueShutDownError]


def test_an_immediate_shutdown_leaves_nothing_but_what_is_worked_on() -> None:
    world = World()
    fill(world, *range(250))
    world.run(new(world).put("later", delay=5))
    _, held = claim(world)
    _, held_back = claim(world)
    world.run(held_back.release(delay=100))
    joining = world.start(new(world).join())
    world.settle()
    world.run(new(world).shutdown(immediate=True))
    assert world.run(new(world).qsize()) == 1
    assert len(world.children(f"{PATH}/claims")) == 1
    assert not joining.is_over
    with pytest.raises(QueueShutDownError):
        world.run(new(world).get())
    world.run(held.ack())
    world.settle()
    assert joining.outcome() is True


@pytest.mark.parametrize("end", ["released", "expired", "released late"])
def test_what_fails_after_an_immediate_shutdown_is_given_to_nobody_and_holds_up_no_join(end: str) -> None:
    world = World()
    fill(world, "a")
    client = world.client()
    _, held = claim(world, client)
    world.run(new(world).shutdown())
    getting = world.start(new(world).get())
    world.settle()
    world.run(new(world).shutdown(immediate=True))
    with pytest.raises(QueueShutDownError):
        getting.outcome()
    joining = world.start(new(world).join())
    world.settle()
    assert not joining.is_over
    if end == "expired":
        world.expire(client)
    else:
        world.run(held.release(delay=9 if end == "released late" else 0))
    world.settle()
    assert joining.outcome() is True
    with pytest.raises(QueueShutDownError):
        world.run(new(world).get())


def test_a_join_after_an_immediate_shutdown_does_not_wait_for_a_worker_that_hangs() -> None:
    world = World()
    fill(world, "a")
    claim(world, visibility_timeout=10)
    world.run(new(world).shutdown(immediate=True))
    joining = world.start(new(world).join())
    world.settle()
    world.sleep(9.9)
    assert not joining.is_over
    world.sleep(0.2)
    assert joining.outcome() is True


def test_an_immediate_shutdown_is_not_taken_back_by_a_gentle_one() -> None:
    world = World()
    fill(world, "a")
    _, _ = claim(world)
    world.run(new(world).shutdown(immediate=True))
    world.run(new(world).shutdown())
    with pytest.raises(QueueShutDownError):
        world.run(new(world).get_nowait())


def test_the_error_is_that_of_the_standard_library_where_it_has_one() -> None:
    assert issubclass(QueueShutDownError, getattr(standard, "ShutDown", Exception))
    assert hasattr(standard, "ShutDown") == (sys.version_info >= (3, 13))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("immediate", [False, True])
def test_a_fault_at_any_await_leaves_a_queue_shut_down_or_as_it_was(action: str, immediate: bool) -> None:
    for at in range(40):
        world = World()
        fill(world, "a")
        client = world.client()
        run, hit = attempt(world, new(world, client).shutdown(immediate), action, at)
        if run.error is None:
            with pytest.raises(QueueShutDownError):
                world.run(new(world).put("b"))
        if run.error is None and immediate:
            assert world.children(f"{PATH}/items") == []
        else:
            world.run(new(world).shutdown())
            assert drain_until_shut_down(world) in (["a"], []) if immediate else ["a"]
        if not hit:
            return
    raise AssertionError("it never came to an end")


def test_a_put_that_was_on_its_way_is_in_or_refused() -> None:
    for steps in range(40):
        world = World()
        fill(world, "a")
        putting = world.start(new(world).put("b"))
        for _ in range(steps):
            world.step(putting)
        over = putting.is_over
        closing = world.start(new(world).shutdown())
        while not closing.is_over:
            world.step(closing)
        world.settle()
        assert drain_until_shut_down(world) == (["a", "b"] if putting.error is None else ["a"])
        assert putting.error is None or isinstance(putting.error, QueueShutDownError)
        if over:
            return
    raise AssertionError("it never came to an end")


# --- task_done and join


def test_task_done_acknowledges_the_claim_of_whoever_calls_it() -> None:
    world = World()
    fill(world, "a", "b", "c")
    queue = new(world)

    async def work(client: Client, fails: bool) -> object:
        async with queue.claim() as outer:
            await client.port.wait(timeout=1)
            async with queue.claim() as inner:
                await queue.task_done()
                assert (inner.lease.released, outer.lease.released) == (True, False)
            if fails:
                raise ValueError
            await queue.task_done()
            with pytest.raises(ValueError):
                await queue.task_done()
            return outer.item

    first, second = (world.start(work(world.client(), fails)) for fails in (True, False))
    world.settle()
    world.sleep(1)
    assert isinstance(first.error, ValueError) != isinstance(second.error, ValueError)
    world.run(new(world).put("d"))
    world.sleep(1)
    assert world.run(new(world).qsize()) + 1 <= 3
    assert first.is_over


def test_what_was_got_cannot_be_acknowledged_and_says_why() -> None:
    world = World()
    fill(world, "a")
    queue = new(world)

    async def work() -> None:
        assert await queue.get() == "a"
        with pytest.raises(NotClaimedError, match="claim"):
            await queue.task_done()

    world.run(work())


def test_task_done_tells_of_a_claim_that_was_lost() -> None:
    world = World()
    fill(world, "a")
    client = world.client()
    queue = new(world, client)

    async def work() -> None:
        async with queue.claim():
            world.expire(client)
            with pytest.raises(LeaseLostError):
                await queue.task_done()

    world.run(work())
    assert drain(world) == ["a"]


def test_join_waits_for_what_a_worker_puts_before_it_acknowledges() -> None:
    world = World()
    fill(world, "root")
    joining = world.start(new(world).join())

    async def crawl() -> None:
        queue = new(world)
        async with queue.claim() as claimed:
            if claimed.item == "root":
                await queue.put("leaf")

    world.run(crawl())
    assert not joining.is_over
    world.run(crawl())
    world.settle()
    assert joining.outcome() is True
