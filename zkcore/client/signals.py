"""Signals of an asyncio event loop (`zkcore.client.port.Signal`)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import cast

from zkcore.client.port import Signal

__all__ = ["AsyncSignal", "first_set"]


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


async def first_set(signals: Sequence[Signal], *, timeout: float | None) -> Signal | None:
    """See `zkcore.client.port.Port.wait`; for signals of the running event loop."""
    for signal in signals:
        if signal.is_set():
            return signal
    waiter: asyncio.Future[Signal] = asyncio.get_running_loop().create_future()
    for signal in signals:
        cast(AsyncSignal, signal).add_waiter(waiter)
    try:
        async with asyncio.timeout(timeout):
            return await waiter
    except TimeoutError:
        return None
    finally:
        for signal in signals:
            cast(AsyncSignal, signal).remove_waiter(waiter)
