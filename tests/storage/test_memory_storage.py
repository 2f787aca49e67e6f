"""The storage in memory keeps the contract, refuses what would break the log, and fails as it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import InvariantViolation, StorageFailedError, StorageFullError
from zkcore.storage import MemoryStorage, Storage
from zkcore.storage.storage import prefix_of
from zkcore.testing.contracts import StorageContract
from zkcore.zab.ready import (
    Append,
    Compact,
    Entry,
    InstallSnapshot,
    Saved,
    SaveEpochs,
    SnapshotChunk,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid, make_zxid

Z = make_zxid
EVERYTHING = 1 << 30


class TestMemoryStorage(StorageContract):
    def make_storage(self) -> Storage:
        return MemoryStorage()

    def reopen(self, storage: Storage) -> Storage:
        """A new storage with what the old one held, which then is dead: so the contract must not use it any more."""
        assert isinstance(storage, MemoryStorage)
        fresh = MemoryStorage()
        fresh.__dict__.update(storage.__dict__)
        storage.fail("reopened")
        with pytest.raises(StorageFailedError):
            storage.save([])
        return fresh


# --- broken storages, each caught by the promise it breaks -----------------------------------------------------------


class LosesAnAppend(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        super().save([write for write in writes if not (isinstance(write, Append) and write.payloads == (b"four",))])


class LosesTheLastWrite(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        super().save(writes[:-1] if len(writes) > 3 else writes)


class ForgetsTheAcceptedEpoch(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        return Saved(saved.current_epoch, saved.current_epoch, saved.base, saved.last, saved.epoch_ends)


class ShowsOnlyTheLastEpoch(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        return Saved(saved.accepted_epoch, saved.current_epoch, saved.base, saved.last, saved.epoch_ends[-1:])


class ForgetsTheEpochOfTheBase(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        ends = saved.epoch_ends if saved.last != saved.base else ()
        return Saved(saved.accepted_epoch, saved.current_epoch, saved.base, saved.last, ends)


class NamesTheWrongBase(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        base = saved.base + 1 if saved.base and saved.base != saved.last else saved.base
        return Saved(saved.accepted_epoch, saved.current_epoch, base, saved.last, saved.epoch_ends)


class GivesWhatFitsOnly(MemoryStorage):
    def entries(self, after: Zxid, max_bytes: int) -> Sequence[Entry]:
        found = list(super().entries(after, max_bytes))
        return found if sum(len(entry.payload) for entry in found) <= max_bytes else []


class GivesOneTooMany(MemoryStorage):
    def entries(self, after: Zxid, max_bytes: int) -> Sequence[Entry]:
        return super().entries(after, max_bytes + 1)


class BeginsWithTheRecordItself(MemoryStorage):
    def entries(self, after: Zxid, max_bytes: int) -> Sequence[Entry]:
        begins_epoch = after & 0xFFFFFFFF == 1
        return super().entries(after if begins_epoch or after == self.load().base else after - 1, max_bytes)


class TruncatesOneShort(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        last = self.load().last
        super().save([w for w in writes if not (isinstance(w, Truncate) and w.zxid + 2 == last)])


class KeepsTheLogAtInstallation(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        before = self._log
        super().save(writes)
        if any(isinstance(write, InstallSnapshot) for write in writes):
            self._log = before


class ContinuesAtOffset0(MemoryStorage):
    def _put_aside(self, chunk: SnapshotChunk) -> None:
        shadow = self._shadow
        if chunk.offset == 0 and shadow is not None and shadow.ref == chunk.ref:
            chunk = SnapshotChunk(chunk.ref, shadow.size, chunk.data)
        super()._put_aside(chunk)


class InstallsEachPiece(MemoryStorage):
    def _put_aside(self, chunk: SnapshotChunk) -> None:
        super()._put_aside(chunk)
        self._log.base = self._log.last = chunk.ref.zxid
        self._log.runs = []


class KeepsOnlyTheNewestSnapshot(MemoryStorage):
    def _prune_snapshots(self) -> None:
        self._snapshots = dict(sorted(self._snapshots.items())[-1:])


class KeepsOnlyTheOldestSnapshots(MemoryStorage):
    def _prune_snapshots(self) -> None:
        self._snapshots = dict(sorted(self._snapshots.items())[:2])


class JoinsSnapshotsBackwards(MemoryStorage):
    def save_snapshot(self, ref: SnapshotRef, chunks: Iterable[bytes]) -> None:
        super().save_snapshot(ref, list(chunks)[::-1])


class SnapshotsCompactAtOnce(MemoryStorage):
    def save_snapshot(self, ref: SnapshotRef, chunks: Iterable[bytes]) -> None:
        super().save_snapshot(ref, chunks)
        self._log.compact(ref.zxid)


class ReadsUnknownSnapshotsAsEmpty(MemoryStorage):
    def read_snapshot(self, ref: SnapshotRef, offset: int, size: int) -> bytes:
        return super().read_snapshot(ref, offset, size) if ref.zxid in self._snapshots else b""


class NeverCompacts(MemoryStorage):
    def _compact(self, ref: SnapshotRef) -> None:
        pass


class StartsFull(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        return saved if saved.accepted_epoch else Saved(1, 0, saved.base, saved.last, saved.epoch_ends)


CAUGHT: list[tuple[type[MemoryStorage], str]] = [
    (StartsFull, "a_new_storage_is_empty"),
    (ForgetsTheAcceptedEpoch, "epochs_are_saved_together"),
    (LosesAnAppend, "records_are_read_back_as_they_were_appended"),
    (ShowsOnlyTheLastEpoch, "epochs_of_the_log_may_be_left_out"),
    (LosesTheLastWrite, "one_save_holds_many_writes_in_order"),
    (BeginsWithTheRecordItself, "entries_begin_after_any_record"),
    (GivesOneTooMany, "entries_stop_before_too_many_bytes"),
    (GivesWhatFitsOnly, "entries_give_one_record_however_large"),
    (ShowsOnlyTheLastEpoch, "truncation_removes_what_comes_after"),
    (TruncatesOneShort, "another_history_may_follow_a_truncation"),
    (JoinsSnapshotsBackwards, "a_snapshot_is_read_back_in_pieces"),
    (SnapshotsCompactAtOnce, "a_snapshot_is_read_back_in_pieces"),
    (KeepsOnlyTheNewestSnapshot, "the_newest_snapshot_and_that_at_the_base_are_kept"),
    (KeepsOnlyTheOldestSnapshots, "the_newest_snapshot_and_that_at_the_base_are_kept"),
    (ReadsUnknownSnapshotsAsEmpty, "a_snapshot_that_is_not_kept_is_a_lookup_error"),
    (NeverCompacts, "compaction_forgets_the_records_of_the_snapshot"),
    (NamesTheWrongBase, "compaction_forgets_the_records_of_the_snapshot"),
    (ForgetsTheEpochOfTheBase, "the_log_goes_on_after_compaction"),
    (InstallsEachPiece, "pieces_put_aside_change_nothing_yet"),
    (KeepsTheLogAtInstallation, "an_installed_snapshot_replaces_the_log"),
    (ContinuesAtOffset0, "a_piece_at_offset_0_begins_anew"),
    (NeverCompacts, "any_history_reads_as_it_was_written"),
    (NamesTheWrongBase, "any_history_reads_as_it_was_written"),
]


@pytest.mark.parametrize(("broken", "promise"), CAUGHT, ids=lambda value: value if isinstance(value, str) else None)
def test_the_contract_catches(broken: type[MemoryStorage], promise: str) -> None:
    class Broken(StorageContract):
        def make_storage(self) -> Storage:
            return broken()

    # A broken storage may also trip over its own checks.
    with pytest.raises((AssertionError, InvariantViolation)):
        getattr(Broken(), f"test_{promise}")()


def test_every_promise_of_the_contract_can_be_broken() -> None:
    promises = {name.removeprefix("test_") for name in vars(StorageContract) if name.startswith("test_")}
    assert promises == {promise for _, promise in CAUGHT}


# --- what it refuses -------------------------------------------------------------------------------------------------


def filled() -> MemoryStorage:
    """Epochs 4 and 3; a snapshot at (1, 2), where the log begins; records (1, 3), (1, 4), (3, 1); 4 bytes put aside."""
    storage = MemoryStorage()
    storage.save([SaveEpochs(4, 3), Append(Z(1, 1), (b"a", b"b", b"c", b"d")), Append(Z(3, 1), (b"e",))])
    storage.save_snapshot(SnapshotRef(Z(1, 2)), [b"state"])
    storage.save([Compact(SnapshotRef(Z(1, 2))), SnapshotChunk(SnapshotRef(Z(4, 4)), 0, b"abcd")])
    return storage


@pytest.mark.parametrize(
    "write",
    [
        Append(Z(3, 1), (b"again",)),
        Append(Z(3, 3), (b"gap",)),
        Append(Z(4, 2), (b"not the first of its epoch",)),
        Append(Z(2, 1), (b"an earlier epoch",)),
        Append(Z(3, 2), ()),
        Append(Z(4, 1), ()),
        Truncate(Z(1, 1)),
        Truncate(0),
        Truncate(Z(1, 5)),
        Truncate(Z(2, 1)),
        Truncate(Z(3, 2)),
        SaveEpochs(3, 3),
        SaveEpochs(4, 2),
        SaveEpochs(5, 6),
        Compact(SnapshotRef(Z(1, 3))),
        Compact(SnapshotRef(Z(9, 9))),
        SnapshotChunk(SnapshotRef(Z(4, 4)), 3, b"overlap"),
        SnapshotChunk(SnapshotRef(Z(4, 4)), 5, b"gap"),
        SnapshotChunk(SnapshotRef(Z(4, 5)), 4, b"another snapshot"),
        InstallSnapshot(SnapshotRef(Z(4, 4)), 3),
        InstallSnapshot(SnapshotRef(Z(4, 4)), 5),
        InstallSnapshot(SnapshotRef(Z(4, 5)), 4),
    ],
    ids=repr,
)
def test_it_refuses(write: Write) -> None:
    storage = filled()
    before = storage.load(), storage.entries(Z(1, 2), EVERYTHING), storage.size_bytes
    with pytest.raises(InvariantViolation):
        storage.save([write])
    assert (storage.load(), storage.entries(Z(1, 2), EVERYTHING), storage.size_bytes) == before


def test_records_do_not_run_over_the_end_of_an_epoch() -> None:
    storage = MemoryStorage()
    ref = SnapshotRef(Z(1, 0xFFFFFFFE))
    storage.save([SnapshotChunk(ref, 0, b"x"), InstallSnapshot(ref, 1)])
    with pytest.raises(InvariantViolation):
        storage.save([Append(Z(1, 0xFFFFFFFF), (b"the last", b"one more"))])
    storage.save([Append(Z(1, 0xFFFFFFFF), (b"the last",))])


@pytest.mark.parametrize("after", [Z(1, 1), Z(1, 5), Z(2, 1), Z(3, 2)])
def test_entries_after_what_is_not_in_the_log_are_refused(after: Zxid) -> None:
    with pytest.raises(InvariantViolation):
        filled().entries(after, EVERYTHING)


def test_a_snapshot_of_what_was_never_saved_is_refused() -> None:
    with pytest.raises(InvariantViolation):
        filled().save_snapshot(SnapshotRef(Z(3, 2)), [b"ahead of the log"])


def test_a_snapshot_whose_making_fails_changes_nothing() -> None:
    storage = filled()

    def chunks() -> Iterable[bytes]:
        yield b"half of"
        raise OSError("the application broke")

    with pytest.raises(OSError, match="broke"):
        storage.save_snapshot(SnapshotRef(Z(1, 2)), chunks())
    assert storage.read_snapshot(SnapshotRef(Z(1, 2)), 0, 99) == b"state"


def test_one_snapshot_older_than_the_newest_is_kept() -> None:
    # protocol.md 1.7, D11
    storage = MemoryStorage()
    storage.save([Append(Z(1, 1), (b"a", b"b", b"c", b"d"))])
    for counter in (1, 2, 3):
        storage.save_snapshot(SnapshotRef(Z(1, counter)), [b"at %d" % counter])
    storage.save([Compact(SnapshotRef(Z(1, 3)))])
    assert storage.read_snapshot(SnapshotRef(Z(1, 2)), 0, 99) == b"at 2"
    with pytest.raises(LookupError):
        storage.read_snapshot(SnapshotRef(Z(1, 1)), 0, 99)


@pytest.mark.parametrize(
    "replacing",
    [
        [Truncate(Z(1, 1))],
        [SnapshotChunk(SnapshotRef(Z(1, 1)), 0, b"x"), InstallSnapshot(SnapshotRef(Z(1, 1)), 1)],
    ],
    ids=["truncation", "installation"],
)
def test_snapshots_of_a_history_that_was_replaced_are_forgotten(replacing: list[Write]) -> None:
    # protocol.md 1.7, D3
    storage = MemoryStorage()
    storage.save([Append(Z(1, 1), (b"a", b"b"))])
    storage.save_snapshot(SnapshotRef(Z(1, 2)), [b"wrong"])
    storage.save(replacing)
    with pytest.raises(LookupError):
        storage.read_snapshot(SnapshotRef(Z(1, 2)), 0, 99)


# --- how it fails ----------------------------------------------------------------------------------------------------

BATCH: list[Write] = [SaveEpochs(1, 1), Append(Z(1, 1), (b"a", b"b", b"c")), SaveEpochs(2, 1), Append(Z(2, 1), (b"d",))]


@pytest.mark.parametrize(
    ("writes_kept", "records_kept", "saved", "payloads"),
    [
        (0, 0, Saved(), []),
        (0, 2, Saved(), []),
        (1, 0, Saved(1, 1), []),
        (1, 2, Saved(1, 1, last=Z(1, 2), epoch_ends=(Z(1, 2),)), [b"a", b"b"]),
        (1, 9, Saved(1, 1, last=Z(1, 3), epoch_ends=(Z(1, 3),)), [b"a", b"b", b"c"]),
        (2, 5, Saved(1, 1, last=Z(1, 3), epoch_ends=(Z(1, 3),)), [b"a", b"b", b"c"]),
        (9, 9, Saved(2, 1, last=Z(2, 1), epoch_ends=(Z(1, 3), Z(2, 1))), [b"a", b"b", b"c", b"d"]),
    ],
)
def test_a_crash_and_a_failure_leave_a_prefix(
    writes_kept: int, records_kept: int, saved: Saved, payloads: list[bytes]
) -> None:
    crashed = MemoryStorage()
    crashed.save_prefix(BATCH, writes_kept, records_kept=records_kept)
    failed = MemoryStorage()
    failed.fail("the disk broke", writes_kept=writes_kept, records_kept=records_kept)
    with pytest.raises(StorageFailedError, match="the disk broke"):
        failed.save(BATCH)
    failed.reopen()
    for storage in (crashed, failed):
        assert storage.load() == saved
        assert [entry.payload for entry in storage.entries(0, EVERYTHING)] == payloads


@given(st.integers(0, 5), st.integers(0, 4))
def test_every_prefix_is_a_prefix_of_the_records_and_of_the_writes(writes_kept: int, records_kept: int) -> None:
    kept = prefix_of(BATCH, writes_kept, records_kept=records_kept)
    assert kept[:writes_kept] == BATCH[:writes_kept]
    for torn, whole in zip(kept[writes_kept:], BATCH[writes_kept:], strict=False):
        assert isinstance(torn, Append)
        assert isinstance(whole, Append)
        assert (torn.first, torn.payloads) == (whole.first, whole.payloads[:records_kept])
    assert len(kept) <= writes_kept + 1


def test_a_dead_storage_does_nothing_until_it_is_reopened() -> None:
    storage = filled()
    before = storage.load()
    storage.fail("the disk broke")
    assert storage.load() == before  # it dies of the next save
    calls: list[Callable[[], object]] = [
        lambda: storage.save([SaveEpochs(9, 9)]),
        lambda: storage.save([]),
        storage.load,
        lambda: storage.entries(Z(1, 2), EVERYTHING),
        lambda: storage.read_snapshot(SnapshotRef(Z(1, 2)), 0, 1),
        lambda: storage.save_snapshot(SnapshotRef(Z(1, 3)), [b"x"]),
    ]
    for call in calls:
        with pytest.raises(StorageFailedError, match="the disk broke"):
            call()
    storage.reopen()
    assert storage.load() == before


def test_reopening_calls_a_failure_off() -> None:
    storage = MemoryStorage()
    storage.fail("not today")
    storage.reopen()
    storage.save([SaveEpochs(1, 0)])
    assert storage.load() == Saved(1, 0)


def test_a_disk_that_is_full_and_dies_is_dead() -> None:
    storage = MemoryStorage()
    storage.fill(2)
    storage.fail("the disk broke", writes_kept=4)
    with pytest.raises(StorageFailedError):
        storage.save(BATCH)
    storage.reopen()
    assert storage.load() == Saved(1, 1)


def test_a_full_storage_refuses_what_takes_room_and_goes_on() -> None:
    storage = filled()
    storage.fill(storage.size_bytes + 2)
    for write in (Append(Z(3, 2), (b"three",)), SnapshotChunk(SnapshotRef(Z(4, 4)), 4, b"efg")):
        with pytest.raises(StorageFullError):
            storage.save([write])
    with pytest.raises(StorageFullError):
        storage.save_snapshot(SnapshotRef(Z(1, 3)), [b"state"])
    storage.save([SaveEpochs(5, 5), Append(Z(3, 2), (b"ff",))])
    with pytest.raises(StorageFullError):
        storage.save([Append(Z(3, 3), (b"g",))])
    storage.save([Truncate(Z(1, 4)), Append(Z(4, 1), (b"ggg",))])  # what was removed makes room
    storage.fill(None)
    storage.save([Append(Z(4, 2), (b"h" * 100,))])
    assert [entry.payload for entry in storage.entries(Z(1, 4), EVERYTHING)] == [b"ggg", b"h" * 100]


def test_size_is_the_sum_of_what_is_there() -> None:
    storage = filled()
    assert storage.size_bytes == len(b"c" + b"d" + b"e" + b"state" + b"abcd")
    storage.save([InstallSnapshot(SnapshotRef(Z(4, 4)), 4)])
    assert storage.size_bytes == len(b"state" + b"abcd")
    storage.save([Append(Z(4, 5), (b"12", b"345")), Truncate(Z(4, 5))])
    assert storage.size_bytes == len(b"state" + b"abcd" + b"12")


def test_compaction_and_truncation_over_several_epochs_make_room() -> None:
    storage = filled()
    storage.save([Append(Z(3, 2), (b"ff", b"ggg")), Append(Z(4, 1), (b"hhhh",)), Append(Z(6, 1), (b"iiiii",))])
    storage.save_snapshot(SnapshotRef(Z(3, 2)), [b""])
    storage.save([Compact(SnapshotRef(Z(3, 2)))])
    assert storage.size_bytes == len(b"ggg" + b"hhhh" + b"iiiii" + b"state" + b"abcd")
    storage.save([Truncate(Z(3, 3))])
    assert storage.size_bytes == len(b"ggg" + b"state" + b"abcd")


def test_a_wiped_storage_is_a_new_one() -> None:
    storage = filled()
    storage.wipe()
    assert storage.load() == Saved()
    assert storage.size_bytes == 0
    with pytest.raises(LookupError):
        storage.read_snapshot(SnapshotRef(Z(1, 2)), 0, 1)
    storage.save([SaveEpochs(1, 0), Append(Z(1, 1), (b"a",))])
    assert storage.load() == Saved(1, 0, last=Z(1, 1), epoch_ends=(Z(1, 1),))


@pytest.mark.parametrize(
    ("after", "saved"),
    [
        (Z(1, 3), Saved(4, 3, Z(1, 2), Z(1, 3), (Z(1, 3),))),
        (Z(1, 2), Saved(4, 3, Z(1, 2), Z(1, 2), (Z(1, 2),))),
        (Z(1, 1), Saved(4, 3)),
        (0, Saved(4, 3)),
    ],
)
def test_an_old_backup_lacks_the_newest_records(after: Zxid, saved: Saved) -> None:
    storage = filled()
    storage.lose(after)
    assert storage.load() == saved


def test_an_old_backup_from_before_the_base_begins_at_an_older_snapshot() -> None:
    storage = filled()
    storage.save_snapshot(SnapshotRef(Z(3, 1)), [b"newer"])
    storage.save([Compact(SnapshotRef(Z(3, 1)))])
    storage.lose(Z(1, 4))
    assert storage.load() == Saved(4, 3, Z(1, 2), Z(1, 2), (Z(1, 2),))
    assert storage.read_snapshot(SnapshotRef(Z(1, 2)), 0, 99) == b"state"
    with pytest.raises(LookupError):
        storage.read_snapshot(SnapshotRef(Z(3, 1)), 0, 99)
