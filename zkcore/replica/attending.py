"""The clients of a host: who they are, since when each of their requests waits, and what they are told.

This module must not know how a turn comes about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from attrs import Factory, define

from zkcore.replica.answers import (
    Answer,
    Attached,
    Detached,
    Replied,
    SessionAnswer,
    SessionCreated,
    SessionEnded,
    SessionRemoved,
    Touched,
    WatchFired,
)
from zkcore.replica.served import NOBODY, Served
from zkcore.replica.telling import Asked, Telling
from zkcore.zab.ready import Delivered, Event

__all__ = ["Attendance"]

_REST = (Detached, SessionEnded, SessionCreated, SessionRemoved, WatchFired, Touched, Attached)
"""What is told but Replied."""


@define(eq=False)
class _Attended:
    """A client, and the requests of its session that have no answer, as they stood in the queue."""

    client: Served
    asked: deque[Asked] = Factory(deque)


_NO_ONE = _Attended(NOBODY, deque(maxlen=0))


class Attendance:
    """Who is attended, by session. `telling` learns what became of sessions, and how long their requests took."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._attended: dict[int, _Attended] = {}

    @property
    def sessions(self) -> list[int]:
        """Those of all clients."""
        return list(self._attended)

    @property
    def waiting(self) -> Iterable[deque[Asked]]:
        """What the sessions wait for."""
        return (attended.asked for attended in self._attended.values())

    def begin(self, session: int, client: Served) -> None:
        """The session has this client from now on."""
        self._attended[session] = _Attended(client)

    def take(self, session: int) -> Served:
        """The client of a session, which is attended no longer."""
        return self._attended.pop(session, _NO_ONE).client

    def turn_away(self, why: str) -> None:
        """Nobody is attended any longer, and everybody told so."""
        for session in list(self._attended):
            self.take(session).on_detached(why)

    def on_asked(self, asked: Asked) -> None:
        """The replica has taken a request: it will have an answer, unless the session leaves."""
        self._attended.get(asked[1], _NO_ONE).asked.append(asked)

    def tell(self, events: Sequence[Event | Answer], now: float, others: Callable[[Event], None]) -> bool:
        """Tell the clients what a Ready has for them, and `others` what it has for the host. Whether anybody had an
        answer."""
        answered = False
        for event in events:
            kind = type(event)
            if kind is Replied:
                answered = True
                attended = self._attended.get(event.session, _NO_ONE)  # type: ignore[union-attr]
                if attended.asked and event.xid:  # type: ignore[union-attr]  # 0 is the beginning of the session, which was not asked for in it
                    self._measure(attended.asked.popleft(), now)
                attended.client.on_replied(event.result, event.error, event.zxid)  # type: ignore[union-attr]
            elif kind is not Delivered and isinstance(event, _REST):
                self._tell_rest(event)
            else:
                others(event)  # type: ignore[arg-type]
        return answered

    def _measure(self, asked: Asked, now: float) -> None:
        measures, took = self._telling.measures, now - asked[4]
        measures.answers += 1
        measures.answer_seconds += took
        if took > measures.answer_seconds_most:
            measures.answer_seconds_most = took
        if took > self._telling.slow_request_seconds:
            self._telling.on_slow_answer(asked, took)

    def _tell_rest(self, event: SessionAnswer) -> None:
        if isinstance(event, Detached):
            self.take(event.session).on_detached(event.why)
        elif isinstance(event, SessionEnded):
            self.take(event.session).on_ended()
        elif isinstance(event, SessionCreated | SessionRemoved):
            self._telling.on_event(event)
        else:
            client = self._attended.get(event.session, _NO_ONE).client
            if isinstance(event, WatchFired):
                client.on_watch(event.event)
            elif isinstance(event, Touched):
                client.on_touched(event.token, event.alive)
            elif isinstance(event, Attached):
                client.on_attached()
                self._telling.on_event(event)
