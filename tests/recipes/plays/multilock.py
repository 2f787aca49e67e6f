"""Plays of several locks at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from playing import FAULTS, Work, crowd, everybody_goes_on, impatient, nobody_is_left, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

PATHS = ("/a", "/b", "/c")


@play(FAULTS)
async def several_locks_are_held_all_or_none_and_nobody_waits_in_a_circle(world: AppWorld) -> None:
    held: dict[str, tuple[Any, list[str]]] = {}
    counts: Counter[str] = Counter()
    last: dict[str, int] = dict.fromkeys(PATHS, 0)
    stopped: list[bool] = []

    def one_holds_each() -> bool:
        paths = [path for lease, some in held.values() if not (lease.released or lease.is_lost()) for path in some]
        return len(paths) == len(set(paths))

    world.always("one holds each path", one_holds_each)

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def hold(client: zkcore.Client) -> None:
            if stopped:
                await asyncio.sleep(0.5)
                return
            paths = rng.sample(PATHS, rng.choice((1, 2, 2, 3)))
            lock = zkcore.MultiLock(client, paths)
            async with impatient(rng), lock.hold(timeout=rng.choice((None, None, None, 0))) as lease:
                held[name] = lease, paths
                for path in paths:
                    assert lease.fencing_token > last[path], "a later holder has a lower token"
                    last[path] = lease.fencing_token
                await asyncio.sleep(0.2)
                lease.check()
                counts[name] += 1

        return hold

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    stopped.append(True)
    await nobody_is_left(world, *PATHS)
