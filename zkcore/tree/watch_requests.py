"""What a session asks about its watches, beside the `watch` of a read: to set lasting ones, to ask for and to remove
any, and to set them all again after a reconnect. The layouts are those of ZooKeeper's client protocol.

None of them is a transaction: the replica that serves the session answers it from its own tables (`watches.py`).

This module must not know how watches are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar, NamedTuple, TypeAlias

from attrs import field, frozen

from zkcore.jute.codec import Int, Long, UString, record
from zkcore.tree.applied import WatchEvent
from zkcore.tree.request import Request, check_types
from zkcore.zxid import Zxid, format_zxid

__all__ = [
    "AddWatch", "CatchUp", "CheckWatches", "Missed", "RemoveWatches", "Resync", "SetWatches", "SetWatches2",
    "WatchMode", "WatcherType",
]  # fmt: skip


class WatchMode(IntEnum):
    """The watches that outlast their events, with ZooKeeper's numbers."""

    PERSISTENT = 0
    """Tells of one znode what data, exists and child watches on it would tell."""
    PERSISTENT_RECURSIVE = 1
    """Tells of the coming, change and going of a znode and of everything below it, never of children as such."""


class WatcherType(IntEnum):
    """Which watches on a path are meant, with ZooKeeper's numbers."""

    CHILDREN = 1
    """One-shot child watches."""
    DATA = 2
    """One-shot data and exists watches."""
    ANY = 3
    PERSISTENT = 4
    PERSISTENT_RECURSIVE = 5


class Resync(NamedTuple):
    """What a persistent watch on `path` should have told between the transactions `since` and `zxid` cannot be told any
    more: read again what it is about. From `zxid` on the watch tells everything."""

    path: str
    since: Zxid
    zxid: Zxid

    def __str__(self) -> str:
        return f"RESYNC {self.path} {format_zxid(self.since)}..{format_zxid(self.zxid)}"


Missed: TypeAlias = WatchEvent | Resync
"""What a session is told when it catches up."""


def _paths(paths: Iterable[str]) -> tuple[str, ...]:
    found = tuple(paths)
    if isinstance(paths, str) or not all(type(path) is str for path in found):
        raise TypeError(f"paths are several str, not {paths!r}")
    return found


@record
@frozen
class AddWatch(Request[None]):
    """Watch `path`, whether or not there is such a znode, until the watch is removed; `mode` is a WatchMode or its
    number. Errors: BadArgumentsError, MalformedFrameError for a mode there is not."""

    opcode: ClassVar[int] = 106
    writes: ClassVar[bool] = False

    path: UString
    mode: Int = WatchMode.PERSISTENT

    def __attrs_post_init__(self) -> None:
        check_types(self.path, number=self.mode)


@record
@frozen
class CheckWatches(Request[None]):
    """Succeeds if the session has a watch of the WatcherType `type` on `path`.
    Errors: NoWatcherError, MalformedFrameError for a type there is not."""

    opcode: ClassVar[int] = 17
    writes: ClassVar[bool] = False

    path: UString
    type: Int = WatcherType.ANY

    def __attrs_post_init__(self) -> None:
        check_types(self.path, number=self.type)


@record
@frozen
class RemoveWatches(Request[None]):
    """Remove the session's watches of the WatcherType `type` on `path`.
    Errors: NoWatcherError where there are none, MalformedFrameError for a type there is not."""

    opcode: ClassVar[int] = 18
    writes: ClassVar[bool] = False

    path: UString
    type: Int = WatcherType.ANY

    def __attrs_post_init__(self) -> None:
        check_types(self.path, number=self.type)


@record
@frozen
class SetWatches(Request[tuple[Missed, ...]]):
    """Set one-shot watches again after a reconnect. `since` is the newest state that the session had seen.

    The answer are the events of watches that the gap has ended already; they are told before the answer counts. A data
    watch has ended if its znode is gone or was changed after `since`, an exists watch if there is a znode now, a child
    watch if its znode is gone or its children changed after `since`. What came and went in between is not noticed, and
    a znode that was deleted and created again counts as changed. Errors: BadArgumentsError; no watch is set then.
    """

    opcode: ClassVar[int] = 101
    writes: ClassVar[bool] = False

    since: Long
    data: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    exist: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    child: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)


@record
@frozen
class SetWatches2(Request[tuple[Missed, ...]]):
    """As SetWatches, and the persistent watches are set again. What these should have told meanwhile is lost, without a
    sign: so it is in ZooKeeper. See CatchUp."""

    opcode: ClassVar[int] = 105
    writes: ClassVar[bool] = False

    since: Long
    data: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    exist: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    child: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    persistent: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    recursive: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)


@record
@frozen
class CatchUp(Request[tuple[Missed, ...]]):
    """As SetWatches2, and the answer holds what the persistent watches missed: every event after `since`, all in the
    order of their zxids; or, for each watch where that is no longer known or too much, a Resync. ZooKeeper has nothing
    of the kind."""

    opcode: ClassVar[int] = 605
    writes: ClassVar[bool] = False

    since: Long
    data: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    exist: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    child: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    persistent: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
    recursive: tuple[UString, ...] = field(default=(), converter=_paths, kw_only=True)
