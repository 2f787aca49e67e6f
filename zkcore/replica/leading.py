"""What a replica does for all of them while its Peer leads: it prepares every request, in the order of arrival, and
decides which sessions have fallen silent.

All of it is thrown away when the leadership ends. The next leader begins with the sessions its tree holds and gives
each a full new timeout: anything shorter could end a session whose holder still counts on a confirmed heartbeat.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from zkcore.errors import SessionMovedError
from zkcore.replica.forward import Claim, Claimed, Forwarded, Refused
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import CloseSession, Request
from zkcore.tree.sessions import SessionTracker
from zkcore.tree.tree import Tree
from zkcore.zab.messages import PeerId
from zkcore.zxid import Zxid

__all__ = ["Leading"]

_MOVED = SessionMovedError.code


class _Arrived(NamedTuple):
    """A request, and the replica it came from, None for the leader's own; a Claim stands among them, since their order
    matters."""

    origin: PeerId | None
    session: int
    xid: int
    request: Request[Any] | Claim


class Leading:
    """`tree` is the replica's, with all the initial history of the epoch; `tick_ms` the length of a tick."""

    def __init__(self, tree: Tree, *, tick_ms: int) -> None:
        self._tree = tree
        self._tick_ms = tick_ms
        self._preparer = Preparer(tree)
        self._tracker = SessionTracker()
        self._owners: dict[int, PeerId] = {}  # of the sessions that were claimed; the others have had one place only
        self._arrived: list[_Arrived] = []
        for session, timeout_ms in tree.sessions.items():
            self.on_session_created(session, timeout_ms)

    # --- sessions

    def on_session_created(self, session: int, timeout_ms: int) -> None:
        """The session is part of the replicated state: from now on it can expire."""
        self._tracker.add(session, -(-timeout_ms // self._tick_ms))

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
            self._arrived.append(_Arrived(None, session, 0, CloseSession()))

    @property
    def ticks_until_due(self) -> int | None:
        return self._tracker.ticks_until_due

    # --- requests

    def arrive(self, origin: PeerId, session: int, xid: int, request: Request[Any] | Claim) -> None:
        """A request for the next batch; as good a sign of life as a touch."""
        self._tracker.touch(session)
        self._arrived.append(_Arrived(origin, session, xid, request))

    @property
    def has_arrivals(self) -> bool:
        return bool(self._arrived)

    def prepare(
        self, first: Zxid, now_ms: int, *, last: Zxid
    ) -> tuple[list[bytes], list[tuple[PeerId, Forwarded]]]:
        """Everything that arrived, as transactions with consecutive zxids from `first`; and what is answered without
        one, with the replica it is for. `last` is the newest zxid proposed before."""
        payloads: list[bytes] = []
        answers: list[tuple[PeerId, Forwarded]] = []
        zxid = first
        for origin, session, xid, request in self._arrived:
            if isinstance(request, Claim):
                assert origin is not None
                alive = self.touch(session)
                if alive:
                    self._owners[session] = origin
                answers.append((origin, Claimed(session, request.nonce, alive, zxid - 1 if payloads else last)))
            elif origin is not None and self._owners.get(session, origin) != origin:
                answers.append((origin, Refused(session, xid, _MOVED)))
            else:
                payloads.append(self._preparer.prepare(zxid, now_ms, session, xid, request))
                zxid += 1
        self._arrived.clear()
        return payloads, answers
