"""Frames on a stream of bytes: where one ends and the next begins, and whether it is what the other side sent.

A frame is a length of 32 bits, big-endian, and so many bytes. Its body is one encoded message (wire.py), one step of
the handshake (handshake.py), or empty: then it says only that its sender is alive.

On a link with a shared secret every frame ends with a seal: HMAC-SHA256 under the key of that link and direction, over
the number of the frame and its body. The number is not sent. So a frame that was changed, left out, repeated, moved to
another place, to the other direction or to another link does not have the right seal.

This module must not know what the bodies say, nor where the bytes come from.
"""

from __future__ import annotations

import hmac
from struct import Struct

from zkcore.errors import FrameTooLargeError, MalformedFrameError

__all__ = ["SEAL_BYTES", "FrameReader", "Seal", "frame"]

SEAL_BYTES = 32

_LENGTH = Struct(">I")
_NUMBER = Struct(">Q")
_read_length = _LENGTH.unpack_from


def frame(body: bytes) -> bytes:
    """`body` as a frame."""
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Takes bytes as they arrive, and gives out the bodies of the frames in them.

    It never keeps more than arrived, and refuses a frame of more than `max_bytes` when it has seen its length. What
    arrives whole is cut out of where it stands; of a frame that comes in pieces each is kept as it came until the last
    is there, so that a large one is put together once.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        """May be changed between two frames."""
        self._data = b""
        self._begin = 0  # of the next frame
        self._pieces: list[bytes] = []  # what arrived behind `_data`
        self._missing = 0  # at least so many bytes until the next frame, or its length, is there

    def feed(self, data: bytes) -> None:
        """Some more bytes."""
        if self._begin == len(self._data) and not self._pieces:
            self._data, self._begin, self._missing = data, 0, 0
            return
        self._pieces.append(data)
        self._missing -= len(data)

    def peek(self, size: int) -> bytes:
        """The first `size` bytes that were not given out yet, or fewer where there are no more: for who must look
        before taking them for a frame."""
        self._join()
        return self._data[self._begin : self._begin + size]

    def next(self) -> bytes | None:
        """The body of the next frame, or None where it is not there yet. Raises FrameTooLargeError."""
        if self._pieces:
            if self._missing > 0:
                return None
            self._join()
        data, body_begin = self._data, self._begin + 4
        if len(data) < body_begin:
            self._missing = body_begin - len(data)
            return None
        (length,) = _read_length(data, self._begin)
        if length > self.max_bytes:
            raise FrameTooLargeError(f"a frame of {length} bytes; at most {self.max_bytes} are accepted here")
        end = body_begin + length
        if len(data) < end:
            self._missing = end - len(data)
            return None
        self._begin = end
        return data[body_begin:end]

    def _join(self) -> None:
        if self._pieces:
            self._data = b"".join((self._data[self._begin :], *self._pieces))
            self._begin = 0
            self._pieces.clear()


class Seal:
    """Seals the frames of one direction of one link, or checks their seals; in their order."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._number = 0

    def seal(self, body: bytes) -> bytes:
        """`body` with its seal."""
        return body + self._next(body)

    def open(self, sealed: bytes) -> bytes:
        """The body in `sealed`. Raises MalformedFrameError where the seal is not that of the next frame."""
        body, seal = sealed[:-SEAL_BYTES], sealed[-SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._next(body)):
            raise MalformedFrameError(
                f"the seal of frame {self._number} is wrong: it was changed, repeated or moved on its way"
            )
        return body

    def _next(self, body: bytes) -> bytes:
        self._number += 1
        return hmac.digest(self._key, _NUMBER.pack(self._number) + body, "sha256")
