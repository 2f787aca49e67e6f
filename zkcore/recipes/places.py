"""The places of items: how the names of their znodes put them in order, and what is written into a claim.

An item is called `i-`, in a priority queue its priority, and the digits that the ensemble counts up below `items`. So
the order of the names is the order in which items are given out: by priority first, and then as they were put. One that
is delayed is called `d-`, when it is due, and what it will be called then, and digits: those in front are due first.

This module must not know what time it is.
"""

from __future__ import annotations

from math import ceil, inf

from zkcore.errors import BadArgumentsError

__all__ = [
    "DELAYED",
    "DELAYED_END",
    "PLAIN",
    "PRIORITIES",
    "check_delay",
    "claim_of",
    "delayed",
    "due",
    "ends",
    "holding_back",
    "place_of",
    "prioritized",
    "undelayed",
    "visibility_of",
]

PRIORITIES = range(1_000_000)
"""What an item of a priority queue can have; the lower comes first."""

PLAIN = "i-"
"""The place of an item in a queue without priorities."""

DELAYED = "d-"
DELAYED_END = "d~"
"""Between the names of those that are delayed and of those that are not."""

_MS_DIGITS = 14
_LONGEST = 100 * 366 * 86400
_DIGITS = 10
"""The ensemble appends as many."""

_UNTIL = b"until "


def prioritized(priority: int) -> str:
    """The place of an item of a priority queue. Raises BadArgumentsError."""
    if not isinstance(priority, int) or priority not in PRIORITIES:
        raise BadArgumentsError(f"a priority of {priority!r}; give a whole number from 0 (first) to {PRIORITIES[-1]}")
    return f"{PLAIN}{priority:06}-"


def check_delay(seconds: float) -> None:
    """Raises BadArgumentsError for a time that nothing can be held back."""
    if not 0 <= seconds <= _LONGEST:
        raise BadArgumentsError(f"a delay of {seconds} seconds; give 0 for none, or up to a hundred years")


def delayed(place: str, until: float) -> str:
    """The place of an item that is delayed `until` then, in seconds since 1970, and gets its `place` afterwards."""
    return f"{DELAYED}{ceil(until * 1000):0{_MS_DIGITS}}-{place}"


def due(name: str) -> float:
    """When a delayed item is due."""
    return int(name[len(DELAYED) : len(DELAYED) + _MS_DIGITS]) / 1000


def undelayed(name: str) -> str:
    """The place that a delayed item gets."""
    return name[len(DELAYED) + _MS_DIGITS + 1 : -_DIGITS]


def place_of(name: str) -> str:
    """The place of an item that is not delayed."""
    return name[:-_DIGITS]


def claim_of(nonce: str, visibility_timeout: float | None) -> bytes:
    """What the claim of a worker says of itself."""
    return (nonce if visibility_timeout is None else f"{nonce} {visibility_timeout!r}").encode()


def visibility_of(claim: bytes) -> float:
    """After how many seconds that claim may be taken over, if it was not renewed."""
    _, _, seconds = claim.partition(b" ")
    try:
        return float(seconds)
    except ValueError:
        return inf


def holding_back(until: float) -> bytes:
    """What the claim says that holds an item back until then, in seconds since 1970."""
    return _UNTIL + str(ceil(until * 1000)).encode()


def ends(claim: bytes) -> float:
    """When that claim ends."""
    digits = claim.removeprefix(_UNTIL)
    return int(digits) / 1000 if digits.isdigit() else inf
