"""The replicated state: znodes, sessions, and who owns which ephemeral znode.

Every replica applies the same transactions in the same order and holds the same tree, which the digest behind each
transaction proves (`digest.py`). A transaction was checked when it was prepared (`prepare.py`), so applying never
refuses one; it only does, and does again without harm where a log is replayed over a later state. Reads are answered
from whatever has been applied so far.

How it is held stands in `state.py`, what transactions do in `transactions.py`, what is answered in `reading.py`.

This module must not know of leaders, connections, clocks or outstanding requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast
from zlib import crc32

from zkcore.errors import InvariantViolation, MalformedFrameError, UnimplementedError
from zkcore.jute.codec import codec_of
from zkcore.jute.records import ACL, TxnHeader
from zkcore.tree import invariants
from zkcore.tree.acl import ANONYMOUS, Access, Caller
from zkcore.tree.applied import Applied, EventType
from zkcore.tree.digest import unpack_digest
from zkcore.tree.once import Memory
from zkcore.tree.paths import CONFIG
from zkcore.tree.quota import Usage
from zkcore.tree.reading import READS, RESULTS, error_of
from zkcore.tree.request import Request
from zkcore.tree.state import Frozen, Loaded, State
from zkcore.tree.transactions import TRANSACTIONS
from zkcore.tree.writes import Reconfigure
from zkcore.tree.znode import Persisted, make_record, persisted_of
from zkcore.zxid import Zxid

__all__ = ["Frozen", "Tree"]

T = TypeVar("T")

_unpack_header = codec_of(TxnHeader).unpack
_new_applied = tuple.__new__


class Tree:
    """One replica's state. `access` says who may do what. Not thread-safe: the host keeps readers on other threads out
    while it applies."""

    def __init__(self, access: Access | None = None, *, state: State | None = None) -> None:
        self.access = access if access is not None else Access()
        self.state = state if state is not None else State.fresh()
        """For the rooms of the tree alone."""
        self.sessions: Mapping[int, int] = self.state.sessions
        """The timeout in milliseconds of every live session."""
        self.session_keys: Mapping[int, bytes] = self.state.session_keys
        """The keys to the passwords of those that have one: see `sessions.opens`."""

    @property
    def last_zxid(self) -> Zxid:
        """The last transaction applied."""
        return self.state.last_zxid

    @property
    def digest(self) -> int:
        """ZooKeeper's digest of all of it, as an unsigned 64-bit number."""
        return self.state.digest

    @property
    def size_bytes(self) -> int:
        """The length of all paths, data and Stats, in bytes: what the memory in use grows with."""
        return self.state.bytes

    # --- transactions ------------------------------------------------------------------------------------------------

    def apply(self, zxid: Zxid, payload: bytes) -> Applied:
        """Apply the transaction `payload`, committed as `zxid`, and say what it did.

        Deterministic; harmless where it was applied before (a log replayed over a later state must be replayed to its
        end). Raises MalformedFrameError or FrameTooLargeError for bytes that are no transaction known here, and
        InvariantViolation for one prepared for another zxid: nothing was changed then, and the replica cannot go on.
        Raises InvariantViolation, too, where the digest is not what the leader said: this tree, or the leader's, is
        not what the transactions before made, and must not be served from.
        """
        state = self.state
        session, cxid, prepared_for, time, kind, at = _unpack_header(payload, 0)
        if prepared_for != zxid:
            raise InvariantViolation(f"the transaction {prepared_for:#x} was committed as {zxid:#x}")
        transaction = TRANSACTIONS.get(kind)
        if transaction is None:
            raise MalformedFrameError(f"no transaction has the type {kind}")
        decode, do = transaction
        values = decode(payload, at)
        digest = unpack_digest(payload, values[-1])
        error, path, changes, outcomes = do(state, zxid, time, session, values)
        if zxid > state.last_zxid:
            state.last_zxid = zxid
            if digest is not None and digest != state.digest:
                raise InvariantViolation(
                    f"after transaction {zxid:#x} this tree has the digest {state.digest:#x}, the leader's {digest:#x}"
                )
        removed: tuple[tuple[str, tuple[ACL, ...]], ...] = ()
        if state.removed_acls:
            removed = tuple(state.removed_acls.items())
            state.removed_acls.clear()
        return _new_applied(Applied, (zxid, session, cxid, kind, error, path, changes, outcomes, removed))

    # --- members -----------------------------------------------------------------------------------------------------

    @property
    def configuration(self) -> tuple[Zxid, bytes]:
        """The last record that said who the members of the ensemble are, and its zxid; zxid 0 while there was none.
        What it says is not known here."""
        return self.state.configuration

    def configure(
        self, zxid: Zxid, record: bytes, *, text: bytes | None = None, time_ms: int = 0, session: int = 0, cxid: int = 0
    ) -> Applied:
        """The `record`, committed as `zxid`, says who the members are. With `text` that is shown to clients from now
        on, as changed at `time_ms` for the request `cxid` of `session`. As harmless when done again as `apply`."""
        state = self.state
        changes: tuple[tuple[EventType, str], ...] = ()
        if zxid > state.last_zxid:
            state.last_zxid = zxid
            state.configuration = zxid, record
            if text is not None:
                self.show_members(text, zxid=zxid, time_ms=time_ms)
                changes = ((EventType.NODE_DATA_CHANGED, CONFIG),)
        return Applied(zxid, session, cxid, Reconfigure.opcode, 0, CONFIG, changes)

    def show_members(self, text: bytes, *, zxid: Zxid = 0, time_ms: int = 0) -> None:
        """Who the members are, as `/zookeeper/config` shows it. By itself for those that an ensemble began with, which
        no transaction has named. As in ZooKeeper it is in no digest, and has the version -1."""
        old = self.state.find(CONFIG)
        assert old is not None
        stat = persisted_of(old)._replace(mzxid=zxid, mtime=time_ms, version=-1)
        self.state.replace(CONFIG, old, make_record(text, stat), crc32(CONFIG.encode()))
        self.state.set_null(CONFIG, null=False)

    # --- answers -----------------------------------------------------------------------------------------------------

    def result(self, request: Request[T], applied: Applied) -> T:
        """The answer to the write `request`, whose transaction `applied` is the last one applied: a Stat is that of
        the znode as it is now. Raises the exception of the code with which the request failed."""
        if applied.error:
            raise error_of(request, applied)
        answer = RESULTS.get(type(request))
        return cast(T, None if answer is None else answer(self.state, request, applied))

    def read(self, request: Request[T], caller: Caller = ANONYMOUS) -> T:
        """The answer to a request that reads, asked by `caller`. Raises NoNodeError, also for what is no path,
        NoAuthError, and UnimplementedError for what is no request known here; ignores `watch` (see `Watches.read`)."""
        read = READS.get(type(request))
        if read is None:
            raise UnimplementedError
        return cast(T, read(self.state, self.access, request, caller))

    @property
    def quotas(self) -> Mapping[str, Usage]:
        """What there is at and below each znode that has a quota."""
        return self.state.quotas.usages

    def may(self, caller: Caller, permission: int, path: str) -> bool:
        """Whether the ACL of `path` gives `caller` one of the permissions in `permission`; so does a missing znode's,
        which is open."""
        return self.access.allows(self.state.acl_of(path), permission, caller.ids)

    # --- for those who prepare and serve -----------------------------------------------------------------------------

    def persisted(self, path: str) -> Persisted | None:
        """What is stored of a znode besides its data, or None."""
        record = self.state.find(path)
        return None if record is None else persisted_of(record)

    def child_count(self, path: str) -> int:
        """How many children a znode has."""
        return self.state.families.count(path)

    @property
    def hides_anything(self) -> bool:
        """Whether there is a znode that not everybody may read."""
        return self.state.hiding > 0

    def acl(self, path: str) -> tuple[ACL, ...] | None:
        """The ACL of a znode; None for the open one, and where there is no znode."""
        return self.state.acl_of(path)

    def ephemerals(self, session: int) -> tuple[str, ...]:
        """The paths of a session's ephemeral znodes, in order."""
        return tuple(sorted(self.state.ephemerals.get(session, ())))

    def __len__(self) -> int:
        """The number of znodes, the root and ZooKeeper's own included."""
        return len(self.state)

    # --- snapshots ---------------------------------------------------------------------------------------------------

    def freeze(self) -> Frozen:
        """The state as it is now, which stays so: see `State.freeze`."""
        return self.state.freeze()

    @classmethod
    def rebuild(
        cls,
        last_zxid: Zxid,
        sessions: Mapping[int, int],
        *,
        keys: Mapping[int, bytes],
        znodes: Iterable[Loaded],
        memory: Memory | None = None,
        configuration: tuple[Zxid, bytes] = (0, b""),
        access: Access | None = None,
    ) -> Tree:
        """The tree of a snapshot: its sessions with the keys to them, and all its znodes, in any order."""
        state = State(memory)
        state.last_zxid = last_zxid
        state.configuration = configuration
        state.sessions.update(sessions)
        state.session_keys.update(keys)
        state.load(znodes)
        return cls(access, state=state)

    def check(self) -> None:
        """Raise InvariantViolation unless everything the tree holds agrees with everything else. Cost: a walk over the
        whole tree; meant for tests."""
        invariants.check(self.state)
