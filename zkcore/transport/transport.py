"""What carries messages between replicas: the plug point, and the network that lives in one process.

The law of a transport: `report_linked` comes before a link's first message; messages arrive in the order in which they
were sent, or the link is reported lost; between two `report_linked` for one peer there is a `report_lost`; nothing sent
before a loss arrives after it; `send` without a link is dropped silently. The sender named to the Inbox is the one the
transport authenticated, never one that a message claims.
"""

from __future__ import annotations

from typing import Protocol

from zkcore.zab.messages import Message, PeerId

__all__ = ["Inbox", "Transport"]


class Transport(Protocol):
    """The sending half: fire and forget, first in first out on every link."""

    def send(self, to: PeerId, message: Message) -> None:
        """Put `message` on the link to `to`; without a link it is dropped. Never blocks, never raises."""

    def close(self, to: PeerId) -> None:
        """Break the link to `to`. Both ends report it lost, and later linked again."""


class Inbox(Protocol):
    """The receiving half, which the host gives to its transport. Every method may be called from any thread."""

    def receive(self, sender: PeerId, message: Message) -> None:
        """`message` arrived from `sender`."""

    def report_linked(self, peer: PeerId) -> None:
        """A fresh link to `peer` is up."""

    def report_lost(self, peer: PeerId) -> None:
        """The link to `peer` broke."""
