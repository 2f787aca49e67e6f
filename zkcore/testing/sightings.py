"""What a world ought to see sometimes: counters of the rare paths of the protocol, so that a long run shows which of
them it never took.

It is a probe from outside: messages, writes, events, and the words with which a role ends. Nothing in the core knows of
it, nothing depends on it, and a path that changes its words shows up as one that was never taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from zkcore.testing.checkers import Oracle
from zkcore.zab.messages import AckEpoch, Diff, Message, PeerId, Repaired, Role, Snap, Trunc
from zkcore.zab.ready import (
    Append,
    Compact,
    Event,
    InstallSnapshot,
    ReadDropped,
    ReadReady,
    Repair,
    RoleChanged,
    Saved,
    TransferFailed,
    Truncate,
    Write,
)
from zkcore.zab.status import PeerStatus
from zkcore.zxid import epoch_of

__all__ = ["SOMETIMES", "Sightings"]

_ROLE_ENDS = (
    ("no quorum was heard", "leader heard no quorum"),
    ("no quorum in", "nobody came to be led"),
    ("electing somebody else", "leader outvoted before it served"),
    ("has accepted epoch", "voter had accepted a later epoch"),
    ("has a newer history", "leader met a newer history"),
    ("has no zxids left", "counter of an epoch used up"),
    ("was silent", "leader was silent"),
    ("there is no link", "no link to the leader"),
    ("broke", "link to the leader broke"),
    ("leads no more", "leader said it leads no more"),
    ("is accepted", "epoch refused by a learner that had promised more"),
    ("handed over to", "leadership handed over"),
)
"""Words in the reason of a RoleChanged, and what they mean."""

SOMETIMES = (
    "DIFF", "TRUNC", "SNAP", "SNAP resumed", "promise not given twice", "damaged learner", "promises counted again",
    "interrupted sync found at start", "interrupted sync undone", "snapshot installed", "log kept behind its snapshot",
    "read answered", "read dropped", "leader established", "two leaders at once", "throttled",
    "transfer refused", "transfer failed", "disk repaired", "damaged and away from the leader", "learner lags",
    "damage met by a read", "observer serves", "observer behind", "other members proposed",
    *(name for _, name in _ROLE_ENDS),
)  # fmt: skip
"""All there is to see."""

MUCH = 20
"""So many records behind is worth a count."""


class Sightings:
    """`counts` says how often each of SOMETIMES was seen."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.counts: Counter[str] = Counter()
        self._messages: dict[type, Callable[[Any], str | None]] = {
            Diff: lambda message: "DIFF",
            Trunc: lambda message: "TRUNC",
            Snap: lambda message: "SNAP resumed" if message.offset else "SNAP",
            AckEpoch: _ack_epoch,
            Repaired: lambda message: "promises counted again",
        }
        self._events: dict[type, Callable[[Any], str | None]] = {
            ReadReady: lambda event: "read answered",
            ReadDropped: lambda event: "read dropped",
            RoleChanged: _role_changed,
            TransferFailed: lambda event: "transfer failed",
        }

    def see(self, name: str) -> None:
        """`name`, one of SOMETIMES, has happened."""
        self.counts[name] += 1

    def started(self, saved: Saved) -> None:
        """A node begins from `saved`."""
        if saved.last > saved.base and epoch_of(saved.last) > saved.current_epoch:
            self.counts["interrupted sync found at start"] += 1

    def sent(self, message: Message) -> None:
        """`message` leaves a node."""
        look = self._messages.get(type(message))
        if look is not None:
            name = look(message)
            if name is not None:
                self.counts[name] += 1

    def told(self, event: Event) -> None:
        """A node tells `event`, which is no Delivered."""
        look = self._events.get(type(event))
        if look is not None:
            name = look(event)
            if name is not None:
                self.counts[name] += 1

    def writing(self, node: PeerId, write: Write) -> None:
        """`write` is about to become durable at `node`."""
        kind = type(write)
        if kind is Append:
            return
        durable = self._oracle.durable[node]
        if isinstance(write, Truncate) and epoch_of(durable.last) > durable.current:
            self.counts["interrupted sync undone"] += 1
        elif kind is Repair:
            self.counts["disk repaired"] += 1
        elif kind is InstallSnapshot:
            self.counts["snapshot installed"] += 1
        elif isinstance(write, Compact) and write.upto < write.ref.zxid:
            self.counts["log kept behind its snapshot"] += 1


    def heard(self, status: PeerStatus) -> None:
        """A node was asked for its status."""
        oracle = self._oracle
        if status.damage is not None and status.leader is None:
            self.counts["damaged and away from the leader"] += 1
        if any(learner.lag > MUCH for learner in status.learners):
            self.counts["learner lags"] += 1
        if status.role is Role.OBSERVING:
            behind = len(oracle.committed) - oracle.delivered[status.me]
            self.counts["observer behind" if behind > MUCH else "observer serves"] += status.established


def _ack_epoch(message: AckEpoch) -> str | None:
    if message.damage is not None:
        return "damaged learner"
    return "promise not given twice" if message.current_epoch is None else None


def _role_changed(event: RoleChanged) -> str | None:
    if event.established:
        return "leader established" if event.leader is not None and event.role.name == "LEADING" else None
    return next((name for words, name in _ROLE_ENDS if words in event.why), None)
