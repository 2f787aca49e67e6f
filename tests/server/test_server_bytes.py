"""What a client of ZooKeeper's protocol is answered, byte for byte as ZooKeeper does."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from live import Session, answer_of

from zkcore.jute.codec import encode
from zkcore.jute.records import ACL, Id
from zkcore.testing.zookeeper import ZookeeperServer
from zkcore.tree.requests import (
    Check,
    Create,
    CreateTTL,
    Delete,
    Exists,
    GetACL,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    Multi,
    MultiRead,
    PlainCreate,
    SetACL,
    SetData,
    WhoAmI,
)
from zkcore.tree.watch_requests import AddWatch, CheckWatches, RemoveWatches, SetWatches2, WatchMode
from zkcore.tree.znode import CreateMode

ZEROS = (0, 0, bytes(16))


def port_of(server: ZookeeperServer, node: int = 1) -> int:
    return int(server.hosts.split(",")[node - 1].rpartition(":")[2])


_OPEN: list[Any] = []


@pytest.fixture(autouse=True)
def _closed_in_the_end() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().drop()


def connect(server: ZookeeperServer, node: int = 1) -> Session:
    return Session(SimpleNamespace(port=port_of(server, node), sessions=_OPEN, before_first=0))  # type: ignore[arg-type]


class Raw:
    """A connection that has not said anything yet."""

    def __init__(self, server: ZookeeperServer, node: int = 1) -> None:
        self._link = socket.create_connection(("127.0.0.1", port_of(server, node)), timeout=30)
        _OPEN.append(self)

    def send(self, data: bytes) -> None:
        self._link.sendall(data)

    def rest(self) -> bytes:
        """All that comes until the other side hangs up."""
        found = b""
        try:
            while more := self._link.recv(1 << 16):
                found += more
        except ConnectionResetError:
            pass
        return found

    def take(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            more = self._link.recv(count - len(found))
            assert more, "the other side hung up"
            found += more
        return found

    def greet(self, *, session: int = 0, password: bytes = bytes(16), zxid: int = 0, timeout: int = 10_000) -> None:
        body = struct.pack(">iqiqi16s?", 0, zxid, timeout, session, 16, password, False)
        self.send(struct.pack(">i", len(body)) + body)

    def greeting(self) -> tuple[int, int, bytes]:
        """The timeout, the session and the password it is told."""
        size, version, timeout, session, length, password, read_only = struct.unpack(">iiiqi16s?", self.take(41))
        assert (size, version, length, read_only) == (37, 0, 16, False)
        return timeout, session, password

    def drop(self) -> None:
        self._link.close()


def say(server: ZookeeperServer, word: str, node: int = 1) -> str:
    raw = Raw(server, node)
    raw.send(word.encode())
    return raw.rest().decode()


def results(session: Session, *asked: Any) -> list[Any]:
    return [answer_of(request, reply) for request, reply in zip(asked, session.ask(asked), strict=True)]


# --- sessions


def test_a_new_session_is_granted_its_timeout_within_the_bounds(server: ZookeeperServer) -> None:
    for asked, granted in ((10_000, 10_000), (1, 100), (-5, 100), (2_000_000_000, 1_000_000)):
        raw = Raw(server)
        raw.greet(timeout=asked)
        timeout, session, password = raw.greeting()
        assert timeout == granted
        assert session != 0
        assert password != bytes(16)


def test_a_session_is_taken_up_at_another_server_by_its_password(servers: ZookeeperServer) -> None:
    first = Raw(servers, 1)
    first.greet()
    _, session, password = first.greeting()
    second = Raw(servers, 2)
    second.greet(session=session, password=password)
    assert second.greeting() == (10_000, session, password)
    third = Raw(servers, 2)
    third.greet(session=session, password=password)
    assert third.greeting() == (10_000, session, password)
    assert second.rest() == b"", "a session has one connection"


@pytest.mark.parametrize("password", [bytes(16), b"x" * 16])
def test_a_wrong_password_is_answered_like_a_session_that_is_over(server: ZookeeperServer, password: bytes) -> None:
    owner = connect(server)
    thief = Raw(server)
    thief.greet(session=owner.id, password=password)
    assert thief.greeting() == ZEROS
    assert thief.rest() == b""
    assert results(owner, Exists("/")) != []


def test_a_session_that_is_over_is_answered_with_zeros(server: ZookeeperServer) -> None:
    raw = Raw(server)
    raw.greet()
    _, session, password = raw.greeting()
    assert server.expire_session(session)
    assert raw.rest() == b"", "its connection is closed without a word"
    again = Raw(server)
    again.greet(session=session, password=password)
    assert again.greeting() == ZEROS


def test_who_has_seen_more_than_the_server_is_sent_away_without_a_word(server: ZookeeperServer) -> None:
    raw = Raw(server)
    raw.greet(zxid=1 << 60)
    assert raw.rest() == b""


def test_an_old_client_that_knows_no_read_only_mode_is_answered_without_it(server: ZookeeperServer) -> None:
    raw = Raw(server)
    body = struct.pack(">iqiqi16s", 0, 0, 10_000, 0, 16, bytes(16))
    raw.send(struct.pack(">i", len(body)) + body)
    assert struct.unpack(">i", raw.take(4)) == (36,)


def test_closing_ends_the_session_and_its_ephemerals(server: ZookeeperServer) -> None:
    other, mine = connect(server), connect(server)
    results(mine, Create("/mine", mode=CreateMode.EPHEMERAL))
    reply = mine.close()
    assert reply.error == 0
    assert mine.id not in server.sessions
    assert results(other, GetData("/mine")) == [("error", -101)]


# --- requests


def test_every_request_is_answered_in_its_own_form(server: ZookeeperServer) -> None:
    session = connect(server)
    made = results(
        session,
        PlainCreate("/a", b"1"), Create("/a/b", b"2"), Create("/a/n-", mode=CreateMode.EPHEMERAL_SEQUENTIAL),
        CreateTTL("/t", b"", ttl_ms=1000), SetData("/a", b"3"), Delete("/t"), Check("/a", 1),
    )  # fmt: skip
    assert made[0] == "/a"
    assert (made[1][0], made[1][1][8]) == ("/a/b", 1)
    assert (made[2][0], made[2][1][7]) == ("/a/n-0000000001", session.id)
    assert made[3][0] == "/t"
    assert made[4][4] == 1
    assert made[5:] == [None, None]
    data, children, children2, exists, acl, ephemerals, number, ids = results(
        session,
        GetData("/a"), GetChildren("/a"), GetChildren2("/a"), Exists("/a"), GetACL("/a"), GetEphemerals("/"),
        GetAllChildrenNumber("/a"), WhoAmI(),
    )  # fmt: skip
    assert (data[0], data[1]) == (b"3", exists)
    assert children == ["b", "n-0000000001"]
    assert children2 == (children, exists)
    assert acl == ([(31, "world", "anyone")], exists)
    assert (ephemerals, number, ids) == (["/a/n-0000000001"], 2, [("ip", "127.0.0.1")])


def test_a_znode_without_data_has_none(server: ZookeeperServer) -> None:
    session = connect(server)
    results(session, Create("/null", None), Create("/empty", b""))
    assert [each[0] for each in results(session, GetData("/null"), GetData("/empty"))] == [None, b""]


def test_a_znode_that_gets_data_behind_a_read_had_none_when_it_was_read(server: ZookeeperServer) -> None:
    session = connect(server)
    results(session, Create("/a"))
    again_and_again = [SetData("/a", None), GetData("/a"), SetData("/a", b"")] * 20
    assert [each[0] for each in results(session, *again_and_again)[1::3]] == [None] * 20


def test_a_transaction_is_answered_part_by_part(server: ZookeeperServer) -> None:
    session = connect(server)
    asked = Multi([PlainCreate("/m", b""), Create("/m/x", b""), SetData("/m", b"1"), Check("/m", 1), Delete("/m/x")])
    [done] = results(session, asked)
    assert [kind for kind, _ in done] == [1, 1, 5, 13, 2]
    [failed] = results(session, Multi([SetData("/m", b"2"), Check("/m", 9), Delete("/m")]))
    assert failed == [(-1, 0), (-1, -103), (-1, -2)]
    [read] = results(session, MultiRead([GetData("/m"), GetChildren("/m"), GetData("/nope")]))
    assert [(kind, part if kind < 0 else part[:1]) for kind, part in read] == [(4, (b"1",)), (8, []), (-1, -101)]


def test_of_several_reads_one_may_find_nothing(server: ZookeeperServer) -> None:
    session = connect(server)
    [read] = results(session, MultiRead([Exists("/nope"), GetData("/")]))
    assert [kind for kind, _ in read] == [-1, 4]
    assert read[0] == (-1, -101)


def test_who_looks_for_it_is_told_more(server: ZookeeperServer) -> None:
    """By this our own clients find out that the server is one of ours; others are answered as ever."""
    asked = Multi([Create("/x", b"")])
    other, ours = connect(server), connect(server)
    assert results(other, Exists("/zookeeper"), GetData("/zookeeper/zkcore"))[1] == ("error", -101)
    assert results(ours, Exists("/zookeeper/zkcore")) == [(0,) * 11]
    assert [kind for kind, _ in results(ours, asked)[0]] == [15]
    results(ours, Delete("/x"))
    assert [kind for kind, _ in results(other, asked)[0]] == [1]


def test_answers_come_in_the_order_of_requests_whoever_gives_them(server: ZookeeperServer) -> None:
    """A read, a write, what nobody implements, and what cannot be read at all."""
    session = connect(server)
    sent = [
        session._ask(opcode, body)
        for opcode, body in (
            (15, encode(Create("/a"))), (4, encode(GetData("/a"))), (77, b""), (1, b"\0"), (16, b""),
            (9, struct.pack(">i", 2) + b"/a"), (5, encode(SetData("/a", b"1"))), (3, encode(Exists("/a"))),
        )
    ]  # fmt: skip
    replies = [session._answer(xid) for xid in sent]
    assert [reply.error for reply in replies] == [0, 0, -6, -5, -5, 0, 0, 0]
    zxids = [reply.zxid for reply in replies if reply.error != -6]
    assert zxids == sorted(zxids)
    assert replies[5].body.string() == "/a"


def test_the_request_that_kills_a_zookeeper_is_refused(server: ZookeeperServer) -> None:
    """Apache ZooKeeper 3.8.0 dies of it, and again at every start."""
    session = connect(server)
    assert results(session, CreateTTL("/t", b"", mode=0, ttl_ms=-1)) == [("error", -8)]
    assert results(session, GetData("/t")) == [("error", -101)]


def test_sasl_is_answered_as_by_a_server_that_knows_none(server: ZookeeperServer) -> None:
    session = connect(server)
    reply = session.raw(102, struct.pack(">i5s", 5, b"token"))
    assert (reply.error, reply.zxid, reply.body.buffer()) == (0, 0, None)
    assert results(session, WhoAmI()) == [[("ip", "127.0.0.1")]]


def test_errors_have_zookeepers_numbers(server: ZookeeperServer) -> None:
    session = connect(server)
    results(session, Create("/a"), Create("/a/b"), Create("/e", mode=CreateMode.EPHEMERAL))
    assert [code for _, code in results(
        session,
        Create("/a"), Create("/x/y"), Delete("/a"), Delete("/x"), SetData("/a", b"", version=7), Create("/e/c"),
        Create("no"), SetACL("/a", ()), RemoveWatches("/a"), CheckWatches("/a"),
    )] == [-110, -101, -111, -101, -103, -108, -8, -114, -121, -121]  # fmt: skip


# --- who one is


def test_credentials_give_rights_from_the_next_request_on(server: ZookeeperServer) -> None:
    ada, bob = connect(server), connect(server)
    results(ada, Create("/secret", b"1", acl=[ACL(31, Id("digest", "ada:KpTZ2CEz3LdFo+b7YVUvGSpdeW4="))]))
    xid = bob._ask(4, encode(GetData("/secret")))
    assert bob._answer(xid).error == -102
    bob._ask(100, struct.pack(">ii6si", 0, 6, b"digest", 8) + b"super:pw", -4)
    xid = bob._ask(4, encode(GetData("/secret")))
    assert bob._answer(-4).error == 0
    assert bob._answer(xid).error == 0


def test_who_proves_nothing_is_told_so_and_let_go(server: ZookeeperServer) -> None:
    session = connect(server)
    assert session.authenticate("sasl", b"") == -115
    with pytest.raises(ConnectionError):
        session.catch_up()


# --- watches


def test_an_event_comes_before_the_answer_that_shows_the_change(server: ZookeeperServer) -> None:
    session = connect(server)
    results(session, Create("/w"), GetData("/w", True), Exists("/new", True), GetChildren("/w", True))
    results(session, SetData("/w", b"1"), Create("/new"), Create("/w/c"), SetData("/w", b"2"))
    assert [(event.type, event.path) for event in session.events] == [(3, "/w"), (1, "/new"), (4, "/w")]
    assert all(event.zxid > 0 for event in session.events)


def test_lasting_watches_stay_until_they_are_removed(server: ZookeeperServer) -> None:
    session, other = connect(server), connect(server)
    assert results(session, AddWatch("/", WatchMode.PERSISTENT_RECURSIVE)) == [0]
    results(other, Create("/a"), Create("/a/b"), SetData("/a", b""))
    session.catch_up()
    assert [(event.type, event.path) for event in session.events] == [(1, "/a"), (1, "/a/b"), (3, "/a")]
    assert results(session, RemoveWatches("/", 5)) == [None]
    results(other, Delete("/a/b"))
    session.catch_up()
    assert len(session.events) == 3


def test_watches_set_again_tell_what_was_missed(server: ZookeeperServer) -> None:
    session = connect(server)
    before = session.ask([Create("/a"), Create("/gone")])[-1].zxid
    results(session, SetData("/a", b"1"), Delete("/gone"), Create("/new"))
    asked = SetWatches2(before, data=["/a", "/gone"], exist=["/new", "/none"], child=["/a"])
    assert session.raw(105, encode(asked), xid=-8).error == 0
    assert sorted((event.type, event.path) for event in session.events) == [(1, "/new"), (2, "/gone"), (3, "/a")]
    results(session, Create("/none"))
    assert session.events[-1][1:3] == (1, "/none")


# --- heartbeats, and what is no request


def test_a_heartbeat_keeps_a_session_and_is_answered_when_the_leader_knows(servers: ZookeeperServer) -> None:
    for node in (1, 2, 3):
        connect(servers, node).catch_up()


def test_a_frame_that_is_too_large_ends_the_connection_and_nothing_else(server: ZookeeperServer) -> None:
    other, raw = connect(server), Raw(server)
    raw.greet()
    raw.greeting()
    raw.send(struct.pack(">i", 0xFFFFF + 1))
    assert raw.rest() == b""
    assert results(other, Exists("/nope")) == [("error", -101)]


@pytest.mark.parametrize(
    "garbage", [b"\0\0\0\1x", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, struct.pack(">i", 46) + bytes(46)]
)
def test_garbage_ends_the_connection_and_nothing_else(server: ZookeeperServer, garbage: bytes) -> None:
    other, raw = connect(server), Raw(server)
    raw.send(garbage)
    raw._link.shutdown(socket.SHUT_WR)
    raw.rest()
    assert results(other, Exists("/nope")) == [("error", -101)]


# --- four-letter words


def test_words_are_answered_in_zookeepers_form(server: ZookeeperServer) -> None:
    session = connect(server)
    results(session, Create("/e", mode=CreateMode.EPHEMERAL), GetData("/e", True))
    assert say(server, "ruok") == "imok"
    assert say(server, "isro") == "rw"
    srvr = dict(line.partition(": ")[::2] for line in say(server, "srvr").splitlines())
    assert srvr["Mode"] == "standalone"
    assert int(srvr["Zxid"], 16) > 0
    assert srvr["Node count"] == "5"
    assert "zookeeper.version=" in say(server, "envi")
    mntr = dict(line.split("\t") for line in say(server, "mntr").splitlines())
    assert (mntr["zk_server_state"], mntr["zk_znode_count"], mntr["zk_ephemerals_count"]) == ("standalone", "5", "1")
    assert f"{session.id & (1 << 64) - 1:#x}:\n\t/e\n" in say(server, "dump")
    assert say(server, "wchs") == "1 connections watching 1 paths\nTotal watches:1\n"
    assert say(server, "wchp") == f"/e\n\t{session.id & (1 << 64) - 1:#x}\n"
    assert say(server, "wchc") == f"{session.id & (1 << 64) - 1:#x}\n\t/e\n"
    assert f"sid={session.id & (1 << 64) - 1:#x}" in say(server, "cons")
    assert "recved=" in say(server, "stat")
    assert say(server, "srst") == "Server stats reset.\n"
    assert "Received: 0" in say(server, "srvr")


def test_a_trace_mask_is_kept_and_told(server: ZookeeperServer) -> None:
    """As a live ZooKeeper does: also that half a mask sets nothing, and is answered with nothing."""
    assert say(server, "gtmk") == "306"
    assert say(server, "stmk\0\0\0\0\0\0\0\2") == "2"
    assert say(server, "gtmk") == "2"
    assert say(server, "stmk\0\0") == ""
    assert say(server, "gtmk") == "2"


def test_a_server_without_a_quorum_serves_nobody_and_says_so(servers: ZookeeperServer) -> None:
    leader = servers.leader
    assert leader is not None
    left = next(me for me in (1, 2, 3) if me != leader)
    for me in {1, 2, 3} - {left}:
        servers.kill(me)
    said = ""
    while "not currently serving" not in said:  # it takes a moment to notice
        said = say(servers, "srvr", left)
    raw = Raw(servers, left)
    raw.greet()
    assert raw.rest() == b""
