"""How fresh a client's reads are, what becomes of reads whose replica is lost, and how much may be under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from attrs import evolve

from zkcore.client.client import Client
from zkcore.client.cluster import LocalCluster, local_cluster
from zkcore.client.port import SessionState
from zkcore.errors import BadArgumentsError, ConnectionLostError, NoNodeError, ThrottledError
from zkcore.replica.levels import Read, ReadLevel
from zkcore.zab.limits import Limits
from zkcore.zxid import Zxid

T = TypeVar("T")

LEVELS = {
    "local": lambda seen: Read.LOCAL,
    "session": lambda seen: Read.SESSION,
    "at least": Read.at_least,
    "linearizable": lambda seen: Read.LINEARIZABLE,
}


QUICK = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)
"""A leader that has lost its followers gives up after 0.2 s."""


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `main` returns, which must be within 20 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await main()

    return asyncio.run(bounded())


def place_of(cluster: LocalCluster, place: str) -> int:
    """The number of a node: the leader, a follower, or the observer 4."""
    leader = cluster.leader
    assert leader is not None
    return {"leader": leader, "follower": next(me for me in (1, 2) if me != leader), "observer": 4}[place]


@pytest.fixture(params=["leader", "follower", "observer"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- levels


@pytest.mark.parametrize("level", LEVELS)
def test_every_verb_that_reads_takes_every_level_everywhere(place: str, level: str) -> None:
    async def main() -> None:
        async with local_cluster(3, observers=1) as cluster, cluster.nodes[place_of(cluster, place)].client() as zk:
            await zk.create("/a/b", b"x", makepath=True)
            read: ReadLevel = LEVELS[level](zk.last_zxid)
            assert (await zk.get("/a/b", read=read)).data == b"x"
            assert await zk.exists("/none", read=read) is None
            assert await zk.get_children("/a", read=read) == ["b"]
            with pytest.raises(NoNodeError):
                await zk.get("/none", read=read)
            told: list[Any] = []
            await zk.get("/a/b", watch=told.append, read=read)
            await zk.set("/a/b", b"y")
            await zk.sync()
            assert [event.path for event in told] == ["/a/b"]

    run(main)


def test_a_local_read_waits_for_nothing_and_a_read_of_the_session_for_what_came_before_it() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as zk:
            await zk.create("/a", b"old")
            writing = asyncio.create_task(zk.set("/a", b"new"))
            await asyncio.sleep(0)
            assert (await zk.get("/a", read=Read.LOCAL)).data == b"old"
            assert not writing.done()
            assert (await zk.get("/a")).data == b"new"
            await writing
            assert (await zk.get("/a", read=Read.LOCAL)).data == b"new"

    run(main)


@pytest.mark.parametrize("place", ["follower", "observer"])
@pytest.mark.parametrize("level", ["at least", "linearizable", "sync"])
def test_what_one_client_was_told_another_one_reads(place: str, level: str) -> None:
    async def main() -> None:
        async with (
            local_cluster(3, observers=1) as cluster,
            cluster.client() as writer,
            cluster.nodes[place_of(cluster, place)].client() as reader,
        ):
            await writer.create("/a")
            for number in range(50):
                written = await writer.set("/a", b"%d" % number)
                if level == "sync":
                    assert await reader.sync() >= written.mzxid
                    read: ReadLevel = Read.SESSION
                else:
                    read = LEVELS[level](writer.last_zxid)
                assert (await reader.get("/a", read=read)).data == b"%d" % number

    run(main)


def test_the_newest_that_was_seen_never_goes_back() -> None:
    async def main() -> None:
        seen: list[Zxid] = []
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as zk:
            for _ in range(3):
                seen.append((await zk.set("/", b"")).mzxid)
                seen.append(zk.last_zxid)
                leader = cluster.leader
                assert leader is not None
                cluster.kill(leader)
                seen.append(zk.last_zxid)
                await zk.sync()
                cluster.start_node(leader)
            assert seen == sorted(seen)

    run(main)


def test_a_zxid_that_nobody_can_have_seen_is_refused() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as zk:
            with pytest.raises(BadArgumentsError, match="another ensemble"):
                await zk.exists("/", read=Read.at_least(zk.last_zxid + 1))
            assert await zk.exists("/", read=Read.at_least(zk.last_zxid)) is not None

    run(main)


@pytest.mark.parametrize("level", ["LINEARIZABLE", "linearizable", True, None, 0])
@pytest.mark.parametrize("suspended", [False, True])
def test_what_is_no_level_is_refused_and_not_taken_for_a_weaker_one(level: Any, suspended: bool) -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster:
            zk = await cluster.client().start()
            if suspended:
                for me in list(cluster.nodes):
                    cluster.kill(me)
            with pytest.raises(BadArgumentsError):
                await zk.exists("/", read=level)
            zk.abandon()

    run(main)


# --- when the replica is lost


def test_reads_whose_answer_is_lost_are_asked_again_and_writes_are_not() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as zk:
            await zk.create("/a", b"old")
            before = asyncio.create_task(zk.get("/a", read=Read.LINEARIZABLE))
            writing = asyncio.create_task(zk.set("/a", b"new"))
            reads = [asyncio.create_task(zk.get("/a", read=read)) for read in (Read.SESSION, Read.LINEARIZABLE)]
            syncing = asyncio.create_task(zk.sync())
            await asyncio.sleep(0)
            leader = cluster.leader
            assert leader is not None
            cluster.kill(leader)
            for lost in (before, writing):
                with pytest.raises(ConnectionLostError):
                    await lost
            first, second = [(await read).data for read in reads]
            assert first == second == (await zk.get("/a")).data
            assert await syncing <= zk.last_zxid

    run(main)


def test_a_read_that_was_given_up_is_not_asked_again() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as zk:
            reading = asyncio.create_task(zk.get("/none", watch=pytest.fail, read=Read.LINEARIZABLE))
            await asyncio.sleep(0)
            leader = cluster.leader
            assert leader is not None
            cluster.kill(leader)
            reading.cancel()
            await zk.create("/none")

    run(main)


# --- how much may be under way


def test_one_request_too_many_is_refused_at_once_and_the_others_are_carried_out() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=Limits(outstanding_proposals=8)) as cluster, cluster.client() as zk:
            await zk.create("/a")
            outcomes = await asyncio.gather(*(zk.set("/a", b"") for _ in range(20)), return_exceptions=True)
            refused = [one for one in outcomes if isinstance(one, ThrottledError)]
            assert len(refused) == 12
            assert {one.applied for one in refused} == {"no"}
            assert (await zk.get("/a")).stat.version == 8

    run(main)


def test_what_the_leader_has_no_room_for_is_refused_and_who_tries_again_gets_through() -> None:
    async def write(zk: Client, count: int) -> int:
        refused = 0
        while count:
            try:
                await zk.set("/a", b"")
                count -= 1
            except ThrottledError:
                refused += 1
                await asyncio.sleep(0)
        return refused

    async def main() -> None:
        async with local_cluster(3, limits=Limits(outstanding_proposals=2)) as cluster, cluster.client() as zk:
            await zk.create("/a")
            clients = [cluster.client() for _ in range(10)]
            for client in clients:
                await client.start()
            refused = await asyncio.gather(*(write(client, 20) for client in clients))
            assert sum(refused) > 0
            assert (await zk.get("/a", read=Read.LINEARIZABLE)).stat.version == 200

    run(main)


def test_while_the_session_is_suspended_so_many_requests_wait_and_no_more() -> None:
    async def main() -> None:
        limits = evolve(QUICK, outstanding_proposals=4)
        async with local_cluster(3, limits=limits) as cluster, cluster.client() as zk:
            down = list(cluster.nodes)[:2]
            for me in down:
                cluster.kill(me)
            while zk.state is not SessionState.SUSPENDED:
                await asyncio.sleep(0.001)
            waiting = [asyncio.create_task(zk.exists("/")) for _ in range(4)]
            await asyncio.sleep(0)
            with pytest.raises(ThrottledError):
                await zk.exists("/")
            for me in down:
                cluster.start_node(me)
            assert None not in await asyncio.gather(*waiting)

    run(main)


def test_a_session_may_be_closed_however_much_is_under_way() -> None:
    async def main() -> None:
        async with local_cluster(3, limits=Limits(outstanding_proposals=2)) as cluster, cluster.client() as watching:
            leaving = await cluster.client().start()
            await leaving.create("/mine", ephemeral=True)
            writing = [asyncio.create_task(leaving.set("/", b"")) for _ in range(2)]
            await asyncio.sleep(0)
            await leaving.close()
            await asyncio.gather(*writing)
            assert await watching.exists("/mine", read=Read.LINEARIZABLE) is None

    run(main)
