"""The role of a leader: win an epoch, bring the learners in line, then propose, count and commit.

::

    DISCOVERY --quorum of FOLLOWERINFO--> EPOCH_PROPOSED --quorum of ACKEPOCH--> SYNCHRONIZATION
              --quorum of ACK(NEWLEADER)--> BROADCAST

An epoch belongs to one leader because a quorum promises it, each member once, and epochs promised only grow. Its
history holds everything committed before because one of those who promised holds it, and a leader gives up on meeting
a follower whose log is newer than its own (protocol.md 1.5).

Each learner passes through stages of its own, one conversation for each link (learner_view.py).

Choosing how to sync a learner, sending the history and adding it to those who get every later proposal is one step:
in between nothing can be proposed twice or be missed (protocol.md 1.1, 1.6).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from attrs import evolve

from zkcore.errors import InvariantViolation
from zkcore.zab.learner_view import LearnerView, Stage
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Commit,
    Diff,
    FollowerInfo,
    LeaderInfo,
    NewLeader,
    PeerId,
    Ping,
    Proposal,
    Role,
    Snap,
    SnapAck,
    SnapData,
    Trunc,
    UpToDate,
    Vote,
)
from zkcore.zab.reads import ReadRounds
from zkcore.zab.ready import Append, PeerRejected, ReadDropped, SnapshotRef
from zkcore.zab.state import MAX_EPOCH_JUMP, Complaint, Left, Outcome, State
from zkcore.zab.sync_plan import LogSummary, plan_sync
from zkcore.zxid import MAX_EPOCH, Zxid, counter_of, epoch_of, format_zxid, make_zxid

__all__ = ["Leader"]

ATTEMPTS_BEFORE_YIELDING = 3
"""So often a voter that has promised a newer epoch may knock in vain before the leader steps down for its sake."""


class Phase(Enum):
    """How far the leader has come; see the module."""

    DISCOVERY = auto()
    EPOCH_PROPOSED = auto()
    SYNCHRONIZATION = auto()
    BROADCAST = auto()


class Leader:
    """Leads, or tries to, until `outcome` is set."""

    role = Role.LEADING

    def __init__(self, state: State) -> None:
        limits = state.limits
        self._state = state
        self.leader = state.me
        self.outcome: Outcome | None = None
        self.serve_from: Zxid = 0
        self._phase = Phase.DISCOVERY
        self._round = state.round
        self._epoch = 0
        self._waited = 0  # ticks in the present phase
        self._infos: dict[PeerId, int] = {state.me: max(state.accepted_epoch, state.epoch_to_exceed)}
        self._promises: set[PeerId] = set()
        self._acked_new_leader: set[PeerId] = set()
        self._learners: dict[PeerId, LearnerView] = {}
        self._forwarding: list[PeerId] = []  # who gets every proposal
        self._heard: dict[PeerId, int] = {}  # voters that were ever ACTIVE -> ticks since they were heard
        self._attempts: dict[PeerId, int] = {}
        self._gone: set[PeerId] = set()
        self._ping_in = limits.ping_ticks
        self._ping_round = 0
        self._reads = ReadRounds(state.me, state.config)
        self._committed_sent: Zxid = 0
        self.handlers: dict[type, Callable[[PeerId, Any], Complaint]] = {
            Ack: self._on_ack,
            Ping: self._on_ping,
            FollowerInfo: self._on_follower_info,
            AckEpoch: self._on_ack_epoch,
            SnapAck: self._on_snap_ack,
        }
        self._try_propose_epoch()

    @property
    def established(self) -> bool:
        return self._phase is Phase.BROADCAST

    # --- inputs that are not messages

    def tick(self, ticks: int) -> None:
        self._tick_learners(ticks)
        self._ping_in -= ticks
        if self._ping_in <= 0:
            self._ping()
        if self.established:
            limit = self._state.limits.sync_limit_ticks
            live = [peer for peer, age in self._heard.items() if age <= limit]
            if not self._state.config.is_quorum([self._state.me, *live]):
                self.outcome = Left(f"no quorum was heard for {limit} ticks")
        else:
            self._waited += ticks
            if self._waited > self._state.limits.init_limit_ticks:
                self.outcome = Left(f"no quorum in {self._phase.name} within {self._waited} ticks")

    def _tick_learners(self, ticks: int) -> None:
        limits, last = self._state.limits, self._state.history.last
        for peer in self._heard:
            self._heard[peer] += ticks
        for peer, learner in list(self._learners.items()):
            learner.silence += ticks
            active = learner.stage is Stage.ACTIVE
            learner.stalled = learner.stalled + ticks if active and learner.acked < last else 0
            patience = limits.sync_limit_ticks if active else limits.init_limit_ticks + limits.sync_limit_ticks
            if learner.silence > patience or learner.stalled > limits.sync_limit_ticks:
                self._drop(peer)

    @property
    def ticks_until_due(self) -> int:
        limits = self._state.limits
        due = self._ping_in
        if not self.established:
            due = min(due, limits.init_limit_ticks + 1 - self._waited)
        for age in self._heard.values():
            if age <= limits.sync_limit_ticks:
                due = min(due, limits.sync_limit_ticks + 1 - age)
        return max(due, 1)

    def on_linked(self, peer: PeerId) -> None:
        """Nothing to do: learners register by themselves."""

    def on_lost(self, peer: PeerId) -> None:
        """The conversation is over; the promise already counted is not taken back."""
        self._forget(peer)

    def on_durable(self) -> None:
        """Our own acknowledgements count only now."""
        if self._phase is Phase.SYNCHRONIZATION:
            self._acked_new_leader.add(self._state.me)
            self._try_establish()
        elif self._phase is Phase.BROADCAST:
            self._advance()

    def on_vote(self, sender: PeerId, vote: Vote) -> None:
        """A voter has begun another election. When too many have, do not wait for them (ZOOKEEPER-3109)."""
        if self.established or vote.state is not Role.LOOKING or vote.round <= self._round:
            return
        self._gone.add(sender)
        config = self._state.config
        if not config.is_quorum([voter for voter in config.voters if voter not in self._gone]):
            self.outcome = Left("the voters are electing somebody else")

    def flush(self) -> None:
        """One COMMIT for everything that was committed in this batch."""
        committed = self._state.committed
        if self.established and committed > self._committed_sent:
            self._committed_sent = committed
            message = Commit(committed)
            for peer in self._forwarding:
                self._state.out.early(peer, message)
        if self._reads.needs_round:
            self._ping()

    def leave(self) -> None:
        for token in self._reads.drop():
            self._state.out.tell(ReadDropped(token))
        for peer in self._learners:
            self._state.out.close(peer)

    def heard(self, sender: PeerId) -> Complaint:
        """Before every message."""
        learner = self._learners.get(sender)
        if learner is not None:
            learner.silence = 0
            if learner.stage is Stage.ACTIVE:
                self._heard[sender] = 0
        return None

    def _drop(self, peer: PeerId) -> None:
        self._forget(peer)
        self._state.out.close(peer)

    def _forget(self, peer: PeerId) -> None:
        self._learners.pop(peer, None)
        self._infos.pop(peer, None)
        self._acked_new_leader.discard(peer)
        if peer in self._forwarding:
            self._forwarding.remove(peer)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._waited = 0

    # --- discovery

    def _on_follower_info(self, sender: PeerId, message: FollowerInfo) -> Complaint:
        if message.accepted_epoch > max(self._state.accepted_epoch, self._epoch) + MAX_EPOCH_JUMP:
            return f"FOLLOWERINFO with epoch {message.accepted_epoch}, far beyond any here"
        learner = self._learners.get(sender)
        if learner is not None:
            return None if learner.stage is Stage.WAIT_ACKEPOCH else "FOLLOWERINFO again"
        self._gone.discard(sender)
        self._learners[sender] = LearnerView()
        if self._phase is Phase.DISCOVERY:
            self._infos[sender] = message.accepted_epoch
            self._try_propose_epoch()
            return None
        if message.accepted_epoch > self._epoch:
            self._count_attempt(sender, message.accepted_epoch)
        self._state.out.send(sender, LeaderInfo(self._epoch))
        return None

    def _count_attempt(self, sender: PeerId, accepted_epoch: int) -> None:
        """The sender has promised an epoch that was never established, and must refuse ours, for ever if we stay: it
        would be lost to the ensemble. Make room for an epoch above its promise (protocol.md 1.5)."""
        self._state.epoch_to_exceed = max(self._state.epoch_to_exceed, accepted_epoch)
        self._attempts[sender] = self._attempts.get(sender, 0) + 1
        if self._attempts[sender] >= ATTEMPTS_BEFORE_YIELDING:
            self.outcome = Left(f"voter {sender} has accepted epoch {accepted_epoch}, beyond {self._epoch}")

    def _try_propose_epoch(self) -> None:
        state = self._state
        if not state.config.is_quorum(self._infos):
            return
        self._epoch = max(self._infos.values()) + 1
        if self._epoch >= MAX_EPOCH:
            if not state.others:
                raise InvariantViolation("there are no epochs left, and nobody to wait for")
            self.outcome = Left("there are no epochs left")
            return
        self._enter(Phase.EPOCH_PROPOSED)
        state.save_epochs(accepted=self._epoch)
        for peer in self._learners:
            state.out.send(peer, LeaderInfo(self._epoch))
        self._promise(state.me)

    def _on_ack_epoch(self, sender: PeerId, message: AckEpoch) -> Complaint:
        learner = self._learners.get(sender)
        if learner is None or learner.stage is not Stage.WAIT_ACKEPOCH or self._phase is Phase.DISCOVERY:
            return "ACKEPOCH out of turn"
        log = LogSummary(message.base, message.epoch_ends)
        complaint = log.complaint()
        if complaint is None and log.last != message.last_zxid:
            complaint = "ACKEPOCH that contradicts itself"
        if complaint is not None:
            return complaint
        learner.log = log
        learner.stage = Stage.WAIT_SYNC
        if self._phase is not Phase.EPOCH_PROPOSED:
            return self._sync(sender, learner)
        if message.current_epoch is not None:
            state = self._state
            if (message.current_epoch, log.last) > (state.current_epoch, state.history.last):
                self.outcome = Left(f"voter {sender} has a newer history")
                return None
            self._promise(sender)
        return None

    def _promise(self, voter: PeerId) -> None:
        """`voter` will accept no older epoch. A quorum of such promises makes this epoch ours."""
        self._promises.add(voter)
        state = self._state
        if self._phase is not Phase.EPOCH_PROPOSED or not state.config.is_quorum(self._promises):
            return
        self._enter(Phase.SYNCHRONIZATION)
        state.save_epochs(current=self._epoch)
        self.serve_from = state.history.last
        for peer, learner in list(self._learners.items()):
            if learner.stage is Stage.WAIT_SYNC and (complaint := self._sync(peer, learner)) is not None:
                state.out.tell(PeerRejected(peer, complaint))
                self._drop(peer)

    # --- synchronisation

    def _sync(self, peer: PeerId, learner: LearnerView) -> Complaint:
        """Choose how to bring `peer` in line, and begin (protocol.md 1.6)."""
        assert learner.log is not None
        out = self._state.out
        plan = plan_sync(self._state.history.summary, learner.log)
        if plan is None:
            return (
                f"its log begins at {format_zxid(learner.log.base)}, which this leader never committed: one of the two "
                "has lost its data"
            )
        if plan.snapshot:
            self._begin_snapshot(peer, learner)
            return None
        out.send(peer, Trunc(plan.point) if plan.cut else Diff(plan.point))
        self._send_history(peer, learner, plan.point)
        return None

    def _begin_snapshot(self, peer: PeerId, learner: LearnerView) -> None:
        learner.stage = Stage.SNAPPING
        learner.snapshot = SnapshotRef(self._state.history.base)
        learner.snapshot_sent = 0
        self._state.out.send(peer, Snap(learner.snapshot.zxid))
        self._send_piece(peer, learner, learner.snapshot)

    def _send_piece(self, peer: PeerId, learner: LearnerView, ref: SnapshotRef) -> None:
        size = self._state.limits.snapshot_chunk_bytes
        data = self._state.history.read_snapshot(ref, learner.snapshot_sent, size)
        self._state.out.send(peer, SnapData(learner.snapshot_sent, data, len(data) < size))
        learner.snapshot_sent += len(data)
        if len(data) < size:
            self._send_history(peer, learner, ref.zxid)

    def _on_snap_ack(self, sender: PeerId, message: SnapAck) -> Complaint:
        """One piece at a time: a learner with a slow disk is not flooded."""
        learner = self._learners.get(sender)
        if learner is None or learner.snapshot is None or message.offset > learner.snapshot_sent:
            return "SNAPACK out of turn"
        if learner.stage is not Stage.SNAPPING or message.offset < learner.snapshot_sent:
            return None
        if learner.snapshot.zxid < self._state.history.base:
            self._begin_snapshot(sender, learner)  # the log that continues it was compacted away meanwhile
        else:
            self._send_piece(sender, learner, learner.snapshot)
        return None

    def _send_history(self, peer: PeerId, learner: LearnerView, point: Zxid) -> None:
        """Everything after `point`, NEWLEADER behind it, and from now on every proposal."""
        state = self._state
        for run in state.history.runs(point, state.history.last, max_bytes=state.limits.read_bytes):
            state.out.send(peer, Proposal(run.first, run.payloads))
        state.out.send(peer, NewLeader(self._epoch))
        learner.synced_to = state.history.last
        learner.stage = Stage.WAIT_ACK
        learner.stalled = 0
        self._forwarding.append(peer)

    def _on_ack(self, sender: PeerId, message: Ack) -> Complaint:
        learner = self._learners.get(sender)
        if learner is not None and learner.stage is Stage.ACTIVE:
            new = counter_of(message.zxid) > 0 and epoch_of(message.zxid) == self._epoch
            if not new or not learner.acked < message.zxid <= self._state.history.last:
                return f"ACK {format_zxid(message.zxid)}, not after {format_zxid(learner.acked)} or never proposed"
            learner.acked = message.zxid
            learner.stalled = 0
            self._advance()
            return None
        if learner is None or learner.stage is not Stage.WAIT_ACK or message.zxid != make_zxid(self._epoch, 0):
            return "ACK out of turn"
        learner.stage = Stage.ACTIVE
        learner.acked = learner.synced_to
        self._heard[sender] = 0
        self._acked_new_leader.add(sender)
        if self.established:
            self._state.out.send(sender, UpToDate(self._state.committed))
            self._advance()
        else:
            self._try_establish()
        return None

    def _try_establish(self) -> None:
        """The history is on a quorum: all of it is committed, and the epoch is in force."""
        state = self._state
        if not state.config.is_quorum(self._acked_new_leader):
            return
        self._enter(Phase.BROADCAST)
        state.committed = max(state.committed, self.serve_from)
        self._committed_sent = state.committed
        state.vote = evolve(state.vote, peer_epoch=self._epoch)
        for peer, learner in self._learners.items():
            if learner.stage is Stage.ACTIVE:
                state.out.send(peer, UpToDate(state.committed))

    # --- broadcast

    @property
    def next_zxid(self) -> Zxid:
        """What the next proposal will have. The first of an epoch has counter 1: (epoch, 0) is in no log."""
        last = self._state.history.last
        return last + 1 if last >> 32 == self._epoch else make_zxid(self._epoch, 1)

    def propose(self, first: Zxid, payloads: tuple[bytes, ...]) -> bool:
        """Log and broadcast, in one step. False where the epoch has no room left: the leader then steps down."""
        if counter_of(first) + len(payloads) - 1 > self._state.limits.last_counter:
            self.outcome = Left(f"epoch {self._epoch} has no zxids left")
            return False
        state = self._state
        state.history.append(first, payloads)
        state.out.write(Append(first, payloads))
        message = Proposal(first, payloads)
        for peer in self._forwarding:
            state.out.early(peer, message)
        return True

    def _advance(self) -> None:
        """Commit what a quorum holds durably, ourselves included only as far as our own disk has it."""
        state = self._state
        acked = {peer: learner.acked for peer, learner in self._learners.items()}
        acked[state.me] = state.history.durable
        agreed = state.config.agreed(acked)
        if agreed > state.committed and agreed > self.serve_from:
            state.committed = agreed

    def _on_ping(self, sender: PeerId, message: Ping) -> Complaint:
        if sender not in self._learners or message.round > self._ping_round:
            return "PING of a stranger, or of a round that never was"
        self._reads.answer(sender, message.round)
        self._tell_reads()
        return None

    def read_index(self, token: Any) -> None:
        """See `Peer.read_index`."""
        self._reads.ask(token)

    def _tell_reads(self) -> None:
        for ready in self._reads.take_ready():
            self._state.out.tell(ready)

    def _ping(self) -> None:
        self._ping_in = self._state.limits.ping_ticks
        self._ping_round += 1
        for peer in self._forwarding:
            self._state.out.early(peer, Ping(self._ping_round))
        self._reads.begin(self._ping_round, self._state.committed)
        self._tell_reads()  # a single voter needs nobody's answer
