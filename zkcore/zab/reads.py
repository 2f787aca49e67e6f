"""Read-index: the proof that a leader still leads, without writing anything (protocol.md 1.13).

Whoever asks is answered once a quorum has answered a PING that was sent after the question. A member that answers has
not promised a newer epoch before it did; so when the question was asked nobody else could have been established, and
what the leader had committed then was all that was committed anywhere. All questions of one batch share a round.

The idea is that of Diego Ongaro's thesis on Raft, section 6.4; ZooKeeper has nothing like it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import Configuration
from zkcore.zab.ready import ReadReady
from zkcore.zxid import Zxid

__all__ = ["ReadRounds"]


class _Round(NamedTuple):
    number: int
    committed: Zxid
    tokens: list[Any]


class ReadRounds:
    """The questions of one leader, `me`."""

    def __init__(self, me: PeerId) -> None:
        self._me = me
        self._asked: list[Any] = []
        self._under_way: deque[_Round] = deque()
        self._answered: dict[PeerId, int] = {}

    def ask(self, token: Any) -> None:
        """A question for the next round."""
        self._asked.append(token)

    @property
    def needs_round(self) -> bool:
        return bool(self._asked)

    def begin(self, number: int, committed: Zxid) -> None:
        """PING `number` goes out now, behind everything asked so far; `committed` is what is committed now."""
        self._answered[self._me] = number
        if self._asked:
            self._under_way.append(_Round(number, committed, self._asked))
            self._asked = []

    def answer(self, peer: PeerId, number: int) -> None:
        """`peer` answered PING `number`, and with it every one before."""
        self._answered[peer] = max(number, self._answered.get(peer, 0))

    def take_ready(self, config: Configuration) -> list[ReadReady]:
        """The questions that a quorum of `config`, what is in force now, has answered."""
        ready: list[ReadReady] = []
        if self._under_way:
            proven = config.agreed(self._answered)
            while self._under_way and self._under_way[0].number <= proven:
                done = self._under_way.popleft()
                ready += [ReadReady(token, done.committed) for token in done.tokens]
        return ready

    def drop(self) -> list[Any]:
        """The leadership is over: every token that gets no answer."""
        tokens = [token for one in self._under_way for token in one.tokens] + self._asked
        self._under_way.clear()
        self._asked = []
        return tokens
