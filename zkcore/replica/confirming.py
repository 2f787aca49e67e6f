"""What a leader answers only when a quorum has confirmed that it still leads (protocol.md 1.13), and to whom.

One that was deposed without knowing it would promise time that the next leader, which began to count a session's
silence long ago, does not give; and its reads would be old.

This module must not know how an answer travels.
"""

from __future__ import annotations

from typing import TypeAlias

from zkcore.replica.forward import Claimed, Index, TouchReply
from zkcore.zab.messages import PeerId
from zkcore.zab.ready import ReadReady
from zkcore.zxid import Zxid

__all__ = ["Confirming"]


Token: TypeAlias = tuple[PeerId, int, Claimed | TouchReply | Index]


class Confirming:
    """Those of one replica, while it leads."""

    def __init__(self) -> None:
        self._asks: dict[PeerId, int] = {}  # which replica asks how new a read must be, by which question
        self._links: dict[PeerId, int] = {}  # how often the link to each was lost

    @property
    def waiting(self) -> bool:
        """Whether there is a question that was not put to the quorum."""
        return bool(self._asks)

    def ask(self, origin: PeerId, nonce: int) -> None:
        """A replica asks how new a read must be."""
        self._asks[origin] = nonce

    def take_asks(self, last_logged: Zxid) -> list[tuple[PeerId, Index]]:
        """What is to be answered to all that wait, as far as it is known before."""
        asks, self._asks = self._asks, {}
        return [(origin, Index(nonce, 0, last_logged)) for origin, nonce in asks.items()]

    def token(self, origin: PeerId, answer: Claimed | TouchReply | Index) -> Token:
        """By which the core is asked, see `Peer.read_index`."""
        return origin, self._links.get(origin, 0), answer

    def on_confirmed(self, event: ReadReady) -> tuple[PeerId, Claimed | TouchReply | Index] | None:
        """It has: what is answered, and to whom. What was asked on a link that is gone is not answered on the next: a
        replica that was started anew may have given the same number to another question."""
        origin, link, answer = event.token
        if link != self._links.get(origin, 0):
            return None
        if isinstance(answer, Index):
            answer = Index(answer.nonce, event.zxid, max(event.zxid, answer.proposed))
        return origin, answer

    def on_lost(self, peer: PeerId) -> None:
        """The link to `peer` is gone."""
        self._links[peer] = self._links.get(peer, 0) + 1
        self._asks.pop(peer, None)

    def clear(self) -> None:
        """This replica leads no more."""
        self._asks.clear()
