"""Functions that are carried out atomically: they see one state, and what they write happens once, or not at all."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import Asking, Point, Run, World

from zkcore.client.atomically import AtomicTransaction
from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    ConnectionLostError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    TransactionConflictError,
)
from zkcore.tree.requests import Create, Delete, Exists, GetData, Multi, MultiRead, Once, Request, SetData


def bank(**accounts: int) -> tuple[World, Client]:
    world = World()
    client = world.client()
    for name, amount in accounts.items():
        world.do(client.session_id, Create(f"/{name}", b"%d" % amount))
    return world, client


def amounts(world: World, *names: str) -> list[int]:
    return [int(world.tree.read(GetData(f"/{name}")).data) for name in names]


async def transfer(t: AtomicTransaction, giver: str, taker: str, amount: int) -> int:
    """What the giver has left."""
    left = int(await t.get(giver)) - amount
    if left < 0:
        raise ValueError(f"{giver} has not so much")
    t.set(giver, b"%d" % left)
    t.set(taker, b"%d" % (int(await t.get(taker)) + amount))
    return left


def meanwhile(world: World, kind: type[Request[Any]], *, times: int = 1, **changes: bytes) -> None:
    """Just before the next requests of that kind, somebody else changes something."""
    other = world.client().session_id
    left = [times]

    def script(run: Run, point: Point) -> str | None:
        asks = isinstance(point, Asking) and point.port.session.id != other
        if asks and left[0] and isinstance(getattr(point, "op", None), kind):
            left[0] -= 1
            for name, data in changes.items():
                if world.tree.read(Exists(f"/{name}")) is None:
                    world.do(other, Create(f"/{name}", data))
                else:
                    world.do(other, SetData(f"/{name}", data))
        return None

    world.script = script


# --- what happens


def test_what_a_function_writes_happens_together_and_is_told_with_its_zxid() -> None:
    world, client = bank(ada=100, bob=0)
    done = world.run(client.atomically(transfer)("/ada", "/bob", 30))
    assert amounts(world, "ada", "bob") == [70, 30]
    assert (done.value, done.attempts) == (70, 1)
    assert done.zxid == world.tree.read(Exists("/ada")).mzxid == world.tree.read(Exists("/bob")).mzxid  # type: ignore[union-attr]
    assert len([op for _, op in world.asked if op.writes]) == 1


def test_znodes_are_created_and_deleted_too() -> None:
    world, client = bank(ada=100)

    @client.atomically(attempts=3)
    async def move(t: AtomicTransaction) -> list[str]:
        t.create("/moved", await t.get("/ada"))
        t.delete("/ada")
        t.create("/moved/log-", b"x", sequence=True)
        return await t.get_children("/")

    done = world.run(move())
    assert done.value == ["ada", "zookeeper"]
    assert world.children("/") == ["moved", "zookeeper"]
    assert world.children("/moved") == ["log-0000000000"]


def test_what_was_read_and_changed_meanwhile_is_read_again() -> None:
    world, client = bank(ada=100, bob=0)
    meanwhile(world, Once, times=2, ada=b"50")
    run = world.start(client.atomically(transfer)("/ada", "/bob", 30))
    world.settle()
    world.sleep(1)  # it lets the others go first
    done = run.outcome()
    assert amounts(world, "ada", "bob") == [20, 30]
    assert done.attempts == 3


def test_what_was_not_there_is_looked_for_again() -> None:
    world, client = bank()

    @client.atomically
    async def first_come(t: AtomicTransaction) -> bool:
        if await t.exists("/lead"):
            return False
        t.create("/won", b"us")
        return True

    meanwhile(world, Once, lead=b"them")
    done = world.run(first_come())
    assert (done.value, done.attempts) == (False, 2)
    assert world.tree.read(Exists("/won")) is None


def test_children_that_came_meanwhile_are_counted() -> None:
    world, client = bank(jobs=0)

    @client.atomically
    async def count(t: AtomicTransaction) -> int:
        names = await t.get_children("/jobs")
        t.set("/jobs", b"%d" % len(names))
        return len(names)

    meanwhile(world, Once, **{"jobs/one": b""})
    assert world.run(count()).value == 1
    assert amounts(world, "jobs") == [1]


def test_that_a_znode_is_there_may_be_all_that_counts() -> None:
    """Its data may change, and it may be another one: what was asked is whether there is one."""
    world, client = bank(ada=1, flag=0)

    @client.atomically
    async def work(t: AtomicTransaction) -> None:
        if not await t.exists("/flag"):
            raise ValueError("the flag is down")
        t.set("/ada", b"2")

    meanwhile(world, Once, flag=b"new")
    assert world.run(work()).attempts == 1
    world.script = lambda run, point: delete_flag(world, point)
    with pytest.raises(ValueError, match="the flag is down"):
        world.run(work())
    assert amounts(world, "ada") == [2]


def delete_flag(world: World, point: Point) -> None:
    if isinstance(point, Asking) and isinstance(point.op, Once) and world.tree.read(Exists("/flag")) is not None:
        world.do(world.client().session_id, Delete("/flag"))


def test_a_function_that_only_reads_commits_nothing_and_sees_one_state() -> None:
    world, client = bank(ada=60, bob=40)

    @client.atomically
    async def total(t: AtomicTransaction) -> int:
        return int(await t.get("/ada")) + int(await t.get("/bob"))

    done = world.run(total())
    assert (done.value, done.zxid) == (100, world.tree.last_zxid)
    assert not [op for _, op in world.asked if op.writes]


def test_no_attempt_sees_half_of_what_another_has_changed() -> None:
    world, client = bank(ada=60, bob=40)
    seen: list[int] = []
    reads = [0]

    def script(run: Run, point: Point) -> str | None:
        if isinstance(point, Asking) and isinstance(point.op, MultiRead):
            reads[0] += 1
            if reads[0] == 2:  # between the first and the second read of the first attempt
                both = [SetData("/ada", b"10"), SetData("/bob", b"90")]
                world.do(client.session_id, Multi(both))
        return None

    @client.atomically
    async def total(t: AtomicTransaction) -> None:
        seen.append(int(await t.get("/ada")) + int(await t.get("/bob")))

    world.script = script
    assert world.run(total()).attempts == 2
    assert seen == [100]


def test_a_function_that_catches_everything_commits_nothing_of_a_refused_attempt() -> None:
    world, client = bank(ada=60, bob=40)
    reads = [0]

    def script(run: Run, point: Point) -> str | None:
        if isinstance(point, Asking) and isinstance(point.op, MultiRead):
            reads[0] += 1
            if reads[0] == 2:
                world.do(client.session_id, SetData("/ada", b"10"))
        return None

    @client.atomically
    async def careless(t: AtomicTransaction) -> None:
        await t.get("/ada")
        try:
            await t.get("/bob")
        except Exception:
            t.set("/bob", b"-1")

    world.script = script
    assert world.run(careless()).attempts == 2
    assert amounts(world, "bob") == [40]


# --- what is refused


def test_what_a_function_raises_is_raised_and_nothing_is_written() -> None:
    world, client = bank(ada=10, bob=0)
    with pytest.raises(ValueError, match="has not so much"):
        world.run(client.atomically(transfer)("/ada", "/bob", 30))
    with pytest.raises(NoNodeError):
        world.run(client.atomically(transfer)("/ada", "/eve", 5))
    assert amounts(world, "ada", "bob") == [10, 0]


def test_what_is_wrong_with_a_write_is_told_and_not_tried_again() -> None:
    world, client = bank(ada=10)

    async def create(t: AtomicTransaction) -> None:
        await t.get("/ada")
        t.create("/ada")

    async def change(t: AtomicTransaction) -> None:
        t.set("/ada", b"1")
        t.set("/eve", b"1")

    with pytest.raises(NodeExistsError):
        world.run(client.atomically(create)())
    with pytest.raises(NoNodeError, match="/eve"):
        world.run(client.atomically(change)())
    assert amounts(world, "ada") == [10]
    assert len([op for _, op in world.asked if op.writes]) == 2


def test_what_was_written_cannot_be_read_in_the_same_attempt() -> None:
    world, client = bank(ada=10)

    async def read_back(t: AtomicTransaction) -> None:
        t.set("/ada", b"1")
        await t.get("/ada")

    with pytest.raises(BadArgumentsError, match="read it first, or keep what was written"):
        world.run(client.atomically(read_back)())


def test_who_is_always_too_late_gives_up_in_the_end() -> None:
    world, client = bank(ada=100, bob=0)
    meanwhile(world, Once, times=99, ada=b"50")
    run = world.start(client.atomically(attempts=4)(transfer)("/ada", "/bob", 30))
    for _ in range(10):
        world.sleep(1)
    with pytest.raises(TransactionConflictError, match="transfer was called 4 times"):
        run.outcome()
    assert amounts(world, "ada", "bob") == [50, 0]
    run = world.start(client.atomically(timeout=3)(transfer)("/ada", "/bob", 30))
    for _ in range(100):
        world.sleep(0.1)
    error = run.error
    assert isinstance(error, TransactionConflictError)
    assert error.retryable
    assert error.applied == "no"


@pytest.mark.parametrize("attempts", [0, -1, 1.5, True])
def test_a_function_may_be_called_at_least_once(attempts: Any) -> None:
    _, client = bank()
    with pytest.raises(BadArgumentsError):
        client.atomically(attempts=attempts)(transfer)


@pytest.mark.parametrize("path", ["", "ada", "/ada/"])
def test_what_is_no_path_is_refused(path: str) -> None:
    world, client = bank()
    for verb in ("get", "exists", "get_children", "set", "create", "delete"):

        async def use(t: AtomicTransaction, verb: str = verb) -> None:
            answer = getattr(t, verb)(*([path, b""] if verb == "set" else [path]))
            if answer is not None:
                await answer

        with pytest.raises(BadArgumentsError):
            world.run(client.atomically(use)())


# --- everything at every await, and at once


@pytest.mark.parametrize("action", [*ACTIONS, "throttled"])
def test_a_fault_at_any_await_moves_it_once_or_not_at_all(action: str) -> None:
    for at in range(40):
        world, _ = bank(ada=100, bob=0)
        run, hit = attempt(world, world.client().atomically(transfer)("/ada", "/bob", 30), action, at)
        now = amounts(world, "ada", "bob")
        assert now == [70, 30] if run.error is None else now in ([100, 0], [70, 30]), f"{action} at {at}"
        if not hit:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")


def test_a_session_that_ends_before_an_answer_says_that_it_may_have_been_committed() -> None:
    world, client = bank(ada=100, bob=0)
    actions = ["lost after", "expired"]
    world.script = lambda run, point: (
        actions.pop(0) if isinstance(point, Asking) and isinstance(point.op, Once) and actions else None
    )
    run = world.start(client.atomically(transfer)("/ada", "/bob", 30))
    world.settle()
    assert isinstance(run.error, ConnectionLostError)
    assert isinstance(run.error.__cause__, SessionExpiredError)
    assert amounts(world, "ada", "bob") == [70, 30]


@pytest.mark.parametrize("seed", range(60))
def test_transfers_at_once_are_as_if_they_came_one_after_the_other(seed: int) -> None:
    """Whatever is lost: no money is lost or made, no account is overdrawn, and no total is ever seen to differ."""
    names = ["ada", "bob", "eve"]
    world, _ = bank(ada=10, bob=10, eve=10)
    rng = Random(seed)
    totals: list[int] = []

    def lose(run: Run, point: Point) -> str | None:
        losing = isinstance(point, Asking) and rng.random() < 0.1
        return rng.choice(("lost before", "lost after", "throttled")) if losing else None

    async def audit(t: AtomicTransaction) -> None:
        totals.append(sum([int(await t.get(f"/{name}")) for name in names]))

    world.script = lose
    runs = []
    moved: list[tuple[str, str, Run]] = []
    for _ in range(6):
        giver, taker = rng.sample(names, 2)
        run = world.start(world.client().atomically(transfer)(f"/{giver}", f"/{taker}", 6))
        moved.append((giver, taker, run))
        runs += [run, world.start(world.client().atomically(audit)())]
    while any(not run.is_over for run in runs):
        if not world.step_any(rng):
            world.time += 0.05
    expected = dict.fromkeys(names, 10)
    for giver, taker, run in moved:
        if run.error is None:
            expected[giver] -= 6
            expected[taker] += 6
        else:
            assert "has not so much" in str(run.error)
    assert amounts(world, *names) == list(expected.values())
    assert min(expected.values()) >= 0
    assert set(totals) == {30}
