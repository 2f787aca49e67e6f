"""Where in the segments each record of the log lies.

The log is a sequence of stretches: frames that lie one behind the other in one segment. A truncation shortens the last
stretches and leaves their bytes alone; what is appended after it begins a new one. Of each stretch about every 64 KiB
one frame is remembered, and between those frames are read until the right one has come.

This module must not know files. It is pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from attrs import Factory, define

from zkcore.errors import InvariantViolation
from zkcore.storage.frames import APPEND, HEAD_BYTES, Frame
from zkcore.zxid import Zxid, counter_of, epoch_of, follows, format_zxid

__all__ = ["LogIndex", "Stretch"]

_SPACING_BYTES = 1 << 16


@define
class Stretch:
    """The records `first` to `last`, in frames of `segment` up to the offset `end`; frames may hold more, cut off."""

    segment: int
    first: Zxid
    last: Zxid
    end: int
    zxids: list[Zxid] = Factory(list)
    offsets: list[int] = Factory(list)

    def offset_before(self, zxid: Zxid) -> int:
        """Where to begin to read for the records after `zxid`."""
        return self.offsets[max(bisect_right(self.zxids, zxid) - 1, 0)]


@define
class LogIndex:
    """The log from `base` to `last`. `floor` is where the bytes begin: at the base or before it, since segments go only
    when nothing in them is needed."""

    floor: Zxid = 0
    base: Zxid = 0
    last: Zxid = 0
    _ends: list[Zxid] = Factory(list)
    _stretches: list[Stretch] = Factory(list)

    @classmethod
    def beginning_at(cls, zxid: Zxid) -> LogIndex:
        """An empty one."""
        return cls(zxid, zxid, zxid)

    def __contains__(self, zxid: Zxid) -> bool:
        """Whether `zxid` is the base or a record."""
        if zxid <= self.base or not counter_of(zxid):
            return zxid == self.base
        return any(epoch_of(end) == epoch_of(zxid) and zxid <= end for end in self._ends)

    def add(self, frame: Frame, segment: int, offset: int) -> None:
        """Take up the frame at `offset`, the next of the log. Raises InvariantViolation where it does not continue it.
        """
        kind, size, first, records, before, *_ = frame
        if kind != APPEND:
            self.cut(first)
            return
        if before != self.last or not follows(first, before):
            raise InvariantViolation(f"{format_zxid(first)} does not follow {format_zxid(self.last)} in the log")
        last = first + records - 1
        stretch = self._stretches[-1] if self._stretches else None
        if stretch is None or stretch.end != offset or stretch.segment != segment:
            stretch = Stretch(segment, first, last, offset)
            self._stretches.append(stretch)
        if not stretch.offsets or offset - stretch.offsets[-1] >= _SPACING_BYTES:
            stretch.zxids.append(first)
            stretch.offsets.append(offset)
        stretch.end = offset + HEAD_BYTES + size
        stretch.last = self.last = last
        if self._ends and self._ends[-1] >> 32 == last >> 32:
            self._ends[-1] = last
        else:
            self._ends.append(last)

    def cut(self, zxid: Zxid) -> None:
        """Forget what comes after `zxid`."""
        while self._ends and self._ends[-1] > zxid:
            if epoch_of(self._ends.pop()) == epoch_of(zxid) and zxid > self.floor:
                self._ends.append(zxid)
        while self._stretches and self._stretches[-1].first > zxid:
            self._stretches.pop()
        if self._stretches:
            self._stretches[-1].last = min(self._stretches[-1].last, zxid)
        self.last = zxid
        self.floor = min(self.floor, zxid)

    def begin_after(self, base: Zxid) -> None:
        """The log is from now on what comes after `base`."""
        self.base = base

    def first_needed(self, after: Zxid) -> int | None:
        """The segment of the first record after `after`, or None where there is none."""
        return next((stretch.segment for stretch in self._stretches if stretch.last > after), None)

    def drop_before(self, segment: int) -> None:
        """The bytes of earlier segments are gone."""
        while self._stretches and self._stretches[0].segment < segment:
            self.floor = self._stretches.pop(0).last
        while self._ends and self._ends[0] <= self.floor:
            del self._ends[0]

    def stretches_after(self, zxid: Zxid) -> Iterator[Stretch]:
        """The stretches with records after `zxid`, which is in the log."""
        if zxid not in self:
            raise InvariantViolation(
                f"{format_zxid(zxid)} is not in the log, which goes from {format_zxid(self.base)} to "
                f"{format_zxid(self.last)}"
            )
        start = bisect_right(self._stretches, zxid, key=lambda stretch: stretch.last)
        yield from self._stretches[start:]

    def epoch_ends(self) -> tuple[Zxid, ...]:
        """See `Saved`."""
        ends = [end for end in self._ends if end > self.base]
        if self.base and (not ends or epoch_of(ends[0]) != epoch_of(self.base)):
            ends.insert(0, self.base)
        return tuple(ends)
