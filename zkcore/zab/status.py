"""What a Peer knows of itself, as a value; and in words: why it does not lead, why there is no quorum, who lags behind.

`explain` reads the value and nothing else, so what it says can be checked against `status()` and needs no log.
"""

from __future__ import annotations

from enum import Enum, auto

from attrs import frozen

from zkcore.zab.messages import NOBODY, Damage, PeerId, Role, Vote
from zkcore.zab.quorum import Configuration, Transition
from zkcore.zxid import Zxid, format_zxid

__all__ = ["LearnerStatus", "PeerStatus", "SyncMode", "SyncStatus", "explain"]


@frozen
class LearnerStatus:
    """How far a leader has brought one learner. `stage` is one of WAIT_ACKEPOCH, WAIT_SYNC, SNAPPING, CATCHING_UP,
    WAIT_ACK and ACTIVE; `lag` counts the records it has not acknowledged, `silence_ticks` the time since it was last
    heard. `counts`: whether its acknowledgements make a quorum."""

    peer: PeerId
    stage: str
    counts: bool
    damage: Damage | None
    acked: Zxid
    lag: int
    silence_ticks: int


class SyncMode(Enum):
    """How a leader brings a learner in line: with what it lacks, after cutting the end of its log, or with a
    snapshot."""

    DIFF = auto()
    TRUNC = auto()
    SNAP = auto()


@frozen
class SyncStatus:
    """How a learner is, or was, brought in line by its present leader, and how many bytes of snapshots and records have
    come for that."""

    mode: SyncMode
    bytes: int


@frozen(kw_only=True)
class PeerStatus:
    """What a Peer knows of itself. Zxids are integers; see `zkcore.zxid`.

    `phase` says how far its role has come: LOOKING; as a follower or observer REGISTERING, WAIT_SYNC, SNAPPING,
    SYNCING, ACKED or BROADCAST; as a leader DISCOVERY, EPOCH_PROPOSED, SYNCHRONIZATION or BROADCAST. `agreed` are
    those who have done their part in that phase of an election or leadership. `learners` are known to a leader only,
    `sync` to a learner, once its leader has begun.
    `version` is the zxid of the record that made `config`, 0 for the members of the beginning.
    """

    me: PeerId
    config: Configuration
    role: Role
    phase: str
    established: bool
    leader: PeerId | None
    vote: Vote
    accepted_epoch: int
    current_epoch: int
    log_base: Zxid
    snapshot: Zxid
    last_logged: Zxid
    last_committed: Zxid
    last_delivered: Zxid
    damage: Damage | None
    linked: tuple[PeerId, ...]
    agreed: tuple[PeerId, ...]
    learners: tuple[LearnerStatus, ...] = ()
    sync: SyncStatus | None = None
    handing_over_to: PeerId | None = None
    version: Zxid = 0
    is_full: bool = False

    def __str__(self) -> str:
        return (
            f"{self.me} {'established ' if self.established else ''}{self.role} leader={self.leader or '-'} "
            f"epoch={self.current_epoch} logged={format_zxid(self.last_logged)} "
            f"committed={format_zxid(self.last_committed)}{f' lost its {self.damage}' if self.damage else ''}"
        )


def explain(status: PeerStatus) -> tuple[str, ...]:
    """What keeps this node from leading, or the ensemble from working as well as it could; a line for each reason."""
    lines = _explain_self(status)
    if status.role is Role.LOOKING:
        lines += _explain_looking(status)
    elif status.role is Role.LEADING:
        lines += _explain_leading(status)
    elif status.established:
        lines.append(f"server {status.leader} leads epoch {status.current_epoch}, and this node follows it")
    else:
        lines.append(f"following server {status.leader}, which has not brought this node in line yet: {status.phase}")
        if status.leader not in status.linked:
            lines.append(f"there is no link to server {status.leader}")
    return tuple(lines)


def _explain_self(status: PeerStatus) -> list[str]:
    lines: list[str] = []
    if isinstance(status.config, Transition):
        lines.append(f"the members are being changed, which takes quorums of both: {status.config}")
    if status.damage is Damage.LOG:
        lines.append("records that were saved here are lost: no vote and no leading until a leader has sent them again")
    elif status.damage is Damage.EPOCHS:
        lines.append(
            "what this node has promised is lost: no vote and no leading until it follows a leader and every other "
            "voter was heard"
        )
    if status.me not in status.config.members:
        lines.append(f"this node is no member since {format_zxid(status.version)}: it waits to be added again")
    elif status.me in status.config.observers:
        lines.append("an observer never leads")
    elif not status.config.can_lead(status.me):
        lines.append("a voter of weight 0 never leads")
    return lines


def _explain_looking(status: PeerStatus) -> list[str]:
    lines = [_quorum_line(status, "linked to", (status.me, *status.linked))]
    if status.vote.leader not in (status.me, NOBODY):
        lines.append(
            f"the newest history heard of is that of server {status.vote.leader}, {format_zxid(status.vote.zxid)} "
            f"in epoch {status.vote.peer_epoch}"
        )
    lines.append(_quorum_line(status, "agreeing on a leader:", status.agreed))
    return lines


def _explain_leading(status: PeerStatus) -> list[str]:
    lines: list[str] = []
    if not status.established:
        lines.append(_quorum_line(status, f"not established: in {status.phase}, done by", status.agreed))
    if status.handing_over_to is not None:
        lines.append(f"server {status.handing_over_to} is taking over: no proposals are accepted")
    if status.is_full:
        lines.append("too much is outstanding: no proposals are accepted until a quorum has acknowledged some")
    known = {learner.peer for learner in status.learners}
    for member in status.config.members:
        if member != status.me and member not in known:
            kind = "voter" if member in status.config.voters else "observer"
            lines.append(f"{kind} {member} is {'linked, but does not follow' if member in status.linked else 'away'}")
    lines += [line for learner in status.learners if (line := _explain_learner(learner)) is not None]
    return lines


def _explain_learner(learner: LearnerStatus) -> str | None:
    if learner.damage is not None and not learner.counts:
        return f"server {learner.peer} has forgotten its promises and does not count until every other voter was heard"
    if learner.stage != "ACTIVE":
        return f"server {learner.peer} is being brought in line: {learner.stage}, {learner.lag} records to go"
    if learner.lag:
        return (
            f"server {learner.peer} lags by {learner.lag} records: it has {format_zxid(learner.acked)}, "
            f"heard {learner.silence_ticks} ticks ago"
        )
    return None


def _quorum_line(status: PeerStatus, what: str, have: tuple[PeerId, ...]) -> str:
    voters = [voter for voter in status.config.voters if voter in have]
    missing = [voter for voter in status.config.voters if voter not in have]
    verdict = "a quorum" if status.config.is_quorum(voters) else "no quorum"
    return f"{what} {voters or 'nobody'}: {verdict} of {list(status.config.voters)}; missing {missing or 'nobody'}"
