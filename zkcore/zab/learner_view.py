"""The leader's view of one learner: how far the conversation on one link has come.

::

    WAIT_ACKEPOCH --> WAIT_SYNC (until the epoch is won) --> [SNAPPING] --> WAIT_ACK (NEWLEADER sent) --> ACTIVE
"""

from __future__ import annotations

from enum import Enum, auto

from attrs import define

from zkcore.zab.ready import SnapshotRef
from zkcore.zab.sync_plan import LogSummary
from zkcore.zxid import Zxid

__all__ = ["LearnerView", "Stage"]


class Stage(Enum):
    """How far one learner has come."""

    WAIT_ACKEPOCH = auto()
    WAIT_SYNC = auto()
    SNAPPING = auto()
    WAIT_ACK = auto()
    ACTIVE = auto()


@define(eq=False)
class LearnerView:
    """The leader's view of one learner."""

    stage: Stage = Stage.WAIT_ACKEPOCH
    log: LogSummary | None = None
    snapshot: SnapshotRef | None = None
    snapshot_sent: int = 0
    synced_to: Zxid = 0  # the end of the history it got before NEWLEADER
    acked: Zxid = 0
    silence: int = 0  # ticks since it was last heard
    stalled: int = 0  # ticks with proposals unacknowledged and no acknowledgement coming
