"""Nodes made by one call, linked over TCP: they serve, come back, hand over, and never start by half."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve
from certificates import Authority
from ports import Ports

import zkcore
import zkcore.sync
from zkcore import ConfigurationError, LinkLimits, MemoryStorage, NodeConfig, Plaintext, SharedSecret, StorageError

SECRET = SharedSecret(b"known to all members")


@pytest.fixture
def members() -> Iterator[dict[int, str]]:
    ports = Ports()
    yield {me: ports.take() for me in (1, 2, 3)}
    ports.close()


@pytest.fixture
def config(members: dict[int, str]) -> NodeConfig:
    return NodeConfig(me=1, members=members, security=SECRET, storage=MemoryStorage())


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


def test_three_nodes_serve_their_clients(members: dict[int, str]) -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(
                    zkcore.start_node(NodeConfig(me=me, members=members, security=SECRET, storage=MemoryStorage()))
                )
                for me in members
            ]
            clients = [await stack.enter_async_context(node.client()) for node in nodes]
            await clients[0].create("/from-one", b"x")
            assert (await clients[2].get("/from-one", read=zkcore.Read.LINEARIZABLE)).data == b"x"
            assert {node.status().leader for node in nodes} <= {1, 2, 3}
            (leading,) = [node for node in nodes if node.status().leader == node.me]
            assert len(leading.sessions()) == 3
            assert await leading.kill_session(clients[1].session_id)
            assert leading.explain()
            assert repr(leading).startswith(f"<TcpNode {leading.me}")

    run(test)


def test_a_member_comes_back_with_what_it_had(members: dict[int, str], tmp_path: Path) -> None:
    alone = NodeConfig(me=1, members={1: members[1]}, security=SECRET, data_dir=tmp_path / "1", new=True)

    async def test() -> None:
        async with zkcore.start_node(alone) as node, node.client() as zk:
            await zk.create("/kept", b"x")
        async with zkcore.start_node(evolve(alone, new=False)) as node, node.client() as zk:
            assert (await zk.get("/kept")).data == b"x"

    run(test)


def test_a_leader_that_is_stopped_hands_over(members: dict[int, str]) -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            nodes = {}
            changes: list[str] = []
            for me in members:
                node = zkcore.start_node(NodeConfig(me=me, members=members, security=SECRET, storage=MemoryStorage()))
                node.events.subscribe(lambda event: changes.append(str(event)))
                nodes[me] = await stack.enter_async_context(node)
            async with nodes[1].client():
                leader = nodes[1].status().leader
            assert leader is not None
            follower = next(me for me in nodes if me != leader)
            epoch = nodes[follower].status().current_epoch
            del changes[:]
            await nodes[leader].stop()
            async with nodes[follower].client() as zk:
                await zk.create("/on")
            assert nodes[follower].status().current_epoch == epoch + 1
            assert sum(change.endswith(f"leader {leader} has handed over") for change in changes) == 2
            assert not any("LOOKING" in change for change in changes)

    run(test)


def test_one_call_for_blocking_code(members: dict[int, str]) -> None:
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                zkcore.sync.start_node(NodeConfig(me=me, members=members, security=SECRET, storage=MemoryStorage()))
            )
            for me in members
        ]
        zk = stack.enter_context(nodes[0].client())
        zk.create("/a", b"x")
        assert zk.get("/a").data == b"x"
        leader = nodes[0].status().leader
        assert leader is not None
        other = leader % 3 + 1
        assert nodes[leader - 1].transfer(other) == other
        assert nodes[other - 1].explain()
    with pytest.raises(zkcore.SessionClosedError):
        nodes[0].status()
    nodes[0].stop()
    with pytest.raises(zkcore.SessionClosedError, match="make a new one"):
        nodes[0].start()


def test_clients_that_are_open_are_closed_with_the_node(config: NodeConfig) -> None:
    async def test() -> None:
        alone = evolve(config, members={1: dict(config.members)[1]})
        node = await zkcore.start_node(alone).start()
        zk = await node.client().start()
        await zk.create("/a")
        await node.stop()
        with pytest.raises(zkcore.SessionClosedError):
            await zk.create("/b")
        await node.stop()
        with pytest.raises(zkcore.SessionClosedError, match="does not run"):
            node.client()
        with pytest.raises(zkcore.SessionClosedError, match="make a new one"):
            await node.start()

    run(test)


@pytest.mark.parametrize("years", [-1, 30, -100, 10_000])
def test_a_clock_that_jumps_ends_no_session(members: dict[int, str], years: int) -> None:
    """Neither where that of one member does, nor that of all; to before 1970, or to where no clock has been."""
    jump = years * 365 * 86_400

    async def test() -> None:
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(
                    zkcore.start_node(NodeConfig(me=me, members=members, security=SECRET, storage=MemoryStorage()))
                )
                for me in members
            ]
            clients = [await stack.enter_async_context(node.client()) for node in nodes]
            for number, zk in enumerate(clients):
                await zk.create(f"/here-{number}", ephemeral=True)
            sessions = [zk.session_id for zk in clients]
            for jumping in (nodes[:1], nodes):
                for node in jumping:
                    node.node.host._wall = lambda: time.time() + jump
                for zk in clients:
                    await zk.create("/after-", sequence=True)
                other = await stack.enter_async_context(nodes[0].client())
                assert other.session_id not in sessions
                sessions.append(other.session_id)
            assert [zk.session_id for zk in clients] == sessions[:3]
            assert [await clients[0].exists(f"/here-{number}") is not None for number in range(3)] == [True] * 3

    run(test)


# --- never by half ----------------------------------------------------------------------------------------------------


def is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind((host, int(port)))
            other.listen()
        except OSError:
            return False
        return True


async def refuse(config: NodeConfig, kind: type[Exception], complaint: str) -> None:
    node = zkcore.start_node(config)
    with pytest.raises(kind, match=complaint):
        await node.start()
    assert "not running" in repr(node)


def test_a_port_that_is_taken_leaves_no_directory_behind(members: dict[int, str], tmp_path: Path) -> None:
    host, _, port = members[1].rpartition(":")
    config = NodeConfig(me=1, members=members, security=SECRET, data_dir=tmp_path / "1", new=True)

    async def test() -> None:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((host, int(port)))
            taken.listen()
            await refuse(config, ConfigurationError, r"members\[1\] is .*: the port is taken; stop the process")
        assert not (tmp_path / "1").exists()
        async with zkcore.start_node(config):
            pass

    run(test)


def test_a_directory_that_cannot_be_used_leaves_no_port_behind(members: dict[int, str], tmp_path: Path) -> None:
    config = NodeConfig(me=1, members=members, security=SECRET, data_dir=tmp_path / "1")

    async def test() -> None:
        await refuse(config, StorageError, str(tmp_path / "1"))
        assert is_free(members[1])
        async with zkcore.start_node(evolve(config, new=True)):
            assert not is_free(members[1])
            again = evolve(config, members={**members, 1: members[2], 2: members[1]}, cluster=config.cluster)
            await refuse(again, StorageError, "in use")
            assert is_free(members[2])
        assert is_free(members[1])
        await refuse(evolve(config, new=True), StorageError, "holds a storage already")

    run(test)


def test_a_certificate_that_has_expired_starts_nothing(members: dict[int, str], tmp_path: Path) -> None:
    tls = Authority(tmp_path).member(1, expires=datetime.now(UTC) - timedelta(days=1))
    config = NodeConfig(me=1, members=members, security=tls, data_dir=tmp_path / "1", new=True)

    async def test() -> None:
        await refuse(config, ConfigurationError, "certificate has expired; renew it")
        assert is_free(members[1])
        assert not (tmp_path / "1").exists()

    run(test)


# --- what cannot work -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"me": 4}, r"me is 4, which is none of the members \[1, 2, 3\]; add its address to members, or correct me"),
        ({"members": [(1, "a:1"), (1, "b:1")]}, "member 1 is listed twice in members"),
        ({"members": {1: "a:1", 300: "b:1"}}, "member 300 is not a server number between 1 and 255"),
        ({"members": {1: "a:1", "2": "b:1"}}, "members has '2', which is no server number"),
        ({"members": {1: "a"}}, r"members\[1\] is 'a'; give it as 'host:port'"),
        ({"bind": "2888"}, "bind is '2888'"),
        ({"observers": [9]}, "observer 9 has no address; add it to members"),
        ({"observers": [1, 2, 3]}, "needs at least one voter"),
        ({"groups": [[1, 2]]}, "put every one of the voters"),
        ({"weights": {7: 1}}, "only voters have one"),
        ({"storage": None}, "give data_dir"),
        ({"data_dir": "x"}, "give data_dir"),
        ({"new": True}, "with storage leave it out"),
        ({"security": None}, r"for no protection at all Plaintext\(\)"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_work_says_what_to_change(
    config: NodeConfig, changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        evolve(config, **changes)


def test_the_name_of_an_ensemble_comes_of_its_members_unless_it_is_given(config: NodeConfig) -> None:
    def name(**changes: object) -> str:
        return NodeConfig(**{"me": 1, "security": Plaintext(), "storage": MemoryStorage(), **changes}).cluster

    names = [
        name(members={1: "a:1", 2: "b:1"}),
        name(members={1: "a:1", 2: "b:2"}),
        name(members={1: "a:1", 2: "b:1"}, observers=[2]),
    ]
    assert len(set(names)) == 3
    assert name(me=2, members={2: "b:1", 1: "a:1"}, bind="c:9") == names[0]
    assert name(members={1: "a:1"}, cluster="orders") == "orders"


def test_patience_is_the_sync_limit_unless_said_otherwise(config: NodeConfig) -> None:
    from zkcore.client.tcp_node import _transport_of

    limits = zkcore.Limits(tick_ms=20, sync_limit_ticks=250)
    links, events = LinkLimits(patience_seconds=7), zkcore.events.Dispatcher()
    assert _transport_of(evolve(config, limits=limits), events)._limits.patience_seconds == 5.0
    assert _transport_of(evolve(config, links=links), events)._limits.patience_seconds == 7


def test_a_configuration_shows_no_secret(config: NodeConfig) -> None:
    assert "known" not in repr(config)
