"""Events: an iterator over what a persistent watch tells, for those who would rather ask than be called.

What has gathered since it was last asked for is told shortly: of several events of one kind on one znode the last. And
it is bounded: where more has gathered than that, or where the replica could not say what happened while the session
moved, there is a Resync instead of it. The first of all is a Resync, too: so that who reads what there is on each
Resync, and follows the events from there, has the whole and misses nothing.

This module must not know who finds out what has happened.
"""

from __future__ import annotations

from collections import deque
from typing import Self, TypeAlias

from zkcore.client.port import Port, SessionState
from zkcore.errors import BadArgumentsError, SessionClosedError, SessionExpiredError
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.paths import validate
from zkcore.tree.watch_requests import AddWatch, Missed, Resync, WatchMode
from zkcore.zxid import Zxid

__all__ = ["MOST_EVENTS", "Events"]

MOST_EVENTS = 1000
"""How many events are kept for who does not ask for them."""

_Key: TypeAlias = tuple[EventType | None, str]


class Events:
    """An asynchronous iterator over the events of one persistent watch: first a Resync, then every WatchEvent in the
    order of zxids, but for those that a later one of the same kind on the same znode makes good, and a Resync where
    some are missing. It has no end but `aclose`; the end of the session is raised as SessionExpiredError or
    SessionClosedError, behind the last event.

    One task at a time may wait for the next event.
    """

    def __init__(self, port: Port, path: str, *, recursive: bool, most: int) -> None:
        """At most `most` events are kept. Raises BadArgumentsError for less than one, and for what is no path."""
        validate(path)
        if most < 1:
            raise BadArgumentsError(f"at most {most} events of {path} would be kept; give 1 or more", path=path)
        self._port = port
        self._path = path
        self._mode = WatchMode.PERSISTENT_RECURSIVE if recursive else WatchMode.PERSISTENT
        # Filled by whoever tells, and emptied by who asks, perhaps on another thread. What is too much pushes out the
        # oldest; that something was, the numbers tell.
        self._arrived: deque[tuple[int, Missed]] = deque(maxlen=most)
        self._number = 0  # of the last that arrived
        self._moved = port.signal()
        # The rest belongs to who asks.
        self._gathered: dict[_Key, Missed] = {}
        self._taken = 0
        self._told: Zxid = 0
        self._is_watching = False
        self._has_ended = False  # the session
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent | Resync:
        if not self._is_watching and not self._is_closed:
            return await self._begin()
        while not self._is_closed:
            self._moved.clear()
            has_ended = self._has_ended  # before a look at what came before it
            self._gather()
            if self._gathered:
                return self._next()
            if has_ended:
                raise self._end_of_session()
            await self._port.wait(self._moved)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End it, and the watch with it; whoever waits for the next event is told so."""
        if not self._is_closed:
            self._is_closed = True
            self._moved.set()
            if self._is_watching:
                self._port.unwatch(self._path, self._on_event)

    async def _begin(self) -> Resync:
        await self._port.request(AddWatch(self._path, self._mode), watch=self._on_event)
        self._is_watching = True
        self._told = self._port.session.last_zxid
        return Resync(self._path, 0, self._told)

    def _gather(self) -> None:
        """Take what has arrived. A Resync makes everything before it needless."""
        arrived, gathered, path = self._arrived, self._gathered, self._path
        while arrived:
            number, event = arrived.popleft()
            if number != self._taken + 1 or isinstance(event, Resync) or len(gathered) >= (arrived.maxlen or 0):
                gathered.clear()
                gathered[None, path] = Resync(path, self._told, event.zxid)
            else:
                key = event.type, event.path
                gathered.pop(key, None)  # it takes its place behind the others
                gathered[key] = event
            self._taken = number

    def _next(self) -> Missed:
        key = next(iter(self._gathered))
        event = self._gathered.pop(key)
        self._told = event.zxid
        return event

    def _end_of_session(self) -> SessionExpiredError | SessionClosedError:
        session = self._port.session
        if session.state is SessionState.LOST:
            return SessionExpiredError(f"session {session.id:#x} has expired with its watches; open a new client")
        return SessionClosedError("the client is closed, and its watches are gone; open a new one")

    def _on_event(self, event: Missed | None) -> None:
        if event is None:
            self._has_ended = True
        else:
            self._number += 1
            self._arrived.append((self._number, event))
        self._moved.set()
