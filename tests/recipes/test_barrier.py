"""The barrier: none passes early, all pass, and what breaks it breaks it for all."""

from __future__ import annotations

from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import Asking, Interrupted, Run, Waiting, World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    BrokenBarrierError,
    ConfigMismatchError,
    SessionExpiredError,
)
from zkcore.recipes.barrier import Barrier
from zkcore.tree.requests import Create, Delete, Multi, SetData

PATH = "/barriers/start"


def barrier(client: Client, parties: int = 3) -> Barrier:
    return Barrier(client, PATH, parties=parties)


def arrive(world: World, client: Client | None = None, parties: int = 3, timeout: float | None = None) -> Run:
    run = world.start(barrier(client or world.client(), parties).wait(timeout))
    world.settle()
    return run


def _is_last(op: Multi) -> bool:
    """Whether this request lets the parties pass."""
    return isinstance(op.operations[0], SetData)


def outcomes(*runs: Run) -> list[Any]:
    return [run.outcome() for run in runs]


def test_nobody_passes_before_all_are_there_and_then_all_do_each_with_a_number_of_its_own() -> None:
    world = World()
    first, second = arrive(world), arrive(world)
    assert not first.is_over
    assert not second.is_over
    assert world.run(barrier(world.client()).n_waiting()) == 2
    third = arrive(world)
    assert outcomes(first, second, third) == [0, 1, 2]
    assert world.children(PATH) == []
    assert world.run(barrier(world.client()).n_waiting()) == 0


def test_it_can_be_used_again_and_again() -> None:
    world = World()
    clients = [world.client() for _ in range(3)]
    for _ in range(4):
        assert sorted(outcomes(*[arrive(world, client) for client in clients])) == [0, 1, 2]


def test_one_too_many_waits_for_the_next_round() -> None:
    world = World()
    clients = [world.client() for _ in range(5)]
    runs = [world.start(barrier(client, parties=2).wait()) for client in clients]
    world.settle()
    assert [run.is_over for run in runs].count(False) == 1
    last = arrive(world, parties=2)
    assert all(run.is_over for run in runs)
    assert last.is_over
    assert sorted(outcomes(*runs, last)) == [0, 0, 0, 1, 1, 1]


def test_the_next_round_may_begin_while_the_last_one_is_still_inside() -> None:
    """Who entered keeps its znode; it is in nobody's way, and who is one too many hears of the others' passing."""
    world = World()

    async def stay(client: Client) -> None:
        async with Barrier(client, PATH, parties=2):
            await client.port.wait()

    runs = [world.start(stay(world.client())) for _ in range(4)]
    world.settle()
    assert [str(run.at) for run in runs] == ["wait"] * 4
    data = sorted(world.run(world.client().get(f"{PATH}/{name}")).data for name in world.children(PATH))
    assert [line[:1] for line in data] == [b"0", b"0", b"1", b"1"]
    assert len({line[2:] for line in data}) == 2


def test_who_is_one_too_many_hears_of_the_others_passing_though_they_stay_inside() -> None:
    world = World()

    async def stay(client: Client) -> None:
        async with Barrier(client, PATH, parties=2):
            await client.port.wait()

    world.start(stay(world.client()))
    world.settle()
    runs = [world.start(stay(world.client()))]
    while not (isinstance(runs[0].at, Asking) and isinstance(runs[0].at.op, Multi) and _is_last(runs[0].at.op)):
        world.step(runs[0])
    for _ in range(2):
        runs.append(world.start(stay(world.client())))
        while not isinstance(runs[-1].at, Waiting):
            world.step(runs[-1])
    world.settle()
    passed = [world.run(world.client().get(f"{PATH}/{name}")).data for name in world.children(PATH)]
    assert [bool(data) for data in passed] == [True] * 4


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_a_party_that_is_gone_has_not_arrived(end: str) -> None:
    world = World()
    client = world.client()
    first, gone = arrive(world), arrive(world, client)
    world.expire(client) if end == "expired" else world.interrupt(gone)
    world.settle()
    third = arrive(world)
    assert not first.is_over
    assert not third.is_over
    fourth = arrive(world)
    assert sorted(outcomes(first, third, fourth)) == [0, 1, 2]
    with pytest.raises((Interrupted, SessionExpiredError)):
        gone.outcome()


def test_only_the_last_one_looks_at_all_the_others() -> None:
    """Each of the others is woken once, by its own znode."""
    world = World()
    runs = [arrive(world, parties=20) for _ in range(19)]
    world.asked.clear()
    runs.append(arrive(world, parties=20))
    asked = [session for session, _ in world.asked]
    assert all(asked.count(session) <= 2 for session in range(1, 20)), "woken, and gone"
    assert sorted(outcomes(*runs)) == list(range(20))


# --- breaking it


def test_a_timeout_breaks_it_for_all_until_it_is_reset() -> None:
    world = World()
    patient, hasty = arrive(world), arrive(world, timeout=2)
    world.sleep(2)
    for run in (patient, hasty, arrive(world)):
        with pytest.raises(BrokenBarrierError, match="reset"):
            run.outcome()
    client = world.client()
    assert world.run(barrier(client).broken()) is True
    world.run(barrier(client).reset())
    assert world.run(barrier(client).broken()) is False
    waiting = [arrive(world), arrive(world)]
    assert world.run(barrier(client).n_waiting()) == 2
    assert sorted(outcomes(*waiting, arrive(world))) == [0, 1, 2]


def test_abort_and_reset_wake_whoever_waits() -> None:
    world = World()
    for breaking in ("abort", "reset"):
        waiting = [arrive(world), arrive(world)]
        world.run(getattr(barrier(world.client()), breaking)())
        world.settle()
        for run in waiting:
            with pytest.raises(BrokenBarrierError):
                run.outcome()
        assert world.children(PATH) == []
        world.run(barrier(world.client()).reset())


@pytest.mark.parametrize("breaking", ["abort", "reset"])
def test_breaking_what_nobody_uses_and_doing_it_twice(breaking: str) -> None:
    world = World()
    for _ in range(2):
        world.run(getattr(barrier(world.client()), breaking)())
    assert world.run(barrier(world.client()).broken()) is (breaking == "abort")


# --- bad input


@pytest.mark.parametrize("parties", [0, -1, 1001])
def test_a_barrier_is_for_a_number_that_can_pass_at_once(parties: int) -> None:
    with pytest.raises(BadArgumentsError):
        barrier(World().client(), parties)


def test_one_made_for_another_number_of_parties_is_refused() -> None:
    world = World()
    waiting = arrive(world, parties=2)
    with pytest.raises(ConfigMismatchError, match="for 2 parties, not 3"):
        arrive(world, parties=3).outcome()
    assert not waiting.is_over
    assert len(world.children(PATH)) == 1


@pytest.mark.parametrize("data", [b"", b"3", b"x whole", b"3 else", b"\xff 3"])
def test_a_znode_that_is_no_barrier_is_refused(data: bytes) -> None:
    world = World()
    client = world.client()
    world.do(client.session_id, Create("/barriers"))
    world.do(client.session_id, Create(PATH, data))
    with pytest.raises(ConfigMismatchError, match="no barrier"):
        arrive(world).outcome()


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_is_not_negative(timeout: float) -> None:
    with pytest.raises(BadArgumentsError):
        arrive(World(), timeout=timeout).outcome()


def test_a_party_whose_znode_somebody_deleted_is_told() -> None:
    world = World()
    run = arrive(world)
    (name,) = world.children(PATH)
    world.do(world.client().session_id, Delete(f"{PATH}/{name}"))
    world.settle()
    with pytest.raises(SessionExpiredError, match="deleted it"):
        run.outcome()


# --- entering and leaving


class Round:
    """Parties that enter, work, and leave; what happens is noted."""

    def __init__(self, world: World, parties: int) -> None:
        self.world = world
        self.noted: list[str] = []
        self.clients = [world.client() for _ in range(parties)]
        self.done = [client.port.signal() for client in self.clients]
        self.runs = [world.start(self._party(index)) for index in range(parties)]
        world.settle()

    async def _party(self, index: int) -> None:
        client = self.clients[index]
        async with Barrier(client, PATH, parties=len(self.clients)):
            self.noted.append(f"{index} in")
            await client.port.wait(self.done[index])
            if self.done[index].is_set():
                self.noted.append(f"{index} done")
        self.noted.append(f"{index} out")

    def finish(self, index: int) -> None:
        self.done[index].set()
        self.world.settle()


def test_nobody_leaves_before_all_are_done() -> None:
    world = World()
    round_ = Round(world, 3)
    assert sorted(round_.noted) == ["0 in", "1 in", "2 in"]
    for index in range(3):
        assert not any("out" in line for line in round_.noted)
        round_.finish(index)
    assert sorted(round_.noted[-3:]) == ["0 out", "1 out", "2 out"]
    assert world.children(PATH) == []


def test_who_leaves_waits_for_nobody_of_another_round() -> None:
    world = World()
    first = Round(world, 2)
    second = Round(world, 2)
    first.finish(0)
    first.finish(1)
    assert {line for line in first.noted if "out" in line} == {"0 out", "1 out"}
    assert not any("out" in line for line in second.noted)


def test_who_is_gone_holds_up_nobody_at_the_end() -> None:
    world = World()
    round_ = Round(world, 3)
    round_.finish(0)
    world.expire(round_.clients[1])
    world.settle()
    round_.finish(2)
    assert "0 out" in round_.noted
    assert "2 out" in round_.noted


def test_who_leaves_with_an_exception_does_not_wait() -> None:
    world = World()

    async def fails(client: Client) -> None:
        async with Barrier(client, PATH, parties=2):
            raise ValueError("of its own")

    async def stays(client: Client) -> None:
        async with Barrier(client, PATH, parties=2):
            await client.port.wait()

    staying, failing = world.start(stays(world.client())), world.start(fails(world.client()))
    world.settle()
    with pytest.raises(ValueError, match="of its own"):
        failing.outcome()
    assert not staying.is_over


# --- everything at every await


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_fault_in_one_party_lets_nobody_pass_early_and_leaves_nobody_behind(action: str, place: str) -> None:
    for at in range(60):
        world = World()
        other, client = world.client(), world.client()
        others = [arrive(world, other, parties=2)] if place == "last" else []
        then = None if others else _ignore(barrier(other, 2).wait())
        run, hit = attempt(world, barrier(client, 2).wait(), action, at, then=then, session=client.session_id)
        if run.error is None:
            assert run.result in (0, 1), f"{action} at {at}"
        elif others and not others[0].is_over:
            # It may have passed with the one that failed after passing; else a third takes its place.
            arrive(world, parties=2).outcome()
        world.settle()
        assert all(each.is_over for each in others), f"{action} at {at}"
        assert not world.tree.ephemerals(client.session_id), f"{action} at {at}"
        if not hit:
            assert run.error is None
            assert at >= 4
            return
    raise AssertionError("it never came to an end")


async def _ignore(coroutine: Any) -> None:
    """A party whose end is of no interest: the other may have failed."""
    try:
        await coroutine
    except BrokenBarrierError:
        pass


@pytest.mark.parametrize("action", ["lost before", "lost after"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_fault_while_a_wait_is_given_up_ends_for_both_in_the_same_way(action: str, alone: bool) -> None:
    """Where the other arrives just then, both pass or neither."""
    for at in range(40):
        world = World()
        run, hit = attempt(
            world,
            barrier(world.client(), 2).wait(0.5),
            action,
            at,
            then=None if alone else _ignore(barrier(world.client(), 2).wait()),
            session=1,
            also=(BrokenBarrierError,),
        )
        if alone:
            assert isinstance(run.error, BrokenBarrierError), f"{action} at {at}"
        broken = world.run(barrier(world.client(), 2).broken())
        assert broken == (run.error is not None), f"{action} at {at}"
        if not hit:
            return
    raise AssertionError("it never came to an end")
