"""Plays of the counter, of the atomic value under it, and of ids in blocks."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from playing import WITH_EXPIRY, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(WITH_EXPIRY)
async def a_counter_is_the_sum_of_what_was_added(world: AppWorld) -> None:
    added, perhaps, numbers = [0], [0], list[int]()
    counts: Counter[str] = Counter()

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def add(client: zkcore.Client) -> None:
            amount = rng.randrange(1, 10)
            perhaps[0] += amount  # who crashes meanwhile never says
            try:
                numbers.append(await zkcore.Counter(client, "/counter").add(amount))
            except zkcore.ZkcoreError as error:
                if error.applied == "no":
                    perhaps[0] -= amount
                raise
            perhaps[0] -= amount
            added[0] += amount
            counts[name] += 1
            await asyncio.sleep(rng.random())  # with less, who is far away always comes too late: nobody queues

        return add

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    before = added[0]
    async with world.client() as client:
        await client.sync()
        total = await zkcore.Counter(client, "/counter").get()
    assert before <= total <= added[0] + perhaps[0], "something was lost, or added twice"
    assert len(numbers) == len(set(numbers)), "two have counted to the same number"


@play(WITH_EXPIRY)
async def an_id_is_given_out_once(world: AppWorld) -> None:
    given: set[int] = set()
    counts: Counter[str] = Counter()

    def work(name: str) -> Work:
        async def take(client: zkcore.Client) -> None:
            ids = zkcore.IdGenerator(client, "/ids", block=4)
            for number in range(12):
                for id in await ids.next_block(2) if number == 5 else [await ids.next()]:
                    assert id not in given, f"{id} is given out twice"
                    given.add(id)
                counts[name] += 1
                await asyncio.sleep(0.05)

        return take

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)


def show_wrong_time(client: Any, world: AppWorld, seconds: float) -> None:
    """The clock of this client is wrong, and ticks only ten times a second: so times meet that hardly ever would."""
    client.port.wall = lambda: round(world.wall() + seconds, 1)


@play(WITH_EXPIRY)
async def an_id_of_time_is_made_once_and_by_nobody_who_has_lost_his_number(world: AppWorld) -> None:
    made: dict[int, str] = {}
    counts: Counter[str] = Counter()

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def take(client: zkcore.Client) -> None:
            show_wrong_time(client, world, rng.uniform(-1, 1))
            async with zkcore.TimeIdGenerator(client, "/ids") as ids:
                before = -1
                for _ in range(30):
                    id = await ids.next()
                    lease = ids.lease
                    assert lease is not None
                    assert not lease.is_lost(), "an id was made after the lease was lost"
                    assert id not in made, f"{id} was made by {made.get(id)}, and by {name} again"
                    assert id > before, "ids go back"
                    made[id] = name
                    before = id
                    counts[name] += 1
                    await asyncio.sleep(0.1)

        return take

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
