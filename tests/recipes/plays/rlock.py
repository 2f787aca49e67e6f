"""Plays of the reentrant lock."""

from __future__ import annotations

import asyncio

from playing import FAULTS, Leases, Work, crowd, everybody_goes_on, impatient, nobody_is_left, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(FAULTS)
async def one_holds_a_reentrant_lock_until_its_outermost_end(world: AppWorld) -> None:
    leases = Leases(world)
    stopped: list[bool] = []

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def nest(client: zkcore.Client) -> None:
            if stopped:
                await asyncio.sleep(0.5)
                return
            lock = zkcore.RLock(client, "/lock")
            async with impatient(rng), lock.hold(timeout=2.5) as lease:
                leases.begin(name, lease)
                async with lock as inner:
                    assert inner.fencing_token == lease.fencing_token
                    await asyncio.sleep(0.1)
                assert await lock.acquire(timeout=0)
                await lock.release()
                await asyncio.sleep(0.2)
                lease.check()

        return nest

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, leases.counts)
    assert len(leases.tokens) == len(set(leases.tokens))
    stopped.append(True)
    await nobody_is_left(world, "/lock")
