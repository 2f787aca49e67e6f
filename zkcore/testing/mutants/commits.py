"""Bugs of broadcast: acknowledgements, commits, delivery, reads and the hand-over of a leadership."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from zkcore.testing.mutants.mutant import Mutant, Real
from zkcore.zab import handover
from zkcore.zab.feeding import Feeding
from zkcore.zab.handover import HandOver
from zkcore.zab.history import History
from zkcore.zab.leader import Leader, Phase
from zkcore.zab.learner import Learner
from zkcore.zab.learner_view import LearnerView, Stage
from zkcore.zab.messages import Ack, Commit, HandOff, NewLeader, PeerId, SyncAck, UpToDate
from zkcore.zab.outstanding import Outstanding
from zkcore.zab.quorum import Configuration, EnsembleConfig
from zkcore.zab.reads import ReadRounds
from zkcore.zab.ready import ReadReady
from zkcore.zab.state import State
from zkcore.zxid import Zxid

__all__ = ["COMMITS"]


# --- acknowledgements -------------------------------------------------------------------------------------------------


def _ack_before_durable(_: Real) -> Real:
    def flush(self: Learner) -> None:
        if self._must_ack:
            self._must_ack = False
            self._state.out.early(self.leader, Ack(self._state.history.last))

    return flush


def _durable_at_once(real: Real) -> Real:
    def append(self: History, first: Zxid, payloads: tuple[bytes, ...]) -> int:
        size: int = real(self, first, payloads)
        self.durable = self.last
        return size

    return append


def _own_record_counts_at_once(real: Real) -> Real:
    def propose(self: Leader, first: Zxid, payloads: tuple[bytes, ...]) -> None:
        real(self, first, payloads)
        history = self._state.history
        durable, history.durable = history.durable, history.last
        self._advance()
        history.durable = durable

    return propose


def _sync_acks_counted(real: Real) -> Real:
    def on_sync_ack(self: Leader, sender: PeerId, message: SyncAck) -> object:
        complaint = real(self, sender, message)
        state = self._state
        acked = {peer: learner.acked for peer, learner in self._learners.items() if learner.counts}
        agreed = state.config.agreed({**acked, state.me: state.history.durable})
        state.committed = max(state.committed, agreed)
        return complaint

    return on_sync_ack


# --- commits ----------------------------------------------------------------------------------------------------------


def _commit_without_quorum(_: Real) -> Real:
    def agreed(self: EnsembleConfig, acked: Mapping[PeerId, Zxid]) -> Zxid:
        return max(acked.values())

    return agreed


def _established_alone(real: Real) -> Real:
    def try_establish(self: Leader) -> None:
        self._acked_new_leader.update(self._state.config.voters)
        real(self)

    return try_establish


def _never_full(_: Real) -> Real:
    return property(lambda self: False)  # type: ignore[return-value]


def _never_forgotten(_: Real) -> Real:
    return lambda self, zxid: None


def _commit_to_all(_: Real) -> Real:
    def send_commits(self: Feeding) -> None:
        committed = self._state.committed
        for peer, learner in self._learners.items():
            if learner.commit_sent < committed and learner.stage in (Stage.ACTIVE, Stage.WAIT_ACK):
                learner.commit_sent = committed
                self._state.out.early(peer, Commit(committed))

    return send_commits


def _up_to_what_was_sent(_: Real) -> Real:
    def tell_up_to_date(self: Leader, peer: PeerId, learner: LearnerView) -> None:
        learner.commit_sent = learner.sent
        self._state.out.send(peer, UpToDate(learner.sent))

    return tell_up_to_date


def _committed_when_saved(real: Real) -> Real:
    def on_new_leader(self: Learner, sender: PeerId, message: NewLeader) -> object:
        complaint = real(self, sender, message)
        if complaint is None:
            self._state.committed = max(self._state.committed, self._state.history.last)
        return complaint

    return on_new_leader


# --- reads ------------------------------------------------------------------------------------------------------------


def _read_unconfirmed(_: Real) -> Real:
    def take_ready(self: ReadRounds, config: Configuration) -> list[ReadReady]:
        ready = [ReadReady(token, done.committed) for done in self._under_way for token in done.tokens]
        self._under_way.clear()
        return ready

    return take_ready


def _old_pings_count(real: Real) -> Real:
    def begin(self: ReadRounds, number: int, committed: Zxid) -> None:
        asked = bool(self._asked)
        real(self, number, committed)
        if asked:
            self._under_way.append(self._under_way.pop()._replace(number=number - 1))

    return begin


def _joins_the_round(real: Real) -> Real:
    def ask(self: ReadRounds, token: Any) -> None:
        if self._under_way:
            self._under_way[-1].tokens.append(token)
        else:
            real(self, token)

    return ask


def _questions_forgotten(real: Real) -> Real:
    def drop(self: ReadRounds) -> list[Any]:
        real(self)
        return []

    return drop


# --- handing over -----------------------------------------------------------------------------------------------------


def _announced_at_once(_: Real) -> Real:
    def try_announce(self: HandOver, epoch: int) -> None:
        if not self.announced:
            self.announced = True
            for peer, learner in self._learners.items():
                if learner.stage is Stage.ACTIVE:
                    self._state.out.send(peer, HandOff(self.target, epoch))

    return try_announce


def _anybody_can_succeed(_: Real) -> Real:
    def can_succeed(state: State, peer: PeerId, learner: LearnerView | None) -> bool:
        return learner is not None

    return can_succeed


_heirs: WeakSet[State] = WeakSet()
"""Nodes that were named in HANDOFF, and have not begun to lead."""


def _inherit(real: Real) -> Real:
    def on_hand_off(self: Learner, sender: PeerId, message: HandOff) -> object:
        complaint = real(self, sender, message)
        if complaint is None and message.leader == self._state.me:
            _heirs.add(self._state)
        return complaint

    return on_hand_off


def _epoch_inherited(real: Real) -> Real:
    def try_propose_epoch(self: Leader) -> None:
        if self._state not in _heirs:
            real(self)
            return
        _heirs.discard(self._state)
        self._epoch = self._state.current_epoch
        self.serve_from = self._state.history.last
        self._enter(Phase.SYNCHRONIZATION)
        self._acked_new_leader.add(self._state.me)

    return try_propose_epoch


COMMITS: dict[str, Mutant] = {
    "ack-before-durable": Mutant(
        "a follower acknowledges proposals before they are on its disk",
        ((Learner, "flush", _ack_before_durable),),
    ),
    "deliver-before-durable": Mutant(
        "records count as durable as soon as they are handed to the disk (ZOOKEEPER-4882)",
        ((History, "append", _durable_at_once),),
    ),
    "own-record-counts-at-once": Mutant(
        "a leader counts itself for a record that is not on its disk yet",
        ((Leader, "propose", _own_record_counts_at_once),),
    ),
    "sync-acks-counted": Mutant(
        "records of an older epoch are committed by counting who has them, before the new epoch is in force",
        ((Leader, "_on_sync_ack", _sync_acks_counted),),
    ),
    "commit-without-quorum": Mutant(
        "the leader commits what one member holds",
        ((EnsembleConfig, "agreed", _commit_without_quorum),),
    ),
    "established-alone": Mutant(
        "a leader begins to serve before a quorum holds its history",
        ((Leader, "_try_establish", _established_alone),),
    ),
    "never-full": Mutant(
        "a leader takes proposals without a limit",
        ((Outstanding, "is_full", _never_full),),
    ),
    "full-for-ever": Mutant(
        "what is committed still counts as outstanding",
        ((Outstanding, "on_committed", _never_forgotten),),
    ),
    "commit-beyond-sent": Mutant(
        "COMMIT names what a follower was not sent",
        ((Feeding, "send_commits", _commit_to_all),),
    ),
    "uptodate-uncommitted": Mutant(
        "UPTODATE names all that a follower was sent, committed or not",
        ((Leader, "_tell_up_to_date", _up_to_what_was_sent),),
    ),
    "committed-when-saved": Mutant(
        "a follower takes for committed what a leader that is not established has sent it",
        ((Learner, "_on_new_leader", _committed_when_saved),),
    ),
    "read-unconfirmed": Mutant(
        "a leader answers a linearizable read without asking whether it still leads",
        ((ReadRounds, "take_ready", _read_unconfirmed),),
    ),
    "read-counts-old-pings": Mutant(
        "a read is confirmed by answers to what was asked before it",
        ((ReadRounds, "begin", _old_pings_count),),
    ),
    "read-joins-a-round": Mutant(
        "a read joins a round that is under way, and is answered as of its beginning",
        ((ReadRounds, "ask", _joins_the_round),),
    ),
    "reads-forgotten": Mutant(
        "reads under way are not answered when the leadership ends",
        ((ReadRounds, "drop", _questions_forgotten),),
    ),
    "handover-too-early": Mutant(
        "a leader names its successor before everything is committed, or the successor has it",
        ((HandOver, "try_announce", _announced_at_once),),
    ),
    "handover-to-anybody": Mutant(
        "a leader hands over to whoever it is asked to",
        ((handover, "_can_succeed", _anybody_can_succeed),),
    ),
    "handover-keeps-the-epoch": Mutant(
        "a successor goes on with the epoch of the leader before",
        ((Learner, "_on_hand_off", _inherit), (Leader, "_try_propose_epoch", _epoch_inherited)),
    ),
}
