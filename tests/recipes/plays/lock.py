"""Plays of the lock."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import FAULTS, WITH_EXPIRY, Leases, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(FAULTS)
async def one_holds_a_lock_and_everybody_gets_it(world: AppWorld) -> None:
    leases = Leases(world)

    def work(name: str) -> Work:
        async def hold(client: zkcore.Client) -> None:
            async with zkcore.Lock(client, "/lock").hold(timeout=2.5) as lease:
                leases.begin(name, lease)
                await asyncio.sleep(0.3)
                lease.check()

        async def try_to(client: zkcore.Client) -> None:
            try:
                await hold(client)
            except zkcore.LockTimeoutError:
                pass

        return try_to

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, leases.counts)
    assert len(leases.tokens) == len(set(leases.tokens))


@play(WITH_EXPIRY)
async def a_fenced_resource_loses_no_update(world: AppWorld) -> None:
    account = world.fenced_resource("account", value=0)
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

        return add

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    tokens = [written.token or 0 for written in account.history]
    assert tokens == sorted(tokens)
