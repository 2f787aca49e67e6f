"""What clients ask of a tree: all requests by name, and their bytes.

The records stand in `writes.py`, `reads.py`, `multi.py` and, where ZooKeeper has no such request, `extensions.py`.

This module must not know what a request does.
"""

from __future__ import annotations

from zkcore.errors import UnimplementedError
from zkcore.jute.codec import decode, encode
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
    Sync,
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
    SetACL,
    SetData,
)

__all__ = [
    "Check", "Children", "CloseSession", "Create", "CreateContainer", "CreateSession", "CreateTTL", "Created", "Delete",
    "Exists", "GetACL", "GetAllChildrenNumber", "GetChildren", "GetChildren2", "GetData", "GetEphemerals", "NodeACL",
    "NodeData", "Request", "SetACL", "SetData", "Sync", "T", "WhoAmI", "decode_request", "encode_request",
]  # fmt: skip

_RECORDS: tuple[type[Request[object]], ...] = (
    Create, CreateContainer, CreateTTL, Delete, SetData, SetACL, Check, CreateSession, CloseSession, Exists, GetData,
    GetACL, GetChildren, GetChildren2, Sync, GetEphemerals, GetAllChildrenNumber, WhoAmI,
)  # fmt: skip
_BY_OPCODE = {kind.opcode: kind for kind in _RECORDS}
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
