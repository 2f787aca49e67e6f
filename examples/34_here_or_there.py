"""One program, here or there: with no argument its replicas are in this process; with one, a `zk://...` url, it is a
client of those servers, Apache ZooKeeper's or zkcore's. Not a line of the program is another one.

    python examples/34_here_or_there.py
    python examples/34_here_or_there.py zk://zk1:2181,zk2:2181,zk3:2181/example
    ZOOKEEPER=zk://localhost:2181/example python examples/34_here_or_there.py

prints::

    the setting is green
    held with a token, a later hold has a higher one: True
    worker-1 leads
    counted to 10
    nobody is left: True
"""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

import zkcore


async def program(zk: zkcore.Client, other: zkcore.Client) -> None:
    """What coordinates itself. It is given two clients, as two processes would have them."""
    if await zk.exists("/example"):  # left by a run that was broken off
        await zk.delete("/example", recursive=True)
    await zk.create("/example/setting", b"blue", makepath=True)
    changes = other.watch("/example/setting")
    await anext(changes)  # from here on nothing is missed
    await zk.set("/example/setting", b"green")
    while (await other.get("/example/setting")).data != b"green":
        await anext(changes)
    await changes.aclose()
    print("the setting is green")

    async with zkcore.Lock(zk, "/example/lock") as lease:
        first = lease.fencing_token
    async with zkcore.Lock(other, "/example/lock") as lease:
        print("held with a token, a later hold has a higher one:", lease.fencing_token > first)

    async with zkcore.Election(zk, "/example/leader", identifier="worker-1").lead():
        await other.sync()  # where there are several servers, its own may not have heard of it yet
        leader = await zkcore.Election(other, "/example/leader").leader()
        print(leader and leader.identifier, "leads")

    counters = [zkcore.Counter(each, "/example/count") for each in (zk, other)]
    await asyncio.gather(*(counters[turn % 2].add() for turn in range(10)))
    print("counted to", await counters[0].get())

    await zk.delete("/example", recursive=True)
    await other.sync()
    print("nobody is left:", await other.exists("/example") is None)


async def main(url: str | None) -> None:
    async with AsyncExitStack() as stack:
        if url is None:
            cluster = await stack.enter_async_context(zkcore.local_cluster(3))
            clients = [cluster.client(), cluster.client()]
        else:
            clients = [zkcore.connect(url), zkcore.connect(url)]
        one, two = [await stack.enter_async_context(client) for client in clients]
        await one.ensure_path("/")
        await program(one, two)


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("ZOOKEEPER")))
