"""Where a client belongs: to one process, and there to one event loop. Elsewhere it would wait for ever, for a thread
that is not there or a loop that does not run it; so whoever uses it elsewhere is told so.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

from zkcore.errors import ForeignLoopError
from zkcore.forks import Process

__all__ = ["Home"]


class Home:
    """The event loop that something was made on. Make it there."""

    def __init__(self) -> None:
        self.process = Process()
        self._loop = asyncio.get_running_loop()

    def refuse(self) -> NoReturn:
        """For who was found elsewhere: raises ForkedError or ForeignLoopError."""
        self.process.check()
        raise ForeignLoopError(
            "this client belongs to the event loop that it was started on, and was used from another one or from none: "
            "call it there (asyncio.run_coroutine_threadsafe), make a client for this loop, or take zkcore.sync for "
            "code without a loop"
        )

    def check(self) -> None:
        """Raises ForkedError or ForeignLoopError elsewhere."""
        if asyncio._get_running_loop() is not self._loop:
            self.refuse()
