"""The state that the next transaction will meet: the tree, and everything proposed that it has not got to yet.

For each znode that an outstanding transaction touches it is remembered how that transaction will leave it (ZooKeeper's
change records), and forgotten when the tree has got there. Here are also the checks that every request shares.

What a transaction of several operations has changed can be taken back, all of it, where one of them fails.

This module must not know which requests there are.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple
from zlib import crc32

from attrs import frozen

from zkcore.errors import (
    NoAuthError,
    NoNodeError,
    QuotaExceededError,
    SessionExpiredError,
)
from zkcore.jute.records import ACL, Id
from zkcore.tree.digest import MASK, ROOT, UNCOUNTED, seed_of
from zkcore.tree.paths import parent_of
from zkcore.tree.quota import Usage, limits_of, limits_path
from zkcore.tree.tree import Tree
from zkcore.tree.znode import STAT_SIZE, data_of, make_stat, owner_of, read_stat
from zkcore.zxid import Zxid

__all__ = ["MAX_DATA", "Guard", "Outstanding", "Znode"]

MAX_DATA = 0xFFFFF
"""The most data a znode holds, in bytes: ZooKeeper's `jute.maxbuffer`, 1 MiB less one."""


@frozen(kw_only=True)
class Guard:
    """How large the whole tree may become: by the number of znodes, and by `Tree.size_bytes`. None is no limit. What
    makes nothing larger is never refused."""

    max_znodes: int | None = None
    max_bytes: int | None = None


class Znode(NamedTuple):
    """A znode as the transaction `zxid` leaves it (0: as the tree has it). `record` is None where it does not exist,
    `acl` for the open one, `children` where it has as many as it has in the tree. `seed` is where its digest begins,
    -1 where it has none."""

    zxid: Zxid
    record: bytes | None
    children: int | None
    acl: tuple[ACL, ...] | None
    seed: int


_znode = tuple.__new__  # a named tuple made without the call that names its fields: half the time


_Change = tuple[Zxid, str, Znode, Znode | None, int, int, tuple[tuple[str, int, int], ...]]
"""What was noted of one znode, to be forgotten when the transaction is applied, or taken back before: its zxid, the
path, how it leaves the znode and how that was noted before, what it adds to the bytes and to the number of znodes, and
what to the quotas above: znodes, and bytes of data."""


class Outstanding:
    """See the module. `begin` comes before each request; the attributes say what it is asked under."""

    def __init__(self, tree: Tree, guard: Guard) -> None:
        self.tree = tree
        self.zxid: Zxid = 0
        self.now_ms = 0
        self.ids: tuple[Id, ...] = ()
        self.digest = tree.digest
        """What the digest of the tree will be."""
        self._digest_before = self.digest
        self._state = tree.state
        self._applied: Zxid = -1  # up to where everything is forgotten
        self._guard = guard
        self._znodes: dict[str, Znode] = {}
        self._changes: deque[_Change] = deque()
        self._size = self._count = 0  # by how much outstanding transactions make the tree larger
        self._used: dict[str, Usage] = {}  # and what they add to quotas
        # Per session, the ephemerals that outstanding transactions create, with the zxid that does.
        self._ephemerals: dict[int, dict[str, Zxid]] = {}
        self._created: deque[tuple[Zxid, int, str, Zxid | None]] = deque()  # and the one that did before
        # Sessions that outstanding transactions begin (True) or end (False), with the zxid of the last one.
        self._sessions: dict[int, tuple[Zxid, bool]] = {}
        self._sessions_touched: deque[tuple[Zxid, int]] = deque()

        # Requests that may be retried, with the zxid that answers them.
        self._once: dict[tuple[int, int], Zxid] = {}
        self._once_touched: deque[tuple[Zxid, int, int]] = deque()

    def __len__(self) -> int:
        """How many changes to znodes and sessions are remembered."""
        return len(self._changes) + len(self._sessions_touched)

    def begin(self, zxid: Zxid, now_ms: int, ids: tuple[Id, ...]) -> None:
        """The next request: the zxid it gets, the wall clock in milliseconds, and by which ids the caller is known."""
        if self._state.last_zxid != self._applied:
            self.forget_applied()
        self.zxid = zxid
        self.now_ms = now_ms
        self.ids = ids
        if not self._changes:
            self.digest = self._state.digest
        self._digest_before = self.digest

    # --- looking

    def look(self, path: str) -> Znode:
        """A znode as the next transaction will find it."""
        znode = self._znodes.get(path)
        if znode is not None:
            return znode
        try:
            crc = crc32(path.encode())
        except UnicodeEncodeError:  # half a surrogate pair: the name of nothing
            return Znode(0, None, 0, None, -1)
        state = self._state
        index = crc & 255
        acls = state.acls[index]
        acl = acls.get(path) if acls else None
        seed = crc if ROOT < path < UNCOUNTED else seed_of(path, crc)
        return _znode(Znode, (0, state.shards[index].get(path), None, acl, seed))

    def existing(self, path: str) -> tuple[Znode, bytes]:
        """A znode, and its record. Raises NoNodeError."""
        znode = self.look(path)
        if znode.record is None:
            raise NoNodeError(path=path)
        return znode, znode.record

    def child_count(self, path: str, znode: Znode) -> int:
        """How many children `znode`, which stands at `path`, will have."""
        # Whatever changes the number while it is outstanding says what it will be.
        return self._state.families.count(path) if znode.children is None else znode.children

    def ephemerals(self, session: int) -> list[str]:
        """The ephemerals that a session will have, in order."""
        candidates = {*self._state.ephemerals.get(session, ()), *self._ephemerals.get(session, ())}
        # One whose deletion is outstanding is not there to be deleted again.
        looked = ((path, self.look(path).record) for path in candidates)
        return sorted(path for path, record in looked if record is not None and owner_of(record) == session)

    def subtree(self, root: str, *, most: int) -> list[str] | None:
        """The znode `root` and all that will be below it, each before its children; None if there are more than
        `most`. Cost: so many, and what is outstanding."""
        coming: dict[str, list[str]] = {}
        for path, znode in self._znodes.items():
            if znode.record is not None and path != "/" and self._state.find(path) is None:
                coming.setdefault(parent_of(path), []).append(path)
        found: list[str] = []
        left = [root]
        while left:
            path = left.pop()
            if self.look(path).record is None:
                continue
            if len(found) == most:
                return None
            found.append(path)
            left += sorted((*self._state.families.of(path), *coming.get(path, ())), reverse=True)
        return found

    def is_live(self, session: int) -> bool:
        """Whether `session` exists and no outstanding transaction ends it."""
        outstanding = self._sessions.get(session)
        return session in self._state.sessions if outstanding is None else outstanding[1]

    def is_ending(self, session: int) -> bool:
        """Whether an outstanding transaction ends `session`."""
        return not self._sessions.get(session, (0, True))[1]

    def is_remembered(self, client: int, number: int) -> bool:
        """Whether it will be known how request `number` of `client` ended."""
        return (client, number) in self._once or self._state.memory.recall(client, number) is not None

    def may_be_forgotten(self, client: int, number: int) -> bool:
        """Whether request `number` of `client`, which is not remembered, may have been applied all the same."""
        memory = self._state.memory
        lives = client in self._state.sessions or client in self._sessions
        return not (lives or client in memory.ended) or memory.may_have_forgotten(client, number)

    # --- checks

    def check_session(self, session: int) -> None:
        """Raise SessionExpiredError unless `session` lives."""
        if (self._sessions or session not in self._state.sessions) and not self.is_live(session):
            raise SessionExpiredError

    def demand(self, acl: tuple[ACL, ...] | None, permission: int, *, path: str) -> None:
        """Raise NoAuthError, about `path`, unless `acl` gives the caller `permission`."""
        if acl is not None and not self.tree.access.allows(acl, permission, self.ids):
            raise NoAuthError(path=path)

    def check_quotas(self, path: str, *, count: int, size: int) -> None:
        """Raise QuotaExceededError if there may not be `count` more znodes at `path`, with `size` more bytes of data.
        What is outstanding counts, but for what was prepared before the quota was there."""
        if not self._state.quotas.usages:
            return
        for root in self._state.quotas.roots_of(path):
            limits = limits_of(data_of(self.look(limits_path(root)).record or bytes(STAT_SIZE)))
            there, coming = self._state.quotas.usages[root], self._used.get(root, Usage(0, 0))
            usage = Usage(there.znodes + coming.znodes + count, there.bytes + coming.bytes + size)
            limits.check(usage, path=root, count=count != 0, size=size != 0)

    def check_guard(self, *, count: int, size: int) -> None:
        """Raise QuotaExceededError if the whole tree may not have `count` more znodes, or `size` more bytes."""
        guard = self._guard
        if guard.max_znodes is not None and count > 0 and len(self._state) + self._count + count > guard.max_znodes:
            raise QuotaExceededError(f"the tree may have {guard.max_znodes} znodes; delete some, or raise the limit")
        if guard.max_bytes is not None and size > 0 and self._state.bytes + self._size + size > guard.max_bytes:
            raise QuotaExceededError(f"the tree may have {guard.max_bytes} bytes; delete something, or raise the limit")

    # --- changing

    def put(
        self, path: str, before: Znode, record: bytes, children: int | None, acl: tuple[ACL, ...] | None
    ) -> None:
        """The transaction at hand leaves the znode, which is `before`, like this."""
        old, seed = before.record, before.seed
        assert old is not None
        if seed != -1:
            self.digest = self.digest - crc32(old, seed) + crc32(record, seed) & MASK
        after = _znode(Znode, (self.zxid, record, children, acl, seed))
        size = len(record) - len(old)
        if size or self._state.quotas.usages:
            self._note(path, after, size, 0)
        else:
            znodes = self._znodes
            self._changes.append((self.zxid, path, after, znodes.get(path), 0, 0, ()))
            znodes[path] = after

    def add(self, path: str, record: bytes, *, acl: tuple[ACL, ...] | None, session: int) -> None:
        """The transaction at hand creates a znode, an ephemeral of `session` if that is not 0; the parent changes by a
        `put`."""
        raw = path.encode()
        seed = seed_of(path, crc32(raw))
        if seed != -1:
            self.digest = self.digest + crc32(record, seed) & MASK
        self._note(path, _znode(Znode, (self.zxid, record, 0, acl, seed)), len(record) + len(raw), 1)
        if session:
            mine = self._ephemerals.setdefault(session, {})
            self._created.append((self.zxid, session, path, mine.get(path)))
            mine[path] = self.zxid

    def remove(self, path: str) -> None:
        """The transaction at hand deletes a znode that exists, which changes its parent."""
        parent_path = parent_of(path)
        parent, old = self.existing(parent_path)
        at = len(old) - STAT_SIZE
        czxid, mzxid, _, ctime, mtime, version, cversion, aversion, owner = read_stat(old, at)
        stat = make_stat(czxid, mzxid, self.zxid, ctime, mtime, version, cversion, aversion, owner)
        children = self.child_count(parent_path, parent) - 1
        self.put(parent_path, parent, old[:at] + stat, children, parent.acl)
        znode, record = self.existing(path)
        seed = znode.seed
        if seed != -1:
            self.digest = self.digest - crc32(record, seed) & MASK
        self._note(path, _znode(Znode, (self.zxid, None, 0, None, seed)), -len(record) - len(path.encode()), -1)

    def _note(self, path: str, after: Znode, size: int, count: int) -> None:
        quotas: tuple[tuple[str, int, int], ...] = ()
        if self._state.quotas.usages:
            quotas = self._quotas_of(path, count, size - count * (len(path.encode()) + STAT_SIZE))
        znodes = self._znodes
        self._changes.append((self.zxid, path, after, znodes.get(path), size, count, quotas))
        znodes[path] = after
        self._size += size
        self._count += count

    def _quotas_of(self, path: str, count: int, size: int) -> tuple[tuple[str, int, int], ...]:
        quotas = tuple((root, count, size) for root in self._state.quotas.roots_of(path))
        self._use(quotas, 1)
        return quotas

    def _use(self, quotas: tuple[tuple[str, int, int], ...], sign: int) -> None:
        for root, count, size in quotas:
            used = self._used.pop(root, Usage(0, 0))
            used = Usage(used.znodes + sign * count, used.bytes + sign * size)
            if used != (0, 0):
                self._used[root] = used

    def remember(self, client: int, number: int) -> None:
        """The transaction at hand is request `number` of `client`."""
        self._once[client, number] = self.zxid
        self._once_touched.append((self.zxid, client, number))

    def begin_session(self, session: int) -> None:
        """The transaction at hand begins `session`."""
        self._note_session(session, lives=True)

    def end_session(self, session: int) -> None:
        """The transaction at hand ends `session`."""
        self._note_session(session, lives=False)

    def _note_session(self, session: int, *, lives: bool) -> None:
        self._sessions[session] = self.zxid, lives
        self._sessions_touched.append((self.zxid, session))

    def take_back(self) -> None:
        """Undo what the transaction at hand has changed so far, but for sessions."""
        while self._changes and self._changes[-1][0] == self.zxid:
            _, path, _, before, size, count, quotas = self._changes.pop()
            self._size -= size
            self._count -= count
            self._use(quotas, -1)
            if before is None:
                del self._znodes[path]
            else:
                self._znodes[path] = before
        while self._created and self._created[-1][0] == self.zxid:
            zxid, session, path, earlier = self._created.pop()
            if earlier is None:
                self._forget_ephemeral(zxid, session, path)
            else:
                self._ephemerals[session][path] = earlier
        self.digest = self._digest_before

    # --- forgetting

    def forget_applied(self) -> None:
        """Forget what the tree has got to."""
        applied = self._applied = self._state.last_zxid
        changes = self._changes
        znodes = self._znodes
        while changes and changes[0][0] <= applied:
            zxid, path, after, _, size, count, quotas = changes.popleft()
            if size or count:
                self._size -= size
                self._count -= count
            if quotas:
                self._use(quotas, -1)
            if znodes.get(path) is after:
                del znodes[path]
        while self._created and self._created[0][0] <= applied:
            zxid, session, path, _ = self._created.popleft()
            self._forget_ephemeral(zxid, session, path)
        while self._sessions_touched and self._sessions_touched[0][0] <= applied:
            zxid, session = self._sessions_touched.popleft()
            if self._sessions[session][0] == zxid:
                del self._sessions[session]

        while self._once_touched and self._once_touched[0][0] <= applied:
            _, client, number = self._once_touched.popleft()
            self._once.pop((client, number), None)

    def _forget_ephemeral(self, zxid: Zxid, session: int, path: str) -> None:
        mine = self._ephemerals.get(session, {})
        if mine.get(path) == zxid:
            del mine[path]
        if not mine:
            self._ephemerals.pop(session, None)
