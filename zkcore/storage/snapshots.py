"""Snapshots as files: written beside the others, checked block by block, and there whole or not at all.

A file is a header of one sector, blocks of 64 KiB of the state, each with its check and perhaps compressed, then the
offsets of all blocks, and a trailer that says how much there is. It is written under another name, made durable, and
only then called `snapshot-ORDER-ZXID`; the order is that in which they were saved.

The one to begin with is kept, and the two saved last. `save` may run on another thread than the rest.

This module must not know what a state is made of, nor how the log goes on from it.
"""

from __future__ import annotations

import re
import threading
from array import array
from collections.abc import Iterable, Iterator
from struct import Struct, error
from zlib import compress, crc32, decompress
from zlib import error as zlib_error

from attrs import frozen

from zkcore.errors import InvariantViolation, StorageCorruptError, StorageError
from zkcore.storage.files import File, Files, make_durable
from zkcore.storage.frames import SECTOR_BYTES
from zkcore.zxid import Zxid, format_zxid

__all__ = ["INCOMING", "SAVING", "SnapshotReader", "SnapshotStore", "SnapshotWriter"]

VERSION = 1
SAVING = "saving"
INCOMING = "incoming"
_NAME = re.compile(r"snapshot-([0-9a-f]{16})-([0-9a-f]{16})")

_BLOCK_BYTES = 1 << 16
_WRITE_BYTES = 1 << 20
_MAGIC = b"zkcorsnp"
_PREFIX = Struct(">8sH")
_HEADER = Struct(">8sH8sQB")
_CHECK = Struct(">I")
_BLOCK = Struct(">II")
_TRAILER = Struct(">QIII8s")


class SnapshotWriter:
    """Writes one snapshot to a new file, piece by piece."""

    def __init__(self, file: File, *, owner: bytes, zxid: Zxid, compressed: bool) -> None:
        self.file = file
        self.zxid = zxid
        self.size = 0
        self._level = int(compressed)
        self._state = bytearray()
        header = _HEADER.pack(_MAGIC, VERSION, owner, zxid, compressed)
        self._out = bytearray((header + _CHECK.pack(crc32(header))).ljust(SECTOR_BYTES, b"\0"))
        self._seed = crc32(header)
        self._written = 0
        self._offsets = array("Q")

    def put(self, piece: bytes) -> None:
        """The next piece of the state."""
        self._state += piece
        self.size += len(piece)
        while len(self._state) >= _BLOCK_BYTES:
            self._put_block(bytes(self._state[:_BLOCK_BYTES]))
            del self._state[:_BLOCK_BYTES]

    def finish(self) -> None:
        """Everything is written, and durable in the file."""
        if self._state:
            self._put_block(bytes(self._state))
        offsets = Struct(f">{len(self._offsets)}Q").pack(*self._offsets)
        check = crc32(offsets, self._seed)
        trailer = _TRAILER.pack(self.size, len(self._offsets), _BLOCK_BYTES, check, _MAGIC)
        self._out += offsets + trailer + _CHECK.pack(crc32(trailer, check))
        self._write()
        make_durable(self.file, self.file.name)

    def _put_block(self, block: bytes) -> None:
        self._offsets.append(self._written + len(self._out))
        stored = compress(block, self._level) if self._level else block
        number = len(self._offsets)
        self._out += _BLOCK.pack(len(stored), crc32(stored, self._seed + number & 0xFFFFFFFF)) + stored
        if len(self._out) >= _WRITE_BYTES:
            self._write()

    def _write(self) -> None:
        self.file.write(self._written, bytes(self._out))
        self._written += len(self._out)
        self._out.clear()


class SnapshotReader:
    """Reads a snapshot that was finished. Raises StorageCorruptError where it is not what was written."""

    def __init__(self, file: File, *, where: str) -> None:
        self.file = file
        self._where = where
        try:
            self._open()
        except (error, ValueError) as problem:
            raise StorageCorruptError(f"{where} is damaged: {problem}") from problem

    def _open(self) -> None:
        header = self.file.read(0, SECTOR_BYTES)
        (check,) = _CHECK.unpack_from(header, _HEADER.size)
        magic, version = _PREFIX.unpack_from(header)
        if check != crc32(header[: _HEADER.size]) or magic != _MAGIC:
            raise ValueError("its header, at byte 0, is none")
        if version != VERSION:
            raise ValueError(f"it has format {version}, and this zkcore reads format {VERSION}")
        _, _, self.owner, self.zxid, self._compressed = _HEADER.unpack_from(header)
        self._seed = check
        tail = _TRAILER.size + _CHECK.size
        end = self.file.size() - tail
        trailer = self.file.read(max(end, 0), tail)
        self.size, count, self._block_bytes, check, _ = _TRAILER.unpack_from(trailer)
        offsets = self.file.read(max(end - 8 * count, 0), 8 * count)
        if check != crc32(offsets, self._seed) or trailer[_TRAILER.size :] != _CHECK.pack(
            crc32(trailer[: _TRAILER.size], check)
        ):
            raise ValueError(f"its trailer, at byte {end}, is none")
        self._offsets = Struct(f">{count}Q").unpack(offsets)

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; empty at the end, and beyond it."""
        size = min(size, self.size - offset)
        pieces: list[bytes] = []
        while size > 0:
            number, begin = divmod(offset, self._block_bytes)
            piece = self._block(number)[begin : begin + size]
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def pieces(self) -> Iterator[bytes]:
        """All of it, block by block."""
        size = 0
        for number in range(len(self._offsets)):
            block = self._block(number)
            size += len(block)
            yield block
        if size != self.size:
            raise StorageCorruptError(f"{self._where} is damaged: it has {size} bytes where it says {self.size}")

    def _block(self, number: int) -> bytes:
        at = self._offsets[number]
        try:
            data = self.file.read(at, _BLOCK.size + self._block_bytes + 1024)
            length, check = _BLOCK.unpack_from(data)
            stored = data[_BLOCK.size : _BLOCK.size + length]
            if crc32(stored, self._seed + number + 1 & 0xFFFFFFFF) != check:
                raise ValueError("the check does not hold")
            return decompress(stored) if self._compressed else stored
        except (error, ValueError, zlib_error, OSError) as problem:
            raise StorageCorruptError(f"{self._where} is damaged at byte {at}: {problem}") from problem


@frozen
class _Kept:
    """A snapshot that is there."""

    name: str
    order: int
    zxid: Zxid


class SnapshotStore:
    """All snapshots of one directory."""

    def __init__(self, files: Files, *, owner: bytes, compressed: bool = False) -> None:
        self._files = files
        self._owner = owner
        self._compressed = compressed
        self._lock = threading.RLock()
        self._incoming: SnapshotWriter | None = None
        self._readers: dict[str, SnapshotReader] = {}
        self._kept: list[_Kept] = []
        self._in_use: set[Zxid] = set()
        for name in files.names():
            if match := _NAME.fullmatch(name):
                self._kept.append(_Kept(name, int(match[1], 16), int(match[2], 16)))

    def clean(self) -> None:
        """Remove what a crash has left half done."""
        for name in (SAVING, INCOMING):
            if name in self._files.names():
                self._files.remove(name)

    @property
    def zxids(self) -> list[Zxid]:
        """Of what are there snapshots, the one saved last at the end."""
        with self._lock:
            return [kept.zxid for kept in self._kept]

    def read(self, zxid: Zxid, offset: int, size: int) -> bytes:
        """See `LogReader.read_snapshot`."""
        with self._lock:
            return self._reader(zxid).read(offset, size)

    def is_whole(self, zxid: Zxid) -> bool:
        """Whether there is a snapshot of `zxid` of which every byte reads back."""
        try:
            with self._lock:
                for _ in self._reader(zxid).pieces():
                    pass
        except (LookupError, StorageCorruptError, OSError):
            return False
        return True

    def save(self, zxid: Zxid, chunks: Iterable[bytes]) -> None:
        """Keep a snapshot, durably. What was there before is as it was until this is."""
        writer = self._begin(SAVING, zxid)
        try:
            for chunk in chunks:
                writer.put(chunk)
            writer.finish()
        except BaseException:
            writer.file.close()
            self._try_to_remove(SAVING)
            raise
        self._keep(SAVING, writer)
        self.prune()

    # --- a snapshot that is received

    def put_aside(self, zxid: Zxid, offset: int, data: bytes) -> None:
        """See `SnapshotChunk`. It is durable when it is installed; a crash before begins anew in any case."""
        if offset == 0:
            self.forget_incoming()
            self._incoming = self._begin(INCOMING, zxid)
        writer = self._incoming
        if writer is None or writer.zxid != zxid or writer.size != offset:
            aside = f"{writer.size} bytes of {format_zxid(writer.zxid)}" if writer is not None else "nothing"
            raise InvariantViolation(f"byte {offset} of {format_zxid(zxid)} does not continue what is aside: {aside}")
        writer.put(data)

    def check_incoming(self, zxid: Zxid, size: int) -> None:
        """Raises InvariantViolation where this is not what was put aside."""
        writer = self._incoming
        if writer is None or writer.zxid != zxid or writer.size != size:
            aside = f"{writer.size} bytes of {format_zxid(writer.zxid)}" if writer is not None else "nothing"
            raise InvariantViolation(f"{format_zxid(zxid)} of {size} bytes is not what is aside: {aside}")

    def keep_incoming(self) -> None:
        """What was put aside is a snapshot like the others, durably."""
        writer = self._incoming
        assert writer is not None
        writer.finish()
        self._incoming = None
        self._keep(INCOMING, writer)

    def forget_incoming(self) -> None:
        """Nothing is aside."""
        if self._incoming is not None:
            self._incoming.file.close()
            self._incoming = None
            self._files.remove(INCOMING)

    # --- which are kept

    def forget_after(self, zxid: Zxid) -> None:
        """Remove those of later states."""
        with self._lock:
            self._remove([kept for kept in self._kept if kept.zxid > zxid])

    def rename_aside(self, zxid: Zxid, prefix: str) -> None:
        """Keep the file of a snapshot that is not whole under another name, and the snapshot no longer."""
        with self._lock:
            for kept in [kept for kept in self._kept if kept.zxid == zxid]:
                if (reader := self._readers.pop(kept.name, None)) is not None:
                    reader.file.close()
                self._kept.remove(kept)
                self._files.rename(kept.name, prefix + kept.name)

    def hold(self, zxid: Zxid) -> Zxid:
        """Keep the snapshot of `zxid`, whatever is saved beside this: it is about to be the one to begin with. The
        oldest that is then kept. Raises InvariantViolation where there is none."""
        with self._lock:
            if all(kept.zxid != zxid for kept in self._kept):
                raise InvariantViolation(f"there is no snapshot of {format_zxid(zxid)} to begin with")
            self._in_use.add(zxid)
            return min(zxid, *(kept.zxid for kept in self._kept[-2:]))

    def begin_with(self, zxid: Zxid) -> None:
        """The snapshot of `zxid` is the one to begin with, 0 for none, and no other is."""
        with self._lock:
            self._in_use = {zxid}
            self.prune()

    def prune(self) -> None:
        """Keep the one to begin with and the two saved last, whatever their zxids."""
        with self._lock:
            self._remove([kept for kept in self._kept[:-2] if kept.zxid not in self._in_use])

    def close(self) -> None:
        """Give back the files."""
        with self._lock:
            for reader in self._readers.values():
                reader.file.close()
            self._readers.clear()
            if self._incoming is not None:
                self._incoming.file.close()
                self._incoming = None

    def _begin(self, shadow: str, zxid: Zxid) -> SnapshotWriter:
        if shadow in self._files.names():
            self._files.remove(shadow)
        file = self._files.open(shadow, create=True)
        return SnapshotWriter(file, owner=self._owner, zxid=zxid, compressed=self._compressed)

    def _keep(self, shadow: str, writer: SnapshotWriter) -> None:
        writer.file.close()
        with self._lock:
            order = self._kept[-1].order + 1 if self._kept else 1
            kept = _Kept(f"snapshot-{order:016x}-{writer.zxid:016x}", order, writer.zxid)
            self._files.rename(shadow, kept.name)
            make_durable(self._files, self._files.where)
            self._remove([old for old in self._kept if old.zxid == kept.zxid])
            self._kept.append(kept)

    def _remove(self, some: list[_Kept]) -> None:
        for kept in some:
            if (reader := self._readers.pop(kept.name, None)) is not None:
                reader.file.close()
            self._kept.remove(kept)
            self._files.remove(kept.name)

    def _reader(self, zxid: Zxid) -> SnapshotReader:
        kept = next((kept for kept in reversed(self._kept) if kept.zxid == zxid), None)
        if kept is None:
            raise LookupError(f"the snapshot {format_zxid(zxid)} is not kept")
        reader = self._readers.get(kept.name)
        if reader is None:
            file = self._files.open(kept.name)
            reader = SnapshotReader(file, where=f"{self._files.where}/{kept.name}")
            if (reader.owner, reader.zxid) != (self._owner, zxid):
                file.close()
                raise StorageCorruptError(f"{self._files.where}/{kept.name} is of another member, or another state")
            self._readers[kept.name] = reader
        return reader

    def _try_to_remove(self, name: str) -> None:
        try:
            self._files.remove(name)
        except (OSError, StorageError):
            pass  # the next one to be saved, or the next start, does it
