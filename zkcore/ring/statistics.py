"""How even a placement is, and how much a change moves, counted over keys.

For placements with arcs the exact shares are in `shares()` and `diff().moved`; what is here works for all, and for the
keys that one really has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import fsum
from statistics import pstdev

from attrs import field, frozen

from zkcore.ring.errors import BadArgumentsError
from zkcore.ring.hashing import Key
from zkcore.ring.placement import Placement

__all__ = ["Balance", "balance", "moved_fraction"]


@frozen
class Balance:
    """How keys are spread. Loads are compared with what the weight of a node entitles it to: 1.0 is exactly that."""

    loads: dict[str, int] = field(repr=False)
    peak_to_mean: float
    """The busiest node, against its due. What the largest machine must be bought for."""
    least_to_mean: float
    spread: float
    """The standard deviation."""

    def __str__(self) -> str:
        return f"peak {self.peak_to_mean:.3f}, least {self.least_to_mean:.3f}, spread {self.spread:.3f} of the mean"


def balance(placement: Placement, keys: Iterable[Key]) -> Balance:
    """The balance of `keys` over the nodes. Raises NoNodeError without nodes, and BadArgumentsError without keys.

    >>> from zkcore.ring import HashRing
    >>> print(balance(HashRing(["a", "b", "c"]), range(3000)))
    peak 1.105, least 0.933, spread 0.075 of the mean
    """
    counted = Counter(placement.owners(keys))
    if not counted:
        raise BadArgumentsError("without keys there is no balance")
    members = placement.members
    due = counted.total() / fsum(member.weight for member in members.values())
    ratios = [counted[name] / (due * member.weight) for name, member in members.items()]
    return Balance({name: counted[name] for name in members}, max(ratios), min(ratios), pstdev(ratios))


def moved_fraction(old: Placement, new: Placement, keys: Iterable[Key]) -> float:
    """The part of `keys`, from 0 to 1, that has another owner in `new`. Raises BadArgumentsError without keys."""
    listed = list(keys)
    if not listed:
        raise BadArgumentsError("without keys there is no part of them")
    pairs = zip(old.owners(listed), new.owners(listed), strict=True)
    return sum(before != after for before, after in pairs) / len(listed)
