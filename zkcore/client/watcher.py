"""Which watchers wait for what: the client's side of the replica's watches.

The replica knows that a session watches a path; the session knows whom to call. Several watchers of one path share
one watch.
"""

from __future__ import annotations

import logging
from typing import Any

from zkcore.client.port import Watcher
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import GetChildren, GetChildren2, Request

__all__ = ["WatcherTable"]

_log = logging.getLogger("zkcore.client")

_DATA = (EventType.NODE_CREATED, EventType.NODE_DELETED, EventType.NODE_DATA_CHANGED)
_CHILD = (EventType.NODE_CHILDREN_CHANGED, EventType.NODE_DELETED)


class WatcherTable:
    """The watchers of one session. Each is called once, and what it raises is logged."""

    def __init__(self) -> None:
        self._data: dict[str, list[Watcher]] = {}
        self._child: dict[str, list[Watcher]] = {}

    def add(self, request: Request[Any], watcher: Watcher) -> None:
        """`request`, which asked for a watch, has been answered: from now on `watcher` waits."""
        table = self._child if isinstance(request, GetChildren | GetChildren2) else self._data
        table.setdefault(request.path, []).append(watcher)  # type: ignore[attr-defined]

    def remove(self, path: str, watcher: Watcher) -> None:
        """`watcher` waits no more. The replica's watch stays until it goes off, for nobody."""
        for table in (self._data, self._child):
            if watcher in table.get(path, ()):
                table[path].remove(watcher)
                if not table[path]:
                    del table[path]

    def fire(self, event: WatchEvent) -> None:
        """A watch went off."""
        if event.type in _DATA:
            self._call(self._data.pop(event.path, []), event)
        if event.type in _CHILD:
            self._call(self._child.pop(event.path, []), event)

    def fire_all(self) -> None:
        """Nothing is watched any more."""
        for table in (self._data, self._child):
            while table:
                _, watchers = table.popitem()
                self._call(watchers, None)

    def _call(self, watchers: list[Watcher], event: WatchEvent | None) -> None:
        for watcher in watchers:
            try:
                watcher(event)
            except Exception:
                _log.exception("a watcher failed on %s", event)
