"""A holder that is paused loses its lock without knowing it, and writes all the same: the database stops it by token.

The first worker falls silent as a paused process does. Its lock passes to the second, which writes. When the first goes
on, its lease says that it is lost; a worker that does not even look is stopped by the database, which has seen a higher
token. A third way needs no memory at all: a transaction in the tree that happens only while the lock is held. It
prints::

    first writes 100
    second writes 200
    first, awake again: its lease is lost: True
    refused by the database: True
    refused by the tree: True
    the database says 200
"""

import asyncio
import sqlite3

import zkcore


def write(database: sqlite3.Connection, amount: int, *, token: int) -> None:
    """The check and the write are one transaction: both are kept, or neither."""
    with database:
        zkcore.FenceGuard(zkcore.SqliteTokens(database, "account")).check(token)
        database.execute("UPDATE account SET amount = ?", (amount,))


async def main() -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE account (amount INTEGER)")
    database.execute("INSERT INTO account VALUES (0)")
    database.commit()
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as second:
        first = await cluster.client(timeout=0.3).start()
        lock = zkcore.Lock(first, "/locks/account", identifier="first")
        await lock.acquire()
        lease = lock.lease
        write(database, 100, token=lease.fencing_token)
        print("first writes 100")

        first.freeze()  # no heartbeats from here on, as if this process was paused
        async with zkcore.Lock(second, "/locks/account", identifier="second") as later:
            write(database, 200, token=later.fencing_token)
            print("second writes 200")

            print("first, awake again: its lease is lost:", lease.is_lost())
            try:
                write(database, 300, token=lease.fencing_token)
            except zkcore.StaleTokenError:
                print("refused by the database: True")
            try:
                await zk.port.request(zkcore.FenceGuard.transaction(lease, []))
            except zkcore.MultiError:
                print("refused by the tree: True")
    print("the database says", *database.execute("SELECT amount FROM account").fetchone())
    database.close()


asyncio.run(main())
