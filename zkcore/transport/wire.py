"""Every message between replicas as bytes, and back.

The format is zkcore's own: one byte that says which message it is, then its fixed fields, then what varies in length,
each part after an explicit count or length. Numbers are unsigned and big-endian: zxids, rounds and offsets of 64 bits,
epochs, counts and lengths of 32, peers and flags of 8. Where a frame begins and ends, and which version of the format
the two sides speak, is the transport's business.

Bytes from outside are not trusted: `decode` returns a message or raises FrameTooLargeError or MalformedFrameError,
nothing else, and never makes room for more than the bytes that are there. Each message has exactly one encoding.

This module must not know what the messages are for.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from operator import attrgetter
from struct import Struct, error, pack, unpack_from
from typing import Any

from attrs import frozen

from zkcore.errors import ConfigurationError, FrameTooLargeError, MalformedFrameError
from zkcore.zab.membership import Membership, configuration_record, read_configuration
from zkcore.zab.messages import (
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
from zkcore.zxid import MAX_COUNTER, counter_of

__all__ = ["MAX_FRAME_BYTES", "decode", "encode"]

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""The largest encoded message that `decode` accepts unless told otherwise."""


def encode(message: Message) -> bytes:
    """`message` as bytes. Raises ValueError where a field is out of its range, or a Proposal is empty."""
    codec = _BY_TYPE[type(message)]
    try:
        return codec.encode(codec.tag, message)
    except error as problem:
        raise ValueError(f"{message} cannot be encoded: {problem}") from None


def decode(data: bytes, *, max_bytes: int = MAX_FRAME_BYTES) -> Message:
    """The message that `encode` made `data` from.

    Raises FrameTooLargeError where `data` has more than `max_bytes`, MalformedFrameError where it is anything that
    `encode` does not make.
    """
    if len(data) > max_bytes:
        raise FrameTooLargeError(f"a message of {len(data)} bytes; at most {max_bytes} are accepted")
    codec = _BY_TAG.get(data[0]) if data else None
    if codec is None:
        raise MalformedFrameError(f"no message begins with {data[:1].hex() or 'nothing'}")
    try:
        return codec.decode(data)
    except error as problem:
        # A fixed part that is cut short or too long; struct knows the sizes.
        raise MalformedFrameError(f"a {codec.kind.__name__} of {len(data)} bytes: {problem}") from None


# --- one codec per message -------------------------------------------------------------------------------------------


@frozen
class _Codec:
    """How one kind of message is written, and read; `decode` may let a struct.error escape."""

    tag: int
    kind: type[Any]
    encode: Callable[[int, Any], bytes]
    decode: Callable[[bytes], Message]


def _numbers(tag: int, kind: type[Any], layout: str, *names: str) -> _Codec:
    """The codec of a message whose fields are all numbers, in the order of its constructor."""
    struct = Struct(">B" + layout)
    values: Callable[[Any], Any] = attrgetter(*names)

    def encode_numbers(tag: int, message: Any) -> bytes:
        found = values(message)
        return struct.pack(tag, *found) if len(names) > 1 else struct.pack(tag, found)

    def decode_numbers(data: bytes) -> Message:
        message: Message = kind(*struct.unpack(data)[1:])
        return message

    return _Codec(tag, kind, encode_numbers, decode_numbers)


_MEMBERSHIP = Struct(">Q")  # zxid; then the configuration, as in its record, to the end of the message


def _encode_membership(membership: Membership | None) -> bytes:
    """Nothing at all where there is none: so it stands at the end of each message."""
    if membership is None:
        return b""
    return _MEMBERSHIP.pack(membership.zxid) + configuration_record(membership.config)


def _decode_membership(data: bytes, at: int, kind: type[Any]) -> Membership | None:
    if at == len(data):
        return None
    (zxid,) = _MEMBERSHIP.unpack_from(data, at)
    try:
        config, rest = read_configuration(data[at + _MEMBERSHIP.size :])
    except ConfigurationError as problem:
        raise MalformedFrameError(f"a {kind.__name__} of {len(data)} bytes: {problem}") from None
    membership = Membership(zxid, config)
    if not zxid or rest or _encode_membership(membership) != data[at:]:
        raise MalformedFrameError(f"a {kind.__name__} of {len(data)} bytes with members in another form than ours")
    return membership


def _with_membership(tag: int, kind: type[Any], layout: str, *names: str) -> _Codec:
    """The codec of a message of numbers, behind which there may be members."""
    numbers = _numbers(tag, lambda *values: values, layout, *names)  # type: ignore[arg-type]
    size = Struct(">B" + layout).size

    def encode_all(tag: int, message: Any) -> bytes:
        return numbers.encode(tag, message) + _encode_membership(message.membership)

    def decode_all(data: bytes) -> Message:
        values: Any = numbers.decode(data[:size])
        message: Message = kind(*values, membership=_decode_membership(data, size, kind))
        return message

    return _Codec(tag, kind, encode_all, decode_all)


_VOTE = Struct(">BBBQIQB")  # tag, state, leader or 0, zxid, epoch, round, whether the voter is damaged


def _encode_vote(tag: int, vote: Vote) -> bytes:
    head = _VOTE.pack(tag, vote.state.value, vote.leader, vote.zxid, vote.peer_epoch, vote.round, vote.damaged)
    return head + _encode_membership(vote.membership)


def _decode_vote(data: bytes) -> Vote:
    _, state, leader, zxid, epoch, round_, damaged = _VOTE.unpack_from(data)
    if state not in _ROLES:
        raise MalformedFrameError(f"a Vote by a peer in state {state}, which does not exist")
    if damaged > 1:
        raise MalformedFrameError(f"a Vote with flag {damaged}")
    membership = _decode_membership(data, _VOTE.size, Vote)
    return Vote(_ROLES[state], leader, zxid, epoch, round_, bool(damaged), membership)


_ROLES = {role.value: role for role in Role}

# tag; whether there is a current epoch, and that or 0; last; base; damage or 0; whether there is a part of a snapshot,
# and its zxid and size or 0; number of ends
_ACK_EPOCH = Struct(">BBIQQBBQQI")


def _encode_ack_epoch(tag: int, ack: AckEpoch) -> bytes:
    promised, begun = ack.current_epoch is not None, ack.partial is not None
    damage = ack.damage.value if ack.damage is not None else 0
    ends = ack.epoch_ends
    log = ack.last_zxid, ack.base
    head = _ACK_EPOCH.pack(
        tag, promised, ack.current_epoch or 0, *log, damage, begun, *(ack.partial or (0, 0)), len(ends)
    )
    return head + pack(f">{len(ends)}Q", *ends)


def _decode_ack_epoch(data: bytes) -> AckEpoch:
    _, promised, epoch, last, base, damage, begun, partial, size, count = _ACK_EPOCH.unpack_from(data)
    if promised > 1 or (epoch and not promised):
        raise MalformedFrameError(f"an AckEpoch with flag {promised} and epoch {epoch}")
    if begun > 1 or ((partial or size) and not begun):
        raise MalformedFrameError(f"an AckEpoch with flag {begun} and {size} bytes of the snapshot {partial:#x}")
    if damage not in _DAMAGES:
        raise MalformedFrameError(f"an AckEpoch with damage {damage}, which does not exist")
    if len(data) - _ACK_EPOCH.size != 8 * count:
        raise MalformedFrameError(f"an AckEpoch of {len(data)} bytes cannot hold {count} epochs")
    ends = unpack_from(f">{count}Q", data, _ACK_EPOCH.size)
    current = epoch if promised else None
    return AckEpoch(current, last, base, ends, (partial, size) if begun else None, _DAMAGES[damage])


_DAMAGES = {0: None, **{damage.value: damage for damage in Damage}}

_PROPOSAL = Struct(">BQI")  # tag, first zxid, number of payloads; then all the lengths, then all the payloads


def _encode_proposal(tag: int, proposal: Proposal) -> bytes:
    payloads = proposal.payloads
    if not payloads:
        raise ValueError(f"{proposal} has no payloads")
    # The lengths stand together because struct then writes, and reads, all of them in one go.
    lengths = pack(f">{len(payloads)}I", *map(len, payloads))
    return b"".join((_PROPOSAL.pack(tag, proposal.first, len(payloads)), lengths, *payloads))


def _decode_proposal(data: bytes) -> Proposal:
    _, first, count = _PROPOSAL.unpack_from(data)
    start = _PROPOSAL.size + 4 * count
    if count == 0 or start > len(data) or counter_of(first) + count - 1 > MAX_COUNTER:
        raise MalformedFrameError(f"a Proposal of {len(data)} bytes cannot hold {count} payloads from {first:#x}")
    ends = list(accumulate(unpack_from(f">{count}I", data, _PROPOSAL.size), initial=start))
    if ends[-1] != len(data):
        raise MalformedFrameError(f"a Proposal of {len(data)} bytes whose payloads end at {ends[-1]}")
    return Proposal(first, tuple([data[begin:end] for begin, end in pairwise(ends)]))


_SNAP_DATA = Struct(">BQBI")  # tag, offset, whether it is the last piece, length


def _encode_snap_data(tag: int, piece: SnapData) -> bytes:
    return _SNAP_DATA.pack(tag, piece.offset, piece.last, len(piece.data)) + piece.data


def _decode_snap_data(data: bytes) -> SnapData:
    _, offset, last, length = _SNAP_DATA.unpack_from(data)
    if last > 1 or len(data) - _SNAP_DATA.size != length:
        raise MalformedFrameError(f"a SnapData of {len(data)} bytes with flag {last} cannot hold {length}")
    return SnapData(offset, data[_SNAP_DATA.size :], bool(last))


_FORWARD = Struct(">BI")  # tag, length


def _encode_forward(tag: int, forward: Forward) -> bytes:
    return _FORWARD.pack(tag, len(forward.data)) + forward.data


def _decode_forward(data: bytes) -> Forward:
    _, length = _FORWARD.unpack_from(data)
    if len(data) - _FORWARD.size != length:
        raise MalformedFrameError(f"a Forward of {len(data)} bytes cannot hold {length}")
    return Forward(data[_FORWARD.size :])


# The tags are for ever: a number is never given to another message.
_CODECS = (
    _Codec(1, Vote, _encode_vote, _decode_vote),
    _numbers(2, FollowerInfo, "I", "accepted_epoch"),
    _with_membership(3, LeaderInfo, "I", "epoch"),
    _Codec(4, AckEpoch, _encode_ack_epoch, _decode_ack_epoch),
    _numbers(5, Diff, "Q", "zxid"),
    _numbers(6, Trunc, "Q", "zxid"),
    _with_membership(7, Snap, "QQ", "zxid", "offset"),
    _Codec(8, SnapData, _encode_snap_data, _decode_snap_data),
    _numbers(9, SnapAck, "Q", "offset"),
    _numbers(10, NewLeader, "I", "epoch"),
    _numbers(11, UpToDate, "Q", "zxid"),
    _Codec(12, Proposal, _encode_proposal, _decode_proposal),
    _numbers(13, Ack, "Q", "zxid"),
    _numbers(14, Commit, "Q", "zxid"),
    _numbers(15, Ping, "Q", "round"),
    _Codec(16, Forward, _encode_forward, _decode_forward),
    _numbers(17, SyncAck, "Q", "zxid"),
    _numbers(18, Repaired, "I", "epoch"),
    _numbers(19, HandOff, "BI", "leader", "epoch"),
)
_BY_TAG = {codec.tag: codec for codec in _CODECS}
_BY_TYPE = {codec.kind: codec for codec in _CODECS}
