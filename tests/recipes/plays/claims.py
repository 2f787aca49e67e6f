"""Plays of claims: work that fails, workers that hang, and the end of a queue."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from playing import CROWD, ENDED, FAULTS, WITH_EXPIRY, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

VISIBLE = 2.0
"""Seconds after which a worker is taken for hanging."""

LIMIT = 3
"""Deliveries of an item that always fails."""


class WorkFailedError(Exception):
    """What a worker could not do."""


class Works:
    """What was put, and what became of it. An item is done once it is acknowledged, and only then."""

    def __init__(self, world: AppWorld) -> None:
        self.world = world
        self.numbers = itertools.count()
        self.put: set[int] = set()
        self.finishing: set[int] = set()
        """Those whose work is done, and which may have been acknowledged."""
        self.done: set[int] = set()
        self.begun: Counter[int] = Counter()
        self.tokens: Counter[int] = Counter()
        """The newest of each item."""

    @property
    def missing(self) -> set[int]:
        return self.put - self.finishing

    async def offer(self, queue: zkcore.Queue[int], **options: Any) -> None:
        number = next(self.numbers)
        await queue.put(number, **options)
        self.put.add(number)

    async def carry_out(
        self, queue: zkcore.Queue[int], work: Callable[[zkcore.Claim[int]], Awaitable[None]], **options: Any
    ) -> None:
        """Claim something, do the `work`, and acknowledge it."""
        async with queue.claim(**options) as claim:
            self._begin(claim)
            await work(claim)
            self.finishing.add(claim.item)
        self.done.add(claim.item)

    def _begin(self, claim: zkcore.Claim[int]) -> None:
        claim.lease.check()  # it may have been claimed before a pause that was too long for it
        number, token = claim.item, claim.lease.fencing_token
        assert number not in self.done, f"{number} is given out again after it was done"
        assert token > self.tokens[number], f"{number} is given out again with a token that is not higher"
        self.tokens[number] = token
        self.begun[number] += 1

    def check(self, claim: zkcore.Claim[int]) -> None:
        """A worker that believes in its claim is the last that got the item. Only the worker itself asks its lease, as
        it would: what is seen to be lost once stays lost."""
        if not claim.lease.is_lost():
            assert self.tokens[claim.item] == claim.lease.fencing_token, f"{claim.item} was taken from a live worker"


def new(client: zkcore.Client, **options: Any) -> zkcore.Queue[int]:
    return zkcore.Queue(client, "/queue", codec=zkcore.json_codec, **options)


@play(WITH_EXPIRY)
async def what_fails_too_often_becomes_a_dead_letter_and_is_not_lost(world: AppWorld) -> None:
    works, rng = Works(world), world.rng("failures")
    counts: Counter[str] = Counter()
    calm: list[bool] = []

    def work(name: str) -> Work:
        async def trade(client: zkcore.Client) -> None:
            queue = new(client, max_deliveries=LIMIT)
            if not calm:
                await works.offer(queue, timeout=0.5)
            for _ in range(4):
                try:
                    await works.carry_out(queue, attempt, timeout=0.3)
                except (zkcore.QueueEmptyError, WorkFailedError):
                    pass
            counts[name] += 1

        return trade

    async def attempt(claim: zkcore.Claim[int]) -> None:
        assert works.begun[claim.item] <= claim.deliveries <= LIMIT, f"{claim} is given out too often"
        await asyncio.sleep(0.05)
        if not calm and claim.item % 3:
            if rng.random() < 0.5:
                await claim.release(delay=rng.uniform(0, 1))
            raise WorkFailedError("out of paper")

    async def look_after(client: zkcore.Client) -> None:
        queue = new(client)
        for letter in await queue.dead_letters():
            assert letter.deliveries >= LIMIT
            assert letter.item not in works.done, f"{letter} was done"
            works.begun[letter.item] = 0
            await queue.requeue(letter)
        await asyncio.sleep(0.5)

    crowd(world, work)
    await storm(world)
    calm.append(True)
    await everybody_goes_on(world, counts)
    await world.sleep(5)  # those who failed before the calm are through
    world.app("undertaker").spawn(again, world, look_after)
    await world.eventually("everything is done in the end", lambda: not works.missing, within=60)


async def again(world: AppWorld, work: Work) -> None:
    """As `again_and_again`, over sessions that need not end soon."""
    while True:
        try:
            async with world.client() as client:
                while True:
                    await work(client)
        except ENDED:
            await asyncio.sleep(0.1)


@play(FAULTS)
async def a_claim_lasts_as_long_as_its_worker_gets_on(world: AppWorld) -> None:
    works, rng = Works(world), world.rng("hanging")
    calm: list[bool] = []

    def produce(name: str) -> Work:
        async def offer(client: zkcore.Client) -> None:
            if not calm:
                await works.offer(new(client))
            await asyncio.sleep(1)

        return offer

    def work(name: str) -> Work:
        async def consume(client: zkcore.Client) -> None:
            queue = new(client)  # one for all claims of a session: it remembers what it has seen of others
            while True:
                try:
                    await works.carry_out(queue, get_on, visibility_timeout=VISIBLE)
                except zkcore.LeaseLostError:
                    if client.state in (zkcore.SessionState.LOST, zkcore.SessionState.CLOSED):
                        raise

        return consume

    async def get_on(claim: zkcore.Claim[int]) -> None:
        for _ in range(rng.randint(0, 20)):
            await asyncio.sleep(0.2)
            works.check(claim)
            claim.progress()
        if not calm and rng.random() < 0.3:
            try:
                await asyncio.Event().wait()  # it hangs ...
            except asyncio.CancelledError:
                await asyncio.sleep(rng.choice((0, 5)))  # ... and does not even hear that it is cancelled
                raise

    crowd(world, produce)
    crowd(world, work)
    await storm(world)
    calm.append(True)
    await world.eventually("everything is done in the end", lambda: not works.missing, within=60)


@play(WITH_EXPIRY)
async def a_queue_that_is_shut_down_gives_out_all_it_has(world: AppWorld) -> None:
    works, rng = Works(world), world.rng("failures")
    closed: list[float] = []
    told: set[str] = set()

    def produce(name: str) -> Work:
        async def offer(client: zkcore.Client) -> None:
            begun = world.now
            try:
                await works.offer(new(client), delay=rng.choice((0, 0.3)))
            except zkcore.QueueShutDownError:
                await asyncio.sleep(60)
            else:
                assert not closed or begun < closed[0], "put into a queue that is shut down"
            await asyncio.sleep(0.3)

        return offer

    def work(name: str) -> Work:
        async def consume(client: zkcore.Client) -> None:
            try:
                await works.carry_out(new(client), attempt)
            except WorkFailedError:
                pass
            except zkcore.QueueShutDownError:
                assert not works.missing, f"shut down, and {works.missing} are not done"
                told.add(name)
                await asyncio.sleep(60)

        return consume

    def wait(name: str) -> Work:
        async def join(client: zkcore.Client) -> None:
            await client.sync()  # a replica may lag, and does not know then what was put
            before = set(works.put)
            if await new(client).join(timeout=1):
                assert before <= works.finishing, f"joined, and {before - works.finishing} are not done"
            await asyncio.sleep(0.2)

        return join

    async def attempt(claim: zkcore.Claim[int]) -> None:
        await asyncio.sleep(0.1)
        if rng.random() < 0.2:
            raise WorkFailedError("out of paper")

    for each in (produce, work, wait):
        crowd(world, each)
    world.app("owner").spawn(close, world, closed, False)
    await storm(world)
    await world.eventually("everybody is told", lambda: told == set(CROWD), within=120)
    assert not works.missing


async def close(world: AppWorld, closed: list[float], immediate: bool) -> None:
    """What an owner does: shut the queue down after a while, and see to it."""
    await asyncio.sleep(5)

    async def shut_down(client: zkcore.Client) -> None:
        await new(client).shutdown(immediate)
        closed.append(world.now)
        await asyncio.sleep(3600)

    await again(world, shut_down)


@play(FAULTS)
async def an_immediate_shutdown_gives_out_nothing_more_and_holds_up_no_join(world: AppWorld) -> None:
    works, rng = Works(world), world.rng("failures")
    closed: list[float] = []
    told: set[str] = set()
    joined: set[str] = set()

    def produce(name: str) -> Work:
        async def offer(client: zkcore.Client) -> None:
            try:
                await works.offer(new(client), delay=rng.choice((0, 3)))
            except zkcore.QueueShutDownError:
                await asyncio.sleep(60)
            await asyncio.sleep(0.3)

        return offer

    def work(name: str) -> Work:
        async def consume(client: zkcore.Client) -> None:
            begun = world.now

            async def attempt(_: zkcore.Claim[int]) -> None:
                assert not closed or begun < closed[0], "given out by a queue that is shut down"
                await asyncio.sleep(rng.uniform(0, 3))
                if rng.random() < 0.5:
                    raise WorkFailedError("out of paper")

            try:
                await works.carry_out(new(client), attempt)
            except WorkFailedError:
                pass
            except zkcore.QueueShutDownError:
                told.add(name)
                await asyncio.sleep(60)

        return consume

    def wait(name: str) -> Work:
        async def join(client: zkcore.Client) -> None:
            if not closed:
                await asyncio.sleep(1)
            elif await new(client).join():
                joined.add(name)
                await asyncio.sleep(60)

        return join

    for each in (produce, work, wait):
        crowd(world, each)
    world.app("owner").spawn(close, world, closed, True)
    await storm(world)
    await world.eventually("everybody is told", lambda: told == joined == set(CROWD), within=120)
