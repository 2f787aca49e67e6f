"""The log as the core sees it, played against a plain list with a storage behind both."""

from __future__ import annotations

import pytest
from dialogue import Z, batch, payload, stored
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zkcore.errors import InvariantViolation
from zkcore.storage.storage import MemoryStorage
from zkcore.zab.history import History, Run
from zkcore.zab.ready import Append, Compact, InstallSnapshot, Saved, SnapshotChunk, SnapshotRef, Truncate, Write
from zkcore.zab.sync_plan import LogSummary
from zkcore.zxid import Zxid, counter_of, epoch_of

# --- one thing at a time


def history_of(storage: MemoryStorage, *, tail_bytes: int = 1 << 20) -> History:
    return History(storage.load(), storage, tail_bytes=tail_bytes)


def zxids_of(history: History, after: Zxid, upto: Zxid, *, max_bytes: int = 1 << 20) -> list[Zxid]:
    return [
        run.first + index
        for run in history.runs(after, upto, max_bytes=max_bytes)
        for index in range(len(run.payloads))
    ]


def test_what_was_appended_is_readable_before_it_is_durable() -> None:
    history = history_of(MemoryStorage())
    history.append(Z(1, 1), (b"a", b"b"))
    assert history.last == Z(1, 2)
    assert history.durable == 0
    assert list(history.runs(0, Z(1, 2), max_bytes=100)) == [Run.of(Z(1, 1), (b"a", b"b"))]


def test_nothing_lies_between_a_record_and_itself() -> None:
    history = history_of(MemoryStorage())
    history.append(Z(1, 1), (b"a", b"b", b"c"))
    assert [list(history.runs(Z(1, n), Z(1, n), max_bytes=100)) for n in (1, 2, 3)] == [[], [], []]


def test_only_a_confirmation_makes_durable() -> None:
    history = history_of(MemoryStorage())
    history.append(Z(1, 1), (b"a",))
    history.confirm()
    assert history.durable == Z(1, 1)


def test_what_was_cut_is_not_durable_any_more() -> None:
    history = history_of(stored((1, 5)))
    history.truncate(Z(1, 2))
    history.append(Z(2, 1), (b"x",))
    assert (history.last, history.durable) == (Z(2, 1), Z(1, 2))
    assert history.summary.epoch_ends == (Z(1, 2), Z(2, 1))


def test_records_that_the_storage_still_holds_but_the_log_has_cut_are_not_read() -> None:
    history = history_of(stored((1, 5)))
    history.truncate(Z(1, 2))
    assert zxids_of(history, 0, Z(1, 2)) == [Z(1, 1), Z(1, 2)]
    history.append(Z(1, 3), (b"another",))
    assert [run.payloads for run in history.runs(Z(1, 2), Z(1, 3), max_bytes=100)] == [(b"another",)]


def test_nothing_of_an_installed_log_is_durable_until_it_is_saved() -> None:
    history = history_of(stored((1, 5)))
    history.install(SnapshotRef(Z(2, 7)))
    assert (history.base, history.last, history.durable) == (Z(2, 7), Z(2, 7), 0)
    assert (history.snapshot, history.durable_snapshot) == (Z(2, 7), 0)
    history.confirm()
    assert (history.durable, history.durable_snapshot) == (Z(2, 7), Z(2, 7))


def test_delivered_and_durable_records_leave_memory_and_are_read_back() -> None:
    storage = MemoryStorage()
    history = history_of(storage)
    history.append(Z(1, 1), (b"a", b"b"))
    history.release(Z(1, 2))  # not durable yet: nothing must go
    assert zxids_of(history, 0, Z(1, 2)) == [Z(1, 1), Z(1, 2)]
    storage.save([Append(Z(1, 1), (b"a", b"b"))])
    history.confirm()
    history.release(Z(1, 2))
    storage.lose(0)
    with pytest.raises(InvariantViolation, match="the storage has no record"):
        zxids_of(history, 0, Z(1, 2))


def test_a_tail_over_its_size_gives_up_what_is_durable_and_nothing_else() -> None:
    storage = MemoryStorage()
    history = history_of(storage, tail_bytes=4)
    history.append(Z(1, 1), (b"aaaa",))
    history.append(Z(1, 2), (b"bbbb",))  # neither is durable
    assert zxids_of(history, 0, Z(1, 2)) == [Z(1, 1), Z(1, 2)]
    history.confirm()
    history.append(Z(1, 3), (b"cccc",))
    with pytest.raises(InvariantViolation, match="no record after 0x0_00000000"):
        zxids_of(history, 0, Z(1, 3))  # the storage, which was never told, is asked for the durable ones
    storage.save([Append(Z(1, 1), (b"aaaa", b"bbbb"))])
    assert zxids_of(history, 0, Z(1, 3)) == [Z(1, 1), Z(1, 2), Z(1, 3)]


@pytest.mark.parametrize("first", [Z(1, 5), Z(1, 7), Z(2, 0), Z(2, 2), 0])
def test_a_log_takes_no_gap(first: Zxid) -> None:
    with pytest.raises(InvariantViolation, match="does not follow"):
        history_of(stored((1, 5))).append(first, (b"x",))


def test_a_log_takes_nothing_for_something() -> None:
    with pytest.raises(InvariantViolation, match="does not follow"):
        history_of(stored((1, 5))).append(Z(1, 6), ())


@pytest.mark.parametrize("zxid", [0, Z(1, 2), Z(1, 9), Z(2, 0), Z(3, 9)])
def test_a_log_is_cut_and_compacted_only_where_it_has_a_record(zxid: Zxid) -> None:
    storage = stored((1, 5), (3, 2), base=Z(1, 3))
    with pytest.raises(InvariantViolation, match="not in it"):
        history_of(storage).truncate(zxid)
    with pytest.raises(InvariantViolation, match="not in it"):
        history_of(storage).compact(SnapshotRef(zxid), Z(1, 4))
    with pytest.raises(InvariantViolation, match="not in it"):
        history_of(storage).compact(SnapshotRef(Z(3, 2)), zxid)


def test_a_log_is_not_compacted_beyond_the_snapshot_that_takes_its_place() -> None:
    with pytest.raises(InvariantViolation, match="cannot compact"):
        history_of(stored((1, 5))).compact(SnapshotRef(Z(1, 3)), Z(1, 4))


def test_a_log_is_never_cut_behind_its_snapshot() -> None:
    storage = stored((1, 5), base=Z(1, 2), at=Z(1, 4))
    with pytest.raises(InvariantViolation, match="in its snapshot"):
        history_of(storage).truncate(Z(1, 3))
    history = history_of(storage)
    history.truncate(Z(1, 4))
    assert history.last == Z(1, 4)


# --- the log behind the snapshot


RETAINED = [Z(1, 3), Z(1, 4), Z(1, 5), Z(3, 1), Z(3, 2), Z(7, 1), Z(7, 2)]
"""The base of a log, and all its records."""


def retained() -> History:
    return history_of(stored((1, 5), (3, 2), (7, 2), base=RETAINED[0], at=Z(3, 1)))


@pytest.mark.parametrize("position", range(len(RETAINED)))
@pytest.mark.parametrize("count", range(len(RETAINED) + 2))
def test_so_many_records_before_another_across_epochs(position: int, count: int) -> None:
    assert retained().records_before(RETAINED[position], count) == RETAINED[max(position - count, 0)]


def test_no_base_at_all_is_the_zxid_0() -> None:
    history = history_of(stored((1, 2), (4, 1)))
    assert [history.records_before(Z(4, 1), count) for count in range(5)] == [Z(4, 1), Z(1, 2), Z(1, 1), 0, 0]


@pytest.mark.parametrize("position", range(len(RETAINED)))
def test_how_many_records_come_after_another(position: int) -> None:
    assert retained().count_after(RETAINED[position]) == len(RETAINED) - 1 - position


def test_who_has_nothing_lacks_all_there_is() -> None:
    assert retained().count_after(0) == len(RETAINED) - 1
    assert retained().count_after(Z(2, 9)) == 4, "a zxid that is not in this log counts up to where it would be"


def test_only_the_part_after_the_snapshot_is_told_to_another_leader() -> None:
    assert retained().summary == LogSummary(Z(1, 3), (Z(1, 5), Z(3, 2), Z(7, 2)))
    assert retained().summary_after_snapshot == LogSummary(Z(3, 1), (Z(3, 2), Z(7, 2)))
    at_the_end = history_of(stored((1, 5), base=Z(1, 2), at=Z(1, 5)))
    assert at_the_end.summary_after_snapshot == LogSummary(Z(1, 5), (Z(1, 5),))


@pytest.mark.parametrize(
    ("epoch", "last"), [(0, Z(1, 3)), (1, Z(1, 5)), (2, Z(1, 5)), (3, Z(3, 2)), (4, Z(3, 2)), (5, Z(5, 1))]
)
def test_the_last_record_within_an_epoch(epoch: int, last: Zxid) -> None:
    history = history_of(stored((1, 5), (3, 2), (5, 1), base=Z(1, 3)))
    assert history.last_within(epoch) == last


def test_what_is_in_the_snapshot_is_within_every_epoch() -> None:
    history = history_of(stored((1, 5), (3, 2), (5, 1), base=Z(1, 3), at=Z(3, 1)))
    assert [history.last_within(epoch) for epoch in range(5)] == [Z(3, 1)] * 3 + [Z(3, 2)] * 2


@pytest.mark.parametrize(
    ("after", "upto", "part"),
    [
        (0, Z(9, 9), (1, 4)),
        (Z(1, 9), Z(2, 2), (1, 2)),
        (Z(2, 1), Z(2, 3), (2, 3)),
        (Z(2, 3), Z(3, 1), (4, 4)),
    ],
)
def test_a_part_of_a_run(after: Zxid, upto: Zxid, part: tuple[int, int]) -> None:
    records = batch(2, 1, 4)
    run = Run.of(records.first, records.payloads)
    expected = batch(2, *part)
    assert run.within(after, upto) == Run.of(expected.first, expected.payloads)


@pytest.mark.parametrize(("room", "count"), [(1, 1), (3, 1), (4, 2), (6, 3), (99, 3)])
def test_what_fits_of_a_run_is_at_least_one_record(room: int, count: int) -> None:
    run = Run.of(Z(1, 1), (b"aa", b"bb", b"cc"))
    assert run.fitting(room) == Run.of(Z(1, 1), run.payloads[:count])


# --- everything in any order


class AgainstAList(RuleBasedStateMachine):
    """The model is the list of all records after the base. Writes wait, as in a Ready, until `confirm` saves them."""

    @initialize(tail_bytes=st.sampled_from([1, 12, 1 << 20]))
    def begin(self, tail_bytes: int) -> None:
        self.storage = MemoryStorage()
        self.history = History(Saved(), self.storage, tail_bytes=tail_bytes)
        self.base: Zxid = 0
        self.snapshot: Zxid = 0
        self.records: list[tuple[Zxid, bytes]] = []
        self.writes: list[Write] = []
        self.written = 0  # makes payloads differ, however often a zxid is used again

    @property
    def last(self) -> Zxid:
        return self.records[-1][0] if self.records else self.base

    @property
    def members(self) -> list[Zxid]:
        return [self.base, *(zxid for zxid, _ in self.records)]

    @rule(count=st.integers(1, 4), skip=st.integers(0, 2))
    def append(self, count: int, skip: int) -> None:
        first = self.last + 1 if skip == 0 and self.last else Z(epoch_of(self.last) + max(skip, 1), 1)
        self.written += 1
        payloads = tuple(payload(first + i) + b"/%d" % self.written for i in range(count))
        self.history.append(first, payloads)
        self.records += [(first + i, each) for i, each in enumerate(payloads)]
        self.writes.append(Append(first, payloads))

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        zxid = data.draw(st.sampled_from([z for z in self.members if z >= self.snapshot]))
        self.history.truncate(zxid)
        self.records = [record for record in self.records if record[0] <= zxid]
        self.writes.append(Truncate(zxid))

    @rule(epochs=st.integers(0, 2), counter=st.integers(1, 5))
    def install(self, epochs: int, counter: int) -> None:
        ref = SnapshotRef(max(Z(epoch_of(self.base) + epochs, counter), self.base + 1))
        self.history.install(ref)
        self.base, self.snapshot, self.records = ref.zxid, ref.zxid, []
        self.writes += [SnapshotChunk(ref, 0, b"state"), InstallSnapshot(ref, 5)]

    @precondition(lambda self: self.history.base <= self.history.durable)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        newer = [z for z in self.members if self.snapshot < z <= self.history.durable]
        if not newer or any(isinstance(write, Compact) for write in self.writes):
            return  # the Peer ignores what is no newer than the snapshot, and makes one compaction at a time
        ref = SnapshotRef(data.draw(st.sampled_from(newer)))
        upto = data.draw(st.sampled_from([z for z in self.members if z <= ref.zxid]))
        self.storage.save_snapshot(ref, [b"state"])
        self.history.compact(ref, upto)
        self.base, self.snapshot = upto, ref.zxid
        self.records = [record for record in self.records if record[0] > upto]
        self.writes.append(Compact(ref, upto))

    @rule()
    def confirm(self) -> None:
        self.storage.save(self.writes)
        self.writes.clear()
        self.history.confirm()
        saved = self.storage.load()
        assert (saved.base, saved.snapshot, saved.last, saved.epoch_ends) == (
            self.history.base, self.history.durable_snapshot, self.history.durable, self.history.summary.epoch_ends
        )  # fmt: skip

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.history.release(data.draw(st.sampled_from(self.members)))

    @rule(data=st.data(), max_bytes=st.sampled_from([1, 9, 1 << 20]))
    def read(self, data: st.DataObject, max_bytes: int) -> None:
        after, upto = sorted((data.draw(st.sampled_from(self.members)), data.draw(st.sampled_from(self.members))))
        runs = list(self.history.runs(after, upto, max_bytes=max_bytes))
        assert all(run.payloads and run.size == sum(map(len, run.payloads)) for run in runs)
        read = [(run.first + index, each) for run in runs for index, each in enumerate(run.payloads)]
        assert read == [record for record in self.records if after < record[0] <= upto]

    @invariant()
    def it_knows_where_everything_ends(self) -> None:
        assert (self.history.base, self.history.snapshot, self.history.last) == (self.base, self.snapshot, self.last)
        ends = {epoch_of(zxid): zxid for zxid in self.members if zxid}
        assert self.history.summary == type(self.history.summary)(self.base, tuple(ends.values()))
        for position, zxid in enumerate(self.members):
            assert self.history.count_after(zxid) == len(self.records) - position
            assert self.history.records_before(zxid, 2) == self.members[max(position - 2, 0)]
        for zxid in {z + d for z in self.members for d in (-1, 0, 1)} | {Z(epoch_of(z), 0) for z in self.members}:
            if zxid >= 0:
                assert (zxid in self.history) is (zxid in self.members)

    @invariant()
    def a_crash_now_would_leave_what_it_calls_durable(self) -> None:
        durable = self.history.durable
        if durable < self.history.durable_snapshot:
            return  # a snapshot is being installed: nothing is claimed
        assert counter_of(durable) > 0 or durable == 0
        saved = self.storage.load()
        on_disk = {(e.zxid, e.payload) for e in self.storage.entries(saved.base, 1 << 40)}
        assert all(record in on_disk for record in self.records if saved.base < record[0] <= durable)


TestHistoryAgainstAList = AgainstAList.TestCase
TestHistoryAgainstAList.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
