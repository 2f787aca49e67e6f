"""What a listener for ZooKeeper's clients puts up with."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen
from attrs.validators import optional

from zkcore.errors import ConfigurationError

__all__ = ["ListenerLimits"]


def _positive(_: object, attribute: Attribute[Any], value: float) -> None:
    if not value > 0:
        raise ConfigurationError(f"ListenerLimits.{attribute.name} is {value}; it must be above 0")


@frozen(kw_only=True)
class ListenerLimits:
    """What a listener puts up with. Raises ConfigurationError for what is not above 0."""

    connections: int = field(default=10_000, validator=_positive)
    connections_per_address: int = field(default=60, validator=_positive)
    """ZooKeeper's maxClientCnxns."""
    queue_bytes: int = field(default=16 << 20, validator=_positive)
    """A client that takes so little that more than this waits for it is let go: it will come again, and catch up."""
    greeting_seconds: float = field(default=10.0, validator=_positive)
    """How long a connection may take until it has a session."""
    read_only_seconds: float | None = field(default=None, validator=optional(_positive))
    """When the node has had no leader for so long, clients that would rather read than wait are shown what it has:
    ZooKeeper's read-only mode. None for never."""
