"""Our client of ZooKeeper's protocol while servers are killed and come back, in blocking code, and behind TLS."""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path

import pytest
from certificates import Authority
from ensembles import run, until

import zkcore
import zkcore.sync
from zkcore.client.cluster import local_cluster
from zkcore.errors import ConnectionLostError, SessionClosedError, SessionExpiredError
from zkcore.server.listener import ClientListener
from zkcore.testing.zookeeper import ZookeeperServer

State = zkcore.SessionState


async def kill(ours: ZookeeperServer, node: int | None) -> int:
    """Kill a node without holding up our own event loop."""
    assert node is not None
    await asyncio.to_thread(ours.kill, node)
    return node


def test_a_killed_leader_costs_no_session_and_no_watch(ours: ZookeeperServer) -> None:
    async def main() -> None:
        async with zkcore.connect(f"zk://{ours.hosts}") as one, zkcore.connect(f"zk://{ours.hosts}") as two:
            session = one.session_id
            await one.create("/mine", ephemeral=True)
            for round_ in range(3):
                told = asyncio.Event()
                await one.exists(f"/{round_}", lambda event, told=told: told.set())  # type: ignore[misc]
                killed = await kill(ours, await asyncio.to_thread(lambda: ours.leader))
                while True:
                    try:
                        await two.create(f"/{round_}", exist_ok=True)
                        break
                    except ConnectionLostError:
                        pass
                await told.wait()
                await asyncio.to_thread(ours.restart, killed)
            assert (await one.exists("/mine")).ephemeral_owner == session  # type: ignore[union-attr]
            assert one.session_id == session

    run(main())


def test_what_is_added_under_fire_is_added_once(ours: ZookeeperServer) -> None:
    async def main() -> None:
        async with zkcore.connect(f"zk://{ours.hosts}") as zk:
            counter = zkcore.Counter(zk, "/n")

            async def add() -> None:
                for _ in range(20):
                    await counter.add()

            adding = asyncio.ensure_future(add())
            for node in (1, 2, 3):
                await kill(ours, node)
                await asyncio.to_thread(ours.restart, node)
            await adding
            assert await counter.get() == 20

    run(main())


def test_without_a_quorum_requests_wait(ours: ZookeeperServer) -> None:
    async def main() -> None:
        async with zkcore.connect(f"zk://{ours.hosts}", timeout=20) as zk:
            await kill(ours, 1)
            await kill(ours, 2)
            await until(lambda: zk.state is State.SUSPENDED)
            waiting = asyncio.ensure_future(zk.exists("/"))
            await asyncio.to_thread(ours.restart, 1)
            assert await waiting is not None
            assert zk.state is State.CONNECTED
            await asyncio.to_thread(ours.restart, 2)

    run(main())


def test_a_session_that_the_ensemble_ends_is_lost(ours: ZookeeperServer) -> None:
    async def main() -> None:
        async with zkcore.connect(f"zk://{ours.hosts}", timeout=40) as zk:
            states = zk.states()
            assert await anext(states) is State.CONNECTED
            assert await asyncio.to_thread(ours.expire_session, zk.session_id)
            while await anext(states) is not State.LOST:
                pass
            assert zk.port.now() < zk.port.session.alive_until  # it was told, and did not wait for its time to be up
            with pytest.raises(SessionExpiredError):
                await zk.get("/")

    run(main())


# --- blocking code


def test_the_blocking_face(ours: ZookeeperServer) -> None:
    client = zkcore.sync.connect(f"zk://{ours.hosts}/app")
    assert repr(client) == "<Client not started>"
    with pytest.raises(SessionClosedError):
        client.get("/")
    with client as zk:
        assert zk.is_zkcore
        zk.ensure_path("/")
        told = threading.Event()
        zk.exists("/a", lambda event: told.set())
        assert zk.create("/a", b"1") == "/a"
        assert told.wait(20)
        assert zk.get("/a").data == b"1"
        with zkcore.sync.Lock(zk, "/lock") as lease:
            assert lease.path.startswith("/lock/")
            leader = ours.leader
            assert leader is not None
            ours.kill(leader)
            assert zk.get_children("/") == ["a", "lock"]
        ours.restart(leader)
        with pytest.raises(SessionClosedError, match="make a new one"):
            zk.start()
    with pytest.raises(SessionClosedError):
        zk.get("/a")
    zk.close()


def test_a_blocking_client_that_is_abandoned_leaves_its_session_to_expire(ours: ZookeeperServer) -> None:
    client = zkcore.sync.connect(f"zk://{ours.hosts}").start()
    session = client.session_id
    client.abandon()
    assert session in ours.sessions


# --- TLS


def test_a_server_behind_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(certificate, key)
    here = ssl.create_default_context(cafile=str(authority.path))

    async def main() -> None:
        async with local_cluster(1) as cluster:
            node = cluster.nodes[1]
            async with ClientListener(node.host, "127.0.0.1:0", tls=there) as listener:
                port = listener.address.rpartition(":")[2]
                async with zkcore.connect(f"zk://localhost:{port}", tls=here) as zk:
                    await zk.create("/a", b"1")
                    assert (await zk.get("/a")).data == b"1"
                for refused in (ssl.create_default_context(), None):
                    client = zkcore.connect(f"zk://localhost:{port}", tls=refused, timeout=1)
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.5):
                            await client.start()

    run(main())
