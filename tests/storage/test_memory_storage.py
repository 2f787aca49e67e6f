"""The storage in memory keeps the contract, refuses what would break the log, and fails as it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from attrs import evolve
from damaged import damaged
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import InvariantViolation, StorageFailedError, StorageFullError
from zkcore.storage import MemoryStorage, Storage
from zkcore.storage.storage import prefix_of
from zkcore.testing.contracts import StorageContract
from zkcore.zab.messages import Damage
from zkcore.zab.ready import (
    Append,
    Compact,
    InstallSnapshot,
    Repair,
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

    def make_damaged_storage(self, damage: Damage) -> Storage:
        return damaged(MemoryStorage(), damage)

    def reopen(self, storage: Storage) -> Storage:
        """A new storage with what the old one held, which then is dead: so the contract must not use it any more."""
        assert isinstance(storage, MemoryStorage)
        fresh = MemoryStorage()
        fresh.__dict__.update(storage.__dict__)
        storage.fail("reopened")
        with pytest.raises(StorageFailedError):
            storage.save([])
        return fresh


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


def with_a_tail() -> MemoryStorage:
    """Epochs 4 and 3; records (1, 3), (1, 4), (3, 1), (3, 2) after the base (1, 2); the snapshot to begin with at
    (3, 1), older ones at (1, 4) and, behind the base, at (1, 1)."""
    storage = MemoryStorage()
    storage.save([SaveEpochs(4, 3), Append(Z(1, 1), (b"a", b"b", b"c", b"d")), Append(Z(3, 1), (b"e", b"f"))])
    storage.save_snapshot(SnapshotRef(Z(3, 1)), [b"state"])
    storage.save([Compact(SnapshotRef(Z(3, 1)), Z(1, 2))])
    storage.save_snapshot(SnapshotRef(Z(1, 1)), [b"oldest"])
    storage.save_snapshot(SnapshotRef(Z(1, 4)), [b"older"])
    return storage


@pytest.mark.parametrize(
    "write",
    [
        Truncate(Z(1, 4)),
        Truncate(Z(1, 2)),
        Truncate(0),
        Compact(SnapshotRef(Z(1, 4))),
        Compact(SnapshotRef(Z(1, 4)), Z(1, 2)),
        Compact(SnapshotRef(Z(1, 1))),
        Compact(SnapshotRef(Z(3, 1)), Z(3, 2)),
        Compact(SnapshotRef(Z(3, 1)), Z(1, 5)),
        Compact(SnapshotRef(Z(3, 1)), Z(1, 1)),
        Compact(SnapshotRef(Z(3, 1)), 0),
    ],
    ids=repr,
)
def test_it_refuses_to_go_behind_the_snapshot_or_the_base(write: Write) -> None:
    storage = with_a_tail()
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


def test_a_snapshot_of_what_is_no_record_is_not_begun_with() -> None:
    storage = filled()
    storage.save_snapshot(SnapshotRef(Z(2, 1)), [b"of an epoch that was left out"])
    with pytest.raises(InvariantViolation):
        storage.save([Compact(SnapshotRef(Z(2, 1)), Z(1, 3))])


def test_a_snapshot_whose_making_fails_changes_nothing() -> None:
    storage = filled()

    def chunks() -> Iterable[bytes]:
        yield b"half of"
        raise OSError("the application broke")

    with pytest.raises(OSError, match="broke"):
        storage.save_snapshot(SnapshotRef(Z(1, 2)), chunks())
    assert storage.read_snapshot(SnapshotRef(Z(1, 2)), 0, 99) == b"state"


def test_a_snapshot_of_a_storage_that_dies_while_it_is_made_is_not_kept() -> None:
    storage = filled()

    def chunks() -> Iterable[bytes]:
        yield b"half of"
        storage.fail("the cable came loose")
        with pytest.raises(StorageFailedError):
            storage.save([])
        yield b" a state"

    with pytest.raises(StorageFailedError, match="cable"):
        storage.save_snapshot(SnapshotRef(Z(1, 3)), chunks())
    storage.reopen()
    with pytest.raises(LookupError):
        storage.read_snapshot(SnapshotRef(Z(1, 3)), 0, 99)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 99])
def test_a_snapshot_reads_the_same_whatever_the_pieces_it_came_in(size: int) -> None:
    storage = filled()
    storage.save_snapshot(SnapshotRef(Z(1, 3)), [b"ab", b"", b"c", b"defg", b""])
    reads = [storage.read_snapshot(SnapshotRef(Z(1, 3)), offset, size) for offset in range(9)]
    assert reads == [b"abcdefg"[offset : offset + size] for offset in range(9)]


def test_one_snapshot_older_than_the_newest_is_kept() -> None:
    # protocol.md 1.7, D11
    storage = MemoryStorage()
    storage.save([Append(Z(1, 1), (b"a", b"b", b"c", b"d"))])
    for counter in (1, 2, 3):
        storage.save_snapshot(SnapshotRef(Z(1, counter)), [b"at %d" % counter])
        if counter != 2:
            storage.save([Compact(SnapshotRef(Z(1, counter)))])
    assert storage.read_snapshot(SnapshotRef(Z(1, 2)), 0, 99) == b"at 2"
    with pytest.raises(LookupError):
        storage.read_snapshot(SnapshotRef(Z(1, 1)), 0, 99)


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
    with pytest.raises(StorageFullError):
        storage.load()  # whoever begins again would come no further
    storage.save([Truncate(Z(1, 4)), Append(Z(4, 1), (b"ggg",))])  # what was removed makes room
    assert storage.load().last == Z(4, 1)
    with pytest.raises(StorageFullError):
        storage.save([Append(Z(4, 2), (b"h" * 100,))])
    storage.fill(None)
    assert storage.load().last == Z(4, 1)
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


def test_a_tail_takes_room_until_it_is_compacted() -> None:
    storage = with_a_tail()
    snapshots = len(b"state" + b"oldest" + b"older")
    assert storage.size_bytes == len(b"c" + b"d" + b"e" + b"f") + snapshots
    storage.save([Compact(SnapshotRef(Z(3, 1)), Z(1, 4))])
    assert storage.size_bytes == len(b"e" + b"f") + snapshots
    storage.save([Truncate(Z(3, 1)), Compact(SnapshotRef(Z(3, 1)))])
    assert storage.size_bytes == snapshots


# --- how it is damaged -----------------------------------------------------------------------------------------------


def test_a_new_storage_is_not_damaged() -> None:
    assert MemoryStorage().load().damage is None


@pytest.mark.parametrize(("noticed", "damage"), [(True, Damage.EPOCHS), (False, None)])
def test_a_wiped_storage_holds_nothing(noticed: bool, damage: Damage | None) -> None:
    storage = filled()
    storage.wipe(noticed=noticed)
    assert storage.load() == Saved(damage=damage)
    assert storage.size_bytes == 0
    with pytest.raises(LookupError):
        storage.read_snapshot(SnapshotRef(Z(1, 2)), 0, 1)
    storage.save([SaveEpochs(1, 0), Append(Z(1, 1), (b"a",))])
    assert storage.load() == Saved(1, 0, last=Z(1, 1), epoch_ends=(Z(1, 1),), damage=damage)


@pytest.mark.parametrize(
    ("after", "saved"),
    [
        (Z(3, 1), Saved(4, 3, Z(1, 2), Z(3, 1), (Z(1, 4), Z(3, 1)), Z(3, 1))),
        (Z(1, 4), Saved(4, 3, Z(1, 2), Z(1, 4), (Z(1, 4),), Z(1, 4))),  # an older snapshot, and the log up to it
        (
            Z(1, 3),
            Saved(4, 3, Z(1, 1), Z(1, 1), (Z(1, 1),)),
        ),  # the log does not reach back to what is left
        (Z(1, 2), Saved(4, 3, Z(1, 1), Z(1, 1), (Z(1, 1),))),
        (Z(1, 1), Saved(4, 3, Z(1, 1), Z(1, 1), (Z(1, 1),))),
        (0, Saved(4, 3)),
    ],
)
def test_a_storage_that_lost_its_end_holds_what_a_snapshot_reaches(after: Zxid, saved: Saved) -> None:
    storage = with_a_tail()
    records = {entry.zxid: entry for entry in storage.entries(Z(1, 2), EVERYTHING)}
    storage.lose(after)
    assert storage.load() == evolve(saved, damage=Damage.LOG)
    left = [entry for zxid, entry in records.items() if saved.base < zxid <= saved.last]
    assert storage.entries(saved.base, EVERYTHING) == left
    snapshots = {Z(1, 1): b"oldest", Z(1, 4): b"older", Z(3, 1): b"state"}
    for zxid in [zxid for zxid in snapshots if zxid > after]:
        del snapshots[zxid]
        with pytest.raises(LookupError):
            storage.read_snapshot(SnapshotRef(zxid), 0, 1)
    assert {zxid: storage.read_snapshot(SnapshotRef(zxid), 0, 9) for zxid in snapshots} == snapshots
    assert storage.size_bytes == sum(len(entry.payload) for entry in left) + sum(map(len, snapshots.values()))


def test_a_log_that_was_never_compacted_is_left_up_to_its_damage() -> None:
    storage = MemoryStorage()
    storage.save([Append(Z(1, 1), (b"a", b"b", b"c"))])
    storage.save_snapshot(SnapshotRef(Z(1, 3)), [b"state"])
    storage.save([Compact(SnapshotRef(Z(1, 3)), 0)])
    storage.lose(Z(1, 2))
    assert storage.load() == Saved(last=Z(1, 2), epoch_ends=(Z(1, 2),), damage=Damage.LOG)
    assert [entry.payload for entry in storage.entries(0, EVERYTHING)] == [b"a", b"b"]


def test_a_loss_beyond_the_snapshot_does_not_make_a_newer_one_the_one_to_begin_with() -> None:
    storage = filled()
    storage.save_snapshot(SnapshotRef(Z(1, 3)), [b"saved, and not yet compacted to"])
    storage.lose(Z(1, 4))
    assert storage.load() == Saved(4, 3, Z(1, 2), Z(1, 4), (Z(1, 4),), Z(1, 2), Damage.LOG)


def test_an_old_backup_looks_whole() -> None:
    storage = with_a_tail()
    storage.lose(Z(3, 1), noticed=False)
    assert storage.load() == Saved(4, 3, Z(1, 2), Z(3, 1), (Z(1, 4), Z(3, 1)), Z(3, 1))


def test_where_nothing_is_lost_nothing_is_damaged() -> None:
    storage = with_a_tail()
    before = storage.load()
    storage.lose(Z(3, 2))
    assert storage.load() == before


def test_what_was_not_in_the_log_cannot_be_where_it_ends() -> None:
    storage = with_a_tail()
    before = storage.load()
    for after in (Z(3, 3), Z(9, 1)):
        with pytest.raises(InvariantViolation):
            storage.lose(after)
    assert storage.load() == before
    assert storage.read_snapshot(SnapshotRef(Z(3, 1)), 0, 99) == b"state"


def test_lost_epochs_are_the_worse_damage() -> None:
    storage = damaged(MemoryStorage(), Damage.EPOCHS)
    storage.save([SaveEpochs(5, 5), Append(Z(5, 1), (b"a", b"b"))])
    storage.lose(Z(5, 1))
    assert storage.load().damage is Damage.EPOCHS
    storage = damaged(MemoryStorage(), Damage.LOG)
    storage.wipe()
    assert storage.load().damage is Damage.EPOCHS
    storage.save([Repair()])
    assert storage.load() == Saved()


def test_a_crash_before_the_repair_leaves_the_damage() -> None:
    writes: list[Write] = [SaveEpochs(4, 4), Repair()]
    for writes_kept, damage in [(0, Damage.LOG), (1, Damage.LOG), (2, None)]:
        storage = damaged(MemoryStorage(), Damage.LOG)
        storage.save_prefix(writes, writes_kept)
        assert storage.load().damage is damage
