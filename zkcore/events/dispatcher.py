"""Who is told: a Dispatcher hands every event to all who have subscribed, and a stream keeps them for who asks.

Subscribers are called where the event happens, on the event loop of the node and in the middle of its work. So they
should return soon, and hand over whatever takes longer. What one of them raises is logged, and harms neither the node
nor the others.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeAlias

from attrs import frozen

from zkcore.errors import BadArgumentsError
from zkcore.events.kinds import NodeEvent

__all__ = ["MOST_EVENTS", "Dispatcher", "Dropped", "EventStream", "Kept", "Subscriber"]

_log = logging.getLogger("zkcore.events")

MOST_EVENTS = 1000
"""How many events a stream keeps for who does not ask for them."""

Subscriber: TypeAlias = Callable[[NodeEvent], None]
"""Is called with every event."""


@frozen
class Dropped:
    """Stands in a stream where `count` events are missing: nobody has asked for them, and more have come than are
    kept."""

    count: int

    def __str__(self) -> str:
        return f"{self.count} events were dropped"


class Kept:
    """Events on their way to who asks for them, at most `most`. Told and asked for from any thread; `moved` is called
    when there is something to look at. Raises BadArgumentsError for a `most` of less than one."""

    def __init__(self, *, most: int) -> None:
        if most < 1:
            raise BadArgumentsError(f"a stream that keeps at most {most} events; give 1 or more")
        self.moved: Callable[[], object] = bool
        self._most = most
        self._kept: deque[NodeEvent] = deque()
        self._dropped = 0
        self._has_ended = False
        self._lock = threading.Lock()

    def take(self, event: NodeEvent) -> None:
        """One more."""
        with self._lock:
            if self._has_ended:
                return
            if len(self._kept) == self._most:
                self._kept.popleft()
                self._dropped += 1
            self._kept.append(event)
        self.moved()

    def end(self, *, drop: bool = False) -> None:
        """Nothing comes any more; where `drop` is set what is kept goes, too."""
        with self._lock:
            self._has_ended = True
            if drop:
                self._kept.clear()
                self._dropped = 0
        self.moved()

    @property
    def is_over(self) -> bool:
        """Whether nothing is kept, and nothing comes any more."""
        return self._has_ended and not self._kept and not self._dropped

    def next(self) -> NodeEvent | Dropped | None:
        """The next one; None where there is none yet."""
        with self._lock:
            if self._dropped:
                dropped, self._dropped = Dropped(self._dropped), 0
                return dropped
            return self._kept.popleft() if self._kept else None


class Dispatcher:
    """Tells all who have subscribed. Subscribing is possible at any time and from any thread; who subscribes while an
    event is being told hears of the next one first."""

    def __init__(self, *subscribers: Subscriber) -> None:
        self._subscribers: tuple[Subscriber, ...] = subscribers
        self._kept: tuple[Kept, ...] = ()
        self._changing = threading.Lock()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Dispatcher with {len(self._subscribers)} subscribers>"

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have `subscriber(event)` called with every event from now on, where it happens: on the node's event loop, in
        the middle of its work. It should return soon, and must not wait for anything."""
        with self._changing:
            self._subscribers = (*self._subscribers, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Undo `subscribe`; does nothing for who has not subscribed."""
        with self._changing:
            self._subscribers = tuple(each for each in self._subscribers if each != subscriber)

    def stream(self, *, most: int = MOST_EVENTS) -> EventStream:
        """An asynchronous iterator over the events from now on, of which at most `most` are kept for who does not ask
        for them. Raises BadArgumentsError for less than one."""
        return EventStream(self, self.keep(most=most))

    def keep(self, *, most: int) -> Kept:
        """The events from now on, until `forget`."""
        kept = Kept(most=most)
        with self._changing:
            self._kept = (*self._kept, kept)
            self._subscribers = (*self._subscribers, kept.take)
        if self._is_closed:
            kept.end()
        return kept

    def forget(self, kept: Kept) -> None:
        """Nobody asks for these any more."""
        with self._changing:
            self._kept = tuple(each for each in self._kept if each is not kept)
        self.unsubscribe(kept.take)
        kept.end(drop=True)

    def tell(self, event: NodeEvent) -> None:
        """Something has happened. For whom it happens to; after `close` nobody is told."""
        if self._is_closed:
            return
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:
                _log.exception("a subscriber failed on %s", event)

    def close(self) -> None:
        """Nothing comes any more: streams end behind what they have kept."""
        with self._changing:
            self._is_closed = True
            ended, self._kept = self._kept, ()
        for kept in ended:
            kept.end()


class EventStream:
    """An asynchronous iterator over events, and a context manager that closes it: see `Dispatcher.stream`. Where events
    were dropped there is a Dropped in their place. It ends when the node has stopped, behind the last event, or by
    `aclose`. One task at a time may wait for the next event.
    """

    def __init__(self, dispatcher: Dispatcher, kept: Kept) -> None:
        self._dispatcher = dispatcher
        self._kept = kept
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        kept.moved = self._wake

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NodeEvent | Dropped:
        loop = asyncio.get_running_loop()
        while (event := self._kept.next()) is None:
            waiting: asyncio.Future[None] = loop.create_future()
            self._waiting = loop, waiting
            # Something may have come before anybody could see that we wait.
            if (event := self._kept.next()) is not None:
                break
            if self._kept.is_over:
                raise StopAsyncIteration
            await waiting
        return event

    async def aclose(self) -> None:
        """End it, and drop what it has kept; whoever waits for the next event is told so."""
        self._dispatcher.forget(self._kept)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _wake(self) -> None:
        waits, self._waiting = self._waiting, None
        if waits is None:
            return
        loop, waiting = waits
        if asyncio._get_running_loop() is loop:
            _finish(waiting)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(_finish, waiting)


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
