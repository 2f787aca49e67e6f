"""What happened in a simulated world, as one number and, on request, as text.

Every event is folded into a running hash, so two runs of one seed can be compared without keeping either. Only integers
are hashed: their hash does not depend on PYTHONHASHSEED, on addresses or on the day. The number is good for comparing
runs on one build of Python; it is not meant to be kept for ever.

Also here: the random streams. Each part of a world draws from a generator of its own, named and seeded from the
world's seed, so that leaving one thing out does not shift what the others draw.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random

from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Commit,
    Diff,
    FollowerInfo,
    Forward,
    HandOff,
    LeaderInfo,
    Message,
    NewLeader,
    Ping,
    Proposal,
    Repaired,
    Snap,
    SnapAck,
    SnapData,
    SyncAck,
    Trunc,
    UpToDate,
    Vote,
)

__all__ = ["NANOSECONDS", "NumberedStreams", "Trace", "random_stream"]

NANOSECONDS = 1_000_000_000
"""Virtual time is counted in these, as integers: no rounding, so no two machines disagree on what came first."""


def random_stream(seed: int, name: str) -> Random:
    """The generator called `name` in the world of `seed`."""
    return Random(int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=16).digest(), "big"))


class NumberedStreams:
    """Generators for many small things, told apart by two numbers below 2**32 and 256. There is one object for all of
    them, seeded anew each time, which is cheaper than many: be done with one before asking for the next."""

    def __init__(self, seed: int, name: str) -> None:
        self._base = random_stream(seed, name).getrandbits(64)
        self._rng = Random()

    def get(self, number: int, part: int) -> Random:
        self._rng.seed(self._base ^ (number << 8 | part))
        return self._rng


# What of a message enters the hash: a number for its kind, and the field that tells two of that kind apart.
_KINDS: dict[type, tuple[int, str]] = {
    Vote: (1, "zxid"), FollowerInfo: (2, "accepted_epoch"), LeaderInfo: (3, "epoch"), AckEpoch: (4, "last_zxid"),
    Diff: (5, "zxid"), Trunc: (6, "zxid"), Snap: (7, "zxid"), SnapData: (8, "offset"), SnapAck: (9, "offset"),
    NewLeader: (10, "epoch"), UpToDate: (11, "zxid"), Proposal: (12, "last"), Ack: (13, "zxid"), Commit: (14, "zxid"),
    Ping: (15, "round"), SyncAck: (17, "zxid"), Repaired: (18, "epoch"), HandOff: (19, "leader"),
}  # fmt: skip


class Trace:
    """The running hash and the count of events; `lines` holds them as text where `keep` was asked for."""

    __slots__ = ("digest", "events", "lines")

    def __init__(self, *, keep: bool = False) -> None:
        self.digest = 0
        self.events = 0
        self.lines: list[str] | None = [] if keep else None

    def mark(self, now: int, *facts: int) -> None:
        """Fold one event into the hash."""
        self.events += 1
        self.digest = hash((self.digest, now, facts))

    def arrived(self, now: int, sender: int, to: int, message: Message) -> None:
        """`message` was handed to the host of `to`."""
        kind = type(message)
        if kind is Forward:
            data: bytes = message.data  # type: ignore[union-attr]
            code, value = 16, int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
        else:
            code, name = _KINDS[kind]
            value = getattr(message, name)
        self.events += 1
        self.digest = hash((self.digest, now, sender, to, code, value))
        if self.lines is not None:
            self.say(now, f"{to} <- {sender}  {message}")

    def say(self, now: int, text: str) -> None:
        """Keep a line of text, where text is kept at all. Callers on hot paths ask `lines` first."""
        if self.lines is not None:
            self.lines.append(f"{now / NANOSECONDS:12.6f}  {text}")
