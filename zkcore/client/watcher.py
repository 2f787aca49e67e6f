"""Which watchers wait for what: the client's side of the replica's watches.

The replica knows that a session watches a path; the session knows whom to call. Several watchers of one path share one
watch. When the session moves to another replica, the table says what must be watched there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

from zkcore.client.port import LastingWatcher, Watcher
from zkcore.tree.applied import EventType
from zkcore.tree.requests import Exists, GetChildren, GetChildren2, Request
from zkcore.tree.watch_history import ancestors_of
from zkcore.tree.watch_requests import AddWatch, CatchUp, Missed, Resync, WatcherType, WatchMode
from zkcore.zxid import Zxid

__all__ = ["WatcherTable"]

_log = logging.getLogger("zkcore.client")

_CHILD = (EventType.NODE_CHILDREN_CHANGED, EventType.NODE_DELETED)


class WatcherTable:
    """The watchers of one session. Those of a read are called once, those of an AddWatch until they are removed; what
    they raise is logged."""

    def __init__(self) -> None:
        self._data: dict[str, list[Watcher]] = {}
        self._exist: dict[str, list[Watcher]] = {}
        self._child: dict[str, list[Watcher]] = {}
        self._persistent: dict[str, list[LastingWatcher]] = {}
        self._recursive: dict[str, list[LastingWatcher]] = {}

    def add(self, request: Request[Any], watcher: Watcher, answer: object) -> None:
        """`request`, which asked for a watch, has been answered: from now on `watcher` waits."""
        table: dict[str, list[Watcher]] | dict[str, list[LastingWatcher]]
        if isinstance(request, AddWatch):
            table = self._recursive if request.mode == WatchMode.PERSISTENT_RECURSIVE else self._persistent
            watchers = table.setdefault(request.path, [])
            if watcher not in watchers:
                watchers.append(cast(LastingWatcher, watcher))
            return
        if isinstance(request, GetChildren | GetChildren2):
            table = self._child
        else:
            table = self._exist if isinstance(request, Exists) and answer is None else self._data
        table.setdefault(request.path, []).append(watcher)  # type: ignore[attr-defined]

    def remove(self, path: str, watcher: Watcher) -> list[WatcherType]:
        """`watcher` waits no more for what happens at `path`. The lasting watches there that nobody is left for; a
        one-shot one stays until it goes off, for nobody."""
        for table in (self._data, self._exist, self._child):
            _discard(table, path, watcher)
        lasting = ((WatcherType.PERSISTENT, self._persistent), (WatcherType.PERSISTENT_RECURSIVE, self._recursive))
        return [kind for kind, table in lasting if _discard(table, path, watcher) and path not in table]

    def remove_all(self, path: str) -> list[WatcherType]:
        """Nobody waits any more for what happens at `path`: all the watches there are, as one kind."""
        tables = (self._data, self._exist, self._child, self._persistent, self._recursive)
        removed = [table.pop(path, None) for table in tables]
        return [WatcherType.ANY] if any(removed) else []

    def has_any(self, path: str) -> bool:
        """Whether anybody waits for what happens at `path`."""
        tables = (self._data, self._exist, self._child, self._persistent, self._recursive)
        return any(path in table for table in tables)

    def fire(self, event: Missed) -> None:
        """A watch went off, or cannot say what it should have told."""
        path = event.path
        if isinstance(event, Resync):
            for watched in (self._persistent, self._recursive):
                self._call(watched.get(path, ()), event)
            return
        if event.type is not EventType.NODE_CHILDREN_CHANGED:
            self._call(self._data.pop(path, ()), event)
            self._call(self._exist.pop(path, ()), event)
        if event.type in _CHILD:
            self._call(self._child.pop(path, ()), event)
        self._call(self._persistent.get(path, ()), event)
        if self._recursive and event.type is not EventType.NODE_CHILDREN_CHANGED:
            for above in ancestors_of(path):
                self._call(self._recursive.get(above, ()), event)

    def fire_all(self) -> None:
        """Nothing is watched any more."""
        for table in (self._data, self._exist, self._child, self._persistent, self._recursive):
            while table:
                _, watchers = table.popitem()
                self._call(watchers, None)

    def catch_up(self, since: Zxid) -> CatchUp | None:
        """What must be watched by who serves the session from now on, and was told up to `since`; None for nothing."""
        if not (self._data or self._exist or self._child or self._persistent or self._recursive):
            return None
        return CatchUp(
            since, data=self._data, exist=self._exist, child=self._child, persistent=self._persistent,
            recursive=self._recursive,
        )  # fmt: skip

    def _call(self, watchers: tuple[()] | list[Watcher] | list[LastingWatcher], event: Any) -> None:
        for watcher in list(watchers):
            try:
                watcher(event)
            except Exception:
                _log.exception("a watcher failed on %s", event)


def _discard(table: dict[str, list[Callable[..., None]]], path: str, watcher: Watcher) -> bool:
    """Whether it was there."""
    watchers = table.get(path, [])
    if watcher not in watchers:
        return False
    watchers.remove(watcher)
    if not watchers:
        del table[path]
    return True
