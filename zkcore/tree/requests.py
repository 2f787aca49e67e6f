"""What clients ask of a tree: all requests by name, and their bytes.

The records stand in `writes.py`, `reads.py`, `multi.py` and, where ZooKeeper has no such request, `extensions.py`.

This module must not know what a request does.
"""

from __future__ import annotations

from zkcore.errors import UnimplementedError
from zkcore.jute.codec import decode, decode_from, encode
from zkcore.tree.extensions import (
    CheckAbsent,
    CheckStat,
    Child,
    ChildKind,
    ChildPage,
    Condition,
    CreateIfAbsent,
    CreateWithParents,
    DeleteIfPresent,
    DeleteTree,
    ListChildren,
    Relation,
    StatField,
)
from zkcore.tree.multi import Multi, MultiRead, Once, decode_several, encode_several
from zkcore.tree.reads import (
    Children,
    Exists,
    GetACL,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    NodeACL,
    NodeData,
    NullData,
    WhoAmI,
)
from zkcore.tree.request import Request, T
from zkcore.tree.writes import (
    Check,
    CloseSession,
    Create,
    CreateContainer,
    Created,
    CreateSession,
    CreateTTL,
    Delete,
    PlainCreate,
    Reconfigure,
    SetACL,
    SetData,
)

__all__ = [
    "Check", "CheckAbsent", "CheckStat", "Child", "ChildKind", "ChildPage", "Children", "CloseSession", "Condition",
    "Create", "CreateContainer", "CreateIfAbsent", "CreateSession", "CreateTTL", "CreateWithParents", "Created",
    "Delete", "DeleteIfPresent", "DeleteTree", "Exists", "GetACL", "GetAllChildrenNumber", "GetChildren",
    "GetChildren2", "GetData", "GetEphemerals", "ListChildren", "Multi", "MultiRead", "NodeACL", "NodeData", "NullData",
    "Once", "PlainCreate", "Reconfigure", "Relation", "Request", "SetACL", "SetData", "StatField", "T", "WhoAmI",
    "decode_asked", "decode_request", "encode_request",
]  # fmt: skip

_RECORDS: tuple[type[Request[object]], ...] = (
    PlainCreate, Create, CreateContainer, CreateTTL, Delete, SetData, SetACL, Check, CreateSession, CloseSession,
    Exists, GetData, GetACL, GetChildren, GetChildren2, GetEphemerals, GetAllChildrenNumber, WhoAmI, CheckAbsent,
    CheckStat, CreateIfAbsent, CreateWithParents, DeleteIfPresent, DeleteTree, ListChildren, Reconfigure,
)  # fmt: skip
_BY_OPCODE = {kind.opcode: kind for kind in _RECORDS}


def encode_request(request: Request[object]) -> tuple[int, bytes]:
    """The opcode and the body of `request`. Raises BadArgumentsError where a number does not fit its field, and
    UnimplementedError for what is no request of a client."""
    if isinstance(request, Multi | MultiRead | Once):
        return request.opcode, encode_several(request)
    if request.writes and _BY_OPCODE.get(request.opcode) is not type(request):
        raise UnimplementedError(f"{type(request).__name__} cannot be asked for by a client")
    return request.opcode, encode(request)


def decode_request(opcode: int, data: bytes) -> Request[object]:
    """The request of a body. Raises UnimplementedError for an opcode that is not served here, MalformedFrameError or
    FrameTooLargeError for a body that does not decode."""
    kind = _BY_OPCODE.get(opcode)
    return decode(kind, data) if kind is not None else _decode_several(opcode, data)


def decode_asked(opcode: int, data: bytes, *, at: int) -> Request[object]:
    """The request of a body that begins at `at`, as a client has sent it. One that knows more than we do may send more,
    and what it wrote behind the fields of a record is passed over, as ZooKeeper does. Raises as `decode_request`."""
    kind = _BY_OPCODE.get(opcode)
    return decode_from(kind, data, at=at)[0] if kind is not None else _decode_several(opcode, data[at:])


def _decode_several(opcode: int, data: bytes) -> Request[object]:
    several = decode_several(opcode, data, _BY_OPCODE)
    if several is None:
        raise UnimplementedError(f"requests of opcode {opcode} are not implemented")
    return several
