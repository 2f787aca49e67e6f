"""Who is there: workers join a group, one leaves, one is gone without a word, and a look-out sees it all.

It prints::

    []
    ['a']
    ['a', 'b']
    ['a', 'b', 'c']
    ['b', 'c']
    ['c']
    the one that was gone knows it: True
"""

import asyncio

import zkcore


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        changes = zkcore.Membership(zk, "/workers").changes()

        async def look() -> None:
            print(sorted(member.name for member in await anext(changes)))

        await look()
        a = zkcore.Membership(other, "/workers", name="a", data=b"port=8080")
        await a.join()
        await look()

        silent = await cluster.client(timeout=0.3).start()
        b = zkcore.Membership(silent, "/workers", name="b")
        lease = await b.join()
        await look()

        async with zkcore.Membership(other, "/workers", name="c"):
            await look()
            await a.leave()
            await look()
            silent.freeze()  # as if that process was paused: its session expires
            await look()
            print("the one that was gone knows it:", lease.is_lost() and not b.is_member)


asyncio.run(main())
