"""Quotas: how much there may be below a znode, and how much there is.

A quota is a znode, as in ZooKeeper: /zookeeper/quota/<path>/zookeeper_limits says what the znode <path> and all below
it may come to together, `count=5,bytes=100=;byteHardLimit=200;countHardLimit=10`, each part optional; bytes are those
of data. Beside it stands zookeeper_stats, which the tree itself keeps up to date, without a transaction and without a
trace in its Stat. More than a hard limit is refused; a soft one, `count` and `bytes`, only says that it is passed.
Where several znodes above have a quota, all of them count. ZooKeeper's clients do not let that happen.

Limits that do not parse limit nothing: a client can write what it likes there.

This module must not know how a tree is held.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from zkcore.errors import QuotaExceededError
from zkcore.tree.paths import parent_of

__all__ = [
    "QUOTA", "Limits", "Quotas", "Usage", "limits_of", "limits_path", "quota_root", "stats_of", "stats_path",
    "stats_root",
]  # fmt: skip

QUOTA = "/zookeeper/quota"
_LIMITS = "/zookeeper_limits"
_STATS = "/zookeeper_stats"


class Limits(NamedTuple):
    """What a quota says; -1 is no limit."""

    znodes: int = -1
    bytes: int = -1
    znodes_hard: int = -1
    bytes_hard: int = -1

    def check(self, usage: Usage, *, path: str, count: bool, size: bool) -> None:
        """Raise QuotaExceededError if `usage` is more than what is allowed for the znode `path` and those below.
        As in ZooKeeper only that is looked at which is about to change: the `count`, the `size`, or both."""
        if count and 0 <= self.znodes_hard < usage.znodes:
            raise QuotaExceededError(f"{path} may have {self.znodes_hard} znodes, itself included", path=path)
        if size and 0 <= self.bytes_hard < usage.bytes:
            raise QuotaExceededError(f"{path} may have {self.bytes_hard} bytes of data", path=path)

    def is_passed(self, usage: Usage) -> bool:
        """Whether `usage` is more than a soft limit."""
        return 0 <= self.znodes < usage.znodes or 0 <= self.bytes < usage.bytes


class Usage(NamedTuple):
    """What there is: znodes, and bytes of data."""

    znodes: int
    bytes: int


_FIELDS = {"count": "znodes", "bytes": "bytes", "countHardLimit": "znodes_hard", "byteHardLimit": "bytes_hard"}


def limits_of(data: bytes) -> Limits:
    """The limits that a zookeeper_limits znode says.

    >>> limits_of(b"count=5,bytes=-1=;countHardLimit=10")
    Limits(znodes=5, bytes=-1, znodes_hard=10, bytes_hard=-1)
    """
    found: dict[str, int] = {}
    for pair in re.split("[,;]+", data.decode("utf-8", "replace")):
        key, _, value = pair.partition("=")
        value = value.partition("=")[0]
        if key in _FIELDS and re.fullmatch("-?[0-9]{1,19}", value):
            found[_FIELDS[key]] = int(value)
    return Limits(**found)


def stats_of(usage: Usage) -> bytes:
    """What the zookeeper_stats znode says."""
    return f"count={usage.znodes},bytes={usage.bytes}".encode()


def quota_root(path: str) -> str:
    """The znode whose limits stand at `path`; '' where none do, and for ZooKeeper's own, which have no quota.

    >>> quota_root("/zookeeper/quota/a/b/zookeeper_limits"), quota_root("/zookeeper/quota/zookeeper_limits")
    ('/a/b', '')
    """
    return _root(path, _LIMITS)


def stats_root(path: str) -> str:
    """As `quota_root`, for the path where it says what there is."""
    return _root(path, _STATS)


def _root(path: str, name: str) -> str:
    root = path[len(QUOTA) : -len(name)] if path.startswith(QUOTA + "/") and path.endswith(name) else ""
    return "" if (root + "/").startswith("/zookeeper/") else root


def limits_path(root: str) -> str:
    """Where the limits of `root` stand."""
    return QUOTA + root + _LIMITS


def stats_path(root: str) -> str:
    """Where it says what there is at and below `root`."""
    return QUOTA + root + _STATS


class Quotas:
    """The znodes that have a quota, and what there is at and below each."""

    def __init__(self) -> None:
        self.usages: dict[str, Usage] = {}

    def roots_of(self, path: str) -> list[str]:
        """The znodes at or above `path` that have a quota. Cost: the depth of `path`, and only where there are quotas
        at all."""
        roots: list[str] = []
        while self.usages and path != "/":
            if path in self.usages:
                roots.append(path)
            path = parent_of(path)
        return roots

    def add(self, root: str, *, count: int, size: int) -> Usage:
        """There are `count` more znodes at and below `root`, with `size` more bytes of data."""
        before = self.usages[root]
        after = self.usages[root] = Usage(before.znodes + count, before.bytes + size)
        return after
