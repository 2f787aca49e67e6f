"""Where blocking code is called back: on a thread of the client's own.

A callback on the thread of the event loop could make no blocking call: it would wait for itself. So each client has one
more thread, and what was given to it to be called is called there, in the order of events and never two at a time. What
recipes wait for does not come this way: so a callback may use them, too.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from attrs import field, frozen

from zkcore.errors import SessionClosedError

__all__ = ["Callbacks"]

T = TypeVar("T")

_log = logging.getLogger("zkcore.client")


class Callbacks:
    """Calls what it is given. All but `join` belong to the event loop that the events come from."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[[Any], None], Any] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._has_ended = False

    def later(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """What has `callback` called on the thread, and returns at once. Two for one callback are equal. May be asked
        for from any thread."""
        return _Later(self, callback)

    def awaited(self, function: Callable[..., T]) -> Callable[..., Awaitable[T]]:
        """What has `function` called on the thread, and can be awaited on the event loop until it returns. Raises what
        it does, and SessionClosedError where nothing is called any more."""

        async def awaited(*arguments: Any) -> T:
            if self._has_ended:
                raise SessionClosedError("the client is closed, and calls nobody back any more")
            result: concurrent.futures.Future[T] = concurrent.futures.Future()
            self.call(lambda _: _settle(result, function, arguments), None)
            return await asyncio.wrap_future(result)

        return awaited

    def call(self, callback: Callable[[Any], None], event: Any) -> None:
        """Have `callback(event)` called when its turn comes."""
        if self._has_ended:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="zkcore-callbacks", daemon=True)
            self._thread.start()
        self._queue.put((callback, event))

    def end(self) -> None:
        """Call what waits by now, and nothing that comes later."""
        self._has_ended = True
        self._queue.put(None)

    def join(self) -> None:
        """Wait for the last call, after `end`. A callback, which cannot wait for its own end, does not wait."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (queued := self._queue.get()) is not None:
            callback, event = queued
            try:
                callback(event)
            except Exception:
                _log.exception("a callback failed on %s", event)


def _settle(result: concurrent.futures.Future[T], function: Callable[..., T], arguments: tuple[Any, ...]) -> None:
    if not result.set_running_or_notify_cancel():
        return  # whoever awaited it does so no more
    try:
        result.set_result(function(*arguments))
    except BaseException as error:
        result.set_exception(error)


@frozen
class _Later:
    callbacks: Callbacks = field(eq=id)
    callback: Callable[[Any], None]

    def __call__(self, event: Any) -> None:
        self.callbacks.call(self.callback, event)
