"""Clients of replicas in this process: the verbs and their errors, suspension, expiry, and failover under load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest

import zkcore
from zkcore.client.client import Client
from zkcore.client.cluster import LocalCluster, local_cluster
from zkcore.client.port import SessionState
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConnectionLostError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OutcomeUnknownError,
    SessionClosedError,
    SessionExpiredError,
)
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import Exists
from zkcore.zab.limits import Limits

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, which must come within 20 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


QUICK = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)
"""A leader that has lost its followers gives up after 0.2 s."""


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def with_client(use: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """What `use` makes of a client of three nodes."""

    async def main() -> T:
        async with local_cluster(3) as cluster, cluster.client() as client:
            return await use(client)

    return run(main())


async def without_quorum(cluster: LocalCluster) -> list[int]:
    """Kill two of three; they are given back, to be started again."""
    killed = list(cluster.nodes)[:2]
    for me in killed:
        cluster.kill(me)
    return killed


# --- verbs


def test_the_verbs_do_what_their_names_say() -> None:
    async def use(client: Client) -> None:
        assert await client.create("/a", b"one") == "/a"
        assert await client.create("/a/b", makepath=True) == "/a/b"
        assert await client.create("/deep/er/still", b"x", makepath=True) == "/deep/er/still"
        assert await client.create("/a/n-", sequence=True) == "/a/n-0000000001"
        assert await client.create("/", sequence=True) == "/0000000002"
        data, stat = await client.get("/a")
        assert (data, stat.version, stat.num_children) == (b"one", 0, 2)
        assert (await client.set("/a", b"two", version=0)).version == 1
        assert await client.get_children("/a") == ["b", "n-0000000001"]
        await client.delete("/a/b")
        assert await client.exists("/a/b") is None
        await client.ensure_path("/a/x/y")
        await client.ensure_path("/a/x/y")
        await client.ensure_path("/")
        assert await client.exists("/a/x/y") is not None
        mine = await client.create("/mine", ephemeral=True)
        stat_of_mine = await client.exists(mine)
        assert stat_of_mine is not None
        assert stat_of_mine.ephemeral_owner == client.session_id

    with_client(use)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda zk: zk.create("/a"), NodeExistsError),
        (lambda zk: zk.create("/no/parent"), NoNodeError),
        (lambda zk: zk.create("/mine/child"), NoChildrenForEphemeralsError),
        (lambda zk: zk.get("/missing"), NoNodeError),
        (lambda zk: zk.get_children("/missing"), NoNodeError),
        (lambda zk: zk.set("/missing", b""), NoNodeError),
        (lambda zk: zk.set("/a", b"", version=9), BadVersionError),
        (lambda zk: zk.delete("/missing"), NoNodeError),
        (lambda zk: zk.delete("/a", version=9), BadVersionError),
        (lambda zk: zk.delete("/full"), NotEmptyError),
        (lambda zk: zk.delete("/zookeeper"), BadArgumentsError),
        (lambda zk: zk.create("/big", bytes(0x100000)), BadArgumentsError),
        (lambda zk: zk.set("/a", bytes(0x100000)), BadArgumentsError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_every_refusal_has_its_error_and_changes_nothing(
    call: Callable[[Client], Coroutine[Any, Any, object]], error: type[zkcore.RequestError]
) -> None:
    async def use(client: Client) -> None:
        await client.create("/a", b"as it was")
        await client.create("/full/child", makepath=True)
        await client.create("/mine", ephemeral=True)
        before = (await client.get("/a"), await client.get_children("/"))
        with pytest.raises(error) as caught:
            await call(client)
        assert caught.value.applied == "no"
        assert (await client.get("/a"), await client.get_children("/")) == before

    with_client(use)


@pytest.mark.parametrize("path", ["", "a", "a/b", "/a/", "//", "/a//b", "/.", "/a/../b", "/nul\x00", "/\ud800"])
def test_what_is_no_path_is_refused_by_every_verb(path: str) -> None:
    async def use(client: Client) -> None:
        for call in (
            client.create(path),
            client.create(path, makepath=True),
            client.get(path),
            client.set(path, b""),
            client.delete(path),
            client.exists(path),
            client.get_children(path),
            client.ensure_path(path),
        ):
            with pytest.raises(BadArgumentsError):
                await call

    with_client(use)


@pytest.mark.parametrize("value", ["text", None, 7, bytearray(b"x")])
def test_data_is_bytes_and_nothing_else(value: Any) -> None:
    async def use(client: Client) -> None:
        with pytest.raises(TypeError):
            await client.create("/a", value)
        with pytest.raises(TypeError):
            await client.set("/zookeeper", value)
        if not isinstance(value, str):
            with pytest.raises(TypeError):
                await client.get(value)

    with_client(use)


def test_a_version_beyond_all_versions_harms_no_node() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster:
            for node in cluster.nodes.values():
                async with node.client() as client:
                    with pytest.raises((BadVersionError, BadArgumentsError)):
                        await client.set("/zookeeper", b"", version=1 << 40)
                assert node.host.failure is None

    run(main())


# --- not started, closed, expired


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), 0.0004, 1e8, float("inf")])
def test_a_session_timeout_must_be_one(timeout: float) -> None:
    async def main() -> None:
        async with local_cluster(1) as cluster:
            with pytest.raises(BadArgumentsError):
                await cluster.client(timeout=timeout).start()
            async with cluster.client() as client:
                await client.create("/a")

    run(main())


def test_a_client_that_is_not_started_says_so_at_once() -> None:
    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = cluster.client()
            with pytest.raises(SessionClosedError):
                await client.get("/")
            with pytest.raises(SessionClosedError):
                await zkcore.Lock(client, "/l").acquire()
            await client.close()
            assert "not started" in repr(client)
            async with client:
                with pytest.raises(SessionClosedError):
                    await client.start()

    run(main())


def test_a_closed_client_says_so_at_once_and_its_ephemerals_are_gone() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as other:
            async with cluster.client() as client:
                await client.create("/mine", ephemeral=True)
            assert client.state is SessionState.CLOSED
            assert await other.exists("/mine") is None
            for call in (client.get("/"), client.create("/x"), client.ensure_path("/y")):
                with pytest.raises(SessionClosedError):
                    await call
            await client.close()

    run(main())


def test_when_a_cluster_is_closed_everything_under_way_ends() -> None:
    async def main() -> None:
        cluster = await local_cluster(3, limits=QUICK).start()
        client, holder = await cluster.client().start(), await cluster.client().start()
        await zkcore.Lock(holder, "/l").acquire()
        await without_quorum(cluster)
        starting = cluster.client()
        under_way = [
            asyncio.create_task(client.create("/a")),
            asyncio.create_task(client.get("/")),
            asyncio.create_task(zkcore.Lock(client, "/l").acquire()),
            asyncio.create_task(starting.start()),
        ]
        await asyncio.sleep(0)
        await cluster.close()
        results = await asyncio.gather(*under_way, return_exceptions=True)
        for result in (results[0], results[2], results[3]):
            assert isinstance(result, SessionClosedError | OutcomeUnknownError)
        with pytest.raises(SessionClosedError):
            await client.get("/")
        with pytest.raises(SessionClosedError):
            cluster.client()
        with pytest.raises(SessionClosedError):
            await cluster.wait_for_leader()
        with pytest.raises(SessionClosedError):
            cluster.start_node(1)
        await cluster.close()

    run(main())


def test_a_client_that_gives_up_while_it_starts_stays_closed() -> None:
    """Its session may come to be all the same; nobody keeps it alive."""

    async def main() -> None:
        async with local_cluster(3) as cluster:
            client = cluster.client(timeout=0.2)
            starting = asyncio.create_task(client.start())
            await asyncio.sleep(0)
            client.abandon()
            with pytest.raises(SessionClosedError):
                await starting
            node = cluster.nodes[await cluster.wait_for_leader()]
            await until(lambda: node.replica.tree.last_zxid > 0)
            await until(lambda: not node.replica.tree.sessions)
            assert client.state is SessionState.CLOSED

    run(main())


def test_without_heartbeats_a_session_is_lost_for_its_client_and_then_for_all() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as other:
            client = await cluster.client(timeout=0.1).start()
            await client.create("/mine", ephemeral=True)
            gone = asyncio.Event()
            await other.exists("/mine", watch=lambda _: gone.set())
            client.freeze()
            await gone.wait()
            assert client.port.session.lost.is_set()
            assert client.state is SessionState.LOST
            with pytest.raises(SessionExpiredError):
                await client.get("/")
            await client.close()
            assert str(client.state) == "CLOSED"

    run(main())


def test_with_heartbeats_a_session_outlives_its_timeout() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client(timeout=0.2) as client:
            beginning = client.port.session.alive_until
            await until(lambda: client.port.now() > beginning + 0.2)
            assert client.state is SessionState.CONNECTED

    run(main())


# --- watches


def test_a_watch_is_told_once_what_changed() -> None:
    async def use(client: Client) -> None:
        told: list[WatchEvent | None] = []
        await client.exists("/a", watch=told.append)
        await client.create("/a")
        await client.get("/a", watch=told.append)
        await client.set("/a", b"1")
        await client.set("/a", b"2")
        await client.get_children("/", watch=told.append)
        await client.delete("/a")
        await client.create("/a")
        assert [event and event.type for event in told] == [
            EventType.NODE_CREATED,
            EventType.NODE_DATA_CHANGED,
            EventType.NODE_CHILDREN_CHANGED,
        ]

    with_client(use)


def test_a_watcher_of_a_read_that_failed_is_never_called_and_one_that_raises_harms_nobody() -> None:
    async def use(client: Client) -> None:
        told: list[WatchEvent | None] = []

        def broken(event: WatchEvent | None) -> None:
            raise ValueError("a bug of the application")

        with pytest.raises(NoNodeError):
            await client.get("/a", watch=told.append)
        await client.exists("/a", watch=broken)
        await client.exists("/a", watch=told.append)
        await client.create("/a")
        assert len(told) == 1

    with_client(use)


# --- suspension and failover


def test_requests_wait_while_there_is_no_leader_and_are_answered_in_order_after_it() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as client:
            await client.create("/a", b"")
            killed = await without_quorum(cluster)
            await until(lambda: client.state is SessionState.SUSPENDED)
            answers: list[bytes] = []

            async def write(number: int) -> None:
                await client.set("/a", b"%d" % number)
                answers.append(b"%d" % number)

            tasks = [asyncio.create_task(write(number)) for number in range(5)]
            await asyncio.sleep(0)
            for me in killed:
                cluster.start_node(me)
            await asyncio.gather(*tasks)
            assert answers == [b"0", b"1", b"2", b"3", b"4"]
            assert (await client.get("/a")).stat.version == 5

    run(main())


def test_a_request_cancelled_before_it_was_sent_is_never_sent() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as client:
            killed = await without_quorum(cluster)
            await until(lambda: client.state is SessionState.SUSPENDED)
            waiting = asyncio.create_task(client.create("/cancelled"))
            await asyncio.sleep(0)
            waiting.cancel()
            for me in killed:
                cluster.start_node(me)
            await client.create("/sent")
            assert await client.exists("/cancelled") is None

    run(main())


def test_without_a_quorum_the_session_is_lost_when_its_time_is_up() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster:
            client = await cluster.client(timeout=0.15).start()
            await without_quorum(cluster)
            with pytest.raises((SessionExpiredError, ConnectionLostError)):
                await client.create("/a")
            await until(client.port.session.lost.is_set)
            with pytest.raises(SessionExpiredError):
                await client.create("/a")

    run(main())


def test_a_client_keeps_its_session_and_its_ephemerals_when_its_node_is_killed() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as client:
            session = client.session_id
            await client.create("/mine", ephemeral=True)
            cluster.kill(await cluster.wait_for_leader())
            assert await client.exists("/mine") is not None
            assert client.session_id == session
            assert client.state is SessionState.CONNECTED

    run(main())


class Writer:
    """Counts up the versions of a znode, and never writes what may have been written without looking first."""

    def __init__(self, client: zkcore.EmbeddedClient, path: str) -> None:
        self.client, self.path = client, path
        self.version = 0
        self.acknowledged = 0
        self.unknown = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.write()

    async def write(self) -> None:
        version = self.version
        try:
            stat = await self.client.set(self.path, b"%d" % (version + 1), version=version)
            self.acknowledged = stat.version
        except OutcomeUnknownError:
            self.unknown += 1
            data, stat = await self.look()
            assert stat.version in (version, version + 1), "a write was lost, or done twice"
            assert int(data) == stat.version
        self.version = stat.version

    async def look(self) -> zkcore.NodeData:
        while True:
            try:
                return await self.client.get(self.path)
            except OutcomeUnknownError:
                continue


async def all_write_more(writers: list[Writer]) -> None:
    goals = [writer.acknowledged + 3 for writer in writers]
    await until(lambda: all(writer.acknowledged > goal for writer, goal in zip(writers, goals, strict=True)))


def is_among(cluster: LocalCluster, some: list[int]) -> bool:
    return cluster.leader in some


@pytest.mark.parametrize("fault", ["kill", "cut"])
def test_under_load_and_failover_no_acknowledged_write_is_lost_and_none_is_done_twice(fault: str) -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster:
            writers = [Writer(await cluster.client().start(), f"/w{number}") for number in range(5)]
            for writer in writers:
                await writer.client.create(writer.path, b"0")
            stop = asyncio.Event()
            hit, *others_at_work = writers
            tasks = [asyncio.create_task(writer.run(stop)) for writer in others_at_work]
            for _ in range(4):
                await all_write_more(others_at_work)
                leader = await cluster.wait_for_leader()
                others = [me for me in cluster.ensemble.voters if me != leader]
                under_way = asyncio.create_task(hit.write())
                await asyncio.sleep(0)
                if fault == "kill":
                    cluster.kill(leader)
                    await cluster.wait_for_leader()
                    cluster.start_node(leader)
                else:
                    for other in others:
                        cluster.network.cut(leader, other)
                    await until(partial(is_among, cluster, others))
                    for other in others:
                        cluster.network.heal(leader, other)
                await under_way
            stop.set()
            await asyncio.gather(*tasks)
            for writer in writers:
                data, stat = await writer.look()
                assert stat.version >= writer.acknowledged
                assert int(data) == stat.version
            assert hit.unknown > 0, "the faults hit nobody"
            for writer in writers:
                await writer.client.close()

    run(main())


def test_a_client_of_a_node_that_is_cut_off_is_suspended_and_comes_back() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster:
            leader = await cluster.wait_for_leader()
            alone = next(me for me in cluster.nodes if me != leader)
            async with cluster.nodes[alone].client() as client, cluster.client() as other:
                await client.create("/a")
                for me in cluster.ensemble.voters:
                    if me != alone:
                        cluster.network.cut(alone, me)
                await until(lambda: client.state is SessionState.SUSPENDED)
                await other.set("/a", b"meanwhile")
                for me in cluster.ensemble.voters:
                    if me != alone:
                        cluster.network.heal(alone, me)
                assert (await client.get("/a")).data == b"meanwhile"

    run(main())


def test_reads_go_backwards_at_no_replica_the_client_comes_to() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as client, cluster.client() as writer:
            await client.create("/a", b"0")
            seen = 0
            for number in range(1, 4):
                await writer.set("/a", b"%d" % number)
                seen = max(seen, int((await client.get("/a")).data))
                leader = await cluster.wait_for_leader()
                cluster.kill(leader)
                now = int((await client.get("/a")).data)
                assert now >= seen
                seen = now
                cluster.start_node(leader)
                await writer.exists("/a")

    run(main())


# --- the port itself


def test_waiting_for_signals() -> None:
    async def use(client: Client) -> None:
        port = client.port
        one, other = port.signal(), port.signal()
        assert await port.wait(one, other, timeout=0) is None
        assert await port.wait(one, timeout=0.01) is None
        other.set()
        assert await port.wait(one, other) is other
        other.clear()
        waiting = asyncio.create_task(port.wait(one, other))
        await asyncio.sleep(0)
        await asyncio.to_thread(one.set)
        assert await waiting is one
        assert one.is_set()

    with_client(use)


def test_a_cleanup_goes_on_without_the_caller_who_was_cancelled() -> None:
    async def use(client: Client) -> None:
        go = client.port.signal()

        async def cleanup(port: zkcore.Port) -> str:
            await port.wait(go)
            await port.request(Exists("/"))
            done.set()
            return "done"

        done = asyncio.Event()
        caller = asyncio.create_task(client.port.shield(cleanup))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go.set()
        await done.wait()
        assert await client.port.shield(cleanup) == "done"

    with_client(use)


def test_closing_a_client_cancels_nobody_who_was_not_cancelled() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster:
            client = await cluster.client(timeout=0.2).start()
            lock = zkcore.Lock(client, "/l")
            await lock.acquire()
            await without_quorum(cluster)
            releasing = asyncio.create_task(lock.release())
            await asyncio.sleep(0)
            await client.close()
            await asyncio.wait([releasing])
            assert not releasing.cancelled()

    run(main())


# --- clusters


@pytest.mark.parametrize("count", [0, -1, True, 2.5, "3"])
def test_a_cluster_has_a_number_of_nodes(count: Any) -> None:
    with pytest.raises(zkcore.ConfigurationError):
        local_cluster(count)


def test_an_even_number_of_nodes_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="odd"):
        local_cluster(2)


def test_nodes_are_killed_and_started_by_number() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster:
            with pytest.raises(BadArgumentsError):
                cluster.start_node(1)
            cluster.kill(1)
            with pytest.raises(BadArgumentsError):
                cluster.kill(1)
            with pytest.raises(BadArgumentsError):
                cluster.start_node(4)
            assert set(cluster.nodes) == {2, 3}
            cluster.start_node(1)
            roles: list[str] = []
            cluster.events.subscribe(lambda event: roles.append(str(event)))
            cluster.kill(await cluster.wait_for_leader())
            await cluster.wait_for_leader()
            assert any("established" in role for role in roles)

    run(main())


def test_what_every_node_had_saved_outlives_them_all() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=QUICK) as cluster:
            async with cluster.client() as client:
                await client.create("/a", b"kept")
            for me in (1, 2, 3):
                cluster.kill(me)
            for me in (1, 2, 3):
                cluster.start_node(me)
            async with cluster.client() as client:
                assert (await client.get("/a")).data == b"kept"

    run(main())


def test_a_cluster_whose_start_is_given_up_leaves_nothing_running() -> None:
    async def main() -> None:
        cluster = local_cluster(3, limits=QUICK)
        cluster.network.cut(1, 2)
        cluster.network.cut(1, 3)
        cluster.network.cut(2, 3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await cluster.start()
        assert cluster.nodes == {}

    run(main())
