"""The services that are built on the recipes, on three replicas in this process.

    python benchmarks/services.py [--rounds 3] [--seconds 1] [--only topic]

Every figure is the median of so many rounds, each with a cluster of its own, in memory: operations a second of CPU, and
on the clock, and the microseconds of CPU for one. Clients are tasks of this process, connected to the leader. The
calibration loop tells how fast the machine was at the time.

What is looked up in local memory is counted in rounds of 10,000. A failover is the time from when one of three members
was frozen, as if its process were paused, until all of 64 partitions are owned by the others; most of it is the time in
which its session expires.

A message of a mailbox is counted when it was sent, received and acknowledged, by one sender and one receiver; one of a
topic when all of its ten subscribers have it. To run everywhere is one execution by fifty members, each with a session
of its own, from its beginning until the results of all of them are there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from attrs import frozen
from calibration import describe
from targets import Target

import zkcore

DATA = b"x" * 100
INSTANCES = 10
PARTITIONS = 64
SESSION_S = 1.0
LOOK_UPS = 10_000
SUBSCRIBERS = 10
MEMBERS = 50
AHEAD = 100
"""So many messages a sender is ahead of who receives them, at most."""


class Stopwatch:
    """One round: it goes on for so many seconds of CPU, and counts what is done."""

    def __init__(self, seconds: float) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._ends = self._cpu + seconds
        self.count = 0

    @property
    def goes_on(self) -> bool:
        return time.process_time() < self._ends

    def read(self) -> Rate:
        return Rate(self.count / (time.process_time() - self._cpu), self.count / (time.perf_counter() - self._wall))


@frozen
class Rate:
    """Operations a second: of CPU, and on the clock."""

    cpu: float
    wall: float


Measure = Callable[[zkcore.LocalCluster, AsyncExitStack, float], Awaitable[Rate]]


def choosing(by: zkcore.Choice) -> Measure:
    async def measure(cluster: zkcore.LocalCluster, stack: AsyncExitStack, seconds: float) -> Rate:
        zk = await stack.enter_async_context(cluster.client())
        for number in range(INSTANCES):
            instance = zkcore.Registration(zk, "/web", name=f"web-{number}", address="", drain_seconds=0)
            await instance.start()
            stack.push_async_callback(instance.close)
        web = await stack.enter_async_context(zkcore.Discovery(zk, "/web", by=by))
        keys = [f"user:{number}" for number in range(LOOK_UPS)]
        choose = web.choose
        watch = Stopwatch(seconds)
        while watch.goes_on:
            for key in keys:
                choose(key)
            watch.count += LOOK_UPS
        return watch.read()

    return measure


async def members(cluster: zkcore.LocalCluster, stack: AsyncExitStack, count: int) -> list[zkcore.EmbeddedClient]:
    """The clients of so many members of a sharding, once every partition is owned."""
    clients = [await stack.enter_async_context(cluster.client(timeout=SESSION_S)) for _ in range(count)]
    for number, client in enumerate(clients):
        member = zkcore.Sharding(client, "/shards", name=f"host-{number}", partitions=PARTITIONS, leave_within=0)
        await member.start()
        while member.map.state.table is None or member.plan().moves or not await member.wait_until_owned():
            await asyncio.sleep(0.01)
    return clients


async def route(cluster: zkcore.LocalCluster, stack: AsyncExitStack, seconds: float) -> Rate:
    clients = await members(cluster, stack, 3)
    shards = await stack.enter_async_context(zkcore.ShardMap(clients[0], "/shards"))
    keys = [f"user:{number}" for number in range(LOOK_UPS)]
    find = shards.route
    watch = Stopwatch(seconds)
    while watch.goes_on:
        for key in keys:
            find(key)
        watch.count += LOOK_UPS
    return watch.read()


async def failover(cluster: zkcore.LocalCluster, stack: AsyncExitStack) -> float:
    """Seconds from the last sign of a member to all its partitions owned by others."""
    clients = await members(cluster, stack, 3)
    zk = await stack.enter_async_context(cluster.client())
    shards = await stack.enter_async_context(zkcore.ShardMap(zk, "/shards"))
    clients[1].freeze()
    frozen_at = time.perf_counter()
    async for state in shards.changes():
        if state.is_whole and "host-1" not in state.members:
            break
    return time.perf_counter() - frozen_at


async def mailbox(cluster: zkcore.LocalCluster, stack: AsyncExitStack, seconds: float) -> Rate:
    one, other = [await stack.enter_async_context(cluster.client()) for _ in range(2)]
    sender = zkcore.Mailbox[bytes](one, "/mail", "sender", maxsize=AHEAD)
    receiver = zkcore.Mailbox[bytes](other, "/mail", "receiver", maxsize=AHEAD)
    await sender.send("receiver", DATA)
    watch = Stopwatch(seconds)

    async def send() -> None:
        while watch.goes_on:
            await sender.send("receiver", DATA)

    async def receive() -> None:
        async with receiver.messages() as messages:
            async for _ in messages:
                watch.count += 1
                if not watch.goes_on:
                    break

    sending = asyncio.create_task(send())
    await receive()
    rate = watch.read()
    await sending
    return rate


async def topic(cluster: zkcore.LocalCluster, stack: AsyncExitStack, seconds: float) -> Rate:
    clients = [await stack.enter_async_context(cluster.client()) for _ in range(1 + SUBSCRIBERS)]
    topics = [zkcore.Topic[bytes](client, "/topic", history=1000) for client in clients]
    read = [0] * SUBSCRIBERS
    published = 0

    async def follow(number: int) -> None:
        async for _ in await topics[number].subscribe(since=0):
            read[number] += 1

    following = [asyncio.create_task(follow(number)) for number in range(SUBSCRIBERS)]
    watch = Stopwatch(seconds)
    while watch.goes_on:
        await topics[-1].publish(DATA)
        published += 1
        while published - min(read) > AHEAD:
            await asyncio.sleep(0)
    while min(read) < published:
        await asyncio.sleep(0)
    watch.count = published
    rate = watch.read()
    for task in following:
        task.cancel()
    await asyncio.wait(following)
    return rate


async def everywhere(cluster: zkcore.LocalCluster, stack: AsyncExitStack, seconds: float) -> Rate:
    async def echo(call: zkcore.Call[bytes]) -> bytes:
        return call.argument

    serving = []
    for _ in range(MEMBERS):
        client = await stack.enter_async_context(cluster.client())
        serving.append(asyncio.create_task(zkcore.Everywhere[bytes](client, "/fleet", actions={"echo": echo}).serve()))
    asker = zkcore.Everywhere[bytes](await stack.enter_async_context(cluster.client()), "/fleet")
    while len(await asker.members()) < MEMBERS:
        await asyncio.sleep(0)
    watch = Stopwatch(seconds)
    while watch.goes_on:
        report = await asker.run("echo", DATA)
        assert report.is_done
        watch.count += 1
    rate = watch.read()
    for task in serving:
        task.cancel()
    await asyncio.wait(serving)
    return rate


ROWS: dict[str, Measure] = {
    **{f"choose: {by} of {INSTANCES}": choosing(by) for by in zkcore.Choice},
    "route: a key among 64 partitions": route,
    "mailbox: send, receive, acknowledge": mailbox,
    f"topic: publish to {SUBSCRIBERS} subscribers": topic,
    f"everywhere: run by {MEMBERS} members": everywhere,
}


FAILOVER = "failover: a member of three, 64 partitions"

MILLIONS = {
    f"choose: {zkcore.Choice.ROUND_ROBIN} of {INSTANCES}": 1.0,
    f"choose: {zkcore.Choice.STICKY} of {INSTANCES}": 0.5,
    "route: a key among 64 partitions": 0.5,
}
"""So many are wanted of each, a second of CPU."""


def measure(row: Measure, seconds: float) -> Rate:
    async def main() -> Rate:
        async with zkcore.local_cluster(3) as cluster, AsyncExitStack() as stack:
            return await row(cluster, stack, seconds)

    return asyncio.run(main())


def measure_failover() -> float:
    async def main() -> float:
        async with zkcore.local_cluster(3) as cluster, AsyncExitStack() as stack:
            return await failover(cluster, stack)

    return asyncio.run(main())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1, help="of CPU, for each round")
    parser.add_argument("--only", default="", help="rows with this in their names")
    options = parser.parse_args()
    print(f"{describe('before')}; load {os.getloadavg()[0]:.1f}")
    targets: list[Target] = []
    print(f"{'operations a second':48}{'of CPU':>12}{'on the clock':>14}{'CPU us each':>13}")
    for name, row in ROWS.items():
        if options.only in name:
            rates = [measure(row, options.seconds) for _ in range(options.rounds)]
            cpu, wall = (statistics.median(values) for values in zip(*((r.cpu, r.wall) for r in rates), strict=True))
            print(f"{name:48}{cpu:12,.0f}{wall:14,.0f}{1e6 / cpu:13,.1f}", flush=True)
            if name in MILLIONS:
                targets.append(Target(f"{name}, million a second of CPU", cpu / 1e6, MILLIONS[name]))
    if options.only in FAILOVER:
        times = [measure_failover() for _ in range(options.rounds)]
        middle = statistics.median(times)
        print(f"{FAILOVER:48}{middle:10.3f} s, of which {SESSION_S:g} s are the session timeout")
    print(f"{describe('after')}; load {os.getloadavg()[0]:.1f}")
    for target in targets:
        print(target)


if __name__ == "__main__":
    main()
