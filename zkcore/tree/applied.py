"""What applying one transaction did: the value that `Tree.apply` returns and that watches and answers are made from.

This module must not know how it was done, nor who watches.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from zkcore.jute.records import ACL, Stat
from zkcore.zxid import Zxid, format_zxid

__all__ = ["Applied", "EventType", "Outcome", "WatchEvent"]


class EventType(IntEnum):
    """What happened to a znode, with ZooKeeper's numbers."""

    NODE_CREATED = 1
    NODE_DELETED = 2
    NODE_DATA_CHANGED = 3
    NODE_CHILDREN_CHANGED = 4


class WatchEvent(NamedTuple):
    """What a watcher is told: no data, only that there is something to read, and since which transaction."""

    type: EventType
    path: str
    zxid: Zxid

    def __str__(self) -> str:
        return f"{self.type.name} {self.path} {format_zxid(self.zxid)}"


class Outcome(NamedTuple):
    """What one of several operations in a transaction came to: its transaction's type, 0 or its error's code, the
    path, and the Stat of the znode right after it ('' and None where there is none)."""

    type: int
    error: int
    path: str
    stat: Stat | None


class Applied(NamedTuple):
    """One applied transaction.

    `session` and `cxid` say whose request it was, `type` is ZooKeeper's number of the transaction, `error` is 0 or
    the code with which the request failed. `path` is the znode in question ('' for sessions and failures). `changes`
    are the znodes that came, changed or went, in order; that their parents' children changed with them is understood.
    `outcomes` has one entry for each operation of a transaction of several, and for one that is remembered. `removed`
    are the ACLs that deleted znodes had, by path, where those were not open.
    """

    zxid: Zxid
    session: int
    cxid: int
    type: int
    error: int
    path: str
    changes: tuple[tuple[EventType, str], ...]
    outcomes: tuple[Outcome, ...] = ()
    removed: tuple[tuple[str, tuple[ACL, ...]], ...] = ()

    def __str__(self) -> str:
        what = f"error {self.error}" if self.error else " ".join(f"{kind.name} {path}" for kind, path in self.changes)
        return f"applied {format_zxid(self.zxid)} type={self.type} for {self.session:#x}/{self.cxid}: {what or 'done'}"
