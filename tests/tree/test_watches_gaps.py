"""What a session learns of the time in which it was told nothing: after a reconnect, and after a pause."""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import pytest
from watched import CHILDREN, CREATED, DATA, DELETED, RECURSIVE, Readers, Watched

from zkcore.errors import BadArgumentsError
from zkcore.tree.applied import Applied, EventType, Outcome
from zkcore.tree.requests import Create, Delete, Exists, GetChildren, GetData, Request, SetData
from zkcore.tree.watch_history import ChangeHistory
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
)
from zkcore.tree.watches import Watches


class Reconnecting(Watched):
    """/p and /p/n exist. Every change goes by session 1 unseen, and `since` is what it saw last."""

    def __init__(self, *, history: int = 10_000, most: int = 1_000) -> None:
        super().__init__(1, 2)
        self.watches = Watches(history=history, most=most)
        self.happen(Create("/p"), Create("/p/n"))
        self.since = self.zxid

    def happen(self, *requests: Request[Any]) -> None:
        for request in requests:
            self.tell(request, session=2)

    def told(self, request: Request[tuple[Missed, ...]], *, session: int = 1) -> list[tuple[Any, ...]]:
        """The answer: type, path and how many transactions after `since`, of a Resync from and to."""
        return self.readable(self.watches.read(self.tree, request, session=session))

    def readable(self, missed: tuple[Missed, ...]) -> list[tuple[Any, ...]]:
        return [
            ("resync", event.path, event.since - self.since, event.zxid - self.since)
            if isinstance(event, Resync)
            else (event.type, event.path, event.zxid - self.since)
            for event in missed
        ]


# --- setting one-shot watches again, as in ZooKeeper ------------------------------------------------------------------

TOUCH = SetData("/p/n", b"2")
SIDES = {"data": {"data": ["/p/n"]}, "exist": {"exist": ["/p/n"]}, "child": {"child": ["/p/n"]}}
TYPES = {"data": WatcherType.DATA, "exist": WatcherType.DATA, "child": WatcherType.CHILDREN}


@pytest.mark.parametrize("kind", [SetWatches, SetWatches2, CatchUp])
@pytest.mark.parametrize(
    ("side", "happened", "told"),
    [
        ("data", (), []),
        ("data", (TOUCH,), [(DATA, "/p/n", 1)]),
        ("data", (TOUCH, TOUCH), [(DATA, "/p/n", 2)]),
        ("data", (Create("/p/n/x"),), []),
        ("data", (Delete("/p/n"),), [(DELETED, "/p/n", 1)]),
        # deleted and created again looks like changed
        ("data", (Delete("/p/n"), Create("/p/n")), [(DATA, "/p/n", 2)]),
        ("exist", (), [(CREATED, "/p/n", 0)]),
        ("exist", (TOUCH,), [(CREATED, "/p/n", 0)]),
        ("exist", (Delete("/p/n"),), []),
        # what came while nobody looked and went again is not noticed
        ("exist", (Delete("/p/n"), Create("/p/n"), Delete("/p/n")), []),
        ("child", (), []),
        ("child", (TOUCH,), []),
        ("child", (Create("/p/n/x"),), [(CHILDREN, "/p/n", 1)]),
        ("child", (Create("/p/n/x"), Delete("/p/n/x")), [(CHILDREN, "/p/n", 2)]),
        ("child", (Delete("/p/n"),), [(DELETED, "/p/n", 1)]),
        ("child", (Delete("/p/n"), Create("/p/n")), [(CHILDREN, "/p/n", 2)]),
    ],
)
def test_a_watch_that_the_gap_ended_is_told_and_the_others_are_set(
    kind: Any, side: str, happened: tuple[Request[Any], ...], told: list[tuple[Any, ...]]
) -> None:
    world = Reconnecting()
    world.happen(*happened)
    assert world.told(kind(world.since, **SIDES[side])) == told
    assert len(world.watches) == (0 if told else 1)
    if not told:
        world.watch(CheckWatches("/p/n", TYPES[side]))


def test_one_that_is_set_again_goes_off_like_any() -> None:
    world = Reconnecting()
    world.told(SetWatches(world.since, data=["/p/n"], exist=["/p/m"], child=["/p"]))
    assert world.tell(TOUCH) == [(1, DATA, "/p/n")]
    assert world.tell(Create("/p/m")) == [(1, CREATED, "/p/m"), (1, CHILDREN, "/p")]


def test_events_come_in_the_order_in_which_the_watches_are_named() -> None:
    world = Reconnecting()
    world.happen(Create("/p/a"), TOUCH, Delete("/p/a"), SetData("/p", b""))
    request = SetWatches(world.since, data=["/p", "/p/a", "/p/n"], exist=["/p"], child=["/p/a", "/p"])
    assert [event[:2] for event in world.told(request)] == [
        (DATA, "/p"), (DELETED, "/p/a"), (DATA, "/p/n"), (CREATED, "/p"), (DELETED, "/p/a"), (CHILDREN, "/p"),
    ]  # fmt: skip


def test_a_deletion_is_dated_by_its_own_transaction_the_last_if_there_were_several() -> None:
    world = Reconnecting()
    world.happen(Delete("/p/n"), SetData("/p", b""), Create("/p/n"), Delete("/p/n"), SetData("/p", b""))
    request = SetWatches(world.since, data=["/p/n"], child=["/p/n"])
    assert world.told(request) == [(DELETED, "/p/n", 4), (DELETED, "/p/n", 4)]


def test_a_deletion_that_is_forgotten_is_dated_by_the_state_that_shows_it() -> None:
    world = Reconnecting(history=1)
    world.happen(Delete("/p/n"), SetData("/p", b""), SetData("/p", b""))
    assert world.told(SetWatches(world.since, data=["/p/n"])) == [(DELETED, "/p/n", 3)]


def test_zookeeper_sets_persistent_watches_again_and_says_nothing_of_what_they_missed() -> None:
    world = Reconnecting()
    world.happen(TOUCH)
    assert world.told(SetWatches2(world.since, persistent=["/p/n"], recursive=["/p"])) == []
    assert world.tell(TOUCH) == [(1, DATA, "/p/n")]
    world.watch(CheckWatches("/p/n", WatcherType.PERSISTENT), CheckWatches("/p", WatcherType.PERSISTENT_RECURSIVE))


@pytest.mark.parametrize("kind", [SetWatches2, CatchUp])
@pytest.mark.parametrize("side", ["data", "exist", "child", "persistent", "recursive"])
def test_one_bad_path_sets_none(kind: Any, side: str) -> None:
    world = Reconnecting()
    paths: dict[str, list[str]] = {"data": ["/p"], "exist": ["/m"], "child": ["/p"], "persistent": [], "recursive": []}
    paths[side] = [*paths[side], "no path"]
    with pytest.raises(BadArgumentsError):
        world.told(kind(world.since, **paths))
    assert len(world.watches) == 0


# --- catching up ------------------------------------------------------------------------------------------------------


def test_a_persistent_watch_is_told_everything_it_missed() -> None:
    world = Reconnecting()
    world.happen(TOUCH, Create("/p/n/x"), SetData("/p/n/x", b""), SetData("/p", b""), Delete("/p/n/x"), Delete("/p/n"))
    assert world.told(CatchUp(world.since, persistent=["/p/n"])) == [
        (DATA, "/p/n", 1), (CHILDREN, "/p/n", 2), (CHILDREN, "/p/n", 5), (DELETED, "/p/n", 6),
    ]  # fmt: skip
    assert world.tell(Create("/p/n")) == [(1, CREATED, "/p/n")]


def test_a_recursive_watch_is_told_everything_below_it_missed() -> None:
    world = Reconnecting()
    world.happen(TOUCH, Create("/p/n/x"), Create("/p/nn"), Delete("/p/n/x"), Create("/q"))
    assert world.told(CatchUp(world.since, recursive=["/p/n"])) == [
        (DATA, "/p/n", 1), (CREATED, "/p/n/x", 2), (DELETED, "/p/n/x", 4),
    ]  # fmt: skip
    assert [event[1] for event in world.told(CatchUp(world.since, recursive=["/"]), session=2)] == [
        "/p/n", "/p/n/x", "/p/nn", "/p/n/x", "/q",
    ]  # fmt: skip


def test_only_what_came_after_the_state_that_was_seen_is_told() -> None:
    world = Reconnecting()
    world.happen(TOUCH, TOUCH, TOUCH)
    assert world.told(CatchUp(world.since + 2, persistent=["/p/n"])) == [(DATA, "/p/n", 3)]
    assert world.told(CatchUp(world.since + 3, persistent=["/p/n"])) == []
    assert world.told(CatchUp(world.since + 9, persistent=["/p/n"])) == []


def test_what_several_watches_tell_comes_once_and_by_zxid() -> None:
    world = Reconnecting()
    world.happen(TOUCH, Create("/p/m"), Delete("/p/n"))
    request = CatchUp(world.since, data=["/p/n"], child=["/p"], persistent=["/p/n", "/p"], recursive=["/", "/p"])
    assert world.told(request) == [
        (DATA, "/p/n", 1), (CREATED, "/p/m", 2), (CHILDREN, "/p", 2), (DELETED, "/p/n", 3), (CHILDREN, "/p", 3),
    ]  # fmt: skip


def test_of_what_was_missed_only_that_is_told_which_the_session_might_read_when_it_happened() -> None:
    world = Reconnecting()
    readers = Readers(2)
    for request in (Create("/secret"), Create("/open"), Create("/open/n"), Delete("/secret")):
        world.propose(request, session=2)
        world.watches.trigger(world.commit_quietly()[1], readers)
    asked = len(readers.asked)
    request = CatchUp(world.since, persistent=["/", "/open"], recursive=["/"])
    assert world.told(request) == [(CREATED, "/open", 2), (CREATED, "/open/n", 3), (CHILDREN, "/open", 3)]
    assert [event[:2] for event in world.told(request, session=2)] == [
        (CREATED, "/secret"), (CHILDREN, "/"), (CREATED, "/open"), (CHILDREN, "/"), (CREATED, "/open/n"),
        (CHILDREN, "/open"), (DELETED, "/secret"), (CHILDREN, "/"),
    ]  # fmt: skip
    assert len(readers.asked) == asked  # the ACL that counted then is kept; nobody looks at that of today


# --- the bounds -------------------------------------------------------------------------------------------------------


def test_a_history_that_does_not_reach_back_far_enough_gives_a_resync() -> None:
    world = Reconnecting(history=3)
    world.happen(TOUCH, TOUCH, TOUCH, TOUCH)
    assert world.told(CatchUp(world.since + 1, persistent=["/p/n"])) == [(DATA, "/p/n", n) for n in (2, 3, 4)]
    request = CatchUp(world.since, persistent=["/p/n", "/q"], recursive=["/q"])
    assert world.told(request) == [("resync", "/p/n", 0, 4), ("resync", "/q", 0, 4)]
    assert world.tell(TOUCH) == [(1, DATA, "/p/n")]


def test_one_shot_watches_are_told_beside_a_resync() -> None:
    world = Reconnecting(history=1)
    world.happen(TOUCH, Create("/p/n/x"))
    request = CatchUp(world.since, data=["/p/n"], child=["/p/n", "/p"], recursive=["/"])
    assert world.told(request) == [(DATA, "/p/n", 1), (CHILDREN, "/p/n", 2), ("resync", "/", 0, 2)]
    assert len(world.watches) == 2


def test_more_than_a_session_is_handed_at_once_becomes_a_resync_of_what_missed_any() -> None:
    world = Reconnecting(most=3)
    world.happen(TOUCH, TOUCH, TOUCH)
    request = CatchUp(world.since, persistent=["/p/n", "/p"], recursive=["/p", "/q"])
    assert world.told(request) == [(DATA, "/p/n", n) for n in (1, 2, 3)]
    world.happen(TOUCH)
    assert world.told(request) == [("resync", "/p/n", 0, 4), ("resync", "/p", 0, 4)]


def test_too_many_events_of_children_are_a_resync_of_their_parents_watch_too() -> None:
    world = Reconnecting(most=1)
    world.happen(Create("/p/a"), Create("/p/b"))
    assert world.told(CatchUp(world.since, persistent=["/p", "/p/n"])) == [("resync", "/p", 0, 2)]


def test_a_history_holds_whole_transactions_and_no_more_changes_than_it_may() -> None:
    world = Reconnecting(history=4)
    world.happen(*[TOUCH] * 50)
    assert len(world.watches._history) == 4
    assert world.watches._history.floor == world.zxid - 4


def test_a_transaction_of_several_changes_counts_with_all_of_them_and_goes_whole() -> None:
    history = ChangeHistory(4)
    for zxid, count in ((5, 3), (6, 1), (7, 1)):
        history.record(Applied(zxid, 1, 1, 14, 0, "", ((DATA, "/p"),) * count))
    assert (len(history), history.floor, history.last) == (2, 5, 7)
    history.record(Applied(8, 1, 1, 14, 0, "", ((DATA, "/p"),) * 5))
    assert (len(history), history.floor, history.last) == (0, 8, 8)


def test_a_history_keeps_nothing_alive_but_what_it_must_say() -> None:
    # A Stat may hold on to the record that it was decoded from, data and all.
    world = Reconnecting()
    outcome = Outcome(5, 0, "/p", world.tree.read(Exists("/p")))
    before = getrefcount(outcome)
    world.watches.trigger(Applied(world.zxid + 1, 2, 1, 14, 0, "", ((DATA, "/p"),), (outcome,)))
    assert getrefcount(outcome) == before


def test_of_what_is_forgotten_it_is_forgotten_who_might_know() -> None:
    world = Reconnecting(history=4)
    for _ in range(9):
        world.propose(TOUCH, session=2)
        world.watches.trigger(world.commit_quietly()[1], Readers())
    assert len(world.watches._history._restricted) == 4
    world.watches.restart(world.zxid)
    assert len(world.watches._history._restricted) == 0


def test_nothing_before_a_restored_snapshot_is_known() -> None:
    world = Reconnecting()
    world.happen(TOUCH, TOUCH)
    world.watches.restart(world.zxid)
    assert not world.watches._history._entries
    assert world.told(CatchUp(world.since + 1, persistent=["/p/n"])) == [("resync", "/p/n", 1, 2)]
    assert world.told(CatchUp(world.since + 2, persistent=["/p/n"])) == []
    world.happen(TOUCH)
    assert world.told(CatchUp(world.since + 2, persistent=["/p/n"])) == [(DATA, "/p/n", 3)]


# --- pauses -----------------------------------------------------------------------------------------------------------


def resumed(world: Reconnecting, *, session: int = 1) -> list[tuple[Any, ...]]:
    return world.readable(world.watches.resume(world.tree, session))


def test_a_paused_session_is_told_nothing_and_afterwards_everything() -> None:
    world = Reconnecting()
    world.watch(GetData("/p/n", True), GetChildren("/p", True), AddWatch("/p/n"), AddWatch("/", RECURSIVE))
    world.watch(AddWatch("/p/n"), session=2)
    world.watches.pause(1)
    assert world.tell(TOUCH, session=2) == [(2, DATA, "/p/n")]
    assert world.tell(Create("/p/m"), session=2) == []
    assert world.tell(Create("/p/l"), session=2) == []
    assert resumed(world) == [
        (DATA, "/p/n", 1), (CHILDREN, "/p", 2), (CREATED, "/p/m", 2), (CREATED, "/p/l", 3),
    ]  # fmt: skip
    assert world.tell(TOUCH, session=2) == [(1, DATA, "/p/n"), (2, DATA, "/p/n")]
    assert resumed(world) == []
    assert len(world.watches) == 3


def test_what_is_kept_for_a_paused_session_does_not_grow_with_what_happens() -> None:
    world = Reconnecting(most=5)
    world.watch(GetData("/p/n", True), Exists("/p/m", True), AddWatch("/p", RECURSIVE))
    world.watches.pause(1)
    world.happen(*[TOUCH] * 500)
    assert [(event.type, event.path) for event in world.watches._paused[1].held] == [(DATA, "/p/n")]
    assert resumed(world) == [(DATA, "/p/n", 1), ("resync", "/p", 0, 500)]


def test_pausing_twice_is_pausing_once_and_nobody_else_is_paused() -> None:
    world = Reconnecting()
    world.watch(AddWatch("/p/n"), session=1)
    world.watch(AddWatch("/p/n"), session=2)
    world.watches.pause(1)
    world.happen(TOUCH)
    world.watches.pause(1)
    assert resumed(world, session=2) == []
    assert resumed(world) == [(DATA, "/p/n", 1)]


def test_a_watch_set_in_a_pause_tells_what_happens_from_then_on() -> None:
    world = Reconnecting()
    world.watch(AddWatch("/p/n"))
    world.watches.pause(1)
    world.happen(TOUCH, Create("/p/m"))
    world.watch(AddWatch("/p/m"), AddWatch("/p/m", RECURSIVE), AddWatch("/p/n"))
    world.happen(SetData("/p/m", b""))
    assert resumed(world) == [(DATA, "/p/n", 1), (DATA, "/p/m", 3)]


def test_two_watches_on_one_path_get_one_resync_from_where_the_first_of_them_stood() -> None:
    both = [AddWatch("/p"), AddWatch("/p", RECURSIVE)]
    for first, second in (both, reversed(both)):
        world = Reconnecting(history=1)
        world.watch(first)
        world.watches.pause(1)
        world.happen(SetData("/p", b""))
        world.watch(second)
        world.happen(SetData("/p", b""), SetData("/p", b""))
        assert resumed(world) == [("resync", "/p", 0, 3)]


def test_a_watch_removed_in_a_pause_has_missed_nothing_when_it_is_set_again() -> None:
    world = Reconnecting()
    world.watch(AddWatch("/p/n"), AddWatch("/p"))
    world.watches.pause(1)
    world.happen(TOUCH, SetData("/p", b""))
    world.watch(RemoveWatches("/p/n"), RemoveWatches("/p"), AddWatch("/p/n"))
    world.happen(TOUCH)
    assert resumed(world) == [(DATA, "/p/n", 3)]


def test_in_a_pause_too_a_session_hears_only_of_what_it_may_read() -> None:
    world = Reconnecting()
    world.watch(GetData("/p/n", True), AddWatch("/p/n"))
    world.watches.pause(1)
    world.propose(TOUCH, session=2)
    assert world.watches.trigger(world.commit_quietly()[1], Readers(2)) == []
    assert resumed(world) == []


def test_a_session_dropped_in_a_pause_is_forgotten() -> None:
    world = Reconnecting()
    world.watch(GetData("/p/n", True), AddWatch("/p/n"))
    world.watches.pause(1)
    world.happen(TOUCH)
    world.watches.drop_session(1)
    assert resumed(world) == []
    assert world.watches._paused == {}


def test_every_event_of_a_gap_has_the_zxid_of_its_change() -> None:
    world = Reconnecting()
    world.happen(TOUCH, Delete("/p/n"))
    missed = world.watches.read(world.tree, CatchUp(world.since, exist=["/p"], recursive=["/"]), session=1)
    assert [(event.type, event.zxid) for event in missed if not isinstance(event, Resync)] == [
        (EventType.NODE_CREATED, world.since - 1), (DATA, world.since + 1), (DELETED, world.since + 2),
    ]  # fmt: skip
