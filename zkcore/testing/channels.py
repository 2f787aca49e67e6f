"""How what one process tells another travels in an AppWorld: late, by as much as the seed says, and in order.

This module must not know what is said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from zkcore.testing.trace import random_stream
from zkcore.testing.virtual_loop import VirtualLoop

__all__ = ["Channel", "Distances"]

_NEAREST, _FURTHEST = 0.0001, 0.02
"""Between two places a message takes so many seconds at least: each pair draws a number between these, as likely in
each decade; and each message takes up to twice that."""

_LATE, _LATEST = 0.05, 10.0
"""What is late takes so many seconds more, drawn in the same way."""


class Distances:
    """How long messages take between two places, by the seed. The names of places are those of nodes and apps.

    Of the messages that apps send or get, the share `late_share` is late; `late` counts them.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.late_share = 0.0
        self.late = 0

    def between(self, sender: str, to: str) -> Callable[[], float]:
        """Gives the seconds that the next message from `sender` to `to` takes."""
        draw = random_stream(self._seed, f"way/{sender}>{to}").random
        least = _NEAREST * (_FURTHEST / _NEAREST) ** draw()
        return lambda: least * (1 + draw())

    def between_apps(self, sender: str, to: str) -> Callable[[], float]:
        """The same, and a message may be late."""
        seconds = self.between(sender, to)
        draw = random_stream(self._seed, f"late/{sender}>{to}").random

        def with_delays() -> float:
            if draw() >= self.late_share:
                return seconds()
            self.late += 1
            return seconds() + float(_LATE * (_LATEST / _LATE) ** draw())

        return with_delays


class Channel:
    """Calls that arrive later, in the order in which they were made, in the context of the receiving process.

    Each has a timer of its own, and each timer that fires lets the first of those under way arrive: so it does not
    matter in which order timers of the same moment fire. While the receiver is paused its timers wait with it; when it
    has crashed nothing arrives any more, so a process that is started anew needs channels of its own.
    """

    def __init__(self, loop: VirtualLoop, context: Context, seconds: Callable[[], float]) -> None:
        self._loop = loop
        self._context = context
        self._seconds = seconds
        self._newest = 0.0
        self._under_way: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def post(self, action: Callable[..., object], *args: Any, extra: float = 0.0) -> None:
        """`action(*args)`, when it has arrived; `extra` seconds later than usual."""
        self._newest = max(self._newest, self._loop.time() + self._seconds() + extra)
        self._under_way.append((action, args))
        self._loop.call_at(self._newest, self._arrive, context=self._context)

    def _arrive(self) -> None:
        action, args = self._under_way.popleft()
        action(*args)
