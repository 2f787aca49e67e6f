"""Sessions beside the replicated state: how long they may be silent, when they expire, which ids are new, and how
somebody proves that a session is theirs.

Whether a session lives is part of the tree, and changes by transactions only. Here is only the leader's opinion of who
has been silent for too long; a new leader forms its own from the start, giving every session a full timeout.

**Passwords.** Whoever opens a session is given 16 random bytes, and shows them to be served by another replica.
(ZooKeeper makes them from the id, which everybody can see, and a constant.) Of the password only the *key* is
replicated, a hash that says whether a password is right and not what it is: neither a log, nor a snapshot, nor another
client's request is of any use to a thief. The id is part of the hash, so that a key opens one session alone.

This module must not know a clock: time is ticks counted by `tick`, and the milliseconds given to `SessionIds.next`. Nor
may it make random bytes: whoever opens a session brings them.
"""

from __future__ import annotations

from hashlib import sha256
from heapq import heappop, heappush
from hmac import compare_digest
from typing import NamedTuple

from attrs import field, frozen

from zkcore.errors import ConfigurationError

__all__ = ["KEY_SIZE", "PASSWORD_SIZE", "SessionIds", "SessionTracker", "Timeouts", "TrackedSession", "key_of", "opens"]

PASSWORD_SIZE = 16
"""The length of a session's password in bytes, as ZooKeeper's clients expect it."""

KEY_SIZE = 32


def key_of(session: int, password: bytes) -> bytes:
    """What the replicated state keeps of a session's password, KEY_SIZE bytes.

    A single SHA-256 will do: there are 2**128 passwords to try, not the few that people think of. Raises ValueError
    for a password of another length than PASSWORD_SIZE.
    """
    if len(password) != PASSWORD_SIZE:
        raise ValueError(f"the password of a session has {PASSWORD_SIZE} bytes, not {len(password)}")
    return sha256(b"zkcore session" + session.to_bytes(8, "big", signed=True) + password).digest()


def opens(key: bytes, session: int, password: bytes) -> bool:
    """Whether `password` is the one that `key` was made from; in the same time whether or not. Never raises: what
    comes from outside may have any length, and a session without a key (b"") is opened by nothing."""
    if not key or len(password) != PASSWORD_SIZE:
        return False
    return compare_digest(key, key_of(session, password))


@frozen
class Timeouts:
    """The session timeouts that a server grants, in milliseconds: 2 to 20 ticks of ZooKeeper's usual two seconds.

    Raises ConfigurationError unless 0 < minimum_ms <= maximum_ms < 2**31.
    """

    minimum_ms: int = field(default=4_000, kw_only=True)
    maximum_ms: int = field(default=40_000, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not 0 < self.minimum_ms <= self.maximum_ms <= 0x7FFFFFFF:
            raise ConfigurationError(
                f"session timeouts go from at least 1 ms to at most {0x7FFFFFFF} ms, the smaller first; not from "
                f"{self.minimum_ms} to {self.maximum_ms}"
            )

    def negotiate(self, asked_ms: int) -> int:
        """The timeout of a session whose client asks for `asked_ms`, which may be any number: the nearest there is."""
        return min(max(asked_ms, self.minimum_ms), self.maximum_ms)


class TrackedSession(NamedTuple):
    """A live session as the leader sees it, in ticks: the timeout, and for how long nothing was heard of it."""

    session: int
    timeout_ticks: int
    silent_ticks: int


class SessionTracker:
    """Expiry of sessions, in ticks.

    A session expires when more than its timeout has passed since it was last touched, and never before. A touch falls
    somewhere inside a tick, so one tick more than the timeout must be counted. And where many ticks are told at once,
    after a stall, a touch since the `tick` before may have come at the end of them: it counts from there.

    Touching is one dict entry. The heap of what is due lags behind: an entry that comes up too early, because its
    session was touched meanwhile, goes back with the time that is right by then.
    """

    def __init__(self) -> None:
        self._now = 0
        self._timeouts: dict[int, int] = {}
        self._deadlines: dict[int, int] = {}
        self._touched: dict[int, None] = {}  # since the last tick; a set in the order of touching
        # The one heap entry per session that counts; others are left over from sessions removed and added again.
        self._scheduled: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        self._condemned: dict[int, None] = {}  # to expire with the next tick; no longer watched over

    def __len__(self) -> int:
        return len(self._timeouts)

    def __contains__(self, session: int) -> bool:
        return session in self._timeouts

    def add(self, session: int, timeout_ticks: int) -> None:
        """Watch over `session` from now on; one that is known gets this timeout, and is touched."""
        if timeout_ticks < 1:
            raise ValueError(f"a session needs a timeout of at least one tick, not {timeout_ticks}")
        self._condemned.pop(session, None)
        self._timeouts[session] = timeout_ticks
        self._touched[session] = None
        deadline = self._deadlines[session] = self._now + timeout_ticks + 1
        if deadline < self._scheduled.get(session, deadline + 1):
            self._schedule(session, deadline)

    def touch(self, session: int) -> bool:
        """`session` was heard of. Says whether it is known here: one that expired is not."""
        if session not in self._timeouts:
            return False
        self._touched[session] = None
        return True

    def remove(self, session: int) -> None:
        """Forget `session`: it was closed."""
        self._timeouts.pop(session, None)
        self._deadlines.pop(session, None)
        self._scheduled.pop(session, None)
        self._condemned.pop(session, None)

    def expire(self, session: int) -> bool:
        """Let `session` expire with the next tick, whatever is heard of it until then: to kill it. Says whether it was
        known; it is not any more, unless it is added again."""
        if session not in self._timeouts:
            return False
        self.remove(session)
        self._condemned[session] = None
        return True

    def tick(self, ticks: int = 1) -> list[int]:
        """`ticks` have passed. Gives the sessions that expired with them, first those told to, then the longest overdue
        first, and forgets them: whoever asks must see to it that they are closed."""
        self._now += ticks
        for session in self._touched:
            if session in self._timeouts:
                self._deadlines[session] = self._now + self._timeouts[session] + 1
        self._touched.clear()
        expired = list(self._condemned)
        for session in expired:
            self.remove(session)
        while self._next_deadline(self._now) <= self._now:
            session = heappop(self._heap)[1]
            expired.append(session)
            self.remove(session)
        return expired

    @property
    def ticks_until_due(self) -> int | None:
        """After how many ticks the next session expires unless it is touched, or fewer where one was touched since the
        last tick or one was told to expire; None where there is no session."""
        if self._condemned:
            return 1
        deadline = self._next_deadline(None)
        return None if deadline == _NEVER else int(deadline - self._now)

    def sessions(self) -> list[TrackedSession]:
        """All of them, by id."""
        return [
            TrackedSession(
                session, timeout, 0 if session in self._touched else self._now + timeout + 1 - self._deadlines[session]
            )
            for session, timeout in sorted(self._timeouts.items())
        ]

    def _next_deadline(self, until: int | None) -> float:
        """Put the top of the heap right, as long as it lies before `until` (None: in any case), and read it."""
        while self._heap:
            due, session = self._heap[0]
            if until is not None and due > until:
                return due
            if self._scheduled.get(session) != due:
                heappop(self._heap)
                continue
            deadline = self._deadlines[session]
            if deadline == due:
                return due
            heappop(self._heap)
            self._schedule(session, deadline)
        return _NEVER

    def _schedule(self, session: int, due: int) -> None:
        self._scheduled[session] = due
        heappush(self._heap, (due, session))


_NEVER = float("inf")

_LOW_BITS = 56
_LOW_MASK = (1 << _LOW_BITS) - 1


class SessionIds:
    """Makes the ids of new sessions: no two servers the same, and no server one twice.

    As in ZooKeeper the high byte is the server, the next five the low 40 bits of the time in milliseconds, and the low
    two a counter. An id is a signed 64-bit number, so those of servers from 128 on are negative. A server 255 can have
    sessions but its ids look like ZooKeeper's mark of a znode with a time to live: an ensemble that wants those must
    number its servers below 255.
    """

    def __init__(self, server_id: int) -> None:
        if not 1 <= server_id <= 255:
            raise ValueError(f"a server has a number from 1 to 255, not {server_id}")
        self._server_id = server_id
        self._last: int | None = None

    def next(self, now_ms: int) -> int:
        """A new id at `now_ms`, milliseconds since 1970.

        Ids increase strictly, also while the clock stands still or goes back; only when the 40 bits of time run over,
        once in 34 years, do they begin again from below.
        """
        low = now_ms << 16 & _LOW_MASK
        if self._last is not None and not 0 < low - self._last & _LOW_MASK < 1 << _LOW_BITS - 1:
            low = self._last + 1 & _LOW_MASK
        if low == 0:  # of server 128 this is ZooKeeper's mark of a container
            low = 1
        self._last = low
        unsigned = self._server_id << _LOW_BITS | low
        return unsigned - (1 << 64) if unsigned >> 63 else unsigned
