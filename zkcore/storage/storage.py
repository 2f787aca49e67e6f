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
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol, assert_never

from attrs import define, field

from zkcore.errors import InvariantViolation, StorageFailedError, StorageFullError
from zkcore.storage.memory_log import MemoryLog
from zkcore.zab.messages import Damage
from zkcore.zab.ready import (
    Append,
    Compact,
    Entry,
    InstallSnapshot,
    LogReader,
    Repair,
    Saved,
    SaveEpochs,
    SnapshotChunk,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid, format_zxid

__all__ = ["MemoryStorage", "Storage", "pieces_of", "prefix_of", "size_of"]

_PIECE_BYTES = 1 << 20


class Storage(Protocol):
    """The contract of durability; `zkcore.testing.contracts.StorageContract` proves an implementation against it.

    What it holds is told by `Saved`: two epochs, a log, the snapshot to begin with, and whether any of it was damaged.
    The log may reach back behind that snapshot, by what `Compact` left standing: ``base <= snapshot <= last``.
    """

    def load(self) -> Saved:
        """What is durable, told without the payloads.

        A silently shortened past is never among the answers. Where something that was saved cannot be read back,
        `Saved.damage` says so, and the rest is told: a log that ends before its first damaged record; where no whole
        snapshot reaches its records, an empty one that begins at the newest whole snapshot, or at 0. Lost epochs are 0.
        A storage that finds nothing at all has lost everything (`Damage.EPOCHS`), unless whoever made it said that the
        member is a new one. Later lives are told of the damage too, until a `Repair` was saved; everything else works
        meanwhile. Raises StorageCorruptError where not even this can be told: a storage of another member, say. After
        `save` has raised StorageFullError this does, too, until there is room for what was refused: whoever begins
        again before would come no further.
        """

    def save(self, writes: Sequence[Write]) -> None:
        """Make `writes` durable, in order; they are when this returns. What each does is told in `zkcore.zab.ready`.

        After a crash inside, a prefix of `writes` is: an Append may have ended between two of its records, every other
        write is there whole or not at all. Raises StorageFullError (nothing was lost; the storage still works) or
        StorageFailedError (it is dead). After either a prefix may have been saved.

        The caller promises: records follow one another without a gap. A Truncate goes to a record or the base, and not
        behind the snapshot. A Compact names a snapshot that is kept, in the log and not older than the one before, and
        forgets up to a record or the base, not beyond that snapshot. Pieces of a snapshot come in order; in between
        there may be other writes. Epochs never go back.
        """

    def entries(self, after: Zxid, max_bytes: int) -> Sequence[Entry]:
        """See `zkcore.zab.ready.LogReader`."""

    def read_snapshot(self, ref: SnapshotRef, offset: int, size: int) -> bytes:
        """See `zkcore.zab.ready.LogReader`. Raises LookupError where the snapshot is not kept, or no longer.

        Kept are `Saved.snapshot`, until a Compact or InstallSnapshot names another, and the two saved or installed
        last: a Compact may be put off, and come when there is a newer one. One that was saved of a later state than a
        Truncate or InstallSnapshot goes to is forgotten with it.
        """

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


def pieces_of(reader: LogReader, ref: SnapshotRef) -> Iterator[bytes]:
    """A snapshot that is kept, from its beginning to its end."""
    offset = 0
    while piece := reader.read_snapshot(ref, offset, _PIECE_BYTES):
        yield piece
        offset += len(piece)


def size_of(write: Write) -> int:
    """The bytes of payload that `write` needs room for."""
    if isinstance(write, Append):
        return sum(map(len, write.payloads))
    return len(write.data) if isinstance(write, SnapshotChunk) else 0


# --- the storage in memory -------------------------------------------------------------------------------------------


@define
class _Shadow:
    """The pieces of a snapshot that is being received."""

    ref: SnapshotRef
    pieces: list[bytes] = field(factory=list, repr=False)
    size: int = 0


class _Pieces:
    """The bytes of a snapshot, in the pieces in which they came: to put a large one together would stop everything for
    as long as the copy takes."""

    __slots__ = ("_ends", "_pieces")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = tuple([piece for piece in pieces if piece])
        self._ends = tuple(accumulate(map(len, self._pieces)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`."""
        end = min(offset + size, len(self))
        read = []
        for number in range(bisect_right(self._ends, offset), len(self._pieces)):
            piece = self._pieces[number]
            begin = self._ends[number] - len(piece)
            if begin >= end:
                break
            read.append(piece[max(offset - begin, 0) : end - begin])
        return b"".join(read)


@define
class _Failure:
    """What the next `save` shall do before it fails."""

    why: str
    writes_kept: int
    records_kept: int


class MemoryStorage:
    """A `Storage` that lives as long as the process.

    It keeps the snapshot to begin with, the one saved last, and the one before that (protocol.md 1.7, D11). What the
    caller of `save` promises is checked, and InvariantViolation raised where it does not hold. To append costs one
    `list.extend`; to find a record, a bisection over the epochs of the log.

    The methods after `save_snapshot` are faults, for tests and simulation: `save_prefix` is a crash inside `save`,
    `fail` and `reopen` a broken disk and its repair, `fill` a full one, `wipe` a lost one, `lose` one that cannot be
    read to its end. The last two are noticed, and then told as `Saved.damage`, or not: an old backup looks whole. A new
    MemoryStorage is that of a new member, and not damaged.
    """

    def __init__(self) -> None:
        self._accepted_epoch = 0
        self._current_epoch = 0
        self._damage: Damage | None = None
        self._log = MemoryLog()
        self._shadow: _Shadow | None = None
        self._snapshots: dict[Zxid, _Pieces] = {}
        # save_snapshot may run beside save; only what they both change needs this.
        self._snapshots_lock = threading.Lock()
        self._capacity_bytes: int | None = None
        self._refused_bytes = 0
        self._failure: _Failure | None = None
        self._dead: str | None = None

    def load(self) -> Saved:
        """What is saved. Raises StorageFailedError while the storage is dead, as every method here does."""
        self._check_alive()
        self._reserve(self._refused_bytes)
        log = self._log
        epochs = self._accepted_epoch, self._current_epoch
        return Saved(*epochs, log.base, log.last, log.epoch_ends(), log.snapshot, self._damage)

    def save(self, writes: Sequence[Write]) -> None:
        """Apply `writes` in order; see `Storage.save`."""
        if self._dead is not None or self._failure is not None:
            self._save_and_fail(writes)
        try:
            for write in writes:
                self._apply(write)
        except StorageFullError:
            self._refused_bytes = size_of(write)
            raise
        self._refused_bytes = 0

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
        return snapshot.read(offset, size)

    def save_snapshot(self, ref: SnapshotRef, chunks: Iterable[bytes]) -> None:
        """Keep a snapshot; nothing is changed unless all of it was there."""
        self._check_alive()
        if ref.zxid > self._log.last:
            raise InvariantViolation(f"{ref} is of a state after the end of the log, {format_zxid(self._log.last)}")
        data = _Pieces(chunks)
        self._check_alive()  # still: to draw the chunks may have taken a while
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
        self._refused_bytes = 0

    def fill(self, capacity_bytes: int | None) -> None:
        """Raise StorageFullError, from now on, where a payload, piece or snapshot would take `size_bytes` above
        `capacity_bytes`. None: there is room for all again."""
        self._capacity_bytes = capacity_bytes

    def wipe(self, *, noticed: bool = True) -> None:
        """Everything saved is gone, as if the disk was replaced by an empty one. Unless `noticed`, the member is taken
        for a new one."""
        self._accepted_epoch = self._current_epoch = 0
        self._damage = Damage.EPOCHS if noticed else None
        self._log = MemoryLog()
        self._shadow = None
        with self._snapshots_lock:
            self._snapshots = {}

    def lose(self, after: Zxid, *, noticed: bool = True) -> None:
        """The records and snapshots after `after` are gone behind the replica's back, its epochs are not. Unless
        `noticed`, this is an old backup.

        Where `after` lies behind the snapshot to begin with, that is the newest older one that is kept; where the log
        does not reach back to it, the log is an empty one that begins there, or at 0 if none is kept. Raises
        InvariantViolation for an `after` beyond the snapshot that is no record.
        """
        log = self._log
        lost = after < log.last
        older = (zxid for zxid in self._snapshots if zxid <= min(after, log.snapshot))
        log.lose(after, max(older, default=0))
        self._forget_snapshots_after(after)
        if lost and noticed and self._damage is None:
            self._damage = Damage.LOG

    # --- one write ---

    def _apply(self, write: Write) -> None:
        match write:
            case Append(first, payloads):
                if self._capacity_bytes is not None:
                    self._reserve(size_of(write))
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
            case Compact(ref, upto):
                self._compact(ref, upto)
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
        self._log = MemoryLog.beginning_at(ref.zxid)
        self._shadow = None
        self._keep_snapshot(ref.zxid, _Pieces(shadow.pieces))

    def _compact(self, ref: SnapshotRef, upto: Zxid) -> None:
        # In one step: a snapshot saved beside this must not push out the one that is about to be begun with.
        with self._snapshots_lock:
            if ref.zxid not in self._snapshots:
                raise InvariantViolation(f"{ref} was never saved, so the log before it is still needed")
            self._log.compact(ref.zxid, upto)
            self._prune_snapshots()

    # --- snapshots, room and failure ---

    def _keep_snapshot(self, zxid: Zxid, data: _Pieces) -> None:
        with self._snapshots_lock:
            self._snapshots.pop(zxid, None)
            self._snapshots[zxid] = data
            self._prune_snapshots()

    def _prune_snapshots(self) -> None:
        """Keep the one to begin with and the two saved last. Last in time, not in zxid: a node that lost its newest
        state in a crash delivers again, and its next snapshot is older than those that nobody will ask for any more.
        The caller holds the lock."""
        kept = {*list(self._snapshots)[-2:], self._log.snapshot}
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
