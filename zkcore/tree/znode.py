"""One znode: an immutable bytes record, and the views that read it.

A record is the data followed by 60 bytes of persisted Stat. Nothing of it is an object until somebody looks, so a
million znodes are a million `bytes` that the garbage collector never walks, and a snapshot copies them as they are.
The order of the 60 bytes is the order in which ZooKeeper's tree digest reads a znode: czxid, mzxid, pzxid, ctime,
mtime, version, cversion, aversion, ephemeral owner.

The stored `cversion` counts the children ever created. What a Stat shows counts deletions too: twice the stored one
less the number of children there are.

The owner of an ephemeral znode is its session. In its place containers and znodes with a time to live have marks that
are no session, as ZooKeeper stores them; a Stat shows 0 for those.

This module must not know of paths, of other znodes, nor of null data (the tree keeps that; here it is b"").
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

from zkcore.jute.codec import codec_of
from zkcore.jute.records import Stat

__all__ = [
    "CONTAINER_OWNER", "MAX_TTL", "NO_OWNER", "STAT_SIZE", "CreateMode", "Persisted", "ZnodeStat", "data_of", "int32",
    "is_mark", "make_record", "make_stat", "owner_of", "pack_stat", "persisted_of", "read_stat", "session_of", "ttl_of",
    "ttl_owner",
]  # fmt: skip


class CreateMode(IntEnum):
    """ZooKeeper's kinds of znodes, with the numbers that the `flags` of a create carry."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    PERSISTENT_WITH_TTL = 5
    PERSISTENT_SEQUENTIAL_WITH_TTL = 6

    @property
    def is_sequential(self) -> bool:
        """Whether the name is completed with a number."""
        return self in _SEQUENTIAL

    @property
    def is_ephemeral(self) -> bool:
        """Whether the znode ends with the session that makes it."""
        return self in _EPHEMERAL

    @property
    def has_ttl(self) -> bool:
        """Whether the znode ends when it has gone unchanged, and without children, for its time to live."""
        return self in _WITH_TTL


_SEQUENTIAL = frozenset(
    {CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL}
)
_EPHEMERAL = frozenset({CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL})
_WITH_TTL = frozenset({CreateMode.PERSISTENT_WITH_TTL, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL})


class Persisted(NamedTuple):
    """The last 60 bytes of a record."""

    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    owner: int


_PERSISTED = Struct(">5q3iq")
_OWNER = Struct(">q")
STAT_SIZE = _PERSISTED.size

# For those who apply every transaction: the same without a Persisted between.
make_stat = _PERSISTED.pack
read_stat = _PERSISTED.unpack_from

# And for those who change data, as most do: what that leaves as it was need not be taken apart, and is put back in
# runs of bytes, for two thirds of the time. They are (czxid, pzxid and ctime, version, the rest), and (czxid, mzxid,
# pzxid and ctime, mtime, version, the rest).
read_unchanged = Struct(">8s8x16s8xi16s").unpack_from
make_changed = Struct(">8sq16sqi16s").pack


def make_record(data: bytes, stat: Persisted) -> bytes:
    """The record of a znode."""
    return data + make_stat(*stat)


def data_of(record: bytes) -> bytes:
    """The data of a znode."""
    return record[:-STAT_SIZE]


def persisted_of(record: bytes) -> Persisted:
    """What a record says besides the data."""
    return Persisted._make(read_stat(record, len(record) - STAT_SIZE))


CONTAINER_OWNER = -(1 << 63)
"""Stands for the owner of a container."""

NO_OWNER = bytes(_OWNER.size)
"""What the record of a znode ends in that has no owner."""

MAX_TTL = (1 << 40) - 1
"""The longest time to live, in milliseconds: almost 35 years."""

_TTL_MARK = -(1 << 56)  # the high byte all ones, below it 16 bits of zero, below those the time to live


def ttl_owner(ttl_ms: int) -> int:
    """What stands for the owner of a znode that lives `ttl_ms` milliseconds, from 1 to MAX_TTL."""
    return _TTL_MARK + ttl_ms


def ttl_of(owner: int) -> int:
    """The time to live in milliseconds that `owner` stands for, 0 where it stands for none.

    >>> ttl_of(ttl_owner(1000)), ttl_of(CONTAINER_OWNER), ttl_of(7)
    (1000, 0, 0)
    """
    return owner - _TTL_MARK if _TTL_MARK <= owner <= _TTL_MARK + MAX_TTL else 0


def is_mark(owner: int) -> bool:
    """Whether `owner` is no session but the mark of a container or of a time to live."""
    return owner == CONTAINER_OWNER or _TTL_MARK <= owner <= _TTL_MARK + MAX_TTL


def session_of(owner: int) -> int:
    """The session of an ephemeral znode, 0 where `owner` stands for anything else."""
    return 0 if owner < 0 and is_mark(owner) else owner


def owner_of(record: bytes) -> int:
    """What is stored as the owner of a znode: a session, a mark, or 0."""
    owner: int = _OWNER.unpack_from(record, len(record) - _OWNER.size)[0]
    return owner


def int32(value: int) -> int:
    """`value` as it fits 32 bits with a sign: versions go round like ZooKeeper's.

    >>> int32(2147483647 + 1)
    -2147483648
    """
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


class ZnodeStat(Stat):
    """The Stat of a record, decoded when first looked at; in every other way a `Stat`."""

    __slots__ = ("_children", "_record")

    _record: bytes
    _children: int

    def __init__(self, record: bytes, children: int) -> None:
        _set_record(self, record)
        _set_children(self, children)

    def __getattr__(self, name: str) -> Any:
        # Python asks here only for what is not set: the first look at a field sets them all.
        if name not in _FIELDS:
            raise AttributeError(name)
        record: bytes = self._record
        children: int = self._children
        stat = persisted_of(record)
        values = (
            stat.czxid, stat.mzxid, stat.ctime, stat.mtime, stat.version, int32(stat.cversion * 2 - children),
            stat.aversion, session_of(stat.owner), len(record) - STAT_SIZE, children, stat.pzxid,
        )  # fmt: skip
        Stat.__init__(self, *values)
        return object.__getattribute__(self, name)

    def __reduce__(self) -> tuple[type[ZnodeStat], tuple[bytes, int]]:
        return ZnodeStat, (self._record, self._children)


_FIELDS = frozenset(Stat.__annotations__)
# A frozen class is filled through its slots, which do not ask its __setattr__.
_set_record = ZnodeStat.__dict__["_record"].__set__
_set_children = ZnodeStat.__dict__["_children"].__set__


_encode_stat = codec_of(Stat).encode
# The runs of bytes that a Stat and a record have in common, which need not be taken apart: (czxid and mzxid, pzxid,
# ctime and mtime, version, cversion, aversion, owner), and with the sizes before the pzxid the other way round.
_read_runs = Struct(">16s8s16s4si4sq").unpack_from
_make_runs = Struct(">16s16s4si4sqii8s").pack


def pack_stat(stat: Stat) -> bytes:
    """The bytes of a Stat in jute. That of a record need not be decoded for it: a third of the time."""
    if type(stat) is not ZnodeStat:
        return _encode_stat(stat)
    record, children = stat._record, stat._children
    size = len(record) - STAT_SIZE
    zxids, pzxid, times, version, cversion, aversion, owner = _read_runs(record, size)
    cversion = int32(cversion * 2 - children)
    owner = session_of(owner)
    return _make_runs(zxids, times, version, cversion, aversion, owner, size, children, pzxid)
