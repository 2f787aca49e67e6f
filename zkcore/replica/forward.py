"""What replicas say to each other beside ZAB: requests on their way to the leader, signs of life of sessions, and how
much a read must show.

They travel as the bytes of a `Forward`, on the same links; what goes to one replica at the same time, one behind the
other in the same Forward. Nothing here needs to be durable, and nothing is repeated: a link that breaks ends the
conversation, and the sessions concerned are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from attrs import frozen

from zkcore.errors import BY_CODE, MalformedFrameError, RequestError, ZkcoreError
from zkcore.jute.codec import Boolean, Buffer, Int, Long, UString, decode_from, encode, record
from zkcore.jute.records import Id
from zkcore.zab.messages import Forward, PeerId

__all__ = [
    "AskIndex", "Claim", "Claimed", "Forwarded", "FromLeader", "Index", "Refused", "Submit", "Touch", "TouchReply",
    "bundle", "pack", "unpack",
]  # fmt: skip


@record
@frozen
class Submit:
    """To the leader: a request of a session that the sender serves, and the ids by which its client is known, of which
    the sender has made sure. The answer is the transaction itself."""

    session: Long
    xid: Int
    opcode: Int
    body: Buffer
    ids: tuple[Id, ...] = ()


@record
@frozen
class Refused:
    """From the leader: there will be no transaction for this request, because of the error `code`, and `why` in words
    where the code does not say it all."""

    session: Long
    xid: Int
    code: Int
    why: UString = ""

    @property
    def error(self) -> ZkcoreError:
        """What it says."""
        kind = BY_CODE.get(self.code, RequestError)
        return kind(self.why) if self.why else kind()


@record
@frozen
class Touch:
    """To the leader: the session is alive."""

    session: Long
    token: Long


@record
@frozen
class TouchReply:
    """From the leader: whether it still is. While its end is on its way there is no answer: it may yet be lost with
    the leader, and the session live on."""

    session: Long
    token: Long
    alive: Boolean


@record
@frozen
class Claim:
    """To the leader: the sender serves the session from now on, and nobody else (ZooKeeper's revalidation). `nonce`
    tells one claim of the sender from the next; `key` comes from the password that the client has shown."""

    session: Long
    nonce: Long
    key: Buffer


@record
@frozen
class Claimed:
    """From the leader: so be it, unless the session is over. What the session had requested before, and its end, is
    proposed up to `zxid` or will never be."""

    session: Long
    nonce: Long
    alive: Boolean
    zxid: Long


@record
@frozen
class AskIndex:
    """To the leader: how much must a replica have applied to show everything that is committed by now? `nonce` tells
    one question of the sender from the next."""

    nonce: Long


@record
@frozen
class Index:
    """From the leader: so much was `committed` when you asked, and so much `proposed`; nobody else led then."""

    nonce: Long
    committed: Long
    proposed: Long


FromLeader: TypeAlias = Refused | TouchReply | Claimed | Index
Forwarded: TypeAlias = Submit | Touch | Claim | AskIndex | FromLeader

_KINDS: tuple[type[Forwarded], ...] = (Submit, Refused, Touch, TouchReply, Claim, Claimed, AskIndex, Index)
_NUMBER = {kind: bytes([number]) for number, kind in enumerate(_KINDS, 1)}
_BY_NUMBER = dict(enumerate(_KINDS, 1))

_BUNDLE_BYTES = 1 << 18
"""A Forward that has come to this size is sent as it is: what one side takes apart at once."""


def pack(message: Forwarded) -> bytes:
    """The bytes of `message`."""
    return _NUMBER[type(message)] + encode(message)


def bundle(packed: Iterable[tuple[PeerId, bytes]]) -> Iterator[tuple[PeerId, Forward]]:
    """The bytes of messages as they travel, in order for each peer; those that follow each other to the same one go
    together, up to a size. For a request a Forward of its own would cost both sides as much as the request does."""
    for peer, group in groupby(packed, itemgetter(0)):
        together: list[bytes] = []
        size = 0
        for _, data in group:
            together.append(data)
            size += len(data)
            if size >= _BUNDLE_BYTES:
                yield peer, Forward(b"".join(together))
                together, size = [], 0
        if together:
            yield peer, Forward(b"".join(together))


def unpack(data: bytes) -> Iterator[Forwarded]:
    """The messages in `data`, of which there is one at least. Raises ProtocolError where bytes are none."""
    at = 0
    while True:
        kind = _BY_NUMBER.get(data[at]) if at < len(data) else None
        if kind is None:
            raise MalformedFrameError("a forwarded message of no known kind")
        message, at = decode_from(kind, data, at=at + 1)
        yield message
        if at == len(data):
            return
