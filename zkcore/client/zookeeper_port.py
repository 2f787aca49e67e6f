"""The Port to an ensemble that speaks ZooKeeper's client protocol, Apache ZooKeeper's or ours.

It keeps one session alive: opens it at one of the servers, sends heartbeats, and when the connection breaks takes the
session to the next, with its credentials and its watches before anything else. Requests are answered in order, so the
ones under way form a queue, and each answer belongs to its head.

What it finds out once is whether the servers are ours. Those are asked for everything; an Apache ZooKeeper for what it
has, and the rest is emulated (`emulated.py`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

from zkcore.client.async_port import AsyncPort
from zkcore.client.connection import Connection
from zkcore.client.dialogue import (
    Reply,
    answer_of,
    ask,
    error_of,
    greeting,
    ping,
    read_event,
    read_greeted,
    read_reply,
)
from zkcore.client.emulated import Emulation, as_zookeeper_has_it
from zkcore.client.looking import find_a_writer
from zkcore.client.port import SessionState, Watcher
from zkcore.client.proofs import Proofs
from zkcore.client.rewatching import again
from zkcore.client.timeouts import check_wait
from zkcore.client.under_way import AGREEMENT, Asked, answers_to, forget, refuse_all
from zkcore.errors import (
    BadArgumentsError,
    ConnectionLostError,
    MalformedFrameError,
    OperationTimeoutError,
    ProtocolError,
    SessionExpiredError,
    SessionMovedError,
    ThrottledError,
    ZkcoreError,
)
from zkcore.jute.protocol import EXTENSIONS, Xid
from zkcore.replica.levels import AtLeast, Read, ReadLevel, Sync, check_level
from zkcore.replica.serving import following_xid
from zkcore.transport.address import Address
from zkcore.tree.requests import CloseSession, Exists, Request
from zkcore.tree.sessions import PASSWORD_SIZE
from zkcore.tree.watch_requests import CatchUp, Missed, RemoveWatches, Resync, SetWatches2, WatcherType
from zkcore.zab.limits import Limits
from zkcore.zxid import Zxid

__all__ = ["ZookeeperPort"]

_log = logging.getLogger("zkcore.session")

T = TypeVar("T")

_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0
"""When no server could be reached all are tried again after about so long, the longer the more often."""

_LEAST_CONNECT_SECONDS = 0.2
"""A server has at least so long to answer a greeting."""


class ZookeeperPort(AsyncPort):
    """A Port to the servers at `addresses`. Make it on the event loop it belongs to, then `await start()`.

    `timeout` is the one to ask for, in seconds. `auth` has pairs of a scheme and credentials. With `tls` connections
    are made with it, and the name of a server is checked as it says. With `read_only` a server without a leader will
    do, until another one is found.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        timeout: float,
        auth: Iterable[tuple[str, bytes]] = (),
        tls: ssl.SSLContext | None = None,
        read_only: bool = False,
    ) -> None:
        super().__init__(timeout=timeout)
        self._may_read_only = read_only
        self._only_reads = False  # the server that is connected does
        self._better: Address | None = None  # a server that takes writes, found meanwhile
        self._looking: asyncio.Task[None] | None = None
        self._addresses = tuple(addresses)
        self._tls = tls
        self._password = bytes(PASSWORD_SIZE)
        self._proofs = Proofs(auth)
        self._link: Connection | None = None
        self._was_served = False  # there
        self._serving: Connection | None = None  # the same, once it serves the session
        self._broken: asyncio.Future[None] = self._loop.create_future()  # the end of the connection
        self._greeted_at = 0.0
        self._unanswered: deque[Asked] = deque()
        self._waiting: deque[Asked] = deque()  # made while suspended
        self._told: list[Missed] = []  # the last events of watches, those of one transaction
        self._told_zxid: Zxid = 0  # all was told up to here
        self._pings: deque[float] = deque()
        self._next_xid = 0
        self._most_requests = Limits().outstanding_proposals
        self._is_ours: bool | None = None  # whether the servers are; None as long as that is not known
        self._emulation = Emulation(self)
        self._connecting: asyncio.Task[None] | None = None

    @property
    def is_zkcore(self) -> bool:
        """Whether the servers are zkcore's, and offer everything."""
        return self._is_ours is True

    # --- life

    async def start(self) -> None:
        """Open the session. Waits until a server serves it; cancel it to wait no longer."""
        self._opening = self._loop.create_future()
        self._connecting = self._loop.create_task(self._stay_connected(), name="zkcore-zookeeper")
        self._connecting.add_done_callback(self._on_connecting_done)
        try:
            await self._opening
        except BaseException:
            self._end(SessionState.CLOSED)
            raise

    # --- the Port

    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        """See `zkcore.client.port.Port.request`. Read.LOCAL is as SESSION: the server answers in order."""
        if asyncio._get_running_loop() is not self._loop:
            self._home.refuse()
        check_level(read)
        if timeout is None:
            return await self._answer(op, watch, read)
        check_wait(timeout)
        try:
            async with asyncio.timeout(timeout):
                return await self._answer(op, watch, read)
        except TimeoutError as error:
            raise OperationTimeoutError(f"no answer within {timeout:.3f} s; it may have happened or not") from error

    async def _answer(self, op: Request[T], watch: Watcher | None, read: ReadLevel) -> T:
        barrier = self._barrier(op, read)
        if isinstance(op, Sync) and not self._is_ours:
            await self._submit(AGREEMENT, watch)
            return cast(T, self._last_zxid)
        request = op if self._is_ours else as_zookeeper_has_it(op)
        if request is None:
            await self._await_barrier(barrier, read)
            return await self._emulation.carry_out(op)
        if barrier is None:
            return cast(T, await self._submit(request, watch))
        try:
            answer = self._submit(request, watch)
        except BaseException:
            forget(barrier)
            raise
        try:
            await self._await_barrier(barrier, read)
        except BaseException:
            forget(answer)
            raise
        return cast(T, await answer)

    def _barrier(self, op: Request[Any], read: ReadLevel) -> asyncio.Future[Any] | None:
        """What must be answered before a read of this level is: the server then has what a quorum had."""
        if op.writes or isinstance(op, Sync) or read in (Read.LOCAL, Read.SESSION):
            return None
        if isinstance(read, AtLeast) and read.zxid <= self._last_zxid:
            return None
        return self._submit(Sync() if self._is_ours else AGREEMENT, None)

    async def _await_barrier(self, barrier: asyncio.Future[Any] | None, read: ReadLevel) -> None:
        if barrier is None:
            return
        await barrier
        if isinstance(read, AtLeast) and self._last_zxid < read.zxid:
            raise BadArgumentsError(f"the leader knows nothing of zxid {read.zxid:#x}; it is of another ensemble")

    async def ask(self, request: Request[T]) -> T:
        """See `zkcore.client.plain.Plain`."""
        return cast(T, await self._submit(request, None))

    async def ask_all(self, requests: Sequence[Request[Any]]) -> list[Any]:
        """See `zkcore.client.plain.Plain`."""
        return await answers_to(requests, lambda request: self._submit(request, None))

    def _submit(self, request: Request[Any], watch: Watcher | None) -> asyncio.Future[Any]:
        """Send it, or have it wait for a server. Raises ThrottledError, and the errors of a session that is over."""
        if self._opening is not None or self._is_over:
            raise self._refusal()
        if self._serving is None and isinstance(request, CloseSession):
            raise ConnectionLostError("nobody serves the session; the ensemble will find out that it is over")
        waiting = self._waiting if self._serving is None else self._unanswered
        if len(waiting) >= self._most_requests and not isinstance(request, CloseSession):
            raise ThrottledError(
                f"{self._most_requests} requests of this session are under way; wait for answers before you go on"
            )
        asked = Asked(self._loop.create_future(), request, watch)
        if self._serving is None:
            waiting.append(asked)
        else:
            self._send(self._serving, asked)
        assert asked.future is not None
        return asked.future

    async def authenticate(self, scheme: str, credentials: bytes) -> None:
        """See `zkcore.client.port.Port.authenticate`. Where it fails the server breaks the connection, and the session
        goes on at the next."""
        self._home.check()
        if self._opening is not None or self._is_over:
            raise self._refusal()
        await self._proofs.add(scheme, credentials, self._serving)

    def unwatch(self, path: str, watch: Watcher | None) -> None:
        """See `zkcore.client.port.Port.unwatch`."""
        for kind in self._remove_watcher(path, watch, ((each.request, each.watch) for each in self._unanswered)):
            if self._serving is None:
                continue  # the next server is not asked for it
            if self._is_ours:
                self._send(self._serving, Asked(None, RemoveWatches(path, kind), None))
            elif not self._watchers.has_any(path):  # older ones cannot tell a lasting watch from another
                self._send(self._serving, Asked(None, RemoveWatches(path, WatcherType.ANY), None))

    # --- finding a server

    async def _stay_connected(self) -> None:
        """Go from server to server, in an order of chance, for as long as there is a session."""
        failures = 0
        while not self._is_over:
            for address in self.rng.sample(self._addresses, len(self._addresses)):
                following: Address | None = address
                while following is not None:
                    if await self._be_served(following):
                        failures = 0
                    if self._is_over:
                        return
                    following, self._better = self._better, None
            longest = min(_PAUSE_SECONDS * 2**failures, _LONGEST_PAUSE_SECONDS, self.session.timeout / 4)
            failures = min(failures + 1, 16)
            await asyncio.sleep(longest * (0.5 + self.rng.random() / 2))

    def _on_connecting_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("session %#x cannot be served any more", self.session.id, exc_info=error)
            self._end(SessionState.LOST)

    async def _be_served(self, address: Address) -> bool:
        """At this server for as long as that goes well; whether it has served the session at all."""
        link = Connection(f"the server at {address}", self._on_frame, self._on_over)
        patience = max(self.session.timeout / len(self._addresses), _LEAST_CONNECT_SECONDS)
        try:
            async with asyncio.timeout(patience):
                await self._loop.create_connection(lambda: link, address.host, address.port, ssl=self._tls)
        except (OSError, TimeoutError, UnicodeError) as error:
            level = logging.WARNING if isinstance(error, ssl.SSLError) else logging.INFO
            _log.log(level, "session %#x: %s cannot be reached: %s", self.session.id, address, error)
            link.close("it was not reached in time")
            return False
        self._broken, self._was_served = self._loop.create_future(), False
        self._link, self._greeted_at = link, self._loop.time()
        timeout_ms, session = round(self._asked_timeout * 1000), self.session.id
        link.send(
            greeting(
                last_zxid=self._last_zxid, timeout_ms=timeout_ms, session=session, password=self._password,
                read_only=self._may_read_only,
            )
        )
        self._start_timer("greeting", patience, lambda: link.close("it did not answer the greeting in time"))
        if not link.over:
            await self._broken
        return self._was_served

    async def _move_on(self, link: Connection) -> None:
        """Only reads are served here: find a server that takes writes, and go there."""
        patience = max(self.session.timeout / len(self._addresses), _LEAST_CONNECT_SECONDS)
        better = await find_a_writer(self._addresses, rng=self.rng, tls=self._tls, patience=patience)
        self._looking, self._better = None, better
        link.close(f"the server at {better} takes writes")

    def _on_over(self, link: Connection, why: str) -> None:
        if link is self._link:
            self._leave()
            self._on_broken(f"{link.name}: {why}")
            self._broken.set_result(None)

    def _leave(self) -> None:
        self._link = self._serving = None
        self._suspended.set()
        self._pings.clear()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        for name in ("greeting", "beat", "silence"):
            self._stop_timer(name)

    def _on_broken(self, why: str) -> None:
        """What was under way may be applied or not; the reads behind the last write are asked again elsewhere."""
        _log.info("session %#x is suspended: %s", self.session.id, why)
        if self.session.state in (SessionState.CONNECTED, SessionState.CONNECTED_READ_ONLY):
            self.session.become(SessionState.SUSPENDED)
            self.session.tell()
        again: deque[Asked] = deque()
        while self._unanswered and not self._unanswered[-1].changes_something:
            asked = self._unanswered.pop()
            if asked.is_waited_for:
                again.appendleft(asked)
        self._waiting.extendleft(reversed(again))
        refuse_all(
            self._unanswered, ConnectionLostError(f"the answer was lost ({why}); it may have happened or not")
        )

    # --- what comes

    def _on_frame(self, link: Connection, body: bytes) -> None:
        if link is not self._link or self._is_over:
            return
        if self._serving is None:
            self._on_greeted(link, body)
            return
        reply = read_reply(body)
        if reply.xid == Xid.EVENT:
            self._on_event(reply)
            return
        if reply.zxid > self._last_zxid:
            self._last_zxid = reply.zxid
        self._told_zxid = self._last_zxid
        if reply.xid == Xid.PING:
            self._on_ping()
        elif reply.xid == Xid.AUTH:
            self._on_proved(reply)
        else:
            self._on_reply(link, reply)

    def _on_greeted(self, link: Connection, body: bytes) -> None:
        found = read_greeted(body)
        if found.timeout_ms <= 0 or found.session == 0:
            if self.session.id:
                self._end(SessionState.LOST)
            else:
                link.close("the server opened no session")
            return
        self._stop_timer("greeting")
        self._only_reads = found.read_only
        if not found.read_only:  # else it is the session of before, or none
            self.session.id, self._password = found.session, found.password
        self.session.timeout = found.timeout_ms / 1000
        self._serving = link
        self._proofs.show_all(link)
        if self._is_ours is not False:
            self._send(link, Asked(None, Exists(EXTENSIONS), None))
        if self._is_ours is not None:
            self._serve(link)

    def _on_kind(self, link: Connection, *, is_ours: bool) -> None:
        """Who the servers are is known. They are one ensemble: so it stays."""
        if self._is_ours is None:
            self._is_ours = is_ours
            self._tick_seconds = Limits().tick_ms / 1000 if is_ours else 0.0
            self._serve(link)

    def _serve(self, link: Connection) -> None:
        """The session is served here: first its watches, then what waits."""
        self._was_served = True
        self.session.become(SessionState.CONNECTED_READ_ONLY if self._only_reads else SessionState.CONNECTED)
        self._suspended.clear()
        if self._only_reads:
            self._looking = self._loop.create_task(self._move_on(link), name="zkcore-looking")
        elif not self._is_ours and self._opening is None:
            # A request that was on its way through another server may still be: what is read from now on shows it.
            self._send(link, Asked(None, Sync(), None))
        for request in again(self._watchers.catch_up(self._told_zxid), is_ours=self.is_zkcore):
            self._send(link, Asked(None, request, None))
        if not self._only_reads:
            self._confirm(self._greeted_at)
        if self._is_over:
            return
        while self._waiting and self._serving is link:
            asked = self._waiting.popleft()
            if asked.is_waited_for:  # nobody waits for what was cancelled meanwhile, and it was never sent
                self._send(link, asked)
        self._beat()
        self._listen_for_life()
        opening, self._opening = self._opening, None
        if opening is not None and not opening.done():
            opening.set_result(None)
        self.session.tell()

    def _on_event(self, reply: Reply) -> None:
        event = read_event(reply, seen=self._last_zxid)
        if event is not None:
            if reply.zxid > 0:
                self._told_zxid = max(self._told_zxid, reply.zxid - 1)
            self._last_zxid = max(self._last_zxid, reply.zxid)
            self._tell(event)

    def _tell(self, event: Missed) -> None:
        if self._told and self._told[-1].zxid != event.zxid:
            self._told.clear()
        self._told.append(event)
        self._watchers.fire(event)

    def _on_reply(self, link: Connection, reply: Reply) -> None:
        if not self._unanswered or self._unanswered[0].xid != reply.xid:
            raise MalformedFrameError(f"an answer to request {reply.xid}, which has none to come")
        asked = self._unanswered.popleft()
        try:
            error = error_of(asked.request, reply) if reply.code else None
            answer = None if error is not None else answer_of(asked.request, reply)
        except ProtocolError:
            self._unanswered.appendleft(asked)
            raise
        except ZkcoreError as failure:
            error, answer = failure, None
        if isinstance(error, SessionMovedError):
            self._unanswered.appendleft(asked)
            link.close("the session is served elsewhere by now")
            return
        if asked.future is None:
            self._on_own_reply(link, asked.request, reply, answer)
            return
        if error is None and asked.watch is not None:
            self._watchers.add(asked.request, asked.watch, answer)
        if not asked.future.done():
            if error is None:
                asked.future.set_result(answer)
            else:
                asked.future.set_exception(error)
        if isinstance(error, SessionExpiredError):
            self._end(SessionState.LOST)
        elif error is None and isinstance(asked.request, CloseSession):
            self._end(SessionState.CLOSED)

    def _on_own_reply(self, link: Connection, request: Request[Any], reply: Reply, answer: Any) -> None:
        """The answer to what the session itself has asked."""
        if isinstance(request, Exists):
            self._on_kind(link, is_ours=answer is not None)
        elif isinstance(request, CatchUp):
            told = set(self._told)
            for missed in answer or ():
                if missed not in told:
                    self._tell(missed)
        elif isinstance(request, SetWatches2):
            if reply.code:
                link.close(f"the watches were refused with error {reply.code}")
                return
            for path in dict.fromkeys((*request.persistent, *request.recursive)):
                self._tell(Resync(path, request.since, self._last_zxid))

    # --- heartbeats

    def _beat(self) -> None:
        if self._serving is not None:
            self._pings.append(self._loop.time())
            self._serving.send(ping())
            self._start_timer("beat", self.session.timeout / 3, self._beat)

    def _on_ping(self) -> None:
        if not self._pings:
            raise MalformedFrameError("an answer to a heartbeat that was not sent")
        sent_at = self._pings.popleft()
        if not self._only_reads:
            self._confirm(sent_at)

    def _listen_for_life(self) -> None:
        """A server that says nothing for two thirds of the timeout, and was asked for signs of life, is given up: the
        last third is for another."""
        link, longest = self._serving, self.session.timeout * 2 / 3
        if link is None:
            return
        silent = self._loop.time() - link.heard_at
        if silent >= longest:
            link.close(f"the server said nothing for {silent:.1f} s")
        else:
            self._start_timer("silence", longest - silent, self._listen_for_life)

    def _on_proved(self, reply: Reply) -> None:
        error = self._proofs.on_reply(reply)
        if error is None:
            return
        if self._opening is not None and not self._opening.done():
            self._opening.set_exception(error)
        else:
            _log.warning("session %#x goes on without an id: %s", self.session.id, error)

    # --- within

    def _send(self, link: Connection, asked: Asked) -> None:
        self._next_xid = following_xid(self._next_xid)
        asked.xid = Xid.SET_WATCHES if isinstance(asked.request, SetWatches2) else self._next_xid
        try:
            body = ask(asked.xid, asked.request)
        except ZkcoreError as error:
            if asked.future is not None and not asked.future.done():
                asked.future.set_exception(error)
            return
        self._unanswered.append(asked)
        link.send(body)

    def _newest(self) -> Zxid:
        return self._last_zxid

    def _end(self, state: SessionState) -> None:
        """For good: LOST or CLOSED."""
        if self._is_over:
            return
        link = self._link
        self.session.become(state)
        self._leave()
        for name in list(self._timers):
            self._stop_timer(name)
        if link is not None:
            link.close("the session is over", flush=True)
        if self._connecting is not None and asyncio.current_task() is not self._connecting:
            self._connecting.cancel()
        refusal = self._refusal()
        if self._opening is not None and not self._opening.done():
            self._opening.set_exception(refusal)
        self._proofs.end(refusal)
        lost: ZkcoreError = ConnectionLostError("the session ended first; it may have happened or not")
        if state is SessionState.LOST:
            lost = ConnectionLostError(f"session {self.session.id:#x} has expired first; it may have happened or not")
        refuse_all(self._unanswered, lost)
        refuse_all(self._waiting, refusal)
        self.session.lost.set()
        self._watchers.fire_all()
        self.session.tell()
