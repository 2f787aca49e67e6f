"""Nodes over TCP that join an ensemble which runs, come back, move and leave."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from certificates import Authority
from ports import Ports

import zkcore
import zkcore.sync
from zkcore import ConfigurationError, JoinRefusedError, Limits, LinkLimits, NodeConfig, SharedSecret, StorageError
from zkcore.client.joining import Doorkeeper, _Question, _Reply
from zkcore.events import ConfigurationActivated, JoinWaits, NodeEvent, PromotionRefused, Removed
from zkcore.jute.codec import decode, encode
from zkcore.transport.asking import Asking

SECRET = SharedSecret(b"known to all members")
QUICK = LinkLimits(redial_seconds=0.01, redial_most_seconds=0.05)


@pytest.fixture
def at() -> Iterator[dict[int, str]]:
    """Addresses, more than one test has members."""
    ports = Ports()
    yield {number: ports.take() for number in range(1, 7)}
    ports.close()


@pytest.fixture
def one(at: dict[int, str], tmp_path: Path) -> NodeConfig:
    """An ensemble of one."""
    return NodeConfig(
        me=1, members={1: at[1]}, security=SECRET, data_dir=tmp_path / "1", new=True, cluster="orders", links=QUICK,
        limits=Limits(sync_limit_ticks=100, ping_ticks=25),
    )  # fmt: skip


@pytest.fixture
def joining(one: NodeConfig, at: dict[int, str], tmp_path: Path) -> Callable[..., NodeConfig]:
    """A member that joins the ensemble."""

    def make(me: int, **other: Any) -> NodeConfig:
        given = {"me": me, "join": at[1], "address": at[me], "data_dir": tmp_path / str(me), "new": True, **other}
        return NodeConfig(security=SECRET, cluster="orders", links=QUICK, limits=one.limits, **given)

    return make


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(*configs: NodeConfig) -> AsyncIterator[list[zkcore.TcpNode]]:
    """Started one after the other; a voter to be has become one before the next starts."""
    nodes: list[zkcore.TcpNode] = []
    try:
        for config in configs:
            nodes.append(await zkcore.start_node(config).start())
            if config.promote:
                await eventually(lambda: nodes[0].members().config == nodes[-1].members().config)
                await eventually(lambda: nodes[-1].me in nodes[0].members().config.voters)
        yield nodes
    finally:
        for node in nodes:
            await node.stop()


def test_one_address_and_the_name_of_the_cluster_are_enough(
    one: NodeConfig, joining: Callable[..., NodeConfig]
) -> None:
    async def test() -> None:
        async with running(one, joining(2, promote=True), joining(3, promote=True), joining(4)) as nodes:
            await eventually(lambda: {node.members() for node in nodes} == {nodes[0].members()})
            members = nodes[3].members()
            assert members.config == zkcore.EnsembleConfig([1, 2, 3], observers=[4])
            assert dict(members.addresses) == {node.me: node.config.address or one.members[0][1] for node in nodes}
            async with nodes[3].client() as zk:
                await zk.create("/here", b"x")
            async with nodes[1].client() as zk:
                assert (await zk.get("/here", read=zkcore.Read.LINEARIZABLE)).data == b"x"
            # It need not have asked the leader.
            assert await nodes[0].transfer(2) == 2
            async with running(joining(5)) as (fifth,):
                assert fifth.members().config.observers == (4, 5)
                assert (await nodes[1].remove([4, 5])).config.observers == ()

    run(test)


def test_a_member_that_has_joined_comes_back_by_what_it_has_saved(
    one: NodeConfig, joining: Callable[..., NodeConfig], at: dict[int, str]
) -> None:
    async def test() -> None:
        three = [one, joining(2, promote=True), joining(3, promote=True)]
        async with running(*three) as nodes, nodes[0].client() as zk:
            await zk.create("/kept", b"x")
        # Nobody answers where it has joined, and the members of the beginning are told in another way.
        old = evolve(three[0], new=False, members={me: at[me] for me in (1, 2, 3)})
        again = [evolve(each, new=False, promote=False, join=at[6]) for each in three[1:]]
        async with running(old, *again) as nodes, nodes[2].client() as zk:
            assert (await zk.get("/kept")).data == b"x"
            assert nodes[2].members().config.voters == (1, 2, 3)

    run(test)


def test_who_may_not_join_is_told_why(
    one: NodeConfig, joining: Callable[..., NodeConfig], at: dict[int, str], tmp_path: Path
) -> None:
    async def refused(config: NodeConfig) -> str:
        with pytest.raises(JoinRefusedError) as error:
            await zkcore.start_node(config).start()
        assert config.me == 2 or not (tmp_path / str(config.me)).exists()
        return str(error.value)

    async def test() -> None:
        async with running(one, joining(2)) as nodes:
            version = nodes[0].members().version
            assert f"member 2 is at {at[2]}, and not at {at[5]}" in await refused(joining(2, address=at[5]))
            said = await refused(joining(5, address=at[2], bind=at[5]))
            assert f"{at[2]} is the address of member 2; give member 5 one of its own" in said
            said = await refused(evolve(joining(5), cluster="stock"))
            assert "a member of cluster 'stock' and member 1 of another do not talk" in said
            said = await refused(evolve(joining(5), security=SharedSecret(b"guessed by somebody")))
            assert "does not know the secret of member 1" in said
            assert "is the address of member 1" in await refused(joining(5, address=at[1], bind=at[5]))
            assert nodes[0].members().version == version
            zkcore.FileStorage(tmp_path / "5", node=5, cluster="orders", new=True).close()
            with pytest.raises(StorageError, match="holds a storage already"):
                await zkcore.start_node(joining(5)).start()

    run(test)


def test_another_clusters_directory_is_refused(
    one: NodeConfig, joining: Callable[..., NodeConfig], tmp_path: Path
) -> None:
    async def test() -> None:
        zkcore.FileStorage(tmp_path / "2", node=2, cluster="stock", new=True).close()
        async with running(one):
            with pytest.raises(StorageError, match="is of member 2 of 'stock', not of member 2 of 'orders'"):
                await zkcore.start_node(joining(2, new=False)).start()

    run(test)


def test_a_wiped_member_does_not_vote_before_the_others_have_taken_its_vote_away(
    one: NodeConfig, joining: Callable[..., NodeConfig], tmp_path: Path
) -> None:
    """It had acknowledged what it does not know any more. Its name observes first, and votes when it is in line."""

    async def test() -> None:
        async with running(one, joining(2, promote=True), joining(3, promote=True)) as nodes:
            async with nodes[0].client() as zk:
                await zk.create("/kept", b"x")
            await nodes.pop().stop()
            await eventually(lambda: 3 not in nodes[0].status().linked)
            shutil.rmtree(tmp_path / "3")
            seen: list[NodeEvent] = []
            nodes[0].events.subscribe(seen.append)
            async with running(joining(3)) as (wiped,):
                assert wiped.members().config == zkcore.EnsembleConfig([1, 2], observers=[3])
                assert wiped.status().damage is None
                await eventually(lambda: wiped.status().established)
                await eventually(lambda: wiped.node.replica.tree.last_zxid == nodes[0].node.replica.tree.last_zxid)
                assert (await nodes[1].promote(3)).config.voters == (1, 2, 3)
            made = [event.config for event in seen if isinstance(event, ConfigurationActivated)]
            assert made == [zkcore.EnsembleConfig([1, 2], observers=[3]), zkcore.EnsembleConfig([1, 2, 3])]

    run(test)


def test_a_member_that_runs_loses_its_vote_to_nobody(
    one: NodeConfig, joining: Callable[..., NodeConfig], at: dict[int, str]
) -> None:
    async def test() -> None:
        async with running(one, joining(2, promote=True), joining(3, promote=True)) as nodes:
            await eventually(lambda: 3 in nodes[0].status().linked)
            elsewhere = {"bind": at[6], "data_dir": None, "new": False, "storage": zkcore.MemoryStorage()}
            twin = zkcore.start_node(joining(3, **elsewhere))
            waits: list[str] = []
            twin.events.subscribe(lambda event: waits.append(str(event)) if isinstance(event, JoinWaits) else None)
            starting = asyncio.create_task(twin.start())
            await eventually(lambda: waits)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            assert f"member 3 is running at {nodes[2].config.address}: stop it first" in waits[0]
            assert nodes[0].members().config.voters == (1, 2, 3)

    run(test)


def test_who_was_away_when_it_was_removed_hears_of_it(one: NodeConfig, joining: Callable[..., NodeConfig]) -> None:
    async def test() -> None:
        four = [one, joining(2, promote=True), joining(3, promote=True), joining(4)]
        async with running(*four) as nodes:
            await eventually(nodes[3].is_ready)
            for gone in (nodes.pop(), nodes.pop(0)):  # it would dial the others, and they it
                await gone.stop()
                after = await nodes[0].remove(gone.me)
            heard: dict[int, list[Removed]] = {1: [], 4: []}
            for config in (four[0], four[3]):
                node = zkcore.start_node(evolve(config, new=False))
                node.events.subscribe(
                    lambda event, me=config.me: heard[me].append(event) if isinstance(event, Removed) else None
                )
                nodes.append(await node.start())
            await eventually(lambda: heard[1] and heard[4])
            for node in nodes[2:]:
                assert node.explain()[0] == f"node {node.me} was removed: the members are {after}"
                assert not node.is_ready()
            assert nodes[0].members() == after
            # It is added again, and serves.
            await nodes[0].add(4, four[3].address)
            await eventually(nodes[3].is_ready)

    run(test)


def test_who_was_away_while_the_others_moved_finds_them(
    one: NodeConfig, joining: Callable[..., NodeConfig], at: dict[int, str]
) -> None:
    async def test() -> None:
        three = [one, joining(2, promote=True), joining(3, promote=True)]
        async with running(*three) as nodes:
            await nodes.pop().stop()
            await nodes[0].transfer(2) if nodes[0].status().leader == 1 else None
            assert (await nodes[1].add(1, at[5])).addresses[1] == at[5]
            await nodes.pop(0).stop()
            moved = evolve(three[0], new=False, bind=at[5])
            nodes.append(await zkcore.start_node(moved).start())
            await eventually(nodes[1].is_ready)
            assert await nodes[0].transfer(1) == 1  # 3 must be linked with it, and knows the old address
            nodes.append(await zkcore.start_node(evolve(three[2], new=False, join=at[4], promote=False)).start())
            await eventually(nodes[2].is_ready)
            assert nodes[2].members().addresses[1] == at[5]

    run(test)


def test_certificates_are_checked_when_one_joins(
    at: dict[int, str], one: NodeConfig, joining: Callable[..., NodeConfig], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)

    async def test() -> None:
        first = evolve(one, security=authority.member(1))
        async with running(first, evolve(joining(2, promote=True), security=authority.member(2))) as nodes:
            assert nodes[0].members().config.voters == (1, 2)

    run(test)


def test_a_question_that_makes_no_sense_is_answered(one: NodeConfig, at: dict[int, str]) -> None:
    """Whoever has sent it knows the secret, and is refused in words."""

    async def test() -> None:
        async with running(one) as (node,):
            asking = Asking(5, at[5], cluster="orders", security=SECRET)
            for question, says in (
                (b"nonsense", "over the limit"), (encode(_Question(9, at[5], "", True)), "of format 9"),
                (encode(_Question(1, "nowhere", "", True)), "the address is 'nowhere'"),
            ):  # fmt: skip
                reply = decode(_Reply, await asking.ask(at[1], question, patience=20))
                assert says in reply.refused, reply
                assert not reply.may_change
            answer = Doorkeeper(node.node).answer
            said = await answer(5, encode(_Question(1, at[5], "", True)), lambda where: f"member 5 is not at {where}")
            assert decode(_Reply, said).refused == f"member 5 is not at {at[5]}"
            assert node.members().version == 0

    run(test)


def test_one_that_has_followed_nobody_yet_asks_again_and_joins_no_second_time(
    one: NodeConfig, joining: Callable[..., NodeConfig], tmp_path: Path
) -> None:
    async def test() -> None:
        async with running(one) as (node,):
            told = await node.add(2, joining(2).address)
            zkcore.FileStorage(tmp_path / "2", node=2, cluster="orders", ensemble=told.config, new=True).close()
            async with running(joining(2, new=False)) as (second,):  # it ended before anything was saved
                await eventually(second.is_ready)
                assert node.members() == told
            await node.remove(2)
            shutil.rmtree(tmp_path / "2")
            zkcore.FileStorage(tmp_path / "2", node=2, cluster="orders", ensemble=told.config, new=True).close()
            with pytest.raises(JoinRefusedError, match="was removed, or has never joined; join with an empty"):
                await zkcore.start_node(joining(2, new=False)).start()

    run(test)


def test_what_does_not_go_together_is_said(joining: Callable[..., NodeConfig], at: dict[int, str]) -> None:
    for wrong, says in (
        ({"members": {1: at[1]}}, "leave out members, or else join"), ({"address": ""}, "address is ''"),
        ({"join": ["nowhere"]}, "join is 'nowhere'"),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=says):
            joining(2, **wrong)
    with pytest.raises(ConfigurationError, match="give its name"):
        evolve(joining(2), cluster="")
    with pytest.raises(ConfigurationError, match="not a server number"):
        evolve(joining(2), me=0)


def test_a_promotion_that_cannot_be_is_told_and_the_node_observes_on(
    one: NodeConfig, joining: Callable[..., NodeConfig]
) -> None:
    async def test() -> None:
        grouped = evolve(one, groups=[[1]])
        async with running(grouped):
            node = zkcore.start_node(joining(2, promote=True))
            told: list[PromotionRefused] = []
            node.events.subscribe(lambda event: told.append(event) if isinstance(event, PromotionRefused) else None)
            async with node:
                await eventually(lambda: told)
                assert "which is that of server 2 must be said" in told[0].why
                assert node.members().config.observers == (2,)

    run(test)


def test_the_blocking_face_joins(one: NodeConfig, joining: Callable[..., NodeConfig], at: dict[int, str]) -> None:
    with zkcore.sync.start_node(one) as first, zkcore.sync.start_node(joining(2)) as second:
        assert second.members().config == zkcore.EnsembleConfig([1], observers=[2])
        with second.client() as zk:
            zk.create("/a")  # it is in line
        assert first.promote(2).config.voters == (1, 2)
        assert first.add(3, at[3]).config.observers == (3,)
        assert first.remove(3).config.observers == ()
        before = first.members()
        assert first.reconfigure(before, version=before.version).config == before.config
