"""Kinds of znodes: containers and times to live, how they are stored and shown, and how they are cleaned up."""

from __future__ import annotations

from typing import Any

import pytest
from alone import EPOCH, Alone

from zkcore.errors import BadVersionError, NoNodeError, NotEmptyError
from zkcore.jute.codec import encode
from zkcore.jute.records import OPEN_ACL, CreateTTLTxn, DeleteTxn, TxnHeader
from zkcore.tree.cleaning import due
from zkcore.tree.requests import Create, CreateContainer, CreateTTL, Delete, Exists, GetChildren, SetData
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.writes import CleanUp
from zkcore.tree.znode import (
    CONTAINER_OWNER,
    MAX_TTL,
    CreateMode,
    is_mark,
    owner_of,
    session_of,
    ttl_of,
    ttl_owner,
)

TTL, SEQUENTIAL_TTL = CreateMode.PERSISTENT_WITH_TTL, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL


@pytest.mark.parametrize(
    ("owner", "session", "ttl"),
    [
        (0, 0, 0),
        (7, 7, 0),
        (-5, -5, 0),
        (CONTAINER_OWNER, 0, 0),
        (ttl_owner(1), 0, 1),
        (ttl_owner(MAX_TTL), 0, MAX_TTL),
        (-(1 << 56), 0, 0),
        (-(1 << 56) + MAX_TTL + 1, -(1 << 56) + MAX_TTL + 1, 0),  # a session of server 255
        (-(1 << 56) - 1, -(1 << 56) - 1, 0),  # one of server 254
    ],
)
def test_an_owner_is_a_session_or_a_mark(owner: int, session: int, ttl: int) -> None:
    assert (session_of(owner), ttl_of(owner)) == (session, ttl)
    assert is_mark(owner) == (owner != 0 and session == 0)


@pytest.mark.parametrize(
    ("request_", "path", "owner"),
    [
        (CreateContainer("/x"), "/x", 0x8000000000000000),
        (Create("/x", mode=CreateMode.CONTAINER), "/x", 0x8000000000000000),
        (CreateContainer("/x", mode=CreateMode.PERSISTENT), "/x", 0x8000000000000000),
        (CreateContainer("/x", mode=CreateMode.EPHEMERAL), "/x", 0x8000000000000000),
        (CreateContainer("/x-", mode=CreateMode.PERSISTENT_SEQUENTIAL), "/x-0000000000", 0x8000000000000000),
        (CreateTTL("/x", ttl_ms=1000), "/x", 0xFF000000000003E8),
        (CreateTTL("/x-", mode=SEQUENTIAL_TTL, ttl_ms=MAX_TTL), "/x-0000000000", 0xFF0000FFFFFFFFFF),
    ],
)
def test_marks_are_stored_as_zookeeper_stores_them_and_shown_as_0(request_: Any, path: str, owner: int) -> None:
    alone = Alone()
    created = alone.do(request_)
    assert created.path == path
    assert created.stat.ephemeral_owner == 0
    assert owner_of(alone.tree.state.find(path) or b"") & 0xFFFFFFFFFFFFFFFF == owner
    assert alone.do(Create(f"{path}/child")).stat.czxid == alone.zxid
    alone.tree.check()


def test_a_log_that_makes_a_server_die_says_so_and_changes_nothing() -> None:
    """createTTL with flags 0 and ttl -1: what a live server logs, and cannot apply."""
    alone = Alone()
    body = CreateTTLTxn("/x", b"", OPEN_ACL, 1, -1)
    payload = encode(TxnHeader(1, 1, EPOCH + 2, 0, CreateTTLTxn.TYPE)) + encode(body)
    with pytest.raises(Exception, match="time to live of -1"):
        alone.tree.apply(EPOCH + 2, payload)
    alone.tree.check()
    assert alone.tree.read(Exists("/x")) is None


# --- what is due -----------------------------------------------------------------------------------------------------


def cleaned(alone: Alone, now_ms: int, most: int = 100) -> list[str]:
    """What the leader finds due, and deletes."""
    found = list(due(alone.tree, now_ms, most=most))
    for request in found:
        alone.do(request, session=0)
    alone.tree.check()
    return [request.path for request in found]


def test_a_container_is_due_once_its_last_child_has_gone() -> None:
    alone = Alone()
    for path in ("/unused", "/used", "/busy"):
        alone.do(CreateContainer(path))
    for path in ("/used/a", "/used/b", "/busy/a", "/busy/b"):
        alone.do(Create(path))
    alone.do(Delete("/used/a"))
    alone.do(Delete("/busy/a"))
    assert cleaned(alone, 0) == []
    alone.do(Delete("/used/b"))
    assert cleaned(alone, 0) == ["/used"]
    assert alone.tree.read(GetChildren("/")) == ("busy", "unused", "zookeeper")


def test_a_container_that_is_used_again_is_not_due() -> None:
    alone = Alone()
    for request in (CreateContainer("/c"), Create("/c/a"), Delete("/c/a"), Create("/c/b")):
        alone.do(request)
    assert list(due(alone.tree, 0, most=9)) == []


def test_a_znode_is_due_when_it_is_older_than_its_time_to_live_and_has_no_children() -> None:
    alone = Alone()
    alone.do(CreateTTL("/a", ttl_ms=1000))  # at 2000
    alone.do(CreateTTL("/b", ttl_ms=1000))  # at 3000
    alone.do(Create("/b/child"))
    assert [cleaned(alone, now) for now in (3000, 3001)] == [[], ["/a"]]
    assert cleaned(alone, 9999) == []
    alone.do(Delete("/b/child"))
    assert cleaned(alone, 9999) == ["/b"]


def test_setting_data_gives_a_full_time_to_live() -> None:
    alone = Alone()
    alone.do(CreateTTL("/a", ttl_ms=1000))
    alone.do(SetData("/a", b"x"))  # at 3000
    assert [cleaned(alone, now) for now in (4000, 4001)] == [[], ["/a"]]


def test_what_was_changed_between_the_look_and_the_transaction_stays() -> None:
    alone = Alone()
    alone.do(CreateTTL("/a", ttl_ms=1000))
    (request,) = due(alone.tree, 99_999, most=9)
    alone.propose(SetData("/a", b"fresh"))
    alone.propose(request, session=0)
    alone.commit()
    with pytest.raises(BadVersionError):
        alone.commit()
    assert alone.tree.read(Exists("/a")) is not None


@pytest.mark.parametrize(
    ("made", "error"),
    [(None, NoNodeError), (Create("/a"), BadVersionError), (Create("/a", mode=1), BadVersionError)],
)
def test_only_what_is_there_to_be_cleaned_up_is(made: Any, error: type[Exception]) -> None:
    alone = Alone()
    if made is not None:
        alone.do(made)
    assert alone.outcome(CleanUp("/a", alone.zxid), session=0) is error


def test_what_has_children_by_now_stays() -> None:
    alone = Alone()
    alone.do(CreateTTL("/a", ttl_ms=1))
    (request,) = due(alone.tree, 99_999, most=9)
    alone.do(Create("/a/b"))
    assert alone.outcome(request, session=0) is NotEmptyError


def test_no_more_is_asked_for_than_wanted() -> None:
    alone = Alone()
    for number in range(5):
        alone.do(CreateTTL(f"/{number}", ttl_ms=1))
    assert cleaned(alone, 99_999, most=2) == ["/0", "/1"]


def test_cleaning_up_is_logged_as_zookeepers_own_transaction() -> None:
    alone = Alone()
    alone.do(CreateTTL("/a", ttl_ms=1))
    alone.propose(next(due(alone.tree, 99_999, most=1)), session=0)
    assert alone.commit_quietly()[1].type == DeleteTxn.TYPE_CLEANED == 20


def test_a_restored_tree_finds_the_same_due() -> None:
    alone = Alone()
    for name in "cab":
        alone.do(CreateContainer(f"/{name}"))
        alone.do(Create(f"/{name}/x"))
        alone.do(CreateTTL(f"/t{name}", ttl_ms=1))
    for name in "bca":
        alone.do(Delete(f"/{name}/x"))
    tree = restore(dump(alone.tree))
    tree.check()
    assert list(due(tree, 99_999, most=99)) == list(due(alone.tree, 99_999, most=99))
    assert [request.path for request in due(tree, 99_999, most=99)] == ["/b", "/c", "/a", "/tc", "/ta", "/tb"]
