"""Requests in the layouts of ZooKeeper's client protocol."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import BadArgumentsError, MalformedFrameError, ProtocolError, UnimplementedError
from zkcore.jute.records import OPEN_ACL
from zkcore.tree.requests import (
    CloseSession,
    Create,
    CreateSession,
    Delete,
    Exists,
    GetChildren,
    GetChildren2,
    GetData,
    PlainCreate,
    Reconfigure,
    Request,
    SetData,
    decode_request,
    encode_request,
)
from zkcore.tree.znode import CreateMode

OPEN = "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65"


@pytest.mark.parametrize(
    ("request_", "opcode", "golden"),
    [
        (Create("/a", b"x", mode=CreateMode.EPHEMERAL_SEQUENTIAL), 15, f"00000002 2f61 00000001 78 {OPEN} 00000003"),
        (Create("/a", None), 15, f"00000002 2f61 ffffffff {OPEN} 00000000"),
        (Create("/a", acl=()), 15, "00000002 2f61 00000000 00000000 00000000"),
        (Delete("/a"), 2, "00000002 2f61 ffffffff"),
        (Delete("/a", 3), 2, "00000002 2f61 00000003"),
        (SetData("/a", b"x", version=1), 5, "00000002 2f61 00000001 78 00000001"),
        (CreateSession(30000), -10, "00007530 00000000"),
        (CreateSession(30000, key=b"\1\2"), -10, "00007530 00000002 0102"),
        (CloseSession(), -11, ""),
        (Reconfigure(joining="a", leaving="2", from_config=9), 16, f"00000001 61 00000001 32 00000000 {9:016x}"),
        (Exists("/a", True), 3, "00000002 2f61 01"),
        (GetData("/a"), 4, "00000002 2f61 00"),
        (GetChildren("/a"), 8, "00000002 2f61 00"),
        (GetChildren2("/a", watch=True), 12, "00000002 2f61 01"),
    ],
)
def test_requests_have_zookeepers_opcodes_and_bytes(request_: Request[Any], opcode: int, golden: str) -> None:
    assert encode_request(request_) == (opcode, bytes.fromhex(golden))
    assert decode_request(opcode, bytes.fromhex(golden)) == request_


def test_the_older_create_has_the_same_body() -> None:
    body = encode_request(Create("/a", b"x"))[1]
    assert decode_request(1, body) == PlainCreate("/a", b"x")
    assert encode_request(PlainCreate("/a", b"x")) == (1, body)


def test_text_that_is_missing_is_no_text() -> None:
    body = bytes.fromhex("ffffffff ffffffff 00000001 61 ffffffffffffffff")  # as kazoo writes None
    assert decode_request(16, body) == Reconfigure(new_members="a")


def test_requests_that_write_say_so() -> None:
    assert {kind.__name__ for kind in (Create, Delete, SetData, CreateSession, CloseSession) if kind.writes} == {
        "Create", "Delete", "SetData", "CreateSession", "CloseSession",
    }  # fmt: skip
    assert not any(kind.writes for kind in (Exists, GetData, GetChildren, GetChildren2))


@pytest.mark.parametrize("opcode", [0, 9, 10, 11, 17, 18, 20, 100, 101, 106, -1, 2**31 - 1])
def test_what_is_not_served_is_unimplemented(opcode: int) -> None:
    with pytest.raises(UnimplementedError):
        decode_request(opcode, b"")


OPCODES = [
    1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 19, 21, 22, 103, 104, 107, 1002, 1012, 1013, 1014, 1015, 1102, 1113, 1115,
    -10, -11,
]  # fmt: skip


@given(st.sampled_from(OPCODES), st.binary(max_size=60))
def test_any_body_is_a_request_or_a_protocol_error(opcode: int, data: bytes) -> None:
    try:
        decode_request(opcode, data)
    except ProtocolError:
        pass


def test_a_body_with_bytes_left_over_is_malformed() -> None:
    with pytest.raises(MalformedFrameError):
        decode_request(-11, b"\x00")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Create(b"/a"),
        lambda: Create("/a", "text"),
        lambda: Create("/a", mode="ephemeral"),
        lambda: SetData("/a", bytearray(b"x")),
        lambda: SetData("/a", b"", version="1"),
        lambda: Delete(None),
        lambda: Delete("/a", 1.5),
        lambda: CreateSession(4.0),
        lambda: GetData(1),
        lambda: Exists(1),
        lambda: GetChildren(1),
        lambda: GetChildren2(1),
    ],
)
def test_a_field_of_the_wrong_type_is_the_callers_mistake(make: Any) -> None:
    with pytest.raises(TypeError):
        make()


def test_a_number_too_large_for_its_field_cannot_be_sent() -> None:
    with pytest.raises(BadArgumentsError):
        encode_request(Delete("/a", 2**31))


def test_an_acl_may_be_any_iterable() -> None:
    assert Create("/a", acl=list(OPEN_ACL)) == Create("/a")
