"""The write-ahead log: segments that are written front to back, one sync for all that is staged.

Appends and truncations are staged, checked, and then written together: a flush. Nothing is ever overwritten. A
truncation is a frame that says so; a segment that is full, or whose bytes can be trusted no longer, is left as it is,
and another one continues it. So a crash leaves a prefix of what was flushed, however the disk orders its sectors.

Errors of the operating system come through as OSError; a sync that fails raises StorageFailedError. What was staged is
then forgotten.

This module must not know epochs or snapshots, nor what the payloads mean.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress

from attrs import frozen

from zkcore.errors import InvariantViolation, StorageFailedError
from zkcore.storage.files import File, Files, make_durable
from zkcore.storage.frames import (
    APPEND,
    HEAD_BYTES,
    SECTOR_BYTES,
    TRUNCATE,
    Frame,
    SegmentHeader,
    frame_at,
    frames,
    pack_frame,
    payloads_of,
)
from zkcore.storage.index import LogIndex, Stretch
from zkcore.storage.records import Mark, Records
from zkcore.storage.survey import Survey, segment_name
from zkcore.zab.ready import Entry
from zkcore.zxid import Zxid, follows, format_zxid

__all__ = ["Log", "read_records_of"]

_READ_BYTES = 1 << 17


@frozen
class _Staged:
    """A frame to be."""

    kind: int
    zxid: Zxid
    payloads: Sequence[bytes]
    lengths: Sequence[int]
    before: Zxid
    size: int

    @property
    def last(self) -> Zxid:
        """Where the log ends with it."""
        return self.zxid + len(self.payloads) - 1 if self.kind == APPEND else self.zxid


class Log:
    """The log of one member, open. `on_durable` is called with the place up to which it has become so."""

    def __init__(self, files: Files, *, owner: bytes, segment_bytes: int) -> None:
        self._files = files
        self._owner = owner
        self._segment_bytes = segment_bytes
        self.on_durable: Callable[[Mark], None] = lambda mark: None
        self._lock = threading.RLock()  # a late sync runs on a thread of its own
        self._open: dict[int, tuple[SegmentHeader, File]] = {}
        self._staged: list[_Staged] = []
        self._tip: SegmentHeader | None = None
        self._room = 0
        self._end = SECTOR_BYTES
        self._chain = 0
        self._prepared: tuple[SegmentHeader, File, int] | None = None
        self.dirty = False
        self.index = LogIndex()

    # --- from one life to the next

    def take_up(self, found: Survey, *, records: Records, mark: Mark) -> None:
        """Go on with what a survey found. What is behind it goes where it was torn, and stays as it is where there is
        damage: then a new segment continues the log.

        The frames behind the mark are written again. They may have been read from memory only: after a sync that
        failed an operating system takes them for stored.
        """
        self.index = found.index
        self.index.begin_after(records.base)
        self._end, self._chain = found.end, found.chain
        for number in found.unfinished:
            self._files.remove(segment_name(number))
        for header in found.path:
            self._open[header.number] = header, self._files.open(segment_name(header.number))
        if found.harms:
            self._begin_segment(max(*found.numbers, records.segment, mark.segment) + 1, 0)
        elif not found.path:
            self._begin_segment(records.segment, 0)
        else:
            self._go_on(found, mark)

    def _go_on(self, found: Survey, mark: Mark) -> None:
        self._tip = tip = found.path[-1]
        file = self._open[tip.number][1]
        start = mark.offset if mark.segment == tip.number else SECTOR_BYTES
        tail = file.read(start, self._end - start)
        if found.torn_bytes:
            file.resize(self._end)
        if tail:
            file.write(start, tail)
        self._room = file.size()
        self.dirty = True
        self.sync()

    @property
    def segments(self) -> Collection[int]:
        """The numbers of those that it consists of."""
        return self._open.keys()

    @property
    def mark(self) -> Mark:
        """The end of the log."""
        return Mark(self._tip.number if self._tip is not None else 0, self._end, self.index.last)

    def close(self) -> None:
        """Give back the files. Nothing is made durable."""
        with self._lock:
            for _, file in self._open.values():
                file.close()
            self._open.clear()

    # --- writing

    @property
    def last(self) -> Zxid:
        """The end of the log, with what is staged."""
        return self._staged[-1].last if self._staged else self.index.last

    def stage_append(self, first: Zxid, payloads: Sequence[bytes]) -> None:
        """See `Append`. Raises InvariantViolation where it does not continue the log."""
        last = first + len(payloads) - 1
        if not payloads or not follows(first, self.last) or last >> 32 != first >> 32:
            raise InvariantViolation(
                f"{len(payloads)} records from {format_zxid(first)} do not follow {format_zxid(self.last)}"
            )
        lengths = tuple(map(len, payloads))
        size = HEAD_BYTES + 4 * len(lengths) + sum(lengths)
        self._staged.append(_Staged(APPEND, first, payloads, lengths, self.last, size))

    def stage_truncate(self, zxid: Zxid) -> None:
        """See `Truncate`."""
        if self._staged:
            self.flush()
        if zxid not in self.index:
            raise InvariantViolation(f"the log cannot be cut after {format_zxid(zxid)}, which is not in it")
        self._staged.append(_Staged(TRUNCATE, zxid, (), (), self.last, HEAD_BYTES))

    def forget_staged(self) -> None:
        """As if nothing had been staged since the last flush."""
        self._staged.clear()

    def flush(self, *, sync: bool = True) -> None:
        """Write what is staged, and make it durable unless told otherwise."""
        with self._lock:
            staged, self._staged = self._staged, []
            if staged:
                self._write(staged)
            if sync:
                self.sync()

    def sync(self) -> None:
        """Make durable what is written."""
        with self._lock:
            if self.dirty and self._tip is not None:
                file = self._open[self._tip.number][1]
                make_durable(file, f"{self._files.where}/{file.name}")
                self.dirty = False
                self.on_durable(self.mark)

    def _write(self, staged: list[_Staged]) -> None:
        assert self._tip is not None
        size = sum(each.size for each in staged)
        if self._end + size > self._room:
            self.sync()
            self._begin_segment(self.next_number, SECTOR_BYTES + size)
        start, at, chain, seed = self._end, self._end, self._chain, self._tip.seed
        packed: list[bytearray] = []
        written: list[tuple[int, Frame]] = []
        for each in staged:
            data, check = pack_frame(
                each.kind, each.zxid, each.payloads, each.lengths,
                before=each.before, chain=chain, flush=start, at=at, seed=seed,
            )  # fmt: skip
            size = len(data) - HEAD_BYTES
            frame = Frame(each.kind, size, each.zxid, len(each.payloads), each.before, chain, start, 0, check)
            packed.append(data)
            written.append((at, frame))
            at, chain = at + len(data), check
        file = self._open[self._tip.number][1]
        try:
            file.write(start, packed[0] if len(packed) == 1 else b"".join(packed))
        except OSError:
            # Whole frames may be there, and half of one. Nobody shall ever find them.
            file.resize(start)
            self._room = start
            make_durable(file, f"{self._files.where}/{file.name}")
            raise
        self.dirty = True
        for place, frame in written:
            self.index.add(frame, self._tip.number, place)
        self._end, self._chain = at, chain

    # --- segments

    def room_needed(self, size: int) -> int:
        """How many bytes of the disk it takes to append `size` bytes: none as long as this segment has room."""
        size += SECTOR_BYTES + HEAD_BYTES
        return max(size, self._segment_bytes) if self._end + size > self._room else 0

    def _begin_segment(self, number: int, size: int) -> None:
        """Continue the log in a new one, which has room for `size` bytes or more."""
        header = SegmentHeader(
            self._owner, number, max(self._open, default=0), self._end, self._chain, self.index.last
        )
        file, room = self._make_segment(header, size)
        self._open[number] = header, file
        self._tip, self._room, self._end = header, room, SECTOR_BYTES

    def _make_segment(self, header: SegmentHeader, size: int) -> tuple[File, int]:
        """Durable, with its name, before anything is written to it."""
        name = segment_name(header.number)
        file = self._files.open(name, create=True)
        try:
            room = max(size, self._segment_bytes)
            file.allocate(room)
            file.write(0, header.pack())
            make_durable(file, f"{self._files.where}/{name}")
            make_durable(self._files, self._files.where)
        except (OSError, StorageFailedError):
            file.close()
            with suppress(OSError):
                self._files.remove(name)
            raise
        return file, room

    @property
    def next_number(self) -> int:
        """The number of the next segment."""
        return max(self._open) + 1

    def prepare_restart(self, zxid: Zxid, number: int) -> None:
        """Make segment `number`, to begin the log anew behind `zxid`; it counts from `restart` on."""
        name = segment_name(number)
        if name in self._files.names():
            self._files.remove(name)
        header = SegmentHeader(self._owner, number, 0, 0, 0, zxid)
        self._prepared = header, *self._make_segment(header, 0)

    def restart(self) -> None:
        """Begin anew with the segment that was prepared, and remove the others."""
        assert self._prepared is not None
        (header, file, room), self._prepared = self._prepared, None
        self.remove_before(header.number)
        self._open[header.number] = header, file
        self._tip, self._room, self._end, self._chain = header, room, SECTOR_BYTES, 0
        self.index = LogIndex.beginning_at(header.last)
        self.dirty = False

    def first_needed(self, after: Zxid) -> int:
        """The first segment with a record after `after`, or the newest."""
        assert self._tip is not None
        needed = self.index.first_needed(after)
        return needed if needed is not None else self._tip.number

    def remove_before(self, segment: int) -> None:
        """Remove the segments before `segment`: nothing in them is needed any more."""
        self.index.drop_before(segment)
        for number in sorted(number for number in self._open if number < segment):
            _, file = self._open.pop(number)
            file.close()
            self._files.remove(file.name)

    # --- reading

    def entries(self, after: Zxid, max_bytes: int) -> list[Entry]:
        """See `LogReader`. Raises StorageFailedError where a record does not read back."""
        found: list[Entry] = []
        room = max_bytes
        for stretch in self.index.stretches_after(after):
            for zxid, payload in self._records(stretch, after):
                room -= len(payload)
                if room < 0 and found:
                    return found
                found.append(Entry(zxid, payload))
        return found

    def _records(self, stretch: Stretch, after: Zxid) -> Iterator[tuple[Zxid, bytes]]:
        for data, place, frame in self._frames(stretch, stretch.offset_before(after)):
            if frame.last > after:
                for zxid, payload in enumerate(payloads_of(frame, data, place), frame.zxid):
                    if zxid > stretch.last:
                        return
                    if zxid > after:
                        yield zxid, payload

    def _frames(self, stretch: Stretch, offset: int) -> Iterator[tuple[bytes, int, Frame]]:
        """The frames of a stretch from `offset` on, each with the bytes that it is in and its place there."""
        header, file = self._open[stretch.segment]
        seed, size = header.seed, _READ_BYTES
        while offset < stretch.end:
            data = file.read(offset, min(size, stretch.end - offset))
            begin, size = offset, _READ_BYTES
            for place, frame in frames(data, 0, at=begin, seed=seed):
                yield data, place, frame
                offset = begin + place + HEAD_BYTES + frame.size
            if offset == begin:
                large = frame_at(data, 0, at=offset, seed=seed)
                if large is None or len(data) >= HEAD_BYTES + large.size:
                    where = f"{self._files.where}/{file.name} at byte {offset}"
                    raise StorageFailedError(f"{where}: a record does not read back; the storage must be opened anew")
                size = HEAD_BYTES + large.size


def read_records_of(files: Files, found: Survey) -> Iterator[Entry]:
    """The records of a log that was surveyed, from the first of its first segment on; the files are only read."""
    log = Log(files, owner=b"", segment_bytes=0)
    log.index = found.index
    log.index.begin_after(found.index.floor)
    for header in found.path:
        log._open[header.number] = header, files.open(segment_name(header.number))
    try:
        for stretch in log.index.stretches_after(found.index.floor):
            for zxid, payload in log._records(stretch, found.index.floor):
                yield Entry(zxid, payload)
    finally:
        log.close()
