"""Renewal: a claim that lasts as long as its worker gets on, and not only as long as the session.

A session lives while the process does, whatever its workers do: heartbeats go on while one of them waits for an answer
that never comes. So the worker itself says that it gets on, which costs nothing and asks nobody; and in the background
the claim is renewed, by writing it anew, as often as there was progress to tell of.

Whoever looks for an item times the claims of others on its own clock: one that has been seen as it is for its whole
visibility timeout may be taken over, by a transaction that is refused where it was renewed after all. The worker counts
from when it *sent* the renewal that was confirmed last, so it knows before anybody else may.

This module must not know what the claim is on.
"""

from __future__ import annotations

from zkcore.client.port import Port, Signal
from zkcore.errors import MultiError, OutcomeUnknownError, SessionError
from zkcore.recipes.contender import made_at
from zkcore.recipes.waiting import Patience, ask
from zkcore.tree.requests import Multi, SetData
from zkcore.zxid import Zxid

__all__ = ["Renewal"]

_CLOCK_MARGIN = 0.99
"""Clocks run at rates that differ by less than one per cent."""

_SHARE = 3
"""A claim is renewed after that part of its visibility timeout, at the earliest."""


class Renewal:
    """The life of a claim (`zkcore.recipes.lease.Life`) whose creation was sent `sent_at`, and is `data`."""

    def __init__(
        self, port: Port, path: str, token: Zxid, *, data: bytes, visibility_timeout: float, sent_at: float
    ) -> None:
        self._port = port
        self._path = path
        self._token = token
        self._data = data
        self._timeout = visibility_timeout
        self._sent_at = sent_at
        self._progress = port.signal()
        self._ended = port.signal()
        self.lost: Signal = port.signal()
        """Set when the worker has not got on in time, somebody else has the item, or the session is lost."""

    @property
    def alive_until(self) -> float:
        """Until when nobody can have taken the claim over, as far as it is known now."""
        return min(self._sent_at + self._timeout * _CLOCK_MARGIN, self._port.session.alive_until)

    def begin(self) -> None:
        """Renew it from now on, until `end`. Raises SessionExpiredError or SessionClosedError."""
        self._port.spawn(self._keep, name=f"renewal of {self._path}")

    def progress(self) -> None:
        """The worker gets on. May be called from any thread."""
        self._progress.set()

    def end(self) -> None:
        """The claim was acknowledged or given up."""
        self._ended.set()

    async def _keep(self, port: Port) -> None:
        session = port.session
        while not (self._ended.is_set() or session.lost.is_set()):
            await port.wait(self._ended, session.lost, timeout=self._left(port, self._timeout / _SHARE))
            left = self._left(port, self._timeout * _CLOCK_MARGIN)
            said = await port.wait(self._ended, session.lost, self._progress, timeout=left)
            if said is not self._progress or not await self._renew(port):
                break
        if not self._ended.is_set():
            self.lost.set()

    def _left(self, port: Port, seconds: float) -> float:
        return max(self._sent_at + seconds - port.now(), 0.0)

    async def _renew(self, port: Port) -> bool:
        """Write the claim anew; False where it is somebody else's, or nobody answers until it may be."""
        self._progress.clear()
        sending_at = port.now()
        renewal = Multi([made_at(self._path, self._token), SetData(self._path, self._data)])
        try:
            await ask(port, renewal, Patience(port, self._left(port, self._timeout * _CLOCK_MARGIN)))
        except (MultiError, SessionError, OutcomeUnknownError):
            return False
        if port.now() >= self.alive_until:
            return False  # too late: whoever looked has been told that it is lost
        self._sent_at = sending_at
        return True
