"""A work queue with retries and dead letters: jobs that fail are tried again later, and put aside after the third time.

Job 2 fails once, as jobs do when what they need is away for a moment: it is given back, to be tried again after a
while. Job 4 can never be done. It keeps nobody from the others, and ends among the dead letters, with the error that it
failed with; once it is mended it is put again. It prints::

    job 4 is put aside after 3 tries: ValueError: no such customer
    tries: job 1: 1, job 2: 2, job 3: 1, job 4: 3
    mended and put again: True
    all done: ['1', '2', '3', '4']
"""

import asyncio
from collections import Counter

import zkcore

JOBS = ("1", "2", "3", "4")


async def work(zk: zkcore.Client, tries: Counter[str], done: set[str], mended: list[bool]) -> None:
    queue = zkcore.Queue(zk, "/jobs", codec=zkcore.text_codec, max_deliveries=3)
    while True:
        try:
            async with queue.claim() as claim:
                job = claim.item
                tries[job] += 1
                if job == "2" and claim.deliveries == 1:
                    await claim.release(delay=0.1)
                    continue
                if job == "4" and not mended:
                    raise ValueError("no such customer")
            done.add(job)
        except ValueError:
            pass  # the job has gone back, or is a dead letter
        except zkcore.QueueShutDownError:
            return  # everything is done, and nothing more will come


async def main() -> None:
    tries: Counter[str] = Counter()
    done: set[str] = set()
    mended: list[bool] = []
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        queue = zkcore.Queue(zk, "/jobs", codec=zkcore.text_codec)
        await queue.put_many(JOBS)
        workers = [asyncio.create_task(work(client, tries, done, mended)) for client in (zk, other, other)]
        await queue.join()
        (letter,) = await queue.dead_letters()
        print(f"job {letter.item} is put aside after {letter.deliveries} tries: {letter.reason}")
        print("tries:", ", ".join(f"job {job}: {tries[job]}" for job in JOBS))

        mended.append(True)
        await queue.requeue(letter)
        await queue.shutdown()
        await asyncio.gather(*workers)
        print("mended and put again:", await queue.dead_letters() == ())
        print("all done:", sorted(done))


asyncio.run(main())
