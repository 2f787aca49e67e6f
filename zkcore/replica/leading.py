"""What a replica does for all of them while its Peer leads: it prepares every request, in the order of arrival, and
decides which sessions have fallen silent.

All of it is thrown away when the leadership ends. The next leader begins with the sessions its tree holds and gives
each a full new timeout: anything shorter could end a session whose holder still counts on a confirmed heartbeat.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from zkcore.errors import SessionMovedError, ThrottledError
from zkcore.jute.records import Id
from zkcore.replica.forward import Claim, Claimed, FromLeader, Refused
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import CloseSession, Create, Request, SetData
from zkcore.tree.sessions import SessionTracker
from zkcore.tree.tree import Tree
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zxid import MAX_COUNTER, Zxid, counter_of

__all__ = ["ALWAYS_TAKEN", "Leading"]

ALWAYS_TAKEN = (Claim, CloseSession)
"""What finds room however much waits: a session may always move, and always end."""

_MOVED = SessionMovedError.code
_WITH_DATA = (Create, SetData)


_Arrived: TypeAlias = tuple[PeerId | None, int, int, Request[Any] | Claim, tuple[Id, ...]]
"""A request: the replica it came from, None for the leader's own; session and number; what is asked; and the ids by
which the client is known. A Claim stands among them, since their order matters. A plain tuple: one is made for every
write."""


def _size(request: Request[Any] | Claim) -> int:
    """About as many bytes as a request keeps: a znode's data and path are all that can be large."""
    if isinstance(request, _WITH_DATA):
        return len(request.path) + len(request.data or b"")
    return len(getattr(request, "path", ""))


class Leading:
    """`tree` is the replica's, with all the initial history of the epoch. As much may wait here to be proposed as
    `limits` let be outstanding afterwards."""

    def __init__(self, tree: Tree, limits: Limits) -> None:
        self._tree = tree
        self._limits = limits
        self._preparer = Preparer(tree)
        self._tracker = SessionTracker()
        self._owners: dict[int, PeerId] = {}  # of the sessions that were claimed; the others have had one place only
        self.arrived: list[_Arrived] = []
        """What waits to be proposed."""
        self._bytes = 0  # of what has arrived
        for session, timeout_ms in tree.sessions.items():
            self.on_session_created(session, timeout_ms)

    # --- sessions

    def on_session_created(self, session: int, timeout_ms: int) -> None:
        """The session is part of the replicated state: from now on it can expire."""
        self._tracker.add(session, -(-timeout_ms // self._limits.tick_ms))

    def on_session_closed(self, session: int) -> None:
        self._tracker.remove(session)
        self._owners.pop(session, None)

    def touch(self, session: int) -> bool:
        """The session gave a sign of life. Whether it counts: a session whose end is on its way cannot be saved. To
        say so to anybody takes more: a leader that was deposed without knowing may believe it, too (`Replica`)."""
        if not self._preparer.is_live(session):
            return False
        # One that is known but not watched over has expired; one that is not known yet begins with a full timeout.
        return self._tracker.touch(session) or session not in self._tree.sessions

    def tick(self, ticks: int) -> None:
        """Let time pass. Sessions that were silent for their whole timeout are closed, in a transaction like any."""
        for session in self._tracker.tick(ticks):
            self.arrived.append((None, session, 0, CloseSession(), ()))

    @property
    def ticks_until_due(self) -> int | None:
        return self._tracker.ticks_until_due

    # --- requests

    def arrive(
        self, origin: PeerId, session: int, xid: int, request: Request[Any] | Claim, ids: tuple[Id, ...] = ()
    ) -> None:
        """A request for the next batch; as good a sign of life as a touch. Raises ThrottledError where too much waits
        already (see ALWAYS_TAKEN)."""
        self._tracker.touch(session)
        limits = self._limits
        full = len(self.arrived) >= limits.outstanding_proposals or self._bytes >= limits.outstanding_bytes
        if full and not isinstance(request, ALWAYS_TAKEN):
            raise ThrottledError
        self._bytes += _size(request)
        self.arrived.append((origin, session, xid, request, ids))

    def explain(self) -> tuple[str, ...]:
        """In words: what waits here."""
        if not self.arrived:
            return ()
        return (f"requests that wait here to be proposed: {len(self.arrived)}",)

    def prepare(
        self, first: Zxid, now_ms: int, *, last: Zxid
    ) -> tuple[list[bytes], list[tuple[PeerId, FromLeader]]]:
        """What arrived, as transactions with consecutive zxids from `first`, no more of them than may be outstanding;
        and what is answered without one, with the replica it is for. `last` is the newest zxid proposed before."""
        most_bytes = self._limits.outstanding_bytes
        end = first + min(self._limits.outstanding_proposals, MAX_COUNTER - counter_of(first) + 1)
        payloads: list[bytes] = []
        answers: list[tuple[PeerId, FromLeader]] = []
        zxid = first
        size = done = 0
        for origin, session, xid, request, ids in self.arrived:
            if zxid == end or size >= most_bytes:
                break
            done += 1
            if isinstance(request, Claim):
                assert origin is not None
                alive = self.touch(session)
                if alive:
                    self._owners[session] = origin
                answers.append((origin, Claimed(session, request.nonce, alive, zxid - 1 if payloads else last)))
            elif origin is not None and self._owners.get(session, origin) != origin:
                answers.append((origin, Refused(session, xid, _MOVED)))
            else:
                payload = self._preparer.prepare(zxid, now_ms, session, xid, request, ids)
                payloads.append(payload)
                size += len(payload)
                zxid += 1
        del self.arrived[:done]
        self._bytes = sum([_size(request) for _, _, _, request, _ in self.arrived])
        return payloads, answers
