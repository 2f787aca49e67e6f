"""Who is told what, and once."""

from __future__ import annotations

from typing import Any

import pytest
from alone import Alone

from zkcore.errors import BadArgumentsError, NoNodeError
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import (
    Children,
    CloseSession,
    Create,
    Delete,
    Exists,
    GetChildren,
    GetChildren2,
    GetData,
    Request,
    SetData,
)
from zkcore.tree.watches import Watches
from zkcore.tree.znode import CreateMode

CREATED, DELETED = EventType.NODE_CREATED, EventType.NODE_DELETED
DATA, CHILDREN = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED

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


@pytest.fixture
def world() -> Watched:
    world = Watched()
    world.do(Create("/p"))
    world.do(Create("/p/n"))
    return world


WATCHES = {
    "data": GetData("/p/n", True), "exists": Exists("/p/n", True), "child": GetChildren("/p/n", True),
    "child2": GetChildren2("/p/n", True), "parent's child": GetChildren("/p", True),
    "parent's data": GetData("/p", True), "missing": Exists("/p/m", True),
}  # fmt: skip


@pytest.mark.parametrize(
    ("watch", "request_", "told"),
    [
        # create
        ("missing", Create("/p/m"), [(1, CREATED, "/p/m")]),
        ("parent's child", Create("/p/m"), [(1, CHILDREN, "/p")]),
        ("parent's data", Create("/p/m"), []),
        ("child", Create("/p/n/x"), [(1, CHILDREN, "/p/n")]),
        ("child2", Create("/p/n/x"), [(1, CHILDREN, "/p/n")]),
        ("data", Create("/p/n/x"), []),
        ("parent's child", Create("/p/n/x"), []),
        # set
        ("data", SetData("/p/n", b""), [(1, DATA, "/p/n")]),
        ("exists", SetData("/p/n", b""), [(1, DATA, "/p/n")]),
        ("child", SetData("/p/n", b""), []),
        ("parent's child", SetData("/p/n", b""), []),
        ("missing", SetData("/p/n", b""), []),
        # delete
        ("data", Delete("/p/n"), [(1, DELETED, "/p/n")]),
        ("exists", Delete("/p/n"), [(1, DELETED, "/p/n")]),
        ("child", Delete("/p/n"), [(1, DELETED, "/p/n")]),
        ("parent's child", Delete("/p/n"), [(1, CHILDREN, "/p")]),
        ("parent's data", Delete("/p/n"), []),
        # what fails, changes nothing
        ("missing", Create("/p/m/x"), []),
        ("data", SetData("/p/n", b"", version=5), []),
        ("child", Delete("/p/n", 5), []),
    ],
)
def test_one_watch_and_one_transaction(world: Watched, watch: str, request_: Request[Any], told: Told) -> None:
    world.watch(WATCHES[watch])
    assert world.tell(request_) == told
    assert len(world.watches) == (0 if told else 1)


def test_a_deletion_is_told_once_to_a_session_that_watches_both_ways_and_then_its_parents_watchers(
    world: Watched,
) -> None:
    world.watch(GetChildren("/p/n", True), GetData("/p/n", True), Exists("/p/n", True), session=1)
    world.watch(GetChildren("/p/n", True), session=2)
    world.watch(GetChildren("/p", True), session=1)
    world.watch(GetChildren("/p", True), session=3)
    assert world.tell(Delete("/p/n")) == [
        (1, DELETED, "/p/n"), (2, DELETED, "/p/n"), (1, CHILDREN, "/p"), (3, CHILDREN, "/p"),
    ]  # fmt: skip
    assert len(world.watches) == 0


def test_watchers_are_told_in_the_order_in_which_they_began_to_watch(world: Watched) -> None:
    for session in (5, 3, 4, 3):
        world.watch(GetData("/p/n", True), session=session)
    assert [session for session, *_ in world.tell(SetData("/p/n", b""))] == [5, 3, 4]


def test_a_watch_set_twice_is_one_and_every_watch_ends_with_its_event(world: Watched) -> None:
    world.watch(GetData("/p/n", True), Exists("/p/n", True))
    assert world.tell(SetData("/p/n", b"")) == [(1, DATA, "/p/n")]
    assert world.tell(SetData("/p/n", b"")) == []
    world.watch(GetData("/p/n", True))
    assert world.tell(SetData("/p/n", b"")) == [(1, DATA, "/p/n")]


def test_reading_without_watch_sets_none_and_answers_the_same(world: Watched) -> None:
    world.watch(GetData("/p/n"), Exists("/p/n"), Exists("/p/m"), GetChildren("/p"), GetChildren2("/p"))
    assert len(world.watches) == 0
    assert world.watches.read(world.tree, GetChildren("/p", True), session=1) == ("n",)
    assert isinstance(world.watches.read(world.tree, GetChildren2("/p", True), session=1), Children)
    assert world.watches.read(world.tree, Exists("/p/m", True), session=1) is None


@pytest.mark.parametrize("kind", [GetData, GetChildren, GetChildren2])
def test_a_read_that_fails_leaves_no_watch(world: Watched, kind: Any) -> None:
    with pytest.raises(NoNodeError):
        world.watch(kind("/nope", True))
    assert len(world.watches) == 0


def test_what_is_no_path_cannot_be_watched(world: Watched) -> None:
    with pytest.raises(BadArgumentsError):
        world.watch(Exists("nope", True))
    assert len(world.watches) == 0


def test_the_end_of_a_session_is_told_like_a_deletion_of_each_of_its_ephemerals() -> None:
    world = Watched(1, 2)
    for path in ("/a", "/b"):
        world.do(Create(path, mode=CreateMode.EPHEMERAL), session=2)
        world.watch(GetData(path, True))
    world.watch(GetChildren("/", True))
    assert world.tell(CloseSession(), session=2) == [(1, DELETED, "/a"), (1, CHILDREN, "/"), (1, DELETED, "/b")]


def test_a_dropped_session_is_told_nothing(world: Watched) -> None:
    for session in (1, 2):
        world.watch(GetData("/p/n", True), GetChildren("/p/n", True), Exists("/p/m", True), session=session)
    world.watches.drop_session(1)
    world.watches.drop_session(9)
    assert world.tell(Delete("/p/n")) == [(2, DELETED, "/p/n")]
    world.watches.drop_session(2)
    assert world.tell(Create("/p/m")) == []
    assert len(world.watches) == 0


def test_nothing_is_kept_of_watches_that_ended(world: Watched) -> None:
    for session in range(5):
        world.watch(GetData("/p/n", True), GetChildren("/p/n", True), GetChildren("/p", True), session=session)
    world.watches.drop_session(3)
    world.tell(Delete("/p/n"))
    for table in (world.watches._data, world.watches._child):
        assert not table.by_path
        assert not table.by_session


def test_an_event_prints_on_one_line() -> None:
    assert str(WatchEvent(CREATED, "/a", 1 << 32 | 5)) == "NODE_CREATED /a 0x1_00000005"
