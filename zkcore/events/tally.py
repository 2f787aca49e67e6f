"""Counts, a subscriber: how often each kind of event was told, and the sums behind the metrics."""

from __future__ import annotations

from collections import Counter

from zkcore.events import kinds
from zkcore.events.kinds import NodeEvent
from zkcore.zab.messages import Role
from zkcore.zab.status import SyncMode

__all__ = ["Tally"]


class Tally:
    """Counts since it was made. All of it may be read from any thread."""

    def __init__(self) -> None:
        self.events: Counter[type[NodeEvent]] = Counter()
        """How many of each kind."""
        self.elections = 0
        """How often the node began to look for a leader."""
        self.syncs: Counter[SyncMode] = Counter()
        """How often a leader has brought the node in line, by the way in which it did."""
        self.sync_bytes: Counter[SyncMode] = Counter()
        """What came for that."""
        self.snapshot_bytes = 0
        self.snapshot_seconds = 0.0
        """Of the snapshots that were saved."""

    def __call__(self, event: NodeEvent) -> None:
        self.events[type(event)] += 1
        if isinstance(event, kinds.RoleChanged):
            self.elections += event.role is Role.LOOKING
        elif isinstance(event, kinds.NodeStarted | kinds.StorageWritable):
            self.elections += 1  # the core begins with one
        elif isinstance(event, kinds.Synced):
            self.syncs[event.mode] += 1
            self.sync_bytes[event.mode] += event.bytes
        elif isinstance(event, kinds.SnapshotSaved):
            self.snapshot_bytes += event.bytes
            self.snapshot_seconds += event.seconds
