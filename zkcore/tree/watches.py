"""One-shot watches: who is told when a znode comes, changes or goes.

There are two tables, as in ZooKeeper: data watches (set by GetData and Exists) and child watches (set by GetChildren).
A watch is a path and a session, so setting one twice makes one event, and an event ends every watch it answers:

    transaction   data watch on the znode   child watch on the znode   child watch on the parent
    create        NODE_CREATED              -                          NODE_CHILDREN_CHANGED
    set           NODE_DATA_CHANGED         -                          -
    delete        NODE_DELETED              NODE_DELETED               NODE_CHILDREN_CHANGED

A session that watches both ways is told of a deletion once. Each replica keeps the watches of the sessions it serves;
they are no part of the replicated state.

This module must not know how a session is reached. Who serves it sends the events of a transaction before any answer
that shows the transaction's effects.
"""

from __future__ import annotations

from typing import TypeVar

from zkcore.tree.applied import Applied, EventType, WatchEvent
from zkcore.tree.paths import parent_of
from zkcore.tree.requests import Exists, GetChildren, GetChildren2, GetData, Request
from zkcore.tree.tree import Tree

__all__ = ["Watches"]

T = TypeVar("T")


class _Table:
    """Watches of one sort. Dicts serve as sets that remember the order in which watches were set, so that the same
    history gives the same order of events."""

    def __init__(self) -> None:
        self.by_path: dict[str, dict[int, None]] = {}
        self.by_session: dict[int, dict[str, None]] = {}

    def add(self, path: str, session: int) -> None:
        self.by_path.setdefault(path, {})[session] = None
        self.by_session.setdefault(session, {})[path] = None

    def take(self, path: str) -> dict[int, None]:
        """Remove the watches on `path` and say whose they were."""
        sessions = self.by_path.pop(path, {})
        for session in sessions:
            paths = self.by_session[session]
            del paths[path]
            if not paths:
                del self.by_session[session]
        return sessions

    def drop(self, session: int) -> None:
        for path in self.by_session.pop(session, {}):
            sessions = self.by_path[path]
            del sessions[session]
            if not sessions:
                del self.by_path[path]


class Watches:
    """The watches of the sessions that one replica serves."""

    def __init__(self) -> None:
        self._data = _Table()
        self._child = _Table()

    def __len__(self) -> int:
        return sum(map(len, self._data.by_path.values())) + sum(map(len, self._child.by_path.values()))

    def read(self, tree: Tree, request: Request[T], *, session: int) -> T:
        """The answer of `tree` to a request that reads; where it asks for a watch, `session` has it from here on.

        Nothing may be applied in between. A read that fails sets no watch; Exists sets one on a missing znode too.
        Raises as `Tree.read`.
        """
        answer = tree.read(request)
        if getattr(request, "watch", False):
            if isinstance(request, GetData | Exists):
                self._data.add(request.path, session)
            elif isinstance(request, GetChildren | GetChildren2):
                self._child.add(request.path, session)
        return answer

    def trigger(self, applied: Applied) -> list[tuple[int, WatchEvent]]:
        """End the watches that `applied` answers: whom to tell what, in order."""
        if not self._data.by_path and not self._child.by_path:
            return []
        told: list[tuple[int, WatchEvent]] = []
        for kind, path in applied.changes:
            sessions = self._data.take(path)
            if kind is EventType.NODE_DELETED:
                sessions = sessions | self._child.take(path)
            event = WatchEvent(kind, path, applied.zxid)
            told += [(session, event) for session in sessions]
            if kind is not EventType.NODE_DATA_CHANGED:
                parent = parent_of(path)
                event = WatchEvent(EventType.NODE_CHILDREN_CHANGED, parent, applied.zxid)
                told += [(session, event) for session in self._child.take(parent)]
        return told

    def drop_session(self, session: int) -> None:
        """Forget the watches of a session that ended, or that another replica serves now."""
        self._data.drop(session)
        self._child.drop(session)
