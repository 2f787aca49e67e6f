"""Background work on an asyncio event loop (`zkcore.client.port.Background`)."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from zkcore.client.port import Port, Signal
from zkcore.errors import SessionError

__all__ = ["AsyncBackground"]

_log = logging.getLogger("zkcore.client")


class AsyncBackground:
    """A task that works for one Port. Make it on the event loop of the Port."""

    def __init__(self, work: Callable[[Port], Coroutine[Any, Any, None]], port: Port, *, name: str) -> None:
        self.name = name
        self.ended: Signal = port.signal()
        self.error: BaseException | None = None
        self._port = port
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._is_cancelled = False
        self._then: Callable[[AsyncBackground], None] = lambda _: None
        self._task = self._loop.create_task(work(port), name=name)
        self._task.add_done_callback(self._on_done)

    def __repr__(self) -> str:
        how = "goes on" if not self.ended.is_set() else "ended" if self.error is None else f"failed: {self.error!r}"
        return f"<Background {self.name} {how}>"

    @property
    def is_current(self) -> bool:
        """Whether it is this work that asks."""
        return asyncio.current_task() is self._task

    def when_ended(self, then: Callable[[AsyncBackground], None]) -> None:
        """Have `then` called when it has ended: once, and from the event loop."""
        self._then = then

    def cancel(self) -> None:
        """See `zkcore.client.port.Background.cancel`."""
        if threading.get_ident() == self._thread:
            self._cancel_once()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel_once)

    async def stop(self) -> None:
        """See `zkcore.client.port.Background.stop`."""
        if self.is_current:
            raise RuntimeError(f"{self.name} would wait for its own end; return instead")
        self.cancel()
        await self._port.wait(self.ended)

    def _cancel_once(self) -> None:
        if not self._is_cancelled:  # a second time would interrupt what it does to clean up
            self._is_cancelled = True
            self._task.cancel()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.error = error
            if isinstance(error, SessionError):  # that is how work ends whose session does
                _log.info("%s ended with its session: %s", self.name, error)
            else:
                _log.error("%s failed", self.name, exc_info=error)
        self._then(self)
        self.ended.set()
