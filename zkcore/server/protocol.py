"""ZooKeeper's client protocol, as a server speaks it. Pure: bodies of frames in and out.

A connection begins with a greeting, in which the client names its session or asks for a new one. From then on every
frame of the client is a header (the client's number of the request, and an opcode) and the request; every frame of the
server is a header (that number, a zxid, an error) and, where there was no error, the answer. Some numbers have a
meaning of their own (`Xid`). The requests are those of the tree, which have ZooKeeper's layout; here is what surrounds
them, and the answers. docs/differences.md says what we do otherwise than Apache ZooKeeper.

This module must not know sockets, sessions nor replicas.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from attrs import frozen

from zkcore.errors import MalformedFrameError, MultiError, ProtocolError, RequestError, UnimplementedError, ZkcoreError
from zkcore.jute.codec import NullableBuffer, codec_of, decode_from, encode, record
from zkcore.jute.protocol import (
    AUTH,
    CONNECTED,
    EXTENSIONS,
    PING,
    RESYNC,
    SASL,
    SYNC,
    AuthPacket,
    ClientInfo,
    ClientInfos,
    ConnectRequest,
    ConnectResponse,
    ListedChild,
    ListedPage,
    MissedEvent,
    MissedEvents,
    MultiHeader,
    NodeAcls,
    Number,
    OnePath,
    RawData,
    ReplyHeader,
    RequestHeader,
    SeveralPaths,
    WatcherEvent,
    Xid,
)
from zkcore.jute.records import Stat
from zkcore.replica.levels import Sync
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CheckStat,
    ChildPage,
    CloseSession,
    Create,
    CreateContainer,
    Created,
    CreateIfAbsent,
    CreateSession,
    CreateTTL,
    CreateWithParents,
    Delete,
    DeleteIfPresent,
    DeleteTree,
    Exists,
    GetACL,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    ListChildren,
    Multi,
    MultiRead,
    NullData,
    Once,
    PlainCreate,
    Reconfigure,
    Request,
    SetACL,
    SetData,
    WhoAmI,
    decode_asked,
)
from zkcore.tree.watch_requests import (
    AddWatch,
    CatchUp,
    CheckWatches,
    Missed,
    RemoveWatches,
    Resync,
    SetWatches,
    SetWatches2,
)
from zkcore.tree.znode import CreateMode, pack_stat
from zkcore.zxid import Zxid

__all__ = [
    "AUTH", "MAX_FRAME", "PING", "Asked", "AuthPacket", "Greeting", "Xid", "answer_to", "code_of", "event", "greet",
    "header", "parse", "parse_greeting",
]  # fmt: skip

MAX_FRAME = 0xFFFFF
"""Bytes of the largest request: ZooKeeper's `jute.maxbuffer`."""

_NO_TOKEN = struct.pack(">i", -1)
"""What a ZooKeeper without SASL answers to whatever is proved by it: nothing, and the client is who it was."""

_ANSWERED = 0
_MARSHALLING, _UNIMPLEMENTED = -5, -6
_SYSTEM_ERROR = -1


# --- the greeting ----------------------------------------------------------------------------------------------------


class Greeting(NamedTuple):
    """What a client says first: the newest state it has seen, the timeout it wishes, and its session with the password
    of that, or session 0 for a new one. `read_only`, whether a server without a quorum would do, is None where an old
    client did not say it, and then is not answered either."""

    last_zxid: Zxid
    timeout_ms: int
    session: int
    password: bytes
    read_only: bool | None


def parse_greeting(body: bytes) -> Greeting:
    """Raises ProtocolError. A client that knows more than we do may say more."""
    found, end = decode_from(ConnectRequest, body, at=0)
    rest = body[end:]
    return Greeting(found.last_zxid, found.timeout_ms, found.session, found.password, bool(rest[0]) if rest else None)


def greet(
    greeting: Greeting, *, timeout_ms: int, session: int, password: bytes, read_only: bool = False
) -> bytes:
    """The answer to a greeting. One of a session that is over, or another's, has nothing but zeros in it. `read_only`
    says that only reads are served."""
    answer = encode(ConnectResponse(0, timeout_ms, session, password))
    return answer if greeting.read_only is None else answer + (b"\1" if read_only else b"\0")


# --- requests --------------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """One request: `what` is a Request, an AuthPacket, or None for a ping; or, where nobody need carry it out, `code`
    and `body` are what it is answered with in its turn, and `zxid` is what stands in front of that, where it is not the
    newest. `path` is there for the answer to a sync. `extends` where the
    client says by it that it is one of ours."""

    xid: int
    opcode: int
    what: Request[Any] | AuthPacket | None
    code: int = 0
    path: str = ""
    body: bytes = b""
    extends: bool = False
    zxid: Zxid | None = None


@record
@frozen
class _Token:
    token: NullableBuffer


_unpack_header = codec_of(RequestHeader).unpack
_ABOUT_WATCHES: dict[int, type[Request[Any]]] = {
    kind.opcode: kind for kind in (AddWatch, CatchUp, CheckWatches, RemoveWatches, SetWatches, SetWatches2)
}


def parse(body: bytes) -> Asked:
    """The request in a frame. Raises ProtocolError where not even a header can be read, and where it cannot be read how
    somebody proves who it is."""
    xid, opcode, at = _unpack_header(body, 0)
    if opcode == PING:
        return Asked(xid, opcode, None)
    if opcode == AUTH:
        return Asked(xid, opcode, decode_from(AuthPacket, body, at=at)[0])
    if opcode == SASL:
        if decode_from(_Token, body, at=at)[0].token is None:
            raise MalformedFrameError("a token that is none")
        return Asked(xid, opcode, None, body=_NO_TOKEN, zxid=0)
    try:
        if opcode == SYNC:
            return Asked(xid, opcode, Sync(), path=decode_from(OnePath, body, at=at)[0].path)
        kind = _ABOUT_WATCHES.get(opcode)
        request = decode_from(kind, body, at=at)[0] if kind is not None else decode_asked(opcode, body, at=at)
    except UnimplementedError:
        return _unimplemented(xid, opcode)
    except (ProtocolError, RequestError):
        return Asked(xid, opcode, None, _MARSHALLING)
    if isinstance(request, CreateSession) or request.opcode not in ANSWERS:
        return _unimplemented(xid, opcode)
    if isinstance(request, Exists) and request.path == EXTENSIONS:
        return Asked(xid, opcode, None, body=_EXTENDED, extends=True)
    return Asked(xid, opcode, request)


def _unimplemented(xid: int, opcode: int) -> Asked:
    """Of several requests in one, ZooKeeper cannot read on behind the one that it does not know."""
    if opcode in (Multi.opcode, MultiRead.opcode):
        return Asked(xid, opcode, None, _MARSHALLING)
    return Asked(xid, opcode, None, _UNIMPLEMENTED, zxid=-1)


# --- answers ---------------------------------------------------------------------------------------------------------


_header = codec_of(ReplyHeader).pack
_path, _paths, _data, _number = (codec_of(kind).pack for kind in (OnePath, SeveralPaths, RawData, Number))
_END = encode(MultiHeader(-1, True, -1))
_long = struct.Struct(">q").pack
_EXTENDED = encode(Stat(*[0] * 11))
_NO_NODE = -101


def header(xid: int, zxid: Zxid, code: int) -> bytes:
    """What every answer begins with."""
    return _header(xid, zxid, code)


def event(told: Missed) -> bytes:
    """What a watch tells. Only clients of ours know a Resync."""
    if isinstance(told, Resync):
        body = encode(WatcherEvent(RESYNC, CONNECTED, told.path)) + _long(told.since)
        return _header(Xid.EVENT, told.zxid, 0) + body
    return _header(Xid.EVENT, told.zxid, 0) + encode(WatcherEvent(told.type, CONNECTED, told.path))


def code_of(error: ZkcoreError) -> int:
    """The number that a client is told for an error."""
    return error.code if error.code is not None else _SYSTEM_ERROR


def answer_to(
    asked: Asked,
    result: Any,
    error: ZkcoreError | None,
    *,
    extended: bool = False,
) -> tuple[int, bytes]:
    """The error for the header of an answer, 0 for none, and the body behind it. `extended` is the answer to a client
    of ours, who is told in a transaction the Stats of what it created."""
    request = asked.what
    if error is not None:
        several = request.request if isinstance(request, Once) else request
        if isinstance(error, MultiError) and isinstance(several, Multi):
            return _ANSWERED, _failed_parts(error)
        return code_of(error), b""
    if asked.opcode == Exists.opcode and result is None:
        return _NO_NODE, b""
    if asked.opcode == SYNC:
        return _ANSWERED, _path(asked.path)
    if isinstance(request, Multi) and extended:
        return _ANSWERED, _whole_parts(request, result)
    encoder = ANSWERS[asked.opcode]
    return _ANSWERED, encoder(request, result) if encoder is not None else b""


def _created(_: object, result: Created) -> bytes:
    return _path(result.path) + pack_stat(result.stat)


def _node_data(_: object, result: Any) -> bytes:
    return _data(None if isinstance(result, NullData) else result.data) + pack_stat(result.stat)


def _infos(_: object, result: Any) -> bytes:
    return encode(ClientInfos(tuple([ClientInfo(id.scheme, id.id) for id in result])))


def _parts(request: Multi | MultiRead, results: tuple[Any, ...]) -> bytes:
    """ZooKeeper's form of several answers, each behind a header with its kind. Of a create that says in so many words
    what it makes, and makes nothing special, there is the path alone, however it was asked for."""
    return b"".join(_part(*pair) for pair in zip(request.operations, results, strict=True)) + _END


def _part(operation: Request[Any], result: Any) -> bytes:
    if isinstance(operation, Create) and operation.mode != CreateMode.CONTAINER:
        return _headed(PlainCreate.opcode) + _path(result.path)
    return _whole_part(operation, result)


def _whole_parts(request: Multi, results: tuple[Any, ...]) -> bytes:
    return b"".join(_whole_part(*pair) for pair in zip(request.operations, results, strict=True)) + _END


def _whole_part(operation: Request[Any], result: Any) -> bytes:
    if isinstance(result, RequestError):
        return _failed_part(code_of(result))
    if isinstance(operation, Exists) and result is None:
        return _failed_part(_NO_NODE)
    encoder = ANSWERS[operation.opcode]
    kind = Create.opcode if isinstance(result, Created) else operation.opcode
    return _headed(kind) + (encoder(operation, result) if encoder else b"")


def _headed(kind: int) -> bytes:
    return encode(MultiHeader(kind, False, 0))


def _failed_parts(error: MultiError) -> bytes:
    return b"".join(map(_failed_part, error.codes)) + _END


def _failed_part(code: int) -> bytes:
    return encode(MultiHeader(-1, False, code)) + _number(code)


def _page(_: object, page: ChildPage) -> bytes:
    children = [
        ListedChild(name, () if stat is None else (stat,), data is not None, data or b"")
        for name, stat, data in page.children
    ]
    return encode(ListedPage(tuple(children), page.stat, page.after or ""))


def _missed(_: object, missed: tuple[Missed, ...]) -> bytes:
    return encode(
        MissedEvents(
            tuple(
                MissedEvent(RESYNC, each.path, each.zxid, each.since)
                if isinstance(each, Resync)
                else MissedEvent(each.type, each.path, each.zxid, 0)
                for each in missed
            )
        )
    )


def _of_once(request: Once, result: Any) -> bytes:
    inner = request.request
    if isinstance(inner, Multi):
        return _whole_parts(inner, result)
    encoder = ANSWERS[inner.opcode]
    return encoder(inner, result) if encoder is not None else b""


ANSWERS: dict[int, Callable[[Any, Any], bytes] | None] = {
    PlainCreate.opcode: lambda _, path: _path(path),
    Create.opcode: _created,
    CreateContainer.opcode: _created,
    CreateTTL.opcode: _created,
    Delete.opcode: None,
    SetData.opcode: lambda _, stat: pack_stat(stat),
    SetACL.opcode: lambda _, stat: pack_stat(stat),
    Reconfigure.opcode: _node_data,
    Check.opcode: None,
    CloseSession.opcode: None,
    Exists.opcode: lambda _, stat: pack_stat(stat),
    GetData.opcode: _node_data,
    GetACL.opcode: lambda _, result: encode(NodeAcls(result.acl)) + pack_stat(result.stat),
    GetChildren.opcode: lambda _, names: _paths(names),
    GetChildren2.opcode: lambda _, result: _paths(result.names) + pack_stat(result.stat),
    GetEphemerals.opcode: lambda _, paths: _paths(paths),
    GetAllChildrenNumber.opcode: lambda _, number: _number(number),
    WhoAmI.opcode: _infos,
    Multi.opcode: _parts,
    MultiRead.opcode: _parts,
    AddWatch.opcode: lambda _, __: _number(0),
    CheckWatches.opcode: None,
    RemoveWatches.opcode: None,
    SetWatches.opcode: None,
    SetWatches2.opcode: None,
    # What follows ZooKeeper does not have.
    CheckAbsent.opcode: None,
    CheckStat.opcode: None,
    CreateIfAbsent.opcode: _created,
    CreateWithParents.opcode: _created,
    DeleteIfPresent.opcode: lambda _, was_there: _number(was_there),
    DeleteTree.opcode: lambda _, number: _number(number),
    ListChildren.opcode: _page,
    Once.opcode: _of_once,
    CatchUp.opcode: _missed,
}
"""By opcode: how the answer is written, or None where there is no more of it than its header."""
