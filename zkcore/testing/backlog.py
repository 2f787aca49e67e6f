"""What a leader has proposed and a quorum does not hold yet, counted from outside (protocol.md 2, L5).

A leader must refuse more when its limits are reached, and only then. When exactly it learns that something is committed
cannot be seen from here, so there are two bounds: it is committed at the latest when the leader has delivered it, and
not before a quorum has it on disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from zkcore.testing.durable import Durable
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import Configuration
from zkcore.zxid import Zxid, epoch_of

__all__ = ["Backlog", "held_by_quorum"]


class Backlog:
    """The proposals of one node, in the newest epoch that it leads."""

    def __init__(self, limits: Limits) -> None:
        self._most_records = limits.outstanding_proposals
        self._most_bytes = limits.outstanding_bytes
        self._batches: deque[tuple[Zxid, int, int]] = deque()  # last zxid, records, bytes

    def proposed(self, first: Zxid, payloads: Sequence[bytes]) -> None:
        """The node has taken these proposals."""
        batches = self._batches
        if batches and epoch_of(batches[-1][0]) != epoch_of(first):
            batches.clear()
        batches.append((first + len(payloads) - 1, len(payloads), sum(map(len, payloads))))

    def is_full(self, committed: Zxid, next_zxid: Zxid) -> bool:
        """Whether what comes after `committed` reaches a limit, for a leader whose next proposal is `next_zxid`."""
        epoch = epoch_of(next_zxid)
        left = [batch for batch in self._batches if batch[0] > committed and epoch_of(batch[0]) == epoch]
        records, size = sum(batch[1] for batch in left), sum(batch[2] for batch in left)
        return records >= self._most_records or size >= self._most_bytes

    def delivered(self, zxid: Zxid) -> None:
        """The node has delivered all up to `zxid`."""
        while self._batches and self._batches[0][0] <= zxid:
            self._batches.popleft()


def held_by_quorum(config: Configuration, disks: Mapping[PeerId, Durable]) -> Zxid:
    """The newest record that a quorum has on disk, or had before a disk was damaged."""
    return config.agreed({voter: _furthest(disks[voter]) for voter in config.voters})


def _furthest(disk: Durable) -> Zxid:
    return disk.last if disk.before is None else max(disk.last, _furthest(disk.before))
