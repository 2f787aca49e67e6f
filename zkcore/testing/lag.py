"""Lateness, put on from outside: what a server tells its clients, or what a member hears of the others, comes so many
seconds late, in its order.

A `Lateness` says how late; whatever is held back waits in a `Line`. `LateListener` has its connections write to such
lines, and `LateNetwork` has members hear through them. Nothing of what is delayed knows of it.

Everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakSet

from zkcore.server.connection import ClientConnection
from zkcore.server.listener import ClientListener
from zkcore.transport.transport import Inbox, LocalNetwork, Transport
from zkcore.zab.messages import Message, PeerId

__all__ = ["LateListener", "LateNetwork", "Lateness", "Line"]


class Lateness:
    """By how many seconds something is late at the moment."""

    def __init__(self) -> None:
        self._added: list[float] = []
        self._lines: WeakSet[Line] = WeakSet()

    @property
    def seconds(self) -> float:
        """In all."""
        return sum(self._added)

    @contextmanager
    def more(self, seconds: float) -> Iterator[None]:
        """Be so much later; at the end what waits goes on as early as it may then."""
        self._added.append(seconds)
        try:
            yield
        finally:
            self._added.remove(seconds)
            for line in list(self._lines):
                line.hurry()

    def line(self) -> Line:
        """Another line that is so late."""
        line = Line(self)
        self._lines.add(line)
        return line


class Line:
    """What is put in is done later, by as much as `lateness` says, one after the other; at once where nothing is
    late."""

    def __init__(self, lateness: Lateness) -> None:
        self._lateness = lateness
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, do: Callable[[], None]) -> None:
        """Do it, when its time has come and all before it is done."""
        seconds = self._lateness.seconds
        if not self._waiting and not seconds:
            do()
            return
        due = self._loop.time() + seconds
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, do))
        self._arm()

    def clear(self) -> None:
        """Do nothing of what waits."""
        self._waiting.clear()
        self._arm()

    def hurry(self) -> None:
        """It is less late now."""
        latest = self._loop.time() + self._lateness.seconds
        self._waiting = deque((min(due, latest), do) for due, do in self._waiting)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._waiting[0][0], self._on_due) if self._waiting else None

    def _on_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._loop.time():
            self._waiting.popleft()[1]()
        self._arm()


# --- what clients are told


class LateListener(ClientListener):
    """A ClientListener whose clients hear everything as late as `lateness` says, but that it hangs up."""

    def __init__(self, *arguments: Any, lateness: Lateness, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lateness = lateness

    def meet(self) -> ClientConnection:
        """See `ClientListener`."""
        return _LateConnection(self, self._lateness)


class _LateConnection(ClientConnection):
    def __init__(self, owner: LateListener, lateness: Lateness) -> None:
        super().__init__(owner)
        self._lateness = lateness

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        late = _LateTransport(cast(asyncio.Transport, transport), self._lateness.line())
        super().connection_made(cast(asyncio.BaseTransport, late))


class _LateTransport:
    """As much of an asyncio.Transport as a connection uses."""

    def __init__(self, transport: asyncio.Transport, line: Line) -> None:
        self._transport = transport
        self._line = line
        self.get_extra_info = transport.get_extra_info
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        self._line.put(lambda: self._transport.write(data))

    def close(self) -> None:
        self._line.put(self._transport.close)

    def abort(self) -> None:
        self._line.clear()
        self._transport.abort()


# --- what members hear


class LateNetwork(LocalNetwork):
    """A LocalNetwork on which each member hears of the others as late as `lateness[member]` says. That a link is made
    or lost it hears at once, and of a link that is lost nothing comes any more."""

    def __init__(self) -> None:
        super().__init__()
        self.lateness: defaultdict[PeerId, Lateness] = defaultdict(Lateness)

    def attach(self, me: PeerId, inbox: Inbox) -> Transport:
        """See `LocalNetwork.attach`."""
        return super().attach(me, _LateInbox(inbox, self.lateness[me]))


class _LateInbox:
    def __init__(self, inbox: Inbox, lateness: Lateness) -> None:
        self._inbox = inbox
        self._lines: defaultdict[PeerId, Line] = defaultdict(lateness.line)

    def receive(self, sender: PeerId, message: Message) -> None:
        self._lines[sender].put(lambda: self._inbox.receive(sender, message))

    def report_linked(self, peer: PeerId, where: str = "") -> None:
        self._inbox.report_linked(peer, where)

    def report_lost(self, peer: PeerId, why: str = "") -> None:
        self._lines[peer].clear()
        self._inbox.report_lost(peer, why)
