"""An iterator over events: shortly told, bounded, and never silent where something is missing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import zkcore
import zkcore.sync as blocking
from zkcore import EmbeddedClient, EventType, Resync, WatchEvent
from zkcore.client.cluster import local_cluster
from zkcore.client.events import Events
from zkcore.errors import BadArgumentsError, SessionClosedError, SessionExpiredError
from zkcore.zab.limits import Limits

CREATED, DELETED, CHANGED, CHILDREN = EventType


def with_client(use: Callable[[EmbeddedClient], Coroutine[Any, Any, None]]) -> None:
    """Run `use` with a client of one node, within 30 seconds."""

    async def main() -> None:
        async with asyncio.timeout(30), local_cluster(1) as cluster, cluster.client() as client:
            await use(client)

    asyncio.run(main())


def shown(event: WatchEvent | Resync) -> tuple[str, str]:
    return ("RESYNC" if isinstance(event, Resync) else event.type.name), event.path


async def take(events: Events, count: int) -> list[tuple[str, str]]:
    return [shown(await anext(events)) for _ in range(count)]


async def nothing_more(events: Events) -> None:
    waiting = asyncio.create_task(anext(events))  # type: ignore[arg-type]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


def test_it_begins_with_what_there_is_and_tells_what_happens() -> None:
    async def use(zk: EmbeddedClient) -> None:
        await zk.create("/a")
        events = zk.watch("/a")
        assert not await zk.has_watch("/a"), "made, and not begun"
        first = await anext(events)
        assert first == Resync("/a", 0, zk.last_zxid)
        await zk.set("/a", b"x")
        await zk.create("/a/b")
        await zk.create("/a/b/c")
        await zk.delete("/a", recursive=True)
        assert await take(events, 3) == [
            ("NODE_DATA_CHANGED", "/a"), ("NODE_CHILDREN_CHANGED", "/a"), ("NODE_DELETED", "/a")
        ]  # fmt: skip
        await nothing_more(events)

    with_client(use)


def test_with_everything_below() -> None:
    async def use(zk: EmbeddedClient) -> None:
        events = zk.watch("/a", recursive=True)
        await anext(events)
        await zk.create("/a/b", makepath=True)
        await zk.create("/c")
        assert await take(events, 2) == [("NODE_CREATED", "/a"), ("NODE_CREATED", "/a/b")]
        await nothing_more(events)
        chrooted = zk.chroot("/a").watch("/", recursive=True)
        assert shown(await anext(chrooted)) == ("RESYNC", "/")
        await zk.set("/a/b", b"x")
        assert await take(chrooted, 1) == [("NODE_DATA_CHANGED", "/b")]

    with_client(use)


def test_several_of_a_kind_are_told_as_one_in_the_place_of_the_last() -> None:
    async def use(zk: EmbeddedClient) -> None:
        events = zk.watch("/", recursive=True)
        await anext(events)
        await zk.create("/a")
        for _ in range(10):
            await zk.set("/a", b"")
        await zk.create("/b")
        await zk.delete("/a")
        await zk.create("/a")
        last = await zk.set("/b", b"")
        seen = [await anext(events) for _ in range(5)]
        assert [shown(event) for event in seen] == [
            ("NODE_DATA_CHANGED", "/a"), ("NODE_CREATED", "/b"), ("NODE_DELETED", "/a"), ("NODE_CREATED", "/a"),
            ("NODE_DATA_CHANGED", "/b"),
        ]  # fmt: skip
        zxids = [event.zxid for event in seen]
        assert zxids == sorted(zxids)
        assert zxids[-1] == last.mzxid
        await nothing_more(events)

    with_client(use)


@pytest.mark.parametrize("count", [5, 6, 50])
def test_what_is_too_much_is_one_resync(count: int) -> None:
    async def use(zk: EmbeddedClient) -> None:
        events = zk.watch("/", recursive=True, most=5)
        begun = (await anext(events)).zxid
        for number in range(count):
            await zk.create(f"/n{number}")
        if count == 5:
            assert await take(events, 5) == [("NODE_CREATED", f"/n{number}") for number in range(5)]
        else:
            resync = await anext(events)
            assert isinstance(resync, Resync)
            assert (resync.path, resync.since) == ("/", begun)
            told = {resync.path}
            while len(events._gathered):
                told.add((await anext(events)).path)
            read = {f"/{name}" for name in await zk.get_children("/")}
            assert read >= {f"/n{number}" for number in range(count)}, "what a Resync says is there to be read"
            assert len(told) <= 6
        await zk.create("/later")
        assert await take(events, 1) == [("NODE_CREATED", "/later")]

    with_client(use)


def test_who_takes_one_at_a_time_while_much_gathers_holds_no_more_than_the_bound() -> None:
    async def use(zk: EmbeddedClient) -> None:
        events = zk.watch("/", recursive=True, most=4)
        await anext(events)
        kinds = []
        for number in range(40):
            for part in "abc":
                await zk.create(f"/{part}{number}")
            kinds.append(shown(await anext(events))[0])
            assert len(events._gathered) <= 4
        assert kinds.count("RESYNC") > 5

    with_client(use)


def test_a_gap_in_what_the_replica_knows_is_one_resync() -> None:
    async def main() -> None:
        rules = zkcore.Rules(watch_history=2)
        async with (
            asyncio.timeout(30),
            local_cluster(1, rules=rules) as cluster,
            cluster.client() as zk,
            cluster.client() as other,
        ):
            events = zk.watch("/", recursive=True)
            await anext(events)
            replica = cluster.nodes[1].replica
            await other.create("/before")
            assert await take(events, 1) == [("NODE_CREATED", "/before")]
            since = zk.last_zxid
            replica.pause(zk.session_id)
            for number in range(10):
                await other.create(f"/{number}")
            replica.resume(zk.session_id)
            await other.create("/after")
            resync = await anext(events)
            assert isinstance(resync, Resync)
            assert resync.since == since
            assert await take(events, 1) == [("NODE_CREATED", "/after")]

    asyncio.run(main())


def test_events_go_along_to_another_replica() -> None:
    async def main() -> None:
        quick = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8)
        async with asyncio.timeout(30), local_cluster(3, limits=quick) as cluster, cluster.client() as zk:
            events = zk.watch("/a")
            await anext(events)
            again = zk.with_retry()
            await again.create("/a")
            cluster.kill(await cluster.wait_for_leader())
            await again.set("/a", b"x")
            assert await take(events, 2) == [("NODE_CREATED", "/a"), ("NODE_DATA_CHANGED", "/a")]

    asyncio.run(main())


def test_it_ends_when_it_is_closed_and_when_its_session_ends() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), local_cluster(1) as cluster:
            client = await cluster.client().start()
            events = client.watch("/a")
            await anext(events)
            waiting = asyncio.create_task(anext(events))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            await events.aclose()
            await events.aclose()
            with pytest.raises(StopAsyncIteration):
                await waiting
            assert not await client.has_watch("/a")
            unused = client.watch("/a")
            await unused.aclose()
            assert [event async for event in unused] == []

            lost, closed = client.watch("/b"), client.watch("/b")
            for each in (lost, closed):
                await anext(each)
            await client.create("/b")
            await cluster.kill_session(client.session_id)
            await client.port.wait(client.port.session.lost)
            assert await take(lost, 1) == [("NODE_CREATED", "/b")], "what happened before the end"
            for _ in range(2):
                with pytest.raises(SessionExpiredError):
                    await anext(lost)
            await client.close()
            assert await take(closed, 1) == [("NODE_CREATED", "/b")]
            with pytest.raises(SessionClosedError):
                await anext(closed)
            with pytest.raises(SessionClosedError):
                await anext(client.watch("/c"))

    asyncio.run(main())


def test_bad_arguments_are_told_where_they_are_given() -> None:
    async def use(zk: EmbeddedClient) -> None:
        with pytest.raises(BadArgumentsError, match="not a path"):
            zk.watch("a")
        for most in (0, -1):
            with pytest.raises(BadArgumentsError, match="1 or more"):
                zk.watch("/a", most=most)

    with_client(use)


def test_threads_write_while_one_goes_through_the_events() -> None:
    with blocking.local_cluster(1) as cluster, cluster.client() as zk, cluster.client() as other:
        zk.create("/n", b"0")
        rounds = 300

        def write() -> None:
            for number in range(1, rounds + 1):
                other.set("/n", b"%d" % number)
                other.create(f"/n/{number}")

        writing = threading.Thread(target=write, daemon=True)
        seen: list[int] = []
        resyncs = 0
        events = zk.watch("/n", recursive=True, most=20)
        for event in events:
            resyncs += isinstance(event, Resync)
            if not seen:
                writing.start()
            seen.append(int(zk.get("/n").data))
            if len(zk.get_children("/n")) == rounds:
                events.close()
        writing.join(20)
        assert seen == sorted(seen)
        assert seen[-1] == rounds
        assert resyncs >= 1

        waiting = zk.watch("/n")
        assert shown(next(waiting)) == ("RESYNC", "/n")
        closer = threading.Timer(0, waiting.close)
        closer.start()
        assert list(waiting) == []
        closer.join(20)
