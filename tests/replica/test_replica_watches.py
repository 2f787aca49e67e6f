"""Watches of sessions that move, of sessions that do not keep up, and of those who may not know."""

from __future__ import annotations

from random import Random

import pytest
from virtual import Ensemble

from zkcore.errors import SessionClosedError
from zkcore.jute.records import ACL, OPEN_ACL
from zkcore.replica.answers import Attached, Replied, WatchFired
from zkcore.replica.rules import Rules
from zkcore.tree.acl import digest_id
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import Create, Delete, Exists, GetChildren, GetData, Multi, Request, SetACL, SetData
from zkcore.tree.watch_requests import AddWatch, CatchUp, Missed, Resync, WatchMode
from zkcore.zab.limits import Limits

CREATED, DELETED = EventType.NODE_CREATED, EventType.NODE_DELETED
CHANGED, CHILDREN = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED
RECURSIVE = WatchMode.PERSISTENT_RECURSIVE

ADA = digest_id("ada", "pw")
ADAS = (ACL(31, ADA),)
"""Nobody else may read."""


def elected(*, rules: Rules | None = None, limits: Limits | None = None) -> tuple[Ensemble, int, int, int]:
    """Three replicas: the leader and its two followers."""
    world = Ensemble(rules=rules, limits=limits)
    leader = world.elect()
    one, two = world.followers()
    return world, leader, one, two


def told(world: Ensemble, me: int, session: int) -> list[Missed]:
    return [answer.event for answer in world.heard(me, session) if isinstance(answer, WatchFired)]


def kinds(missed: list[Missed] | tuple[Missed, ...]) -> list[tuple[EventType, str]]:
    return [(event.type, event.path) for event in missed if isinstance(event, WatchEvent)]


# --- who may know


def test_what_happens_to_a_znode_is_told_to_those_who_may_read_it() -> None:
    world, leader, one, _ = elected()
    ada, bob = world.open(one, ids=(ADA,)), world.open(one)
    for session in (ada, bob):
        world.ask(one, session, AddWatch("/", RECURSIVE))
    acting = world.open(leader, ids=(ADA,))
    for request in (
        Create("/secret", b"", acl=ADAS), SetData("/secret", b"1"), Create("/open"), Delete("/secret"),
        Multi([Create("/secret", acl=ADAS), Create("/secret/too", acl=ADAS)]),
        Multi([Delete("/secret/too"), Delete("/secret")]),
    ):  # fmt: skip
        world.ask(leader, acting, request)
    assert kinds(told(world, one, bob)) == [(CREATED, "/open")]
    assert kinds(told(world, one, ada)) == [
        (CREATED, "/secret"), (CHANGED, "/secret"), (CREATED, "/open"), (DELETED, "/secret"),
        (CREATED, "/secret"), (CREATED, "/secret/too"), (DELETED, "/secret/too"), (DELETED, "/secret"),
    ]  # fmt: skip


def test_ephemerals_that_end_with_their_session_are_told_of_by_the_acls_they_had() -> None:
    world, leader, one, _ = elected()
    ada, bob, doomed = world.open(one, ids=(ADA,)), world.open(one), world.open(leader, 300, ids=(ADA,))
    world.ask(leader, doomed, Create("/hers", acl=ADAS, mode=1))
    world.ask(one, ada, Exists("/hers", watch=True))
    world.ask(one, bob, AddWatch("/", RECURSIVE))
    world.pass_ms(400)
    assert kinds(told(world, one, ada)) == [(DELETED, "/hers")]
    assert told(world, one, bob) == []


def test_a_watch_set_when_everybody_might_know_is_judged_when_it_goes_off() -> None:
    world, leader, one, _ = elected()
    bob, ada = world.open(one), world.open(leader, ids=(ADA,))
    world.ask(leader, ada, Create("/a"))
    world.ask(one, bob, GetData("/a", watch=True))
    world.ask(one, bob, GetChildren("/a", watch=True))
    world.ask(leader, ada, SetACL("/a", ADAS))
    world.ask(leader, ada, Create("/a/b"))
    world.ask(leader, ada, SetData("/a", b"1"))
    assert told(world, one, bob) == []
    world.ask(leader, ada, SetACL("/a", OPEN_ACL))
    world.ask(leader, ada, SetData("/a", b"2"))
    assert told(world, one, bob) == [], "a one-shot watch ends all the same"


def test_who_authenticates_is_told_from_then_on() -> None:
    world, leader, one, _ = elected()
    late, ada = world.open(one), world.open(leader, ids=(ADA,))
    world.ask(one, late, AddWatch("/", RECURSIVE))
    world.ask(leader, ada, Create("/a", acl=ADAS))
    world.replicas[one].identify(late, [ADA])
    world.ask(leader, ada, SetData("/a", b"1"))
    assert kinds(told(world, one, late)) == [(CHANGED, "/a")]


# --- sessions that move


def test_who_comes_from_another_replica_catches_up_with_what_it_missed_and_may_know() -> None:
    world, leader, one, two = elected()
    ada, bob = world.open(one, ids=(ADA,)), world.open(one)
    acting = world.open(leader, ids=(ADA,))
    world.ask(leader, acting, Create("/a"))
    for session in (ada, bob):
        world.ask(one, session, AddWatch("/a", RECURSIVE))
    seen = world.replicas[one].tree.last_zxid
    for session in (ada, bob):
        world.replicas[one].detach(session)
    world.act(one)
    for request in (Create("/a/b", acl=ADAS), SetData("/a", b"1"), Delete("/a/b"), Create("/elsewhere")):
        world.ask(leader, acting, request)
    for session, ids in ((ada, (ADA,)), (bob, ())):
        world.attach(two, session, last_zxid=seen, ids=ids)
    world.settle()
    missed = {session: world.ask(two, session, CatchUp(seen, recursive=["/a"])) for session in (ada, bob)}
    assert kinds(missed[ada]) == [(CREATED, "/a/b"), (CHANGED, "/a"), (DELETED, "/a/b")]
    assert kinds(missed[bob]) == [(CHANGED, "/a")]
    world.ask(leader, acting, SetData("/a", b"2"))
    assert kinds(told(world, two, ada)) == kinds(told(world, two, bob)) == [(CHANGED, "/a")]


def restored() -> tuple[Ensemble, int, int, int]:
    """A leader, and a follower that got a snapshot; the zxid before the last change that is in it."""
    world, leader, late, _ = elected(limits=Limits(retained_records=1))
    session = world.open(leader)
    world.kill(late)
    for number in range(5):
        world.ask(leader, session, Create(f"/n{number}"))
    seen = world.replicas[leader].tree.last_zxid
    world.ask(leader, session, Create("/unseen"))
    ref, pieces = world.replicas[leader].snapshot()
    world.storages[leader].save_snapshot(ref, pieces)
    world.replicas[leader].compact(ref)
    world.act(leader)
    world.storages[late].wipe()
    world.start(late)
    world.run(lambda: world.replicas[late].leader == leader)
    return world, leader, late, seen


def test_a_replica_that_restored_a_snapshot_says_what_it_cannot_know() -> None:
    world, leader, late, seen = restored()
    session = world.open(late)
    snapshot = world.replicas[late].tree.last_zxid
    answer = world.ask(late, session, CatchUp(seen, persistent=["/n1"], recursive=["/"], data=["/n0"]))
    assert set(answer) == {Resync("/n1", seen, world.replicas[late].tree.last_zxid),
                           Resync("/", seen, world.replicas[late].tree.last_zxid)}  # fmt: skip
    world.ask(leader, world.open(leader), SetData("/n1", b"1"))
    assert kinds(world.ask(late, session, CatchUp(snapshot, recursive=["/n1"]))) == [(CHANGED, "/n1")]


# --- sessions that do not keep up


def slow(rules: Rules | None = None) -> tuple[Ensemble, int, int, int]:
    """A paused session that watches /a, below it, and once the children of the root; and one that acts."""
    world, leader, one, _ = elected(rules=rules)
    acting, session = world.open(leader), world.open(one)
    world.ask(leader, acting, Create("/a"))
    world.ask(one, session, AddWatch("/a", RECURSIVE))
    world.ask(one, session, GetChildren("/", watch=True))
    world.replicas[one].pause(session)
    for request in (SetData("/a", b"1"), Create("/a/b"), Create("/c"), Delete("/a/b")):
        world.ask(leader, acting, request)
    return world, one, session, acting


def test_a_paused_session_is_told_nothing_until_it_is_resumed_and_then_everything_in_order() -> None:
    world, one, session, acting = slow()
    assert told(world, one, session) == []
    world.replicas[one].resume(session)
    world.act(one)
    assert kinds(told(world, one, session)) == [
        (CHANGED, "/a"), (CREATED, "/a/b"), (CHILDREN, "/"), (DELETED, "/a/b"),
    ]  # fmt: skip
    world.ask(one, session, SetData("/a", b"2"))
    assert kinds(told(world, one, session))[4:] == [(CHANGED, "/a")]
    assert acting != session


def test_no_answer_overtakes_what_a_paused_session_was_not_told() -> None:
    world, one, session, _ = slow()
    replica = world.replicas[one]
    assert not replica.can_read(session)
    assert world.ask(one, session, GetData("/a")).data == b"1"
    heard = world.heard(one, session)
    assert isinstance(heard[-1], Replied)
    assert [type(answer) for answer in heard[-5:-1]] == [WatchFired] * 4
    assert replica.can_read(session)


def test_the_answer_to_its_own_write_does_not_overtake_either() -> None:
    world, one, session, _ = slow()
    world.ask(one, session, SetData("/a", b"mine"))
    assert kinds(told(world, one, session))[-1] == (CHANGED, "/a")
    assert isinstance(world.heard(one, session)[-1], Replied)


@pytest.mark.parametrize("rules", [Rules(watch_history=2), Rules(watch_most=2)], ids=["forgotten", "too much"])
def test_what_a_slow_session_cannot_be_told_any_more_it_is_told_of(rules: Rules) -> None:
    world, one, session, _ = slow(rules)
    world.replicas[one].resume(session)
    world.act(one)
    found = told(world, one, session)
    assert [event.path for event in found if isinstance(event, Resync)] == ["/a"]
    assert kinds(found) == [(CHILDREN, "/")], "the events of one-shot watches are never too many"


def test_only_a_session_served_here_can_be_paused() -> None:
    world, _, one, two = elected()
    session = world.open(one)
    for call in (world.replicas[two].pause, world.replicas[two].resume):
        with pytest.raises(SessionClosedError):
            call(session)


# --- all together


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_a_moving_session_hears_everything_once_or_that_it_did_not(seed: int) -> None:
    """One session watches everything, moves about, and is paused now and then; all that is told or caught up with is
    every change there was, in order, but for the gaps that a Resync names."""
    rng = Random(seed)
    world = Ensemble(rules=Rules(watch_history=rng.choice((3, 1000)), watch_most=rng.choice((3, 1000))))
    leader = world.elect()
    acting, session = world.open(leader, 600_000), world.open(leader, 600_000)
    place: int | None = leader
    world.ask(leader, session, AddWatch("/", RECURSIVE))
    start = seen = world.replicas[leader].tree.last_zxid
    heard: list[Missed] = []
    changes: list[tuple[EventType, str, int]] = []
    read_up_to = len(world.told[leader])
    for _ in range(60):
        draw = rng.random()
        if draw < 0.6:
            _act(world, leader, acting, rng, changes)
        elif draw < 0.7 and place is not None:
            world.replicas[place].pause(session)
        elif draw < 0.8 and place is not None:
            world.replicas[place].resume(session)
            world.act(place)
        elif draw < 0.9 and place is not None:
            world.replicas[place].resume(session)
            world.act(place)
            heard += _news(world, place, session, read_up_to)
            seen = world.replicas[place].tree.last_zxid
            world.replicas[place].detach(session)
            place = None
        elif place is None:
            place = rng.choice(list(world.replicas))
            read_up_to = len(world.told[place])
            world.attach(place, session, last_zxid=seen)
            world.settle()
            assert Attached(session) in world.told[place][read_up_to:]
            heard += world.replicas[place].read(session, CatchUp(seen, recursive=["/"]))
            read_up_to = len(world.told[place])
    if place is not None:
        world.replicas[place].resume(session)
        world.act(place)
        heard += _news(world, place, session, read_up_to)
        seen = world.replicas[place].tree.last_zxid
    _check(heard, changes, start, seen)


def _act(
    world: Ensemble, leader: int, session: int, rng: Random, changes: list[tuple[EventType, str, int]]
) -> None:
    path = rng.choice(("/a", "/b"))
    exists = world.replicas[leader].tree.persisted(path) is not None
    request: Request[object] = Create(path)
    if exists:
        request = rng.choice((SetData(path, b""), Delete(path)))
    world.ask(leader, session, request)
    kind = {Create: CREATED, SetData: CHANGED, Delete: DELETED}[type(request)]
    changes.append((kind, path, world.replicas[leader].tree.last_zxid))


def _news(world: Ensemble, me: int, session: int, since: int) -> list[Missed]:
    answers = world.told[me][since:]
    return [answer.event for answer in answers if isinstance(answer, WatchFired) and answer.session == session]


def _check(heard: list[Missed], changes: list[tuple[EventType, str, int]], start: int, end: int) -> None:
    position = start
    for missed in heard:
        if isinstance(missed, Resync):
            assert missed.since <= position <= missed.zxid
            position = missed.zxid
            continue
        between = [change for change in changes if position < change[2] < missed.zxid]
        assert between == [], "these were told to nobody"
        assert tuple(missed) in changes
        assert missed.zxid > position, "told twice, or out of order"
        position = missed.zxid
    assert [change for change in changes if position < change[2] <= end] == []


# --- which state an answer shows


def test_an_answer_says_which_state_it_shows_also_in_the_middle_of_a_batch() -> None:
    """Whoever moves on with a later zxid than that would never hear of the events between the two."""
    world, _leader, one, _ = elected()
    mine, watching = world.open(one), world.open(one)
    before = world.replicas[one].tree.last_zxid
    world.ask(one, watching, AddWatch("/", RECURSIVE))
    world.submit(one, mine, Create("/a"), Create("/b"), GetChildren("/"), Create("/c"))
    world.settle()
    assert [reply.zxid - before for reply in world.replies(one, mine)[-4:]] == [1, 2, 2, 3]
    world.submit(one, watching, GetChildren("/"))
    world.settle()
    heard = world.heard(one, watching)
    assert isinstance(heard[-1], Replied)
    assert heard[-1].zxid == heard[-2].event.zxid == before + 3
