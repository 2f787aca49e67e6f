"""A tree whose transactions trigger watches, for the tests of those."""

from __future__ import annotations

from typing import Any

from alone import Alone

from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import Request
from zkcore.tree.watch_history import Reader
from zkcore.tree.watch_requests import WatchMode
from zkcore.tree.watches import Watches

CREATED, DELETED = EventType.NODE_CREATED, EventType.NODE_DELETED
DATA, CHILDREN = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED
RECURSIVE = WatchMode.PERSISTENT_RECURSIVE

Told = list[tuple[int, EventType, str]]


class Watched(Alone):
    """A tree whose every transaction triggers watches."""

    def __init__(self, *sessions: int) -> None:
        super().__init__(*sessions)
        self.watches = Watches()

    def watch(self, *requests: Request[Any], session: int = 1) -> None:
        for request in requests:
            self.watches.read(self.tree, request, session=session)

    def tell(self, request: Request[Any], *, session: int = 1) -> Told:
        self.propose(request, session=session)
        told = self.watches.trigger(self.commit_quietly()[1])
        assert all(event.zxid == self.zxid for _, event in told)
        return [(watcher, event.type, event.path) for watcher, event in told]


class Readers:
    """May be told: of everything below /open anybody, of the rest those in `sessions`."""

    def __init__(self, *sessions: int) -> None:
        self.sessions = sessions
        self.asked: list[WatchEvent] = []

    def __call__(self, event: WatchEvent) -> Reader | None:
        self.asked.append(event)
        return None if event.path.startswith("/open") else lambda session: session in self.sessions
