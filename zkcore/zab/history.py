"""The log as the core sees it: what the storage holds, and the appends that are on their way there.

The payloads live in the storage. This object knows only where the log begins and where each of its epochs ends, plus a
tail in memory: every record that is not yet durable, and as many of the durable ones as have not been delivered yet and
fit into `Limits.tail_bytes`.

Four positions matter, always in this order: `base` (before the first record), `snapshot` (where a restart begins, or
0), `durable` (what a crash now would leave), `last` (the newest record). `durable` moves only when the host confirms a
save: a peer must never act on what a power cut could take back. The log reaches back behind its snapshot only to serve
learners that are a little late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zkcore.errors import InvariantViolation
from zkcore.zab.ready import Entry, LogReader, Saved, SnapshotRef
from zkcore.zab.sync_plan import LogSummary
from zkcore.zxid import Zxid, counter_of, epoch_of, follows, format_zxid

__all__ = ["History", "Run"]


class Run(NamedTuple):
    """Records with consecutive zxids: `payloads[i]` has the zxid `first + i`, the last of them `last`; `size` is their
    bytes in all."""

    first: Zxid
    payloads: tuple[bytes, ...]
    size: int
    last: Zxid

    @classmethod
    def of(cls, first: Zxid, payloads: tuple[bytes, ...]) -> Run:
        return cls(first, payloads, sum(map(len, payloads)), first + len(payloads) - 1)

    def within(self, after: Zxid, upto: Zxid) -> Run:
        """The part of this run after `after` and up to `upto`; the run itself where that is all of it."""
        start = max(after + 1 - self.first, 0) if epoch_of(after) == epoch_of(self.first) else 0
        if start == 0 and upto >= self.last:
            return self
        return Run.of(self.first + start, self.payloads[start : upto + 1 - self.first])

    def fitting(self, max_bytes: int) -> Run:
        """The longest beginning of this run that has at most `max_bytes`, but at least one record."""
        size = len(self.payloads[0])
        count = 1
        while count < len(self.payloads) and size + len(self.payloads[count]) <= max_bytes:
            size += len(self.payloads[count])
            count += 1
        return Run(self.first, self.payloads[:count], size, self.first + count - 1)


class History:
    """See the module. Violations of the log's own rules raise InvariantViolation: callers check what peers sent."""

    def __init__(self, saved: Saved, reader: LogReader, *, tail_bytes: int) -> None:
        self._reader = reader
        self._tail_bytes = tail_bytes
        self.base = saved.base
        self.snapshot = saved.snapshot
        self.last = saved.last
        self.durable = saved.last
        self.durable_snapshot = saved.snapshot
        self._ends = list(saved.epoch_ends)
        self._tail: deque[Run] = deque()
        self._tail_start = saved.last  # the tail holds exactly the records after this one
        self._tail_size = 0

    # --- what is in it

    @property
    def summary(self) -> LogSummary:
        """Where this log begins and where its epochs end."""
        return LogSummary(self.base, tuple(self._ends))

    @property
    def summary_after_snapshot(self) -> LogSummary:
        """The part of it that another leader may yet ask to be cut: what is in the snapshot is committed."""
        return LogSummary(self.snapshot, tuple(end for end in self._ends if end >= self.snapshot))

    def __contains__(self, zxid: Zxid) -> bool:
        """Whether `zxid` is the base or one of the records."""
        if zxid == self.base:
            return True
        epoch = epoch_of(zxid)
        return zxid > self.base and counter_of(zxid) > 0 and any(epoch_of(e) == epoch and zxid <= e for e in self._ends)

    def last_within(self, epoch: int) -> Zxid:
        """The last record of `epoch` or an earlier one, or the snapshot where that is later."""
        ends = [end for end in self._ends if epoch_of(end) <= epoch]
        return max(ends[-1] if ends else 0, self.snapshot)

    def records_before(self, zxid: Zxid, count: int) -> Zxid:
        """The zxid that lies `count` records before `zxid` in the log, or the base."""
        ends = [end for end in self._ends if epoch_of(end) < epoch_of(zxid)]
        while counter_of(zxid) <= count:
            if not ends:
                return self.base
            count -= counter_of(zxid)
            zxid = ends.pop()
        return max(zxid - count, self.base)

    def count_after(self, zxid: Zxid) -> int:
        """How many records come after `zxid`, at most all there are."""
        zxid = max(zxid, self.base)
        return sum(
            counter_of(end) - (counter_of(zxid) if epoch_of(end) == epoch_of(zxid) else 0)
            for end in self._ends
            if end > zxid
        )

    # --- how it changes; the matching write is the caller's to make

    def append(self, first: Zxid, payloads: tuple[bytes, ...]) -> int:
        """Add records to the end; how many bytes they are."""
        if not payloads or not follows(first, self.last):
            raise InvariantViolation(f"{format_zxid(first)} does not follow {format_zxid(self.last)} in the log")
        run = Run.of(first, payloads)
        last = run.last
        if self._ends and self._ends[-1] >> 32 == last >> 32:
            self._ends[-1] = last
        else:
            self._ends.append(last)
        self.last = last
        self._tail.append(run)
        self._tail_size += run.size
        while self._tail_size > self._tail_bytes and self._tail[0].last <= self.durable:
            self._drop_first()
        return run.size

    def truncate(self, zxid: Zxid) -> None:
        """Remove every record after `zxid`."""
        if zxid not in self or zxid < self.snapshot:
            raise InvariantViolation(f"cannot cut the log after {format_zxid(zxid)}: not in it, or in its snapshot")
        while self._ends and self._ends[-1] > zxid:
            end = self._ends.pop()
            if epoch_of(end) == epoch_of(zxid):
                self._ends.append(zxid)
                break
        self.last = zxid
        self.durable = min(self.durable, zxid)
        while self._tail and self._tail[-1].last > zxid:
            run = self._tail.pop()
            self._tail_size -= run.size
            if run.first <= zxid:
                kept = run.within(run.first - 1, zxid)
                self._tail.append(kept)
                self._tail_size += kept.size
                break
        self._tail_start = min(self._tail_start, zxid)

    def install(self, ref: SnapshotRef) -> None:
        """Begin anew after a snapshot."""
        self.base = self.snapshot = self.last = self._tail_start = ref.zxid
        self._ends = [ref.zxid]
        self._tail.clear()
        self._tail_size = 0
        self.durable = 0  # until the host confirms: nothing of the new log can be relied on before

    def compact(self, ref: SnapshotRef, upto: Zxid) -> None:
        """Begin with `ref` from now on, and forget the records up to `upto`, at most those in it."""
        if ref.zxid not in self or upto not in self or upto > ref.zxid:
            raise InvariantViolation(f"cannot compact the log to {ref} and {format_zxid(upto)}, which are not in it")
        self.snapshot = ref.zxid
        self.base = upto
        while self._ends and self._ends[0] < upto:
            del self._ends[0]
        while self._tail and self._tail[0].last <= upto:
            self._drop_first()

    def confirm(self) -> None:
        """The host saved everything that was written: memory and disk are the same."""
        self.durable = self.last
        self.durable_snapshot = self.snapshot

    def release(self, upto: Zxid) -> None:
        """Records up to `upto` were delivered: they need not stay in memory once they are durable."""
        upto = min(upto, self.durable)
        while self._tail and self._tail[0].last <= upto:
            self._drop_first()

    def _drop_first(self) -> None:
        run = self._tail.popleft()
        self._tail_size -= run.size
        self._tail_start = run.last

    # --- reading

    def runs(self, after: Zxid, upto: Zxid, *, max_bytes: int) -> Iterator[Run]:
        """The records after `after` and up to `upto`, both in the log, in order. What comes from the storage comes in
        runs of about `max_bytes`; what is in memory comes as it was appended."""
        stored = min(upto, self._tail_start)  # beyond, the storage may still hold what is about to be truncated
        while after < stored:
            entries = self._reader.entries(after, max_bytes)
            if not entries or entries[0].zxid > stored:
                raise InvariantViolation(f"the storage has no record after {format_zxid(after)}, but the log does")
            for run in _runs_of(entries):
                if run.first <= stored:
                    part = run.within(after, stored)
                    yield part
                    after = part.last
        tail = self._tail
        start = len(tail)
        while start and tail[start - 1].last > after:  # from the end: what is asked for is seldom old
            start -= 1
        for index in range(start, len(tail)):
            run = tail[index]
            if run.first > upto or after >= upto:
                return
            yield run.within(after, upto)

    def read_snapshot(self, ref: SnapshotRef, offset: int, size: int) -> bytes:
        """See LogReader."""
        return self._reader.read_snapshot(ref, offset, size)


def _runs_of(entries: Sequence[Entry]) -> Iterator[Run]:
    start = 0
    for index in range(1, len(entries) + 1):
        if index == len(entries) or entries[index].zxid != entries[index - 1].zxid + 1:
            yield Run.of(entries[start].zxid, tuple(entry.payload for entry in entries[start:index]))
            start = index
