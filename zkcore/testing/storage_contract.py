"""The proof of a storage: what every Storage must do, as a test class to inherit. `contracts.py` says how.

This module must not know any particular storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from attrs import evolve

from zkcore.storage.storage import Storage
from zkcore.testing.expect import expect
from zkcore.testing.storage_model import StorageModel
from zkcore.zab.messages import Damage
from zkcore.zab.ready import (
    Append,
    Compact,
    Entry,
    InstallSnapshot,
    Repair,
    Saved,
    SaveEpochs,
    SnapshotChunk,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid, epoch_of, format_zxid, make_zxid

__all__ = ["StorageContract"]

ALL = 1 << 40
"""More bytes than any test saves."""


class StorageContract:
    """Every promise of `zkcore.storage.Storage`. Override `make_storage`, `reopen` where it means something, and
    `make_damaged_storage` where damage is noticed."""

    histories = 20
    """How many random histories `test_any_history_reads_as_it_was_written` tries."""

    def make_storage(self) -> Storage:
        """A new, empty storage. May be called several times in a test; the storages then share nothing."""
        raise NotImplementedError

    def reopen(self, storage: Storage) -> Storage:
        """The same storage as the replica's next life finds it: close it and open it again. What was given is not used
        any more."""
        return storage

    def make_damaged_storage(self, damage: Damage) -> Storage | None:
        """A storage that was in use, and of which something was lost so that its `load` tells `damage`; what is left is
        of your choice. None where yours cannot notice that."""
        return None

    # --- epochs and records

    def test_a_new_storage_is_empty(self) -> None:
        storage = self.make_storage()
        self._holds(storage, Saved(), [])

    def test_epochs_are_saved_together(self) -> None:
        storage = self.make_storage()
        storage.save([SaveEpochs(3, 2)])
        storage = self._holds(storage, Saved(accepted_epoch=3, current_epoch=2), [])
        storage.save([SaveEpochs(5, 5)])
        self._holds(storage, Saved(accepted_epoch=5, current_epoch=5), [])

    def test_records_are_read_back_as_they_were_appended(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"one", b"", b"\x00three\xff"))])
        storage.save([Append(_Z(1, 4), (b"four",))])
        entries = [
            Entry(_Z(1, 1), b"one"), Entry(_Z(1, 2), b""), Entry(_Z(1, 3), b"\x00three\xff"), Entry(_Z(1, 4), b"four")
        ]  # fmt: skip
        self._holds(storage, Saved(last=_Z(1, 4), epoch_ends=(_Z(1, 4),)), entries)

    def test_epochs_of_the_log_may_be_left_out(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(4, 1), (b"c",)), Append(_Z(9, 1), (b"d", b"e"))])
        saved = Saved(last=_Z(9, 2), epoch_ends=(_Z(1, 2), _Z(4, 1), _Z(9, 2)))
        entries = [*_entries(_Z(1, 1), b"a", b"b"), Entry(_Z(4, 1), b"c"), *_entries(_Z(9, 1), b"d", b"e")]
        self._holds(storage, saved, entries)

    def test_one_save_holds_many_writes_in_order(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"a", b"b", b"c")), SaveEpochs(1, 1)])
        storage.save([SaveEpochs(3, 1), Truncate(_Z(1, 1)), Append(_Z(2, 1), (b"d",)), SaveEpochs(3, 3)])
        saved = Saved(3, 3, last=_Z(2, 1), epoch_ends=(_Z(1, 1), _Z(2, 1)))
        self._holds(storage, saved, [Entry(_Z(1, 1), b"a"), Entry(_Z(2, 1), b"d")])

    def test_entries_begin_after_any_record(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(3, 1), (b"c", b"d"))])
        everything = _entries(_Z(1, 1), b"a", b"b") + _entries(_Z(3, 1), b"c", b"d")
        for place, entry in enumerate(everything):
            after = list(storage.entries(entry.zxid, ALL))
            expect(f"entries after {format_zxid(entry.zxid)}", after, everything[place + 1 :])

    def test_entries_stop_before_too_many_bytes(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"1234", b"5678", b"90"))])
        for max_bytes, count in [(4, 1), (7, 1), (8, 2), (9, 2), (10, 3)]:
            expect(f"how many fit into {max_bytes} bytes", len(storage.entries(0, max_bytes)), count)

    def test_entries_give_one_record_however_large(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"large", b"larger"))])
        for max_bytes in (0, 1):
            expect("the first record", list(storage.entries(0, max_bytes)), [Entry(_Z(1, 1), b"large")])

    # --- truncation

    def test_truncation_removes_what_comes_after(self) -> None:
        cases: list[tuple[Zxid, tuple[Zxid, ...], int]] = [
            (_Z(3, 2), (_Z(1, 2), _Z(3, 2)), 4),
            (_Z(3, 1), (_Z(1, 2), _Z(3, 1)), 3),
            (_Z(1, 2), (_Z(1, 2),), 2),
            (_Z(1, 1), (_Z(1, 1),), 1),
            (0, (), 0),
        ]
        everything = _entries(_Z(1, 1), b"a", b"b") + _entries(_Z(3, 1), b"c", b"d")
        for zxid, epoch_ends, kept in cases:
            storage = self.make_storage()
            storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(3, 1), (b"c", b"d")), Truncate(zxid)])
            self._holds(storage, Saved(last=zxid, epoch_ends=epoch_ends), everything[:kept])

    def test_another_history_may_follow_a_truncation(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"a", b"wrong", b"wrong"))])
        storage.save([Truncate(_Z(1, 1))])
        storage.save([Append(_Z(1, 2), (b"right",)), Append(_Z(2, 1), (b"new",))])
        saved = Saved(last=_Z(2, 1), epoch_ends=(_Z(1, 2), _Z(2, 1)))
        self._holds(storage, saved, [*_entries(_Z(1, 1), b"a", b"right"), Entry(_Z(2, 1), b"new")])

    # --- snapshots

    def test_a_snapshot_is_read_back_in_pieces(self) -> None:
        storage = self.make_storage()
        ref = SnapshotRef(_Z(1, 2))
        storage.save([Append(_Z(1, 1), (b"a", b"b", b"c"))])
        storage.save_snapshot(ref, iter([b"state ", b"", b"as of two"]))
        entries = _entries(_Z(1, 1), b"a", b"b", b"c")
        storage = self._holds(storage, Saved(last=_Z(1, 3), epoch_ends=(_Z(1, 3),)), entries)
        for again in self._lives(storage):
            expect("a piece", again.read_snapshot(ref, 0, 5), b"state")
            expect("a piece from within", again.read_snapshot(ref, 6, 5), b"as of")
            expect("the last piece", again.read_snapshot(ref, 12, 50), b"two")
            expect("what is at its end", again.read_snapshot(ref, 15, 50), b"")

    def test_the_newest_snapshots_and_the_one_in_use_are_kept(self) -> None:
        for upto in (0, _Z(1, 1), _Z(1, 2)):
            storage = self.make_storage()
            storage.save([Append(_Z(1, 1), tuple(b"%d" % number for number in range(9)))])
            in_use = SnapshotRef(_Z(1, 2))
            storage.save_snapshot(in_use, [b"in use"])
            storage.save([Compact(in_use, upto)])
            kept = [2]
            for counter in (*range(3, 8), 1):  # the last saved is the newest, whatever its zxid
                storage.save_snapshot(SnapshotRef(_Z(1, counter)), [b"at %d" % counter])
                storage = self.reopen(storage)
                kept = [*kept[-1:], counter]
                expect("the snapshot to begin with", storage.load().snapshot, in_use.zxid)
                for each in {2, *kept}:
                    self._keeps(storage, SnapshotRef(_Z(1, each)), b"in use" if each == 2 else b"at %d" % each)

    def test_compaction_may_name_the_snapshot_before_the_newest(self) -> None:
        storage = self.make_storage()
        storage.save([Append(_Z(1, 1), (b"a", b"b", b"c"))])
        for counter in (1, 2, 3):
            storage.save_snapshot(SnapshotRef(_Z(1, counter)), [b"at %d" % counter])
        storage.save([Compact(SnapshotRef(_Z(1, 2)))])
        saved = Saved(base=_Z(1, 2), last=_Z(1, 3), epoch_ends=(_Z(1, 3),))
        storage = self._holds(storage, saved, [Entry(_Z(1, 3), b"c")])
        self._keeps(storage, SnapshotRef(_Z(1, 2)), b"at 2")
        self._keeps(storage, SnapshotRef(_Z(1, 3)), b"at 3")

    def test_a_snapshot_goes_with_the_records_it_holds(self) -> None:
        old = SnapshotRef(_Z(1, 1))
        cases: list[list[Write]] = [[Truncate(old.zxid)], [SnapshotChunk(old, 0, b"x"), InstallSnapshot(old, 1)]]
        for replacing in cases:
            storage = self.make_storage()
            storage.save([Append(_Z(1, 1), (b"a", b"b"))])
            storage.save_snapshot(SnapshotRef(_Z(1, 2)), [b"of a history that is replaced"])
            storage.save(replacing)
            for again in self._lives(storage):
                self._keeps_not(again, SnapshotRef(_Z(1, 2)))

    def test_a_snapshot_that_is_not_kept_is_a_lookup_error(self) -> None:
        self._keeps_not(self.make_storage(), SnapshotRef(_Z(1, 2)))

    # --- compaction

    def test_compaction_forgets_the_records_of_the_snapshot(self) -> None:
        everything = _entries(_Z(1, 1), b"a", b"b") + _entries(_Z(3, 1), b"c", b"d")
        cases: list[tuple[Zxid, tuple[Zxid, ...], int]] = [
            (_Z(1, 1), (_Z(1, 2), _Z(3, 2)), 1),
            (_Z(1, 2), (_Z(1, 2), _Z(3, 2)), 2),
            (_Z(3, 1), (_Z(3, 2),), 3),
            (_Z(3, 2), (_Z(3, 2),), 4),
        ]
        for zxid, epoch_ends, gone in cases:
            storage = self.make_storage()
            ref = SnapshotRef(zxid)
            storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(3, 1), (b"c", b"d"))])
            storage.save_snapshot(ref, [b"state"])
            storage.save([Compact(ref)])
            storage = self._holds(storage, Saved(base=zxid, last=_Z(3, 2), epoch_ends=epoch_ends), everything[gone:])
            self._keeps(storage, ref, b"state")

    def test_the_log_goes_on_after_compaction(self) -> None:
        storage = self.make_storage()
        ref = SnapshotRef(_Z(2, 2))
        storage.save([Append(_Z(2, 1), (b"a", b"b"))])
        storage.save_snapshot(ref, [b"state"])
        storage.save([Compact(ref)])
        storage.save([Append(_Z(2, 3), (b"c", b"d")), Append(_Z(3, 1), (b"e",))])
        saved = Saved(base=_Z(2, 2), last=_Z(3, 1), epoch_ends=(_Z(2, 4), _Z(3, 1)))
        storage = self._holds(storage, saved, [*_entries(_Z(2, 3), b"c", b"d"), Entry(_Z(3, 1), b"e")])
        storage.save([Truncate(_Z(2, 2))])
        self._holds(storage, Saved(base=_Z(2, 2), last=_Z(2, 2), epoch_ends=(_Z(2, 2),)), [])

    def test_compaction_may_leave_records_behind_the_snapshot(self) -> None:
        everything = _entries(_Z(1, 1), b"a", b"b") + _entries(_Z(3, 1), b"c", b"d")
        cases: list[tuple[Zxid, Zxid, tuple[Zxid, ...], int]] = [
            (_Z(3, 1), _Z(1, 2), (_Z(1, 2), _Z(3, 2)), 2),
            (_Z(3, 1), _Z(1, 1), (_Z(1, 2), _Z(3, 2)), 1),
            (_Z(3, 1), 0, (_Z(1, 2), _Z(3, 2)), 0),
            (_Z(3, 2), _Z(3, 1), (_Z(3, 2),), 3),
            (_Z(1, 2), 0, (_Z(1, 2), _Z(3, 2)), 0),
        ]
        for snapshot, upto, epoch_ends, gone in cases:
            storage = self.make_storage()
            storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(3, 1), (b"c", b"d"))])
            storage.save_snapshot(SnapshotRef(snapshot), [b"state"])
            storage.save([Compact(SnapshotRef(snapshot), upto)])
            saved = Saved(base=upto, last=_Z(3, 2), epoch_ends=epoch_ends, snapshot=snapshot)
            storage = self._holds(storage, saved, everything[gone:])
            self._keeps(storage, SnapshotRef(snapshot), b"state")
            for place, entry in enumerate(everything[gone:], gone + 1):
                after = list(storage.entries(entry.zxid, ALL))
                expect(f"entries after {format_zxid(entry.zxid)}", after, everything[place:])

    def test_compaction_again_moves_the_snapshot_or_the_base(self) -> None:
        storage = self.make_storage()
        everything = _entries(_Z(1, 1), b"a", b"b", b"c") + _entries(_Z(2, 1), b"d", b"e")
        storage.save([Append(_Z(1, 1), (b"a", b"b", b"c")), Append(_Z(2, 1), (b"d", b"e"))])
        steps = [
            (_Z(1, 3), _Z(1, 1)),
            (_Z(1, 3), _Z(1, 2)),  # the same snapshot, fewer records
            (_Z(2, 1), _Z(1, 2)),  # another snapshot, the same records
            (_Z(2, 1), _Z(1, 3)),  # nothing is left of an epoch but where it ended
            (_Z(2, 1), _Z(2, 1)),
            (_Z(2, 1), _Z(2, 1)),  # what is so already
            (_Z(2, 2), _Z(2, 1)),
            (_Z(2, 2), _Z(2, 2)),
        ]
        for snapshot, upto in steps:
            storage.save_snapshot(SnapshotRef(snapshot), [b"state"])
            storage.save([Compact(SnapshotRef(snapshot), upto)])
            ends = (_Z(1, 3), _Z(2, 2)) if epoch_of(upto) == 1 else (_Z(2, 2),)
            saved = Saved(base=upto, last=_Z(2, 2), epoch_ends=ends, snapshot=snapshot)
            storage = self._holds(storage, saved, [entry for entry in everything if entry.zxid > upto])
            self._keeps(storage, SnapshotRef(snapshot), b"state")

    def test_truncation_leaves_the_records_behind_the_snapshot(self) -> None:
        storage = self.make_storage()
        ref = SnapshotRef(_Z(2, 1))
        storage.save([Append(_Z(1, 1), (b"a", b"b")), Append(_Z(2, 1), (b"c", b"wrong"))])
        storage.save([Append(_Z(3, 1), (b"wrong",))])
        storage.save_snapshot(ref, [b"state"])
        storage.save([Compact(ref, _Z(1, 1)), Truncate(ref.zxid)])
        saved = Saved(base=_Z(1, 1), last=_Z(2, 1), epoch_ends=(_Z(1, 2), _Z(2, 1)), snapshot=_Z(2, 1))
        storage = self._holds(storage, saved, [Entry(_Z(1, 2), b"b"), Entry(_Z(2, 1), b"c")])
        self._keeps(storage, ref, b"state")
        storage.save([Append(_Z(2, 2), (b"right",))])
        saved = Saved(base=_Z(1, 1), last=_Z(2, 2), epoch_ends=(_Z(1, 2), _Z(2, 2)), snapshot=_Z(2, 1))
        self._holds(storage, saved, [Entry(_Z(1, 2), b"b"), *_entries(_Z(2, 1), b"c", b"right")])

    # --- installation

    def test_pieces_put_aside_change_nothing_yet(self) -> None:
        storage = self.make_storage()
        old = SnapshotRef(_Z(1, 1))
        storage.save([Append(_Z(1, 1), (b"a", b"b"))])
        storage.save_snapshot(old, [b"old"])
        storage.save([Compact(old), SnapshotChunk(SnapshotRef(_Z(5, 7)), 0, b"new")])
        saved = Saved(base=_Z(1, 1), last=_Z(1, 2), epoch_ends=(_Z(1, 2),))
        storage = self._holds(storage, saved, [Entry(_Z(1, 2), b"b")])
        self._keeps(storage, old, b"old")

    def test_an_installed_snapshot_replaces_the_log(self) -> None:
        # First one that lies beyond the log, then one that another history than the log's led to.
        for before, ref in [(_Z(1, 1), SnapshotRef(_Z(5, 7))), (_Z(6, 1), SnapshotRef(_Z(5, 7)))]:
            storage = self.make_storage()
            storage.save([SaveEpochs(6, 6), Append(before, (b"a", b"b"))])
            storage.save([SnapshotChunk(ref, 0, b"sta"), SnapshotChunk(ref, 3, b"te"), InstallSnapshot(ref, 5)])
            storage = self._holds(storage, Saved(6, 6, base=_Z(5, 7), last=_Z(5, 7), epoch_ends=(_Z(5, 7),)), [])
            self._keeps(storage, ref, b"state")
            storage.save([Append(_Z(5, 8), (b"c",)), Append(_Z(7, 1), (b"d",))])
            saved = Saved(6, 6, base=_Z(5, 7), last=_Z(7, 1), epoch_ends=(_Z(5, 8), _Z(7, 1)))
            self._holds(storage, saved, [Entry(_Z(5, 8), b"c"), Entry(_Z(7, 1), b"d")])

    def test_an_installed_snapshot_leaves_nothing_behind_it(self) -> None:
        for ref in (SnapshotRef(_Z(5, 7)), SnapshotRef(_Z(1, 4)), SnapshotRef(_Z(1, 3))):
            storage = self.make_storage()
            storage.save([Append(_Z(1, 1), (b"a", b"b", b"c", b"d"))])
            storage.save_snapshot(SnapshotRef(_Z(1, 3)), [b"old"])
            storage.save([Compact(SnapshotRef(_Z(1, 3)), _Z(1, 1))])
            storage.save([SnapshotChunk(ref, 0, b"state"), InstallSnapshot(ref, 5)])
            saved = Saved(base=ref.zxid, last=ref.zxid, epoch_ends=(ref.zxid,), snapshot=ref.zxid)
            storage = self._holds(storage, saved, [])
            self._keeps(storage, ref, b"state")

    def test_a_piece_at_offset_0_begins_anew(self) -> None:
        storage = self.make_storage()
        given_up, ref = SnapshotRef(_Z(1, 9)), SnapshotRef(_Z(2, 3))
        storage.save([SnapshotChunk(given_up, 0, b"given up"), SnapshotChunk(ref, 0, b"given up too")])
        storage.save([SnapshotChunk(ref, 0, b"st"), SnapshotChunk(ref, 2, b"ate"), InstallSnapshot(ref, 5)])
        storage = self._holds(storage, Saved(base=_Z(2, 3), last=_Z(2, 3), epoch_ends=(_Z(2, 3),)), [])
        self._keeps(storage, ref, b"state")

    def test_pieces_put_aside_are_continued_after_other_writes(self) -> None:
        storage = self.make_storage()
        ref, own = SnapshotRef(_Z(5, 7)), SnapshotRef(_Z(1, 1))
        storage.save([Append(_Z(1, 1), (b"a", b"b")), SnapshotChunk(ref, 0, b"sta"), SaveEpochs(2, 1)])
        storage.save_snapshot(own, [b"its own"])
        storage.save([Compact(own), Truncate(_Z(1, 1)), Append(_Z(2, 1), (b"c",))])
        storage.save([SnapshotChunk(ref, 3, b"te"), InstallSnapshot(ref, 5)])
        storage = self._holds(storage, Saved(2, 1, base=_Z(5, 7), last=_Z(5, 7), epoch_ends=(_Z(5, 7),)), [])
        self._keeps(storage, ref, b"state")

    # --- damage

    def test_damage_is_told_until_it_is_repaired(self) -> None:
        for damage, storage in self._damaged_storages():
            for again in self._lives(storage):
                expect("the damage", again.load().damage, damage)
                storage = again
            epoch = storage.load().accepted_epoch + 1
            for writes in ([SaveEpochs(epoch, epoch)], [SnapshotChunk(SnapshotRef(_Z(epoch, 1)), 0, b"state")]):
                storage.save(writes)
                for again in self._lives(storage):
                    expect(f"the damage after {writes[0]}", again.load().damage, damage)
                    storage = again
            storage.save([SaveEpochs(epoch + 1, epoch), Repair()])
            for again in self._lives(storage):
                expect("the damage after the repair", again.load().damage, None)

    def test_a_damaged_storage_works_like_any_other(self) -> None:
        for damage, storage in self._damaged_storages():
            left, entries = storage.load(), list(storage.entries(storage.load().base, ALL))
            if damage is Damage.EPOCHS:
                expect("the epochs that are lost", (left.accepted_epoch, left.current_epoch), (0, 0))
            epoch = max(left.accepted_epoch, epoch_of(left.last)) + 1
            storage.save([Append(_Z(epoch, 1), (b"a", b"b")), SaveEpochs(epoch, epoch)])
            ends = (*left.epoch_ends, _Z(epoch, 2))
            saved = evolve(left, accepted_epoch=epoch, current_epoch=epoch, last=_Z(epoch, 2), epoch_ends=ends)
            storage = self._holds(storage, saved, [*entries, *_entries(_Z(epoch, 1), b"a", b"b")])
            ref = SnapshotRef(_Z(epoch, 5))
            storage.save([SnapshotChunk(ref, 0, b"state"), InstallSnapshot(ref, 5), Repair()])
            storage = self._holds(storage, Saved(epoch, epoch, ref.zxid, ref.zxid, (ref.zxid,)), [])
            self._keeps(storage, ref, b"state")

    def test_a_repair_of_what_is_whole_changes_nothing(self) -> None:
        storage = self.make_storage()
        storage.save([SaveEpochs(1, 1), Append(_Z(1, 1), (b"a",)), Repair()])
        self._holds(storage, Saved(1, 1, last=_Z(1, 1), epoch_ends=(_Z(1, 1),)), [Entry(_Z(1, 1), b"a")])

    # --- all of it together

    def test_any_history_reads_as_it_was_written(self) -> None:
        for seed in range(self.histories):
            storage, model, rng = self.make_storage(), StorageModel(), Random(seed)
            for _ in range(40):
                model.write_something(storage, rng)
                if rng.random() < 0.1:
                    storage = self.reopen(storage)
                expect(f"load with seed {seed}", storage.load(), model.saved())
                expect(f"entries with seed {seed}", list(storage.entries(model.base, ALL)), model.entries)
                for ref, state in model.kept():
                    self._keeps(storage, ref, state)

    def _holds(self, storage: Storage, saved: Saved, entries: Sequence[Entry]) -> Storage:
        """Check all that can be asked of the log, now and in the next life; returns the storage of that life."""
        for again in self._lives(storage):
            expect("load", again.load(), saved)
            expect("entries", list(again.entries(saved.base, ALL)), list(entries))
            expect("entries after the last", list(again.entries(saved.last, ALL)), [])
            storage = again
        return storage

    def _keeps(self, storage: Storage, ref: SnapshotRef, state: bytes) -> None:
        try:
            found = storage.read_snapshot(ref, 0, ALL)
        except LookupError as problem:
            raise AssertionError(f"{ref} must be kept, but {problem}") from problem
        expect(str(ref), found, state)

    def _keeps_not(self, storage: Storage, ref: SnapshotRef) -> None:
        try:
            found = storage.read_snapshot(ref, 0, ALL)
        except LookupError:
            return
        raise AssertionError(f"{ref} must not be kept, but reads as {found!r}")

    def _damaged_storages(self) -> Iterator[tuple[Damage, Storage]]:
        for damage in Damage:
            storage = self.make_damaged_storage(damage)
            if storage is not None:
                yield damage, storage

    def _lives(self, storage: Storage) -> Iterator[Storage]:
        yield storage
        yield self.reopen(storage)


_Z = make_zxid


def _entries(first: Zxid, *payloads: bytes) -> list[Entry]:
    return [Entry(first + place, payload) for place, payload in enumerate(payloads)]
