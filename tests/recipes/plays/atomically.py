"""Plays of functions that are carried out atomically."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import WITH_EXPIRY, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

ACCOUNTS = ("ada", "bob", "eve")
MONEY = 30


async def open_accounts(t: zkcore.AtomicTransaction) -> None:
    if not await t.exists("/bank"):
        t.create("/bank")
        for name in ACCOUNTS:
            t.create(f"/bank/{name}", b"10")


@play(WITH_EXPIRY)
async def money_is_moved_as_if_one_came_after_the_other(world: AppWorld) -> None:
    """No total that is seen ever differs, no account is overdrawn, no transfer happens twice, and what was done is seen
    by whoever reads from its zxid on."""
    begun: set[str] = set()
    done: dict[str, int] = {}
    counts: Counter[str] = Counter()
    number = [0]
    stopped: list[bool] = []

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def transfer(t: zkcore.AtomicTransaction, giver: str, taker: str, receipt: str) -> bool:
            has = int(await t.get(giver))
            gets = int(await t.get(taker))
            third = next(f"/bank/{each}" for each in ACCOUNTS if f"/bank/{each}" not in (giver, taker))
            assert has + gets + int(await t.get(third)) == MONEY, "an attempt saw half of a transfer"
            if has < 3:
                return False
            t.set(giver, b"%d" % (has - 3))
            t.set(taker, b"%d" % (gets + 3))
            t.create(receipt)
            return True

        async def move(client: zkcore.Client) -> None:
            if stopped:
                await asyncio.sleep(1)
                return
            number[0] += 1
            giver, taker = rng.sample(ACCOUNTS, 2)
            receipt = f"/bank/receipt-{number[0]}"
            try:
                begun.add(receipt)
                commit = client.atomically(transfer)
                committed = await commit(f"/bank/{giver}", f"/bank/{taker}", receipt)
            except zkcore.NoNodeError:
                await client.atomically(open_accounts)()
                return
            except zkcore.TransactionConflictError:
                return
            if committed.value:
                done[receipt] = committed.zxid
            if done and counts[name] % 3 == 0:
                seen = rng.choice(sorted(done))
                stat = await client.exists(seen, read=zkcore.Read.at_least(done[seen]))
                assert stat is not None, "what was announced is not to be seen"
                assert stat.czxid <= done[seen]
            counts[name] += 1
            await asyncio.sleep(0.1)

        return move

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    stopped.append(True)  # who reads so much at once is never the first among five who write
    settled = set(done)
    async with world.client() as client:
        await client.sync()
        receipts, total = (await client.atomically(look)()).value
    assert total == MONEY
    assert receipts >= settled, "a transfer that was done is not"
    assert receipts <= begun


async def look(t: zkcore.AtomicTransaction) -> tuple[set[str], int]:
    """All receipts, and all the money."""
    total = sum([int(await t.get(f"/bank/{name}")) for name in ACCOUNTS])
    return {f"/bank/{name}" for name in await t.get_children("/bank") if name.startswith("receipt")}, total
