"""kazoo, as it is released, on an ensemble of ours: it does not notice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    BadVersionError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
)
from kazoo.recipe.queue import LockingQueue
from kazoo.recipe.watchers import ChildrenWatch, DataWatch
from kazoo.security import make_digest_acl

from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server

PATIENCE = 30


@pytest.fixture
def servers() -> Iterator[ZookeeperServer]:
    with zookeeper_server(3) as running:
        yield running


@pytest.fixture
def connect(servers: ZookeeperServer) -> Iterator[Callable[..., KazooClient]]:
    opened: list[KazooClient] = []

    def connect(**options: object) -> KazooClient:
        client = KazooClient(hosts=servers.hosts, **options)
        client.start(PATIENCE)
        opened.append(client)
        return client

    yield connect
    for client in opened:
        client.stop()
        client.close()


def test_its_verbs(connect: Callable[..., KazooClient]) -> None:
    zk = connect()
    assert zk.server_version()[:2] == (3, 9)
    assert zk.create("/a/b", b"1", makepath=True) == "/a/b"
    data, stat = zk.get("/a/b")
    assert (data, stat.version, stat.data_length) == (b"1", 0, 1)
    assert zk.set("/a/b", b"22").version == 1
    path, stat = zk.create("/a/n-", sequence=True, ephemeral=True, include_data=True)
    assert (path, stat.owner_session_id) == ("/a/n-0000000001", zk.client_id[0])
    assert sorted(zk.get_children("/a")) == ["b", "n-0000000001"]
    assert zk.get_children("/a", include_data=True)[1].children_count == 2
    assert zk.exists("/nope") is None
    assert zk.sync("/a") == "/a"
    for error, call in (
        (NodeExistsError, lambda: zk.create("/a")), (NoNodeError, lambda: zk.get("/nope")),
        (BadVersionError, lambda: zk.set("/a", b"", version=5)), (NotEmptyError, lambda: zk.delete("/a")),
    ):  # fmt: skip
        with pytest.raises(error):
            call()
    zk.delete("/a", recursive=True)
    assert zk.exists("/a") is None


def test_its_transactions(connect: Callable[..., KazooClient]) -> None:
    zk = connect()
    with zk.transaction() as done:
        done.create("/t", b"1")
        done.set_data("/t", b"2")
        done.check("/t", 1)
    assert zk.get("/t")[0] == b"2"
    failing = zk.transaction()
    failing.delete("/t")
    failing.check("/t", 7)
    assert [type(each) for each in failing.commit()] == [RolledBackError, NoNodeError]
    assert zk.exists("/t")


def test_its_acls(connect: Callable[..., KazooClient]) -> None:
    ada, bob = connect(auth_data=[("digest", "ada:pw")]), connect()
    ada.create("/secret", b"1", acl=[make_digest_acl("ada", "pw", all=True)])
    with pytest.raises(NoAuthError):
        bob.get("/secret")
    bob.add_auth("digest", "ada:pw")
    assert bob.get("/secret")[0] == b"1"
    assert bob.get_acls("/secret")[0][0].id.id.startswith("ada:")


def test_its_recipes(connect: Callable[..., KazooClient]) -> None:
    one, two = connect(), connect()
    order: list[str] = []

    def work(client: KazooClient, name: str) -> None:
        for _ in range(10):
            with client.Lock("/lock", name):
                order.append(f"{name} in")
                order.append(f"{name} out")

    workers = [threading.Thread(target=work, args=each) for each in ((one, "one"), (two, "two"))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert len(order) == 40
    assert all(order[i].split()[0] == order[i + 1].split()[0] for i in range(0, 40, 2))

    counter = one.Counter("/counter")
    counter += 3
    assert two.Counter("/counter").value == 3

    queue = LockingQueue(one, "/queue")
    queue.put_all([b"1", b"2"])
    taker = LockingQueue(two, "/queue")
    assert taker.get(PATIENCE) == b"1"
    assert taker.consume()

    elected = threading.Event()
    running = threading.Thread(target=one.Election("/election", "one").run, args=(elected.set,))
    running.start()
    assert elected.wait(PATIENCE)
    running.join(PATIENCE)

    with one.ReadLock("/shared"), two.ReadLock("/shared"):
        assert not two.WriteLock("/shared").acquire(blocking=False)
    barrier = one.DoubleBarrier("/barrier", 2)
    other = threading.Thread(target=two.DoubleBarrier("/barrier", 2).enter)
    other.start()
    barrier.enter()
    other.join(PATIENCE)
    party = one.Party("/party", "one")
    party.join()
    assert list(two.Party("/party")) == ["one"]


def test_a_killed_leader_costs_no_session_and_no_watch(
    servers: ZookeeperServer, connect: Callable[..., KazooClient]
) -> None:
    zk, other = connect(timeout=20), connect(timeout=20)
    session = zk.client_id
    zk.create("/mine", ephemeral=True)
    seen: list[bytes] = []
    changed = threading.Condition()

    def look(data: bytes | None, stat: object) -> None:
        with changed:
            seen.append(data or b"")
            changed.notify_all()

    DataWatch(zk, "/value", look)
    children: list[list[str]] = []
    ChildrenWatch(zk, "/", children.append)
    other.create("/value", b"1")
    leader = servers.leader
    assert leader is not None
    servers.kill(leader)
    other.retry(other.set, "/value", b"2")
    servers.restart(leader)
    with changed:
        assert changed.wait_for(lambda: seen[-1:] == [b"2"], PATIENCE)
    assert zk.client_id == session
    assert zk.retry(zk.exists, "/mine").owner_session_id == session[0]


def test_an_expired_session_is_told(servers: ZookeeperServer, connect: Callable[..., KazooClient]) -> None:
    zk, other = connect(), connect()
    lost, found = threading.Event(), threading.Event()
    zk.add_listener(lambda state: lost.set() if state == KazooState.LOST else found.set() if lost.is_set() else None)
    zk.create("/mine", ephemeral=True)
    gone = threading.Event()
    other.exists("/mine", watch=lambda event: gone.set())
    assert servers.expire_session(zk.client_id[0])
    assert lost.wait(PATIENCE)
    assert gone.wait(PATIENCE)
    assert other.exists("/mine") is None
    assert found.wait(PATIENCE)
