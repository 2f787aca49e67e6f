"""Signals of an asyncio event loop (`zkcore.client.port.Signal`)."""

from __future__ import annotations

import asyncio
import threading

from zkcore.client.port import Signal

__all__ = ["AsyncSignal"]


class AsyncSignal:
    """A Signal of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._loop = loop
        self._thread = thread
        self._is_set = False
        self._waiters: list[asyncio.Future[Signal]] = []

    def __repr__(self) -> str:
        return f"<Signal {'set' if self._is_set else 'not set'}>"

    def set(self) -> None:
        """Set it and wake who waits. May be called from any thread."""
        self._is_set = True
        if threading.get_ident() == self._thread:
            self._wake()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def _wake(self) -> None:
        if self._is_set:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(self)

    def add_waiter(self, waiter: asyncio.Future[Signal]) -> None:
        self._waiters.append(waiter)

    def remove_waiter(self, waiter: asyncio.Future[Signal]) -> None:
        self._waiters.remove(waiter)
