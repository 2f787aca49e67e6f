"""Bugs of the election, beside those of all that stand in line (lock_bugs.py)."""

from __future__ import annotations

from planting import plant

from zkcore.recipes.contender import Contender
from zkcore.recipes.election import Election
from zkcore.recipes.fence import MemoryTokens
from zkcore.recipes.lease import Lease
from zkcore.recipes.waiting import Watch
from zkcore.testing.mutants.mutant import Real
from zkcore.zxid import Zxid

LEADS = "one_leads_and_in_the_end_everybody_sees_who"
OBEYED = "whoever_led_before_is_not_obeyed_any_more"


def _looks_once(_: Real) -> Real:
    async def look(self: Election, watch: Watch) -> Contender | None:
        return await self.leader()

    return look


def _resigns_in_word_only(_: Real) -> Real:
    async def resign(self: Election) -> None:
        term = self.term
        if term is not None:
            term.end()

    return resign


def _lost_when_told(_: Real) -> Real:
    def is_lost(self: Lease) -> bool:
        return not self._ended and self._port.session.lost.is_set()

    return is_lost


def _any_token_will_do(_: Real) -> Real:
    def raise_to(self: MemoryTokens, token: Zxid) -> Zxid:
        return token

    return raise_to


plant(
    "leader-unwatched",
    "who observes sees the first leader, and nobody who follows",
    (Election, "_look", _looks_once),
    play=LEADS,
    seed=0,
)
plant(
    "resigned-in-word-only",
    "a leader that resigns stays in front of the line",
    (Election, "resign", _resigns_in_word_only),
    play=LEADS,
    seed=0,
)
plant(
    "two-lead-after-a-pause",
    "a leader that was paused believes to lead until somebody tells it otherwise",
    (Lease, "is_lost", _lost_when_told),
    play=LEADS,
    seed=1,
)
plant(
    "past-leader-obeyed",
    "the guard in memory takes old tokens, too",
    (MemoryTokens, "raise_to", _any_token_will_do),
    play=OBEYED,
    seed=2,
)
