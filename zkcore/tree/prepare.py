"""From requests to transactions: what the leader does before it proposes.

A request says what somebody wants; a transaction says what will be. To turn the one into the other the leader needs the
state that the transaction will meet, which is the committed tree plus everything proposed and not yet applied. So the
preparer remembers, for each znode that an outstanding transaction touches, how that transaction will leave it
(ZooKeeper's change records), and forgets it when the tree has got there.

A request that fails becomes a transaction too, one that says so: failures have their place in the order, and the
answer of a failing request cannot overtake the answers before it. What a client sent never raises here.

The number of a sequential znode is the count of children ever created below its parent, whatever their names, so it
never goes back while the parent lives. The count is a signed 32-bit number in every format. When it reaches 2147483647
the parent has used up its numbers: sequential creates below it fail with NodeExistsError, as they do in ZooKeeper once
the last name is taken, and other creates go on. (ZooKeeper would give the last number out again after a deletion, and
two contenders with one number break every queue.)

This module must not know who leads, nor when a transaction commits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    InvalidACLError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    UnimplementedError,
    ZkcoreError,
)
from zkcore.jute.codec import codec_of
from zkcore.jute.records import (
    OPEN_ACL,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    SetDataTxn,
    TxnHeader,
)
from zkcore.tree.paths import PROTECTED, parent_of, validate
from zkcore.tree.requests import CloseSession, Create, CreateSession, Delete, Request, SetData
from zkcore.tree.tree import Tree
from zkcore.tree.znode import CreateMode, int32
from zkcore.zxid import Zxid

__all__ = ["MAX_DATA", "MAX_SEQUENCE", "Preparer"]

MAX_DATA = 0xFFFFF
"""The most data a znode holds, in bytes: ZooKeeper's `jute.maxbuffer`, 1 MiB less one."""

MAX_SEQUENCE = 0x7FFFFFFF
"""The count of created children at which a parent has no sequential numbers left."""

_INT32 = range(1, 0x80000000)
_CONTAINER_OWNER = -(1 << 63)  # ZooKeeper's mark of a container in the place of the owner: never a session

_pack_header = codec_of(TxnHeader).pack
_pack_create = codec_of(CreateTxn).pack
_pack_delete = codec_of(DeleteTxn).pack
_pack_set_data = codec_of(SetDataTxn).pack
_pack_error = codec_of(ErrorTxn).pack
_pack_create_session = codec_of(CreateSessionTxn).pack
_pack_close_session = codec_of(CloseSessionTxn).pack


class _Znode(NamedTuple):
    """What a check needs to know of a znode, as the transaction `zxid` leaves it (0: as the tree has it)."""

    zxid: Zxid
    exists: bool
    version: int
    cversion: int
    children: int
    owner: int


_znode = tuple.__new__  # a named tuple made without the call that names its fields: half the time

_Prepared = tuple[int, bytes]
"""The type and the body of a transaction."""


class Preparer:
    """Prepares transactions for the leader's `tree`, for as long as it leads.

    The tree must hold all the initial history of the epoch. What is prepared must be proposed, in order, with the zxid
    it was prepared for, and applied to the tree when committed; where that fails, the preparer is of no more use.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._znodes: dict[str, _Znode] = {}
        self._touched: deque[tuple[Zxid, str]] = deque()
        # Per session, the ephemerals that outstanding transactions create, with the zxid that does.
        self._ephemerals: dict[int, dict[str, Zxid]] = {}
        self._created: deque[tuple[Zxid, int, str]] = deque()
        # Sessions that outstanding transactions begin (True) or end (False), with the zxid of the last one.
        self._sessions: dict[int, tuple[Zxid, bool]] = {}
        self._sessions_touched: deque[tuple[Zxid, int]] = deque()

    @property
    def outstanding(self) -> int:
        """How many changes to znodes and sessions are remembered because the tree has not got there yet."""
        self._forget_applied()
        return len(self._touched) + len(self._sessions_touched)

    def prepare(self, zxid: Zxid, now_ms: int, session: int, cxid: int, request: Request[Any]) -> bytes:
        """The transaction for `request`, which `session` made as its number `cxid` (a signed 32-bit integer, echoed).

        `zxid` is the one it will be proposed with; `now_ms` the leader's wall clock in milliseconds since 1970. A
        request that fails gives an error transaction, and the first check that fails decides the code, in ZooKeeper's
        order.
        """
        self._forget_applied()
        try:
            prepare = _PREPARE.get(type(request))
            if prepare is None:
                raise UnimplementedError
            kind, body = prepare(self, zxid, session, request)
        except ZkcoreError as error:
            kind, body = ErrorTxn.TYPE, _pack_error(cast(int, error.code))
        return _pack_header(session, cxid, zxid, now_ms, kind) + body

    def is_live(self, session: int) -> bool:
        """Whether `session` exists and no outstanding transaction ends it."""
        outstanding = self._sessions.get(session)
        return session in self._tree.sessions if outstanding is None else outstanding[1]

    # --- one per request ---------------------------------------------------------------------------------------------

    def _create(self, zxid: Zxid, session: int, request: Create) -> _Prepared:
        path, data, mode = request.path, request.data, request.mode
        if mode in _NOT_YET:
            raise UnimplementedError
        if mode not in _ORDINARY:
            raise BadArgumentsError
        self._check_session(session)
        if "/" not in path or "\x00" in path:
            raise BadArgumentsError
        _check_size(data)
        if not request.acl:
            raise InvalidACLError
        if any(entry != OPEN_ACL[0] for entry in request.acl):  # saying the same twice is no other ACL
            raise UnimplementedError
        parent_path = parent_of(path)
        parent = self._existing(parent_path)
        if mode in _SEQUENTIAL:
            if parent.cversion >= MAX_SEQUENCE:
                raise NodeExistsError
            path = f"{path}{parent.cversion:010d}"
        validate(path)
        if self._look(path).exists:
            raise NodeExistsError
        if parent.owner:
            raise NoChildrenForEphemeralsError
        cversion = min(parent.cversion + 1, MAX_SEQUENCE)
        ephemeral = mode in _EPHEMERAL
        self._note(parent_path, _Znode(zxid, True, parent.version, cversion, parent.children + 1, 0))
        self._note(path, _Znode(zxid, True, 0, 0, 0, session if ephemeral else 0))
        if ephemeral:
            self._ephemerals.setdefault(session, {})[path] = zxid
            self._created.append((zxid, session, path))
        return CreateTxn.TYPE2, _pack_create(path, data, OPEN_ACL, ephemeral, cversion)

    def _delete(self, zxid: Zxid, session: int, request: Delete) -> _Prepared:
        path = request.path
        self._check_session(session)
        if "/" not in path or "\x00" in path or path in PROTECTED:
            raise BadArgumentsError
        self._existing(parent_of(path))
        znode = self._existing(path)
        if request.version not in (-1, znode.version):
            raise BadVersionError
        if znode.children:
            raise NotEmptyError
        self._note_gone(zxid, path)
        return DeleteTxn.TYPE, _pack_delete(path)

    def _set_data(self, zxid: Zxid, session: int, request: SetData) -> _Prepared:
        path, data = request.path, request.data
        self._check_session(session)
        _check_size(data)
        znode = self._look(path)
        if not znode.exists:
            validate(path)  # ZooKeeper validates first; what exists is valid, so the answer is the same
            raise NoNodeError
        if request.version != znode.version and request.version != -1:
            raise BadVersionError
        version = znode.version + 1 if znode.version != 0x7FFFFFFF else int32(znode.version + 1)
        self._note(path, _znode(_Znode, (zxid, True, version, znode.cversion, znode.children, znode.owner)))
        return SetDataTxn.TYPE, _pack_set_data(path, data, version)

    def _create_session(self, zxid: Zxid, session: int, request: CreateSession) -> _Prepared:
        if request.timeout_ms not in _INT32 or session in (0, _CONTAINER_OWNER):
            raise BadArgumentsError
        if not self._sessions.get(session, (0, True))[1]:
            raise SessionExpiredError
        self._note_session(zxid, session, lives=True)
        return CreateSessionTxn.TYPE, _pack_create_session(request.timeout_ms)

    def _close_session(self, zxid: Zxid, session: int, request: CloseSession) -> _Prepared:
        self._check_session(session)
        candidates = {*self._tree.ephemerals(session), *self._ephemerals.get(session, ())}
        # A session that ends before an outstanding deletion is applied must not delete the same znode again.
        paths = sorted(path for path in candidates if self._look(path).owner == session)
        for path in paths:
            self._note_gone(zxid, path)
        self._note_session(zxid, session, lives=False)
        return CloseSessionTxn.TYPE, _pack_close_session(paths)

    # --- the state that the next transaction will meet ---------------------------------------------------------------

    def _check_session(self, session: int) -> None:
        if not self.is_live(session):
            raise SessionExpiredError

    def _look(self, path: str) -> _Znode:
        znode = self._znodes.get(path)
        if znode is not None:
            return znode
        stat = self._tree.persisted(path)
        if stat is None:
            return _NOTHING
        return _znode(_Znode, (0, True, stat.version, stat.cversion, self._tree.child_count(path), stat.owner))

    def _existing(self, path: str) -> _Znode:
        znode = self._look(path)
        if not znode.exists:
            raise NoNodeError
        return znode

    def _note(self, path: str, znode: _Znode) -> None:
        self._znodes[path] = znode
        self._touched.append((znode.zxid, path))

    def _note_gone(self, zxid: Zxid, path: str) -> None:
        parent_path = parent_of(path)
        parent = self._look(parent_path)
        self._note(parent_path, parent._replace(zxid=zxid, children=parent.children - 1))
        self._note(path, _NOTHING._replace(zxid=zxid))

    def _note_session(self, zxid: Zxid, session: int, *, lives: bool) -> None:
        self._sessions[session] = zxid, lives
        self._sessions_touched.append((zxid, session))

    def _forget_applied(self) -> None:
        applied = self._tree.last_zxid
        touched = self._touched
        while touched and touched[0][0] <= applied:
            zxid, path = touched.popleft()
            znode = self._znodes.get(path)
            if znode is not None and znode.zxid == zxid:
                del self._znodes[path]
        while self._created and self._created[0][0] <= applied:
            zxid, session, path = self._created.popleft()
            mine = self._ephemerals.get(session, {})
            if mine.get(path) == zxid:
                del mine[path]
            if not mine:
                self._ephemerals.pop(session, None)
        while self._sessions_touched and self._sessions_touched[0][0] <= applied:
            zxid, session = self._sessions_touched.popleft()
            if self._sessions[session][0] == zxid:
                del self._sessions[session]


_NOTHING = _Znode(0, False, 0, 0, 0, 0)

_EPHEMERAL = frozenset({CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL})
_SEQUENTIAL = frozenset({CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL})
_ORDINARY = frozenset({CreateMode.PERSISTENT}) | _EPHEMERAL | _SEQUENTIAL
_NOT_YET = frozenset(CreateMode) - _ORDINARY


def _check_size(data: bytes | None) -> None:
    if data is not None and len(data) > MAX_DATA:
        raise BadArgumentsError


_PREPARE: dict[type[Any], Callable[[Preparer, Zxid, int, Any], _Prepared]] = {
    Create: Preparer._create,
    Delete: Preparer._delete,
    SetData: Preparer._set_data,
    CreateSession: Preparer._create_session,
    CloseSession: Preparer._close_session,
}
