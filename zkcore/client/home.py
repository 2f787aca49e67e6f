"""Where a client belongs: to one process, and there to one event loop. Elsewhere it would wait for ever, for a thread
that is not there or a loop that does not run it; so whoever uses it elsewhere is told so.

A fork is noticed by the child, which counts; nobody has to ask the system who he is.
"""

from __future__ import annotations

import asyncio
import os
from typing import NoReturn

from zkcore.errors import ForeignLoopError, ForkedError

__all__ = ["Home", "Process"]

_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class Process:
    """The process that something was made in."""

    def __init__(self) -> None:
        self._forks = _forks
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether it is the one that runs."""
        return self._forks == _forks

    def check(self) -> None:
        """Raises ForkedError elsewhere."""
        if self._forks != _forks:
            raise ForkedError(
                f"this was made in process {self._pid}, from which process {os.getpid()} was forked later, and belongs "
                "to that one; make a new cluster or node and a new client in each process, after the fork"
            )


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
