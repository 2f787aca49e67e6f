"""What a fleet does together, on three servers of every kind while leaders are killed and members die: actions that are
run everywhere, jobs, migrations, and a rate that all share."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from typing import Any

import pytest
from backends import Backend, certainly, disturb, look_again, until, use

import zkcore
from zkcore.errors import LeaseLostError
from zkcore.recipes.execution import OutcomeState

COUNT = 12


class Member:
    """One who serves, and what it was called with."""

    def __init__(self, cluster: Backend, name: str) -> None:
        self.name = name
        self.client = cluster.client()
        self.calls: list[int] = []
        self.tokens: list[int] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def act(self, call: zkcore.Call[int]) -> str:
        self.calls.append(call.argument)
        self.tokens.append(call.token)
        await self.may_end.wait()
        return f"{self.name} {call.argument}"

    async def serve(self) -> None:
        async with self.client:
            await zkcore.Everywhere[Any](
                self.client, "/fleet", name=self.name, actions={"act": self.act}, codec=zkcore.json_codec
            ).serve()


def states(report: zkcore.Report[Any]) -> dict[str, str]:
    return {name: str(outcome.state) for name, outcome in report.outcomes.items()}


def test_all_members_run_it_once_and_who_asks_is_told_of_the_slow_and_the_dead(backend: Backend) -> None:
    """Where it is forgotten whether an execution began, another one does."""

    async def test(cluster: Backend) -> None:
        members = [Member(cluster, name) for name in "abc"]
        serving = [asyncio.create_task(member.serve()) for member in members]
        async with cluster.client() as client:
            asker = zkcore.Everywhere[Any](client, "/fleet", codec=zkcore.json_codec)

            async def ask() -> int:
                number = 0
                while number < COUNT or not disturbing.done():
                    report = await certainly(cluster, partial(asker.run, "act", number))
                    assert report.is_done
                    assert report.results == {name: f"{name} {number}" for name in "abc"}
                    number += 1
                return number

            while len(await asker.members()) < len(members):
                await asyncio.sleep(0.001)
            disturbing = asyncio.create_task(disturb(cluster))
            count = await ask()
            await disturbing
            for member in members:
                assert set(member.calls) == set(range(count))
                assert member.tokens == members[0].tokens == sorted(set(member.tokens))
                if cluster.is_complete:
                    assert member.calls == list(range(count))

            slow = members[2]
            slow.may_end.clear()
            execution = await asker.start("act", -1)
            await until(lambda: slow.calls[-1] == -1)
            async for report in execution.changes():
                if states(report) == {"a": "done", "b": "done", "c": "running"}:
                    break
            assert not (await execution.wait(timeout=0)).is_complete
            report = await asker.run("act", -2, timeout=0.05)
            assert report.outcomes["c"].state is OutcomeState.WAITING, "it runs one after the other"
            assert not report.is_complete
            await cluster.expire(slow.client)
            await look_again(client)
            assert states(await execution.wait()) == {"a": "done", "b": "done", "c": "lost"}
            report = await (await asker.executions())[-1].wait()
            assert states(report) == {"a": "done", "b": "done", "c": "gone"}
            assert (report.is_complete, report.is_done) == (True, False)
            with pytest.raises(LeaseLostError):
                await serving[2]
            assert (await asker.run("act", -3)).results.keys() == {"a", "b"}
        for task in serving:
            task.cancel()
        await asyncio.wait(serving)

    use(backend, test)


def test_one_instance_does_a_job_and_another_goes_on_when_it_dies(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        working = 0
        ticks: list[zkcore.Tick] = []
        hangs: list[asyncio.Event] = []
        clients = {name: cluster.client() for name in "abc"}

        async def work(tick: zkcore.Tick) -> None:
            nonlocal working
            ticks.append(tick)
            if hangs:
                await hangs[0].wait()
            working += 1
            assert working == 1, "two do it"
            await asyncio.sleep(0.001)
            working -= 1

        async def serve(name: str) -> None:
            async with clients[name] as client:
                await zkcore.SingletonJob(client, "/job", work, schedule=zkcore.Every(0.01), name=name).serve()

        serving = {name: asyncio.create_task(serve(name)) for name in "abc"}
        await until(lambda: ticks)
        await disturb(cluster)
        before = len(ticks)
        await until(lambda: len(ticks) > before + 2)
        hangs.append(asyncio.Event())
        before = len(ticks)
        await until(lambda: len(ticks) > before)
        async with cluster.client() as looking:
            job = zkcore.SingletonJob(looking, "/job", work, schedule=zkcore.Every(0.01))
            await look_again(looking)
            record = await job.record()
            assert record is not None
            assert (record.state, record.due) == (zkcore.JobState.RUNNING, ticks[-1].due)
            dead = record.by
            hangs.clear()
            await cluster.expire(clients[dead])
            with pytest.raises(LeaseLostError):
                await serving[dead]
            await until(lambda: ticks[-1].token > record.token and ticks[-1].attempt == 1)
            assert await job.leader() != dead
        again = next(tick for tick in ticks if tick.token > record.token)
        assert (again.due, again.attempt) == (record.due, record.attempt + 1)
        assert [tick.token for tick in ticks] == sorted(tick.token for tick in ticks)
        dues = [tick.due for tick in ticks if tick is not again]
        assert dues == sorted(set(dues)), "what was done is done again"
        for name in set(serving) - {dead}:
            serving[name].cancel()
            await asyncio.wait([serving[name]])

    use(backend, test)


def test_steps_are_run_once_by_one_of_all_and_again_where_that_died(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        run: list[tuple[str, bool]] = []
        tokens: list[int] = []
        hangs = asyncio.Event()

        def step(*, disturbed: bool = False, hanging: bool = False) -> Any:
            async def migrate(step: zkcore.MigrationStep) -> None:
                run.append((step.name, step.is_again))
                tokens.append(step.token)
                if disturbed:
                    await disturb(cluster)
                if hanging and not step.is_again:
                    hangs.set()
                    await asyncio.Event().wait()

            return migrate

        steps = {"one": step(), "two": step(disturbed=True), "three": step(hanging=True), "four": step()}
        clients = [await cluster.client().start() for _ in range(3)]
        migrating = [asyncio.create_task(zkcore.Migrations(each, "/m", steps).migrate()) for each in clients]
        await hangs.wait()
        async with cluster.client() as looking:
            migrations = zkcore.Migrations(looking, "/m", steps)
            await look_again(looking)
            assert await migrations.applied() == ("one", "two")
            (holder,) = [each for each in clients if each.session_id == await holder_of(looking)]
            await cluster.expire(holder)
            ended = await asyncio.gather(*migrating, return_exceptions=True)
            assert await certainly(cluster, migrations.migrate) == ()
            assert await migrations.applied() == tuple(steps)
        assert isinstance(ended.pop(clients.index(holder)), LeaseLostError)
        assert set(ended) == {(), ("three", "four")}
        assert run == [("one", False), ("two", False), ("three", False), ("three", True), ("four", False)]
        assert tokens == sorted(tokens)
        assert len(set(tokens)) == 2

    use(backend, test)


async def holder_of(client: Any) -> int:
    """The session that holds the lock of the migrations."""
    (first, *_) = await zkcore.Lock(client, "/m/lock").contenders()
    stat = await client.exists(first.path)
    return int(stat.ephemeral_owner)


def test_a_fleet_takes_no_more_than_the_rate(backend: Backend) -> None:
    """Where it is forgotten whether something was taken, it counts as not given: less is given then."""

    async def test(cluster: Backend) -> None:
        rate, burst, given = 400.0, 5.0, 0.0
        took: Counter[int] = Counter()
        since = time.monotonic(), time.time()

        async def take(number: int) -> None:
            nonlocal given
            async with cluster.client() as client:
                limiter = zkcore.RateLimiter(client, "/limit", rate=rate, burst=burst)
                while took[number] < COUNT or not disturbed.done():
                    tokens = 1 + took[number] % 2
                    await certainly(cluster, partial(limiter.acquire, tokens))
                    given += tokens
                    took[number] += 1
                    # The servers' clock is the wall clock, which somebody may set.
                    passed = max(time.monotonic() - since[0], time.time() - since[1])
                    assert given <= burst + rate * passed * 1.01 + 1

        disturbed = asyncio.create_task(disturb(cluster))
        await asyncio.gather(*map(take, range(4)))
        await disturbed

    use(backend, test)
