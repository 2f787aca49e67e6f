"""The lock with everything that can go wrong, at every await of it."""

from __future__ import annotations

from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import TIMEOUT, World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    LeaseLostError,
    LockNotHeldError,
    LockTimeoutError,
    ThrottledError,
)
from zkcore.recipes.lease import Lease
from zkcore.recipes.lock import Lock
from zkcore.tree.requests import Create, CreateWithParents, Delete, Exists, GetChildren

PATH = "/locks/report"


def contenders(world: World, client: Client) -> set[str]:
    """The contenders of one client's session."""
    return {path for path in world.tree.ephemerals(client.session_id) if path.startswith(PATH + "/")}


def hold(world: World, client: Client) -> tuple[Lock, Lease]:
    lock = Lock(client, PATH)
    lease: Lease = world.run(lock.__aenter__())
    return lock, lease


# --- the plain course of things


def test_the_first_gets_the_lock_and_the_second_when_the_first_gives_it_up() -> None:
    world = World()
    a, b = world.client(), world.client()
    lock, lease = hold(world, a)
    lease.check()
    waiting = world.start(Lock(b, PATH).__aenter__())
    world.settle()
    assert not waiting.is_over
    world.run(lock.release())
    world.settle()
    later: Lease = waiting.outcome()
    later.check()
    assert later.fencing_token > lease.fencing_token
    with pytest.raises(LeaseLostError):
        lease.check()


def test_contenders_get_the_lock_in_the_order_of_their_arrival_and_with_rising_tokens() -> None:
    world = World()
    lock, lease = hold(world, world.client())
    order: list[int] = []
    tokens = [lease.fencing_token]

    async def take(number: int, client: Client) -> None:
        async with Lock(client, PATH) as mine:
            order.append(number)
            tokens.append(mine.fencing_token)

    runs = []
    for number in range(8):
        runs.append(world.start(take(number, world.client())))
        world.settle()
    world.run(lock.release())
    world.settle()
    assert all(run.is_over for run in runs)
    assert order == list(range(8))
    assert tokens == sorted(set(tokens))
    assert world.children(PATH) == []


def test_a_release_wakes_one_contender_and_not_the_herd() -> None:
    world = World()
    lock, _ = hold(world, world.client())
    waiting = [world.start(Lock(world.client(), PATH).__aenter__()) for _ in range(10)]
    world.settle()
    world.asked.clear()
    world.run(lock.release())
    world.settle()
    assert [run.is_over for run in waiting] == [True] + 9 * [False]
    assert {session for session, request in world.asked if not isinstance(request, Delete)} == {2}
    assert sum(isinstance(request, GetChildren) for _, request in world.asked) == 1


def test_a_contender_that_gives_up_in_the_middle_lets_nobody_pass() -> None:
    world = World()
    lock, _ = hold(world, world.client())
    clients = [world.client() for _ in range(3)]
    waiting = [world.start(Lock(client, PATH).__aenter__()) for client in clients]
    world.settle()
    world.interrupt(waiting[1])
    assert contenders(world, clients[1]) == set()
    assert not waiting[2].is_over
    world.run(lock.release())
    world.settle()
    assert waiting[0].is_over
    assert not waiting[2].is_over


def test_the_end_of_the_holders_session_passes_the_lock_on() -> None:
    world = World()
    a, b = world.client(), world.client()
    lock, lease = hold(world, a)
    waiting = world.start(Lock(b, PATH).__aenter__())
    world.settle()
    world.expire(a)
    world.settle()
    assert lease.is_lost()
    assert lease.lost.is_set()
    assert not lock.held
    with pytest.raises(LeaseLostError):
        lease.check()
    with pytest.raises(LockNotHeldError):
        world.run(lock.release())
    world.run(lease.release())
    waiting.outcome().check()


def test_a_holder_that_heard_nothing_in_time_has_lost_the_lease_though_nobody_says_so() -> None:
    world = World()
    client = world.client()
    lock, lease = hold(world, client)
    client.port.session.alive_until = world.time + TIMEOUT  # type: ignore[misc]
    world.sleep(TIMEOUT / 2)
    assert lease.remaining == pytest.approx(TIMEOUT / 2)
    lease.check()
    world.sleep(TIMEOUT / 2)
    assert lease.remaining == 0
    assert not lock.held
    with pytest.raises(LeaseLostError):
        lease.check()


# --- not waiting, or not for ever


@pytest.mark.parametrize("timeout", [0, 0.5, 3])
def test_acquire_gives_up_in_time_and_leaves_nothing_behind(timeout: float) -> None:
    world = World()
    a, b = world.client(), world.client()
    hold(world, a)
    run = world.start(Lock(b, PATH).acquire(timeout=timeout))
    world.settle()
    if timeout:
        assert not run.is_over
        world.sleep(timeout)
    assert run.outcome() is False
    assert contenders(world, b) == set()
    assert len(contenders(world, a)) == 1


def test_a_free_lock_is_got_without_waiting() -> None:
    world = World()
    lock = Lock(world.client(), PATH)
    assert world.run(lock.acquire(timeout=0)) is True
    assert lock.held
    assert world.run(lock.locked()) is True


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_is_not_negative(timeout: float) -> None:
    world = World()
    with pytest.raises(BadArgumentsError):
        world.run(Lock(world.client(), PATH).acquire(timeout=timeout))
    assert world.asked == []


@pytest.mark.parametrize("path", ["", "/", "locks", "/locks/", "/a//b", "/./a"])
def test_a_lock_needs_a_path_of_its_own(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        Lock(World().client(), path)


def test_releasing_what_is_not_held_is_an_error_and_releasing_a_lease_twice_is_not() -> None:
    world = World()
    lock = Lock(world.client(), PATH)
    with pytest.raises(LockNotHeldError):
        world.run(lock.release())
    assert world.run(lock.locked()) is False
    lease: Lease = world.run(lock.__aenter__())
    world.run(lease.release())
    world.run(lease.release())
    with pytest.raises(LockNotHeldError):
        world.run(lock.release())


def test_the_identifier_says_who_it_is() -> None:
    world = World()
    client = world.client()
    world.run(Lock(client, PATH, identifier="worker 7").acquire())
    (path,) = contenders(world, client)
    assert world.run(client.get(path)).data == b"worker 7"


@pytest.mark.parametrize("name", ["other", "x-lock-", "x-lock-abc", "x-lock-\u00b2", "x-lock---5", "-lock-"])
def test_znodes_that_are_no_contenders_are_in_nobodys_way(name: str) -> None:
    world = World()
    client = world.client()
    for path in ("/locks", PATH, f"{PATH}/{name}"):
        world.do(client.session_id, Create(path, b""))
    lock = Lock(client, PATH)
    assert world.run(lock.locked()) is False
    assert world.run(lock.acquire(timeout=0)) is True
    world.run(lock.release())


@pytest.mark.parametrize("timeout", [0, 0.5])
def test_polling_a_lock_that_is_held_piles_nothing_up(timeout: float) -> None:
    world = World()
    a, b = world.client(), world.client()
    hold(world, a)
    lock = Lock(b, PATH)
    for _ in range(20):
        attempt = world.start(lock.acquire(timeout=timeout))
        world.settle()
        world.sleep(timeout)
        assert attempt.outcome() is False
    watchers = b.port.watchers  # type: ignore[attr-defined]
    assert sum(len(some) for some in watchers._data.values()) <= 1


def test_tasks_that_share_one_lock_object_each_have_their_own_lease() -> None:
    """One gives its lease up before the end of its `with`; that end must not take the other's."""
    world = World()
    client = world.client()
    lock = Lock(client, PATH)
    pause = client.port.signal()

    async def early() -> None:
        async with lock as lease:
            await lease.release()
            await client.port.wait(pause)

    async def late() -> Lease:
        async with lock as lease:
            await client.port.wait(client.port.signal())
        return lease

    first = world.start(early())
    world.settle()
    second = world.start(late())
    world.settle()
    assert len(contenders(world, client)) == 1
    pause.set()
    world.settle()
    assert first.is_over
    assert not second.is_over
    assert len(contenders(world, client)) == 1, "the second still holds the lock"


def test_a_lease_that_seemed_lost_for_a_moment_does_not_leave_its_contender_behind() -> None:
    """The clock says that it is lost, and then a late confirmation comes in after all."""
    world = World()
    client = world.client()
    lock = Lock(client, PATH)
    world.run(lock.__aenter__())
    session: Any = client.port.session
    session.alive_until = world.time - 1
    assert not lock.held
    session.alive_until = world.time + TIMEOUT
    world.run(lock.__aexit__(None, None, None))
    assert contenders(world, client) == set()


# --- looking at the line, and the end of a hold


def test_everybody_sees_who_holds_the_lock_and_who_waits_in_which_order() -> None:
    world = World()
    a, b, c = (world.client() for _ in range(3))
    lock = Lock(a, PATH, identifier="first")
    assert world.run(lock.holder()) is None
    assert world.run(lock.contenders()) == ()
    lease: Lease = world.run(lock.__aenter__())
    for client, name in ((b, "second"), (c, "third")):
        world.start(Lock(client, PATH, identifier=name).acquire())
        world.settle()
    seen = world.run(Lock(c, PATH).contenders())
    assert [contender.identifier for contender in seen] == ["first", "second", "third"]
    assert [contender.fencing_token for contender in seen] == sorted({each.fencing_token for each in seen})
    holder = world.run(Lock(c, PATH).holder())
    assert (holder.path, holder.fencing_token) == (lease.path, lease.fencing_token)


def test_a_hold_that_finds_the_lock_taken_says_so_by_an_error_and_leaves_nobody_behind() -> None:
    world = World()
    a, b = world.client(), world.client()
    hold(world, a)
    entering = world.start(Lock(b, PATH).hold(timeout=0.5).__aenter__())
    world.sleep(0.5)
    with pytest.raises(LockTimeoutError, match="stands in line"):
        entering.outcome()
    assert contenders(world, b) == set()


@pytest.mark.parametrize("ending", ["released before", "lost", "lost and raised"])
def test_the_end_of_a_with_tells_of_a_loss_where_nothing_else_is_told(ending: str) -> None:
    world = World()
    client = world.client()

    async def body() -> None:
        async with Lock(client, PATH) as lease:
            if ending == "released before":
                await lease.release()
            world.expire(client)
            if ending == "lost and raised":
                raise ValueError("of its own")

    run = world.start(body())
    world.settle()
    expected = {"released before": None, "lost": LeaseLostError, "lost and raised": ValueError}[ending]
    assert run.error is None if expected is None else isinstance(run.error, expected)


# --- everything at every await


def check_free_for_others(world: World) -> None:
    assert world.run(Lock(world.client(), PATH).acquire(timeout=0)) is True, "an orphan holds the lock"


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_fault_while_a_free_lock_is_acquired(action: str, exists: bool) -> None:
    for at in range(50):
        world = World()
        client = world.client()
        if exists:
            world.run(client.ensure_path(PATH))
        lock = Lock(client, PATH)
        run, hit = attempt(world, lock.acquire(), action, at)
        mine = contenders(world, client)
        assert len(mine) == (1 if run.error is None else 0), f"{action} at {at}"
        assert lock.held == bool(mine)
        if mine:
            world.run(lock.release())
        check_free_for_others(world)
        if not hit:
            assert at >= 2
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_a_lock_is_waited_for(action: str) -> None:
    for at in range(50):
        world = World()
        holder, client = world.client(), world.client()
        held, _ = hold(world, holder)
        lock = Lock(client, PATH)
        run, hit = attempt(world, lock.acquire(), action, at, then=held.release())
        assert len(contenders(world, client)) == (1 if run.error is None else 0), f"{action} at {at}"
        if run.error is None:
            world.run(lock.release())
        check_free_for_others(world)
        if not hit:
            assert at >= 4
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("timeout", [0, 0.5])
def test_a_fault_while_a_wait_is_given_up(action: str, timeout: float) -> None:
    for at in range(50):
        world = World()
        holder, client = world.client(), world.client()
        held, lease = hold(world, holder)
        run, hit = attempt(world, Lock(client, PATH).acquire(timeout=timeout), action, at)
        assert run.error is not None or run.result is False
        assert contenders(world, client) == set(), f"{action} at {at}"
        lease.check()
        world.run(held.release())
        check_free_for_others(world)
        if not hit:
            assert at >= 3
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_a_lock_is_released(action: str) -> None:
    for at in range(50):
        world = World()
        client = world.client()
        lock, lease = hold(world, client)
        _, hit = attempt(world, lock.release(), action, at)
        assert lease.released
        assert not lock.held
        assert contenders(world, client) == set(), f"{action} at {at}"
        check_free_for_others(world)
        if not hit:
            assert at >= 1
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ["stuck before", "stuck after"])
def test_acquire_returns_in_time_though_no_answer_comes(action: str) -> None:
    for at in range(50):
        world = World()
        client = world.client()
        lock = Lock(client, PATH)
        run, hit = attempt(world, lock.acquire(timeout=0.5), action, at)
        assert run.error is None
        assert run.result is (not hit), f"{action} at {at}"
        assert len(contenders(world, client)) == (1 if run.result else 0), f"{action} at {at}"
        if not hit:
            assert at >= 2
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("first", ["lost before", "lost after"])
@pytest.mark.parametrize("gap", range(1, 6))
def test_answers_lost_twice_in_a_row(first: str, gap: int) -> None:
    for at in range(12):
        world = World()
        client = world.client()
        lock = Lock(client, PATH)
        run, _ = attempt(world, lock.acquire(), first, at, at + gap)
        assert run.result is True, f"{first} at {at} and {at + gap}"
        assert len(contenders(world, client)) == 1
        world.run(lock.release())
        check_free_for_others(world)


def test_a_release_that_finds_no_room_is_tried_again() -> None:
    world = World()
    lock = Lock(world.client(), PATH)
    world.run(lock.acquire())
    run, hit = attempt(world, lock.release(), "throttled", 0)
    assert hit
    assert run.error is None
    check_free_for_others(world)


@pytest.mark.parametrize("at", range(8))
def test_an_attempt_that_finds_no_room_leaves_no_contender(at: int) -> None:
    """Whether it was refused or gave up: what cleans up behind it may find no room, too."""
    world = World()
    holder, other = Lock(world.client(), PATH), Lock(world.client(), PATH)
    world.run(holder.acquire())
    run, _ = attempt(world, other.acquire(timeout=0), "throttled", at)
    assert run.result is False or isinstance(run.error, ThrottledError)
    world.run(holder.release())
    check_free_for_others(world)


def test_a_contender_whose_creation_was_not_answered_is_found_and_not_made_twice() -> None:
    world = World()
    client = world.client()
    world.run(client.ensure_path(PATH))
    world.asked.clear()
    lock = Lock(client, PATH)
    run, _ = attempt(world, lock.acquire(), "lost after", 0)
    assert run.result is True
    assert sum(isinstance(request, CreateWithParents) for _, request in world.asked) == 1
    lease = lock.lease
    assert lease is not None
    assert lease.fencing_token == world.run(client.exists(lease.path)).czxid
    assert not any(isinstance(request, Exists) and request.watch for _, request in world.asked)


def test_a_resource_that_checks_tokens_lets_no_old_holder_write() -> None:
    """Holders who lose their session go on writing; the resource refuses them by their token."""
    world = World()
    written: list[int] = []
    leases: list[Lease] = []
    for _ in range(5):
        client = world.client()
        _, lease = hold(world, client)
        leases.append(lease)
        for writer in (*leases[:-1], lease):
            if not written or writer.fencing_token >= written[-1]:
                written.append(writer.fencing_token)
        world.expire(client)
    assert written == sorted(written)
    assert set(written) == {lease.fencing_token for lease in leases}
