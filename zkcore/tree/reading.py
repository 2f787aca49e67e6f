"""The answers: to requests that read, and to those whose transaction was applied.

This module must not know of watches, nor how a caller is reached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zkcore.errors import BY_CODE, NoAuthError, NoNodeError, RequestError
from zkcore.jute.records import Id, Stat
from zkcore.tree.acl import Access, Caller, Permission
from zkcore.tree.applied import Applied
from zkcore.tree.paths import validate
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
from zkcore.tree.state import State
from zkcore.tree.writes import Create, CreateContainer, Created, CreateTTL, SetACL, SetData
from zkcore.tree.znode import STAT_SIZE, ZnodeStat

__all__ = ["READS", "RESULTS", "Read", "Result", "error_of"]

Read = Callable[[State, Access, Any, Caller], object]
Result = Callable[[State, Any, Applied], object]

_READ = int(Permission.READ)


# --- requests that read ----------------------------------------------------------------------------------------------


def _get_data(state: State, access: Access, request: GetData, caller: Caller) -> NodeData:
    path = request.path
    record = _readable(state, access, path, caller)
    return NodeData(record[:-STAT_SIZE], ZnodeStat(record, state.families.count(path)))


def _exists(state: State, access: Access, request: Exists, caller: Caller) -> Stat | None:
    path = request.path
    if state.find(path) is None:
        validate(path)
        return None
    return ZnodeStat(_readable(state, access, path, caller), state.families.count(path))


def _get_acl(state: State, access: Access, request: GetACL, caller: Caller) -> NodeACL:
    path = request.path
    _readable(state, access, path, caller, permission=Permission.READ | Permission.ADMIN)
    return NodeACL(access.shown(state.acl_of(path), caller.ids), state.stat(path))


def _get_children(state: State, access: Access, request: GetChildren, caller: Caller) -> tuple[str, ...]:
    path = request.path
    _readable(state, access, path, caller)
    start = 1 if path == "/" else len(path) + 1
    return tuple([child[start:] for child in state.families.of(path)])


def _get_children2(state: State, access: Access, request: GetChildren2, caller: Caller) -> Children:
    names = _get_children(state, access, GetChildren(request.path), caller)
    return Children(names, state.stat(request.path))


def _get_all_children_number(state: State, access: Access, request: GetAllChildrenNumber, caller: Caller) -> int:
    path = request.path
    _readable(state, access, path, caller)
    return len(state) - 1 if path == "/" else sum(1 for _ in state.below(path)) - 1


def _get_ephemerals(state: State, access: Access, request: GetEphemerals, caller: Caller) -> tuple[str, ...]:
    mine = state.ephemerals.get(caller.session, ())
    return tuple(sorted(path for path in mine if path.startswith(request.prefix)))


def _who_am_i(state: State, access: Access, request: WhoAmI, caller: Caller) -> tuple[Id, ...]:
    return caller.ids


def _sync(state: State, access: Access, request: Sync, caller: Caller) -> str:
    return request.path


def _readable(
    state: State, access: Access, path: str, caller: Caller, *, permission: int = _READ
) -> bytes:
    """The record of a znode that `caller` may look at. Raises NoNodeError before NoAuthError."""
    record = state.find(path)
    if record is None:
        # ZooKeeper's clients refuse a malformed path before they send it; here the tree does, where it costs nothing.
        validate(path)
        raise NoNodeError(path=path)
    acl = state.acl_of(path)
    if acl is not None and not access.allows(acl, permission, caller.ids):
        raise NoAuthError(path=path)
    return record


READS: dict[type[Any], Read] = {
    GetData: _get_data,
    Exists: _exists,
    GetACL: _get_acl,
    GetChildren: _get_children,
    GetChildren2: _get_children2,
    GetAllChildrenNumber: _get_all_children_number,
    GetEphemerals: _get_ephemerals,
    WhoAmI: _who_am_i,
    Sync: _sync,
}
"""By the class of a request that reads: its answer."""


# --- requests that wrote ---------------------------------------------------------------------------------------------


def _created(state: State, request: object, applied: Applied) -> Created:
    return Created(applied.path, state.stat(applied.path))


def _changed(state: State, request: object, applied: Applied) -> Stat:
    return state.stat(applied.path)


RESULTS: dict[type[Any], Result] = {
    Create: _created,
    CreateContainer: _created,
    CreateTTL: _created,
    SetData: _changed,
    SetACL: _changed,
}
"""By the class of a request that wrote: its answer, where it is not None. The transaction is the last one applied."""


def error_of(code: int, path: str | None) -> Exception:
    """The exception for ZooKeeper's error `code`."""
    kind = BY_CODE.get(code)
    if kind is None:
        return RequestError(f"the request failed with ZooKeeper's error {code}", path=path)
    return kind(path=path) if issubclass(kind, RequestError) else kind()
