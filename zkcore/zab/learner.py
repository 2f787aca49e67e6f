"""The role of a follower or observer: register with the leader, bring the log in line, then log, acknowledge and learn
commits.

::

    REGISTERING --LEADERINFO--> WAIT_SYNC --DIFF|TRUNC--> SYNCING --NEWLEADER--> ACKED --UPTODATE--> BROADCAST
                                    +---SNAP--> SNAPPING --last piece--+

What arrives is saved as it arrives, and the epoch last, on NEWLEADER. After a crash anywhere inside, or where the
leader is lost, the log is a prefix of an established leader's and still carries its old epoch, so nobody takes it for
more than it is; what goes beyond that epoch is cut again (protocol.md 1.3; the reverse order lost data in
ZOOKEEPER-4643 and 4785).

Nothing learnt before UPTODATE counts as committed: a leader that is not established may yet vanish together with what
it sent (protocol.md 1.7).

An observer does the same and promises nothing: it accepts an epoch only with the whole of its history. Whether it votes
may be news to a learner: the leader's members come with its epoch, and those of the log change under way (protocol.md
1.10).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from attrs import evolve

from zkcore.errors import ConfigurationError
from zkcore.zab.handover import succeeded_by
from zkcore.zab.membership import Membership
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Commit,
    Damage,
    Diff,
    FollowerInfo,
    HandOff,
    LeaderInfo,
    NewLeader,
    PeerId,
    Ping,
    Proposal,
    Repaired,
    Role,
    Snap,
    SnapAck,
    SnapData,
    SyncAck,
    Trunc,
    UpToDate,
    Vote,
)
from zkcore.zab.ready import Repair, SnapshotChunk, SnapshotRef
from zkcore.zab.state import MAX_EPOCH_JUMP, Complaint, Left, Outcome, State
from zkcore.zab.status import SyncMode, SyncStatus
from zkcore.zxid import MAX_COUNTER, Zxid, counter_of, epoch_of, follows, format_zxid, make_zxid

__all__ = ["Learner"]


class Phase(Enum):
    """Where the conversation with the leader is; see the module."""

    REGISTERING = auto()
    WAIT_SYNC = auto()
    SNAPPING = auto()
    SYNCING = auto()
    ACKED = auto()
    BROADCAST = auto()


class Learner:
    """Follows `leader` until `outcome` is set."""

    def __init__(self, state: State, leader: PeerId) -> None:
        self._state = state
        self.leader = leader
        self.outcome: Outcome | None = None
        self.serve_from: Zxid = 0
        self._phase = Phase.REGISTERING
        self._epoch = 0
        self._silence = 0  # ticks since the leader was last heard, or since this role began
        self._unlinked = 0  # ticks without a link to it
        self._register_in = state.limits.register_ticks
        self._tentative: Zxid = 0  # the highest commit heard of before UPTODATE
        self._must_ack = False
        self._snapshot: SnapshotRef | None = None
        self._snapshot_size = 0
        self._sync_mode: SyncMode | None = None
        self._sync_bytes = 0
        self._snapshot_membership: Membership | None = None
        self.handlers: dict[type, Callable[[PeerId, Any], Complaint]] = {
            Proposal: self._on_proposal,
            Commit: self._on_commit,
            Ping: self._on_ping,
            LeaderInfo: self._on_leader_info,
            Diff: self._on_diff,
            Trunc: self._on_trunc,
            Snap: self._on_snap,
            SnapData: self._on_snap_data,
            NewLeader: self._on_new_leader,
            UpToDate: self._on_up_to_date,
            Repaired: self._on_repaired,
            HandOff: self._on_hand_off,
        }
        self._register()

    @property
    def role(self) -> Role:
        return self._state.learner_role

    @property
    def established(self) -> bool:
        return self._phase is Phase.BROADCAST

    @property
    def phase(self) -> str:
        return self._phase.name

    agreed: tuple[PeerId, ...] = ()

    @property
    def sync(self) -> SyncStatus | None:
        """How it is, or was, brought in line."""
        return None if self._sync_mode is None else SyncStatus(self._sync_mode, self._sync_bytes)

    @property
    def _end(self) -> Zxid:
        """The last zxid that the leader's epoch can have."""
        return make_zxid(self._epoch, MAX_COUNTER)

    # --- inputs that are not messages

    def tick(self, ticks: int) -> None:
        limits = self._state.limits
        self._silence += ticks
        if self._silence > self._patience:
            self.outcome = Left(f"leader {self.leader} was silent for {self._silence} ticks")
            return
        if self._phase is Phase.REGISTERING:
            self._unlinked = 0 if self.leader in self._state.out.linked else self._unlinked + ticks
            if self._unlinked > limits.sync_limit_ticks:
                self.outcome = Left(f"there is no link to leader {self.leader}")
                return
            self._register_in -= ticks
            if self._register_in <= 0:
                self._register()

    @property
    def ticks_until_due(self) -> int:
        due = self._patience + 1 - self._silence
        return max(min(due, self._register_in) if self._phase is Phase.REGISTERING else due, 1)

    @property
    def _patience(self) -> int:
        synced = self._phase in (Phase.ACKED, Phase.BROADCAST)
        return self._state.limits.sync_limit_ticks if synced else self._state.limits.init_limit_ticks

    def on_linked(self, peer: PeerId) -> None:
        if peer == self.leader and self._phase is Phase.REGISTERING:
            self._register()

    def on_lost(self, peer: PeerId) -> None:
        """Until the leader has answered there is nothing to lose but the link."""
        if peer == self.leader and self._phase is not Phase.REGISTERING:
            self.outcome = Left(f"the link to leader {peer} broke")

    def on_durable(self) -> None:
        """Nothing to do: acknowledgements are sent behind the writes that they acknowledge."""

    def on_vote(self, sender: PeerId, vote: Vote) -> None:
        """A leader that looks for another one, or has found it, will not answer: look, too, instead of waiting for
        it."""
        if sender != self.leader or self._phase is not Phase.REGISTERING or vote.state is Role.LEADING:
            return
        if vote.round > self._state.round or (vote.round == self._state.round and vote.state is Role.FOLLOWING):
            self.outcome = Left(f"leader {sender} leads no more")

    def flush(self) -> None:
        """One acknowledgement for everything logged in this batch."""
        if self._must_ack:
            self._must_ack = False
            last = self._state.history.last
            self._state.out.send(self.leader, SyncAck(last) if self._phase is Phase.SYNCING else Ack(last))

    def leave(self) -> None:
        self._state.out.close(self.leader)

    def _register(self) -> None:
        self._register_in = self._state.limits.register_ticks
        self._state.out.send(self.leader, FollowerInfo(self._state.accepted_epoch))

    def heard(self, sender: PeerId) -> Complaint:
        """Before every message: only the leader has anything to say to a follower."""
        if sender != self.leader:
            return f"it is not the leader, {self.leader} is"
        self._silence = 0
        return None

    # --- discovery

    def _on_leader_info(self, sender: PeerId, message: LeaderInfo) -> Complaint:
        state = self._state
        if self._phase is not Phase.REGISTERING:
            return "LEADERINFO again"
        if message.epoch > state.accepted_epoch + MAX_EPOCH_JUMP:
            return f"LEADERINFO with epoch {message.epoch}, far beyond {state.accepted_epoch}"
        # What was accepted binds whoever may promise, as this leader counts; the others only never go back.
        votes = (state.config_of(message.membership) or state.config).can_lead(state.me)
        bound = state.accepted_epoch if votes else state.current_epoch
        if message.epoch < bound:
            self.outcome = Left(f"leader {sender} proposes epoch {message.epoch}, {bound} is accepted")
            return None
        # An epoch accepted before was perhaps promised to somebody else; who is damaged or observes promises nothing.
        promised = votes and state.damage is None and message.epoch > state.accepted_epoch
        current = state.current_epoch if promised else None
        if promised:
            state.save_epochs(accepted=message.epoch)
        self._epoch = message.epoch
        self._phase = Phase.WAIT_SYNC
        log, partial = state.history.summary_after_snapshot, state.partial
        has = (partial[1], partial[2]) if partial is not None and partial[0] == sender else None
        state.out.send(sender, AckEpoch(current, log.last, log.base, log.epoch_ends, has, state.damage))
        return None

    # --- synchronisation

    def _on_diff(self, sender: PeerId, message: Diff) -> Complaint:
        if self._phase is not Phase.WAIT_SYNC:
            return "DIFF out of turn"
        if message.zxid != self._state.history.last:
            return f"DIFF from {format_zxid(message.zxid)}, the log ends at {format_zxid(self._state.history.last)}"
        self._begin_syncing(SyncMode.DIFF)
        return None

    def _on_trunc(self, sender: PeerId, message: Trunc) -> Complaint:
        state = self._state
        if self._phase is not Phase.WAIT_SYNC:
            return "TRUNC out of turn"
        floor = max(state.delivered, state.committed)
        if message.zxid not in state.history or message.zxid < floor:
            return f"TRUNC to {format_zxid(message.zxid)}, which is not in the log or cuts what is committed"
        if message.zxid != state.history.last:
            state.truncate(message.zxid)
        self._begin_syncing(SyncMode.TRUNC)
        return None

    def _begin_syncing(self, mode: SyncMode) -> None:
        self._sync_mode = mode
        self._phase = Phase.SYNCING

    def _on_snap(self, sender: PeerId, message: Snap) -> Complaint:
        state = self._state
        if self._phase is not Phase.WAIT_SYNC:
            return "SNAP out of turn"
        if not counter_of(message.zxid) or message.zxid > self._end:
            return f"SNAP at {format_zxid(message.zxid)}, which the leader of epoch {self._epoch} cannot have"
        if message.zxid <= state.history.snapshot or message.zxid < state.delivered:
            return f"SNAP at {format_zxid(message.zxid)} is not ahead of what is here"
        if message.offset and state.partial != (sender, message.zxid, message.offset):
            return f"SNAP from {message.offset}, and what is here is {state.partial}"
        self._snapshot = SnapshotRef(message.zxid)
        self._snapshot_size = message.offset
        self._sync_mode = SyncMode.SNAP
        self._snapshot_membership = message.membership
        self._phase = Phase.SNAPPING
        return None

    def _on_snap_data(self, sender: PeerId, message: SnapData) -> Complaint:
        if self._snapshot is None or self._phase is not Phase.SNAPPING:
            return "SNAPDATA without SNAP"
        if message.offset != self._snapshot_size:
            return f"SNAPDATA at {message.offset}, expected at {self._snapshot_size}"
        state, ref = self._state, self._snapshot
        state.out.write(SnapshotChunk(ref, message.offset, message.data))
        self._snapshot_size += len(message.data)
        self._sync_bytes += len(message.data)
        state.partial = (sender, ref.zxid, self._snapshot_size)
        state.out.send(sender, SnapAck(self._snapshot_size))
        if message.last:
            self._install(ref)
        return None

    def _install(self, ref: SnapshotRef) -> None:
        """Nobody sends a snapshot of what is not committed."""
        state = self._state
        state.install(ref, self._snapshot_size, self._snapshot_membership)
        state.committed = max(state.committed, ref.zxid)
        state.partial = None
        self._phase = Phase.SYNCING

    def _on_new_leader(self, sender: PeerId, message: NewLeader) -> Complaint:
        state = self._state
        if self._phase is not Phase.SYNCING or message.epoch != self._epoch:
            return "NEWLEADER out of turn"
        if state.history.last < state.committed:
            return f"NEWLEADER with a history up to {format_zxid(state.history.last)}, less than what is committed"
        accepted = max(state.accepted_epoch, message.epoch)
        state.save_epochs(accepted=accepted, current=message.epoch)  # last: D5 of protocol.md 1.7
        if state.damage is Damage.LOG:
            self._mend()
        self._must_ack = False
        state.out.send(sender, Ack(make_zxid(message.epoch, 0)))
        self._phase = Phase.ACKED
        return None

    def _mend(self) -> None:
        state = self._state
        state.damage = None
        state.vote = evolve(state.vote, damaged=False)
        state.out.write(Repair())

    def _on_repaired(self, sender: PeerId, message: Repaired) -> Complaint:
        """The leader has made sure that no promise which this node has forgotten can matter any more."""
        expected = self._phase in (Phase.ACKED, Phase.BROADCAST) and message.epoch == self._epoch
        if not expected or self._state.damage is None:
            return "REPAIRED out of turn"
        self._mend()
        return None

    def _on_up_to_date(self, sender: PeerId, message: UpToDate) -> Complaint:
        if self._phase is not Phase.ACKED:
            return "UPTODATE out of turn"
        committed = max(message.zxid, self._tentative)
        if committed not in self._state.history:
            return f"UPTODATE commits {format_zxid(committed)}, which was never proposed here"
        state = self._state
        self._phase = Phase.BROADCAST
        self.serve_from = committed
        state.committed = max(state.committed, committed)
        # Members that advertise another epoch for the same leader can never assemble a quorum (ZOOKEEPER-1732).
        state.vote = evolve(state.vote, peer_epoch=self._epoch)
        return None

    # --- broadcast

    def _on_proposal(self, sender: PeerId, message: Proposal) -> Complaint:
        if self._phase not in (Phase.SYNCING, Phase.ACKED, Phase.BROADCAST):
            return "PROPOSAL before synchronisation"
        if not message.payloads or not counter_of(message.first) or epoch_of(message.first) != epoch_of(message.last):
            return "PROPOSAL of nothing, or beyond the counters of its epoch"
        if epoch_of(message.first) != self._epoch and (self._phase is not Phase.SYNCING or message.first > self._end):
            return f"PROPOSAL of epoch {epoch_of(message.first)} from the leader of epoch {self._epoch}"
        state = self._state
        last = state.history.last
        if message.first <= last:
            return self._on_repeated(sender, message)
        if not follows(message.first, last):
            return f"PROPOSAL {format_zxid(message.first)} leaves a gap after {format_zxid(last)} (ZOOKEEPER-4925)"
        try:
            state.append(message.first, message.payloads)
        except ConfigurationError as error:
            return f"PROPOSAL of members that cannot be: {error}"
        if self._phase is Phase.SYNCING:
            self._sync_bytes += sum(map(len, message.payloads))
        self._must_ack = True
        return None

    def _on_repeated(self, sender: PeerId, message: Proposal) -> Complaint:
        """What is logged already is dropped; what a repeated batch adds is not."""
        last = self._state.history.last
        if message.last <= last:
            return None
        known = last + 1 - message.first
        return self._on_proposal(sender, Proposal(message.first + known, message.payloads[known:]))

    def _on_commit(self, sender: PeerId, message: Commit) -> Complaint:
        if self._phase not in (Phase.SYNCING, Phase.ACKED, Phase.BROADCAST):
            return "COMMIT before synchronisation"
        if message.zxid not in self._state.history:
            return f"COMMIT {format_zxid(message.zxid)}, which was never proposed here"
        if self._phase is Phase.BROADCAST:
            self._state.committed = max(self._state.committed, message.zxid)
        else:
            self._tentative = max(self._tentative, message.zxid)
        return None

    def _on_ping(self, sender: PeerId, message: Ping) -> Complaint:
        if self._phase not in (Phase.ACKED, Phase.BROADCAST):
            return "PING before NEWLEADER"
        self._state.out.send(sender, message)
        return None

    def _on_hand_off(self, sender: PeerId, message: HandOff) -> Complaint:
        """Follow the successor at once, or lead. All that leads up to an epoch comes after that, as ever."""
        state = self._state
        if self._phase is not Phase.BROADCAST or message.epoch != self._epoch or message.leader == sender:
            return "HANDOFF out of turn"
        able = state.counts if message.leader == state.me else state.config.can_lead(message.leader)
        if not able:
            return f"HANDOFF to {message.leader}, which cannot lead"
        self.outcome = succeeded_by(state, message.leader, f"leader {sender} has handed over")
        return None
