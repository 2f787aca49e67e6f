"""Changes: an iterator over what something is, and then over what it comes to be.

It looks again only when a watch says that something may have changed, and it tells states, not events: who is slow
misses what came and went meanwhile, and never the newest. So nothing piles up, however slow he is.

This module must not know what is looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

from zkcore.client.port import Port
from zkcore.recipes.waiting import FOR_EVER, Watch

__all__ = ["Changes"]

T = TypeVar("T")


class Changes(Generic[T]):
    """An asynchronous iterator: first the present state, then every time the newest, when it differs from the one given
    before. It has no end but `aclose`; the end of the session is raised as SessionExpiredError or SessionClosedError.

    One task at a time may wait for the next state.
    """

    def __init__(
        self, port: Port, look: Callable[[Watch], Awaitable[Any]], show: Callable[[Any], T] | None = None
    ) -> None:
        """`look` reads what is compared, and has the watch set; `show` makes of it what is given out."""
        self._watch = Watch(port)
        self._look = look
        self._show = show
        self._seen: tuple[Any, ...] = ()
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        watch = self._watch
        try:
            while not self._is_closed:
                state = await self._look(watch)
                if self._seen != (state,):
                    self._seen = (state,)
                    shown: T = state if self._show is None else self._show(state)
                    return shown
                if not self._is_closed:
                    await watch.changed(FOR_EVER)
        finally:
            watch.end()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End it; whoever waits for the next state is told so."""
        self._is_closed = True
        self._watch.wake()
