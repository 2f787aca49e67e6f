"""What a cluster tells while it loses its leader: the events that logs, dashboards and your own code are made of.

One task follows the events of all three nodes while another writes. The leader is killed; the other two notice, elect
one of them, and take over its client. Nobody has asked anybody: it is all told.

It prints::

    -- the leader, node ..., is killed
    node ... has stopped
    node ... has no quorum, and serves nobody: the link to leader ... broke
    node ... has no quorum, and serves nobody: the link to leader ... broke
    node ... leads in epoch 2
    node ...: session ... is served here from now on
    -- 10 writes were answered; 2 nodes are left, alive and ready
    -- the quorum was lost 2 times and regained 2 times
"""

import asyncio
from collections import Counter

import zkcore
from zkcore.events import (
    Dropped,
    EventStream,
    LeaderChanged,
    NodeEvent,
    NodeStopped,
    QuorumLost,
    QuorumRegained,
    SessionMoved,
)


def is_news(event: NodeEvent | Dropped) -> bool:
    if isinstance(event, LeaderChanged):
        return event.leader == event.node  # the others tell whom they follow
    return isinstance(event, NodeStopped | QuorumLost | SessionMoved | Dropped)


async def follow(events: EventStream) -> None:
    """Print what is told, until somebody serves the client of the leader that was killed."""
    async for event in events:
        if is_news(event):
            print(event)
        if isinstance(event, SessionMoved):
            return


async def main() -> None:
    counts: Counter[type[NodeEvent]] = Counter()
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
        await zk.create("/before")
        cluster.events.subscribe(lambda event: counts.update([type(event)]))  # called with each, as it happens
        async with cluster.events.stream() as events:
            leader = await cluster.wait_for_leader()
            print(f"-- the leader, node {leader}, is killed")
            cluster.kill(leader)
            following = asyncio.create_task(follow(events))
            for number in range(10):
                await zk.create(f"/{number}")
            await following
        while counts[QuorumRegained] < 2:
            await asyncio.sleep(0.01)
        well = [node.is_alive() and node.is_ready() for node in cluster.nodes.values()]
        print(f"-- 10 writes were answered; {well.count(True)} nodes are left, alive and ready")
        print(f"-- the quorum was lost {counts[QuorumLost]} times and regained {counts[QuorumRegained]} times")


asyncio.run(main())
