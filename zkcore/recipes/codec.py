"""Codecs: what users' values are as bytes, for recipes that store them.

This module must not know who stores what.
"""

from __future__ import annotations

import json
from typing import Any, Protocol, TypeVar

from zkcore.errors import CodecError

__all__ = ["Codec", "bytes_codec", "from_bytes", "json_codec", "text_codec", "to_bytes"]

T = TypeVar("T")


class Codec(Protocol[T]):
    """Turns values into bytes and back. Whatever it raises is told as CodecError."""

    def encode(self, value: T, /) -> bytes: ...

    def decode(self, data: bytes, /) -> T: ...


class _Bytes:
    """Bytes as they are."""

    def __repr__(self) -> str:
        return "bytes_codec"

    def encode(self, value: bytes, /) -> bytes:
        return value

    def decode(self, data: bytes, /) -> bytes:
        return data


class _Text:
    """Text, in UTF-8."""

    def __repr__(self) -> str:
        return "text_codec"

    def encode(self, value: str, /) -> bytes:
        return value.encode()

    def decode(self, data: bytes, /) -> str:
        return data.decode()


class _Json:
    """What JSON can say, with its keys in order, so that equal values are equal bytes."""

    def __repr__(self) -> str:
        return "json_codec"

    def encode(self, value: Any, /) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def decode(self, data: bytes, /) -> Any:
        return json.loads(data)


bytes_codec: Codec[bytes] = _Bytes()
text_codec: Codec[str] = _Text()
json_codec: Codec[Any] = _Json()


def to_bytes(codec: Codec[T], value: T, *, where: str) -> bytes:
    """`value` as bytes. Raises CodecError."""
    try:
        data = codec.encode(value)
    except Exception as error:
        raise CodecError(
            f"{where}: {codec!r} cannot encode {type(value).__name__}: {error}; nothing was sent. Give "
            "what it can encode, or another codec"
        ) from error
    if not isinstance(data, bytes):
        raise CodecError(
            f"{where}: {codec!r} made {type(data).__name__} of {type(value).__name__}; give a codec that makes bytes"
        )
    return data


def from_bytes(codec: Codec[T], data: bytes, *, where: str) -> T:
    """The value that `data` stands for. Raises CodecError."""
    try:
        return codec.decode(data)
    except Exception as error:
        raise CodecError(
            f"{where}: {codec!r} cannot decode what is stored there: {error}; was it written with another codec? Then "
            "give that one"
        ) from error
