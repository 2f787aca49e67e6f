"""The timers and sizes of a Peer.

Every timer counts ticks. A tick has no length of its own: whoever hosts the Peer decides how often it passes, 10 ms by
default, and the numbers below are chosen for that. This module knows no clock.
"""

from __future__ import annotations

from attrs import Attribute, field, frozen

from zkcore.errors import ConfigurationError
from zkcore.zxid import MAX_COUNTER

__all__ = ["Limits"]


def _positive(_: object, attribute: Attribute[int], value: int) -> None:
    if value < 1:
        raise ConfigurationError(f"Limits.{attribute.name} is {value}; it must be at least 1")


@frozen(kw_only=True)
class Limits:
    """How patient and how greedy a Peer is (protocol.md 1.9). All members of an ensemble should have the same.

    Raises ConfigurationError for a value below 1, and where a learner would lose patience between two pings.
    """

    tick_ms: int = field(default=10, validator=_positive)
    """Milliseconds that the host lets pass for one tick."""
    vote_resend_ticks: int = field(default=20, validator=_positive)
    """While looking: send the vote again after this many ticks, then after twice as many, and so on ..."""
    vote_resend_max_ticks: int = field(default=160, validator=_positive)
    """... but at least this often."""
    finalize_ticks: int = field(default=10, validator=_positive)
    """While looking with a quorum agreed: how long a better vote may still arrive."""
    register_ticks: int = field(default=5, validator=_positive)
    """A learner repeats FOLLOWERINFO this often until the leader answers."""
    init_limit_ticks: int = field(default=500, validator=_positive)
    """How long discovery may take, and how long synchronisation: a quorum must get its snapshots within it."""
    sync_limit_ticks: int = field(default=200, validator=_positive)
    """How long a peer may be silent, or behind with its acknowledgements, before it is given up."""
    ping_ticks: int = field(default=50, validator=_positive)
    """A leader pings its learners this often."""
    deliver_bytes: int = field(default=1 << 20, validator=_positive)
    """Payload delivered in one drain loop; what is beyond waits for the next input, so that nothing else starves."""
    read_bytes: int = field(default=1 << 20, validator=_positive)
    """Payload read from the log, or sent in one PROPOSAL of a synchronisation, at a time."""
    tail_bytes: int = field(default=16 << 20, validator=_positive)
    """Payload kept in memory until it is delivered; what is beyond is read back from the log."""
    snapshot_chunk_bytes: int = field(default=256 << 10, validator=_positive)
    """The size of the pieces in which a snapshot is sent."""
    snapshot_bytes_per_tick: int = field(default=4 << 20, validator=_positive)
    """A leader sends no more than this of snapshots in one tick, to all learners together."""
    window_bytes: int = field(default=8 << 20, validator=_positive)
    """Payload on its way to one learner that it has not acknowledged; what is beyond is read from the log later."""
    outstanding_proposals: int = field(default=10_000, validator=_positive)
    """While so many proposals are not committed a leader takes no more (ThrottledError) ..."""
    outstanding_bytes: int = field(default=32 << 20, validator=_positive)
    """... nor while their payload is this much."""
    retained_records: int = field(default=1_000, validator=_positive)
    """A compaction leaves so many records behind the snapshot in the log, for learners that are a little late."""
    transfer_ticks: int = field(default=100, validator=_positive)
    """How long the chosen successor may take to be ready before a transfer of the leadership is given up."""
    last_counter: int = field(default=0xFFF00000, validator=_positive)
    """A leader whose counter has come this far hands over, so that a new epoch begins a new count (ZOOKEEPER-1277)."""

    def __attrs_post_init__(self) -> None:
        if self.last_counter > MAX_COUNTER:
            raise ConfigurationError(f"Limits.last_counter is {self.last_counter}; a counter has 32 bits")
        if 2 * self.ping_ticks > self.sync_limit_ticks:
            raise ConfigurationError(
                f"Limits.sync_limit_ticks is {self.sync_limit_ticks} and ping_ticks {self.ping_ticks}: "
                "a peer must have time for two pings before it is given up"
            )
