"""What one disk holds, as the checkers see it, and the violation they raise.

A Durable is rebuilt from the writes that reached the disk, one by one, and shares no code with any storage. Payloads
are not in it: one zxid has one payload everywhere, which the Oracle checks when it is logged.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from zkcore.zab.messages import Damage
from zkcore.zxid import Zxid, epoch_of, format_zxid

__all__ = ["Durable", "Violation"]


class Violation(Exception):
    """An invariant does not hold. `invariant` is its name in protocol.md 2."""

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(invariant, message)
        self.invariant = invariant
        self.message = message

    def __str__(self) -> str:
        return f"{self.invariant}: {self.message}"


class Durable:
    """Epochs, snapshot, log and damage of one node's disk.

    `syncing`: a leader is bringing this log in line, so it may hold records beyond the current epoch. After a crash the
    first save must cut them (protocol.md 2, N2). `before` is what a damaged
    disk held, which it is not held against the ensemble that it lacks now.
    """

    __slots__ = (
        "accepted", "base", "before", "current", "damage", "last", "pieces", "snapshot", "syncing",
        "zxids",
    )  # fmt: skip

    def __init__(self) -> None:
        self.accepted = 0
        self.current = 0
        self.base: Zxid = 0
        self.snapshot: Zxid = 0
        self.last: Zxid = 0
        self.zxids: list[Zxid] = []
        self.pieces: tuple[Zxid, int] = (0, 0)  # of which snapshot pieces are put aside, and how many bytes
        self.syncing = False
        self.damage: Damage | None = None
        self.before: Durable | None = None

    def holds(self, zxid: Zxid) -> bool:
        """Whether `zxid` is a record, or part of the snapshot that the log continues."""
        if zxid <= self.snapshot:
            return True
        zxids = self.zxids
        index = bisect_left(zxids, zxid)
        return index < len(zxids) and zxids[index] == zxid

    def keeps(self, zxid: Zxid) -> bool:
        """Whether `zxid` is here to stay: records of an epoch that is not current yet belong to a synchronisation that
        a crash would undo."""
        return zxid <= self.snapshot or (zxid >> 32 <= self.current and self.holds(zxid))

    def has_been_in(self, epoch: int) -> bool:
        """Whether it has the history that `epoch` began with, or that of a later one; or had it before the disk was
        damaged. Of either a leader hears later, and its word that the damage is mended may be under way."""
        return self.current >= epoch or (self.before is not None and self.before.has_been_in(epoch))

    def vouches_for(self, zxid: Zxid) -> bool:
        """Whether `zxid` is here to stay, or was before the disk was damaged."""
        return self.keeps(zxid) or (self.before is not None and self.before.vouches_for(zxid))

    def epoch_ends(self, after: Zxid) -> tuple[Zxid, ...]:
        """The last zxid of every epoch from `after` on, the base or a record."""
        ends = [after] if after else []
        for zxid in self.zxids[bisect_right(self.zxids, after) :]:
            if ends and epoch_of(ends[-1]) == epoch_of(zxid):
                ends[-1] = zxid
            else:
                ends.append(zxid)
        return tuple(ends)

    def first_after(self, zxid: Zxid) -> Zxid | None:
        index = bisect_right(self.zxids, zxid)
        return self.zxids[index] if index < len(self.zxids) else None

    def between(self, after: Zxid, upto: Zxid) -> list[Zxid]:
        """The records after `after`, up to `upto`. Raises Violation N5 where they are compacted away already."""
        if after < self.base:
            raise Violation("N5", f"records after {format_zxid(after)} were compacted before they were committed")
        return self.zxids[bisect_right(self.zxids, after) : bisect_right(self.zxids, upto)]

    def append(self, first: Zxid, count: int) -> None:
        self.zxids.extend(range(first, first + count))
        self.last = first + count - 1

    def truncate(self, zxid: Zxid) -> None:
        del self.zxids[bisect_right(self.zxids, zxid) :]
        self.last = zxid

    def install(self, zxid: Zxid) -> None:
        self.base = self.snapshot = self.last = zxid
        self.zxids.clear()
        self.pieces = (0, 0)

    def compact(self, snapshot: Zxid, upto: Zxid) -> None:
        del self.zxids[: bisect_right(self.zxids, upto)]
        self.base = upto
        self.snapshot = snapshot
