"""Whoever may come to a port of a member: one end of a connection that a test plays by hand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from zkcore.testing.contracts import RecordingInbox
from zkcore.transport.framing import FrameReader, Seal, frame
from zkcore.transport.handshake import Handshake, Mode, Terms
from zkcore.transport.limits import LinkLimits
from zkcore.transport.security import Plaintext, Security
from zkcore.transport.tcp import TcpTransport
from zkcore.zab.messages import PeerId

__all__ = ["CLUSTER", "QUICK", "Stranger", "eventually", "opened", "terms_of"]

CLUSTER = "tests"
QUICK = LinkLimits(redial_seconds=0.005, redial_most_seconds=0.02)

PATIENCE = 20.0
"""Seconds after which what a test waits for is taken not to come."""


def terms_of(me: PeerId, secret: bytes = b"", *, cluster: str = CLUSTER) -> Terms:
    return Terms(me=me, cluster=cluster, mode=Mode.SECRET if secret else Mode.PLAINTEXT, secret=secret)


async def eventually(condition: object) -> None:
    """Until `condition()` holds."""
    assert callable(condition)
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def opened(
    addresses: dict[PeerId, str],
    up: Iterable[PeerId],
    *,
    security: dict[PeerId, Security] | Security | None = None,
    limits: LinkLimits = QUICK,
    cluster: dict[PeerId, str] | None = None,
) -> AsyncIterator[tuple[dict[PeerId, TcpTransport], dict[PeerId, RecordingInbox]]]:
    """The members `up` of those with `addresses`, listening and started."""
    async with AsyncExitStack() as stack:
        transports, inboxes = {}, {}
        for me in up:
            its = security.get(me) if isinstance(security, dict) else security
            transport = TcpTransport(
                me, addresses, cluster=(cluster or {}).get(me, CLUSTER), security=its or Plaintext(), limits=limits
            )
            inboxes[me] = RecordingInbox()
            transports[me] = (await stack.enter_async_context(transport)).start(inboxes[me])
        yield transports, inboxes
        for inbox in inboxes.values():
            inbox.check_law()


class Stranger:
    """A connection, and what can be done with it. Frames arrive and leave with seals once there are some."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.frames = FrameReader(1 << 30)
        self.seals: tuple[Seal, Seal] | None = None

    @classmethod
    @asynccontextmanager
    async def calling(cls, address: str, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stranger]:
        """A connection to whoever listens at `address`; with `tls`, and its certificate."""
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            try:
                await writer.wait_closed()
            except OSError:
                pass  # the other side was quicker

    async def greet(self, terms: Terms, dials: PeerId, *, nonce: bytes = bytes(32)) -> None:
        """The handshake, to its end. ProtocolError where it is refused."""
        handshake = Handshake(terms, nonce=nonce, dials=dials, admits=lambda peer: None)
        body = handshake.begin()
        while not handshake.done:
            if body is not None:
                self.write(frame(body))
            body = handshake.receive(await self.next_frame())
        self.seals = handshake.seals()

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, body: bytes) -> None:
        """A frame, with its seal."""
        self.write(frame(self.seals[0].seal(body) if self.seals is not None else body))

    async def next_frame(self) -> bytes:
        """The body of the next frame. EOFError where there is none any more."""
        async with asyncio.timeout(PATIENCE):
            while (body := self.frames.next()) is None:
                try:
                    data = await self.reader.read(1 << 16)
                except OSError:
                    data = b""
                if not data:
                    raise EOFError("the connection was closed")
                self.frames.feed(data)
        return self.seals[1].open(body) if self.seals is not None else body

    async def hung_up(self) -> list[bytes]:
        """All frames up to the end of the connection."""
        found = []
        try:
            while True:
                found.append(await self.next_frame())
        except EOFError:
            return found
