"""Rendezvous hashing, also called highest random weight (Thaler and Ravishankar, 1998).

Every node draws a number for the key, and the highest wins. Nothing is kept, shares are as even as chance allows,
weights are exact (each draw u in (0, 1) counts as -weight / ln u), and only keys of a node that comes, goes or changes
its weight move. The price: every look-up asks all nodes, so it is for some dozens of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log
from typing import Self

from zkcore.ring.hashing import MMH3_64, HashFunction, Key, plain
from zkcore.ring.members import Member, Nodes, added, members_of, reweighted, without
from zkcore.ring.placement import Placement

__all__ = ["Rendezvous"]


class Rendezvous(Placement):
    """Each key belongs to the node that draws the highest number for it.

    Raises NodeExistsError when a name comes twice, and BadArgumentsError for what is no name or weight.

    >>> Rendezvous(["a", "b", "c"]).replicas("user:17", 2)
    ('b', 'c')
    """

    __slots__ = ("_hash", "_members", "_seeds")

    def __init__(self, nodes: Nodes = (), *, hash: HashFunction = MMH3_64) -> None:
        self._start(members_of(nodes), hash)

    def _start(self, members: dict[str, Member], hash: HashFunction) -> None:
        self._members, self._hash = members, hash
        width = hash.bits // 8
        # A node's name is hashed once; its draw for a key is the hash of both, and names of any length are as good.
        self._seeds = [
            (hash.position(name).to_bytes(width, "little") + name.encode(), name, member.weight)
            for name, member in sorted(members.items())
        ]

    @property
    def members(self) -> Mapping[str, Member]:
        """The nodes by name, with weights and labels. Not to be changed."""
        return self._members

    def owner(self, key: Key) -> str:
        """The node that `key` belongs to. O(nodes). Raises BadKeyError and, without nodes, NoNodeError."""
        return min(self._draws(key))[1]

    def preference(self, key: Key) -> Iterator[str]:
        """All nodes, the highest draw first. O(nodes log nodes). Raises BadKeyError and, without nodes, NoNodeError."""
        return iter([name for _, name in sorted(self._draws(key))])

    def _draws(self, key: Key) -> list[tuple[float, str]]:
        """For each node -ln(u) / weight, of which the lowest wins. Names decide between equal ones."""
        text = plain(key)
        data = text.encode() if isinstance(text, str) else text
        if not self._seeds:
            raise self._nobody(key)
        of, mask = self._hash.of, (1 << self._hash.bits) - 1
        size = float(1 << self._hash.bits)
        return [(-log(((of(seed + data) & mask) + 0.5) / size) / weight, name) for seed, name, weight in self._seeds]

    def with_node(self, node: str, weight: float = 1.0, *, labels: Mapping[str, str] | None = None) -> Self:
        """This placement and one more node, which takes the keys it draws highest for. Raises NodeExistsError and
        BadArgumentsError."""
        return self._with_members(added(self._members, Member(node, weight, labels or {})))

    def without_node(self, node: str) -> Self:
        """This placement without `node`, each of whose keys goes to its second choice. Raises NoNodeError."""
        return self._with_members(without(self._members, node))

    def with_weight(self, node: str, weight: float) -> Self:
        """This placement with another weight for `node`. Raises NoNodeError and BadArgumentsError."""
        return self._with_members(reweighted(self._members, node, weight))

    def _with_members(self, members: dict[str, Member]) -> Self:
        other = type(self).__new__(type(self))
        other._start(members, self._hash)
        return other
