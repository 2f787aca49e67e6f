"""How a leader changes the members (protocol.md 1.10): when it may, and what becomes of its learners.

Two records make a change. The first takes quorums of both configurations, to be committed and for all that comes behind
it; the second, which the leader proposes by itself when the first is committed, takes one of the new alone.

A learner whose place changes goes on in its new place where it is in the broadcast and nothing of its past is in the
way. Else it is sent away, to register anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from zkcore.errors import NewConfigNoQuorumError, ReconfigInProgressError
from zkcore.zab.learner_view import LearnerView, Stage
from zkcore.zab.membership import configuration_record
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig, Transition
from zkcore.zab.state import State

__all__ = ["Changing"]


class Changing:
    """The changes of one leader: `learners` are its own table of them, and `heard` says for how many ticks
    it has not heard those that count."""

    def __init__(self, state: State, learners: Mapping[PeerId, LearnerView], heard: dict[PeerId, int]) -> None:
        self._state = state
        self._learners = learners
        self._heard = heard

    @property
    def is_committed(self) -> bool:
        """Whether what is in force is committed."""
        return self._state.memberships.newest.zxid <= self._state.committed

    def first_record(self, config: EnsembleConfig, note: bytes, epoch: int) -> bytes:
        """The record that begins a change to `config`. Raises ReconfigInProgressError and NewConfigNoQuorumError."""
        old = self._state.config
        if isinstance(old, Transition) or not self.is_committed:
            raise ReconfigInProgressError
        ready = [peer for peer, learner in sorted(self._learners.items()) if self._may_count(learner, epoch)]
        if not config.is_quorum([self._state.me, *ready]):
            raise NewConfigNoQuorumError(
                f"in line with leader {self._state.me} are {ready}, with it no quorum of the new {config}: add those "
                "that are missing as observers first, and wait until they follow"
            )
        return configuration_record(Transition(old, config), note)

    def second_record(self) -> bytes | None:
        """The record that ends the change under way; None where there is none, or it is not committed."""
        newest = self._state.memberships.newest
        if not isinstance(newest.config, Transition) or not self.is_committed:
            return None
        return configuration_record(newest.config.new, newest.note)

    def _may_count(self, learner: LearnerView, epoch: int) -> bool:
        """Whether it is in line, and can acknowledge as a voter: it never accepted a later epoch when it was one, and
        has forgotten nothing."""
        in_line = learner.stage is Stage.ACTIVE and learner.damage is None
        return in_line and learner.accepted <= epoch and (learner.counts or learner.observes)

    def reseat(self, epoch: int) -> list[PeerId]:
        """Other members are in force: give the learners their new places, and return those that must begin anew."""
        voters = self._state.config.voters
        displaced: list[PeerId] = []
        for peer, learner in self._learners.items():
            observes = peer not in voters
            if observes is learner.observes:
                if learner.has_forgotten(peer, self._state.config):
                    learner.counts = False  # one that had no weight may have come to some, and forgotten its promises
                continue
            if not self._may_count(learner, epoch):
                displaced.append(peer)
                continue
            learner.observes, learner.counts = observes, not observes
            if observes:
                self._heard.pop(peer, None)
            else:
                self._heard[peer] = learner.silence
        return displaced
