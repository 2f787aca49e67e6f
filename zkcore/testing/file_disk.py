"""The simulated disk with files on it: the file storage itself, on files that fail as files do.

What `Disk` does to a storage in memory by handing it a part of a save happens here by itself: the power fails at some
step of the save, or a sync or a write does, or there is no room. Then the storage recovers, or is opened anew, and what
it says must be what some prefix of the save would have left. The checkers are told of that prefix, and of no other.

To lose the end of a log its files are damaged: a bit turns over, a sector cannot be read or holds something else, a
file is gone. Whatever the storage then makes of it, nothing is lost or it says so. `hit` does that to a storage in use,
which finds out when it reads there, or in its next life.

Two things no storage can find out by itself: that syncs lied (`lie`), and that it is an older copy (`roll_back`). What
it then says of itself is taken for what it holds.

This module must not know how the storage lays out its files, beyond the names of them and where a record lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from zkcore.errors import StorageError
from zkcore.storage.file import FileStorage
from zkcore.storage.storage import prefix_of
from zkcore.testing.disk import Disk, held_in
from zkcore.testing.durable import Durable, Violation
from zkcore.testing.sim_files import SECTOR_BYTES, SimFiles
from zkcore.zab.messages import PeerId
from zkcore.zab.ready import (
    Append,
    Compact,
    InstallSnapshot,
    Repair,
    Saved,
    SaveEpochs,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid

__all__ = ["FileDisk"]

SEGMENT_BYTES = 4096


class _PowerFailure(BaseException):
    """The process ends here. No `except` of the storage's is to see it."""


class FileDisk(Disk):
    """A `Disk` with a FileStorage on it."""

    has_files = True

    def __init__(self, me: PeerId, wrote: Callable[[Write], None]) -> None:
        self._me = me
        self._files = SimFiles(f"disk-{me}")
        self._held = Durable()
        self._hits: set[str] = set()  # files that were hit, and not looked through since
        self._was_hit = False
        self._has_lied = False
        self._open(new=True)
        self._wrote = wrote

    def save(self, writes: Sequence[Write]) -> None:
        """Make all of it durable."""
        super().save(writes)
        _do(self._held, writes)

    def save_part(self, writes: Sequence[Write], rng: Random, *, survives: bool = False) -> int:
        """Let something go wrong in a save. Returns how many whole writes were kept: all, where the disk is bad
        already, since what is left is then not told from what was kept."""
        if self.unsound:
            self.save(writes)
            return len(writes)
        files, trouble = self._files, rng.choice(("sync", "write", "full")) if survives else "power"
        share, failed = rng.uniform(0.02, 0.5), False

        def before_step(step: str) -> None:
            nonlocal failed
            failed = failed or rng.random() < share
            if failed and trouble == "power":
                raise _PowerFailure
            files.write_fails = failed and trouble == "write"
            if failed and trouble == "sync" and step.startswith("sync"):
                files.sync_fails = "once"
                files.before_step = lambda step: None

        if trouble == "full":
            files.capacity_bytes = sum(map(files.size_of, files.names())) + rng.randrange(3000)
        else:
            files.before_step = before_step
        kept = len(writes)
        try:
            self.storage.save(writes)
        except _PowerFailure:
            self.lose_power(rng)
            kept = -1
        except StorageError:
            kept = -1
        files.before_step = lambda step: None
        files.write_fails, files.sync_fails, files.capacity_bytes = False, "", None
        part = list(writes) if kept >= 0 else self._what_was_saved(writes)
        for write in part:
            self._wrote(write)
        _do(self._held, part)
        return sum(1 for one, other in zip(part, writes, strict=False) if one is other)

    def lose_power(self, rng: Random, *, spared: bool = True) -> None:
        """What was written and not made durable is there or is not."""
        if self._files.sync_fails == "lies":
            if spared:
                self._has_lied = True
            else:
                self.settle()
        self._files = self._files.crash(rng)
        self._open()

    # --- what goes on while the storage is in use

    @property
    def unsound(self) -> bool:  # type: ignore[override]
        return self._files.sync_fails == "lies" or not self._hits.isdisjoint(self._files.names())

    def hit(self, rng: Random) -> str:
        """Damage some place of some file, where something was written. Says where."""
        files = self._files
        name = rng.choice([name for name in files.names() if files.size_of(name)])
        written = len(files.content_of(name).rstrip(b"\0"))
        offset = rng.randrange(max(written, 1))
        match rng.choice(("flip", "unreadable", "astray")):
            case "flip":
                files.flip(name, 8 * offset + rng.randrange(8))
            case "unreadable":
                files.make_unreadable(name, offset)
            case _:
                files.overwrite(name, offset // SECTOR_BYTES * SECTOR_BYTES, rng.randbytes(SECTOR_BYTES))
        self._hits.add(name)
        self._was_hit = True
        return f"{name} at byte {offset}"

    def lie(self) -> None:
        """Say of what is synced from now on that it is durable, and keep it in memory."""
        self._files.sync_fails = "lies"

    def settle(self) -> None:
        if self._files.sync_fails == "lies":
            self._files.sync_fails = ""
            self._files.sync_all()

    def copy(self, rng: Random) -> SimFiles:
        """What a copy of the running disk holds."""
        return self._files.crash(rng)

    def roll_back(self, copy: SimFiles) -> None:
        """Put a copy in the place of everything. Whoever had it is no more."""
        self._files = copy
        self._has_lied = True
        self._open()

    def face_harm(self) -> bool:
        if not self._was_hit and not self._has_lied:
            return False
        saved = self.storage.load()
        if saved == _saved_after(self._held, []):
            return False
        self._adopt(saved)
        return True

    def wipe(self) -> None:
        """Lose everything."""
        self._files.wipe()
        self._reopen()

    def lose(self, after: Zxid) -> None:
        """Damage the first record after `after`; 0, or where there is none, what the log begins with. How, and exactly
        where, is drawn from the zxid."""
        rng, files = Random(after), self._files
        index = self._storage.log_index
        stretch = next(index.stretches_after(after), None) if after in index else None
        name = min(name for name in files.names() if name.startswith("log-"))
        offset = rng.randrange(58)  # the header of the segment
        if stretch is not None:
            name, offset = f"log-{stretch.segment:016x}", stretch.offset_before(after) + rng.randrange(60)
        snapshots = [name for name in files.names() if name.startswith("snapshot-")]
        match rng.choice(("flip", "flip", "unreadable", "astray", "gone", "snapshot")):
            case "unreadable":
                files.make_unreadable(name, offset)
            case "astray":
                files.overwrite(name, offset // SECTOR_BYTES * SECTOR_BYTES, rng.randbytes(SECTOR_BYTES))
            case "gone":
                files.remove(name)
                files.sync()
            case "snapshot" if snapshots:
                name = rng.choice(snapshots)
                files.flip(name, rng.randrange(8 * files.size_of(name)))
            case _:
                files.flip(name, 8 * offset + rng.randrange(8))
        self._reopen()

    def _open(self, *, new: bool = False) -> None:
        self._files.close()  # whoever had it is no more
        # A snapshot that is not in use may be needed later, and is only then looked at; all else is now.
        self._hits = {name for name in self._hits if name.startswith("snapshot-")}
        self.storage = self._storage = FileStorage(
            self._files, node=self._me, cluster="simulated", new=new, segment_bytes=SEGMENT_BYTES
        )

    def _reopen(self) -> None:
        """What it says of itself is from now on what it holds."""
        self._open()
        self._adopt(self.storage.load())

    def _adopt(self, saved: Saved) -> None:
        held, self._held = self._held, Durable()
        epochs = saved.accepted_epoch, saved.current_epoch
        told = saved.damage is not None or self._has_lied
        if not told and (*epochs, saved.last) != (held.accepted, held.current, held.last):
            raise Violation("storage", f"node {self._me} has lost something, and says nothing of it: {saved}")
        self._has_lied = False
        self._held.accepted, self._held.current = saved.accepted_epoch, saved.current_epoch
        self._held.base, self._held.snapshot, self._held.last = saved.base, saved.snapshot, saved.last
        self._held.damage = saved.damage
        self._held.zxids = held_in(self.storage)

    def _what_was_saved(self, writes: Sequence[Write]) -> list[Write]:
        """The shortest prefix that explains what the storage says now. Raises Violation where none does."""
        found = self.storage.load()
        for kept in range(len(writes) + 1):
            cut = writes[kept] if kept < len(writes) else None
            for records in range(len(cut.payloads) if isinstance(cut, Append) else 1):
                part = prefix_of(writes, kept, records_kept=records)
                if _saved_after(self._held, part) == found:
                    return part
        told = ", ".join(map(str, writes))
        held = _saved_after(self._held, [])
        raise Violation("storage", f"node {self._me} held {held}, was to save {told}, and holds {found}")


def _saved_after(held: Durable, writes: Sequence[Write]) -> Saved:
    copy = Durable()
    for name in ("accepted", "current", "base", "snapshot", "last", "damage"):
        setattr(copy, name, getattr(held, name))
    copy.zxids = list(held.zxids)
    _do(copy, writes)
    return Saved(
        copy.accepted, copy.current, copy.base, copy.last, copy.epoch_ends(copy.base), copy.snapshot, copy.damage
    )


def _do(held: Durable, writes: Sequence[Write]) -> None:
    for write in writes:
        match write:
            case Append(first, payloads):
                held.append(first, len(payloads))
            case Truncate(zxid):
                held.truncate(zxid)
            case SaveEpochs(accepted, current):
                held.accepted, held.current = accepted, current
            case InstallSnapshot(SnapshotRef(zxid), _):
                held.install(zxid)
            case Compact(SnapshotRef(zxid), upto):
                held.compact(zxid, upto)
            case Repair():
                held.damage = None
            case _:
                pass  # pieces put aside are lost with the process
