"""Requests that may be sent again: applied once, and answered as the first time."""

from __future__ import annotations

from typing import Any

import pytest
from alone import Alone

from zkcore.errors import (
    BadArgumentsError,
    MalformedFrameError,
    MultiError,
    NodeExistsError,
    NoNodeError,
    OutcomeForgottenError,
    SessionExpiredError,
)
from zkcore.tree.once import ENDED, WINDOW
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import (
    CloseSession,
    Create,
    CreateIfAbsent,
    CreateSession,
    CreateWithParents,
    Delete,
    DeleteIfPresent,
    DeleteTree,
    Exists,
    GetChildren,
    GetData,
    Multi,
    Once,
    PlainCreate,
    SetACL,
    SetData,
    decode_request,
    encode_request,
)
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.znode import CreateMode

SEQUENTIAL = CreateMode.PERSISTENT_SEQUENTIAL


@pytest.mark.parametrize(
    "request_",
    [
        Create("/n-", b"x", mode=SEQUENTIAL),
        SetData("/a", b"more"),
        SetACL("/a", Create("/").acl),
        Delete("/a/b"),
        DeleteIfPresent("/a/b"),
        DeleteIfPresent("/nope"),
        CreateIfAbsent("/a"),
        CreateWithParents("/x/y/z"),
        DeleteTree("/a"),
        Multi([Create("/q"), SetData("/q", b"x"), Delete("/q"), Create("/n-", mode=SEQUENTIAL)]),
        Multi([DeleteIfPresent("/nope"), CreateIfAbsent("/a")]),
    ],
)
def test_a_retry_changes_nothing_and_is_answered_as_the_first_was(request_: Any) -> None:
    alone = Alone()
    for request in (Create("/a"), Create("/a/b")):
        alone.do(request)
    first = alone.do(Once(1, 1, request_))
    digest = alone.tree.digest
    alone.do(Create("/between"))
    alone.do(Delete("/between"))
    before = alone.tree.read(GetChildren("/"))
    assert alone.do(Once(1, 1, request_)) == first
    assert alone.tree.read(GetChildren("/")) == before
    assert digest != 0
    alone.tree.check()
    plain = Alone()
    for request in (Create("/a"), Create("/a/b")):
        plain.do(request)
    assert plain.do(request_) == first


def test_a_retry_in_flight_behind_the_first() -> None:
    alone = Alone()
    for _ in range(3):
        alone.propose(Once(1, 1, Create("/n-", mode=SEQUENTIAL)))
    alone.propose(Once(1, 2, Create("/n-", mode=SEQUENTIAL)))
    assert [alone.commit().path for _ in range(4)] == ["/n-0000000000"] * 3 + ["/n-0000000001"]
    assert alone.preparer.outstanding == 0
    assert not alone.preparer._outstanding._once


def test_what_failed_is_tried_anew() -> None:
    alone = Alone()
    assert alone.outcome(Once(1, 1, Create("/a/b"))) is NoNodeError
    assert alone.outcome(Once(1, 2, Multi([Create("/x"), Create("/x")]))) is MultiError
    alone.do(Create("/a"))
    assert alone.do(Once(1, 1, Create("/a/b"))).path == "/a/b"
    assert alone.outcome(Once(1, 3, Create("/a/b"))) is NodeExistsError


@pytest.mark.parametrize(("client", "number"), [(1, 0), (1, -1), (1, 1 << 63), (1 << 63, 1), (-(1 << 63) - 1, 1)])
def test_what_no_field_holds_is_refused(client: int, number: int) -> None:
    alone = Alone()
    assert alone.outcome(Once(client, number, Create("/a"))) is BadArgumentsError
    assert alone.do(Once(1, (1 << 63) - 1, Create("/a"))).path == "/a"


def test_a_client_keeps_its_name_when_it_has_a_new_session() -> None:
    alone = Alone(1, 2)
    made = alone.do(Once(1, 1, Create("/n-", mode=SEQUENTIAL)))
    alone.do(CloseSession())
    assert alone.do(Once(1, 1, Create("/n-", mode=SEQUENTIAL)), session=2) == made
    assert alone.do(Once(1, 2, Create("/n-", mode=SEQUENTIAL)), session=2).path == "/n-0000000001"
    with pytest.raises(SessionExpiredError):
        alone.do(Once(1, 3, Create("/x")))


def test_what_never_got_through_before_the_session_ended_gets_through_after() -> None:
    alone = Alone(1, 2)
    alone.do(CloseSession())
    assert alone.do(Once(1, 1, Create("/a")), session=2).path == "/a"


def test_what_is_too_old_to_know_is_not_applied() -> None:
    alone = Alone()
    for number in range(1, WINDOW + 3):
        alone.do(Once(1, number, SetData("/", b"")))
    assert alone.outcome(Once(1, 2, SetData("/", b""))) is OutcomeForgottenError
    assert alone.do(Once(1, 3, SetData("/", b""))).version == 3
    assert alone.outcome(Once(77, 1, SetData("/", b""))) is OutcomeForgottenError
    assert alone.outcome(Once(1, 0, SetData("/", b""))) is BadArgumentsError


SEVERAL = Multi([Create("/m"), Delete("/m"), SetData("/", b"")])


@pytest.mark.parametrize("first", [Multi([]), SEVERAL, SetData("/", b""), Create("/x"), DeleteIfPresent("/no")])
@pytest.mark.parametrize(
    "second",
    [Multi([]), SEVERAL, SetData("/", b""), Create("/x"), PlainCreate("/x"), DeleteTree("/a"), DeleteIfPresent("/no")],
)
def test_a_number_that_another_request_had_is_refused(first: Any, second: Any) -> None:
    alone = Alone()
    alone.do(Create("/a"))
    answer = alone.do(Once(1, 1, first))
    before = alone.tree.digest
    if first == second:
        assert alone.do(Once(1, 1, second)) == answer
    else:
        with pytest.raises(BadArgumentsError, match="another request had the number 1"):
            alone.do(Once(1, 1, second))
    assert alone.tree.digest == before


def test_clients_that_ended_long_ago_are_forgotten_and_those_that_live_are_not() -> None:
    alone = Alone(1, 2, 3)
    for client in (1, 2):
        alone.do(Once(client, 1, Create(f"/{client}")), session=client)
    alone.do(CloseSession(), session=2)
    for session in range(100, 100 + ENDED):
        alone.do(CreateSession(4000), session=session)
        alone.do(CloseSession(), session=session)
    assert alone.outcome(Once(2, 1, Create("/2")), session=3) is OutcomeForgottenError
    assert alone.do(Once(1, 1, Create("/1"))).path == "/1"
    assert len(alone.tree.state.memory.ended) == ENDED


def test_a_restored_tree_remembers_the_same() -> None:
    alone = Alone(1, 2)
    made = alone.do(Once(1, 1, Multi([Create("/a"), SetData("/a", b"x")])))
    alone.do(CloseSession())
    tree = restore(dump(alone.tree))
    assert b"".join(dump(tree)) == b"".join(dump(alone.tree))
    alone.tree, alone.preparer = tree, Preparer(tree)
    assert alone.do(Once(1, 1, Multi([Create("/a"), SetData("/a", b"x")])), session=2) == made
    assert alone.tree.read(GetData("/a")).stat.version == 1


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [Once(1, 2, Create("/a")), Once(-5, 1, Multi([Delete("/a")]))])
def test_what_is_encoded_is_decoded(request_: Once) -> None:
    assert decode_request(*encode_request(request_)) == request_


def test_what_cannot_be_retried() -> None:
    for request in (Exists("/a"), CloseSession(), CreateSession(1), Once(1, 1, Create("/a"))):
        with pytest.raises(TypeError):
            Once(1, 1, request)
    body = encode_request(Once(1, 1, Delete("/a")))[1]
    inner = body[:16] + Once.opcode.to_bytes(4, "big") + len(body).to_bytes(4, "big") + body
    with pytest.raises(MalformedFrameError, match="inside another"):
        decode_request(Once.opcode, inner)
    with pytest.raises(MalformedFrameError, match="cannot be retried"):
        decode_request(Once.opcode, body[:16] + b"\xff\xff\xff\xf5" + bytes(4))
