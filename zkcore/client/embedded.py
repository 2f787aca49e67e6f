"""The Port into replicas that run in this process, for asyncio.

It keeps one session alive: opens it at a replica that has a leader, sends heartbeats, and when the replica can serve
it no longer, attaches it to the next. Everything happens on one event loop; only signals may be set from elsewhere.

Requests are answered in order, so the ones under way form a queue, and each answer belongs to its head. A read with
nothing before it never enters the queue: it is answered from the replica's tree at once.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias, TypeVar, cast

from zkcore.client.async_port import NOT_HERE, AsyncPort, NotHere
from zkcore.client.port import SessionState, Watcher
from zkcore.client.timeouts import check_wait
from zkcore.errors import (
    ConnectionLostError,
    NoWatcherError,
    OperationTimeoutError,
    SessionClosedError,
    SessionExpiredError,
    ThrottledError,
    ZkcoreError,
)
from zkcore.jute.records import Id
from zkcore.replica.host import Host
from zkcore.replica.levels import AtLeast, Read, ReadLevel, check_level
from zkcore.replica.rules import add_ids
from zkcore.replica.serving import following_xid
from zkcore.tree.acl import EMBEDDED, Access
from zkcore.tree.requests import CloseSession, Request
from zkcore.tree.sessions import PASSWORD_SIZE
from zkcore.tree.watch_requests import Missed, RemoveWatches
from zkcore.zab.limits import Limits
from zkcore.zab.ready import Event
from zkcore.zxid import Zxid

__all__ = ["EmbeddedPort"]

_log = logging.getLogger("zkcore.session")

T = TypeVar("T")

_RETRY_SECONDS = 0.02
"""How soon another replica is tried when none could serve the session. Role changes do not wait for it."""

_PATIENCE = 0.3
"""With less than this share of its timeout left a session is taken to another replica."""

_SESSION = Read.SESSION


_Unanswered: TypeAlias = tuple[asyncio.Future[Any], Request[Any], Watcher | None, ReadLevel]
"""A request under way: who waits for it, what it is, and how it was made. A plain tuple: one is made for each."""


class EmbeddedPort(AsyncPort):
    """A Port over `hosts()`, the hosts to choose from, best first.

    Make it on the event loop of the hosts, then `await start()`. `timeout` is the one to ask for, in seconds.
    """

    def __init__(self, hosts: Callable[[], Sequence[Host]], *, timeout: float) -> None:
        super().__init__(timeout=timeout)
        self._hosts = hosts
        self._password = secrets.token_bytes(PASSWORD_SIZE)
        self._host: Host | None = None  # where the session is served, or is being opened or attached
        self._sent_at = 0.0  # when the open or attach under way was sent
        self._serving: Host | None = None  # the same, once the session is served there
        self._unanswered: deque[_Unanswered] = deque()
        self._waiting: deque[_Unanswered] = deque()  # made while suspended
        self._told: list[Missed] = []  # the last events of watches, those of one transaction
        self._told_zxid: Zxid = 0  # at the last place all was told up to here
        self._access = Access()  # that of the hosts, as soon as there was one
        self._ids: tuple[Id, ...] = (EMBEDDED,)
        self._most_requests = Limits().outstanding_proposals
        self._next_xid = 1
        self._heartbeats: dict[int, float] = {}
        self._heartbeat = 0
        self._avoided: Host | None = None
        self._frozen = False

    # --- life

    async def start(self) -> None:
        """Open the session. Waits until there is a leader; cancel it to wait no longer."""
        self._opening = self._loop.create_future()
        self._look_for_host()
        try:
            await self._opening
        except BaseException:
            self._end(SessionState.CLOSED)
            raise

    def freeze(self, *, frozen: bool = True) -> None:
        """Stop sending heartbeats, as a process does that is paused; or begin again. For tests and demonstrations."""
        self._frozen = frozen

    # --- the Port

    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        """See `zkcore.client.port.Port.request`."""
        if asyncio._get_running_loop() is not self._loop:
            self._home.refuse()
        if timeout is not None:
            check_wait(timeout)
        host = self._serving
        if host is not None:
            if not op.writes and (not self._unanswered if read is _SESSION else self._can_read(host, read)):
                with host.lock:
                    answer = host.replica.read(self.session.id, op)
                    if watch is not None:
                        self._watchers.add(op, watch, answer)
                return answer
            if len(self._unanswered) >= self._most_requests:
                self._check_throttled(op)
            waiting = (self._loop.create_future(), op, watch, read)
            self._submit(host, waiting)
        elif self._opening is not None or self.session.state is not SessionState.SUSPENDED:
            raise self._refusal()
        else:
            check_level(read)
            if len(self._waiting) >= self._most_requests:
                self._check_throttled(op)
            waiting = (self._loop.create_future(), op, watch, read)
            self._waiting.append(waiting)
        if timeout is None:
            return cast(T, await waiting[0])
        try:
            async with asyncio.timeout(timeout):
                return cast(T, await waiting[0])
        except TimeoutError as error:
            raise OperationTimeoutError(f"no answer within {timeout:.3f} s; it may have happened or not") from error

    def read_here(self, op: Request[T], *, watch: Watcher | None, read: ReadLevel) -> T | NotHere:
        """As `request`, for a read, on whichever thread calls; NOT_HERE where it has to wait for anything, and belongs
        on the event loop. Raises ForkedError, too."""
        self._home.process.check()
        host = self._serving
        if host is None:
            return NOT_HERE
        with host.lock:
            if self._serving is not host or (self._unanswered if read is _SESSION else not self._can_read(host, read)):
                return NOT_HERE  # it has moved on while we waited for the lock, or something is under way
            answer = host.replica.read(self.session.id, op)
            if watch is not None:
                self._watchers.add(op, watch, answer)
            return answer

    def _can_read(self, host: Host, read: ReadLevel) -> bool:
        """Whether a read of another level than SESSION may be answered at once."""
        if isinstance(read, AtLeast):
            return not self._unanswered and read.zxid <= host.replica.tree.last_zxid
        check_level(read)
        return read is Read.LOCAL

    def _check_throttled(self, op: Request[Any]) -> None:
        """A session has no more under way than its replica takes. Its end alone it may ask for even then."""
        if not isinstance(op, CloseSession):
            raise ThrottledError(
                f"{self._most_requests} requests of this session are under way; wait for answers before you go on"
            )

    async def authenticate(self, scheme: str, credentials: bytes) -> None:
        """See `zkcore.client.port.Port.authenticate`. On another thread: a scheme may take its time on purpose."""
        self._home.check()
        if self._opening is not None or self._is_over:
            raise self._refusal()
        ids = await self._loop.run_in_executor(None, self._access.authenticate, scheme, credentials)
        self._ids = add_ids(self._ids, ids)
        if self._serving is not None:
            self._serving.replica.identify(self.session.id, ids)

    def unwatch(self, path: str, watch: Watcher | None) -> None:
        """See `zkcore.client.port.Port.unwatch`."""
        with nullcontext() if self._serving is None else self._serving.lock:
            for kind in self._remove_watcher(path, watch, (each[1:3] for each in self._unanswered)):
                if self._serving is not None:
                    try:
                        self._serving.replica.read(self.session.id, RemoveWatches(path, kind))
                    except (NoWatcherError, SessionClosedError):
                        pass  # no watch there, or nobody: that is what is wanted

    # --- finding a host

    def _look_for_host(self) -> None:
        """Open or attach the session at the first host that can serve it; where there is none, listen and try again."""
        self._stop_timer("retry")
        if self._host is not None or self._is_over:
            return
        for host in self._hosts():
            self._listen(host)
            serving = host.running and host.replica.serving and host.replica.tree.last_zxid >= self._last_zxid
            if self._host is None and serving and host is not self._avoided:
                self._join(host)
        self._avoided = None
        if self._host is None:
            self._start_timer("retry", _RETRY_SECONDS, self._look_for_host)

    def _join(self, host: Host) -> None:
        self._host = host
        self._most_requests = host.replica.limits.outstanding_proposals
        self._tick_seconds = host.replica.limits.tick_ms / 1000
        self._access = host.replica.rules.access
        self._sent_at = self._loop.time()
        if self.session.id == 0:
            host.open(self, round(self._asked_timeout * 1000), password=self._password, ids=self._ids)
        else:
            host.attach(
                self, self.session.id, password=self._password, last_zxid=self._last_zxid, next_xid=self._next_xid,
                ids=self._ids,
            )  # fmt: skip

    def _listen(self, host: Host) -> None:
        if self._on_host_event not in host.listeners:
            host.listeners.append(self._on_host_event)

    def _on_host_event(self, host: Host, event: Event) -> None:
        if self._host is None:
            self._loop.call_soon(self._look_for_host)

    # --- what the host tells (`zkcore.replica.host.Served`)

    def on_opened(self, session: int) -> None:
        self.session.id = session
        if self._is_over and self._host is not None:
            self._host.detach(session)

    def on_replied(self, result: object, error: ZkcoreError | None, zxid: Zxid) -> None:
        if self._is_over:
            return
        if self._opening is not None:
            self._on_open(error)
            return
        future, request, watch, _ = self._unanswered.popleft()
        if error is None:
            if watch is not None:
                self._watchers.add(request, watch, result)
            if not future.done():
                future.set_result(result)
        elif not future.done():
            future.set_exception(error)

    def _on_open(self, error: ZkcoreError | None) -> None:
        assert self._opening is not None
        opening, self._opening = self._opening, None
        if error is None:
            self._serve()
            self._serving = self._host
        if opening.done():
            return
        if error is None:
            opening.set_result(None)
        else:
            opening.set_exception(error)

    def on_attached(self) -> None:
        if self._is_over:
            return
        self._serve()
        if self._host is not None:  # else it was so late that the session had to move on, or is over
            if self._ids:  # it may have authenticated itself while it was being attached
                self._host.replica.identify(self.session.id, self._ids)
            self._catch_up(self._host)
            self._serving = self._host  # and no sooner: who serves the session has told it what it missed
        while self._waiting and self._host is not None:
            waiting = self._waiting.popleft()
            if not waiting[0].done():  # nobody waits for what was cancelled meanwhile, and it was never sent
                self._submit(self._host, waiting)

    def on_watch(self, event: Missed) -> None:
        if self._told and self._told[-1].zxid != event.zxid:
            self._told.clear()
        self._told.append(event)
        self._watchers.fire(event)

    def _catch_up(self, host: Host) -> None:
        """Watch here what was watched before, and tell what was missed meanwhile; what was told just before the session
        left its last place may be among it."""
        request = self._watchers.catch_up(self._told_zxid)
        if request is not None:
            told = set(self._told)
            for missed in host.replica.read(self.session.id, request):
                if missed not in told:
                    self.on_watch(missed)

    def on_touched(self, token: int, alive: bool) -> None:
        sent_at = self._heartbeats.pop(token, None)
        if not alive:
            self._end(SessionState.LOST)
        elif sent_at is not None:
            self._confirm(sent_at)

    def on_detached(self, why: str) -> None:
        """What was under way may be applied or not; the reads behind the last write are asked again elsewhere. A
        session whose very creation was under way is given up for a new one: if it was created all the same it will
        expire, with nothing to its name."""
        if self._is_over:
            return
        _log.info("session %#x is suspended: %s", self.session.id, why)
        self._leave_host()
        if self._opening is not None:
            self.session.id = 0
        elif self.session.state is SessionState.CONNECTED:
            self.session.become(SessionState.SUSPENDED)
            self.session.tell()
        while self._unanswered and not self._unanswered[-1][1].writes:
            self._waiting.appendleft(self._unanswered.pop())
        self._refuse(self._unanswered, ConnectionLostError, f"the answer was lost ({why}); it may have happened or not")
        self._start_timer("retry", 0.0, self._look_for_host)

    def on_ended(self) -> None:
        """After a session's last transaction nothing of it is applied: what is unanswered never will be."""
        self._refuse(self._unanswered, SessionExpiredError, f"session {self.session.id:#x} has expired")
        self._end(SessionState.CLOSED if self._closing else SessionState.LOST)

    # --- within

    def _submit(self, host: Host, unanswered: _Unanswered) -> None:
        self._next_xid = following_xid(self._next_xid)
        self._unanswered.append(unanswered)
        host.submit(self.session.id, unanswered[1], unanswered[3])

    def _serve(self) -> None:
        self.session.become(SessionState.CONNECTED)
        self._suspended.clear()
        if self._host is not None:
            granted = self._host.replica.tree.sessions.get(self.session.id)
            if granted is not None:  # else it is over already, and we are about to be told
                self.session.timeout = granted / 1000
        self._confirm(self._sent_at)
        if not self._is_over:
            self.session.tell()
            self._beat()

    def _leave_host(self) -> None:
        with nullcontext() if self._serving is None else self._serving.lock:  # who reads there now has read enough
            self._last_zxid = self._newest()
            if self._serving is not None:
                # In the middle of being told, the host does not count yet what we were told just now.
                self._told_zxid = max([self._serving.told_zxid, *(event.zxid - 1 for event in self._told[-1:])])
            self._host = None
            self._serving = None
        self._suspended.set()
        self._heartbeats.clear()
        self._stop_timer("beat")

    def _newest(self) -> Zxid:
        """What the client may have read until now: no other replica may show it less."""
        return self._last_zxid if self._host is None else max(self._last_zxid, self._host.replica.tree.last_zxid)

    def _beat(self) -> None:
        self._start_timer("beat", self.session.timeout / 4, self._beat)
        if self._host is None or self._frozen:
            return
        if self.session.alive_until - self._loop.time() < self.session.timeout * _PATIENCE and len(self._hosts()) > 1:
            self._move_on()
        else:
            self._heartbeat += 1
            self._heartbeats[self._heartbeat] = self._loop.time()
            self._host.touch(self.session.id, self._heartbeat)

    def _move_on(self) -> None:
        """The host answers no heartbeats, without having lost its leader: its storage may be stuck. Try the others."""
        silent = self._host
        assert silent is not None
        silent.detach(self.session.id)
        self.on_detached("the replica was silent")
        self._avoided = silent

    def _end(self, state: SessionState) -> None:
        """For good: LOST or CLOSED."""
        if self._is_over:
            return
        host = self._host
        if host is not None and self.session.id:
            host.detach(self.session.id)
        self._leave_host()
        if self._opening is not None:
            self._host = host  # the answer is on its way, and shows which session to leave
        self.session.become(state)
        for host in self._hosts():
            if self._on_host_event in host.listeners:
                host.listeners.remove(self._on_host_event)
        for name in list(self._timers):
            self._stop_timer(name)
        if self._opening is not None and not self._opening.done():
            self._opening.set_exception(self._refusal())
        self._refuse(self._unanswered, ConnectionLostError, "the session ended first; it may have happened or not")
        self._refuse(self._waiting, type(self._refusal()), str(self._refusal()))
        self.session.lost.set()
        self._watchers.fire_all()
        self.session.tell()
