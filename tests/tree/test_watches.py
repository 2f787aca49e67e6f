"""Who is told what, and once."""

from __future__ import annotations

from typing import Any

import pytest
from watched import CHILDREN, CREATED, DATA, DELETED, RECURSIVE, Readers, Told, Watched

from zkcore.errors import BadArgumentsError, MalformedFrameError, NoNodeError, NoWatcherError
from zkcore.tree.applied import Applied, WatchEvent
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
from zkcore.tree.watch_requests import AddWatch, CheckWatches, RemoveWatches, WatcherType
from zkcore.tree.znode import CreateMode


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
    "persistent": AddWatch("/p/n"), "parent's persistent": AddWatch("/p"), "persistent, missing": AddWatch("/p/m"),
    "recursive": AddWatch("/p/n", RECURSIVE), "parent's recursive": AddWatch("/p", RECURSIVE),
    "root's recursive": AddWatch("/", RECURSIVE), "recursive, missing": AddWatch("/p/m", RECURSIVE),
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


@pytest.mark.parametrize(
    ("watch", "request_", "told"),
    [
        # create
        ("persistent", Create("/p/n/x"), [(1, CHILDREN, "/p/n")]),
        ("persistent, missing", Create("/p/m"), [(1, CREATED, "/p/m")]),
        ("parent's persistent", Create("/p/m"), [(1, CHILDREN, "/p")]),
        ("parent's persistent", Create("/p/n/x"), []),
        ("recursive", Create("/p/n/x"), [(1, CREATED, "/p/n/x")]),
        ("recursive, missing", Create("/p/m"), [(1, CREATED, "/p/m")]),
        ("parent's recursive", Create("/p/n/x"), [(1, CREATED, "/p/n/x")]),
        ("root's recursive", Create("/p/n/x"), [(1, CREATED, "/p/n/x")]),
        ("recursive", Create("/p/m"), []),
        # a name that only begins like the path is not below it
        ("recursive", Create("/p/nn"), []),
        # set
        ("persistent", SetData("/p/n", b""), [(1, DATA, "/p/n")]),
        ("parent's persistent", SetData("/p/n", b""), []),
        ("recursive", SetData("/p/n", b""), [(1, DATA, "/p/n")]),
        ("recursive", SetData("/p", b""), []),
        ("parent's recursive", SetData("/p/n", b""), [(1, DATA, "/p/n")]),
        ("root's recursive", SetData("/", b""), [(1, DATA, "/")]),
        # delete
        ("persistent", Delete("/p/n"), [(1, DELETED, "/p/n")]),
        ("parent's persistent", Delete("/p/n"), [(1, CHILDREN, "/p")]),
        ("recursive", Delete("/p/n"), [(1, DELETED, "/p/n")]),
        ("root's recursive", Delete("/p/n"), [(1, DELETED, "/p/n")]),
    ],
)
def test_one_lasting_watch_and_one_transaction(world: Watched, watch: str, request_: Request[Any], told: Told) -> None:
    world.watch(WATCHES[watch])
    assert world.tell(request_) == told
    assert len(world.watches) == 1


def test_a_persistent_watch_tells_again_and_again(world: Watched) -> None:
    world.watch(AddWatch("/p/n"), session=1)
    world.watch(AddWatch("/p", RECURSIVE), session=2)
    assert world.tell(SetData("/p/n", b"")) == [(1, DATA, "/p/n"), (2, DATA, "/p/n")]
    assert world.tell(Delete("/p/n")) == [(1, DELETED, "/p/n"), (2, DELETED, "/p/n")]
    assert world.tell(Create("/p/n")) == [(1, CREATED, "/p/n"), (2, CREATED, "/p/n")]


def test_however_many_ways_a_session_watches_one_thing_it_is_told_once(world: Watched) -> None:
    everything = [request for name, request in WATCHES.items() if name != "missing"]
    world.watch(*everything)
    assert world.tell(SetData("/p/n", b"")) == [(1, DATA, "/p/n")]
    world.watch(*everything)
    assert world.tell(Delete("/p/n")) == [(1, DELETED, "/p/n"), (1, CHILDREN, "/p")]


def test_an_event_ends_the_one_shot_watches_on_a_path_and_no_others(world: Watched) -> None:
    world.watch(GetData("/p/n", True), AddWatch("/p/n"), AddWatch("/p/n", RECURSIVE))
    assert world.tell(SetData("/p/n", b"")) == [(1, DATA, "/p/n")]
    with pytest.raises(NoWatcherError):
        world.watch(CheckWatches("/p/n", WatcherType.DATA))
    world.watch(CheckWatches("/p/n", WatcherType.PERSISTENT), CheckWatches("/p/n", WatcherType.PERSISTENT_RECURSIVE))


def test_a_recursive_watch_does_not_hear_of_children_as_such_even_beside_a_child_watch(world: Watched) -> None:
    world.watch(AddWatch("/p", RECURSIVE), session=1)
    world.watch(AddWatch("/p", RECURSIVE), GetChildren("/p/n", True), session=2)
    assert world.tell(Create("/p/n/x")) == [(1, CREATED, "/p/n/x"), (2, CREATED, "/p/n/x"), (2, CHILDREN, "/p/n")]


def test_the_events_of_one_transaction_come_in_the_order_of_its_changes() -> None:
    watches = Watched().watches
    tree = Watched().tree
    watches.read(tree, AddWatch("/a"), session=1)
    watches.read(tree, AddWatch("/", RECURSIVE), session=2)
    changes = ((CREATED, "/a"), (CREATED, "/a/b"), (DATA, "/a"), (DELETED, "/a/b"))
    told = watches.trigger(Applied(5, 1, 1, 14, 0, "", changes))
    assert {event.zxid for _, event in told} == {5}
    assert [(event.type, event.path) for session, event in told if session == 2] == list(changes)
    assert [(event.type, event.path) for session, event in told if session == 1] == [
        (CREATED, "/a"), (CHILDREN, "/a"), (DATA, "/a"), (CHILDREN, "/a"),
    ]  # fmt: skip


# --- removing and asking ----------------------------------------------------------------------------------------------

REMOVES = {
    WatcherType.CHILDREN: {"child"},
    WatcherType.DATA: {"data"},
    WatcherType.PERSISTENT: {"persistent"},
    WatcherType.PERSISTENT_RECURSIVE: {"recursive"},
    WatcherType.ANY: {"child", "data", "persistent", "recursive"},
}


@pytest.mark.parametrize("type_", WatcherType)
@pytest.mark.parametrize("watch", ["data", "child", "persistent", "recursive"])
def test_a_watch_is_found_and_removed_under_its_type_and_under_any(
    world: Watched, type_: WatcherType, watch: str
) -> None:
    world.watch(WATCHES[watch])
    world.watch(*WATCHES.values(), session=2)
    if watch in REMOVES[type_]:
        world.watch(CheckWatches("/p/n", type_), RemoveWatches("/p/n", type_))
    for request in (CheckWatches("/p/n", type_), RemoveWatches("/p/n", type_)):
        with pytest.raises(NoWatcherError, match="/p/n"):
            world.watch(request)
    told = [session for session, *_ in world.tell(Delete("/p/n"))]
    assert (1 in told) == (watch not in REMOVES[type_])
    assert 2 in told


def test_removing_one_type_leaves_the_others(world: Watched) -> None:
    world.watch(*(WATCHES[watch] for watch in ("data", "child", "persistent", "recursive")))
    for left, type_ in ((3, 1), (2, 2), (1, 4), (0, 5)):
        world.watch(RemoveWatches("/p/n", type_))
        assert len(world.watches) == left


def test_any_removes_all_there_are(world: Watched) -> None:
    world.watch(*(WATCHES[watch] for watch in ("data", "persistent")))
    world.watch(RemoveWatches("/p/n"))
    assert len(world.watches) == 0
    with pytest.raises(NoWatcherError):
        world.watch(CheckWatches("/p/n"))


@pytest.mark.parametrize(
    "request_", [AddWatch("/p", 2), AddWatch("/p", -1), CheckWatches("/p", 0), RemoveWatches("/p", 6)]
)
def test_a_mode_or_type_there_is_not_is_a_marshalling_error_as_in_zookeeper(
    world: Watched, request_: Request[Any]
) -> None:
    with pytest.raises(MalformedFrameError) as caught:
        world.watch(request_)
    assert caught.value.code == -5
    assert len(world.watches) == 0


@pytest.mark.parametrize("path", ["", "p", "/p/", "/p/../q", "/\ud800"])
def test_a_lasting_watch_needs_a_path(world: Watched, path: str) -> None:
    with pytest.raises(BadArgumentsError):
        world.watch(AddWatch(path))
    with pytest.raises(NoWatcherError):
        world.watch(RemoveWatches(path))
    assert len(world.watches) == 0


# --- who may know -----------------------------------------------------------------------------------------------------


def test_an_event_is_kept_from_those_who_may_not_read_the_znode(world: Watched) -> None:
    for session in (1, 2):
        world.watch(GetData("/p/n", True), session=session)
    for session in (3, 4):
        world.watch(AddWatch("/", RECURSIVE), session=session)
    readers = Readers(2, 4)
    world.propose(SetData("/p/n", b""))
    told = world.watches.trigger(world.commit_quietly()[1], readers)
    assert [session for session, _ in told] == [2, 4]
    assert readers.asked == [WatchEvent(DATA, "/p/n", world.zxid)]
    # The one-shot watch of session 1 has ended nevertheless.
    assert world.tell(SetData("/p/n", b"")) == [(3, DATA, "/p/n"), (4, DATA, "/p/n")]


def test_of_children_those_are_told_who_may_read_the_parent() -> None:
    world = Watched()
    world.do(Create("/open"))
    world.do(Create("/open/n"))
    world.watch(GetChildren("/open", True), GetChildren("/", True))
    world.propose(Create("/secret"))
    assert world.watches.trigger(world.commit_quietly()[1], Readers()) == []
    world.propose(Delete("/open/n"))
    told = world.watches.trigger(world.commit_quietly()[1], Readers())
    assert told == [(1, WatchEvent(CHILDREN, "/open", world.zxid))]


def test_an_event_kept_back_on_one_side_does_not_come_from_the_other(world: Watched) -> None:
    world.watch(GetData("/p/n", True), GetChildren("/p/n", True), AddWatch("/p/n"))
    world.propose(Delete("/p/n"))
    assert world.watches.trigger(world.commit_quietly()[1], Readers()) == []


# --- in general -------------------------------------------------------------------------------------------------------


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


def test_what_is_no_path_is_waited_for_in_vain(world: Watched) -> None:
    """So it is in ZooKeeper, whose clients refuse to ask."""
    world.watch(Exists("nope", True))
    assert len(world.watches) == 1


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
    for session in range(5):
        world.watch(AddWatch("/p"), AddWatch("/p/n", RECURSIVE), session=session)
        world.watch(RemoveWatches("/p"), session=session)
        world.watches.pause(session)
        world.watches.drop_session(session)
    for table in world.watches._tables:
        assert not table.by_path
        assert not table.by_session
    assert not world.watches._paused


def test_an_event_prints_on_one_line() -> None:
    assert str(WatchEvent(CREATED, "/a", 1 << 32 | 5)) == "NODE_CREATED /a 0x1_00000005"
