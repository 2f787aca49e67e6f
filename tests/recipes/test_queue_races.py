"""The queue in every order of events that chance comes up with: nothing is given out twice, and nothing is lost."""

from __future__ import annotations

from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest
from scripted import Asking, Interrupted, Point, Run, World

from zkcore.client.client import Client
from zkcore.errors import LeaseLostError, QueueEmptyError, QueueFullError, SessionExpiredError
from zkcore.recipes.codec import json_codec
from zkcore.recipes.queue import Queue

PATH = "/q"


class Actor:
    """Somebody who does one thing to the queue, over a session of its own."""

    def __init__(self, world: Market, what: str) -> None:
        self.world = world
        self.what = what
        self.client = world.client()
        self.go_on = self.client.port.signal()
        self.ended = ""
        work: Coroutine[Any, Any, None] = getattr(self, f"_{what}")()
        self.run: Run = world.start(self._outcome(work))

    async def _outcome(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
            self.ended = "done"
        except (SessionExpiredError, LeaseLostError, Interrupted, QueueEmptyError, QueueFullError) as error:
            self.ended = type(error).__name__

    @property
    def _queue(self) -> Queue[Any]:
        return Queue(self.client, PATH, maxsize=self.world.maxsize, codec=json_codec)

    async def _put(self) -> None:
        numbers = [next(self.world.numbers) for _ in range(self.world.rng.randint(1, 2))]
        self.world.perhaps.update(numbers)
        await self._queue.put_many(numbers)
        self.world.put.update(numbers)

    async def _get(self) -> None:
        item = await self._queue.get()
        assert item not in self.world.claimed, "one gets what another has claimed"
        self.world.taken.append(item)

    async def _claim(self) -> None:
        async with self._queue.claim() as claim:
            assert claim.item not in self.world.claimed, "two have claimed one item"
            self.world.claimed[claim.item] = self.client
            try:
                await self.client.port.wait(self.go_on)
            finally:
                if self.world.claimed.get(claim.item) is self.client:
                    del self.world.claimed[claim.item]
            self.world.perhaps_done.append(claim.item)
        self.world.perhaps_done.remove(claim.item)
        self.world.taken.append(claim.item)


class Market(World):
    """A world with a queue, and what should have become of its items."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = Random(seed)
        self.maxsize = self.rng.choice((0, 2, 3))
        self.numbers = iter(range(1000))
        self.perhaps: set[int] = set()
        """Items that were to be put."""
        self.put: set[int] = set()
        """Those of which the putting was confirmed."""
        self.taken: list[int] = []
        """Those that somebody got, or did the work of, and knows that nobody else does."""
        self.perhaps_done: list[int] = []
        """Those whose work is done, and nobody knows whether it was acknowledged."""
        self.claimed: dict[int, Client] = {}
        self.loss = self.rng.choice((0.0, 0.1))
        self.script = self._fault

    def _fault(self, run: Run, point: Point) -> str | None:
        if isinstance(point, Asking) and self.rng.random() < self.loss:
            return self.rng.choice(("lost before", "lost after"))
        return None

    def expire(self, client: Client) -> None:
        for item in [item for item, owner in self.claimed.items() if owner is client]:
            del self.claimed[item]
        super().expire(client)


def act(world: Market, actors: list[Actor], expired: list[Actor]) -> None:
    rng = world.rng
    word = rng.choice(("put", "put", "get", "claim", "expire", "cancel", "go on", "go on"))
    busy = [actor for actor in actors if not actor.run.is_over and actor not in expired]
    if word in ("put", "get", "claim"):
        actors.append(Actor(world, word))
    elif busy:
        actor = rng.choice(busy)
        if word == "go on":
            actor.go_on.set()
        elif word == "cancel":
            actor.run.throw(Interrupted())
        else:
            expired.append(actor)
            world.expire(actor.client)


@pytest.mark.parametrize("seed", range(250))
def test_nothing_is_given_out_twice_and_nothing_is_lost(seed: int) -> None:
    world = Market(seed)
    actors: list[Actor] = []
    expired: list[Actor] = []
    for _ in range(world.rng.randint(5, 30)):
        act(world, actors, expired)
        for _ in range(world.rng.randint(0, 15)):
            world.step_any(world.rng)
    world.script = lambda run, point: None
    for actor in actors:
        actor.go_on.set()
    world.settle()
    for actor in actors:
        assert actor.run.error is None, f"{actor.what} ended in {actor.run.error!r}"
    waiting = {actor.what for actor in actors if not actor.run.is_over}
    assert waiting <= {"put"} or waiting <= {"get", "claim"}, "they wait for each other"
    queue: Queue[Any] = Queue(world.client(), PATH, codec=json_codec)
    left: list[int] = []
    while world.run(queue.qsize()):
        left.append(world.run(queue.get_nowait()))
        world.settle()
    out = world.taken + left
    assert len(out) == len(set(out)), "something was given out twice"
    assert set(out) <= world.perhaps
    lost = world.put - set(out) - set(world.perhaps_done)
    assert len(lost) <= sum(actor.what == "get" for actor in expired), f"{lost} are lost"
