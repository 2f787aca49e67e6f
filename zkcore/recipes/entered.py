"""What each `with` of a task or thread has entered.

One recipe object serves many tasks, so what the end of a `with` must end cannot stand in the object: another may have
entered it by then. It stands in the context of whoever entered.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Generic, TypeVar

__all__ = ["Entered"]

T = TypeVar("T")


class Entered(Generic[T]):
    """By owner, what its `with`s in this context have entered, the innermost last."""

    def __init__(self, name: str) -> None:
        self._pairs: ContextVar[tuple[tuple[object, T], ...]] = ContextVar(name, default=())

    def push(self, owner: object, what: T) -> None:
        """`owner` has entered `what`."""
        self._pairs.set((*self._pairs.get(), (owner, what)))

    def pop(self, owner: object) -> T | None:
        """The innermost thing that `owner` has entered, and leaves now; None where it was in another context, as in
        the fixtures of test frameworks."""
        pairs = self._pairs.get()
        mine = next((pair for pair in reversed(pairs) if pair[0] is owner), None)
        if mine is None:
            return None
        self._pairs.set(tuple(pair for pair in pairs if pair is not mine))
        return mine[1]
