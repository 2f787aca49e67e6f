"""Backups: a copy of a member's directory that was taken while the member ran, and a new ensemble made from one.

A backup is a directory like a member's own, so everything that looks at one looks at the other. It is copied without
the member's help: the record store first, so that nothing it names is newer than what is copied behind it, then
snapshots and segments, which change only at their ends. What a compaction takes away meanwhile begins the copy anew.
Then the copy is checked as a start would check it.

To restore is to write the state and the log into the storage of a new member, under its own name and that of a new
cluster: all members of the new ensemble get the same, and none of the old one can be mistaken for one of them. What
the old leader had not committed yet, but this member had, is then part of the history.

To renew is the same in the member's own directory: it becomes that of a member of a new ensemble, with records behind
its log that the new one begins with.

This module must not know what the payloads mean.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing, suppress

from zkcore.errors import StorageCorruptError, StorageError, StorageFullError
from zkcore.storage.file import FileStorage, owner_of
from zkcore.storage.files import Directory, Files, make_durable
from zkcore.storage.log import read_records_of
from zkcore.storage.opening import refuse_strangers
from zkcore.storage.records import RECORDS, Records, read_mark, read_records
from zkcore.storage.renewing import Beside, is_half_done, settle, take_place
from zkcore.storage.snapshots import SnapshotStore
from zkcore.storage.survey import Survey, survey
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Append, InstallSnapshot, Saved, SaveEpochs, SnapshotChunk, SnapshotRef, Write
from zkcore.zxid import epoch_of, format_zxid, make_zxid

__all__ = ["Checked", "backup", "check", "renew", "restore"]

Path = str | os.PathLike[str]

_PIECE_BYTES = 1 << 20
_BATCH = 1000
_TRIES = 5
_COPIED = (RECORDS, "snapshot-", "log-")


class Checked:
    """What a directory holds, read without changing it: its records, its log, and whether its snapshot is whole."""

    def __init__(self, files: Files) -> None:
        if RECORDS not in files.names():
            raise StorageError(f"{files.where} holds no storage: give the directory of a member, or a backup")
        if is_half_done(files):
            raise StorageError(
                f"in {files.where} one storage takes the place of another, and that was cut short: to recover it "
                f"again, or to start its member, goes on with it"
            )
        found = read_records(files)
        if found is None:
            raise StorageCorruptError(f"{files.where}/{RECORDS} cannot be read: the epochs are lost")
        self.records: Records = found
        owner = owner_of(found.cluster, found.node)
        self.log: Survey = survey(files, found, read_mark(files), owner=owner)
        self.snapshots = SnapshotStore(files, owner=owner)
        self.snapshot_is_whole = not found.snapshot or self.snapshots.is_whole(found.snapshot)

    @property
    def problems(self) -> list[str]:
        """Why this is not whole, in words; none where it is."""
        told = [str(harm) for harm in self.log.harms]
        if not self.snapshot_is_whole:
            told.append(f"the snapshot {format_zxid(self.records.snapshot)} is missing or damaged")
        if self.records.damage is not None:
            told.append(f"it is damaged since an earlier start, and not yet repaired: {self.records.damage}")
        return told


def check(directory: Path) -> Checked:
    """What `directory` holds. It is only read, and may be in use; what is being written just then may look torn.

    Raises StorageError where it holds no storage, or none that can be read at all.
    """
    files = Directory(directory)
    try:
        return Checked(files)
    finally:
        files.close()


def backup(directory: Path, to: Path) -> Checked:
    """Copy the storage in `directory`, whose member may go on meanwhile, to the new directory `to`; what was copied.

    Raises StorageError where that cannot be done, or what was copied is not whole: then `to` is to be removed.
    """
    source, target = Directory(directory), Directory(to, create=True)
    try:
        if target.names():
            raise StorageError(f"{target.where} is not empty: give a new directory")
        for left in reversed(range(_TRIES)):
            try:
                _copy(source, target)
                break
            except FileNotFoundError as error:
                if not left:
                    raise StorageError(f"{source.where} changes faster than it is copied: try again later") from error
                for name in target.names():
                    target.remove(name)
        copied = Checked(target)
    except OSError as error:
        if isinstance(error, StorageFullError):
            raise
        raise StorageError(f"{source.where} could not be copied to {target.where}: {error}") from error
    finally:
        source.close()
        target.close()
    if problems := copied.problems:
        raise StorageCorruptError(f"{source.where} is not whole, and neither is its copy: {'; '.join(problems)}")
    return copied


def restore(source: Path, to: Path | Files, *, node: PeerId, cluster: str) -> Saved:
    """Make the storage of member `node` of the new ensemble `cluster` in `to`, from a backup; what it then holds.

    Every member of the new ensemble is restored from the same backup. Raises StorageError where the backup is not
    whole, `cluster` is the name of the old one, or `to` is not empty. A crash leaves all of it, or nothing.
    """
    with closing(Directory(source)) as files:
        old = Checked(files)
        if problems := old.problems:
            raise StorageCorruptError(f"{files.where} is not whole: {'; '.join(problems)}")
        if cluster == old.records.cluster:
            raise StorageError(f"the restored ensemble needs a name of its own: the old one is {cluster!r}, too")
        target: Files = Directory(to, create=True) if isinstance(to, str | os.PathLike) else to
        with closing(target):
            if not target.lock():
                raise StorageError(f"{target.where} is in use by another process: give an empty directory")
            settle(target)
            owner = owner_of(cluster, node)
            refuse_strangers(target, cluster=cluster, node=node, owner=owner, new=True, ensemble=None)
            current = max(old.records.current, epoch_of(old.log.index.last))
            return _begin(
                target, files, old, node=node, cluster=cluster, ensemble=None,
                behind=[SaveEpochs(max(old.records.accepted, current), current)],
            )  # fmt: skip


def renew(
    files: Files, old: Checked, *, cluster: str, ensemble: EnsembleConfig, epoch: int, payloads: Sequence[bytes]
) -> Saved:
    """Make the storage in `files`, a directory that was claimed, that of the same member of the new `ensemble` called
    `cluster`; what it then holds. `payloads` are the first records of `epoch`, behind all others, and of damage in
    `old` nothing is left but what it has destroyed.

    A crash leaves `old`, or all that is new. Raises StorageError where there is no room for both, and the old one is as
    it was.
    """
    settle(files)
    return _begin(
        files, files, old, node=old.records.node, cluster=cluster, ensemble=ensemble,
        behind=[Append(make_zxid(epoch, 1), tuple(payloads)), SaveEpochs(epoch, epoch)],
    )  # fmt: skip


def _begin(
    files: Files, source: Files, old: Checked, *, node: PeerId, cluster: str, ensemble: EnsembleConfig | None,
    behind: Sequence[Write],
) -> Saved:  # fmt: skip
    """A storage in `files`, which are claimed, with what `old` holds of `source`, and `behind` that; whole, or none."""
    try:
        with FileStorage(Beside(files), node=node, cluster=cluster, ensemble=ensemble, new=True) as storage:
            _write(storage, source, old)
            storage.save(behind)
            saved = storage.load()
    except (OSError, StorageError):
        with suppress(OSError):
            settle(files)
        raise
    try:
        take_place(files)
    except OSError as error:
        raise StorageError(f"{files.where}: {error}; see to the disk, and do this again") from error
    return saved


def _write(storage: FileStorage, files: Files, old: Checked) -> None:
    """The state of `old`, and the records behind it as far as they follow from that."""
    ref, offset = SnapshotRef(old.records.snapshot), 0
    if ref.zxid:
        while piece := old.snapshots.read(ref.zxid, offset, _PIECE_BYTES):
            storage.save([SnapshotChunk(ref, offset, piece)])
            offset += len(piece)
        storage.save([InstallSnapshot(ref, offset)])
    pending: list[Append] = []
    follows = old.log.index.floor <= ref.zxid <= old.log.index.last
    for zxid, payload in read_records_of(files, old.log) if follows else ():
        if zxid > ref.zxid:
            pending.append(Append(zxid, (payload,)))
        if len(pending) >= _BATCH:
            storage.save(pending)
            pending.clear()
    storage.save(pending)


def _copy(source: Files, target: Files) -> None:
    for kind in _COPIED:
        for name in source.names():
            if name.startswith(kind) and not name.endswith(".new"):
                _copy_file(source, target, name)
    make_durable(target, target.where)


def _copy_file(source: Files, target: Files, name: str) -> None:
    read, written = source.open(name), target.open(name, create=True)
    try:
        offset = 0
        while piece := read.read(offset, _PIECE_BYTES):
            written.write(offset, piece)
            offset += len(piece)
        make_durable(written, f"{target.where}/{name}")
    finally:
        read.close()
        written.close()
