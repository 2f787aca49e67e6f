"""Readers together, a writer alone: and a writer that reads on lets readers in, and no writer in between.

Readers and writers come one after the other here, and each waits for its turn in that order. The resource is told who
only reads, since two readers have different fencing tokens and both of them are right. It prints::

    one reads version 0
    two reads version 0
    ada writes version 1
    ada reads on
    three reads version 1
    bob writes version 2
    a reader that asks to write is told: DeadlockError
    refused: a writer of the past
"""

import asyncio

import zkcore


class Catalogue:
    def __init__(self) -> None:
        self.version = 0
        self.guard = zkcore.FenceGuard()

    def read(self, *, token: int) -> int:
        self.guard.check(token, shared=True)
        return self.version

    def write(self, *, token: int) -> int:
        self.guard.check(token)
        self.version += 1
        return self.version


async def main() -> None:
    catalogue = Catalogue()
    first_tokens: list[int] = []

    async def read(zk: zkcore.Client, name: str) -> None:
        async with zkcore.ReadWriteLock(zk, "/locks/catalogue").reader as lease:
            print(name, "reads version", catalogue.read(token=lease.fencing_token))
            await asyncio.sleep(0.05)

    async def write(zk: zkcore.Client, name: str, *, reads_on: bool) -> None:
        lock = zkcore.ReadWriteLock(zk, "/locks/catalogue")
        async with lock.writer as lease:
            first_tokens.append(lease.fencing_token)
            print(name, "writes version", catalogue.write(token=lease.fencing_token))
            if reads_on:
                await asyncio.sleep(0.01)
                print(name, "reads on")
                await lock.writer.downgrade()
                await asyncio.sleep(0.1)

    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        lock = zkcore.ReadWriteLock(zk, "/locks/catalogue")
        tasks: list[asyncio.Task[None]] = []

        async def come(work: asyncio.Task[None]) -> None:
            """So that they stand in line in this order."""
            tasks.append(work)
            while len(await lock.contenders()) < len(tasks):
                await asyncio.sleep(0)

        await come(asyncio.create_task(read(zk, "one")))
        await come(asyncio.create_task(read(other, "two")))
        await come(asyncio.create_task(write(zk, "ada", reads_on=True)))
        await come(asyncio.create_task(read(other, "three")))
        await come(asyncio.create_task(write(zk, "bob", reads_on=False)))
        await asyncio.gather(*tasks)

        async with lock.reader:
            try:
                await lock.writer.acquire()
            except zkcore.DeadlockError as error:
                print("a reader that asks to write is told:", type(error).__name__)
        try:
            catalogue.write(token=first_tokens[0])
        except zkcore.StaleTokenError:
            print("refused: a writer of the past")


asyncio.run(main())
