"""Any two quorums share a member, and the agreed zxid is what a quorum holds."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import ConfigurationError
from zkcore.zab.quorum import EnsembleConfig

voters = st.lists(st.integers(1, 255), min_size=1, max_size=7, unique=True)


@pytest.mark.parametrize(
    ("ensemble", "ids", "quorum"),
    [
        ((1,), (), False),
        ((1,), (1,), True),
        ((1, 2), (1,), False),
        ((1, 2), (1, 2), True),
        ((1, 2, 3), (2,), False),
        ((1, 2, 3), (2, 3), True),
        ((1, 2, 3, 4), (1, 2), False),  # half is no majority
        ((1, 2, 3, 4), (1, 2, 4), True),
        ((1, 2, 3, 4, 5), (5, 3), False),
        ((1, 2, 3, 4, 5), (5, 3, 1), True),
        ((1, 2, 3), (1, 7, 8, 9), False),  # who is no voter counts for nothing
        ((1, 2, 3), (1, 2, 7), True),
    ],
)
def test_a_quorum_is_a_strict_majority_of_the_voters(
    ensemble: tuple[int, ...], ids: tuple[int, ...], quorum: bool
) -> None:
    assert EnsembleConfig(ensemble).is_quorum(ids) is quorum


@pytest.mark.parametrize("size", range(1, 8))
def test_any_two_quorums_share_a_member(size: int) -> None:
    config = EnsembleConfig(tuple(range(1, size + 1)))
    quorums = [set(s) for n in range(size + 1) for s in combinations(config.voters, n) if config.is_quorum(s)]
    assert quorums
    assert all(one & other for one in quorums for other in quorums)


@pytest.mark.parametrize(
    ("ensemble", "acked", "agreed"),
    [
        ((1,), {1: 5}, 5),
        ((1, 2, 3), {1: 5, 2: 3, 3: 2}, 3),
        ((1, 2, 3), {1: 5}, 0),  # who said nothing has nothing
        ((1, 2, 3), {1: 5, 2: 5}, 5),
        ((1, 2, 3), {1: 5, 8: 5, 9: 5}, 0),
        ((1, 2, 3, 4), {1: 5, 2: 5, 3: 4}, 4),  # four voters need three
        ((1, 2, 3, 4, 5), {1: 9, 2: 8, 3: 7, 4: 6, 5: 5}, 7),
    ],
)
def test_the_agreed_zxid(ensemble: tuple[int, ...], acked: dict[int, int], agreed: int) -> None:
    assert EnsembleConfig(ensemble).agreed(acked) == agreed


@given(voters, st.data())
def test_the_agreed_zxid_is_the_highest_that_a_quorum_has(ensemble: list[int], data: st.DataObject) -> None:
    config = EnsembleConfig(tuple(ensemble))
    acked = data.draw(st.dictionaries(st.sampled_from(ensemble), st.integers(1, 9)))
    held = [z for z in range(10) if config.is_quorum([v for v in ensemble if acked.get(v, 0) >= z])]
    assert config.agreed(acked) == max(held)


def test_voters_are_kept_in_order() -> None:
    assert EnsembleConfig((3, 1, 2)).voters == (1, 2, 3)
    assert EnsembleConfig((3, 1, 2)) == EnsembleConfig((1, 2, 3))


@pytest.mark.parametrize(
    ("ensemble", "complaint"),
    [
        ((), "at least one voter"),
        ((1, 2, 1), "member 1 is listed twice"),
        ((0, 1), "member 0 is not a server number"),
        ((1, 256), "member 256 is not a server number"),
        ((True, 2), "member True is not a server number"),
    ],
)
def test_what_is_no_ensemble_is_refused(ensemble: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        EnsembleConfig(ensemble)


# --- weights, groups and observers


@st.composite
def configs(draw: st.DrawFn) -> EnsembleConfig:
    """Any ensemble of at most seven voters, in groups or not, of any weights of which a quorum can be made."""
    size = draw(st.integers(1, 7))
    members = range(1, size + 1)
    weights = draw(st.just({}) | st.dictionaries(st.sampled_from(members), st.integers(0, 3)))
    if weights and not any(weights.get(voter, 1) for voter in members):
        weights = {}
    groups: list[list[int]] = []
    if draw(st.booleans()):
        sites = [draw(st.integers(0, 2)) for _ in members]
        groups = [[voter for voter, site in zip(members, sites, strict=True) if site == each] for each in set(sites)]
    return EnsembleConfig(tuple(members), observers=(8, 9), groups=groups, weights=weights)


def subsets(config: EnsembleConfig) -> list[frozenset[int]]:
    return [frozenset(s) for n in range(len(config.voters) + 1) for s in combinations(config.voters, n)]


def by_definition(config: EnsembleConfig, ids: frozenset[int]) -> bool:
    """Protocol.md 1.2, word for word."""
    weights = {voter: dict(config.weights).get(voter, 1) for voter in config.voters}
    groups = config.groups or (config.voters,)
    weighty = [group for group in groups if sum(weights[voter] for voter in group) > 0]
    won = [
        group for group in weighty if sum(weights[v] for v in group if v in ids) > sum(weights[v] for v in group) / 2
    ]
    return len(won) > len(weighty) / 2


NINE = EnsembleConfig(range(1, 10), groups=[(1, 2, 3), (4, 5, 6), (7, 8, 9)])
HEAVY = EnsembleConfig((1, 2, 3), weights={3: 3})
LOPSIDED = EnsembleConfig((1, 2, 3, 4), groups=[(1, 2), (3,), (4,)], weights={4: 0})


@pytest.mark.parametrize(
    ("config", "ids", "quorum"),
    [
        (NINE, (1, 2, 4, 6), True),  # two of each in two sites: four of nine
        (NINE, (1, 2, 3, 4, 7), False),  # more of them, but in one site only a majority
        (NINE, (1, 4, 7), False),
        (NINE, tuple(range(4, 10)), True),  # a whole site lost
        (HEAVY, (3,), True),
        (HEAVY, (1, 2), False),
        (EnsembleConfig((1, 2), weights={2: 2}), (2,), True),
        (EnsembleConfig((1, 2), weights={1: 2, 2: 2}), (2,), False),  # half is no majority
        (EnsembleConfig((1, 2, 3), weights={1: 0}), (2, 3), True),
        (EnsembleConfig((1, 2, 3), weights={1: 0}), (1, 2), False),  # 1 votes in vain
        (LOPSIDED, (1, 2, 3), True),  # of the two groups that count, both
        (LOPSIDED, (1, 2, 4), False),
        (EnsembleConfig((1, 2, 3), observers=(4, 5)), (1, 4, 5), False),
    ],
)
def test_quorums_of_weights_and_groups(config: EnsembleConfig, ids: tuple[int, ...], quorum: bool) -> None:
    assert config.is_quorum(ids) is quorum


@given(configs())
def test_a_quorum_is_what_the_definition_says(config: EnsembleConfig) -> None:
    for ids in subsets(config):
        assert config.is_quorum(ids) is by_definition(config, ids)
        assert config.is_quorum({*ids, 8, 9, 77}) is by_definition(config, ids)


@given(configs())
def test_any_two_quorums_share_a_member_that_can_lead(config: EnsembleConfig) -> None:
    quorums = [ids for ids in subsets(config) if config.is_quorum(ids)]
    assert frozenset(config.voters) in quorums
    for one, other in combinations(quorums, 2):
        assert any(config.can_lead(member) for member in one & other)


@given(configs(), st.data())
def test_the_agreed_zxid_is_the_highest_that_a_quorum_has_whatever_the_weights(
    config: EnsembleConfig, data: st.DataObject
) -> None:
    acked = data.draw(st.dictionaries(st.sampled_from(config.members), st.integers(1, 9)))
    held = [z for z in range(10) if config.is_quorum([v for v in config.voters if acked.get(v, 0) >= z])]
    assert config.agreed(acked) == max(held)


def test_who_can_lead() -> None:
    config = EnsembleConfig((1, 2, 3), observers=(4,), weights={2: 0, 3: 5})
    assert [member for member in range(6) if config.can_lead(member)] == [1, 3]
    assert config.members == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"observers": (3,)}, "member 3 is listed twice"),
        ({"observers": (0,)}, "member 0 is not a server number"),
        ({"groups": [(1, 2)]}, r"the groups hold \(1, 2\); put every one of the voters"),
        ({"groups": [(1, 2), (2, 3)]}, "put every one of the voters"),
        ({"groups": [(1, 2, 3, 4)]}, "put every one of the voters"),
        ({"weights": {4: 1}}, "weight 1 of 4: only voters have one"),
        ({"weights": {1: -1}}, "weight -1 of 1"),
        ({"weights": {1: True}}, "weight True of 1"),
        ({"weights": {1: 0, 2: 0, 3: 0}}, "give some of them a weight"),
    ],
)
def test_what_makes_no_sense_of_weights_and_groups_is_refused(more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        EnsembleConfig((1, 2, 3), **more)
