"""A part of the tree in memory: looked at for nothing, and always as it was at one moment.

It prints::

    at first: ['/shop', '/shop/apples', '/shop/pears']
    apples cost 3, and asking cost nothing
    changed: ['/shop/apples', '/shop/pears']
    both at once, never one of them alone: True
    still there without the leader, and up to date: 5
    the plums have come: True
    there is nothing at /other
"""

import asyncio

import zkcore


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        await zk.create("/shop")
        await zk.create("/shop/apples", b"3")
        await zk.create("/shop/pears", b"3")
        async with zkcore.Cache(zk, "/shop") as shop:
            changes = shop.changes()
            print("at first:", sorted((await anext(changes)).created))
            print("apples cost", shop["/shop/apples"].data.decode() + ", and asking cost nothing")

            async with other.transaction() as t:
                t.set("/shop/apples", b"4")
                t.set("/shop/pears", b"4")
            change = await anext(changes)
            print("changed:", sorted(change.changed))
            print("both at once, never one of them alone:", len(change.changed) == 2)
            await changes.aclose()

            cluster.kill(await cluster.wait_for_leader())
            await other.set("/shop/apples", b"5")
            await shop.sync()
            print("still there without the leader, and up to date:", shop["/shop/apples"].data.decode())

            waiting = asyncio.create_task(shop.wait_for(lambda nodes: "/shop/plums" in nodes, timeout=10))
            await other.create("/shop/plums", b"9")
            print("the plums have come:", await waiting)

        try:
            await zkcore.Cache(zk, "/other").start()
        except zkcore.NothingToCacheError as error:
            print(str(error).partition(";")[0])


asyncio.run(main())
