"""Plays of priorities and delays."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from typing import NamedTuple

from playing import FAULTS, GRACE, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

_MILLISECOND = 0.001
"""An item joins the line with the full millisecond after it is due."""


class Put(NamedTuple):
    """An item that was put by a call that began `begun`, and was sure to be there from `there`. `due` is 0 where it was
    not delayed."""

    priority: int
    begun: float
    due: float
    there: float


class Taken(NamedTuple):
    """An item that came out, by a call that lasted from `begun` to `ended`."""

    number: int
    begun: float
    ended: float


class Journal:
    """What was put and what came out, and when."""

    def __init__(self, world: AppWorld) -> None:
        self.world = world
        self.numbers = itertools.count()
        self.put: dict[int, Put] = {}
        self.taken: list[Taken] = []
        self.troubled: list[float] = []
        """When calls began that nobody knows the end of: they may have had an item for a while."""

    def take(self, number: int, begun: float) -> None:
        now = self.world.now
        early = self.put[number].due - now
        assert early <= 1e-6, f"item {number} comes {early:.3f} s too early"
        self.taken.append(Taken(number, begun, now))

    def check(self) -> None:
        """Nothing came out twice, and whoever took something took the first of what was surely there all the time."""
        numbers = [each.number for each in self.taken]
        assert len(numbers) == len(set(numbers)), "taken twice"
        for early, late in itertools.permutations(self.taken, 2):
            if early.ended <= late.begun and not self._may_have_been_away(early):
                self._check_pair(early, late)

    def _check_pair(self, early: Taken, late: Taken) -> None:
        mine, other = self.put[early.number], self.put[late.number]
        if max(other.there, other.due + _MILLISECOND) <= early.begun:
            assert mine.priority <= other.priority, f"{late}, {other} was more urgent than {early}, {mine}"
        if mine.priority == other.priority and not mine.due and not other.due:
            assert mine.begun < other.there, f"{late}, {other} was put before {early}, {mine}"

    def _may_have_been_away(self, call: Taken) -> bool:
        return any(call.begun - GRACE < begun < call.ended for begun in self.troubled)


@play(FAULTS)
async def priorities_and_delays_are_kept(world: AppWorld) -> None:
    journal = Journal(world)
    counts: Counter[str] = Counter()
    calm: list[bool] = []
    rng = world.rng("orders")

    def work(name: str) -> Work:
        async def trade(client: zkcore.Client) -> None:
            queue: zkcore.PriorityQueue[int] = zkcore.PriorityQueue(client, "/queue", codec=zkcore.json_codec)
            for _ in range(0 if calm else rng.randint(0, 3)):
                await put(queue)
            await client.sync()  # a replica may lag, and does not know then what has become urgent
            begun = world.now
            try:
                journal.take(await queue.get(timeout=0.5), begun)
            except zkcore.QueueEmptyError:
                pass
            except BaseException:
                journal.troubled.append(begun)
                raise
            counts[name] += 1
            await asyncio.sleep(0.05)

        return trade

    async def put(queue: zkcore.PriorityQueue[int]) -> None:
        number = next(journal.numbers)
        delay = rng.choice((0, 0, rng.uniform(0.1, 4)))
        mine = Put(rng.choice((1, 2, 10, 100)), world.now, world.now + delay if delay else 0, math.inf)
        journal.put[number] = mine
        await queue.put(number, priority=mine.priority, delay=delay)
        journal.put[number] = mine._replace(there=world.now)

    crowd(world, work)
    await storm(world)
    calm.append(True)  # from now on there is only taking, of what has gathered
    await everybody_goes_on(world, counts)
    await world.sleep(10)
    journal.check()


@play(FAULTS)
async def who_waits_for_what_is_delayed_gets_it_when_it_is_due(world: AppWorld) -> None:
    """Nothing but time makes them look: nobody puts anything after the storm, and nobody's patience ends."""
    journal = Journal(world)
    came: set[int] = set()
    stopped: list[bool] = []

    def put(name: str) -> Work:
        async def offer(client: zkcore.Client) -> None:
            queue: zkcore.Queue[int] = zkcore.Queue(client, "/queue", codec=zkcore.json_codec)
            await asyncio.sleep(1)
            if not stopped:
                number, delay = next(journal.numbers), world.rng(name).uniform(0.5, 20)
                mine = Put(0, world.now, world.now + delay, math.inf)
                journal.put[number] = mine
                await queue.put(number, delay=delay)
                journal.put[number] = mine._replace(there=world.now)

        return offer

    def work(name: str) -> Work:
        async def take(client: zkcore.Client) -> None:
            queue: zkcore.Queue[int] = zkcore.Queue(client, "/queue", codec=zkcore.json_codec)
            begun = world.now
            async with queue.claim() as claim:
                if claim.item not in came:
                    journal.take(claim.item, begun)
                came.add(claim.item)

        return take

    crowd(world, put)
    crowd(world, work)
    await storm(world)
    stopped.append(True)
    await world.sleep(25)
    sure = {number for number, each in journal.put.items() if each.there < math.inf}
    await world.eventually("all that is due comes", lambda: sure <= came, within=GRACE)
