"""Partitioned: keys belong to partitions, and partitions to nodes.

A fixed number of partitions is small enough to list, to move as a whole and to assign with bounded loads, and gives
every algorithm arcs: what a `Rendezvous` or a `BoundedLoad` cannot say of all keys it can say of a thousand partitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self

from zkcore.ring.arcs import Arcs
from zkcore.ring.errors import BadArgumentsError
from zkcore.ring.hashing import MMH3_32, HashFunction, Key
from zkcore.ring.members import Member
from zkcore.ring.placement import Placement

__all__ = ["Partitioned"]


class Partitioned(Placement):
    """`placement` of so many `partitions`, which it knows as the keys 0, 1, 2 and so on.

    How many: ten or more for each node that there will ever be, because it cannot be changed without moving most keys.

    >>> from zkcore.ring.rendezvous import Rendezvous
    >>> table = Partitioned(Rendezvous(["a", "b", "c"]), partitions=64)
    >>> table.partition("user:17"), table.owner("user:17")
    (32, 'c')
    """

    __slots__ = ("_hash", "_inner", "_owners", "_partitions")

    def __init__(self, placement: Placement, *, partitions: int = 1024, hash: HashFunction = MMH3_32) -> None:
        if not isinstance(partitions, int) or isinstance(partitions, bool) or not 0 < partitions <= 1 << 24:
            raise BadArgumentsError(f"the number of partitions is from 1 to 2**24, not {partitions!r}")
        self._inner, self._partitions, self._hash = placement, partitions, hash
        self._owners = placement.owners(range(partitions)) if placement.members else []

    @property
    def members(self) -> Mapping[str, Member]:
        """The nodes by name, with weights and labels. Not to be changed."""
        return self._inner.members

    def partition(self, key: Key) -> int:
        """The number of the partition that `key` is in. It never changes. Raises BadKeyError."""
        return self._hash.position(key) * self._partitions >> self._hash.bits

    def position(self, key: Key) -> int:
        """Where `key` lies. Raises BadKeyError."""
        return self._hash.position(key)

    def owner(self, key: Key) -> str:
        """The node that the partition of `key` belongs to. Raises BadKeyError and, without nodes, NoNodeError."""
        partition = self.partition(key)
        if not self._owners:
            raise self._nobody(key)
        return self._owners[partition]

    def preference(self, key: Key) -> Iterator[str]:
        """All nodes: the owner of the partition, then the others as the placement underneath prefers them."""
        partition = self.partition(key)
        if not self._owners:
            raise self._nobody(key)
        return self._preferred(partition)

    def _preferred(self, partition: int) -> Iterator[str]:
        owner = self._owners[partition]
        yield owner
        yield from (node for node in self._inner.preference(partition) if node != owner)

    def arcs(self, n: int = 1, *, distinct_by: str | None = None) -> Arcs:
        """For each partition the `n` nodes that keep it. Raises UnsatisfiableError as `replicas` does."""
        self._check_count(n)
        return Arcs.merged(
            self._hash,
            (
                (
                    -(-(number << self._hash.bits) // self._partitions),
                    self._first(self._preferred(number), n, distinct_by=distinct_by),
                )
                for number in range(self._partitions)
            ),
        )

    def with_node(self, node: str, weight: float = 1.0, *, labels: Mapping[str, str] | None = None) -> Self:
        """This placement and one more node. Raises NodeExistsError and BadArgumentsError."""
        return self._over(self._inner.with_node(node, weight, labels=labels))

    def without_node(self, node: str) -> Self:
        """This placement without `node`. Raises NoNodeError."""
        return self._over(self._inner.without_node(node))

    def with_weight(self, node: str, weight: float) -> Self:
        """This placement with another weight for `node`. Raises NoNodeError and BadArgumentsError."""
        return self._over(self._inner.with_weight(node, weight))

    def _over(self, placement: Placement) -> Self:
        return type(self)(placement, partitions=self._partitions, hash=self._hash)
