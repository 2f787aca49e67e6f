"""What clients ask of a tree: one record per request, in the layouts of ZooKeeper's client protocol.

`Request[T]` says what the answer is: `Request[Stat]` is answered with a Stat. Requests that write become transactions
on the leader (`prepare.py`); the others are answered by any replica from its own tree (`tree.py`).

A request carries its answer's type and its bytes, and checks only that its fields have the right Python types: whether
a path or a version will do is decided where the state is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Generic, NamedTuple, TypeVar

from attrs import field, frozen

from zkcore.errors import UnimplementedError
from zkcore.jute.codec import Boolean, Int, NullableBuffer, UString, decode, encode, record
from zkcore.jute.records import ACL, OPEN_ACL, Stat

__all__ = [
    "Children", "CloseSession", "Create", "CreateSession", "Created", "Delete", "Exists", "GetChildren", "GetChildren2",
    "GetData", "NodeData", "Request", "SetData", "decode_request", "encode_request",
]  # fmt: skip

T = TypeVar("T", covariant=True)


class Created(NamedTuple):
    """The answer to a create: the path as it came to be (sequential znodes get a number), and the Stat."""

    path: str
    stat: Stat


class NodeData(NamedTuple):
    """The answer to a get. Null data reads as b""."""

    data: bytes
    stat: Stat


class Children(NamedTuple):
    """The answer to a GetChildren2: the names in order, and the Stat of the parent."""

    names: tuple[str, ...]
    stat: Stat


class Request(Generic[T]):
    """One request whose answer is a `T`."""

    __slots__ = ()

    opcode: ClassVar[int]
    """ZooKeeper's number of the request."""
    writes: ClassVar[bool]
    """Whether it becomes a transaction."""


def _check_types(path: object, data: object = None, *, number: object = 0) -> None:
    # Where client and leader share a process nothing else stands between a mistaken caller and the leader.
    if type(path) is not str:
        raise TypeError(f"a path is a str, not {path!r}")
    if data is not None and type(data) is not bytes:
        raise TypeError(f"data is bytes, not {type(data).__name__}")
    if not isinstance(number, int):
        raise TypeError(f"a version, mode or timeout is an int, not {number!r}")


def _tuple_of(acl: Iterable[ACL]) -> tuple[ACL, ...]:
    return tuple(acl)


# --- requests that write ---------------------------------------------------------------------------------------------


@record
@frozen
class Create(Request[Created]):
    """Create a znode (ZooKeeper's create2: the answer has the Stat).

    `mode` is a CreateMode or its number. Errors: BadArgumentsError, InvalidACLError, NoNodeError (the parent),
    NodeExistsError, NoChildrenForEphemeralsError; UnimplementedError for containers, TTLs and any ACL but the open one.
    """

    opcode: ClassVar[int] = 15
    writes: ClassVar[bool] = True

    path: UString
    data: NullableBuffer = b""
    acl: tuple[ACL, ...] = field(default=OPEN_ACL, converter=_tuple_of, kw_only=True)
    mode: Int = field(default=0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        _check_types(self.path, self.data, number=self.mode)


@record
@frozen
class Delete(Request[None]):
    """Delete a znode that has no children, if `version` is -1 or the version it has.

    Errors: BadArgumentsError, NoNodeError, BadVersionError, NotEmptyError.
    """

    opcode: ClassVar[int] = 2
    writes: ClassVar[bool] = True

    path: UString
    version: Int = -1

    def __attrs_post_init__(self) -> None:
        _check_types(self.path, number=self.version)


@record
@frozen
class SetData(Request[Stat]):
    """Replace the data of a znode, if `version` is -1 or the version it has.

    Errors: BadArgumentsError, NoNodeError, BadVersionError.
    """

    opcode: ClassVar[int] = 5
    writes: ClassVar[bool] = True

    path: UString
    data: NullableBuffer
    version: Int = field(default=-1, kw_only=True)

    def __attrs_post_init__(self) -> None:
        _check_types(self.path, self.data, number=self.version)


@record
@frozen
class CreateSession(Request[None]):
    """Begin the session in whose name this is sent, with a timeout in milliseconds; a session that lives already gets
    this timeout. Errors: BadArgumentsError."""

    opcode: ClassVar[int] = -10
    writes: ClassVar[bool] = True

    timeout_ms: Int

    def __attrs_post_init__(self) -> None:
        _check_types("", number=self.timeout_ms)


@record
@frozen
class CloseSession(Request[None]):
    """End the session in whose name this is sent and delete its ephemeral znodes. Errors: SessionExpiredError."""

    opcode: ClassVar[int] = -11
    writes: ClassVar[bool] = True


# --- requests that read ----------------------------------------------------------------------------------------------


@record
@frozen
class Exists(Request[Stat | None]):
    """The Stat of a znode, or None. With `watch`, its creation, change or deletion will be told, whether or not it
    exists now. Errors: BadArgumentsError."""

    opcode: ClassVar[int] = 3
    writes: ClassVar[bool] = False

    path: UString
    watch: Boolean = False

    def __attrs_post_init__(self) -> None:
        _check_types(self.path)


@record
@frozen
class GetData(Request[NodeData]):
    """The data and the Stat of a znode. With `watch`, its change or deletion will be told.
    Errors: BadArgumentsError, NoNodeError."""

    opcode: ClassVar[int] = 4
    writes: ClassVar[bool] = False

    path: UString
    watch: Boolean = False

    def __attrs_post_init__(self) -> None:
        _check_types(self.path)


@record
@frozen
class GetChildren(Request[tuple[str, ...]]):
    """The names of a znode's children, in order. With `watch`, a child's coming or going, or the end of the znode,
    will be told. Errors: BadArgumentsError, NoNodeError."""

    opcode: ClassVar[int] = 8
    writes: ClassVar[bool] = False

    path: UString
    watch: Boolean = False

    def __attrs_post_init__(self) -> None:
        _check_types(self.path)


@record
@frozen
class GetChildren2(Request[Children]):
    """As GetChildren, with the Stat of the znode."""

    opcode: ClassVar[int] = 12
    writes: ClassVar[bool] = False

    path: UString
    watch: Boolean = False

    def __attrs_post_init__(self) -> None:
        _check_types(self.path)


# --- bytes -----------------------------------------------------------------------------------------------------------

_KINDS: tuple[type[Request[object]], ...] = (
    Create, Delete, SetData, CreateSession, CloseSession, Exists, GetData, GetChildren, GetChildren2,
)  # fmt: skip
_BY_OPCODE = {kind.opcode: kind for kind in _KINDS}
# ZooKeeper's older create has the same body; only its answer lacks the Stat, and that is the server's to leave out.
_BY_OPCODE[1] = Create


def encode_request(request: Request[object]) -> tuple[int, bytes]:
    """The opcode and the body of `request`. Raises BadArgumentsError where a number does not fit its field."""
    return request.opcode, encode(request)


def decode_request(opcode: int, data: bytes) -> Request[object]:
    """The request of a body. Raises UnimplementedError for an opcode that is not served here, MalformedFrameError or
    FrameTooLargeError for a body that does not decode."""
    kind = _BY_OPCODE.get(opcode)
    if kind is None:
        raise UnimplementedError(f"requests of opcode {opcode} are not implemented")
    return decode(kind, data)
