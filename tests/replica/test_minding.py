"""What a node tells of the members: who they are, by what is committed, and how they are, by what a leader hears."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hosts import GatedStorage, Hosts, run, until

from zkcore.events import (
    ConfigurationActivated,
    ConfigurationChanging,
    MemberCaughtUp,
    MemberJoined,
    MemberLeft,
    MemberSuspected,
    NodeEvent,
)
from zkcore.replica.answers import MembersChanged
from zkcore.replica.members import Members
from zkcore.replica.minding import Minding
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId, Role, Vote
from zkcore.zab.quorum import EnsembleConfig, Transition
from zkcore.zab.status import LearnerStatus, PeerStatus

OLD, NEW = EnsembleConfig([1, 2, 3]), EnsembleConfig([1, 2, 4], observers=[5])
LIMITS = Limits(sync_limit_ticks=200)


def learner(peer: PeerId, stage: str = "ACTIVE", silence: int = 0) -> LearnerStatus:
    return LearnerStatus(peer, stage, True, None, 40 + peer, 0, silence)


def leading(*learners: LearnerStatus, **other: Any) -> PeerStatus:
    values: dict[str, Any] = {
        "me": 1, "config": OLD, "role": Role.LEADING, "phase": "BROADCAST", "established": True, "leader": 1,
        "vote": Vote(Role.LEADING, 1, 0, 1, 1), "accepted_epoch": 1, "current_epoch": 1, "log_base": 0, "snapshot": 0,
        "last_logged": 0, "last_committed": 0, "last_delivered": 0, "damage": None, "linked": (), "agreed": (),
        "learners": learners,
    }  # fmt: skip
    return PeerStatus(**{**values, **other})


def minding(told: list[NodeEvent], **status: Any) -> Minding:
    return Minding(told.append, leading(**{"version": 7, **status}), LIMITS)


# --- who they are


def test_a_change_is_told_when_it_begins_and_when_it_is_made() -> None:
    told: list[NodeEvent] = []
    minds, old, new = minding(told), Members(OLD, version=7), Members(NEW, version=8)
    minds.on_members(MembersChanged(new, old))
    assert told == [ConfigurationChanging(node=1, version=8, replaced=OLD, config=NEW)]
    del told[:]
    minds.on_members(MembersChanged(evolve(new, version=9), None))
    assert told == [
        MemberJoined(node=1, member=4, votes=True),
        MemberJoined(node=1, member=5, votes=False),
        MemberLeft(node=1, member=3),
        ConfigurationActivated(node=1, version=9, config=NEW),
    ]


def test_a_member_that_changes_its_place_has_neither_joined_nor_left() -> None:
    told: list[NodeEvent] = []
    promoted = EnsembleConfig([1, 2], observers=[3])
    minding(told).on_members(MembersChanged(Members(promoted, version=9), None))
    assert told == [ConfigurationActivated(node=1, version=9, config=promoted)]


def test_what_was_begun_and_is_cut_from_the_log_activates_nothing() -> None:
    told: list[NodeEvent] = []
    minds = minding(told)
    minds.on_members(MembersChanged(Members(NEW, version=8), Members(OLD, version=7)))
    del told[:]
    minds.on_members(MembersChanged(Members(OLD, version=7), None))
    assert told == []


def test_what_a_node_finds_in_its_log_when_it_begins_is_no_news() -> None:
    told: list[NodeEvent] = []
    minding(told).on_members(MembersChanged(Members(OLD, version=7), None))
    assert told == []


def test_a_change_that_was_under_way_when_a_node_began_is_made_or_given_up() -> None:
    told: list[NodeEvent] = []
    for made in (NEW, OLD):
        minds = minding(told, config=Transition(OLD, NEW), version=8)
        minds.on_members(MembersChanged(Members(NEW, version=8), Members(OLD, version=7)))
        minds.on_members(MembersChanged(Members(made, version=9 if made is NEW else 7), None))
    assert [type(event) for event in told] == [
        ConfigurationChanging, MemberJoined, MemberJoined, MemberLeft, ConfigurationActivated, ConfigurationChanging,
    ]  # fmt: skip


# --- how they are


def test_a_leader_tells_once_who_has_caught_up() -> None:
    told: list[NodeEvent] = []
    minds = minding(told)
    minds.look(1.0, lambda: leading(learner(2), learner(3, "SNAPPING")), leads=True)
    assert told == [MemberCaughtUp(node=1, member=2, zxid=42)]
    minds.look(9.0, lambda: leading(learner(2), learner(3, "SNAPPING")), leads=True)
    assert len(told) == 1, "a member that is being brought in line is no suspect, however long that takes"
    minds.look(9.2, lambda: leading(learner(2), learner(3)), leads=True)
    assert told[1:] == [MemberCaughtUp(node=1, member=3, zxid=43)]


def test_a_member_that_is_not_heard_is_suspected_once_until_it_is_back() -> None:
    told: list[NodeEvent] = []
    minds = minding(told)
    minds.look(1.0, lambda: leading(learner(2), learner(3)), leads=True)
    del told[:]
    minds.look(1.5, lambda: leading(learner(2)), leads=True)
    minds.look(1.9, lambda: leading(learner(2, silence=100)), leads=True)
    assert told == [], "half of the sync limit is not over"
    minds.look(2.0, lambda: leading(learner(2, silence=101)), leads=True)
    minds.look(5.0, lambda: leading(learner(2, silence=400)), leads=True)
    assert told == [
        MemberSuspected(node=1, member=2, why="its link is silent", seconds=2.0 - 1.9),
        MemberSuspected(node=1, member=3, why="it does not follow", seconds=1.0),
    ]
    del told[:]
    minds.look(6.0, lambda: leading(learner(2), learner(3)), leads=True)
    assert [type(event) for event in told] == [MemberCaughtUp, MemberCaughtUp]


def test_a_leader_looks_now_and_then_and_nobody_else_does() -> None:
    told: list[NodeEvent] = []
    asked = 0

    def status() -> PeerStatus:
        nonlocal asked
        asked += 1
        return leading(learner(2), established=asked > 1)

    minds = minding(told)
    minds.look(1.0, status, leads=False)
    assert asked == 0
    minds.look(1.0, status, leads=True)
    assert (asked, told) == (1, []), "it is not established yet"
    minds.look(1.05, status, leads=True)
    assert asked == 1
    minds.look(1.15, status, leads=True)
    assert (asked, len(told)) == (2, 1)
    minds.look(1.2, status, leads=False)
    minds.look(1.3, status, leads=True)
    assert len(told) == 2, "who leads again begins to look again"


def test_members_of_both_configurations_are_looked_at_and_those_that_left_are_not() -> None:
    told: list[NodeEvent] = []
    minds = minding(told)
    for now in (1.0, 3.0):
        minds.look(now, lambda: leading(learner(2), learner(3), config=Transition(OLD, NEW)), leads=True)
    assert [event for event in told if isinstance(event, MemberSuspected)] == [
        MemberSuspected(node=1, member=member, why="it does not follow", seconds=2.0) for member in (4, 5)
    ]
    del told[:]
    minds.look(9.0, lambda: leading(learner(2), learner(4), config=NEW), leads=True)
    assert told == [MemberCaughtUp(node=1, member=4, zxid=44)]


def test_the_leader_of_real_hosts_tells_of_one_that_stops() -> None:
    async def main() -> None:
        hosts = Hosts(*(GatedStorage() for _ in range(3)), limits=Limits(sync_limit_ticks=20, ping_ticks=5))
        told: list[NodeEvent] = []
        for host in hosts.hosts.values():
            host.telling.events.subscribe(told.append)
            host.start()
        await until(hosts.serving)
        leader = hosts.leader
        others = [me for me in hosts.hosts if me != leader]
        await until(lambda: {event.member for event in told if isinstance(event, MemberCaughtUp)} == set(others))
        assert {event.node for event in told if isinstance(event, MemberCaughtUp)} == {leader}
        hosts.stop(others[0])
        await until(lambda: any(isinstance(event, MemberSuspected) for event in told))
        suspected = next(event for event in told if isinstance(event, MemberSuspected))
        assert (suspected.node, suspected.member, suspected.why) == (leader, others[0], "it does not follow")
        for me in (leader, others[1]):
            hosts.stop(me)

    run(main())
