"""The messages of ZAB: what two peers say to each other.

They are values without behaviour, named as in ZooKeeper; who sends them when is told in `election.py`, `learner.py`
and `leader.py`, and how they become bytes in `transport/wire.py`. Each prints on one line, so that a transcript of a
run can be read, compared and kept.

What zkcore adds to ZooKeeper's vocabulary: a `Proposal` carries a batch, `Ack` and `Commit` are cumulative, `AckEpoch`
tells where each epoch of the learner's log ends (so that the leader finds the exact point at which two logs part),
`SnapAck` and `SyncAck` let the leader send no faster than a learner saves, `UpToDate` says how far the leader has
committed, `Repaired` lets a member vote again that had lost what it knew, and `HandOff` names the next leader. An
observer gets the same `Proposal` as a voter, only later: when it is committed.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from attrs import field, frozen

from zkcore.zxid import Zxid, format_zxid

if TYPE_CHECKING:
    from zkcore.zab.membership import Membership

__all__ = [
    "NOBODY", "Ack", "AckEpoch", "Commit", "Damage", "Diff", "FollowerInfo", "Forward", "HandOff", "LeaderInfo",
    "Message", "NewLeader", "PeerId", "Ping", "Proposal", "Repaired", "Role", "Snap", "SnapAck", "SnapData", "SyncAck",
    "Trunc", "UpToDate", "Vote", "ZabMessage",
]  # fmt: skip

PeerId: TypeAlias = int
"""The number of a server in its ensemble, 1 to 255: the `N` of ZooKeeper's `server.N`."""

NOBODY: PeerId = 0
"""The candidate of a node that may not be one itself and has heard of no other."""


class Role(Enum):
    """What a peer is doing at the moment (ZooKeeper's server states)."""

    LOOKING = 0
    FOLLOWING = 1
    LEADING = 2
    OBSERVING = 3

    def __str__(self) -> str:
        return self.name


class Damage(Enum):
    """What a member has lost of what it once had saved (protocol.md 1.14)."""

    LOG = 1
    """Records, or a snapshot. The epochs are intact: it remembers what it has promised."""
    EPOCHS = 2
    """The epochs, too: it has forgotten what it promised, and to whom."""

    def __str__(self) -> str:
        return self.name


def _told(membership: Membership | None) -> str:
    return "" if membership is None else f" {membership}"


# --- phase 0: election -----------------------------------------------------------------------------------------------


@frozen
class Vote:
    """Whom the sender wants as leader, or has as leader (ZooKeeper's Notification; protocol.md 1.4).

    `zxid` and `peer_epoch` are those of the candidate, `round` counts the elections the sender has begun. The vote of a
    `damaged` member counts for nothing, as its promise would not. `membership` is what the candidate's log says of the
    members, or the sender's, where it has a leader; None where those of the beginning are in force.
    """

    state: Role
    leader: PeerId
    zxid: Zxid
    peer_epoch: int
    round: int
    damaged: bool = False
    membership: Membership | None = None

    def __str__(self) -> str:
        return (
            f"VOTE {self.state} for {self.leader or 'nobody'} zxid={format_zxid(self.zxid)} "
            f"epoch={self.peer_epoch} round={self.round}{' damaged' if self.damaged else ''}{_told(self.membership)}"
        )


# --- phase 1: discovery ----------------------------------------------------------------------------------------------


@frozen
class FollowerInfo:
    """A learner registers with the leader it was told of, and says which epoch it has accepted."""

    accepted_epoch: int

    def __str__(self) -> str:
        return f"FOLLOWERINFO accepted={self.accepted_epoch}"


@frozen
class LeaderInfo:
    """The leader proposes its epoch, and says who votes by its log: None where nothing has changed since the
    beginning."""

    epoch: int
    membership: Membership | None = None

    def __str__(self) -> str:
        return f"LEADERINFO epoch={self.epoch}{_told(self.membership)}"


@frozen
class AckEpoch:
    """The learner accepts the epoch and describes its log.

    `current_epoch` is None where the answer is no promise: from a learner that had accepted this very epoch before, and
    may have given that promise to somebody else; from one that is damaged; from an observer. `base` is the zxid below
    which it cannot go back, that of its snapshot; `epoch_ends` holds the last zxid of every epoch in its log from there
    on, ascending, the base's epoch included. `partial` names a snapshot of which it has the first bytes, and how many.
    """

    current_epoch: int | None
    last_zxid: Zxid
    base: Zxid
    epoch_ends: tuple[Zxid, ...]
    partial: tuple[Zxid, int] | None = None
    damage: Damage | None = None

    def __str__(self) -> str:
        ends = ",".join(format_zxid(zxid) for zxid in self.epoch_ends)
        current = "-" if self.current_epoch is None else self.current_epoch
        partial = f" has {self.partial[1]} bytes of {format_zxid(self.partial[0])}" if self.partial else ""
        damage = f" lost its {self.damage}" if self.damage else ""
        return (
            f"ACKEPOCH current={current} last={format_zxid(self.last_zxid)} base={format_zxid(self.base)} "
            f"ends=[{ends}]{partial}{damage}"
        )


# --- phase 2: synchronisation ----------------------------------------------------------------------------------------


@frozen
class Diff:
    """The learner's log, whole, is a prefix of the leader's: what follows is appended to it."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"DIFF from {format_zxid(self.zxid)}"


@frozen
class Trunc:
    """The learner's log parts from the leader's after `zxid`: cut it there, then append what follows."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"TRUNC to {format_zxid(self.zxid)}"


@frozen
class Snap:
    """The leader's log no longer reaches back far enough: its state as of `zxid` follows as `SnapData`, from `offset`
    on where the learner has what comes before. `membership` is in force there, None if it is that of the beginning."""

    zxid: Zxid
    offset: int = 0
    membership: Membership | None = None

    def __str__(self) -> str:
        begun = f" from {self.offset}" if self.offset else ""
        return f"SNAP at {format_zxid(self.zxid)}{begun}{_told(self.membership)}"


@frozen
class SnapData:
    """One piece of the snapshot that `Snap` announced; `last` marks the end."""

    offset: int
    data: bytes = field(repr=False)
    last: bool

    def __str__(self) -> str:
        return f"SNAPDATA {self.offset}+{len(self.data)}{' last' if self.last else ''}"


@frozen
class SnapAck:
    """The learner has saved the snapshot up to `offset`; the leader may send the next piece."""

    offset: int

    def __str__(self) -> str:
        return f"SNAPACK {self.offset}"


@frozen
class SyncAck:
    """The learner has saved the leader's history up to `zxid`; the leader may send more. Nothing is promised: only the
    answer to `NewLeader` counts."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"SYNCACK {format_zxid(self.zxid)}"


@frozen
class NewLeader:
    """All the history of the leader's epoch has been sent: save it, then accept the epoch as current."""

    epoch: int

    def __str__(self) -> str:
        return f"NEWLEADER epoch={self.epoch}"


@frozen
class UpToDate:
    """The epoch is established and everything up to `zxid` committed: begin to serve."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"UPTODATE committed={format_zxid(self.zxid)}"


# --- phase 3: broadcast ----------------------------------------------------------------------------------------------


@frozen
class Proposal:
    """A batch of transactions of one epoch: `payloads[i]` has the zxid `first + i`."""

    first: Zxid
    payloads: tuple[bytes, ...] = field(repr=False)

    @property
    def last(self) -> Zxid:
        return self.first + len(self.payloads) - 1

    def __str__(self) -> str:
        return f"PROPOSAL {format_zxid(self.first)}..{format_zxid(self.last)}"


@frozen
class Ack:
    """The sender's log holds everything up to `zxid` durably. (epoch, 0) answers `NewLeader`, before any other."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"ACK {format_zxid(self.zxid)}"


@frozen
class Commit:
    """Everything up to `zxid` is committed."""

    zxid: Zxid

    def __str__(self) -> str:
        return f"COMMIT {format_zxid(self.zxid)}"


@frozen
class Ping:
    """The leader asks whether the learner is there, and the learner answers with the same `round`."""

    round: int

    def __str__(self) -> str:
        return f"PING {self.round}"


@frozen
class Repaired:
    """Every other voter was heard in this epoch since the learner, who had lost its epochs, has its history: whatever
    it promised once is behind us, and it may vote again (protocol.md 1.14)."""

    epoch: int

    def __str__(self) -> str:
        return f"REPAIRED epoch={self.epoch}"


@frozen
class HandOff:
    """The leader of `epoch` has stopped, everything it proposed is committed, and `leader`, which has all of it, shall
    lead next: follow it at once, without an election (protocol.md 1.11)."""

    leader: PeerId
    epoch: int

    def __str__(self) -> str:
        return f"HANDOFF to {self.leader} epoch={self.epoch}"


# --- not ZAB's -------------------------------------------------------------------------------------------------------


@frozen
class Forward:
    """Bytes of the replicas above, carried on the same links in the same order. The Peer never sees one."""

    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"FORWARD {len(self.data)} bytes"


ZabMessage: TypeAlias = (
    Vote | FollowerInfo | LeaderInfo | AckEpoch | Diff | Trunc | Snap | SnapData | SnapAck | SyncAck | NewLeader
    | UpToDate | Proposal | Ack | Commit | Ping | Repaired | HandOff
)  # fmt: skip
"""What `Peer.receive` takes."""

Message: TypeAlias = ZabMessage | Forward
"""What a transport carries."""
