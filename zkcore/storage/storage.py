"""What keeps a replica's log, epochs and snapshots: the plug point, and the implementation that lives in memory.

A storage is used by one replica. It needs no locks of its own: `save` is never called twice at once, and nothing else
but `save_snapshot` (and the reading of a snapshot) runs beside it.

`MemoryStorage` outlives the replica that uses it, not the process. It serves applications of a single process, and
tests and simulation: what a replica did not save is gone when the replica is thrown away and another begins with
`load`, exactly as on a disk, and the ways in which disks fail can be asked for by name.

This module must not know what the payloads mean, nor who leads.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Protocol, assert_never

from attrs import Factory, define, field

from zkcore.errors import InvariantViolation, StorageFailedError, StorageFullError
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
from zkcore.zxid import Zxid, epoch_of, follows, format_zxid

__all__ = ["MemoryStorage", "Storage", "prefix_of"]


class Storage(Protocol):
    """The contract of durability; `zkcore.testing.contracts.StorageContract` proves an implementation against it."""

    def load(self) -> Saved:
        """What is durable. Raises StorageCorruptError where something that was saved cannot be read back: never a
        silently shortened past."""

    def save(self, writes: Sequence[Write]) -> None:
        """Make `writes` durable, in order; they are when this returns.

        After a crash inside, a prefix of `writes` is: an Append may have ended between two of its records, every other
        write is there whole or not at all. Raises StorageFullError (nothing was lost; the storage still works) or
        StorageFailedError (it is dead). After either a prefix may have been saved.
        """

    def entries(self, after: Zxid, max_bytes: int) -> Sequence[Entry]:
        """See `zkcore.zab.ready.LogReader`."""

    def read_snapshot(self, ref: SnapshotRef, offset: int, size: int) -> bytes:
        """See `zkcore.zab.ready.LogReader`. Raises LookupError where the snapshot is not kept, or no longer; the one at
        the base of the log always is, and so is the one saved last."""

    def save_snapshot(self, ref: SnapshotRef, chunks: Iterable[bytes]) -> None:
        """Keep a snapshot of the application's own making, durable on return. The log is not touched: the Compact
        write that may follow does that. May run beside `save`, on another thread. Raises as `save` does; then the
        snapshots kept before are as they were."""


def prefix_of(writes: Sequence[Write], writes_kept: int, *, records_kept: int = 0) -> list[Write]:
    """What a crash inside `save(writes)` may leave behind: the first `writes_kept` of them and, where the next one is
    an Append, its first `records_kept` records."""
    kept = list(writes[:writes_kept])
    cut = writes[writes_kept] if writes_kept < len(writes) else None
    if isinstance(cut, Append) and records_kept > 0:
        kept.append(Append(cut.first, cut.payloads[:records_kept]))
    return kept


# --- the log in memory -----------------------------------------------------------------------------------------------


@define
class _Run:
    """The records of one epoch: their counters leave no gap, so the zxid of the first tells all the others."""

    first: Zxid
    payloads: list[bytes]

    @property
    def last(self) -> Zxid:
        return self.first + len(self.payloads) - 1


@define
class _Log:
    """One run per epoch, ascending, none of them empty. To append is to extend a list; to find is to bisect."""

    base: Zxid = 0
    last: Zxid = 0
    runs: list[_Run] = Factory(list)
    payload_bytes: int = 0

    def append(self, first: Zxid, payloads: Sequence[bytes]) -> None:
        last = first + len(payloads) - 1
        if not follows(first, self.last) or last < first or last >> 32 != first >> 32:
            raise InvariantViolation(
                f"{len(payloads)} records from {format_zxid(first)} do not follow {format_zxid(self.last)}"
            )
        if self.runs and first == self.last + 1:
            self.runs[-1].payloads.extend(payloads)
        else:
            self.runs.append(_Run(first, list(payloads)))
        self.last = last
        self.payload_bytes += sum(map(len, payloads))

    def truncate(self, zxid: Zxid) -> None:
        index, kept = self._place(zxid)
        for run in self.runs[index + 1 :]:
            self.payload_bytes -= sum(map(len, run.payloads))
        del self.runs[index + 1 :]
        if self.runs:
            run = self.runs[index]
            self.payload_bytes -= sum(map(len, run.payloads[kept:]))
            del run.payloads[kept:]
            if not run.payloads:
                del self.runs[index]
        self.last = zxid

    def compact(self, zxid: Zxid) -> None:
        index, gone = self._place(zxid)
        for run in self.runs[:index]:
            self.payload_bytes -= sum(map(len, run.payloads))
        del self.runs[:index]
        if self.runs:
            run = self.runs[0]
            self.payload_bytes -= sum(map(len, run.payloads[:gone]))
            del run.payloads[:gone]
            run.first += gone
            if not run.payloads:
                del self.runs[0]
        self.base = zxid

    def entries(self, after: Zxid, max_bytes: int) -> list[Entry]:
        index, start = self._place(after)
        found: list[Entry] = []
        room = max_bytes
        for run in self.runs[index:]:
            payloads = run.payloads
            for position in range(start, len(payloads)):
                payload = payloads[position]
                room -= len(payload)
                if room < 0 and found:
                    return found
                found.append(Entry(run.first + position, payload))
            start = 0
        return found

    def epoch_ends(self) -> tuple[Zxid, ...]:
        ends = [run.last for run in self.runs]
        if self.base and (not ends or epoch_of(ends[0]) != epoch_of(self.base)):
            ends.insert(0, self.base)
        return tuple(ends)

    def _place(self, zxid: Zxid) -> tuple[int, int]:
        """The run that holds `zxid`, and how many of its records are not after `zxid`."""
        if zxid == self.base:
            return 0, 0
        index = bisect_right(self.runs, zxid, key=lambda run: run.first) - 1
        if index < 0 or zxid > self.runs[index].last:
            raise InvariantViolation(
                f"{format_zxid(zxid)} is not in the log, which goes from {format_zxid(self.base)} to "
                f"{format_zxid(self.last)}"
            )
        return index, zxid - self.runs[index].first + 1


@define
class _Shadow:
    """The pieces of a snapshot that is being received."""

    ref: SnapshotRef
    pieces: list[bytes] = field(factory=list, repr=False)
    size: int = 0


@define
class _Failure:
    """What the next `save` shall do before it fails."""

    why: str
    writes_kept: int
    records_kept: int


# --- the storage in memory -------------------------------------------------------------------------------------------


class MemoryStorage:
    """A `Storage` that lives as long as the process.

    It keeps the snapshot at the base of the log, the one saved last, and the one before that (protocol.md 1.7, D11).
    Its own promises hold or InvariantViolation is raised: records follow one another without a gap, only what is in
    the log is truncated or compacted to, only a whole snapshot is installed, epochs never go back. To append costs
    one `list.extend`; to find a record, a bisection over the epochs of the log.

    The methods after `save_snapshot` are faults, for tests and simulation: `save_prefix` is a crash inside `save`,
    `fail` and `reopen` a broken disk and its repair, `fill` a full one, `wipe` a lost one, `lose` an old backup.
    """

    def __init__(self) -> None:
        self._accepted_epoch = 0
        self._current_epoch = 0
        self._damage: Damage | None = None
        self._log = _Log()
        self._shadow: _Shadow | None = None
        self._snapshots: dict[Zxid, bytes] = {}
        # save_snapshot may run beside save; only what they both change needs this.
        self._snapshots_lock = threading.Lock()
        self._capacity_bytes: int | None = None
        self._failure: _Failure | None = None
        self._dead: str | None = None

    def load(self) -> Saved:
        """What is saved. Raises StorageFailedError while the storage is dead, as every method here does."""
        self._check_alive()
        log = self._log
        return Saved(self._accepted_epoch, self._current_epoch, log.base, log.last, log.epoch_ends())

    def save(self, writes: Sequence[Write]) -> None:
        """Apply `writes` in order; see `Storage.save`."""
        if self._dead is not None or self._failure is not None:
            self._save_and_fail(writes)
        for write in writes:
            self._apply(write)

    def entries(self, after: Zxid, max_bytes: int) -> Sequence[Entry]:
        """The records after `after`: at least one if there is any, then what fits into `max_bytes` of payload."""
        self._check_alive()
        return self._log.entries(after, max_bytes)

    def read_snapshot(self, ref: SnapshotRef, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; LookupError where `ref` is not kept (any more)."""
        self._check_alive()
        snapshot = self._snapshots.get(ref.zxid)
        if snapshot is None:
            raise LookupError(f"{ref} is not kept")
        return snapshot[offset : offset + size]

    def save_snapshot(self, ref: SnapshotRef, chunks: Iterable[bytes]) -> None:
        """Keep a snapshot; nothing is changed unless all of it was there."""
        self._check_alive()
        if ref.zxid > self._log.last:
            raise InvariantViolation(f"{ref} is of a state after the end of the log, {format_zxid(self._log.last)}")
        data = b"".join(chunks)
        self._reserve(len(data))
        self._keep_snapshot(ref.zxid, data)

    @property
    def size_bytes(self) -> int:
        """The bytes of all payloads in the log, all snapshots, and the pieces put aside."""
        aside = self._shadow.size if self._shadow is not None else 0
        with self._snapshots_lock:
            return self._log.payload_bytes + aside + sum(map(len, self._snapshots.values()))

    # --- faults ---

    def save_prefix(self, writes: Sequence[Write], writes_kept: int, *, records_kept: int = 0) -> None:
        """Save what a crash inside `save(writes)` would leave: see `prefix_of`. The replica that wanted to save them is
        then to be thrown away."""
        self.save(prefix_of(writes, writes_kept, records_kept=records_kept))

    def fail(self, why: str, *, writes_kept: int = 0, records_kept: int = 0) -> None:
        """The next `save` keeps no more than this prefix of its writes and raises StorageFailedError, and every call
        after it does so too, until `reopen`."""
        self._failure = _Failure(why, writes_kept, records_kept)

    def reopen(self) -> None:
        """The storage works again, with what was saved; a failure that was asked for and did not come about is off."""
        self._failure = None
        self._dead = None

    def fill(self, capacity_bytes: int | None) -> None:
        """Raise StorageFullError, from now on, where a payload, piece or snapshot would take `size_bytes` above
        `capacity_bytes`. None: there is room for all again."""
        self._capacity_bytes = capacity_bytes

    def wipe(self) -> None:
        """Everything saved is gone, as if the disk was replaced by an empty one."""
        self._accepted_epoch = self._current_epoch = 0
        self._log = _Log()
        self._shadow = None
        with self._snapshots_lock:
            self._snapshots = {}

    def lose(self, after: Zxid) -> None:
        """The records and snapshots after `after` are gone behind the replica's back, its epochs are not.

        Where `after` lies below the base, the log is an empty one that begins at the newest older snapshot, or at 0.
        """
        self._forget_snapshots_after(after)
        if after >= self._log.base:
            self._log.truncate(after)
        else:
            base = max(self._snapshots, default=0)
            self._log = _Log(base, base)

    # --- one write ---

    def _apply(self, write: Write) -> None:
        match write:
            case Append(first, payloads):
                if self._capacity_bytes is not None:
                    self._reserve(sum(map(len, payloads)))
                self._log.append(first, payloads)
            case SaveEpochs(accepted, current):
                self._save_epochs(accepted, current)
            case Truncate(zxid):
                self._log.truncate(zxid)
                self._forget_snapshots_after(zxid)
            case SnapshotChunk():
                self._put_aside(write)
            case InstallSnapshot(ref, size):
                self._install(ref, size)
            case Compact(ref):
                self._compact(ref)
            case Repair():
                self._damage = None
            case _:
                assert_never(write)

    def _save_epochs(self, accepted: int, current: int) -> None:
        if accepted < self._accepted_epoch or current < self._current_epoch or current > accepted:
            raise InvariantViolation(
                f"epochs accepted={accepted} current={current} cannot come after accepted={self._accepted_epoch} "
                f"current={self._current_epoch}"
            )
        self._accepted_epoch, self._current_epoch = accepted, current

    def _put_aside(self, chunk: SnapshotChunk) -> None:
        self._reserve(len(chunk.data))
        if chunk.offset == 0:
            self._shadow = _Shadow(chunk.ref)
        shadow = self._shadow
        if shadow is None or shadow.ref != chunk.ref or shadow.size != chunk.offset:
            raise InvariantViolation(f"{chunk} does not continue what was put aside: {shadow}")
        shadow.pieces.append(chunk.data)
        shadow.size += len(chunk.data)

    def _install(self, ref: SnapshotRef, size: int) -> None:
        shadow = self._shadow
        if shadow is None or shadow.ref != ref or shadow.size != size:
            raise InvariantViolation(f"{ref} of {size} bytes is not what was put aside: {shadow}")
        # Snapshots of a later state may belong to the history that is being replaced.
        self._forget_snapshots_after(ref.zxid)
        self._log = _Log(ref.zxid, ref.zxid)
        self._shadow = None
        self._keep_snapshot(ref.zxid, b"".join(shadow.pieces))

    def _compact(self, ref: SnapshotRef) -> None:
        if ref.zxid not in self._snapshots:
            raise InvariantViolation(f"{ref} was never saved, so the log before it is still needed")
        self._log.compact(ref.zxid)
        self._prune_snapshots()

    # --- snapshots, room and failure ---

    def _keep_snapshot(self, zxid: Zxid, data: bytes) -> None:
        with self._snapshots_lock:
            self._snapshots.pop(zxid, None)
            self._snapshots[zxid] = data
        self._prune_snapshots()

    def _prune_snapshots(self) -> None:
        """Keep the base's and the two saved last. Last in time, not in zxid: a node that lost its newest state in a
        crash delivers again, and its next snapshot is older than those that nobody will ask for any more."""
        with self._snapshots_lock:
            kept = {*list(self._snapshots)[-2:], self._log.base}
            self._snapshots = {zxid: data for zxid, data in self._snapshots.items() if zxid in kept}

    def _forget_snapshots_after(self, after: Zxid) -> None:
        with self._snapshots_lock:
            self._snapshots = {zxid: data for zxid, data in self._snapshots.items() if zxid <= after}

    def _reserve(self, size: int) -> None:
        if self._capacity_bytes is not None and self.size_bytes + size > self._capacity_bytes:
            raise StorageFullError(f"no room for {size} bytes: {self.size_bytes} of {self._capacity_bytes} are in use")

    def _check_alive(self) -> None:
        if self._dead is not None:
            raise StorageFailedError(self._dead)

    def _save_and_fail(self, writes: Sequence[Write]) -> None:
        self._check_alive()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            try:
                self.save_prefix(writes, failure.writes_kept, records_kept=failure.records_kept)
            except StorageFullError:
                pass  # a full disk dies too, and keeps a shorter prefix
            self._dead = failure.why
            self._check_alive()
