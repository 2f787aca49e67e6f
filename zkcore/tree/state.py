"""What a replica holds: the maps, and the few ways in which a znode comes, changes and goes.

Paths map to znode records (`znode.py`) in 256 dicts, chosen by the CRC of the path. A snapshot borrows all the dicts at
once and reads them at leisure; a borrowed one is copied by the first change to it (`freeze`), so the longest pause is
the copy of a 256th of the tree. What few znodes have stands beside each dict: null data, which differs from empty data
only on the wire, in a set; ACLs other than the open one in a dict, where equal ones are one object.

Everything else is made from those and kept up to date: children, ephemerals by session, what will have to be cleaned
up, quotas, the digest, the number of bytes.

This module must not know of transactions, requests, leaders or clocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias
from zlib import crc32

from attrs import define, frozen
from sortedcontainers import SortedSet

from zkcore.jute.records import ACL, ANYONE, READ_ACL
from zkcore.tree.acl import Permission
from zkcore.tree.children import Families
from zkcore.tree.digest import MASK, ROOT, UNCOUNTED, seed_of
from zkcore.tree.once import Memory, Remembered
from zkcore.tree.paths import CONFIG, PROTECTED, parent_of
from zkcore.tree.quota import QUOTA, Quotas, Usage, quota_root, stats_of, stats_path, stats_root
from zkcore.tree.znode import (
    CONTAINER_OWNER,
    NO_OWNER,
    STAT_SIZE,
    Persisted,
    ZnodeStat,
    make_record,
    owner_of,
    persisted_of,
    session_of,
    ttl_of,
)
from zkcore.zxid import Zxid

__all__ = ["SHARDS", "Frozen", "Loaded", "State", "hides"]

SHARDS = 256

_FRESH = Persisted(0, 0, 0, 0, 0, 0, 0, 0, 0)

Loaded: TypeAlias = tuple[str, bytes, bool, tuple[ACL, ...] | None]
"""A znode as it comes from a snapshot: path, record, whether its data is null, and the ACL, None for the open one."""


@frozen
class Frozen:
    """The state at one zxid, which stays as it is while the tree goes on."""

    last_zxid: Zxid
    digest: int
    sessions: Mapping[int, int]
    session_keys: Mapping[int, bytes]
    clients: Mapping[int, Remembered]
    ended: tuple[int, ...]
    configuration: tuple[Zxid, bytes]
    shards: tuple[Mapping[str, bytes], ...]
    nulls: tuple[frozenset[str] | set[str], ...]
    acls: tuple[Mapping[str, tuple[ACL, ...]], ...]
    acls_in_use: tuple[tuple[ACL, ...], ...]
    """Each of the ACLs in `acls`, once."""


@define
class _Shared:
    """An ACL, and how many znodes have it."""

    acl: tuple[ACL, ...]
    znodes: int = 0


def hides(acl: tuple[ACL, ...]) -> bool:
    """Whether there may be somebody whom `acl` does not let read."""
    return not any(entry.id == ANYONE and entry.perms & Permission.READ for entry in acl)


class State:
    """See the module. What is public here is for the rooms of the tree alone."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.last_zxid: Zxid = 0
        self.sessions: dict[int, int] = {}
        self.session_keys: dict[int, bytes] = {}
        """The keys to the passwords of those sessions that have one."""
        self.configuration: tuple[Zxid, bytes] = (0, b"")
        """The last record that said who the members are, and its zxid; 0 while there was none."""
        self.digest = 0
        self.bytes = 0
        """The length of all paths and records."""
        # Every shard begins as a copy still to be made of the same empty one: most trees of a simulation stay small.
        self.shards: list[dict[str, bytes]] = [{}] * SHARDS
        self.nulls: list[set[str]] = [set()] * SHARDS
        self.acls: list[dict[str, tuple[ACL, ...]]] = [{}] * SHARDS
        self.borrowed = bytearray(b"\x01" * SHARDS)
        self.families = Families()
        self.ephemerals: dict[int, set[str]] = {}
        self.empty_containers: dict[str, None] = {}
        """Containers that had a child once and have none now, in the order in which they became so."""
        self.expiring: SortedSet = SortedSet()
        """Pairs of (when, path) for each znode with a time to live: milliseconds since 1970."""
        self.quotas = Quotas()
        self.memory = memory if memory is not None else Memory()
        self.hiding = 0
        """How many of the ACLs in use do not let everybody read."""
        self.removed_acls: dict[str, tuple[ACL, ...]] = {}
        """What ACLs the znodes had that were removed, but for open ones; whoever looks here empties it."""
        self._shared: dict[tuple[ACL, ...], _Shared] = {}

    @classmethod
    def fresh(cls) -> State:
        """What every tree begins with."""
        state = cls()
        for path in sorted(PROTECTED):
            # Counted by nobody, as in ZooKeeper: the shown cversion of a fresh "/" is -1.
            if path == CONFIG:
                state.add(path, make_record(b"", _FRESH._replace(aversion=-1)), acl=READ_ACL)
            else:
                state.add(path, make_record(b"", _FRESH))
        return state

    # --- looking

    def find(self, path: str) -> bytes | None:
        """The record of a znode."""
        try:
            return self.shards[crc32(path.encode()) & 255].get(path)
        except UnicodeEncodeError:  # half a surrogate pair: the name of nothing
            return None

    def acl_of(self, path: str) -> tuple[ACL, ...] | None:
        """The ACL of a znode, None for the open one."""
        return self.acls[crc32(path.encode()) & 255].get(path)

    def is_null(self, path: str) -> bool:
        """Whether the data of a znode, which reads as b"", is null."""
        return path in self.nulls[crc32(path.encode()) & 255]

    def stat(self, path: str) -> ZnodeStat:
        """The Stat of a znode that exists."""
        return ZnodeStat(self.shards[crc32(path.encode()) & 255][path], self.families.count(path))

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    # --- changing

    def add(
        self, path: str, record: bytes, *, null: bool = False, acl: tuple[ACL, ...] | None = None
    ) -> None:
        """A znode comes, below a parent that exists."""
        raw = path.encode()
        crc = crc32(raw)
        index = crc & 255
        if self.borrowed[index]:
            self._take_back(index)
        self.shards[index][path] = record
        if null:
            self.nulls[index].add(path)
        if acl is not None:
            self._keep_acl(index, path, acl)
        self.bytes += len(raw) + len(record)
        if path == "/":
            self.digest = crc32(record)
            return
        if not path.startswith(UNCOUNTED):
            self.digest = self.digest + crc32(record, crc) & MASK
        parent = parent_of(path)
        self.families.add(parent, path)
        if self.empty_containers:
            self.empty_containers.pop(parent, None)
        owner = owner_of(record)
        if owner:
            self._own(path, record, owner)
        self._count(path, 1, len(record) - STAT_SIZE)

    def replace(self, path: str, old: bytes, new: bytes, crc: int) -> None:
        """A znode changes; whether its data is null is for `set_null` to say. `crc` is that of the path."""
        index = crc & 255
        if self.borrowed[index]:
            self._take_back(index)
        self.shards[index][path] = new
        size = len(new) - len(old)
        if size:
            self.bytes += size
        seed = crc if ROOT < path < UNCOUNTED else seed_of(path, crc)
        if seed != -1:
            self.digest = self.digest - crc32(old, seed) + crc32(new, seed) & MASK

    def set_null(self, path: str, *, null: bool) -> None:
        """Say whether the data of a znode, which reads as b"", is null. After a `replace`."""
        nulls = self.nulls[crc32(path.encode()) & 255]
        if null:
            nulls.add(path)
        elif nulls:
            nulls.discard(path)

    def set_acl(self, path: str, acl: tuple[ACL, ...] | None) -> None:
        """Give a znode another ACL, None for the open one. After a `replace`."""
        index = crc32(path.encode()) & 255
        self._drop_acl(index, path)
        if acl is not None:
            self._keep_acl(index, path, acl)

    def remove(self, path: str) -> bytes | None:
        """A znode goes that has no children; its record, or None where there is none."""
        raw = path.encode()
        crc = crc32(raw)
        index = crc & 255
        if self.borrowed[index]:
            self._take_back(index)
        record = self.shards[index].pop(path, None)
        if record is None:
            return None
        self.nulls[index].discard(path)
        acl = self.acls[index].get(path)
        if acl is not None:
            self.removed_acls[path] = acl
            self._drop_acl(index, path)
        self.bytes -= len(raw) + len(record)
        if not path.startswith(UNCOUNTED):
            self.digest = self.digest - crc32(record, crc) & MASK
        parent = parent_of(path)
        self.families.remove(parent, path)
        if not self.families.count(parent):
            self._emptied(parent)
        owner = owner_of(record)
        if owner:
            self._disown(path, record, owner)
        self._count(path, -1, STAT_SIZE - len(record))
        return record

    # --- who owns, and what will have to be cleaned up

    def _own(self, path: str, record: bytes, owner: int) -> None:
        session = session_of(owner)
        if session:
            self.ephemerals.setdefault(session, set()).add(path)
        elif owner != CONTAINER_OWNER:
            self.expiring.add((persisted_of(record).mtime + ttl_of(owner), path))

    def _disown(self, path: str, record: bytes, owner: int) -> None:
        session = session_of(owner)
        if session:
            mine = self.ephemerals[session]
            mine.remove(path)
            if not mine:
                del self.ephemerals[session]
        elif owner == CONTAINER_OWNER:
            self.empty_containers.pop(path, None)
        else:
            self.expiring.remove((persisted_of(record).mtime + ttl_of(owner), path))

    def renew(self, path: str, owner: int, *, before: int, after: int) -> None:
        """A znode with a time to live was last changed `after`, no longer `before`."""
        ttl = ttl_of(owner)
        if ttl:
            self.expiring.remove((before + ttl, path))
            self.expiring.add((after + ttl, path))

    def _emptied(self, path: str) -> None:
        record = self.find(path)
        if record is not None and owner_of(record) == CONTAINER_OWNER:
            self.empty_containers[path] = None

    # --- ACLs: equal ones are one object

    def _keep_acl(self, index: int, path: str, acl: tuple[ACL, ...]) -> None:
        shared = self._shared.get(acl)
        if shared is None:
            shared = self._shared[acl] = _Shared(acl)
            self.hiding += hides(acl)
        shared.znodes += 1
        self.acls[index][path] = shared.acl

    def _drop_acl(self, index: int, path: str) -> None:
        acl = self.acls[index].pop(path, None)
        if acl is not None:
            shared = self._shared[acl]
            shared.znodes -= 1
            if not shared.znodes:
                del self._shared[acl]
                self.hiding -= hides(acl)

    def acl_uses(self) -> dict[tuple[ACL, ...], int]:
        """How many znodes have each of the ACLs in use."""
        return {acl: shared.znodes for acl, shared in self._shared.items()}

    # --- quotas

    def _count(self, path: str, count: int, size: int) -> None:
        if path.startswith(QUOTA):
            self._quota_changed(path, came=count > 0)
        if self.quotas.usages:
            self.count(path, count, size)

    def count(self, path: str, count: int, size: int) -> None:
        """Tell the quotas that `path` stands under that there are `count` more znodes there, and `size` more bytes."""
        for root in self.quotas.roots_of(path):
            self._show_usage(root, self.quotas.add(root, count=count, size=size))
        if stats_root(path) in self.quotas.usages:  # whatever was written there, what there is stays
            self._show_usage(stats_root(path), self.quotas.usages[stats_root(path)])

    def _quota_changed(self, path: str, *, came: bool) -> None:
        root = quota_root(path)
        if root and came:
            usage = self.quotas.usages[root] = self._usage_of(root)
            self._show_usage(root, usage)
        elif root:
            del self.quotas.usages[root]

    def _usage_of(self, root: str) -> Usage:
        # The one change that costs by what is there: a new quota counts, in one go, all that it covers from now on.
        count = size = 0
        for path in self.below(root):
            record = self.find(path)
            assert record is not None
            count += 1
            size += len(record) - STAT_SIZE
        return Usage(count, size)

    def below(self, root: str) -> Iterator[str]:
        """The znode `root`, if it exists, and all below it, each before its children."""
        left = [root] if self.find(root) is not None else []
        while left:
            path = left.pop()
            yield path
            left += reversed(self.families.of(path))

    def _show_usage(self, root: str, usage: Usage) -> None:
        path = stats_path(root)
        record = self.find(path)
        if record is not None:
            self.replace(path, record, stats_of(usage) + record[-STAT_SIZE:], crc32(path.encode()))
            self.set_null(path, null=False)

    # --- snapshots

    def freeze(self) -> Frozen:
        """The state as it is now, at the cost of a copy of the sessions and of a few references; from here on a shard
        is copied before it changes for the first time."""
        self.borrowed = bytearray(b"\x01" * SHARDS)
        return self.seen()

    def seen(self) -> Frozen:
        """The state as it is now, to be looked at before the next change."""
        return Frozen(
            self.last_zxid, self.digest, dict(self.sessions), dict(self.session_keys), dict(self.memory.clients),
            tuple(self.memory.ended), self.configuration, tuple(self.shards), tuple(self.nulls), tuple(self.acls),
            tuple(self._shared),
        )  # fmt: skip

    def _take_back(self, index: int) -> None:
        self.shards[index] = dict(self.shards[index])
        self.nulls[index] = set(self.nulls[index])
        self.acls[index] = dict(self.acls[index])
        self.borrowed[index] = 0

    def load(self, znodes: Iterable[Loaded]) -> None:
        """Put the znodes of a snapshot, in any order, into a state that has none."""
        paths: list[str] = []
        containers: list[tuple[str, bytes]] = []
        size = digest = 0
        for path, record, null, acl in znodes:
            raw = path.encode()
            crc = crc32(raw)
            index = crc & 255
            if self.borrowed[index]:
                self._take_back(index)
            self.shards[index][path] = record
            if null:
                self.nulls[index].add(path)
            if acl is not None:
                self._keep_acl(index, path, acl)
            size += len(raw) + len(record)
            seed = crc if ROOT < path < UNCOUNTED else seed_of(path, crc)
            if seed != -1:
                digest += crc32(record, seed)
            if path != ROOT:
                paths.append(path)
            if record.endswith(NO_OWNER):
                continue
            owner = owner_of(record)
            if owner == CONTAINER_OWNER:
                containers.append((path, record))
            else:
                self._own(path, record, owner)
        self.bytes = size
        self.digest = digest & MASK
        self.families.fill(paths)
        self._find_empty(containers)
        for path in self.below(QUOTA):
            root = quota_root(path)
            if root:
                self.quotas.usages[root] = self._usage_of(root)

    def _find_empty(self, containers: list[tuple[str, bytes]]) -> None:
        # By the last change of their children, which is the order in which they became empty.
        found = [(persisted_of(record), path) for path, record in containers if not self.families.count(path)]
        used = sorted((stat.pzxid, path) for stat, path in found if stat.cversion > 0)
        self.empty_containers = dict.fromkeys(path for _, path in used)
