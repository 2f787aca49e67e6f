"""A queue with priorities, and items for later: what is urgent comes first, and what is not due yet not at all.

The lowest priority comes first, and of one priority what was put first. A reminder that is put with a delay is there
from the beginning, and is given out to nobody before its time; then it has the priority it was put with. It prints::

    put out the fire
    answer the phone
    water the plants
    nothing to do, and 1 item for later
    remind them
    on time: True
"""

import asyncio

import zkcore

DELAY = 0.3


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        queue = zkcore.PriorityQueue(zk, "/todo", codec=zkcore.text_codec)
        await queue.put("water the plants", priority=500)
        await queue.put("answer the phone")  # of priority 100
        put_at = asyncio.get_running_loop().time()
        await queue.put("remind them", priority=0, delay=DELAY)
        await queue.put("put out the fire", priority=1)

        consumer = zkcore.PriorityQueue(other, "/todo", codec=zkcore.text_codec)
        for _ in range(3):
            print(await consumer.get())
        try:
            print(await consumer.get_nowait())
        except zkcore.QueueEmptyError:
            print(f"nothing to do, and {await consumer.qsize()} item for later")
        print(await consumer.get())  # waits until it is due: nothing has to happen for that
        print("on time:", asyncio.get_running_loop().time() - put_at > DELAY - 0.05)


asyncio.run(main())
