"""Ids that nobody gets twice: from blocks that are reserved, and in the order of time.

The worker of the second half is paused for so long that its session ends, and goes on in the midst of it all. It makes
no more ids, and the next worker of its number begins behind all that it may have made.

It prints::

    2000 ids, 2000 of them different
    a thousand orders cost 10 requests
    worker 0 was paused, and knows it: the lease on /ids/events/workers/0 is lost
    everything in the order of time: True
    the last was made by worker 1 in 20...
"""

import asyncio

import zkcore


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        orders: list[int] = []
        before = zk.last_zxid
        for client in (zk, other):
            ids = zkcore.IdGenerator(client, "/ids/orders", block=100)
            orders += [await ids.next() for _ in range(1000)]
            if client is zk:
                requests = zk.last_zxid - before
        print(len(orders), "ids,", len(set(orders)), "of them different")
        print("a thousand orders cost", requests, "requests")

        sleepy = await cluster.client(timeout=0.3).start()
        early = await zkcore.TimeIdGenerator(sleepy, "/ids/events").start()
        events = [await early.next() for _ in range(3)]
        sleepy.freeze()  # as if that process was paused
        while not early.lease.is_lost():
            await asyncio.sleep(0.05)
        async with zkcore.TimeIdGenerator(zk, "/ids/events") as late:
            events += [await late.next() for _ in range(3)]
        try:
            await early.next()
        except zkcore.LeaseLostError as error:
            print("worker 0 was paused, and knows it:", str(error).partition(":")[0])
        print("everything in the order of time:", events == sorted(set(events)))
        made = zkcore.TimeIdGenerator.parts(events[-1])
        print("the last was made by worker", made.worker, "in", made.time.year)


asyncio.run(main())
