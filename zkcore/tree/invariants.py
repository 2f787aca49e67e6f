"""What must be true of every tree between two transactions, checked in full.

Tests call it after every step of random histories. It reads all of a tree and trusts none of its indexes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from zlib import crc32

from sortedcontainers import SortedList

from zkcore.errors import BadArgumentsError, InvariantViolation
from zkcore.tree.paths import PROTECTED, parent_of, validate
from zkcore.tree.znode import STAT_SIZE, Persisted, persisted_of

if TYPE_CHECKING:
    from zkcore.tree.tree import Frozen

__all__ = ["check"]


def check(state: Frozen, children: Mapping[str, SortedList], *, ephemerals: Mapping[int, set[str]]) -> None:
    """Raise InvariantViolation unless the znodes of `state`, the lists of children and the sets of ephemerals agree."""
    stats = _stats_of(state.shards)
    _check_nulls(state)
    for path in PROTECTED:
        _require(path in stats, f"{path} is missing")
    families: dict[str, list[str]] = {}
    owned: dict[int, set[str]] = {}
    for path, stat in stats.items():
        _check_znode(path, stat, state)
        if path != "/":
            families.setdefault(parent_of(path), []).append(path)
        if stat.owner:
            owned.setdefault(stat.owner, set()).add(path)
    for parent, family in families.items():
        _require(parent in stats, f"{parent} has children and does not exist")
        _require(not stats[parent].owner, f"{parent} is ephemeral and has children")
        counted = [path for path in family if path not in PROTECTED]
        _require(len(counted) <= stats[parent].cversion, f"{parent} has more children than were ever created")
    _require({parent: sorted(family) for parent, family in families.items()}
             == {parent: list(listed) for parent, listed in children.items()},
             "the lists of children differ from the znodes there are")  # fmt: skip
    for listed in children.values():
        listed._check()
    _require(owned == dict(ephemerals), "the sets of ephemerals differ from the owners that znodes name")
    for session in owned:
        _require(session in state.sessions, f"session {session:#x} has ephemerals and does not live")


def _stats_of(shards: Sequence[Mapping[str, bytes]]) -> dict[str, Persisted]:
    stats = {}
    for index, shard in enumerate(shards):
        for path, record in shard.items():
            _require(crc32(path.encode()) % len(shards) == index, f"{path} is in the wrong shard")
            _require(len(record) >= STAT_SIZE, f"{path} has a record of {len(record)} bytes")
            stats[path] = persisted_of(record)
    return stats


def _check_znode(path: str, stat: Persisted, state: Frozen) -> None:
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


def _check_nulls(state: Frozen) -> None:
    for shard, nulls in zip(state.shards, state.nulls, strict=True):
        for path in nulls:
            _require(len(shard.get(path, b"")) == STAT_SIZE, f"{path} has null data and is missing, or has data")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InvariantViolation(otherwise)
