"""What a client of ZooKeeper's protocol says and hears: in bytes, beside what our server makes of the same values."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zkcore.client.dialogue import (
    Greeted,
    Reply,
    answer_of,
    ask,
    error_of,
    greeting,
    ping,
    prove,
    read_event,
    read_greeted,
    read_reply,
)
from zkcore.client.rewatching import again
from zkcore.errors import (
    BY_CODE,
    BadVersionError,
    MalformedFrameError,
    MultiError,
    NoNodeError,
    ProtocolError,
    RequestError,
    ZkcoreError,
)
from zkcore.jute.codec import encode
from zkcore.jute.protocol import EXTENSIONS, MultiHeader, Number
from zkcore.jute.records import ACL, OPEN_ACL, Id, Stat
from zkcore.replica.levels import Sync
from zkcore.server.protocol import answer_to, event, greet, header, parse, parse_greeting
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CheckStat,
    Child,
    ChildPage,
    Children,
    CloseSession,
    Create,
    CreateContainer,
    Created,
    CreateIfAbsent,
    CreateTTL,
    CreateWithParents,
    Delete,
    DeleteIfPresent,
    DeleteTree,
    Exists,
    GetACL,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    ListChildren,
    Multi,
    MultiRead,
    NodeACL,
    NodeData,
    Once,
    PlainCreate,
    Reconfigure,
    Request,
    SetACL,
    SetData,
    WhoAmI,
)
from zkcore.tree.watch_requests import (
    AddWatch,
    CatchUp,
    CheckWatches,
    RemoveWatches,
    Resync,
    SetWatches,
    SetWatches2,
)

STAT = Stat(1, 2, 3, 4, 5, 6, 7, -8, 9, 10, 11)
PAGE = ChildPage((Child("a", STAT, b""), Child("b", None, b"1"), Child("c", STAT, None)), STAT, "c")
MISSED = (WatchEvent(EventType.NODE_CREATED, "/a", 4), Resync("/b", 2, 9))

ANSWERED: list[tuple[Request[Any], Any]] = [
    (PlainCreate("/a"), "/a"),
    (Create("/a"), Created("/a", STAT)),
    (CreateContainer("/a"), Created("/a", STAT)),
    (CreateTTL("/a", ttl_ms=5), Created("/a", STAT)),
    (Delete("/a"), None),
    (SetData("/a", b"1"), STAT),
    (SetACL("/a", OPEN_ACL), STAT),
    (Check("/a"), None),
    (CloseSession(), None),
    (Exists("/a"), STAT),
    (Exists("/a"), None),
    (GetData("/a"), NodeData(b"12", STAT)),
    (Reconfigure(joining="server.4=ä:1:1", from_config=7), NodeData(b"version=8", STAT)),
    (GetACL("/a"), NodeACL((ACL(3, Id("ip", "::1")), *OPEN_ACL), STAT)),
    (GetChildren("/a"), ("x", "y")),
    (GetChildren2("/a"), Children(("x", "y"), STAT)),
    (GetEphemerals("/a"), ("/a/x", "/a/y")),
    (GetAllChildrenNumber("/a"), 7),
    (WhoAmI(), (Id("ip", "127.0.0.1"),)),
    (AddWatch("/a"), None),
    (CheckWatches("/a"), None),
    (RemoveWatches("/a"), None),
    (MultiRead([GetData("/a"), Exists("/b"), GetChildren("/a")]), (NodeData(b"", STAT), None, ("x",))),
    (CheckAbsent("/a"), None),
    (CheckStat("/a", []), None),
    (CreateIfAbsent("/a"), Created("/a", STAT)),
    (CreateWithParents("/a"), Created("/a", STAT)),
    (DeleteIfPresent("/a"), True),
    (DeleteIfPresent("/a"), False),
    (DeleteTree("/a"), 12),
    (ListChildren("/a"), PAGE),
    (Multi([Create("/a"), SetData("/a", b""), Delete("/b"), Check("/a")]), (Created("/a", STAT), STAT, None, None)),
    (Multi([CreateIfAbsent("/a"), DeleteIfPresent("/b")]), (Created("/a", STAT), True)),
    (Once(1, 2, Create("/a")), Created("/a", STAT)),
    (Once(1, 2, Multi([Create("/a"), Delete("/b")])), (Created("/a", STAT), None)),
    (CatchUp(3, data=["/a"]), MISSED),
]
SILENT: list[Request[Any]] = [SetWatches(3, data=["/a"]), SetWatches2(3, persistent=["/a"])]


def answered(request: Request[Any], result: Any, error: ZkcoreError | None = None, *, extended: bool = True) -> Reply:
    """How a server of ours answers, taken apart."""
    asked = parse(ask(7, request))
    code, body = answer_to(asked, result, error, extended=extended)
    return read_reply(header(7, 99, code) + body)


@pytest.mark.parametrize(("request_", "answer"), ANSWERED, ids=lambda value: type(value).__name__)
def test_an_answer_is_what_the_server_meant(request_: Request[Any], answer: Any) -> None:
    assert parse(ask(7, request_)).what == request_
    reply = answered(request_, answer)
    assert (reply.xid, reply.zxid) == (7, 99)
    if reply.code:
        assert error_of(request_, reply) is None
    assert answer_of(request_, reply) == answer


@pytest.mark.parametrize("request_", SILENT, ids=lambda value: type(value).__name__)
def test_what_is_told_beside_the_answer_is_not_in_it(request_: Request[Any]) -> None:
    assert answer_of(request_, answered(request_, MISSED)) is None


def test_every_request_that_a_server_answers_is_here() -> None:
    from zkcore.client.dialogue import _READERS
    from zkcore.server.protocol import ANSWERS

    assert {kind.opcode for kind in _READERS} == set(ANSWERS)
    assert {type(request) for request, _ in ANSWERED} | {type(each) for each in SILENT} == set(_READERS)


def test_what_is_not_asked_for_is_null() -> None:
    """An empty list of new members would be one without members."""
    body = ask(7, Reconfigure(leaving="2"))
    assert body[8:] == bytes.fromhex("ffffffff 00000001 32 ffffffff ffffffffffffffff")


def test_a_zookeeper_says_of_what_a_transaction_created_the_path_alone() -> None:
    request = Multi([Create("/a"), CreateContainer("/b"), Delete("/c")])
    reply = answered(request, (Created("/a", STAT), Created("/b", STAT), None), extended=False)
    assert answer_of(request, reply) == ("/a", Created("/b", STAT), None)


def test_a_sync_is_answered_with_how_far_the_server_is() -> None:
    asked = parse(ask(7, Sync()))
    assert (asked.opcode, asked.path) == (9, "/")
    assert answer_of(Sync(), Reply(7, 99, 0, struct.pack(">i", 1) + b"/")) == 99


def test_a_transaction_says_which_operation_failed() -> None:
    request = Multi([Create("/a"), Check("/b", 3), Delete("/c")])
    failed = MultiError(1, BadVersionError(path="/b"), codes=(0, -103, -2), path="/b")
    for asked in (request, Once(1, 2, request)):
        with pytest.raises(MultiError) as raised:
            answer_of(asked, answered(asked, None, failed))
        error = raised.value
        assert (error.index, error.codes, error.path, type(error.error)) == (1, (0, -103, -2), "/b", BadVersionError)


@pytest.mark.parametrize("codes", [(0, 0), (0, -2), (-103,), (-103, -2, -2)])
def test_a_transaction_that_does_not_say_which_failed_is_no_answer(codes: tuple[int, ...]) -> None:
    body = b"".join(encode(MultiHeader(-1, False, code)) + encode(Number(code)) for code in codes)
    with pytest.raises(MalformedFrameError):
        answer_of(Multi([Delete("/a"), Delete("/b")]), Reply(1, 2, 0, body + encode(MultiHeader(-1, True, -1))))


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_errors_are_known_by_their_numbers(code: int) -> None:
    error = error_of(GetData("/a"), Reply(1, 2, code, b""))
    assert type(error) is BY_CODE[code]
    if isinstance(error, RequestError):
        assert error.path == "/a"


def test_an_error_that_nobody_knows_is_a_refusal_that_tells_its_number() -> None:
    with pytest.raises(RequestError, match="-999"):
        raise error_of(GetData("/a"), Reply(1, 2, -999, b"")) or AssertionError
    assert type(error_of(GetData("/a"), Reply(1, 2, -101, b""))) is NoNodeError
    assert error_of(Exists("/a"), Reply(1, 2, -101, b"")) is None


def test_the_greeting() -> None:
    said = greeting(last_zxid=5, timeout_ms=1000, session=-7, password=b"p" * 16)
    found = parse_greeting(said)
    assert found == (5, 1000, -7, b"p" * 16, False)
    assert read_greeted(greet(found, timeout_ms=900, session=-7, password=b"q" * 16)) == Greeted(900, -7, b"q" * 16)
    old = greet(found._replace(read_only=None), timeout_ms=900, session=3, password=b"")
    assert read_greeted(old) == Greeted(900, 3, b"")
    with pytest.raises(ProtocolError):
        read_greeted(old + b"\0\0")


def test_signs_of_life_and_credentials() -> None:
    assert parse(ping())[:3] == (-2, 11, None)
    packet: Any = parse(prove("digest", b"ada:pw")).what
    assert (packet.scheme, packet.credentials) == ("digest", b"ada:pw")


@pytest.mark.parametrize("told", MISSED, ids=lambda value: type(value).__name__)
def test_events(told: Any) -> None:
    reply = read_reply(event(told))
    assert reply.xid == -1
    assert read_event(reply, seen=3) == told


def test_an_event_of_an_older_server_was_after_what_was_seen() -> None:
    reply = read_reply(event(WatchEvent(EventType.NODE_DELETED, "/a", -1)))
    assert read_event(reply, seen=3) == WatchEvent(EventType.NODE_DELETED, "/a", 4)


def test_who_looks_for_the_extensions_is_told_that_they_are_there() -> None:
    asked = parse(ask(1, Exists(EXTENSIONS)))
    assert (asked.what, asked.extends) == (None, True)
    assert answer_of(Exists(EXTENSIONS), Reply(1, 2, asked.code, asked.body)) is not None


REQUESTS = [request for request, _ in ANSWERED] + SILENT
WHOLE = [(request, answered(request, answer).body) for request, answer in ANSWERED]


@given(st.sampled_from(REQUESTS), st.binary(max_size=200), st.sampled_from([0, 0, 0, -101, -5, -999]))
@settings(max_examples=600, deadline=None)
@example(Multi([Delete("/a")]), b"", 0)
def test_garbage_is_an_error_of_the_protocol(request_: Request[Any], body: bytes, code: int) -> None:
    reply = Reply(1, 2, code, body)
    try:
        if code:
            assert isinstance(error_of(request_, reply), ZkcoreError | None)
        answer_of(request_, reply)
    except (ProtocolError, MultiError):
        pass


@given(st.sampled_from(WHOLE), st.data())
@settings(max_examples=600, deadline=None)
def test_a_damaged_answer_is_an_error_of_the_protocol_or_another_answer(
    whole: tuple[Request[Any], bytes], data: st.DataObject
) -> None:
    request, body = whole
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        answer_of(request, Reply(1, 2, 0, cut))
    except (ProtocolError, MultiError):
        pass


@given(st.binary(max_size=80))
@settings(max_examples=600, deadline=None)
def test_no_bytes_break_who_reads_frames(body: bytes) -> None:
    for read in (read_greeted, read_reply, lambda body: read_event(read_reply(body), seen=1)):
        try:
            read(body)
        except ProtocolError:
            pass


@pytest.mark.parametrize("is_ours", [True, False])
def test_watches_are_set_again_in_requests_that_are_not_too_large(is_ours: bool) -> None:
    paths = [f"/{number:05}{'x' * 90}" for number in range(5000)]
    wanted = CatchUp(9, data=paths[:2500], exist=["/e"], child=paths[2500:], persistent=["/p"], recursive=["/"])
    asked = list(again(wanted, is_ours=is_ours))
    assert {type(each) for each in asked} == {CatchUp if is_ours else SetWatches2}
    assert {each.since for each in asked} == {9}
    assert all(len(ask(1, each)) < 140_000 for each in asked)
    for kind in ("data", "exist", "child", "persistent", "recursive"):
        assert tuple(path for each in asked for path in getattr(each, kind)) == getattr(wanted, kind)
    assert list(again(None, is_ours=is_ours)) == []
