"""Plays of the semaphore."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from playing import FAULTS, Work, crowd, everybody_goes_on, impatient, nobody_is_left, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

PERMITS = 2


@play(FAULTS)
async def never_more_hold_it_than_there_are_permits_and_all_get_on(world: AppWorld) -> None:
    held: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    tokens: list[int] = []
    stopped: list[bool] = []
    world.always(
        "no more hold it than may",
        lambda: sum(not (lease.released or lease.is_lost()) for lease in held.values()) <= PERMITS,
    )

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def hold(client: zkcore.Client) -> None:
            if stopped:
                await asyncio.sleep(0.5)
                return
            semaphore = zkcore.BoundedSemaphore(client, "/limit", value=PERMITS)
            async with impatient(rng), semaphore.hold(timeout=rng.choice((None, None, 1.5, 0))) as lease:
                held[name] = lease
                tokens.append(lease.fencing_token)
                await asyncio.sleep(rng.uniform(0.1, 0.5))
                lease.check()
                counts[name] += 1
            await asyncio.sleep(rng.uniform(0, 0.2))

        return hold

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    assert len(tokens) == len(set(tokens))
    stopped.append(True)
    await nobody_is_left(world, "/limit/line", "/limit/permits")  # who leaves the line may come to have a permit
    async with world.client() as client:
        await client.sync()  # its replica need not be the one that was looked at
        assert await zkcore.BoundedSemaphore(client, "/limit", value=PERMITS).available() == PERMITS
