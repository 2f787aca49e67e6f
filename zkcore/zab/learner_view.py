"""The leader's view of one learner: how far the conversation on one link has come.

::

    WAIT_ACKEPOCH --> WAIT_SYNC --> [SNAPPING] --> CATCHING_UP --> WAIT_ACK (NEWLEADER sent) --> ACTIVE
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from attrs import Factory, define

from zkcore.zab.messages import AckEpoch, Damage, PeerId
from zkcore.zab.quorum import Configuration
from zkcore.zab.ready import SnapshotRef
from zkcore.zab.sync_plan import LogSummary
from zkcore.zxid import Zxid

__all__ = ["FED", "LearnerView", "Stage"]


MAX_SNAPSHOT_BYTES = (1 << 63) - 1
"""Positions in files are signed 64-bit numbers."""


class Stage(Enum):
    """How far one learner has come."""

    WAIT_ACKEPOCH = auto()
    WAIT_SYNC = auto()
    SNAPPING = auto()
    CATCHING_UP = auto()
    WAIT_ACK = auto()
    ACTIVE = auto()


FED = (Stage.CATCHING_UP, Stage.WAIT_ACK, Stage.ACTIVE)
"""The stages in which a learner gets records of the log."""


@define(eq=False)
class LearnerView:
    """The leader's view of one learner. `observes`: it gets what is committed, and nothing before."""

    observes: bool
    counts: bool
    """Whether what it acknowledges counts: it is a voter, and remembers what it has promised."""
    accepted: int = 0
    """The epoch it had accepted when it registered."""
    stage: Stage = Stage.WAIT_ACKEPOCH
    log: LogSummary | None = None
    damage: Damage | None = None
    partial: tuple[Zxid, int] | None = None  # the beginning of a snapshot that it has, and how many bytes
    snapshot: SnapshotRef | None = None
    snapshot_sent: int = 0
    owes_snap_ack: bool = False
    target: Zxid = 0  # NEWLEADER follows what comes up to here
    sent: Zxid = 0
    acked: Zxid = 0
    commit_sent: Zxid = 0
    synced_to: Zxid = 0  # the end of the history it got before NEWLEADER
    silence: int = 0  # ticks since it was last heard
    stalled: int = 0  # ticks with proposals unacknowledged and no acknowledgement coming
    unheard: set[PeerId] = Factory(set)  # who must answer a ping before one that forgot its promises counts again
    unheard_round: int = 0
    unacked_bytes: int = 0
    _unacked: deque[tuple[Zxid, int]] = Factory(deque)

    def on_ack_epoch(self, message: AckEpoch) -> str | None:
        """The learner has said what its log is; what is wrong with that, if anything."""
        log = LogSummary(message.base, message.epoch_ends)
        complaint = log.complaint()
        if complaint is None and log.last != message.last_zxid:
            complaint = "ACKEPOCH that contradicts itself"
        if message.partial is not None and not 0 <= message.partial[1] <= MAX_SNAPSHOT_BYTES:
            complaint = f"ACKEPOCH with {message.partial[1]} bytes of a snapshot"
        if complaint is None:
            self.log, self.partial, self.damage = log, message.partial, message.damage
        return complaint

    def has_forgotten(self, peer: PeerId, config: Configuration) -> bool:
        """Whether `peer`, whose view this is, has lost promises that matter where the members are those of `config`."""
        return self.damage is Damage.EPOCHS and config.can_lead(peer)

    def on_sent(self, last: Zxid, size: int) -> None:
        """Records up to `last` are on their way, `size` bytes of them new."""
        self.sent = last
        self.unacked_bytes += size
        self._unacked.append((last, size))

    def on_acked(self, zxid: Zxid) -> None:
        """The learner has saved everything up to `zxid`."""
        self.acked = zxid
        self.stalled = 0
        unacked = self._unacked
        while unacked and unacked[0][0] <= zxid:
            self.unacked_bytes -= unacked.popleft()[1]
