"""How each of ZooKeeper's requests becomes a transaction, with the checks in ZooKeeper's order.

One function for each request: it is given the state that the transaction will meet and the session that asks, raises
the error of the first check that fails, and otherwise notes what the transaction will do and returns its type and body.

The number of a sequential znode is the count of children ever created below its parent, whatever their names, so it
never goes back while the parent lives. The count is a signed 32-bit number in every format. When it reaches 2147483647
the parent has used up its numbers: sequential creates below it fail with NodeExistsError, as they do in ZooKeeper once
the last name is taken, and other creates go on. (ZooKeeper would give the last number out again after a deletion, and
two contenders with one number break every queue.)

This module must not know when a transaction commits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    UnimplementedError,
)
from zkcore.jute.codec import codec_of
from zkcore.jute.records import (
    ACL,
    OPEN_ACL,
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTTLTxn,
    CreateTxn,
    DeleteTxn,
    SetACLTxn,
    SetDataTxn,
)
from zkcore.tree.acl import Permission
from zkcore.tree.outstanding import MAX_DATA, Outstanding
from zkcore.tree.paths import PROTECTED, parent_of, validate
from zkcore.tree.sessions import KEY_SIZE
from zkcore.tree.writes import (
    Check,
    CleanUp,
    CloseSession,
    Create,
    CreateContainer,
    CreateSession,
    CreateTTL,
    Delete,
    PlainCreate,
    SetACL,
    SetData,
)
from zkcore.tree.znode import (
    CONTAINER_OWNER,
    MAX_TTL,
    STAT_SIZE,
    CreateMode,
    int32,
    is_mark,
    make_changed,
    make_stat,
    owner_of,
    persisted_of,
    read_stat,
    read_unchanged,
    session_of,
    ttl_owner,
)

__all__ = ["MAX_SEQUENCE", "PREPARE", "Prepare", "Prepared"]

MAX_SEQUENCE = 0x7FFFFFFF
"""The count of created children at which a parent has no sequential numbers left."""

Prepared = tuple[int, bytes]
"""The type and the body of a transaction."""

Prepare = Callable[[Outstanding, int, Any], Prepared]

_INT32 = range(1, 0x80000000)
_MODES = {int(mode): mode for mode in CreateMode}

_pack_create = codec_of(CreateTxn).pack
_pack_create_container = codec_of(CreateContainerTxn).pack
_pack_create_ttl = codec_of(CreateTTLTxn).pack
_pack_delete = codec_of(DeleteTxn).pack
_pack_set_data = codec_of(SetDataTxn).pack
_pack_set_acl = codec_of(SetACLTxn).pack
_pack_check = codec_of(CheckVersionTxn).pack
_pack_create_session = codec_of(CreateSessionTxn).pack
_pack_close_session = codec_of(CloseSessionTxn).pack

# An IntFlag is slow to take apart.
_READ, _WRITE, _CREATE, _DELETE, _ADMIN = (int(permission) for permission in Permission)


# --- create ----------------------------------------------------------------------------------------------------------


def _create(out: Outstanding, session: int, request: Create | PlainCreate) -> Prepared:
    mode = _MODES.get(request.mode)
    if mode is None or mode.has_ttl:
        raise BadArgumentsError(f"a create cannot have the mode {request.mode}", path=request.path)
    if mode is CreateMode.CONTAINER:  # ZooKeeper makes an ordinary znode of it; whoever asks means the container
        return _create_container(out, session, request)
    ephemeral = mode.is_ephemeral
    path, acl, cversion = _come(out, session, request, mode.is_sequential, owner=session if ephemeral else 0)
    return CreateTxn.TYPE2, _pack_create(path, request.data, acl, ephemeral, cversion)


def _plain_create(out: Outstanding, session: int, request: PlainCreate) -> Prepared:
    kind, body = _create(out, session, request)
    return CreateTxn.TYPE if kind == CreateTxn.TYPE2 else kind, body


def _create_container(
    out: Outstanding, session: int, request: Create | PlainCreate | CreateContainer
) -> Prepared:
    mode = _MODES.get(request.mode)
    if mode is None or mode.has_ttl:
        raise BadArgumentsError(f"a container cannot have the mode {request.mode}", path=request.path)
    path, acl, cversion = _come(out, session, request, mode.is_sequential, owner=CONTAINER_OWNER)
    return CreateContainerTxn.TYPE, _pack_create_container(path, request.data, acl, cversion)


def _create_ttl(out: Outstanding, session: int, request: CreateTTL) -> Prepared:
    mode, ttl_ms = _MODES.get(request.mode), request.ttl_ms
    if mode is None or not mode.has_ttl:  # ZooKeeper lets some through, and cannot apply the transaction
        raise BadArgumentsError(f"a znode of the mode {request.mode} has no time to live", path=request.path)
    if not 1 <= ttl_ms <= MAX_TTL:
        raise BadArgumentsError(f"a time to live is between 1 and {MAX_TTL} ms, not {ttl_ms}", path=request.path)
    path, acl, cversion = _come(out, session, request, mode.is_sequential, owner=ttl_owner(ttl_ms))
    return CreateTTLTxn.TYPE, _pack_create_ttl(path, request.data, acl, cversion, ttl_ms)


def _come(
    out: Outstanding,
    session: int,
    request: Create | PlainCreate | CreateContainer | CreateTTL,
    sequential: bool,
    *,
    owner: int,
) -> tuple[str, tuple[ACL, ...], int]:
    """A znode comes into being: its path, its ACL, and what the parent has counted with it."""
    path, data = request.path, request.data
    out.check_session(session)
    if "/" not in path or "\x00" in path:
        raise BadArgumentsError(path=path)
    _check_size(data)
    acl = out.tree.access.fix_up(request.acl, out.ids)
    parent_path = parent_of(path)
    parent, old = out.existing(parent_path)
    out.demand(parent.acl, _CREATE, path=path)
    at = len(old) - STAT_SIZE
    czxid, mzxid, _, ctime, mtime, version, cversion, aversion, parent_owner = read_stat(old, at)
    if sequential:
        if cversion >= MAX_SEQUENCE:
            raise NodeExistsError(path=path)
        path = f"{path}{cversion:010d}"
    validate(path)
    if out.look(path).record is not None:
        raise NodeExistsError(path=path)
    if session_of(parent_owner):
        raise NoChildrenForEphemeralsError(path=path)
    size = len(data) if data is not None else 0
    out.check_quotas(path, count=1, size=size)
    out.check_guard(count=1, size=size + len(path.encode()) + STAT_SIZE)
    cversion = min(cversion + 1, MAX_SEQUENCE)
    zxid, now = out.zxid, out.now_ms
    stat = make_stat(czxid, mzxid, zxid, ctime, mtime, version, cversion, aversion, parent_owner)
    out.put(parent_path, parent, old[:at] + stat, out.child_count(parent_path, parent) + 1, parent.acl)
    record = (data or b"") + make_stat(zxid, zxid, zxid, now, now, 0, 0, 0, owner)
    out.add(path, record, acl=None if acl == OPEN_ACL else acl, session=session_of(owner))
    return path, acl, cversion


# --- delete ----------------------------------------------------------------------------------------------------------


def _delete(out: Outstanding, session: int, request: Delete) -> Prepared:
    path = request.path
    out.check_session(session)
    if "/" not in path or "\x00" in path or path in PROTECTED:
        raise BadArgumentsError(path=path)
    parent, _ = out.existing(parent_of(path))
    out.demand(parent.acl, _DELETE, path=path)
    znode, record = out.existing(path)
    if request.version != -1 and request.version != persisted_of(record).version:
        raise BadVersionError(path=path)
    if out.child_count(path, znode):
        raise NotEmptyError(path=path)
    out.remove(path)
    return DeleteTxn.TYPE, _pack_delete(path)


def _clean_up(out: Outstanding, session: int, request: CleanUp) -> Prepared:
    if session != 0:
        raise UnimplementedError  # the leader's own
    path = request.path
    znode, record = out.existing(path)
    if out.child_count(path, znode):
        raise NotEmptyError(path=path)
    if not is_mark(owner_of(record)) or persisted_of(record).mzxid != request.mzxid:
        raise BadVersionError(path=path)
    out.remove(path)
    return DeleteTxn.TYPE_CLEANED, _pack_delete(path)


# --- change, and check -----------------------------------------------------------------------------------------------


def _set_data(out: Outstanding, session: int, request: SetData) -> Prepared:
    path, data, expected = request.path, request.data, request.version
    out.check_session(session)
    written = data or b""
    if len(written) > MAX_DATA:
        _check_size(data)
    znode = out.look(path)
    old = znode.record
    if old is None:
        validate(path)  # ZooKeeper validates first; what exists is valid, so the answer is the same
        raise NoNodeError(path=path)
    acl = znode.acl
    if acl is not None:
        out.demand(acl, _WRITE, path=path)
    at = len(old) - STAT_SIZE
    size = len(written) - at
    if size:
        out.check_quotas(path, count=0, size=size)
    czxid, pzxid_ctime, version, rest = read_unchanged(old, at)
    if expected != version and expected != -1:
        raise BadVersionError(path=path)
    if size > 0:
        out.check_guard(count=0, size=size)
    version = version + 1 if version != 0x7FFFFFFF else int32(version + 1)
    stat = make_changed(czxid, out.zxid, pzxid_ctime, out.now_ms, version, rest)
    out.put(path, znode, written + stat, znode.children, acl)
    return SetDataTxn.TYPE, _pack_set_data(path, data, version)


def _set_acl(out: Outstanding, session: int, request: SetACL) -> Prepared:
    path = request.path
    out.check_session(session)
    validate(path)
    acl = out.tree.access.fix_up(request.acl, out.ids)
    znode, old = out.existing(path)
    out.demand(znode.acl, _ADMIN, path=path)
    at = len(old) - STAT_SIZE
    czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, owner = read_stat(old, at)
    if request.version not in (-1, aversion):
        raise BadVersionError(path=path)
    aversion = int32(aversion + 1)
    stat = make_stat(czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, owner)
    out.put(path, znode, old[:at] + stat, znode.children, None if acl == OPEN_ACL else acl)
    return SetACLTxn.TYPE, _pack_set_acl(path, acl, aversion)


def _check(out: Outstanding, session: int, request: Check) -> Prepared:
    path = request.path
    out.check_session(session)
    validate(path)
    znode, record = out.existing(path)
    out.demand(znode.acl, _READ, path=path)
    version = persisted_of(record).version
    if request.version not in (-1, version):
        raise BadVersionError(path=path)
    return CheckVersionTxn.TYPE, _pack_check(path, version)


# --- sessions --------------------------------------------------------------------------------------------------------


def _create_session(out: Outstanding, session: int, request: CreateSession) -> Prepared:
    if request.timeout_ms not in _INT32 or session == 0 or is_mark(session):
        raise BadArgumentsError
    if len(request.key) not in (0, KEY_SIZE):
        raise BadArgumentsError(f"the key to a session has {KEY_SIZE} bytes, not {len(request.key)}")
    if out.is_ending(session):
        raise SessionExpiredError
    out.begin_session(session)
    return CreateSessionTxn.TYPE, _pack_create_session(request.timeout_ms) + request.key


def _close_session(out: Outstanding, session: int, request: CloseSession) -> Prepared:
    out.check_session(session)
    paths = out.ephemerals(session)
    for path in paths:
        out.remove(path)
    out.end_session(session)
    return CloseSessionTxn.TYPE, _pack_close_session(paths)


def _check_size(data: bytes | None) -> None:
    if data is not None and len(data) > MAX_DATA:
        raise BadArgumentsError(f"a znode holds {MAX_DATA} bytes of data at most, not {len(data)}")


PREPARE: dict[type[Any], Prepare] = {
    PlainCreate: _plain_create,
    Create: _create,
    CreateContainer: _create_container,
    CreateTTL: _create_ttl,
    Delete: _delete,
    CleanUp: _clean_up,
    SetData: _set_data,
    SetACL: _set_acl,
    Check: _check,
    CreateSession: _create_session,
    CloseSession: _close_session,
}
"""By the class of a request: what makes a transaction of it."""
