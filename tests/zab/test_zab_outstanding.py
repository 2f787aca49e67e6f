"""A leader takes no more proposals than it can keep in mind (protocol.md 1.8, limits)."""

from __future__ import annotations

import pytest
from dialogue import Dialogue, Z, leading, stored
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import BadArgumentsError, NotLeadingError, ThrottledError
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Ack, FollowerInfo
from zkcore.zab.outstanding import Outstanding


def refused(d: Dialogue, *payloads: bytes) -> None:
    """Nothing happens, and the host is told to wait."""
    first = d.peer.next_zxid
    assert first is not None
    assert d.peer.is_full
    with pytest.raises(ThrottledError):
        d.peer.propose(first, payloads)
    assert d.peer.next_zxid == first
    assert d.drain() == ""


def test_so_many_proposals_and_no_more_may_be_outstanding() -> None:
    d = leading(outstanding_proposals=3)
    d.proposes(b"1", b"2")
    assert not d.peer.is_full
    d.proposes(b"3")
    refused(d, b"4")


def test_so_many_bytes_and_no_more_may_be_outstanding() -> None:
    d = leading(outstanding_bytes=10)
    d.proposes(b"12345", b"6789")
    assert not d.peer.is_full
    d.proposes(b"0")
    refused(d, b"x")


@pytest.mark.parametrize("limits", [{"outstanding_proposals": 2}, {"outstanding_bytes": 4}])
def test_one_batch_may_go_beyond_the_limit_or_a_large_one_never_could_be_proposed(limits: dict[str, int]) -> None:
    d = leading(**limits)
    d.proposes(b"123", b"456", b"789")
    assert d.peer.last_logged == Z(1, 3)
    refused(d, b"x")


def test_a_batch_that_is_not_drained_yet_counts() -> None:
    d = leading(outstanding_proposals=2)
    d.peer.propose(Z(1, 1), [b"1", b"2"])
    assert d.peer.is_full
    with pytest.raises(ThrottledError):
        d.peer.propose(Z(1, 3), [b"3"])


def test_there_is_room_again_when_a_batch_is_committed_whole() -> None:
    d = leading(outstanding_proposals=3)
    d.proposes(b"1", b"2")
    d.proposes(b"3")
    d.hears(1, Ack(Z(1, 1)))
    refused(d, b"4")  # of a batch all or nothing is counted
    d.hears(1, Ack(Z(1, 2)))
    assert not d.peer.is_full
    d.proposes(b"4", b"5")
    refused(d, b"6")
    d.hears(1, Ack(Z(1, 5)))
    assert not d.peer.is_full


def test_what_was_outstanding_under_another_epoch_is_not() -> None:
    d = Dialogue(3, linked=(1, 2), limits=Limits(outstanding_proposals=2)).lead(1)
    d.proposes(b"1", b"2")
    assert d.peer.is_full
    d.ticks(201)
    assert not d.peer.is_full  # it does not lead
    d.relinked(1)
    d.stand()
    d.hears(1, FollowerInfo(1))
    d.hears(1, d.ack_epoch(1))
    d.hears(1, Ack(Z(2, 0)))
    assert not d.peer.is_full
    assert d.delivered == [b"1", b"2"]


def test_a_history_however_long_is_not_outstanding() -> None:
    d = leading((1, 9), outstanding_proposals=2, outstanding_bytes=2)
    assert not d.peer.is_full


def test_who_does_not_lead_says_so_first_and_who_errs_about_the_zxid_next() -> None:
    d = leading(outstanding_proposals=1)
    d.proposes(b"x")
    with pytest.raises(BadArgumentsError):
        d.peer.propose(Z(1, 1), [b"y"])
    with pytest.raises(NotLeadingError):
        Dialogue(1, storage=stored((1, 3))).peer.propose(Z(1, 4), [b"y"])


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), max_size=12), st.data())
def test_what_is_counted_is_what_is_between_the_last_commit_and_the_last_proposal(
    batches: list[tuple[int, int]], data: st.DataObject
) -> None:
    outstanding = Outstanding(Limits(outstanding_proposals=7, outstanding_bytes=20))
    proposed: list[tuple[int, int, int]] = []
    last = committed = 0
    for count, size in batches:
        last += count
        proposed.append((last, count, size))
        outstanding.on_proposed(last, count, size)
        committed = data.draw(st.integers(committed, last))
        outstanding.on_committed(committed)
        left = [each for each in proposed if each[0] > committed]
        full = sum(count for _, count, _ in left) >= 7 or sum(size for _, _, size in left) >= 20
        assert outstanding.is_full is full
