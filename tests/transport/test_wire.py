"""Every message survives the journey through bytes, and no bytes do harm."""

from __future__ import annotations

import tracemalloc
from struct import pack
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import FrameTooLargeError, MalformedFrameError
from zkcore.transport.wire import decode, encode
from zkcore.zab.messages import (
    NOBODY,
    Ack,
    AckEpoch,
    Commit,
    Damage,
    Diff,
    FollowerInfo,
    Forward,
    HandOff,
    LeaderInfo,
    Message,
    NewLeader,
    Ping,
    Proposal,
    Repaired,
    Role,
    Snap,
    SnapAck,
    SnapData,
    SyncAck,
    Trunc,
    UpToDate,
    Vote,
)
from zkcore.zxid import make_zxid

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
data = st.binary(max_size=40)
batches = st.lists(data, min_size=1, max_size=8).map(tuple)

MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    Vote: st.builds(Vote, st.sampled_from(Role), st.integers(NOBODY, 255), u64, u32, u64, st.booleans()),
    FollowerInfo: st.builds(FollowerInfo, u32),
    LeaderInfo: st.builds(LeaderInfo, u32),
    AckEpoch: st.builds(
        AckEpoch, st.none() | u32, u64, u64, st.lists(u64, max_size=5).map(tuple), st.none() | st.tuples(u64, u64),
        st.none() | st.sampled_from(Damage),
    ),
    Diff: st.builds(Diff, u64),
    Trunc: st.builds(Trunc, u64),
    Snap: st.builds(Snap, u64, u64),
    SnapData: st.builds(SnapData, u64, data, st.booleans()),
    SnapAck: st.builds(SnapAck, u64),
    NewLeader: st.builds(NewLeader, u32),
    UpToDate: st.builds(UpToDate, u64),
    Proposal: st.builds(Proposal, st.builds(make_zxid, u32, st.integers(1, 2**32 - 9)), batches),
    Ack: st.builds(Ack, u64),
    Commit: st.builds(Commit, u64),
    Ping: st.builds(Ping, u64),
    Forward: st.builds(Forward, data),
    SyncAck: st.builds(SyncAck, u64),
    Repaired: st.builds(Repaired, u32),
    HandOff: st.builds(HandOff, st.integers(1, 255), u32),
}  # fmt: skip
any_message = st.one_of(*MESSAGES.values())

# One of each kind, the bytes of which are written down here: peers of different releases must agree on them.
WRITTEN_DOWN: list[tuple[Message, str]] = [
    (Vote(Role.LEADING, 3, make_zxid(2, 5), 2, 7), "0102 03 0000000200000005 00000002 0000000000000007 00"),
    (Vote(Role.OBSERVING, NOBODY, 0, 0, 1, damaged=True), "0103 00 0000000000000000 00000000 0000000000000001 01"),
    (FollowerInfo(6), "02 00000006"),
    (LeaderInfo(7), "03 00000007"),
    (
        AckEpoch(None, make_zxid(2, 1), 9, (9, make_zxid(2, 1))),
        "0400 00000000 0000000200000001 0000000000000009 00 00 0000000000000000 0000000000000000"
        "00000002 0000000000000009 0000000200000001",
    ),
    (
        AckEpoch(1, 9, 9, (), partial=(make_zxid(3, 4), 700)),
        "0401 00000001 0000000000000009 0000000000000009 00 01 0000000300000004 00000000000002bc 00000000",
    ),
    (
        AckEpoch(None, 0, 0, (), damage=Damage.LOG),
        "0400 00000000 0000000000000000 0000000000000000 01 00 0000000000000000 0000000000000000 00000000",
    ),
    (
        AckEpoch(None, 0, 0, (), partial=(0, 0), damage=Damage.EPOCHS),
        "0400 00000000 0000000000000000 0000000000000000 02 01 0000000000000000 0000000000000000 00000000",
    ),
    (Diff(1), "05 0000000000000001"),
    (Trunc(1), "06 0000000000000001"),
    (Snap(1), "07 0000000000000001 0000000000000000"),
    (Snap(1, offset=700), "07 0000000000000001 00000000000002bc"),
    (SnapData(4, b"ab", True), "08 0000000000000004 01 00000002 6162"),
    (SnapAck(6), "09 0000000000000006"),
    (NewLeader(7), "0a 00000007"),
    (UpToDate(1), "0b 0000000000000001"),
    (Proposal(make_zxid(1, 1), (b"ab", b"", b"c")), "0c 0000000100000001 00000003 00000002 00000000 00000001 616263"),
    (Ack(1), "0d 0000000000000001"),
    (Commit(1), "0e 0000000000000001"),
    (Ping(2), "0f 0000000000000002"),
    (Forward(b"ab"), "10 00000002 6162"),
    (SyncAck(1), "11 0000000000000001"),
    (Repaired(7), "12 00000007"),
    (HandOff(3, 7), "13 03 00000007"),
]


def kinds_of_messages() -> set[type]:
    return {kind for part in get_args(Message) for kind in (get_args(part) or (part,))}


def test_every_kind_of_message_is_tested_here() -> None:
    assert set(MESSAGES) == kinds_of_messages() == {type(message) for message, _ in WRITTEN_DOWN}


every_kind = pytest.mark.parametrize("kind", sorted(MESSAGES, key=lambda kind: kind.__name__), ids=lambda k: k.__name__)


@every_kind
def test_what_was_encoded_is_decoded(kind: type) -> None:
    @given(MESSAGES[kind])
    def check(message: Any) -> None:
        decoded = decode(encode(message))
        assert decoded == message
        assert type(decoded) is kind

    check()


@pytest.mark.parametrize(("message", "written"), WRITTEN_DOWN, ids=lambda value: str(value)[:24])
def test_the_bytes_are_these(message: Message, written: str) -> None:
    assert encode(message) == bytes.fromhex(written)
    assert decode(bytes.fromhex(written)) == message


@every_kind
def test_a_message_cut_short_or_with_bytes_left_over_is_refused(kind: type) -> None:
    @given(MESSAGES[kind], st.data(), st.binary(min_size=1, max_size=20))
    def check(message: Message, draw: st.DataObject, more: bytes) -> None:
        whole = encode(message)
        with pytest.raises(MalformedFrameError):
            decode(whole[: draw.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(MalformedFrameError):
            decode(whole + more)

    check()


def decodes_to_the_same_bytes_or_is_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except MalformedFrameError:
        return
    assert encode(message) == data


@given(st.integers(0, 24), st.binary(max_size=80))
def test_random_bytes_are_a_message_or_refused(tag: int, rest: bytes) -> None:
    decodes_to_the_same_bytes_or_is_refused(bytes([tag]) + rest)


@given(any_message, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_message_is_another_message_or_refused(message: Message, damage: list[tuple[int, int]]) -> None:
    damaged = bytearray(encode(message))
    for place, value in damage:
        damaged[place % len(damaged)] = value
    decodes_to_the_same_bytes_or_is_refused(bytes(damaged))


LOG = "0000000000000009 0000000000000009"  # of an AckEpoch: where the log ends, and where it begins
NO_PART = "00 0000000000000000 0000000000000000"  # nor any part of a snapshot


@pytest.mark.parametrize(
    ("what", "written"),
    [
        ("nothing", ""),
        ("an unknown tag", "00"),
        ("a tag after the last", "14 00000000"),
        ("a role that does not exist", "0104 03 0000000200000005 00000002 0000000000000007 00"),
        ("a voter neither damaged nor whole", "0102 03 0000000200000005 00000002 0000000000000007 02"),
        ("a promise that is neither", f"0402 00000001 {LOG} 00 {NO_PART} 00000000"),
        ("an epoch where there is none", f"0400 00000001 {LOG} 00 {NO_PART} 00000000"),
        ("a damage that does not exist", f"0401 00000001 {LOG} 03 {NO_PART} 00000000"),
        ("a part that is there nor not", f"0401 00000001 {LOG} 00 02 0000000000000009 0000000000000009 00000000"),
        ("the zxid of no part", f"0401 00000001 {LOG} 00 00 0000000000000009 0000000000000000 00000000"),
        ("the size of no part", f"0401 00000001 {LOG} 00 00 0000000000000000 0000000000000009 00000000"),
        ("more epochs than bytes", f"0401 00000001 {LOG} 00 {NO_PART} ffffffff"),
        ("a last piece that is neither", "08 0000000000000004 02 00000002 6162"),
        ("a piece longer than its bytes", "08 0000000000000004 01 ffffffff 6162"),
        ("a proposal of nothing", "0c 0000000100000001 00000000"),
        ("more payloads than bytes", "0c 0000000100000001 ffffffff"),
        ("a payload longer than its bytes", "0c 0000000100000001 00000002 00000000 ffffffff 6162"),
        ("payloads that leave a byte over", "0c 0000000100000001 00000001 00000001 6162"),
        ("payloads that run out of the epoch", "0c 00000001ffffffff 00000002 00000001 00000001 6162"),
        ("a forward longer than its bytes", "10 ffffffff 6162"),
    ],
)
def test_it_refuses(what: str, written: str) -> None:
    with pytest.raises(MalformedFrameError):
        decode(bytes.fromhex(written))


def test_a_claimed_count_costs_no_memory() -> None:
    claims = [
        bytes.fromhex(f"0401 00000001 {LOG} 00 {NO_PART} ffffffff") + bytes(64),
        bytes.fromhex("0c 0000000100000001 fffffff0") + bytes(64),
        bytes.fromhex("0c 0000000100000001 00000004") + pack(">4I", *[2**32 - 1] * 4),
    ]
    tracemalloc.start()
    try:
        for claim in claims:
            with pytest.raises(MalformedFrameError):
                decode(claim)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_a_message_above_the_limit_is_refused_before_it_is_looked_at() -> None:
    whole = encode(Forward(b"x" * 95))
    assert decode(whole, max_bytes=100) == Forward(b"x" * 95)
    with pytest.raises(FrameTooLargeError):
        decode(whole, max_bytes=99)
    with pytest.raises(FrameTooLargeError):
        decode(b"\0" * 100, max_bytes=99)


@pytest.mark.parametrize(
    "message",
    [
        Ack(-1),
        Ack(2**64),
        FollowerInfo(2**32),
        Vote(Role.LOOKING, 256, 1, 1, 1),
        Vote(Role.LOOKING, -1, 1, 1, 1),
        Snap(1, -1),
        AckEpoch(1, 1, 0, (), partial=(1, 2**64)),
        HandOff(256, 1),
        AckEpoch(2**32, 1, 0, ()),
        AckEpoch(1, 1, 0, (2**64,)),
        Proposal(1, ()),
        SnapData(-1, b"", False),
    ],
    ids=repr,
)
def test_what_is_out_of_range_is_not_encoded(message: Message) -> None:
    with pytest.raises(ValueError):
        encode(message)
