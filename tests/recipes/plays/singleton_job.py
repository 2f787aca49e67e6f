"""Plays of the singleton job."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import CROWD, ENDED, FAULTS, Leases, Work, crowd, play, storm

import zkcore
from zkcore.recipes.singleton_job import JobState
from zkcore.testing.app_world import AppWorld


@play(FAULTS)
async def one_does_what_is_due_and_what_is_done_is_never_done_again(world: AppWorld) -> None:
    """The job takes its time, and fails now and then; whoever does it dies, sleeps, or is cancelled in the midst."""
    leases = Leases(world)
    begun: set[float] = set()
    dealt: set[float] = set()  # as somebody has read
    counts: Counter[str] = Counter()
    wrong: list[str] = []  # what the job raises would be recorded like any other error
    world.always("ticks are as is promised", lambda: not wrong)

    def begin(name: str, tick: zkcore.Tick) -> None:
        if not leases.tokens or tick.token != leases.tokens[-1]:
            leases.begin(name, tick.lease)
        assert tick.due not in dealt, f"{name} does {tick.due} again, which is dealt with"
        assert tick.due >= max(begun, default=0), f"{name} goes back to {tick.due}"
        assert tick.attempt > 1 or tick.due not in begun, f"{name} begins {tick.due} as if for the first time"
        assert tick.due <= world.wall(), f"{name} does {tick.due} early"
        begun.add(tick.due)

    def work(name: str) -> Work:
        rng = world.rng(f"failing/{name}")

        async def do(tick: zkcore.Tick) -> None:
            try:
                begin(name, tick)
            except AssertionError as error:
                wrong.append(str(error))
            await asyncio.sleep(0.3)
            counts[name] += 1
            if rng.random() < 0.2:
                raise RuntimeError("out of paper")

        async def serve(client: zkcore.Client) -> None:
            job = zkcore.SingletonJob(client, "/job", do, schedule=zkcore.Every(1), name=name)
            looking = asyncio.create_task(look(job))
            try:
                await job.serve()
            finally:
                looking.cancel()
                await asyncio.wait([looking])

        async def look(job: zkcore.SingletonJob) -> None:
            try:
                while True:
                    record = await job.record()
                    if record is not None and record.state in (JobState.DONE, JobState.FAILED):
                        dealt.add(record.due)
                    await asyncio.sleep(0.2)
            except ENDED:
                pass

        return serve

    crowd(world, work)
    await storm(world)
    for _ in range(2):
        before = counts.total()
        await world.eventually("the job is done on", lambda: counts.total() > before + 2, within=60)  # noqa: B023
        async with world.client() as client:
            job = zkcore.SingletonJob(client, "/job", client.close, schedule=zkcore.Every(1))
            leader = await job.leader()
            record = await job.record()
        assert record is not None
        assert record.by in CROWD
        if leader is not None:
            world.crash(leader)
    assert len(begun) > 3
