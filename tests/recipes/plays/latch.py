"""Plays of the latch."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

from playing import CROWD, WITH_EXPIRY, Work, crowd, everybody_goes_on, impatient, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(WITH_EXPIRY)
async def a_latch_opens_neither_early_nor_never(world: AppWorld) -> None:
    """Each counts once for every latch, and again where it does not know whether it has."""
    rounds: Counter[str] = Counter()
    begun: Counter[int] = Counter()
    counted: defaultdict[int, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def go_round(client: zkcore.Client) -> None:
            number = rounds[name]
            latch = zkcore.CountDownLatch(client, f"/latch/{number}", count=len(CROWD))
            await asyncio.sleep(rng.choice((0, 0, 0.5)))
            async with impatient(rng):
                if name not in counted[number]:
                    begun[number] += 1
                    try:
                        await latch.count_down()
                    except zkcore.LatchCountError:
                        assert begun[number] > len(CROWD), f"{name} is one too many, and is not"
                    counted[number].add(name)
                assert await latch.wait()
                assert begun[number] >= len(CROWD), f"{name} passes early"
                assert await latch.count() == 0
                rounds[name] += 1
                counts[name] += 1

        return go_round

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
