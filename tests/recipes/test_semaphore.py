"""The semaphore: never more than its permits, in the order of arrival, whatever goes wrong at every await."""

from __future__ import annotations

import pytest
from faults import ACTIONS, Fault, attempt
from scripted import Run, World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    ConfigMismatchError,
    LockNotHeldError,
    LockTimeoutError,
    SessionExpiredError,
    ThrottledError,
)
from zkcore.recipes.lease import Lease
from zkcore.recipes.semaphore import MAX_PERMITS, BoundedSemaphore, Semaphore
from zkcore.tree.requests import Create, Delete, Multi, SetData

PATH = "/limits/api"
BOTH = pytest.mark.parametrize("kind", [Semaphore, BoundedSemaphore])


def semaphore(client: Client, value: int = 2) -> Semaphore:
    return Semaphore(client, PATH, value=value)


class User:
    """Somebody who asks for a permit by a client of his own, and whether he has got it."""

    def __init__(self, world: World, value: int = 2) -> None:
        self.world = world
        self.client = world.client()
        self.run: Run = world.start(semaphore(self.client, value).__aenter__())
        world.settle()

    @property
    def has_it(self) -> bool:
        return self.run.is_over and self.run.error is None and not self.lease.released

    @property
    def lease(self) -> Lease:
        lease: Lease = self.run.outcome()
        return lease

    def release(self) -> None:
        self.world.run(self.lease.release())
        self.world.settle()


def arrive(world: World, count: int, value: int = 2) -> list[User]:
    return [User(world, value) for _ in range(count)]


def holding(users: list[User]) -> list[bool]:
    return [user.has_it for user in users]


def own(world: World, client: Client) -> set[str]:
    return set(world.tree.ephemerals(client.session_id))


# --- the plain course of things


def test_as_many_hold_it_as_there_are_permits_and_the_others_in_the_order_of_arrival() -> None:
    world = World()
    users = arrive(world, 6)
    assert holding(users) == [True, True, False, False, False, False]
    users[1].release()
    assert holding(users) == [True, False, True, False, False, False]
    users[0].release()
    users[2].release()
    assert holding(users)[3:] == [True, True, False]
    tokens = [user.lease.fencing_token for user in users[:5]]
    assert tokens == sorted(set(tokens))


def test_a_permit_that_is_free_takes_one_read_and_one_write() -> None:
    world = World()
    world.run(semaphore(world.client()).acquire())
    world.asked.clear()
    assert world.run(semaphore(world.client()).acquire()) is True
    assert [type(op).__name__ for _, op in world.asked] == ["GetData", "Multi"]


def test_what_comes_free_wakes_who_is_in_front_and_the_one_behind_comes_to_the_front() -> None:
    world = World()
    users = arrive(world, 8)
    world.asked.clear()
    users[0].release()
    awake = {session for session, op in world.asked if not isinstance(op, Delete)}
    assert awake == {users[2].client.session_id, users[3].client.session_id}
    assert holding(users)[2:] == [True] + 5 * [False]


def test_nobody_passes_those_who_wait_though_a_permit_is_free_for_a_moment() -> None:
    world = World()
    users = arrive(world, 3)
    held_up = users[2].client.session_id
    world.script = lambda run, point: "lost before" if getattr(point, "port", None) == held_up else None
    run = world.start(users[0].lease.release())
    while not run.is_over:
        world.step(run)
        for cleanup in [each for each in world.runs if each is not users[2].run]:
            world.step(cleanup)
    late = world.start(semaphore(world.client()).acquire(timeout=0))
    while not late.is_over:
        for each in [each for each in world.runs if each is not users[2].run]:
            world.step(each)
    assert late.outcome() is False, "it was somebody else's turn"
    world.settle()
    assert users[2].has_it


def test_the_end_of_a_session_gives_its_permits_back() -> None:
    world = World()
    users = arrive(world, 3)
    world.expire(users[0].client)
    world.settle()
    assert users[0].lease.is_lost()
    assert users[2].has_it


def test_one_who_gives_up_in_the_line_lets_nobody_pass() -> None:
    world = World()
    users = arrive(world, 5)
    world.interrupt(users[2].run)
    world.interrupt(users[3].run)
    assert holding(users)[4:] == [False]
    users[0].release()
    assert users[4].has_it


def test_several_tasks_of_one_object_each_have_a_permit() -> None:
    world = World()
    shared = semaphore(world.client(), 3)
    for _ in range(3):
        assert world.run(shared.acquire(timeout=0)) is True
    assert world.run(shared.acquire(timeout=0)) is False
    assert len(shared.leases) == len({lease.fencing_token for lease in shared.leases}) == 3
    assert repr(shared) == f"<Semaphore {PATH} of 3, 3 held>"
    world.run(shared.release(2))
    assert len(shared.leases) == 1
    assert world.run(shared.available()) == 2


def test_everybody_sees_who_holds_permits_and_how_many_are_free() -> None:
    world = World()
    look = semaphore(world.client())
    assert world.run(look.available()) == 2
    assert world.run(look.holders()) == ()
    for name in ("one", "two", "three"):
        world.start(Semaphore(world.client(), PATH, value=2, identifier=name).acquire())
        world.settle()
    assert [each.identifier for each in world.run(look.holders())] == ["one", "two"]
    assert world.run(look.available()) == 0


@pytest.mark.parametrize("timeout", [0, 0.5])
def test_a_wait_that_is_given_up_leaves_nothing_behind(timeout: float) -> None:
    world = World()
    arrive(world, 2)
    client = world.client()
    run = world.start(semaphore(client).acquire(timeout=timeout))
    world.sleep(timeout)
    assert run.outcome() is False
    entering = world.start(semaphore(client).hold(timeout=timeout).__aenter__())
    world.sleep(timeout)
    with pytest.raises(LockTimeoutError, match="semaphore"):
        entering.outcome()
    assert own(world, client) == set()


def test_who_does_not_wait_does_not_stand_in_line() -> None:
    world = World()
    arrive(world, 2)
    world.asked.clear()
    assert world.run(semaphore(world.client()).acquire(timeout=0)) is False
    assert [type(op).__name__ for _, op in world.asked] == ["GetData", "Multi", "ListChildren"]


# --- more permits, or too many given back


def test_a_semaphore_grows_by_what_is_released_beyond_what_is_held() -> None:
    world = World()
    users = arrive(world, 4, value=1)
    keeper = semaphore(world.client(), 1)
    world.run(keeper.release(2))
    world.settle()
    assert holding(users) == [True, True, True, False]
    assert world.run(semaphore(world.client(), 1).available()) == 0


def test_a_semaphore_may_begin_with_no_permit() -> None:
    world = World()
    waiting = world.start(semaphore(world.client(), 0).acquire())
    world.settle()
    assert not waiting.is_over
    world.run(semaphore(world.client(), 0).release())
    world.settle()
    assert waiting.outcome() is True


@pytest.mark.parametrize("action", ["lost before", "lost after"])
def test_permits_are_added_once_however_often_it_must_be_asked(action: str) -> None:
    for at in range(10):
        world = World()
        run, hit = attempt(world, semaphore(world.client()).release(3), action, at)
        assert run.error is None
        assert world.run(semaphore(world.client()).available()) == 5, f"{action} at {at}"
        if not hit:
            assert at >= 2
            return
    raise AssertionError("it never came to an end")


def test_a_bounded_semaphore_gives_nothing_back_that_it_does_not_hold() -> None:
    world = World()
    bounded = BoundedSemaphore(world.client(), PATH, value=2)
    with pytest.raises(LockNotHeldError, match="0 permits"):
        world.run(bounded.release())
    world.run(bounded.acquire())
    with pytest.raises(LockNotHeldError, match="1 permits"):
        world.run(bounded.release(2))
    assert len(bounded.leases) == 1
    world.run(bounded.release())
    assert world.run(bounded.available()) == 2


@BOTH
def test_a_permit_that_was_lost_is_not_released_as_if_it_had_been_held(kind: type[Semaphore]) -> None:
    world = World()
    client = world.client()
    lost = kind(client, PATH, value=2)
    world.run(lost.acquire())
    world.expire(client)
    assert lost.leases == ()
    with pytest.raises(LockNotHeldError, match="lost with the session"):
        world.run(lost.release())
    assert world.run(kind(world.client(), PATH, value=2).available()) == 2


# --- what must be agreed with


@BOTH
def test_another_size_than_that_of_the_peers_is_refused_and_says_what_to_do(kind: type[Semaphore]) -> None:
    world = World()
    world.run(kind(world.client(), PATH, value=2).acquire())
    for use in (lambda other: other.acquire(), lambda other: other.available()):
        with pytest.raises(ConfigMismatchError, match="a value of 2"):
            world.run(use(kind(world.client(), PATH, value=3)))
    other = BoundedSemaphore if kind is Semaphore else Semaphore
    with pytest.raises(ConfigMismatchError, match="which is no"):
        world.run(other(world.client(), PATH, value=2).acquire())


def test_what_is_no_semaphore_is_left_alone() -> None:
    world = World()
    client = world.client()
    for path in ("/limits", PATH):
        world.do(client.session_id, Create(path, b"a value"))
    with pytest.raises(ConfigMismatchError, match="no semaphore"):
        world.run(semaphore(client).acquire())
    assert world.children(PATH) == []


@pytest.mark.parametrize("value", [-1, MAX_PERMITS + 1])
def test_a_semaphore_has_a_size_that_can_be(value: int) -> None:
    with pytest.raises(BadArgumentsError):
        semaphore(World().client(), value)
    with pytest.raises(BadArgumentsError):
        BoundedSemaphore(World().client(), PATH, value=0)
    with pytest.raises(BadArgumentsError):
        Semaphore(World().client(), "/")


@BOTH
@pytest.mark.parametrize("n", [0, -1])
def test_permits_are_given_back_one_at_least(kind: type[Semaphore], n: int) -> None:
    world = World()
    with pytest.raises(BadArgumentsError, match="at least 1"):
        world.run(kind(world.client(), PATH, value=2).release(n))


def test_permits_have_an_end() -> None:
    world = World()
    with pytest.raises(BadArgumentsError, match="is the most"):
        world.run(semaphore(world.client()).release(MAX_PERMITS))


def test_who_waits_at_a_semaphore_that_somebody_deletes_is_told() -> None:
    world = World()
    users = arrive(world, 3)
    waiter = next(path for path in own(world, users[2].client) if "-waiter-" in path)
    world.do(users[2].client.session_id, Delete(waiter))
    users[0].release()
    with pytest.raises(SessionExpiredError, match="is gone"):
        users[2].run.outcome()
    assert own(world, users[2].client) == set()


def test_a_semaphore_that_is_deleted_while_nobody_uses_it_is_made_anew() -> None:
    world = World()
    client = world.client()
    world.run(semaphore(client).acquire())
    waiting = semaphore(client)
    for name in ("line", "permits"):
        for child in world.children(f"{PATH}/{name}"):
            world.do(client.session_id, Delete(f"{PATH}/{name}/{child}"))
        world.do(client.session_id, Delete(f"{PATH}/{name}"))
    world.do(client.session_id, Delete(PATH))
    assert world.run(waiting.acquire(timeout=0)) is True
    assert world.run(Semaphore(client, PATH, value=2).available()) == 1


# --- everything at every await


def check_all_free(world: World) -> None:
    users = arrive(world, 2)
    assert holding(users) == [True, True], "an orphan holds a permit, or the line"


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_fault_while_a_free_permit_is_acquired(action: str, exists: bool) -> None:
    for at in range(50):
        world = World()
        if exists:
            world.run(semaphore(world.client()).available())
            arrive(world, 1)[0].release()
        client = world.client()
        mine = semaphore(client)
        run, hit = attempt(world, mine.acquire(), action, at)
        assert len(own(world, client)) == len(mine.leases) == (1 if run.error is None else 0), f"{action} at {at}"
        if mine.leases:
            world.run(mine.release())
        check_all_free(world)
        if not hit:
            assert at >= 2
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("before", [0, 1])
def test_a_fault_while_a_permit_is_waited_for(action: str, before: int) -> None:
    """In front of the line, and behind another."""
    for at in range(60):
        world = World()
        holders = arrive(world, 2)
        others = arrive(world, before)
        client = world.client()
        mine = semaphore(client)

        async def let_go(holders: list[User] = holders) -> None:
            for holder in holders:
                await holder.lease.release()

        run, hit = attempt(world, mine.acquire(), action, at, then=let_go(), session=client.session_id)
        assert len(own(world, client)) == len(mine.leases) == (1 if run.error is None else 0), f"{action} at {at}"
        for other in others:
            other.release()
        if mine.leases:
            world.run(mine.release())
        check_all_free(world)
        if not hit:
            assert at >= 7
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("timeout", [0, 0.5])
def test_a_fault_while_a_wait_is_given_up(action: str, timeout: float) -> None:
    for at in range(50):
        world = World()
        holders = arrive(world, 2)
        client = world.client()
        run, hit = attempt(world, semaphore(client).acquire(timeout=timeout), action, at)
        assert run.error is not None or run.result is False
        assert own(world, client) == set(), f"{action} at {at}"
        for holder in holders:
            holder.release()
        check_all_free(world)
        if not hit:
            assert at >= 2
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_permits_are_released(action: str) -> None:
    """What has begun goes on; a permit not yet given back is still held, and is released with the next call."""
    for at in range(50):
        world = World()
        client = world.client()
        mine = BoundedSemaphore(client, PATH, value=2)
        for _ in range(2):
            world.run(mine.acquire())
        _, hit = attempt(world, mine.release(2), action, at)
        assert len(own(world, client)) == len(mine.leases), f"{action} at {at}"
        if mine.leases:
            world.run(mine.release(len(mine.leases)))
        other = BoundedSemaphore(world.client(), PATH, value=2)
        assert world.run(other.available()) == 2
        if not hit:
            assert at >= 2
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("gap", range(1, 8))
@pytest.mark.parametrize("action", ["lost before", "lost after"])
def test_answers_lost_twice_in_a_row(action: str, gap: int) -> None:
    for at in range(16):
        world = World()
        holders = arrive(world, 2)
        client = world.client()
        mine = semaphore(client)
        then = holders[0].lease.release()
        run, _ = attempt(world, mine.acquire(), action, at, at + gap, then=then, session=client.session_id)
        assert run.result is True, f"{action} at {at} and {at + gap}"
        assert len(own(world, client)) == 1


@pytest.mark.parametrize("at", range(14))
def test_an_attempt_that_finds_no_room_leaves_nothing(at: int) -> None:
    world = World()
    holders = arrive(world, 2)
    client = world.client()
    world.script = Fault(lambda: None, "throttled", at)
    run = world.start(semaphore(client).acquire(timeout=0.5))
    for _ in range(3):  # the wait, the attempt that is over, and what cleans up behind it
        world.sleep(0.5)
    assert run.result is False or isinstance(run.error, ThrottledError)
    world.script = lambda run, point: None
    assert own(world, client) == set()
    for holder in holders:
        holder.release()
    check_all_free(world)


def test_the_ensemble_itself_refuses_one_permit_too_many() -> None:
    """Also from a client that believes to have seen room."""
    world = World()
    arrive(world, 2)
    client = world.client()
    late = semaphore(client)
    run = world.start(late.acquire(timeout=0))
    world.settle()
    assert run.outcome() is False
    refused = [op for session, op in world.asked if session == client.session_id and isinstance(op, Multi)]
    assert refused
    assert not any(isinstance(op, SetData) for _, op in world.asked)
    assert len(world.children(f"{PATH}/permits")) == 2
