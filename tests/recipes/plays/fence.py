"""Plays of the fence, where it keeps its tokens in a database and where it is a part of a transaction. In the memory of
a process it is what guards the resources of the other plays."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter

from playing import WITH_EXPIRY, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld
from zkcore.tree.requests import SetData


@play(WITH_EXPIRY)
async def a_database_takes_no_write_of_a_past_holder(world: AppWorld) -> None:
    counts: Counter[str] = Counter()
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE account (balance INTEGER)")
    database.execute("INSERT INTO account VALUES (0)")
    database.commit()
    guard = zkcore.FenceGuard(zkcore.SqliteTokens(database, "account"))
    writes: list[int] = []
    rng = world.rng("failures")

    def look(token: int) -> int:
        with database:
            database.execute("BEGIN IMMEDIATE")
            guard.check(token)
            return int(database.execute("SELECT balance FROM account").fetchone()[0])

    def write(token: int, balance: int) -> None:
        with database:
            database.execute("BEGIN IMMEDIATE")
            guard.check(token)
            database.execute("UPDATE account SET balance = ?", (balance,))
            if rng.random() < 0.1:
                raise OSError("the disk is full")  # what was written, and that the token was seen, is undone
        writes.append(balance)

    def work(name: str) -> Work:
        async def add(client: zkcore.Client) -> None:
            try:
                async with zkcore.Lock(client, "/lock") as lease:
                    balance = look(lease.fencing_token)
                    await asyncio.sleep(0.2)
                    write(lease.fencing_token, balance + 1)
                    counts[name] += 1
            except (zkcore.StaleTokenError, OSError):
                pass

        return add

    world.always("no update is lost", lambda: not writes or writes[-1] == len(writes))
    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    database.close()


@play(WITH_EXPIRY)
async def a_transaction_happens_only_while_the_lease_is_held(world: AppWorld) -> None:
    counts: Counter[str] = Counter()
    async with world.client() as client:
        await client.with_retry().create("/account", b"0")  # something may go wrong already

    def work(name: str) -> Work:
        async def add(client: zkcore.Client) -> None:
            """What is written is written in a session that outlives that of the lock, by one who does not look at his
            lease: nothing but the transaction can tell that it is lost."""
            lock = zkcore.Lock(client, "/lock")
            async with lock.hold(on_lost=zkcore.OnLost.NOTHING) as lease, world.client(timeout=30) as lasting:
                await lasting.sync()
                data, stat = await lasting.get("/account")
                balance = int(data)
                assert balance == stat.version, "an update was lost"
                await asyncio.sleep(0.2)
                change = zkcore.FenceGuard.transaction(lease, [SetData("/account", b"%d" % (balance + 1))])
                try:
                    await lasting.port.request(change)
                except zkcore.MultiError:
                    pass  # a later holder is here
                else:
                    counts[name] += 1

        return add

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
