"""How long sessions may be silent, when they expire, which ids new ones get, and what opens them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zkcore.errors import ConfigurationError
from zkcore.tree.sessions import (
    KEY_SIZE,
    PASSWORD_SIZE,
    SessionIds,
    SessionTracker,
    Timeouts,
    TrackedSession,
    key_of,
    opens,
)

# --- how long ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(-(2**31), 4000), (-1, 4000), (0, 4000), (3999, 4000), (4000, 4000), (4001, 4001), (30_000, 30_000),
     (40_000, 40_000), (40_001, 40_000), (2**31 - 1, 40_000)],
)  # fmt: skip
def test_a_timeout_is_the_nearest_that_the_server_grants(asked: int, granted: int) -> None:
    assert Timeouts().negotiate(asked) == granted


@pytest.mark.parametrize(("minimum", "maximum"), [(0, 5), (-1, 5), (6, 5), (1, 2**31)])
def test_timeouts_that_cannot_be_granted_are_refused(minimum: int, maximum: int) -> None:
    with pytest.raises(ConfigurationError, match="session timeouts"):
        Timeouts(minimum_ms=minimum, maximum_ms=maximum)


def test_one_timeout_for_all_is_possible() -> None:
    assert Timeouts(minimum_ms=1, maximum_ms=1).negotiate(7) == 1
    assert Timeouts(minimum_ms=2**31 - 1, maximum_ms=2**31 - 1).negotiate(7) == 2**31 - 1


# --- passwords --------------------------------------------------------------------------------------------------------

PASSWORD = bytes(range(PASSWORD_SIZE))
GOLDEN = "6e628c129aeffad4195d7cc3de9e1166257bbc697a10b755f3c7b5e81a1b7220"


def test_a_key_is_a_hash_of_id_and_password() -> None:
    # Pinned, because keys are replicated and outlive versions of this code.
    assert key_of(1, PASSWORD).hex() == GOLDEN
    assert key_of(-1, PASSWORD) != key_of(1, PASSWORD)
    assert len(key_of(-(2**63), PASSWORD)) == KEY_SIZE
    assert PASSWORD not in key_of(1, PASSWORD)


@pytest.mark.parametrize("password", [b"", PASSWORD[:-1], PASSWORD + b"x"])
def test_a_password_has_sixteen_bytes(password: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        key_of(1, password)
    assert not opens(key_of(1, PASSWORD), 1, password)


@given(st.integers(-(2**63), 2**63 - 1), st.binary(min_size=16, max_size=16), st.integers(0, 127))
def test_a_session_is_opened_by_its_password_and_by_no_other(session: int, password: bytes, bit: int) -> None:
    key = key_of(session, password)
    assert opens(key, session, password)
    other = bytearray(password)
    other[bit // 8] ^= 1 << bit % 8
    assert not opens(key, session, bytes(other))
    assert not opens(key, session ^ 1, password)
    assert not opens(b"", session, password)
    assert not opens(key, session, key[:PASSWORD_SIZE])


def test_a_session_that_nobody_knows_is_opened_by_nothing() -> None:
    assert not opens(b"", 2**70, PASSWORD)
    assert not opens(b"", 1, b"")

# --- expiry ----------------------------------------------------------------------------------------------------------


def test_a_session_expires_when_more_than_its_timeout_has_passed() -> None:
    tracker = SessionTracker()
    tracker.add(1, 10)
    tracker.tick()
    assert tracker.ticks_until_due == 11
    # A touch falls anywhere between two ticks: after ten of them less than ten may have passed.
    assert tracker.tick(10) == []
    assert 1 in tracker
    assert tracker.tick() == [1]
    assert 1 not in tracker
    assert tracker.ticks_until_due is None
    assert tracker.tick(100) == []


def test_a_touch_gives_a_full_timeout() -> None:
    tracker = SessionTracker()
    tracker.add(1, 10)
    tracker.tick(10)
    assert tracker.touch(1)
    tracker.tick()
    assert tracker.ticks_until_due == 11
    assert tracker.tick(10) == []
    assert tracker.tick(1) == [1]


def test_after_a_stall_a_touch_counts_from_its_end() -> None:
    # Whoever was held up feeds first what arrived meanwhile, then tells how much time has passed. When in that time the
    # touch arrived nobody knows: perhaps just now.
    tracker = SessionTracker()
    tracker.add(1, 10)
    tracker.tick()
    tracker.touch(1)
    assert tracker.tick(40) == []
    assert tracker.tick(10) == []
    assert tracker.tick(1) == [1]


def test_a_touch_of_an_expired_or_unknown_session_is_refused() -> None:
    tracker = SessionTracker()
    assert not tracker.touch(1)
    tracker.add(1, 1)
    tracker.tick()
    assert tracker.tick(50) == [1]
    assert not tracker.touch(1)


def test_those_overdue_longest_come_first() -> None:
    tracker = SessionTracker()
    for session, timeout in ((1, 9), (2, 3), (3, 6), (4, 100)):
        tracker.add(session, timeout)
    tracker.tick(2)
    tracker.touch(2)
    tracker.tick(1)
    assert tracker.tick(50) == [2, 3, 1]
    assert len(tracker) == 1


def test_adding_again_changes_the_timeout_either_way() -> None:
    tracker = SessionTracker()
    tracker.add(1, 10)
    tracker.add(1, 3)
    assert tracker.ticks_until_due == 4
    tracker.add(1, 20)
    assert tracker.ticks_until_due == 21
    tracker.tick()
    assert tracker.tick(20) == []
    assert tracker.tick(1) == [1]


def test_a_removed_session_neither_expires_nor_keeps_anybody_awake() -> None:
    tracker = SessionTracker()
    tracker.add(1, 3)
    tracker.remove(1)
    tracker.remove(1)
    assert tracker.ticks_until_due is None
    assert tracker.tick(10) == []


def test_a_session_removed_and_added_again_is_scheduled_once() -> None:
    tracker = SessionTracker()
    for _ in range(50):
        tracker.add(1, 5)
        tracker.remove(1)
    tracker.add(1, 9)
    for _ in range(20):
        assert tracker.tick(8) == []
        tracker.touch(1)
    tracker.tick()
    assert tracker.ticks_until_due == 10
    assert len(tracker._heap) == 1


def test_a_timeout_is_at_least_a_tick() -> None:
    with pytest.raises(ValueError, match="at least one tick"):
        SessionTracker().add(1, 0)


def test_a_new_leader_that_adds_every_session_gives_each_its_full_timeout() -> None:
    before = SessionTracker()
    for session, timeout in ((1, 5), (2, 7)):
        before.add(session, timeout)
    before.tick(5)
    after = SessionTracker()
    for tracked in before.sessions():
        after.add(tracked.session, tracked.timeout_ticks)
    after.tick()
    assert after.tick(5) == []
    assert after.tick() == [1]
    assert after.tick() == []
    assert after.tick() == [2]


# --- listing and killing ----------------------------------------------------------------------------------------------


def test_the_list_says_for_how_long_each_session_was_silent() -> None:
    tracker = SessionTracker()
    assert tracker.sessions() == []
    tracker.add(7, 10)
    tracker.add(3, 20)
    assert tracker.sessions() == [TrackedSession(3, 20, 0), TrackedSession(7, 10, 0)]
    tracker.tick(4)  # as if both had been heard of at its end
    assert [tracked.silent_ticks for tracked in tracker.sessions()] == [0, 0]
    tracker.tick(4)
    tracker.touch(7)
    assert tracker.sessions() == [TrackedSession(3, 20, 4), TrackedSession(7, 10, 0)]
    assert tracker.tick(9) == []
    assert tracker.tick(9) == [3]
    assert tracker.sessions() == [TrackedSession(7, 10, 9)]


def test_a_session_told_to_expire_does_so_with_the_next_tick_whatever_is_heard_of_it() -> None:
    tracker = SessionTracker()
    for session in (1, 2, 3):
        tracker.add(session, 1 if session == 3 else 100)
    tracker.tick()
    assert tracker.expire(2)
    assert not tracker.expire(2)
    assert not tracker.expire(9)
    assert not tracker.touch(2)
    assert 2 not in tracker
    assert tracker.ticks_until_due == 1
    assert tracker.tick(2) == [2, 3]
    assert tracker.tick(2) == []
    assert [tracked.session for tracked in tracker.sessions()] == [1]


def test_a_session_told_to_expire_that_is_closed_or_begun_again_before_does_not() -> None:
    tracker = SessionTracker()
    for session in (1, 2):
        tracker.add(session, 5)
        tracker.expire(session)
    tracker.remove(1)
    tracker.add(2, 5)
    assert tracker.tick() == []
    assert 2 in tracker


class Expiry(RuleBasedStateMachine):
    """The tracker against the plainest model: for each session, when it was last heard of; None where that was after
    the last tick."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = SessionTracker()
        self.now = 0
        self.last: dict[int, tuple[int, int | None]] = {}
        self.condemned: set[int] = set()

    sessions = st.integers(1, 4)

    @rule(session=sessions, timeout=st.integers(1, 8))
    def add(self, session: int, timeout: int) -> None:
        self.tracker.add(session, timeout)
        self.last[session] = timeout, None
        self.condemned.discard(session)

    @rule(session=sessions)
    def touch(self, session: int) -> None:
        assert self.tracker.touch(session) == (session in self.last)
        if session in self.last:
            self.last[session] = self.last[session][0], None

    @rule(session=sessions)
    def remove(self, session: int) -> None:
        self.tracker.remove(session)
        self.last.pop(session, None)
        self.condemned.discard(session)

    @rule(session=sessions)
    def expire(self, session: int) -> None:
        assert self.tracker.expire(session) == (session in self.last)
        if self.last.pop(session, None) is not None:
            self.condemned.add(session)

    @rule(ticks=st.integers(0, 10))
    def tick(self, ticks: int) -> None:
        self.now += ticks
        for session, (timeout, heard) in self.last.items():
            if heard is None:
                self.last[session] = timeout, self.now
        due = {session for session, (timeout, heard) in self.last.items() if self.now - (heard or 0) > timeout}
        expired = self.tracker.tick(ticks)
        assert sorted(expired) == sorted(due | self.condemned)
        self.condemned.clear()
        for session in due:
            del self.last[session]

    @invariant()
    def the_next_is_known(self) -> None:
        due = [timeout + 1 + (self.now if heard is None else heard) - self.now for timeout, heard in self.last.values()]
        known = self.tracker.ticks_until_due
        assert len(self.tracker) == len(self.last)
        assert self.tracker.sessions() == [
            TrackedSession(session, timeout, 0 if heard is None else self.now - heard)
            for session, (timeout, heard) in sorted(self.last.items())
        ]
        if self.condemned:
            assert known == 1
        elif not due:
            assert known is None
        elif any(heard is None for _, heard in self.last.values()):
            assert known is not None
            assert known <= min(due)  # somebody may be woken for nothing, but nobody too late
        else:
            assert known == min(due)


TestExpiry = Expiry.TestCase

# --- ids -------------------------------------------------------------------------------------------------------------


def test_an_id_is_the_server_the_time_and_a_counter() -> None:
    ids = SessionIds(5)
    assert hex(ids.next(0x01_2345_6789_AB)) == "0x5234567" + "89ab0000"
    assert hex(ids.next(0x01_2345_6789_AB)) == "0x5234567" + "89ab0001"
    assert hex(ids.next(0x01_2345_6789_AC)) == "0x5234567" + "89ac0000"


@given(st.integers(1, 255), st.lists(st.integers(1_700_000_000_000, 1_700_000_000_010), min_size=2, max_size=30))
def test_ids_increase_strictly_whatever_the_clock_does(server: int, times: list[int]) -> None:
    ids = SessionIds(server)
    made = [ids.next(now) for now in times]
    assert made == sorted(set(made))
    assert all(-(2**63) <= id_ < 2**63 and id_ % 2**64 >> 56 == server for id_ in made)


def test_more_ids_than_fit_into_a_millisecond_borrow_from_the_next() -> None:
    ids = SessionIds(1)
    made = [ids.next(1000) for _ in range(70_000)]
    made += [ids.next(1001), ids.next(1002)]
    assert made == sorted(set(made))
    assert made[-1] == 1 << 56 | 1002 << 16


def test_ids_go_on_when_the_time_runs_over_its_40_bits() -> None:
    ids = SessionIds(128)
    before = ids.next(2**40 - 1)
    after = ids.next(2**40)
    assert before % 2**64 == 0x80FFFFFFFFFF0000
    assert after % 2**64 == 0x8000000000000001  # all zero would be ZooKeeper's mark of a container
    assert ids.next(2**40) == after + 1


@pytest.mark.parametrize("server", [0, 256, -1])
def test_a_server_has_a_number_from_1_to_255(server: int) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        SessionIds(server)
