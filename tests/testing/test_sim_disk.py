"""What a crash inside a save leaves on the simulated disk."""

from __future__ import annotations

from random import Random

from zkcore.storage.storage import MemoryStorage
from zkcore.testing.disk import Disk
from zkcore.zab.ready import Append, SaveEpochs, SnapshotRef, Write
from zkcore.zxid import make_zxid

FIRST = make_zxid(1, 1)
WRITES: list[Write] = [SaveEpochs(1, 0), Append(FIRST, (b"a", b"b", b"c")), SaveEpochs(1, 1)]


def test_every_prefix_is_left_some_time_and_nothing_else() -> None:
    left = set()
    for seed in range(200):
        storage = MemoryStorage()
        Disk(storage, lambda write: None).save_part(WRITES, Random(seed))
        saved = storage.load()
        left.add((saved.accepted_epoch, saved.last, saved.current_epoch))
    assert left == {(0, 0, 0), (1, 0, 0), (1, FIRST, 0), (1, FIRST + 1, 0), (1, FIRST + 2, 0), (1, FIRST + 2, 1)}


def test_what_is_told_is_what_is_on_the_disk() -> None:
    for seed in range(50):
        told: list[Write] = []
        disk = Disk(MemoryStorage(), told.append)
        kept = disk.save_part(WRITES, Random(seed))
        assert told[:kept] == WRITES[:kept]
        mirror = MemoryStorage()
        mirror.save(told)
        assert mirror.load() == disk.load()


def test_a_snapshot_is_read_back_whole() -> None:
    disk = Disk(MemoryStorage(), lambda write: None)
    disk.save([SaveEpochs(1, 1), Append(FIRST, (b"a",))])
    state = bytes(range(256)) * 1000
    disk.save_snapshot(SnapshotRef(FIRST), state)
    assert disk.read_snapshot(SnapshotRef(FIRST)) == state
