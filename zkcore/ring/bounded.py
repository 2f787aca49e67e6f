"""Bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018): no node gets more than its share times a factor.

Over any placement: a key goes to the first node in its order of preference that has room. Whom a key belongs to then
depends on the other keys, so there is no owner of a single key; `assign` takes all of them and returns who got what.
The keys are taken in the order of their hashes, so the order in which they are given does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from math import ceil, isfinite
from typing import Self

from attrs import field, frozen

from zkcore.ring.errors import BadArgumentsError
from zkcore.ring.hashing import MMH3_64, Key, plain
from zkcore.ring.members import Member
from zkcore.ring.placement import Placement

__all__ = ["Assignment", "BoundedLoad"]


@frozen
class Assignment(Mapping[Key, str]):
    """The node of each key, as a mapping; the `loads` of the nodes, and the `capacities` that they do not exceed."""

    _owners: Mapping[Key, str] = field(repr=False)
    loads: Mapping[str, int]
    capacities: Mapping[str, int]

    def __getitem__(self, key: Key) -> str:
        return self._owners[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)


class BoundedLoad(Placement):
    """`placement`, where no node gets more than `factor` times what its weight entitles it to, rounded up.

    A factor near 1 is even, and moves more keys at a change; 1.25 is a usual choice. Raises BadArgumentsError for a
    factor below 1.

    >>> from zkcore.ring.hashring import HashRing
    >>> assignment = BoundedLoad(HashRing(["a", "b"]), factor=1.0).assign(range(100))
    >>> assignment.loads
    {'a': 50, 'b': 50}
    """

    __slots__ = ("_factor", "_inner")

    def __init__(self, placement: Placement, *, factor: float = 1.25) -> None:
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not isfinite(factor) or factor < 1:
            raise BadArgumentsError(f"the factor is a number from 1 up, not {factor!r}: below 1 not all keys find room")
        self._inner, self._factor = placement, factor

    @property
    def members(self) -> Mapping[str, Member]:
        """The nodes by name, with weights and labels. Not to be changed."""
        return self._inner.members

    def capacities(self, keys: int) -> dict[str, int]:
        """How many of so many keys each node takes at most."""
        total = sum((Fraction(member.weight) for member in self.members.values()), Fraction())
        share = Fraction(self._factor) * keys
        return {name: ceil(share * Fraction(member.weight) / total) for name, member in self.members.items()}

    def assign(self, keys: Iterable[Key]) -> Assignment:
        """A node for every key; a key given twice counts once. Raises BadKeyError and, without nodes, NoNodeError."""
        position = MMH3_64.position
        wanted = sorted((position(key), str(plain(key)), key) for key in dict.fromkeys(keys))
        capacities = self.capacities(len(wanted))
        room = dict(capacities)
        owners: dict[Key, str] = {}
        for (_, _, key), owner in zip(wanted, self._inner.owners(key for _, _, key in wanted), strict=True):
            node = owner
            if not room[node]:
                node = next(other for other in self._inner.preference(key) if room[other])
            room[node] -= 1
            owners[key] = node
        return Assignment(owners, {name: capacities[name] - left for name, left in room.items()}, capacities)

    def owner(self, key: Key) -> str:
        """Raises UnsupportedError: with bounded loads the owner depends on the other keys. See `assign`."""
        raise self._unsupported(f"has no owner of key {key!r} by itself: assign() takes all keys")

    def owners(self, keys: Iterable[Key]) -> list[str]:
        """The node of each key, when these are all the keys there are."""
        listed = list(keys)
        assignment = self.assign(listed)
        return [assignment[key] for key in listed]

    def preference(self, key: Key) -> Iterator[str]:
        """The order in which `key` looks for room: that of the placement underneath."""
        return self._inner.preference(key)

    def with_node(self, node: str, weight: float = 1.0, *, labels: Mapping[str, str] | None = None) -> Self:
        """This placement and one more node. Raises NodeExistsError and BadArgumentsError."""
        return type(self)(self._inner.with_node(node, weight, labels=labels), factor=self._factor)

    def without_node(self, node: str) -> Self:
        """This placement without `node`. Raises NoNodeError."""
        return type(self)(self._inner.without_node(node), factor=self._factor)

    def with_weight(self, node: str, weight: float) -> Self:
        """This placement with another weight for `node`. Raises NoNodeError and BadArgumentsError."""
        return type(self)(self._inner.with_weight(node, weight), factor=self._factor)
