"""One fault at one await of a recipe: for tests that go through all of them, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from scripted import Asking, Interrupted, Point, Run, World

from zkcore.errors import SessionExpiredError, ThrottledError


class Fault:
    """Does `action` to a coroutine at the await number `at` of those it could hit."""

    def __init__(
        self, run_of: Callable[[], Run | None], action: str, *at: int, session: int | None = None
    ) -> None:
        self._run_of, self._action, self._at, self._session = run_of, action, at, session
        self.count = 0
        self.hits = 0

    def __call__(self, run: Run, point: Point) -> str | None:
        interrupts = self._action.startswith("interrupted")
        if interrupts and self._run_of() not in (None, run):
            return None  # a cancellation hits the task, not its cleanup
        if self._session is not None and isinstance(point, Asking) and point.port.session.id != self._session:
            return None
        self.count += 1
        if self.count - 1 in self._at:
            self.hits += 1
            return self._action
        return None


ACTIONS = ["lost before", "lost after", "interrupted before", "interrupted after", "expired"]

ACCEPTED = (Interrupted, SessionExpiredError, ThrottledError)
"""What may come of an attempt, beside a result."""


def attempt(
    world: World,
    coroutine: Coroutine[Any, Any, Any],
    action: str,
    *at: int,
    then: Coroutine[Any, Any, None] | None = None,
    session: int | None = None,
    also: tuple[type[BaseException], ...] = (),
) -> tuple[Run, bool]:
    """Run `coroutine` with a fault, and `then` when it can go no further. Also says whether there was an await for the
    fault to hit. With a `session`, only requests of that are hit; `also` are errors
    that may come of it."""
    started: list[Run] = []
    fault = Fault(lambda: started[0] if started else None, action, *at, session=session)
    world.script = fault
    started.append(world.start(coroutine))
    world.settle()
    if then is not None:
        world.start(then)
        world.settle()
    world.sleep(1)
    world.script = lambda run, point: None
    world.settle()
    assert started[0].is_over, f"it hangs at {started[0].at}"
    error = started[0].error
    assert error is None or isinstance(error, (*ACCEPTED, *also)), f"{action} at {at}: {error!r}"
    return started[0], fault.hits > 0
