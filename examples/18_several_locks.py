"""Several locks at once: transfers between accounts in all directions, and nobody waits in a circle.

With one lock after the other, somebody who has ada's and wants bob's would meet somebody who has bob's and wants ada's.
A MultiLock gets all of them or none. Its token is good for each account. Within a transfer the log is written under a
reentrant lock, which the same task may acquire again. It prints::

    60 transfers, and still 300 in all
    60 lines in the log
    free for others while nobody transfers: True
"""

import asyncio
from itertools import permutations

import zkcore


async def main() -> None:
    accounts = {"ada": 100, "bob": 100, "eve": 100}
    log: list[str] = []

    async def note(lock: zkcore.RLock, text: str) -> None:
        async with lock:
            log.append(text)

    async def transfer(zk: zkcore.Client, source: str, target: str) -> None:
        ours = zkcore.MultiLock(zk, [f"/accounts/{source}", f"/accounts/{target}"])
        journal = zkcore.RLock(zk, "/journal")
        async with ours as lease, journal:
            there, here = accounts[source], accounts[target]
            await asyncio.sleep(0)
            accounts[source], accounts[target] = there - 1, here + 1
            await note(journal, f"{source} to {target}, token {lease.fencing_token:#x}")

    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        pairs = list(permutations(accounts, 2)) * 10
        await asyncio.gather(*(transfer([zk, other][n % 2], *pair) for n, pair in enumerate(pairs)))
        print(len(pairs), "transfers, and still", sum(accounts.values()), "in all")
        print(len(log), "lines in the log")
        everything = zkcore.MultiLock(zk, [f"/accounts/{name}" for name in accounts])
        print("free for others while nobody transfers:", await everything.acquire(timeout=0))


asyncio.run(main())
