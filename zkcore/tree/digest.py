"""The digest of a tree, as ZooKeeper defines it (version 2): by it replicas notice that they differ.

The digest of a znode is the CRC-32 of its path, its data and its persisted Stat, in the order in which a record holds
them. That of the tree is the sum of its znodes' modulo 2**64, so a change costs no more than what changed. The root
counts under the path '', and what lies below /zookeeper does not count: quotas change there without transactions.

A leader writes behind each transaction what the digest will be; whoever applies it compares.

This module must not know how a tree is held.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from zkcore.errors import MalformedFrameError
from zkcore.jute.records import TxnDigest

__all__ = ["MASK", "ROOT", "UNCOUNTED", "digest_of", "pack_digest", "seed_of", "unpack_digest"]

MASK = (1 << 64) - 1

ROOT = "/"

UNCOUNTED = "/zookeeper/"
"""What begins with this is in no digest."""

# A path that sorts between the two, as most do, counts under its own CRC: who counts every transaction asks that first.

_VERSION = TxnDigest.VERSION
_DIGEST = Struct(">iQ")
_SIZE = _DIGEST.size
_pack, _unpack_from = _DIGEST.pack, _DIGEST.unpack_from


def seed_of(path: str, crc: int) -> int:
    """With what the CRC of a record begins; -1 where the znode is in no digest. `crc` is that of the path."""
    if path.startswith(UNCOUNTED):
        return -1
    return crc if path != ROOT else 0


def digest_of(path: str, record: bytes) -> int:
    """What a znode adds to the digest of its tree."""
    seed = seed_of(path, crc32(path.encode()))
    return 0 if seed == -1 else crc32(record, seed)


def pack_digest(digest: int) -> bytes:
    """What stands behind a transaction that makes the digest of the tree `digest`."""
    return _pack(_VERSION, digest)


def unpack_digest(payload: bytes, at: int) -> int | None:
    """The digest behind a transaction that ends at `at`; None where there is none, or one of another definition.
    Raises MalformedFrameError for anything else that is left over."""
    left = len(payload) - at
    if left == _SIZE:
        version, digest = _unpack_from(payload, at)
        return digest if version == _VERSION else None
    if left:
        raise MalformedFrameError(f"{left} bytes are left over after a transaction")
    return None
