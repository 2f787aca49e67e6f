"""Several operations in one transaction: all or none, each in the state that those before it leave."""

from __future__ import annotations

from typing import Any

import pytest
from alone import Alone
from attrs import evolve

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    MalformedFrameError,
    MultiError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    UnimplementedError,
)
from zkcore.tree.applied import EventType
from zkcore.tree.requests import (
    Check,
    CloseSession,
    Create,
    CreateContainer,
    CreateTTL,
    Delete,
    Exists,
    GetChildren,
    GetData,
    Multi,
    MultiRead,
    SetData,
    decode_request,
    encode_request,
)
from zkcore.tree.znode import CreateMode

SEQUENTIAL, EPHEMERAL = CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL


def test_each_operation_meets_what_those_before_it_leave() -> None:
    alone = Alone()
    answers = alone.do(
        Multi([
            Create("/a"), Create("/a/n-", mode=SEQUENTIAL), Create("/a/n-", mode=SEQUENTIAL),
            SetData("/a", b"x", version=0), Check("/a", 1), Delete("/a/n-0000000000"), Delete("/a/n-0000000001"),
            CreateContainer("/a/c"),
            CreateTTL("/a/t", ttl_ms=5), Delete("/a/c"), Delete("/a/t"), Delete("/a", 1), Create("/b"),
        ])
    )  # fmt: skip
    assert [answer.path for answer in answers if hasattr(answer, "path")] == [
        "/a", "/a/n-0000000000", "/a/n-0000000001", "/a/c", "/a/t", "/b",
    ]  # fmt: skip
    assert alone.tree.read(GetChildren("/")) == ("b", "zookeeper")
    alone.tree.check()


def test_a_stat_is_that_of_the_moment_behind_its_operation() -> None:
    alone = Alone()
    created, changed, _, gone = alone.do(Multi([Create("/a"), SetData("/a", b"xy"), Create("/a/b"), Check("/a")]))
    assert (created.stat.version, created.stat.data_length) == (0, 0)
    assert (changed.version, changed.data_length, changed.num_children) == (1, 2, 0)
    assert gone is None
    assert created.stat.czxid == changed.mzxid == alone.zxid


def test_everything_happens_with_one_zxid_and_is_told_in_order() -> None:
    alone = Alone()
    alone.propose(Multi([Create("/a"), SetData("/a", b""), Delete("/a")]))
    applied = alone.commit_quietly()[1]
    created, changed, deleted = EventType.NODE_CREATED, EventType.NODE_DATA_CHANGED, EventType.NODE_DELETED
    assert applied.changes == ((created, "/a"), (changed, "/a"), (deleted, "/a"))


@pytest.mark.parametrize(
    ("operations", "index", "path", "error"),
    [
        ([Delete("/nope")], 0, "/nope", NoNodeError),
        ([Create("/a"), Create("/a")], 1, "/a", NodeExistsError),
        ([Create("/a"), Create("/a/b"), Delete("/a"), Create("/c")], 2, "/a", NotEmptyError),
        ([SetData("/old", b""), Check("/old", 0), Create("/c")], 1, "/old", BadVersionError),
        ([Create("/e", mode=EPHEMERAL), Delete("/old"), Create("/x/y")], 2, "/x/y", NoNodeError),
        ([Create("/a"), Create("bad")], 1, "bad", BadArgumentsError),
    ],
)
def test_one_failure_undoes_all_and_says_which_and_why(
    operations: list[Any], index: int, path: str, error: type[Exception]
) -> None:
    alone = Alone()
    alone.do(Create("/old", b"data"))
    before = alone.tree.freeze()
    with pytest.raises(MultiError) as caught:
        alone.do(Multi(operations))
    failed = caught.value
    assert (failed.index, failed.path) == (index, path)
    assert isinstance(failed.error, error)
    assert str(failed).startswith(f"operation {index} of {len(operations)} failed and none was applied: {path}")
    assert failed.codes == (*[0] * index, failed.error.code, *[-2] * (len(operations) - index - 1))
    assert evolve(alone.tree.freeze(), last_zxid=before.last_zxid) == before


def test_what_failed_leaves_no_trace_in_what_is_outstanding() -> None:
    alone = Alone(1, 2)
    alone.do(Create("/p"))
    alone.propose(Create("/p/e", mode=EPHEMERAL), session=2)
    fails = [
        SetData("/p", b"no"), Delete("/p/e"), Create("/p/e", mode=EPHEMERAL), Create("/p/", mode=SEQUENTIAL),
        Check("/p", 9),
    ]  # fmt: skip
    alone.propose(Multi(fails), session=2)
    alone.propose(Create("/p/", mode=SEQUENTIAL))
    alone.propose(SetData("/p", b"", version=0))
    alone.propose(CloseSession(), session=2)
    outcomes = [alone.commit_quietly() for _ in range(5)]
    assert [applied.error for _, applied in outcomes] == [0, -103, 0, 0, 0]
    assert outcomes[2][1].path == "/p/0000000001"
    assert alone.tree.read(GetChildren("/p")) == ("0000000001",)
    alone.tree.check()


def test_a_session_that_has_ended_is_no_failure_of_an_operation() -> None:
    with pytest.raises(SessionExpiredError):
        Alone().do(Multi([Create("/a")]), session=9)


def test_nothing_at_all_is_done_at_once() -> None:
    assert Alone().do(Multi([])) == ()


def test_too_much_at_once_is_refused() -> None:
    alone = Alone()
    half = bytes(600_000)
    assert alone.outcome(Multi([Create("/a", half), Create("/b", half)])) is BadArgumentsError
    assert alone.do(Create("/a", half)).path == "/a"
    alone.tree.check()


def test_reads_of_one_state_fail_one_by_one() -> None:
    alone = Alone()
    alone.do(Create("/a", b"x"))
    data, missing, names, nothing = alone.ask(
        MultiRead([GetData("/a"), GetData("/nope"), GetChildren("/a"), Exists("/nope")])
    )
    assert data.data == b"x"
    assert isinstance(missing, NoNodeError)
    assert missing.path == "/nope"
    assert (names, nothing) == ((), None)


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_a_multi_has_zookeepers_bytes() -> None:
    opcode, body = encode_request(Multi([Delete("/a", 1), Check("/b", 2)]))
    assert (opcode, body.hex()) == (
        14,
        "00000002 00 ffffffff 00000002 2f61 00000001"
        "0000000d 00 ffffffff 00000002 2f62 00000002"
        "ffffffff 01 ffffffff".replace(" ", ""),
    )


@pytest.mark.parametrize(
    "request_",
    [
        Multi([]),
        Multi([Create("/a", b"x"), CreateTTL("/t", ttl_ms=4), SetData("/a", None), Delete("/a"), Check("/b")]),
        MultiRead([GetData("/a"), GetChildren("/b"), Exists("/c")]),
    ],
)
def test_what_is_encoded_is_decoded(request_: Any) -> None:
    assert decode_request(*encode_request(request_)) == request_


def test_reads_and_writes_are_not_mixed() -> None:
    with pytest.raises(TypeError, match="GetData cannot stand here"):
        Multi([GetData("/a")])
    with pytest.raises(TypeError, match="Create cannot stand here"):
        MultiRead([Create("/a")])
    with pytest.raises(TypeError):
        Multi([Multi([])])
    body = encode_request(MultiRead([GetData("/a")]))[1]
    with pytest.raises(MalformedFrameError, match="cannot stand here"):
        decode_request(14, body)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", MalformedFrameError),
        ("ffffffff01ffffffff00", MalformedFrameError),
        ("0000000200ffffffff", MalformedFrameError),
        ("0000006300ffffffff", UnimplementedError),
        ("0000000e00ffffffffffffffff01ffffffffffffffff01ffffffff", UnimplementedError),
    ],
)
def test_a_body_that_is_none_is_refused(body: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_request(14, bytes.fromhex(body))
