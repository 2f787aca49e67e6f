"""Maglev hashing (Eisenbud et al., NSDI 2016): an almost perfectly even table, at the price of a few needless moves.

Each node has its own order of all slots of a table, and nodes take turns in taking the next free one of theirs. Shares
differ by hardly more than one slot. When a node comes or goes some slots of others change hands as well: few where the
table is a hundred times larger than the number of nodes. Nodes take turns in the order of their names, so the order in
which they came does not matter. A change builds the table anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heapify, heapreplace
from typing import ClassVar, Self

from zkcore.ring.arcs import Arcs
from zkcore.ring.errors import BadArgumentsError
from zkcore.ring.hashing import MMH3_32, HashFunction, Key
from zkcore.ring.members import Member, Nodes, added, members_of, reweighted, without
from zkcore.ring.placement import Placement

__all__ = ["Maglev"]


class Maglev(Placement):
    """A table of `slots` entries, a prime number, shared out in turns; with weights, turns in proportion to them.

    Raises NodeExistsError, and BadArgumentsError where there are fewer slots than nodes or `slots` is no prime.

    >>> Maglev(["a", "b", "c"]).owner("user:17")
    'b'
    """

    __slots__ = ("_hash", "_members", "_slots", "_table")

    SLOTS: ClassVar[int] = 65537

    def __init__(self, nodes: Nodes = (), *, slots: int = SLOTS, hash: HashFunction = MMH3_32) -> None:
        if not isinstance(slots, int) or not 2 < slots < 1 << hash.bits or not _is_prime(slots):
            raise BadArgumentsError(f"the number of slots is a prime above 2, not {slots!r}")
        self._start(members_of(nodes), slots, hash)

    def _start(self, members: dict[str, Member], slots: int, hash: HashFunction) -> None:
        if len(members) > slots:
            raise BadArgumentsError(f"{len(members)} nodes do not fit a table of {slots} slots; give it more slots")
        self._members, self._slots, self._hash = members, slots, hash
        self._table = self._filled() if members else []

    def _filled(self) -> list[str]:
        """The table. A node of weight w takes its turns at times 1/w, 2/w, ...; at equal times names decide."""
        size, hash = self._slots, self._hash
        free = [True] * size
        table = [""] * size
        places = {
            name: (hash.position(f"{name}-offset") % size, hash.position(f"{name}-skip") % (size - 1) + 1)
            for name in self._members
        }
        turns = [(1 / member.weight, name, 1) for name, member in self._members.items()]
        heapify(turns)
        for _ in range(size):
            _, name, turn = turns[0]
            place, skip = places[name]
            while not free[place]:
                place = (place + skip) % size
            free[place], table[place] = False, name
            places[name] = (place + skip) % size, skip
            heapreplace(turns, ((turn + 1) / self._members[name].weight, name, turn + 1))
        return table

    @property
    def members(self) -> Mapping[str, Member]:
        """The nodes by name, with weights and labels. Not to be changed."""
        return self._members

    def position(self, key: Key) -> int:
        """Where `key` lies. Raises BadKeyError."""
        return self._hash.position(key)

    def owner(self, key: Key) -> str:
        """The node that `key` belongs to. O(1). Raises BadKeyError and, without nodes, NoNodeError."""
        return self._table[self._slot(key)]

    def preference(self, key: Key) -> Iterator[str]:
        """All nodes, the owner first, then as they follow in the table. One so light that the table has no slot for it
        comes last."""
        return self._met_from(self._slot(key))

    def _slot(self, key: Key) -> int:
        position = self._hash.position(key)
        if not self._table:
            raise self._nobody(key)
        return position * self._slots >> self._hash.bits

    def _met_from(self, slot: int) -> Iterator[str]:
        met: set[str] = set()
        for at in range(slot, slot + self._slots):
            node = self._table[at % self._slots]
            if node not in met:
                met.add(node)
                yield node
                if len(met) == len(self._members):
                    return
        yield from sorted(self._members.keys() - met)

    def arcs(self, n: int = 1, *, distinct_by: str | None = None) -> Arcs:
        """For each slot of the table the `n` nodes that keep its keys. Raises UnsatisfiableError as `replicas` does."""
        self._check_count(n)
        return Arcs.merged(
            self._hash,
            (
                (
                    -(-(slot << self._hash.bits) // self._slots),
                    self._first(self._met_from(slot), n, distinct_by=distinct_by),
                )
                for slot in range(self._slots)
            ),
        )

    def with_node(self, node: str, weight: float = 1.0, *, labels: Mapping[str, str] | None = None) -> Self:
        """This placement and one more node. Raises NodeExistsError and BadArgumentsError."""
        return self._with_members(added(self._members, Member(node, weight, labels or {})))

    def without_node(self, node: str) -> Self:
        """This placement without `node`. Raises NoNodeError."""
        return self._with_members(without(self._members, node))

    def with_weight(self, node: str, weight: float) -> Self:
        """This placement with another weight for `node`. Raises NoNodeError and BadArgumentsError."""
        return self._with_members(reweighted(self._members, node, weight))

    def _with_members(self, members: dict[str, Member]) -> Self:
        other = type(self).__new__(type(self))
        other._start(members, self._slots, self._hash)
        return other


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
