"""Where a key lies: hash functions, and what keys may be.

A `HashFunction` turns a key into a position on a circle of 2**bits positions. It must not know what stands on the
circle. Three are ready made: `MMH3_32`, the default; `MMH3_64` for rings with so many points that 32 bits make them
meet often; `MD5_32`, which is libketama's.

Keys are str, bytes or int. A str is the same key as its UTF-8 bytes, and an int the same as its decimal digits: an id
finds its owner whether it came as 17, "17" or b"17".
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from hashlib import md5
from typing import TypeAlias

import mmh3
from attrs import field, frozen

from zkcore.ring.errors import BadArgumentsError, BadKeyError

__all__ = ["MD5_32", "MMH3_32", "MMH3_64", "HashFunction", "Key", "plain"]

Key: TypeAlias = str | bytes | int


def plain(key: Key) -> str | bytes:
    """`key` as a hash function takes it.

    Raises BadKeyError, naming the key, when it is of another type. True and False are refused: they would be 1 and 0.

    >>> plain(17), plain("17"), plain(b"17")
    ('17', '17', b'17')
    """
    if isinstance(key, str | bytes):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise BadKeyError(f"key {key!r} is of type {type(key).__name__}; a key is str, bytes or int")


def _is_width(instance: object, attribute: object, value: int) -> None:
    if value not in (32, 64):
        raise BadArgumentsError(f"a hash function has 32 or 64 bits, not {value!r}")


@frozen
class HashFunction:
    """A hash function with a name, by which two placements see that they mean the same circle.

    `of(key)` takes str or bytes, raises TypeError for anything else, and returns an int: signed or unsigned, `bits`
    wide. `digest(label)`, where a function has it, gives several positions in one call, as little-endian words; nodes
    are put on the circle with it. Without it a node is hashed once for each of its points.

    Make your own with `HashFunction.custom`.
    """

    name: str
    bits: int = field(validator=_is_width)
    of: Callable[[str | bytes], int] = field(eq=False, repr=False)
    digest: Callable[[str], bytes] | None = field(default=None, eq=False, repr=False)

    @classmethod
    def custom(cls, name: str, function: Callable[[bytes], int], *, bits: int = 32) -> HashFunction:
        """`function` takes bytes; of the integer it returns the lowest `bits` bits are used.

        >>> from zlib import crc32
        >>> HashFunction.custom("crc32", crc32).position("a")
        3904355907
        """
        mask = (1 << bits) - 1

        def of(key: str | bytes) -> int:
            if isinstance(key, str):
                key = key.encode()
            elif not isinstance(key, bytes):
                raise TypeError(key)
            return function(key) & mask

        return cls(name, bits, of)

    def position(self, key: Key) -> int:
        """Where `key` lies, from 0 to 2**bits - 1. Raises BadKeyError."""
        return self.of(plain(key)) & (1 << self.bits) - 1

    def positions(self, node: str, count: int) -> list[int]:
        """The first `count` points of `node`. Fewer points are always the beginning of more."""
        if self.digest is None:
            return [self.position(f"{node}-{number}") for number in range(count)]
        digest, words = self.digest, array("I" if self.bits == 32 else "Q")
        number = 0
        while len(words) < count:
            words.frombytes(digest(f"{node}-{number}"))
            number += 1
        if sys.byteorder == "big":
            words.byteswap()
        return words[:count].tolist()


def _first_word(key: str | bytes) -> int:
    return mmh3.hash64(key)[0]  # type: ignore[no-any-return,unused-ignore]


def _md5(label: str) -> bytes:
    return md5(label.encode(), usedforsecurity=False).digest()


def _md5_position(key: str | bytes) -> int:
    if isinstance(key, str):
        key = key.encode()
    elif not isinstance(key, bytes):
        raise TypeError(key)
    return int.from_bytes(md5(key, usedforsecurity=False).digest()[:4], "little")


MMH3_32 = HashFunction("mmh3-32", 32, mmh3.hash, mmh3.hash_bytes)
"""MurmurHash3 with 32 bits: the fastest there is in a C extension that everybody has."""

MMH3_64 = HashFunction("mmh3-64", 64, _first_word, mmh3.hash_bytes)
"""The first half of MurmurHash3 with 128 bits."""

MD5_32 = HashFunction("md5-32", 32, _md5_position, _md5)
"""The first four bytes of MD5, as libketama reads them."""
