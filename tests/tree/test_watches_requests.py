"""What is asked about watches, in the layouts of ZooKeeper's client protocol."""

from __future__ import annotations

from typing import Any

import pytest

from zkcore.errors import BadArgumentsError
from zkcore.jute.codec import decode
from zkcore.tree.requests import Request, encode_request
from zkcore.tree.watch_requests import (
    AddWatch,
    CatchUp,
    CheckWatches,
    RemoveWatches,
    Resync,
    SetWatches,
    SetWatches2,
    WatcherType,
    WatchMode,
)

A, B, NONE = "00000002 2f61", "00000002 2f62", "00000000"


@pytest.mark.parametrize(
    ("request_", "opcode", "golden"),
    [
        (AddWatch("/a"), 106, f"{A} 00000000"),
        (AddWatch("/a", WatchMode.PERSISTENT_RECURSIVE), 106, f"{A} 00000001"),
        (CheckWatches("/a", WatcherType.PERSISTENT), 17, f"{A} 00000004"),
        (RemoveWatches("/a"), 18, f"{A} 00000003"),
        (
            SetWatches(5, data=["/a"], exist=["/a", "/b"], child=["/b"]),
            101, f"00000000 00000005 00000001 {A} 00000002 {A} {B} 00000001 {B}",
        ),
        (
            SetWatches2(-1, persistent=["/a"], recursive=["/b"]),
            105, f"ffffffff ffffffff {NONE} {NONE} {NONE} 00000001 {A} 00000001 {B}",
        ),
        (CatchUp(0, child=["/a"]), 605, f"00000000 00000000 {NONE} {NONE} 00000001 {A} {NONE} {NONE}"),
    ],
)  # fmt: skip
def test_requests_have_zookeepers_opcodes_and_bytes(request_: Request[Any], opcode: int, golden: str) -> None:
    assert encode_request(request_) == (opcode, bytes.fromhex(golden))
    assert decode(type(request_), bytes.fromhex(golden)) == request_


@pytest.mark.parametrize("kind", [AddWatch, CheckWatches, RemoveWatches, SetWatches, SetWatches2, CatchUp])
def test_none_of_them_becomes_a_transaction(kind: type[Request[Any]]) -> None:
    assert not kind.writes


@pytest.mark.parametrize("kind", [AddWatch, CheckWatches, RemoveWatches])
@pytest.mark.parametrize("arguments", [(b"/a",), (None,), ("/a", "0"), ("/a", None)])
def test_what_is_not_of_the_right_type_is_refused_where_it_is_made(kind: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        kind(*arguments)


@pytest.mark.parametrize("paths", ["/a", [b"/a"], [None], 5])
@pytest.mark.parametrize("field", ["data", "exist", "child"])
def test_paths_are_several_strings(paths: Any, field: str) -> None:
    with pytest.raises(TypeError):
        SetWatches(0, **{field: paths})


def test_a_zxid_that_does_not_fit_is_told_when_it_is_written() -> None:
    with pytest.raises(BadArgumentsError):
        encode_request(CatchUp(1 << 63))


def test_a_resync_prints_on_one_line() -> None:
    assert str(Resync("/a", 1 << 32 | 5, 2 << 32 | 1)) == "RESYNC /a 0x1_00000005..0x2_00000001"
