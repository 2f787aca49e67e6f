"""What a Replica tells its host beside the Peer's own events: answers, watch events, and the fate of sessions.

They stand among the events of a Ready, in the order in which a client must learn of them: a watch event comes before
any answer that shows the change. SessionCreated, SessionRemoved and MembersChanged are no client's: they are for who
watches over the ensemble, and the last for whoever sees to the links.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from zkcore.errors import ZkcoreError
from zkcore.replica.members import Members
from zkcore.tree.watch_requests import Missed
from zkcore.zxid import Zxid

__all__ = [
    "Answer", "Attached", "Detached", "MembersChanged", "Replied", "SessionAnswer", "SessionCreated", "SessionEnded",
    "SessionRemoved", "Touched", "WatchFired",
]  # fmt: skip


class Replied(NamedTuple):
    """The answer to the request `xid` of a session: `result`, unless `error` says why there is none. The answers of one
    session come in the order of its requests. `zxid` is the newest transaction that the answer may show, or that it is
    the answer to: every event up to it was told before."""

    session: int
    xid: int
    result: object
    error: ZkcoreError | None
    zxid: Zxid

    def __str__(self) -> str:
        return f"replied {self.session:#x}/{self.xid}: {self.error or 'ok'}"


class WatchFired(NamedTuple):
    """A watch of the session went off; or, after a pause, can say no more than that something happened (Resync)."""

    session: int
    event: Missed

    def __str__(self) -> str:
        return f"watch of {self.session:#x}: {self.event}"


class Touched(NamedTuple):
    """The leader has heard that the session is alive (`token` is the one given to `touch`); or it is no longer."""

    session: int
    token: int
    alive: bool

    def __str__(self) -> str:
        return f"touched {self.session:#x} {'alive' if self.alive else 'dead'}"


class Attached(NamedTuple):
    """The session is served here now. Of what it had requested elsewhere, everything that will ever be applied is; but
    a change of the members that has begun may end later."""

    session: int

    def __str__(self) -> str:
        return f"attached {self.session:#x}"


class Detached(NamedTuple):
    """The session is not served here any more: its unanswered requests may or may not be applied, its watches are
    gone. It lives on, and may be attached again, here or elsewhere, until it expires."""

    session: int
    why: str

    def __str__(self) -> str:
        return f"detached {self.session:#x}: {self.why}"


class SessionEnded(NamedTuple):
    """The session is over, and its ephemerals with it."""

    session: int

    def __str__(self) -> str:
        return f"ended {self.session:#x}"


class SessionCreated(NamedTuple):
    """The ensemble has a new session, served `here` or elsewhere. Told while this replica has a leader: not of what it
    catches up with."""

    session: int
    timeout_ms: int
    here: bool

    def __str__(self) -> str:
        return f"created {self.session:#x} for {self.timeout_ms} ms"


class SessionRemoved(NamedTuple):
    """The ensemble has ended a session, because it `expired` or its client has asked for that. Told as
    SessionCreated."""

    session: int
    expired: bool
    here: bool

    def __str__(self) -> str:
        return f"removed {self.session:#x}{', which has expired' if self.expired else ''}"


class MembersChanged(NamedTuple):
    """The ensemble has other `members`, from their version on. As long as `replaced` is there the change is under way:
    both decide, and the members of both must be reached, where they are in two places by the address in `members`. It
    is told once more when it is made, and then who is not in `members` may be forgotten.

    Told, too, when a replica begins, of what its log names last, be that committed or not."""

    members: Members
    replaced: Members | None

    def __str__(self) -> str:
        return f"members {self.members}{'' if self.replaced is None else f', replacing {self.replaced}'}"


SessionAnswer: TypeAlias = (
    Replied | WatchFired | Touched | Attached | Detached | SessionEnded | SessionCreated | SessionRemoved
)
Answer: TypeAlias = SessionAnswer | MembersChanged
