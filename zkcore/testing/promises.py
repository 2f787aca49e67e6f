"""What a test says of its world: what always holds, and what comes true in time.

This module must not know what a world is made of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

from attrs import define

from zkcore.testing.virtual_loop import VirtualLoop

__all__ = ["Promises", "WorldFailure"]


class WorldFailure(AssertionError):
    """A promise of the test does not hold: `always`, `eventually`, a task of an app that failed, or a test that never
    ends."""


@define(eq=False)
class _Hope:
    """What is to come true."""

    name: str
    predicate: Callable[[], object]
    done: asyncio.Future[None]


class Promises:
    """The promises of one world. `fail` is told of the first that does not hold, in the context `context`."""

    def __init__(self, loop: VirtualLoop, context: Context, fail: Callable[[BaseException], None]) -> None:
        self._loop = loop
        self._context = context
        self._fail = fail
        self._always: list[tuple[str, Callable[[], object]]] = []
        self._hopes: list[_Hope] = []

    def always(self, name: str, predicate: Callable[[], object]) -> None:
        """See AppWorld."""
        self._always.append((name, predicate))

    def eventually(self, name: str, predicate: Callable[[], object], *, within: float) -> asyncio.Future[None]:
        """See AppWorld."""
        hope = _Hope(name, predicate, self._loop.create_future())
        self._hopes.append(hope)
        self._loop.call_later(within, self._on_deadline, hope, within, context=self._context)
        return hope.done

    def _on_deadline(self, hope: _Hope, within: float) -> None:
        if hope in self._hopes:
            self._fail(WorldFailure(f"eventually {hope.name!r}: not within {within} s"))

    def check_always(self) -> None:
        """Something of the apps may have changed."""
        for name, predicate in self._always:
            if not predicate():
                self._fail(WorldFailure(f"always {name!r}: no longer at {self._loop.time():.6f} s"))

    def check_hopes(self) -> None:
        """Something may have changed anywhere."""
        if self._hopes:
            for hope in [hope for hope in self._hopes if hope.predicate()]:
                self._hopes.remove(hope)
                if not hope.done.done():
                    hope.done.set_result(None)
