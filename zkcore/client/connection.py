"""One connection to a server of ZooKeeper's protocol, on asyncio: frames out and in.

This module must not know what is in the frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from zkcore.client.dialogue import MAX_ANSWER
from zkcore.errors import ProtocolError
from zkcore.forks import only_here
from zkcore.transport.framing import FrameReader, frame

__all__ = ["Connection"]


class Connection(asyncio.Protocol):
    """The connection to whom `name` says. It gives every frame that comes to `on_frame`, and when it is over says why
    to `on_over`, once: also where that was our own doing. What is sent in one pass of the event loop goes out with one
    call."""

    def __init__(
        self, name: str, on_frame: Callable[[Connection, bytes], None], on_over: Callable[[Connection, str], None]
    ) -> None:
        self.name = name
        self._on_frame = on_frame
        self._on_over = on_over
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(MAX_ANSWER)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self.over = False
        self.heard_at = self._loop.time()
        """When the last bytes came."""

    def send(self, body: bytes) -> None:
        """One frame."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(frame(body))

    def close(self, why: str, *, flush: bool = False) -> None:
        """Break it off, at once; with `flush` what was sent goes out before."""
        if self.over:
            return
        self.over = True
        if self._transport is not None:
            if flush:
                self._flush()
                self._transport.close()
            else:
                self._transport.abort()
        self._out.clear()
        self._on_over(self, why)

    def _flush(self) -> None:
        if self._out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    # --- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        only_here(transport)
        if self.over:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        self._reader.feed(data)
        try:
            while not self.over and (body := self._reader.next()) is not None:
                self._on_frame(self, body)
        except ProtocolError as error:
            self.close(f"the server does not speak ZooKeeper's protocol: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self.close(f"the connection broke: {error}" if error is not None else "the server hung up")
