"""What a replica does for all of them while its Peer leads: it prepares every request, in the order of arrival, decides
which sessions have fallen silent, and cleans up what has outlived its time.

All of it is thrown away when the leadership ends. The next leader begins with the sessions its tree holds and gives
each a full new timeout: anything shorter could end a session whose holder still counts on a confirmed heartbeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from hmac import compare_digest
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from zkcore.errors import ReconfigDisabledError, SessionExpiredError, SessionMovedError, ThrottledError
from zkcore.jute.records import Id
from zkcore.replica.forward import Claim, Claimed, FromLeader, Refused
from zkcore.replica.rules import Rules
from zkcore.replica.sizes import check_size, size_of
from zkcore.tree import cleaning
from zkcore.tree.acl import EMBEDDED, Permission
from zkcore.tree.paths import CONFIG
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import CloseSession, CreateSession, Reconfigure, Request
from zkcore.tree.sessions import SessionTracker
from zkcore.tree.tree import Tree
from zkcore.tree.writes import CleanUp
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zxid import MAX_COUNTER, Zxid, counter_of

__all__ = ["ALWAYS_TAKEN", "AskedChange", "Leading", "LiveSession"]

ALWAYS_TAKEN = (Claim, CloseSession)
"""What finds room however much waits: a session may always move, and always end."""

_CLEANED_AT_ONCE = 100
"""So many znodes are cleaned up in one tick at most."""

_MOVED = SessionMovedError.code


_Arrived: TypeAlias = tuple[PeerId | None, int, int, Request[Any] | Claim, tuple[Id, ...]]
"""A request: the replica it came from, None for the leader's own; session and number; what is asked; and the ids by
which the client is known. A Claim stands among them, since their order matters. A plain tuple: one is made for every
write."""


class AskedChange(NamedTuple):
    """A request for other members, as it arrived: number `xid` of `session`, which is served at `origin` for a client
    known by `ids`."""

    origin: PeerId
    session: int
    xid: int
    request: Reconfigure
    ids: tuple[Id, ...]


class LiveSession(NamedTuple):
    """A session as the leader sees it, in milliseconds: its timeout, and for how long nothing was heard of it."""

    session: int
    timeout_ms: int
    silent_ms: int


class Leading:
    """`tree` is the replica's, with all the initial history of the epoch. As much may wait here to be proposed as
    `limits` let be outstanding afterwards; what may be done say `rules`."""

    def __init__(self, tree: Tree, limits: Limits, rules: Rules) -> None:
        self._tree = tree
        self._limits = limits
        self._rules = rules
        self._preparer = Preparer(tree, guard=rules.guard)
        self._tracker = SessionTracker()
        self._owners: dict[int, PeerId] = {}  # of the sessions that were claimed; the others have had one place only
        self._coming_keys: dict[int, bytes] = {}  # to the sessions whose creation is proposed and not applied
        self.arrived: list[_Arrived] = []
        """What waits to be proposed."""
        self._bytes = 0  # of what has arrived
        self._clean_ticks = -(-rules.clean_every_ms // limits.tick_ms)
        self._ticks_to_cleaning = self._clean_ticks
        self._to_clean: Iterator[CleanUp] | None = None
        for session, timeout_ms in tree.sessions.items():
            self.on_session_created(session, timeout_ms)

    # --- sessions

    def on_session_created(self, session: int, timeout_ms: int) -> None:
        """The session is part of the replicated state: from now on it can expire."""
        self._coming_keys.pop(session, None)
        self._tracker.add(session, -(-timeout_ms // self._limits.tick_ms))

    def on_session_closed(self, session: int) -> None:
        self._tracker.remove(session)
        self._owners.pop(session, None)

    def touch(self, session: int) -> bool | None:
        """The session gave a sign of life. True where it counts, and False where there is no such session. None where
        its end is on its way: it cannot be saved any more, nor has it ended before that is committed. To say so to
        anybody takes more: a leader that was deposed without knowing may believe it, too (`Replica`)."""
        if not self._preparer.is_live(session):
            return None if self._preparer.is_ending(session) else False
        # One that is known but not watched over has expired; one that is not known yet begins with a full timeout.
        return True if self._tracker.touch(session) or session not in self._tree.sessions else None

    def _claim(self, origin: PeerId, session: int, claim: Claim) -> bool | None:
        """`origin` wants to serve the session. Whether it does: where the session lives, and the key is right. None
        where the session has expired and its end is not even proposed: that will be the answer."""
        key = self._coming_keys.get(session) or self._tree.session_keys.get(session, b"")
        if not key or not compare_digest(key, claim.key) or not self._preparer.is_live(session):
            return False
        if not self.touch(session):
            return None
        self._owners[session] = origin
        return True

    def sessions(self) -> list[LiveSession]:
        """All that are watched over, by id."""
        tick_ms = self._limits.tick_ms
        return [
            LiveSession(session, self._tree.sessions[session], silent * tick_ms)
            for session, _, silent in self._tracker.sessions()
            if session in self._tree.sessions
        ]

    def kill(self, session: int) -> bool:
        """Have the session expire with the next tick, whatever is heard of it. Whether there is one."""
        return self._tracker.expire(session)

    def tick(self, ticks: int, now_ms: int) -> None:
        """Let time pass. Sessions that were silent for their whole timeout are closed, in a transaction like any; and
        so is deleted what is to be cleaned up by the wall clock `now_ms`."""
        for session in self._tracker.tick(ticks):
            self.arrived.append((None, session, 0, CloseSession(), ()))
        self._ticks_to_cleaning -= ticks
        if self._ticks_to_cleaning <= 0:
            self._ticks_to_cleaning = self._clean_ticks
            self._to_clean = cleaning.due(self._tree, now_ms, most=self._rules.clean_most)
        if self._to_clean is not None:
            self._clean(self._to_clean)

    def _clean(self, to_clean: Iterator[CleanUp]) -> None:
        """A portion, so that nobody has to wait for long; none where requests of clients have to wait already."""
        room = min(_CLEANED_AT_ONCE, self._limits.outstanding_proposals - len(self.arrived))
        if room > 0:
            portion = list(islice(to_clean, room))
            self.arrived += [(None, 0, 0, clean_up, ()) for clean_up in portion]
            if len(portion) < room:
                self._to_clean = None

    @property
    def ticks_until_due(self) -> int:
        """How many ticks may pass before `tick` must be called."""
        if self._to_clean is not None:
            return 1
        sessions = self._tracker.ticks_until_due
        return self._ticks_to_cleaning if sessions is None else min(sessions, self._ticks_to_cleaning)

    # --- requests

    def arrive(
        self, origin: PeerId, session: int, xid: int, request: Request[Any] | Claim, ids: tuple[Id, ...] = ()
    ) -> None:
        """A request for the next batch; as good a sign of life as a touch, but for a Claim, which anybody can make.
        Raises ThrottledError where too much waits already (see ALWAYS_TAKEN), and BadArgumentsError for a request that
        is too large."""
        size = 0
        if type(request) is not Claim:
            self._tracker.touch(session)
            size = check_size(request)  # type: ignore[arg-type]
        limits = self._limits
        full = len(self.arrived) >= limits.outstanding_proposals or self._bytes >= limits.outstanding_bytes
        if full and not isinstance(request, ALWAYS_TAKEN):
            raise ThrottledError
        self._bytes += size
        self.arrived.append((origin, session, xid, request, ids))

    def take_reconfigure(self) -> AskedChange | None:
        """A request for other members that is next: it goes by itself (`reconfiguring.py`)."""
        if not self.arrived or type(self.arrived[0][3]) is not Reconfigure:
            return None
        asked = AskedChange._make(self.arrived.pop(0))
        self._bytes -= size_of(asked.request)
        return asked

    def check_may_change_members(self, asked: AskedChange) -> None:
        """Raises SessionMovedError where its origin serves the session no longer, SessionExpiredError,
        ReconfigDisabledError, and NoAuthError unless the client is in the process of a replica, or may write who the
        members are."""
        if self._owners.get(asked.session, asked.origin) != asked.origin:
            raise SessionMovedError
        if not self._preparer.is_live(asked.session):
            raise SessionExpiredError
        if not self._rules.reconfig:
            raise ReconfigDisabledError
        if EMBEDDED not in asked.ids:
            self._preparer.check_may(Permission.WRITE, CONFIG, asked.ids)

    def explain(self) -> tuple[str, ...]:
        """In words: what waits here."""
        if not self.arrived:
            return ()
        return (f"requests that wait here to be proposed: {len(self.arrived)}",)

    def prepare(
        self, first: Zxid, now_ms: int, *, last: Zxid
    ) -> tuple[list[bytes], list[tuple[PeerId, FromLeader]]]:
        """What arrived, up to a Reconfigure, as transactions with consecutive zxids from `first`, no more of them than
        may be outstanding; and what is answered without one, with the replica it is for. `last` is the newest zxid
        proposed before."""
        most_bytes = self._limits.outstanding_bytes
        end = first + min(self._limits.outstanding_proposals, MAX_COUNTER - counter_of(first) + 1)
        payloads: list[bytes] = []
        answers: list[tuple[PeerId, FromLeader]] = []
        zxid = first
        size = done = 0
        for origin, session, xid, request, ids in self.arrived:
            if zxid == end or size >= most_bytes:
                break
            if type(request) is Reconfigure:
                break
            done += 1
            if isinstance(request, Claim):
                assert origin is not None
                alive = self._claim(origin, session, request)
                if alive is not None:
                    answers.append((origin, Claimed(session, request.nonce, alive, zxid - 1 if payloads else last)))
            elif origin is not None and self._owners.get(session, origin) != origin:
                answers.append((origin, Refused(session, xid, _MOVED)))
            else:
                payload = self._preparer.prepare(zxid, now_ms, session, xid, request, ids)
                if type(request) is CreateSession and self._preparer.is_live(session):
                    self._coming_keys[session] = request.key
                payloads.append(payload)
                size += len(payload)
                zxid += 1
        del self.arrived[:done]
        self._bytes = sum([0 if isinstance(each[3], Claim) else size_of(each[3]) for each in self.arrived])
        return payloads, answers
