"""A question to a member by one that is none yet, or knows nobody else: asked over a connection to the port of the
members, with their handshake, and no link.

The HELLO of one that asks is meant for no member in particular. It proves what a member must prove; with certificates,
that the one it shows is for the number and the address that it gives itself. What is asked, and answered, is data.

This module must not know what it means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeAlias

from zkcore.errors import AuthFailedError, ConnectionLostError, ProtocolError
from zkcore.transport.address import parse_address
from zkcore.transport.handshake import ANYBODY, Terms
from zkcore.transport.limits import LinkLimits
from zkcore.transport.link import Link
from zkcore.transport.places import Places
from zkcore.transport.security import Security, SharedSecret, Tls, identity_of, mode_of
from zkcore.transport.tls import TlsFiles, names_in
from zkcore.transport.wire import encode
from zkcore.zab.messages import Forward, Message, PeerId

__all__ = ["Answer", "Answering", "Asking"]

_MOST = 16
"""So many questions are answered at a time."""

Answer: TypeAlias = Callable[[PeerId, bytes, Callable[[str], str | None]], Awaitable[bytes]]
"""Answers a question: who asks, what, and a function that says why who is at an address is not the one that asks. Must
not raise."""


class Answering:
    """The questions to one member. `spawn` runs what answers them."""

    def __init__(self, places: Places, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._places = places
        self._spawn = spawn
        self._open: set[Link] = set()
        self._answer: asyncio.Future[Answer] | None = None

    def begin(self) -> None:
        """Questions are taken, and wait for `answer_with`. On the event loop."""
        self._answer = asyncio.get_running_loop().create_future()

    def answer_with(self, answer: Answer) -> None:
        """From now on `answer` answers."""
        assert self._answer is not None
        self._answer.set_result(answer)

    def on_linked(self, link: Link, *, patience: float) -> None:
        """Somebody may ask now, once, and has the answer in `patience` seconds."""
        self._open.add(link)
        if len(self._open) > _MOST:
            link.end(f"{_MOST} questions are being answered")
            return
        timer = asyncio.get_running_loop().call_later(patience, link.end, "it has asked nothing, or takes no answer")
        link.ended.add_done_callback(lambda _: timer.cancel())

    def on_asked(self, link: Link, message: Message) -> None:
        """Here is the question."""
        if not isinstance(message, Forward):
            link.end("this is no question")
            return
        self._spawn(self._reply(link, message.data))

    def on_ended(self, link: Link) -> bool:
        """Whether it was one that had got so far."""
        if link not in self._open:
            return False
        self._open.discard(link)
        return True

    async def _reply(self, link: Link, question: bytes) -> None:
        peer, names = link.peer, names_in(link.certificate())
        assert peer is not None
        assert self._answer is not None
        answer = await asyncio.shield(self._answer)
        reply = await answer(peer, question, lambda where: self._why_mistaken(peer, names, where))
        link.send(encode(Forward(reply)))

    def _why_mistaken(self, peer: PeerId, names: Collection[str], where: str) -> str | None:
        return self._places.why_mistaken(peer, names, parse_address(where, key="the address"))


class Asking:
    """Asks, as `me` at `address` of `cluster`. Raises ConfigurationError for security that cannot be used."""

    def __init__(
        self, me: PeerId, address: str, *, cluster: str, security: Security, limits: LinkLimits | None = None
    ) -> None:
        secret = security.secret if isinstance(security, SharedSecret) else b""
        self._terms = Terms(me=me, cluster=cluster, mode=mode_of(security), secret=secret)
        self._limits = limits if limits is not None else LinkLimits()
        self._security = security
        where = parse_address(address, key="address")
        self._tls = (
            TlsFiles(security, identity=identity_of(security, me, where, cluster=cluster))
            if isinstance(security, Tls)
            else None
        )
        self._where = where
        self._why = ""
        self._answer: bytes | None = None

    async def ask(self, seed: str, question: bytes, *, patience: float) -> bytes:
        """What the member at `seed` answers. Raises AuthFailedError where it refuses to talk, or is not who it should
        be, and ConnectionLostError where there is no answer; either says why."""
        self._where, self._why, self._answer = parse_address(seed, key="join"), "no answer", None
        failed = ""
        link = Link(self, self._terms, limits=self._limits, dials=ANYBODY, where=str(self._where))
        context = self._tls.contexts().dialling if self._tls is not None else None
        try:
            async with asyncio.timeout(patience):
                await asyncio.get_running_loop().create_connection(
                    lambda: link, self._where.host, self._where.port, ssl=context,
                    server_hostname=self._where.host if context is not None else None,
                )  # fmt: skip
                await link.settled
                if link.up:
                    link.send(encode(Forward(question)))
                    await link.ended
        except (OSError, TimeoutError) as error:
            failed = str(error) or "no answer in time"
        finally:
            link.give_up()
            link.abort()
        if self._answer is not None:
            return self._answer
        if link.is_refused:
            raise AuthFailedError(f"{seed}: {self._why}")
        raise ConnectionLostError(f"{seed} does not answer: {failed or self._why}")

    # --- LinkOwner

    def why_refused(self, peer: PeerId, link: Link) -> str | None:
        """See `LinkOwner`."""
        if not isinstance(self._security, Tls):
            return None
        name = identity_of(self._security, peer, self._where, cluster=self._terms.cluster)
        if name in names_in(link.certificate()):
            return None
        return f"who answers as member {peer} should be {name}, and shows no certificate for that"

    def on_linked(self, link: Link) -> None:
        """See `LinkOwner`."""

    def on_message(self, link: Link, message: Message) -> None:
        """See `LinkOwner`."""
        if not isinstance(message, Forward):
            raise ProtocolError("this is no answer")
        self._answer = message.data
        link.end("answered")

    def on_ended(self, link: Link, why: str) -> None:
        """See `LinkOwner`."""
        self._why = why
