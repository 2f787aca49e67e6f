"""What a leader has proposed and not yet committed, counted: it takes no more than it can keep in memory."""

from __future__ import annotations

from collections import deque

from zkcore.zab.limits import Limits
from zkcore.zxid import Zxid

__all__ = ["Outstanding"]


class Outstanding:
    """The batches between the last commit and the last proposal. `limits` say when there are too many."""

    def __init__(self, limits: Limits) -> None:
        self._most_records = limits.outstanding_proposals
        self._most_bytes = limits.outstanding_bytes
        self._batches: deque[tuple[Zxid, int, int]] = deque()  # last zxid, records, bytes
        self._records = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be proposed for now. One batch may go beyond a limit, or no large one ever could
        be proposed."""
        return self._records >= self._most_records or self._bytes >= self._most_bytes

    def on_proposed(self, last: Zxid, records: int, size: int) -> None:
        """A batch that ends at `last`."""
        self._batches.append((last, records, size))
        self._records += records
        self._bytes += size

    def on_committed(self, zxid: Zxid) -> None:
        """Everything up to `zxid` is committed. Of a batch, all or nothing is counted."""
        batches = self._batches
        while batches and batches[0][0] <= zxid:
            _, records, size = batches.popleft()
            self._records -= records
            self._bytes -= size
