"""How much a member puts up with from the network."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen

from zkcore.errors import ConfigurationError
from zkcore.transport.wire import MAX_FRAME_BYTES

__all__ = ["LinkLimits"]


def _positive(_: object, attribute: Attribute[Any], value: float) -> None:
    if not value > 0:
        raise ConfigurationError(f"LinkLimits.{attribute.name} is {value}; it must be above 0")


@frozen(kw_only=True)
class LinkLimits:
    """See the module. Raises ConfigurationError for what is not above 0."""

    patience_seconds: float = field(default=2.0, validator=_positive)
    """A link on which nothing was heard for this long is lost: its other end is frozen, or cut off. `start_node` takes
    the sync limit of the ensemble."""
    handshake_seconds: float = field(default=5.0, validator=_positive)
    """How long a connection may take to become a link, from the dial on."""
    redial_seconds: float = field(default=0.05, validator=_positive)
    """How long to wait before a member is dialled again, at first; twice as long each time it fails ..."""
    redial_most_seconds: float = field(default=1.0, validator=_positive)
    """... but never longer. Each wait is shortened by chance, by up to a half."""
    frame_bytes: int = field(default=MAX_FRAME_BYTES, validator=_positive)
    """The largest message that is accepted, and sent."""
    queue_bytes: int = field(default=2 * MAX_FRAME_BYTES, validator=_positive)
    """So much may wait to be sent to one member; where it is more, the link is lost."""
    connections: int = field(default=256, validator=_positive)
    """Others have at most so many connections to this member, whoever they are ..."""
    handshakes: int = field(default=32, validator=_positive)
    """... of which so many are not links yet."""
    dials_per_second: float = field(default=50.0, validator=_positive)
    """From one address so many connections a second are accepted in the long run ..."""
    dials_at_once: int = field(default=100, validator=_positive)
    """... and so many at once."""
    log_every_seconds: float = field(default=60.0, validator=_positive)
    """The same trouble is logged once in so many seconds."""

    def __attrs_post_init__(self) -> None:
        if self.frame_bytes > self.queue_bytes:
            raise ConfigurationError(
                f"LinkLimits.frame_bytes is {self.frame_bytes} and queue_bytes {self.queue_bytes}: "
                "one message must find room in the queue"
            )
