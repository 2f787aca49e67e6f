"""The storage of a member in a directory: what was acknowledged is never lost, and damage is never hidden.

Four kinds of files lie in it: `records` (records.py), the segments of the log (log.py), snapshots (snapshots.py), and
`damaged-...`, segments that were put aside and go with the next Repair. Each `save` stages what it appends and makes it
durable with one sync; other writes first make durable what came before them, so that a crash leaves a prefix.

What changes more than one file has one moment at which it happens, a write of the record store: before it the new files
are there and count for nothing, after it the old ones do. Opening completes the one and removes the other.

| after a crash | `fsync="always"` | an interval in ms | `"never"` |
|---|---|---|---|
| of the process | nothing is lost | nothing is lost | nothing is lost |
| of the machine | nothing is lost | the records of the last interval | records, as many as the system kept back |

Epochs and snapshots are durable in all of them, and a member that has lost records says nothing of it: with any but
`always` a power failure of a majority can lose what was acknowledged.

This module must not know what the payloads mean, nor who leads.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Literal, TypeAlias, assert_never

from attrs import evolve

from zkcore.errors import InvariantViolation, StorageError, StorageFailedError, StorageFullError
from zkcore.storage.files import Directory, Files
from zkcore.storage.frames import SECTOR_BYTES
from zkcore.storage.index import LogIndex
from zkcore.storage.log import Log
from zkcore.storage.members import parse_ensemble
from zkcore.storage.opening import check_room, open_parts, refuse_strangers, remove_aside, remove_begun
from zkcore.storage.records import MAX_NAME_BYTES, RecordStore, read_ensemble
from zkcore.storage.renewing import settle
from zkcore.storage.snapshots import SnapshotStore
from zkcore.storage.storage import size_of
from zkcore.storage.survey import Harm
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig
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
from zkcore.zxid import Zxid, format_zxid

__all__ = ["FileStorage", "Fsync", "owner_of"]

_log = logging.getLogger("zkcore.storage")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_CLOSED = "it was closed"


Fsync: TypeAlias = int | Literal["always", "never"]
"""When records become durable: before `save` returns, at most so many milliseconds later, or when the system likes."""


def owner_of(cluster: str, node: PeerId) -> bytes:
    """Eight bytes that stand for a member, in every file of its storage."""
    return sha256(f"{node} of {cluster}".encode()).digest()[:8]


class FileStorage:
    """A `Storage` in `directory`, that of the member `node` of the ensemble called `cluster`. An `ensemble` that is
    given is kept with it, and from then on the directory is refused for one with other voters.

    A new member's is made with `new`; the directory must then be empty, or not exist. Without it an empty directory is
    one that has lost everything: the member is damaged, and must not vote before the others have made it whole.

    `fsync` says when records become durable: "always" before `save` returns, a number at most so many milliseconds
    later, "never" when the system likes. `segment_bytes` are reserved for the log at a time. Snapshots are written
    with zlib where `compress` is set.

    Opening raises StorageError, and changes nothing, where the directory cannot be used, another process uses it, or it
    is somebody else's; the message says what to do. Damage is no error: `load` tells it, `harms` names the ranges.

    After StorageFullError it works on, and `load` raises that, too, until there is room for what was refused. After
    StorageFailedError everything raises that, until `load` opens the directory anew; what was being saved then is in
    the log or is not. Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | Files,
        *,
        node: PeerId,
        cluster: str,
        ensemble: EnsembleConfig | None = None,
        new: bool = False,
        fsync: Fsync = "always",
        segment_bytes: int = 64 << 20,
        compress: bool = False,
    ) -> None:
        if isinstance(fsync, int) and fsync <= 0:
            raise ValueError(f"fsync every {fsync} ms is not possible; for no delay at all there is 'always'")
        if not SECTOR_BYTES < segment_bytes <= 1 << 30:
            raise ValueError(f"segments of {segment_bytes} bytes; they have more than 512, and at most 2**30")
        if not 0 < len(cluster.encode()) <= MAX_NAME_BYTES:
            raise ValueError(f"{cluster!r} is no name for a cluster: it has 1 to {MAX_NAME_BYTES} bytes")
        is_path = isinstance(directory, str | os.PathLike)
        self._files: Files = Directory(directory, create=new) if is_path else directory  # type: ignore[arg-type, assignment]
        self._node = node
        self._cluster = cluster
        self._ensemble = ensemble
        self._owner = owner_of(cluster, node)
        self._fsync = fsync
        self._segment_bytes = segment_bytes
        self._compress = compress
        self._dead: str | None = None
        self._timer: threading.Timer | None = None
        self._refused_bytes = 0
        self.harms: tuple[Harm, ...] = ()
        """The ranges of records that could not be read when this was opened."""
        self.slowest_save_seconds = 0.0
        self._records: RecordStore
        self._log: Log
        self._snapshots: SnapshotStore
        try:
            if not self._files.lock():
                raise StorageError(f"{self._files.where} is in use by another process: stop that one first")
            settle(self._files)
            refuse_strangers(
                self._files, cluster=cluster, node=node, owner=self._owner, new=new, ensemble=ensemble
            )
            try:
                self._open(new=new)
            except (OSError, StorageError):
                if new:
                    remove_begun(self._files)
                raise
        except OSError as error:
            self._files.close()
            raise self._meaning(error) from error
        except StorageError:
            self._files.close()
            raise

    def _open(self, *, new: bool) -> None:
        log = Log(self._files, owner=self._owner, segment_bytes=self._segment_bytes)
        snapshots = SnapshotStore(self._files, owner=self._owner, compressed=self._compress)
        try:
            opened = open_parts(
                self._files, log, snapshots, cluster=self._cluster, node=self._node, owner=self._owner, new=new,
                ensemble=self._ensemble,
            )  # fmt: skip
        except (OSError, StorageError):
            log.close()
            snapshots.close()
            raise
        self._records, self._log, self._snapshots = opened.records, log, snapshots
        if opened.harms:
            self.harms = opened.harms

    def __enter__(self) -> FileStorage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Make durable what is not yet, and give up the directory. Whoever comes next finds it as after a crash."""
        if self._dead == _CLOSED:
            return
        self._stop_timer()
        try:
            if self._dead is None:
                with self._told():
                    self._log.sync()
                    self._records.sync()
        finally:
            self._dead = _CLOSED
            self._close_parts()
            self._files.close()

    def _close_parts(self) -> None:
        self._log.close()
        self._records.close()
        self._snapshots.close()

    # --- the contract

    def load(self) -> Saved:
        """See `Storage.load`. Opens the directory anew where the storage is dead. Where that fails for want of room it
        may be tried again: opening completes what another opening has begun."""
        if self._dead is not None and self._dead != _CLOSED:
            self._close_parts()
            try:
                self._open(new=False)
            except OSError as error:
                raise self._meaning(error) from error
            self._dead = None
        with self._told():
            if self._refused_bytes:
                check_room(self._files, self._refused_bytes)
                self._refused_bytes = 0
            index, records = self._log.index, self._records.records
            return Saved(
                records.accepted, records.current, index.base, index.last, index.epoch_ends(), records.snapshot,
                records.damage,
            )  # fmt: skip

    def save(self, writes: Sequence[Write]) -> None:
        """See `Storage.save`. One sync, where these are all appends."""
        began = time.perf_counter()
        with self._told():
            try:
                for write in writes:
                    self._apply(write)
                self._flush()
            except OSError as error:
                if error.errno in _FULL:
                    self._refused_bytes = max(map(self._room_needed, writes))
                raise
            else:
                self._refused_bytes = 0
            finally:
                self._log.forget_staged()
        self.slowest_save_seconds = max(self.slowest_save_seconds, time.perf_counter() - began)

    def entries(self, after: Zxid, max_bytes: int) -> Sequence[Entry]:
        """See `LogReader`."""
        with self._told():
            return self._log.entries(after, max_bytes)

    def read_snapshot(self, ref: SnapshotRef, offset: int, size: int) -> bytes:
        """See `LogReader`. Raises LookupError where `ref` is not kept."""
        with self._told():
            return self._snapshots.read(ref.zxid, offset, size)

    def save_snapshot(self, ref: SnapshotRef, chunks: Iterable[bytes]) -> None:
        """See `Storage.save_snapshot`."""
        with self._told():
            if ref.zxid > self._log.index.last:
                last = format_zxid(self._log.index.last)
                raise InvariantViolation(f"{ref} is of a state after the end of the log, {last}")
            self._snapshots.save(ref.zxid, chunks)

    def _room_needed(self, write: Write) -> int:
        return self._log.room_needed(size_of(write)) if type(write) is Append else size_of(write) + SECTOR_BYTES

    @property
    def ensemble(self) -> EnsembleConfig | None:
        """The ensemble that is kept here, or None."""
        return parse_ensemble(read_ensemble(self._files))

    @property
    def log_index(self) -> LogIndex:
        """Where in the files the records lie, for tests and tools; not to be changed."""
        return self._log.index

    # --- one write

    def _apply(self, write: Write) -> None:
        if type(write) is Append:
            self._log.stage_append(write.first, write.payloads)
        elif type(write) is Truncate:
            self._truncate(write.zxid)
        elif type(write) is SnapshotChunk:
            self._snapshots.put_aside(write.ref.zxid, write.offset, write.data)
        else:
            self._flush(in_any_case=True)
            self._apply_to_records(write)

    def _apply_to_records(self, write: Write) -> None:
        records = self._records.records
        match write:
            case SaveEpochs(accepted, current):
                if accepted < records.accepted or current < records.current or current > accepted:
                    raise InvariantViolation(f"{write} cannot come after {records.accepted} and {records.current}")
                self._records.save(evolve(records, accepted=accepted, current=current))
            case InstallSnapshot(ref, size):
                self._install(ref, size)
            case Compact(ref, upto):
                self._compact(ref, upto)
            case Repair():
                if records.damage is not None:
                    self._records.save(evolve(records, damage=None))
                    remove_aside(self._files)
                    self.harms = ()
            case Append() | Truncate() | SnapshotChunk():
                raise AssertionError(write)
            case _:
                assert_never(write)

    def _truncate(self, zxid: Zxid) -> None:
        snapshot = self._records.records.snapshot
        if zxid < snapshot:
            raise InvariantViolation(
                f"the log cannot be cut after {format_zxid(zxid)}: its snapshot is of {format_zxid(snapshot)}"
            )
        self._log.stage_truncate(zxid)
        if any(kept > zxid for kept in self._snapshots.zxids):
            self._flush(in_any_case=True)
            self._snapshots.forget_after(zxid)

    def _install(self, ref: SnapshotRef, size: int) -> None:
        self._snapshots.check_incoming(ref.zxid, size)
        self._snapshots.keep_incoming()
        segment = self._log.next_number
        try:
            self._log.prepare_restart(ref.zxid, segment)
            self._begin_with(ref.zxid, ref.zxid, segment)
        except OSError:
            self._snapshots.forget_after(self._log.index.last)
            raise
        self._log.restart()
        self._snapshots.forget_after(ref.zxid)

    def _compact(self, ref: SnapshotRef, upto: Zxid) -> None:
        snapshot, index = self._records.records.snapshot, self._log.index
        if ref.zxid not in index or upto not in index or ref.zxid < snapshot or upto > ref.zxid:
            raise InvariantViolation(
                f"the log of {format_zxid(index.base)}, {format_zxid(snapshot)} cannot begin with {ref} and forget the "
                f"records up to {format_zxid(upto)}"
            )
        # An older snapshot is of use only with the records that lead on from it.
        segment = self._log.first_needed(min(upto, self._snapshots.hold(ref.zxid)))
        self._begin_with(ref.zxid, upto, segment)
        index.begin_after(upto)
        self._log.remove_before(segment)

    def _begin_with(self, snapshot: Zxid, base: Zxid, segment: int) -> None:
        self._records.save(evolve(self._records.records, snapshot=snapshot, base=base, segment=segment))
        self._snapshots.begin_with(snapshot)

    # --- when records become durable

    def _flush(self, *, in_any_case: bool = False) -> None:
        self._log.flush(sync=in_any_case or self._fsync == "always")
        if self._log.dirty and isinstance(self._fsync, int) and self._timer is None:
            self._timer = threading.Timer(self._fsync / 1000, self._sync_late)
            self._timer.daemon = True
            self._timer.start()

    def _sync_late(self) -> None:
        self._timer = None
        try:
            with self._told():
                self._log.sync()
        except StorageError as error:
            _log.critical("%s: %s", self._files.where, error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- trouble

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the operating system says into what the contract says. All but a full disk is the end."""
        if self._dead is not None:
            raise StorageFailedError(self._dead)
        try:
            yield
        except StorageFullError:
            raise
        except StorageError as error:
            self._dead = str(error)
            raise StorageFailedError(self._dead) from error
        except OSError as error:
            meaning = self._meaning(error)
            if isinstance(meaning, StorageFailedError):
                self._dead = str(meaning)
            raise meaning from error

    def _meaning(self, error: OSError) -> StorageError:
        where = self._files.where
        if isinstance(error, StorageError):
            return error
        if error.errno in _FULL:
            return StorageFullError(f"{where} is full: make room there, and this goes on by itself ({error})")
        todo = "change the owner or the permissions" if error.errno in _FORBIDDEN else "look after the disk"
        return StorageFailedError(f"{where}: {error}; {todo}, then start this member again")
