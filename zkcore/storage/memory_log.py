"""The log of a storage in memory: a run of payloads for each epoch, and the two places where it begins.

It begins at `base`, the zxid before its first record, and a recovery begins at `snapshot`, which may lie further on:
the records between the two are a tail behind the snapshot, kept for learners that are late. Always
``base <= snapshot <= last``.

This module must not know what a snapshot holds, nor who keeps it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from attrs import Factory, define

from zkcore.errors import InvariantViolation
from zkcore.zab.ready import Entry
from zkcore.zxid import Zxid, epoch_of, follows, format_zxid

__all__ = ["MemoryLog"]


@define
class _Run:
    """The records of one epoch: their counters leave no gap, so the zxid of the first tells all the others."""

    first: Zxid
    payloads: list[bytes]

    @property
    def last(self) -> Zxid:
        return self.first + len(self.payloads) - 1


@define
class MemoryLog:
    """One run per epoch, ascending, none of them empty. To append is to extend a list; to find is to bisect.

    What would break the log raises InvariantViolation, and changes nothing.
    """

    base: Zxid = 0
    snapshot: Zxid = 0
    last: Zxid = 0
    payload_bytes: int = 0
    _runs: list[_Run] = Factory(list)

    @classmethod
    def beginning_at(cls, zxid: Zxid) -> MemoryLog:
        """An empty log that continues the snapshot of `zxid`, or nothing where that is 0."""
        return cls(zxid, zxid, zxid)

    def append(self, first: Zxid, payloads: Sequence[bytes]) -> None:
        """See `Append`."""
        last = first + len(payloads) - 1
        if not follows(first, self.last) or last < first or last >> 32 != first >> 32:
            raise InvariantViolation(
                f"{len(payloads)} records from {format_zxid(first)} do not follow {format_zxid(self.last)}"
            )
        if self._runs and first == self.last + 1:
            self._runs[-1].payloads.extend(payloads)
        else:
            self._runs.append(_Run(first, list(payloads)))
        self.last = last
        self.payload_bytes += sum(map(len, payloads))

    def truncate(self, zxid: Zxid) -> None:
        """See `Truncate`."""
        if zxid < self.snapshot:
            raise InvariantViolation(
                f"the log cannot be cut after {format_zxid(zxid)}: its snapshot is of {format_zxid(self.snapshot)}"
            )
        self._cut(zxid)

    def compact(self, snapshot: Zxid, upto: Zxid) -> None:
        """See `Compact`."""
        if snapshot < self.snapshot or upto > snapshot:
            raise InvariantViolation(
                f"the log of {format_zxid(self.base)}, {format_zxid(self.snapshot)} cannot begin with a snapshot of "
                f"{format_zxid(snapshot)} and forget the records up to {format_zxid(upto)}"
            )
        self._place(snapshot)
        index, gone = self._place(upto)
        for run in self._runs[:index]:
            self.payload_bytes -= sum(map(len, run.payloads))
        del self._runs[:index]
        if self._runs:
            run = self._runs[0]
            self.payload_bytes -= sum(map(len, run.payloads[:gone]))
            del run.payloads[:gone]
            run.first += gone
            if not run.payloads:
                del self._runs[0]
        self.base, self.snapshot = upto, snapshot

    def lose(self, after: Zxid, snapshot: Zxid) -> None:
        """Go back to `after`, where `snapshot`, not after it, is the newest that is left. The records are worth nothing
        without a snapshot that reaches them: where they begin after it they are gone, too."""
        if snapshot < self.base:
            self.base = self.last = self.snapshot = snapshot
            self.payload_bytes = 0
            self._runs.clear()
        else:
            self._cut(after)
            self.snapshot = snapshot

    def entries(self, after: Zxid, max_bytes: int) -> list[Entry]:
        """See `LogReader`."""
        index, start = self._place(after)
        found: list[Entry] = []
        room = max_bytes
        for run in self._runs[index:]:
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
        """See `Saved`."""
        ends = [run.last for run in self._runs]
        if self.base and (not ends or epoch_of(ends[0]) != epoch_of(self.base)):
            ends.insert(0, self.base)
        return tuple(ends)

    def _cut(self, zxid: Zxid) -> None:
        index, kept = self._place(zxid)
        for run in self._runs[index + 1 :]:
            self.payload_bytes -= sum(map(len, run.payloads))
        del self._runs[index + 1 :]
        if self._runs:
            run = self._runs[index]
            self.payload_bytes -= sum(map(len, run.payloads[kept:]))
            del run.payloads[kept:]
            if not run.payloads:
                del self._runs[index]
        self.last = zxid

    def _place(self, zxid: Zxid) -> tuple[int, int]:
        """The run that holds `zxid`, and how many of its records are not after `zxid`."""
        if zxid == self.base:
            return 0, 0
        index = bisect_right(self._runs, zxid, key=lambda run: run.first) - 1
        if index < 0 or zxid > self._runs[index].last:
            raise InvariantViolation(
                f"{format_zxid(zxid)} is not in the log, which goes from {format_zxid(self.base)} to "
                f"{format_zxid(self.last)}"
            )
        return index, zxid - self._runs[index].first + 1
