"""The commands that look into a member's directory, copy it, and begin anew from the copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from zkcore.cli.main import main
from zkcore.errors import StorageError
from zkcore.storage import FileStorage
from zkcore.storage.backup import backup, restore
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import Create, CreateSession, SetData
from zkcore.tree.snapshot import dump
from zkcore.tree.tree import Tree
from zkcore.zab.membership import configuration_record
from zkcore.zab.messages import Damage
from zkcore.zab.quorum import EnsembleConfig, Transition
from zkcore.zab.ready import Append, Compact, SaveEpochs, SnapshotRef
from zkcore.zxid import make_zxid

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_main(*words: object) -> tuple[int, str]:
        status = main([str(word) for word in words])
        told = capsys.readouterr()
        return status, told.out + told.err

    return run_main


def open_it(path: Path, *, new: bool = False, node: int = 1, cluster: str = "orders") -> FileStorage:
    return FileStorage(path, node=node, cluster=cluster, new=new, segment_bytes=2048)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with two snapshots, of which the first is in use, and records behind it."""
    path, tree = tmp_path / "data", Tree()
    preparer = Preparer(tree)
    requests = [CreateSession(4000), Create("/a", b"one"), Create("/b", b"two"), SetData("/a", b"three"), Create("/c")]
    with open_it(path, new=True) as storage:
        storage.save([SaveEpochs(1, 1)])
        for counter, request in enumerate(requests, 1):
            zxid = make_zxid(1, counter)
            payload = preparer.prepare(zxid, counter, 1, 1, request)
            tree.apply(zxid, payload)
            storage.save([Append(zxid, (payload,))])
            if counter in (3, 4):
                storage.save_snapshot(SnapshotRef(zxid), dump(tree))
        storage.save([Compact(SnapshotRef(make_zxid(1, 3)), make_zxid(1, 2))])
    return path


def snapshots(path: Path) -> list[Path]:
    return sorted(path.glob("snapshot-*"))


def test_the_log_is_shown_record_by_record(data: Path, run: Run) -> None:
    status, told = run("log", "dump", data)
    assert status == 0
    assert [line.split()[0] for line in told.splitlines()] == ["0x1_00000003", "0x1_00000004", "0x1_00000005"]
    assert "type 5 for session" in told
    assert "three" not in told
    assert len(run("log", "dump", data, "--after", "0x1_00000003", "--limit", 1)[1].splitlines()) == 1


def test_who_the_members_are_is_shown(data: Path, run: Run) -> None:
    change = configuration_record(Transition(EnsembleConfig([1]), EnsembleConfig([1, 2])))
    with open_it(data) as storage:
        storage.save([Append(make_zxid(1, 6), (change,))])
    shown = run("log", "dump", data, "--after", "0x1_00000005")[1]
    assert shown == f"0x1_00000006  {len(change)} bytes, members voters 1 -> voters 1 2\n"


def test_a_whole_directory_is_whole_also_while_it_is_used(data: Path, run: Run) -> None:
    with open_it(data):
        status, told = run("log", "verify", data)
    assert status == 0
    assert "member 1 of orders: epochs accepted=1 current=1" in told
    assert told.endswith("whole\n")


def damage(path: Path) -> None:
    segment = next(path.glob("log-*"))
    content = bytearray(segment.read_bytes())
    content[700] ^= 1
    segment.write_bytes(content)


def test_damage_is_shown_and_repair_changes_nothing_unless_told_to(data: Path, run: Run) -> None:
    damage(data)
    status, told = run("log", "verify", data)
    assert status == 1
    assert "at byte" in told
    before = {each.name: each.read_bytes() for each in data.iterdir()}
    assert "keeps the log before the damage" in run("log", "repair", data)[1]
    assert {each.name: each.read_bytes() for each in data.iterdir()} == before
    assert "damage: LOG" in run("log", "repair", data, "--apply")[1]
    with open_it(data) as storage:
        assert storage.load().damage is Damage.LOG


def test_there_is_nothing_to_repair_in_what_is_whole(data: Path, run: Run) -> None:
    assert "nothing to repair" in run("log", "repair", data, "--apply")[1]


def test_snapshots_are_shown_checked_and_compared(data: Path, run: Run) -> None:
    one, other = snapshots(data)
    status, told = run("snap", "dump", one)
    assert status == 0
    assert "/a: " in told
    assert "one" not in told.split("/a: ")[1]
    assert "whole" in run("snap", "verify", one)[1]
    assert run("snap", "diff", one, one) == (0, "the same\n")
    status, told = run("snap", "diff", one, other)
    assert status == 1
    assert "/a: " in told
    assert "/b: " not in told


def test_a_damaged_snapshot_is_refused_with_the_place(data: Path, run: Run) -> None:
    one = snapshots(data)[0]
    content = bytearray(one.read_bytes())
    content[600] ^= 1
    one.write_bytes(content)
    status, told = run("snap", "verify", one)
    assert status == 2
    assert "is damaged at byte 512" in told


def test_a_directory_without_a_storage_is_said_to_be_one(tmp_path: Path, run: Run) -> None:
    status, told = run("log", "verify", tmp_path)
    assert status == 2
    assert "holds no storage" in told


# --- backup and restore


def test_a_backup_begins_a_new_ensemble(data: Path, tmp_path: Path, run: Run) -> None:
    with open_it(data):
        assert run("backup", data, tmp_path / "copy")[0] == 0
    for node in (1, 2):
        to = tmp_path / f"new{node}"
        assert run("restore", tmp_path / "copy", to, "--node", node, "--cluster", "again")[0] == 0
        with open_it(to, node=node, cluster="again") as storage, open_it(data) as old:
            saved, ref = storage.load(), SnapshotRef(make_zxid(1, 3))
            assert (saved.snapshot, saved.last, saved.current_epoch) == (ref.zxid, make_zxid(1, 5), 1)
            assert storage.entries(ref.zxid, 1 << 20) == old.entries(ref.zxid, 1 << 20)
            assert storage.read_snapshot(ref, 0, 1 << 20) == old.read_snapshot(ref, 0, 1 << 20)


def test_a_restored_ensemble_needs_a_name_of_its_own(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "copy")
    with pytest.raises(StorageError, match="a name of its own"):
        restore(tmp_path / "copy", tmp_path / "new", node=1, cluster="orders")


def test_a_backup_of_what_is_damaged_is_refused(data: Path, tmp_path: Path) -> None:
    damage(data)
    with pytest.raises(StorageError, match="is not whole"):
        backup(data, tmp_path / "copy")


def test_a_backup_goes_to_an_empty_directory(data: Path) -> None:
    with pytest.raises(StorageError, match="not empty"):
        backup(data, data)


def test_a_backup_of_a_storage_that_is_busy_is_whole(tmp_path: Path) -> None:
    path, stop = tmp_path / "data", Event()
    storage = open_it(path, new=True)
    worker = Thread(target=lambda: list(work(storage, stop)))
    worker.start()
    try:
        for number in range(8):
            to = tmp_path / f"copy{number}"
            backup(path, to)
            with open_it(to) as copied:
                saved = copied.load()
                assert saved.damage is None
                for zxid, payload in copied.entries(saved.base, 1 << 30):
                    assert payload == b"%d" % zxid * 20
    finally:
        stop.set()
        worker.join()
        storage.close()


def work(storage: FileStorage, stop: Event) -> Iterator[None]:
    zxid = make_zxid(1, 0)
    while not stop.is_set():
        payloads = tuple(b"%d" % (zxid + place) * 20 for place in range(1, 6))
        storage.save([Append(zxid + 1, payloads)])
        zxid += 5
        if zxid % 100 == 0:
            storage.save_snapshot(SnapshotRef(zxid), [b"state"])
            storage.save([Compact(SnapshotRef(zxid))])
        yield
