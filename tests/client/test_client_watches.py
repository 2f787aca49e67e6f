"""Watches of clients that lose their replica: nothing is missed, or it is said what was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from queue import Queue
from typing import Any, TypeVar

import pytest

import zkcore
import zkcore.sync
from zkcore import LocalCluster, Resync, Rules, SessionState, WatchEvent
from zkcore.errors import NoWatcherError
from zkcore.testing.app_world import AppWorld
from zkcore.testing.seeds import run_seeds
from zkcore.testing.zookeeper import zookeeper_server
from zkcore.tree.applied import EventType
from zkcore.tree.requests import GetData
from zkcore.tree.watch_requests import CheckWatches, Missed
from zkcore.zab.limits import Limits

T = TypeVar("T")

CREATED, DELETED = EventType.NODE_CREATED, EventType.NODE_DELETED
CHANGED, CHILDREN = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED

QUICK = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)
"""A leader that has lost its followers gives up after 0.2 s."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, which must come within 20 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def kinds(told: list[Missed | None]) -> list[tuple[EventType, str]]:
    return [(event.type, event.path) for event in told if isinstance(event, WatchEvent)]


async def cut_off(cluster: LocalCluster, zk: zkcore.Client, served_by: int) -> None:
    """The node that serves `zk` hears nothing any more, and `zk` has no other."""
    for other in cluster.nodes:
        if other != served_by:
            cluster.network.cut(served_by, other)
    await until(lambda: zk.state is SessionState.SUSPENDED)


async def heal(cluster: LocalCluster, node: int) -> None:
    for other in cluster.nodes:
        if other != node:
            cluster.network.heal(node, other)


# --- while all is well


def test_a_persistent_watch_tells_of_one_znode_for_as_long_as_it_stands() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            told: list[Missed | None] = []
            await zk.add_watch("/a", told.append)
            await zk.create("/a")
            await zk.set("/a", b"1")
            await zk.set("/a", b"2")
            await zk.create("/a/b")
            await zk.set("/a/b", b"unseen")
            await zk.delete("/a/b")
            await zk.delete("/a")
            assert kinds(told) == [
                (CREATED, "/a"), (CHANGED, "/a"), (CHANGED, "/a"), (CHILDREN, "/a"), (CHILDREN, "/a"), (DELETED, "/a"),
            ]  # fmt: skip

    run(main())


def test_a_recursive_watch_tells_of_everything_below_and_of_no_children_as_such() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            told: list[Missed | None] = []
            once: list[WatchEvent | None] = []
            await zk.add_watch("/a", told.append, recursive=True)
            await zk.create("/a/b/c", makepath=True)
            await zk.get_children("/a/b", watch=once.append)
            await zk.create("/a/b/d")
            await zk.delete("/a/b/c")
            await zk.create("/ab")
            assert kinds(told) == [
                (CREATED, "/a"), (CREATED, "/a/b"), (CREATED, "/a/b/c"), (CREATED, "/a/b/d"), (DELETED, "/a/b/c"),
            ]  # fmt: skip
            assert [event.type for event in once if event] == [CHILDREN]

    run(main())


def test_who_removes_a_watch_is_called_no_more_and_the_last_one_takes_it_away() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            one: list[Missed | None] = []
            two: list[Missed | None] = []
            for told in (one, two):
                await zk.add_watch("/a", told.append, recursive=True)
                await zk.add_watch("/a", told.append)
            await zk.create("/a")
            await zk.remove_watch("/a", one.append)
            await zk.remove_watch("/a", one.append)
            await zk.port.request(CheckWatches("/a"))
            await zk.set("/a", b"1")
            assert (len(one), len(two)) == (2, 4), "as a persistent watch and as a recursive one"
            await zk.remove_watch("/a", two.append)
            with pytest.raises(NoWatcherError):
                await zk.port.request(CheckWatches("/a"))
            await zk.set("/a", b"2")
            assert (len(one), len(two)) == (2, 4)

    run(main())


def test_a_watcher_may_stop_watching_when_it_is_called() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            told: list[Missed | None] = []

            def first_only(event: Missed | None) -> None:
                told.append(event)
                zk.port.unwatch("/a", first_only)

            await zk.add_watch("/a", first_only)
            await zk.create("/a")
            await zk.set("/a", b"1")
            assert kinds(told) == [(CREATED, "/a")]

    run(main())


async def _watches_while_another_stops(world: AppWorld) -> None:
    async with world.client() as zk:
        for milliseconds in range(20):
            path = f"/{milliseconds}"
            stops: list[Missed | None] = []
            stays: list[Missed | None] = []
            await zk.add_watch(path, stops.append, recursive=True)
            begins = asyncio.create_task(zk.add_watch(path, stays.append, recursive=True))
            await world.sleep(milliseconds / 1000)
            zk.port.unwatch(path, stops.append)
            await begins
            await zk.create(path)
            await world.eventually("it is told", lambda told=stays: len(told) == 1, within=10)
            assert not stops


def test_who_stops_takes_no_watch_from_who_begins_at_the_same_time() -> None:
    run_seeds(_watches_while_another_stops, range(1))


def test_who_stops_takes_no_watch_from_who_begins_at_the_same_time_at_a_server() -> None:
    with zookeeper_server(1) as server:

        async def main() -> None:
            async with zkcore.connect(f"zk://{server.hosts}") as zk:
                stops: list[Missed | None] = []
                stays: list[Missed | None] = []
                await zk.add_watch("/a", stops.append)
                begins = asyncio.create_task(zk.add_watch("/a", stays.append))
                await asyncio.sleep(0)
                zk.port.unwatch("/a", stops.append)
                await begins
                await zk.create("/a")
                await zk.sync()
                assert (kinds(stays), stops) == ([(CREATED, "/a")], [])
                await zk.remove_watch("/a", stays.append)
                with pytest.raises(NoWatcherError):
                    await zk.port.request(CheckWatches("/a"))

        run(main())


# --- across a gap


def test_what_happens_while_nobody_serves_a_client_is_told_afterwards() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3, limits=QUICK) as cluster, cluster.client() as other:
            follower = next(me for me in cluster.nodes if me != cluster.leader)
            async with cluster.nodes[follower].client() as zk:
                for path in ("/changed", "/gone", "/same", "/parent"):
                    await other.create(path)
                await zk.sync()
                told: dict[str, list[Any]] = {}
                for path in ("/changed", "/gone", "/same"):
                    await zk.get(path, watch=told.setdefault(path, []).append)
                await zk.exists("/made", watch=told.setdefault("/made", []).append)
                await zk.exists("/never", watch=told.setdefault("/never", []).append)
                await zk.get_children("/parent", watch=told.setdefault("/parent", []).append)
                await zk.add_watch("/", told.setdefault("/", []).append, recursive=True)
                await cut_off(cluster, zk, follower)
                await other.set("/changed", b"1")
                await other.delete("/gone")
                await other.create("/made")
                await other.create("/parent/child")
                assert not any(told.values())
                await heal(cluster, follower)
                await zk.sync()
                assert {path: kinds(events) for path, events in told.items()} == {
                    "/changed": [(CHANGED, "/changed")], "/gone": [(DELETED, "/gone")], "/same": [],
                    "/made": [(CREATED, "/made")], "/never": [], "/parent": [(CHILDREN, "/parent")],
                    "/": [(CHANGED, "/changed"), (DELETED, "/gone"), (CREATED, "/made"), (CREATED, "/parent/child")],
                }  # fmt: skip
                await other.set("/same", b"1")
                await other.create("/never")
                await zk.sync()
                assert kinds(told["/same"]) == [(CHANGED, "/same")]
                assert kinds(told["/never"]) == [(CREATED, "/never")]

    run(main())


def test_a_lasting_watch_hears_every_change_once_while_leaders_are_killed() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3, limits=QUICK) as cluster, cluster.client() as zk, cluster.client() as other:
            told: list[Missed | None] = []
            await zk.add_watch("/n", told.append, recursive=True)
            await other.create("/n")
            for _ in range(3):
                writing = [asyncio.create_task(other.create("/n/", sequence=True)) for _ in range(20)]
                await asyncio.sleep(0)
                leader = await cluster.wait_for_leader()
                cluster.kill(leader)
                await asyncio.gather(*writing, return_exceptions=True)
                cluster.start_node(leader)
            names = await zk.get_children("/n", read=zkcore.Read.LINEARIZABLE)
            heard = [event.path.rpartition("/")[2] for event in told[1:] if isinstance(event, WatchEvent)]
            assert heard == names
            assert len(told) == len(names) + 1

    run(main())


def test_a_node_that_is_killed_by_a_watcher_has_told_everything_once_when_the_next_goes_on() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3, limits=QUICK) as cluster, cluster.client() as zk, cluster.client() as other:
            told: list[Missed | None] = []

            def fatal(event: Missed | None) -> None:
                told.append(event)
                if isinstance(event, WatchEvent) and event.path == "/n/0000000005":
                    assert cluster.leader is not None
                    cluster.kill(cluster.leader)

            await zk.add_watch("/n", fatal, recursive=True)
            await other.create("/n")
            writing = [asyncio.create_task(other.create("/n/", sequence=True)) for _ in range(20)]
            await asyncio.gather(*writing, return_exceptions=True)
            names = await zk.get_children("/n", read=zkcore.Read.LINEARIZABLE)
            heard = [event.path.rpartition("/")[2] for event in told[1:] if isinstance(event, WatchEvent)]
            assert heard == names

    run(main())


def test_what_cannot_be_told_any_more_is_told_of() -> None:
    async def main() -> None:
        rules = Rules(watch_history=3)
        async with zkcore.local_cluster(3, limits=QUICK, rules=rules) as cluster, cluster.client() as other:
            follower = next(me for me in cluster.nodes if me != cluster.leader)
            async with cluster.nodes[follower].client() as zk:
                told: list[Missed | None] = []
                await zk.add_watch("/n", told.append, recursive=True)
                await cut_off(cluster, zk, follower)
                for _ in range(5):
                    await other.create("/n/", sequence=True, makepath=True)
                await heal(cluster, follower)
                await zk.sync()
                (resync,) = told
                assert isinstance(resync, Resync)
                assert resync.path == "/n"
                await other.create("/n/last")
                await zk.sync()
                assert kinds(told) == [(CREATED, "/n/last")]

    run(main())


# --- the end


def test_when_the_session_is_over_every_watcher_is_told_so() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            told: list[Missed | None] = []
            await zk.get("/", watch=told.append)
            await zk.exists("/a", watch=told.append)
            await zk.add_watch("/a", told.append)
            await cluster.kill_session(zk.session_id)
            await until(lambda: zk.state is SessionState.LOST)
            assert told == [None, None, None]

    run(main())


def test_lasting_watches_work_in_blocking_code() -> None:
    with zkcore.sync.local_cluster(1) as cluster, cluster.client() as zk:
        told: Queue[Missed | None] = Queue()  # it is told on a thread of its own, a moment later
        zk.add_watch("/a", told.put)
        zk.create("/a")
        zk.remove_watch("/a", told.put)
        zk.set("/a", b"1")
        zk.add_watch("/b", told.put)
        zk.create("/b")
        assert kinds([told.get(timeout=20), told.get(timeout=20)]) == [(CREATED, "/a"), (CREATED, "/b")]


async def _watches_while_its_nodes_stand_still(world: AppWorld) -> None:
    """A node that wakes up serves a session so late that it has to move on at once."""
    seen: list[bytes] = []

    async def watch() -> None:
        while True:
            try:
                async with world.client(timeout=3) as zk:
                    changed = zk.port.signal()
                    while True:
                        now = await zk.port.request(GetData("/a", watch=True), watch=lambda _, told=changed: told.set())
                        seen.append(now.data)
                        await zk.port.wait(changed)
                        changed.clear()
            except (zkcore.OutcomeUnknownError, zkcore.SessionError):
                pass  # that was too long

    async with world.client() as zk:
        await zk.create("/a", b"0")
        world.app("one").spawn(watch)
        for number in range(1, 20):
            await world.eventually("it is watched", lambda: len(seen) >= 1, within=60)
            sleeps = world.rng(str(number)).choice([each for each in world.nodes if each != world.leader])
            world.partition("one", [each for each in world.nodes if each != sleeps])
            world.pause(sleeps)
            await world.sleep(1)
            writing = asyncio.create_task(zk.set("/a", b"%d" % number))
            await world.sleep(1.4)
            world.resume(sleeps)
            world.heal()
            await writing
            await world.eventually("it is told", lambda value=b"%d" % number: seen[-1] == value, within=60)


def test_a_session_that_moves_on_as_soon_as_it_is_attached_misses_nothing() -> None:
    run_seeds(_watches_while_its_nodes_stand_still, range(8))
