"""Bounds and hand-overs: what waits while a leader takes nothing, who is refused, and what becomes of it afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from virtual import PASSWORD, Ensemble

from zkcore.errors import BadArgumentsError, NotLeadingError, ThrottledError, ZkcoreError
from zkcore.replica.answers import Attached, Detached, SessionEnded
from zkcore.replica.leading import Leading
from zkcore.replica.levels import Read
from zkcore.replica.rules import Rules
from zkcore.tree.requests import (
    CloseSession,
    Create,
    CreateSession,
    Delete,
    Exists,
    GetChildren,
    GetData,
    Request,
    SetData,
)
from zkcore.tree.tree import Tree
from zkcore.zab.limits import Limits
from zkcore.zab.ready import TransferFailed
from zkcore.zxid import MAX_COUNTER, make_zxid

FEW = 4


class Scene:
    """Three voters and an observer, with sessions at the leader and at the observer. While nothing that the voters
    say reaches the leader nothing is committed; what the observer says does reach it."""

    def __init__(self) -> None:
        self.world = Ensemble(3, observers=1, limits=Limits(outstanding_proposals=FEW))
        self.leader = self.world.elect()
        self.voters = self.world.followers()[:2]
        self.session = self.world.open(self.leader)
        self.at_leader = [self.world.open(self.leader) for _ in range(2 * FEW)]
        self.at_observer = [self.world.open(4) for _ in range(2 * FEW)]
        self.world.pass_ms(1000)

    def fill(self) -> None:
        """From now on as much is proposed as may be."""
        self.world.hold(*((voter, self.leader) for voter in self.voters))
        self.world.submit(self.leader, self.session, *(Create(f"/full{number}", b"") for number in range(FEW)))
        self.world.settle()
        assert self.world.replicas[self.leader].peer.is_full

    def release(self) -> None:
        self.world.release(*((voter, self.leader) for voter in self.voters))
        self.world.settle()

    def sessions(self, me: int) -> list[int]:
        return self.at_leader if me == self.leader else self.at_observer

    def names(self) -> set[str]:
        return set(self.world.replicas[self.leader].tree.read(GetChildren("/")))


def errors(world: Ensemble, me: int, session: int) -> list[type[ZkcoreError] | None]:
    """What the requests of a session were answered with, after its opening."""
    return [None if reply.error is None else type(reply.error) for reply in world.replies(me, session)[1:]]


@pytest.fixture(params=["leader", "observer"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(place: str) -> tuple[Scene, int]:
    scene = Scene()
    return scene, scene.leader if place == "leader" else 4


# --- what waits, and what is refused


def test_while_too_much_is_outstanding_requests_wait_and_go_on_in_order_afterwards(place: str) -> None:
    scene, me = made(place)
    session = scene.sessions(me)[0]
    scene.fill()
    logged = scene.world.replicas[scene.leader].peer.last_logged
    scene.world.submit(me, session, Create("/late", b""), SetData("/late", b"1"), GetData("/late"))
    scene.world.settle()
    assert scene.world.replicas[scene.leader].peer.last_logged == logged
    assert "requests that wait here to be proposed: 2" in scene.world.replicas[scene.leader].explain()
    scene.release()
    assert errors(scene.world, scene.leader, scene.session) == [None] * FEW
    assert [reply.xid for reply in scene.world.replies(me, session)] == [0, 1, 2, 3]
    assert scene.world.replies(me, session)[-1].result.data == b"1"


def test_beyond_what_may_wait_requests_are_refused_in_their_turn_and_never_applied(place: str) -> None:
    scene, me = made(place)
    scene.fill()
    for number, session in enumerate(scene.sessions(me)):
        scene.world.submit(me, session, Create(f"/n{number}", b""), Exists("/"))
    scene.world.settle()
    answered = {session for session in scene.sessions(me) if errors(scene.world, me, session)}
    assert answered == set(scene.sessions(me)[FEW:])
    for session in answered:
        assert errors(scene.world, me, session) == [ThrottledError, None]
        assert scene.world.replies(me, session)[1].error.applied == "no"
    scene.release()
    scene.world.pass_ms(1000)
    assert {name for name in scene.names() if name.startswith("n")} == {"n0", "n1", "n2", "n3"}
    assert scene.world.ask(me, answered.pop(), Create("/again", b"")).path == "/again"


def test_a_session_with_too_much_under_way_is_refused_at_once_and_nothing_has_happened(place: str) -> None:
    scene, me = made(place)
    session = scene.sessions(me)[0]
    scene.world.hold(*((voter, scene.leader) for voter in scene.voters))
    xids = scene.world.submit(me, session, *(Create(f"/n{number}", b"") for number in range(FEW)))
    for read in (Read.SESSION, Read.LINEARIZABLE):
        for request in (Create("/more", b""), Exists("/")):
            with pytest.raises(ThrottledError):
                scene.world.submit(me, session, request, read=read)
    scene.release()
    scene.world.pass_ms(1000)
    assert [reply.xid for reply in scene.world.replies(me, session)[1:]] == xids
    assert scene.world.ask(me, session, Exists("/more")) is None


def test_the_end_of_a_session_and_its_move_find_room_however_much_waits(place: str) -> None:
    scene, me = made(place)
    scene.fill()
    ending, *crowd = scene.sessions(me)
    moving = (scene.at_leader if place == "observer" else scene.at_observer)[0]
    for session in crowd:
        scene.world.submit(me, session, Create("/crowd", b""))
    scene.world.submit(me, ending, CloseSession())
    scene.world.attach(me, moving)
    scene.release()
    scene.world.pass_ms(1000)
    assert scene.world.heard(me, ending)[-1] == SessionEnded(ending)
    assert scene.world.heard(me, moving)[-1] == Attached(moving)


def test_so_many_sessions_are_being_attached_at_a_time_and_no_more() -> None:
    scene = Scene()
    world, me = scene.world, scene.voters[0]
    world.hold((scene.leader, me))
    for session in scene.at_leader[:FEW]:
        world.attach(me, session)
    with pytest.raises(ThrottledError):
        world.attach(me, scene.at_leader[FEW])
    world.release((scene.leader, me))
    world.settle()
    world.attach(me, scene.at_leader[FEW])
    world.settle()
    assert all(world.heard(me, session) == [Attached(session)] for session in scene.at_leader[: FEW + 1])


def test_a_leader_that_has_not_delivered_the_past_keeps_so_many_requests_and_no_more() -> None:
    world = Ensemble(3, slow=(3,), limits=Limits(outstanding_proposals=FEW))
    world.elect()
    session = world.open(1)
    for number in range(20):
        world.ask(1, session, Create(f"/n{number}", b""))
    for me in (1, 2, 3):
        world.kill(me)
    for me in (3, 1):
        world.start(me)
    world.step_until(lambda: world.replicas[1].leader is not None)
    opened = [world.replicas[1].open(10_000, world.now, password=PASSWORD) for _ in range(FEW + 2)]
    world.act(1)
    while world.flying[1, 3]:
        world.replicas[3].receive(1, world.flying[1, 3].popleft(), world.now)
        world.act(3)
    assert world.replicas[3].leader is None, "it is not established"
    world.pass_ms(1000)
    refused = [session for session in opened if world.replies(1, session)[0].error is not None]
    assert refused == opened[FEW:]


# --- how much a leader keeps, and proposes at a time


def leading(limits: Limits, *requests: Request[Any]) -> Leading:
    """A leader with one session, 7, and requests of it that have arrived."""
    tree = Tree()
    made = Leading(tree, limits, Rules())
    made.arrive(1, 7, 0, CreateSession(1000))
    (payload,), _ = made.prepare(1, 0, last=0)
    tree.apply(1, payload)
    for number, request in enumerate(requests, 1):
        made.arrive(1, 7, number, request)
    return made


@pytest.mark.parametrize(
    "large",
    [SetData("/a", bytes(998)), Create("/a", bytes(998)), Delete("/" + 999 * "a")],
    ids=["set", "create", "delete"],
)
def test_bytes_are_bounded_as_numbers_are(large: Request[Any]) -> None:
    leader = leading(Limits(outstanding_bytes=1000), large)
    with pytest.raises(ThrottledError):
        leader.arrive(1, 7, 2, Delete("/a"))
    leader.arrive(1, 7, 3, CloseSession())
    leader.prepare(make_zxid(1, 1), 0, last=1)
    leader.arrive(1, 7, 4, Delete("/a"))


@pytest.mark.parametrize(
    ("limits", "counter", "sizes"),
    [
        (Limits(), 1, [4]),
        (Limits(), MAX_COUNTER - 3, [4]),
        (Limits(), MAX_COUNTER - 2, [3]),
        (Limits(), MAX_COUNTER, [1]),
        (Limits(outstanding_bytes=300), 1, [2, 2]),
    ],
)
def test_no_batch_is_larger_than_may_be_outstanding_or_than_the_epoch_has_left(
    limits: Limits, counter: int, sizes: list[int]
) -> None:
    leader = leading(limits, *(Create(f"/{number}", bytes(90)) for number in range(4)))
    zxid = make_zxid(1, counter)
    for size in sizes:
        payloads, _ = leader.prepare(zxid, 0, last=zxid - 1)
        assert len(payloads) == size
        zxid += size


def test_what_always_finds_room_is_proposed_in_batches_like_the_rest() -> None:
    leader = leading(Limits(outstanding_proposals=3), *[CloseSession()] * 5)
    assert [len(leader.prepare(first, 0, last=1)[0]) for first in (2, 5)] == [3, 2]


# --- handing over


def test_what_arrives_while_the_leader_hands_over_is_proposed_if_that_fails() -> None:
    scene = Scene()
    world, leader, target = scene.world, scene.leader, scene.voters[0]
    world.hold((target, leader))
    world.ask(leader, scene.session, Create("/before", b""))
    world.replicas[leader].transfer(target)
    world.act(leader)
    world.submit(leader, scene.session, Create("/during", b""))
    world.submit(4, scene.at_observer[0], Create("/from-afar", b""))
    world.settle()
    assert errors(world, leader, scene.session) == [None], "it waits"
    world.run(lambda: any(isinstance(told, TransferFailed) for told in world.told[leader]))
    world.settle()
    assert {"during", "from-afar"} <= scene.names()
    assert errors(world, leader, scene.session) == [None, None]
    assert world.replicas[leader].leader == leader


def test_what_arrives_while_the_leader_hands_over_is_given_up_with_its_leadership() -> None:
    scene = Scene()
    world, leader, target = scene.world, scene.leader, scene.voters[1]
    world.replicas[leader].transfer(target)
    world.submit(leader, scene.session, Create("/during", b""))
    world.settle()
    world.pass_ms(1000)
    assert [world.replicas[me].leader for me in world.replicas] == [target] * 4
    assert isinstance(world.heard(leader, scene.session)[-1], Detached)
    assert "during" not in scene.names()
    world.attach(leader, scene.session)
    world.settle()
    assert world.ask(leader, scene.session, Create("/after", b"")).path == "/after"


def test_only_a_leader_hands_over_and_only_to_a_voter_that_follows() -> None:
    scene = Scene()
    leader = scene.world.replicas[scene.leader]
    for target in (scene.leader, 4, 99):
        with pytest.raises(BadArgumentsError):
            leader.transfer(target)
    with pytest.raises(NotLeadingError):
        scene.world.replicas[scene.voters[0]].transfer()
    assert scene.world.ask(scene.leader, scene.session, Create("/still", b"")).path == "/still"
