"""Plays of the read-write lock."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

from playing import (
    CROWD,
    FAULTS,
    GRACE,
    WITH_EXPIRY,
    Work,
    crowd,
    everybody_goes_on,
    impatient,
    nobody_is_left,
    play,
    storm,
)

import zkcore
from zkcore.testing.app_world import AppWorld

WRITERS = CROWD[:2]
"""The others read, and nearly without a pause: who passes a writer that waits leaves it no gap."""


class Sides:
    """Who believes to hold it, and as what."""

    def __init__(self, world: AppWorld) -> None:
        self.held: dict[str, tuple[Any, str]] = {}
        world.always("a writer is alone", self.writers_are_alone)

    def writers_are_alone(self) -> bool:
        sides = [side for lease, side in self.held.values() if not (lease.released or lease.is_lost())]
        return "writer" not in sides or len(sides) == 1


@play(FAULTS)
async def readers_and_writers_are_never_together_and_all_get_on(world: AppWorld) -> None:
    sides = Sides(world)
    counts: Counter[str] = Counter()
    stopped: list[bool] = []

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def write(client: zkcore.Client) -> None:
            lock = zkcore.ReadWriteLock(client, "/rw")
            async with impatient(rng), lock.writer as lease:
                sides.held[name] = lease, "writer"
                await asyncio.sleep(0.1)
                if rng.random() < 0.5:
                    sides.held[name] = lease, "reader"
                    await lock.writer.downgrade()
                    await asyncio.sleep(0.3)
                lease.check()
                counts[name] += 1
            await asyncio.sleep(rng.uniform(0, 0.5))

        async def read(client: zkcore.Client) -> None:
            lock = zkcore.ReadWriteLock(client, "/rw")
            async with impatient(rng), lock.reader as lease:
                sides.held[name] = lease, "reader"
                await asyncio.sleep(0.6)
                lease.check()
                counts[name] += 1

        async def one_or_the_other(client: zkcore.Client) -> None:
            if stopped:
                await asyncio.sleep(0.5)
            else:
                await (write if name in WRITERS else read)(client)

        return one_or_the_other

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    stopped.append(True)
    await nobody_is_left(world, "/rw")


@play(WITH_EXPIRY)
async def what_readers_and_writers_show_their_tokens_to_never_goes_back(world: AppWorld) -> None:
    """The guard refuses who is of the past; and nobody else, as is seen once no session ends any more."""
    guard = zkcore.FenceGuard()
    counts: Counter[str] = Counter()
    shown: list[tuple[int, bool]] = []
    mended: list[bool] = []

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def use(client: zkcore.Client) -> None:
            lock = zkcore.ReadWriteLock(client, "/rw")
            reads = name not in WRITERS
            async with lock.reader if reads else lock.writer as lease:
                await asyncio.sleep(rng.uniform(0, 0.3))
                show(lease.fencing_token, reads)
                if not reads:
                    await lock.writer.downgrade()
                    await asyncio.sleep(0.3)
                    show(lease.fencing_token, True)
                counts[name] += 1

        def show(token: int, reads: bool) -> None:
            try:
                guard.check(token, shared=reads)
                shown.append((token, reads))
            except zkcore.StaleTokenError:
                assert not mended, f"{name} is refused while it holds"

        return use

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    await world.sleep(GRACE)
    mended.append(True)
    await everybody_goes_on(world, counts)
    for (before, before_reads), (after, after_reads) in pairwise(shown):
        assert before <= after or (before_reads and after_reads), "somebody of the past was let in"
