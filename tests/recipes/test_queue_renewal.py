"""The queue: claims that last as long as their worker gets on, and are taken over from one that hangs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faults import ACTIONS, Fault
from queues import PATH, claim, drain, fill, new
from scripted import Asking, Run, Waiting, World

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, LeaseLostError, QueueEmptyError, SessionExpiredError
from zkcore.recipes.claiming import Claim
from zkcore.recipes.queue import Queue
from zkcore.testing.app_world import AppWorld
from zkcore.tree.requests import GetChildren, Multi, Once, SetData

VISIBLE = 10.0


def work_on(world: World, steps: int, *, every: float = 3.0, client: Client | None = None) -> tuple[Run, Claim[Any]]:
    """A worker that gets on `steps` times, and then hangs."""
    client = client or world.client()
    made: list[Claim[Any]] = []

    async def work() -> None:
        async with new(world, client).claim(visibility_timeout=VISIBLE) as claimed:
            made.append(claimed)
            for _ in range(steps):
                await client.port.wait(timeout=every)
                claimed.progress()
            await client.port.wait()

    run = world.start(work())
    world.settle()
    return run, made[0]


def pass_time(world: World, seconds: float, step: float = 0.5) -> None:
    for _ in range(round(seconds / step)):
        world.sleep(step)


def renewals(world: World) -> int:
    return sum(
        isinstance(op, Multi) and len(op.operations) == 2 and isinstance(op.operations[1], SetData)
        for _, op in world.asked
    )


def test_a_claim_is_renewed_as_often_as_there_is_progress_to_tell_of() -> None:
    world = World()
    fill(world, "a")
    _, held = work_on(world, 20)
    queue = new(world)
    waiting = world.start(queue.get())
    pass_time(world, 60)
    held.lease.check()
    assert 60 / VISIBLE <= renewals(world) <= 60 / (VISIBLE / 3)
    assert not waiting.is_over
    pass_time(world, 2.5 * VISIBLE)
    assert waiting.outcome() == "a"
    assert held.lease.is_lost()


def test_much_progress_costs_no_more_renewals() -> None:
    world = World()
    fill(world, "a")
    _, held = work_on(world, 1000, every=0.1)
    pass_time(world, 30, 0.1)
    assert renewals(world) <= 30 / (VISIBLE / 3) + 1
    held.lease.check()


def test_the_worker_knows_that_its_claim_is_lost_before_anybody_else_may_take_it_over() -> None:
    world = World()
    fill(world, "a")
    waiting = world.start(new(world).get())
    world.settle()
    world.run(new(world).put("b"))
    assert waiting.is_over
    run, held = work_on(world, 0)
    waiting = world.start(new(world).get())
    world.settle()
    assert held.lease.remaining == pytest.approx(VISIBLE * 0.99)
    world.sleep(VISIBLE * 0.99)
    assert held.lease.is_lost()
    assert held.lease.lost.is_set()
    with pytest.raises(LeaseLostError):
        held.progress()
    assert not waiting.is_over
    world.sleep(VISIBLE * 0.02)
    assert waiting.is_over
    with pytest.raises(LeaseLostError):
        world.run(held.ack())
    world.interrupt(run)
    assert world.run(new(world).qsize()) == 0


def test_what_a_hanging_worker_had_comes_before_what_was_put_later_and_has_a_higher_token() -> None:
    world = World()
    fill(world, "a", "b")
    _, first = work_on(world, 0)
    queue = new(world)
    with pytest.raises(QueueEmptyError):
        world.run(new(world).claim(timeout=0).__aenter__() if drain(world) == [] else queue.get_nowait())
    fill(world, "c")
    held = world.run(queue.claim().__aenter__())
    assert held.item == "c"
    world.run(held.release())
    world.sleep(VISIBLE)
    again = world.run(queue.claim().__aenter__())
    assert (again.item, again.deliveries) == ("a", 2)
    assert again.lease.fencing_token > first.lease.fencing_token


def test_who_comes_later_times_the_claim_from_when_it_first_sees_it() -> None:
    world = World()
    fill(world, "a")
    work_on(world, 0)
    pass_time(world, 3 * VISIBLE)
    queue = new(world)
    for _ in range(4):
        with pytest.raises(QueueEmptyError):
            world.run(queue.get_nowait())
        world.sleep(VISIBLE / 4)
    assert world.run(queue.get_nowait()) == "a"


def test_a_renewal_and_a_take_over_at_once_are_decided_by_the_ensemble() -> None:
    for first in ("renewal", "take-over"):
        world = World()
        fill(world, "a")
        client = world.client()
        _, held = work_on(world, 0, client=client)
        (keeper,) = [run for run in world.runs if isinstance(run.at, Waiting) and run.at.until]
        thief = world.start(new(world).get())
        world.settle()
        world.sleep(VISIBLE * 0.9)
        held.progress()
        while not isinstance(keeper.at, Asking):
            world.step(keeper)
        world.time += VISIBLE * 0.2  # the renewal is on its way, and the worker does not know better
        while not (isinstance(thief.at, Asking) and isinstance(thief.at.op, Once)):
            world.step(thief)
        for run in (keeper, thief) if first == "renewal" else (thief, keeper):
            world.step(run)
        world.settle()
        if first == "renewal":
            assert not thief.is_over, "it takes over what was renewed"
            pass_time(world, 2 * VISIBLE)
        assert thief.outcome() == "a"
        assert held.lease.is_lost()


def test_who_fails_to_take_a_claim_over_goes_on_timing_it() -> None:
    world = World()
    fill(world, "a")
    _, held = work_on(world, 0)
    (keeper,) = [run for run in world.runs if isinstance(run.at, Waiting) and run.at.until]
    thief = world.start(new(world).get())
    world.settle()
    world.sleep(VISIBLE * 0.95)
    held.progress()
    while not isinstance(keeper.at, Asking):
        world.step(keeper)
    putting = world.start(new(world).put("later", delay=1000))  # it wakes who waits, too early to take over
    while not putting.is_over:
        world.step(putting)
    while not (isinstance(thief.at, Asking) and isinstance(thief.at.op, GetChildren)):
        world.step(thief)
    world.time += VISIBLE * 0.1
    while not (isinstance(thief.at, Asking) and isinstance(thief.at.op, Once)):
        world.step(thief)
    world.step(keeper)
    world.settle()
    assert not thief.is_over
    pass_time(world, 2.5 * VISIBLE)
    assert thief.outcome() == "a"


def test_a_claim_without_a_visibility_timeout_is_never_taken_over() -> None:
    world = World()
    fill(world, "a")
    client = world.client()
    _, held = claim(world, client)
    waiting = world.start(new(world).get())
    pass_time(world, 1000, 100)
    assert not waiting.is_over
    held.progress()
    held.lease.check()
    world.run(held.release())
    world.settle()
    assert waiting.is_over


def test_the_end_of_the_session_ends_the_claim_before_its_time() -> None:
    world = World()
    fill(world, "a")
    client = world.client()
    _, held = work_on(world, 5, client=client)
    world.expire(client)
    world.settle()
    assert held.lease.lost.is_set()
    assert drain(world) == ["a"]


@pytest.mark.parametrize("end", ["ack", "release"])
def test_nothing_is_renewed_once_the_claim_has_ended(end: str) -> None:
    world = World()
    fill(world, "a")
    _, held = work_on(world, 0)
    world.run(held.ack() if end == "ack" else held.release())
    world.settle()
    assert world.children(f"{PATH}/claims") == []
    with pytest.raises(LeaseLostError):
        held.progress()
    before = len(world.asked)
    pass_time(world, 3 * VISIBLE)
    assert len(world.asked) == before
    assert not held.lease.lost.is_set()


def test_a_claim_that_was_lost_for_want_of_progress_can_still_be_acknowledged_where_nobody_took_it() -> None:
    world = World()
    fill(world, "a")
    _, held = work_on(world, 0)
    pass_time(world, 2 * VISIBLE)
    assert held.lease.is_lost()
    world.run(held.ack())
    assert drain(world) == []


def test_a_worker_that_hangs_too_often_leaves_a_dead_letter() -> None:
    world = World()
    fill(world, "a")
    work_on(world, 0)
    queue = new(world, max_deliveries=1)
    waiting = world.start(queue.get(timeout=2 * VISIBLE))
    pass_time(world, 2 * VISIBLE)
    assert isinstance(waiting.error, QueueEmptyError)
    (letter,) = world.run(queue.dead_letters())
    assert letter.item == "a"


def test_a_worker_counts_from_when_it_sent_the_renewal() -> None:
    world = World()
    fill(world, "a")
    _, held = work_on(world, 0)
    (keeper,) = [run for run in world.runs if isinstance(run.at, Waiting) and run.at.until]
    world.sleep(VISIBLE * 0.5)
    held.progress()
    while not isinstance(keeper.at, Asking):
        world.step(keeper)
    world.time += VISIBLE * 0.3
    world.step(keeper)
    assert held.lease.remaining == pytest.approx(VISIBLE * (0.99 - 0.3))


def test_a_renewal_that_is_answered_too_late_does_not_bring_a_claim_back() -> None:
    world = World()
    fill(world, "a")
    _, held = work_on(world, 0)
    (keeper,) = [run for run in world.runs if isinstance(run.at, Waiting) and run.at.until]
    world.sleep(VISIBLE * 0.5)
    held.progress()
    while not isinstance(keeper.at, Asking):
        world.step(keeper)
    world.time += VISIBLE * 0.6  # so that it would not be too late if the answer counted
    assert held.lease.is_lost()
    world.settle()
    assert keeper.is_over
    assert held.lease.lost.is_set()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_visibility_timeout_is_positive(seconds: float) -> None:
    world = World()
    queue: Queue[Any] = new(world)
    with pytest.raises(BadArgumentsError, match="a visibility timeout of"):
        queue.claim(visibility_timeout=seconds)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_at_any_await_of_a_renewed_claim_loses_no_item(action: str) -> None:
    for at in range(40):
        world = World()
        fill(world, "a")
        client = world.client()
        done: list[str] = []

        async def work(client: Client, done: list[str]) -> None:
            async with new(world, client).claim(visibility_timeout=VISIBLE) as claimed:  # noqa: B023
                for _ in range(3):
                    await client.port.wait(timeout=4)
                    claimed.progress()
                done.append(claimed.item)

        started: list[Run] = []
        fault = Fault(lambda started=started: started[0] if started else None, action, at)  # type: ignore[misc]
        world.script = fault
        started.append(world.start(work(client, done)))
        pass_time(world, 20)
        world.script = lambda run, point: None
        pass_time(world, 40)
        (run,) = started
        assert run.is_over, f"{action} at {at}: it hangs at {run.at}"
        queue = new(world)
        left = drain(world, queue)
        pass_time(world, VISIBLE)
        left += drain(world, queue)
        if run.error is None:
            assert (done, left) == (["a"], []), f"{action} at {at}"
        else:
            assert left == ["a"] or done == ["a"], f"{action} at {at}"
            if not action.startswith("interrupted"):
                assert isinstance(run.error, LeaseLostError | SessionExpiredError), f"{action} at {at}: {run.error!r}"
        assert not world.tree.ephemerals(client.session_id), f"{action} at {at}"
        if not fault.hits:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("what", ["hangs", "releases", "acknowledges"])
def test_a_body_that_is_cancelled_because_the_claim_is_lost_ends_in_the_error_that_says_so(what: str) -> None:
    async def cut_off(world: AppWorld) -> None:
        ended: list[type[BaseException]] = []

        async def work() -> None:
            async with world.client(timeout=3) as client:
                queue = Queue(client, PATH)
                await queue.put(b"a")
                try:
                    async with queue.claim() as claimed:
                        world.partition("worker")
                        if what == "releases":
                            await claimed.release()
                        elif what == "acknowledges":
                            await claimed.ack()
                        await asyncio.sleep(60)
                except BaseException as error:
                    ended.append(type(error))
                    world.heal()

        world.app("worker").spawn(work)
        await world.eventually("the worker is told", lambda: ended == [LeaseLostError], within=30)

    world = AppWorld(1)
    world.run(cut_off, world)
