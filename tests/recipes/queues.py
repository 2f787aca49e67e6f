"""A queue in a scripted world: making one, filling it, and looking what came of it."""

from __future__ import annotations

from typing import Any

from scripted import Run, World

from zkcore.client.client import Client
from zkcore.errors import QueueEmptyError
from zkcore.recipes.claiming import Claim
from zkcore.recipes.codec import json_codec
from zkcore.recipes.queue import PriorityQueue, Queue

PATH = "/jobs"


def new(world: World, client: Client | None = None, maxsize: int = 0, **options: Any) -> Queue[Any]:
    return Queue(client or world.client(), PATH, maxsize=maxsize, codec=json_codec, **options)


def new_priority(world: World, client: Client | None = None, **options: Any) -> PriorityQueue[Any]:
    return PriorityQueue(client or world.client(), PATH, codec=json_codec, **options)


def fill(world: World, *items: object, maxsize: int = 0) -> None:
    world.run(new(world, maxsize=maxsize).put_many(items))


def drain(world: World, queue: Queue[Any] | PriorityQueue[Any] | None = None) -> list[Any]:
    """All that can be taken now."""
    queue, taken = queue or new(world), []
    while True:
        try:
            taken.append(world.run(queue.get_nowait()))
        except QueueEmptyError:
            return taken


def claim(
    world: World, client: Client | None = None, *, queue: Queue[Any] | None = None, **options: Any
) -> tuple[Run, Claim[Any]]:
    """A claim whose body waits for ever."""
    client = client or world.client()
    made: list[Claim[Any]] = []

    async def work() -> None:
        async with (queue or new(world, client)).claim(**options) as claimed:
            made.append(claimed)
            await client.port.wait()

    run = world.start(work())
    world.settle()
    return run, made[0]
