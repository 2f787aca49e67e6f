"""Handing over the leadership (protocol.md 1.11): to whom, when, and what becomes of it where something goes wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dialogue import Dialogue, Z, script, stored
from ensemble import Ensemble

from zkcore.errors import BadArgumentsError, NotLeadingError
from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Diff,
    FollowerInfo,
    HandOff,
    LeaderInfo,
    NewLeader,
    Ping,
    Role,
    UpToDate,
    Vote,
)
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import RoleChanged, TransferFailed

FIVE = (1, 2, 3, 4, 5)


def leader_of_five(**limits: int) -> Dialogue:
    """Leader 5, with 1, 2 and 3 in the broadcast of epoch 1; 4 is linked and has not registered."""
    return Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4), limits=Limits(**limits)).lead(1, 2, 3)


def transfers(d: Dialogue, target: int | None = None) -> str:
    d.peer.transfer(target)
    return d.drain()


def failures(d: Dialogue) -> list[str]:
    return [str(event) for event in d.events if isinstance(event, TransferFailed)]


# --- how it goes


def test_with_nothing_outstanding_the_successor_is_named_at_once_to_all_who_follow() -> None:
    d = leader_of_five()
    d.hears(4, FollowerInfo(1))  # it registers, and does not follow yet
    assert transfers(d, 2) == script("""
        message   1  HANDOFF to 2 epoch=1
        message   2  HANDOFF to 2 epoch=1
        message   3  HANDOFF to 2 epoch=1""")
    assert d.peer.role is Role.LEADING  # whoever hears of it breaks the link; breaking it here could lose the news


def test_no_proposal_is_taken_from_the_moment_it_is_asked_for() -> None:
    d = leader_of_five()
    d.proposes(b"x")
    d.peer.transfer(2)
    assert d.peer.next_zxid is None
    with pytest.raises(NotLeadingError):
        d.peer.propose(Z(1, 2), [b"y"])
    d.drain()
    assert d.peer.last_logged == Z(1, 1)


def test_it_waits_until_the_successor_has_everything_and_knows_it_committed() -> None:
    d = leader_of_five()
    d.proposes(b"x", b"y")
    assert transfers(d, 2) == ""
    assert "HANDOFF" not in d.hears(1, Ack(Z(1, 2)))
    assert "HANDOFF" not in d.hears(3, Ack(Z(1, 2)))  # committed, and 2 has not acknowledged it
    assert d.peer.last_committed == Z(1, 2)
    assert "HANDOFF" not in d.hears(2, Ack(Z(1, 1)))
    assert d.hears(2, Ack(Z(1, 2))).count("HANDOFF") == 3


def test_it_waits_for_the_commit_though_the_successor_has_everything() -> None:
    d = leader_of_five()
    d.proposes(b"x")
    transfers(d, 2)
    assert "HANDOFF" not in d.hears(2, Ack(Z(1, 1)))
    said = d.hears(1, Ack(Z(1, 1)))
    assert said.index("early     2  COMMIT 0x1_00000001") < said.index("message   2  HANDOFF")


def test_it_is_announced_once() -> None:
    d = leader_of_five()
    transfers(d, 2)
    assert d.hears(1, Ping(0)) == ""
    assert "HANDOFF" not in d.ticks(50)


def test_asking_for_the_same_again_changes_nothing() -> None:
    d = leader_of_five(transfer_ticks=10)
    d.proposes(b"x")
    transfers(d, 2)
    d.ticks(6)
    assert transfers(d, 2) == ""
    d.ticks(4)
    assert failures(d) == ["transfer to 2 failed: it was not ready in time"]


def test_the_leader_follows_when_all_who_heard_of_it_have_left_it() -> None:
    d = leader_of_five()
    d.hears(4, FollowerInfo(1))
    transfers(d, 2)
    assert d.lost(1) == ""
    assert d.lost(2) == ""  # 3 may not have heard of it yet: where it is needed for a quorum, nobody would lead
    assert d.lost(3) == script("""
        event     FOLLOWING leader=2 epoch=1: the leadership was handed over to 2
        close     4""")
    assert d.linked(2).endswith("message   2  FOLLOWERINFO accepted=1")
    assert failures(d) == []


def test_the_leader_follows_when_nobody_breaks_with_it_in_time() -> None:
    d = leader_of_five(transfer_ticks=10)
    transfers(d, 2)
    d.ticks(9)
    assert d.peer.role is Role.LEADING
    d.ticks(1)
    assert (d.peer.role, d.peer.leader) == (Role.FOLLOWING, 2)
    assert failures(d) == []


@pytest.mark.parametrize("waits", [1, 10, 70])
def test_a_hand_over_falls_due(waits: int) -> None:
    d = leader_of_five(transfer_ticks=waits, ping_ticks=100)
    d.proposes(b"x")
    transfers(d, 2)
    assert d.peer.ticks_until_due == waits


# --- to whom


def test_the_successor_is_by_default_who_lacks_least_and_the_lowest_of_equals() -> None:
    d = leader_of_five()
    d.proposes(b"x", b"y")
    d.hears(2, Ack(Z(1, 1)))
    d.hears(3, Ack(Z(1, 1)))
    transfers(d)
    assert d.peer.status().handing_over_to == 2
    d = leader_of_five()
    d.proposes(b"x", b"y")
    d.hears(3, Ack(Z(1, 2)))
    d.hears(1, Ack(Z(1, 1)))
    transfers(d)
    assert d.peer.status().handing_over_to == 3


@pytest.mark.parametrize("target", [4, 5, 6, 0])
def test_who_is_no_follower_in_line_is_refused(target: int) -> None:
    # 4 has not registered, 5 is the leader itself, 6 is nobody
    d = leader_of_five()
    with pytest.raises(BadArgumentsError, match=f"server {target} cannot take over"):
        d.peer.transfer(target)
    assert d.drain() == ""
    assert d.peer.next_zxid == Z(1, 1)


def test_who_is_only_being_brought_in_line_is_refused() -> None:
    d = leader_of_five()
    d.bring_in(4)
    with pytest.raises(BadArgumentsError, match="server 4 cannot take over"):
        d.peer.transfer(4)
    d.hears(4, Ack(Z(1, 0)))
    assert "HANDOFF to 4" in transfers(d, 4)


def test_a_voter_without_weight_is_refused() -> None:
    config = EnsembleConfig((1, 2, 3), weights={1: 0})
    d = Dialogue(3, config=config, linked=(1, 2))
    d.hears(2, d.vote(Role.LOOKING, 3))
    d.ticks(10)
    d.promise(1, 2)
    for follower in (1, 2):
        d.hears(follower, Ack(Z(1, 0)))
    with pytest.raises(BadArgumentsError, match="server 1 cannot take over"):
        d.peer.transfer(1)
    assert "HANDOFF to 2" in transfers(d)


def test_a_second_successor_is_refused_while_one_takes_over() -> None:
    d = leader_of_five()
    d.proposes(b"x")
    transfers(d, 2)
    with pytest.raises(BadArgumentsError, match="server 2 is just taking over"):
        d.peer.transfer(1)
    assert d.peer.status().handing_over_to == 2


def test_a_leader_alone_has_nobody_to_hand_over_to() -> None:
    d = Dialogue(1, voters=(1,), linked=())
    with pytest.raises(BadArgumentsError, match="nobody who could take over"):
        d.peer.transfer()
    assert d.peer.next_zxid == Z(1, 1)


@pytest.mark.parametrize(
    ("make", "leader"),
    [
        (lambda: Dialogue(1), None),
        (lambda: Dialogue(1).follow(3), 3),
        (lambda: Dialogue(1).join(3), 3),
        (lambda: Dialogue(3, linked=(1, 2)).stand(), None),
    ],
)
def test_only_an_established_leader_can_hand_over(make: Callable[[], Dialogue], leader: int | None) -> None:
    d = make()
    with pytest.raises(NotLeadingError) as caught:
        d.peer.transfer()
    assert caught.value.leader == leader
    assert d.drain() == ""


# --- what may go wrong


def test_a_successor_that_is_not_ready_in_time_is_given_up_and_the_leader_leads_on() -> None:
    d = leader_of_five(transfer_ticks=10)
    d.proposes(b"x")
    transfers(d, 2)
    d.ticks(9)
    assert d.peer.next_zxid is None
    assert d.ticks(1) == "event     transfer to 2 failed: it was not ready in time"
    assert d.peer.next_zxid == Z(1, 2)
    assert "PROPOSAL 0x1_00000002" in d.proposes(b"y")
    d.hears(2, Ack(Z(1, 2)))
    assert HandOff(2, 1) not in d.said_to(2)


def test_a_successor_lost_before_it_was_named_is_given_up() -> None:
    d = leader_of_five()
    d.proposes(b"x")
    transfers(d, 2)
    assert d.lost(1) == ""
    assert d.lost(2) == "event     transfer to 2 failed: its link broke"
    assert d.peer.next_zxid == Z(1, 2)


def test_a_successor_that_breaks_the_rules_is_given_up_when_its_link_is() -> None:
    d = leader_of_five()
    d.proposes(b"x")
    transfers(d, 2)
    d.hears(2, Ack(Z(9, 9)))
    assert d.peer.next_zxid is None
    d.lost(2)
    assert failures(d) == ["transfer to 2 failed: its link broke"]


def test_a_silent_successor_is_given_up_when_it_is_dropped() -> None:
    d = leader_of_five(transfer_ticks=1000)
    d.proposes(b"x")
    transfers(d, 2)
    for follower in (1, 3):
        d.hears(follower, Ack(Z(1, 1)))
    for number in range(1, 5):
        d.ticks(50)
        d.hears(1, Ping(number))
        d.hears(3, Ping(number))
    d.ticks(1)
    assert d.readies[-1].closes == [2]
    assert failures(d) == ["transfer to 2 failed: its link broke"]


def test_a_successor_lost_after_it_was_named_is_followed_and_soon_given_up() -> None:
    d = leader_of_five()
    transfers(d, 2)
    for told in (2, 1, 3):
        d.lost(told)
    assert (d.peer.role, d.peer.leader) == (Role.FOLLOWING, 2)
    assert failures(d) == []
    d.ticks(201)
    assert d.peer.role is Role.LOOKING


def test_a_successor_that_never_heard_of_it_looks_and_is_joined_in_that() -> None:
    d = leader_of_five()
    transfers(d, 2)
    d.lost(1)
    d.lost(3)
    d.relinked(2)
    d.hears(2, Vote(Role.LOOKING, 2, 0, 1, d.round + 1))
    assert d.peer.role is Role.LOOKING


def test_a_leader_that_loses_its_quorum_meanwhile_looks() -> None:
    d = leader_of_five(transfer_ticks=1000)
    d.proposes(b"x")
    transfers(d, 2)
    d.ticks(201)
    assert d.peer.role is Role.LOOKING
    assert d.peer.status().handing_over_to is None


def test_reads_go_on_until_the_end() -> None:
    d = leader_of_five()
    transfers(d, 2)
    d.peer.read_index("one")
    d.drain()
    d.hears(1, Ping(1))
    assert "event     read index 0x0_00000000" in d.hears(3, Ping(1))
    d.peer.read_index("two")
    d.drain()
    d.lost(1)
    d.lost(3)
    assert "event     read index dropped" in d.lost(2)


# --- the other side


def test_the_successor_leads_at_once_and_wins_an_epoch_like_any_other() -> None:
    d = Dialogue(1).join(3)
    assert d.hears(3, HandOff(1, 1)) == script("""
        event     LEADING leader=1 epoch=1: leader 3 has handed over
        message   2  VOTE LEADING for 1 zxid=0x0_00000000 epoch=1 round=1
        close     3""")
    assert d.peer.next_zxid is None
    d.relinked(3)
    assert "message   3  LEADERINFO epoch=2" in d.hears(3, FollowerInfo(1))
    d.hears(3, AckEpoch(1, 0, 0, ()))
    d.hears(3, Ack(Z(2, 0)))
    assert d.peer.next_zxid == Z(2, 1)


def test_the_others_follow_it_without_an_election() -> None:
    d = Dialogue(1).join(3)
    assert d.hears(3, HandOff(2, 1)) == script("""
        event     FOLLOWING leader=2 epoch=1: leader 3 has handed over
        message   2  VOTE FOLLOWING for 2 zxid=0x0_00000000 epoch=1 round=1
        message   2  FOLLOWERINFO accepted=1
        close     3""")
    d.hears(2, LeaderInfo(2))
    d.hears(2, Diff(0), NewLeader(2), UpToDate(0))
    assert d.peer.established
    assert d.round == 1


def test_what_was_committed_is_delivered_before_the_successor_leads() -> None:
    d = Dialogue(1, storage=stored((1, 2))).join(3, epoch=2, committed=Z(1, 2))
    assert d.delivered == [b"1.1", b"1.2"]
    d.hears(3, HandOff(1, 2))
    assert d.peer.last_committed == Z(1, 2)


def test_a_hand_over_before_uptodate_is_out_of_turn() -> None:
    d = Dialogue(1).follow(3)
    d.hears(3, LeaderInfo(1))
    d.hears(3, Diff(0), NewLeader(1), HandOff(2, 1))
    assert d.rejected == [3]
    assert d.peer.leader == 3


# --- among themselves


@pytest.mark.parametrize("target", [1, 2])
def test_an_ensemble_changes_its_leader_without_an_election(target: int) -> None:
    ensemble = Ensemble((1, 2, 3))
    ensemble.run(ensemble.all_serve)
    ensemble.propose(b"a")
    ensemble.peer(3).transfer(target)
    ensemble.act(3)
    rounds = {me: ensemble.peer(me).status().vote.round for me in ensemble.hosts}
    ensemble.run(lambda: ensemble.leader == target and ensemble.all_serve())
    assert {me: ensemble.peer(me).status().vote.round for me in ensemble.hosts} == rounds
    ensemble.propose(b"b")
    ensemble.run(lambda: ensemble.all_have([b"a", b"b"]))


def test_a_successor_that_crashes_costs_an_election_and_nothing_else() -> None:
    ensemble = Ensemble((1, 2, 3))
    ensemble.run(ensemble.all_serve)
    ensemble.propose(b"a")
    ensemble.run(lambda: ensemble.all_have([b"a"]))
    ensemble.peer(3).transfer(2)
    ensemble.act(3)
    ensemble.crash(2)
    ensemble.run(lambda: ensemble.leader is not None and ensemble.all_serve())
    ensemble.propose(b"b")
    ensemble.run(lambda: ensemble.all_have([b"a", b"b"]))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_ensemble_whose_counter_runs_out_again_and_again_goes_on(size: int) -> None:
    ensemble = Ensemble(range(1, size + 1), limits=Limits(last_counter=2))
    said: list[bytes] = []
    for number in range(9):
        ensemble.run(ensemble.all_serve)
        said.append(b"%d" % number)
        ensemble.propose(said[-1])
        ensemble.run(lambda: ensemble.all_have(said))
    epochs = [event.epoch for host in ensemble.hosts.values() for event in host.leaders]
    assert max(epochs) >= 5
    assert len(epochs) == len(set(epochs))


def test_an_epoch_that_is_full_ends_with_an_election_where_the_successor_is_lost() -> None:
    d = leader_of_five(last_counter=2)
    d.proposes(b"1", b"2")
    assert d.peer.status().handing_over_to == 1
    said = d.lost(1)
    assert "event     LOOKING epoch=1: epoch 1 has no zxids left" in said
    assert not any(isinstance(event, RoleChanged) and event.role is Role.FOLLOWING for event in d.events)


def test_an_epoch_that_is_full_ends_with_an_election_where_the_successor_is_not_ready() -> None:
    d = leader_of_five(last_counter=2, transfer_ticks=10)
    d.proposes(b"1", b"2")
    assert "event     LOOKING epoch=1: epoch 1 has no zxids left" in d.ticks(10)
