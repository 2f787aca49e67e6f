"""The lock on three nodes in this process: holders who lose it, a resource that is fenced, nodes that are killed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from backends import QUICK, Backend, disturb, until, use

import zkcore
from zkcore.client.client import Client
from zkcore.client.cluster import local_cluster
from zkcore.errors import LeaseLostError, LockNotHeldError, SessionExpiredError, ZkcoreError

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, which must come within 20 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


class Resource:
    """Refuses whoever comes with a lower token than it has seen, and counts who is inside."""

    def __init__(self) -> None:
        self.highest = 0
        self.tokens: list[int] = []
        self.refused = 0
        self.inside = 0

    def write(self, token: int) -> bool:
        if token < self.highest:
            self.refused += 1
            return False
        self.highest = token
        self.tokens.append(token)
        return True


def test_one_at_a_time_in_the_order_of_arrival_with_rising_tokens(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        resource, order = Resource(), list[int]()

        async def work(number: int, client: Client) -> None:
            async with zkcore.Lock(client, "/locks/one") as lease:
                resource.inside += 1
                assert resource.inside == 1
                order.append(number)
                assert resource.write(lease.fencing_token)
                await asyncio.sleep(0)
                lease.check()
                resource.inside -= 1

        clients = [await cluster.client().start() for _ in range(6)]
        gate = zkcore.Lock(clients[0], "/locks/one")
        await gate.acquire()
        tasks = []
        for number, client in enumerate(clients):
            tasks.append(asyncio.create_task(work(number, client)))
            while len(await client.get_children("/locks/one")) < number + 2:
                await asyncio.sleep(0)
        await gate.release()
        await asyncio.gather(*tasks)
        assert order == list(range(6))
        assert resource.tokens == sorted(set(resource.tokens))
        assert await clients[0].get_children("/locks/one") == []

    use(backend, test)


def test_many_tasks_and_one_lock_object(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as client:
            lock = zkcore.Lock(client, "/l")
            inside = 0

            async def work() -> None:
                nonlocal inside
                for _ in range(5):
                    async with lock as lease:
                        inside += 1
                        assert inside == 1
                        await asyncio.sleep(0)
                        lease.check()
                        inside -= 1

            await asyncio.gather(*(work() for _ in range(8)))
            assert not lock.held
            assert await lock.locked() is False

    use(backend, test)


def test_a_holder_that_fell_silent_knows_that_it_lost_the_lease_before_another_gets_it() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster:
            silent, other = await cluster.client(timeout=0.1).start(), await cluster.client().start()
            lock = zkcore.Lock(silent, "/l")
            await lock.acquire()
            lease = lock.lease
            assert lease is not None
            silent.freeze()
            async with zkcore.Lock(other, "/l") as later:
                assert lease.is_lost()
                assert lease.lost.is_set()
                assert lease.remaining == 0
                assert not lock.held
                assert later.fencing_token > lease.fencing_token
                with pytest.raises(LeaseLostError):
                    lease.check()
                with pytest.raises(LockNotHeldError):
                    await lock.release()
            with pytest.raises(SessionExpiredError):
                await lock.acquire()

    run(main())


def test_a_lease_can_be_waited_on_for_its_loss() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster:
            client = await cluster.client(timeout=0.1).start()
            async with zkcore.Lock(client, "/l").hold(on_lost=zkcore.OnLost.NOTHING) as lease:
                assert await client.port.wait(lease.lost, timeout=0) is None
                client.freeze()
                assert await client.port.wait(lease.lost) is lease.lost

    run(main())


def test_a_body_that_awaits_is_cancelled_before_another_can_hold_the_lock() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as other:
            silent = await cluster.client(timeout=0.3).start()
            ended: list[str] = []

            async def work() -> None:
                async with zkcore.Lock(silent, "/l"):
                    silent.freeze()
                    try:
                        await asyncio.Event().wait()
                    finally:
                        ended.append("first")

            working = asyncio.create_task(work())
            await until(lambda: silent.port._frozen)
            async with zkcore.Lock(other, "/l"):
                ended.append("second")
            with pytest.raises(LeaseLostError):
                await working
            assert ended == ["first", "second"]
            assert working.cancelling() == 0

    run(main())


def test_a_loss_in_the_midst_of_a_release_is_no_cancellation_of_the_task() -> None:
    async def main() -> None:
        async with local_cluster(1) as cluster, cluster.client() as client:

            async def work() -> None:
                async with zkcore.Lock(client, "/l") as lease:
                    asyncio.get_running_loop().call_soon(client.abandon)
                    await lease.release()

            working = asyncio.create_task(work())
            with pytest.raises(LeaseLostError):
                await working
            assert working.cancelling() == 0

    run(main())


def test_the_loss_of_a_lease_is_told_from_a_cancellation_from_outside() -> None:
    async def main() -> None:
        async with local_cluster(1) as cluster, cluster.client() as client:
            entered = asyncio.Event()

            async def work() -> None:
                async with zkcore.Lock(client, "/l"):
                    entered.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(work())
            await entered.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            entered.clear()
            task = asyncio.create_task(work())
            await entered.wait()
            client.abandon()  # the guard cancels, and so does somebody else
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    run(main())


def test_a_body_that_does_not_yield_is_told_at_its_end_and_stopped_by_its_token() -> None:
    """Nothing can cancel what never awaits: the resource refuses its token, and its end says what happened."""

    async def main() -> None:
        async with local_cluster(1) as cluster:
            guard = zkcore.FenceGuard()

            async def work(client: Client) -> None:
                async with zkcore.Lock(client, "/l") as lease:
                    while not lease.is_lost():
                        pass  # it lets nobody run, its own heartbeats included
                    guard.check(lease.fencing_token + 1)  # the next holder was here
                    with pytest.raises(zkcore.StaleTokenError):
                        guard.check(lease.fencing_token)

            with pytest.raises(LeaseLostError):
                await work(await cluster.client(timeout=0.1).start())

    run(main())


def test_a_lease_outlives_its_node_when_another_takes_the_session(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as client, cluster.client() as other:
            async with zkcore.Lock(client, "/l") as lease:
                await cluster.kill_leader()
                assert await zkcore.Lock(other, "/l").acquire(timeout=0.5) is False
                lease.check()
            assert await zkcore.Lock(other, "/l").acquire() is True

    use(backend, test)


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_acquire_with_a_timeout_leaves_nothing_behind(backend: Backend, timeout: float) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as client, cluster.client() as other:
            held = zkcore.Lock(client, "/l")
            await held.acquire()
            assert await zkcore.Lock(other, "/l").acquire(timeout=timeout) is False
            assert len(await other.get_children("/l")) == 1
            await held.release()
            assert await zkcore.Lock(other, "/l").acquire(timeout=timeout) is True

    use(backend, test)


def test_an_outer_timeout_leaves_nothing_behind_either(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as client, cluster.client() as other:
            await zkcore.Lock(client, "/l").acquire()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await zkcore.Lock(other, "/l").acquire()
            assert len(await other.get_children("/l")) == 1

    use(backend, test)


def test_a_wait_without_a_quorum_ends_in_time_and_by_cancellation() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client(timeout=20) as client:
            lock = zkcore.Lock(client, "/l")
            killed = list(cluster.nodes)[:2]
            for me in killed:
                cluster.kill(me)
            assert await lock.acquire(timeout=0.05) is False
            acquiring = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)
            acquiring.cancel()
            await asyncio.wait([acquiring])
            assert acquiring.cancelled()
            for me in killed:
                cluster.start_node(me)
            assert await lock.acquire() is True
            await lock.release()
            while await client.exists("/l") and await client.get_children("/l"):
                await asyncio.sleep(0)

    run(main())


def test_while_leaders_are_killed_no_two_hold_the_lock_and_nobody_waits_for_ever(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        resource = Resource()
        stop = asyncio.Event()
        done = [0] * 5

        async def work(number: int) -> None:
            async with cluster.client() as client:
                lock = zkcore.Lock(client, "/l")
                while not stop.is_set():
                    async with lock as lease:
                        resource.inside += 1
                        assert resource.inside == 1, "two hold the lock"
                        assert resource.write(lease.fencing_token)
                        await asyncio.sleep(0)
                        lease.check()
                        resource.inside -= 1
                        done[number] += 1

        async def end() -> None:
            await disturb(cluster)
            before = list(done)
            await until(lambda: all(now > then for now, then in zip(done, before, strict=True)))
            stop.set()

        await asyncio.gather(end(), *(work(number) for number in range(len(done))))
        assert resource.tokens == sorted(set(resource.tokens))
        async with cluster.client() as client:
            assert await client.get_children("/l") == []

    use(backend, test)


def test_contenders_that_are_cancelled_while_leaders_are_killed_leave_no_orphan(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as client:
            stop = asyncio.Event()

            async def give_up() -> None:
                lock = zkcore.Lock(client, "/l")
                while not stop.is_set():
                    attempt = asyncio.create_task(lock.acquire())
                    await asyncio.sleep(0.001)
                    attempt.cancel()
                    await asyncio.wait([attempt])
                    if not attempt.cancelled() and attempt.exception() is None:
                        await lock.release()

            tasks = [asyncio.create_task(give_up()) for _ in range(4)]
            await disturb(cluster)
            stop.set()
            await asyncio.gather(*tasks)
            async with asyncio.timeout(5):
                async with zkcore.Lock(client, "/l"):
                    pass
            while await client.get_children("/l"):
                await asyncio.sleep(0.001)

    use(backend, test)


def test_two_holders_of_one_resource_are_told_apart_by_their_tokens() -> None:
    """The first is paused and writes when it wakes; its lease may not have told it yet, the resource does."""

    async def main() -> None:
        async with local_cluster(3) as cluster:
            resource = Resource()
            paused, other = await cluster.client(timeout=0.1).start(), await cluster.client().start()
            first = await zkcore.Lock(paused, "/l").hold(on_lost=zkcore.OnLost.NOTHING).__aenter__()
            assert resource.write(first.fencing_token)
            paused.freeze()
            async with zkcore.Lock(other, "/l") as second:
                assert resource.write(second.fencing_token)
                assert not resource.write(first.fencing_token)
            assert resource.refused == 1
            with pytest.raises(ZkcoreError):
                first.check()

    run(main())
