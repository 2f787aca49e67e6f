"""The record store: the little that a member must never forget, in one small file.

Two slots a page apart hold the same: whose storage this is, both epochs, where the log begins, and whether it is
damaged. A change writes the first slot, makes it durable, and then the second. So one of them is whole at any moment,
a change that was cut short is seen by the slots' numbers and completed, and no single sector that goes bad takes the
epochs with it, nor brings back older ones.

In a third place stands the ack mark: how far the log was known to be durable. It is written without a sync of its own
after each of the log's, so it may lag, but never lies. Behind it, in two copies once more, the ensemble that the member
belongs to, where its host has named one.

This module must not know what the log holds.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from zlib import crc32

from attrs import frozen

from zkcore.errors import StorageCorruptError, StorageError
from zkcore.storage.files import File, Files, make_durable
from zkcore.storage.frames import SECTOR_BYTES
from zkcore.zab.messages import Damage
from zkcore.zxid import Zxid

__all__ = [
    "MAX_NAME_BYTES", "NO_MARK", "RECORDS", "Mark", "RecordStore", "Records", "read_ensemble", "read_mark",
    "read_records",
]  # fmt: skip

RECORDS = "records"
VERSION = 1
MAX_NAME_BYTES = 200
"""Of the name of a cluster, so that a slot is one sector."""

_SLOTS = (0, 4096)
_MARK_AT = 8192
_ENSEMBLE_AT = (12288, 20480)
_ENSEMBLE_BYTES = 8192
_MAGIC = b"zkcorrec"
_PREFIX = Struct(">8sH")
_SLOT = Struct(">8sHQQIIQQQBB")
_MARK = Struct(">QQQ")
_CHECK = Struct(">I")
_LENGTH = Struct(">I")
_DAMAGES = {0: None, **{damage.value: damage for damage in Damage}}


@frozen
class Records:
    """What the slots hold: `segment` is the first segment of the log that is needed."""

    cluster: str
    node: int
    accepted: int = 0
    current: int = 0
    base: Zxid = 0
    snapshot: Zxid = 0
    segment: int = 1
    damage: Damage | None = None


@frozen(order=True)
class Mark:
    """The log was durable up to this place: an offset in a segment, behind the record `zxid`."""

    segment: int
    offset: int
    zxid: Zxid


NO_MARK = Mark(0, 0, 0)


class RecordStore:
    """The file `records`, open. Errors of the operating system come through as OSError."""

    def __init__(self, file: File, records: Records, sequence: int, *, where: str) -> None:
        self._file = file
        self._where = where
        self._sequence = sequence
        self.records = records

    @classmethod
    def create(cls, files: Files, records: Records, *, ensemble: str = "") -> RecordStore:
        """A new one. It gets its name only when it is whole, so a directory has a whole one or none."""
        shadow = RECORDS + ".new"
        if shadow in files.names():
            files.remove(shadow)
        file = files.open(shadow, create=True)
        file.resize(_MARK_AT + SECTOR_BYTES)
        store = cls(file, records, 0, where=f"{files.where}/{RECORDS}")
        if ensemble:
            store.save_ensemble(ensemble)
        store.save(records)
        files.rename(shadow, RECORDS)
        make_durable(files, files.where)
        return store

    @classmethod
    def open(cls, files: Files) -> RecordStore | None:
        """What the file holds, or None where none of its slots can be read. It is written again, whole: what one life
        reads may be in memory only, because a sync that failed has made it forget that the disk has it not."""
        file = files.open(RECORDS)
        found = _read(files, file)
        if found is None:
            file.close()
            return None
        store = cls(file, found[1], found[0], where=f"{files.where}/{RECORDS}")
        store.save(found[1])
        return store

    def save(self, records: Records) -> None:
        """Durable when this returns; before, the old or the new are there, whole."""
        self._sequence += 1
        slot = _pack(records, self._sequence)
        for at in _SLOTS:
            self._file.write(at, slot)
            make_durable(self._file, self._where)
        self.records = records

    def read_mark(self) -> Mark:
        """The ack mark, or NO_MARK where there is none to rely on."""
        return _read_mark(self._file)

    def write_mark(self, mark: Mark) -> None:
        """Written now, durable some time."""
        data = _MARK.pack(mark.segment, mark.offset, mark.zxid)
        self._file.write(_MARK_AT, data + _CHECK.pack(crc32(data)))

    def save_ensemble(self, text: str) -> None:
        """The ensemble that the member belongs to; durable when this returns."""
        if all(copy == text for copy in _ensemble_copies(self._file)):
            return
        data = text.encode()
        if len(data) > _ENSEMBLE_BYTES - _LENGTH.size - _CHECK.size:
            raise StorageError(f"{self._where}: an ensemble of {len(data)} bytes is too long: give smaller weights")
        packed = _LENGTH.pack(len(data)) + data
        for at in _ENSEMBLE_AT:
            self._file.write(at, packed + _CHECK.pack(crc32(packed)))
            make_durable(self._file, self._where)

    def sync(self) -> None:
        """The mark, too, is durable now."""
        make_durable(self._file, self._where)

    def close(self) -> None:
        self._file.close()


def read_records(files: Files) -> Records | None:
    """The newest records, without a change to the directory; None where no slot can be read."""
    file = files.open(RECORDS)
    try:
        found = _read(files, file)
    finally:
        file.close()
    return found[1] if found is not None else None


def read_mark(files: Files) -> Mark:
    """The ack mark, without a change to the directory."""
    file = files.open(RECORDS)
    try:
        return _read_mark(file)
    finally:
        file.close()


def read_ensemble(files: Files) -> str:
    """The ensemble that the member belongs to, or an empty text where none was named, or none can be read."""
    file = files.open(RECORDS)
    try:
        return next(filter(None, _ensemble_copies(file)), "")
    finally:
        file.close()


def _ensemble_copies(file: File) -> list[str]:
    return [_read_ensemble(file, at) for at in _ENSEMBLE_AT]


def _read_ensemble(file: File, at: int) -> str:
    try:
        data = file.read(at, _ENSEMBLE_BYTES)
        (length,) = _LENGTH.unpack_from(data)
        (check,) = _CHECK.unpack_from(data, _LENGTH.size + length)
    except (OSError, StructError):
        return ""
    whole = crc32(data[: _LENGTH.size + length]) == check
    return data[_LENGTH.size : _LENGTH.size + length].decode() if whole else ""


def _read_mark(file: File) -> Mark:
    try:
        data = file.read(_MARK_AT, _MARK.size + _CHECK.size)
    except OSError:
        return NO_MARK
    if len(data) < _MARK.size + _CHECK.size or _CHECK.unpack_from(data, _MARK.size)[0] != crc32(data[: _MARK.size]):
        return NO_MARK
    return Mark(*_MARK.unpack_from(data))


def _read(files: Files, file: File) -> tuple[int, Records] | None:
    slots: list[tuple[int, Records]] = []
    for at in _SLOTS:
        try:
            data = file.read(at, SECTOR_BYTES)
        except OSError:
            continue  # a sector that cannot be read is a slot that is gone
        slot = _unpack(data, f"{files.where}/{RECORDS} at byte {at}")
        if slot is not None:
            slots.append(slot)
    return max(slots, key=lambda slot: slot[0], default=None)


def _pack(records: Records, sequence: int) -> bytes:
    name = records.cluster.encode()
    damage = records.damage.value if records.damage is not None else 0
    log = records.base, records.snapshot, records.segment
    body = _SLOT.pack(
        _MAGIC, VERSION, sequence, records.node, records.accepted, records.current, *log, damage, len(name)
    )
    body = (body + name).ljust(SECTOR_BYTES - _CHECK.size, b"\0")
    return body + _CHECK.pack(crc32(body))


def _unpack(slot: bytes, where: str) -> tuple[int, Records] | None:
    body = slot[: -_CHECK.size]
    if len(slot) < SECTOR_BYTES or _CHECK.unpack(slot[-_CHECK.size :])[0] != crc32(body):
        return None
    magic, version = _PREFIX.unpack_from(body)
    if magic != _MAGIC:
        raise StorageCorruptError(f"{where} is not of zkcore: give another directory")
    if version != VERSION:
        newer = "a newer" if version > VERSION else "an older"
        raise StorageCorruptError(
            f"{where} has format {version}, of {newer} zkcore; this one reads format {VERSION}: use that release"
        )
    _, _, sequence, node, accepted, current, base, snapshot, segment, damage, length = _SLOT.unpack_from(body)
    name = body[_SLOT.size : _SLOT.size + length].decode()
    return sequence, Records(name, node, accepted, current, base, snapshot, segment, _DAMAGES[damage])
