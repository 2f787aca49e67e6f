"""Who may vote, and which sets of voters decide.

A quorum is a strict majority of the voters. Any two quorums share a member: that is all the protocol asks of them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from itertools import pairwise

from attrs import field, frozen

from zkcore.errors import ConfigurationError
from zkcore.zab.messages import PeerId
from zkcore.zxid import Zxid

__all__ = ["EnsembleConfig"]


def _sorted_ids(ids: Iterable[PeerId]) -> tuple[PeerId, ...]:
    return tuple(sorted(ids))


@frozen
class EnsembleConfig:
    """The fixed set of voters of an ensemble.

    `voters` are server numbers, 1 to 255, in any order. Raises ConfigurationError for an empty set, duplicates, or a
    number out of range. An even number of voters works, but tolerates no more failures than one voter fewer.
    """

    voters: tuple[PeerId, ...] = field(converter=_sorted_ids)

    @voters.validator
    def _check(self, _: object, voters: tuple[PeerId, ...]) -> None:
        if not voters:
            raise ConfigurationError("an ensemble needs at least one voter")
        for voter in voters:
            if isinstance(voter, bool) or not isinstance(voter, int) or not 1 <= voter <= 255:
                raise ConfigurationError(f"voter {voter!r} is not a server number between 1 and 255")
        for one, other in pairwise(voters):
            if one == other:
                raise ConfigurationError(f"voter {one} is listed twice; give every server a number of its own")

    def is_quorum(self, ids: Container[PeerId]) -> bool:
        """Whether `ids` contains a quorum; members that are not voters count for nothing."""
        return sum(voter in ids for voter in self.voters) > len(self.voters) // 2

    def agreed(self, acked: Mapping[PeerId, Zxid]) -> Zxid:
        """The highest zxid that a quorum has acknowledged, given the highest that each voter has.

        ::

            acked   1: 0x1_5   2: 0x1_3   3: 0x1_2
            order          0x1_5  0x1_3  0x1_2
                                    ^ two of three voters are here or beyond
        """
        highest_first = sorted((acked.get(voter, 0) for voter in self.voters), reverse=True)
        return highest_first[len(highest_first) // 2]
