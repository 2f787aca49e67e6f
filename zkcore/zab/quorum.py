"""Who may vote, which sets of voters decide, and who only listens.

A quorum is a strict majority of the voters; of their weights, where they have different ones; and where the voters are
divided into groups, a majority of the groups, in each of them a majority of the weights (protocol.md 1.2). Any two
quorums share a member: that is all the protocol asks of them.

Three groups of three in three sites, say, survive the loss of a whole site and of one server in each other site, and
commit with four acknowledgements instead of five::

    1 2 3 | 4 5 6 | 7 8 9        a quorum:  1 2 . | 4 . 6 | . . .

While one set of members is replaced by another a Transition is in force, and takes quorums of both (protocol.md 1.10).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from itertools import pairwise
from typing import TypeAlias

from attrs import field, frozen

from zkcore.errors import ConfigurationError
from zkcore.zab.messages import PeerId
from zkcore.zxid import Zxid

__all__ = ["Configuration", "EnsembleConfig", "Transition"]


def _sorted_ids(ids: Iterable[PeerId]) -> tuple[PeerId, ...]:
    return tuple(sorted(ids))


def _sorted_groups(groups: Iterable[Iterable[PeerId]]) -> tuple[tuple[PeerId, ...], ...]:
    return tuple(sorted(_sorted_ids(group) for group in groups))


def _sorted_weights(weights: Mapping[PeerId, int] | Iterable[tuple[PeerId, int]]) -> tuple[tuple[PeerId, int], ...]:
    return tuple(sorted(dict(weights).items()))


@frozen
class EnsembleConfig:
    """A set of members of an ensemble.

    `voters` are server numbers, 1 to 255, in any order. `observers` are further members: they get everything that is
    committed, and serve clients, but neither vote nor acknowledge. `groups` divides the voters into groups, every
    voter in one of them; none at all is one group of all. `weights` gives voters a weight other than 1; one of weight 0
    votes in vain and cannot lead, and a group of nothing else does not count.

    Raises ConfigurationError for an empty set, duplicates, a number out of range, groups that leave a voter out, or
    weights of which no quorum can be made. An even number of voters works, but tolerates no more failures than one
    voter fewer.
    """

    voters: tuple[PeerId, ...] = field(converter=_sorted_ids)
    observers: tuple[PeerId, ...] = field(converter=_sorted_ids, default=(), kw_only=True)
    groups: tuple[tuple[PeerId, ...], ...] = field(converter=_sorted_groups, default=(), kw_only=True)
    weights: tuple[tuple[PeerId, int], ...] = field(converter=_sorted_weights, default=(), kw_only=True)
    members: tuple[PeerId, ...] = field(init=False, eq=False, repr=False)
    """Voters and observers, ascending."""
    _weighed: tuple[tuple[tuple[PeerId, int], ...], ...] = field(init=False, eq=False, repr=False)
    """The groups that count, each as its voters with their weights. Empty where a plain majority decides."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "members", _sorted_ids((*self.voters, *self.observers)))
        self._check_members()
        self._check_groups()
        weights = dict(self.weights)
        plain = not self.groups and all(weight == 1 for weight in weights.values())
        groups = [
            tuple((voter, weights.get(voter, 1)) for voter in group if weights.get(voter, 1))
            for group in (() if plain else self.groups or (self.voters,))
        ]
        object.__setattr__(self, "_weighed", tuple(group for group in groups if group))
        if not plain and not self._weighed:
            raise ConfigurationError("every voter has the weight 0, so nobody decides; give some of them a weight")

    def _check_members(self) -> None:
        if not self.voters:
            raise ConfigurationError("an ensemble needs at least one voter")
        for member in self.members:
            if isinstance(member, bool) or not isinstance(member, int) or not 1 <= member <= 255:
                raise ConfigurationError(f"member {member!r} is not a server number between 1 and 255")
        for one, other in pairwise(self.members):
            if one == other:
                raise ConfigurationError(f"member {one} is listed twice; give every server a number of its own")

    def _check_groups(self) -> None:
        for voter, weight in self.weights:
            if voter not in self.voters or isinstance(weight, bool) or not isinstance(weight, int) or weight < 0:
                raise ConfigurationError(f"weight {weight!r} of {voter!r}: only voters have one, and it is 0 or more")
        grouped = _sorted_ids(voter for group in self.groups for voter in group)
        if self.groups and grouped != self.voters:
            raise ConfigurationError(f"the groups hold {grouped}; put every one of the voters {self.voters} into one")

    def __str__(self) -> str:
        observers = f" observers {_words(self.observers)}" if self.observers else ""
        groups = f" groups {' '.join(','.join(map(str, group)) for group in self.groups)}" if self.groups else ""
        weights = f" weights {' '.join(f'{voter}:{weight}' for voter, weight in self.weights)}" if self.weights else ""
        return f"voters {_words(self.voters)}{observers}{groups}{weights}"

    @property
    def newest(self) -> EnsembleConfig:
        """Itself: nothing is replaced."""
        return self

    def can_lead(self, member: PeerId) -> bool:
        """Whether `member` is a voter whose vote counts for anything."""
        return member in self.voters and dict(self.weights).get(member, 1) > 0

    def is_quorum(self, ids: Container[PeerId]) -> bool:
        """Whether `ids` contains a quorum; members that are not voters count for nothing."""
        if not self._weighed:
            return sum(voter in ids for voter in self.voters) > len(self.voters) // 2
        won = sum(
            2 * sum(weight for voter, weight in group if voter in ids) > sum(weight for _, weight in group)
            for group in self._weighed
        )
        return won > len(self._weighed) // 2

    def agreed(self, acked: Mapping[PeerId, Zxid]) -> Zxid:
        """The highest zxid that a quorum has acknowledged, given the highest that each voter has.

        ::

            acked   1: 0x1_5   2: 0x1_3   3: 0x1_2
            order          0x1_5  0x1_3  0x1_2
                                    ^ two of three voters are here or beyond
        """
        if not self._weighed:
            highest_first = sorted([acked.get(voter, 0) for voter in self.voters], reverse=True)
            return highest_first[len(highest_first) // 2]
        by_group = [_agreed_in(group, acked) for group in self._weighed]
        return sorted(by_group, reverse=True)[len(by_group) // 2]


@frozen
class Transition:
    """`old` is being replaced by `new`: both decide. Members are those of either."""

    old: EnsembleConfig
    new: EnsembleConfig
    voters: tuple[PeerId, ...] = field(init=False, eq=False, repr=False)
    observers: tuple[PeerId, ...] = field(init=False, eq=False, repr=False)
    members: tuple[PeerId, ...] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        voters = {*self.old.voters, *self.new.voters}
        members = {*self.old.members, *self.new.members}
        object.__setattr__(self, "voters", _sorted_ids(voters))
        object.__setattr__(self, "observers", _sorted_ids(members - voters))
        object.__setattr__(self, "members", _sorted_ids(members))

    def __str__(self) -> str:
        return f"{self.old} -> {self.new}"

    @property
    def newest(self) -> EnsembleConfig:
        """The one that will be in force alone."""
        return self.new

    def can_lead(self, member: PeerId) -> bool:
        """See EnsembleConfig: in either."""
        return self.old.can_lead(member) or self.new.can_lead(member)

    def is_quorum(self, ids: Container[PeerId]) -> bool:
        """See EnsembleConfig: of both."""
        return self.old.is_quorum(ids) and self.new.is_quorum(ids)

    def agreed(self, acked: Mapping[PeerId, Zxid]) -> Zxid:
        """See EnsembleConfig: by quorums of both."""
        return min(self.old.agreed(acked), self.new.agreed(acked))


Configuration: TypeAlias = EnsembleConfig | Transition
"""What can be in force."""


def _words(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _agreed_in(group: tuple[tuple[PeerId, int], ...], acked: Mapping[PeerId, Zxid]) -> Zxid:
    """The highest zxid that voters with more than half of the weight of `group` have acknowledged."""
    needed = sum(weight for _, weight in group)
    for zxid, weight in sorted(((acked.get(voter, 0), weight) for voter, weight in group), reverse=True):
        needed -= 2 * weight
        if needed < 0:
            return zxid
    return 0
