"""The recipes on three nodes in this process, while leaders are killed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import zkcore
from zkcore.client.node import LocalCluster, local_cluster
from zkcore.errors import BrokenBarrierError, OutcomeUnknownError
from zkcore.zab.limits import Limits

T = TypeVar("T")

QUICK = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)
"""A leader that has lost its followers gives up after 0.2 s."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, which must come within 30 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await coroutine

    return asyncio.run(bounded())


async def disturb(cluster: LocalCluster, count: int) -> None:
    """Kill the leader, again and again."""
    for _ in range(count):
        leader = await cluster.wait_for_leader()
        await asyncio.sleep(0.03)
        if cluster.leader == leader:
            cluster.kill(leader)
            await cluster.wait_for_leader()
            cluster.start_node(leader)


async def look_again(client: zkcore.EmbeddedClient) -> None:
    """From now on `client` sees what everybody has done until now."""
    while True:
        try:
            await client.sync()
            return
        except OutcomeUnknownError:
            pass


def test_rounds_of_a_barrier_while_leaders_are_killed() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster:
            rounds = 15
            reached = [0] * 4

            async def work(number: int) -> None:
                async with cluster.client() as client:
                    barrier = zkcore.Barrier(client, "/b", parties=len(reached))
                    for _ in range(rounds):
                        async with barrier:
                            reached[number] += 1
                            assert max(reached) - min(reached) <= 1, "somebody passed early"
                        assert max(reached) - min(reached) <= 1, "somebody left early"

            await asyncio.gather(disturb(cluster, 4), *(work(number) for number in range(len(reached))))
            assert reached == [rounds] * len(reached)

    run(main())


def test_parties_that_give_up_while_leaders_are_killed_agree_on_whether_they_passed() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as first, cluster.client() as other:

            async def party(client: zkcore.EmbeddedClient, delay: float) -> int | None:
                await asyncio.sleep(delay)
                try:
                    return await zkcore.Barrier(client, "/b", parties=2).wait(0.02)
                except BrokenBarrierError:
                    return None

            disturbing = asyncio.create_task(disturb(cluster, 4))
            passed = 0
            for attempt in range(60):
                numbers = await asyncio.gather(party(first, 0), party(other, attempt % 7 * 0.005))
                assert set(numbers) in ({0, 1}, {None}), "one passed alone"
                passed += numbers[0] is not None
                await zkcore.Barrier(first, "/b", parties=2).reset()
                await look_again(other)
            await disturbing
            assert passed

    run(main())


def test_an_event_is_set_and_cleared_while_leaders_are_killed() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as client, cluster.client() as other:
            disturbing = asyncio.create_task(disturb(cluster, 4))
            while not disturbing.done():
                waiting = asyncio.create_task(zkcore.Event(other, "/e").wait())
                await zkcore.Event(client, "/e").set()
                assert await waiting is True
                await zkcore.Event(client, "/e").clear()
                await look_again(other)
                assert await zkcore.Event(other, "/e").is_set() is False
            await disturbing

    run(main())


def test_items_go_through_a_queue_once_while_leaders_are_killed_and_consumers_cancelled() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as client:
            count, taken, done = 60, list[int](), list[int]()

            async def produce(first: int) -> None:
                queue = zkcore.Queue(client, "/q", maxsize=8, codec=zkcore.json_codec)
                for number in range(first, count, 2):
                    await queue.put(number)

            async def consume(consumer: zkcore.EmbeddedClient) -> None:
                queue = zkcore.Queue(consumer, "/q", codec=zkcore.json_codec)
                while len(taken) + len(done) < count:
                    getting = asyncio.create_task(queue.get())
                    await asyncio.wait([getting], timeout=0.005)
                    getting.cancel()
                    await asyncio.wait([getting])
                    if not getting.cancelled():
                        taken.append(getting.result())
                    try:
                        async with queue.claim(timeout=0.01) as claim:
                            item = claim.item
                        done.append(item)
                    except zkcore.QueueEmptyError:
                        pass

            others = [await cluster.client().start() for _ in range(3)]
            await asyncio.gather(disturb(cluster, 3), produce(0), produce(1), *(consume(other) for other in others))
            assert sorted(taken + done) == list(range(count))

    run(main())


def test_no_item_is_lost_between_workers_that_fail_dead_letters_and_killed_leaders() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as client:
            count, done, tries = 30, list[int](), [0]
            stopping: list[bool] = []

            async def produce() -> None:
                queue = zkcore.PriorityQueue(client, "/q", codec=zkcore.json_codec)
                for number in range(count):
                    await queue.put(number, priority=number % 3, delay=number % 2 * 0.02)

            async def work(worker: zkcore.EmbeddedClient) -> None:
                queue: zkcore.PriorityQueue[int]
                queue = zkcore.PriorityQueue(worker, "/q", codec=zkcore.json_codec, max_deliveries=2)
                while not stopping:
                    tries[0] += 1
                    fails = bool(tries[0] % 2)
                    try:
                        async with queue.claim(timeout=0.01, visibility_timeout=5) as claim:
                            claim.progress()
                            if fails:
                                raise ValueError
                        done.append(claim.item)
                    except (zkcore.QueueEmptyError, OutcomeUnknownError, ValueError):
                        pass

            async def look_after() -> None:
                queue: zkcore.PriorityQueue[int] = zkcore.PriorityQueue(client, "/q", codec=zkcore.json_codec)
                while len(done) < count:
                    for letter in await queue.dead_letters():
                        assert letter.deliveries >= 2
                        await queue.requeue(letter)
                    await asyncio.sleep(0.01)
                stopping.append(True)

            workers = [await cluster.client().start() for _ in range(3)]
            await asyncio.gather(produce(), disturb(cluster, 3), look_after(), *(work(worker) for worker in workers))
            assert sorted(done) == list(range(count))
            queue: zkcore.PriorityQueue[int] = zkcore.PriorityQueue(client, "/q")
            await look_again(client)
            assert await queue.join(timeout=5) is True
            assert await queue.dead_letters() == ()

    run(main())
