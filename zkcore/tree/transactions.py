"""What each transaction does to the state.

A transaction was checked when it was prepared, so nothing here refuses one: it is decoded, in full, and then done. Done
again, where a log is replayed over a later state, it does no harm. `TRANSACTIONS` has both halves for each type.

This module must not know of requests or callers, nor why a transaction was made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

from zkcore.errors import MalformedFrameError, OutcomeForgottenError
from zkcore.jute.codec import codec_of
from zkcore.jute.records import (
    ACL,
    OPEN_ACL,
    AgainTxn,
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTTLTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    OnceTxn,
    SetACLTxn,
    SetDataTxn,
    Txn,
)
from zkcore.tree.applied import EventType, Outcome
from zkcore.tree.paths import parent_of
from zkcore.tree.sessions import KEY_SIZE
from zkcore.tree.state import State
from zkcore.tree.znode import (
    CONTAINER_OWNER,
    MAX_TTL,
    STAT_SIZE,
    make_changed,
    make_stat,
    owner_of,
    persisted_of,
    read_stat,
    read_unchanged,
    ttl_owner,
)
from zkcore.zxid import Zxid

__all__ = ["TRANSACTIONS", "Effect"]

Effect = tuple[int, str, tuple[tuple[EventType, str], ...], tuple[Outcome, ...]]
"""An error code or 0, the path in question, what changed, and what became of each part."""

Values = tuple[Any, ...]
"""The fields of a body in wire order, and the offset behind it."""

Decode = Callable[[bytes, int], Values]
Do = Callable[[State, Zxid, int, int, Values], Effect]

_CREATED = EventType.NODE_CREATED
_DELETED = EventType.NODE_DELETED
_DATA_CHANGED = EventType.NODE_DATA_CHANGED

# The numbers of NoNodeError and NodeExistsError.
_NO_NODE = -101
_NODE_EXISTS = -110


# --- znodes come -----------------------------------------------------------------------------------------------------


def _create(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    path, data, acl, ephemeral, parent_cversion, _ = values
    return _create_owned(state, zxid, time, (path, data, acl, parent_cversion), owner=session if ephemeral else 0)


def _create_container(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    return _create_owned(state, zxid, time, values[:4], owner=CONTAINER_OWNER)


def _create_ttl(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    return _create_owned(state, zxid, time, values[:4], owner=ttl_owner(values[4]))


def _create_owned(state: State, zxid: Zxid, time: int, values: Values, *, owner: int) -> Effect:
    path, data, acl, parent_cversion = values
    parent = parent_of(path)
    old = state.find(parent)
    if old is None:
        return _NO_NODE, path, (), ()
    existed = state.find(path) is not None
    if not existed:
        record = (data or b"") + make_stat(zxid, zxid, zxid, time, time, 0, 0, 0, owner)
        state.add(path, record, null=data is None, acl=_stored(acl))
    # A replayed create may find the znode, and a parent that is already further on.
    at = len(old) - STAT_SIZE
    czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, parent_owner = read_stat(old, at)
    counted = cversion + 1 if parent_cversion == -1 else parent_cversion
    if counted > cversion:
        cversion = counted
    if zxid > pzxid:
        pzxid = zxid
    stat = make_stat(czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, parent_owner)
    state.replace(parent, old, old[:at] + stat, crc32(parent.encode()))
    return (_NODE_EXISTS, path, (), ()) if existed else (0, path, ((_CREATED, path),), ())


def _stored(acl: tuple[ACL, ...]) -> tuple[ACL, ...] | None:
    return None if acl == OPEN_ACL else acl


# --- znodes change ---------------------------------------------------------------------------------------------------


def _set_data(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    path, data, version, _ = values
    crc = crc32(path.encode())
    old = state.shards[crc & 255].get(path)
    if old is None:
        return _NO_NODE, path, (), ()
    at = len(old) - STAT_SIZE
    czxid, pzxid_ctime, _, rest = read_unchanged(old, at)
    new = (data or b"") + make_changed(czxid, zxid, pzxid_ctime, time, version, rest)
    state.replace(path, old, new, crc)
    if data is None or not at:
        state.set_null(path, null=data is None)
    if old[-8] > 0x7F:  # the owner is negative, as the mark of a time to live is
        state.renew(path, owner_of(old), before=persisted_of(old).mtime, after=time)
    if state.quotas.usages:
        state.count(path, 0, len(new) - len(old))
    return 0, path, ((_DATA_CHANGED, path),), ()


def _set_acl(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    path, acl, version, _ = values
    old = state.find(path)
    if old is None:
        return _NO_NODE, path, (), ()
    at = len(old) - STAT_SIZE
    czxid, mzxid, pzxid, ctime, mtime, data_version, cversion, _, owner = read_stat(old, at)
    stat = make_stat(czxid, mzxid, pzxid, ctime, mtime, data_version, cversion, version, owner)
    state.replace(path, old, old[:at] + stat, crc32(path.encode()))
    state.set_acl(path, _stored(acl))
    return 0, path, (), ()


def _check(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    return 0, values[0], (), ()


# --- znodes go -------------------------------------------------------------------------------------------------------


def _delete(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    path = values[0]
    return (0, path, ((_DELETED, path),), ()) if _gone(state, zxid, path) else (_NO_NODE, path, (), ())


def _gone(state: State, zxid: Zxid, path: str) -> bool:
    """Delete a znode; its parent learns of it even if it was gone already. Says whether it was there."""
    parent = parent_of(path)
    old = state.find(parent)
    if old is not None:
        at = len(old) - STAT_SIZE
        czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, owner = read_stat(old, at)
        if zxid > pzxid:
            stat = make_stat(czxid, mzxid, zxid, ctime, mtime, version, cversion, aversion, owner)
            state.replace(parent, old, old[:at] + stat, crc32(parent.encode()))
    return state.remove(path) is not None


# --- sessions, and what failed ---------------------------------------------------------------------------------------


def _create_session(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    timeout, key, _ = values
    state.sessions[session] = timeout
    if key:
        state.session_keys[session] = key
    else:
        state.session_keys.pop(session, None)
    state.memory.on_session_began(session)
    return 0, "", (), ()


def _close_session(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    paths = values[0]
    # The transaction names them; what the session has besides can only come from a replay, and must go too.
    left = sorted(state.ephemerals.get(session, set()).difference(paths))
    gone = tuple([(_DELETED, path) for path in (*paths, *left) if _gone(state, zxid, path)])
    if state.sessions.pop(session, None) is not None:
        state.session_keys.pop(session, None)
        state.memory.on_session_ended(session)
    return 0, "", gone, ()


def _error(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    return values[0], "", (), ()


# --- transactions in transactions ------------------------------------------------------------------------------------


def _multi(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    parts: list[tuple[int, Values]] = values[0]
    failed = [number for number, (kind, _) in enumerate(parts) if kind == ErrorTxn.TYPE]
    if failed:
        codes = [code[0] if kind == ErrorTxn.TYPE else 0 for kind, code in parts]
        return next((code for code in codes if code), 0), "", (), tuple([Outcome(-1, code, "", None) for code in codes])
    changes: list[tuple[EventType, str]] = []
    outcomes: list[Outcome] = []
    for kind, body in parts:
        error, path, changed, _ = TRANSACTIONS[kind][1](state, zxid, time, session, body)
        changes += changed
        outcomes.append(_outcome(state, kind, error, path))
    return 0, "", tuple(changes), tuple(outcomes)


def _outcome(state: State, kind: int, error: int, path: str) -> Outcome:
    exists = not error and state.find(path) is not None
    return Outcome(kind, error, path, state.stat(path) if exists else None)


def _once(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    client, number, (kind, body), _ = values
    error, path, changes, outcomes = TRANSACTIONS[kind][1](state, zxid, time, session, body)
    if kind != MultiTxn.TYPE:
        outcomes = (_outcome(state, kind, error, path),)
    state.memory.remember(client, number, outcomes)
    return error, path, changes, outcomes


def _again(state: State, zxid: Zxid, time: int, session: int, values: Values) -> Effect:
    client, number, _ = values
    outcomes = state.memory.recall(client, number)
    if outcomes is None:
        return OutcomeForgottenError.code, "", (), ()
    return 0, "", (), outcomes


# --- bodies ----------------------------------------------------------------------------------------------------------


def _of_a_child(unpack: Decode) -> Decode:
    """Decode a body that begins with the path of a znode that has a parent."""

    def decode(payload: bytes, at: int) -> Values:
        values = unpack(payload, at)
        _expect_a_child(values[0])
        return values

    return decode


def _expect_a_child(path: str) -> None:
    if not path.startswith("/") or path == "/" or "\0" in path:
        raise MalformedFrameError(f"a transaction creates or deletes {path!r}")


def _decode_ttl(payload: bytes, at: int) -> Values:
    values = codec_of(CreateTTLTxn).unpack(payload, at)
    _expect_a_child(values[0])
    if not 1 <= values[4] <= MAX_TTL:
        raise MalformedFrameError(f"a transaction creates {values[0]!r} with a time to live of {values[4]} ms")
    return values


def _decode_session(payload: bytes, at: int) -> Values:
    # ZooKeeper's body ends here; at most a digest is left then, which is shorter than a key.
    timeout, at = codec_of(CreateSessionTxn).unpack(payload, at)
    end = at + KEY_SIZE if len(payload) - at >= KEY_SIZE else at
    return timeout, payload[at:end], end


def _decode_closing(payload: bytes, at: int) -> Values:
    # Older logs of ZooKeeper have no body here.
    values = codec_of(CloseSessionTxn).unpack(payload, at) if at < len(payload) else ((), at)
    for path in values[0]:
        _expect_a_child(path)
    return values


def _decode_multi(payload: bytes, at: int) -> Values:
    txns, at = codec_of(MultiTxn).unpack(payload, at)
    return [_decode_part(txn, _PARTS) for txn in txns], at


def _decode_once(payload: bytes, at: int) -> Values:
    client, number, txn, at = codec_of(OnceTxn).unpack(payload, at)
    return client, number, _decode_part(txn, _PARTS | {MultiTxn.TYPE}), at


def _decode_part(txn: Txn, kinds: frozenset[int]) -> tuple[int, Values]:
    if txn.type not in kinds:
        raise MalformedFrameError(f"a transaction of type {txn.type} cannot stand inside another")
    values = TRANSACTIONS[txn.type][0](txn.data, 0)
    if values[-1] != len(txn.data):
        raise MalformedFrameError(f"{len(txn.data) - values[-1]} bytes are left over inside a transaction")
    return txn.type, values


_decode_create = _of_a_child(codec_of(CreateTxn).unpack)
_decode_delete = _of_a_child(codec_of(DeleteTxn).unpack)

TRANSACTIONS: dict[int, tuple[Decode, Do]] = {
    CreateTxn.TYPE: (_decode_create, _create),
    CreateTxn.TYPE2: (_decode_create, _create),
    CreateContainerTxn.TYPE: (_of_a_child(codec_of(CreateContainerTxn).unpack), _create_container),
    CreateTTLTxn.TYPE: (_decode_ttl, _create_ttl),
    DeleteTxn.TYPE: (_decode_delete, _delete),
    DeleteTxn.TYPE_CLEANED: (_decode_delete, _delete),
    SetDataTxn.TYPE: (codec_of(SetDataTxn).unpack, _set_data),
    SetACLTxn.TYPE: (codec_of(SetACLTxn).unpack, _set_acl),
    CheckVersionTxn.TYPE: (codec_of(CheckVersionTxn).unpack, _check),
    CreateSessionTxn.TYPE: (_decode_session, _create_session),
    CloseSessionTxn.TYPE: (_decode_closing, _close_session),
    ErrorTxn.TYPE: (codec_of(ErrorTxn).unpack, _error),
    MultiTxn.TYPE: (_decode_multi, _multi),
    OnceTxn.TYPE: (_decode_once, _once),
    AgainTxn.TYPE: (codec_of(AgainTxn).unpack, _again),
}
"""By the type of a transaction: how to read its body, and how to do it."""

_PARTS = frozenset(TRANSACTIONS) - {
    CreateSessionTxn.TYPE, CloseSessionTxn.TYPE, MultiTxn.TYPE, OnceTxn.TYPE, AgainTxn.TYPE,
}  # fmt: skip
"""What can stand inside another."""
