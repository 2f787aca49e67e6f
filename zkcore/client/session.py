"""A session as its owner sees it (`zkcore.client.port.Session`), whoever serves it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from zkcore.client.port import SessionState, StateListener
from zkcore.client.signals import AsyncSignal
from zkcore.client.states import TRANSITIONS
from zkcore.errors import InvariantViolation
from zkcore.zxid import Zxid

__all__ = ["OwnSession"]

_log = logging.getLogger("zkcore.session")


class OwnSession:
    """One session, its state, and who is told of that. Belongs to one event loop."""

    def __init__(self, lost: AsyncSignal, newest: Callable[[], Zxid], timeout: float) -> None:
        self.id = 0
        self.timeout = timeout
        self.lost: AsyncSignal = lost
        self.alive_until = 0.0
        self._state = SessionState.SUSPENDED
        self._newest = newest
        self._listeners: list[StateListener] = []

    @property
    def state(self) -> SessionState:
        return self._state

    @property
    def is_over(self) -> bool:
        return self._state in (SessionState.LOST, SessionState.CLOSED)

    @property
    def last_zxid(self) -> Zxid:
        return self._newest()

    def become(self, state: SessionState) -> None:
        """The session is in `state` from now on. Those who listen hear of it from `tell`."""
        if state not in TRANSITIONS[self._state]:
            raise InvariantViolation(f"session {self.id:#x} would go from {self._state} to {state}")
        self._state = state

    def tell(self) -> None:
        """Tell those who listen the present state."""
        for listener in tuple(self._listeners):
            try:
                listener(self._state)
            except Exception:
                _log.exception("a listener of session %#x failed on %s", self.id, self._state)

    def listen(self, listener: StateListener) -> None:
        """See `zkcore.client.port.Port.listen`."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def unlisten(self, listener: StateListener) -> None:
        """See `zkcore.client.port.Port.unlisten`."""
        if listener in self._listeners:
            self._listeners.remove(listener)
