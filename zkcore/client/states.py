"""The states of a session as one chart, and an iterator over those that it goes through.

This module must not know who finds out that a state has changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Self

from zkcore.client.port import Port, SessionState
from zkcore.errors import SessionClosedError

__all__ = ["TRANSITIONS", "States"]

TRANSITIONS: Mapping[SessionState, frozenset[SessionState]] = {
    SessionState.CONNECTED: frozenset({SessionState.SUSPENDED, SessionState.LOST, SessionState.CLOSED}),
    SessionState.SUSPENDED: frozenset(
        {SessionState.CONNECTED, SessionState.CONNECTED_READ_ONLY, SessionState.LOST, SessionState.CLOSED}
    ),
    SessionState.CONNECTED_READ_ONLY: frozenset({SessionState.SUSPENDED, SessionState.LOST, SessionState.CLOSED}),
    SessionState.LOST: frozenset({SessionState.CLOSED}),
    SessionState.CLOSED: frozenset(),
}
"""Which state may follow which. A session begins SUSPENDED, and no state follows itself."""

_LAST = 2
"""Of the states that nobody has asked for yet so many are kept. Behind LOST there is only CLOSED: LOST is among them.
"""


class States:
    """An asynchronous iterator: first the present state, then every time the newest, when it differs from the one given
    before. Who is slow misses what came and went meanwhile, but never LOST. It ends behind CLOSED, or by `aclose`.

    One task at a time may wait for the next state.
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._arrived: deque[SessionState] = deque(maxlen=_LAST)  # filled by whoever tells, emptied by who asks
        self._moved = port.signal()
        self._given: SessionState | None = None
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionState:
        if self._given is None and not self._is_closed:
            self._port.listen(self._on_state)
            return self._give(self._port.session.state)
        while not self._is_closed and self._given is not SessionState.CLOSED:
            self._moved.clear()
            newest = self._newest()
            if newest is not self._given and newest is not None:
                return self._give(newest)
            try:
                await self._port.wait(self._moved)
            except SessionClosedError:  # the event loop of blocking code has ended
                return self._give(SessionState.CLOSED)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End it; whoever waits for the next state is told so."""
        self._is_closed = True
        self._moved.set()
        if self._port.session.state is not SessionState.CLOSED:
            self._port.unlisten(self._on_state)

    def _give(self, state: SessionState) -> SessionState:
        self._given = state
        return state

    def _newest(self) -> SessionState | None:
        newest = None
        while self._arrived and newest is not SessionState.LOST:
            newest = self._arrived.popleft()
        return newest

    def _on_state(self, state: SessionState) -> None:
        self._arrived.append(state)
        self._moved.set()
