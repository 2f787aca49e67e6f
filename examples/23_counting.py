"""Counting together: a number that nobody adds to twice, and a value that several compute from what it was.

It prints::

    300 visits, counted by three
    each of them got other numbers: True
    the cursor stands at 40
    who expected 17 changed nothing: True
"""

import asyncio

import zkcore


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
        numbers: list[int] = []

        async def visit(client: zkcore.Client) -> None:
            visits = zkcore.Counter(client, "/visits")
            for _ in range(100):
                numbers.append(await visits.next())

        others = [await cluster.client().start() for _ in range(2)]
        counting = asyncio.gather(*(visit(client) for client in (zk, *others)))
        await asyncio.sleep(0.01)
        cluster.kill(await cluster.wait_for_leader())  # what was under way is counted once all the same
        await counting
        print(await zkcore.Counter(zk, "/visits").get(), "visits, counted by three")
        print("each of them got other numbers:", sorted(numbers) == list(range(300)))

        cursor = zkcore.AtomicValue(zk, "/import/cursor", initial=0, codec=zkcore.json_codec)
        await asyncio.gather(*(cursor.update(lambda now, seen=seen: max(now, seen)) for seen in (17, 40, 23)))
        print("the cursor stands at", await cursor.get())
        print("who expected 17 changed nothing:", not await cursor.compare_and_set(17, 18))


asyncio.run(main())
