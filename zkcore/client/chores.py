"""What goes on beside the callers of one Port, on its event loop: cleanups, and work in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from zkcore.client.background import AsyncBackground
from zkcore.client.port import Port

__all__ = ["Chores"]

_log = logging.getLogger("zkcore.session")

T = TypeVar("T")


class Chores:
    """The tasks of `port`, which it must not lose. Make it on the event loop of the Port."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._cleanups: set[asyncio.Task[Any]] = set()
        self._backgrounds: list[AsyncBackground] = []

    def clean_up(self, cleanup: Callable[[Port], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """See `zkcore.client.port.Port.shield`. Where it fails that is logged."""
        task = self._loop.create_task(cleanup(self._port))
        self._cleanups.add(task)
        task.add_done_callback(self._on_cleaned_up)
        return task

    def _on_cleaned_up(self, task: asyncio.Task[Any]) -> None:
        self._cleanups.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("a cleanup of session %#x failed: %s", self._port.session.id, error)

    def begin(self, work: Callable[[Port], Coroutine[Any, Any, None]], *, name: str) -> AsyncBackground:
        """See `zkcore.client.port.Port.spawn`."""
        background = AsyncBackground(work, self._port, name=name)
        self._backgrounds.append(background)
        background.when_ended(self._backgrounds.remove)
        return background

    async def stop_all(self) -> None:
        """End what works in the background; only not who asks for it, if it is one of them."""
        others = [each for each in self._backgrounds if not each.is_current]
        for background in others:
            background.cancel()
        for background in others:
            await self._port.wait(background.ended)

    def cancel_all(self) -> None:
        """As `stop_all`, without waiting for the end."""
        for background in self._backgrounds:
            background.cancel()
