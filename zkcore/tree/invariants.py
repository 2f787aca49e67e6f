"""What must be true of every tree between two transactions, checked in full.

Tests call it after every step of random histories. It reads all of a tree and trusts none of its indexes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

from zkcore.errors import BadArgumentsError, InvariantViolation
from zkcore.jute.records import ACL, OPEN_ACL
from zkcore.tree.digest import MASK, digest_of
from zkcore.tree.paths import PROTECTED, parent_of, validate
from zkcore.tree.quota import QUOTA, Usage, quota_root, stats_of, stats_path
from zkcore.tree.state import State, hides
from zkcore.tree.znode import CONTAINER_OWNER, STAT_SIZE, Persisted, data_of, persisted_of, session_of, ttl_of

__all__ = ["check"]


def check(state: State) -> None:
    """Raise InvariantViolation unless all that `state` holds agrees."""
    stats = _stats_of(state.shards)
    _check_nulls_and_acls(state)
    for path in PROTECTED:
        _require(path in stats, f"{path} is missing")
    families: dict[str, list[str]] = {}
    for path, stat in stats.items():
        _check_znode(path, stat, state)
        if path != "/":
            families.setdefault(parent_of(path), []).append(path)
    for parent, family in families.items():
        _require(parent in stats, f"{parent} has children and does not exist")
        _require(not session_of(stats[parent].owner), f"{parent} is ephemeral and has children")
        counted = [path for path in family if path not in PROTECTED]
        _require(len(counted) <= stats[parent].cversion, f"{parent} has more children than were ever created")
    state.families.check([path for path in stats if path != "/"])
    _check_owners(stats, state, families)
    _check_sums(state)
    _check_quotas(stats, state)


def _stats_of(shards: Sequence[Mapping[str, bytes]]) -> dict[str, Persisted]:
    stats = {}
    for index, shard in enumerate(shards):
        for path, record in shard.items():
            _require(crc32(path.encode()) % len(shards) == index, f"{path} is in the wrong shard")
            _require(len(record) >= STAT_SIZE, f"{path} has a record of {len(record)} bytes")
            stats[path] = persisted_of(record)
    return stats


def _check_znode(path: str, stat: Persisted, state: State) -> None:
    try:
        validate(path)
    except BadArgumentsError as error:
        raise InvariantViolation(str(error)) from error
    _require(
        stat.czxid <= stat.mzxid <= state.last_zxid, f"{path} was changed before it was created, or later than now"
    )
    _require(
        stat.czxid <= stat.pzxid <= state.last_zxid, f"{path} had children before it was created, or later than now"
    )


def _check_nulls_and_acls(state: State) -> None:
    uses: dict[tuple[ACL, ...], int] = {}
    for shard, nulls, acls in zip(state.shards, state.nulls, state.acls, strict=True):
        for path in nulls:
            _require(len(shard.get(path, b"")) == STAT_SIZE, f"{path} has null data and is missing, or has data")
        for path, acl in acls.items():
            _require(path in shard, f"{path} has an ACL and is missing")
            _require(bool(acl) and acl != OPEN_ACL, f"{path} has an ACL that is not kept")
            uses[acl] = uses.get(acl, 0) + 1
    _require(uses == state.acl_uses(), "the ACLs in use are counted wrongly")
    _require(state.hiding == sum(map(hides, uses)), "the ACLs that hide something are counted wrongly")


def _check_owners(stats: Mapping[str, Persisted], state: State, families: Mapping[str, list[str]]) -> None:
    owned: dict[int, set[str]] = {}
    expiring = set()
    empty = set()
    for path, stat in stats.items():
        if session_of(stat.owner):
            owned.setdefault(stat.owner, set()).add(path)
        elif stat.owner == CONTAINER_OWNER:
            if stat.cversion and path not in families:
                empty.add(path)
        elif stat.owner:
            expiring.add((stat.mtime + ttl_of(stat.owner), path))
    _require(owned == state.ephemerals, "the sets of ephemerals differ from the owners that znodes name")
    for session in owned:
        _require(session in state.sessions, f"session {session:#x} has ephemerals and does not live")
    _require(state.session_keys.keys() <= state.sessions.keys(), "there is a key to a session that does not live")
    _require(empty == state.empty_containers.keys(), "the empty containers are not those that are listed")
    _require(expiring == set(state.expiring), "the znodes with a time to live are not those that are listed")


def _check_sums(state: State) -> None:
    digest = size = 0
    for shard in state.shards:
        for path, record in shard.items():
            digest += digest_of(path, record)
            size += len(path.encode()) + len(record)
    _require(digest & MASK == state.digest, "the digest is not that of the znodes")
    _require(size == state.bytes, "the bytes are not those of the znodes")


def _check_quotas(stats: Mapping[str, Persisted], state: State) -> None:
    roots = {quota_root(path) for path in stats if path.startswith(QUOTA)} - {""}
    _require(roots == state.quotas.usages.keys(), "the quotas are not those whose limits stand in the tree")
    for root in roots:
        mine = [path for path in stats if root in state.quotas.roots_of(path)]
        size = sum(len(data_of(state.find(path) or b"")) for path in mine)
        usage = Usage(len(mine), size)
        _require(state.quotas.usages[root] == usage, f"what there is below {root} is counted wrongly")
        shown = state.find(stats_path(root))
        _require(shown is None or data_of(shown) == stats_of(usage), f"the statistics of {root} are out of date")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InvariantViolation(otherwise)
