"""What arrives where it is decided: requests and claims of all replicas, on their way into the leader's next batch.

A follower may be established a moment before its leader has delivered all it must. What it sends until then waits here.

This module must not know how what arrives was sent, nor what becomes of it.
"""

from __future__ import annotations

from typing import Any

from zkcore.errors import RequestError, ThrottledError
from zkcore.jute.records import Id
from zkcore.replica.forward import Claim, Refused
from zkcore.replica.leading import ALWAYS_TAKEN, Leading
from zkcore.tree.requests import Request
from zkcore.zab.messages import PeerId

__all__ = ["Arrivals"]


class Arrivals:
    """What comes before there is a Leading to take it: `most` at most, but for what is ALWAYS_TAKEN."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._early: list[tuple[PeerId, int, int, Request[Any] | Claim, tuple[Id, ...]]] = []

    def take(
        self, leading: Leading | None, origin: PeerId, session: int, xid: int, request: Request[Any] | Claim,
        ids: tuple[Id, ...],
    ) -> Refused | None:  # fmt: skip
        """Pass it on, or keep it until `establish`. What is answered to `origin` at once, where it is refused."""
        try:
            if leading is not None:
                leading.arrive(origin, session, xid, request, ids)
            elif len(self._early) < self._most or isinstance(request, ALWAYS_TAKEN):
                self._early.append((origin, session, xid, request, ids))
            else:
                raise ThrottledError
        except RequestError as error:
            return Refused(session, xid, error.code or 0)
        return None

    def establish(self, leading: Leading) -> list[tuple[PeerId, Refused]]:
        """The leadership has begun: what came early arrives now. Who is to be told what, where it is refused."""
        early, self._early = self._early, []
        answers = [(arrival[0], self.take(leading, *arrival)) for arrival in early]
        return [(origin, refused) for origin, refused in answers if refused is not None]

    def clear(self) -> None:
        """The leader has gone, or will never be."""
        self._early.clear()
