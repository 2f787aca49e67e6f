"""An ensemble that grows, loses a machine, puts another in its place and shrinks, while a client goes on writing.

A node is added as an observer: it gets everything, and decides nothing. Once it follows it may be made a voter, so the
ensemble is never slower, nor weaker, for somebody who has yet to catch up. Nobody is removed because it is away: what
is dead is replaced, or removed, when you say so. A leader that is removed hands over first.

The nodes are of this process here, as in a test. How a process joins that knows one address of an ensemble is told in
the guide, under "Changing the members". The program prints::

    one node: 1
    three nodes: 1 2 3
    five nodes: 1 2 3 4 5
    node 5 is killed: the members are still 1 2 3 4 5
    node 6 in its place: 1 2 3 4 6
    refused: without [1, 2, 3, 4, 6] there is no voter left, and an ensemble needs one
    three nodes again: 3 4 6
    no write was lost
"""

from __future__ import annotations

import asyncio

import zkcore


def voters(cluster: zkcore.LocalCluster) -> str:
    return " ".join(map(str, cluster.ensemble.voters))


async def write_on(zk: zkcore.Client, done: list[int]) -> None:
    """Create one znode after the other. When the answer is lost with a leader it is asked again, and may be there."""
    while True:
        try:
            await zk.create(f"/orders/{len(done)}", makepath=True)
        except zkcore.NodeExistsError:
            pass
        except zkcore.ConnectionLostError:
            continue
        done.append(len(done))


async def main() -> None:
    async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
        done: list[int] = []
        writing = asyncio.create_task(write_on(zk, done))
        print("one node:", voters(cluster))
        for words, count in (("three", 2), ("five", 2)):
            for _ in range(count):
                await cluster.add_node(promote=True)
            print(f"{words} nodes:", voters(cluster))

        cluster.kill(5)
        print("node 5 is killed: the members are still", voters(cluster))
        new = await cluster.replace(5)
        print(f"node {new} in its place:", voters(cluster))

        node = cluster.nodes[1]
        try:
            await node.remove([2, 3, 4, 6, 1])
        except zkcore.BadArgumentsError as error:
            print("refused:", error)

        for gone in (2, 1):
            await cluster.remove_node(gone)
        print("three nodes again:", voters(cluster))
        writing.cancel()
        found = await zk.get_children("/orders", read=zkcore.Read.LINEARIZABLE)
        print("no write was lost" if len(found) >= len(done) > 0 else "some are missing")


asyncio.run(main())
