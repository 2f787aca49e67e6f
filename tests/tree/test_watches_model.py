"""Random watches and histories against a model that keeps everything and looks through all of it for every answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from watched import Watched

from zkcore.errors import NoNodeError, NoWatcherError
from zkcore.tree.applied import Applied
from zkcore.tree.requests import (
    CloseSession,
    Create,
    CreateSession,
    Delete,
    Exists,
    GetChildren,
    GetChildren2,
    GetData,
    Request,
    SetData,
)
from zkcore.tree.watch_requests import AddWatch, CatchUp, CheckWatches, RemoveWatches, Resync, SetWatches2
from zkcore.tree.watches import Watches
from zkcore.tree.znode import CreateMode

HISTORY, MOST = 12, 6
ONE_SHOT, LASTING = ("data", "child"), ("persistent", "recursive")
REMOVES = {1: ("child",), 2: ("data",), 3: (*ONE_SHOT, *LASTING), 4: ("persistent",), 5: ("recursive",)}
PATHS = ("/a", "/a/b", "/a/b/c", "/a/bb", "/d")

Event = tuple[int, str, int]
"""Type, path and zxid; a resync has the type 0 and the zxids from and to."""


class Watch(NamedTuple):
    session: int
    sort: str
    path: str


def is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


class Model:
    """Who watches what, and everything that ever happened."""

    def __init__(self) -> None:
        self.watches: dict[Watch, int] = {}
        """Up to which zxid each has told."""
        self.log: list[list[Event]] = []
        """The events of each transaction: of every znode and, after it, of its parent."""
        self.paused: dict[int, list[Event]] = {}

    def answers(self, watch: Watch, event: Event) -> bool:
        kind, path, _ = event
        match watch.sort:
            case "data":
                return path == watch.path and kind in (1, 2, 3)
            case "child":
                return path == watch.path and kind in (2, 4)
            case "persistent":
                return path == watch.path
            case _:
                return kind != 4 and is_below(path, watch.path)

    def happen(self, events: list[Event]) -> dict[int, list[Event]]:
        """What each session is told."""
        self.log.append(events)
        told: dict[int, list[Event]] = {}
        for event in events:
            for session in sorted({watch.session for watch in self.watches if self.answers(watch, event)}):
                mine = [watch for watch in self.watches if watch.session == session and self.answers(watch, event)]
                ended = [watch for watch in mine if watch.sort in ONE_SHOT]
                for watch in ended:
                    del self.watches[watch]
                if session not in self.paused:
                    told.setdefault(session, []).append(event)
                    for watch in mine:
                        if watch.sort in LASTING:
                            self.watches[watch] = event[2]
                elif ended:
                    self.paused[session].append(event)
        return told

    def missed(self, session: int, ended: list[Event], now: int) -> list[Event]:
        """What the lasting watches have still to tell, and `ended` with it."""
        lasting = {watch: since for watch, since in self.watches.items() if watch.session == session}
        lasting = {watch: since for watch, since in lasting.items() if watch.sort in LASTING}
        answered: dict[Event, set[Watch]] = {}
        lost: set[Watch] = set()
        for watch, since in lasting.items():
            later = [events for events in self.log if events and events[0][2] > since]
            if sum(1 for events in later for kind, *_ in events if kind != 4) > HISTORY:
                lost.add(watch)
                continue
            for event in (event for events in later for event in events if self.answers(watch, event)):
                answered.setdefault(event, set()).add(watch)
        if len(answered) > MOST:
            lost |= {watch for watches in answered.values() for watch in watches}
            answered = {}
        # One path, one resync: if one watch on it is lost, so is what the other has to tell.
        lost_paths = {watch.path for watch in lost}
        resyncs = {
            (0, path, min(since for watch, since in lasting.items() if watch.path == path), now) for path in lost_paths
        }
        kept = {
            event for event, watches in answered.items() if any(watch.path not in lost_paths for watch in watches)
        }
        for watch in lasting:
            self.watches[watch] = now
        return [*sorted(kept | set(ended)), *sorted(resyncs)]  # type: ignore[list-item]


def events_of(applied: Applied) -> list[Event]:
    events: list[Event] = []
    for kind, path in applied.changes:
        events.append((int(kind), path, applied.zxid))
        if kind != 3:
            events.append((4, path.rpartition("/")[0] or "/", applied.zxid))
    return events


class Watching(RuleBasedStateMachine):
    """Sessions 1 and 2 watch; session 3 owns what is ephemeral, and acts."""

    paths = st.sampled_from(PATHS)
    anywhere = st.sampled_from(("/", *PATHS))
    sessions = st.sampled_from((1, 2))

    @initialize()
    def begin(self) -> None:
        self.world = Watched(1, 2, 3)
        self.world.watches = Watches(history=HISTORY, most=MOST)
        self.model = Model()
        self.seen = {1: self.world.zxid, 2: self.world.zxid}

    def do(self, request: Request[Any]) -> None:
        self.world.propose(request, session=3)
        applied = self.world.commit_quietly()[1]
        told: dict[int, list[Event]] = {}
        for session, event in self.world.watches.trigger(applied):
            told.setdefault(session, []).append((int(event.type), event.path, event.zxid))
        assert told == self.model.happen(events_of(applied))

    @rule(path=paths, ephemeral=st.booleans())
    def create(self, path: str, ephemeral: bool) -> None:
        self.do(Create(path, mode=CreateMode.EPHEMERAL if ephemeral else CreateMode.PERSISTENT))

    @rule(path=anywhere)
    def set_data(self, path: str) -> None:
        self.do(SetData(path, b"x"))

    @rule(path=paths)
    def delete(self, path: str) -> None:
        self.do(Delete(path))

    @rule()
    def end_the_ephemerals(self) -> None:
        self.do(CloseSession())
        self.do(CreateSession(4000))

    @rule(session=sessions, path=anywhere, kind=st.sampled_from((GetData, Exists, GetChildren, GetChildren2)))
    def read(self, session: int, path: str, kind: Any) -> None:
        exists = self.world.tree.persisted(path) is not None
        try:
            self.world.watch(kind(path, True), session=session)
        except NoNodeError:
            assert not exists
        else:
            assert exists or kind is Exists
            sort = "data" if kind in (GetData, Exists) else "child"
            self.model.watches.setdefault(Watch(session, sort, path), self.world.zxid)

    @rule(session=sessions, path=anywhere, mode=st.integers(0, 1))
    def add_watch(self, session: int, path: str, mode: int) -> None:
        self.world.watch(AddWatch(path, mode), session=session)
        self.model.watches.setdefault(Watch(session, LASTING[mode], path), self.world.zxid)

    @rule(session=sessions, path=anywhere, type_=st.integers(1, 5), kind=st.sampled_from((CheckWatches, RemoveWatches)))
    def check_or_remove(self, session: int, path: str, type_: int, kind: Any) -> None:
        meant = {Watch(session, sort, path) for sort in REMOVES[type_]} & self.model.watches.keys()
        try:
            self.world.watch(kind(path, type_), session=session)
        except NoWatcherError:
            assert not meant
        else:
            assert meant
            if kind is RemoveWatches:
                for watch in meant:
                    del self.model.watches[watch]

    @rule(session=sessions)
    def pause(self, session: int) -> None:
        self.world.watches.pause(session)
        if session not in self.model.paused:
            self.model.paused[session] = []
            for watch in self.model.watches:
                if watch.session == session:
                    self.model.watches[watch] = self.world.zxid

    @rule(session=sessions)
    def resume(self, session: int) -> None:
        missed = self.world.watches.resume(self.world.tree, session)
        if session in self.model.paused:
            held = self.model.paused.pop(session)
            self.agree(missed, self.model.missed(session, held, self.world.zxid))
        else:
            assert missed == ()

    @rule(session=sessions)
    def go(self, session: int) -> None:
        """The session loses its replica: it knows which watches it had, and what it saw last."""
        self.world.watches.drop_session(session)
        self.seen[session] = self.world.zxid
        self.model.paused.pop(session, None)
        self.model.watches = {watch: at for watch, at in self.model.watches.items() if watch.session != session}

    @rule(session=sessions, lasting=st.sets(st.tuples(st.sampled_from(LASTING), anywhere)), catch_up=st.booleans())
    def come_back(self, session: int, lasting: set[tuple[str, str]], catch_up: bool) -> None:
        self.go_if_here(session)
        since = self.seen[session]
        persistent = sorted(path for sort, path in lasting if sort == "persistent")
        recursive = sorted(path for sort, path in lasting if sort == "recursive")
        kind = CatchUp if catch_up else SetWatches2
        missed = self.world.watches.read(
            self.world.tree, kind(since, persistent=persistent, recursive=recursive), session=session
        )
        for sort, path in lasting:
            self.model.watches[Watch(session, sort, path)] = since if catch_up else self.world.zxid
        self.agree(missed, self.model.missed(session, [], self.world.zxid))

    def go_if_here(self, session: int) -> None:
        if session in self.model.paused or any(watch.session == session for watch in self.model.watches):
            self.go(session)

    def agree(self, missed: Any, expected: list[Event]) -> None:
        """The same events, those of one transaction in any order."""
        found = [
            (0, *event) if isinstance(event, Resync) else (int(event.type), event.path, event.zxid) for event in missed
        ]
        assert sorted(found) == sorted(expected)
        assert [event[-1] for event in found] == sorted(event[-1] for event in found)

    @invariant()
    def the_watches_are_the_same(self) -> None:
        if hasattr(self, "world"):
            assert len(self.world.watches) == len(self.model.watches)


TestWatching = Watching.TestCase
TestWatching.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
