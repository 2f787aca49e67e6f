"""How many points each node of a ring gets.

A layout looks at names and weights and gives counts; it knows nothing of positions. Two exist: `Even`, where the count
of a node depends on its own weight alone, so that a change moves no other node's points, and `Ketama`, which does what
libketama does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import floor
from typing import Protocol

from attrs import field, frozen

from zkcore.ring.errors import BadArgumentsError
from zkcore.ring.members import Member

__all__ = ["MOST_POINTS", "Even", "Ketama", "Layout"]

MOST_POINTS = 1 << 22
"""Of one node. Weights are relative; nobody who asks for more than four million points means it."""


class Layout(Protocol):
    """Gives each member its number of points."""

    def counts(self, members: Mapping[str, Member]) -> dict[str, int]:
        """By name. Raises BadArgumentsError when a node would get too many."""


def _is_count(instance: object, attribute: object, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MOST_POINTS:
        raise BadArgumentsError(f"a node has from 1 to {MOST_POINTS} points, not {value!r}")


@frozen
class Even:
    """`points` for a node of weight 1, and in proportion for others, rounded; at least one."""

    points: int = field(validator=_is_count)

    def counts(self, members: Mapping[str, Member]) -> dict[str, int]:
        """By name. Raises BadArgumentsError when a node would get too many."""
        return {name: self._count(member) for name, member in members.items()}

    def _count(self, member: Member) -> int:
        wanted = member.weight * self.points
        if wanted > MOST_POINTS:
            raise BadArgumentsError(
                f"node {member.name!r}: weight {member.weight!r} makes {wanted:.3g} points, more than {MOST_POINTS}; "
                "weights are relative, so make all of them smaller"
            )
        return max(1, round(wanted))


@frozen
class Ketama:
    """libketama's numbers: 160 points a node on average, shared out by weight.

    A node that comes or goes changes the counts of the others when weights differ, so more keys move than must. That is
    how libketama is, and whoever wants its owners wants this too.
    """

    def counts(self, members: Mapping[str, Member]) -> dict[str, int]:
        """By name."""
        total = _single(sum(member.weight for member in members.values()))
        return {
            name: max(1, floor(_single(_single(_single(member.weight) / total) * 40.0 * len(members)))) * 4
            for name, member in members.items()
        }


def _single(number: float) -> float:
    """`number` in single precision, in which libketama calculates: it decides whether 39.9999999 digests are 40."""
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded
