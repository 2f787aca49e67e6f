"""Requests that are carried out once, however often they are sent.

They are numbered, and of each session the ensemble remembers how the last few of them ended (`zkcore.tree.once`). So
one that is asked again must not have fallen behind by then: where many are asked at a time, they wait for each other.

This module must not know what is asked for, nor why it is asked for again.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from zkcore.client.port import Port, Session, Signal
from zkcore.errors import ThrottledError
from zkcore.tree.once import WINDOW
from zkcore.tree.requests import Once, Request

__all__ = ["Numbers", "numbers_of", "once"]

_MOST_APART = WINDOW // 2
"""So far apart are the numbers of those that wait for each other. The rest is room for those that do not."""


class Numbers:
    """The numbers of one session's requests that are carried out once."""

    def __init__(self) -> None:
        self.next = iter(range(1, 1 << 62)).__next__
        self._newest = 0
        self._open: dict[int, None] = {}  # in order
        self._waiting: list[Signal] = []

    async def begin(self, port: Port, request: Request[Any], *, ends: float | None) -> Once:
        """`request` with a number, once the ensemble can remember it until it is answered: then `end` it. Raises
        ThrottledError where that is not before `ends`, on `Port.now`."""
        while self._open and self._newest - next(iter(self._open), self._newest) >= _MOST_APART:
            moved = port.signal()
            self._waiting.append(moved)
            left = None if ends is None else max(ends - port.now(), 0.0)
            if await port.wait(moved, port.session.lost, timeout=left) is None:
                raise ThrottledError("too many requests that are carried out once were under way for too long")
            if port.session.lost.is_set():
                break  # the request says what there is to say
        self._newest = self.next()
        self._open[self._newest] = None
        return Once(port.session.id, self._newest, request)

    def end(self, begun: Once) -> None:
        """It will not be asked again."""
        self._open.pop(begun.number, None)
        waiting, self._waiting = self._waiting, []
        for moved in waiting:
            moved.set()


_NUMBERS: WeakKeyDictionary[Session, Numbers] = WeakKeyDictionary()


def numbers_of(port: Port) -> Numbers:
    """Those of the session of `port`, whoever asks in its name."""
    return _NUMBERS.setdefault(port.session, Numbers())


def once(port: Port, request: Request[Any]) -> Once:
    """`request` as one that is carried out once however often it is sent, for those who ask for few at a time."""
    return Once(port.session.id, numbers_of(port).next(), request)
