"""Reads, writes, watches and the order of answers, at one replica and through its leader."""

from __future__ import annotations

import pytest
from virtual import PASSWORD, Ensemble

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigurationError,
    ConnectionLostError,
    NoNodeError,
    RequestError,
    SessionClosedError,
)
from zkcore.replica.answers import Detached, Replied, WatchFired
from zkcore.replica.replica import Replica
from zkcore.replica.serving import MAX_XID
from zkcore.storage.storage import MemoryStorage
from zkcore.tree.applied import EventType
from zkcore.tree.requests import (
    CloseSession,
    Create,
    Created,
    Delete,
    Exists,
    GetChildren,
    GetData,
    Request,
    SetData,
)
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Forward
from zkcore.zab.quorum import EnsembleConfig


def elected() -> tuple[Ensemble, int, int]:
    """Three replicas, their leader, and one of its followers."""
    world = Ensemble()
    leader = world.elect()
    return world, leader, world.followers()[0]


# --- reads and writes


def test_a_read_is_answered_at_once_and_sends_nothing() -> None:
    world, _, follower = elected()
    session = world.open(follower)
    world.ask(follower, session, Create("/a", b"1"))
    before = {link: len(messages) for link, messages in world.flying.items()}
    (xid,) = world.submit(follower, session, GetData("/a"))
    answer = world.replies(follower, session)[-1]
    assert (answer.xid, answer.result.data) == (xid, b"1")
    assert {link: len(messages) for link, messages in world.flying.items()} == before


def test_a_write_travels_to_the_leader_and_to_nobody_else() -> None:
    world, leader, follower = elected()
    session = world.open(follower)
    world.submit(follower, session, Create("/a", b""))
    sent = {link for link, messages in world.flying.items() if any(isinstance(one, Forward) for one in messages)}
    assert sent == {(follower, leader)}
    assert not world.replicas[follower].can_read(session)
    world.settle()
    assert world.replies(follower, session)[-1].result.path == "/a"


def test_every_replica_applies_what_one_was_asked() -> None:
    world, leader, follower = elected()
    for me in (leader, follower):
        session = world.open(me)
        world.ask(me, session, Create(f"/by-{me}", b"", mode=1))
    assert len(world.trees()) == 1
    for replica in world.replicas.values():
        assert set(replica.tree.read(GetChildren("/"))) == {f"by-{leader}", f"by-{follower}", "zookeeper"}


def test_answers_come_in_the_order_of_requests_and_reads_see_the_writes_before_them() -> None:
    world, _, follower = elected()
    session = world.open(follower)
    requests: list[Request[object]] = [
        GetChildren("/"),
        Create("/a", b"0"),
        Exists("/a"),
        SetData("/a", b"1", version=7),
        GetData("/a"),
        SetData("/a", b"1", version=0),
        GetData("/a"),
        Delete("/a"),
        Exists("/a"),
    ]
    xids = world.submit(follower, session, *requests)
    world.settle()
    answers = world.replies(follower, session)[1:]
    assert [answer.xid for answer in answers] == xids
    assert "a" not in answers[0].result
    assert answers[2].result is not None
    assert isinstance(answers[3].error, BadVersionError)
    assert [answers[at].result.data for at in (4, 6)] == [b"0", b"1"]
    assert answers[8].result is None
    assert answers[8].error is None


def test_sessions_do_not_wait_for_one_another() -> None:
    world, _, follower = elected()
    slow, quick = world.open(follower), world.open(follower)
    world.submit(follower, slow, Create("/a", b""), GetData("/a"))
    world.submit(follower, quick, Exists("/a"))
    assert world.replies(follower, quick)[-1].result is None
    assert len(world.replies(follower, slow)) == 1


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Create("/missing/a", b""), NoNodeError),
        (Create("no path", b""), BadArgumentsError),
        (Create("/a", bytes(0x100000)), BadArgumentsError),
        (Delete("/", -1), BadArgumentsError),
        (Delete("/missing"), NoNodeError),
        (SetData("/missing", b""), NoNodeError),
        (GetData("/missing"), NoNodeError),
        (GetData("no path"), NoNodeError),
        (GetChildren("/missing/"), NoNodeError),
    ],
    ids=["no parent", "no path", "too much data", "the root", "delete", "set", "get", "get no path", "trailing slash"],
)
@pytest.mark.parametrize("at_the_leader", [True, False])
def test_what_is_refused_is_refused_everywhere_alike(
    request_: Request[object], error: type[RequestError], at_the_leader: bool
) -> None:
    world, leader, follower = elected()
    me = leader if at_the_leader else follower
    session = world.open(me)
    with pytest.raises(error) as caught:
        world.ask(me, session, request_)
    assert caught.value.applied == "no"
    assert world.ask(me, session, Create("/next", b"")).path == "/next"


@pytest.mark.parametrize("at_the_leader", [True, False])
def test_a_number_that_fits_no_field_is_refused_and_changes_nothing(at_the_leader: bool) -> None:
    world, leader, follower = elected()
    me = leader if at_the_leader else follower
    session = world.open(me)
    with pytest.raises((BadVersionError, BadArgumentsError, NoNodeError)):
        world.ask(me, session, Delete("/missing", 1 << 40))
    assert world.ask(me, session, Create("/next", b"")).path == "/next"


# --- watches


@pytest.mark.parametrize("at_the_leader", [True, False])
def test_a_watch_goes_off_before_the_answer_that_shows_the_change(at_the_leader: bool) -> None:
    world, leader, follower = elected()
    me = leader if at_the_leader else follower
    session = world.open(me)
    world.ask(me, session, Exists("/a", watch=True))
    world.ask(me, session, Create("/a", b""))
    *_, watched, created = world.heard(me, session)
    assert isinstance(watched, WatchFired)
    assert (watched.event.type, watched.event.path) == (EventType.NODE_CREATED, "/a")
    assert isinstance(created, Replied)
    assert isinstance(created.result, Created)
    assert created.result.stat.czxid == watched.event.zxid


def test_a_watch_goes_off_once_and_only_for_the_session_that_set_it() -> None:
    world, _, follower = elected()
    watching, writing = world.open(follower), world.open(follower)
    world.ask(follower, writing, Create("/a", b""))
    world.ask(follower, watching, GetData("/a", watch=True))
    for data in (b"1", b"2"):
        world.ask(follower, writing, SetData("/a", data))
    fired = [told for told in world.told[follower] if isinstance(told, WatchFired)]
    assert [(one.session, one.event.type) for one in fired] == [(watching, EventType.NODE_DATA_CHANGED)]


def test_a_watch_set_behind_a_write_does_not_see_that_write() -> None:
    world, _, follower = elected()
    session = world.open(follower)
    world.submit(follower, session, Create("/a", b""), Exists("/a", watch=True))
    world.settle()
    assert not any(isinstance(told, WatchFired) for told in world.heard(follower, session))
    world.ask(follower, session, Delete("/a"))
    assert isinstance(world.heard(follower, session)[-2], WatchFired)


def test_a_client_that_left_is_told_nothing_more() -> None:
    world, _, follower = elected()
    gone, here = world.open(follower), world.open(follower)
    world.ask(follower, gone, Exists("/a", watch=True))
    world.submit(follower, gone, Create("/b", b""))
    world.replicas[follower].detach(gone)
    world.act(follower)
    before = world.heard(follower, gone)
    world.ask(follower, here, Create("/a", b""))
    assert world.heard(follower, gone) == before
    assert world.ask(follower, here, Exists("/b")) is not None
    with pytest.raises(SessionClosedError):
        world.submit(follower, gone, Exists("/a"))


# --- the contract


def test_nothing_may_be_fed_while_a_ready_is_out() -> None:
    world, _, follower = elected()
    session = world.open(follower)
    replica = world.replicas[follower]
    replica.submit(session, Create("/a", b""), world.now)
    ready = replica.drain()
    assert ready.early
    for feed in (
        lambda: replica.tick(1, world.now),
        lambda: replica.receive(1, Forward(b""), world.now),
        lambda: replica.open(4000, world.now, password=PASSWORD),
        lambda: replica.attach(session, password=PASSWORD, last_zxid=0, next_xid=2, now=world.now),
        lambda: replica.submit(session, Exists("/a"), world.now),
        lambda: replica.touch(session, 1, world.now),
    ):
        with pytest.raises(RuntimeError, match="Ready is out"):
            feed()
    world.carry_out(follower, ready)
    world.act(follower)
    world.settle()
    assert world.ask(follower, session, Create("/b", b"")).path == "/b"


def test_reading_is_allowed_while_a_ready_is_out() -> None:
    world, leader, _ = elected()
    session = world.open(leader)
    replica = world.replicas[leader]
    replica.submit(session, Create("/a", b""), world.now)
    ready = replica.drain()
    assert ready.writes
    assert replica.read(session, Exists("/a")) is None
    world.carry_out(leader, ready)
    world.act(leader)
    world.settle()
    assert replica.read(session, Exists("/a")) is not None


def test_without_a_leader_nothing_is_opened_and_nothing_attached() -> None:
    replica = Replica(1, EnsembleConfig([1, 2, 3]), MemoryStorage())
    assert not replica.serving
    with pytest.raises(ConnectionLostError):
        replica.open(4000, 0, password=PASSWORD)
    with pytest.raises(ConnectionLostError):
        replica.attach(7, password=PASSWORD, last_zxid=0, next_xid=1, now=0)
    for use in (lambda: replica.touch(7, 1, 0), lambda: replica.submit(7, Exists("/"), 0)):
        with pytest.raises(SessionClosedError):
            use()


@pytest.mark.parametrize("timeout_ms", [0, -1, 1 << 31])
def test_the_timeout_of_a_session_is_a_positive_number_of_32_bits(timeout_ms: int) -> None:
    world, _, follower = elected()
    with pytest.raises(BadArgumentsError):
        world.replicas[follower].open(timeout_ms, world.now, password=PASSWORD)
    assert world.ask(follower, world.open(follower), Create("/a", b"")).path == "/a"


@pytest.mark.parametrize("next_xid", [0, -1, 1 << 31])
def test_the_numbers_of_requests_have_31_bits(next_xid: int) -> None:
    world, leader, follower = elected()
    session = world.open(leader)
    with pytest.raises(BadArgumentsError):
        world.attach(follower, session, next_xid=next_xid)


def test_the_numbers_of_requests_begin_again_after_the_last() -> None:
    world, leader, follower = elected()
    session = world.open(leader)
    world.attach(follower, session, next_xid=MAX_XID)
    world.settle()
    world.ask(follower, session, Create("/last", b""))
    world.ask(follower, session, Create("/first", b""))
    assert [reply.xid for reply in world.replies(follower, session)] == [MAX_XID, 1]


def test_a_replica_must_be_a_member() -> None:
    with pytest.raises(ConfigurationError):
        Replica(4, EnsembleConfig([1, 2, 3]), MemoryStorage())


# --- ends


def test_closing_a_session_is_answered_and_takes_its_ephemerals_along() -> None:
    world, leader, follower = elected()
    session, other = world.open(follower), world.open(leader)
    world.ask(follower, session, Create("/mine", b"", mode=1))
    world.submit(follower, session, CloseSession())
    world.settle()
    replied, ended = world.heard(follower, session)[-2:]
    assert isinstance(replied, Replied)
    assert replied.error is None
    assert str(ended) == f"ended {session:#x}"
    assert world.ask(leader, other, Exists("/mine")) is None


def test_losing_the_leader_detaches_every_session_and_forgets_its_watches() -> None:
    world, leader, follower = elected()
    session = world.open(follower)
    world.ask(follower, session, Exists("/a", watch=True))
    world.submit(follower, session, Create("/a", b""))
    world.kill(leader)
    assert isinstance(world.heard(follower, session)[-1], Detached)
    with pytest.raises(ConnectionLostError):
        world.attach(follower, session)
    world.elect()
    other = world.open(follower)
    if world.ask(follower, other, Exists("/a")) is None:
        world.ask(follower, other, Create("/a", b""))
    assert isinstance(world.heard(follower, session)[-1], Detached)


def test_an_epoch_without_zxids_left_ends_and_the_next_goes_on() -> None:
    world = Ensemble(limits=Limits(last_counter=3))
    leader = world.elect()
    session = world.open(leader)
    world.submit(leader, session, *(Create(f"/n{number}", b"") for number in range(4)))
    world.settle()
    assert isinstance(world.heard(leader, session)[-1], Detached)
    assert world.ask(world.elect(), world.open(world.elect()), Create("/next", b"")).stat.czxid >> 32 == 2
