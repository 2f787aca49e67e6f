"""The circle cut into arcs, each with the nodes that keep its keys; what two of them differ in; who has how much.

`Arcs` is what a placement looks like from outside, all algorithms alike, and everything that is about whole key spaces
rests on it: diffs, plans, shares, pictures. This module knows no algorithm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from attrs import field, frozen

from zkcore.ring.errors import UnsupportedError
from zkcore.ring.hashing import HashFunction

__all__ = ["Arcs", "Diff", "Range"]


@frozen(eq=False)
class Arcs:
    """Arc i goes from `starts[i]` up to, not including, `starts[i + 1]`, the last one to the end of the circle.
    `holders[i]` keeps its keys, the owner first. The first start is 0."""

    hash: HashFunction
    starts: Sequence[int] = field(repr=False)
    holders: Sequence[tuple[str, ...]] = field(repr=False)

    @classmethod
    def merged(cls, hash: HashFunction, arcs: Iterator[tuple[int, tuple[str, ...]]]) -> Arcs:
        """From starts and holders in order; neighbours with the same holders become one."""
        starts: list[int] = []
        holders: list[tuple[str, ...]] = []
        for start, nodes in arcs:
            if not holders or holders[-1] != nodes:
                starts.append(start)
                holders.append(nodes)
        return cls(hash, starts, holders)

    def at(self, position: int) -> tuple[str, ...]:
        """The nodes that keep the keys at `position`."""
        return self.holders[bisect_right(self.starts, position) - 1]

    def __iter__(self) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        """Start, stop and holders of each arc."""
        stops = [*self.starts[1:], 1 << self.hash.bits]
        return zip(self.starts, stops, self.holders, strict=True)

    def shares(self) -> dict[str, float]:
        """The part of the circle that each owner owns, from 0 to 1."""
        owned: dict[str, int] = {}
        for start, stop, holders in self:
            owned[holders[0]] = owned.get(holders[0], 0) + stop - start
        return {node: size / (1 << self.hash.bits) for node, size in owned.items()}

    def diff(self, other: Arcs) -> Diff:
        """What is kept elsewhere in `other`. Raises UnsupportedError when the two hash keys differently."""
        if self.hash != other.hash:
            raise UnsupportedError(
                f"positions by {self.hash.name} and by {other.hash.name} cannot be compared: every key lies elsewhere"
            )
        found: list[Range] = []
        size = 1 << self.hash.bits
        i = j = start = 0
        while start < size:
            stop_i = self.starts[i + 1] if i + 1 < len(self.starts) else size
            stop_j = other.starts[j + 1] if j + 1 < len(other.starts) else size
            stop = min(stop_i, stop_j)
            old, new = self.holders[i], other.holders[j]
            if old != new:
                if found and found[-1].stop == start and found[-1].old == old and found[-1].new == new:
                    found[-1] = Range(found[-1].start, stop, old, new)
                else:
                    found.append(Range(start, stop, old, new))
            i, j, start = i + (stop == stop_i), j + (stop == stop_j), stop
        return Diff(self.hash, tuple(found))


@frozen
class Range:
    """The positions from `start` up to, not including, `stop`, and the nodes that keep their keys: `old` before, `new`
    after the change, owners first."""

    start: int
    stop: int
    old: tuple[str, ...]
    new: tuple[str, ...]

    def __contains__(self, position: object) -> bool:
        return isinstance(position, int) and self.start <= position < self.stop

    def __str__(self) -> str:
        return f"{self.start:#x}..{self.stop - 1:#x}: {', '.join(self.old)} -> {', '.join(self.new)}"


@frozen
class Diff:
    """All ranges whose nodes differ between two placements, in order. What is not in one of them stays where it is."""

    hash: HashFunction
    ranges: tuple[Range, ...] = field(repr=False)

    def __iter__(self) -> Iterator[Range]:
        return iter(self.ranges)

    def __len__(self) -> int:
        return len(self.ranges)

    @property
    def moved(self) -> float:
        """The part of the circle, from 0 to 1, that has another owner."""
        moved = sum(each.stop - each.start for each in self.ranges if each.old[0] != each.new[0])
        return moved / (1 << self.hash.bits)

    def flows(self) -> dict[tuple[str, str], float]:
        """How much changes hands: for each pair of an old and a new owner its part of the circle."""
        flows: dict[tuple[str, str], int] = {}
        for each in self.ranges:
            if each.old[0] != each.new[0]:
                pair = each.old[0], each.new[0]
                flows[pair] = flows.get(pair, 0) + each.stop - each.start
        return {pair: size / (1 << self.hash.bits) for pair, size in flows.items()}
