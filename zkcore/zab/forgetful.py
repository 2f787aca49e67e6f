"""Voters that have forgotten what they promised, with a leader: when they are whole again (protocol.md 1.14).

What one has forgotten it promised to another voter, for an epoch which that voter itself had accepted before. So once
every other voter was seen to follow this epoch, no forgotten promise is for a later one. Who gives no promises, an
observer or a voter of weight 0, has forgotten none. Which of the two a learner is, the leader's log says, and not its
own: who the members are may be news to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zkcore.zab.changing import Changing
from zkcore.zab.learner_view import LearnerView
from zkcore.zab.messages import Damage, PeerId, Repaired
from zkcore.zab.state import State

__all__ = ["Forgetful"]


class Forgetful:
    """Those among `learners`, the leader's own table."""

    def __init__(self, state: State, learners: Mapping[PeerId, LearnerView], changing: Changing) -> None:
        self._state = state
        self._learners = learners
        self._changing = changing

    def wait(self, peer: PeerId, learner: LearnerView, *, round_: int) -> None:
        """`peer` has accepted the epoch. All others must answer a ping of `round_` or later."""
        config, me = self._state.config, self._state.me
        learner.unheard = {voter for voter in config.voters if voter not in (peer, me) and config.can_lead(voter)}
        learner.unheard_round = round_

    def on_ping(self, sender: PeerId, answered: int) -> Iterator[tuple[PeerId, LearnerView]]:
        """`sender` follows this epoch, and has answered that round of pings: those that waited for it."""
        for peer, learner in self._learners.items():
            if sender in learner.unheard and answered >= learner.unheard_round:
                learner.unheard.discard(sender)
                yield peer, learner

    def waits(self, learner: LearnerView) -> bool:
        """Whether it does not count yet. What it has forgotten it may have promised to a voter of the configuration
        before, as long as that can still decide."""
        return bool(learner.unheard) or not self._changing.is_committed

    def make_whole(self, peer: PeerId, learner: LearnerView) -> None:
        """`peer` has the epoch and its history, and nothing that it has forgotten matters: tell it."""
        if learner.damage is Damage.EPOCHS:
            self._state.out.send(peer, Repaired(self._state.current_epoch))
        learner.damage = None
