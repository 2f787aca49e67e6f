"""A service of several instances: found, chosen, drained, lost, and looked for while nobody answers.

It prints::

    one after the other: web-1 web-2 web-3 web-1
    the same for the same key: True
    the third of one key at a time goes elsewhere: True
    web-1 drains, and is not chosen: web-2 web-3
    web-2 died: web-3
    without a quorum: still web-3, and known to be old: True
    in the next session: web-3 web-4, known to be fresh: True
"""

import asyncio
from functools import partial

import zkcore

SERVICE = "/services/web"


def names(web: zkcore.Discovery, count: int) -> str:
    return " ".join(sorted({web.choose().name for _ in range(count)}))


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
        connect = partial(cluster.client, timeout=0.5)
        short = await connect().start()
        one, two, three = (
            zkcore.Registration(client, SERVICE, name=f"web-{number}", address=f"10.0.0.{number}:80")
            for number, client in ((1, zk), (2, short), (3, zk))
        )
        for each in (one, two, three):
            await each.start()

        async with (
            connect() as looker,
            zkcore.Discovery(looker, SERVICE, reconnect=connect) as web,
            zkcore.Discovery(zk, SERVICE, by=zkcore.Choice.STICKY) as sticky,
        ):
            print("one after the other:", *(web.choose().name for _ in range(4)))
            print("the same for the same key:", sticky.choose("user:17") == sticky.choose("user:17"))
            with sticky.using("user:17") as first, sticky.using("user:17") as second, sticky.using("user:17") as third:
                print("the third of one key at a time goes elsewhere:", len({first.name, second.name, third.name}) > 1)

            changes = web.changes()
            await anext(changes)
            await one.drain()
            await anext(changes)
            print("web-1 drains, and is not chosen:", names(web, 6))
            await one.close()

            short.freeze()  # as if that process was paused: it is found until its session expires
            while "web-2" in names(web, 6):
                await anext(changes)
            print("web-2 died:", names(web, 6))

            for node in (2, 3):
                cluster.kill(node)  # no quorum: nobody answers any more
            while web.age < 1:
                await asyncio.sleep(0.05)
            print(f"without a quorum: still {web.choose().name}, and known to be old:", web.age >= 1)
            for node in (2, 3):
                cluster.start_node(node)
            await cluster.wait_for_leader()
            four = zkcore.Registration(zk, SERVICE, name="web-4", address="10.0.0.4:80")
            await four.start()
            while "web-4" not in names(web, 6):
                await anext(changes)
            print(f"in the next session: {names(web, 6)}, known to be fresh:", web.age < 1)
        await four.close()
        await three.close()
        short.abandon()


asyncio.run(main())
