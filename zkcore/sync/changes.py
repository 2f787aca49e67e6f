"""The blocking faces of the iterators over what something comes to be, and over what happens: `zkcore.recipes.changes`,
`zkcore.client.states` and `zkcore.client.events`.
"""

from __future__ import annotations

from typing import Generic, Protocol, Self, TypeVar

from zkcore.client.port import SessionState
from zkcore.sync.port import run
from zkcore.tree.applied import WatchEvent
from zkcore.tree.watch_requests import Resync

__all__ = ["Changes", "Events", "States"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _AsyncIterator(Protocol[T_co]):
    async def __anext__(self) -> T_co: ...
    async def aclose(self) -> None: ...


class Changes(Generic[T]):
    """An iterator: first the present state, then every time the newest, when it differs from the one given before. It
    blocks until there is one, and has no end but `close`, which any thread may call; the end of the session is raised
    as SessionExpiredError or SessionClosedError."""

    def __init__(self, inner: _AsyncIterator[T]) -> None:
        self._inner = inner

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return run(self._inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """End it; whoever waits for the next state is told so."""
        run(self._inner.aclose())


class States(Changes[SessionState]):
    """An iterator over the states of a session: first the present one, then every time the newest, when it differs from
    the one given before. Who is slow misses what came and went meanwhile, but never LOST. It blocks until there is one,
    and ends behind CLOSED, or by `close`, which any thread may call."""


class Events(Changes[WatchEvent | Resync]):
    """An iterator over the events of one persistent watch: first a Resync, then every WatchEvent in the order of zxids,
    but for those that a later one of the same kind on the same znode makes good, and a Resync where some are missing.
    It blocks until there is one, and has no end but `close`, which any thread may call; the end of the session is
    raised as SessionExpiredError or SessionClosedError, behind the last event."""
