"""Observers and voters of weight 0 (protocol.md 1.2, 1.4 to 1.6): they get what is committed, and count for nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dialogue import Dialogue, Z, batch, script, stored
from ensemble import Ensemble

from zkcore.errors import BadArgumentsError
from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    NOBODY,
    Ack,
    AckEpoch,
    Commit,
    Diff,
    FollowerInfo,
    HandOff,
    LeaderInfo,
    NewLeader,
    Ping,
    Proposal,
    Role,
    Snap,
    SnapData,
    SyncAck,
    Trunc,
    UpToDate,
    Vote,
)
from zkcore.zab.quorum import EnsembleConfig

LOOKING, FOLLOWING, LEADING, OBSERVING = Role.LOOKING, Role.FOLLOWING, Role.LEADING, Role.OBSERVING
WATCHED = EnsembleConfig((1, 2, 3), observers=(4, 5))
WEIGHED = EnsembleConfig((1, 2, 3, 4), weights={4: 0})


def observer(*runs: tuple[int, int], **more: int) -> Dialogue:
    return Dialogue(4, config=WATCHED, linked=(1, 2, 3, 5), storage=stored(*runs, **more))


def weightless(*runs: tuple[int, int], **more: int) -> Dialogue:
    return Dialogue(4, config=WEIGHED, linked=(1, 2, 3), storage=stored(*runs, **more))


def watched(*runs: tuple[int, int], **limits: int) -> Dialogue:
    """Leader 3, established with 1, of an ensemble with two observers."""
    d = Dialogue(3, config=WATCHED, linked=(1, 2, 4, 5), storage=stored(*runs), limits=Limits(**limits)).stand()
    epoch = runs[-1][0] if runs else 0
    d.promise(1, accepted=epoch)
    d.hears(1, Ack(Z(epoch + 1, 0)))
    d.catch_up()
    return d


# --- the election


@pytest.mark.parametrize("make", [observer, weightless])
def test_who_does_not_count_votes_for_nobody(make: Callable[..., Dialogue]) -> None:
    d = make((2, 7))
    d.ticks(60)
    votes = [message for message in d.said_to(1) if isinstance(message, Vote)]
    assert len(votes) > 1
    assert {(vote.leader, vote.state, vote.damaged) for vote in votes} == {(NOBODY, LOOKING, False)}


@pytest.mark.parametrize("make", [observer, weightless])
def test_who_does_not_count_follows_whom_a_quorum_votes_for(make: Callable[..., Dialogue]) -> None:
    d = make()
    d.hears(1, Vote(LOOKING, 3, Z(1, 1), 1, 7))
    assert d.peer.role is LOOKING
    d.hears(3, Vote(LOOKING, 3, Z(1, 1), 1, 7))
    assert d.peer.leader == 3


def test_an_observer_is_told_so_by_its_role() -> None:
    d = observer()
    for voter in (1, 3):
        d.hears(voter, Vote(LOOKING, 3, 0, 0, 7))
    assert d.roles == ["OBSERVING leader=3 epoch=0: a quorum agrees"]
    assert d.peer.role is OBSERVING
    assert Vote(OBSERVING, 3, 0, 0, 7) in d.said_to(1)


@pytest.mark.parametrize("make", [observer, weightless])
def test_votes_of_different_rounds_or_candidates_are_no_quorum_to_a_listener(make: Callable[..., Dialogue]) -> None:
    d = make()
    d.hears(1, Vote(LOOKING, 3, 0, 0, 7))
    d.hears(2, Vote(LOOKING, 3, 0, 0, 6))
    d.hears(3, Vote(LOOKING, 2, 0, 0, 7))
    assert d.peer.role is LOOKING
    d.hears(3, Vote(LOOKING, 3, 0, 0, 7))
    assert d.peer.leader == 3


def test_observers_among_themselves_are_no_quorum() -> None:
    d = observer()
    d.hears(5, Vote(LOOKING, 3, 0, 0, 7))
    d.hears(1, Vote(LOOKING, 3, 0, 0, 7))
    assert d.peer.role is LOOKING


@pytest.mark.parametrize("make", [observer, weightless])
def test_who_does_not_count_needs_a_quorum_of_others_to_join_a_leader(make: Callable[..., Dialogue]) -> None:
    d = make()
    d.hears(3, Vote(LEADING, 3, 0, 1, 7))
    assert d.peer.role is LOOKING  # it is not itself one of two
    d.hears(1, Vote(FOLLOWING, 3, 0, 1, 7))
    assert d.peer.leader == 3


@pytest.mark.parametrize("make", [observer, weightless])
def test_who_does_not_count_never_leads_whoever_says_so(make: Callable[..., Dialogue]) -> None:
    d = make((9, 9))
    for voter in (1, 2, 3):
        d.hears(voter, Vote(LOOKING, 4, Z(9, 9), 9, d.round))
        d.hears(voter, Vote(FOLLOWING, 4, Z(9, 9), 9, d.round))
    d.ticks(200)
    assert d.peer.role is LOOKING


@pytest.mark.parametrize("config", [WATCHED, WEIGHED])
def test_a_vote_that_counts_for_nothing_is_answered_and_not_counted(config: EnsembleConfig) -> None:
    d = Dialogue(3, config=config, linked=(1, 2, 4))
    d.hears(4, Vote(LOOKING, NOBODY, 0, 0, 1))
    assert isinstance(d.said_to(4)[-1], Vote)
    d.hears(4, Vote(LOOKING, 3, 0, 0, 1))
    d.hears(4, Vote(LOOKING, 2, Z(9, 9), 9, 9))  # nor does it move the election on
    d.hears(4, Vote(FOLLOWING, 3, 0, 0, 1))
    d.ticks(15)
    assert d.peer.role is LOOKING
    assert d.round == 1
    assert d.peer.status().vote.leader == 3


@pytest.mark.parametrize("config", [WATCHED, WEIGHED])
def test_nobody_votes_for_who_cannot_lead(config: EnsembleConfig) -> None:
    d = Dialogue(3, config=config, linked=(1, 2, 4))
    for voter in (1, 2):
        d.hears(voter, Vote(LOOKING, 4, Z(9, 9), 9, 1))
    assert d.peer.status().vote.leader == 3


def test_nobody_waits_for_the_vote_of_who_has_none() -> None:
    d = Dialogue(3, config=WEIGHED, linked=(1, 2, 4))
    d.hears(4, Vote(LOOKING, NOBODY, 0, 0, 1))
    for voter in (1, 2):
        d.hears(voter, Vote(LOOKING, 3, 0, 0, 1))
    assert d.peer.role is LEADING


# --- promises


@pytest.mark.parametrize("make", [observer, weightless])
def test_a_promise_of_former_days_does_not_bind_who_promises_nothing(make: Callable[..., Dialogue]) -> None:
    # it was a voter once, and promised an epoch that nobody won
    d = make((1, 3), accepted=7).follow(3)
    assert "ACKEPOCH current=-" in d.hears(3, LeaderInfo(4))
    d.hears(3, Diff(Z(1, 3)), NewLeader(4), UpToDate(Z(1, 3)))
    assert d.peer.established
    assert (d.storage.load().accepted_epoch, d.storage.load().current_epoch) == (7, 4)


@pytest.mark.parametrize("make", [observer, weightless])
def test_even_who_promises_nothing_does_not_go_back_to_an_earlier_epoch(make: Callable[..., Dialogue]) -> None:
    d = make((5, 3)).follow(3)
    d.hears(3, LeaderInfo(4))
    assert d.peer.role is LOOKING


def test_an_observer_promises_nothing_and_writes_nothing_down_before_it_has_the_history() -> None:
    d = observer((1, 3)).follow(3)
    assert d.hears(3, LeaderInfo(7)) == (
        "message   3  ACKEPOCH current=- last=0x1_00000003 base=0x0_00000000 ends=[0x1_00000003]"
    )
    assert d.storage.load().accepted_epoch == 1
    assert d.hears(3, Diff(Z(1, 3)), NewLeader(7)) == script("""
        write     EPOCHS accepted=7 current=7
        message   3  ACK 0x7_00000000""")


def test_registrations_and_promises_of_observers_are_not_counted() -> None:
    d = Dialogue(3, config=WATCHED, linked=(1, 2, 4, 5)).stand()
    for each in (4, 5):
        assert d.hears(each, FollowerInfo(0)) == ""
    assert "LEADERINFO" in d.hears(1, FollowerInfo(0))
    for each in (4, 5):
        assert d.hears(each, d.ack_epoch(0)) == ""
    assert d.peer.epoch == 0
    d.hears(1, d.ack_epoch(0))
    assert d.peer.epoch == 1


def test_an_observer_with_a_newer_history_does_not_unseat_a_leader() -> None:
    # it has no part in the proof that the leader holds everything; what it has beyond is cut, or refused by it
    d = Dialogue(3, config=WATCHED, linked=(1, 2, 4, 5)).stand()
    d.hears(1, FollowerInfo(0))
    d.hears(4, FollowerInfo(0))
    d.hears(4, AckEpoch(9, Z(1, 3), 0, (Z(1, 3),)))
    assert d.peer.role is LEADING


def test_acknowledgements_of_observers_commit_nothing() -> None:
    d = watched()
    for each in (4, 5):
        d.bring_in(each)
        d.hears(each, Ack(Z(1, 0)))
    d.proposes(b"x")
    for each in (4, 5):
        d.hears(each, Ack(Z(1, 1)))
    assert d.peer.last_committed == 0
    assert d.rejected == [4, 5]  # they were never sent it


def test_answers_of_observers_keep_no_leader_in_office_and_prove_no_read() -> None:
    d = watched()
    for each in (4, 5):
        d.bring_in(each)
        d.hears(each, Ack(Z(1, 0)))
    d.peer.read_index("q")
    d.drain()
    for number in range(1, 6):
        for each in (4, 5):
            d.hears(each, Ping(1))
        if d.peer.role is LEADING:
            d.ticks(50 if number < 5 else 1)
    assert d.peer.role is LOOKING
    assert "read index dropped" in [str(event) for event in d.events]


# --- the stream


def test_an_observer_is_not_sent_what_is_not_committed() -> None:
    d = watched()
    d.bring_in(4)
    d.hears(4, Ack(Z(1, 0)))
    assert "4  PROPOSAL" not in d.proposes(b"x", b"y", b"z")
    assert d.hears(1, Ack(Z(1, 2))) == script("""
        early     4  PROPOSAL 0x1_00000001..0x1_00000002
        early     1  COMMIT 0x1_00000002
        early     4  COMMIT 0x1_00000002
        event     delivered 0x1_00000001..0x1_00000002""")
    assert d.hears(4, Ack(Z(1, 2))) == ""


def test_the_history_of_an_observer_ends_where_the_committed_part_does() -> None:
    d = watched((1, 2))
    d.proposes(b"x")
    assert d.bring_in(4) == script("""
        message   4  DIFF from 0x0_00000000
        message   4  PROPOSAL 0x1_00000001..0x1_00000002
        message   4  NEWLEADER epoch=2
        message   4  COMMIT 0x1_00000002""")


def test_an_observer_is_fed_within_its_window() -> None:
    d = watched((1, 5), window_bytes=4, read_bytes=3)
    d.bring_in(4)
    sent = [message.last for message in d.said_to(4) if isinstance(message, Proposal)]
    assert sent == [Z(1, 1), Z(1, 2)]
    assert "PROPOSAL 0x1_00000003" in d.hears(4, SyncAck(Z(1, 1)))


def test_an_observer_waits_until_the_epoch_is_established() -> None:
    d = Dialogue(3, config=WATCHED, linked=(1, 2, 4, 5), storage=stored((1, 2))).stand()
    d.hears(4, FollowerInfo(1))
    d.hears(1, FollowerInfo(1))
    assert d.hears(4, AckEpoch(None, 0, 0, ())) == ""  # an epoch is proposed
    d.hears(1, d.ack_epoch(1))
    d.hears(5, FollowerInfo(1))
    assert d.hears(5, AckEpoch(None, 0, 0, ())) == ""  # it is won, and its history not yet committed
    assert (
        d.hears(1, Ack(Z(2, 0))).splitlines()[-9:]
        == script("""
        message   1  UPTODATE committed=0x1_00000002
        message   4  DIFF from 0x0_00000000
        message   5  DIFF from 0x0_00000000
        message   4  PROPOSAL 0x1_00000001..0x1_00000002
        message   4  NEWLEADER epoch=2
        message   5  PROPOSAL 0x1_00000001..0x1_00000002
        message   5  NEWLEADER epoch=2
        message   4  COMMIT 0x1_00000002
        message   5  COMMIT 0x1_00000002""").splitlines()
    )


def test_a_former_voter_keeps_what_its_leader_may_commit_at_any_moment() -> None:
    # it gets nothing that is not committed; but this it has
    d = watched()
    d.proposes(b"x", b"y")
    d.hears(1, Ack(Z(1, 1)))
    said = d.bring_in(4, (1, 2))
    assert said == script("""
        message   4  DIFF from 0x1_00000002
        message   4  NEWLEADER epoch=1
        message   4  COMMIT 0x1_00000001""")
    assert d.hears(4, Ack(Z(1, 0))) == "message   4  UPTODATE committed=0x1_00000001"
    assert "early     4  COMMIT 0x1_00000002" in d.hears(1, Ack(Z(1, 2)))
    d.proposes(b"z")
    assert "early     4  PROPOSAL 0x1_00000003..0x1_00000003" in d.hears(1, Ack(Z(1, 3)))


def test_no_leader_steps_down_for_what_an_observer_says_of_its_epochs() -> None:
    d = watched()
    for _ in range(5):
        d.hears(4, FollowerInfo(7))
        d.relinked(4)
    assert d.peer.established


def test_an_observer_follows_logs_and_delivers_like_a_follower() -> None:
    d = observer((1, 2)).join(3, epoch=2, committed=Z(1, 2))
    assert (d.peer.role, d.peer.established) == (OBSERVING, True)
    assert d.hears(3, batch(2, 1, 2), Commit(Z(2, 2))) == script("""
        write     APPEND 0x2_00000001..0x2_00000002
        message   3  ACK 0x2_00000002
        ---
        event     delivered 0x2_00000001..0x2_00000002""")


def test_an_observer_takes_a_cut_and_a_snapshot() -> None:
    d = observer((1, 3)).follow(3)
    d.hears(3, LeaderInfo(2))
    d.hears(3, Trunc(Z(1, 1)), NewLeader(2), UpToDate(Z(1, 1)))
    assert d.delivered == [b"1.1"]
    d.relinked(3)
    d.follow(3)
    d.hears(3, LeaderInfo(3))
    d.hears(3, Snap(Z(2, 5)), SnapData(0, b"state", True), NewLeader(3), UpToDate(Z(2, 5)))
    assert d.peer.last_delivered == Z(2, 5)
    assert d.peer.established


def test_an_observer_that_restarts_delivers_again_from_its_log() -> None:
    d = observer((1, 2)).join(3, epoch=2, committed=Z(1, 2))
    d.hears(3, batch(2, 1, 2), Commit(Z(2, 1)))
    again = Dialogue(4, config=WATCHED, linked=(1, 2, 3, 5), storage=d.storage).join(3, epoch=3, committed=Z(2, 2))
    assert again.delivered == [b"1.1", b"1.2", b"2.1", b"2.2"]
    assert again.storage.load().accepted_epoch == 3


def test_the_interrupted_synchronisation_of_an_observer_is_undone() -> None:
    d = observer((1, 2)).follow(3)
    d.hears(3, LeaderInfo(5))
    d.hears(3, Diff(Z(1, 2)), batch(1, 3), batch(4, 1))
    assert "write     TRUNCATE to 0x1_00000003" in d.lost(3)


# --- hand-overs


def test_an_observer_is_named_no_successor_and_follows_one() -> None:
    d = watched()
    d.bring_in(4)
    d.hears(4, Ack(Z(1, 0)))
    with pytest.raises(BadArgumentsError, match="server 4 cannot take over"):
        d.peer.transfer(4)
    d.peer.transfer()
    assert d.drain() == "message   1  HANDOFF to 1 epoch=1\nmessage   4  HANDOFF to 1 epoch=1"
    d = observer().join(3)
    assert "OBSERVING leader=1 epoch=1: leader 3 has handed over" in d.hears(3, HandOff(1, 1))


@pytest.mark.parametrize("make", [observer, weightless])
def test_who_cannot_lead_takes_over_from_nobody(make: Callable[..., Dialogue]) -> None:
    d = make().join(3)
    d.hears(3, HandOff(4, 1))
    assert d.rejected == [3]
    assert d.peer.role is not LEADING


# --- among themselves


@pytest.mark.parametrize("config", [WATCHED, WEIGHED, EnsembleConfig((1,), observers=(2, 3))])
def test_everybody_has_what_is_proposed_whatever_they_count(config: EnsembleConfig) -> None:
    ensemble = Ensemble(config)
    ensemble.run(ensemble.all_serve)
    ensemble.propose(b"a", b"b")
    ensemble.run(lambda: ensemble.all_have([b"a", b"b"]))
    bystander = config.members[-1]
    ensemble.crash(bystander)
    ensemble.run(ensemble.all_serve)
    ensemble.propose(b"c")
    ensemble.start(bystander)
    ensemble.run(lambda: ensemble.all_serve() and ensemble.all_have([b"a", b"b", b"c"]))


def test_observers_alone_elect_nobody() -> None:
    ensemble = Ensemble(WATCHED)
    ensemble.run(ensemble.all_serve)
    for voter in (1, 2, 3):
        ensemble.crash(voter)
    ensemble.run(lambda: all(ensemble.peer(each).role is LOOKING for each in (4, 5)))
    for _ in range(300):
        ensemble.step()
        assert all(ensemble.peer(each).role is LOOKING for each in (4, 5))
    ensemble.start(1)
    ensemble.start(2)
    ensemble.run(ensemble.all_serve)


def test_a_leader_alone_with_observers_steps_down() -> None:
    ensemble = Ensemble(WATCHED)
    ensemble.run(ensemble.all_serve)
    ensemble.crash(1)
    ensemble.crash(2)
    ensemble.run(lambda: ensemble.leader is None)


def test_a_voter_without_weight_can_be_missing_and_one_of_weight_two_not() -> None:
    config = EnsembleConfig((1, 2, 3), weights={1: 0, 2: 1, 3: 2})
    ensemble = Ensemble(config)
    ensemble.run(ensemble.all_serve)
    ensemble.crash(1)
    ensemble.crash(2)
    ensemble.run(lambda: ensemble.leader == 3)
    ensemble.start(1)
    ensemble.start(2)
    ensemble.run(ensemble.all_serve)
    ensemble.crash(3)
    ensemble.run(lambda: ensemble.leader is None)
