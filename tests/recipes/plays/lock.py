"""Plays of the lock."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import FAULTS, WITH_EXPIRY, Leases, Work, crowd, everybody_goes_on, nobody_is_left, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(FAULTS)
async def one_holds_a_lock_and_everybody_gets_it(world: AppWorld) -> None:
    leases = Leases(world)
    rng = world.rng("timeouts")

    def work(name: str) -> Work:
        async def try_to(client: zkcore.Client) -> None:
            try:
                async with zkcore.Lock(client, "/lock").hold(timeout=rng.choice((0, 2.5, 2.5))) as lease:
                    leases.begin(name, lease)
                    await asyncio.sleep(0.3)
                    lease.check()
            except zkcore.LockTimeoutError:
                await asyncio.sleep(0.1)

        return try_to

    apps = crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, leases.counts)
    await apps.rest()
    await nobody_is_left(world, "/lock")


@play(WITH_EXPIRY)
async def a_fenced_resource_loses_no_update(world: AppWorld) -> None:
    """Also where somebody clears away, time and again, a line in which nobody stands."""
    account = world.fenced_resource("account", value=0)
    rng = world.rng("idle")
    counts: Counter[str] = Counter()
    world.always("no update is lost", lambda: account.value == len(account.history))

    def work(name: str) -> Work:
        async def add(client: zkcore.Client) -> None:
            try:
                async with zkcore.Lock(client, "/lock") as lease:
                    balance = await account.read(token=lease.fencing_token)
                    await asyncio.sleep(0.2)
                    await account.write(balance + 1, token=lease.fencing_token)
                    counts[name] += 1
            except zkcore.StaleTokenError:
                pass  # a later holder was here
            await asyncio.sleep(rng.choice((0, 3)))
            await clear_away(client)

        return add

    async def clear_away(client: zkcore.Client) -> None:
        try:
            await client.delete("/lock")
        except (zkcore.NoNodeError, zkcore.NotEmptyError):
            pass

    apps = crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    tokens = [written.token or 0 for written in account.history]
    assert tokens == sorted(tokens)
    await apps.rest()
    await nobody_is_left(world, "/lock")
