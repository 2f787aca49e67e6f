"""The blocking face of `zkcore.recipes.changes`."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

from zkcore.recipes.changes import Changes as AsyncChanges
from zkcore.sync.port import run

__all__ = ["Changes"]

T = TypeVar("T")


class Changes(Generic[T]):
    """An iterator: first the present state, then every time the newest, when it differs from the one given before. It
    blocks until there is one, and has no end but `close`, which any thread may call; the end of the session is raised
    as SessionExpiredError or SessionClosedError."""

    def __init__(self, inner: AsyncChanges[T]) -> None:
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
