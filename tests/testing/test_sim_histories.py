"""What is taken down of simulated clients: times, outcomes, and when a key is closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zkcore.errors import (
    BadVersionError,
    ConnectionLostError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    ThrottledError,
    ZkcoreError,
)
from zkcore.jute.records import Stat
from zkcore.testing.histories import Entry, History, ZnodeHistory
from zkcore.testing.linearizability import (
    UNKNOWN,
    Create,
    Delete,
    End,
    Held,
    Look,
    Operation,
    Read,
    Refusal,
    Register,
    Verdict,
    Write,
    check,
)
from zkcore.tree import requests
from zkcore.tree.requests import Created, Exists, GetData, NodeData, Request, SetData
from zkcore.tree.znode import CreateMode

SESSION = 77


def stat(version: int) -> Stat:
    return Stat(
        czxid=1, mzxid=1, ctime=0, mtime=0, version=version, cversion=0, aversion=0, ephemeral_owner=0, data_length=1,
        num_children=0, pzxid=1,
    )  # fmt: skip


# --- any history ------------------------------------------------------------------------------------------------------


def invoke(history: History, now: int, call: object) -> Entry:
    entry = history.invoke(now, 1, "k", call)
    assert entry is not None
    return entry


def test_what_happens_at_one_moment_happens_in_the_order_of_recording() -> None:
    history = History()
    first = invoke(history, 5, Write("a"))
    history.returned(5, first, 1)
    history.returned(5, invoke(history, 5, Read()), Held("a", 1))
    one, two = history.operations()
    assert one == Operation("k", Write("a"), 5, 6, 1, client=1)
    assert two == Operation("k", Read(), 7, 8, Held("a", 1), client=1)


def test_outcomes() -> None:
    history = History()
    told, settled, refused, open_ended = (invoke(history, 10 * number, Write(number)) for number in range(4))
    history.returned(100, told, 1)
    history.settled(101, settled)
    history.refused(102, refused)
    found = {operation.call.value: (operation.returned, operation.result) for operation in history.operations()}
    assert found == {0: (100, 1), 1: (101, UNKNOWN), 3: (None, UNKNOWN)}
    assert open_ended.returned is None


def test_an_outcome_is_final() -> None:
    history = History()
    entry = invoke(history, 1, Write("a"))
    history.settled(2, entry)
    history.returned(3, entry, 1)
    (operation,) = history.operations()
    assert (operation.returned, operation.result) == (2, UNKNOWN)


def test_a_key_is_closed_when_too_many_are_under_way() -> None:
    """What comes later is not recorded, and what was under way then stays open: a beginning of the history."""
    history = History(most_at_once=2)
    before, early, late = invoke(history, 1, Write(0)), invoke(history, 2, Write(1)), None
    history.returned(3, before, 1)
    late = invoke(history, 4, Write(2))
    assert history.invoke(5, 1, "k", Write(3)) is None
    history.returned(6, early, 2)
    history.returned(7, late, 3)
    assert history.invoke(8, 1, "k", Read()) is None
    assert [(each.call.value, each.returned) for each in history.operations()] == [(0, 3), (1, None), (2, None)]
    assert history.invoke(9, 1, "other", Read()) is not None


def test_what_does_not_count_may_be_under_way_for_ever() -> None:
    history = History(most_at_once=1)
    ends = [history.invoke(1, 1, "k", End(owner), counts=False) for owner in range(5)]
    for end in ends:
        assert end is not None
        history.returned(1, end, None)
    assert history.invoke(2, 1, "k", Read()) is not None
    assert history.invoke(3, 1, "k", Read()) is None


def test_a_key_is_closed_when_it_has_too_many() -> None:
    history = History(most_operations=3)
    for number in range(3):
        history.returned(number, invoke(history, number, Read()), Refusal.MISSING)
    assert history.invoke(9, 1, "k", Read()) is None
    assert len(list(history.operations())) == 3


# --- znodes -----------------------------------------------------------------------------------------------------------


def told(request: Request[object], result: object = None, error: ZkcoreError | None = None) -> list[Operation]:
    """What is taken down of one request and its answer."""
    history = ZnodeHistory(("/a",))
    history.asked(1, 1, SESSION, xid=5, request=request)
    history.answered(2, 1, xid=5, result=result, error=error)
    return list(history.operations())


CREATE = requests.Create("/a", b"1")


@pytest.mark.parametrize(
    ("request_", "result", "error", "call", "outcome"),
    [
        (CREATE, Created("/a", stat(0)), None, Create(b"1"), 0),
        (CREATE, None, NodeExistsError(), Create(b"1"), Refusal.EXISTS),
        (SetData("/a", b"2"), stat(3), None, Write(b"2"), 3),
        (SetData("/a", b"2", version=1), None, BadVersionError(), Write(b"2", 1), Refusal.VERSION),
        (SetData("/a", b"2"), None, NoNodeError(), Write(b"2"), Refusal.MISSING),
        (SetData("/a", b"2"), None, ConnectionLostError(), Write(b"2"), UNKNOWN),
        (requests.Delete("/a"), None, None, Delete(), None),
        (requests.Delete("/a", 2), None, BadVersionError(), Delete(2), Refusal.VERSION),
        (GetData("/a"), NodeData(b"1", stat(4)), None, Read(), Held(b"1", 4)),
        (GetData("/a"), None, NoNodeError(), Read(), Refusal.MISSING),
        (Exists("/a"), stat(4), None, Look(), 4),
        (Exists("/a"), None, None, Look(), Refusal.MISSING),
    ],
)
def test_an_answer_is_that_of_a_register(
    request_: Request[object], result: object, error: ZkcoreError | None, call: object, outcome: object
) -> None:
    (operation,) = told(request_, result, error)
    assert (operation.call, operation.result) == (call, outcome)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (CREATE, NoNodeError()),  # of the parent, about which the znode says nothing
        (CREATE, ThrottledError()),
        (SetData("/a", b"2"), SessionExpiredError()),
        (requests.Create("/b", b"1"), None),
        (requests.Create("/a", b"1", mode=CreateMode.PERSISTENT_SEQUENTIAL), None),
        (requests.CloseSession(), None),
    ],
)
def test_what_cannot_have_touched_the_znode_is_not_in_its_history(
    request_: Request[object], error: ZkcoreError | None
) -> None:
    assert told(request_, None, error) == []


def after_a_lost_write(*rest: Callable[[ZnodeHistory], None]) -> Operation:
    history = ZnodeHistory(("/a",))
    history.asked(1, 1, SESSION, xid=5, request=SetData("/a", b"2"))
    for step in rest:
        step(history)
    (operation,) = history.operations()
    assert operation.result is UNKNOWN
    return operation


def test_a_write_whose_answer_was_lost_may_happen_until_the_session_is_served_again() -> None:
    assert after_a_lost_write(lambda h: h.left(1)).returned is None
    assert after_a_lost_write(lambda h: h.left(1), lambda h: h.attached(9, 1)).returned == 9
    assert after_a_lost_write(lambda h: h.ended(9, 1)).returned == 9


def test_an_answer_on_a_former_connection_says_nothing() -> None:
    """It is a bug for others to find."""
    lost = after_a_lost_write(lambda h: h.left(1), lambda h: h.answered(2, 1, xid=5, result=stat(1), error=None))
    assert lost.returned is None


def test_an_ephemeral_goes_with_its_session() -> None:
    history = ZnodeHistory(("/a",))
    history.asked(1, 1, SESSION, xid=1, request=requests.Create("/a", b"1", mode=CreateMode.EPHEMERAL))
    history.answered(2, 1, xid=1, result=Created("/a", stat(0)), error=None)
    end, create = history.operations()
    assert (end.call, end.returned) == (End(SESSION), None)
    assert create.call == Create(b"1", SESSION)
    history.ended(5, 1)
    history.asked(8, 2, 78, xid=1, request=GetData("/a"))
    history.answered(9, 2, xid=1, result=NodeData(b"1", stat(0)), error=None)
    assert check(history.operations(), Register()).verdict is Verdict.BROKEN
