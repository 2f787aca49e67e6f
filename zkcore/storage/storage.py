"""What keeps a replica's log, epochs and snapshots: the plug point, and the implementation that lives in memory.

A storage is used by one replica. It needs no locks of its own: `save` is never called twice at once, and nothing else
but `save_snapshot` (and the reading of a snapshot) runs beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from zkcore.zab.ready import Entry, Saved, SnapshotRef, Write
from zkcore.zxid import Zxid

__all__ = ["Storage"]


class Storage(Protocol):
    """The contract of durability."""

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
        """See `zkcore.zab.ready.LogReader`."""

    def save_snapshot(self, ref: SnapshotRef, chunks: Iterable[bytes]) -> None:
        """Keep a snapshot of the application's own making, durable on return. The log is not touched: the Compact
        write that may follow does that. May run beside `save`, on another thread."""
