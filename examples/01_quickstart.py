"""The shortest program that holds a lock. Everything happens in this process: no server, no port, no file.

It prints one line: `held, fencing token` and a number. Hand that number to whatever the lock protects, with every
write; `demo.py` shows why.
"""
# ruff: noqa: SIM117 - the cluster and the lock are two steps, and read better as two

import asyncio

import zkcore


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:  # three replicas, in this process
        async with zkcore.Lock(zk, "/locks/report") as lease:
            print("held, fencing token", lease.fencing_token)


asyncio.run(main())
