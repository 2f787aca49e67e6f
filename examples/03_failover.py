"""The leader is killed while somebody writes and somebody else watches, and comes back.

Three replicas survive the loss of one. What a client notices:

- A write that was *under way* ends with OutcomeUnknownError: its answer is lost, and nobody can say from here whether
  it happened. The session lives on. Once it is served again, everything that will ever be applied is, so reading
  settles the matter, and the version of the znode is what to look at: `write` below.
- Everything asked for *while there is no leader* simply waits: a pause, no error.
- A watch goes along with its session: the next replica tells what happened meanwhile.

It prints::

    three replicas, one of them leads
    write 10: the leader is cut off and killed while it is under way
    write 10: the answer is lost; the znode still has version 9, so it did not happen: again
    20 writes, and the znode has version 20
    the watcher saw numbers that only rose, and last of all 20
    its watch went along to another replica, and nothing was missed
    the killed node is back; asked by itself it says 20
"""

import asyncio
from collections.abc import Callable

import zkcore

WRITES = 20
FATAL = 10  # the write during which the leader is killed


async def read(zk: zkcore.Client, watch: Callable[[zkcore.WatchEvent | None], None] | None = None) -> zkcore.NodeData:
    """What /news holds. Reading twice does no harm, so a lost answer is no matter; the second attempt waits until the
    client is served again."""
    while True:
        try:
            return await zk.get("/news", watch)
        except zkcore.OutcomeUnknownError:
            continue


async def write(zk: zkcore.Client, number: int) -> None:
    """Make `number` the data of /news, exactly once, whatever becomes of the answer.

    Every write names the version it replaces, so a second attempt cannot overwrite what somebody else wrote since.
    """
    version = number - 1  # each of our writes adds one to it
    while True:
        try:
            await zk.set("/news", str(number).encode(), version=version)
            return
        except zkcore.OutcomeUnknownError:
            now = await read(zk)
            if now.stat.version == version:
                print(
                    f"write {number}: the answer is lost; the znode still has version {version}, "
                    "so it did not happen: again"
                )
            elif now.data == str(number).encode():
                print(f"write {number}: the answer is lost, but the znode shows that it happened")
                return
            else:
                raise  # somebody else writes here too; what to do then is for the application to say


async def write_all(zk: zkcore.Client, cluster: zkcore.LocalCluster, leader: int) -> None:
    for number in range(1, WRITES + 1):
        if number == FATAL:
            print(f"write {number}: the leader is cut off and killed while it is under way")
            # The leader logs the write and tells nobody. When it comes back it will find that the others went on
            # without that record, and cut it from its log.
            for other in cluster.nodes.keys() - {leader}:
                cluster.network.cut(leader, other)
            asyncio.get_running_loop().call_later(0.01, cluster.kill, leader)
        await write(zk, number)


async def watch(zk: zkcore.Client) -> list[int]:
    """Follow /news until the last number is there: all numbers seen."""
    seen: list[int] = []
    changed = asyncio.Event()

    def on_change(event: zkcore.WatchEvent | None) -> None:
        changed.set()

    while not seen or seen[-1] < WRITES:
        changed.clear()
        seen.append(int((await read(zk, on_change)).data))
        if seen[-1] < WRITES:
            await changed.wait()
    return seen


async def caught_up(node: zkcore.Node, with_node: zkcore.Node) -> None:
    """Wait until `node` has applied everything that `with_node` has."""
    while node.status().last_delivered < with_node.status().last_delivered:
        await asyncio.sleep(0.01)


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as writer, cluster.client() as reader:
        leader = await cluster.wait_for_leader()
        print("three replicas, one of them leads")
        await writer.create("/news", b"0")
        watching = asyncio.create_task(watch(reader))

        await write_all(writer, cluster, leader)
        print(f"{WRITES} writes, and the znode has version {(await read(writer)).stat.version}")

        seen = await watching
        assert seen == sorted(seen)
        print(f"the watcher saw numbers that only rose, and last of all {seen[-1]}")
        print("its watch went along to another replica, and nothing was missed")

        for other in cluster.nodes:
            cluster.network.heal(leader, other)
        cluster.start_node(leader)
        killed, leads_now = cluster.nodes[leader], cluster.nodes[await cluster.wait_for_leader()]
        await caught_up(killed, leads_now)
        async with killed.client() as zk:  # served by this node alone
            print("the killed node is back; asked by itself it says", int((await read(zk)).data))


asyncio.run(main())
