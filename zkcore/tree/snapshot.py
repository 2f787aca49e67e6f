"""A whole tree as bytes, and back.

A snapshot is a sequence of blocks: an int length, the CRC-32 of the body, and the body, whose first byte is a letter.

    H   "zkcs", int version, long zxid: first, once
    S   (long session, int timeout)*: the sessions by id
    Z   (ustring path, buffer data, 60 bytes of persisted Stat)*: znodes; the shards in order, each sorted by path
    E   long sessions, long znodes, int CRC-32 of everything before this block: last, once

Every block is checked before it is looked at, and the last one vouches for there being no block too few, too many or
out of place. Equal trees give equal bytes on every replica, however they came to be.

`dump` freezes the tree when it is called and reads it while the chunks are drawn: the tree may go on meanwhile.

This module must not know where snapshots are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from struct import error as struct_error
from zlib import crc32

from zkcore.errors import StorageCorruptError
from zkcore.tree.tree import Frozen, Tree
from zkcore.tree.znode import STAT_SIZE

__all__ = ["VERSION", "dump", "restore"]

VERSION = 1

_BLOCK = Struct(">II")
_HEADER = Struct(">4siq")
_SESSION = Struct(">qi")
_END = Struct(">qqI")
_LENGTH = Struct(">i")
_MAGIC = b"zkcs"
_BLOCK_BYTES = 1 << 16
_MAX_BLOCK_BYTES = 1 << 24
"""No block is larger: one znode of the largest size, and the pieces before it."""

_Znode = tuple[str, bytes, bool]
"""A path, its record, and whether its data is null."""


def dump(tree: Tree) -> Iterator[bytes]:
    """The snapshot of `tree` as it is at this call, in chunks of about 64 KiB.

    The chunks may be drawn at leisure, also on another thread. Until they all are, the tree copies what it changes.
    """
    return _blocks(tree.freeze())


def _blocks(state: Frozen) -> Iterator[bytes]:
    running = 0
    for body in _bodies(state):
        block = _BLOCK.pack(len(body), crc32(body)) + body
        running = crc32(block, running)
        yield block
    znodes = sum(map(len, state.shards))
    body = b"E" + _END.pack(len(state.sessions), znodes, running)
    yield _BLOCK.pack(len(body), crc32(body)) + body


def _bodies(state: Frozen) -> Iterator[bytes]:
    yield b"H" + _HEADER.pack(_MAGIC, VERSION, state.last_zxid)
    sessions = sorted(state.sessions.items())
    for start in range(0, len(sessions), _BLOCK_BYTES // _SESSION.size):
        some = sessions[start : start + _BLOCK_BYTES // _SESSION.size]
        yield b"S" + b"".join([_SESSION.pack(session, timeout) for session, timeout in some])
    for shard, nulls in zip(state.shards, state.nulls, strict=True):
        yield from _shard_bodies(shard, nulls)


def _shard_bodies(shard: Mapping[str, bytes], nulls: frozenset[str] | set[str]) -> Iterator[bytes]:
    pieces = [b"Z"]
    size = 0
    for path in sorted(shard):
        record = shard[path]
        name = path.encode()
        length = -1 if path in nulls else len(record) - STAT_SIZE
        pieces += (_LENGTH.pack(len(name)), name, _LENGTH.pack(length), record)
        size += len(name) + len(record) + 8
        if size >= _BLOCK_BYTES:
            yield b"".join(pieces)
            pieces = [b"Z"]
            size = 0
    if size:
        yield b"".join(pieces)


# --- and back --------------------------------------------------------------------------------------------------------


def restore(chunks: Iterable[bytes]) -> Tree:
    """The tree of a snapshot, from its bytes in pieces of any size.

    Raises StorageCorruptError for anything that `dump` did not write, and for a snapshot of another version.
    """
    reader = _Reader(chunks)
    try:
        body = reader.block()
        if body[:1] != b"H":
            raise StorageCorruptError("a snapshot does not begin with its header")
        magic, version, zxid = _HEADER.unpack(body[1:])
        if magic != _MAGIC or version != VERSION:
            raise StorageCorruptError(f"this is no snapshot of version {VERSION}: {magic!r}, version {version}")
        sessions: dict[int, int] = {}
        body = reader.block()
        while body[:1] == b"S":
            sessions.update(_SESSION.iter_unpack(body[1:]))
            body = reader.block()
        return Tree.rebuild(zxid, sessions, znodes=_znodes(body, reader, sessions=len(sessions)))
    except (struct_error, ValueError) as error:  # checksums that hold over what was never written by `dump`
        raise StorageCorruptError(f"a snapshot does not decode: {error}") from error


def _znodes(body: bytes, reader: _Reader, *, sessions: int) -> Iterator[_Znode]:
    """The znodes from the block `body` on; exhausting this proves that the snapshot is whole."""
    count = 0
    while body[:1] == b"Z":
        at = 1
        while at < len(body):
            (length,) = _LENGTH.unpack_from(body, at)
            path = _part(body, at + 4, length).decode()
            at += 4 + length
            (length,) = _LENGTH.unpack_from(body, at)
            if length < -1:
                raise StorageCorruptError(f"a length of {length}")
            null = length == -1
            size = STAT_SIZE if null else length + STAT_SIZE
            yield path, _part(body, at + 4, size), null
            at += 4 + size
            count += 1
        body = reader.block()
    if body != b"E" + _END.pack(sessions, count, reader.before):
        raise StorageCorruptError("the end of a snapshot does not agree with what came before it")
    reader.expect_end()


def _part(body: bytes, at: int, length: int) -> bytes:
    if not 0 <= length <= len(body) - at:
        raise StorageCorruptError(f"a length of {length} in a block that has {len(body) - at} bytes left")
    return body[at : at + length]


class _Reader:
    """Puts blocks together again from chunks, and checks each."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = bytearray()
        self._running = 0
        self.before = 0
        """The CRC of everything before the last block."""

    def block(self) -> bytes:
        """The body of the next block."""
        head = self._take(_BLOCK.size)
        length, checksum = _BLOCK.unpack(head)
        if length > _MAX_BLOCK_BYTES:
            raise StorageCorruptError(f"a block of {length} bytes")
        body = self._take(length)
        if crc32(body) != checksum:
            raise StorageCorruptError("the checksum of a block does not hold")
        self.before = self._running
        self._running = crc32(body, crc32(head, self._running))
        return body

    def expect_end(self) -> None:
        """There is nothing more."""
        if self._buffer or any(self._chunks):
            raise StorageCorruptError("there are bytes after the end of a snapshot")

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise StorageCorruptError(f"a snapshot ends where {size - len(self._buffer)} more bytes are due")
            self._buffer += chunk
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken
