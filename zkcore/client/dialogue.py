"""ZooKeeper's client protocol, as a client speaks it. Pure: bodies of frames out, answers and events in.

The other side, and what surrounds requests, is told in `zkcore.server.protocol`. Requests have ZooKeeper's bytes
already; here is what their answers are made of: the values that a tree gives, and errors. Whatever the bytes, reading
them gives a value or raises one of the errors that a server may answer with, or a ProtocolError.

This module must not know sockets, nor who asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from attrs import frozen

from zkcore.errors import BY_CODE, MalformedFrameError, MultiError, RequestError, ZkcoreError
from zkcore.jute.codec import Long, codec_of, decode, decode_from, encode, record
from zkcore.jute.protocol import (
    AUTH,
    PING,
    RESYNC,
    AuthPacket,
    ClientInfos,
    ConnectRequest,
    ConnectResponse,
    ListedPage,
    MissedEvents,
    MultiHeader,
    NodeAcls,
    Number,
    OnePath,
    RawData,
    ReconfigRequest,
    ReplyHeader,
    RequestHeader,
    SeveralPaths,
    WatcherEvent,
    Xid,
)
from zkcore.jute.records import Id, Stat
from zkcore.replica.levels import Sync
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CheckStat,
    Child,
    ChildPage,
    Children,
    CloseSession,
    Create,
    CreateContainer,
    Created,
    CreateIfAbsent,
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
    NodeACL,
    NodeData,
    Once,
    PlainCreate,
    Reconfigure,
    Request,
    SetACL,
    SetData,
    WhoAmI,
    encode_request,
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
from zkcore.zxid import Zxid

__all__ = [
    "MAX_ANSWER", "Greeted", "Reply", "answer_of", "ask", "error_of", "greeting", "ping", "prove", "read_event",
    "read_greeted", "read_reply",
]  # fmt: skip

MAX_ANSWER = 1 << 26
"""Bytes of the largest answer that is taken: some hundred thousand names of children."""

_NO_NODE, _BEHIND_THE_ERROR = -101, -2


_pack_header = codec_of(RequestHeader).pack
_unpack_header = codec_of(ReplyHeader).unpack


# --- saying -----------------------------------------------------------------------------------------------------------


def greeting(
    *, last_zxid: Zxid, timeout_ms: int, session: int, password: bytes, read_only: bool = False
) -> bytes:
    """What a client says first: for a new session the id 0, and no password that means anything. With `read_only` a
    server without a leader will do."""
    return encode(ConnectRequest(0, last_zxid, timeout_ms, session, password)) + (b"\1" if read_only else b"\0")


def ask(xid: int, request: Request[Any]) -> bytes:
    """A request. Raises BadArgumentsError where a number does not fit its field."""
    if isinstance(request, Sync):
        opcode, body = Sync.opcode, encode(OnePath("/"))
    else:
        opcode, body = encode_request(request)
        if isinstance(request, Reconfigure):
            joining, leaving, new = (
                text.encode() or None for text in (request.joining, request.leaving, request.new_members)
            )
            body = encode(ReconfigRequest(joining, leaving, new, request.from_config))
    return _pack_header(xid, opcode) + body


def ping() -> bytes:
    """A sign of life, which is answered with one."""
    return encode(RequestHeader(Xid.PING, PING))


def prove(scheme: str, credentials: bytes) -> bytes:
    """Who one is."""
    return encode(RequestHeader(Xid.AUTH, AUTH)) + encode(AuthPacket(0, scheme, credentials))


# --- hearing ----------------------------------------------------------------------------------------------------------


class Greeted(NamedTuple):
    """How a server answers a greeting: the session with its password, and the timeout granted. Where the session is
    over, or never was, all of it is 0. `read_only` where the server has no leader, and the session may be none."""

    timeout_ms: int
    session: int
    password: bytes
    read_only: bool = False


def read_greeted(body: bytes) -> Greeted:
    """Raises ProtocolError."""
    found, end = decode_from(ConnectResponse, body, at=0)
    if len(body) - end > 1:  # old servers do not say whether they only read
        raise MalformedFrameError(f"{len(body) - end} bytes are left over after the answer to the greeting")
    return Greeted(found.timeout_ms, found.session, found.password, any(body[end:]))


class Reply(NamedTuple):
    """What came: the number of the request, or a Xid; up to which zxid the server had seen; the error, 0 for none; and
    the rest."""

    xid: int
    zxid: Zxid
    code: int
    body: bytes


def read_reply(body: bytes) -> Reply:
    """Raises ProtocolError."""
    xid, zxid, code, end = _unpack_header(body, 0)
    return Reply(xid, zxid, code, body[end:])


def read_event(reply: Reply, *, seen: Zxid) -> Missed | None:
    """The event of a watch; None where it is no news of a znode. Servers before 3.9 do not say which transaction it
    was: then it gets the zxid behind `seen`. It was that one or a later one, and what is read from now on, and only
    that, is not older. Raises ProtocolError."""
    found, end = decode_from(WatcherEvent, reply.body, at=0)
    zxid = reply.zxid if reply.zxid > 0 else seen + 1
    if found.type == RESYNC:
        return Resync(found.path, decode(_Since, reply.body[end:]).since, zxid)
    if end != len(reply.body):
        raise MalformedFrameError(f"{len(reply.body) - end} bytes are left over after an event")
    return WatchEvent(EventType(found.type), found.path, zxid) if found.type in _EVENTS else None


def error_of(request: Request[Any], reply: Reply) -> ZkcoreError | None:
    """What `reply`, whose header has an error, refuses `request` with. None where it is an answer all the same: there
    is no such znode."""
    if reply.code == _NO_NODE and isinstance(request, Exists):
        return None
    return _error(reply.code, getattr(request, "path", None))


def answer_of(request: Request[Any], reply: Reply) -> Any:
    """What `reply`, which is no error, answers to `request`. In a transaction ZooKeeper says of what was created the
    path alone, and then that is all there is. Raises MultiError, and ProtocolError."""
    if reply.code:
        return None
    if isinstance(request, Sync):
        decode(OnePath, reply.body)
        return reply.zxid
    answer, end = _READERS[type(request)](request, reply.body, 0)
    if end != len(reply.body):
        raise MalformedFrameError(f"{len(reply.body) - end} bytes are left over after an answer")
    return answer


def _error(code: int, path: str | None) -> ZkcoreError:
    kind = BY_CODE.get(code)
    if kind is None:
        return RequestError(f"the server refused it with error {code}, of which nothing is known here", path=path)
    return kind(path=path) if issubclass(kind, RequestError) else kind(f"the server answered with error {code}")


# --- the answers by request -------------------------------------------------------------------------------------------

_Reader: TypeAlias = Callable[[Any, bytes, int], tuple[Any, int]]
"""Gives what stands at an offset, and the offset behind it."""

_EVENTS = frozenset(int(kind) for kind in EventType)
_stat = codec_of(Stat).decode
_path, _paths, _data, _number, _acls = (
    codec_of(kind).unpack for kind in (OnePath, SeveralPaths, RawData, Number, NodeAcls)
)


@record
@frozen
class _Since:
    since: Long


def _nothing(_: object, body: bytes, at: int) -> tuple[None, int]:
    return None, at


def _one_stat(_: object, body: bytes, at: int) -> tuple[Stat, int]:
    return _stat(body, at)


def _one_path(_: object, body: bytes, at: int) -> tuple[str, int]:
    path, at = _path(body, at)
    return path, at


def _one_number(_: object, body: bytes, at: int) -> tuple[int, int]:
    number, at = _number(body, at)
    return number, at


def _whether(_: object, body: bytes, at: int) -> tuple[bool, int]:
    number, at = _number(body, at)
    return number != 0, at


def _created(_: object, body: bytes, at: int) -> tuple[Created, int]:
    path, at = _path(body, at)
    stat, at = _stat(body, at)
    return Created(path, stat), at


def _node_data(_: object, body: bytes, at: int) -> tuple[NodeData, int]:
    data, at = _data(body, at)
    stat, at = _stat(body, at)
    return NodeData(data or b"", stat), at


def _node_acl(_: object, body: bytes, at: int) -> tuple[NodeACL, int]:
    acl, at = _acls(body, at)
    stat, at = _stat(body, at)
    return NodeACL(tuple(acl), stat), at


def _names(_: object, body: bytes, at: int) -> tuple[tuple[str, ...], int]:
    """ZooKeeper gives them in no order."""
    names, at = _paths(body, at)
    return tuple(sorted(names)), at


def _children(_: object, body: bytes, at: int) -> tuple[Children, int]:
    names, at = _names(None, body, at)
    stat, at = _stat(body, at)
    return Children(names, stat), at


def _ids(_: object, body: bytes, at: int) -> tuple[tuple[Id, ...], int]:
    found, at = decode_from(ClientInfos, body, at=at)
    return tuple(Id(each.scheme, each.user) for each in found.infos), at


def _page(_: object, body: bytes, at: int) -> tuple[ChildPage, int]:
    page, at = decode_from(ListedPage, body, at=at)
    children = [
        Child(each.name, each.stats[0] if each.stats else None, each.data if each.has_data else None)
        for each in page.children
    ]
    return ChildPage(tuple(children), page.stat, page.after or None), at


def _missed(_: object, body: bytes, at: int) -> tuple[tuple[Missed, ...], int]:
    found, at = decode_from(MissedEvents, body, at=at)
    missed: list[Missed] = []
    for each in found.events:
        if each.type == RESYNC:
            missed.append(Resync(each.path, each.since, each.zxid))
        elif each.type in _EVENTS:
            missed.append(WatchEvent(EventType(each.type), each.path, each.zxid))
        else:
            raise MalformedFrameError(f"an event of type {each.type} was missed, and there is none")
    return tuple(missed), at


def _of_once(request: Once, body: bytes, at: int) -> tuple[Any, int]:
    return _READERS[type(request.request)](request.request, body, at)


def _several(request: Multi | MultiRead, body: bytes, at: int) -> tuple[tuple[Any, ...], int]:
    """The answers of all operations, each behind a header with its kind; a transaction has as many errors, where one of
    its operations failed."""
    answers: list[Any] = []
    codes: list[int] = []
    for operation in request.operations:
        header, at = decode_from(MultiHeader, body, at=at)
        if header.done:
            raise MalformedFrameError(f"{len(answers)} answers to {len(request.operations)} operations")
        if header.type == -1:
            (code, at) = _number(body, at)
            codes.append(code)
            gone = code == _NO_NODE and isinstance(operation, Exists)
            answers.append(None if gone else _error(code, getattr(operation, "path", None)))
            continue
        reader = _READERS[type(operation)]
        if header.type == PlainCreate.opcode and isinstance(operation, Create):
            reader = _one_path
        answer, at = reader(operation, body, at)
        answers.append(answer)
    header, at = decode_from(MultiHeader, body, at=at)
    if not header.done:
        raise MalformedFrameError(f"more answers than the {len(request.operations)} operations")
    if codes and isinstance(request, Multi):
        raise _multi_error(request, tuple(codes))
    return tuple(answers), at


def _multi_error(request: Multi, codes: tuple[int, ...]) -> ZkcoreError:
    index = next((index for index, code in enumerate(codes) if code not in (0, _BEHIND_THE_ERROR)), None)
    if index is None or len(codes) != len(request.operations):
        return MalformedFrameError(f"the codes {codes} say not which of {len(request.operations)} operations failed")
    path = getattr(request.operations[index], "path", None)
    return MultiError(index, _error(codes[index], path), codes=codes, path=path)


_READERS: dict[type[Request[Any]], _Reader] = {
    PlainCreate: _one_path,
    Create: _created,
    CreateContainer: _created,
    CreateTTL: _created,
    CreateIfAbsent: _created,
    CreateWithParents: _created,
    Delete: _nothing,
    DeleteIfPresent: _whether,
    DeleteTree: _one_number,
    SetData: _one_stat,
    SetACL: _one_stat,
    Check: _nothing,
    CheckAbsent: _nothing,
    CheckStat: _nothing,
    CloseSession: _nothing,
    Exists: _one_stat,
    GetData: _node_data,
    Reconfigure: _node_data,
    GetACL: _node_acl,
    GetChildren: _names,
    GetChildren2: _children,
    GetEphemerals: _names,
    GetAllChildrenNumber: _one_number,
    ListChildren: _page,
    WhoAmI: _ids,
    Multi: _several,
    MultiRead: _several,
    Once: _of_once,
    AddWatch: lambda _, body, at: (None, _number(body, at)[-1]),
    CheckWatches: _nothing,
    RemoveWatches: _nothing,
    SetWatches: _nothing,
    SetWatches2: _nothing,
    CatchUp: _missed,
}
