"""Jump consistent hashing (Lamping and Veach, 2014): no memory, perfect balance, and only the last node may go.

Nodes are numbered in the order given, and that order is part of the placement: it is for numbered shards rather than
for servers that fail. A node in the middle cannot be removed and weights do not exist; both raise UnsupportedError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self

from zkcore.ring.hashing import MMH3_64, HashFunction, Key
from zkcore.ring.members import Member, Nodes, added, members_of, without
from zkcore.ring.placement import Placement

__all__ = ["Jump"]

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


class Jump(Placement):
    """Numbered nodes, of which the last may go and after which others may come.

    Raises NodeExistsError when a name comes twice, and UnsupportedError for a weight that is not 1.

    >>> Jump(["shard-0", "shard-1", "shard-2"]).owner("user:17")
    'shard-2'
    """

    __slots__ = ("_hash", "_members", "_names")

    def __init__(self, nodes: Nodes = (), *, hash: HashFunction = MMH3_64) -> None:
        self._start(members_of(nodes), hash)

    def _start(self, members: dict[str, Member], hash: HashFunction) -> None:
        for member in members.values():
            if member.weight != 1:
                raise self._unsupported(f"knows no weights: node {member.name!r} has {member.weight}")
        self._members, self._hash, self._names = members, hash, tuple(members)

    @property
    def members(self) -> Mapping[str, Member]:
        """The nodes by name, in their order. Not to be changed."""
        return self._members

    def owner(self, key: Key) -> str:
        """The node that `key` belongs to. O(log nodes). Raises BadKeyError and, without nodes, NoNodeError."""
        position = self._hash.position(key)
        if not self._names:
            raise self._nobody(key)
        return self._names[_jump(position, len(self._names))]

    def preference(self, key: Key) -> Iterator[str]:
        """All nodes, the owner first, then those to which the key jumps from other starts. The first few are quick to
        find; all of them take O(nodes log nodes) jumps."""
        position = self._hash.position(key)
        if not self._names:
            raise self._nobody(key)
        return self._jumped_to(position)

    def _jumped_to(self, position: int) -> Iterator[str]:
        met: set[int] = set()
        while len(met) < len(self._names):
            number = _jump(position, len(self._names))
            if number not in met:
                met.add(number)
                yield self._names[number]
            position = _mixed(position + _STEP & _MASK)

    def with_node(self, node: str, weight: float = 1.0, *, labels: Mapping[str, str] | None = None) -> Self:
        """This placement and one more node at its end. Raises NodeExistsError and, for a weight that is not 1,
        UnsupportedError."""
        return self._with_members(added(self._members, Member(node, weight, labels or {})))

    def without_node(self, node: str) -> Self:
        """This placement without its last node. Raises NoNodeError, and UnsupportedError for any node but the last."""
        rest = without(self._members, node)
        if node != self._names[-1]:
            raise self._unsupported(f"cannot remove node {node!r}: only the last one, {self._names[-1]!r}, may go")
        return self._with_members(rest)

    def with_weight(self, node: str, weight: float) -> Self:
        """Raises UnsupportedError: jump hashing has no weights."""
        raise self._unsupported(f"knows no weights: node {node!r} cannot have {weight!r}")

    def _with_members(self, members: dict[str, Member]) -> Self:
        other = type(self).__new__(type(self))
        other._start(members, self._hash)
        return other


def _jump(state: int, buckets: int) -> int:
    """The bucket of a key, by the linear congruential generator and the loop of the paper."""
    bucket, ahead = 0, 0
    while ahead < buckets:
        bucket = ahead
        state = state * 2862933555777941757 + 1 & _MASK
        ahead = int((bucket + 1) * ((1 << 31) / ((state >> 33) + 1)))
    return bucket


def _mixed(state: int) -> int:
    """A number that looks independent of `state`: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
    return state ^ state >> 31
