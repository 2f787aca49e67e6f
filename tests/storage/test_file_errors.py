"""What the file storage does when the disk refuses, and whom it refuses itself."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
from file_crashes import ALL, open_sim

from zkcore.errors import InvariantViolation, StorageError, StorageFailedError, StorageFullError
from zkcore.storage import FileStorage
from zkcore.testing.sim_files import SimFiles
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
)
from zkcore.zxid import make_zxid as Z

REF = SnapshotRef(Z(1, 2))


def used(files: SimFiles | None = None) -> tuple[SimFiles, FileStorage]:
    files = files or SimFiles()
    storage = open_sim(files, new=True, segment_bytes=1024)
    storage.save([SaveEpochs(1, 1), Append(Z(1, 1), (b"a", b"b", b"c"))])
    return files, storage


# --- no room


def test_a_full_disk_loses_nothing_and_the_storage_goes_on_when_there_is_room() -> None:
    files, storage = used()
    before = storage.load()
    files.capacity_bytes = sum(map(files.size_of, files.names())) + 100
    for _ in range(3):
        with pytest.raises(StorageFullError, match="make room"):
            storage.save([Append(Z(1, 4), (bytes(1000),))])
        with pytest.raises(StorageFullError):
            storage.save_snapshot(REF, [bytes(1000)])
        with pytest.raises(StorageFullError, match="make room"):
            storage.load()  # whoever begins again would come no further
        for image in files.crash_images():
            assert open_sim(image, segment_bytes=1024).load() == before
    assert list(storage.entries(0, ALL))[-1].zxid == Z(1, 3)
    storage.save([Append(Z(1, 4), (b"what fits into the segment",))])
    assert storage.load().last == Z(1, 4)
    files.capacity_bytes = None
    storage.save([Append(Z(1, 5), (bytes(1000),))])
    storage.save_snapshot(REF, [bytes(1000)])
    for image in files.crash_images():
        assert open_sim(image).load().last == Z(1, 5)


def test_a_record_half_written_to_a_full_disk_is_never_seen_again() -> None:
    """Where room is not reserved, as on a file system that copies on write, it ends in the middle of a frame."""
    for fits in range(0, 500, 50):
        files, storage = used()
        name = next(name for name in files.names() if name.startswith("log-"))
        file = files.open(name)
        file.resize(len(files.content_of(name).rstrip(b"\0")))
        file.sync()
        files.capacity_bytes = sum(map(files.size_of, files.names())) + fits
        with pytest.raises(StorageFullError):
            storage.save([Append(Z(1, 4), (b"one whole frame",)), Truncate(Z(1, 3)), Append(Z(1, 4), (bytes(600),))])
        files.capacity_bytes = None
        left = storage.load()
        for image in files.crash_images():
            assert open_sim(image).load() == left, fits
        storage.save([Append(left.last + 1, (b"later",))])
        for image in files.crash_images():
            assert open_sim(image).load().last == left.last + 1


def test_an_installation_without_room_is_undone() -> None:
    files, storage = used()
    ref = SnapshotRef(Z(3, 3))
    storage.save([SnapshotChunk(ref, 0, b"state")])
    files.capacity_bytes = sum(map(files.size_of, files.names())) + 700
    with pytest.raises(StorageFullError):
        storage.save([InstallSnapshot(ref, 5)])
    files.capacity_bytes = None
    assert storage.load() == Saved(1, 1, last=Z(1, 3), epoch_ends=(Z(1, 3),))
    with pytest.raises(LookupError):
        storage.read_snapshot(ref, 0, ALL)


# --- errors


def test_a_sync_that_failed_is_not_tried_again() -> None:
    files, storage = used()
    files.sync_fails = "once"
    with pytest.raises(StorageFailedError, match="may be lost"):
        storage.save([Append(Z(1, 4), (b"d",))])
    syncs = files.syncs
    for act in (
        lambda: storage.save([]),
        lambda: storage.entries(0, 1),
        lambda: storage.save_snapshot(REF, [b""]),
        lambda: storage.read_snapshot(REF, 0, 1),
    ):
        with pytest.raises(StorageFailedError):
            act()
    assert files.syncs == syncs


def test_after_a_failed_sync_what_is_told_is_durable() -> None:
    """The system still shows what it did not store: to believe it is to acknowledge what a power failure takes."""
    files, storage = used()
    files.sync_fails = "once"
    with pytest.raises(StorageFailedError):
        storage.save([Append(Z(1, 4), (b"d",))])
    saved = storage.load()
    for image in files.crash_images():
        assert open_sim(image).load() == saved
    storage.close()
    files.sync_fails = ""
    saved = open_sim(files).load()
    for image in files.crash_images():
        assert open_sim(image).load() == saved


def test_the_same_of_a_process_that_died_of_it() -> None:
    files, storage = used()
    files.sync_fails = "once"
    with pytest.raises(StorageFailedError):
        storage.save([Append(Z(1, 4), (b"d",)), SaveEpochs(2, 1)])
    files.close()
    saved = open_sim(files).load()
    for image in files.crash_images():
        assert open_sim(image).load() == saved


def test_a_write_that_failed_ends_this_life_of_the_storage() -> None:
    files, storage = used()
    files.write_fails = True
    with pytest.raises(StorageFailedError, match="look after the disk"):
        storage.save([Append(Z(1, 4), (b"d",))])
    files.write_fails = False
    with pytest.raises(StorageFailedError):
        storage.save([])
    assert storage.load().last in (Z(1, 3), Z(1, 4))
    storage.save([Truncate(Z(1, 3)), Append(Z(1, 4), (b"other",))])


def test_what_breaks_a_promise_leaves_nothing_staged() -> None:
    _, storage = used()
    with pytest.raises(InvariantViolation):
        storage.save([Append(Z(1, 4), (b"d",)), Append(Z(1, 9), (b"gap",))])
    storage.save([])
    assert storage.load().last == Z(1, 3)


# --- when records become durable


def lasting(files: SimFiles) -> set[int]:
    return {open_sim(image).load().last for image in files.crash_images()}


def test_fsync_never_leaves_it_to_the_system_and_epochs_are_durable_all_the_same() -> None:
    files = SimFiles()
    storage = FileStorage(files, node=1, cluster="test", new=True, fsync="never", segment_bytes=4096)
    storage.save([Append(Z(1, 1), (b"a",))])
    assert lasting(files) == {0, Z(1, 1)}
    storage.save([Append(Z(1, 2), (b"b",)), SaveEpochs(1, 1)])
    assert lasting(files) == {Z(1, 2)}
    storage.save([Append(Z(1, 3), (b"c",))])
    storage.close()
    assert lasting(files) == {Z(1, 3)}


def test_fsync_at_an_interval_comes_by_itself() -> None:
    files = SimFiles()
    storage = FileStorage(files, node=1, cluster="test", new=True, fsync=1, segment_bytes=4096)
    storage.save([Append(Z(1, 1), (b"a",))])
    deadline = time.monotonic() + 30
    while lasting(files) != {Z(1, 1)} and time.monotonic() < deadline:
        pass
    assert lasting(files) == {Z(1, 1)}


# --- directories


def contents(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.iterdir()} if path.is_dir() else {}


def make(path: Path, **options: object) -> FileStorage:
    return FileStorage(path, **{"node": 1, "cluster": "orders", "segment_bytes": 4096, **options})  # type: ignore[arg-type]


def _file(path: Path) -> None:
    path.write_text("a file")


def _strange(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("not ours")


def _another(path: Path) -> None:
    make(path, node=2, new=True).close()


def _another_cluster(path: Path) -> None:
    make(path, cluster="bills", new=True).close()


def _newer(path: Path) -> None:
    make(path, new=True).close()
    _reformat(path, 9)


def _older(path: Path) -> None:
    make(path, new=True).close()
    _reformat(path, 0)


def _reformat(path: Path, version: int) -> None:
    from zlib import crc32

    data = bytearray((path / "records").read_bytes())
    for at in (0, 4096):
        data[at + 8 : at + 10] = version.to_bytes(2, "big")
        data[at + 508 : at + 512] = crc32(data[at : at + 508]).to_bytes(4, "big")
    (path / "records").write_bytes(data)


def _segment_of_another(path: Path) -> None:
    other = path.with_name("other")
    make(other, node=2, new=True).close()
    make(path, new=True).close()
    name = next(name for name in os.listdir(other) if name.startswith("log-"))
    (path / name).write_bytes((other / name).read_bytes())


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda path: None, "does not exist"),
        (_file, "not a directory"),
        (_strange, "thesis.txt"),
        (_another, "is of member 2 of 'orders', not of member 1"),
        (_another_cluster, "is of member 1 of 'bills', not of member 1 of 'orders'"),
        (_newer, "of a newer zkcore"),
        (_older, "of an older zkcore"),
        (_segment_of_another, "belongs to another member"),
    ],
)
def test_a_directory_that_is_not_this_members_is_refused_and_left_alone(
    tmp_path: Path, prepare: object, says: str
) -> None:
    path = tmp_path / "data"
    prepare(path)  # type: ignore[operator]
    before = contents(path)
    with pytest.raises(StorageError, match=says) as refused:
        make(path)
    assert str(path) in str(refused.value)
    assert contents(path) == before


def test_a_new_storage_is_not_made_over_an_old_one(tmp_path: Path) -> None:
    make(tmp_path / "data", new=True).close()
    before = contents(tmp_path / "data")
    with pytest.raises(StorageError, match="holds a storage already"):
        make(tmp_path / "data", new=True)
    assert contents(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("number", "todo"), [(errno.EIO, "look after the disk"), (errno.EROFS, "change the owner or the permissions")]
)
def test_what_the_system_refuses_is_told_with_its_place(
    number: int, todo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    storage = make(tmp_path / "data", new=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", refuse)
        with pytest.raises(StorageFailedError) as failed:
            storage.save([Append(Z(1, 1), (b"a",))])
    place = f"{os.strerror(number)}: 'log-0000000000000001 at byte 512'"
    assert str(failed.value) == f"{tmp_path}/data: [Errno {number}] {place}; {todo}, then start this member again"
    storage.load()
    storage.save([Append(Z(1, 1), (b"a",))])
    monkeypatch.setattr(os, "pread", refuse)
    with pytest.raises(StorageFailedError, match=f"at byte 512'; {todo}"):
        storage.entries(0, ALL)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "data", new=True).close()
    before, real = contents(tmp_path / "data"), os.open

    def refuse(path: str, *arguments: Any, **options: Any) -> int:  # as root, permissions do not stop anybody
        if path == "records":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(StorageError, match="Permission denied: 'records'; change the owner or the permissions"):
            make(tmp_path / "data")
    assert contents(tmp_path / "data") == before
    make(tmp_path / "data").close()


def test_a_directory_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as root, permissions do not stop anybody
    with pytest.raises(StorageError, match="permissions"):
        make(tmp_path)


@pytest.mark.parametrize("fits", range(0, 13_000, 500))
def test_no_room_for_a_new_storage_is_said_and_leaves_nothing(fits: int) -> None:
    files = SimFiles()
    files.capacity_bytes = fits
    with pytest.raises(StorageFullError, match="make room"):
        open_sim(files, new=True, segment_bytes=8192)
    assert files.names() == []
    files.capacity_bytes = None
    open_sim(files, new=True)


@pytest.mark.parametrize("step", range(10))
def test_a_storage_that_finds_no_room_to_recover_is_as_it_was_and_recovers_later(step: int) -> None:
    """It failed, and to open it anew takes a segment; wherever the room ends, nothing is lost or half begun."""
    files, storage = used()
    storage.save([Append(Z(1, 4), (bytes(700),))])
    name = max(name for name in files.names() if name.startswith("log-"))
    files.flip(name, 8 * 600)
    with pytest.raises(StorageFailedError):
        storage.entries(0, ALL)
    files.capacity_bytes = sum(map(files.size_of, files.names())) + 100 * step
    for _ in range(3):
        with pytest.raises(StorageFullError):
            storage.load()
        with pytest.raises(StorageFailedError):
            storage.save([])
    files.capacity_bytes = None
    saved = storage.load()
    assert (saved.damage, saved.accepted_epoch) == (Damage.LOG, 1)
    storage.save([Append(saved.last + 1, (b"again",)), Repair()])
    storage.close()
    assert open_sim(files, segment_bytes=1024).load().last == saved.last + 1


def _try(path: Path, answers: multiprocessing.Queue[str]) -> None:
    try:
        make(path)
        answers.put("opened")
    except StorageError as error:
        answers.put(str(error))


def test_two_processes_do_not_share_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with make(path, new=True):
        context = multiprocessing.get_context("spawn")
        answers: multiprocessing.Queue[str] = context.Queue()
        other = context.Process(target=_try, args=(path, answers))
        other.start()
        assert "in use by another process" in answers.get(timeout=60)
        other.join()
        with pytest.raises(StorageError, match="in use by another process"):
            make(path)
    make(path).close()


def test_a_closed_storage_is_of_no_use(tmp_path: Path) -> None:
    storage = make(tmp_path / "data", new=True)
    storage.close()
    storage.close()
    with pytest.raises(StorageFailedError, match="closed"):
        storage.load()


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every 0 ms"):
        make(tmp_path, fsync=0)
    with pytest.raises(ValueError, match="segments of 12 bytes"):
        make(tmp_path, segment_bytes=12)
    with pytest.raises(ValueError, match="no name for a cluster"):
        make(tmp_path, cluster="x" * 201)


def test_compaction_keeps_the_segments_that_an_older_snapshot_needs() -> None:
    files, storage = used()
    for counter in range(4, 30):
        storage.save([Append(Z(1, counter), (bytes(200),))])
        if counter % 8 == 0:
            storage.save_snapshot(SnapshotRef(Z(1, counter)), [b"state"])
            storage.save([Compact(SnapshotRef(Z(1, counter)))])
    segments = [name for name in files.names() if name.startswith("log-")]
    assert 3 < len(segments) < 10
    newest = max(name for name in files.names() if name.startswith("snapshot-"))
    files.flip(newest, 8 * files.content_of(newest).index(b"state"))
    storage.close()
    saved = open_sim(files, segment_bytes=1024).load()
    assert (saved.snapshot, saved.last, saved.damage) == (Z(1, 16), Z(1, 29), None)
