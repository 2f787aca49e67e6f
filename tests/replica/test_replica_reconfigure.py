"""Members that change: who may ask for it, what is refused and why, when it is answered, and what it survives."""

from __future__ import annotations

from typing import Any

import pytest
from virtual import Ensemble

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    NewConfigNoQuorumError,
    NoAuthError,
    ReconfigDisabledError,
    ReconfigInProgressError,
    ZkcoreError,
)
from zkcore.replica.answers import Detached, MembersChanged, Replied, WatchFired
from zkcore.replica.members import Members
from zkcore.replica.reconfiguring import members_after
from zkcore.replica.replica import Replica
from zkcore.replica.rules import Rules
from zkcore.storage.storage import MemoryStorage
from zkcore.tree.acl import EMBEDDED, SUPER
from zkcore.tree.applied import EventType
from zkcore.tree.requests import Create, GetChildren, GetData, Reconfigure, SetACL
from zkcore.zab.limits import Limits
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import InstallSnapshot, Restored, SnapshotChunk

CONFIG = "/zookeeper/config"
TRUSTED = (EMBEDDED,)
PROMOTE = Reconfigure(joining="server.4=0.0.0.0:0:0:participant")
DEMOTE = Reconfigure(joining="server.4=0.0.0.0:0:0:observer")


class World(Ensemble):
    """Three voters and the observer 4, whose clients are of their process."""

    def __init__(self, count: int = 3, *, observers: int = 1, **options: Any) -> None:
        super().__init__(count, observers=observers, **options)
        self.leader = self.elect()

    def _link(self, a: int, b: int) -> None:
        """Hosts link those who are members to both of them, by what they know."""
        known = [self.replicas[me].peer.membership.config.members for me in (a, b) if me in self.replicas]
        if all(a in members and b in members for members in known):
            super()._link(a, b)

    @property
    def follower(self) -> int:
        return next(me for me in self.replicas if me in (1, 2, 3) and me != self.leader)

    def changes(self, me: int) -> list[tuple[tuple[int, ...], bool]]:
        """What a host was told of the members: who votes, and whether that is all there is to it."""
        return [
            (told.members.config.voters, told.replaced is None)
            for told in self.told[me]
            if isinstance(told, MembersChanged)
        ]

    def shown(self, me: int) -> Members:
        return Members.parse(self.replicas[me].tree.read(GetData(CONFIG)).data.decode())


@pytest.mark.parametrize("at_the_leader", [True, False])
def test_an_observer_becomes_a_voter(at_the_leader: bool) -> None:
    world = World()
    me = world.leader if at_the_leader else world.follower
    session = world.open(me, ids=TRUSTED)
    world.ask(me, session, GetData(CONFIG, True))
    text, stat = world.ask(me, session, PROMOTE)
    members = Members.parse(text.decode())
    assert members.config == EnsembleConfig([1, 2, 3, 4])
    assert members.version == stat.mzxid == world.replicas[me].peer.membership.zxid
    assert (stat.version, stat.mtime, stat.data_length) == (-1, world.now, len(text))
    fired, answer = world.heard(me, session)[-2:]
    assert isinstance(fired, WatchFired)
    assert isinstance(answer, Replied)
    assert fired.event[:2] == (EventType.NODE_DATA_CHANGED, CONFIG)
    world.settle()
    for each, replica in world.replicas.items():
        assert world.changes(each) == [((1, 2, 3, 4), False), ((1, 2, 3, 4), True)]
        assert (world.shown(each), replica.members) == (members, members)
    assert len(world.trees()) == 1


def test_what_an_ensemble_began_with_is_shown_before_anybody_changes_it() -> None:
    world = World()
    assert world.replicas[1].tree.read(GetData(CONFIG)).data == (
        b"server.1=0.0.0.0:0:0:participant\nserver.2=0.0.0.0:0:0:participant\nserver.3=0.0.0.0:0:0:participant\n"
        b"server.4=0.0.0.0:0:0:observer\nversion=0"
    )
    assert world.changes(1) == []


def test_it_is_answered_when_it_is_done_and_what_its_session_asks_behind_it_after_that() -> None:
    world = World()
    leader, me = world.leader, world.follower
    session, other = world.open(me, ids=TRUSTED), world.open(me)
    before = world.submit(me, session, Create("/before"))
    xids = world.submit(me, session, PROMOTE, GetChildren("/"), Create("/behind"), GetChildren("/"))
    world.step_until(lambda: world.changes(me) == [((1, 2, 3, 4), False)])
    world.hold((leader, me))
    world.submit(me, other, Create("/other"))
    while world.deliver_one():
        pass
    assert [reply.xid for reply in world.replies(me, session)] == [0, *before]  # the first record is no answer
    world.release((leader, me))
    world.settle()
    answers = world.replies(me, session)[2:]
    assert [answer.xid for answer in answers] == xids
    assert [answer.error for answer in answers] == [None] * 4
    assert "behind" not in answers[1].result
    assert answers[3].result == ("before", "behind", "other", "zookeeper")
    created = world.replicas[me].tree.persisted("/behind")
    assert created is not None
    assert created.czxid > answers[0].result.stat.mzxid
    assert world.replies(me, other)[-1].error is None


def test_one_that_is_refused_holds_up_nobody_and_answers_come_in_order() -> None:
    world = World()
    me = world.follower
    session = world.open(me, ids=TRUSTED)
    xids = world.submit(
        me, session, Create("/a"), Reconfigure(leaving="9"), Create("/b"), GetChildren("/"), PROMOTE, Create("/c")
    )
    world.settle()
    answers = world.replies(me, session)[1:]
    assert [answer.xid for answer in answers] == xids
    assert [type(answer.error) for answer in answers] == [type(None), BadArgumentsError, *[type(None)] * 4]
    assert answers[3].result == ("a", "b", "zookeeper")


def test_a_batch_is_cut_at_it() -> None:
    world = World()
    sessions = [world.open(world.leader, ids=TRUSTED) for _ in range(3)]
    leader = world.replicas[world.leader]
    xids = [leader.submit(sessions[0], Create("/a"), world.now), leader.submit(sessions[1], PROMOTE, world.now)]
    xids += [leader.submit(sessions[2], Create(path), world.now) for path in ("/b", "/c")]
    world.act(world.leader)
    world.settle()
    assert [reply.error for each in sessions for reply in world.replies(world.leader, each)] == [None] * 7
    first = leader.tree.persisted("/a")
    second = leader.tree.persisted("/c")
    assert first is not None
    assert second is not None
    assert leader.members.version > second.czxid > first.czxid + 1  # between them stands the first record


# --- who may, and what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "reconfig", "error"),
    [
        ((), True, NoAuthError),
        ((EMBEDDED,), True, None),
        ((SUPER,), True, None),
        ((EMBEDDED,), False, ReconfigDisabledError),
        ((SUPER,), False, ReconfigDisabledError),
    ],
)
@pytest.mark.parametrize("at_the_leader", [True, False])
def test_who_may_change_them(ids: Any, reconfig: bool, error: type[ZkcoreError] | None, at_the_leader: bool) -> None:
    world = World(rules=Rules(reconfig=reconfig))
    me = world.leader if at_the_leader else world.follower
    session = world.open(me, ids=ids)
    if error is None:
        world.ask(me, session, PROMOTE)
    else:
        with pytest.raises(error):
            world.ask(me, session, PROMOTE)


def test_the_superuser_may_let_others() -> None:
    world = World()
    session, anybody = world.open(1, ids=(SUPER,)), world.open(1)
    world.submit(1, session, SetACL(CONFIG, []))
    with pytest.raises(NoAuthError):
        world.ask(1, anybody, PROMOTE)
    everybody = world.ask(1, session, SetACL("/zookeeper/config", Create("/").acl))
    assert everybody is not None
    world.ask(1, anybody, PROMOTE)


HERE = Members(
    EnsembleConfig([1, 2, 3], observers=[4]),
    addresses={1: "a:1", 2: "b:1", 3: "c:1"},
    clients={1: "a:2"},
    version=7,
)
WEIGHED = Members(EnsembleConfig([1, 2, 3], weights={1: 2}))


@pytest.mark.parametrize(
    ("members", "request_", "says"),
    [
        (HERE, Reconfigure(), "nothing is asked for"),
        (HERE, Reconfigure(leaving="9"), "server 9 cannot leave: the members are 1, 2, 3, 4"),
        (HERE, Reconfigure(leaving="x"), "'x' is no server that could leave"),
        (HERE, Reconfigure(leaving="1,2,3"), "without server 1, 2, 3 there is no voter left"),
        (HERE, Reconfigure(leaving="2,3", joining="server.1=a:1:1:observer"), "without server 1, 2, 3 there is no"),
        (HERE, Reconfigure(leaving="2", joining="server.2=b:2:2"), "server 2 both joins and leaves"),
        (HERE, Reconfigure(joining="server.5=a:1:1"), "servers 1 and 5 have the same address, a:1"),
        (HERE, Reconfigure(joining="server.5=e:1:1;a:2"), "servers 1 and 5 have the same address, a:2"),
        (HERE, Reconfigure(joining="server.256=e:1:1"), "server.256=e:1:1: a server's number is between 1 and 255"),
        (HERE, Reconfigure(joining="server.5=e:1"), "server.5=e:1: the address"),
        (HERE, Reconfigure(joining="server.5"), "says nothing of the members"),
        (HERE, Reconfigure(joining="server.5=e:1:1,server.5=f:1:1"), "server.5 stands twice"),
        (HERE, Reconfigure(joining="weight.1=2"), "groups and weights are given with all members"),
        (HERE, Reconfigure(joining="server.5=e:1:1", new_members="server.1=a:1:1"), "not both"),
        (HERE, Reconfigure(new_members="server.1=a:1:1:observer"), "needs at least one voter"),
        (HERE, Reconfigure(new_members="server.1=a:1:1\nserver.2=a:1:1"), "servers 1 and 2 have the same address"),
        (HERE, Reconfigure(new_members="x" * 70_000), "at most 65536 characters"),
        (WEIGHED, Reconfigure(leaving="3"), "where voters have groups or weights"),
        (
            HERE,
            Reconfigure(new_members="server.1=a:1:1,server.2=b:1:1,server.3=c:1:1,weight.1=2"),
            "the weights of servers 1, 2, 3 can be split evenly",
        ),
        (
            HERE,
            Reconfigure(new_members="server.1=a:1:1,server.2=b:1:1,weight.1=0,weight.2=0"),
            "every voter has the weight 0",
        ),
        (HERE, Reconfigure(new_members="server.1=a:1:1,weight.1=5000000000"), "from 0 to 4294967295"),
    ],
)
def test_what_is_wrong_is_named(members: Members, request_: Reconfigure, says: str) -> None:
    with pytest.raises(BadArgumentsError, match=says):
        members_after(members, request_)


@pytest.mark.parametrize(
    ("request_", "after"),
    [
        (
            Reconfigure(leaving=" 3, 4 "),
            Members(EnsembleConfig([1, 2]), addresses={1: "a:1", 2: "b:1"}, clients={1: "a:2"}),
        ),
        (
            Reconfigure(joining="server.2=z:9:9:observer;8,server.4=d:1:1", leaving="3"),
            Members(
                EnsembleConfig([1, 4], observers=[2]),
                addresses={1: "a:1", 2: "z:9", 4: "d:1"},
                clients={1: "a:2", 2: "0.0.0.0:8"},
            ),
        ),
        (
            Reconfigure(new_members="server.8=h:1:1,server.9=i:1:1,server.7=g:1:1,weight.8=3,version=5"),
            Members(EnsembleConfig([7, 8, 9], weights={8: 3}), addresses={7: "g:1", 8: "h:1", 9: "i:1"}, version=5),
        ),
        (
            Reconfigure(new_members="server.8=h:1:1,server.9=i:1:1,server.7=g:1:1,weight.7=4,weight.8=2,weight.9=4"),
            Members(
                EnsembleConfig([7, 8, 9], weights={7: 4, 8: 2, 9: 4}), addresses={7: "g:1", 8: "h:1", 9: "i:1"}
            ),
        ),
    ],
)
def test_what_is_asked_for_comes_of_what_there_is(request_: Reconfigure, after: Members) -> None:
    assert members_after(HERE, request_) == after


def test_what_is_wrong_is_told_to_who_asked_wherever_that_is() -> None:
    world = World()
    me = world.follower
    session = world.open(me, ids=TRUSTED)
    with pytest.raises(BadArgumentsError, match="server 9 cannot leave: the members are 1, 2, 3, 4"):
        world.ask(me, session, Reconfigure(leaving="9"))
    with pytest.raises(BadVersionError, match="the members are those of version 0, not of 7"):
        world.ask(me, session, Reconfigure(leaving="4", from_config=7))
    with pytest.raises(NewConfigNoQuorumError, match="add those that are missing as observers first"):
        world.ask(me, session, Reconfigure(joining="server.5=0.0.0.0:0:0,server.6=0.0.0.0:0:0", leaving="1,2,4"))
    assert world.replicas[me].members.version == 0
    version = world.ask(me, session, Reconfigure(leaving="4", from_config=0)).stat.mzxid
    third = next(iter({1, 2, 3} - {me, world.leader}))
    assert world.ask(me, session, Reconfigure(leaving=str(third), from_config=version)).stat.mzxid > version


def test_one_change_at_a_time() -> None:
    world = World()
    one, other = (world.open(world.leader, ids=TRUSTED) for _ in range(2))
    world.submit(world.leader, one, PROMOTE)
    world.submit(world.leader, other, DEMOTE)
    world.settle()
    assert world.replies(world.leader, one)[-1].error is None
    assert isinstance(world.replies(world.leader, other)[-1].error, ReconfigInProgressError)


# --- what it survives ------------------------------------------------------------------------------------------------


def test_a_leader_that_is_removed_hands_over_and_another_ends_the_change() -> None:
    world = World()
    leader, me = world.leader, world.follower
    session, away = world.open(leader, ids=TRUSTED), world.open(me)
    world.submit(leader, session, Reconfigure(leaving=str(leader)))
    world.run(lambda: all(world.changes(each)[1:] for each in world.replicas if each != leader))
    assert isinstance(world.heard(leader, session)[-1], Detached)
    assert not any(isinstance(told, Replied) and told.xid for told in world.heard(leader, session))
    members = world.replicas[me].members
    assert members.config.members == tuple(sorted({1, 2, 3, 4} - {leader}))
    assert world.replicas[me].leader not in (leader, None)
    assert isinstance(world.heard(me, away)[-1], Detached)
    world.attach(me, session, ids=TRUSTED)
    world.settle()
    assert world.ask(me, session, GetData(CONFIG)).data == members.text().encode()
    world.ask(me, session, Create("/on"))


@pytest.mark.parametrize("role", ["gone", "observer"])
def test_who_is_asked_to_go_answers_before_it_does(role: str) -> None:
    world = World()
    me = world.follower
    session = world.open(me, ids=TRUSTED)
    stays = Reconfigure(joining=f"server.{me}=0.0.0.0:0:0:observer")
    request = Reconfigure(leaving=str(me)) if role == "gone" else stays
    members = Members.parse(world.ask(me, session, request).data.decode())
    assert me not in members.config.voters
    assert (me in members.config.members) is (role == "observer")
    assert world.shown(me) == members
    world.ask(me, session, Create("/last"))  # it is served for as long as its link lasts
    assert {replica.leader for replica in world.replicas.values()} == {world.leader}


def test_a_later_leader_ends_what_another_has_begun_and_answers_nobody() -> None:
    world = World()
    leader, me = world.leader, world.follower
    session = world.open(me, ids=TRUSTED)
    (xid,) = world.submit(me, session, PROMOTE)
    world.step_until(lambda: bool(world.changes(me)))
    world.kill(leader)
    world.run(lambda: ((1, 2, 3, 4), True) in world.changes(me))
    assert xid not in [reply.xid for reply in world.replies(me, session)]
    world.elect()
    world.attach(me, session, next_xid=xid + 1, ids=TRUSTED)
    world.settle()
    assert Members.parse(world.ask(me, session, GetData(CONFIG)).data.decode()).config.voters == (1, 2, 3, 4)


def test_a_session_that_has_moved_cannot_ask_from_where_it_was() -> None:
    world = World()
    leader, me = world.leader, world.follower
    session = world.open(me, ids=TRUSTED)
    world.hold((me, leader))
    world.submit(me, session, PROMOTE)
    world.attach(leader, session, ids=TRUSTED)
    world.settle()
    world.release((me, leader))
    world.settle()
    assert isinstance(world.heard(me, session)[-1], Detached)
    assert world.replicas[leader].members.version == 0


def snapshot(world: World, me: int) -> None:
    replica = world.replicas[me]
    ref, pieces = replica.snapshot()
    replica.storage.save_snapshot(ref, pieces)
    replica.compact(ref)
    world.act(me)


@pytest.mark.parametrize("done", [False, True], ids=["under way", "done"])
def test_a_replica_that_begins_with_a_snapshot_knows_the_members_in_it(done: bool) -> None:
    world = World()
    leader, me = world.leader, world.follower
    session = world.open(leader, ids=TRUSTED)
    world.submit(leader, session, PROMOTE)
    world.step_until(lambda: world.changes(me) == [((1, 2, 3, 4), False), ((1, 2, 3, 4), True)][: 1 + done])
    ref, pieces = world.replicas[me].snapshot()
    data = b"".join(pieces)
    storage = MemoryStorage()
    storage.save([SnapshotChunk(ref, 0, data), InstallSnapshot(ref, len(data))])  # and nothing of a log
    replica = Replica(me, world.config, storage)
    assert replica.peer.membership.zxid == ref.zxid == world.replicas[me].tree.configuration[0]
    assert isinstance(replica.peer.membership.config, EnsembleConfig) is done
    told = [event for event in replica.drain().events if isinstance(event, MembersChanged)]
    assert [(each.members.config.voters, each.replaced is None) for each in told] == [((1, 2, 3, 4), done)]
    assert replica.members == world.replicas[me].members
    assert replica.tree.read(GetData(CONFIG)) == world.replicas[me].tree.read(GetData(CONFIG))


def test_a_replica_that_begins_with_its_log_knows_the_members_in_it() -> None:
    world = World()
    leader, me = world.leader, world.follower
    session = world.open(leader, ids=TRUSTED)
    world.ask(leader, session, PROMOTE)
    world.kill(me)
    world.told[me].clear()
    world.start(me)
    assert world.changes(me) == [((1, 2, 3, 4), True)]  # before anything is known to be committed
    assert world.replicas[me].members.version == 0
    world.elect()
    world.pass_ms(1000)
    assert world.changes(me) == [((1, 2, 3, 4), True)]
    assert world.replicas[me].members == world.replicas[leader].members


def test_a_replica_that_gets_a_snapshot_gets_the_members_with_it() -> None:
    world = World(limits=Limits(retained_records=1))
    leader, me = world.leader, world.follower
    session = world.open(leader, ids=TRUSTED)
    world.kill(me)
    world.ask(leader, session, PROMOTE)
    for number in range(5):
        world.ask(leader, session, Create(f"/{number}"))
    for each in world.replicas:
        snapshot(world, each)
    world.start(me)
    world.elect()
    world.pass_ms(1000)
    assert any(isinstance(told, Restored) for told in world.told[me])
    assert world.changes(me) == [((1, 2, 3, 4), True)]
    assert world.shown(me) == world.shown(leader)
    world.kill(me)
    world.told[me].clear()
    world.start(me)
    assert world.changes(me) == [((1, 2, 3, 4), True)]
    assert world.replicas[me].members == world.replicas[leader].members


def test_what_was_never_committed_is_told_at_a_start_and_taken_back() -> None:
    world = World()
    leader = world.leader
    session = world.open(leader, ids=TRUSTED)
    world.hold(*((leader, other) for other in (1, 2, 3, 4) if other != leader))
    world.submit(leader, session, PROMOTE)
    assert world.changes(leader) == []
    world.kill(leader)
    world.isolate(leader)
    world.held.clear()
    world.run(lambda: all(replica.leader not in (leader, None) for replica in world.replicas.values()))
    world.start(leader)
    assert world.changes(leader) == [((1, 2, 3, 4), False)]
    world.heal(*((leader, other) for other in (1, 2, 3, 4) if other != leader))
    world.elect()
    world.pass_ms(1000)
    assert world.changes(leader) == [((1, 2, 3, 4), False), ((1, 2, 3), True)]
    assert world.replicas[leader].members.version == 0


def test_after_a_storage_that_failed_the_members_are_known() -> None:
    world = World()
    me = world.follower
    session = world.open(me, ids=TRUSTED)
    world.ask(me, session, PROMOTE)
    snapshot(world, me)
    replica = world.replicas[me]
    for other in (1, 2, 3, 4):
        if other != me:
            world.cut((me, other))
    replica.recover()
    world.act(me)
    assert replica.peer.membership.zxid == replica.members.version != 0
    assert world.changes(me) == [((1, 2, 3, 4), False), ((1, 2, 3, 4), True)]
    world.heal(*((me, other) for other in (1, 2, 3, 4) if other != me))
    world.elect()
    assert world.shown(me).config.voters == (1, 2, 3, 4)


def test_voters_are_replaced_one_by_one_until_nobody_of_the_first_is_left() -> None:
    world = World(3, observers=3)
    me = 6
    session = world.open(me, ids=TRUSTED)
    for new, old in ((4, 1), (5, 2), (6, 3)):
        request = Reconfigure(joining=f"server.{new}=0.0.0.0:0:0:participant", leaving=str(old))
        world.submit(me, session, request)
        world.run(lambda old=old: old not in world.replicas[me].members.config.members)  # type: ignore[misc]
        world.run(lambda: world.replicas[me].leader is not None)
        world.settle()
        if not world.replicas[me].can_read(session):
            world.attach(me, session, next_xid=1000 * new, ids=TRUSTED)
            world.settle()
    assert world.shown(me).config == EnsembleConfig([4, 5, 6])
    for old in (1, 2, 3):
        world.kill(old)
    world.elect()
    if not world.replicas[me].can_read(session):
        world.attach(me, session, next_xid=1_000_000, ids=TRUSTED)
        world.settle()
    world.ask(me, session, Create("/still"))
