"""HashRing: consistent hashing with virtual nodes (Karger et al., STOC 1997).

Every node stands on a circle at a few hundred points. The circle is cut into a fixed number of slots, and all keys in a
slot belong to the first point in it or, where there is none, after it.
A node that comes takes only what lies before its points, one that goes leaves it to the next: no other key moves. Who
owns what depends on the set of nodes and their weights alone, not on the order in which they came.

The share of a node is proportional to its number of points, and so, to one point, to its weight. How even shares are
depends on that number: with v points a node they scatter by about 1 / sqrt(v) around what they should be.
`docs/ring.md` has figures, and says how to choose.

The circle itself is in `slots.py`; this module knows nodes and weights. It knows no other algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar, Self, cast

from zkcore.ring.arcs import Arcs
from zkcore.ring.errors import BadArgumentsError
from zkcore.ring.hashing import MD5_32, MMH3_32, HashFunction, Key, plain
from zkcore.ring.layouts import Even, Ketama, Layout
from zkcore.ring.members import Member, Nodes, added, members_of, reweighted, without
from zkcore.ring.placement import Placement
from zkcore.ring.slots import NUMBER, Circle, Point, Table

__all__ = ["HashRing"]

_NODE = (1 << NUMBER) - 1
_FEWEST_SLOTS = 1 << 10


class HashRing(Placement):
    """A ring of nodes with `points` virtual nodes each, times their weights, rounded, and at least one.

    `nodes` are names, members, or a mapping of names to weights. Raises NodeExistsError when a name comes twice, and
    BadArgumentsError for what is no name, weight or number of points.

    >>> ring = HashRing(["a", "b", "c"])
    >>> ring.owner("user:17")
    'a'
    >>> ring.replicas("user:17", 2)
    ('a', 'c')
    >>> ring.without_node("a").owner("user:17")
    'c'
    """

    __slots__ = ("_circle", "_hash", "_layout", "_members", "_names", "_numbers", "_of", "_shift", "_table")

    POINTS: ClassVar[int] = 640
    """Points of a node of weight 1, unless said otherwise: among a hundred nodes the busiest then has about 1.11 times
    the mean."""

    SLOTS: ClassVar[int] = 1 << 18
    """Equal parts of the circle, each owned as a whole, unless said otherwise: enough for a few hundred nodes."""

    _members: dict[str, Member]
    _names: tuple[str, ...]
    """By number; the empty text for number 0 and those that no node has."""
    _numbers: dict[str, int]
    _circle: Circle

    def __init__(
        self, nodes: Nodes = (), *, points: int = POINTS, slots: int = SLOTS, hash: HashFunction = MMH3_32
    ) -> None:
        self._start(nodes, Even(points), slots, hash)

    @classmethod
    def ketama(cls, nodes: Nodes = ()) -> Self:
        """A ring that agrees with libketama on the owner of every key: 160 points a node, MD5.

        Where weights differ, so does the rounding of some other libraries that say ketama. A node that comes or goes
        then moves more keys than it must.
        """
        ring = cls.__new__(cls)
        ring._start(nodes, Ketama(), 1 << MD5_32.bits, MD5_32)
        return ring

    def _start(self, nodes: Nodes, layout: Layout, slots: int, hash: HashFunction) -> None:
        if not isinstance(slots, int) or slots.bit_count() != 1 or not _FEWEST_SLOTS <= slots <= 1 << hash.bits:
            raise BadArgumentsError(
                f"the number of slots is a power of two from {_FEWEST_SLOTS} to 2**{hash.bits}, not {slots!r}"
            )
        self._layout, self._hash = layout, hash
        members = members_of(nodes)
        numbers = {name: number for number, name in enumerate(members, 1)}
        standing = (
            point
            for name, count in layout.counts(members).items()
            for point in self._points_of(name, numbers[name], 0, count)
        )
        ranks = {number: name for name, number in numbers.items()}
        cell_shift = hash.bits - slots.bit_length() + 1
        self._become(members, numbers, Circle.of(hash.bits, cell_shift, standing, ranks))

    def _become(self, members: dict[str, Member], numbers: dict[str, int], circle: Circle) -> None:
        names = [""] * (max(numbers.values(), default=0) + 1)
        for name, number in numbers.items():
            names[number] = name
        self._members, self._numbers, self._circle = members, numbers, circle
        # What owner() needs, within reach.
        self._names: tuple[str, ...] = tuple(names)
        self._of: Callable[[str | bytes], int] = self._hash.of
        self._table: Table = circle.table
        self._shift: int = circle.slot_shift

    # --- looking up

    @property
    def members(self) -> Mapping[str, Member]:
        """The nodes by name, with weights and labels. Not to be changed."""
        return self._members

    @property
    def hash(self) -> HashFunction:
        """The function that gives keys and nodes their positions."""
        return self._hash

    def owner(self, key: Key) -> str:
        """The node that `key` belongs to. Raises BadKeyError and, without nodes, NoNodeError."""
        # A signed hash is as good as an unsigned one here: an index from the end of the table names the same slot.
        # What is no str or bytes makes the hash function raise, which costs nothing where it does not happen.
        try:
            position = self._of(key)  # type: ignore[arg-type]
        except TypeError:
            position = self._of(plain(key))
        return self._names[self._table[position >> self._shift]] or self._search(position, key)

    def owners(self, keys: Iterable[Key]) -> list[str]:
        """The owner of each key, in the order of the keys. Faster than asking for one after the other."""
        listed = keys if isinstance(keys, list | tuple) else list(keys)
        of, names, table, shift, search = self._of, self._names, self._table, self._shift, self._search
        texts = cast("Iterable[str | bytes]", listed)
        try:
            return [names[table[(position := of(key)) >> shift]] or search(position, key) for key in texts]
        except TypeError:
            return [self.owner(key) for key in listed]

    def _search(self, position: int, key: Key) -> str:
        """The owner of a `position` in whose slot a point lies."""
        circle = self._circle
        owner = self._names[circle.owner(position & (1 << circle.bits) - 1)]
        if not owner:
            raise self._nobody(key)
        return owner

    def position(self, key: Key) -> int:
        """Where `key` lies on the circle. Raises BadKeyError."""
        return self._hash.position(key)

    def preference(self, key: Key) -> Iterator[str]:
        """All nodes in the order in which they are met from the position of `key` on. Raises BadKeyError, NoNodeError.

        When a node goes, the order of the others stays as it was.
        """
        position = self.position(key)
        if not self._members:
            raise self._nobody(key)
        return self._met_from(position)

    def _met_from(self, position: int) -> Iterator[str]:
        met = set()
        for number in self._circle.walk(position):
            if number not in met:
                met.add(number)
                yield self._names[number]
                if len(met) == len(self._members):
                    return

    # --- changing

    def with_node(self, node: str, weight: float = 1.0, *, labels: Mapping[str, str] | None = None) -> Self:
        """This ring and one more node, which takes over what lies before its points. Raises NodeExistsError and
        BadArgumentsError."""
        return self._with_members(added(self._members, Member(node, weight, labels or {})))

    def without_node(self, node: str) -> Self:
        """This ring without `node`, whose keys go to whoever is next. Raises NoNodeError."""
        return self._with_members(without(self._members, node))

    def with_weight(self, node: str, weight: float) -> Self:
        """This ring with another weight for `node`: only keys move that it gains, or that it loses. Raises NoNodeError
        and BadArgumentsError."""
        return self._with_members(reweighted(self._members, node, weight))

    def _with_members(self, members: dict[str, Member]) -> Self:
        before, after = self._layout.counts(self._members), self._layout.counts(members)
        numbers = {name: number for name, number in self._numbers.items() if name in members}
        free = (number for number, name in enumerate((*self._names, *members)) if number and name not in numbers)
        for name in members:
            if name not in numbers:
                numbers[name] = next(free)
        coming: list[Point] = []
        going: list[Point] = []
        for name in dict.fromkeys((*before, *after)):
            old, new = before.get(name, 0), after.get(name, 0)
            if new > old:
                coming += self._points_of(name, numbers[name], old, new)
            elif new < old:
                going += self._points_of(name, self._numbers[name], new, old)
        ring = type(self).__new__(type(self))
        ring._layout, ring._hash = self._layout, self._hash
        ring._become(members, numbers, self._circle.changed(coming, going, {n: name for name, n in numbers.items()}))
        return ring

    def _points_of(self, name: str, number: int, begin: int, end: int) -> list[Point]:
        return [position << NUMBER | number for position in self._hash.positions(name, end)[begin:]]

    # --- the circle as a whole

    def arcs(self, n: int = 1, *, distinct_by: str | None = None) -> Arcs:
        """The circle cut where replicas change: for each arc the `n` nodes that keep its keys, in order.

        O(points). Raises UnsatisfiableError as `replicas` does.
        """
        self._check_count(n)
        marks = {name: self._mark(name, distinct_by) for name in self._members}
        chosen = self._first(self._met_from(0), n, distinct_by=distinct_by)
        return Arcs.merged(self._hash, reversed(list(self._arcs_backwards(chosen, marks))))

    def _arcs_backwards(
        self, chosen: tuple[str, ...], marks: Mapping[str, str]
    ) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Starts and replicas, from the end of the circle, where keys go around to those `chosen` at its beginning.

        The replicas of an arc are its owner and those of the arc after it that are elsewhere, without the last.
        """
        names, n, stop, shift = self._names, len(chosen), 1 << self._circle.bits, self._circle.cell_shift
        for point in reversed(list(self._circle.points())):
            start = (point >> NUMBER + shift) + 1 << shift
            if start < stop:
                yield start, chosen
                stop = start
            owner = names[point & _NODE]
            if owner != chosen[0]:
                mark = marks[owner]
                chosen = (owner, *[node for node in chosen if marks[node] != mark][: n - 1])
        yield 0, chosen
