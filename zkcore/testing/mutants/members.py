"""Bugs of who counts: observers, weights, and members that have lost what they knew."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from attrs import evolve, frozen

from zkcore.testing.mutants.mutant import Mutant, Real
from zkcore.zab.election import Election
from zkcore.zab.feeding import Feeding
from zkcore.zab.leader import Leader
from zkcore.zab.learner import Learner
from zkcore.zab.learner_view import LearnerView
from zkcore.zab.membership import Membership
from zkcore.zab.messages import AckEpoch, FollowerInfo, LeaderInfo, NewLeader, PeerId, Repaired
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.state import State
from zkcore.zxid import Zxid

__all__ = ["MEMBERS"]


# --- observers and weights --------------------------------------------------------------------------------------------


@frozen
class _ObserversCount(EnsembleConfig):
    """A majority is one of the voters by number, and of all members by who is counted."""

    def is_quorum(self, ids: Container[PeerId]) -> bool:
        return sum(member in ids for member in self.members) > len(self.voters) // 2

    def agreed(self, acked: Mapping[PeerId, Zxid]) -> Zxid:
        return sorted([acked.get(member, 0) for member in self.members], reverse=True)[len(self.voters) // 2]


def _configured(miscount: Callable[[EnsembleConfig], EnsembleConfig]) -> Callable[[Real], Real]:
    def mutate(real: Real) -> Real:
        def init(self: Peer, me: PeerId, config: EnsembleConfig, *arguments: Any) -> None:
            real(self, me, miscount(config), *arguments)

        return init

    return mutate


def _count_observers(config: EnsembleConfig) -> EnsembleConfig:
    if config.groups or config.weights:
        return config
    return _ObserversCount(config.voters, observers=config.observers)


def _no_weights(config: EnsembleConfig) -> EnsembleConfig:
    return EnsembleConfig(config.voters, observers=config.observers)


def _every_learner_counts(real: Real) -> Real:
    def on_follower_info(self: Leader, sender: PeerId, message: FollowerInfo) -> object:
        complaint = real(self, sender, message)
        learner = self._learners.get(sender)
        if learner is not None and learner.observes:
            learner.counts = True
        return complaint

    return on_follower_info


def _everybody_has_a_voice(_: Real) -> Any:
    return property(lambda self: self.damage is None)


def _as_if_all_members_voted(real: Real) -> Real:
    def on_leader_info(self: Learner, sender: PeerId, message: LeaderInfo) -> object:
        everybody = EnsembleConfig(self._state.config.members)
        return real(self, sender, evolve(message, membership=Membership(1, everybody)))

    return on_leader_info


def _observers_fed_at_once(real: Real) -> Real:
    def feed(self: Feeding) -> bool:
        observers = [learner for learner in self._learners.values() if learner.observes]
        for learner in observers:
            learner.observes = False
        fed: bool = real(self)
        for learner in observers:
            learner.observes = True
        return fed

    return feed


# --- members that have lost what they knew ----------------------------------------------------------------------------


def _as_if_whole(real: Real) -> Real:
    def unaware(self: Any, *arguments: Any, **options: Any) -> Any:
        state: State = self._state
        damage, state.damage = state.damage, None
        result = real(self, *arguments, **options)
        state.damage = damage
        return result

    return unaware


def _promise_all_the_same(real: Real) -> Real:
    def on_leader_info(self: Learner, sender: PeerId, message: LeaderInfo) -> object:
        complaint = _as_if_whole(real)(self, sender, message)
        ready = self._state.out._ready
        ready.messages = [
            (to, evolve(each, damage=self._state.damage)) if isinstance(each, AckEpoch) else (to, each)
            for to, each in ready.messages
        ]
        return complaint

    return on_leader_info


def _nobody_to_wait_for(real: Real) -> Real:
    def count_again(self: Leader, peer: PeerId, learner: LearnerView) -> None:
        learner.unheard.clear()
        real(self, peer, learner)

    return count_again


def _a_quorum_is_enough(real: Real) -> Real:
    def count_again(self: Leader, peer: PeerId, learner: LearnerView) -> None:
        config = self._state.config
        if config.is_quorum([voter for voter in config.voters if voter != peer and voter not in learner.unheard]):
            learner.unheard.clear()
        real(self, peer, learner)

    return count_again


def _mended_by_the_history(real: Real) -> Real:
    def on_new_leader(self: Learner, sender: PeerId, message: NewLeader) -> object:
        complaint = real(self, sender, message)
        if complaint is None and self._state.damage is not None:
            self._mend()
        return complaint

    return on_new_leader


def _repaired_again(real: Real) -> Real:
    def on_repaired(self: Learner, sender: PeerId, message: Repaired) -> object:
        return real(self, sender, message) if self._state.damage is not None else None

    return on_repaired


MEMBERS: dict[str, Mutant] = {
    "observers-counted": Mutant(
        "what observers answer counts towards a quorum",
        (
            (Peer, "__init__", _configured(_count_observers)),
            (Leader, "_on_follower_info", _every_learner_counts),
        ),
    ),
    "observers-promise": Mutant(
        "observers promise epochs, and vote for themselves",
        ((State, "counts", _everybody_has_a_voice), (Learner, "_on_leader_info", _as_if_all_members_voted)),
    ),
    "observers-fed-at-once": Mutant(
        "observers are sent records that are not committed",
        ((Feeding, "feed", _observers_fed_at_once),),
    ),
    "weights-ignored": Mutant(
        "every majority is a quorum, whatever weights and groups there are",
        ((Peer, "__init__", _configured(_no_weights)),),
    ),
    "damaged-promises": Mutant(
        "a member that is damaged promises epochs",
        ((Learner, "_on_leader_info", _promise_all_the_same),),
    ),
    "damaged-leads": Mutant(
        "a member that is damaged votes for itself, and leads",
        ((Election, "on_vote", _as_if_whole), (Election, "_begin_round", _as_if_whole)),
    ),
    "forgetful-counted-at-once": Mutant(
        "who has forgotten its promises counts as soon as it has the history",
        ((Leader, "_count_again", _nobody_to_wait_for),),
    ),
    "forgetful-counted-early": Mutant(
        "who has forgotten its promises counts as soon as a quorum of the others was heard",
        ((Leader, "_count_again", _a_quorum_is_enough),),
    ),
    "forgetful-mends-itself": Mutant(
        "who has forgotten its promises gives new ones as soon as it has the history",
        ((Learner, "_on_new_leader", _mended_by_the_history), (Learner, "_on_repaired", _repaired_again)),
    ),
}
