"""How often something may happen: token buckets for whoever calls, and a log that does not repeat itself.

Both are kept for each of many keys that strangers can choose, such as addresses; so the number of keys is bounded, and
the one not seen for longest is forgotten first. Time is an argument, in seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["Buckets", "Seldom"]

_MAX_KEYS = 4096


class Buckets:
    """A token bucket for each key: `burst` at once, `per_second` in the long run."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def take(self, key: Hashable, now: float) -> bool:
        """Whether there was a token for `key`; it is gone then."""
        tokens, counted = self._left.pop(key, (float(self._burst), now))
        tokens = min(tokens + (now - counted) * self._per_second, self._burst)
        granted = tokens >= 1
        self._left[key] = (tokens - granted, now)
        if len(self._left) > _MAX_KEYS:
            self._left.popitem(last=False)
        return granted


class Seldom:
    """Lets the same thing be said once in `every` seconds, and counts how often it was not."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._said: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # when last, and how often not since

    def may_say(self, key: Hashable, now: float) -> int | None:
        """None where it is too early; else how often it was left unsaid since the last time."""
        said = self._said.pop(key, None)
        if said is not None and now - said[0] < self._every:
            self._said[key] = (said[0], said[1] + 1)
            return None
        self._said[key] = (now, 0)
        if len(self._said) > _MAX_KEYS:
            self._said.popitem(last=False)
        return said[1] if said is not None else 0
