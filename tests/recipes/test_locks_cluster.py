"""Read-write locks, semaphores, several locks at once and latches on three servers of every kind."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from backends import Backend, disturb, until, use

import zkcore
from zkcore.client.cluster import local_cluster

WORKERS = 5


def test_readers_and_writers_while_leaders_are_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        inside: Counter[str] = Counter()
        done: Counter[str] = Counter()
        stop = asyncio.Event()
        guard = zkcore.FenceGuard()

        async def work(number: int) -> None:
            side = "writer" if number < 2 else "reader"
            async with cluster.client() as client:
                lock = zkcore.ReadWriteLock(client, "/rw")
                while not stop.is_set():
                    async with lock.writer if side == "writer" else lock.reader as lease:
                        guard.check(lease.fencing_token, shared=side == "reader")
                        inside[side] += 1
                        assert inside["writer"] + (inside["reader"] > 0) <= 1, "a writer is not alone"
                        await asyncio.sleep(0.001)
                        lease.check()
                        inside[side] -= 1
                        if side == "writer":
                            await lock.writer.downgrade()
                            inside["reader"] += 1
                            await asyncio.sleep(0)
                            inside["reader"] -= 1
                        done[str(number)] += 1

        async def end() -> None:
            await disturb(cluster)
            before = Counter(done)
            await until(lambda: all(done[str(n)] > before[str(n)] for n in range(WORKERS)))
            stop.set()

        await asyncio.gather(end(), *(work(number) for number in range(WORKERS)))
        async with cluster.client() as client:
            assert await client.get_children("/rw") == []

    use(backend, test)


def test_never_more_than_the_permits_while_leaders_are_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        inside = most = 0
        done: Counter[int] = Counter()
        stop = asyncio.Event()

        async def work(number: int) -> None:
            nonlocal inside, most
            async with cluster.client() as client:
                semaphore = zkcore.BoundedSemaphore(client, "/limit", value=2)
                while not stop.is_set():
                    async with semaphore as lease:
                        inside += 1
                        most = max(most, inside)
                        await asyncio.sleep(0.001)
                        lease.check()
                        inside -= 1
                        done[number] += 1

        async def end() -> None:
            await disturb(cluster)
            before = Counter(done)
            await until(lambda: all(done[n] > before[n] for n in range(WORKERS)))
            stop.set()

        await asyncio.gather(end(), *(work(number) for number in range(WORKERS)))
        assert 1 <= most <= 2
        async with cluster.client() as client:
            assert await zkcore.BoundedSemaphore(client, "/limit", value=2).available() == 2
            assert await client.get_children("/limit/line") == []

    use(backend, test)


def test_transfers_between_accounts_in_all_directions_end_and_lose_nothing(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        accounts = {f"/accounts/{name}": 100 for name in "abcd"}
        names = list(accounts)

        async def move(number: int) -> None:
            async with cluster.client() as client:
                for step in range(6):
                    source, target = names[(number + step) % 4], names[(number * 2 + step + 1) % 4]
                    if source == target:
                        continue
                    async with zkcore.MultiLock(client, [source, target]):
                        there, here = accounts[source], accounts[target]
                        await asyncio.sleep(0)
                        accounts[source], accounts[target] = there - 1, here + 1

        await asyncio.gather(*(move(number) for number in range(WORKERS)))
        assert sum(accounts.values()) == 400

    use(backend, test)


def test_a_latch_opens_for_all_when_the_last_node_counts_though_the_leader_is_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        clients = [await cluster.client().start() for _ in range(WORKERS)]
        latches = [zkcore.CountDownLatch(client, "/ready", count=WORKERS) for client in clients]
        waiting = [asyncio.create_task(latch.wait()) for latch in latches]
        for latch in latches[:-1]:
            await latch.count_down()
        assert await latches[0].count() == 1
        await cluster.kill_leader()
        assert not any(task.done() for task in waiting)
        await latches[-1].count_down()
        assert await asyncio.gather(*waiting) == [True] * WORKERS
        with pytest.raises(zkcore.LatchCountError):
            await latches[0].count_down()

    use(backend, test)


def test_a_nested_hold_is_cancelled_once_and_tells_of_the_loss_at_its_outermost_end() -> None:
    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = await cluster.client().start()
            lock = zkcore.RLock(client, "/r")

            async def work() -> None:
                async with lock, lock, lock:
                    client.abandon()
                    await asyncio.Event().wait()

            task = asyncio.create_task(work())
            with pytest.raises(zkcore.LeaseLostError):
                await task
            assert task.cancelling() == 0

    asyncio.run(main())


def test_a_task_that_was_begun_by_the_owner_is_another_owner(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as client:
            lock = zkcore.RLock(client, "/r")
            async with lock:
                child = asyncio.create_task(lock.acquire(timeout=0.05))
                assert await child is False
            assert await lock.acquire(timeout=0) is True

    use(backend, test)
