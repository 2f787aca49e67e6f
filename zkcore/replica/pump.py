"""The Pump: turns for the hosts that share an event loop; and the queue in front of each.

A proposal, its acknowledgements and its commit pass through several hosts. One callback that gives turns to whoever
has work saves each of those steps a trip through the loop. Requests never pump by themselves: all that is ready in
one pass of the loop is one batch.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from enum import IntEnum, auto
from typing import Any, Protocol

from zkcore.zab.messages import Message, PeerId

__all__ = ["HostInbox", "Input", "Pump", "Pumped"]

_MAX_TURNS = 192
"""Turns the pump gives before it lets the event loop do something else."""


class Pumped(Protocol):
    """What a pump gives turns to."""

    @property
    def has_work(self) -> bool:
        """Whether a turn would do anything."""

    def turn(self) -> None:
        """Do it. Must not raise."""


class Pump:
    """Gives turns to the hosts of one event loop, in one callback for all of them."""

    def __init__(self) -> None:
        self._hosts: deque[Pumped] = deque()
        self._first: Pumped | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._scheduled = False
        self.answered = False
        """A host has answered a client: let the loop run whoever waited, before the others hear of the commit. What the
        client asks for next then travels with it, in one batch."""
        self.snapshotting: list[object] = []
        """Who takes a snapshot, and behind it those who wait for their turn: each stops the loop now and then."""

    def add(self, host: Pumped) -> None:
        """Called on the event loop that is to run the host."""
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise RuntimeError("the hosts of one pump must run on one event loop; give each loop a pump of its own")
        self._loop = loop
        self._thread = threading.get_ident()
        self._hosts.append(host)

    def remove(self, host: Pumped) -> None:
        self._hosts.remove(host)
        if self._first is host:
            self._first = None

    def wake(self) -> None:
        """There is something to do. May be called from any thread."""
        if self._scheduled or self._loop is None:
            return
        if threading.get_ident() == self._thread:
            self._wake_here()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_here)

    def _wake_here(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._run_soon()

    def _run(self) -> None:
        for _ in range(_MAX_TURNS):
            host = self._next()
            if host is None:
                self._scheduled = False
                # Another thread may have queued something since the last look.
                if any(host.has_work for host in self._hosts):
                    self.wake()
                return
            host.turn()
            if self.answered:
                self.answered = False
                self._first = host
                break
        self._run_soon()

    def _next(self) -> Pumped | None:
        """Who has work: first the host that answered last, since its clients ask again and a quorum waits for nobody
        else; then the others, each in its turn."""
        if self._first is not None and self._first.has_work:
            return self._first
        for _ in range(len(self._hosts)):
            host = self._hosts[0]
            self._hosts.rotate(-1)
            if host.has_work:
                return host
        return None

    def _run_soon(self) -> None:
        assert self._loop is not None
        self._loop.call_soon(self._run)


class Input(IntEnum):
    """What stands in the queue of a host."""

    RECEIVE = auto()
    LINKED = auto()
    LOST = auto()
    SUBMIT = auto()
    TOUCH = auto()
    OPEN = auto()
    ATTACH = auto()
    DETACH = auto()
    TRANSFER = auto()
    KILL = auto()
    COMPACT = auto()


class HostInbox:
    """The Inbox of a Host: puts what arrives into the queue. Every method may be called from any thread."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self.queue: deque[tuple[Any, ...]] = deque()
        self.lock = threading.RLock()
        self.losing: dict[PeerId, int] = {}  # losses queued that the Peer has not been fed yet, by peer

    def receive(self, sender: PeerId, message: Message) -> None:
        self.queue.append((Input.RECEIVE, sender, message))
        self._pump.wake()

    def report_linked(self, peer: PeerId, where: str = "") -> None:
        self.queue.append((Input.LINKED, peer, where))
        self._pump.wake()

    def report_lost(self, peer: PeerId, why: str = "") -> None:
        with self.lock:
            self.losing[peer] = self.losing.get(peer, 0) + 1
            self.queue.append((Input.LOST, peer, why))
        self._pump.wake()
