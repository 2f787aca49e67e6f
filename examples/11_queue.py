"""A queue of jobs between two producers and three workers, one of whom fails in the middle of a job.

The queue has room for five: who puts more waits. A worker claims a job, and only the end of the work takes it out of
the queue; the job of the worker that failed goes back to where it stood, and another does it. It prints::

    all jobs were done: True
    the one whose worker failed was begun twice, the others once: True
    jobs left: 0
"""

import asyncio
from collections import Counter

import zkcore

JOBS = 12


async def produce(zk: zkcore.Client, numbers: range) -> None:
    queue = zkcore.Queue(zk, "/jobs", maxsize=5, codec=zkcore.json_codec)
    for number in numbers:
        await queue.put({"job": number})


async def work(zk: zkcore.Client, begun: Counter[int], done: set[int]) -> None:
    queue = zkcore.Queue(zk, "/jobs", codec=zkcore.json_codec)
    while len(done) < JOBS:
        try:
            async with queue.claim(timeout=0.1) as claim:
                number = claim.item["job"]
                begun[number] += 1
                if number == 3 and begun[number] == 1:
                    raise RuntimeError("out of paper")
            done.add(number)
        except (zkcore.QueueEmptyError, RuntimeError):
            pass  # nothing to do just now; or the job has gone back to the queue


async def main() -> None:
    begun: Counter[int] = Counter()
    done: set[int] = set()
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        await asyncio.gather(
            produce(zk, range(0, JOBS, 2)),
            produce(other, range(1, JOBS, 2)),
            *(work(client, begun, done) for client in (zk, other, other)),
        )
        print("all jobs were done:", done == set(range(JOBS)))
        once = all(count == 1 for number, count in begun.items() if number != 3)
        print("the one whose worker failed was begun twice, the others once:", begun[3] == 2 and once)
        print("jobs left:", await zkcore.Queue(zk, "/jobs").qsize())


asyncio.run(main())
