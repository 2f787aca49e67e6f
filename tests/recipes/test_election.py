"""The election: one leads, everybody sees who, and the end of a leader wakes one candidate."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import Run, World

import zkcore
from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    LeaseLostError,
    LockTimeoutError,
    NotLeaderError,
    SessionExpiredError,
    StaleTokenError,
)
from zkcore.recipes.contender import Contender
from zkcore.recipes.election import Election
from zkcore.recipes.fence import FenceGuard
from zkcore.recipes.holding import OnLost
from zkcore.recipes.lease import Lease

PATH = "/leader"


def stand(world: World, client: Client, name: str) -> tuple[Election, Run]:
    """A candidate; its run ends when it is elected."""
    election = Election(client, PATH, identifier=name)
    run = world.start(election.lead().__aenter__())
    world.settle()
    return election, run


def names(contenders: tuple[Contender, ...]) -> list[str]:
    return [contender.identifier for contender in contenders]


def test_candidates_lead_in_the_order_of_their_arrival_with_rising_tokens() -> None:
    world = World()
    looking = Election(world.client(), PATH)
    assert world.run(looking.leader()) is None
    assert world.run(looking.candidates()) == ()
    stood = [stand(world, world.client(), name) for name in ("a", "b", "c")]
    assert names(world.run(looking.candidates())) == ["a", "b", "c"]
    terms: list[Lease] = []
    for at, (election, run) in enumerate(stood):
        assert [other.is_leader for other, _ in stood] == [index == at for index in range(3)]
        assert world.run(looking.leader()).identifier == "abc"[at]
        terms.append(run.outcome())
        world.run(election.resign())
        world.settle()
    assert [term.fencing_token for term in terms] == sorted({term.fencing_token for term in terms})
    assert world.run(looking.leader()) is None


def test_the_end_of_a_leader_wakes_one_candidate_and_not_the_herd() -> None:
    world = World()
    leading, _ = stand(world, world.client(), "a")
    standing = [stand(world, world.client(), "b") for _ in range(10)]
    world.asked.clear()
    world.run(leading.resign())
    world.settle()
    assert [run.is_over for _, run in standing] == [True] + 9 * [False]
    assert {session for session, _ in world.asked} == {1, 2}


def test_only_who_leads_can_resign() -> None:
    world = World()
    client = world.client()
    election, run = stand(world, client, "a")
    second, _ = stand(world, world.client(), "b")
    with pytest.raises(NotLeaderError):
        world.run(second.resign())
    world.expire(client)
    with pytest.raises(NotLeaderError, match="lost with the session"):
        world.run(election.resign())
    with pytest.raises(NotLeaderError):
        world.run(election.resign())
    assert run.outcome().released


def test_a_candidate_that_is_not_elected_in_time_stands_down() -> None:
    world = World()
    stand(world, world.client(), "a")
    election = Election(world.client(), PATH, identifier="b")
    run = world.start(election.lead(timeout=2).__aenter__())
    world.sleep(2)
    with pytest.raises(LockTimeoutError):
        run.outcome()
    assert names(world.run(election.candidates())) == ["a"]


def test_a_leader_that_was_paused_is_not_obeyed_any_more() -> None:
    """Two believe to lead for a while: the one that was paused, and the one that followed. Tokens tell them apart."""
    world = World()
    paused = world.client()
    guard = FenceGuard()
    _, run = stand(world, paused, "paused")
    old: Lease = run.outcome()
    guard.check(old.fencing_token)
    _, follows = stand(world, world.client(), "next")
    world.expire(paused)
    world.settle()
    guard.check(follows.outcome().fencing_token)
    with pytest.raises(StaleTokenError):
        guard.check(old.fencing_token)
    with pytest.raises(LeaseLostError):
        old.check()


# --- what a leader does


def test_a_leader_does_what_it_is_to_do_and_resigns() -> None:
    world = World()
    election = Election(world.client(), PATH)

    async def reign(factor: int, number: int) -> int:
        term = election.term
        assert term is not None
        return factor * number * (term.fencing_token > 0)

    assert world.run(election.run(reign, 6, 7)) == 42
    assert not election.is_leader
    assert world.run(election.candidates()) == ()


def test_a_leader_that_fails_resigns_too() -> None:
    world = World()
    election = Election(world.client(), PATH)

    async def reign() -> None:
        raise ValueError("a bad decision")

    with pytest.raises(ValueError, match="a bad decision"):
        world.run(election.run(reign))
    assert world.run(election.candidates()) == ()


def test_what_cannot_be_done_is_refused_before_anybody_is_elected() -> None:
    world = World()
    election = Election(world.client(), PATH)
    with pytest.raises(BadArgumentsError, match="a function and then its arguments, not 42"):
        world.run(election.run(42))  # type: ignore[arg-type]
    assert world.asked == []


def test_what_a_leader_does_is_cancelled_when_its_term_is_lost() -> None:
    async def main() -> list[str]:
        told: list[str] = []
        async with asyncio.timeout(20), zkcore.local_cluster(3) as cluster, cluster.client() as other:
            silent = await cluster.client(timeout=0.3).start()

            async def reign(name: str) -> None:
                told.append(f"{name} begins")
                silent.freeze()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    told.append(f"{name} is cancelled")
                    raise

            with pytest.raises(LeaseLostError):
                await Election(silent, PATH).run(reign, "the first")
            async with Election(other, PATH).lead():
                told.append("the next leads")
            await silent.close()
        return told

    assert asyncio.run(main()) == ["the first begins", "the first is cancelled", "the next leads"]


def test_who_gives_up_while_it_stands_or_leads_leaves_no_candidate() -> None:
    async def main() -> None:
        async with asyncio.timeout(20), zkcore.local_cluster(1) as cluster, cluster.client() as client:
            elections = Election(client, PATH), Election(client, PATH)
            running = [asyncio.create_task(each.run(asyncio.sleep, 3600)) for each in elections]
            while len(await elections[0].candidates()) < 2:
                await asyncio.sleep(0.001)
            for task in reversed(running):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await elections[0].candidates() == ()

    asyncio.run(main())


# --- who looks on


class Looker:
    """Somebody who iterates over the leaders and notes them."""

    def __init__(self, world: World, client: Client) -> None:
        self.changes = Election(client, PATH).observe()
        self.seen: list[str | None] = []
        self.run = world.start(self._look())

    async def _look(self) -> None:
        async for leader in self.changes:
            self.seen.append(None if leader is None else leader.identifier)


def test_who_looks_on_sees_the_present_leader_and_every_next_one() -> None:
    world = World()
    looker = Looker(world, world.client())
    world.settle()
    assert looker.seen == [None]
    first = world.client()
    stand(world, first, "a")
    second, _ = stand(world, world.client(), "b")
    world.expire(first)
    world.settle()
    world.run(second.resign())
    world.settle()
    assert looker.seen == [None, "a", "b", None]
    world.run(looker.changes.aclose())
    world.settle()
    looker.run.outcome()


def test_who_looks_on_is_not_woken_by_candidates_that_do_not_lead() -> None:
    world = World()
    stand(world, world.client(), "a")
    client = world.client()
    looker = Looker(world, client)
    world.settle()
    world.asked.clear()
    for name in ("b", "c"):
        stand(world, world.client(), name)
    assert client.session_id not in {session for session, _ in world.asked}
    assert looker.seen == ["a"]


def test_the_end_of_the_session_ends_the_iteration_with_an_error() -> None:
    world = World()
    client = world.client()
    looker = Looker(world, client)
    world.settle()
    world.expire(client)
    world.settle()
    with pytest.raises(SessionExpiredError):
        looker.run.outcome()


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_anywhere_in_a_term_leaves_no_candidate_and_hides_no_leader(action: str) -> None:
    async def term(election: Election) -> None:
        async with election.lead() as lease:
            lease.check()

    for at in range(50):
        world = World()
        looker = Looker(world, world.client())
        world.settle()
        client = world.client()
        run, hit = attempt(world, term(Election(client, PATH, identifier="a")), action, at)
        assert world.tree.ephemerals(client.session_id) in ((), [], set(), frozenset()), f"{action} at {at}"
        _, other = stand(world, world.client(), "b")
        other.outcome()
        if action != "expired" and looker.run.error is None:
            assert looker.seen[-1] == "b", f"{action} at {at}"
        if not hit:
            assert run.error is None
            assert at >= 3
            return
    raise AssertionError("it never came to an end")


# --- on nodes


def test_leaders_follow_each_other_while_sessions_and_nodes_end() -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        async with asyncio.timeout(20), zkcore.local_cluster(3) as cluster, cluster.client() as looking:
            observed: Any = Election(looking, PATH).observe()

            async def observe() -> None:
                async for leader in observed:
                    if leader is not None:
                        seen.append(leader.identifier)
                    if leader is not None and leader.identifier == "c":
                        await observed.aclose()

            task = asyncio.create_task(observe())
            clients = [await cluster.client(timeout=2 if name == "a" else 10).start() for name in "abc"]
            elections = [Election(client, PATH, identifier=name) for client, name in zip(clients, "abc", strict=True)]
            first = await elections[0].lead(on_lost=OnLost.NOTHING).__aenter__()
            entering = []
            for count, election in enumerate(elections[1:], 2):
                entering.append(asyncio.create_task(election.lead().__aenter__()))
                while len(await elections[0].candidates()) < count:
                    await asyncio.sleep(0.001)
            clients[0].abandon()
            second = await entering[0]
            leader = await cluster.wait_for_leader()
            cluster.kill(leader)
            await elections[1].resign()
            third = await entering[1]
            assert first.fencing_token < second.fencing_token < third.fencing_token
            await task
            await elections[2].resign()
            for client in clients[1:]:
                await client.close()
        return seen

    seen = asyncio.run(main())
    assert seen in (["a", "b", "c"], ["a", "c"], ["b", "c"], ["c"])
