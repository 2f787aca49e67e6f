"""Every promise of the storage's contract is asked for: a storage that breaks it is caught."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from attrs import evolve
from damaged import damaged

from zkcore.errors import InvariantViolation
from zkcore.storage import MemoryStorage, Storage
from zkcore.storage.memory_log import MemoryLog
from zkcore.testing.contracts import StorageContract
from zkcore.zab.messages import Damage
from zkcore.zab.ready import (
    Append,
    Entry,
    InstallSnapshot,
    Repair,
    Saved,
    SnapshotChunk,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid


class LosesAnAppend(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        super().save([write for write in writes if not (isinstance(write, Append) and write.payloads == (b"four",))])


class LosesTheLastWrite(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        super().save(writes[:-1] if len(writes) > 3 else writes)


class ForgetsTheAcceptedEpoch(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        return evolve(saved, accepted_epoch=saved.current_epoch)


class ShowsOnlyTheLastEpoch(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        return evolve(saved, epoch_ends=saved.epoch_ends[-1:])


class ForgetsTheEpochOfTheBase(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        return evolve(saved, epoch_ends=saved.epoch_ends if saved.last != saved.base else ())


class NamesTheWrongBase(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        return evolve(saved, base=saved.base + 1 if saved.base and saved.base != saved.last else saved.base)


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
        self._log = MemoryLog.beginning_at(chunk.ref.zxid)


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
        self._log.compact(ref.zxid, ref.zxid)


class ReadsUnknownSnapshotsAsEmpty(MemoryStorage):
    def read_snapshot(self, ref: SnapshotRef, offset: int, size: int) -> bytes:
        return super().read_snapshot(ref, offset, size) if ref.zxid in self._snapshots else b""


class NeverCompacts(MemoryStorage):
    def _compact(self, ref: SnapshotRef, upto: Zxid) -> None:
        pass


class CompactsToTheSnapshot(MemoryStorage):
    def _compact(self, ref: SnapshotRef, upto: Zxid) -> None:
        super()._compact(ref, ref.zxid)


class CompactsToASnapshotOnce(MemoryStorage):
    def _compact(self, ref: SnapshotRef, upto: Zxid) -> None:
        if ref.zxid != self.load().snapshot:
            super()._compact(ref, upto)


class BeginsAtTheBase(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        return evolve(saved, snapshot=saved.base)


class BeginsWithTheNewestSnapshot(MemoryStorage):
    def load(self) -> Saved:
        return evolve(super().load(), snapshot=max(self._snapshots, default=0))


class KeepsTheSnapshotAtTheBase(MemoryStorage):
    def _prune_snapshots(self) -> None:
        kept = {*list(self._snapshots)[-2:], self._log.base}
        self._snapshots = {zxid: data for zxid, data in self._snapshots.items() if zxid in kept}


class KeepsTheNewestAndTheOneInUse(MemoryStorage):
    def _prune_snapshots(self) -> None:
        kept = {*list(self._snapshots)[-1:], self._log.snapshot}
        self._snapshots = {zxid: data for zxid, data in self._snapshots.items() if zxid in kept}


class KeepsSnapshotsOfWhatIsGone(MemoryStorage):
    def _forget_snapshots_after(self, after: Zxid) -> None:
        pass


class TruncatesBehindTheSnapshotToo(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        super().save(writes)
        if any(isinstance(write, Truncate) and write.zxid == self._log.snapshot for write in writes):
            self._log = MemoryLog.beginning_at(self._log.snapshot)


class InstallsIntoTheLog(MemoryStorage):
    def _install(self, ref: SnapshotRef, size: int) -> None:
        before = self._log
        super()._install(ref, size)
        if before.base < ref.zxid <= before.last:
            before.compact(ref.zxid, before.base)
            self._log = before


class ForgetsPiecesAtOtherWrites(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        if not any(isinstance(write, SnapshotChunk | InstallSnapshot) for write in writes):
            self._shadow = None
        super().save(writes)


class TellsOfDamageOnce(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        self._damage = None
        return saved


class IsRepairedByEpochs(MemoryStorage):
    def _save_epochs(self, accepted: int, current: int) -> None:
        super()._save_epochs(accepted, current)
        self._damage = None


class IsRepairedByASnapshot(MemoryStorage):
    def _put_aside(self, chunk: SnapshotChunk) -> None:
        super()._put_aside(chunk)
        self._damage = None


class IsNeverRepaired(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        super().save([write for write in writes if not isinstance(write, Repair)])


class TakesNoRecordsWhileDamaged(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        super().save([write for write in writes if self._damage is None or not isinstance(write, Append)])


class KeepsLostEpochs(MemoryStorage):
    def wipe(self, *, noticed: bool = True) -> None:
        epochs = self._accepted_epoch, self._current_epoch
        super().wipe(noticed=noticed)
        self._save_epochs(*epochs)


class RepairsByEmptying(MemoryStorage):
    def save(self, writes: Sequence[Write]) -> None:
        super().save(writes)
        if any(isinstance(write, Repair) for write in writes):
            self.wipe(noticed=False)


class StartsFull(MemoryStorage):
    def load(self) -> Saved:
        saved = super().load()
        return saved if saved.accepted_epoch else evolve(saved, accepted_epoch=1)


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
    (KeepsOnlyTheNewestSnapshot, "the_newest_snapshots_and_the_one_in_use_are_kept"),
    (KeepsOnlyTheOldestSnapshots, "the_newest_snapshots_and_the_one_in_use_are_kept"),
    (KeepsTheSnapshotAtTheBase, "the_newest_snapshots_and_the_one_in_use_are_kept"),
    (KeepsTheNewestAndTheOneInUse, "the_newest_snapshots_and_the_one_in_use_are_kept"),
    (BeginsWithTheNewestSnapshot, "the_newest_snapshots_and_the_one_in_use_are_kept"),
    (KeepsTheNewestAndTheOneInUse, "compaction_may_name_the_snapshot_before_the_newest"),
    (KeepsSnapshotsOfWhatIsGone, "a_snapshot_goes_with_the_records_it_holds"),
    (ReadsUnknownSnapshotsAsEmpty, "a_snapshot_that_is_not_kept_is_a_lookup_error"),
    (NeverCompacts, "compaction_forgets_the_records_of_the_snapshot"),
    (NamesTheWrongBase, "compaction_forgets_the_records_of_the_snapshot"),
    (ForgetsTheEpochOfTheBase, "the_log_goes_on_after_compaction"),
    (CompactsToTheSnapshot, "compaction_may_leave_records_behind_the_snapshot"),
    (BeginsAtTheBase, "compaction_may_leave_records_behind_the_snapshot"),
    (CompactsToASnapshotOnce, "compaction_again_moves_the_snapshot_or_the_base"),
    (TruncatesBehindTheSnapshotToo, "truncation_leaves_the_records_behind_the_snapshot"),
    (InstallsEachPiece, "pieces_put_aside_change_nothing_yet"),
    (KeepsTheLogAtInstallation, "an_installed_snapshot_replaces_the_log"),
    (InstallsIntoTheLog, "an_installed_snapshot_leaves_nothing_behind_it"),
    (ContinuesAtOffset0, "a_piece_at_offset_0_begins_anew"),
    (ForgetsPiecesAtOtherWrites, "pieces_put_aside_are_continued_after_other_writes"),
    (TellsOfDamageOnce, "damage_is_told_until_it_is_repaired"),
    (IsRepairedByEpochs, "damage_is_told_until_it_is_repaired"),
    (IsRepairedByASnapshot, "damage_is_told_until_it_is_repaired"),
    (IsNeverRepaired, "damage_is_told_until_it_is_repaired"),
    (TakesNoRecordsWhileDamaged, "a_damaged_storage_works_like_any_other"),
    (KeepsLostEpochs, "a_damaged_storage_works_like_any_other"),
    (RepairsByEmptying, "a_repair_of_what_is_whole_changes_nothing"),
    (NeverCompacts, "any_history_reads_as_it_was_written"),
    (NamesTheWrongBase, "any_history_reads_as_it_was_written"),
    (CompactsToTheSnapshot, "any_history_reads_as_it_was_written"),
    (CompactsToASnapshotOnce, "any_history_reads_as_it_was_written"),
    (BeginsWithTheNewestSnapshot, "any_history_reads_as_it_was_written"),
    (KeepsTheNewestAndTheOneInUse, "any_history_reads_as_it_was_written"),
    (KeepsTheSnapshotAtTheBase, "any_history_reads_as_it_was_written"),
]


@pytest.mark.parametrize(("broken", "promise"), CAUGHT, ids=lambda value: value if isinstance(value, str) else None)
def test_the_contract_catches(broken: type[MemoryStorage], promise: str) -> None:
    class Broken(StorageContract):
        def make_storage(self) -> Storage:
            return broken()

        def make_damaged_storage(self, damage: Damage) -> Storage:
            return damaged(broken(), damage)

    # A broken storage may also trip over its own checks.
    with pytest.raises((AssertionError, InvariantViolation)):
        getattr(Broken(), f"test_{promise}")()


def test_every_promise_of_the_contract_can_be_broken() -> None:
    promises = {name.removeprefix("test_") for name in vars(StorageContract) if name.startswith("test_")}
    assert promises == {promise for _, promise in CAUGHT}
