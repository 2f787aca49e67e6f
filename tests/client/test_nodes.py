"""Nodes and clusters of them: observers, leaders that hand over, and what they say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from zkcore.client.cluster import LocalCluster, local_cluster
from zkcore.client.node import Node
from zkcore.errors import (
    BadArgumentsError,
    ConfigurationError,
    NotLeadingError,
    OutcomeUnknownError,
    SessionClosedError,
    TransferFailedError,
)
from zkcore.events import NodeEvent, RoleChanged
from zkcore.replica.levels import Read
from zkcore.storage.storage import MemoryStorage
from zkcore.transport.transport import LocalNetwork
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Role
from zkcore.zab.quorum import EnsembleConfig

T = TypeVar("T")

PATIENT = Limits(sync_limit_ticks=2000, init_limit_ticks=5000)
"""With these it takes 20 seconds to notice that a leader is gone, unless its links break, or it says so."""


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `main` returns, which must be within 20 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await main()

    return asyncio.run(bounded())


def leader_of(cluster: LocalCluster) -> Node:
    assert cluster.leader is not None
    return cluster.nodes[cluster.leader]


# --- observers


def test_clients_of_an_observer_write_and_read_as_any_others() -> None:
    async def main() -> None:
        async with local_cluster(3, observers=2) as cluster, cluster.client() as zk:
            assert cluster.ensemble.observers == (4, 5)
            async with cluster.nodes[4].client() as near, cluster.nodes[5].client() as far:
                assert await near.create("/mine", b"1", ephemeral=True) == "/mine"
                await far.sync()
                stat = await far.exists("/mine")
                assert stat is not None
                assert stat.ephemeral_owner == near.session_id
                assert cluster.nodes[4].status().role is Role.OBSERVING
            await zk.sync()
            assert await zk.exists("/mine") is None

    run(main)


def test_observers_make_no_quorum_and_outlive_any_leader() -> None:
    async def main() -> None:
        async with local_cluster(3, observers=1) as cluster, cluster.nodes[4].client() as zk:
            for _ in range(3):
                leader = leader_of(cluster).me
                cluster.kill(leader)
                await zk.sync()
                assert cluster.leader in {1, 2, 3} - {leader}
                cluster.start_node(leader)
                while not cluster.nodes[leader].replica.serving:
                    await asyncio.sleep(0.001)
            for me in (1, 2):
                cluster.kill(me)
            while cluster.leader is not None:
                await asyncio.sleep(0.001)

    run(main)


@pytest.mark.parametrize("observers", [-1, True, 1.0, "1", None])
def test_a_cluster_has_a_number_of_observers(observers: Any) -> None:
    with pytest.raises(ConfigurationError):
        local_cluster(3, observers=observers)


# --- handing over


@pytest.mark.parametrize("named", [True, False])
def test_a_leader_hands_over_and_the_others_follow_at_once(named: bool) -> None:
    async def main() -> None:
        async with local_cluster(3, observers=1, limits=PATIENT) as cluster, cluster.client() as zk:
            await zk.create("/before")
            old = leader_of(cluster)
            target = next(me for me in (1, 2, 3) if me != old.me) if named else None
            new = await cluster.transfer(target)
            assert new != old.me
            assert target in (new, None)
            await zk.create("/after")
            assert cluster.leader == new
            assert sorted(await zk.get_children("/")) == ["after", "before", "zookeeper"]
            with pytest.raises(NotLeadingError):
                await old.transfer()

    run(main)


def test_the_leadership_goes_to_nobody_who_cannot_lead() -> None:
    async def main() -> None:
        async with local_cluster(3, observers=1) as cluster:
            leader = leader_of(cluster)
            for target in (leader.me, 4, 9):
                with pytest.raises(BadArgumentsError):
                    await leader.transfer(target)
            assert leader_of(cluster) is leader
        with pytest.raises(SessionClosedError):
            await cluster.stop_node(1)

    run(main)


def test_a_transfer_that_fails_says_so_and_the_leader_goes_on() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as zk:
            leader = leader_of(cluster)
            target = next(me for me in (1, 2, 3) if me != leader.me)
            transfer = asyncio.create_task(leader.transfer(target))
            await asyncio.sleep(0)
            cluster.network.cut(leader.me, target)
            with pytest.raises(TransferFailedError):
                await transfer
            await zk.create("/after")
            assert leader_of(cluster) is leader

    run(main)


def test_a_transfer_ends_with_its_node() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster:
            leader = leader_of(cluster)
            waiting = [asyncio.create_task(leader.transfer()) for _ in range(2)]
            await asyncio.sleep(0)
            waiting[1].cancel()
            cluster.kill(leader.me)
            for transfer, error in zip(waiting, (NotLeadingError, asyncio.CancelledError), strict=True):
                with pytest.raises(error):
                    await transfer
            with pytest.raises(NotLeadingError):
                await leader.transfer()

    run(main)


def test_without_a_leader_there_is_nothing_to_hand_over() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster:
            for me in (1, 2, 3):
                cluster.kill(me)
            with pytest.raises(NotLeadingError):
                await cluster.transfer()

    run(main)


def test_under_load_every_write_is_answered_or_unknown_while_the_leadership_goes_round() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as zk:
            await zk.create("/counter")
            done = unknown = 0
            moving = True

            async def write() -> None:
                nonlocal done, unknown
                while moving:
                    try:
                        await zk.set("/counter", b"")
                        done += 1
                    except OutcomeUnknownError:
                        unknown += 1

            writers = [asyncio.create_task(write()) for _ in range(20)]
            for _ in range(12):
                await cluster.transfer()
                await cluster.wait_for_leader()
                await zk.sync()
            moving = False
            await asyncio.gather(*writers)
            version = (await zk.get("/counter", read=Read.LINEARIZABLE)).stat.version
            assert done <= version <= done + unknown
            assert done > 100

    run(main)


# --- stopping


def test_a_leader_that_is_stopped_hands_over_first_and_one_that_crashes_cannot() -> None:
    async def main(stop: Callable[[LocalCluster, int], Coroutine[Any, Any, None]]) -> set[str]:
        why: set[str] = set()

        def listen(event: NodeEvent) -> None:
            if isinstance(event, RoleChanged) and not event.established and event.leader is None:
                why.add(event.why)

        async with local_cluster(3) as cluster, cluster.client() as zk:
            await zk.create("/before")
            leader = leader_of(cluster).me
            cluster.events.subscribe(listen)
            await stop(cluster, leader)
            await zk.create("/after")
            assert leader not in cluster.nodes
            assert cluster.leader is not None
            return why

    async def crash(cluster: LocalCluster, me: int) -> None:
        cluster.kill(me)

    assert run(lambda: main(LocalCluster.stop_node)) == set(), "nobody has looked for a leader"
    assert any("broke" in why for why in run(lambda: main(crash)))


@pytest.mark.parametrize("count", [1, 3])
def test_where_nobody_can_take_over_a_leader_does_not_wait_for_a_successor(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with local_cluster(count) as cluster:
            leader = leader_of(cluster)
            for me in cluster.ensemble.voters:
                if me != leader.me:
                    cluster.kill(me)
            await cluster.stop_node(leader.me)
            assert cluster.nodes == {}

    with caplog.at_level("INFO", "zkcore.node"):
        run(main)
    assert "stops without handing over" in caplog.text
    assert not any(record.args and isinstance(record.args[-1], TimeoutError) for record in caplog.records)


def test_a_node_by_itself_is_stopped_and_started_as_a_context() -> None:
    async def main() -> None:
        network, storage = LocalNetwork(), MemoryStorage()
        for number in range(2):
            node = Node(1, EnsembleConfig([1]), storage=storage, transport=lambda inbox: network.attach(1, inbox))
            async with node, node.client() as zk:
                await zk.create(f"/n{number}")
            network.detach(1)
            await node.stop()
            assert not node.host.running

    run(main)


def test_a_cluster_that_is_closed_does_not_hand_over_node_by_node() -> None:
    async def main() -> list[NodeEvent]:
        events: list[NodeEvent] = []
        async with local_cluster(5) as cluster, cluster.client() as zk:
            await zk.create("/a")
            cluster.events.subscribe(events.append)
        return [event for event in events if isinstance(event, RoleChanged)]

    assert run(main) == []


# --- what they say of themselves


def test_a_cluster_explains_itself_in_words() -> None:
    async def main() -> None:
        async with local_cluster(3, observers=1, limits=PATIENT) as cluster:
            zk = await cluster.nodes[4].client().start()
            await zk.create("/a")
            leader = leader_of(cluster).me
            away, cut = {1, 2, 3} - {leader}
            cluster.kill(away)
            await zk.set("/a", b"x")
            lines = cluster.explain()
            assert f"node {away}: down" in lines
            assert f"node {leader}: voter {away} is away" in lines
            assert "node 4: sessions served here: 1; being attached: 0" in lines
            assert "node 4: an observer never leads" in lines
            cluster.network.cut(leader, cut)
            writing = asyncio.create_task(zk.set("/a", b"stuck"))
            said = {
                f"node {leader}: voter {cut} is away",
                "node 4: sessions that wait for a write to be committed and applied here: 1",
            }
            while not said <= set(cluster.explain()):
                await asyncio.sleep(0)
            zk.abandon()
            with pytest.raises(OutcomeUnknownError):
                await writing

    run(main)


def test_status_tells_who_lags_and_by_how_much() -> None:
    async def main() -> None:
        async with local_cluster(3) as cluster, cluster.client() as zk:
            await zk.create("/a")
            status = leader_of(cluster).status()
            assert {learner.peer for learner in status.learners} == {1, 2, 3} - {status.me}
            assert {learner.stage for learner in status.learners} == {"ACTIVE"}

    run(main)
