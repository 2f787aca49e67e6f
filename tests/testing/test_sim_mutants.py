"""Every planted bug is found, within seeds known to find it; and by the state it leads to, not only by the rule it
breaks.

The seeds are those that found the bug when this was written, out of all from 0 on. A change of the core may move them:
`python -m zkcore sim run --seeds 2000 --mutant NAME` finds the new ones, and must.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zkcore.testing.checkers import Violation
from zkcore.testing.faults import Plan
from zkcore.testing.load import BarePeers, Program
from zkcore.testing.mutants import MUTANTS, planted
from zkcore.testing.replicas import Replicas
from zkcore.testing.world import simulate
from zkcore.zab import election
from zkcore.zab.learner import Learner
from zkcore.zab.messages import Vote

EARLY = tuple(range(10))

KNOWN: dict[str, tuple[int, ...]] = {
    "ack-before-durable": EARLY,
    "newleader-acked-early": EARLY,
    "epoch-not-durable": EARLY,
    "commit-without-quorum": EARLY,
    "deliver-before-durable": (4, 9, 10, 12, 14),
    "trunc-skipped": (4, 8, 10, 11, 14),
    "current-epoch-before-history": (299, 793),
    "duplicate-proposal-accepted": EARLY,
    "stale-leader-serves": (4, 6, 8, 9, 14),
    "recency-unchecked": (6, 9, 10, 16, 21),
    "promise-given-again": (1, 4, 5, 11, 16),
    "established-alone": EARLY,
    "forward-when-acked": EARLY,
    "read-unconfirmed": (9, 14, 20, 23, 30),
}

WITH_CLIENTS: dict[str, tuple[int, ...]] = {
    "watches-lost": (2, 7, 9, 10, 12),
    "attached-at-once": (0, 2, 4, 6, 7),
    "moved-accepted": (4, 5, 7, 10, 12),
    "timeouts-run-on": (1, 2, 4, 5, 7),
    "read-unconfirmed": (126, 251, 363, 395),
}
"""These are looked for in replicas with clients on them, the others in the core alone."""

WITHOUT_N6: dict[str, tuple[int, ...]] = {
    "ack-before-durable": (0, 6, 10, 14, 17),
    "newleader-acked-early": (3, 14, 17, 25, 28),
    "epoch-not-durable": (1, 4, 5, 8, 9),
    "deliver-before-durable": (4, 9, 10, 12, 14),
    "trunc-skipped": (4, 8, 10, 11, 14),
}


def first_violation(
    name: str,
    seeds: tuple[int, ...],
    *,
    without: frozenset[str] = frozenset(),
    make_program: Callable[[Plan], Program] = BarePeers,
) -> Violation | None:
    with planted(name):
        for seed in seeds:
            violation = simulate(seed, without=without, make_program=make_program).violation
            if violation is not None:
                return violation
    return None


def test_every_planted_bug_has_seeds() -> None:
    assert KNOWN.keys() | WITH_CLIENTS.keys() == MUTANTS.keys()


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_planted_bug_is_found(name: str) -> None:
    assert first_violation(name, KNOWN[name]) is not None


@pytest.mark.parametrize("name", sorted(WITH_CLIENTS))
def test_a_planted_bug_is_found_by_what_clients_are_told(name: str) -> None:
    violation = first_violation(name, WITH_CLIENTS[name], make_program=Replicas)
    assert violation is not None
    assert violation.invariant in ("X17", "X18")


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
