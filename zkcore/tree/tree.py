"""The replicated state: znodes, sessions, and who owns which ephemeral znode.

Every replica applies the same transactions in the same order and holds the same tree. A transaction was checked when
it was prepared (`prepare.py`), so applying never refuses one; it only does, and does again without harm where a log is
replayed over a later state. Reads are answered from whatever has been applied so far.

How it is held: paths map to znode records (`znode.py`) in 256 dicts, chosen by the CRC of the path. A snapshot borrows
all the dicts at once and reads them at leisure; a borrowed one is copied by the first transaction that changes it
(`freeze`), so the longest pause is the copy of a 256th of the tree. A parent that has children has them in a sorted
list of full paths, the very strings that are the keys of the map: names of their own would cost a string per znode.
Null data, which is rare and differs from empty data only on the wire, is remembered in a set beside each dict.

This module must not know of leaders, clients, clocks or outstanding requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast
from zlib import crc32

from attrs import frozen
from sortedcontainers import SortedList

from zkcore.errors import BY_CODE, InvariantViolation, MalformedFrameError, NoNodeError, RequestError
from zkcore.jute.codec import codec_of
from zkcore.jute.records import (
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    SetDataTxn,
    Stat,
    TxnHeader,
)
from zkcore.tree import invariants
from zkcore.tree.applied import Applied, EventType
from zkcore.tree.paths import PROTECTED, parent_of, validate
from zkcore.tree.requests import (
    Children,
    Create,
    Created,
    Exists,
    GetChildren,
    GetChildren2,
    GetData,
    NodeData,
    Request,
    SetData,
)
from zkcore.tree.znode import (
    STAT_SIZE,
    Persisted,
    ZnodeStat,
    data_of,
    make_record,
    make_stat,
    owner_of,
    persisted_of,
    read_stat,
)
from zkcore.zxid import Zxid

__all__ = ["SHARDS", "Frozen", "Tree"]

T = TypeVar("T")

SHARDS = 256

_unpack_header = codec_of(TxnHeader).unpack
_unpack_create = codec_of(CreateTxn).unpack
_unpack_delete = codec_of(DeleteTxn).unpack
_unpack_set_data = codec_of(SetDataTxn).unpack
_unpack_error = codec_of(ErrorTxn).unpack
_unpack_create_session = codec_of(CreateSessionTxn).unpack
_unpack_close_session = codec_of(CloseSessionTxn).unpack

_CREATED = EventType.NODE_CREATED
_DELETED = EventType.NODE_DELETED
_DATA_CHANGED = EventType.NODE_DATA_CHANGED

# The numbers of NoNodeError and NodeExistsError.
_NO_NODE = -101
_NODE_EXISTS = -110

_new_applied = tuple.__new__


@frozen
class Frozen:
    """The state at one zxid, which stays as it is while the tree goes on."""

    last_zxid: Zxid
    sessions: Mapping[int, int]
    shards: tuple[Mapping[str, bytes], ...]
    nulls: tuple[frozenset[str] | set[str], ...]


class Tree:
    """One replica's state. Not thread-safe: the host keeps readers on other threads out while it applies."""

    def __init__(self) -> None:
        self.last_zxid: Zxid = 0
        """The last transaction applied."""
        self._sessions: dict[int, int] = {}
        self.sessions: Mapping[int, int] = self._sessions
        """The timeout in milliseconds of every live session."""
        self._shards: list[dict[str, bytes]] = [{} for _ in range(SHARDS)]
        self._nulls: list[set[str]] = [set() for _ in range(SHARDS)]
        self._borrowed = bytearray(SHARDS)
        self._children: dict[str, SortedList] = {}
        self._ephemerals: dict[int, set[str]] = {}
        self._put("/", make_record(b"", Persisted(0, 0, 0, 0, 0, 0, 0, 0, 0)))
        for path in sorted(PROTECTED - {"/"}):
            # Counted by nobody, as in ZooKeeper: the shown cversion of a fresh "/" is -1.
            self._put(path, make_record(b"", Persisted(0, 0, 0, 0, 0, 0, 0, 0, 0)))
            self._link(path)

    # --- transactions ------------------------------------------------------------------------------------------------

    def apply(self, zxid: Zxid, payload: bytes) -> Applied:
        """Apply the transaction `payload`, committed as `zxid`, and say what it did.

        Deterministic; harmless where it was applied before (a log replayed over a later state must be replayed to its
        end). Raises MalformedFrameError or FrameTooLargeError for bytes that are no transaction known here, and
        InvariantViolation for one prepared for another zxid: nothing was changed then, and the replica cannot go on.
        """
        session, cxid, prepared_for, time, kind, at = _unpack_header(payload, 0)
        if prepared_for != zxid:
            raise InvariantViolation(f"the transaction {prepared_for:#x} was committed as {zxid:#x}")
        apply = _APPLY.get(kind)
        if apply is None:
            raise MalformedFrameError(f"no transaction has the type {kind}")
        error, path, changes = apply(self, zxid, time, session, payload, at)
        if zxid > self.last_zxid:
            self.last_zxid = zxid
        return _new_applied(Applied, (zxid, session, cxid, kind, error, path, changes))

    def _apply_create(self, zxid: Zxid, time: int, session: int, payload: bytes, at: int) -> _Effect:
        path, data, _acl, ephemeral, parent_cversion, at = _unpack_create(payload, at)
        _ended(payload, at)
        parent = _parent_of(path)
        record = self._find(parent)
        if record is None:
            return _NO_NODE, path, ()
        existed = self._find(path) is not None
        if not existed:
            owner = session if ephemeral else 0
            record_here = make_record(data or b"", Persisted(zxid, zxid, zxid, time, time, 0, 0, 0, owner))
            self._put(path, record_here, null=data is None)
            self._link(path)
            if ephemeral:
                self._ephemerals.setdefault(session, set()).add(path)
        # A replayed create may find the znode, and a parent that is already further on.
        stat = persisted_of(record)
        cversion = stat.cversion + 1 if parent_cversion == -1 else parent_cversion
        self._replace(
            parent, record, stat._replace(cversion=max(cversion, stat.cversion), pzxid=max(zxid, stat.pzxid))
        )
        return (_NODE_EXISTS, path, ()) if existed else (0, path, ((_CREATED, path),))

    def _apply_delete(self, zxid: Zxid, time: int, session: int, payload: bytes, at: int) -> _Effect:
        path, at = _unpack_delete(payload, at)
        _ended(payload, at)
        _parent_of(path)
        return (0, path, ((_DELETED, path),)) if self._delete(zxid, path) else (_NO_NODE, path, ())

    def _apply_set_data(self, zxid: Zxid, time: int, session: int, payload: bytes, at: int) -> _Effect:
        path, data, version, at = _unpack_set_data(payload, at)
        _ended(payload, at)
        index = crc32(path.encode()) & 255
        if self._borrowed[index]:
            self._take_back(index)
        shard = self._shards[index]
        record = shard.get(path)
        if record is None:
            return _NO_NODE, path, ()
        czxid, _, pzxid, ctime, _, _, cversion, aversion, owner = read_stat(record, len(record) - STAT_SIZE)
        nulls = self._nulls[index]
        if data is None:
            nulls.add(path)
            data = b""
        elif nulls:
            nulls.discard(path)
        shard[path] = data + make_stat(czxid, zxid, pzxid, ctime, time, version, cversion, aversion, owner)
        return 0, path, ((_DATA_CHANGED, path),)

    def _apply_create_session(self, zxid: Zxid, time: int, session: int, payload: bytes, at: int) -> _Effect:
        timeout, at = _unpack_create_session(payload, at)
        _ended(payload, at)
        self._sessions[session] = timeout
        return 0, "", ()

    def _apply_close_session(self, zxid: Zxid, time: int, session: int, payload: bytes, at: int) -> _Effect:
        paths, at = _unpack_close_session(payload, at)
        _ended(payload, at)
        for path in paths:
            _parent_of(path)
        # The transaction names them; what the session has besides can only come from a replay, and must go too.
        left = sorted(self._ephemerals.get(session, set()).difference(paths))
        gone = tuple((_DELETED, path) for path in (*paths, *left) if self._delete(zxid, path))
        self._sessions.pop(session, None)
        return 0, "", gone

    def _apply_error(self, zxid: Zxid, time: int, session: int, payload: bytes, at: int) -> _Effect:
        code, at = _unpack_error(payload, at)
        _ended(payload, at)
        return code, "", ()

    def _delete(self, zxid: Zxid, path: str) -> bool:
        """Delete a znode; its parent learns of it even if it was gone already. Says whether it was there."""
        parent = parent_of(path)
        siblings = self._find(parent)
        if siblings is not None:
            stat = persisted_of(siblings)
            if zxid > stat.pzxid:
                self._replace(parent, siblings, stat._replace(pzxid=zxid))
        index = crc32(path.encode()) & 255
        if self._borrowed[index]:
            self._take_back(index)
        record = self._shards[index].pop(path, None)
        if record is None:
            return False
        self._nulls[index].discard(path)
        children = self._children[parent]
        children.remove(path)
        if not children:
            del self._children[parent]
        owner = owner_of(record)
        if owner:
            mine = self._ephemerals[owner]
            mine.remove(path)
            if not mine:
                del self._ephemerals[owner]
        return True

    # --- answers -----------------------------------------------------------------------------------------------------

    def result(self, request: Request[T], applied: Applied) -> T:
        """The answer to the write `request`, whose transaction `applied` is the last one applied: a Stat is that of
        the znode as it is now. Raises the exception of the code with which the request failed."""
        if applied.error:
            raise _error_of(applied.error, getattr(request, "path", None))
        answer: object = None
        if type(request) is Create:
            answer = Created(applied.path, self._stat(applied.path))
        elif type(request) is SetData:
            answer = self._stat(applied.path)
        return cast(T, answer)

    def read(self, request: Request[T]) -> T:
        """The answer to a request that reads. Raises NoNodeError, or BadArgumentsError for what is no path; ignores
        `watch` (see `Watches.read`)."""
        return cast(T, _READ[type(request)](self, request))

    def _get_data(self, request: GetData) -> NodeData:
        path = request.path
        record = self._find(path)
        if record is None:
            raise _missing(path)
        return NodeData(record[:-STAT_SIZE], ZnodeStat(record, len(self._children.get(path, ()))))

    def _exists(self, request: Exists) -> Stat | None:
        record = self._find(request.path)
        if record is None:
            validate(request.path)
            return None
        return ZnodeStat(record, len(self._children.get(request.path, ())))

    def _get_children(self, request: GetChildren) -> tuple[str, ...]:
        path = request.path
        if self._find(path) is None:
            raise _missing(path)
        start = 1 if path == "/" else len(path) + 1
        return tuple([child[start:] for child in self._children.get(path, ())])

    def _get_children2(self, request: GetChildren2) -> Children:
        return Children(self._get_children(GetChildren(request.path)), self._stat(request.path))

    def _stat(self, path: str) -> Stat:
        return ZnodeStat(self._shards[crc32(path.encode()) & 255][path], self.child_count(path))

    # --- for those who prepare and serve -----------------------------------------------------------------------------

    def persisted(self, path: str) -> Persisted | None:
        """What is stored of a znode besides its data, or None."""
        record = self._find(path)
        return None if record is None else persisted_of(record)

    def child_count(self, path: str) -> int:
        """How many children a znode has."""
        return len(self._children.get(path, ()))

    def ephemerals(self, session: int) -> tuple[str, ...]:
        """The paths of a session's ephemeral znodes, in order."""
        return tuple(sorted(self._ephemerals.get(session, ())))

    def has_null_data(self, path: str) -> bool:
        """Whether the data of the znode, which reads as b"", is null on the wire."""
        return path in self._nulls[crc32(path.encode()) & 255]

    def __len__(self) -> int:
        """The number of znodes, the root and ZooKeeper's own included."""
        return sum(map(len, self._shards))

    # --- snapshots ---------------------------------------------------------------------------------------------------

    def freeze(self) -> Frozen:
        """The state as it is now, at the cost of a copy of the sessions and of 256 references; from here on a shard is
        copied before it changes for the first time."""
        self._borrowed = bytearray(b"\x01" * SHARDS)
        return Frozen(self.last_zxid, dict(self._sessions), tuple(self._shards), tuple(self._nulls))

    def _take_back(self, index: int) -> None:
        self._shards[index] = dict(self._shards[index])
        self._nulls[index] = set(self._nulls[index])
        self._borrowed[index] = 0

    @classmethod
    def rebuild(
        cls, last_zxid: Zxid, sessions: Mapping[int, int], *, znodes: Iterable[tuple[str, bytes, bool]]
    ) -> Tree:
        """The tree of a snapshot: `znodes` are (path, record, whether the data is null), in any order."""
        tree = cls.__new__(cls)
        tree.last_zxid = last_zxid
        tree.sessions = tree._sessions = dict(sessions)
        tree._shards = [{} for _ in range(SHARDS)]
        tree._nulls = [set() for _ in range(SHARDS)]
        tree._borrowed = bytearray(SHARDS)
        tree._ephemerals = {}
        families: dict[str, list[str]] = {}
        for path, record, null in znodes:
            index = crc32(path.encode()) & 255
            tree._shards[index][path] = record
            if null:
                tree._nulls[index].add(path)
            if path != "/":
                parent = parent_of(path)
                siblings = families.get(parent)
                if siblings is None:
                    families[parent] = [path]
                else:
                    siblings.append(path)
            owner = owner_of(record)
            if owner:
                tree._ephemerals.setdefault(owner, set()).add(path)
        tree._children = {parent: SortedList(children) for parent, children in families.items()}
        return tree

    # --- the map -----------------------------------------------------------------------------------------------------

    def _find(self, path: str) -> bytes | None:
        try:
            return self._shards[crc32(path.encode()) & 255].get(path)
        except UnicodeEncodeError:  # half a surrogate pair: the name of nothing
            return None

    def _put(self, path: str, record: bytes, *, null: bool = False) -> None:
        index = crc32(path.encode()) & 255
        if self._borrowed[index]:
            self._take_back(index)
        self._shards[index][path] = record
        if null:
            self._nulls[index].add(path)

    def _replace(self, path: str, record: bytes, stat: Persisted) -> None:
        """Give the znode of `record` another Stat; its data stays."""
        self._put(path, make_record(data_of(record), stat))

    def _link(self, path: str) -> None:
        parent = parent_of(path)
        children = self._children.get(parent)
        if children is None:
            self._children[parent] = SortedList((path,))
        else:
            children.add(path)

    def check(self) -> None:
        """Raise InvariantViolation unless everything the tree holds agrees with everything else. Cost: a walk over the
        whole tree; meant for tests."""
        state = Frozen(self.last_zxid, self._sessions, tuple(self._shards), tuple(self._nulls))
        invariants.check(state, self._children, ephemerals=self._ephemerals)


_Effect = tuple[int, str, tuple[tuple[EventType, str], ...]]
"""An error code or 0, the path in question, and what changed."""


def _ended(payload: bytes, at: int) -> None:
    if at != len(payload):
        raise MalformedFrameError(f"{len(payload) - at} bytes are left over after a transaction")


def _parent_of(path: str) -> str:
    if not path.startswith("/") or path == "/":
        raise MalformedFrameError(f"a transaction creates or deletes {path!r}")
    return parent_of(path)


def _missing(path: str) -> NoNodeError:
    # ZooKeeper's clients refuse a malformed path before they send it; here the tree does, where it costs nothing.
    validate(path)
    return NoNodeError(path=path)


def _error_of(code: int, path: str | None) -> Exception:
    kind = BY_CODE.get(code)
    if kind is None:
        return RequestError(f"the request failed with ZooKeeper's error {code}", path=path)
    return kind(path=path) if issubclass(kind, RequestError) else kind()


_APPLY: dict[int, Callable[[Tree, Zxid, int, int, bytes, int], _Effect]] = {
    CreateTxn.TYPE: Tree._apply_create,
    CreateTxn.TYPE2: Tree._apply_create,
    DeleteTxn.TYPE: Tree._apply_delete,
    SetDataTxn.TYPE: Tree._apply_set_data,
    CreateSessionTxn.TYPE: Tree._apply_create_session,
    CloseSessionTxn.TYPE: Tree._apply_close_session,
    ErrorTxn.TYPE: Tree._apply_error,
}

_READ: dict[type[Any], Callable[[Tree, Any], object]] = {
    GetData: Tree._get_data,
    Exists: Tree._exists,
    GetChildren: Tree._get_children,
    GetChildren2: Tree._get_children2,
}
