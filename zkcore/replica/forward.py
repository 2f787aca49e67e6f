"""What replicas say to each other beside ZAB: requests on their way to the leader, and signs of life of sessions.

They travel as the bytes of a `Forward`, on the same links. Nothing here needs to be durable, and nothing is repeated: a
link that breaks ends the conversation, and the sessions concerned are told.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from zkcore.errors import MalformedFrameError
from zkcore.jute.codec import Boolean, Buffer, Int, Long, decode, encode, record

__all__ = ["Claim", "Claimed", "Forwarded", "Refused", "Submit", "Touch", "TouchReply", "pack", "unpack"]


@record
@frozen
class Submit:
    """To the leader: a request of a session that the sender serves. The answer is the transaction itself."""

    session: Long
    xid: Int
    opcode: Int
    body: Buffer


@record
@frozen
class Refused:
    """From the leader: there will be no transaction for this request, because of the error `code`."""

    session: Long
    xid: Int
    code: Int


@record
@frozen
class Touch:
    """To the leader: the session is alive."""

    session: Long
    token: Long


@record
@frozen
class TouchReply:
    """From the leader: whether it still is."""

    session: Long
    token: Long
    alive: Boolean


@record
@frozen
class Claim:
    """To the leader: the sender serves the session from now on, and nobody else (ZooKeeper's revalidation). `nonce`
    tells one claim of the sender from the next."""

    session: Long
    nonce: Long


@record
@frozen
class Claimed:
    """From the leader: so be it, unless the session is over. What the session had requested before is proposed up to
    `zxid` or will never be."""

    session: Long
    nonce: Long
    alive: Boolean
    zxid: Long


Forwarded: TypeAlias = Submit | Refused | Touch | TouchReply | Claim | Claimed

_KINDS: tuple[type[Forwarded], ...] = (Submit, Refused, Touch, TouchReply, Claim, Claimed)
_NUMBER = {kind: bytes([number]) for number, kind in enumerate(_KINDS, 1)}
_BY_NUMBER = dict(enumerate(_KINDS, 1))


def pack(message: Forwarded) -> bytes:
    """The bytes of `message`."""
    return _NUMBER[type(message)] + encode(message)


def unpack(data: bytes) -> Forwarded:
    """The message of `data`. Raises ProtocolError for bytes that are none."""
    kind = _BY_NUMBER.get(data[0]) if data else None
    if kind is None:
        raise MalformedFrameError("a forwarded message of no known kind")
    return decode(kind, data[1:])
