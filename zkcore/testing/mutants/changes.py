"""Bugs of changing the members: who decides while one set of them is replaced by another."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from zkcore.testing.mutants.mutant import Mutant, Real
from zkcore.zab.changing import Changing
from zkcore.zab.learner_view import FED, LearnerView
from zkcore.zab.membership import Memberships, configuration_record
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig, Transition
from zkcore.zxid import Zxid

__all__ = ["CHANGES"]


def _old_quorum(_: Real) -> Real:
    def is_quorum(self: Transition, ids: Container[PeerId]) -> bool:
        return self.old.is_quorum(ids)

    return is_quorum


def _old_agreed(_: Real) -> Real:
    def agreed(self: Transition, acked: Mapping[PeerId, Zxid]) -> Zxid:
        return self.old.agreed(acked)

    return agreed


def _new_quorum(_: Real) -> Real:
    def is_quorum(self: Transition, ids: Container[PeerId]) -> bool:
        return self.new.is_quorum(ids)

    return is_quorum


def _new_agreed(_: Real) -> Real:
    def agreed(self: Transition, acked: Mapping[PeerId, Zxid]) -> Zxid:
        return self.new.agreed(acked)

    return agreed


def _as_if_committed(_: Real) -> Any:
    return property(lambda self: True)


def _one_after_the_other(_: Real) -> Real:
    def first_record(self: Changing, config: EnsembleConfig, note: bytes, epoch: int) -> bytes:
        return configuration_record(Transition(self._state.config.newest, config), note)

    return first_record


def _counts_as_it_comes(_: Real) -> Real:
    def may_count(self: Changing, learner: LearnerView, epoch: int) -> bool:
        return learner.stage in FED

    return may_count


def _not_undone(_: Real) -> Real:
    return lambda self, zxid: None


CHANGES: dict[str, Mutant] = {
    "change-by-the-old-alone": Mutant(
        "while the members change, the old ones decide alone",
        ((Transition, "is_quorum", _old_quorum), (Transition, "agreed", _old_agreed)),
        "members",
    ),
    "change-by-the-new-alone": Mutant(
        "while the members change, the new ones decide alone",
        ((Transition, "is_quorum", _new_quorum), (Transition, "agreed", _new_agreed)),
        "members",
    ),
    "change-before-commit": Mutant(
        "the new members are in force alone before the change is committed",
        ((Changing, "is_committed", _as_if_committed),),
        "members",
    ),
    "two-changes-at-once": Mutant(
        "a change of the members is proposed while another is under way",
        ((Changing, "first_record", _one_after_the_other),),
        "members",
    ),
    "joiner-counted-early": Mutant(
        "a new voter counts before it is in line",
        ((Changing, "_may_count", _counts_as_it_comes),),
        "members",
    ),
    "change-not-undone": Mutant(
        "a change of the members that was cut off the log stays in force",
        ((Memberships, "on_truncated", _not_undone),),
        "members",
    ),
}
