"""What is remembered of requests that may be retried: the outcomes of the last few of each client.

A client is known by the session under which it began. Clients whose session lives are all remembered, of the others
those whose sessions ended last. Everything follows from the transactions alone, so all replicas remember the same.

This module must not know what a request is.
"""

from __future__ import annotations

from typing import NamedTuple

from attrs import frozen

from zkcore.jute.codec import Int, UString, decode, encode, record
from zkcore.jute.records import Stat
from zkcore.tree.applied import Outcome

__all__ = ["ENDED", "WINDOW", "Memory", "Remembered"]

WINDOW = 16
"""How many outcomes are remembered of a client: as many requests may be under way before one must be forgotten."""

ENDED = 1024
"""How many sessions are remembered that have ended."""


class Remembered(NamedTuple):
    """What is remembered of one client: that nothing is known of its requests up to number `floor`, and the outcomes
    of later ones by number, in the order of their transactions."""

    floor: int
    outcomes: tuple[tuple[int, bytes], ...]


_NOTHING = Remembered(0, ())


@record
@frozen
class _OutcomeRecord:
    type: Int
    error: Int
    path: UString
    stat: tuple[Stat, ...]


@record
@frozen
class _Outcomes:
    outcomes: tuple[_OutcomeRecord, ...]


class Memory:
    """See the module. `clients` and `ended` are all its state; the values in them are replaced and never changed."""

    def __init__(self) -> None:
        self.clients: dict[int, Remembered] = {}
        self.ended: dict[int, None] = {}

    def recall(self, client: int, number: int) -> tuple[Outcome, ...] | None:
        """How request `number` of `client` ended, None where that is not remembered."""
        for known, packed in self.clients.get(client, _NOTHING).outcomes:
            if known == number:
                outcomes = decode(_Outcomes, packed).outcomes
                return tuple(Outcome(o.type, o.error, o.path, o.stat[0] if o.stat else None) for o in outcomes)
        return None

    def may_have_forgotten(self, client: int, number: int) -> bool:
        """Whether request `number`, which is not remembered, may have been at some time."""
        return number <= self.clients.get(client, _NOTHING).floor

    def remember(self, client: int, number: int, outcomes: tuple[Outcome, ...]) -> None:
        """Request `number` of `client` ended like this."""
        records = tuple([_OutcomeRecord(o.type, o.error, o.path, (o.stat,) if o.stat else ()) for o in outcomes])
        floor, known = self.clients.get(client, _NOTHING)
        known = (*(pair for pair in known if pair[0] != number), (number, encode(_Outcomes(records))))
        while len(known) > WINDOW:
            lowest = min(known)
            floor = max(floor, lowest[0])
            known = tuple(pair for pair in known if pair is not lowest)
        self.clients[client] = Remembered(floor, known)

    def on_session_began(self, session: int) -> None:
        """`session` lives."""
        self.ended.pop(session, None)

    def on_session_ended(self, session: int) -> None:
        """`session` lives no longer."""
        self.ended[session] = None
        if len(self.ended) > ENDED:
            oldest = next(iter(self.ended))
            del self.ended[oldest]
            self.clients.pop(oldest, None)
