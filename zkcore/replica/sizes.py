"""How large a request is, and how large it may be.

A request that is too large is refused where it was made, with an error that says so. On its way to the leader it would
break the link, and with it whatever else was under way there.

This module must not know where a request goes.
"""

from __future__ import annotations

from typing import Any

from zkcore.errors import BadArgumentsError
from zkcore.jute.records import OPEN_ACL
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import Create, CreateWithParents, Multi, Once, Reconfigure, Request, SetData, encode_request

__all__ = ["MAX_REQUEST_BYTES", "check_size", "encode_bounded", "size_of"]

MAX_REQUEST_BYTES = MAX_DATA + (1 << 16)
"""The most that one request takes: a znode's data of the largest size, and what surrounds it."""

_WITH_DATA = (Create, SetData)
_ENTRY_BYTES = 12  # of an ACL, beside its strings
_OPERATION_BYTES = 32  # of a transaction, beside what varies


def size_of(request: Request[Any]) -> int:
    """About as many bytes as a request, and the transaction made from it, keep. Exact enough for a limit: paths, data
    and ACLs are all that can be large."""
    if type(request) in _WITH_DATA and getattr(request, "acl", OPEN_ACL) is OPEN_ACL:
        return len(request.path) + len(request.data or b"")  # type: ignore[attr-defined]
    if isinstance(request, Multi):
        return sum([_OPERATION_BYTES + size_of(operation) for operation in request.operations])
    if isinstance(request, Once):
        return size_of(request.request)
    if isinstance(request, Reconfigure):
        return len(request.joining) + len(request.leaving) + len(request.new_members)
    path: str = getattr(request, "path", "")
    acl = sum([_ENTRY_BYTES + len(entry.id.scheme) + len(entry.id.id) for entry in getattr(request, "acl", ())])
    size = len(path) + len(getattr(request, "data", None) or b"") + acl
    if isinstance(request, CreateWithParents):  # every znode above may have to be created, each with its whole path
        size += path.count("/") * (_OPERATION_BYTES + len(path) // 2 + acl)
    return size


def check_size(request: Request[Any]) -> int:
    """`size_of(request)`. Raises BadArgumentsError where that is more than MAX_REQUEST_BYTES."""
    size = size_of(request)
    if size > MAX_REQUEST_BYTES:
        raise _too_large(size)
    return size


def encode_bounded(request: Request[Any]) -> tuple[int, bytes]:
    """As `encode_request`, and raises BadArgumentsError where that is more than MAX_REQUEST_BYTES."""
    check_size(request)
    opcode, body = encode_request(request)
    if len(body) > MAX_REQUEST_BYTES:  # of what is not looked at above, or takes more bytes than characters
        raise _too_large(len(body))
    return opcode, body


def _too_large(size: int) -> BadArgumentsError:
    return BadArgumentsError(f"a request of {size} bytes is over the limit of {MAX_REQUEST_BYTES}; split it in several")
