"""Requests made of requests: several in one transaction, several reads of one state, and one that may be retried.

The bytes of a Multi and a MultiRead are ZooKeeper's: in front of each operation a header with its opcode, and a last
header that says so.

This module must not know what the requests inside do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from attrs import field, frozen

from zkcore.errors import MalformedFrameError, UnimplementedError
from zkcore.jute.codec import Boolean, Buffer, Int, Long, codec_of, decode, decode_from, encode, record
from zkcore.tree.extensions import CheckAbsent, CheckStat, CreateIfAbsent, DeleteIfPresent, ListChildren
from zkcore.tree.reads import Exists, GetACL, GetChildren, GetChildren2, GetData
from zkcore.tree.request import Request, check_types
from zkcore.tree.writes import Check, Create, CreateContainer, CreateTTL, Delete, PlainCreate, Reconfigure, SetData

__all__ = ["Multi", "MultiRead", "Once", "decode_several", "encode_several"]

_WRITES = (
    PlainCreate, Create, CreateContainer, CreateTTL, Delete, SetData, Check, CheckAbsent, CheckStat, CreateIfAbsent,
    DeleteIfPresent,
)  # fmt: skip
_READS = (GetData, GetChildren, Exists, GetACL, GetChildren2, ListChildren)


def _all_of(kinds: tuple[type, ...], given: Iterable[Request[Any]]) -> tuple[Request[Any], ...]:
    operations = tuple(given)
    for operation in operations:
        if type(operation) not in kinds:
            names = ", ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{type(operation).__name__} cannot stand here; what can is {names}")
    return operations


def _writes(given: Iterable[Request[Any]]) -> tuple[Request[Any], ...]:
    return _all_of(_WRITES, given)


def _reads(given: Iterable[Request[Any]]) -> tuple[Request[Any], ...]:
    return _all_of(_READS, given)


@frozen
class Multi(Request[tuple[object, ...]]):
    """Several operations in one transaction: all of them happen, with one zxid, or none. Each meets the state that
    those before it leave. Answered with the answers of all, in order; a Stat is that of the moment behind its
    operation.

    Errors: MultiError, which says which operation failed, and why; SessionExpiredError; BadArgumentsError where all of
    them together are too large.
    """

    opcode: ClassVar[int] = 14
    writes: ClassVar[bool] = True

    operations: tuple[Request[Any], ...] = field(converter=_writes)


@frozen
class MultiRead(Request[tuple[object, ...]]):
    """Several reads of one state, none of which may set a watch. Answered with the answers of all, in order, and in
    the place of one that fails with its RequestError. Errors: none."""

    opcode: ClassVar[int] = 22
    writes: ClassVar[bool] = False

    operations: tuple[Request[Any], ...] = field(converter=_reads)


@frozen
class Once(Request[object]):
    """A request that is applied once however often it is sent: a retry is answered as the first was.

    `client` is the session under which the client began, which it keeps while it moves to new ones; `number` counts
    its requests upwards from 1. The ensemble remembers the outcome of the last few of each client (`once.py`), also
    for some time after its session has ended. What fails has not been applied, and a retry tries anew.

    Errors: those of `request`; OutcomeForgottenError for one too old to know; BadArgumentsError where the number was
    given to a request of another kind before.
    """

    opcode: ClassVar[int] = 1014
    writes: ClassVar[bool] = True

    client: int
    number: int
    request: Request[Any]

    def __attrs_post_init__(self) -> None:
        check_types("", number=self.client)
        check_types("", number=self.number)
        if not self.request.writes or self.request.opcode < 0 or isinstance(self.request, Once | Reconfigure):
            raise TypeError(f"{type(self.request).__name__} cannot be retried like this")


# --- bytes -----------------------------------------------------------------------------------------------------------


@record
@frozen
class _MultiHeader:
    type: Int
    done: Boolean
    err: Int


@record
@frozen
class _OnceHeader:
    client: Long
    number: Long
    type: Int
    body: Buffer


_END = _MultiHeader(-1, True, -1)


def encode_several(request: Request[object]) -> bytes:
    """The body of a request made of requests. Raises BadArgumentsError where a number does not fit its field."""
    if isinstance(request, Once):
        inner = request.request
        body = encode_several(inner) if isinstance(inner, Multi) else encode(inner)
        return encode(_OnceHeader(request.client, request.number, inner.opcode, body))
    assert isinstance(request, Multi | MultiRead)
    parts = [encode(_MultiHeader(each.opcode, False, -1)) + encode(each) for each in request.operations]
    return b"".join([*parts, encode(_END)])


def decode_several(opcode: int, data: bytes, records: Mapping[int, type[Request[object]]]) -> Request[object] | None:
    """The request made of requests that `data` holds, None where `opcode` is of none; `records` are the classes of
    all others. Raises ProtocolError, and UnimplementedError."""
    try:
        if opcode == Once.opcode:
            header = decode(_OnceHeader, data)
            if header.type == Once.opcode:
                raise MalformedFrameError("a request that may be retried is inside another")
            inner = decode_several(header.type, header.body, records)
            return Once(header.client, header.number, inner or decode(_kind(header.type, records), header.body))
        if opcode == Multi.opcode:
            return Multi(_decode_operations(data, records))
        if opcode == MultiRead.opcode:
            return MultiRead(_decode_operations(data, records))
    except TypeError as error:
        raise MalformedFrameError(str(error)) from error
    return None


def _decode_operations(data: bytes, records: Mapping[int, type[Request[object]]]) -> list[Request[object]]:
    operations: list[Request[object]] = []
    at = 0
    while True:
        kind, done, _, at = codec_of(_MultiHeader).unpack(data, at)
        if done:
            break
        operation, at = decode_from(_kind(kind, records), data, at=at)
        operations.append(operation)
    if at != len(data):
        raise MalformedFrameError(f"{len(data) - at} bytes are left over after the last operation")
    return operations


def _kind(opcode: int, records: Mapping[int, type[Request[object]]]) -> type[Request[object]]:
    kind = records.get(opcode)
    if kind is None:
        raise UnimplementedError(f"requests of opcode {opcode} are not implemented")
    return kind
