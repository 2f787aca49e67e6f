"""The answers: to requests that read, and to those whose transaction was applied.

This module must not know of watches, nor how a caller is reached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zkcore.errors import BY_CODE, BadArgumentsError, MultiError, NoNodeError, RequestError, ZkcoreError
from zkcore.jute.records import (
    CheckVersionTxn,
    CreateContainerTxn,
    CreateTTLTxn,
    CreateTxn,
    DeleteTxn,
    Id,
    SetACLTxn,
    SetDataTxn,
    Stat,
)
from zkcore.tree.acl import EMBEDDED, Access, Caller, Permission
from zkcore.tree.applied import Applied, Outcome
from zkcore.tree.extensions import (
    CheckAbsent,
    CheckStat,
    CreateIfAbsent,
    CreateWithParents,
    DeleteIfPresent,
    DeleteTree,
    ListChildren,
)
from zkcore.tree.listing import list_children
from zkcore.tree.multi import Multi, MultiRead, Once
from zkcore.tree.paths import CONFIG
from zkcore.tree.permitted import readable
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
from zkcore.tree.request import Request
from zkcore.tree.state import State
from zkcore.tree.writes import (
    Check,
    Create,
    CreateContainer,
    Created,
    CreateTTL,
    Delete,
    PlainCreate,
    Reconfigure,
    SetACL,
    SetData,
)
from zkcore.tree.znode import STAT_SIZE, ZnodeStat, data_of

__all__ = ["READS", "RESULTS", "Read", "Result", "error_of"]

Read = Callable[[State, Access, Any, Caller], object]
Result = Callable[[State, Any, Applied], object]

# --- requests that read ----------------------------------------------------------------------------------------------


def _get_data(state: State, access: Access, request: GetData, caller: Caller) -> NodeData:
    path = request.path
    record = readable(state, access, path, caller)
    data, stat = record[:-STAT_SIZE], ZnodeStat(record, state.families.count(path))
    return NodeData(data, stat) if data or not state.is_null(path) else NullData(data, stat)


def _exists(state: State, access: Access, request: Exists, caller: Caller) -> Stat | None:
    path = request.path
    try:
        return ZnodeStat(readable(state, access, path, caller), state.families.count(path))
    except NoNodeError:
        if "\x00" in path:  # the one malformed path that ZooKeeper refuses to look for, and only here
            raise BadArgumentsError(path=path) from None
        return None


def _get_acl(state: State, access: Access, request: GetACL, caller: Caller) -> NodeACL:
    path = request.path
    readable(state, access, path, caller, Permission.READ | Permission.ADMIN)
    return NodeACL(access.shown(state.acl_of(path), caller.ids), state.stat(path))


def _get_children(state: State, access: Access, request: GetChildren, caller: Caller) -> tuple[str, ...]:
    path = request.path
    readable(state, access, path, caller)
    start = 1 if path == "/" else len(path) + 1
    return tuple([child[start:] for child in state.families.of(path)])


def _get_children2(state: State, access: Access, request: GetChildren2, caller: Caller) -> Children:
    names = _get_children(state, access, GetChildren(request.path), caller)
    return Children(names, state.stat(request.path))


def _get_all_children_number(state: State, access: Access, request: GetAllChildrenNumber, caller: Caller) -> int:
    path = request.path
    readable(state, access, path, caller)
    return len(state) - 1 if path == "/" else sum(1 for _ in state.below(path)) - 1


def _get_ephemerals(state: State, access: Access, request: GetEphemerals, caller: Caller) -> tuple[str, ...]:
    mine = state.ephemerals.get(caller.session, ())
    return tuple(sorted(path for path in mine if path.startswith(request.prefix)))


def _who_am_i(state: State, access: Access, request: WhoAmI, caller: Caller) -> tuple[Id, ...]:
    return tuple([Id(id.scheme, access.user_of(id)) for id in caller.ids if id != EMBEDDED])


def _multi_read(state: State, access: Access, request: MultiRead, caller: Caller) -> tuple[object, ...]:
    answers: list[object] = []
    for operation in request.operations:
        try:
            answers.append(READS[type(operation)](state, access, operation, caller))
        except RequestError as error:
            answers.append(error)
    return tuple(answers)


READS: dict[type[Any], Read] = {
    GetData: _get_data,
    Exists: _exists,
    GetACL: _get_acl,
    GetChildren: _get_children,
    GetChildren2: _get_children2,
    GetAllChildrenNumber: _get_all_children_number,
    GetEphemerals: _get_ephemerals,
    WhoAmI: _who_am_i,
    MultiRead: _multi_read,
    ListChildren: list_children,
}
"""By the class of a request that reads: its answer."""


# --- requests that wrote ---------------------------------------------------------------------------------------------


def _created(state: State, request: object, applied: Applied) -> Created:
    return Created(applied.path, state.stat(applied.path))


def _created_path(state: State, request: object, applied: Applied) -> str:
    return applied.path


def _changed(state: State, request: object, applied: Applied) -> Stat:
    return state.stat(applied.path)


def _was_deleted(state: State, request: object, applied: Applied) -> bool:
    return bool(applied.changes)


def _from_outcomes(state: State, request: Request[Any], applied: Applied) -> object:
    return _answer(request, applied.outcomes)


def _members(state: State, request: object, applied: Applied) -> NodeData:
    record = state.find(CONFIG)
    assert record is not None
    return NodeData(data_of(record), state.stat(CONFIG))


RESULTS: dict[type[Any], Result] = {
    PlainCreate: _created_path,
    Create: _created,
    CreateContainer: _created,
    CreateTTL: _created,
    CreateIfAbsent: _created,
    SetData: _changed,
    SetACL: _changed,
    Reconfigure: _members,
    DeleteIfPresent: _was_deleted,
    CreateWithParents: _from_outcomes,
    DeleteTree: _from_outcomes,
    Multi: _from_outcomes,
    Once: _from_outcomes,
}
"""By the class of a request that wrote: its answer, where it is not None. The transaction is the last one applied."""


def _answer(request: Request[Any], outcomes: tuple[Outcome, ...]) -> object:
    """The answer to a request that came to these outcomes."""
    if isinstance(request, Once):
        if not _fit(request.request, outcomes):
            raise BadArgumentsError(f"another request had the number {request.number} before")
        return _answer(request.request, outcomes)
    if isinstance(request, Multi):
        parts = zip(request.operations, outcomes, strict=True)
        return tuple([_answer(operation, (outcome,)) for operation, outcome in parts])
    if isinstance(request, DeleteTree):
        return len(outcomes)
    last = outcomes[-1]
    if isinstance(request, PlainCreate):
        return last.path
    if isinstance(request, _CREATES):
        return Created(last.path, last.stat) if last.stat is not None else None
    if isinstance(request, DeleteIfPresent):
        return last.type == DeleteTxn.TYPE
    return last.stat if isinstance(request, SetData | SetACL) else None


_CREATES = (Create, CreateContainer, CreateTTL, CreateIfAbsent, CreateWithParents)


def _fit(request: Request[Any], outcomes: tuple[Outcome, ...]) -> bool:
    """Whether these can be the outcomes of `request`, and not of another whose number it was given."""
    if isinstance(request, Multi):
        return len(outcomes) == len(request.operations) and all(
            _fit(operation, (outcome,)) for operation, outcome in zip(request.operations, outcomes, strict=True)
        )
    many = isinstance(request, CreateWithParents | DeleteTree)
    return (len(outcomes) == 1 or (many and bool(outcomes))) and outcomes[-1].type in _TYPES[type(request)]


_CONTAINER, _CHECK = CreateContainerTxn.TYPE, CheckVersionTxn.TYPE
_TYPES: dict[type[Any], tuple[int, ...]] = {
    PlainCreate: (CreateTxn.TYPE, _CONTAINER),
    Create: (CreateTxn.TYPE2, _CONTAINER),
    CreateContainer: (_CONTAINER,),
    CreateTTL: (CreateTTLTxn.TYPE,),
    CreateIfAbsent: (CreateTxn.TYPE2, _CONTAINER, _CHECK),
    CreateWithParents: (CreateTxn.TYPE2, _CONTAINER),
    Delete: (DeleteTxn.TYPE,),
    DeleteIfPresent: (DeleteTxn.TYPE, _CHECK),
    DeleteTree: (DeleteTxn.TYPE,),
    SetData: (SetDataTxn.TYPE,),
    SetACL: (SetACLTxn.TYPE,),
    Check: (_CHECK,),
    CheckAbsent: (_CHECK,),
    CheckStat: (_CHECK,),
}
"""By the class of a request that may be retried: the types of transaction it may become."""


def error_of(request: Request[Any], applied: Applied) -> Exception:
    """The exception for the error with which a request failed."""
    inner = request.request if isinstance(request, Once) else request
    failed = [number for number, outcome in enumerate(applied.outcomes) if outcome.error]
    if not failed or not isinstance(inner, Multi):
        return _error(applied.error, getattr(inner, "path", None))
    number = failed[0]
    path: str = getattr(inner.operations[number], "path", "")
    error = _error(applied.error, path)
    if not isinstance(error, RequestError):
        return error  # a session that has ended is no matter of an operation
    codes = tuple(outcome.error for outcome in applied.outcomes)
    return MultiError(number, error, codes=codes, path=path)


def _error(code: int, path: str | None) -> ZkcoreError:
    kind = BY_CODE.get(code)
    if kind is None:
        return RequestError(f"the request failed with ZooKeeper's error {code}", path=path)
    return kind(path=path) if issubclass(kind, RequestError) else kind()
