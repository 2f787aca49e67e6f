"""The end of a body whose lease is lost: every kind of `with` tells of it, also where the body gave it up itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from scripted import World

from zkcore.client.client import Client
from zkcore.errors import LeaseLostError
from zkcore.recipes.election import Election
from zkcore.recipes.lease import Lease
from zkcore.recipes.lock import Lock
from zkcore.recipes.membership import Membership
from zkcore.recipes.multilock import MultiLock
from zkcore.recipes.queue import Queue
from zkcore.recipes.rlock import RLock
from zkcore.recipes.rwlock import ReadWriteLock
from zkcore.recipes.semaphore import Semaphore

WITHS: dict[str, Callable[[Client], AbstractAsyncContextManager[Any]]] = {
    "lock": lambda client: Lock(client, "/l"),
    "hold": lambda client: Lock(client, "/l").hold(),
    "rlock": lambda client: RLock(client, "/l"),
    "reader": lambda client: ReadWriteLock(client, "/l").reader,
    "writer": lambda client: ReadWriteLock(client, "/l").writer,
    "semaphore": lambda client: Semaphore(client, "/s", value=1),
    "multilock": lambda client: MultiLock(client, ["/a", "/b"]),
    "election": lambda client: Election(client, "/e").lead(),
    "membership": lambda client: Membership(client, "/g"),
    "claim": lambda client: Queue(client, "/q").claim(),
}


def lease_of(given: Any) -> Lease:
    lease: Lease = getattr(given, "lease", given)
    return lease


def new(what: str) -> tuple[World, Client]:
    """A world in which bodies are cancelled as those of tasks are, with an item to claim where that is needed."""
    world = World()
    world.cancels = True
    if what == "claim":
        queue: Queue[bytes] = Queue(world.client(), "/q")
        world.run(queue.put(b"item"))
    return world, world.client()


@pytest.mark.parametrize("what", WITHS)
def test_a_session_that_ends_while_the_body_gives_up_by_itself_is_told_as_a_loss(what: str) -> None:
    """The body is in the midst of its own release when the guard cancels it: a bare cancellation would end the task."""
    world, client = new(what)

    async def body() -> None:
        async with WITHS[what](client) as given:
            await lease_of(given).release()

    working = world.start(body())
    # The cleanup that gives it up is another run; its request is the one that is not answered.
    world.script = lambda run, point: None if run is working else "expired"
    world.settle()
    with pytest.raises(LeaseLostError):
        working.outcome()
