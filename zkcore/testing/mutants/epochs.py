"""Bugs of elections and epochs: promises that do not hold, and leaders that should not be."""

from __future__ import annotations

from attrs import evolve

from zkcore.testing.mutants.mutant import Mutant, Real, sends_early
from zkcore.zab import election
from zkcore.zab.leader import Leader
from zkcore.zab.learner import Learner
from zkcore.zab.messages import AckEpoch, LeaderInfo, PeerId, Vote
from zkcore.zab.state import Outbox, State

__all__ = ["EPOCHS"]


# --- promises ---------------------------------------------------------------------------------------------------------


def _epoch_not_durable(real: Real) -> Real:
    def save_epochs(self: State, *, accepted: int | None = None, current: int | None = None) -> None:
        if current is None and accepted is not None:
            self.accepted_epoch = accepted
        else:
            real(self, accepted=accepted, current=current)

    return save_epochs


def _own_epoch_not_durable(real: Real) -> Real:
    def try_propose_epoch(self: Leader) -> None:
        writes = self._state.out._ready.writes
        before = len(writes)
        real(self)
        del writes[before : before + 1]

    return try_propose_epoch


def _promise_again(real: Real) -> Real:
    def on_leader_info(self: Learner, sender: PeerId, message: LeaderInfo) -> object:
        if message.epoch == self._state.accepted_epoch > self._state.current_epoch:
            self._state.accepted_epoch -= 1
        return real(self, sender, message)

    return on_leader_info


def _every_answer_counts(real: Real) -> Real:
    def on_ack_epoch(self: Leader, sender: PeerId, message: AckEpoch) -> object:
        if message.current_epoch is None and message.damage is None and self._state.config.can_lead(sender):
            message = evolve(message, current_epoch=0)
        return real(self, sender, message)

    return on_ack_epoch


# --- who has the newest history ---------------------------------------------------------------------------------------


def _elect_anybody(_: Real) -> Real:
    def rank(vote: Vote) -> tuple[int, int]:
        return (vote.leader + vote.round) % 5, vote.leader

    return rank


def _elect_by_zxid(_: Real) -> Real:
    def rank(vote: Vote) -> tuple[int, int]:
        return vote.zxid, vote.leader

    return rank


def _recency_unchecked(real: Real) -> Real:
    def on_ack_epoch(self: Leader, sender: PeerId, message: AckEpoch) -> object:
        promised = message.current_epoch is not None
        return real(self, sender, evolve(message, current_epoch=0) if promised else message)

    return on_ack_epoch


def _recency_by_zxid(real: Real) -> Real:
    def on_ack_epoch(self: Leader, sender: PeerId, message: AckEpoch) -> object:
        promised = message.current_epoch is not None
        return real(self, sender, evolve(message, current_epoch=self._state.current_epoch) if promised else message)

    return on_ack_epoch


# --- when a leader must go, and what it leaves behind -----------------------------------------------------------------


def _no_quorum_check(real: Real) -> Real:
    def tick(self: Leader, ticks: int) -> None:
        real(self, ticks)
        if self.established:
            self.outcome = None

    return tick


def _lost_learner_kept(_: Real) -> Real:
    def on_lost(self: Leader, peer: PeerId) -> None:
        pass

    return on_lost


def _writes_dropped(real: Real) -> Real:
    def drop_messages(self: Outbox) -> None:
        real(self)
        self._ready.writes.clear()

    return drop_messages


def _closed_link_heard(_: Real) -> Real:
    def is_closing(self: Outbox, peer: PeerId) -> bool:
        return False

    return is_closing


EPOCHS: dict[str, Mutant] = {
    "epoch-not-durable": Mutant(
        "a promised epoch is kept in memory only (ZOOKEEPER-335)",
        ((State, "save_epochs", _epoch_not_durable),),
    ),
    "own-epoch-not-durable": Mutant(
        "a leader proposes its epoch without having saved that it accepts it itself (ZOOKEEPER-1081)",
        ((Leader, "_try_propose_epoch", _own_epoch_not_durable),),
    ),
    "promise-before-durable": Mutant(
        "a follower promises an epoch before the promise is on its disk",
        ((Learner, "_on_leader_info", sends_early(AckEpoch)),),
    ),
    "promise-given-again": Mutant(
        "a follower promises an epoch that it has promised before",
        ((Learner, "_on_leader_info", _promise_again),),
    ),
    "every-answer-counts": Mutant(
        "a leader counts as a promise what a follower answers that has none to give",
        ((Leader, "_on_ack_epoch", _every_answer_counts),),
    ),
    "recency-unchecked": Mutant(
        "the election picks anybody, which is legal, and a leader goes on although a follower has a newer history",
        ((election, "_rank", _elect_anybody), (Leader, "_on_ack_epoch", _recency_unchecked)),
    ),
    "recency-by-zxid": Mutant(
        "histories are compared by their last zxid, whatever epoch was current",
        ((election, "_rank", _elect_by_zxid), (Leader, "_on_ack_epoch", _recency_by_zxid)),
    ),
    "stale-leader-serves": Mutant(
        "a leader does not step down when no quorum is heard",
        ((Leader, "tick", _no_quorum_check),),
    ),
    "lost-learner-kept": Mutant(
        "a leader goes on with a conversation whose link is gone",
        ((Leader, "on_lost", _lost_learner_kept),),
    ),
    "writes-dropped": Mutant(
        "what a role was writing is dropped when it ends, and memory keeps it",
        ((Outbox, "drop_messages", _writes_dropped),),
    ),
    "closed-link-heard": Mutant(
        "messages of a conversation are heard after its end",
        ((Outbox, "is_closing", _closed_link_heard),),
    ),
}
