"""One client of ZooKeeper's protocol on one connection, on asyncio: from its greeting to the end of either.

A connection is what its host serves (`zkcore.replica.served.Served`). Requests go to the host in their order, and the
answers come back in that order; what cannot be carried out at all waits for its turn to be told so. Watch events go
out as they are told, which is before any answer that shows the change. All that is written in one pass of the event
loop goes out with one call.

The connection and the session have different lives: a connection that breaks leaves the session to expire, or to be
taken up at another connection, here or elsewhere. Whatever a client does wrong ends its connection at most.

This module must not know who may connect (`listener.py`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias, cast

from zkcore.errors import (
    AuthFailedError,
    BadArgumentsError,
    ConnectionLostError,
    ProtocolError,
    SessionClosedError,
    SessionMovedError,
    ZkcoreError,
)
from zkcore.forks import only_here
from zkcore.replica.admission import check_attaching
from zkcore.replica.levels import Read, Sync
from zkcore.replica.rules import MAX_TIMEOUT_MS, add_ids
from zkcore.server.four_letter import MAX_SAID, Traffic
from zkcore.server.owner import Owner
from zkcore.server.protocol import (
    MAX_FRAME,
    PING,
    Asked,
    AuthPacket,
    Greeting,
    Xid,
    answer_to,
    event,
    greet,
    header,
    parse,
    parse_greeting,
)
from zkcore.server.reading import Reading, owns
from zkcore.transport.framing import FrameReader, frame
from zkcore.tree.applied import WatchEvent
from zkcore.tree.requests import CloseSession
from zkcore.tree.sessions import PASSWORD_SIZE
from zkcore.tree.watch_requests import Missed, SetWatches, SetWatches2
from zkcore.zxid import Zxid

__all__ = ["ClientConnection"]

_log = logging.getLogger("zkcore.server")

_BEATS = 6
"""So many times in its timeout the leader hears of a session whose client is busy: no more often."""

_LINGER_SECONDS = 1.0
"""How long a last word may take to go out."""


class _Stage(Enum):
    GREETING = "nothing was said yet"
    OPENING = "its session is being opened or taken up"
    SERVED = "its session is served"
    READING = "it is shown what is here"
    OVER = "over"


# As plain globals they cost no attribute look-up on the hot path.
_GREETING, _OPENING, _SERVED, _READING, _OVER = _Stage

_Waiting: TypeAlias = tuple[Asked, float]
"""A request that has no answer yet, since when. A plain tuple: one is made for each."""


class ClientConnection(asyncio.Protocol):
    """See the module. `where` is the other side, for logs."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.where = "?"
        self.session = 0
        self.timeout_ms = 0
        self.traffic = Traffic()
        self.since = 0.0
        self.last_zxid: Zxid = 0
        """The newest state this client was told of."""
        self._host = owner.host
        self._loop = asyncio.get_running_loop()
        self._stage = _GREETING
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(MAX_FRAME)
        self._greeting = Greeting(0, 0, 0, b"", None)
        self._password = b""
        self._waiting: deque[_Waiting] = deque()
        self._most_waiting = max(self._host.replica.limits.outstanding_proposals // 2, 1)
        self._pings: deque[int] = deque()  # the tokens of heartbeats that were asked for
        self._token = 0
        self._heard_at = 0.0  # what is being read arrived then, or a little before
        self._told_leader_at = -1e9
        self._authenticating: asyncio.Task[None] | None = None
        self._closing = False
        self.reading: Reading | None = None
        """What it is shown, where there is no leader."""
        self._held = False  # the host has its session
        self._held_up = False  # what arrived waits
        self._extended = False  # the client is one of ours
        self._out: list[bytes] = []
        self._flushes = False
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<ClientConnection of {self.where}, session {self.session:#x}>"

    @property
    def waiting(self) -> int:
        """How many requests have no answer yet."""
        return len(self._waiting)

    @property
    def certificate(self) -> Mapping[str, object] | None:
        """What the client has shown, and TLS has checked; None where there was nothing."""
        shown: ssl.SSLObject | None = (
            self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        )
        return shown.getpeercert() if shown is not None else None

    # --- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        only_here(transport)
        self.since = self._loop.time()
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        why = self.owner.admit(self, host)
        if why is not None:
            self.end(why)
            return
        seconds = self.owner.limits.greeting_seconds
        self._timer = self._loop.call_later(seconds, self.end, f"it did not greet within {seconds:g} s")

    def data_received(self, data: bytes) -> None:
        if self._stage is _OVER:
            return
        self._reader.feed(data)
        if self._stage is _GREETING and self._is_word():
            return
        self._read_on()

    def connection_lost(self, error: Exception | None) -> None:
        self.end(f"the connection broke: {error}" if error is not None else "the client hung up")
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()
        self._read_on()

    # --- arriving

    @property
    def _is_full(self) -> bool:
        """Whether the client must wait before it is heard again."""
        return (
            self._stage is _OPENING
            or self._closing
            or self._authenticating is not None
            or self._paused
            or len(self._waiting) + len(self._pings) >= self._most_waiting
        )

    def _read_on(self) -> None:
        self._heard_at = self._loop.time()
        try:
            while self._stage is not _OVER and not self._is_full and (body := self._reader.next()) is not None:
                self._on_frame(body)
        except ProtocolError as error:
            self.end(str(error))
        if self._transport is None or self._stage is _OVER:
            return
        if self._is_full != self._held_up:
            self._held_up = not self._held_up
            if self._held_up:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _is_word(self) -> bool:
        """Whether this is no client, but somebody who says one word and wants one answer."""
        said = self.owner.four_letters(self._reader.peek(MAX_SAID))
        if said is None:
            return False
        self._send(said.encode())
        self.end("it was told what it asked", linger=True)
        return True

    def _on_frame(self, body: bytes) -> None:
        self.traffic.received += 1
        self.owner.traffic.received += 1
        if self._stage is not _SERVED:
            self._on_other_frame(body)
            return
        asked = parse(body)
        if asked.opcode == PING:
            self._ping()
            return
        self._tell_leader()
        if isinstance(asked.what, AuthPacket):
            self._authenticating = self._loop.create_task(self._authenticate(asked.xid, asked.what))
            return
        self._extended |= asked.extends
        waiting = asked, self._heard_at
        if not self._waiting and self._answer_now(waiting):
            return
        self._waiting.append(waiting)
        if asked.what is not None:
            self._closing = isinstance(asked.what, CloseSession)
            read = Read.LINEARIZABLE if isinstance(asked.what, Sync) else Read.SESSION
            self._host.submit(self.session, asked.what, read)

    def _on_other_frame(self, body: bytes) -> None:
        if self._stage is _GREETING:
            self._on_greeting(parse_greeting(body))
        elif self.reading is not None:
            self._read(self.reading, parse(body))

    def _answer_now(self, waiting: _Waiting) -> bool:
        """With nothing before it, a refusal or a read of what is here needs no turn of the host's."""
        asked, _ = waiting
        request, replica = asked.what, self._host.replica
        if isinstance(request, AuthPacket) or request is None:
            self._refuse_request(waiting)
            return True
        if request.writes or isinstance(request, Sync) or not replica.can_read(self.session):
            return False
        try:
            result, error = replica.read(self.session, request), None
        except ZkcoreError as failure:
            result, error = None, failure
        self.last_zxid = replica.tree.last_zxid
        self._answer(waiting, *self._answer_to(asked, result, error))
        return True

    # --- the session

    def _on_greeting(self, greeting: Greeting) -> None:
        """Nobody is served who has seen more than this replica: it would go back in time."""
        replica = self._host.replica
        self._greeting = greeting
        self._stage = _OPENING
        serving = self._host.running and replica.serving
        if not (serving or (greeting.read_only and self.owner.serves_readers)):
            self.end("there is no quorum at the moment")
        elif replica.tree.last_zxid < greeting.last_zxid:
            self.end("it has seen more than this server has; another one may have that, too")
        elif not serving:
            self._begin_reading(greeting)
        elif greeting.session:
            self._attach(greeting)
        else:
            self._password = secrets.token_bytes(PASSWORD_SIZE)
            self._held = True
            timeout_ms = min(max(greeting.timeout_ms, 1), MAX_TIMEOUT_MS)
            self._host.open(self, timeout_ms, password=self._password, ids=self.owner.ids_of(self))

    def _attach(self, greeting: Greeting) -> None:
        self.session, self._password = greeting.session, greeting.password
        self.last_zxid = greeting.last_zxid
        try:
            check_attaching(
                self._host.replica.tree, self.session, password=self._password, last_zxid=greeting.last_zxid, next_xid=1
            )
        except (AuthFailedError, BadArgumentsError) as error:
            self._refuse(str(error))
            return
        except ConnectionLostError as error:
            self.end(str(error))
            return
        self.owner.on_session(self)
        self._held = True
        self._host.attach(
            self, self.session, password=self._password, last_zxid=greeting.last_zxid, next_xid=1,
            ids=self.owner.ids_of(self),
        )  # fmt: skip

    def _refuse(self, why: str) -> None:
        """There is no such session: that is what a client takes for its end, and nothing else."""
        self._send(frame(greet(self._greeting, timeout_ms=0, session=0, password=bytes(PASSWORD_SIZE))))
        self._held = False
        self.end(why, linger=True)

    def _serve(self) -> None:
        if self._stage is not _OPENING:
            return
        self._stage = _SERVED
        if self._timer is not None:
            self._timer.cancel()
        self.timeout_ms = self._host.replica.tree.sessions.get(self.session, 0)
        self._told_leader_at = self._loop.time()
        self._send(
            frame(greet(self._greeting, timeout_ms=self.timeout_ms, session=self.session, password=self._password))
        )
        self._read_on()

    # --- while there is no leader

    def _begin_reading(self, greeting: Greeting) -> None:
        """A new client gets the id of no session."""
        replica = self._host.replica
        self.session, self._password = greeting.session, greeting.password
        if not self.session:
            self.session, self._password = secrets.randbits(62) + 1, secrets.token_bytes(PASSWORD_SIZE)
        elif not owns(replica, self.session, self._password):
            self._refuse(f"the password is not that of session {self.session:#x}")
            return
        if self._timer is not None:
            self._timer.cancel()
        self.reading = Reading(replica, self.session, self.owner.ids_of(self))
        self._stage, self.last_zxid = _READING, self.reading.zxid
        self.timeout_ms = replica.rules.timeouts.negotiate(min(max(greeting.timeout_ms, 1), MAX_TIMEOUT_MS))
        self.owner.on_session(self)
        told = greet(
            greeting, timeout_ms=self.timeout_ms, session=self.session, password=self._password, read_only=True
        )
        self._send(frame(told))
        self._expect_a_sign()

    def _expect_a_sign(self) -> None:
        self._timer = self._loop.call_later(self.timeout_ms / 1000, self._on_silence, self._heard_at)

    def _on_silence(self, since: float) -> None:
        if self._heard_at == since:
            self.end("it has been silent for too long")
        else:
            self._expect_a_sign()

    def _read(self, reading: Reading, asked: Asked) -> None:
        waiting = asked, self._heard_at
        if not reading.is_current:
            self.end("there is more to be seen by now")
        elif asked.opcode == PING:
            self._send(frame(header(Xid.PING, self.last_zxid, 0)))
        elif isinstance(asked.what, AuthPacket):
            self._authenticating = self._loop.create_task(self._authenticate(asked.xid, asked.what))
        elif asked.what is None:
            self._extended |= asked.extends
            self._refuse_request(waiting)
        elif isinstance(asked.what, CloseSession):
            self._answer(waiting, 0, b"")
            self.end("it has read enough", linger=True)
        else:
            try:
                result, error = reading.answer(asked.what), None
            except ZkcoreError as failure:
                result, error = None, failure
            self._answer(waiting, *self._answer_to(asked, result, error))

    # --- signs of life, and who it is

    def _ping(self) -> None:
        self._touch()
        self._pings.append(self._token)

    def _tell_leader(self) -> None:
        """A client that asks for anything is alive."""
        if (self._heard_at - self._told_leader_at) * 1000 * _BEATS > self.timeout_ms:
            self._touch()

    def _touch(self) -> None:
        self._told_leader_at = self._loop.time()
        self._token += 1
        self._host.touch(self.session, self._token)

    async def _authenticate(self, xid: int, packet: AuthPacket) -> None:
        """On another thread: a scheme may take its time on purpose. What is asked for meanwhile waits."""
        replica = self._host.replica
        try:
            if packet.credentials is None:
                raise AuthFailedError("nothing was shown")
            ids = await self._loop.run_in_executor(
                None, replica.rules.access.authenticate, packet.scheme, packet.credentials
            )
            add_ids((), ids)
            if self.reading is not None:
                self.reading.identify(ids)
            else:
                replica.identify(self.session, ids)
        except (AuthFailedError, BadArgumentsError) as error:
            self._send(frame(header(xid, 0, AuthFailedError.code)))
            self.end(f"who it is was not proved: {error}", linger=True)
        except SessionClosedError:
            pass  # it was detached meanwhile, and the connection is closed
        else:
            self._send(frame(header(xid, 0, 0)))
        finally:
            self._authenticating = None
        self._read_on()

    # --- what the host tells (`Served`)

    def on_opened(self, session: int) -> None:
        self.session = session
        if self._stage is _OVER:  # it is left to expire
            self._host.detach(session)
        else:
            self.owner.on_session(self)

    def on_replied(self, result: object, error: ZkcoreError | None, zxid: Zxid) -> None:
        self.last_zxid = zxid
        if self._stage is _OPENING:
            if error is None:
                self._serve()
            else:
                self.end(str(error))
            return
        if self._stage is _OVER:
            return
        waiting = self._waiting.popleft()
        if isinstance(error, SessionMovedError):
            self.end("its session is served elsewhere by now")
            return
        self._answer(waiting, *self._answer_to(waiting[0], result, error))
        if self._waiting and self._waiting[0][0].what is None:
            self._answer_refused()
        if self._held_up:
            self._read_on()

    def _answer_to(self, asked: Asked, result: object, error: ZkcoreError | None) -> tuple[int, bytes]:
        if error is None and isinstance(asked.what, SetWatches | SetWatches2):
            for missed in cast("tuple[Missed, ...]", result):
                self.on_watch(missed)
        return answer_to(asked, result, error, extended=self._extended)

    def _answer(self, waiting: _Waiting, code: int, body: bytes) -> None:
        self._send(frame(header(waiting[0].xid, self.last_zxid, code) + body))
        self._count(waiting)

    def _count(self, waiting: _Waiting) -> None:
        seconds = self._loop.time() - waiting[1]
        self.traffic.answer(seconds)
        self.owner.traffic.answer(seconds)

    def _answer_refused(self) -> None:
        """Those in front that the host never saw."""
        while self._waiting and self._waiting[0][0].what is None:
            self._refuse_request(self._waiting.popleft())

    def _refuse_request(self, waiting: _Waiting) -> None:
        asked, _ = waiting
        zxid = self.last_zxid if asked.zxid is None else asked.zxid
        self._send(frame(header(asked.xid, zxid, asked.code) + asked.body))
        self._count(waiting)

    def on_watch(self, told: Missed) -> None:
        if isinstance(told, WatchEvent) or self._extended:
            self._send(frame(event(told)))

    def on_touched(self, token: int, alive: bool) -> None:
        if not alive:
            self.on_ended()
            return
        while self._pings and self._pings[0] <= token:
            self._pings.popleft()
            self._send(frame(header(Xid.PING, self.last_zxid, 0)))
        if self._held_up:
            self._read_on()

    def on_attached(self) -> None:
        self._serve()

    def on_detached(self, why: str) -> None:
        self._held = False
        self.end(why)

    def on_ended(self) -> None:
        self._held = False
        if self._stage is _OPENING:
            self._refuse(f"session {self.session:#x} is over")
            return
        if self._waiting and isinstance(self._waiting[0][0].what, CloseSession):
            self._answer(self._waiting.popleft(), 0, b"")
        self.end("its session is over", linger=True)

    # --- sending

    def _send(self, data: bytes) -> None:
        if self._stage is _OVER or self._transport is None:
            return
        self.traffic.sent += 1
        self.owner.traffic.sent += 1
        self._out.append(data)
        if not self._flushes:
            self._flushes = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushes = False
        if self._out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
            self._out.clear()
            if self._transport.get_write_buffer_size() > self.owner.limits.queue_bytes:
                self.end(f"it does not take what it is told: more than {self.owner.limits.queue_bytes} bytes wait")

    # --- the end

    def end(self, why: str, *, linger: bool = False) -> None:
        """Close the connection; what was said last goes out before, if it is to `linger`. Its session lives on."""
        if self._stage is _OVER:
            return
        if linger:
            self._flush()
        self._stage = _OVER
        self._out.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._authenticating is not None:
            self._authenticating.cancel()
        if self._transport is not None:
            if linger:
                self._transport.close()
                self._timer = self._loop.call_later(_LINGER_SECONDS, self._transport.abort)
            else:
                self._transport.abort()
        if self._held and self.session:
            self._held = False
            self._host.detach(self.session)
        _log.info("the connection of %s, session %#x, is closed: %s", self.where, self.session, why)
        self.owner.on_gone(self)
