"""Whose a session is, how long it may be silent, and who else can end it."""

from __future__ import annotations

import pytest
from virtual import PASSWORD, Ensemble

from zkcore.errors import AuthFailedError, BadArgumentsError, NotLeadingError
from zkcore.replica.answers import Attached, Detached, SessionEnded, WatchFired
from zkcore.replica.forward import Claim, pack
from zkcore.replica.leading import LiveSession
from zkcore.replica.rules import Rules
from zkcore.tree.requests import Create, CreateSession, Exists
from zkcore.tree.sessions import Timeouts, key_of
from zkcore.zab.messages import Forward

WRONG = b"fedcba9876543210"
EPHEMERAL = 1


def elected(*, rules: Rules | None = None) -> tuple[Ensemble, int, int, int]:
    """Three replicas: the leader and its two followers."""
    world = Ensemble(rules=rules)
    leader = world.elect()
    one, two = world.followers()
    return world, leader, one, two


def lives(world: Ensemble, session: int) -> bool:
    """Whether the session lives; the replicas must agree."""
    (answer,) = {session in replica.tree.sessions for replica in world.replicas.values()}
    return answer


# --- passwords


def test_the_replicated_state_has_the_key_to_a_session_and_not_its_password() -> None:
    world, _, one, _ = elected()
    session = world.open(one)
    for replica in world.replicas.values():
        assert replica.tree.session_keys[session] == key_of(session, PASSWORD)
    assert not any(PASSWORD in snapshot for snapshot in world.trees())


@pytest.mark.parametrize("password", [WRONG, b"", PASSWORD + b"0", bytes(16)])
def test_who_does_not_know_the_password_takes_no_session_up_and_disturbs_nobody(password: bytes) -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    for me in (leader, one, two):
        with pytest.raises(AuthFailedError, match="password"):
            world.attach(me, session, password=password)
    world.settle()
    assert world.ask(one, session, Create("/undisturbed")).path == "/undisturbed"
    assert not any(isinstance(told, Detached) for told in world.heard(one, session))


def test_a_replica_that_does_not_know_the_session_yet_leaves_the_judgement_to_the_leader() -> None:
    world, leader, one, two = elected()
    world.hold((leader, two))
    session = world.open(one)
    assert session not in world.replicas[two].tree.sessions
    world.attach(two, session, password=WRONG)
    world.release((leader, two))
    world.settle()
    assert world.heard(two, session) == [SessionEnded(session)]
    assert world.ask(one, session, Create("/undisturbed")).path == "/undisturbed"


def test_a_claim_with_a_wrong_key_is_no_sign_of_life() -> None:
    world, leader, one, _ = elected()
    session = world.open(one, 1000)
    for _ in range(4):
        world.pass_ms(240)
        world.replicas[leader].receive(one, Forward(pack(Claim(session, 9, key_of(session, WRONG)))), world.now)
        world.act(leader)
        world.settle()
    world.pass_ms(100)
    assert not lives(world, session)


def test_the_password_of_one_session_opens_no_other() -> None:
    world, _, one, two = elected()
    mine = world.replicas[one].open(10_000, world.now, password=WRONG)
    world.act(one)
    world.settle()
    theirs = world.open(one)
    with pytest.raises(AuthFailedError):
        world.attach(two, theirs, password=WRONG)
    world.attach(two, mine, password=WRONG)
    world.settle()
    assert world.heard(two, mine) == [Attached(mine)]


def test_a_session_can_be_attached_after_every_replica_was_started_anew() -> None:
    world, leader, one, two = elected()
    session = world.open(one, 60_000)
    for me in (leader, one, two):
        world.kill(me)
    for me in (leader, one, two):
        world.start(me)
    me = world.elect()
    with pytest.raises(AuthFailedError):
        world.attach(me, session, password=WRONG)
    world.attach(me, session)
    world.settle()
    assert Attached(session) in world.heard(me, session)


@pytest.mark.parametrize("password", [b"", b"short", bytes(17)])
def test_a_session_needs_a_password_of_the_right_size(password: bytes) -> None:
    world, leader, _, _ = elected()
    with pytest.raises(BadArgumentsError, match="password"):
        world.replicas[leader].open(10_000, world.now, password=password)


def test_no_request_changes_the_key_or_the_timeout() -> None:
    world, leader, _, _ = elected()
    session = world.open(leader)
    with pytest.raises(BadArgumentsError):
        world.submit(leader, session, CreateSession(1, key=key_of(session, WRONG)))
    assert world.replicas[leader].tree.sessions[session] == 10_000


# --- timeouts


@pytest.mark.parametrize(("asked", "granted"), [(1, 1000), (1500, 1500), (10_000, 2000)])
def test_a_session_gets_the_timeout_that_comes_nearest_to_what_it_asks_for(asked: int, granted: int) -> None:
    rules = Rules(timeouts=Timeouts(minimum_ms=1000, maximum_ms=2000))
    world, _, one, _ = elected(rules=rules)
    session = world.open(one, asked)
    assert {replica.tree.sessions[session] for replica in world.replicas.values()} == {granted}
    world.pass_ms(granted - 50)
    assert lives(world, session)
    world.pass_ms(100)
    assert not lives(world, session)


# --- listing and killing


def test_the_leader_lists_all_sessions_and_since_when_they_are_silent() -> None:
    world, leader, one, two = elected()
    first, second = sorted([world.open(one, 5000), world.open(two, 3000)])
    world.pass_ms(1000)
    world.touch(one if first >> 56 == one else two, first)
    world.settle()
    by_id = {replica_session.session: replica_session for replica_session in world.replicas[leader].sessions()}
    assert by_id.keys() == {first, second}
    assert by_id[first].silent_ms == 0
    assert 900 <= by_id[second].silent_ms <= 1100
    assert {found.timeout_ms for found in by_id.values()} == {5000, 3000}
    assert isinstance(by_id[first], LiveSession)
    with pytest.raises(NotLeadingError):
        world.replicas[one].sessions()


def test_a_killed_session_ends_with_all_its_ephemerals_in_one_transaction() -> None:
    world, leader, one, two = elected()
    session, watching = world.open(one), world.open(two)
    for number in range(3):
        world.ask(one, session, Create(f"/mine-{number}", mode=EPHEMERAL))
        world.ask(two, watching, Exists(f"/mine-{number}", watch=True))
    assert world.replicas[leader].kill(session, world.now)
    world.touch(one, session)
    world.pass_ms(50)
    assert not lives(world, session)
    assert world.heard(one, session)[-1] == SessionEnded(session)
    events = [told.event for told in world.heard(two, watching) if isinstance(told, WatchFired)]
    assert [event.path for event in events] == ["/mine-0", "/mine-1", "/mine-2"]
    assert len({event.zxid for event in events}) == 1


def test_only_the_leader_kills_and_only_what_lives() -> None:
    world, leader, one, _ = elected()
    session = world.open(one)
    with pytest.raises(NotLeadingError):
        world.replicas[one].kill(session, world.now)
    assert not world.replicas[leader].kill(session + 1, world.now)
    world.pass_ms(100)
    assert lives(world, session)
