"""Phase 0 (protocol.md 1.4): dialogues of one looking node with the votes it gets to hear."""

from __future__ import annotations

import pytest
from dialogue import Dialogue, Z, script, stored

from zkcore.zab.limits import Limits
from zkcore.zab.messages import FollowerInfo, LeaderInfo, Role, Vote

LOOKING, FOLLOWING, LEADING = Role.LOOKING, Role.FOLLOWING, Role.LEADING


def looking(leader: int, *, zxid: int = 0, epoch: int = 0, round: int = 1) -> Vote:
    return Vote(LOOKING, leader, zxid, epoch, round)


def test_everybody_votes_for_themselves_first() -> None:
    d = Dialogue(1, storage=stored((2, 7)), linked=())
    assert d.linked(2) == "message   2  VOTE LOOKING for 1 zxid=0x2_00000007 epoch=2 round=1"


@pytest.mark.parametrize(
    ("vote", "wins"),
    [
        (looking(2, zxid=Z(2, 7), epoch=2), True),  # all alike but for the number
        (looking(2, zxid=Z(2, 6), epoch=2), False),
        (looking(2, zxid=Z(2, 8), epoch=2), True),
        (looking(2, zxid=Z(2, 1), epoch=3), True),  # the epoch counts first
        (looking(2, zxid=Z(9, 9), epoch=1), False),
        (looking(9, zxid=Z(2, 8), epoch=2), False),  # nobody outside of the ensemble can lead it
    ],
)
def test_the_better_vote_wins_by_epoch_then_zxid_then_number(vote: Vote, wins: bool) -> None:
    d = Dialogue(1, storage=stored((2, 7)))
    said = d.hears(3, vote)
    if wins:
        assert said == script(f"""
            message   2  {vote}
            message   3  {vote}""")
    else:
        assert said == ""


def test_the_higher_number_wins_among_equals_only() -> None:
    d = Dialogue(3, linked=(1, 2))
    assert d.hears(1, looking(1)) == ""


def test_a_quorum_waits_a_little_for_a_better_vote() -> None:
    d = Dialogue(1)
    d.hears(2, looking(2))
    assert d.peer.ticks_until_due == Limits().finalize_ticks
    assert d.ticks(9) == ""
    assert d.ticks(1) == script("""
        event     FOLLOWING leader=2 epoch=0: a quorum agrees, and nobody knew better
        message   2  VOTE FOLLOWING for 2 zxid=0x0_00000000 epoch=0 round=1
        message   3  VOTE FOLLOWING for 2 zxid=0x0_00000000 epoch=0 round=1
        message   2  FOLLOWERINFO accepted=0""")


def test_a_better_vote_in_time_is_taken() -> None:
    d = Dialogue(1)
    d.hears(2, looking(2))
    d.ticks(9)
    assert d.hears(3, looking(3)).startswith("message   2  VOTE LOOKING for 3")
    d.ticks(9)
    assert d.peer.role is LOOKING
    d.ticks(1)
    assert (d.peer.role, d.peer.leader) == (FOLLOWING, 3)


def test_a_worse_vote_does_not_shorten_the_wait() -> None:
    d = Dialogue(1)
    d.hears(2, looking(2))
    d.hears(3, looking(1))
    assert d.peer.role is LOOKING


def test_nobody_is_waited_for_when_all_agree() -> None:
    d = Dialogue(1)
    d.hears(2, looking(3))
    assert d.peer.role is LOOKING
    d.hears(3, looking(3))
    assert (d.peer.role, d.peer.leader) == (FOLLOWING, 3)


def test_nobody_is_waited_for_who_was_reported_lost() -> None:
    d = Dialogue(2, linked=(1, 3))
    d.lost(3)
    d.hears(1, looking(2))
    assert (d.peer.role, d.peer.leader) == (LEADING, 2)


def test_the_better_candidate_begins_discovery_when_it_is_this_node() -> None:
    d = Dialogue(3, linked=(1, 2))
    d.hears(1, looking(3))
    assert d.hears(2, looking(3)) == script("""
        event     LEADING leader=3 epoch=0: everybody agrees
        message   1  VOTE LEADING for 3 zxid=0x0_00000000 epoch=0 round=1
        message   2  VOTE LEADING for 3 zxid=0x0_00000000 epoch=0 round=1""")


# --- rounds


def test_a_later_round_is_joined_and_what_was_heard_before_forgotten() -> None:
    d = Dialogue(1, voters=(1, 2, 3, 4, 5), linked=(2, 3, 4, 5))
    d.hears(2, looking(5))
    d.hears(3, looking(5, round=7))
    assert d.round == 7
    d.hears(4, looking(5, round=7))
    d.ticks(10)
    assert d.peer.leader == 5  # 1, 3 and 4; the vote of 2 is of another round
    d = Dialogue(1, voters=(1, 2, 3, 4, 5), linked=(2, 3, 4, 5))
    d.hears(2, looking(5))
    d.hears(3, looking(5, round=7))
    d.ticks(10)
    assert d.peer.role is LOOKING


def test_a_later_round_begins_with_the_better_of_the_two_votes() -> None:
    d = Dialogue(2, storage=stored((1, 5)), linked=(1, 3))
    assert d.hears(1, looking(1, zxid=Z(1, 4), epoch=1, round=4)) == script("""
        message   1  VOTE LOOKING for 2 zxid=0x1_00000005 epoch=1 round=4
        message   3  VOTE LOOKING for 2 zxid=0x1_00000005 epoch=1 round=4""")


def test_who_is_in_an_earlier_round_is_told_the_present_vote() -> None:
    d = Dialogue(1)
    d.hears(3, looking(3, round=7))
    assert d.hears(2, looking(2, round=6)) == "message   2  VOTE LOOKING for 3 zxid=0x0_00000000 epoch=0 round=7"
    d.ticks(10)
    assert d.peer.leader == 3  # 2 is not counted, but 1 and 3 are enough


@pytest.mark.parametrize("round", [-1, (1 << 32) + 2, 1 << 63])
def test_a_round_that_cannot_be_is_refused(round: int) -> None:
    d = Dialogue(1)
    assert d.hears(2, looking(2, round=round)) == script(f"""
        event     rejected 2: VOTE of round {round}
        close     2""")


# --- losses and silence


def test_votes_are_sent_again_less_and_less_often() -> None:
    d = Dialogue(1)
    ours = "VOTE LOOKING for 1 zxid=0x0_00000000 epoch=0 round=1"
    for wait in (20, 40, 80, 160, 160):
        assert d.peer.ticks_until_due == wait
        assert d.ticks(wait - 1) == ""
        assert d.ticks(1) == script(f"""
            message   2  {ours}
            message   3  {ours}""")


def test_the_election_begins_again_when_the_candidate_is_lost() -> None:
    d = Dialogue(1)
    d.hears(3, looking(3))
    assert d.lost(3) == "message   2  VOTE LOOKING for 1 zxid=0x0_00000000 epoch=0 round=2"


def test_the_vote_of_a_lost_voter_is_not_counted() -> None:
    d = Dialogue(2, voters=(1, 2, 3), linked=(1, 3))
    d.hears(1, looking(2))
    d.lost(1)
    d.ticks(10)
    assert d.peer.role is LOOKING


# --- votes of those who have a leader


def test_a_newcomer_joins_the_leader_that_a_quorum_has() -> None:
    d = Dialogue(1, voters=(1, 2, 3, 4, 5, 6, 7), linked=(2, 3, 4, 5))
    d.hears(2, Vote(FOLLOWING, 4, Z(1, 3), 2, 9))
    d.hears(3, Vote(FOLLOWING, 4, Z(1, 1), 2, 7))
    assert d.peer.role is LOOKING
    assert d.hears(4, Vote(LEADING, 4, Z(1, 3), 2, 9)).startswith(
        "event     FOLLOWING leader=4 epoch=0: a quorum has this leader already"
    )
    assert d.round == 9


def test_a_newcomer_is_itself_one_of_the_quorum_that_it_joins() -> None:
    # else two of three nodes, their one link renewed, would have to elect a leader that is there
    d = Dialogue(1)
    d.hears(3, Vote(LEADING, 3, Z(1, 3), 2, 9))
    assert d.peer.leader == 3


def test_a_newcomer_does_not_join_a_leader_that_has_not_said_so_itself() -> None:
    d = Dialogue(1, voters=(1, 2, 3, 4, 5), linked=(2, 3, 4, 5))
    for follower in (2, 3, 5):
        d.hears(follower, Vote(FOLLOWING, 4, 0, 2, 9))
    assert d.peer.role is LOOKING


def test_votes_for_the_same_leader_in_different_epochs_make_no_quorum() -> None:
    # ZOOKEEPER-1732: which is why members rewrite the epoch they advertise once it is established
    d = Dialogue(1, voters=(1, 2, 3, 4, 5, 6, 7), linked=(2, 3, 4, 5))
    d.hears(4, Vote(LEADING, 4, 0, 2, 9))
    d.hears(2, Vote(FOLLOWING, 4, 0, 2, 9))
    d.hears(3, Vote(FOLLOWING, 4, 0, 1, 9))
    assert d.peer.role is LOOKING
    d.hears(3, Vote(FOLLOWING, 4, 0, 2, 9))
    assert d.peer.leader == 4


def test_who_begins_to_look_again_has_no_leader_any_more() -> None:
    d = Dialogue(1)
    d.hears(3, Vote(LEADING, 3, 0, 0, 7))
    d.hears(3, looking(3, round=8))
    d.hears(2, Vote(FOLLOWING, 3, 0, 0, 7))
    assert d.peer.role is LOOKING


def test_this_node_leads_when_others_of_this_very_round_follow_it() -> None:
    d = Dialogue(3, linked=(1, 2))
    d.hears(1, Vote(FOLLOWING, 3, 0, 0, d.round + 1))
    assert d.peer.role is LOOKING  # of another round: that was an earlier life of this node
    d.hears(1, Vote(FOLLOWING, 3, 0, 0, d.round))
    assert d.peer.role is LEADING


# --- who has a leader answers those who look


@pytest.mark.parametrize("role", [FOLLOWING, LEADING])
def test_who_has_a_leader_tells_it_to_those_who_look_and_stays(role: Role) -> None:
    d = Dialogue(3, linked=(1, 2))
    if role is LEADING:
        d.lead()
    else:
        d.join(2)
    assert d.hears(1, looking(1, round=1)) == (
        f"message   1  VOTE {role} for {d.peer.leader} zxid=0x0_00000000 epoch=1 round=1"
    )
    assert d.peer.role is role


def test_votes_of_others_who_have_a_leader_are_not_answered() -> None:
    d = Dialogue(3, linked=(1, 2)).join(2)
    assert d.hears(1, Vote(FOLLOWING, 2, 0, 1, 1)) == ""


def test_a_fresh_link_is_told_the_last_vote() -> None:
    d = Dialogue(3, linked=(1, 2)).join(2)
    d.lost(1)
    assert d.linked(1) == "message   1  VOTE FOLLOWING for 2 zxid=0x0_00000000 epoch=1 round=1"


def test_a_looking_node_breaks_with_those_who_take_it_for_something_else() -> None:
    d = Dialogue(1)
    assert d.hears(2, LeaderInfo(4)) == script("""
        event     rejected 2: LeaderInfo means nothing to a node that is LOOKING
        close     2""")


def test_a_registration_with_a_node_that_does_not_lead_is_overheard() -> None:
    # two nodes may each follow the other for a moment
    d = Dialogue(1)
    assert d.hears(2, FollowerInfo(0)) == ""
    d.follow(3)
    assert d.hears(2, FollowerInfo(0)) == ""
