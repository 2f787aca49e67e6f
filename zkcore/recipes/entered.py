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

    def innermost(self, owner: object) -> T | None:
        """The innermost thing that `owner` has entered; None where it was in another context, as in the fixtures of
        test frameworks."""
        return next((what for each, what in reversed(self._pairs.get()) if each is owner), None)

    def pop(self, owner: object) -> T | None:
        """As `innermost`, for what is left now."""
        what = self.innermost(owner)
        if what is not None:
            self.remove(owner, what)
        return what

    def remove(self, owner: object, what: T) -> None:
        """`owner` leaves `what`, wherever it was entered."""
        pairs = self._pairs.get()
        self._pairs.set(tuple([pair for pair in pairs if pair[0] is not owner or pair[1] is not what]))
