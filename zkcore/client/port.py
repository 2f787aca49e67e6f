"""What a client and every recipe stand on: the Port.

A Port is one session with an ensemble, plus the little that a coroutine needs of the world: waiting, time and chance. A
recipe awaits nothing else. So the same recipe runs under asyncio, where a Port awaits natively, in blocking code, where
its coroutines complete without ever suspending, and in a simulation.

This module must not know any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from enum import StrEnum
from random import Random
from typing import Any, Protocol, TypeAlias, TypeVar

from zkcore.replica.levels import Read, ReadLevel
from zkcore.tree.applied import WatchEvent
from zkcore.tree.requests import Request
from zkcore.tree.watch_requests import Missed
from zkcore.zxid import Zxid

__all__ = ["Background", "LastingWatcher", "Port", "Session", "SessionState", "Signal", "StateListener", "Watcher"]

T = TypeVar("T")

Watcher: TypeAlias = Callable[[WatchEvent | None], None]
"""Called once: with the event that ended the watch, or with None where the session ended first. Must return at once."""

LastingWatcher: TypeAlias = Callable[[Missed | None], None]
"""Called with every event of a persistent watch, in order; with a Resync where some are lost, and what it is about
should be read again; and last with None, when the session has ended. Must return at once."""


class SessionState(StrEnum):
    """How a session is, as far as its client can know. It begins SUSPENDED::

        CONNECTED  <-->  SUSPENDED  <-->  CONNECTED_READ_ONLY
            |                |                    |
            +------------> LOST <-----------------+           and from each of the four to CLOSED

    `zkcore.client.states` has the table.
    """

    CONNECTED = "CONNECTED"
    """A replica with a leader serves it."""
    SUSPENDED = "SUSPENDED"
    """No replica does at the moment. The session, its ephemerals and leases may go on living; requests wait."""
    CONNECTED_READ_ONLY = "CONNECTED_READ_ONLY"
    """A server without a leader shows what it has, to a client that asked for that; writes are refused. Nobody renews
    the session meanwhile. A client that was never served otherwise has none yet."""
    LOST = "LOST"
    """It has expired, or may have: its ephemerals cannot be counted on any more. This is for good."""
    CLOSED = "CLOSED"
    """The client closed it."""


StateListener: TypeAlias = Callable[[SessionState], None]
"""Called with every new state of a session. Must return at once."""


class Signal(Protocol):
    """A flag that can be waited for: level-triggered, and settable from any thread."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...


class Background(Protocol):
    """Work that goes on beside whoever began it with `Port.spawn`."""

    @property
    def name(self) -> str: ...

    @property
    def ended(self) -> Signal:
        """Set when the work has ended, whatever of its own it had to clean up included."""

    @property
    def error(self) -> BaseException | None:
        """What it raised, which is logged, too. None while it goes on, and where it returned or was cancelled."""

    def cancel(self) -> None:
        """Ask it to end, as one cancels a task: without waiting for it, and from any thread. A second time, or once it
        has ended, this has no effect."""

    async def stop(self) -> None:
        """Cancel it and wait until it has ended. Raises nothing of what the work raised; RuntimeError where it is the
        work itself that calls: it would wait for itself."""


class Session(Protocol):
    """What a client knows of its session."""

    @property
    def id(self) -> int:
        """The id, a signed 64-bit number."""

    @property
    def state(self) -> SessionState: ...

    @property
    def timeout(self) -> float:
        """After so many seconds of silence it expires: what the ensemble granted, as soon as it exists."""

    @property
    def lost(self) -> Signal:
        """Set when the session is LOST or CLOSED."""

    @property
    def alive_until(self) -> float:
        """Until when, on `Port.now`, the ensemble has not ended the session: the time at which the newest heartbeat
        that the leader confirmed was *sent*, plus the timeout, less a margin for clocks that run at different
        rates."""

    @property
    def last_zxid(self) -> Zxid:
        """The newest transaction whose effect this session may have seen. Nothing it reads is older."""


class Port(Protocol):
    """See the module."""

    @property
    def rng(self) -> Random:
        """For jitter and for names, never for safety."""

    @property
    def session(self) -> Session: ...

    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        """The answer to `op`. Requests are executed in the order in which they are made, but for a read that is
        Read.LOCAL: it waits for none of the others. `read` has no meaning for a write.

        `watch` is called when the watch that `op` asks for goes off; where the request fails it is never called. It
        is an argument because it must begin to wait in the order of answers: an event may follow its answer before
        whoever awaits the answer runs, and would be missed. With an AddWatch it is a LastingWatcher. A session that
        moves to another replica takes its watches along, and first hears what they missed.

        A session that is suspended while a read is under way asks again at the next replica, unless a write made after
        it was under way too: that may be applied by then, and the read must not show it.

        Raises RequestError (not applied; ThrottledError where too much is under way), OutcomeUnknownError (perhaps
        applied: the session was suspended while the request was under way, or `timeout` seconds passed),
        SessionExpiredError or SessionClosedError (not applied).
        """

    async def authenticate(self, scheme: str, credentials: bytes) -> None:
        """Have the session known by what `credentials` prove, for all requests made from then on, wherever it is
        served. Raises AuthFailedError, BadArgumentsError for too many ids, and the errors of a session that is over."""

    def unwatch(self, path: str, watch: Watcher | None) -> None:
        """Nobody waits for this watch any more, nor is called by a persistent one on `path`; with None that holds of
        all watches on `path`."""

    def listen(self, listener: StateListener) -> None:
        """Have `listener` called with every new state of the session, in order; once, however often it is given. What
        it raises is logged."""

    def unlisten(self, listener: StateListener) -> None:
        """Call it no more; without effect where it is not called."""

    async def wait(self, *signals: Signal, timeout: float | None = None) -> Signal | None:
        """The first of `signals` that is set, at once if one is; None after `timeout` seconds."""

    def signal(self) -> Signal:
        """A new Signal, not set."""

    def guard(self, lost: Signal) -> AbstractContextManager[None]:
        """A context in which the task that entered it is cancelled when `lost` is set. At its end it swallows that
        cancellation, and no other. In blocking code nothing can be cancelled, and it does nothing."""

    def caller(self) -> object:
        """Who calls: the task, or in blocking code the thread. Whose two calls are, is told by identity."""

    def now(self) -> float:
        """Monotonic seconds."""

    def wall(self) -> float:
        """Seconds since 1970: for schedules and names, never for safety."""

    async def shield(self, cleanup: Callable[[Port], Coroutine[Any, Any, T]]) -> T:
        """Run `cleanup` and give its result. It is awaited, but goes on without its caller if that is cancelled. It
        gets a Port of its own to work with, and must end when the session does."""

    async def tidy_up(self, cleanup: Callable[[Port], Coroutine[Any, Any, None]]) -> None:
        """Run `cleanup` like `shield`, for a caller who does not need to know its end: it is waited for only as long as
        it takes while all is well, and not while the session is suspended."""

    def spawn(self, work: Callable[[Port], Coroutine[Any, Any, None]], *, name: str) -> Background:
        """Begin `work` beside the caller, who goes on: for what keeps a cache or renews a claim. It gets a Port of its
        own to work with, and awaits nothing else; in blocking code it runs on the cluster's thread.

        It ends by itself, by `Background.cancel`, or with the client: `close` cancels it and waits for it while there
        still is a session, so that it can clean up. That the session is lost it learns from its requests, which raise,
        or from `Session.lost`. Raises SessionExpiredError or SessionClosedError where there is no session any more.
        """
