"""Every planted bug is found; and by the state it leads to, not only by the rule it breaks.

A bug is looked for from a seed on that found it when this was written. A change of the core or of the simulator moves
such seeds, so it may take a few more to find it; where it takes too many, `python -m zkcore sim mutants --mutant NAME`
says whether it is still found at all, and how soon.
"""

from __future__ import annotations

import pytest

from zkcore.cli.sim import PROGRAMS
from zkcore.testing.checkers import Violation
from zkcore.testing.mutants import MUTANTS, patched, planted
from zkcore.testing.world import simulate
from zkcore.zab import election
from zkcore.zab.learner import Learner
from zkcore.zab.messages import Vote

SEEN = {
    "ack-before-durable": 2, "answers-whoever-waits": 10, "attached-at-once": 39,
    "change-before-commit": 0, "change-by-the-new-alone": 0, "change-by-the-old-alone": 0, "change-not-undone": 26,
    "closed-link-heard": 8,
    "commit-beyond-sent": 17, "commit-without-quorum": 2, "committed-when-saved": 1, "compacted-too-far": 8,
    "compacted-under-a-reader": 8, "current-epoch-before-history": 7, "current-epoch-from-the-start": 0,
    "damaged-leads": 543, "damaged-promises": 7, "deliver-before-durable": 4, "duplicate-proposal-accepted": 2,
    "end-told-too-early": 66, "ephemerals-left": 27, "epoch-not-durable": 2, "established-alone": 0,
    "every-answer-counts": 9, "forgetful-counted-at-once": 62, "forgetful-counted-early": 62,
    "forgetful-mends-itself": 62, "forward-when-acked": 4, "forwarded-twice": 2, "full-for-ever": 0,
    "handover-keeps-the-epoch": 2, "handover-to-anybody": 21, "handover-too-early": 2, "index-not-waited-for": 52,
    "interrupted-sync-carried-on": 70, "joiner-counted-early": 2, "laggard-skipped": 0, "lost-learner-kept": 0,
    "moved-accepted": 65,
    "never-full": 0, "newleader-acked-early": 2, "newleader-first": 0, "observers-counted": 169,
    "observers-fed-at-once": 6, "observers-promise": 6, "own-epoch-not-durable": 2, "own-record-counts-at-once": 27,
    "prepared-blindly": 1, "promise-before-durable": 2, "promise-given-again": 10, "question-joined": 25,
    "read-counts-old-pings": 472, "read-joins-a-round": 2, "read-level-ignored": 2, "read-unconfirmed": 1,
    "reads-forgotten": 125, "reads-overtake": 2, "recency-by-zxid": 0, "recency-unchecked": 4, "restored-untold": 1,
    "sessions-kept": 1, "sessions-not-restored": 1, "stale-leader-serves": 0, "sync-acks-counted": 8,
    "timeouts-run-on": 2, "touch-unconfirmed": 83, "trunc-skipped": 1, "trunc-too-far": 1, "two-changes-at-once": 0,
    "uptodate-uncommitted": 12,
    "watches-last": 142, "watches-lost": 2, "weights-ignored": 0, "window-ignored": 1, "writes-dropped": 2,
}  # fmt: skip
"""A seed for each bug. They are cheap ones: the bug shows early in their lives."""

WITHIN = 150
"""So many seeds are tried from there on, in case that seed has become another world."""

RARE = {"ended-session-alive", "snapshots-mixed"}
"""It takes hundreds of seeds to find these: `sim mutants` looks for them."""

WITHOUT_N6 = {
    "ack-before-durable": 0, "epoch-not-durable": 1, "newleader-acked-early": 2, "own-epoch-not-durable": 8,
    "promise-before-durable": 1,
}  # fmt: skip
"""Seeds that show what comes of a promise that was not durable."""


def first_violation(name: str, seed: int, *, without: frozenset[str] = frozenset()) -> Violation | None:
    with planted(name):
        for each in range(seed, seed + WITHIN):
            report = simulate(each, without=without, make_program=PROGRAMS[MUTANTS[name].drive])
            if report.violation is not None:
                return report.violation
    return None


def test_every_planted_bug_is_looked_for() -> None:
    assert MUTANTS.keys() == SEEN.keys() | RARE
    assert len(MUTANTS) >= 34


@pytest.mark.parametrize("name", sorted(SEEN))
def test_a_planted_bug_is_found(name: str) -> None:
    assert first_violation(name, SEEN[name]) is not None


@pytest.mark.parametrize("name", sorted(WITHOUT_N6))
def test_a_broken_promise_is_found_by_what_it_leads_to(name: str) -> None:
    """The same with the check of promises switched off: the invariants of the state have teeth of their own."""
    violation = first_violation(name, WITHOUT_N6[name], without=frozenset({"N6"}))
    assert violation is not None
    assert violation.invariant != "N6"


def test_an_election_may_pick_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The election is a hint: with one that is blind to history nothing is lost (protocol.md 1.4)."""

    def rank(vote: Vote) -> tuple[int, int]:
        return (vote.leader + vote.round) % 5, vote.leader

    monkeypatch.setattr(election, "_rank", rank)
    for seed in range(15):
        violation = simulate(seed).violation
        assert violation is None


def test_what_was_planted_is_gone_afterwards() -> None:
    flush = Learner.flush
    with planted("ack-before-durable"):
        assert Learner.flush is not flush
    assert Learner.flush is flush


def test_a_bug_in_what_is_not_there_cannot_be_planted() -> None:
    with pytest.raises(KeyError), patched(((Learner, "no_such_function", lambda real: real),)):
        pass
