"""The role of a leader: win an epoch, bring the learners in line, then propose, count and commit.

::

    DISCOVERY --quorum of FOLLOWERINFO--> EPOCH_PROPOSED --quorum of ACKEPOCH--> SYNCHRONIZATION
              --quorum of ACK(NEWLEADER)--> BROADCAST

An epoch belongs to one leader because a quorum promises it, each member once, and epochs promised only grow. Its
history holds everything committed before because one of those who promised holds it, and a leader gives up on meeting
a follower whose log is newer than its own (protocol.md 1.5).

Each learner passes through stages of its own, one conversation for each link (learner_view.py). What it is sent, and
when, is decided in feeding.py; whether what it answers counts, here. Observers count for nothing, nor does a voter that
has forgotten what it promised, until every other voter was heard in this epoch (protocol.md 1.14).

A leader can hand over: it stops taking proposals, waits until the successor has everything, and names it to all
(protocol.md 1.11).

Who a quorum is, it takes from its own log and from nowhere else, as of now: while one set of members is replaced by
another it needs both, and once that is committed it ends the change itself (protocol.md 1.10).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from attrs import evolve

from zkcore.errors import BadArgumentsError, InvariantViolation
from zkcore.zab.changing import Changing
from zkcore.zab.feeding import Feeding
from zkcore.zab.forgetful import Forgetful
from zkcore.zab.handover import HandOver, best_successor
from zkcore.zab.learner_view import LearnerView, Stage
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    FollowerInfo,
    LeaderInfo,
    PeerId,
    Ping,
    Role,
    SnapAck,
    SyncAck,
    UpToDate,
    Vote,
)
from zkcore.zab.outstanding import Outstanding
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.reads import ReadRounds
from zkcore.zab.ready import PeerRejected, ReadDropped, TransferFailed
from zkcore.zab.state import MAX_EPOCH_JUMP, Complaint, Left, Outcome, State
from zkcore.zab.status import LearnerStatus
from zkcore.zxid import MAX_COUNTER, MAX_EPOCH, Zxid, counter_of, epoch_of, format_zxid, make_zxid

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
        self._feeding = Feeding(state, self._learners)
        self._outstanding = Outstanding(limits)
        self._hand_over: HandOver | None = None
        self._heard: dict[PeerId, int] = {}  # voters that were ever ACTIVE -> ticks since they were heard
        self._changing = Changing(state, self._learners, self._heard)
        self._forgetful = Forgetful(state, self._learners, self._changing)
        self._attempts: dict[PeerId, int] = {}
        self._gone: set[PeerId] = set()
        self._ping_in = limits.ping_ticks
        self._ping_round = 0
        self._reads = ReadRounds(state.me)
        self.handlers: dict[type, Callable[[PeerId, Any], Complaint]] = {
            Ack: self._on_ack,
            Ping: self._on_ping,
            FollowerInfo: self._on_follower_info,
            AckEpoch: self._on_ack_epoch,
            SnapAck: self._on_snap_ack,
            SyncAck: self._on_sync_ack,
        }
        self._try_propose_epoch()

    @property
    def established(self) -> bool:
        return self._phase is Phase.BROADCAST

    @property
    def phase(self) -> str:
        return self._phase.name

    @property
    def agreed(self) -> tuple[PeerId, ...]:
        """Who has done their part in this phase."""
        done = {
            Phase.DISCOVERY: self._infos,
            Phase.EPOCH_PROPOSED: self._promises,
            Phase.SYNCHRONIZATION: self._acked_new_leader,
            Phase.BROADCAST: {self._state.me, *self._heard},
        }
        return tuple(sorted(done[self._phase]))

    @property
    def handing_over_to(self) -> PeerId | None:
        return self._hand_over.target if self._hand_over is not None else None

    def leads(self, peer: PeerId) -> bool:
        """Whether `peer` has registered here."""
        return peer in self._learners

    def learner_statuses(self) -> tuple[LearnerStatus, ...]:
        history = self._state.history
        return tuple(
            LearnerStatus(
                peer, learner.stage.name, learner.counts, learner.damage, learner.acked,
                history.count_after(learner.acked), learner.silence,
            )
            for peer, learner in sorted(self._learners.items())
        )  # fmt: skip

    # --- inputs that are not messages

    def tick(self, ticks: int) -> None:
        self._tick_learners(ticks)
        self._feeding.tick(ticks)
        self._ping_in -= ticks
        if self._ping_in <= 0:
            self._ping()
        if self.established:
            limit = self._state.limits.sync_limit_ticks
            live = [peer for peer, age in self._heard.items() if age <= limit]
            if not self._state.config.is_quorum([self._state.me, *live]):
                self.outcome = Left(f"no quorum was heard for {limit} ticks")
            self._tick_hand_over(ticks)
        else:
            self._waited += ticks
            if self._waited > self._state.limits.init_limit_ticks:
                self.outcome = Left(f"no quorum in {self._phase.name} within {self._waited} ticks")

    def _tick_learners(self, ticks: int) -> None:
        limits = self._state.limits
        for peer in self._heard:
            self._heard[peer] += ticks
        for peer, learner in list(self._learners.items()):
            learner.silence += ticks
            active = learner.stage is Stage.ACTIVE
            learner.stalled = learner.stalled + ticks if active and learner.acked < learner.sent else 0
            patience = limits.sync_limit_ticks if active else limits.init_limit_ticks + limits.sync_limit_ticks
            if learner.silence > patience or learner.stalled > limits.sync_limit_ticks:
                self._drop(peer)

    @property
    def needed_from(self) -> Zxid | None:
        """See Feeding."""
        return self._feeding.needed_from

    @property
    def ticks_until_due(self) -> int:
        if self._feeding.is_due:
            return 1
        limits = self._state.limits
        due = self._ping_in
        if not self.established:
            due = min(due, limits.init_limit_ticks + 1 - self._waited)
        if self._hand_over is not None:
            due = min(due, self._hand_over.ticks_left)
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
        """A voter has begun another election, or found another leader in it. When too many have, do not wait for them
        (ZOOKEEPER-3109)."""
        elsewhere = vote.state is Role.LOOKING or vote.leader != self._state.me
        if self.established or not elsewhere or vote.round <= self._round:
            return
        self._gone.add(sender)
        config = self._state.config
        if not config.is_quorum([voter for voter in config.voters if voter not in self._gone]):
            self.outcome = Left("the voters are electing somebody else")

    def flush(self) -> None:
        """Send what this batch has brought: proposals first, then what of them is committed, then the hand-over."""
        fed = self._feeding.feed()
        if self.established:
            if fed:
                self._feeding.send_commits()
            if self._hand_over is not None:
                self._hand_over.try_announce(self._epoch)
            elif self._is_epoch_full:
                self._leave_full_epoch()
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
            if learner.stage is Stage.ACTIVE and learner.counts:
                self._heard[sender] = 0
        return None

    def _drop(self, peer: PeerId) -> None:
        self._forget(peer)
        self._state.out.close(peer)

    def _forget(self, peer: PeerId) -> None:
        self._learners.pop(peer, None)
        self._infos.pop(peer, None)
        self._acked_new_leader.discard(peer)
        if self._hand_over is not None and self._hand_over.on_gone(peer):
            self._end_hand_over(self._hand_over, "its link broke")

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
        observes = sender not in self._state.config.voters
        self._learners[sender] = LearnerView(observes, not observes, message.accepted_epoch)
        if self._phase is Phase.DISCOVERY:
            if not observes:
                self._infos[sender] = message.accepted_epoch
            self._try_propose_epoch()
            return None
        if message.accepted_epoch > self._epoch and not observes:
            self._count_attempt(sender, message.accepted_epoch)
        self._state.out.send(sender, LeaderInfo(self._epoch, self._state.membership))
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
            state.out.send(peer, LeaderInfo(self._epoch, state.membership))
        self._promise(state.me)

    def _on_ack_epoch(self, sender: PeerId, message: AckEpoch) -> Complaint:
        learner = self._learners.get(sender)
        if learner is None or learner.stage is not Stage.WAIT_ACKEPOCH or self._phase is Phase.DISCOVERY:
            return "ACKEPOCH out of turn"
        complaint = learner.on_ack_epoch(message)
        if complaint is not None:
            return complaint
        learner.counts = learner.counts and not learner.has_forgotten(sender, self._state.config)
        learner.stage = Stage.WAIT_SYNC
        if self.established or (self._phase is Phase.SYNCHRONIZATION and not learner.observes):
            return self._feeding.begin(sender, learner)
        if self._phase is Phase.EPOCH_PROPOSED and learner.counts and message.current_epoch is not None:
            state = self._state
            if (message.current_epoch, message.last_zxid) > (state.current_epoch, state.history.last):
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
        self._begin_waiting(observing=False)

    # --- synchronisation

    def _begin_waiting(self, *, observing: bool) -> None:
        """Begin with those learners that came early."""
        for peer, learner in list(self._learners.items()):
            if learner.stage is Stage.WAIT_SYNC and learner.observes is observing:
                complaint = self._feeding.begin(peer, learner)
                if complaint is not None:
                    self._state.out.tell(PeerRejected(peer, complaint))
                    self._drop(peer)

    def _on_snap_ack(self, sender: PeerId, message: SnapAck) -> Complaint:
        learner = self._learners.get(sender)
        return "SNAPACK out of turn" if learner is None else self._feeding.on_snap_ack(sender, learner, message.offset)

    def _on_sync_ack(self, sender: PeerId, message: SyncAck) -> Complaint:
        learner = self._learners.get(sender)
        if learner is None or learner.stage not in (Stage.CATCHING_UP, Stage.WAIT_ACK):
            return "SYNCACK out of turn"
        if not learner.acked < message.zxid <= learner.sent:
            return f"SYNCACK {format_zxid(message.zxid)}, not after {format_zxid(learner.acked)} or never sent"
        self._feeding.on_acked(learner, message.zxid)
        return None

    def _on_ack(self, sender: PeerId, message: Ack) -> Complaint:
        learner = self._learners.get(sender)
        if learner is not None and learner.stage is Stage.ACTIVE:
            new = counter_of(message.zxid) > 0 and learner.acked < message.zxid <= learner.sent
            if not new or epoch_of(message.zxid) != self._epoch:
                return f"ACK {format_zxid(message.zxid)}, not after {format_zxid(learner.acked)} or never proposed"
            self._feeding.on_acked(learner, message.zxid)
            self._advance()
            return None
        if learner is None or learner.stage is not Stage.WAIT_ACK or message.zxid != make_zxid(self._epoch, 0):
            return "ACK out of turn"
        learner.stage = Stage.ACTIVE
        self._feeding.on_acked(learner, max(learner.acked, learner.synced_to))
        if learner.counts:
            self._heard[sender] = 0
            self._acked_new_leader.add(sender)
        if learner.counts or learner.observes:
            self._forgetful.make_whole(sender, learner)  # who gives no promises has forgotten none
        else:
            self._wait_for_all_others(sender, learner)
        if self.established:
            self._tell_up_to_date(sender, learner)
            self._advance()
        else:
            self._try_establish()
        return None

    def _tell_up_to_date(self, peer: PeerId, learner: LearnerView) -> None:
        learner.commit_sent = min(self._state.committed, learner.sent)
        self._state.out.send(peer, UpToDate(learner.commit_sent))

    def _try_establish(self) -> None:
        """The history is on a quorum: all of it is committed, and the epoch is in force."""
        state = self._state
        if not state.config.is_quorum(self._acked_new_leader):
            return
        self._enter(Phase.BROADCAST)
        state.committed = max(state.committed, self.serve_from)
        state.vote = evolve(state.vote, peer_epoch=self._epoch)
        for peer, learner in self._learners.items():
            if learner.stage is Stage.ACTIVE:
                self._tell_up_to_date(peer, learner)
        self._begin_waiting(observing=True)

    # --- a voter that forgot its promises

    def _wait_for_all_others(self, peer: PeerId, learner: LearnerView) -> None:
        self._forgetful.wait(peer, learner, round_=self._ping_round + 1)
        self._ping_in = 1
        self._count_again(peer, learner)

    def _count_again(self, peer: PeerId, learner: LearnerView) -> None:
        if self._forgetful.waits(learner):
            return
        learner.counts = True
        self._forgetful.make_whole(peer, learner)
        self._heard[peer] = 0
        self._acked_new_leader.add(peer)
        if self.established:
            self._advance()
        else:
            self._try_establish()

    # --- broadcast

    @property
    def next_zxid(self) -> Zxid | None:
        """What the next proposal will have; None while a successor takes over. The first of an epoch has counter 1:
        (epoch, 0) is in no log."""
        if self._hand_over is not None:
            return None
        last = self._state.history.last
        return last + 1 if last >> 32 == self._epoch else make_zxid(self._epoch, 1)

    @property
    def is_full(self) -> bool:
        """See `Peer.is_full`."""
        return self._outstanding.is_full

    def propose(self, first: Zxid, payloads: tuple[bytes, ...]) -> None:
        """Log; `flush` broadcasts it in the same Ready, so nobody who joins in between misses it or gets it twice."""
        if counter_of(first) + len(payloads) - 1 > MAX_COUNTER:
            raise BadArgumentsError(f"{len(payloads)} proposals are more than epoch {self._epoch} has zxids left")
        state = self._state
        size = state.append(first, payloads)
        self._outstanding.on_proposed(state.history.last, len(payloads), size)

    def _advance(self) -> None:
        """Commit what a quorum holds durably, ourselves included only as far as our own disk has it."""
        state = self._state
        acked = {
            peer: learner.acked
            for peer, learner in self._learners.items()
            if learner.counts and learner.stage is Stage.ACTIVE
        }
        acked[state.me] = state.history.durable
        agreed = state.config.agreed(acked)
        if agreed > state.committed and agreed > self.serve_from:
            was_committed = self._changing.is_committed
            state.committed = agreed
            self._outstanding.on_committed(agreed)
            if not was_committed and self._changing.is_committed:
                self._wait_anew()

    def _on_ping(self, sender: PeerId, message: Ping) -> Complaint:
        learner = self._learners.get(sender)
        if learner is None or message.round > self._ping_round:
            return "PING of a stranger, or of a round that never was"
        if learner.stage is Stage.ACTIVE:
            for peer, waiting in self._forgetful.on_ping(sender, message.round):
                self._count_again(peer, waiting)
        if learner.counts:
            self._reads.answer(sender, message.round)
            self._tell_reads()
        return None

    def read_index(self, token: Any) -> None:
        """See `Peer.read_index`."""
        self._reads.ask(token)

    def _tell_reads(self) -> None:
        for ready in self._reads.take_ready(self._state.config):
            self._state.out.tell(ready)

    def _ping(self) -> None:
        self._ping_in = self._state.limits.ping_ticks
        self._ping_round += 1
        message = Ping(self._ping_round)
        for peer, learner in self._learners.items():
            if learner.stage is Stage.ACTIVE or learner.stage is Stage.WAIT_ACK:
                self._state.out.early(peer, message)
        self._reads.begin(self._ping_round, self._state.committed)
        self._tell_reads()  # a single voter needs nobody's answer

    # --- other members

    def reconfigure(self, first: Zxid, config: EnsembleConfig, note: bytes) -> None:
        """See `Peer.reconfigure`."""
        self._change_members(first, self._changing.first_record(config, note, self._epoch))

    def try_end_change(self) -> None:
        """Once both have committed that, the new members are in force alone. Only who votes among them may say so,
        since nobody else gets to know it before that is committed, too; another leader makes way."""
        first, record = self.next_zxid, self._changing.second_record()
        if first is None or record is None:
            return
        if self._state.config.newest.can_lead(self._state.me):
            self._change_members(first, record)
        elif best_successor(self._state, self._learners) is not None:
            self.transfer(None)

    def _change_members(self, first: Zxid, record: bytes) -> None:
        self.propose(first, (record,))
        for peer in self._changing.reseat(self._epoch):
            self._drop(peer)

    def _wait_anew(self) -> None:
        """The newest configuration is committed: whom must those be heard by, who have forgotten their promises?"""
        for peer, learner in self._learners.items():
            if learner.stage is Stage.ACTIVE and not (learner.counts or learner.observes):
                self._wait_for_all_others(peer, learner)

    # --- handing over

    def transfer(self, target: PeerId | None) -> None:
        """See `Peer.transfer`."""
        target = best_successor(self._state, self._learners) if target is None else target
        if target is None:
            raise BadArgumentsError("there is nobody who could take over; see status()")
        if self._hand_over is None:
            self._hand_over = HandOver(self._state, self._learners, target)
        elif self._hand_over.target != target:
            raise BadArgumentsError(f"server {self._hand_over.target} is just taking over")

    @property
    def _is_epoch_full(self) -> bool:
        last = self._state.history.last
        return epoch_of(last) == self._epoch and counter_of(last) >= self._state.limits.last_counter

    def _leave_full_epoch(self) -> None:
        """The counter is near its end: another leader, or this one in another election, begins to count anew."""
        if best_successor(self._state, self._learners) is None:
            self.outcome = Left(f"epoch {self._epoch} has no zxids left")
        else:
            self.transfer(None)

    def _tick_hand_over(self, ticks: int) -> None:
        hand_over = self._hand_over
        if hand_over is not None:
            hand_over.ticks_left -= ticks
            if hand_over.ticks_left <= 0:
                self._end_hand_over(hand_over, "it was not ready in time")

    def _end_hand_over(self, hand_over: HandOver, why: str) -> None:
        if hand_over.announced:
            self.outcome = hand_over.result
        elif self._is_epoch_full:
            self.outcome = Left(f"epoch {self._epoch} has no zxids left")
        else:
            self._hand_over = None
            self._state.out.tell(TransferFailed(hand_over.target, why))
