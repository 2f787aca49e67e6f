"""A latch: work begins when three services are ready, wherever they run, and whoever comes later need not wait.

It prints::

    ready: cache, 2 are missing
    ready: index, 1 are missing
    ready: store, 0 are missing
    the work begins
    so it does for who comes late
    one too many: LatchCountError
"""

import asyncio

import zkcore


async def begin(zk: zkcore.Client) -> str:
    await zkcore.CountDownLatch(zk, "/ready", count=3).wait()
    return "the work begins"


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        worker = asyncio.create_task(begin(other))
        latch = zkcore.CountDownLatch(zk, "/ready", count=3)
        for name in ("cache", "index", "store"):
            await latch.count_down()
            print(f"ready: {name}, {await latch.count()} are missing")
        print(await worker)
        if await zkcore.CountDownLatch(other, "/ready", count=3).wait(timeout=0):
            print("so it does for who comes late")
        try:
            await latch.count_down()
        except zkcore.LatchCountError as error:
            print("one too many:", type(error).__name__)


asyncio.run(main())
