"""Plays of the event."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import CROWD, WITH_EXPIRY, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(WITH_EXPIRY)
async def nobody_waits_for_what_is_set_nor_passes_what_is_not(world: AppWorld) -> None:
    """One gate behind the other: each is opened by somebody else, once he is there."""
    counts: Counter[str] = Counter()  # the gates that each has behind him
    opened: set[int] = set()

    def work(name: str) -> Work:
        async def pass_the_next(client: zkcore.Client) -> None:
            number = counts[name]
            gate = zkcore.Event(client, f"/gates/{number}")
            if CROWD[number % len(CROWD)] == name:
                opened.add(number)
                await gate.set()
                assert await gate.is_set()
            else:
                assert await gate.wait()
                assert number in opened, f"{name} passes a gate that nobody has opened"
            counts[name] += 1
            await asyncio.sleep(0.05)

        return pass_the_next

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)


@play(WITH_EXPIRY)
async def what_is_cleared_is_not_set_again_by_an_answer_that_was_lost(world: AppWorld) -> None:
    """Each sets a flag of its own, and its neighbour clears it: never more often than it was set."""
    sets: Counter[str] = Counter()
    clears: Counter[str] = Counter()
    fresh: dict[str, zkcore.Client] = {}
    neighbour = dict(zip(CROWD, [*CROWD[1:], CROWD[0]], strict=True))

    def work(name: str) -> Work:
        other = neighbour[name]

        async def both(client: zkcore.Client) -> None:
            if fresh.get(name) is not client:
                await client.sync()  # a replica may lag, and show what was cleared in an earlier session
                fresh[name] = client
            mine, its = zkcore.Event(client, f"/flags/{name}"), zkcore.Event(client, f"/flags/{other}")
            if not await mine.is_set():
                sets[name] += 1
                await mine.set()
            if await its.wait(0.5):
                await its.clear()
                clears[other] += 1
                assert clears[other] <= sets[other], f"{name} finds {other} set once more than it was"
            await asyncio.sleep(0.2)

        return both

    crowd(world, work)
    await storm(world)
    await world.sleep(5)
