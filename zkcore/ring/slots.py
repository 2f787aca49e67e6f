"""The circle as a data structure: sorted points in blocks, and in front of them a table that answers most questions.

A point says where on the circle a node stands. The circle is cut into *cells* of equal size, each owned as a whole, by
the first point in it or, where there is none, the first after it. Points are kept sorted in *blocks*, each for an equal
part of the circle. In front of them is a *table*: for each of its slots the number of the node that owns it. When there
are points enough, a slot is a cell, and one look at a small array answers everything. With fewer, a slot is several
cells, so that a small ring is small; a slot in which a point lies then has 0, and a block of some sixteen points is
searched. Owners depend on the cells, whose size never changes, and not on the table.

A `Circle` never changes. A changed one shares all blocks in which no point came or went; the table, one or two bytes a
slot, is copied and patched. This module knows points and numbers, and nothing of keys, names or weights. A node's
number means nothing outside one circle and those made from it: where two nodes have a point at the same position, the
ranks given by the caller decide, so that the order in which nodes came does not.

A point is one integer: its position, then in the low 32 bits the number of its node.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from attrs import evolve, field, frozen

__all__ = ["NUMBER", "Circle", "Point", "Table"]

Point: TypeAlias = int
Block: TypeAlias = Sequence[int]
Table: TypeAlias = "bytes | array[int]"

NUMBER = 32
"""How many of the low bits of a point are the number of its node."""
_NODE = (1 << NUMBER) - 1

_POINTS_PER_BLOCK = 16
_SLOTS_PER_POINT = 10
_SLOTS_PER_POINT_WIDE = 4
"""With more than 255 nodes a slot takes two bytes. More slots than that only wear out caches."""
_SMALLEST = 64

Ranks: TypeAlias = Mapping[int, str]


@frozen(eq=False)
class Circle:
    """Points on a circle of 2**bits positions. Empty at first; `changed` makes others from it."""

    bits: int
    cell_shift: int
    """A position shifted right by this is the number of its cell."""
    blocks: tuple[Block, ...] = field(repr=False)
    table: Table = field(repr=False)
    size: int
    """How many points there are."""
    block_shift: int
    slot_shift: int
    """As `cell_shift`, for blocks and for slots of the table."""

    @classmethod
    def of(cls, bits: int, cell_shift: int, points: Iterable[Point], ranks: Ranks) -> Circle:
        """The circle with these points. O(n log n). `ranks` orders nodes that meet at one position; its keys are the
        numbers of all nodes, from 1."""
        ordered = _settled(sorted(points), ranks)
        code, slots = _table_shape(len(ordered), max(ranks, default=0), 1 << bits - cell_shift)
        blocks = max(_SMALLEST, _power_of_two(len(ordered) // _POINTS_PER_BLOCK))
        block_shift, slot_shift = bits - blocks.bit_length() + 1, bits - slots.bit_length() + 1
        cuts = [bisect_left(ordered, number << block_shift + NUMBER) for number in range(blocks + 1)]
        table = array(code, bytes(slots * array(code).itemsize))
        _paint_all(table, ordered, slot_shift + NUMBER, slot_shift == cell_shift)
        blocked = tuple(_pack(bits, ordered[a:b]) for a, b in pairwise(cuts))
        return cls(bits, cell_shift, blocked, _frozen(table), len(ordered), block_shift, slot_shift)

    def changed(self, added: Iterable[Point], removed: Iterable[Point], ranks: Ranks) -> Circle:
        """This circle with other points. `removed` must be on it. Takes time for each point that comes or goes, and for
        copying the table; now and then the table no longer fits the number of points, and all is built anew."""
        coming, going = sorted(added), sorted(removed)
        size = self.size + len(coming) - len(going)
        if not self._fits(size, max(ranks, default=0)):
            kept = list(self.points())
            for point in going:
                _discard(kept, point)
            return Circle.of(self.bits, self.cell_shift, [*kept, *coming], ranks)
        edit = _Edit(self, ranks)
        edit.remove(going)
        edit.insert(coming)
        return evolve(self, blocks=tuple(edit.blocks), table=_frozen(edit.table), size=size)

    def _fits(self, size: int, largest: int) -> bool:
        """Whether the table has the size for so many points, or is at most four times too large for them."""
        code, slots = _table_shape(size, largest, 1 << self.bits - self.cell_shift)
        return code == _code(self.table) and slots <= len(self.table) <= 4 * slots

    def points(self) -> Iterator[Point]:
        """All points in the order of their positions."""
        for block in self.blocks:
            yield from block

    def owner(self, position: int) -> int:
        """The number of the node that owns `position`; 0 where there are no points."""
        position = position >> self.cell_shift << self.cell_shift
        block = self.blocks[position >> self.block_shift]
        at = bisect_left(block, position << NUMBER)
        if at < len(block):
            return block[at] & _NODE
        return next(self.walk(position), 0)

    def walk(self, position: int) -> Iterator[int]:
        """The numbers of the nodes met from `position` on, once around. A node comes as often as it has points."""
        position = position >> self.cell_shift << self.cell_shift
        first = position >> self.block_shift
        at = bisect_left(self.blocks[first], position << NUMBER)
        yield from (point & _NODE for point in self.blocks[first][at:])
        for number in range(first + 1, first + len(self.blocks)):
            yield from (point & _NODE for point in self.blocks[number % len(self.blocks)])
        yield from (point & _NODE for point in self.blocks[first][:at])


class _Edit:
    """A copy of a circle's table and of the list of its blocks, being patched point by point.

    What holds when all is done: a slot in which no point lies has the number of the first point after it. One in which
    a point lies has that of the first of them where slots are cells, and else 0.
    """

    def __init__(self, circle: Circle, ranks: Ranks) -> None:
        self.blocks = list(circle.blocks)
        self.table = array(_code(circle.table), bytes(circle.table))
        self._whole = circle.slot_shift == circle.cell_shift
        self._bits = circle.bits
        self._block_shift = circle.block_shift + NUMBER
        self._slot_shift = circle.slot_shift + NUMBER
        self._ranks = ranks

    def insert(self, points: list[Point]) -> None:
        """Blocks in rising order, so that what lies before a point is settled when its turn comes."""
        for number, coming in self._by_block(points):
            block = _settled(sorted([*self.blocks[number], *coming]), self._ranks)
            self.blocks[number] = block
            for point in coming:
                self._paint_up_to(number, block, block.index(point))
                if not self._whole:
                    self.table[point >> self._slot_shift] = 0
            self.blocks[number] = _pack(self._bits, block)

    def remove(self, points: list[Point]) -> None:
        """Blocks in falling order, and points too, so that what lies after a point is settled when its turn comes."""
        for number, going in reversed(self._by_block(points)):
            block = list(self.blocks[number])
            self.blocks[number] = block
            for point in reversed(going):
                self._paint_up_to(number, block, _discard(block, point))
            self.blocks[number] = _pack(self._bits, block)

    def _by_block(self, points: list[Point]) -> list[tuple[int, list[Point]]]:
        found: dict[int, list[Point]] = {}
        for point in points:
            found.setdefault(point >> self._block_shift, []).append(point)
        return list(found.items())

    def _paint_up_to(self, number: int, block: list[Point], at: int) -> None:
        """Give the slots between the point before place `at` of block `number` and the one at it to the latter's node;
        where the block ends, to that of the first point after the block."""
        if 0 < at < len(block) and block[at - 1] >> NUMBER == block[at] >> NUMBER:
            return  # the one before owns the position, and the one at this place nothing
        point = block[at] if at < len(block) else self._next_block(number, 1)[0]
        before = block[at - 1] if at else self._next_block(number, -1)[-1]
        if not point:
            self._fill(0, len(self.table), 0)  # that was the last point of all
            return
        begin, end, node = (before >> self._slot_shift) + 1, (point >> self._slot_shift) + self._whole, point & _NODE
        if before >> NUMBER < point >> NUMBER:
            self._fill(begin, end, node)
        else:  # around the end of the circle
            self._fill(begin, len(self.table), node)
            self._fill(0, end, node)

    def _next_block(self, number: int, step: int) -> Block:
        """The next block with points in it, in one direction around the circle; at last, block `number` itself."""
        count = len(self.blocks)
        for away in range(1, count + 1):
            if block := self.blocks[(number + step * away) % count]:
                return block
        return (0,)  # no point is 0, because no node has that number

    def _fill(self, begin: int, end: int, node: int) -> None:
        if begin < end:
            self.table[begin:end] = array(self.table.typecode, [node]) * (end - begin)


def _paint_all(table: array[int], ordered: list[Point], shift: int, whole: bool) -> None:
    """Fill the table of a new circle. One pass, because this is where most of the time of a build would go."""
    if not ordered:
        return
    code = table.typecode
    units: dict[int, array[int]] = {}
    begin = 0
    for point in ordered:
        slot = point >> shift
        end = slot + whole
        if begin < end:
            node = point & _NODE
            unit = units.get(node)
            if unit is None:
                unit = units[node] = array(code, [node])
            table[begin:end] = unit * (end - begin)
        begin = slot + 1
    if begin < len(table):
        table[begin:] = units.setdefault(ordered[0] & _NODE, array(code, [ordered[0] & _NODE])) * (len(table) - begin)


def _settled(ordered: list[Point], ranks: Ranks) -> list[Point]:
    """`ordered` with nodes that meet at one position in the order of their ranks: the first of them owns it."""
    meets = [a >> NUMBER for a, b in pairwise(ordered) if a >> NUMBER == b >> NUMBER]
    for position in dict.fromkeys(meets):
        begin, end = bisect_left(ordered, position << NUMBER), bisect_left(ordered, (position + 1) << NUMBER)
        ordered[begin:end] = sorted(ordered[begin:end], key=lambda point: ranks[point & _NODE])
    return ordered


def _discard(block: list[Point], point: Point) -> int:
    """Take `point` out of `block`, once; where it was."""
    at = bisect_left(block, point >> NUMBER << NUMBER)
    while block[at] != point:  # among those at the same position
        at += 1
    del block[at]
    return at


def _pack(bits: int, points: list[Point]) -> Block:
    """Points with 64-bit positions do not fit a machine word."""
    return array("Q", points) if bits == 32 else tuple(points)


def _table_shape(points: int, largest: int, cells: int) -> tuple[str, int]:
    """The type code of the slots, and their number, for so many points of nodes up to number `largest`."""
    if largest < 1 << 8:
        return "B", min(cells, max(_SMALLEST, _power_of_two(points * _SLOTS_PER_POINT)))
    code = "H" if largest < 1 << 16 else "I"
    return code, min(cells, max(_SMALLEST, _power_of_two(points * _SLOTS_PER_POINT_WIDE)))


def _frozen(table: array[int]) -> Table:
    """One byte a slot is read faster from bytes than from an array."""
    return table.tobytes() if table.typecode == "B" else table


def _code(table: Table) -> str:
    return "B" if isinstance(table, bytes) else table.typecode


def _power_of_two(number: int) -> int:
    """The smallest that is not below `number`."""
    return 1 << max(number - 1, 0).bit_length()
