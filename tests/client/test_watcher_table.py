"""Which watchers wait for what."""

from __future__ import annotations

import pytest

from zkcore.client.watcher import WatcherTable
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import Exists, GetChildren, GetChildren2, GetData, Request

ANSWER = object()
"""That of a read that has found what it asked for."""

READS: dict[str, Request[object]] = {
    "exists": Exists("/a", watch=True),
    "get": GetData("/a", watch=True),
    "children": GetChildren("/a", watch=True),
    "children2": GetChildren2("/a", watch=True),
}


@pytest.mark.parametrize(
    ("kind", "called"),
    [
        (EventType.NODE_CREATED, {"exists", "get"}),
        (EventType.NODE_DATA_CHANGED, {"exists", "get"}),
        (EventType.NODE_DELETED, set(READS)),
        (EventType.NODE_CHILDREN_CHANGED, {"children", "children2"}),
    ],
)
def test_an_event_calls_those_who_wait_for_it_and_once(kind: EventType, called: set[str]) -> None:
    table = WatcherTable()
    told: list[str] = []
    for name, request in READS.items():
        table.add(request, lambda _, told=told, name=name: told.append(name), ANSWER)  # type: ignore[misc]
    table.fire(WatchEvent(kind, "/other", 1))
    assert told == []
    table.fire(WatchEvent(kind, "/a", 1))
    table.fire(WatchEvent(kind, "/a", 2))
    assert sorted(told) == sorted(called)
    table.fire_all()
    assert sorted(told) == sorted(READS)


def test_a_watcher_may_watch_again_while_all_are_told() -> None:
    table = WatcherTable()
    told: list[WatchEvent | None] = []

    def again(event: WatchEvent | None) -> None:
        told.append(event)
        if len(told) < 3:
            table.add(READS["get"], again, ANSWER)

    table.add(READS["get"], again, ANSWER)
    event = WatchEvent(EventType.NODE_DATA_CHANGED, "/a", 1)
    table.fire(event)
    table.fire(event)
    assert told == [event, event]


def test_who_does_not_wait_any_more_is_not_called() -> None:
    table = WatcherTable()
    told: list[WatchEvent | None] = []
    table.add(READS["get"], told.append, ANSWER)
    table.remove("/a", told.append)
    table.remove("/a", told.append)
    table.remove("/other", told.append)
    table.fire_all()
    assert told == []
