"""How a leader hands over (protocol.md 1.11): to whom, and when.

It takes no more proposals, waits until the successor has acknowledged every one there is and knows all of them to be
committed, and then names it to everybody in HANDOFF. Nothing of discovery and synchronisation is skipped: the successor
must win an epoch like any leader, so a hand-over to the wrong node costs time and nothing else. What is saved is the
election, and the wait until somebody notices that there is no leader.
"""

from __future__ import annotations

from collections.abc import Mapping

from zkcore.errors import BadArgumentsError
from zkcore.zab.learner_view import LearnerView, Stage
from zkcore.zab.messages import HandOff, PeerId, Role, Vote
from zkcore.zab.state import Elected, State

__all__ = ["HandOver", "best_successor", "succeeded_by"]


def _can_succeed(state: State, peer: PeerId, learner: LearnerView | None) -> bool:
    return (
        learner is not None
        and learner.stage is Stage.ACTIVE
        and learner.counts
        and state.config.newest.can_lead(peer)
    )


def best_successor(state: State, learners: Mapping[PeerId, LearnerView]) -> PeerId | None:
    """The learner that lacks least, the lowest number among equals; None where nobody could lead."""
    able = [peer for peer in sorted(learners) if _can_succeed(state, peer, learners[peer])]
    return max(able, key=lambda peer: learners[peer].acked, default=None)


def succeeded_by(state: State, successor: PeerId, why: str) -> Elected:
    """The outcome for everybody who hears of a hand-over: `successor` leads, as if it had been elected."""
    vote = Vote(Role.LEADING, successor, state.history.last, state.current_epoch, state.round)
    return Elected(vote, why)


class HandOver:
    """A hand-over to `target` under way. Raises BadArgumentsError for a target that cannot lead now."""

    def __init__(self, state: State, learners: Mapping[PeerId, LearnerView], target: PeerId) -> None:
        if not _can_succeed(state, target, learners.get(target)):
            raise BadArgumentsError(
                f"server {target} cannot take over: it is no voter that is in line with this leader; see status()"
            )
        self.target = target
        self.announced = False
        """HANDOFF was sent: there is no way back."""
        self.ticks_left = state.limits.transfer_ticks
        self._state = state
        self._learners = learners
        self._told: set[PeerId] = set()

    def on_gone(self, peer: PeerId) -> bool:
        """The link to a learner broke. Whether that is the end of it: for better, where all have gone that were told,
        or for worse, where it was the successor and nobody was told."""
        self._told.discard(peer)
        return not self._told if self.announced else peer == self.target

    def try_announce(self, epoch: int) -> None:
        """Name the successor, if it is ready. Whoever hears of it breaks the link to this leader, which waits for that,
        and for all of them: a link broken from here could lose the news, and who has not heard it elects somebody."""
        if self.announced:
            return
        state, last = self._state, self._state.history.last
        learner = self._learners[self.target]
        if min(state.committed, learner.acked, learner.commit_sent) < last:
            return
        self.announced = True
        members_from = state.memberships.newest.zxid  # who lags behind that may not know who the successor is
        for peer, other in self._learners.items():
            if other.stage is Stage.ACTIVE and other.acked >= members_from:
                self._told.add(peer)
                state.out.send(peer, HandOff(self.target, epoch))

    @property
    def result(self) -> Elected:
        """What the old leader does then: it follows."""
        return succeeded_by(self._state, self.target, f"the leadership was handed over to {self.target}")
