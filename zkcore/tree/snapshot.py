"""A whole tree as bytes, and back.

A snapshot is a sequence of blocks: an int length, the CRC-32 of the body, and the body, whose first byte is a letter.

    H   "zkcs", int version, long zxid, long digest of the tree: first, once
    M   long zxid, buffer: the last record that said who the members are, where there was one: once
    S   (long session, int timeout)*: the sessions by id
    K   (long session, 32 bytes)*: the keys to the passwords of those that have one, by id
    C   (long client, long floor, vector of (long number, buffer outcome))*: what is remembered of requests, by client
    O   (long session)*: those that ended last, in that order
    A   (vector of ACL)*: each ACL in use but the open one, sorted by their bytes
    P   (ustring path, int number of an ACL)*: who has them; the shards in order, each sorted by path
    Z   (ustring path, buffer data, 60 bytes of persisted Stat)*: znodes, in the same order
    E   long sessions, long znodes, int CRC-32 of everything before this block: last, once

Every block is checked before it is looked at, and the last one vouches for there being no block too few, too many or
out of place; the digest vouches for the tree made of it. Equal trees give equal bytes on every replica, however they
came to be.

`dump` freezes the tree when it is called and reads it while the chunks are drawn: the tree may go on meanwhile.

This module must not know where snapshots are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from struct import error as struct_error
from zlib import crc32

from attrs import frozen

from zkcore.errors import ProtocolError, StorageCorruptError
from zkcore.jute.codec import Buffer, Int, Long, UString, codec_of, decode, encode, record
from zkcore.jute.records import ACL
from zkcore.tree.acl import Access
from zkcore.tree.once import Memory, Remembered
from zkcore.tree.sessions import KEY_SIZE
from zkcore.tree.state import Frozen, Loaded
from zkcore.tree.tree import Tree
from zkcore.tree.znode import STAT_SIZE
from zkcore.zxid import Zxid

__all__ = ["VERSION", "configuration_in", "dump", "restore"]

VERSION = 3

_READ = (2, 3)
"""The versions that are read: the one before has no M."""

_BLOCK = Struct(">II")
_HEADER = Struct(">4siqQ")
_SESSION = Struct(">qi")
_KEY = Struct(f">q{KEY_SIZE}s")
_PREFIX = Struct(">4si")
_SESSION_ID = Struct(">q")
_END = Struct(">qqI")
_LENGTH = Struct(">i")
_MAGIC = b"zkcs"
_BLOCK_BYTES = 1 << 16
_MAX_BLOCK_BYTES = 1 << 24
"""No block is larger: one znode of the largest size, and the pieces before it."""


@record
@frozen
class _Configuration:
    """Who the members are."""

    zxid: Long
    record: Buffer


@record
@frozen
class _Entries:
    """An ACL by itself."""

    acl: tuple[ACL, ...]


@record
@frozen
class _Numbered:
    """The outcome of one request."""

    number: Long
    outcome: Buffer


@record
@frozen
class _Client:
    """What is remembered of a client."""

    client: Long
    floor: Long
    outcomes: tuple[_Numbered, ...]


@record
@frozen
class _Protected:
    """A path, and the number of its ACL."""

    path: UString
    acl: Int


_pack_entries = codec_of(_Entries).pack
_pack_protected = codec_of(_Protected).pack


def dump(tree: Tree) -> Iterator[bytes]:
    """The snapshot of `tree` as it is at this call, in chunks of about 64 KiB.

    The chunks may be drawn at leisure, also on another thread. Until they all are, the tree copies what it changes.
    """
    return _blocks(tree.freeze())


def _blocks(state: Frozen) -> Iterator[bytes]:
    running = 0
    sessions, znodes = len(state.sessions), sum(map(len, state.shards))
    bodies = _bodies(state)
    del state  # see below
    for body in bodies:
        block = _BLOCK.pack(len(body), crc32(body)) + body
        running = crc32(block, running)
        yield block
    body = b"E" + _END.pack(sessions, znodes, running)
    yield _BLOCK.pack(len(body), crc32(body)) + body


def _bodies(state: Frozen) -> Iterator[bytes]:
    yield b"H" + _HEADER.pack(_MAGIC, VERSION, state.last_zxid, state.digest)
    if state.configuration[0]:
        yield b"M" + encode(_Configuration(*state.configuration))
    sessions = sorted(state.sessions.items())
    for start in range(0, len(sessions), _BLOCK_BYTES // _SESSION.size):
        some = sessions[start : start + _BLOCK_BYTES // _SESSION.size]
        yield b"S" + b"".join([_SESSION.pack(session, timeout) for session, timeout in some])
    yield from _cut(b"K", (_KEY.pack(session, key) for session, key in sorted(state.session_keys.items())))
    yield from _cut(b"C", (_pack_client(client, *state.clients[client]) for client in sorted(state.clients)))
    yield from _cut(b"O", (_SESSION_ID.pack(session) for session in state.ended))
    known = sorted((_pack_entries(acl), acl) for acl in state.acls_in_use)
    numbers = {acl: number for number, (_, acl) in enumerate(known)}
    yield from _cut(b"A", (entries for entries, _ in known))
    yield from _cut(
        b"P", (_pack_protected(path, numbers[acls[path]]) for acls in state.acls if acls for path in sorted(acls))
    )
    # Each shard is let go as soon as it is written: what the tree has changed meanwhile dies here, and a whole tree
    # that dies at once would hold up the writes.
    left = deque(zip(state.shards, state.nulls, strict=True))
    del state
    while left:
        yield from _shard_bodies(*left.popleft())


def _pack_client(client: int, floor: int, outcomes: tuple[tuple[int, bytes], ...]) -> bytes:
    return encode(_Client(client, floor, tuple([_Numbered(*each) for each in outcomes])))


def _cut(letter: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The bodies of blocks of about the same size, from pieces that stay whole."""
    body = bytearray(letter)
    for piece in pieces:
        body += piece
        if len(body) >= _BLOCK_BYTES:
            yield bytes(body)
            body = bytearray(letter)
    if len(body) > 1:
        yield bytes(body)


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


def restore(chunks: Iterable[bytes], *, access: Access | None = None) -> Tree:
    """The tree of a snapshot, from its bytes in pieces of any size. `access` is the tree's, as for every tree.

    Raises StorageCorruptError for anything that `dump` did not write, and for a snapshot of another version; it says
    which block failed, by its number, and the section that it is of or comes behind.
    """
    reader = _Reader(chunks)
    try:
        zxid, digest, configuration, body = _beginning(reader)
        sessions: dict[int, int] = {}
        while body[:1] == b"S":
            sessions.update(_SESSION.iter_unpack(body[1:]))
            body = reader.block()
        keys: dict[int, bytes] = {}
        while body[:1] == b"K":
            keys.update(_KEY.iter_unpack(body[1:]))
            body = reader.block()
        if not keys.keys() <= sessions.keys():
            raise StorageCorruptError("a snapshot holds a key to a session that it does not hold")
        memory, body = _memory(body, reader)
        acls, body = _protected(body, reader)
        znodes = _znodes(body, reader, acls, sessions=len(sessions))
        tree = Tree.rebuild(
            zxid, sessions, keys=keys, znodes=znodes, memory=memory,
            configuration=configuration, access=access,
        )  # fmt: skip
    except (struct_error, ValueError, ProtocolError) as error:  # sound checksums over what `dump` never wrote
        raise StorageCorruptError(f"{reader.where} does not decode: {error}") from error
    if tree.digest != digest:
        raise StorageCorruptError("the znodes of a snapshot do not have the digest that its header names")
    return tree


def configuration_in(chunks: Iterable[bytes]) -> tuple[Zxid, bytes]:
    """`Tree.configuration` of the tree of a snapshot, of which no more than the beginning is read. Raises as
    `restore`."""
    reader = _Reader(chunks)
    try:
        return _beginning(reader)[2]
    except (struct_error, ValueError, ProtocolError) as error:
        raise StorageCorruptError(f"{reader.where} does not decode: {error}") from error


def _beginning(reader: _Reader) -> tuple[Zxid, int, tuple[Zxid, bytes], bytes]:
    """The zxid and the digest, the configuration, and the block behind it."""
    body = reader.block()
    if body[:1] != b"H":
        raise StorageCorruptError("a snapshot does not begin with its header")
    magic, version = _PREFIX.unpack_from(body, 1)
    if magic != _MAGIC or version not in _READ:
        raise StorageCorruptError(f"this is no snapshot of version {VERSION}: {magic!r}, version {version}")
    _, _, zxid, digest = _HEADER.unpack(body[1:])
    body = reader.block()
    if body[:1] != b"M":
        return zxid, digest, (0, b""), body
    found = decode(_Configuration, body[1:])
    if not 0 < found.zxid <= zxid:
        raise StorageCorruptError(f"{reader.where} names members as of {found.zxid:#x}, which is not before {zxid:#x}")
    return zxid, digest, (found.zxid, found.record), reader.block()


def _memory(body: bytes, reader: _Reader) -> tuple[Memory, bytes]:
    """What is remembered of requests, and the block behind it."""
    memory = Memory()
    while body[:1] == b"C":
        at = 1
        while at < len(body):
            client, floor, outcomes, at = codec_of(_Client).unpack(body, at)
            memory.clients[client] = Remembered(floor, tuple([(each.number, each.outcome) for each in outcomes]))
        body = reader.block()
    while body[:1] == b"O":
        memory.ended.update((session, None) for (session,) in _SESSION_ID.iter_unpack(body[1:]))
        body = reader.block()
    return memory, body


def _protected(body: bytes, reader: _Reader) -> tuple[dict[str, tuple[ACL, ...]], bytes]:
    """The ACLs by path, and the block behind them."""
    known: list[tuple[ACL, ...]] = []
    by_path: dict[str, tuple[ACL, ...]] = {}
    while body[:1] == b"A":
        at = 1
        while at < len(body):
            acl, at = codec_of(_Entries).unpack(body, at)
            known.append(acl)
        body = reader.block()
    while body[:1] == b"P":
        at = 1
        while at < len(body):
            path, number, at = codec_of(_Protected).unpack(body, at)
            if not 0 <= number < len(known):
                raise StorageCorruptError(f"{reader.where} names an ACL that is not there")
            by_path[path] = known[number]
        body = reader.block()
    return by_path, body


def _znodes(
    body: bytes, reader: _Reader, acls: Mapping[str, tuple[ACL, ...]], *, sessions: int
) -> Iterator[Loaded]:
    """The znodes from the block `body` on; exhausting this proves that the snapshot is whole."""
    count = 0
    while body[:1] == b"Z":
        at, end = 1, len(body)
        while at < end:
            (length,) = _LENGTH.unpack_from(body, at)
            start = at + 4
            at = start + length
            if not start <= at <= end:
                raise _overrun(length, end - start)
            path = body[start:at].decode()
            (length,) = _LENGTH.unpack_from(body, at)
            null = length == -1
            start = at + 4
            at = start + STAT_SIZE if null else start + STAT_SIZE + length
            if length < -1 or at > end:
                raise _overrun(length, end - start)
            yield path, body[start:at], null, acls.get(path) if acls else None
            count += 1
        body = reader.block()
    if body != b"E" + _END.pack(sessions, count, reader.before):
        raise StorageCorruptError("the end of a snapshot does not agree with what came before it")
    reader.expect_end()


def _overrun(length: int, left: int) -> StorageCorruptError:
    return StorageCorruptError(f"a length of {length} in a block that has {left} bytes left")


class _Reader:
    """Puts blocks together again from chunks, and checks each."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = bytearray()
        self._running = 0
        self._number = 0
        self._section = ""
        self.before = 0
        """The CRC of everything before the last block."""

    @property
    def where(self) -> str:
        """The last block, in words."""
        return f"block {self._number} of a snapshot ({self._section})"

    def block(self) -> bytes:
        """The body of the next block."""
        self._number += 1
        self._section = f"behind {self._section}" if self._section else "its beginning"  # until more is known of it
        head = self._take(_BLOCK.size)
        length, checksum = _BLOCK.unpack(head)
        if length > _MAX_BLOCK_BYTES:
            raise StorageCorruptError(f"{self.where} claims to have {length} bytes")
        body = self._take(length)
        self._section = _SECTIONS.get(body[:1], "of no known kind")
        if crc32(body) != checksum:
            raise StorageCorruptError(f"{self.where} is damaged: its checksum does not hold")
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
                raise StorageCorruptError(f"{self.where} is cut short by {size - len(self._buffer)} bytes")
            self._buffer += chunk
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


_SECTIONS = {
    b"H": "the header", b"M": "members", b"S": "sessions", b"K": "keys to sessions", b"C": "clients",
    b"O": "ended sessions", b"A": "ACLs", b"P": "who has ACLs", b"Z": "znodes", b"E": "the end",
}  # fmt: skip
