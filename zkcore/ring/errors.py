"""What the ring raises. The names are those of `zkcore.errors` where the two mean the same.

The ring is useful alone, so it has a tree of its own: `RingError` is its root. Every message names the node or the key
it is about. Where the standard library has a matching class the error inherits from it.
"""

from __future__ import annotations

__all__ = [
    "BadArgumentsError",
    "BadKeyError",
    "NoNodeError",
    "NodeExistsError",
    "PlanError",
    "RingError",
    "UnsatisfiableError",
    "UnsupportedError",
]


class RingError(Exception):
    """The root of the exceptions of `zkcore.ring`."""


class BadArgumentsError(RingError, ValueError):
    """An argument is wrong in itself: a weight that is zero, a node without a name."""


class BadKeyError(BadArgumentsError, TypeError):
    """A key is neither str, bytes nor int."""


class NoNodeError(RingError, LookupError):
    """The node is not in the placement, or the placement has no node at all."""


class NodeExistsError(RingError, ValueError):
    """A node of that name is in the placement already."""


class UnsatisfiableError(RingError, ValueError):
    """More replicas are asked for than there are nodes, or more racks than there are."""


class UnsupportedError(RingError):
    """What was asked cannot be done by this algorithm, whatever the arguments."""


class PlanError(RingError):
    """A migration cannot be planned or followed the way it was asked."""
