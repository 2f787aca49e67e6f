"""The replica, for those who host it themselves: inputs, and the answers among the events of a Ready."""

from zkcore.replica.answers import Answer, Attached, Detached, Replied, SessionEnded, Touched, WatchFired
from zkcore.replica.replica import Replica

__all__ = [
    "Answer",
    "Attached",
    "Detached",
    "Replica",
    "Replied",
    "SessionEnded",
    "Touched",
    "WatchFired",
]
