"""What a storage must hold after any history of writes, kept in the plainest way there is.

This module must not know any particular storage; it shares no code with those of zkcore.
"""

from __future__ import annotations

from random import Random

from zkcore.storage.storage import Storage
from zkcore.zab.ready import (
    Append,
    Compact,
    Entry,
    InstallSnapshot,
    Saved,
    SaveEpochs,
    SnapshotChunk,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid, epoch_of, make_zxid

__all__ = ["StorageModel"]

KINDS = ("append", "append", "append", "truncate", "snapshot", "compact", "compact", "install", "epochs")


class StorageModel:
    """Draws writes, and knows what is to be read after them."""

    def __init__(self) -> None:
        self.base: Zxid = 0
        self.entries: list[Entry] = []
        self._epochs = 0, 0
        self._in_use: SnapshotRef | None = None
        self._newest: list[SnapshotRef] = []
        self._states: dict[Zxid, bytes] = {}

    def saved(self) -> Saved:
        """What `load` must say."""
        ends: dict[int, Zxid] = {epoch_of(self.base): self.base} if self.base else {}
        for entry in self.entries:
            ends[epoch_of(entry.zxid)] = entry.zxid
        return Saved(*self._epochs, self.base, self._zxids[-1], tuple(ends.values()), self._snapshot)

    def kept(self) -> list[tuple[SnapshotRef, bytes]]:
        """The snapshots that must be readable, and how they read."""
        in_use = [self._in_use] if self._in_use is not None else []
        return [(ref, self._states[ref.zxid]) for ref in (*in_use, *self._newest)]

    def write_something(self, storage: Storage, rng: Random) -> None:
        """Draw a write; do it here and there."""
        match rng.choice(KINDS):
            case "append":
                self._append(storage, rng)
            case "truncate":
                self._truncate(storage, rng)
            case "snapshot" if self.entries:
                self._save_snapshot(storage, SnapshotRef(rng.choice(self._zxids[1:])), rng)
            case "compact" if self.entries:
                self._compact(storage, rng)
            case "install":
                self._install(storage, rng)
            case _:
                accepted = self._epochs[0] + rng.randrange(3)
                self._epochs = accepted, rng.randint(self._epochs[1], accepted)
                storage.save([SaveEpochs(*self._epochs)])

    @property
    def _zxids(self) -> list[Zxid]:
        """Every place of the log, the base first."""
        return [self.base, *(entry.zxid for entry in self.entries)]

    @property
    def _snapshot(self) -> Zxid:
        return self._in_use.zxid if self._in_use is not None else 0

    def _append(self, storage: Storage, rng: Random) -> None:
        writes: list[Write] = []
        for _ in range(rng.randrange(1, 4)):
            first = self._next(rng)
            payloads = tuple(rng.randbytes(rng.randrange(20)) for _ in range(rng.randrange(1, 6)))
            self.entries += [Entry(first + place, payload) for place, payload in enumerate(payloads)]
            writes.append(Append(first, payloads))
        storage.save(writes)

    def _truncate(self, storage: Storage, rng: Random) -> None:
        places = [zxid for zxid in self._zxids if zxid >= self._snapshot]
        zxid = rng.choice(places[len(places) // 2 :])
        self.entries = [entry for entry in self.entries if entry.zxid <= zxid]
        self._newest = [ref for ref in self._newest if ref.zxid <= zxid]
        storage.save([Truncate(zxid)])

    def _save_snapshot(self, storage: Storage, ref: SnapshotRef, rng: Random) -> None:
        state = self._states[ref.zxid] = rng.randbytes(rng.randrange(1, 50))
        storage.save_snapshot(ref, [state[:7], state[7:]])
        self._remember([each for each in self._newest if each != ref], ref)

    def _remember(self, before: list[SnapshotRef], newest: SnapshotRef) -> None:
        self._newest = [*before[-1:], newest]

    def _compact(self, storage: Storage, rng: Random) -> None:
        """To the snapshot in use or a later one, and as often as not with records behind it."""
        ref = SnapshotRef(rng.choice([zxid for zxid in self._zxids if zxid >= max(self._snapshot, 1)]))
        if ref != self._in_use or rng.random() < 0.5:
            self._save_snapshot(storage, ref, rng)
        self._in_use = ref
        self.base = rng.choice([ref.zxid, *(zxid for zxid in self._zxids if zxid <= ref.zxid)])
        self.entries = [entry for entry in self.entries if entry.zxid > self.base]
        storage.save([Compact(ref, self.base)])

    def _install(self, storage: Storage, rng: Random) -> None:
        ref = SnapshotRef(self._next(rng) + rng.randrange(9))
        state = self._states[ref.zxid] = rng.randbytes(rng.randrange(2, 50))
        self.base, self.entries = ref.zxid, []
        self._in_use = ref
        self._remember([each for each in self._newest if each.zxid < ref.zxid], ref)
        storage.save([SnapshotChunk(ref, 0, state[:1]), SnapshotChunk(ref, 1, state[1:])])
        storage.save([InstallSnapshot(ref, len(state))])

    def _next(self, rng: Random) -> Zxid:
        last = self._zxids[-1]
        if last and rng.random() < 0.7:
            return last + 1
        return make_zxid(epoch_of(last) + rng.randrange(1, 4), 1)
