"""The recipes on three servers of every kind, while leaders are killed."""

from __future__ import annotations

import asyncio

from backends import Backend, certainly, disturb, look_again, use

import zkcore
from zkcore.client.client import Client
from zkcore.errors import BrokenBarrierError, NoNodeError, OutcomeUnknownError


def test_rounds_of_a_barrier_while_leaders_are_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
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

        await asyncio.gather(disturb(cluster), *(work(number) for number in range(len(reached))))
        assert reached == [rounds] * len(reached)

    use(backend, test)


def test_parties_that_give_up_while_leaders_are_killed_agree_on_whether_they_passed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as first, cluster.client() as other:

            async def party(client: Client, delay: float) -> int | None:
                await asyncio.sleep(delay)
                try:
                    return await zkcore.Barrier(client, "/b", parties=2).wait(0.02)
                except BrokenBarrierError:
                    return None

            disturbing = asyncio.create_task(disturb(cluster))
            passed = 0
            for attempt in range(40):
                numbers = await asyncio.gather(party(first, 0), party(other, attempt % 7 * 0.005))
                assert set(numbers) in ({0, 1}, {None}), "one passed alone"
                passed += numbers[0] is not None
                await zkcore.Barrier(first, "/b", parties=2).reset()
                await look_again(other)
            await disturbing
            assert passed

    use(backend, test)


def test_an_event_is_set_and_cleared_while_leaders_are_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as client, cluster.client() as other:
            disturbing = asyncio.create_task(disturb(cluster))
            while not disturbing.done():
                waiting = asyncio.create_task(zkcore.Event(other, "/e").wait())
                await certainly(cluster, zkcore.Event(client, "/e").set)
                assert await waiting is True
                await certainly(cluster, zkcore.Event(client, "/e").clear)
                await look_again(other)
                assert await zkcore.Event(other, "/e").is_set() is False
            await disturbing

    use(backend, test)


def test_items_go_through_a_queue_once_while_leaders_are_killed_and_consumers_cancelled(backend: Backend) -> None:
    """An Apache ZooKeeper bounds no queue, and does not remember what became of a put or a get whose answer was lost:
    then it may be there once more, or missing."""

    async def test(cluster: Backend) -> None:
        async with cluster.client() as client:
            count, taken, done = 60, list[int](), list[int]()
            maxsize, forgotten, stop = 8 if cluster.is_complete else 0, list[str](), asyncio.Event()

            async def produce(first: int) -> None:
                queue = zkcore.Queue(client, "/q", maxsize=maxsize, codec=zkcore.json_codec)
                for number in range(first, count, 2):
                    try:
                        await queue.put(number)
                    except zkcore.OutcomeForgottenError:
                        forgotten.append("put")

            async def consume(consumer: Client) -> None:
                queue = zkcore.Queue(consumer, "/q", maxsize=maxsize, codec=zkcore.json_codec)
                while not stop.is_set():
                    getting = asyncio.create_task(queue.get(timeout=1))
                    await asyncio.wait([getting], timeout=0.005 if cluster.is_complete else None)
                    getting.cancel()
                    await asyncio.wait([getting])
                    try:
                        if not getting.cancelled():
                            taken.append(getting.result())
                    except zkcore.QueueEmptyError:
                        continue
                    except OutcomeUnknownError:
                        forgotten.extend([] if cluster.is_complete else ["get"])
                    try:
                        async with queue.claim(timeout=0.01) as claim:
                            item = claim.item
                        done.append(item)
                    except zkcore.OutcomeForgottenError:
                        forgotten.append("claim")
                    except (zkcore.QueueEmptyError, OutcomeUnknownError):
                        pass  # there was none in time, or nobody answered

            async def produce_all() -> None:
                await asyncio.gather(disturb(cluster), produce(0), produce(1))
                await look_again(client)
                assert await zkcore.Queue(client, "/q", maxsize=maxsize).join()
                stop.set()

            others = [await cluster.client().start() for _ in range(3)]
            await asyncio.gather(produce_all(), *(consume(other) for other in others))
            assert len(set(taken + done)) == len(taken + done)
            assert count - len(taken + done) <= len(forgotten)
            assert not (forgotten and cluster.is_complete)

    use(backend, test)


def test_no_item_is_lost_between_workers_that_fail_dead_letters_and_killed_leaders(backend: Backend) -> None:
    """Where it is forgotten what became of a put it is put again, and then may be there twice."""

    async def test(cluster: Backend) -> None:
        async with cluster.client() as client:
            count, done, tries, forgotten = 30, list[int](), [0], list[str]()
            stopping: list[bool] = []

            async def produce() -> None:
                queue = zkcore.PriorityQueue(client, "/q", codec=zkcore.json_codec)
                for number in range(count):
                    while True:
                        try:
                            await queue.put(number, priority=number % 3, delay=number % 2 * 0.02)
                            break
                        except zkcore.OutcomeForgottenError:
                            forgotten.append("put")

            async def work(worker: Client) -> None:
                queue: zkcore.PriorityQueue[int]
                queue = zkcore.PriorityQueue(worker, "/q", codec=zkcore.json_codec, max_deliveries=2)
                while not stopping:
                    tries[0] += 1
                    fails, item = bool(tries[0] % 2), None
                    try:
                        async with queue.claim(timeout=0.01, visibility_timeout=5) as claim:
                            claim.progress()
                            if fails:
                                raise ValueError
                            item = claim.item
                        done.append(item)
                    except zkcore.OutcomeForgottenError:
                        forgotten.append("claim")
                        done.extend([] if item is None else [item])
                    except (zkcore.QueueEmptyError, OutcomeUnknownError, ValueError):
                        pass

            async def look_after() -> None:
                queue: zkcore.PriorityQueue[int] = zkcore.PriorityQueue(client, "/q", codec=zkcore.json_codec)
                while len(set(done)) < count:
                    for letter in await queue.dead_letters():
                        assert letter.deliveries >= 2
                        try:
                            await queue.requeue(letter)
                        except (zkcore.OutcomeForgottenError, NoNodeError):
                            assert not cluster.is_complete
                    await asyncio.sleep(0.01)
                stopping.append(True)

            workers = [await cluster.client().start() for _ in range(3)]
            await asyncio.gather(produce(), disturb(cluster), look_after(), *(work(worker) for worker in workers))
            assert set(done) == set(range(count))
            if not forgotten:
                assert len(done) == count
                queue: zkcore.PriorityQueue[int] = zkcore.PriorityQueue(client, "/q")
                await look_again(client)
                assert await queue.join(timeout=5) is True
                assert await queue.dead_letters() == ()
            assert not (forgotten and cluster.is_complete)

    use(backend, test)
