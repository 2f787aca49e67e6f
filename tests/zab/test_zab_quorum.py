"""Any two quorums share a member, and the agreed zxid is what a quorum holds."""

from __future__ import annotations

from itertools import combinations

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
