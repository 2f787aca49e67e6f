"""The latest changes of a tree, kept so that a persistent watch can be told what it missed.

A session that was away, or too slow to be told at once, has seen everything up to some zxid. As long as the history
reaches back that far, it says exactly which events the watch would have told since. It is bounded by a number of
changes, forgets the oldest transactions first, and always knows from where on it is complete.

Who may know of a change is kept beside it, because it depends on the ACL that the znode had then.

This module must not know which watches there are, nor whether those who ask are connected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from typing import Any, NamedTuple, TypeAlias

from zkcore.tree.applied import Applied, EventType, WatchEvent
from zkcore.tree.paths import parent_of
from zkcore.zxid import Zxid

__all__ = ["Audience", "Change", "ChangeHistory", "Changes", "Reader", "Replayed", "ancestors_of", "changes_of"]

Reader: TypeAlias = Callable[[int], bool]
"""Whether a session may be told of an event. It is asked of the ACL that counted when the event happened, and of what
the session is authenticated as when it is asked; a history keeps it for as long as the event."""

Audience: TypeAlias = Callable[[WatchEvent], Reader | None]
"""Who may be told of an event; None is everybody."""


Changes: TypeAlias = tuple[tuple[EventType, str], ...]
"""The znodes that came, changed or went with a transaction: see `Applied`."""


class Change(NamedTuple):
    """One znode that came, changed or went: what is told of it, and what of its parent's children, each with its
    audience. Of new data the parent's watchers learn nothing."""

    event: WatchEvent
    reader: Reader | None
    parent_event: WatchEvent | None
    parent_reader: Reader | None


class Replayed(NamedTuple):
    """What was missed: the events in order, each once, and the paths of the watches that missed any."""

    events: list[WatchEvent]
    paths: set[str]


def ancestors_of(path: str) -> Iterator[str]:
    """`path`, its parent, and so on up to the root.

    >>> list(ancestors_of("/a/b"))
    ['/a/b', '/a', '/']
    """
    while path != "/":
        yield path
        path = parent_of(path)
    yield "/"


def changes_of(zxid: Zxid, changes: Changes, audience: Audience | None = None) -> Iterator[Change]:
    """What the transaction `zxid` changed, in order."""
    for kind, path in changes:
        event = WatchEvent(kind, path, zxid)
        parent_event = None
        if kind is not EventType.NODE_DATA_CHANGED:
            parent_event = WatchEvent(EventType.NODE_CHILDREN_CHANGED, parent_of(path), zxid)
        if audience is None:
            yield Change(event, None, parent_event, None)
        else:
            yield Change(event, audience(event), parent_event, parent_event and audience(parent_event))


class ChangeHistory:
    """The last `limit` changes of a tree that began empty, or with a `restart`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        # What no ACL restricts becomes events only where somebody asks. No more of an Applied is kept than this: its
        # Stats would keep the data of what was deleted long ago. And it is kept flat, as numbers and strings: those
        # tuples the garbage collector leaves alone once it has seen them, where tuples with members of an enum in them
        # are walked for as long as they are remembered.
        self._entries: deque[tuple[Any, ...]] = deque()
        self._restricted: dict[Zxid, tuple[Change, ...]] = {}
        self.floor: Zxid = 0
        """Every change after this transaction is known."""

    def __len__(self) -> int:
        """How many changes are kept."""
        return self._size

    @property
    def last(self) -> Zxid:
        """The last transaction known to have changed anything, or what the history began with."""
        return self._entries[-1][0] if self._entries else self.floor

    def record(self, applied: Applied, changes: tuple[Change, ...] | None = None) -> None:
        """Keep what `applied` changed; `changes` are given where not everybody may know of them all."""
        told = applied.changes
        if len(told) == 1:
            ((kind, path),) = told
            self._entries.append((applied.zxid, int(kind), path))
        else:
            self._entries.append((applied.zxid, *[each for kind, path in told for each in (int(kind), path)]))
        if changes is not None:
            self._restricted[applied.zxid] = changes
        self._size += len(told)
        while self._size > self._limit:
            forgotten = self._entries.popleft()
            self.floor = forgotten[0]
            self._restricted.pop(self.floor, None)
            self._size -= len(forgotten) // 2

    def restart(self, zxid: Zxid) -> None:
        """Forget everything: what comes next are the changes after `zxid`."""
        self._entries.clear()
        self._restricted.clear()
        self._size = 0
        self.floor = zxid

    def covers(self, since: Zxid) -> bool:
        """Whether every change after `since` is known."""
        return since >= self.floor

    def replay(self, session: int, *, persistent: Mapping[str, Zxid], recursive: Mapping[str, Zxid]) -> Replayed:
        """What persistent and persistent-recursive watches of `session` on these paths would have told, each since the
        zxid given with it. Cost: the number of changes since the oldest of them."""
        events: dict[WatchEvent, None] = {}
        paths: set[str] = set()
        since = min((*persistent.values(), *recursive.values()), default=self.last)
        for event, reader, parent_event, parent_reader in self._changes_after(since):
            zxid, path = event.zxid, event.path
            watched = {path} if persistent.get(path, zxid) < zxid else set()
            if recursive:
                watched.update(above for above in ancestors_of(path) if recursive.get(above, zxid) < zxid)
            if watched and (reader is None or reader(session)):
                events[event] = None
                paths |= watched
            if (
                parent_event is not None
                and persistent.get(parent_event.path, zxid) < zxid
                and (parent_reader is None or parent_reader(session))
            ):
                events[parent_event] = None
                paths.add(parent_event.path)
        return Replayed(list(events), paths)

    def deletions(self, since: Zxid) -> dict[str, Zxid]:
        """The znodes known to have been deleted after `since`, each with the zxid of its last deletion."""
        return {
            path: zxid
            for zxid, changes in self._entries_after(since)
            for kind, path in changes
            if kind is EventType.NODE_DELETED
        }

    def _changes_after(self, since: Zxid) -> Iterator[Change]:
        for zxid, changes in self._entries_after(since):
            yield from self._restricted.get(zxid) or changes_of(zxid, changes)

    def _entries_after(self, since: Zxid) -> Iterator[tuple[Zxid, Changes]]:
        later = list(takewhile(lambda entry: entry[0] > since, reversed(self._entries)))
        while later:
            zxid, *flat = later.pop()
            yield zxid, tuple(zip(map(EventType, flat[::2]), flat[1::2], strict=True))
