"""What the leader keeps about sessions beside the replicated state: when they expire, and which ids are new.

Whether a session lives is part of the tree, and changes by transactions only. Here is only the leader's opinion of who
has been silent for too long; a new leader forms its own from the start, giving every session a full timeout.

This module must not know a clock: time is ticks counted by `tick`, and the milliseconds given to `SessionIds.next`.
"""

from __future__ import annotations

from heapq import heappop, heappush

__all__ = ["SessionIds", "SessionTracker"]


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

    def __len__(self) -> int:
        return len(self._timeouts)

    def __contains__(self, session: int) -> bool:
        return session in self._timeouts

    def add(self, session: int, timeout_ticks: int) -> None:
        """Watch over `session` from now on; one that is known gets this timeout, and is touched."""
        if timeout_ticks < 1:
            raise ValueError(f"a session needs a timeout of at least one tick, not {timeout_ticks}")
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

    def tick(self, ticks: int = 1) -> list[int]:
        """`ticks` have passed. Gives the sessions that expired with them, the longest overdue first, and forgets them:
        whoever asks must see to it that they are closed."""
        self._now += ticks
        for session in self._touched:
            if session in self._timeouts:
                self._deadlines[session] = self._now + self._timeouts[session] + 1
        self._touched.clear()
        expired: list[int] = []
        while self._next_deadline(self._now) <= self._now:
            session = heappop(self._heap)[1]
            expired.append(session)
            self.remove(session)
        return expired

    @property
    def ticks_until_due(self) -> int | None:
        """After how many ticks the next session expires unless it is touched, or fewer where one was touched since the
        last tick; None where there is no session."""
        deadline = self._next_deadline(None)
        return None if deadline == _NEVER else int(deadline - self._now)

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
