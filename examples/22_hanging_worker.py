"""A worker that hangs, and whose process lives on: its claim does not.

The first worker gets on with its job for a while, and says so, and its claim is renewed. Then it waits for an answer
that never comes. Its session lives, since the process does; but its claim had a visibility timeout, and another worker
takes the job over. The fencing token tells the two apart, wherever the first one may write later. It prints::

    the first got on for more than its visibility timeout: True
    the first has lost its claim
    the second does the job, its token is higher: True
    jobs left: 0
"""

import asyncio

import zkcore

VISIBLE = 1.0


async def hang(zk: zkcore.Client, tokens: list[int], claimed: asyncio.Event) -> None:
    queue = zkcore.Queue(zk, "/jobs", codec=zkcore.text_codec)
    now = asyncio.get_running_loop().time
    try:
        async with queue.claim(visibility_timeout=VISIBLE) as claim:
            begun = now()
            tokens.append(claim.lease.fencing_token)
            claimed.set()
            while now() < begun + 2 * VISIBLE:
                await asyncio.sleep(VISIBLE / 50)
                claim.progress()
            print("the first got on for more than its visibility timeout:", not claim.lease.is_lost())
            await asyncio.Event().wait()  # what nobody will ever set
    except zkcore.LeaseLostError:
        print("the first has lost its claim")


async def main() -> None:
    tokens: list[int] = []
    claimed = asyncio.Event()
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        queue = zkcore.Queue(other, "/jobs", codec=zkcore.text_codec)
        await queue.put("job")
        hanging = asyncio.create_task(hang(zk, tokens, claimed))
        await claimed.wait()
        async with queue.claim() as claim:
            await hanging
            print("the second does the job, its token is higher:", claim.lease.fencing_token > tokens[0])
        print("jobs left:", await queue.qsize())


asyncio.run(main())
