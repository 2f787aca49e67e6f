"""The recipes on an ensemble in other processes: the same code as in one, also where there is an Apache ZooKeeper."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ensembles import Ensemble, drop, drop_and_return, expire

import zkcore
from zkcore.client.zookeeper import ZookeeperClient
from zkcore.errors import LeaseLostError, NodeExistsError, UnsupportedError
from zkcore.tree.requests import Multi, Once


def test_a_lock_is_held_by_one_whatever_happens_to_connections(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        inside: list[str] = []
        tokens: list[int] = []

        async def work(zk: ZookeeperClient, name: str) -> None:
            for round_ in range(5):
                async with zkcore.Lock(zk, "/lock") as lease:
                    inside.append(name)
                    assert inside == [name]
                    tokens.append(lease.fencing_token)
                    if round_ % 2:
                        await drop_and_return(zk)
                    inside.remove(name)

        await asyncio.gather(work(one, "one"), work(two, "two"))
        assert len(tokens) == 10
        assert tokens == sorted(set(tokens))
        assert await one.get_children("/lock") == []

    ensemble.use_two(use)


def test_a_lock_that_was_asked_for_while_the_connection_broke_leaves_nobody_in_line(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        lock = zkcore.Lock(one, "/lock")
        for _ in range(5):
            acquiring = asyncio.ensure_future(lock.acquire())
            while not one.whole._unanswered:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            drop(one)
            assert await acquiring
            assert len(await two.get_children("/lock", read=zkcore.Read.LINEARIZABLE)) == 1
            assert not await zkcore.Lock(two, "/lock").acquire(timeout=0)
            await lock.release()
        assert await two.get_children("/lock", read=zkcore.Read.LINEARIZABLE) == []

    ensemble.use_two(use)


def test_a_lock_is_lost_with_the_session(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        async def hold() -> None:
            async with zkcore.Lock(one, "/lock"):
                await expire(one)
                await one.port.wait()

        with pytest.raises(LeaseLostError):
            await hold()
        async with zkcore.Lock(two, "/lock"):
            pass

    ensemble.use_two(use)


def test_an_election(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        first, second = zkcore.Election(one, "/election"), zkcore.Election(two, "/election")
        leads = asyncio.Event()

        async def lead_second() -> None:
            async with second.lead():
                leads.set()

        async with first.lead():
            waiting = asyncio.ensure_future(lead_second())
            await until_waiting(two, "/election", 2)
            await drop_and_return(one)
            assert first.is_leader
            assert not leads.is_set()
        await waiting
        assert leads.is_set()

    async def until_waiting(zk: ZookeeperClient, path: str, count: int) -> None:
        while len(await zk.get_children(path)) < count:
            await asyncio.sleep(0.005)

    ensemble.use_two(use)


def test_a_membership(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        group, other = zkcore.Membership(one, "/group", name="one", data=b"1"), zkcore.Membership(two, "/group")
        changes = other.changes()
        assert await anext(changes) == frozenset()
        async with group:
            assert {member.name for member in await anext(changes)} == {"one"}
            with pytest.raises(NodeExistsError):
                await zkcore.Membership(two, "/group", name="one").join()
            await drop_and_return(one)
            await group.update(b"2")
            while {member.data for member in await other.members()} != {b"2"}:
                await asyncio.sleep(0.005)
        while await anext(changes):
            pass
        await changes.aclose()

    ensemble.use_two(use)


def test_joining_while_the_connection_breaks(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        await zkcore.Membership(one, "/group", name="before").join()
        group = zkcore.Membership(one, "/group", name="one")
        joining = asyncio.ensure_future(group.join())
        while not one.whole._unanswered:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        drop(one)
        lease = await joining
        stat = await two.exists("/group/one", read=zkcore.Read.LINEARIZABLE)
        assert stat is not None
        assert lease.fencing_token == stat.czxid
        await group.leave()
        assert await two.exists("/group/one", read=zkcore.Read.LINEARIZABLE) is None

    ensemble.use_two(use)


def test_an_event(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        event, same = zkcore.Event(one, "/events/go"), zkcore.Event(two, "/events/go")
        waiting = asyncio.ensure_future(same.wait())
        await asyncio.sleep(0)
        await drop_and_return(two)
        await event.set()
        await event.set()
        assert await waiting
        await same.clear()
        await same.clear()
        assert not await event.wait(timeout=0)

    ensemble.use_two(use)


def test_counters_lose_nothing(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        counters = zkcore.Counter(one, "/n"), zkcore.Counter(two, "/n")
        added = await asyncio.gather(*(counter.next() for counter in counters for _ in range(5)))
        assert sorted(added) == list(range(10))
        value = zkcore.AtomicValue(one, "/v", initial={"a": 1}, codec=zkcore.json_codec)
        assert await value.update(lambda now: now | {"b": 2}) == {"a": 1, "b": 2}

    ensemble.use_two(use)


def test_several_locks_together_and_locks_for_readers(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        async with zkcore.MultiLock(one, ["/l/a", "/l/b"]):
            assert not await zkcore.MultiLock(two, ["/l/b", "/l/c"]).acquire(timeout=0)
        assert await one.get_children("/l/a") == await one.get_children("/l/c") == []
        locks = zkcore.ReadWriteLock(one, "/rw"), zkcore.ReadWriteLock(two, "/rw")
        async with locks[0].reader:
            async with locks[1].reader:
                pass
            assert not await locks[1].writer.acquire(timeout=0)

    ensemble.use_two(use)


def test_ids_and_what_is_done_atomically(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        ids = zkcore.IdGenerator(zk, "/ids")
        assert [await ids.next(), await ids.next()] == [0, 1]
        async with zkcore.TimeIdGenerator(zk, "/times") as times:
            assert await times.next() < await times.next()
        async with zkcore.RLock(zk, "/again"):
            pass
        await zk.create("/sum", b"1")

        @zk.atomically
        async def add(t: zkcore.AtomicTransaction, amount: int) -> None:
            t.set("/sum", b"%d" % (int(await t.get("/sum")) + amount))

        await asyncio.gather(*(add(2) for _ in range(5)))
        assert (await zk.get("/sum")).data == b"11"

    ensemble.use(use)


def test_a_queue_and_its_claims(ensemble: Ensemble) -> None:
    async def use(one: ZookeeperClient, two: ZookeeperClient) -> None:
        queue, same = (zkcore.PriorityQueue(zk, "/queue", max_deliveries=2) for zk in (one, two))
        await queue.put_many([b"1", b"2"])
        await queue.put(b"first", priority=1)
        assert await same.get() == b"first"
        async with queue.claim() as claim, same.claim() as other:
            assert (claim.item, other.item) == (b"1", b"2")
            with pytest.raises(zkcore.QueueEmptyError):
                await same.get(timeout=0)
            await claim.release()
        async with same.claim() as claim:
            assert claim.deliveries == 2
            await claim.release()
        assert [letter.item for letter in await same.dead_letters()] == [b"1"]
        assert await same.join()

    ensemble.use_two(use)


def test_a_claim_whose_answer_was_lost_is_found_again(ensemble: Ensemble) -> None:
    def is_transaction(request: Any) -> bool:
        return isinstance(request.request if isinstance(request, Once) else request, Multi)

    async def use(zk: ZookeeperClient) -> None:
        queue = zkcore.Queue(zk, "/queue")
        await queue.put_many([b"1", b"2"])
        for item in (b"1", b"2"):
            claiming = queue.claim()
            entering = asyncio.ensure_future(claiming.__aenter__())
            while not any(is_transaction(asked.request) for asked in zk.whole._unanswered):
                await asyncio.sleep(0)
            drop(zk)
            claim = await entering
            assert (claim.item, claim.deliveries) == (item, 1)
            await claiming.__aexit__(None, None, None)
        assert await queue.empty()

    ensemble.use(use)


def test_recipes_that_need_more_than_an_apache_zookeeper_has_say_so_at_once(ensemble: Ensemble) -> None:
    async def use(zk: ZookeeperClient) -> None:
        semaphore, queue = zkcore.Semaphore(zk, "/semaphore", value=2), zkcore.Queue(zk, "/queue", maxsize=2)
        if ensemble.is_zkcore:
            async with semaphore:
                await queue.put(b"1")
            return
        with pytest.raises(UnsupportedError):
            await semaphore.acquire()
        with pytest.raises(UnsupportedError):
            await queue.put(b"1")

    ensemble.use(use)
