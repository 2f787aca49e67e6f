"""Ensembles in one process whose members change while they serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from attrs import evolve

import zkcore
import zkcore.sync
from zkcore.client.members import instead, with_member, with_observer, with_voter, without
from zkcore.replica.members import Members


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


async def agree(cluster: zkcore.LocalCluster) -> None:
    """Until all nodes know the same members, and these are all there are."""
    while {node.members() for node in cluster.nodes.values()} != {cluster.members()} or set(cluster.nodes) != set(
        cluster.ensemble.members
    ):
        await asyncio.sleep(0.001)


def test_one_grows_to_three_and_five_and_shrinks_again_while_a_client_writes() -> None:
    async def test() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            await zk.create("/count", b"0")
            counted = 0
            stop = asyncio.Event()

            async def count() -> None:
                nonlocal counted
                while not stop.is_set():
                    try:
                        await zk.set("/count", b"%d" % (counted + 1))
                        counted += 1
                    except zkcore.ConnectionLostError:
                        counted = int((await zk.get("/count", read=zkcore.Read.LINEARIZABLE)).data)

            writing = asyncio.create_task(count())
            assert [await cluster.add_node(promote=True) for _ in range(2)] == [2, 3]
            assert cluster.ensemble.voters == (1, 2, 3)
            assert [await cluster.add_node(promote=True) for _ in range(2)] == [4, 5]
            assert cluster.ensemble.voters == (1, 2, 3, 4, 5)
            first = cluster.leader
            assert first is not None
            await cluster.remove_node(first)
            await cluster.remove_node(5 if first != 5 else 4)
            stop.set()
            await writing
            await agree(cluster)
            assert len(cluster.ensemble.voters) == 3
            assert first not in cluster.nodes
            assert counted > 20
            assert (await zk.get("/count", read=zkcore.Read.LINEARIZABLE)).data == b"%d" % counted

    run(test)


def test_a_node_takes_the_place_of_a_dead_one() -> None:
    async def test() -> None:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            await zk.create("/kept", b"x")
            dead = next(me for me in (1, 2, 3) if me != cluster.leader)
            cluster.kill(dead)
            assert await cluster.replace(dead) == 4
            await agree(cluster)
            assert cluster.ensemble.voters == tuple(sorted({1, 2, 3, 4} - {dead}))
            assert (await cluster.nodes[4].client().start()) is not None
            async with cluster.nodes[4].client() as other:
                assert (await other.get("/kept")).data == b"x"
            with pytest.raises(zkcore.BadArgumentsError, match="none of the voters"):
                await cluster.replace(dead)

    run(test)


def test_the_dead_are_removed_when_asked_for_and_no_quorum_is_made_of_them() -> None:
    async def test() -> None:
        async with zkcore.local_cluster(5) as cluster:
            leader = await cluster.wait_for_leader()
            dead = [me for me in range(1, 6) if me != leader][:2]
            alive = [me for me in range(1, 6) if me not in dead]
            for me in dead:
                cluster.kill(me)
            node = cluster.nodes[leader]
            with pytest.raises(zkcore.NewConfigNoQuorumError, match="no quorum of the new voters"):
                await node.remove(alive[1:])  # the leader and two dead ones would be left
            assert cluster.members().version == 0
            assert (await node.remove(dead)).config.voters == tuple(alive)
            with pytest.raises(zkcore.BadArgumentsError, match=f"server {dead[0]} cannot leave"):
                await node.remove(dead[0])

    run(test)


def test_what_is_asked_for_is_checked_against_the_members_there_are() -> None:
    async def test() -> None:
        async with zkcore.local_cluster(1) as cluster:
            node = cluster.nodes[1]
            with pytest.raises(zkcore.BadArgumentsError, match="no voter left"):
                await node.remove(1)
            with pytest.raises(zkcore.BadArgumentsError, match="add it first"):
                await node.promote(2)
            before = await node.add(2)
            with pytest.raises(zkcore.NewConfigNoQuorumError):
                await node.promote(2)  # it does not run
            with pytest.raises(zkcore.BadVersionError):
                await node.reconfigure(without(before, [2]), version=before.version - 1)
            after = await node.reconfigure(without(before, [2]), version=before.version)
            assert (after.config.members, after.version > before.version) == ((1,), True)
            assert await cluster.add_node(7) == 7
            with pytest.raises(zkcore.BadArgumentsError, match="there is a node 7"):
                await cluster.add_node(7)
            assert cluster.ensemble.observers == (7,)

    run(test)


def test_what_has_grown_on_disk_comes_back_as_it_was(tmp_path: Path) -> None:
    async def test() -> None:
        async with zkcore.local_cluster(1, data_dir=tmp_path, new=True) as cluster, cluster.client() as zk:
            await cluster.add_node(promote=True)
            await cluster.add_node(promote=True)
            await cluster.remove_node(1)
            await zk.create("/kept", b"x")
        async with zkcore.local_cluster(1, data_dir=tmp_path) as cluster, cluster.client() as zk:
            assert sorted(cluster.nodes) == [2, 3]
            assert (await zk.get("/kept")).data == b"x"
            assert await cluster.add_node() == 4
            cluster.kill(4)
            cluster.start_node(4)
            await agree(cluster)
        with pytest.raises(zkcore.StorageError, match="voters 2 3 are new"):
            await zkcore.local_cluster(3, data_dir=tmp_path).start()

    run(test)


def test_the_blocking_face_grows_as_well() -> None:
    with zkcore.sync.local_cluster(1) as cluster, cluster.client() as zk:
        assert cluster.add_node(promote=True) == 2
        assert cluster.ensemble.voters == cluster.members().config.voters == (1, 2)
        assert cluster.replace(1) == 3
        assert cluster.remove_node(2).config.voters == (3,)
        assert cluster.add_node(5) == 5
        assert cluster.promote(5).config.voters == (3, 5)
        assert cluster.reconfigure(without(cluster.members(), [5])).config.voters == (3,)
        zk.create("/a")


# --- what the members become ------------------------------------------------------------------------------------------


@pytest.fixture
def three() -> Members:
    config = zkcore.EnsembleConfig([1, 2, 3], observers=[4], groups=[[1], [2, 3]], weights={1: 2})
    return Members(config, addresses={me: f"zk{me}:2888" for me in range(1, 5)}, clients={3: "zk3:2181"}, version=9)


def test_who_goes_takes_its_group_weight_and_addresses_along(three: Members) -> None:
    left = without(three, [1, 3])
    assert left.config == zkcore.EnsembleConfig([2], observers=[4], groups=[[2]])
    assert (dict(left.addresses), dict(left.clients)) == ({2: "zk2:2888", 4: "zk4:2888"}, {})


def test_one_takes_the_place_of_another_in_everything(three: Members) -> None:
    after = instead(three, 1, 4)
    assert after.config == zkcore.EnsembleConfig([2, 3, 4], groups=[[4], [2, 3]], weights={4: 2})
    assert sorted(after.addresses) == [2, 3, 4]
    assert instead(after, 1, 4) == after


def test_a_voter_that_is_to_observe_keeps_its_addresses(three: Members) -> None:
    after = with_observer(three, 3)
    assert after.config == zkcore.EnsembleConfig([1, 2], observers=[3, 4], groups=[[1], [2]], weights={1: 2})
    assert (after.addresses, after.clients) == (three.addresses, three.clients)
    assert with_observer(after, 3) == after


def test_who_is_there_moves_and_who_is_not_comes(three: Members) -> None:
    assert with_member(three, 4, "elsewhere:1").addresses[4] == "elsewhere:1"
    assert with_member(three, 9, "zk9:2888").config.observers == (4, 9)
    with pytest.raises(zkcore.BadArgumentsError, match="have the same address"):
        with_member(three, 9, "zk1:2888")
    with pytest.raises(zkcore.BadArgumentsError, match="the voters have groups"):
        with_voter(three, 4)
    plain = evolve(three, config=zkcore.EnsembleConfig([1, 2, 3], observers=[4]))
    assert with_voter(plain, 4).config == zkcore.EnsembleConfig([1, 2, 3, 4])
    assert with_voter(plain, 3) == plain
