"""The bytes of the log: segments, and the frames in them.

A segment is a file. Its first sector says whose it is, which number it has, and which one it continues, from which
offset on. Then come frames, one after the other, and then zeros to its end.

A frame is one Append or one Truncate::

    "zkF1"  kind  size of the body  zxid  count  zxid before  check of the frame before  offset at which its
    flush began  check of the body  |  check of all this

The body of an Append is that of a Proposal on the wire: all the lengths, then all the payloads. The check of a header
is begun with the segment's own check and the frame's offset, so a frame that was written to another place than it was
meant for is none; and since each names the check of the one before, a frame that is missing is missed.

Frames that were made durable together, with one sync, are a flush. After a power failure any of the last flush's
sectors may be there or not. That is why each frame says where its flush began: a good frame behind a bad one proves
damage if it belongs to a later flush, and nothing if it belongs to the same.

This module must not know files, nor what the payloads mean. It is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from struct import Struct, pack, unpack_from
from typing import NamedTuple
from zlib import crc32

from attrs import frozen

from zkcore.zxid import Zxid

__all__ = [
    "APPEND", "HEAD_BYTES", "SECTOR_BYTES", "TRUNCATE", "VERSION", "Frame", "SegmentHeader", "find_frame", "frame_at",
    "frames", "may_be_torn", "pack_frame", "payloads_of",
]  # fmt: skip

VERSION = 1
SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""

APPEND = 1
TRUNCATE = 2

_MAGIC = b"zkF1"
_HEAD = Struct(">4sB3xIQIQIII")
_CHECK = Struct(">I")
_WHOLE = Struct(_HEAD.format + "I")
HEAD_BYTES = _WHOLE.size

_SEGMENT_MAGIC = b"zkcorlog"
_PREFIX = Struct(">8sH8s")
_SEGMENT = Struct(">8sH8sQQIIQ")


@frozen
class SegmentHeader:
    """The beginning of segment `number`. It continues the segment `previous` at its byte `end`, or nothing where that
    is 0, behind a frame with the check `chain`; the log then ended with `last`. `owner` are 8 bytes that stand for
    cluster and member."""

    owner: bytes
    number: int
    previous: int
    end: int
    chain: int
    last: Zxid

    def pack(self) -> bytes:
        """One sector."""
        body = _SEGMENT.pack(
            _SEGMENT_MAGIC, VERSION, self.owner, self.number, self.previous, self.end, self.chain, self.last
        )
        return (body + _CHECK.pack(crc32(body))).ljust(SECTOR_BYTES, b"\0")

    @property
    def seed(self) -> int:
        """What the checks of its frames begin with."""
        return crc32(self.pack())

    @classmethod
    def unpack(cls, sector: bytes) -> SegmentHeader | None:
        """The header, or None where these bytes are none. Raises ValueError for one of another version."""
        if len(sector) < SECTOR_BYTES:
            return None
        body = sector[: _SEGMENT.size]
        if _CHECK.unpack_from(sector, _SEGMENT.size)[0] != crc32(body):
            return None
        magic, version, *_ = _PREFIX.unpack_from(body)
        if magic != _SEGMENT_MAGIC:
            return None
        if version != VERSION:
            raise ValueError(f"its format is version {version}, and this zkcore reads version {VERSION}")
        return cls(*_SEGMENT.unpack(body)[2:])


class Frame(NamedTuple):
    """The header of a frame. A Truncate has its zxid and no records; `before` is the end of the log before it."""

    kind: int
    size: int
    zxid: Zxid
    records: int
    before: Zxid
    chain: int
    flush: int
    body_check: int
    check: int

    @property
    def last(self) -> Zxid:
        """The last record of an Append."""
        return self.zxid + self.records - 1


def pack_frame(
    kind: int, zxid: Zxid, payloads: Sequence[bytes], lengths: Sequence[int],
    *, before: Zxid, chain: int, flush: int, at: int, seed: int,
) -> tuple[bytearray, int]:  # fmt: skip
    """The bytes of a frame at the offset `at`, and its check. They are copied once: of a large one every copy costs as
    much as its check."""
    data = bytearray().join((bytes(HEAD_BYTES), pack(f">{len(lengths)}I", *lengths), *payloads))
    with memoryview(data) as view:
        size, body_check = len(data) - HEAD_BYTES, crc32(view[HEAD_BYTES:])
        _HEAD.pack_into(data, 0, _MAGIC, kind, size, zxid, len(payloads), before, chain, flush, body_check)
        check = crc32(view[: _HEAD.size], seed + at & 0xFFFFFFFF)
        _CHECK.pack_into(data, _HEAD.size, check)
    return data, check


def frame_at(data: bytes, place: int, *, at: int, seed: int) -> Frame | None:
    """The header at `place` in `data`, which is the offset `at` of its segment; None where there is none."""
    if len(data) - place < HEAD_BYTES:
        return None
    magic, *fields = _WHOLE.unpack_from(data, place)
    if magic != _MAGIC or crc32(data[place : place + _HEAD.size], seed + at & 0xFFFFFFFF) != fields[-1]:
        return None
    return Frame._make(fields)


def frames(
    data: bytes, place: int, *, at: int, seed: int, chain: int | None = None, upto: int | None = None
) -> Iterator[tuple[int, Frame]]:
    """Each whole frame from `place` on, which is the offset `at`, with its place, until one is not whole or goes beyond
    `upto`. With `chain`, the check of the frame before, until one does not continue the one before it."""
    view, unpack = memoryview(data), _WHOLE.unpack_from
    shift, end = at - place + seed, len(data) if upto is None else upto
    while place + HEAD_BYTES <= end:
        magic, *fields = unpack(data, place)
        body = place + HEAD_BYTES
        if magic != _MAGIC or crc32(view[place : body - _CHECK.size], place + shift & 0xFFFFFFFF) != fields[-1]:
            return
        frame: Frame = _made(Frame, fields)
        after = body + frame[1]
        if after > end or crc32(view[body:after]) != frame[7] or (chain is not None and frame[5] != chain):
            return
        yield place, frame
        chain = frame[8] if chain is not None else None
        place = after


_made = tuple.__new__


def find_frame(data: bytes, place: int, *, seed: int) -> tuple[int, Frame] | None:
    """The next whole frame at or behind `place` in the bytes of a segment, by its looks."""
    while (place := data.find(_MAGIC, place)) >= 0:
        found = next(frames(data, place, at=place, seed=seed), None)
        if found is not None:
            return found
        place += 1
    return None


def payloads_of(frame: Frame, data: bytes, place: int) -> list[bytes]:
    """The payloads of the Append at `place`."""
    begin = place + HEAD_BYTES
    lengths = unpack_from(f">{frame.records}I", data, begin)
    ends = accumulate(lengths, initial=begin + 4 * frame.records)
    return [data[start:end] for start, end in pairwise(ends)]


def may_be_torn(data: bytes, place: int, *, seed: int) -> bool:
    """Whether the bad bytes at `place` may be what a power failure leaves of a write into zeros: one of its sectors at
    least was not written, and still is zero. Where every sector was written, the disk changed what it had."""
    frame = frame_at(data, place, at=place, seed=seed)
    end = place + (HEAD_BYTES + frame.size if frame is not None else HEAD_BYTES)
    while place < end:
        boundary = min((place // SECTOR_BYTES + 1) * SECTOR_BYTES, end)
        if not any(data[place:boundary]):
            return True
        place = boundary
    return False
