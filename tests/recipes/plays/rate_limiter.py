"""Plays of the rate limiter."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import FAULTS, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

RATE, BURST = 4.0, 3.0


@play(FAULTS)
async def nobody_gets_more_than_the_bucket_gives(world: AppWorld) -> None:
    """All of them take all they can, and after a while they leave it alone, and come back to a bucket that is full and
    not fuller."""
    counts: Counter[str] = Counter()
    given = [0.0]
    since = [world.now]
    idle: list[bool] = []

    def no_more_than_it_gives() -> bool:
        return given[0] <= BURST + RATE * (world.now - since[0]) + 1e-6

    world.always("no more is given than the bucket gives", no_more_than_it_gives)

    def work(name: str) -> Work:
        rng = world.rng(f"taking/{name}")

        async def take(client: zkcore.Client) -> None:
            if idle:
                await asyncio.sleep(0.2)
                return
            tokens = rng.choice((1, 1, 2))
            limiter = zkcore.RateLimiter(client, "/limit", rate=RATE, burst=BURST)
            if await limiter.acquire(tokens, timeout=rng.choice((None, 0, 1))):
                given[0] += tokens
                counts[name] += 1
            else:
                await asyncio.sleep(0.1)

        return take

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    idle.append(True)
    await world.sleep(30)  # whoever waits has got it, and the bucket is full long since
    given[0], since[0] = 0.0, world.now
    idle.clear()
    await everybody_goes_on(world, counts)
