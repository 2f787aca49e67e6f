"""A storage takes the place of another in its directory: whatever is cut short, one of the two is there, whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from file_crashes import State, open_sim, state_of

from zkcore.errors import StorageError
from zkcore.storage import FileStorage
from zkcore.storage.backup import Checked, backup, check, renew, restore
from zkcore.storage.files import Directory, File
from zkcore.storage.members import parse_ensemble
from zkcore.storage.records import read_ensemble
from zkcore.testing.sim_files import SimFiles
from zkcore.zab.messages import Damage
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Append, Compact, SaveEpochs, SnapshotRef
from zkcore.zxid import Zxid
from zkcore.zxid import make_zxid as Z

REFS = (SnapshotRef(Z(1, 2)), SnapshotRef(Z(1, 3)))
RECORD = bytes(range(140))
ALONE = EnsembleConfig([1])


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new storage reserves as little as those of the tests."""
    real = FileStorage.__init__

    def small(self: FileStorage, directory: Any, **options: Any) -> None:
        real(self, directory, **{"segment_bytes": 4096, **options})

    monkeypatch.setattr(FileStorage, "__init__", small)


def begin(files: SimFiles) -> None:
    """A storage with two snapshots, the first in use, and records behind both, in two segments."""
    with open_sim(files, new=True, segment_bytes=1024) as storage:
        storage.save([SaveEpochs(1, 1), Append(Z(1, 1), (RECORD,) * 4)])
        for ref in REFS:
            storage.save_snapshot(ref, [b"state ", b"of %d" % ref.zxid])
        storage.save([Compact(REFS[0], Z(1, 1)), SaveEpochs(3, 2), Append(Z(2, 1), (RECORD,) * 3)])


def renew_it(files: SimFiles) -> None:
    assert files.lock()
    renew(files, Checked(files), cluster="again", ensemble=ALONE, epoch=9, payloads=[b"first"])
    files.close()


def found_in(files: SimFiles) -> tuple[str, State]:
    """Which of the two is there, and that the other is not."""
    found: list[tuple[str, State]] = []
    for cluster in ("test", "again"):
        try:
            storage = FileStorage(files, node=1, cluster=cluster)
        except StorageError as refused:
            assert f"not of member 1 of '{cluster}'" in str(refused)  # noqa: PT017
            continue
        found.append((cluster, state_of(storage, REFS)))
        storage.close()
    assert len(found) == 1
    return found[0]


def test_it_holds_what_the_old_one_held_and_what_it_begins_with() -> None:
    files = SimFiles()
    begin(files)
    _, (before, entries, _) = found_in(files)
    renew_it(files)
    cluster, (saved, after, snapshots) = found_in(files)
    assert cluster == "again"
    assert parse_ensemble(read_ensemble(files)) == ALONE
    assert (saved.accepted_epoch, saved.current_epoch, saved.damage) == (9, 9, None)
    assert (saved.snapshot, saved.last) == (before.snapshot, Z(9, 1))
    assert after == (*(entry for entry in entries if entry.zxid > before.snapshot), (Z(9, 1), b"first"))
    assert snapshots == ((REFS[0].zxid, b"state of %d" % REFS[0].zxid),)
    assert not [name for name in files.names() if name.startswith(("renew", "damaged"))]


def all_stops(stop: Callable[[SimFiles, int], SimFiles | None]) -> list[SimFiles]:
    """What is left where the work stops at its first step, its second, and so on to the end."""
    left = []
    while True:
        files = SimFiles()
        begin(files)
        image = stop(files, len(left))
        if image is None:
            return left
        left.append(image)


def kill(files: SimFiles, at: int) -> SimFiles | None:
    """The process is killed before step `at`; what it has written is there."""
    steps = iter(range(1 << 30))

    def step(_: str) -> None:
        if next(steps) == at:
            raise Killed

    files.before_step = step
    try:
        renew_it(files)
    except Killed:
        files.before_step = lambda step: None
        files.close()
        return files
    return None


def test_a_kill_at_any_step_leaves_the_one_or_the_other() -> None:
    files = SimFiles()
    begin(files)
    old = found_in(files)
    renew_it(files)
    new = found_in(files)
    left = all_stops(kill)
    found = [found_in(image) for image in left]
    assert len(found) > 40
    assert all(each in (old, new) for each in found)
    changes = [number for number in range(1, len(found)) if found[number] != found[number - 1]]
    assert len(changes) == 1  # there is one moment
    assert not [name for image in left for name in image.names() if name.startswith("renew")]


def test_a_power_failure_at_any_step_leaves_the_one_or_the_other() -> None:
    files = SimFiles()
    begin(files)
    legal = [found_in(files)]
    copy = SimFiles()
    begin(copy)
    renew_it(copy)
    legal.append(found_in(copy))
    files.sync_all()
    images: list[SimFiles] = []
    files.before_step = lambda step: images.extend(files.crash(Random(number)) for number in range(4))
    renew_it(files)
    seen = set()
    for image in images:
        if (key := image.image_key()) in seen:
            continue
        seen.add(key)
        again: list[SimFiles] = []
        image.before_step = lambda step, image=image, again=again: again.append(image.crash(Random(len(again))))
        first = found_in(image)
        assert first in legal
        for each in again:  # a failure while what is left is put in order
            assert found_in(each) == first
    assert len(seen) > 40


def test_what_is_restored_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with FileStorage(tmp_path / "old", node=1, cluster="test", new=True) as storage:
        storage.save([SaveEpochs(1, 1), Append(Z(1, 1), (RECORD,) * 4)])
        storage.save_snapshot(REFS[0], [b"state"])
        storage.save([Compact(REFS[0], Z(1, 1))])
    backup(tmp_path / "old", tmp_path / "copy")
    files = SimFiles()
    restore(tmp_path / "copy", files, node=2, cluster="again")
    with FileStorage(files, node=2, cluster="again") as storage:
        whole = state_of(storage, REFS)
    assert whole[0].last == Z(1, 4)
    images: list[SimFiles] = []
    steps = SimFiles()
    steps.before_step = lambda step: images.extend(steps.crash(Random(number)) for number in range(4))
    restore(tmp_path / "copy", steps, node=2, cluster="again")
    half = next(image for image in reversed(images) if "renewed-records" in image.names())
    images.remove(half)
    seen: set[bool] = set()
    for image in images:
        with FileStorage(image, node=2, cluster="again") as storage:
            found = state_of(storage, REFS)
        seen.add(found == whole)
        # Nothing: which is a loss, for a member that is not told to begin.
        assert found == whole or (found[0].last, found[0].snapshot, found[0].damage) == (0, 0, Damage.EPOCHS)
    assert seen == {True, False}
    restore(tmp_path / "copy", half, node=2, cluster="again")
    with FileStorage(half, node=2, cluster="again") as storage:
        assert state_of(storage, REFS) == whole


def test_without_room_for_both_the_old_one_stays() -> None:
    files = SimFiles()
    begin(files)
    old = found_in(files)
    used = sum(files.size_of(name) for name in files.names())
    for more in range(0, 40_000, 3000):
        files.capacity_bytes = used + more
        assert files.lock()
        try:
            renew(files, Checked(files), cluster="again", ensemble=ALONE, epoch=9, payloads=[b"first"])
        except StorageError as error:
            files.close()
            assert "is full" in str(error)  # noqa: PT017
            assert found_in(files) == old
        else:
            break
    assert more > 0
    files.close()
    assert found_in(files)[0] == "again"


def test_what_is_half_done_is_not_read(tmp_path: Path) -> None:
    with FileStorage(tmp_path / "data", node=1, cluster="old", new=True):
        pass
    (tmp_path / "data" / "renewing").touch()
    with pytest.raises(StorageError, match="cut short: to recover it again, or to start its member, goes on with it"):
        check(tmp_path / "data")
    with FileStorage(tmp_path / "data", node=1, cluster="old"):
        pass
    assert not check(tmp_path / "data").problems


def test_of_a_damaged_log_what_comes_before_the_damage_is_kept() -> None:
    files = SimFiles()
    begin(files)
    _, (_, entries, _) = found_in(files)
    name = next(name for name in reversed(files.names()) if name.startswith("log-"))
    files.flip(name, 8 * 700)
    renew_it(files)
    _, (saved, after, _) = found_in(files)
    kept = after[:-1]
    assert saved.damage is not Damage.LOG
    assert kept == entries[1 : 1 + len(kept)]
    assert len(kept) < len(entries) - 1
    assert after[-1] == (Z(9, 1), b"first")


# --- on a real disk


class Mortal:
    """A real directory of a process that is killed before its change number `at`."""

    def __init__(self, path: Path, at: int) -> None:
        self._inner = Directory(path)
        self.left = at
        self.where = self._inner.where

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def change(self) -> None:
        if not self.left:
            raise Killed
        self.left -= 1

    def open(self, name: str, *, create: bool = False) -> Any:
        if create:
            self.change()
        return MortalFile(self, self._inner.open(name, create=create))

    def rename(self, old: str, new: str) -> None:
        self.change()
        self._inner.rename(old, new)

    def remove(self, name: str) -> None:
        self.change()
        self._inner.remove(name)


class MortalFile:
    """A file in it."""

    def __init__(self, files: Mortal, inner: File) -> None:
        self._files = files
        self._inner = inner
        self.name = inner.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, offset: int, data: bytes | bytearray) -> None:
        self._files.change()
        self._inner.write(offset, data)

    def allocate(self, size: int) -> None:
        self._files.change()
        self._inner.allocate(size)

    def resize(self, size: int) -> None:
        self._files.change()
        self._inner.resize(size)


def opened(path: Path, cluster: str) -> tuple[Zxid, int] | None:
    """Where the log of the real directory ends, in which epoch; None where it is that of another cluster."""
    try:
        with FileStorage(path, node=1, cluster=cluster) as storage:
            saved = storage.load()
            assert saved.damage is None
            return saved.last, saved.current_epoch
    except StorageError as refused:
        assert f"not of member 1 of '{cluster}'" in str(refused)  # noqa: PT017
        return None


def test_a_process_that_is_killed_at_any_change_of_a_real_directory_leaves_the_one_or_the_other(tmp_path: Path) -> None:
    with FileStorage(tmp_path / "kept", node=1, cluster="test", new=True) as storage:
        storage.save([SaveEpochs(1, 1), Append(Z(1, 1), (RECORD,) * 4)])
        storage.save_snapshot(REFS[0], [b"state"])
        storage.save([Compact(REFS[0], Z(1, 1)), SaveEpochs(3, 2), Append(Z(2, 1), (RECORD,) * 3)])
    def renewed(at: int) -> tuple[int, object]:
        path = tmp_path / str(at)
        shutil.copytree(tmp_path / "kept", path)
        files = Mortal(path, at)
        assert files.lock()
        with suppress(Killed):
            renew(files, Checked(files), cluster="again", ensemble=ALONE, epoch=9, payloads=[b"first"])
        files.close()
        return files.left, (opened(path, "test"), opened(path, "again"))

    old, new = ((Z(2, 3), 2), None), (None, (Z(9, 1), 9))
    most = 1000
    left, found = renewed(most)
    assert found == new
    changes = most - left
    # Of those before the new one is whole every fourth; from there on all.
    left_by = [renewed(at)[1] for at in (*range(0, changes - 9, 4), *range(changes - 9, changes))]
    moment = left_by.index(new)
    assert left_by == [old] * moment + [new] * (len(left_by) - moment)
    assert moment > 5
    assert len(left_by) - moment >= 4
