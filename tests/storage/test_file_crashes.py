"""Whatever a power failure leaves of the files, the storage recovers to what the contract allows."""

from __future__ import annotations

import pytest
from file_crashes import CrashTest

from zkcore.storage.storage import Storage
from zkcore.zab.ready import Append, Compact, InstallSnapshot, SaveEpochs, SnapshotChunk, SnapshotRef, Truncate, Write
from zkcore.zxid import make_zxid as Z

OLD, REF, LATER = SnapshotRef(Z(1, 1)), SnapshotRef(Z(1, 2)), SnapshotRef(Z(4, 4))
RECORD = bytes(range(140))


def three(storage: Storage) -> None:
    """Three records of epoch 1."""
    storage.save([SaveEpochs(1, 1), Append(Z(1, 1), (RECORD, RECORD, RECORD))])


def a_snapshot(storage: Storage) -> None:
    """The same, and a snapshot."""
    three(storage)
    storage.save_snapshot(OLD, [b"old"])
    storage.save_snapshot(REF, [b"state"])


def compacted(storage: Storage) -> None:
    """The same, in use, with another one of a later state."""
    a_snapshot(storage)
    storage.save([Compact(REF, Z(1, 1))])
    storage.save_snapshot(SnapshotRef(Z(1, 3)), [b"later"])


def compacted_long_ago(storage: Storage) -> None:
    """A snapshot in use, and two newer ones."""
    compacted(storage)
    storage.save([Append(Z(1, 4), (RECORD,))])
    storage.save_snapshot(SnapshotRef(Z(1, 4)), [b"newest"])


def receiving(storage: Storage) -> None:
    """The same, with the pieces of a snapshot put aside."""
    compacted(storage)
    storage.save([SnapshotChunk(LATER, 0, b"half "), SnapshotChunk(LATER, 5, b"and half")])


ACTS: dict[str, tuple[object, list[Write]]] = {
    "an append": (three, [Append(Z(1, 4), (RECORD, RECORD, RECORD, RECORD)), Append(Z(2, 1), (RECORD, RECORD))]),
    "an append, and the epochs": (three, [Append(Z(2, 1), (RECORD,) * 4), SaveEpochs(2, 2)]),
    "a roll": (three, [Append(Z(1, 4), (RECORD,) * 5)]),
    "a truncation": (compacted, [Truncate(Z(1, 2))]),
    "a truncation and another history": (
        compacted, [SaveEpochs(3, 1), Truncate(Z(1, 2)), Append(Z(2, 1), (b"other", b"records")), SaveEpochs(3, 3)],
    ),
    "a compaction": (a_snapshot, [Compact(REF)]),
    "a compaction with a tail": (a_snapshot, [Compact(REF, Z(1, 1)), Append(Z(1, 4), (RECORD,))]),
    "a compaction after another": (compacted_long_ago, [Compact(SnapshotRef(Z(1, 4)), Z(1, 3))]),
    "a snapshot's pieces": (compacted, [SnapshotChunk(LATER, 0, b"a piece"), Append(Z(1, 4), (RECORD,))]),
    "an installation": (receiving, [InstallSnapshot(LATER, 13)]),
    "an installation and what follows": (
        receiving, [SaveEpochs(5, 1), InstallSnapshot(LATER, 13), Append(Z(5, 1), (RECORD,)), SaveEpochs(5, 5)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("segment_bytes", [4096, 1024])
@pytest.mark.parametrize("name", ACTS)
def test_a_crash_leaves_a_prefix(name: str, segment_bytes: int) -> None:
    prepare, act = ACTS[name]
    test = CrashTest(prepare, act, (OLD, REF, SnapshotRef(Z(1, 3)), LATER), segment_bytes=segment_bytes)
    test.run()
    assert test.images > 3


@pytest.mark.parametrize("prepare", [three, a_snapshot, compacted])
def test_a_crash_leaves_a_snapshot_or_none(prepare: object) -> None:
    test = CrashTest(prepare, [], (OLD, REF, SnapshotRef(Z(1, 3))))
    test.run_snapshot(SnapshotRef(Z(1, 3)), b"a newer state" * 50)
    assert test.images > 10
