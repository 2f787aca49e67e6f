"""Sessions: how they expire, how they move from one replica to another, and what their clients may conclude."""

from __future__ import annotations

import pytest
from virtual import PASSWORD, Ensemble

from zkcore.errors import ConnectionLostError, SessionClosedError
from zkcore.replica.answers import Attached, Detached, Replied, SessionEnded, Touched, WatchFired
from zkcore.replica.forward import Claim, Submit, TouchReply, pack
from zkcore.tree.requests import CloseSession, Create, Delete, Exists, GetData, SetData, encode_request
from zkcore.tree.sessions import key_of
from zkcore.zab.messages import Forward, Role

EPHEMERAL = 1


def elected() -> tuple[Ensemble, int, int, int]:
    """Three replicas: the leader and its two followers."""
    world = Ensemble()
    leader = world.elect()
    one, two = world.followers()
    return world, leader, one, two


def lives(world: Ensemble, session: int) -> set[bool]:
    """Whether the session lives, in the opinion of each replica."""
    return {session in replica.tree.sessions for replica in world.replicas.values()}


# --- expiry


@pytest.mark.parametrize("at_the_leader", [True, False])
def test_a_silent_session_ends_with_its_ephemerals_but_not_before_its_timeout(at_the_leader: bool) -> None:
    world, leader, follower, other = elected()
    me = leader if at_the_leader else follower
    session, watching = world.open(me, 500), world.open(other, 10_000)
    world.ask(me, session, Create("/mine", b"", mode=EPHEMERAL))
    world.ask(other, watching, Exists("/mine", watch=True))
    world.pass_ms(490)
    assert lives(world, session) == {True}
    world.pass_ms(30)
    assert lives(world, session) == {False}
    assert world.heard(me, session)[-1] == SessionEnded(session)
    assert isinstance(world.heard(other, watching)[-1], WatchFired)
    assert world.ask(other, watching, Exists("/mine")) is None


@pytest.mark.parametrize("at_the_leader", [True, False])
def test_a_session_lives_as_long_as_it_is_touched(at_the_leader: bool) -> None:
    world, leader, follower, _ = elected()
    me = leader if at_the_leader else follower
    session = world.open(me, 500)
    for token in range(1, 6):
        world.pass_ms(400)
        world.touch(me, session, token)
        world.settle()
        assert world.heard(me, session)[-1] == Touched(session, token, True)
    assert lives(world, session) == {True}


def test_requests_are_signs_of_life_too() -> None:
    world, _, follower, _ = elected()
    session = world.open(follower, 500)
    for number in range(5):
        world.pass_ms(400)
        world.ask(follower, session, Create(f"/n{number}", b""))
    assert lives(world, session) == {True}


def test_a_touch_in_the_batch_of_many_ticks_counts_from_their_end() -> None:
    world, leader, _, _ = elected()
    session = world.open(leader, 500)
    replica = world.replicas[leader]
    replica.touch(session, 1, world.now)
    replica.tick(40, world.now + 400)  # what passed before the touch is told after it
    world.act(leader)
    world.pass_ms(490)
    assert lives(world, session) == {True}
    world.pass_ms(40)
    assert lives(world, session) == {False}


def test_a_session_whose_end_is_decided_is_told_so_and_not_that_it_lives() -> None:
    world, leader, _, _ = elected()
    session = world.open(leader, 500)
    replica = world.replicas[leader]
    world.pass_ms(490)
    replica.tick(5, world.now)
    replica.touch(session, 1, world.now)
    world.act(leader)
    world.settle()
    assert Touched(session, 1, True) not in world.heard(leader, session)
    assert lives(world, session) == {False}


def test_an_end_that_is_lost_with_its_leader_is_told_to_nobody() -> None:
    """The session has expired while the leader hands over, so that its end cannot be proposed any more."""
    world, leader, one, two = elected()
    session, other = world.open(leader, 500), world.open(leader)
    world.hold((one, leader))
    world.submit(leader, other, Create("/not-acknowledged", b""))
    world.replicas[leader].transfer(one)
    world.act(leader)
    world.pass_ms(520)
    world.touch(leader, session)
    world.attach(two, session)
    world.pass_ms(100)
    assert not any(isinstance(told, Touched | SessionEnded) for told in world.heard(leader, session))
    assert world.heard(two, session) == []

    world.release((one, leader))
    world.run(lambda: world.replicas[two].leader == one)
    assert lives(world, session) == {True}
    world.attach(two, session)
    world.settle()
    assert world.heard(two, session)[-1] == Attached(session)


def test_a_new_leader_gives_every_session_its_full_timeout() -> None:
    world, leader, follower, _ = elected()
    session = world.open(follower, 2000)
    world.pass_ms(1900)
    world.kill(leader)
    world.elect()
    elected_at = world.now
    world.run(lambda: lives(world, session) == {False})
    assert 2000 <= world.now - elected_at <= 2000 + 300


def test_a_deposed_leader_that_does_not_know_it_confirms_nothing() -> None:
    world, leader, one, two = elected()
    session = world.open(leader, 10_000)
    elsewhere = world.open(one, 10_000)
    for peer in (one, two):
        world.hold((leader, peer), (peer, leader))
    world.run(lambda: world.replicas[one].leader in (one, two))
    if world.replicas[leader].leader == leader:
        world.touch(leader, session)
        world.attach(leader, elsewhere)
        world.pass_ms(500)
    assert not any(isinstance(told, Touched | Attached) for told in world.told[leader])


def test_a_deposed_leader_confirms_nothing_while_the_others_have_just_left_it() -> None:
    """The followers lose their links, and the leader does not hear of it: the worst case for who counts on it."""
    world, leader, one, two = elected()
    session = world.open(leader, 10_000)
    for peer in (one, two):
        world.hold((leader, peer), (peer, leader))
        world.replicas[peer].report_lost(leader)
        world.act(peer)
    world.run(lambda: world.replicas[one].leader in (one, two))
    assert world.replicas[leader].leader == leader, "it does not know yet"
    world.touch(leader, session)
    world.pass_ms(300)
    assert not any(isinstance(told, Touched) for told in world.heard(leader, session))


# --- moving


def test_a_session_goes_on_elsewhere_with_its_ephemerals_and_without_its_watches() -> None:
    world, _, one, two = elected()
    session = world.open(one)
    world.ask(one, session, Create("/mine", b"", mode=EPHEMERAL))
    world.ask(one, session, GetData("/mine", watch=True))
    world.replicas[one].detach(session)
    world.act(one)
    world.attach(two, session, last_zxid=world.replicas[one].tree.last_zxid)
    world.settle()
    assert world.heard(two, session) == [Attached(session)]
    world.ask(two, session, SetData("/mine", b"1"))
    assert not any(isinstance(told, WatchFired) for told in world.told[one] + world.told[two])
    world.replicas[two].submit(session, CloseSession(), world.now)
    world.act(two)
    world.settle()
    assert "/mine" not in {path for replica in world.replicas.values() for path in replica.tree.ephemerals(session)}


def test_the_old_place_is_told_that_the_session_moved() -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    world.attach(two, session)
    world.settle()
    world.submit(one, session, Create("/late", b""))
    world.settle()
    assert isinstance(world.heard(one, session)[-1], Detached)
    assert world.ask(two, session, Exists("/late")) is None
    with pytest.raises(SessionClosedError):
        world.submit(one, session, Exists("/late"))
    assert world.replicas[leader].leader == leader


def test_a_request_still_on_its_way_from_the_old_place_is_refused() -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    world.hold((one, leader))
    world.submit(one, session, Create("/late", b""))
    world.attach(two, session)
    world.settle()
    assert world.heard(two, session) == [Attached(session)]
    assert world.ask(two, session, Exists("/late")) is None
    world.release((one, leader))
    world.settle()
    assert world.ask(two, session, Exists("/late")) is None
    assert isinstance(world.heard(one, session)[-1], Detached)


def test_attaching_waits_until_what_got_through_is_applied() -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    world.submit(one, session, Create("/a", b""))
    world.hold((leader, two))
    world.settle()
    world.attach(two, session)
    world.settle()
    assert world.heard(two, session) == []
    world.release((leader, two))
    world.settle()
    assert world.heard(two, session) == [Attached(session)]
    assert world.ask(two, session, Exists("/a")) is not None


def test_attaching_waits_for_a_replica_that_applies_slowly() -> None:
    world = Ensemble(slow=(2,))
    leader, two = world.elect(), 2
    assert leader != two
    session = world.open(leader)
    world.hold((leader, two))
    world.submit(leader, session, *(Create(f"/n{number}", b"") for number in range(40)))
    world.settle()
    world.attach(two, session)
    world.settle()
    world.release((leader, two))
    assert world.replicas[two].tree.read(Exists("/n39")) is None
    world.step_until(lambda: Attached(session) in world.heard(two, session))
    assert world.replicas[two].tree.read(Exists("/n39")) is not None


def test_who_attaches_too_late_is_told_of_the_end_once_that_is_applied() -> None:
    world = Ensemble(slow=(2,))
    leader, two = world.elect(), 2
    session = world.open(leader)
    world.hold((leader, two))
    world.submit(leader, session, *(Create(f"/n{number}", b"") for number in range(40)), CloseSession())
    world.settle()
    world.attach(two, session)
    world.settle()
    world.release((leader, two))
    assert session in world.replicas[two].tree.sessions
    world.step_until(lambda: SessionEnded(session) in world.heard(two, session))
    assert session not in world.replicas[two].tree.sessions


def test_a_session_that_is_being_killed_is_told_of_its_end_when_that_is_committed() -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    assert world.replicas[leader].kill(session, world.now)
    world.attach(two, session)
    world.settle()
    assert world.heard(two, session) == []
    world.run(lambda: SessionEnded(session) in world.heard(two, session))
    assert session not in world.replicas[two].tree.sessions


def test_a_client_that_attaches_where_it_was_has_its_old_watches_no_more() -> None:
    world, _, one, _ = elected()
    session = world.open(one)
    world.ask(one, session, Exists("/a", watch=True))
    world.attach(one, session)
    world.settle()
    world.ask(one, session, Create("/a", b""))
    assert not any(isinstance(told, WatchFired) for told in world.heard(one, session))


def test_the_end_of_a_session_is_no_answer_to_what_it_asked() -> None:
    world, leader, one, _ = elected()
    session = world.open(one, 500)
    world.pass_ms(400)
    world.hold((one, leader))
    world.submit(one, session, Create("/a", b""), Exists("/a"))
    world.pass_ms(200)
    assert world.heard(one, session)[-1] == SessionEnded(session)
    assert len(world.replies(one, session)) == 1, "that of its creation"


def test_a_replica_that_is_behind_what_the_session_saw_does_not_take_it() -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    world.hold((leader, two))
    seen = world.ask(one, session, Create("/a", b"")).stat.czxid
    with pytest.raises(ConnectionLostError):
        world.attach(two, session, last_zxid=seen)
    world.release((leader, two))
    world.settle()
    world.attach(two, session, last_zxid=seen)
    world.settle()
    assert world.heard(two, session) == [Attached(session)]


@pytest.mark.parametrize("at_the_leader", [True, False])
def test_a_session_that_is_over_cannot_be_attached(at_the_leader: bool) -> None:
    world, leader, follower, _ = elected()
    me = leader if at_the_leader else follower
    for session in (world.open(follower, 500), 12345):
        world.pass_ms(520)
        world.attach(me, session)
        world.settle()
        assert world.heard(me, session)[-1] == SessionEnded(session)


def test_a_session_that_ends_while_it_is_being_attached_ends() -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    world.submit(one, session, CloseSession())
    world.hold((leader, two))
    world.settle()
    world.attach(two, session)
    world.release((leader, two))
    world.settle()
    assert world.heard(two, session)[-1] == SessionEnded(session)


def test_a_session_claimed_in_the_moment_of_its_expiry_does_not_live_for_ever() -> None:
    world, leader, one, two = elected()
    session = world.open(one, 500)
    world.ask(one, session, Create("/mine", b"", mode=EPHEMERAL))
    world.pass_ms(490)
    world.now += 50
    world.replicas[leader].receive(two, Forward(pack(Claim(session, 1, key_of(session, PASSWORD)))), world.now)
    world.replicas[leader].tick(5, world.now)
    world.act(leader)
    world.settle()
    world.pass_ms(2000)
    assert lives(world, session) == {False}


def test_the_late_answer_to_an_earlier_claim_does_not_attach() -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    world.hold((leader, two))
    world.attach(two, session)  # the answer is held back ...
    world.settle()
    world.replicas[two].detach(session)
    world.act(two)
    world.attach(one, session, next_xid=2000)
    world.settle()
    world.ask(one, session, Create("/a", b""))
    world.hold((two, leader))
    world.attach(two, session, next_xid=3000)
    claimed = [message for message in world.flying[leader, two] if isinstance(message, Forward)]
    assert claimed
    world.replicas[two].receive(leader, claimed[0], world.now)  # ... and comes when another is waited for
    world.act(two)
    attached = Attached(session) in world.heard(two, session)
    assert not attached or world.replicas[two].read(session, Exists("/a")) is not None


# --- what became of a request


def carry(world: Ensemble, steps: int) -> None:
    for _ in range(steps):
        if not world.deliver_one():
            return


@pytest.mark.parametrize("victim", ["leader", "follower"])
@pytest.mark.parametrize("steps", range(14))
def test_once_attached_a_client_knows_what_became_of_its_request(steps: int, victim: str) -> None:
    """The answer is lost at any point of its way. What the session reads where it is attached next is final, and what
    it did not find it may ask for again."""
    world, leader, one, two = elected()
    session = world.open(one)
    for peer in world.replicas:
        world.ask(peer, world.open(peer), Create(f"/before-{peer}", b""))
    (xid,) = world.submit(one, session, Create("/a", b"first"))
    carry(world, steps)
    world.kill(leader if victim == "leader" else one)
    answered = [reply for reply in world.replies(one, session) if reply.xid == xid and reply.error is None]
    world.elect()
    place = two if victim == "follower" else next(iter(world.followers()))
    world.attach(place, session, next_xid=100)
    world.run(lambda: Attached(session) in world.heard(place, session))
    found = world.replicas[place].read(session, Exists("/a"))
    if answered:
        assert found is not None, "what was acknowledged is there"
    if found is None:
        created = world.ask(place, session, Create("/a", b"second"))
        assert created.stat.version == 0
    world.start(leader if victim == "leader" else one)
    world.elect()
    world.pass_ms(1000)
    assert len(world.trees()) == 1
    assert world.ask(place, session, GetData("/a")).data == (b"first" if found is not None else b"second")


def test_after_a_session_ended_its_unanswered_requests_never_happen() -> None:
    world, _, follower, other = elected()
    session = world.open(follower)
    world.submit(follower, session, CloseSession(), Create("/a", b""), Delete("/zookeeper"))
    world.settle()
    assert world.heard(follower, session)[-1] == SessionEnded(session)
    assert world.ask(other, world.open(other), Exists("/a")) is None


def test_the_leader_refuses_a_session_that_does_not_live_in_a_transaction() -> None:
    world, leader, follower, _ = elected()
    session = world.open(follower)
    before = world.replicas[leader].tree.last_zxid
    unknown = Submit(99, 1, *encode_request(Create("/a", b"")))
    world.replicas[leader].receive(follower, Forward(pack(unknown)), world.now)
    world.act(leader)
    world.settle()
    assert world.replicas[follower].tree.last_zxid == before + 1
    assert world.ask(follower, session, Exists("/a")) is None


def test_signs_of_life_that_reach_no_leader_are_not_answered() -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    world.hold((one, leader), (two, leader), (leader, one), (leader, two))
    world.touch(one, session)
    world.settle()
    assert not any(isinstance(told, Touched) for told in world.heard(one, session))


def test_what_one_follower_says_in_the_name_of_the_leader_is_ignored() -> None:
    world, _, one, two = elected()
    session = world.open(one)
    world.replicas[one].receive(two, Forward(pack(TouchReply(session, 1, True))), world.now)
    world.act(one)
    assert not any(isinstance(told, Touched) for told in world.heard(one, session))


def test_requests_that_reach_a_leader_before_it_is_ready_wait_for_it() -> None:
    """Its followers may be established a moment before it has delivered all it must itself."""
    world, leader, one, two = elected()
    session = world.open(one)
    world.kill(leader)
    def just_leading() -> list[int]:
        return [me for me in (one, two) if world.replicas[me].peer.role is Role.LEADING]

    def is_not_ready() -> bool:
        return bool(just_leading()) and not world.replicas[just_leading()[0]].serving

    world.step_until(is_not_ready)
    (new,) = just_leading()
    sender = two if new == one else one
    early = Submit(session, 50, *encode_request(Create("/early", b"")))
    world.replicas[new].receive(sender, Forward(pack(early)), world.now)
    world.act(new)
    world.elect()
    world.settle()
    assert world.ask(sender, world.open(sender), Exists("/early")) is not None


def test_answers_of_a_request_made_before_the_move_are_not_taken_for_answers_after_it() -> None:
    world, leader, one, two = elected()
    session = world.open(one)
    world.submit(one, session, Create("/old", b""))
    carry(world, 1)
    world.hold((leader, two), (leader, one))
    world.attach(two, session)
    world.release((leader, two), (leader, one))
    world.settle()
    (xid,) = world.submit(two, session, Create("/new", b""))
    world.settle()
    assert [(reply.xid, reply.result.path) for reply in world.replies(two, session)] == [(xid, "/new")]
    assert isinstance(world.replies(two, session)[0], Replied)
