"""What every Port on asyncio has, whoever serves its session: a place on one event loop, waiting and signals, cleanups
and work in the background, the deadline of the session, and its end.

This module must not know who serves the session.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from enum import Enum, auto
from typing import Any, TypeVar, cast

from zkcore.client.background import AsyncBackground
from zkcore.client.chores import Chores
from zkcore.client.guard import Guard
from zkcore.client.home import Home
from zkcore.client.port import Port, SessionState, Signal, StateListener, Watcher
from zkcore.client.session import OwnSession
from zkcore.client.signals import AsyncSignal, first_set
from zkcore.client.timeouts import check_timeout, check_wait
from zkcore.client.watcher import WatcherTable
from zkcore.errors import SessionClosedError, SessionError, SessionExpiredError, ZkcoreError
from zkcore.replica.levels import Read, ReadLevel
from zkcore.tree.requests import CloseSession, Request
from zkcore.tree.watch_requests import WatcherType
from zkcore.zxid import Zxid

__all__ = ["NOT_HERE", "AsyncPort", "NotHere"]

T = TypeVar("T")

_TIDY_SECONDS = 0.1
"""How long a caller who need not know it waits for the end of a cleanup."""

_CLOCK_MARGIN = 0.99
"""Clocks may differ in rate, and the leader counts in ticks: a session is counted on for one per cent and one tick less
than its timeout."""


class NotHere(Enum):
    """See NOT_HERE."""

    NOT_HERE = auto()


NOT_HERE = NotHere.NOT_HERE
"""What `AsyncPort.read_here` gives for no answer."""


class AsyncPort(ABC):
    """See the module. Make it on the event loop it belongs to. `timeout` is the one to ask for, in seconds."""

    def __init__(self, *, timeout: float) -> None:
        check_timeout(timeout)
        self._home = Home()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._asked_timeout = timeout
        self.rng = random.Random()
        self._suspended = AsyncSignal(self._loop, self._thread)
        self.session = OwnSession(AsyncSignal(self._loop, self._thread), self._newest, timeout)
        self._opening: asyncio.Future[Any] | None = None
        self._watchers = WatcherTable()
        self._tick_seconds = 0.0  # of who serves the session
        self._last_zxid: Zxid = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._chores = Chores(self)
        self._closing = False

    # --- what depends on who serves the session

    @abstractmethod
    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        """See `zkcore.client.port.Port.request`."""

    @abstractmethod
    async def authenticate(self, scheme: str, credentials: bytes) -> None:
        """See `zkcore.client.port.Port.authenticate`."""

    @abstractmethod
    def unwatch(self, path: str, watch: Watcher | None) -> None:
        """See `zkcore.client.port.Port.unwatch`."""

    @abstractmethod
    def _newest(self) -> Zxid:
        """What the client may have read until now."""

    @abstractmethod
    def _end(self, state: SessionState) -> None:
        """For good: LOST or CLOSED."""

    def read_here(self, op: Request[T], *, watch: Watcher | None, read: ReadLevel) -> T | NotHere:
        """As `request`, for a read, on whichever thread calls; NOT_HERE where it has to wait for anything, and belongs
        on the event loop. Raises ForkedError, too."""
        self._home.process.check()
        return NOT_HERE

    # --- watches

    def _remove_watcher(
        self, path: str, watch: Watcher | None, under_way: Iterable[tuple[Request[Any], Watcher | None]]
    ) -> list[WatcherType]:
        """`watch`, or whoever watches `path`, does so no more. What who serves the session need not watch any more. All
        watchers of a path share what is there: nothing is removed where one of the requests `under_way` asks for a
        watch, since there the removal may come after it."""
        left = self._watchers.remove_all(path) if watch is None else self._watchers.remove(path, watch)
        begins = left and any(coming and getattr(request, "path", None) == path for request, coming in under_way)
        return [] if begins else left

    # --- life

    async def close(self) -> None:
        """End what works in the background, then the session, and with it its ephemerals. Requests under way fail.
        Never raises; where no replica can be reached within the session's timeout, the ensemble will find out by
        itself. In a process that was forked since, it does nothing: the session is that of the other."""
        if not self._home.process.is_here:
            return
        self._home.check()
        self._closing = True
        try:
            async with asyncio.timeout(self.session.timeout):
                await self._chores.stop_all()
                if not self._is_over:
                    await self.request(CloseSession())
        except (ZkcoreError, TimeoutError):
            pass
        finally:
            self._end(SessionState.CLOSED)
            if self.session.state is SessionState.LOST:
                self.session.become(SessionState.CLOSED)
                self.session.tell()

    def abandon(self) -> None:
        """End without a word, as a crash would: the session is left to expire. What works in the background is
        cancelled."""
        self._end(SessionState.CLOSED)
        self._chores.cancel_all()

    # --- the Port

    def listen(self, listener: StateListener) -> None:
        """See `zkcore.client.port.Port.listen`."""
        self.session.listen(listener)

    def unlisten(self, listener: StateListener) -> None:
        """See `zkcore.client.port.Port.unlisten`."""
        self.session.unlisten(listener)

    async def wait(self, *signals: Signal, timeout: float | None = None) -> Signal | None:
        """See `zkcore.client.port.Port.wait`."""
        self._home.check()
        if timeout is not None:
            check_wait(timeout)
        return await first_set(signals, timeout=timeout)

    def signal(self) -> AsyncSignal:
        """See `zkcore.client.port.Port.signal`."""
        return AsyncSignal(self._loop, self._thread)

    def guard(self, lost: Signal) -> Guard:
        """See `zkcore.client.port.Port.guard`."""
        return Guard(cast(AsyncSignal, lost))

    def caller(self) -> object:
        """See `zkcore.client.port.Port.caller`."""
        return asyncio.current_task()

    def now(self) -> float:
        """See `zkcore.client.port.Port.now`."""
        return self._loop.time()

    def wall(self) -> float:
        """See `zkcore.client.port.Port.wall`."""
        return time.time()

    async def shield(self, cleanup: Callable[[Port], Coroutine[Any, Any, T]]) -> T:
        """See `zkcore.client.port.Port.shield`."""
        self._home.check()
        return await asyncio.shield(self._chores.clean_up(cleanup))

    async def tidy_up(self, cleanup: Callable[[Port], Coroutine[Any, Any, None]]) -> None:
        """See `zkcore.client.port.Port.tidy_up`."""
        self._home.check()
        done = self.signal()
        self._chores.clean_up(cleanup).add_done_callback(lambda _: done.set())
        await self.wait(done, self._suspended, timeout=_TIDY_SECONDS)

    def spawn(self, work: Callable[[Port], Coroutine[Any, Any, None]], *, name: str) -> AsyncBackground:
        """See `zkcore.client.port.Port.spawn`."""
        self._home.check()
        if self._opening is not None or self._is_over:
            raise self._refusal()
        if self._closing:
            raise SessionClosedError(f"the client is being closed; {name} was not begun")
        return self._chores.begin(work, name=name)

    # --- within

    @property
    def _is_over(self) -> bool:
        return self.session.is_over

    def _refusal(self) -> SessionError:
        if self.session.state is SessionState.LOST:
            return SessionExpiredError(f"session {self.session.id:#x} has expired; open a new client")
        if self.session.state is SessionState.CLOSED:
            return SessionClosedError("the client is closed; open a new one")
        return SessionClosedError("the client is not started; await start() or use it as a context manager")

    def _refuse(self, requests: deque[Any], kind: type[ZkcoreError], why: str) -> None:
        while requests:
            future = requests.popleft()[0]
            if not future.done():
                future.set_exception(kind(why))

    def _confirm(self, sent_at: float) -> None:
        """The leader heard of us no earlier than `sent_at`, and gives us the whole timeout from then on."""
        if 0 < self.session.alive_until <= self._loop.time():
            self._end(SessionState.LOST)  # too late: whoever looked has been told that it is lost
            return
        until = sent_at + self.session.timeout * _CLOCK_MARGIN - self._tick_seconds
        if until > self.session.alive_until:
            self.session.alive_until = until
            self._start_timer("deadline", until - self._loop.time(), self._on_deadline)

    def _on_deadline(self) -> None:
        self._end(SessionState.LOST)

    def _start_timer(self, name: str, delay: float, callback: Callable[[], None]) -> None:
        self._stop_timer(name)
        self._timers[name] = self._loop.call_later(delay, callback)

    def _stop_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
