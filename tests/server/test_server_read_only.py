"""The read-only mode: a node without a leader shows what it has to who asks for that, and nothing else to anybody."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from bad_input import OPEN as ACLS_OPEN
from bad_input import greeting, long, number, part, text
from kazoo.client import KazooClient
from kazoo.exceptions import NotReadOnlyCallError
from kazoo.protocol.states import KeeperState
from live import Session, answer_of

import zkcore
import zkcore.sync
from zkcore.errors import ConfigurationError, ReadOnlyError, SessionExpiredError
from zkcore.jute.codec import encode
from zkcore.replica.rules import Rules
from zkcore.server.limits import ListenerLimits
from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server
from zkcore.tree.requests import Create, Exists, GetData, GetEphemerals, WhoAmI
from zkcore.tree.sessions import Timeouts
from zkcore.tree.watch_requests import SetWatches2
from zkcore.tree.znode import CreateMode
from zkcore.zab.limits import Limits

State = zkcore.SessionState
QUICK = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)


@pytest.fixture
def servers() -> Iterator[ZookeeperServer]:
    rules = Rules(timeouts=Timeouts(minimum_ms=100, maximum_ms=1_000_000))
    with zookeeper_server(
        3, rules=rules, limits=QUICK, listener=ListenerLimits(read_only_seconds=0.01)
    ) as running:
        for node in (1, 2, 3):
            Reader(port_of(running, node)).close()  # a node that has applied nothing has nothing to show
        yield running


class Reader(Session):
    """A session that a server without a leader will do for, if it `reads`."""

    def __init__(self, port: int, *, session: int = 0, password: bytes = bytes(16), reads: bool = True) -> None:
        self._of = session, password, reads
        super().__init__(SimpleNamespace(port=port, sessions=_OPEN, before_first=0))  # type: ignore[arg-type]

    def _connect(self) -> None:
        session, password, reads = self._of
        self._link = socket.create_connection(("127.0.0.1", self._server.port), timeout=60)
        self._incoming = self._link.makefile("rb")
        self._link.sendall(greeting(session=session, password=text(password), rest=b"\1" if reads else b"\0"))
        self.timeout_ms, self.id, self.password, self.reads_only = struct.unpack_from(">iq4x16s?", self._frame(), 4)


_OPEN: list[Any] = []


@pytest.fixture(autouse=True)
def _closed_in_the_end() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().drop()


def port_of(servers: ZookeeperServer, node: int) -> int:
    return int(servers.hosts.split(",")[node - 1].rpartition(":")[2])


def leave_alone(servers: ZookeeperServer) -> tuple[int, list[int]]:
    """A node that follows, alone, once it serves reads; and who was killed."""
    left = next(me for me in (1, 2, 3) if me != servers.leader)
    killed = [me for me in (1, 2, 3) if me != left]
    for me in killed:
        servers.kill(me)
    while say(servers, left, "isro") != "ro":
        pass
    return left, killed


def say(servers: ZookeeperServer, node: int, word: str) -> str:
    with socket.create_connection(("127.0.0.1", port_of(servers, node)), timeout=30) as link:
        link.sendall(word.encode())
        return link.makefile("rb").read().decode()


def made(servers: ZookeeperServer) -> Reader:
    """Somebody who has a session, and an ephemeral, and whose znodes everybody has heard of."""
    owner = Reader(port_of(servers, servers.leader or 1))
    assert not owner.reads_only
    owner.ask([Create("/a", b"1"), Create("/mine", mode=CreateMode.EPHEMERAL)])
    for node in (1, 2, 3):
        seen = Reader(port_of(servers, node))
        while answer_of(Exists("/mine"), seen.ask([Exists("/mine")])[0]) == ("error", -101):
            pass
        seen.drop()
    return owner


def wait_for_the_end(session: Session) -> None:
    while True:
        session.catch_up()


# --- the server


def test_reads_are_answered_and_writes_refused_as_zookeeper_does(servers: ZookeeperServer) -> None:
    """The numbers are those of an Apache ZooKeeper 3.8.0 with readonlymode.enabled and localSessionsEnabled."""
    made(servers)
    left, _ = leave_alone(servers)
    reader = Reader(port_of(servers, left))
    assert reader.reads_only
    assert reader.id != 0
    path, any_version = text("/a"), number(-1)
    create = path + text("1") + ACLS_OPEN
    end = part(-1, done=True)
    expected = {
        (1, create + number(0)): -119, (2, path + any_version): -119, (3, path + b"\0"): 0, (4, path + b"\1"): 0,
        (5, path + text("x") + any_version): -119, (6, path): 0, (7, path + ACLS_OPEN + any_version): -119,
        (8, path + b"\0"): 0, (9, path): -119, (12, path + b"\1"): 0, (13, path + number(0)): -119, (14, end): -119,
        (15, create + number(0)): -119, (17, text("/zz") + number(2)): -121, (18, text("/zz") + number(2)): -121,
        (19, create + number(4)): -119, (21, create + number(5) + long(1000)): -119,
        (22, part(4) + path + b"\0" + end): 0, (101, long(0) + number(0) * 3): 0, (102, text("x")): 0, (103, path): 0,
        (104, path): 0, (105, long(0) + number(0) * 5): 0, (106, path + number(0)): 0, (107, b""): 0, (77, b""): -6,
    }  # fmt: skip
    assert {(opcode, body): reader.raw(opcode, body).error for opcode, body in expected} == expected
    reader.catch_up()
    assert answer_of(GetData("/a"), reader.ask([GetData("/a")])[0])[0] == b"1"
    assert reader.authenticate("digest", b"ada:pw") == 0
    assert answer_of(WhoAmI(), reader.ask([WhoAmI()])[0]) == [("digest", "ada"), ("ip", "127.0.0.1")]
    assert reader.close().error == 0


def test_who_does_not_ask_for_it_is_not_served(servers: ZookeeperServer) -> None:
    left, _ = leave_alone(servers)
    with pytest.raises((ConnectionError, struct.error)):
        Reader(port_of(servers, left), reads=False)


def test_words_say_that_reads_are_served(servers: ZookeeperServer) -> None:
    assert say(servers, 1, "isro") == "rw"
    left, _ = leave_alone(servers)
    assert "Mode: read-only" in say(servers, left, "srvr")
    assert "READ-ONLY mode; serving only read-only clients\n" in say(servers, left, "stat")
    assert "zk_server_state\tread-only\n" in say(servers, left, "mntr")


def test_a_session_is_taken_along_by_its_password(servers: ZookeeperServer) -> None:
    owner = made(servers)
    left, _ = leave_alone(servers)
    again = Reader(port_of(servers, left), session=owner.id, password=owner.password)
    assert (again.id, again.password, again.reads_only) == (owner.id, owner.password, True)
    assert answer_of(GetEphemerals("/"), again.ask([GetEphemerals("/")])[0]) == ["/mine"]
    thief = Reader(port_of(servers, left), session=owner.id, password=b"x" * 16)
    assert (thief.id, thief.timeout_ms) == (0, 0)
    unknown = Reader(port_of(servers, left), session=12345, password=b"x" * 16)
    assert (unknown.id, unknown.reads_only) == (12345, True), "it may live elsewhere"


def test_when_there_is_a_leader_readers_are_sent_away(
    servers: ZookeeperServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="zkcore.server")
    made(servers)
    left, killed = leave_alone(servers)
    reader = Reader(port_of(servers, left))
    seen = reader.ask([GetData("/a", True)])[0].zxid
    for me in killed:
        servers.restart(me)
    with pytest.raises((ConnectionError, struct.error)):
        wait_for_the_end(reader)
    assert reader.events == []
    back = Reader(port_of(servers, left))
    assert not back.reads_only
    assert "is closed: there is a leader again" in caplog.text
    back.ask([Create("/b")])
    missed = back.raw(105, encode(SetWatches2(seen, data=["/a"], exist=["/b"])), xid=-8)
    assert missed.error == 0
    assert [(event.type, event.path) for event in back.events] == [(1, "/b")]


def test_a_reader_that_is_silent_is_let_go(servers: ZookeeperServer) -> None:
    left, _ = leave_alone(servers)
    with socket.create_connection(("127.0.0.1", port_of(servers, left)), timeout=30) as raw:
        raw.sendall(greeting(timeout=1, rest=b"\1"))
        heard = raw.makefile("rb").read()
    assert struct.unpack_from(">i", heard, 8) == (100,), "the timeout that was granted"
    assert len(heard) == 41, "and then it hangs up"


def test_it_is_not_served_unless_somebody_says_so() -> None:
    with pytest.raises(ConfigurationError, match="read_only_seconds is 0"):
        ListenerLimits(read_only_seconds=0)
    with zookeeper_server(3, limits=QUICK) as servers:
        leader = servers.leader
        left = next(me for me in (1, 2, 3) if me != leader)
        for me in {1, 2, 3} - {left}:
            servers.kill(me)
        while say(servers, left, "isro") != "null":
            pass
        with pytest.raises((ConnectionError, struct.error)):
            Reader(port_of(servers, left))


# --- kazoo


def test_kazoo_reads_and_moves_on_when_there_is_a_leader(servers: ZookeeperServer) -> None:
    made(servers)
    _, killed = leave_alone(servers)
    states: list[KeeperState] = []
    moved = threading.Event()
    zk = KazooClient(hosts=servers.hosts, read_only=True, timeout=20)

    def on_state(state: object) -> None:
        states.append(zk.client_state)
        if zk.client_state == KeeperState.CONNECTED:
            moved.set()

    zk.add_listener(on_state)
    zk.start(30)
    assert states == [KeeperState.CONNECTED_RO]
    assert zk.get("/a")[0] == b"1"
    with pytest.raises(NotReadOnlyCallError):
        zk.set("/a", b"2")
    for me in killed:
        servers.restart(me)
    assert moved.wait(60)
    zk.retry(zk.set, "/a", b"2")
    zk.stop()
    zk.close()


# --- our client


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def test_a_client_reads_and_moves_on_when_there_is_a_leader(servers: ZookeeperServer) -> None:
    made(servers)
    _, killed = leave_alone(servers)

    async def main() -> None:
        async with zkcore.connect(f"zk://{servers.hosts}", read_only=True) as zk:
            states = zk.states()
            assert await anext(states) is State.CONNECTED_READ_ONLY
            assert zk.session_id == 0
            assert zk.is_zkcore
            told: list[object] = []
            assert (await zk.get("/a", told.append)).data == b"1"
            await zk.add_watch("/", told.append, recursive=True)
            with pytest.raises(ReadOnlyError) as refused:
                await zk.set("/a", b"2")
            assert (refused.value.applied, refused.value.retryable, refused.value.code) == ("no", True, -119)
            with pytest.raises(ReadOnlyError):
                await zk.sync()
            for me in killed:
                await asyncio.to_thread(servers.restart, me)
            while await anext(states) is not State.CONNECTED:
                pass
            assert zk.session_id != 0
            await zk.set("/a", b"2")
            assert [type(each).__name__ for each in told][:1] == ["WatchEvent"]

    run(main())


def test_a_client_finds_the_majority_from_the_member_that_is_cut_off(servers: ZookeeperServer) -> None:
    made(servers)
    left = next(me for me in (1, 2, 3) if me != servers.leader)
    cluster = servers._cluster
    assert cluster is not None
    for me in {1, 2, 3} - {left}:
        cluster.network.cut(left, me)
    while say(servers, left, "isro") != "ro":
        pass
    alone = servers.hosts.split(",")[left - 1]
    with zkcore.sync.connect(f"zk://{servers.hosts}", timeout=20) as other:
        other.set("/a", b"2")

    async def main() -> None:
        while True:  # until chance has it begin at the one that is cut off
            async with zkcore.connect(f"zk://{servers.hosts}", read_only=True) as zk:
                if zk.state is not State.CONNECTED_READ_ONLY:
                    continue
                assert zk.whole._link is not None
                assert alone in zk.whole._link.name
                assert (await zk.get("/a")).data == b"1", "nobody has told it"
                await until(lambda: zk.state is State.CONNECTED)
                assert (await zk.get("/a")).data == b"2"
                return

    run(main())


def test_a_session_is_renewed_by_nobody_while_only_reads_are_served(servers: ZookeeperServer) -> None:
    async def main() -> None:
        async with zkcore.connect(f"zk://{servers.hosts}", read_only=True, timeout=1.0) as zk:
            await zk.create("/mine", ephemeral=True)
            session, until_then = zk.session_id, zk.port.session.alive_until
            await asyncio.to_thread(leave_alone, servers)
            states: list[zkcore.SessionState] = []
            async for state in zk.states():
                states.append(state)
                if state is State.LOST:
                    break
            assert State.CONNECTED_READ_ONLY in states
            assert zk.session_id == session
            assert zk.port.session.alive_until < until_then + 1.0, "it was not renewed by who only reads"
            with pytest.raises(SessionExpiredError):
                await zk.get("/mine")

    run(main())


def test_the_blocking_client_reads_too(servers: ZookeeperServer) -> None:
    made(servers)
    leave_alone(servers)
    with zkcore.sync.connect(f"zk://{servers.hosts}", read_only=True) as zk:
        assert zk.state is State.CONNECTED_READ_ONLY
        assert zk.get("/a").data == b"1"
        with pytest.raises(ReadOnlyError):
            zk.create("/b")


def test_a_client_that_does_not_ask_for_it_waits(servers: ZookeeperServer) -> None:
    _, killed = leave_alone(servers)

    async def main() -> None:
        client = zkcore.connect(f"zk://{servers.hosts}")
        starting = asyncio.ensure_future(client.start())
        async with zkcore.connect(f"zk://{servers.hosts}", read_only=True) as reader:
            assert reader.state is State.CONNECTED_READ_ONLY
            assert not starting.done()  # it began earlier, and knocked at the same door
        for me in killed:
            await asyncio.to_thread(servers.restart, me)
        await starting
        assert client.state is State.CONNECTED
        await client.close()

    run(main())
