"""The read-write lock: readers together, a writer alone, in the order of arrival, whatever goes wrong at any await."""

from __future__ import annotations

from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import Run, World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    DeadlockError,
    LeaseLostError,
    LockNotHeldError,
    LockTimeoutError,
    StaleTokenError,
)
from zkcore.recipes.fence import FenceGuard
from zkcore.recipes.lease import Lease
from zkcore.recipes.rwlock import ReadLock, ReadWriteLock, WriteLock
from zkcore.tree.requests import Delete, Exists, GetData

PATH = "/locks/catalogue"


def lock_of(client: Client, identifier: str | None = None) -> ReadWriteLock:
    return ReadWriteLock(client, PATH, identifier=identifier)


def side_of(lock: ReadWriteLock, side: str) -> ReadLock | WriteLock:
    return lock.reader if side == "reader" else lock.writer


class User:
    """Somebody who asks for one side by a client of his own, and whether he has got it."""

    def __init__(self, world: World, side: str) -> None:
        self.world = world
        self.client = world.client()
        self.lock = lock_of(self.client, side)
        self.side = side_of(self.lock, side)
        self.run: Run = world.start(self.side.__aenter__())
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


def arrive(world: World, *sides: str) -> list[User]:
    return [User(world, side) for side in sides]


def holding(users: list[User]) -> list[bool]:
    return [user.has_it for user in users]


def own(world: World, client: Client) -> set[str]:
    return {path for path in world.tree.ephemerals(client.session_id) if path.startswith(PATH + "/")}


# --- who goes with whom, and after whom


def test_readers_hold_it_together_and_a_writer_alone() -> None:
    world = World()
    users = arrive(world, "reader", "reader", "writer", "writer")
    assert holding(users) == [True, True, False, False]
    users[0].release()
    assert holding(users)[1:] == [True, False, False]
    users[1].release()
    assert holding(users)[2:] == [True, False]
    users[2].release()
    assert holding(users)[3:] == [True]
    assert users[3].lock.writer.held


def test_a_reader_behind_a_waiting_writer_waits_so_that_no_writer_is_starved() -> None:
    world = World()
    users = arrive(world, "reader", "writer", "reader", "reader")
    assert holding(users) == [True, False, False, False]
    users[0].release()
    assert holding(users)[1:] == [True, False, False]
    users[1].release()
    assert holding(users)[2:] == [True, True]


@pytest.mark.parametrize("leaves", ["gives up", "expires"])
def test_readers_behind_a_writer_that_waits_no_longer_join_those_before_it(leaves: str) -> None:
    world = World()
    users = arrive(world, "reader", "writer", "reader")
    if leaves == "gives up":
        world.interrupt(users[1].run)
    else:
        world.expire(users[1].client)
        world.settle()
    assert holding(users) == [True, False, True]


def test_a_reader_behind_two_writers_waits_for_both_of_them() -> None:
    world = World()
    users = arrive(world, "writer", "writer", "reader")
    world.interrupt(users[1].run)
    assert holding(users) == [True, False, False]
    users[0].release()
    assert users[2].has_it


def test_the_end_of_a_writer_wakes_the_readers_behind_it_and_nobody_further_back() -> None:
    world = World()
    users = arrive(world, "writer", "reader", "reader", "writer", "reader", "writer")
    world.asked.clear()
    users[0].release()
    assert holding(users)[1:] == [True, True, False, False, False]
    awake = {session for session, op in world.asked if not isinstance(op, Delete)}
    assert awake == {users[1].client.session_id, users[2].client.session_id}


def test_the_end_of_a_reader_wakes_only_a_writer_that_is_just_behind_it() -> None:
    world = World()
    users = arrive(world, "reader", "reader", "writer", "reader")
    world.asked.clear()
    users[0].release()
    assert {session for session, _ in world.asked} == {users[0].client.session_id}
    world.asked.clear()
    users[1].release()
    assert {session for session, op in world.asked if not isinstance(op, Delete)} == {users[2].client.session_id}
    assert users[2].has_it


def test_who_comes_later_wakes_nobody() -> None:
    world = World()
    arrive(world, "writer", "reader", "writer")
    world.asked.clear()
    late = arrive(world, "reader")
    assert {session for session, _ in world.asked} == {late[0].client.session_id}


def test_everybody_sees_who_holds_it_and_as_what() -> None:
    world = World()
    look = lock_of(world.client())
    assert world.run(look.holders()) == ()
    users = arrive(world, "reader", "reader", "writer", "reader")
    assert [each.identifier for each in world.run(look.holders())] == ["reader", "reader"]
    assert [each.shared for each in world.run(look.contenders())] == [True, True, False, True]
    for user in users[:2]:
        user.release()
    assert [(each.identifier, each.shared) for each in world.run(look.holders())] == [("writer", False)]
    users[2].release()
    assert [each.identifier for each in world.run(look.holders())] == ["reader"]


# --- what one task may ask for


def test_who_reads_and_asks_to_write_is_told_that_he_would_wait_for_himself() -> None:
    world = World()
    lock = lock_of(world.client())

    async def upgrade() -> None:
        async with lock.reader:
            await lock.writer.acquire()

    with pytest.raises(DeadlockError, match="release the read lock first"):
        world.run(upgrade())
    assert world.children(PATH) == []


def test_who_writes_and_asks_to_read_is_told_of_downgrade() -> None:
    world = World()
    lock = lock_of(world.client())

    async def read_too() -> None:
        async with lock.writer, lock.reader:
            pass

    with pytest.raises(DeadlockError, match="downgrade"):
        world.run(read_too())
    assert world.children(PATH) == []


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_a_task_gets_the_same_side_again_also_where_others_wait(side: str) -> None:
    world = World()
    client = world.client()
    lock = lock_of(client)
    entered, go_on = client.port.signal(), client.port.signal()

    async def twice() -> None:
        async with side_of(lock, side) as outer:
            entered.set()
            await client.port.wait(go_on)
            async with side_of(lock, side) as inner:
                assert inner.fencing_token == outer.fencing_token
            outer.check()

    run = world.start(twice())
    world.settle()
    (waiting,) = arrive(world, "writer")
    go_on.set()
    world.settle()
    assert run.error is None
    assert run.is_over
    assert waiting.has_it


def test_another_task_of_the_same_object_waits_for_its_turn_and_is_told_no_error() -> None:
    world = World()
    client = world.client()
    lock = lock_of(client)
    go_on = client.port.signal()

    async def read() -> None:
        async with lock.reader:
            await client.port.wait(go_on)

    async def write() -> None:
        async with lock.writer:
            pass

    reading = world.start(read())
    world.settle()
    writing = world.start(write())
    world.settle()
    assert not writing.is_over
    go_on.set()
    world.settle()
    assert reading.error is writing.error is None
    assert writing.is_over


def test_what_is_not_held_is_not_released_and_paths_and_timeouts_are_looked_at() -> None:
    world = World()
    lock = lock_of(world.client())
    for side in (lock.reader, lock.writer):
        with pytest.raises(LockNotHeldError):
            world.run(side.release())
        with pytest.raises(BadArgumentsError):
            world.run(side.acquire(timeout=-1))
    with pytest.raises(BadArgumentsError):
        ReadWriteLock(world.client(), "/")
    assert world.asked == []


@pytest.mark.parametrize("side", ["reader", "writer"])
@pytest.mark.parametrize("timeout", [0, 0.5])
def test_a_wait_that_is_given_up_leaves_nothing_behind(side: str, timeout: float) -> None:
    world = World()
    arrive(world, "writer")
    client = world.client()
    run = world.start(side_of(lock_of(client), side).acquire(timeout=timeout))
    world.sleep(timeout)
    assert run.outcome() is False
    entering = world.start(side_of(lock_of(client), side).hold(timeout=timeout).__aenter__())
    world.sleep(timeout)
    with pytest.raises(LockTimeoutError):
        entering.outcome()
    assert own(world, client) == set()


# --- from writer to reader


def test_a_writer_that_becomes_a_reader_lets_readers_in_and_no_writer() -> None:
    world = World()
    users = arrive(world, "reader", "writer", "reader", "writer", "reader")
    users[0].release()
    writer = users[1]
    token = writer.lease.fencing_token
    downgrade(world, writer)
    assert holding(users)[1:] == [True, True, False, False]
    assert writer.lease.fencing_token == token < users[2].lease.fencing_token
    late = arrive(world, "reader")
    assert not late[0].has_it, "a writer waits before it"
    writer.release()
    assert holding(users)[2:] == [True, False, False]
    users[2].release()
    assert users[3].has_it
    assert users[3].lease.fencing_token > token


def downgrade(world: World, user: User) -> None:
    """As the task that holds it would."""
    run = world.start(user.lock.writer.downgrade())
    (held,) = user.lock.writer._line._held.values()
    user.lock.writer._line._owner = lambda: held.owner
    assert isinstance(run.error, LockNotHeldError), "another task does not hold it"
    world.run(user.lock.writer.downgrade())
    world.settle()


def test_a_reader_that_comes_behind_a_downgraded_writer_is_let_in_at_once() -> None:
    world = World()
    (writer,) = arrive(world, "writer")
    downgrade(world, writer)
    (reader,) = arrive(world, "reader")
    assert reader.has_it
    seen = world.run(lock_of(world.client()).holders())
    assert [(each.identifier, each.shared) for each in seen] == [("writer", True), ("reader", True)]


def test_a_writer_behind_a_downgraded_writer_waits_for_it_and_for_the_readers_between() -> None:
    world = World()
    users = arrive(world, "writer", "reader", "writer")
    downgrade(world, users[0])
    assert holding(users) == [True, True, False]
    users[1].release()
    assert not users[2].has_it
    users[0].release()
    assert users[2].has_it


def test_after_a_downgrade_it_is_the_reader_that_holds_it_and_the_end_of_the_with_releases_that() -> None:
    world = World()
    client = world.client()
    lock = lock_of(client)
    seen: list[bool] = []

    async def work() -> Lease:
        async with lock.writer as lease:
            async with lock.writer:
                await lock.writer.downgrade()
                seen.extend((lock.reader.held, lock.writer.held))
            seen.append(lock.reader.held)
            with pytest.raises(LockNotHeldError, match="cannot be downgraded"):
                await lock.writer.downgrade()
            with pytest.raises(LockNotHeldError):
                await lock.writer.release()
            with pytest.raises(DeadlockError):
                await lock.writer.acquire()
            lease.check()
        return lease

    lease = world.run(work())
    assert seen == [True, False, True]
    assert lease.released
    assert world.children(PATH) == []


def test_a_downgraded_lease_still_guards_a_transaction() -> None:
    world = World()
    client = world.client()
    world.run(client.create("/shelf", b"old"))
    lock = lock_of(client)

    async def work() -> None:
        async with lock.writer as lease:
            await lock.writer.downgrade()
            guarded = FenceGuard.transaction(lease, [])
            await client.port.request(guarded)

    world.run(work())


@pytest.mark.parametrize("what", ["never held", "lost"])
def test_a_downgrade_without_the_write_lock_says_what_to_do(what: str) -> None:
    world = World()
    client = world.client()
    lock = lock_of(client)

    async def work() -> None:
        if what == "lost":
            await lock.writer.acquire()
            world.expire(client)
        await lock.writer.downgrade()

    expected = LockNotHeldError if what == "never held" else LeaseLostError
    with pytest.raises(expected):
        world.run(work())
    assert not lock.reader.held


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_a_writer_becomes_a_reader(action: str) -> None:
    """Whatever comes of it, afterwards one side holds it, or none where it is lost; and readers are let in or not."""
    for at in range(20):
        world = World()
        client = world.client()
        lock = lock_of(client)

        async def work(lock: ReadWriteLock = lock) -> None:
            await lock.writer.acquire()
            await lock.writer.downgrade()

        run, hit = attempt(world, work(), action, at, also=(LeaseLostError,))
        holds = [side._line.any_lease is not None for side in (lock.reader, lock.writer)]
        (reader,) = arrive(world, "reader")
        if action == "expired" and hit:
            assert reader.has_it
        else:
            assert sum(holds) == len(own(world, client)) <= 1
            assert reader.has_it == (not holds[1]), f"{action} at {at}"
        assert run.error is not None or holds == [True, False]
        if not hit:
            assert at >= 3
            return
    raise AssertionError("it never came to an end")


# --- everything at every await


def check_free_for_others(world: World) -> None:
    assert world.run(lock_of(world.client()).writer.acquire(timeout=0)) is True, "an orphan holds it"


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("side", ["reader", "writer"])
def test_a_fault_while_it_is_free(action: str, side: str) -> None:
    for at in range(50):
        world = World()
        client = world.client()
        lock = side_of(lock_of(client), side)
        run, hit = attempt(world, lock.acquire(), action, at)
        lease = lock._line.any_lease
        assert len(own(world, client)) == (1 if run.error is None else 0), f"{action} at {at}"
        assert (lease is not None) == (run.error is None)
        if lease is not None:
            world.run(lease.release())
        check_free_for_others(world)
        if not hit:
            assert at >= 2
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("before", "side"), [("writer", "reader"), ("reader", "writer"), ("writer", "writer")])
def test_a_fault_while_it_is_waited_for(action: str, before: str, side: str) -> None:
    for at in range(50):
        world = World()
        (holder,) = arrive(world, before)
        client = world.client()
        lock = side_of(lock_of(client), side)
        run, hit = attempt(world, lock.acquire(), action, at, then=holder.lease.release())
        assert len(own(world, client)) == (1 if run.error is None else 0), f"{action} at {at}"
        lease = lock._line.any_lease
        if lease is not None:
            world.run(lease.release())
        check_free_for_others(world)
        if not hit:
            assert at >= 4
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_of_a_reader_that_waits_for_a_downgrade(action: str) -> None:
    for at in range(50):
        world = World()
        writer = lock_of(world.client()).writer
        go_on = world.client().port.signal()

        async def write(writer: WriteLock = writer, go_on: Any = go_on) -> None:
            await writer.acquire()
            await writer._line.client.port.wait(go_on)
            await writer.downgrade()

        async def go(go_on: Any = go_on) -> None:
            go_on.set()

        world.start(write())
        world.settle()
        client = world.client()
        run, hit = attempt(world, lock_of(client).reader.acquire(), action, at, then=go(), session=client.session_id)
        assert len(own(world, client)) == (1 if run.error is None else 0), f"{action} at {at}"
        (reader,) = arrive(world, "reader")
        assert reader.has_it
        if not hit:
            assert at >= 4
            return
    raise AssertionError("it never came to an end")


def test_a_downgrade_between_the_look_and_the_watch_is_not_missed() -> None:
    world = World()
    (writer,) = arrive(world, "writer")
    client = world.client()
    done: list[bool] = []

    def script(run: Run, point: Any) -> None:
        op = getattr(point, "op", None)
        if isinstance(op, Exists) and op.watch and not done:
            done.append(True)
            path = writer.lease.path
            version = world.do(client.session_id, GetData(path)).stat.version
            assert version == 0
            world.start(writer.lock.writer._line.downgrade(writer.client.port, writer.lease))

    world.script = script
    run = world.start(lock_of(client).reader.acquire())
    world.settle()
    assert done
    assert run.outcome() is True


# --- tokens


def test_a_guard_that_is_told_who_reads_refuses_only_what_is_of_the_past() -> None:
    world = World()
    users = arrive(world, "reader", "reader", "writer")
    first, second = (user.lease.fencing_token for user in users[:2])
    guard = FenceGuard()
    guard.check(second, shared=True)
    guard.check(first, shared=True)  # it came before, and reads all the same
    for user in users[:2]:
        user.release()
    guard.check(users[2].lease.fencing_token)
    with pytest.raises(StaleTokenError):
        guard.check(first, shared=True)
    (later,) = arrive(world, "reader")
    users[2].release()
    guard.check(later.lease.fencing_token, shared=True)
    with pytest.raises(StaleTokenError):
        guard.check(users[2].lease.fencing_token)
