"""Bugs planted in the file storage, each of which the tests beside this one must find."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest
import test_file_damage as damage
import test_file_errors as errors
from file_crashes import CrashTest
from test_file_crashes import ACTS, LATER, OLD, RECORD, REF, three

from zkcore.errors import ZkcoreError
from zkcore.storage import files as files_module
from zkcore.storage import log as log_module
from zkcore.storage import opening, records, snapshots, survey
from zkcore.storage.file import FileStorage
from zkcore.storage.files import File, Files
from zkcore.storage.log import Log
from zkcore.storage.records import RecordStore
from zkcore.storage.snapshots import SnapshotStore
from zkcore.storage.storage import Storage
from zkcore.testing.sim_files import SimFile, SimFiles
from zkcore.zab.ready import Append, Compact, SnapshotRef
from zkcore.zxid import make_zxid

Plant = Callable[[pytest.MonkeyPatch], None]
real_make_durable = files_module.make_durable


def crashes(*names: str, segment_bytes: int = 1024) -> Callable[[], None]:
    """The crash tests of these acts."""

    def run() -> None:
        for name in names:
            prepare, act = ACTS[name]
            CrashTest(prepare, act, (OLD, REF, LATER), segment_bytes=segment_bytes).run()  # type: ignore[arg-type]

    return run


def _make_durable(plant: pytest.MonkeyPatch, instead: Callable[[File | Files, str], None]) -> None:
    for module in (log_module, records, snapshots, opening):
        plant.setattr(module, "make_durable", instead)


def ack_before_fsync(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(Log, "sync", lambda self: None)


def missing_directory_fsync(plant: pytest.MonkeyPatch) -> None:
    def files_only(what: File | Files, where: str) -> None:
        if not isinstance(what, SimFiles):
            real_make_durable(what, where)

    _make_durable(plant, files_only)


def retried_fsync(plant: pytest.MonkeyPatch) -> None:
    def twice(what: File | Files, where: str) -> None:
        try:
            what.sync()
        except OSError:
            what.sync()

    _make_durable(plant, twice)


def cut_at_damage(plant: pytest.MonkeyPatch) -> None:
    """Whatever does not read back was torn."""
    real = survey._read_one

    def shorten(files, found, header, follower, mark):  # type: ignore[no-untyped-def]
        whole = real(files, found, header, follower, mark)
        found.harms.clear()
        return whole

    plant.setattr(survey, "_read_one", shorten)


def segment_removed_too_early(plant: pytest.MonkeyPatch) -> None:
    """Before the record store says that it is not needed."""
    real = FileStorage._begin_with

    def remove_first(self: FileStorage, snapshot: int, base: int, segment: int) -> None:
        self._log.remove_before(segment)
        real(self, snapshot, base, segment)

    plant.setattr(FileStorage, "_begin_with", remove_first)


def snapshot_removed_too_early(plant: pytest.MonkeyPatch) -> None:
    """The one in use, before another is."""
    real = SnapshotStore.hold

    def hold(self: SnapshotStore, zxid: int) -> int:
        oldest = real(self, zxid)
        self.begin_with(zxid)
        return oldest

    plant.setattr(SnapshotStore, "hold", hold)


def no_log_for_older_snapshots(plant: pytest.MonkeyPatch) -> None:
    """The older snapshots are kept for nothing then."""
    real = Log.first_needed
    plant.setattr(Log, "first_needed", lambda self, after: real(self, self.index.last))


def epochs_before_history(plant: pytest.MonkeyPatch) -> None:
    real = FileStorage._flush

    def only_at_the_end(self: FileStorage, *, in_any_case: bool = False) -> None:
        if not in_any_case:
            real(self)

    plant.setattr(FileStorage, "_flush", only_at_the_end)


def partial_frame_kept(plant: pytest.MonkeyPatch) -> None:
    real = SimFile.resize
    plant.setattr(
        SimFile, "resize", lambda self, size: None if self._files.capacity_bytes is not None else real(self, size)
    )


def tail_believed(plant: pytest.MonkeyPatch) -> None:
    """What is read behind the mark is taken for stored."""
    real = Log._go_on

    def unwritten(self: Log, found: survey.Survey, mark: records.Mark) -> None:
        with patch.object(SimFile, "write", lambda *_: None):
            real(self, found, mark)

    plant.setattr(Log, "_go_on", unwritten)


def slots_in_turn(plant: pytest.MonkeyPatch) -> None:
    """Each change goes to one slot only, and the other holds what was before."""
    real = RecordStore.save

    def one(self: RecordStore, new: records.Records) -> None:
        with patch.object(records, "_SLOTS", (4096 * (self._sequence % 2),)):
            real(self, new)

    plant.setattr(RecordStore, "save", one)


def compaction_over_segments() -> None:
    """A compaction that has segments to remove."""
    end = make_zxid(1, 15)

    def prepare(storage: Storage) -> None:
        three(storage)
        storage.save([Append(make_zxid(1, 4), (RECORD,) * 5)])
        storage.save([Append(make_zxid(1, 9), (RECORD,) * 5)])
        storage.save([Append(make_zxid(1, 14), (RECORD,) * 2)])
        storage.save_snapshot(SnapshotRef(end - 1), [b"state"])
        storage.save_snapshot(SnapshotRef(end), [b"newer"])

    CrashTest(prepare, [Compact(SnapshotRef(end))], (SnapshotRef(end),), segment_bytes=1024).run()


PLANTED: list[tuple[Plant, Callable[[], None]]] = [
    (ack_before_fsync, crashes("an append")),
    (missing_directory_fsync, crashes("a roll")),
    (missing_directory_fsync, crashes("an installation")),
    (retried_fsync, errors.test_a_sync_that_failed_is_not_tried_again),
    (cut_at_damage, damage.test_damage_is_reported_as_ranges_and_kept_aside_until_the_repair),
    (cut_at_damage, lambda: damage.test_no_flipped_bit_goes_unnoticed("log")),
    (segment_removed_too_early, compaction_over_segments),
    (snapshot_removed_too_early, crashes("a compaction after another")),
    (no_log_for_older_snapshots, errors.test_compaction_keeps_the_segments_that_an_older_snapshot_needs),
    (epochs_before_history, crashes("an append, and the epochs")),
    (partial_frame_kept, errors.test_a_record_half_written_to_a_full_disk_is_never_seen_again),
    (tail_believed, errors.test_the_same_of_a_process_that_died_of_it),
    (slots_in_turn, lambda: damage.test_no_flipped_bit_goes_unnoticed("records")),
]


def test_without_a_bug_nothing_is_found() -> None:
    compaction_over_segments()


FOUND = (AssertionError, ZkcoreError, OSError, pytest.fail.Exception)


@pytest.mark.parametrize(("plant", "test"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_bug_is_found(plant: Plant, test: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(FOUND):
        test()
