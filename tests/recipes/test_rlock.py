"""The reentrant lock: as the lock is between owners, and again and again for one of them."""

from __future__ import annotations

from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import Run, World

from zkcore.client.client import Client
from zkcore.errors import LeaseLostError, LockNotHeldError
from zkcore.recipes.lease import Lease
from zkcore.recipes.lock import Lock
from zkcore.recipes.rlock import RLock

PATH = "/locks/report"


def own(world: World, client: Client) -> set[str]:
    return set(world.tree.ephemerals(client.session_id))


def is_free(world: World) -> bool:
    """Whether a plain lock at the same path is."""
    client = world.client()
    free: bool = world.run(Lock(client, PATH).acquire(timeout=0))
    world.expire(client)
    return free


def test_its_owner_gets_it_again_at_once_and_others_when_all_of_it_is_released() -> None:
    world = World()
    lock = RLock(world.client(), PATH)
    steps: list[bool] = []

    async def nested() -> None:
        for _ in range(3):
            assert await lock.acquire() is True
        asked = len(world.asked)
        assert await lock.acquire(timeout=0) is True
        assert len(world.asked) == asked, "it costs no request"
        for _ in range(4):
            steps.append(lock.held)
            await lock.release()
        steps.append(lock.held)
        with pytest.raises(LockNotHeldError):
            await lock.release()

    run = world.start(nested())
    other = world.start(Lock(world.client(), PATH).acquire())
    world.settle()
    assert run.error is None
    assert steps == [True, True, True, True, False]
    assert other.outcome() is True


def test_every_level_has_a_lease_of_its_own_and_all_the_same_token() -> None:
    world = World()
    lock = RLock(world.client(), PATH)

    async def nested() -> tuple[Lease, Lease]:
        async with lock as outer:
            async with lock as inner:
                assert inner is not outer
                assert (inner.path, inner.fencing_token) == (outer.path, outer.fencing_token)
            assert inner.released
            outer.check()
            assert len(world.children(PATH)) == 1
        return outer, inner

    outer, _ = world.run(nested())
    assert outer.released
    assert is_free(world)


def test_what_is_released_is_the_innermost_level() -> None:
    world = World()
    lock = RLock(world.client(), PATH)

    async def nested() -> None:
        async with lock as lease:
            await lock.acquire()
            await lock.release()
            lease.check()

    world.run(nested())
    assert is_free(world)


def test_another_task_is_another_owner_though_it_uses_the_same_object() -> None:
    world = World()
    client = world.client()
    lock = RLock(client, PATH)
    go_on = client.port.signal()

    async def hold() -> None:
        async with lock, lock:
            await client.port.wait(go_on)

    async def second() -> str:
        async with lock:
            return "got it"

    async def thief() -> None:
        await lock.release()

    first = world.start(hold())
    world.settle()
    waiting = world.start(second())
    world.settle()
    assert not waiting.is_over
    with pytest.raises(LockNotHeldError):
        world.run(thief())
    go_on.set()
    world.settle()
    assert first.error is None
    assert waiting.outcome() == "got it"


def test_two_objects_at_one_path_exclude_each_other_also_for_one_task() -> None:
    world = World()
    client = world.client()

    async def both() -> bool:
        async with RLock(client, PATH):
            return await RLock(client, PATH).acquire(timeout=0)

    assert world.run(both()) is False


def test_an_owner_that_is_named_may_go_from_task_to_task() -> None:
    world = World()
    lock = RLock(world.client(), PATH, owner="request 7")
    assert world.run(lock.acquire()) is True
    assert world.run(lock.acquire(timeout=0)) is True
    world.run(lock.release())
    assert not is_free(world)
    world.run(lock.release())
    assert is_free(world)


def test_tasks_of_one_owner_that_ask_at_once_get_it_together_with_one_contender() -> None:
    world = World()
    holder = world.client()
    held = Lock(holder, PATH)
    world.run(held.acquire())
    client = world.client()
    lock = RLock(client, PATH, owner="request 7")
    runs = [world.start(lock.acquire()) for _ in range(3)]
    world.settle()
    assert len(own(world, client)) == 1
    world.run(held.release())
    world.settle()
    assert [run.outcome() for run in runs] == [True, True, True]
    for _ in range(3):
        assert not is_free(world)
        world.run(lock.release())
    assert is_free(world)


@pytest.mark.parametrize("how", ["cancelled", "out of time"])
def test_where_the_first_task_of_an_owner_gives_up_the_next_one_stands_in_line(how: str) -> None:
    world = World()
    held = Lock(world.client(), PATH)
    world.run(held.acquire())
    client = world.client()
    lock = RLock(client, PATH, owner="request 7")
    first = world.start(lock.acquire(timeout=0.5))
    second, third = world.start(lock.acquire()), world.start(lock.acquire(timeout=0.2))
    world.settle()
    world.sleep(0.2)
    assert third.outcome() is False
    world.interrupt(first) if how == "cancelled" else world.sleep(0.3)
    world.run(held.release())
    world.settle()
    assert second.outcome() is True
    assert len(own(world, client)) == 1


def test_who_has_lost_it_does_not_get_it_again_before_he_has_let_go() -> None:
    world = World()
    client = world.client()
    lock = RLock(client, PATH)

    async def nested() -> None:
        async with lock:
            client.port.session.alive_until = world.time  # type: ignore[misc]
            try:
                await lock.acquire()
            finally:
                client.port.session.alive_until = world.time + 10  # type: ignore[misc]

    with pytest.raises(LeaseLostError):
        world.run(nested())
    assert is_free(world)


@pytest.mark.parametrize("ending", ["lost", "raised"])
def test_the_end_of_every_level_tells_of_a_loss_or_lets_an_error_through(ending: str) -> None:
    world = World()
    client = world.client()
    lock = RLock(client, PATH)
    seen: list[str] = []

    async def nested() -> None:
        async with lock:
            try:
                async with lock:
                    if ending == "raised":
                        raise ValueError("of its own")
                    world.expire(client)
            except (LeaseLostError, ValueError) as error:
                seen.append(type(error).__name__)
                raise

    with pytest.raises(LeaseLostError if ending == "lost" else ValueError):
        world.run(nested())
    assert seen == ["LeaseLostError" if ending == "lost" else "ValueError"]
    assert is_free(world)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_at_every_await_of_a_nested_hold(action: str) -> None:
    for at in range(50):
        world = World()
        client = world.client()
        lock = RLock(client, PATH)

        async def nested(lock: RLock = lock) -> None:
            async with lock, lock:
                pass

        run, hit = attempt(world, nested(), action, at, also=(LeaseLostError,))
        assert own(world, client) == set(), f"{action} at {at}: {run.error!r}"
        assert not lock.held
        assert is_free(world)
        if not hit:
            assert at >= 3
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_tasks_of_one_owner_wait(action: str) -> None:
    """Whatever happens to the first, the second gets it in the end, or the session is over."""
    for at in range(50):
        world = World()
        held = Lock(world.client(), PATH)
        world.run(held.acquire())
        client = world.client()
        lock = RLock(client, PATH, owner="request 7")
        second: list[Run] = []

        async def let_go(world: World = world, held: Lock = held, lock: RLock = lock, second: Any = second) -> None:
            second.append(world.start(lock.acquire()))
            await held.release()

        first, hit = attempt(world, lock.acquire(), action, at, then=let_go(), session=client.session_id)
        assert second[0].is_over, f"{action} at {at}: it hangs at {second[0].at}"
        levels = sum(run.error is None and run.result is True for run in (first, second[0]))
        assert len(own(world, client)) == min(levels, 1)
        assert levels or action == "expired"
        for _ in range(levels):
            world.run(lock.release())
        assert is_free(world)
        if not hit:
            assert at >= 4
            return
    raise AssertionError("it never came to an end")
