"""What the segments of a directory hold, found out without changing any of them.

Segments form a chain: each names the one that it continues, and the offset up to which. So the log is the way from the
newest segment back to the first that is needed, and of all but the newest it is known where they end. On this way
every frame is checked.

Where the newest segment ends badly, two things may have happened. A write was cut short by a crash: then nobody was
ever told that it was saved, and it may go. Or something that was saved has changed. It is damage where

- the ack mark lies beyond it: it had been durable;
- a good frame of a later flush comes behind it: the flush before was durable by then;
- all of its sectors were written: a write that is cut short leaves one as it was, and zero;

and else a torn write. Damage is reported as ranges of records, and nothing behind it is taken for the log: records
without the ones before them prove nothing.

This module must not know what is done about damage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import Factory, define, frozen

from zkcore.errors import InvariantViolation, StorageCorruptError
from zkcore.storage.files import File, Files
from zkcore.storage.frames import HEAD_BYTES, SECTOR_BYTES, SegmentHeader, find_frame, frames, may_be_torn
from zkcore.storage.index import LogIndex
from zkcore.storage.records import NO_MARK, Mark, Records
from zkcore.zxid import Zxid, format_zxid

__all__ = [
    "Harm", "Survey", "check_segments", "read_segment", "segment_name", "segment_numbers", "survey",
]  # fmt: skip

_NAME = re.compile(r"log-([0-9a-f]{16})")
_PIECE_BYTES = 4096


def segment_name(number: int) -> str:
    """The file of segment `number`."""
    return f"log-{number:016x}"


def segment_numbers(files: Files) -> list[int]:
    """Of all segments that are there."""
    return sorted(int(match[1], 16) for name in files.names() if (match := _NAME.fullmatch(name)))


@frozen
class Harm:
    """Records after `after` cannot be read: up to `upto`, or nobody knows how far."""

    file: str
    offset: int
    after: Zxid
    upto: Zxid | None
    why: str

    def __str__(self) -> str:
        upto = format_zxid(self.upto) if self.upto is not None else "the end of what was saved"
        return f"{self.file} at byte {self.offset}: {self.why}; records after {format_zxid(self.after)}, up to {upto}"


@define
class Survey:
    """What was found. The log is that of `path`, up to byte `end` of its last segment, behind the frame `chain`.
    `torn_bytes` come after it: the rest of a write that was never acknowledged. `unfinished` are segments that were not
    begun, `numbers` all that are there."""

    index: LogIndex
    path: list[SegmentHeader] = Factory(list)
    end: int = SECTOR_BYTES
    chain: int = 0
    torn_bytes: int = 0
    records: int = 0
    harms: list[Harm] = Factory(list)
    numbers: list[int] = Factory(list)
    unfinished: list[int] = Factory(list)


def survey(files: Files, records: Records, mark: Mark, *, owner: bytes) -> Survey:
    """Read the whole log. Raises StorageCorruptError for a segment that belongs to somebody else, or has another
    format: then this is not damage, but a mistake."""
    found = Survey(LogIndex.beginning_at(records.base))
    found.numbers = segment_numbers(files)
    headers, bad = _read_headers(files, found.numbers, owner)
    _find_path(files, found, headers, bad, records, mark)
    if found.path:
        found.index = LogIndex(found.path[0].last, 0, found.path[0].last)
        for header, follower in zip(found.path, [*found.path[1:], None], strict=True):
            if not _read_one(files, found, header, follower, mark):
                break
    return found


def check_segments(files: Files, owner: bytes) -> None:
    """Raises StorageCorruptError as `survey` does, and reads no more than the headers."""
    _read_headers(files, segment_numbers(files), owner)


# --- the way through the segments ------------------------------------------------------------------------------------


def _read_headers(
    files: Files, numbers: Sequence[int], owner: bytes
) -> tuple[dict[int, SegmentHeader], dict[int, bool]]:
    """The good headers, and for those that are not whether there is anything in them."""
    headers: dict[int, SegmentHeader] = {}
    bad: dict[int, bool] = {}
    for number in numbers:
        name = segment_name(number)
        file = files.open(name)
        try:
            sector = _read(file, 0, SECTOR_BYTES)
        finally:
            file.close()
        try:
            header = SegmentHeader.unpack(sector)
        except ValueError as error:
            raise StorageCorruptError(f"{files.where}/{name}: {error}; use the release that wrote it") from error
        if header is None:
            bad[number] = any(sector)
        elif header.owner != owner:
            raise StorageCorruptError(
                f"{files.where}/{name} belongs to another member or another cluster: put this directory together "
                f"again from the right files"
            )
        elif header.number != number:
            bad[number] = True
        else:
            headers[number] = header
    return headers, bad


def _find_path(
    files: Files,
    found: Survey,
    headers: dict[int, SegmentHeader],
    bad: dict[int, bool],
    records: Records,
    mark: Mark,
) -> None:
    """Fill `path`. A segment of which the creation was cut short, and one that was to begin the log anew and was not
    needed, are no damage."""
    first, whole = records.segment, True
    newest = max((number for number in (*headers, *bad)), default=0)
    for number in range(newest, first - 1, -1):
        empty = number in bad and not bad[number] and number > mark.segment
        unused = number in headers and headers[number].previous == 0 and number != first
        if empty or unused:
            found.unfinished.append(number)
        elif number in headers and (path := _path_to(headers, first, number)):
            found.path = path
            break
        elif number in headers or number in bad:
            whole = False
    fresh = not found.path and whole and not records.accepted and mark == NO_MARK
    if fresh or (whole and found.path and mark.segment <= found.path[-1].number):
        return
    if not found.path:
        name, why = segment_name(first), "the first segment that is needed is missing, or its header is damaged"
        found.harms.append(Harm(f"{files.where}/{name}", 0, records.base, None, why))
    elif not whole or mark.segment > found.path[-1].number:
        lost = next((n for n in range(found.path[-1].number + 1, newest + 1) if n not in headers), newest)
        name, why = segment_name(lost), "the segment is missing, or its header is damaged"
        found.harms.append(Harm(f"{files.where}/{name}", 0, max(mark.zxid, records.base), None, why))


def _path_to(headers: dict[int, SegmentHeader], first: int, number: int) -> list[SegmentHeader]:
    """The segments from `first` to `number`, or none where one between them is not there."""
    path = [headers[number]]
    while path[0].number != first:
        previous = headers.get(path[0].previous)
        if previous is None or previous.number < first:
            return []
        path.insert(0, previous)
    return path


# --- one segment -----------------------------------------------------------------------------------------------------


def _read_one(
    files: Files, found: Survey, header: SegmentHeader, follower: SegmentHeader | None, mark: Mark
) -> bool:
    """Add one segment to what was found; whether it is good to its end."""
    name = segment_name(header.number)
    data = read_segment(files, name)
    place, chain = SECTOR_BYTES, header.chain
    upto = follower.end if follower is not None else len(data)
    try:
        for at, frame in frames(data, place, at=place, seed=header.seed, chain=chain, upto=upto):
            found.index.add(frame, header.number, at)
            found.records += frame.records
            place, chain = at + HEAD_BYTES + frame.size, frame.check
    except InvariantViolation:
        pass  # a frame in the wrong place is damage like any other
    found.end, found.chain = place, chain
    if follower is not None:
        if (place, chain) == (follower.end, follower.chain):
            return True
        why = "a frame does not read back"
    else:
        torn = len(data) - place if data.count(0, place) != len(data) - place else 0
        if mark.segment == header.number and place < mark.offset:
            why = f"it was durable up to byte {mark.offset}, and does not read back"
        elif torn and _is_damage(data, place, header.seed):
            why = "a frame was changed after it was written"
        else:
            found.torn_bytes = len(data.rstrip(b"\0")) - place if torn else 0
            return True
    found.path = found.path[: found.path.index(header) + 1]
    found.harms.extend(_ranges(data, place, upto, files, header, found.index.last, follower, why))
    return False


def _is_damage(data: bytes, place: int, seed: int) -> bool:
    behind = find_frame(data, place + 1, seed=seed)
    if behind is not None and behind[1].flush > place:
        return True
    return any(data[place : place + HEAD_BYTES]) and not may_be_torn(data, place, seed=seed)


def _ranges(
    data: bytes, place: int, upto: int, files: Files, header: SegmentHeader, after: Zxid,
    follower: SegmentHeader | None, why: str,
) -> Iterator[Harm]:  # fmt: skip
    """The holes in a segment: between what is good up to `place` and the next good frame, and so on."""
    name = f"{files.where}/{segment_name(header.number)}"
    while True:
        behind = find_frame(data[:upto], place, seed=header.seed)
        if behind is None:
            yield Harm(name, place, after, follower.last if follower is not None else None, why)
            return
        yield Harm(name, place, after, behind[1].before, why)
        for at, frame in frames(data[:upto], behind[0], at=behind[0], seed=header.seed):
            place, after = at + HEAD_BYTES + frame.size, frame.last if frame.records else frame.zxid
        if place >= upto or (follower is None and data.count(0, place) == len(data) - place):
            return


def read_segment(files: Files, name: str) -> bytes:
    """All bytes of a file; those that the disk cannot read are 255."""
    file = files.open(name)
    try:
        return _read(file, 0, file.size())
    finally:
        file.close()


def _read(file: File, offset: int, size: int) -> bytes:
    try:
        return file.read(offset, size)
    except OSError:
        pieces = []
        for at in range(offset, offset + size, _PIECE_BYTES):
            length = min(_PIECE_BYTES, offset + size - at)
            try:
                pieces.append(file.read(at, length))
            except OSError:
                pieces.append(b"\xff" * length)
        return b"".join(pieces)
