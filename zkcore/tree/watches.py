"""Watches: who is told when a znode comes, changes or goes.

There are two sides of a znode to watch, as in ZooKeeper: its data (set by GetData and Exists) and its children (set by
GetChildren). Such a watch is one-shot: a path and a session, so that setting one twice makes one event, and an event
ends every watch it answers. A persistent watch (AddWatch) watches both sides and stays; a recursive one watches the
data of a znode and of everything below it, and stays, too. They do not get in each other's way: an event ends the
one-shot watches on a path and leaves the others.

    transaction   data watch on the znode,      child watch on the znode   child watch on the parent
                  recursive there or above
    create        NODE_CREATED                  -                          NODE_CHILDREN_CHANGED
    set           NODE_DATA_CHANGED             -                          -
    delete        NODE_DELETED                  NODE_DELETED               NODE_CHILDREN_CHANGED

A session that watches in several ways is told of one thing once. Each replica keeps the watches of the sessions it
serves; they are no part of the replicated state. Recursive watches are found by walking from a znode up to the root,
never by looking through the watches there are.

**Order.** Who serves a session tells it the events of a transaction before any answer that shows the effects.

**Who may know.** An event is told only to those who may read the znode, or for NODE_CHILDREN_CHANGED the parent, by
the ACL it had before a deletion (`watch_audience.py`). A one-shot watch ends all the same. The events by which a
reconnecting session learns of a gap (SetWatches) are not filtered, as they are not in ZooKeeper: they say of a path
that the session itself names what an error code would say, too.

**Gaps.** A bounded history of changes (`watch_history.py`) tells a persistent watch what it missed: after a reconnect
(CatchUp), or after a pause. `pause` is for a session that takes its events too slowly: nothing is gathered for it but
the events of its one-shot watches, of which there are no more than it set, until `resume`. What the history does not
hold any more, or what is more than a session should be handed at once, becomes a Resync for each watch concerned:
nothing is ever lost without a word.

This module must not know how a session is reached, nor what an ACL says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from attrs import Factory, define

from zkcore.errors import MalformedFrameError, NoWatcherError
from zkcore.tree.acl import Caller
from zkcore.tree.applied import Applied, EventType, WatchEvent
from zkcore.tree.paths import parent_of, validate
from zkcore.tree.requests import Exists, GetChildren, GetChildren2, GetData, Request
from zkcore.tree.tree import Tree
from zkcore.tree.watch_history import Audience, ChangeHistory, Changes, Reader, ancestors_of, changes_of
from zkcore.tree.watch_requests import (
    AddWatch,
    CatchUp,
    CheckWatches,
    Missed,
    RemoveWatches,
    Resync,
    SetWatches,
    SetWatches2,
    WatcherType,
    WatchMode,
)
from zkcore.zxid import Zxid

__all__ = ["Watches"]

T = TypeVar("T")


class _Table:
    """Watches of one sort. Dicts serve as sets that remember the order in which watches were set, so that the same
    history gives the same order of events."""

    def __init__(self) -> None:
        self.by_path: dict[str, dict[int, None]] = {}
        self.by_session: dict[int, dict[str, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.by_path.values()))

    def has(self, path: str, session: int) -> bool:
        return path in self.by_session.get(session, ())

    def add(self, path: str, session: int) -> bool:
        """Set a watch; whether there was none."""
        paths = self.by_session.setdefault(session, {})
        if path in paths:
            return False
        paths[path] = None
        self.by_path.setdefault(path, {})[session] = None
        return True

    def remove(self, path: str, session: int) -> bool:
        """Remove a watch; whether there was one."""
        if not self.has(path, session):
            return False
        _discard(self.by_session, session, path)
        _discard(self.by_path, path, session)
        return True

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
            _discard(self.by_path, path, session)


K = TypeVar("K")
V = TypeVar("V")


def _discard(sets: dict[K, dict[V, None]], key: K, item: V) -> None:
    del sets[key][item]
    if not sets[key]:
        del sets[key]


@define(eq=False)
class _Paused:
    """A session that is told nothing for the time being: up to where each of its persistent and recursive watches has
    told, and the events of one-shot watches that ended meanwhile."""

    persistent: dict[str, Zxid]
    recursive: dict[str, Zxid]
    held: list[WatchEvent] = Factory(list)


class Watches:
    """The watches of the sessions that one replica serves.

    `history` is how many changes are kept for those who catch up, `most` how many events a session is handed at once
    when it does; with more it gets a Resync for each watch that missed any.
    """

    def __init__(self, *, history: int = 10_000, most: int = 1_000) -> None:
        self._data = _Table()
        self._child = _Table()
        self._persistent = _Table()
        self._recursive = _Table()
        self._tables = (self._data, self._child, self._persistent, self._recursive)
        self._paused: dict[int, _Paused] = {}
        self._history = ChangeHistory(history)
        self._most = most

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    # --- requests ----------------------------------------------------------------------------------------------------

    def read(self, tree: Tree, request: Request[T], *, session: int, caller: Caller | None = None) -> T:
        """The answer to a request that reads from `tree`, or is about watches. Where it asks for a watch, `session`
        has it from here on. What the answer to SetWatches, SetWatches2 or CatchUp holds is told before it counts.
        `caller` is who asks; None is the session, known by no ids.

        Nothing may be applied in between. A read that fails sets no watch; Exists sets one on a missing znode too.
        Raises as `Tree.read`, and as the requests in `watch_requests` say.
        """
        about_watches = _ABOUT_WATCHES.get(type(request))
        if about_watches is not None:
            return cast(T, about_watches(self, tree, request, session))
        answer = tree.read(request, caller if caller is not None else Caller(session))
        if getattr(request, "watch", False):
            if isinstance(request, GetData | Exists):
                self._data.add(request.path, session)
            elif isinstance(request, GetChildren | GetChildren2):
                self._child.add(request.path, session)
        return answer

    def all(self) -> Iterator[tuple[str, int]]:
        """Every watch there is: its path, and whose it is. Somebody who watches a path in two ways comes twice."""
        for table in (self._data, self._child, self._persistent, self._recursive):
            for path, sessions in table.by_path.items():
                for session in sessions:
                    yield path, session

    def _add(self, tree: Tree, request: AddWatch, session: int) -> None:
        if request.mode not in _MODES:
            raise MalformedFrameError(f"a watch is persistent (0) or persistent-recursive (1), not {request.mode}")
        validate(request.path)
        self._add_lasting(request.path, session, since=tree.last_zxid, mode=request.mode)

    def _add_lasting(self, path: str, session: int, *, since: Zxid, mode: int) -> None:
        table = self._recursive if mode == WatchMode.PERSISTENT_RECURSIVE else self._persistent
        paused = self._paused.get(session)
        if table.add(path, session) and paused is not None:
            told = paused.recursive if table is self._recursive else paused.persistent
            told[path] = since

    def _check(self, tree: Tree, request: CheckWatches, session: int) -> None:
        if not any(table.has(request.path, session) for table in self._tables_of(request.type)):
            raise _no_watcher(request)

    def _remove(self, tree: Tree, request: RemoveWatches, session: int) -> None:
        removed = [table.remove(request.path, session) for table in self._tables_of(request.type)]
        if not any(removed):
            raise _no_watcher(request)

    def _tables_of(self, type_: int) -> tuple[_Table, ...]:
        if type_ not in _TYPES:
            raise MalformedFrameError(f"types of watches go from {min(_TYPES)} to {max(_TYPES)}; {type_} is none")
        return {
            WatcherType.CHILDREN: (self._child,),
            WatcherType.DATA: (self._data,),
            WatcherType.ANY: self._tables,
            WatcherType.PERSISTENT: (self._persistent,),
            WatcherType.PERSISTENT_RECURSIVE: (self._recursive,),
        }[WatcherType(type_)]

    # --- events ------------------------------------------------------------------------------------------------------

    def trigger(self, applied: Applied, audience: Audience | None = None) -> list[tuple[int, WatchEvent]]:
        """End the one-shot watches that `applied` answers: whom to tell what, in order.

        To be called with every transaction that is applied. `audience` says who may know of an event; None where all
        may know of all, which is the cheap case.
        """
        if not applied.changes:
            return []
        if audience is not None:
            changes = tuple(changes_of(applied.zxid, applied.changes, audience))
            self._history.record(applied, changes)
        else:
            self._history.record(applied)
            if not self._concern(applied.changes):
                return []
            changes = tuple(changes_of(applied.zxid, applied.changes))
        told: list[tuple[int, WatchEvent]] = []
        for event, reader, parent_event, parent_reader in changes:
            ended = self._data.take(event.path)
            if event.type is EventType.NODE_DELETED:
                ended = ended | self._child.take(event.path)
            told += self._tell(event, reader, ended, self._lasting(event.path))
            if parent_event is not None:
                ended = self._child.take(parent_event.path)
                lasting = self._persistent.by_path.get(parent_event.path, _NOBODY)
                told += self._tell(parent_event, parent_reader, ended, lasting)
        return told

    def _concern(self, changes: Changes) -> bool:
        """Whether anybody might be told of any of this. Most of what happens concerns nobody, and shall cost next to
        nothing."""
        data, child = self._data.by_path, self._child.by_path
        persistent, recursive = self._persistent.by_path, self._recursive.by_path
        if not (data or child or persistent or recursive):
            return False
        for kind, path in changes:
            if path in data or path in persistent:
                return True
            if recursive and any(above in recursive for above in ancestors_of(path)):
                return True
            if kind is not EventType.NODE_DATA_CHANGED and (child or persistent):
                parent = parent_of(path)
                if path in child or parent in child or parent in persistent:
                    return True
        return False

    def _lasting(self, path: str) -> Mapping[int, None]:
        """Whose persistent watches look at the data of `path`."""
        found = self._persistent.by_path.get(path, _NOBODY)
        if self._recursive.by_path:
            for above in ancestors_of(path):
                found = {**found, **self._recursive.by_path.get(above, _NOBODY)}
        return found

    def _tell(
        self, event: WatchEvent, reader: Reader | None, ended: dict[int, None], lasting: Mapping[int, None]
    ) -> list[tuple[int, WatchEvent]]:
        if self._paused:
            for session in ended.keys() & self._paused.keys():
                del ended[session]
                if reader is None or reader(session):
                    self._paused[session].held.append(event)
            lasting = {session: None for session in lasting if session not in self._paused}
        sessions = {**ended, **lasting} if lasting else ended
        return [(session, event) for session in sessions if reader is None or reader(session)]

    def drop_session(self, session: int) -> None:
        """Forget the watches of a session that ended, or that another replica serves now."""
        for table in self._tables:
            table.drop(session)
        self._paused.pop(session, None)

    def restart(self, zxid: Zxid) -> None:
        """The tree was replaced by that of a snapshot taken at `zxid`. What happened up to there is not known, so no
        session may have watches here; those that set theirs again will get a Resync."""
        self._history.restart(zxid)

    # --- gaps --------------------------------------------------------------------------------------------------------

    def pause(self, session: int) -> None:
        """Tell `session` nothing until it is resumed. Whoever pauses a session resumes it before answering any of its
        requests, so that no answer overtakes an event; without effect on a session paused already."""
        if session not in self._paused:
            self._paused[session] = _Paused(
                dict.fromkeys(self._persistent.by_session.get(session, ()), self._history.last),
                dict.fromkeys(self._recursive.by_session.get(session, ()), self._history.last),
            )

    def resume(self, tree: Tree, session: int) -> tuple[Missed, ...]:
        """Tell `session` again from now on, and this first: what it missed, in order. () if it was not paused."""
        paused = self._paused.pop(session, None)
        if paused is None:
            return ()
        persistent = {path: paused.persistent[path] for path in self._persistent.by_session.get(session, ())}
        recursive = {path: paused.recursive[path] for path in self._recursive.by_session.get(session, ())}
        return _in_order(paused.held, self._missed(tree, session, persistent=persistent, recursive=recursive))

    def _missed(
        self, tree: Tree, session: int, *, persistent: Mapping[str, Zxid], recursive: Mapping[str, Zxid]
    ) -> list[Missed]:
        """What persistent watches should have told, each since the zxid given with it."""
        positions = {**persistent, **recursive}
        for path in persistent.keys() & recursive.keys():
            positions[path] = min(persistent[path], recursive[path])
        lost = {path for path, since in positions.items() if not self._history.covers(since)}
        events, paths = self._history.replay(
            session,
            persistent={path: since for path, since in persistent.items() if path not in lost},
            recursive={path: since for path, since in recursive.items() if path not in lost},
        )
        if len(events) > self._most:
            lost |= paths
            events = []
        return [*events, *(Resync(path, since, tree.last_zxid) for path, since in positions.items() if path in lost)]

    def _set_again(self, tree: Tree, request: SetWatches | SetWatches2 | CatchUp, session: int) -> tuple[Missed, ...]:
        lasting = () if isinstance(request, SetWatches) else (request.persistent, request.recursive)
        for paths in (request.data, request.exist, request.child, *lasting):
            for path in paths:
                validate(path)
        ended = self._set_one_shots_again(tree, request, session)
        for paths, mode in zip(lasting, WatchMode, strict=False):
            for path in paths:
                self._add_lasting(path, session, since=tree.last_zxid, mode=mode)
        if not isinstance(request, CatchUp):
            return tuple(ended)
        persistent = dict.fromkeys(request.persistent, request.since)
        recursive = dict.fromkeys(request.recursive, request.since)
        return _in_order(ended, self._missed(tree, session, persistent=persistent, recursive=recursive))

    def _set_one_shots_again(
        self, tree: Tree, request: SetWatches | SetWatches2 | CatchUp, session: int
    ) -> list[WatchEvent]:
        """Set what is still to be waited for, and give the events of the rest. An event's zxid is that of the change,
        or where a deletion is forgotten that of the state in which the znode is found missing."""
        since = request.since
        deletions: dict[str, Zxid] | None = None
        ended: list[WatchEvent] = []
        for table, paths, kind in (
            (self._data, request.data, EventType.NODE_DATA_CHANGED),
            (self._data, request.exist, EventType.NODE_CREATED),
            (self._child, request.child, EventType.NODE_CHILDREN_CHANGED),
        ):
            for path in paths:
                stat = tree.persisted(path)
                if kind is EventType.NODE_CREATED:
                    zxid = None if stat is None else stat.czxid
                elif stat is None:
                    deletions = self._history.deletions(since) if deletions is None else deletions
                    ended.append(WatchEvent(EventType.NODE_DELETED, path, deletions.get(path, tree.last_zxid)))
                    continue
                else:
                    changed = stat.mzxid if kind is EventType.NODE_DATA_CHANGED else stat.pzxid
                    zxid = changed if changed > since else None
                if zxid is None:
                    table.add(path, session)
                else:
                    ended.append(WatchEvent(kind, path, zxid))
        return ended


_NOBODY: Mapping[int, None] = {}
_MODES = frozenset(WatchMode)
_TYPES = frozenset(WatcherType)


def _in_order(ended: Iterable[Missed], missed: Iterable[Missed]) -> tuple[Missed, ...]:
    """What one-shot watches and what persistent ones tell, by zxid, and the same event once."""
    return tuple(dict.fromkeys(sorted([*ended, *missed], key=lambda told: told.zxid)))


def _no_watcher(request: CheckWatches | RemoveWatches) -> NoWatcherError:
    return NoWatcherError(
        f"the session has no watch of the type {WatcherType(request.type).name} on {request.path!r}", path=request.path
    )


_ABOUT_WATCHES: dict[type[Any], Callable[[Watches, Tree, Any, int], object]] = {
    AddWatch: Watches._add,
    CheckWatches: Watches._check,
    RemoveWatches: Watches._remove,
    SetWatches: Watches._set_again,
    SetWatches2: Watches._set_again,
    CatchUp: Watches._set_again,
}
