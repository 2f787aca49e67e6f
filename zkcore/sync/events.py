"""The blocking face of `zkcore.events.dispatcher`."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from zkcore.events.dispatcher import MOST_EVENTS, Dropped, Kept, Subscriber
from zkcore.events.dispatcher import Dispatcher as AsyncDispatcher
from zkcore.events.kinds import NodeEvent
from zkcore.sync.callbacks import Callbacks
from zkcore.sync.port import mirrors

__all__ = ["Dispatcher", "EventStream"]


@mirrors(AsyncDispatcher)
class Dispatcher:
    """`zkcore.events.Dispatcher` for blocking code."""

    def __init__(self, inner: AsyncDispatcher) -> None:
        self._inner = inner
        self._callbacks = Callbacks()

    def __repr__(self) -> str:
        return repr(self._inner)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have `subscriber(event)` called with every event from now on, on a thread that is there for that: one after
        the other, in their order. It may take its time, and use the node."""
        self._inner.subscribe(self._callbacks.later(subscriber))

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self._inner.unsubscribe(self._callbacks.later(subscriber))

    def stream(self, *, most: int = MOST_EVENTS) -> EventStream:
        """An iterator over the events from now on, of which at most `most` are kept for who does not ask for them.
        Raises BadArgumentsError for less than one."""
        return EventStream(self._inner, self._inner.keep(most=most))

    def end(self) -> None:
        """The event loop has ended: call who waits to be called, and nobody later."""
        self._callbacks.end()
        self._callbacks.join()


class EventStream:
    """An iterator over events, and a context manager that closes it: see `Dispatcher.stream`. It blocks until there is
    one. Where events were dropped there is a Dropped in their place. It ends when the node has stopped, behind the last
    event, or by `close`, which any thread may call. One thread at a time may wait for the next event."""

    def __init__(self, dispatcher: AsyncDispatcher, kept: Kept) -> None:
        self._dispatcher = dispatcher
        self._kept = kept
        self._moved = threading.Event()
        kept.moved = self._moved.set

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> NodeEvent | Dropped:
        while True:
            self._moved.clear()
            event = self._kept.next()
            if event is not None:
                return event
            if self._kept.is_over:
                raise StopIteration
            self._moved.wait()

    def close(self) -> None:
        """End it, and drop what it has kept; whoever waits for the next event is told so."""
        self._dispatcher.forget(self._kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
