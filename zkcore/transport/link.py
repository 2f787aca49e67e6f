"""One connection between two members on asyncio, from its first byte to its last: a handshake, and then a link.

What is sent in one pass of the event loop goes out with one write. What cannot go out waits, up to a limit, and a link
that reaches it is lost: nothing is dropped in the middle. When nothing else is sent an empty frame says that this side
is alive. Silence is counted in looks, which the owner takes at regular times: so the time in which this process was
stopped, and could hear nobody, is one look and counts for no more.

This module must not know which links there should be, nor what the messages mean.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Mapping
from typing import Any, Protocol, cast

from zkcore.errors import ProtocolError
from zkcore.forks import only_here
from zkcore.transport.framing import SEAL_BYTES, FrameReader, Seal, frame
from zkcore.transport.handshake import MAX_HANDSHAKE_BYTES, NONCE_BYTES, Handshake, Terms, refusal
from zkcore.transport.limits import LinkLimits
from zkcore.transport.wire import decode
from zkcore.zab.messages import Message, PeerId

__all__ = ["LOOKS", "Link", "LinkOwner"]

LOOKS = 8
"""So many looks are taken in the time for which a link may be silent."""

_LINGER_SECONDS = 1.0
"""How long a last word may take to go out."""


class LinkOwner(Protocol):
    """Who is told what becomes of a connection. All of it happens on the event loop."""

    def why_refused(self, peer: PeerId, link: Link) -> str | None:
        """Why the other side, which says that it is `peer`, is not welcome; or None."""

    def on_linked(self, link: Link) -> None:
        """The handshake is done: `link.peer` is known for sure."""

    def on_message(self, link: Link, message: Message) -> None:
        """A message arrived."""

    def on_ended(self, link: Link, why: str) -> None:
        """It is over, once; nothing more arrives."""


class Link(asyncio.Protocol):
    """See the module. `dials` is the member that is dialled, or None where this side was called by `where`."""

    def __init__(self, owner: LinkOwner, terms: Terms, *, limits: LinkLimits, dials: PeerId | None, where: str) -> None:
        self.where = where
        self.up = False
        """Whether it is a link now."""
        self.is_refused = False
        """Whether one side wants no link with the other, and has said so."""
        self._owner = owner
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._handshake = Handshake(terms, nonce=secrets.token_bytes(NONCE_BYTES), dials=dials, admits=self._admits)
        self._reader = FrameReader(MAX_HANDSHAKE_BYTES)
        self._transport: asyncio.Transport | None = None
        self._outgoing: Seal | None = None
        self._incoming: Seal | None = None
        self._waiting: list[bytes] = []  # frames, to be sent with one write
        self._waiting_bytes = 0
        self._flushes = False  # a flush is on its way
        self._paused = False
        self._heard = self._spoke = True  # since the last look
        self._quiet_looks = 0
        self._over = False
        self.settled: asyncio.Future[None] = self._loop.create_future()
        """Done when it is a link, or over."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when it is over."""
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the socket is closed, too."""
        self._timer = self._loop.call_later(
            limits.handshake_seconds, self.end, f"the handshake took more than {limits.handshake_seconds} s"
        )

    @property
    def peer(self) -> PeerId | None:
        """The other side; known for sure once this is a link."""
        return self._handshake.peer

    @property
    def asks(self) -> bool:
        """Whether it is for a question only. Known once the other side has said who it is."""
        return self._handshake.asks

    def certificate(self) -> Mapping[str, Any] | None:
        """What the other side has shown, and ssl has checked; None without TLS."""
        shown: ssl.SSLObject | None = (
            self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        )
        return shown.getpeercert() if shown is not None else None

    # --- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        only_here(transport)
        if self._over:
            self._transport.abort()
            return
        hello = self._handshake.begin()
        if hello is not None:
            self._transport.write(frame(hello))

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            self._reader.feed(data)
            while not self._over and (body := self._reader.next()) is not None:
                self._on_frame(body)
        except ProtocolError as error:
            self.is_refused = not self.up
            self.end(str(error), say=not self.up and self._handshake.is_polite)

    def connection_lost(self, error: Exception | None) -> None:
        self.end(f"the connection broke: {error}" if error is not None else "the other side hung up")
        self._timer.cancel()
        self._finish(self.gone)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    # --- arriving

    def _on_frame(self, body: bytes) -> None:
        if not self.up:
            answer = self._handshake.receive(body)
            if answer is not None:
                assert self._transport is not None
                self._transport.write(frame(answer))
            if self._handshake.done:
                self._become_link()
            return
        if self._incoming is not None:
            body = self._incoming.open(body)
        if body:
            self._owner.on_message(self, decode(body, max_bytes=self._limits.frame_bytes))

    def _admits(self, peer: PeerId) -> str | None:
        return self._owner.why_refused(peer, self)

    def _become_link(self) -> None:
        self._timer.cancel()
        seals = self._handshake.seals()
        if seals is not None:
            self._outgoing, self._incoming = seals
        self._reader.max_bytes = self._limits.frame_bytes + (SEAL_BYTES if seals is not None else 0)
        self.up = True
        self._finish(self.settled)
        self._owner.on_linked(self)

    # --- sending

    def send(self, body: bytes) -> None:
        """Send an encoded message, or an empty sign of life. For a link that is up."""
        if self._over:
            return
        assert self._transport is not None
        if self._outgoing is not None:
            body = self._outgoing.seal(body)
        self._waiting.append(frame(body))
        self._waiting_bytes += len(body)
        self._spoke = True
        if self._waiting_bytes + self._transport.get_write_buffer_size() > self._limits.queue_bytes:
            self.end(f"it does not take what is sent: more than {self._limits.queue_bytes} bytes wait")
        elif not self._flushes:
            self._flushes = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushes = False
        if self._paused or self._over or not self._waiting:
            return
        assert self._transport is not None
        self._transport.write(b"".join(self._waiting))
        self._waiting.clear()
        self._waiting_bytes = 0

    def look(self) -> None:
        """To be called LOOKS times in `patience_seconds`: notice silence, and give a sign of life."""
        if not self.up:
            return
        self._quiet_looks = 0 if self._heard else self._quiet_looks + 1
        self._heard = False
        if self._quiet_looks >= LOOKS - 1:
            self.end(f"nothing was heard for {self._limits.patience_seconds} s: it is frozen, or cut off")
            return
        if not self._spoke:
            self.send(b"")
        self._spoke = False

    # --- the end

    def end(self, why: str, *, say: bool = False) -> None:
        """It is over: what waits is dropped, nothing more arrives, and the owner is told why; so is the other side, if
        `say`. Does nothing the second time."""
        if self._over:
            return
        self._over = True
        self.up = False
        self._waiting.clear()
        self._timer.cancel()
        self._finish(self.settled)
        self._finish(self.ended)
        if self._transport is not None:
            if say:
                self._transport.write(frame(refusal(why)))
                self._transport.close()
                self._timer = self._loop.call_later(_LINGER_SECONDS, self._transport.abort)
            else:
                self._transport.abort()
        self._owner.on_ended(self, why)

    def give_up(self) -> None:
        """Nothing comes of the attempt to connect any more, if nothing has yet."""
        if self._transport is None:
            self.end("it was given up")
            self._finish(self.gone)

    def abort(self) -> None:
        """Close the socket, whatever is still on its way."""
        self.end("this member stops")
        if self._transport is not None:
            self._transport.abort()
        else:
            self._finish(self.gone)

    def _finish(self, future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)
