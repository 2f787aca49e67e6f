"""How a directory becomes a storage again: the end of what a crash has interrupted, and what is made of damage.

It is read first, and nothing is changed before it is known to be this member's. Then

- leftovers go: snapshots half written, segments that were not begun or are behind the first that is needed, snapshots
  of states that the log does not reach (an installation that did not come about);
- a log with damage is cut before it, which the record store says first; segments behind the cut are put aside, not
  removed, until a Repair;
- where the snapshot to begin with is not whole, an older one takes its place if the log reaches back to it; else, and
  where the log does not reach its snapshot, the log begins anew at the newest whole snapshot, and that is damage;
- without a readable record store everything begins anew, and the epochs are lost.

This module must not know how a storage is used.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from attrs import evolve, frozen

from zkcore.errors import StorageError
from zkcore.storage.files import Files, make_durable
from zkcore.storage.log import Log
from zkcore.storage.members import differences, ensemble_text, parse_ensemble
from zkcore.storage.records import RECORDS, Records, RecordStore, read_ensemble, read_records
from zkcore.storage.snapshots import SnapshotStore
from zkcore.storage.survey import Harm, Survey, check_segments, segment_name, segment_numbers, survey
from zkcore.zab.messages import Damage
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zxid import Zxid, format_zxid

__all__ = ["OURS", "Opened", "check_room", "open_parts", "refuse_strangers", "remove_aside", "remove_begun"]

_logger = logging.getLogger("zkcore.storage")

ASIDE = "damaged-"
ROOM = "room"
OURS = ("log-", "snapshot-", "saving", "incoming", ROOM, RECORDS, ASIDE)
"""How the names of all files of a storage begin."""

_HARMLESS = frozenset({"lost+found"})


@frozen
class Opened:
    """A storage's parts, ready for use, and the damage that was found just now."""

    records: RecordStore
    log: Log
    snapshots: SnapshotStore
    harms: tuple[Harm, ...]


def refuse_strangers(
    files: Files, *, cluster: str, node: int, owner: bytes, new: bool, ensemble: EnsembleConfig | None
) -> None:
    """Raises StorageError where the directory is not fit for this member; nothing is changed."""
    names, where = [name for name in files.names() if name not in _HARMLESS], files.where
    if RECORDS not in names:
        if strange := [name for name in names if not name.startswith(OURS)]:
            raise StorageError(f"{where} holds {strange[0]}, and no storage: give the right directory, or an empty one")
        if new and (parts := [name for name in names if name != f"{RECORDS}.new"]):
            raise StorageError(
                f"{where} holds {parts[0]}, a part of a storage: open it without new=True, or give an empty directory"
            )
        return
    found = read_records(files)  # which raises for other formats
    if found is not None and ensemble is not None and not new:
        _refuse_other_ensemble(files, ensemble)
    if found is not None and (found.cluster, found.node) != (cluster, node):
        raise StorageError(
            f"{where}/{RECORDS} is of member {found.node} of {found.cluster!r}, not of member {node} of {cluster!r}: "
            f"give that member's directory"
        )
    if new:
        raise StorageError(f"{where} holds a storage already: open it without new=True, or give an empty directory")
    check_segments(files, owner)


def _refuse_other_ensemble(files: Files, ensemble: EnsembleConfig) -> None:
    before = parse_ensemble(read_ensemble(files))
    if before is not None and (why := differences(before, ensemble)):
        raise StorageError(
            f"{files.where}/{RECORDS} is of another ensemble: {why}. Start with the voters it was made for, or begin a "
            f"new ensemble with a backup of it"
        )


def open_parts(
    files: Files, log: Log, snapshots: SnapshotStore, *, cluster: str, node: int, owner: bytes, new: bool,
    ensemble: EnsembleConfig | None,
) -> Opened:  # fmt: skip
    """See the module. `log` and `snapshots` are new and empty. Errors of the operating system come as OSError."""
    text = ensemble_text(ensemble) if ensemble is not None else ""
    store = RecordStore.open(files) if RECORDS in files.names() else None
    if store is None:
        store = _begin_records(files, snapshots, Records(cluster, node), new=new, ensemble=text)
    try:
        if text:
            store.save_ensemble(text)
        return _open_with(files, store, log, snapshots, owner=owner)
    except (OSError, StorageError):
        store.close()
        raise


def _open_with(files: Files, store: RecordStore, log: Log, snapshots: SnapshotStore, *, owner: bytes) -> Opened:
    mark = store.read_mark()
    log.on_durable = store.write_mark
    found = survey(files, store.records, mark, owner=owner)
    snapshots.clean()
    if found.harms and store.records.damage is None:
        store.save(evolve(store.records, damage=Damage.LOG))
    for harm in found.harms:
        _logger.error("damage in the log: %s", harm)
    if found.torn_bytes:
        where = f"{files.where}/{segment_name(found.path[-1].number)}"
        _logger.warning("%s ended with %d bytes of a write that was cut short", where, found.torn_bytes)
    snapshot = _snapshot_to_begin_with(found, store.records, snapshots)
    if snapshot is not None:
        records = store.records
        if snapshot != records.snapshot:
            _logger.warning("a snapshot is damaged; %s takes its place", format_zxid(snapshot))
            snapshots.rename_aside(records.snapshot, ASIDE)
            store.save(evolve(records, snapshot=snapshot, base=min(records.base, snapshot)))
        log.take_up(found, records=store.records, mark=mark)
    else:
        _begin_anew(files, found, store, log, snapshots, newest=max([*found.numbers, mark.segment]))
    _tidy(files, found, store.records, log, snapshots)
    return Opened(store, log, snapshots, tuple(found.harms))


def check_room(files: Files, size: int) -> None:
    """Raises OSError where the disk has no room for `size` bytes more."""
    if ROOM in files.names():
        files.remove(ROOM)
    file = files.open(ROOM, create=True)
    try:
        file.allocate(size)
    finally:
        file.close()
        files.remove(ROOM)


def remove_begun(files: Files) -> None:
    """Leave the directory of a new member, which could not be made, as it was before."""
    for name in files.names():
        if name.startswith(OURS):
            with suppress(OSError):
                files.remove(name)


def remove_aside(files: Files) -> None:
    """Forget what was put aside."""
    for name in files.names():
        if name.startswith(ASIDE):
            files.remove(name)


def _begin_records(
    files: Files, snapshots: SnapshotStore, records: Records, *, new: bool, ensemble: str
) -> RecordStore:
    """The record store of a new member, or of one that has lost it: then nothing in the log can be relied on."""
    if not new:
        _logger.error("%s: the epochs are lost; this member does not vote before it is whole again", files.where)
        numbers = segment_numbers(files)
        for name in (*map(segment_name, numbers), RECORDS):
            if name in files.names():
                files.rename(name, ASIDE + name)
        whole = _newest_whole(snapshots)
        segment = max(numbers, default=0) + 1
        records = evolve(records, snapshot=whole, base=whole, segment=segment, damage=Damage.EPOCHS)
    return RecordStore.create(files, records, ensemble=ensemble)


def _newest_whole(snapshots: SnapshotStore) -> Zxid:
    return next((zxid for zxid in sorted(snapshots.zxids, reverse=True) if snapshots.is_whole(zxid)), 0)


def _snapshot_to_begin_with(found: Survey, records: Records, snapshots: SnapshotStore) -> Zxid | None:
    """The one that the log leads on from: that of the records, or an older one; 0 where the log holds everything. None
    where there is none."""
    floor, last, wanted = found.index.floor, found.index.last, records.snapshot
    if found.harms and not found.path:
        return None
    if not wanted or snapshots.is_whole(wanted):
        return wanted if floor <= records.base and wanted <= last else None
    usable = [zxid for zxid in sorted(snapshots.zxids, reverse=True) if floor <= zxid <= last]
    whole = next((zxid for zxid in usable if zxid != wanted and snapshots.is_whole(zxid)), None)
    return 0 if whole is None and floor == 0 else whole


def _begin_anew(
    files: Files, found: Survey, store: RecordStore, log: Log, snapshots: SnapshotStore, *, newest: int
) -> None:
    """An empty log behind the newest whole snapshot."""
    wanted = store.records.snapshot
    whole = wanted if wanted and snapshots.is_whole(wanted) else _newest_whole(snapshots)
    number = max(newest, store.records.segment) + 1
    if whole != wanted:
        snapshots.rename_aside(wanted, ASIDE)
    _logger.error("%s: the log begins anew at the snapshot %s", files.where, format_zxid(whole))
    if store.records.damage is None:
        store.save(evolve(store.records, damage=Damage.LOG))
    log.prepare_restart(whole, number)
    store.save(evolve(store.records, base=whole, snapshot=whole, segment=number))
    log.restart()
    found.path.clear()


def _tidy(files: Files, found: Survey, records: Records, log: Log, snapshots: SnapshotStore) -> None:
    """Remove what counts for nothing, and put aside what may be the only copy of something."""
    harmed = records.damage is not None
    if ROOM in files.names():
        files.remove(ROOM)
    for number in segment_numbers(files):
        if number in log.segments:
            continue
        name = segment_name(number)
        if harmed and number not in found.unfinished and (found.harms or number >= records.segment):
            files.rename(name, ASIDE + name)
        else:
            files.remove(name)
    if not found.harms:
        snapshots.forget_after(max(log.index.last, records.snapshot))
    snapshots.begin_with(records.snapshot)
    make_durable(files, files.where)
