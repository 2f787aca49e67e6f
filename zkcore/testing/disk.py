"""The simulated disk: a storage, and a record of what is in it for the checkers.

Crashes need no switch in the storage. One inside `save` is a shorter `save`, of the prefix that the contract of Storage
allows to survive; a full or failing disk is the same, and the replica lives on. Only to lose what was saved takes a
Damageable one.

Every write that really happens is told to `wrote`, one after the other, in the order in which a crash could part them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import ClassVar, Protocol

from zkcore.storage.storage import Storage, prefix_of
from zkcore.zab.ready import Append, Saved, SnapshotRef, Write
from zkcore.zxid import Zxid

__all__ = ["Damageable", "Disk", "held_in"]


class Damageable(Storage, Protocol):
    """A storage that can lose what it holds, and notices (MemoryStorage says how)."""

    def wipe(self) -> None: ...
    def lose(self, after: Zxid) -> None: ...


def held_in(storage: Storage) -> list[Zxid]:
    """The zxids of the records in `storage`."""
    saved = storage.load()
    return [entry.zxid for entry in storage.entries(saved.base, 1 << 40)] if saved.last > saved.base else []


class Disk:
    """The storage of one node; it outlives the node's crashes."""

    has_files: ClassVar[bool] = False
    """Whether there are files to hit, to lie about, and to roll back."""
    unsound = False
    """Whether the disk is not what it says, and nobody has found out yet."""

    def __init__(self, storage: Damageable, wrote: Callable[[Write], None]) -> None:
        self.storage: Storage = storage
        self._damageable = storage
        self._wrote = wrote

    def load(self) -> Saved:
        """What survived."""
        return self.storage.load()

    def save(self, writes: Sequence[Write]) -> None:
        """Make all of it durable."""
        for write in writes:
            self._wrote(write)  # first, so that a broken rule is named by the checkers, not by what the storage refuses
        self.storage.save(writes)

    def save_part(self, writes: Sequence[Write], rng: Random, *, survives: bool = False) -> int:
        """Make a drawn prefix durable, as a crash would, or, where the process `survives`, a storage that refuses:
        whole writes, and perhaps the first records of the next one. Returns how many whole writes were kept."""
        kept = rng.randrange(len(writes) + 1)
        torn = writes[kept] if kept < len(writes) else None
        records = rng.randrange(len(torn.payloads)) if isinstance(torn, Append) else 0
        part = prefix_of(writes, kept, records_kept=records)
        if part:
            self.save(part)
        return kept

    def lose_power(self, rng: Random, *, spared: bool = True) -> None:
        """A crash outside a save. A storage in memory has nothing that is not saved yet. A disk that lies loses what it
        was given only where it is `spared`: where the ensemble can do without."""

    def settle(self) -> None:
        """Lie no longer: what was to be durable is."""

    def face_harm(self) -> bool:
        """Whether the storage has opened with something else than it held, since its disk was hit, or lied. Raises
        Violation where it should have said so. From now on that is what it holds."""
        return False

    def save_snapshot(self, ref: SnapshotRef, state: bytes) -> None:
        """Keep a snapshot that the application made."""
        self.storage.save_snapshot(ref, [state])

    def wipe(self) -> None:
        """Lose everything."""
        self._damageable.wipe()

    def lose(self, after: Zxid) -> None:
        """Lose the records after `after`, a record; 0 loses all, or all after an older snapshot."""
        self._damageable.lose(after)

    def read_snapshot(self, ref: SnapshotRef) -> bytes:
        """The whole of a snapshot."""
        pieces: list[bytes] = []
        size = 0
        while piece := self.storage.read_snapshot(ref, size, 1 << 16):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)
