"""How requests made of others, and those that ZooKeeper does not have, become transactions.

They are made of the transactions that ZooKeeper has: several are a multi, and what turns out to be nothing to do is a
check. Only that a request may be retried (`Once`) takes transactions of our own.

This module must not know when a transaction commits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OutcomeForgottenError,
    ZkcoreError,
)
from zkcore.jute.codec import codec_of
from zkcore.jute.records import (
    AgainTxn,
    CheckVersionTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    OnceTxn,
    Txn,
)
from zkcore.tree.acl import Permission
from zkcore.tree.extensions import (
    CheckAbsent,
    CheckStat,
    CreateIfAbsent,
    CreateWithParents,
    DeleteIfPresent,
    DeleteTree,
)
from zkcore.tree.multi import Multi, Once
from zkcore.tree.outstanding import MAX_DATA, Outstanding
from zkcore.tree.paths import PROTECTED, parent_of, validate
from zkcore.tree.preparing import PREPARE, Prepare, Prepared
from zkcore.tree.writes import Create, Delete
from zkcore.tree.znode import CreateMode, ZnodeStat, persisted_of

__all__ = ["PREPARE_ALL"]

_pack_multi = codec_of(MultiTxn).pack
_pack_check = codec_of(CheckVersionTxn).pack
_pack_delete = codec_of(DeleteTxn).pack
_pack_error = codec_of(ErrorTxn).pack
_pack_once = codec_of(OnceTxn).pack
_NUMBERS = 1 << 63
_pack_again = codec_of(AgainTxn).pack

_RUNTIME_INCONSISTENCY = -2  # what ZooKeeper says of the operations behind the one that failed


# --- several ---------------------------------------------------------------------------------------------------------


def _multi(out: Outstanding, session: int, request: Multi) -> Prepared:
    txns: list[Txn] = []
    for number, operation in enumerate(request.operations):
        try:
            txns.append(Txn(*PREPARE_ALL[type(operation)](out, session, operation)))
        except ZkcoreError as error:
            out.take_back()
            codes = [0] * number + [cast(int, error.code)]
            codes += [_RUNTIME_INCONSISTENCY] * (len(request.operations) - len(codes))
            return MultiTxn.TYPE, _pack_multi([Txn(ErrorTxn.TYPE, _pack_error(code)) for code in codes])
    return _several(out, txns)


def _several(out: Outstanding, txns: list[Txn]) -> Prepared:
    body = _pack_multi(txns)
    if len(body) > MAX_DATA:
        out.take_back()
        raise BadArgumentsError(f"together the operations take {len(body)} bytes; {MAX_DATA} is the most")
    return MultiTxn.TYPE, body


def _create_with_parents(out: Outstanding, session: int, request: CreateWithParents) -> Prepared:
    out.check_session(session)
    missing: list[str] = []
    path = parent_of(request.path) if request.path.startswith("/") else "/"  # what is no path has nothing above it
    while out.look(path).record is None:
        missing.append(path)
        path = parent_of(path)
    parents = [Create(path, b"", acl=request.acl) for path in reversed(missing)]
    last = Create(request.path, request.data, acl=request.acl, mode=request.mode)
    return _all_or_none(out, session, (*parents, last))


def _all_or_none(out: Outstanding, session: int, operations: Iterable[Create]) -> Prepared:
    """The transaction of `operations`. Raises the error of the first that fails."""
    try:
        txns = [Txn(*PREPARE_ALL[type(operation)](out, session, operation)) for operation in operations]
    except ZkcoreError:
        out.take_back()
        raise
    return _several(out, txns)


def _delete_tree(out: Outstanding, session: int, request: DeleteTree) -> Prepared:
    path = request.path
    out.check_session(session)
    if "/" not in path or "\x00" in path or path in PROTECTED:
        raise BadArgumentsError(path=path)
    parent, _ = out.existing(parent_of(path))
    out.demand(parent.acl, int(Permission.DELETE), path=path)
    out.existing(path)
    paths = out.subtree(path, most=request.most)
    if paths is None:
        raise NotEmptyError(f"{path}: more than {request.most} znodes would be deleted at once", path=path)
    for inner in paths:
        znode, _ = out.existing(inner)
        if out.child_count(inner, znode):
            out.demand(znode.acl, int(Permission.DELETE), path=path)
    txns = []
    for inner in reversed(paths):
        out.remove(inner)
        txns.append(Txn(DeleteTxn.TYPE, _pack_delete(inner)))
    return _several(out, txns)


# --- if, and if not --------------------------------------------------------------------------------------------------


def _create_if_absent(out: Outstanding, session: int, request: CreateIfAbsent) -> Prepared:
    path = request.path
    mode = CreateMode(request.mode) if request.mode in CreateMode.__members__.values() else None
    if mode is None or mode.is_sequential:
        raise BadArgumentsError("a sequential znode is always absent", path=path)
    try:
        return PREPARE[Create](out, session, Create(path, request.data, acl=request.acl, mode=request.mode))
    except NodeExistsError:
        znode, record = out.existing(path)
        out.demand(znode.acl, int(Permission.READ), path=path)
        return CheckVersionTxn.TYPE, _pack_check(path, persisted_of(record).version)


def _delete_if_present(out: Outstanding, session: int, request: DeleteIfPresent) -> Prepared:
    try:
        return PREPARE[Delete](out, session, Delete(request.path, request.version))
    except NoNodeError:
        validate(request.path)
        return CheckVersionTxn.TYPE, _pack_check(request.path, -1)


def _check_absent(out: Outstanding, session: int, request: CheckAbsent) -> Prepared:
    path = request.path
    out.check_session(session)
    validate(path)
    if out.look(path).record is not None:
        raise NodeExistsError(path=path)
    return CheckVersionTxn.TYPE, _pack_check(path, -1)


def _check_stat(out: Outstanding, session: int, request: CheckStat) -> Prepared:
    path = request.path
    out.check_session(session)
    validate(path)
    for condition in request.conditions:
        if not condition.is_known:
            raise BadArgumentsError(f"{condition} names no field of a Stat, or no relation", path=path)
    znode, record = out.existing(path)
    out.demand(znode.acl, int(Permission.READ), path=path)
    stat = ZnodeStat(record, out.child_count(path, znode))
    for condition in request.conditions:
        if not condition.holds(stat):
            raise BadVersionError(path=path)
    return CheckVersionTxn.TYPE, _pack_check(path, stat.version)


# --- once ------------------------------------------------------------------------------------------------------------


def _once(out: Outstanding, session: int, request: Once) -> Prepared:
    client, number = request.client, request.number
    out.check_session(session)
    if not (0 < number < _NUMBERS and -_NUMBERS <= client < _NUMBERS):
        raise BadArgumentsError(f"the requests of a session are numbered from 1 to {_NUMBERS - 1}, not {number}")
    if out.is_remembered(client, number):
        return AgainTxn.TYPE, _pack_again(client, number)
    if out.may_be_forgotten(client, number):
        raise OutcomeForgottenError
    kind, body = PREPARE_ALL[type(request.request)](out, session, request.request)
    if kind == MultiTxn.TYPE and _has_failed(body):
        return kind, body
    out.remember(client, number)
    return OnceTxn.TYPE, _pack_once(client, number, Txn(kind, body))


def _has_failed(body: bytes) -> bool:
    txns, _ = codec_of(MultiTxn).unpack(body, 0)
    return any(txn.type == ErrorTxn.TYPE for txn in txns)


PREPARE_ALL: dict[type[Any], Prepare] = {
    **PREPARE,
    Multi: _multi,
    CreateWithParents: _create_with_parents,
    DeleteTree: _delete_tree,
    CreateIfAbsent: _create_if_absent,
    DeleteIfPresent: _delete_if_present,
    CheckAbsent: _check_absent,
    CheckStat: _check_stat,
    Once: _once,
}
"""By the class of a request, whatever it is: what makes a transaction of it."""
