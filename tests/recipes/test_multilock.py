"""Several locks at once: all of them or none, and nobody waits in a circle."""

from __future__ import annotations

from itertools import permutations

import pytest
from faults import ACTIONS, attempt
from scripted import Run, World

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, LockTimeoutError, NoChildrenForEphemeralsError
from zkcore.recipes.fence import FenceGuard
from zkcore.recipes.lease import Lease
from zkcore.recipes.lock import Lock
from zkcore.recipes.multilock import MAX_PATHS, MultiLock
from zkcore.tree.requests import Create, Delete, DeleteIfPresent, Multi
from zkcore.tree.znode import CreateMode

A, B, C = "/accounts/ada", "/accounts/bob", "/stock/c"


class User:
    """Somebody who asks for several paths by a client of his own, and whether he has got them."""

    def __init__(self, world: World, *paths: str) -> None:
        self.world = world
        self.client = world.client()
        self.run: Run = world.start(MultiLock(self.client, paths).__aenter__())
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


def own(world: World, client: Client) -> set[str]:
    return set(world.tree.ephemerals(client.session_id))


def test_all_paths_are_entered_in_one_transaction_and_left_in_one() -> None:
    world = World()
    client = world.client()
    lock = MultiLock(client, [A, B, C], identifier="me")
    world.run(lock.acquire())
    world.asked.clear()
    world.run(lock.release())
    world.run(lock.acquire())
    writes = [op for _, op in world.asked if op.writes]
    assert [type(op) for op in writes] == [Multi, Multi]
    left, entered = (op.operations for op in writes if isinstance(op, Multi))
    assert [type(op) for op in left] == [DeleteIfPresent] * 3
    assert [type(op) for op in entered] == [Create] * 3
    holders = world.run(lock.holders())
    assert {path: holder.identifier for path, holder in holders.items()} == {A: "me", B: "me", C: "me"}
    assert {holder.fencing_token for holder in holders.values()} == {lock.lease.fencing_token if lock.lease else 0}


def test_whoever_wants_one_of_the_paths_waits_and_who_wants_another_does_not() -> None:
    world = World()
    first = User(world, A, B)
    second, third = User(world, B, C), User(world, C)
    assert [user.has_it for user in (first, second, third)] == [True, False, False]
    assert world.run(Lock(world.client(), "/accounts/eve").acquire(timeout=0)) is True
    first.release()
    assert second.has_it
    assert not third.has_it
    second.release()
    assert third.has_it
    tokens = [user.lease.fencing_token for user in (first, second, third)]
    assert tokens == sorted(set(tokens))


def test_it_excludes_the_plain_lock_of_a_path_and_is_excluded_by_it() -> None:
    world = World()
    plain = Lock(world.client(), B)
    world.run(plain.acquire())
    several = User(world, A, B)
    assert not several.has_it
    world.run(plain.release())
    world.settle()
    assert several.has_it
    assert world.run(plain.acquire(timeout=0)) is False
    several.release()
    assert world.run(plain.acquire(timeout=0)) is True


@pytest.mark.parametrize("orders", list(permutations([(A, B), (B, A), (B, C), (C, A)], 3)))
def test_no_two_wait_for_each_other_in_whatever_order_they_name_the_paths(orders: tuple[tuple[str, str], ...]) -> None:
    world = World()
    gate = MultiLock(world.client(), [A, B, C])
    world.run(gate.acquire())
    waiting = [world.start(MultiLock(world.client(), paths).__aenter__()) for paths in orders]
    while any(world.step(run) for run in waiting):
        pass
    world.run(gate.release())
    world.settle()
    done = 0
    while waiting:
        ready = [run for run in waiting if run.is_over]
        assert ready, "they wait for each other"
        for run in ready:
            waiting.remove(run)
            lease: Lease = run.outcome()
            world.run(lease.release())
            world.settle()
            done += 1
    assert done == len(orders)


@pytest.mark.parametrize("timeout", [0, 0.5])
def test_where_one_of_them_is_taken_none_is_held(timeout: float) -> None:
    world = World()
    User(world, B)
    client = world.client()
    lock = MultiLock(client, [A, B])
    run = world.start(lock.acquire(timeout=timeout))
    world.sleep(timeout)
    assert run.outcome() is False
    assert own(world, client) == set()
    entering = world.start(lock.hold(timeout=timeout).__aenter__())
    world.sleep(timeout)
    with pytest.raises(LockTimeoutError, match="one of the 2 locks"):
        entering.outcome()
    assert not lock.held


def test_the_token_guards_a_transaction_while_all_is_held() -> None:
    world = World()
    client = world.client()
    lock = MultiLock(client, [A, B])
    world.run(lock.acquire())
    lease = lock.lease
    assert lease is not None
    world.run(client.port.request(FenceGuard.transaction(lease, [])))


def test_the_end_of_the_session_gives_all_of_them_on() -> None:
    world = World()
    first, second, third = User(world, A, B), User(world, A), User(world, B)
    world.expire(first.client)
    world.settle()
    assert first.lease.is_lost()
    assert second.has_it
    assert third.has_it


@pytest.mark.parametrize("paths", [[], [A, A], ["/"], [A, "b"], A, [f"/p{n}" for n in range(MAX_PATHS + 1)]])
def test_the_paths_are_several_different_ones(paths: list[str]) -> None:
    with pytest.raises(BadArgumentsError):
        MultiLock(World().client(), paths)


def test_what_cannot_be_a_line_is_said_as_it_is_and_leaves_nothing() -> None:
    world = World()
    client = world.client()
    world.do(client.session_id, Create("/accounts", b""))
    world.do(client.session_id, Create(B, b"", mode=CreateMode.EPHEMERAL))
    with pytest.raises(NoChildrenForEphemeralsError):
        world.run(MultiLock(world.client(), [A, B]).acquire())
    assert world.children(A) == []


def test_a_line_that_was_deleted_is_made_anew() -> None:
    world = World()
    lock = MultiLock(world.client(), [A, C])
    for _ in range(2):
        assert world.run(lock.acquire(timeout=0)) is True
        world.run(lock.release())
        world.do(1, Delete(C))


# --- everything at every await


def check_free_for_others(world: World) -> None:
    client = world.client()
    for path in (A, B, C):
        assert world.run(Lock(client, path).acquire(timeout=0)) is True, f"an orphan holds {path}"


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("exist", [True, False])
def test_a_fault_while_all_are_free(action: str, exist: bool) -> None:
    for at in range(50):
        world = World()
        if exist:
            User(world, A, B, C).release()
        client = world.client()
        lock = MultiLock(client, [A, B, C])
        run, hit = attempt(world, lock.acquire(), action, at)
        assert len(own(world, client)) == (3 if run.error is None else 0), f"{action} at {at}"
        assert lock.held == (run.error is None)
        if lock.held:
            world.run(lock.release())
        check_free_for_others(world)
        if not hit:
            assert at >= 4
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_they_are_waited_for(action: str) -> None:
    for at in range(60):
        world = World()
        users = [User(world, A), User(world, C)]
        client = world.client()
        lock = MultiLock(client, [A, B, C])

        async def let_go(users: list[User] = users) -> None:
            for user in users:
                await user.lease.release()

        run, hit = attempt(world, lock.acquire(), action, at, then=let_go(), session=client.session_id)
        assert len(own(world, client)) == (3 if run.error is None else 0), f"{action} at {at}"
        if lock.held:
            world.run(lock.release())
        check_free_for_others(world)
        if not hit:
            assert at >= 8
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("timeout", [0, 0.5])
def test_a_fault_while_a_wait_is_given_up(action: str, timeout: float) -> None:
    for at in range(50):
        world = World()
        user = User(world, C)
        client = world.client()
        run, hit = attempt(world, MultiLock(client, [A, B, C]).acquire(timeout=timeout), action, at)
        assert run.error is not None or run.result is False
        assert own(world, client) == set(), f"{action} at {at}"
        user.release()
        check_free_for_others(world)
        if not hit:
            assert at >= 5
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_they_are_released(action: str) -> None:
    for at in range(50):
        world = World()
        client = world.client()
        lock = MultiLock(client, [A, B, C])
        world.run(lock.acquire())
        _, hit = attempt(world, lock.release(), action, at)
        assert own(world, client) == set(), f"{action} at {at}"
        check_free_for_others(world)
        if not hit:
            assert at >= 1
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("gap", range(1, 6))
@pytest.mark.parametrize("action", ["lost before", "lost after"])
def test_answers_lost_twice_in_a_row(action: str, gap: int) -> None:
    for at in range(14):
        world = World()
        client = world.client()
        lock = MultiLock(client, [A, B, C])
        run, _ = attempt(world, lock.acquire(), action, at, at + gap)
        assert run.result is True, f"{action} at {at} and {at + gap}"
        assert len(own(world, client)) == 3
        assert {each.fencing_token for each in world.run(lock.holders()).values()} == {
            lock.lease.fencing_token if lock.lease else 0
        }
        world.run(lock.release())
        check_free_for_others(world)
