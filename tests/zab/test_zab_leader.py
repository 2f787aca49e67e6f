"""A leader (protocol.md 1.5 to 1.9): dialogues with those who learn from it."""

from __future__ import annotations

import pytest
from dialogue import Dialogue, Z, batch, elected, leading, script, stored

from zkcore.errors import BadArgumentsError, InvariantViolation, NotLeadingError
from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Diff,
    FollowerInfo,
    HandOff,
    NewLeader,
    Ping,
    Repaired,
    Role,
    SnapAck,
    SyncAck,
    UpToDate,
    Vote,
    ZabMessage,
)

LIMITS = Limits()


def in_phase(phase: str) -> Dialogue:
    """Node 3 with the log 1_1 .. 1_3, in a phase of its conversation with 1 about epoch 2."""
    d = elected((1, 3), base=Z(1, 1), snapshot_chunk_bytes=4, window_bytes=3, read_bytes=3)
    steps: dict[str, tuple[ZabMessage, ...]] = {
        "STRANGER": (),
        "WAIT_ACKEPOCH": (FollowerInfo(1),),
        "WAIT_SYNC": (FollowerInfo(1), AckEpoch(None, Z(1, 3), 0, (Z(1, 3),))),
        "SNAPPING": (FollowerInfo(1), AckEpoch(1, 0, 0, ())),
        "CATCHING_UP": (FollowerInfo(1), AckEpoch(1, Z(1, 1), 0, (Z(1, 1),))),  # of two records one fits the window
        "WAIT_ACK": (FollowerInfo(1), AckEpoch(1, Z(1, 2), 0, (Z(1, 2),))),
        "ACTIVE": (FollowerInfo(1), AckEpoch(1, Z(1, 3), 0, (Z(1, 3),)), Ack(Z(2, 0))),
    }
    for message in steps[phase]:
        d.hears(1, message)
    if phase == "ACTIVE":
        d.proposes(b"x", b"y")
    stages = [learner.stage for learner in d.peer.status().learners]
    assert stages == ([phase] if phase != "STRANGER" else [])
    return d


# --- discovery


def test_the_epoch_is_one_above_every_epoch_that_a_quorum_accepted() -> None:
    d = Dialogue(3, voters=(1, 2, 3, 4, 5), linked=(1, 2, 4, 5), storage=stored((4, 1))).stand()
    assert d.hears(1, FollowerInfo(9)) == ""
    assert d.hears(2, FollowerInfo(6)) == script("""
        write     EPOCHS accepted=10 current=4
        message   1  LEADERINFO epoch=10
        message   2  LEADERINFO epoch=10""")
    assert d.hears(5, FollowerInfo(3)) == "message   5  LEADERINFO epoch=10"  # a late-comer gets what was chosen


def test_who_was_lost_before_the_epoch_was_chosen_does_not_count() -> None:
    d = Dialogue(3, voters=(1, 2, 3, 4, 5), linked=(1, 2, 4, 5)).stand()
    d.hears(1, FollowerInfo(0))
    d.lost(1)
    assert d.hears(2, FollowerInfo(0)) == ""


def test_a_repeated_registration_is_not_answered_twice() -> None:
    d = elected()
    d.hears(1, FollowerInfo(0))
    assert d.hears(1, FollowerInfo(0)) == ""


def test_a_promise_stays_counted_when_its_giver_is_lost() -> None:
    d = Dialogue(3, voters=(1, 2, 3, 4, 5), linked=(1, 2, 4, 5)).stand()
    for follower in (1, 2):
        d.hears(follower, FollowerInfo(0))
    d.hears(1, d.ack_epoch(0))
    d.lost(1)
    assert d.hears(2, d.ack_epoch(0)).startswith("write     EPOCHS accepted=1 current=1")


def test_a_node_alone_is_a_quorum() -> None:
    d = Dialogue(1, voters=(1,), linked=())
    assert d.peer.next_zxid == Z(1, 1)
    assert d.proposes(b"x") == script("""
        write     APPEND 0x1_00000001..0x1_00000001
        ---
        event     delivered 0x1_00000001..0x1_00000001""")


def test_epochs_do_not_wrap_around() -> None:
    with pytest.raises(InvariantViolation, match="no epochs left"):
        Dialogue(1, voters=(1,), linked=(), storage=stored((5, 1), accepted=0xFFFFFFFF))
    d = elected()
    d.hears(1, FollowerInfo(0xFFFFFFFF))
    assert d.rejected == [1]


# --- synchronisation


def answer(d: Dialogue, message: AckEpoch) -> str:
    """What 2 gets, once 1 made the epoch established."""
    d.hears(2, FollowerInfo(1))
    return d.hears(2, message)


def test_diff_for_a_log_that_is_a_beginning_of_the_leaders() -> None:
    assert answer(leading((1, 5)), AckEpoch(1, Z(1, 3), 0, (Z(1, 3),))) == script("""
        message   2  DIFF from 0x1_00000003
        message   2  PROPOSAL 0x1_00000004..0x1_00000005
        message   2  NEWLEADER epoch=2
        message   2  COMMIT 0x1_00000005""")


def test_trunc_for_a_log_that_went_its_own_way() -> None:
    assert answer(leading((1, 5), (4, 1)), AckEpoch(2, Z(2, 9), 0, (Z(1, 3), Z(2, 9)))) == script("""
        message   2  TRUNC to 0x1_00000003
        message   2  PROPOSAL 0x1_00000004..0x1_00000005
        message   2  PROPOSAL 0x4_00000001..0x4_00000001
        message   2  NEWLEADER epoch=5
        message   2  COMMIT 0x4_00000001""")


def test_before_the_epoch_is_established_nothing_is_said_to_be_committed() -> None:
    d = elected((1, 5))
    d.hears(1, FollowerInfo(1))
    assert d.hears(1, AckEpoch(1, Z(1, 3), 0, (Z(1, 3),))) == script("""
        write     EPOCHS accepted=2 current=2
        message   1  DIFF from 0x1_00000003
        message   1  PROPOSAL 0x1_00000004..0x1_00000005
        message   1  NEWLEADER epoch=2""")


def test_a_learner_whose_history_this_leader_never_had_is_sent_away() -> None:
    d = leading((1, 5))
    answer(d, AckEpoch(1, Z(1, 9), Z(1, 7), (Z(1, 9),)))
    assert d.rejected == [2]


def test_nor_is_it_brought_in_line_when_it_came_before_the_epoch_was_won() -> None:
    d = elected((1, 5))
    d.hears(2, FollowerInfo(1))
    d.hears(2, AckEpoch(None, Z(1, 9), Z(1, 7), (Z(1, 9),)))
    assert d.rejected == []
    d.hears(1, FollowerInfo(1))
    assert d.hears(1, d.ack_epoch(1)) == script("""
        event     rejected 2: its log begins at 0x1_00000007, which this leader never committed: one of the two has \
lost its data
        write     EPOCHS accepted=2 current=2
        message   1  DIFF from 0x1_00000005
        message   1  NEWLEADER epoch=2
        close     2""")


def test_the_history_is_on_a_quorum_only_when_this_node_has_it_saved_too() -> None:
    d = elected((1, 3))
    d.hears(1, FollowerInfo(1))
    d.peer.receive(1, d.ack_epoch(1))
    ready = d.take()
    assert [str(write) for write in ready.writes] == ["EPOCHS accepted=2 current=2"]
    with pytest.raises(RuntimeError, match="a Ready is out"):
        d.peer.receive(1, Ack(Z(2, 0)))


def test_who_was_lost_before_the_epoch_was_established_does_not_establish_it() -> None:
    d = Dialogue(5, voters=(1, 2, 3, 4, 5), linked=(1, 2, 3, 4)).stand()
    d.promise(1, 2, 3)
    d.hears(1, Ack(Z(1, 0)))
    d.lost(1)
    d.hears(2, Ack(Z(1, 0)))
    assert not d.peer.established
    d.hears(3, Ack(Z(1, 0)))
    assert d.peer.established


def test_who_acknowledges_later_is_brought_up_to_what_is_committed_by_then() -> None:
    d = leading((1, 3))
    d.proposes(b"x")
    answer(d, d.ack_epoch(1))
    d.hears(1, Ack(Z(2, 1)))
    assert d.hears(2, Ack(Z(2, 0))) == "message   2  UPTODATE committed=0x2_00000001"


# --- broadcast


def test_a_proposal_leaves_while_it_is_saved_and_commits_with_a_quorum() -> None:
    d = leading((1, 3))
    assert d.proposes(b"x", b"y") == script("""
        early     1  PROPOSAL 0x2_00000001..0x2_00000002
        write     APPEND 0x2_00000001..0x2_00000002""")
    assert d.hears(1, Ack(Z(2, 1))) == script("""
        early     1  COMMIT 0x2_00000001
        event     delivered 0x2_00000001..0x2_00000001""")
    assert d.hears(1, Ack(Z(2, 2))) == script("""
        early     1  COMMIT 0x2_00000002
        event     delivered 0x2_00000002..0x2_00000002""")


def test_one_commit_for_everything_that_a_batch_of_acknowledgements_decided() -> None:
    d = leading()
    d.proposes(b"x", b"y")
    said = d.hears(1, Ack(Z(1, 1)), Ack(Z(1, 2)))
    assert said.count("COMMIT") == 1
    assert "COMMIT 0x1_00000002" in said


def test_acknowledgements_of_a_lost_learner_are_not_counted() -> None:
    d = Dialogue(5, voters=(1, 2, 3, 4, 5), linked=(1, 2, 3, 4)).lead(1, 2, 3)
    d.proposes(b"x")
    d.hears(1, Ack(Z(1, 1)))
    d.lost(1)
    d.hears(2, Ack(Z(1, 1)))
    assert d.peer.last_committed == 0
    d.hears(3, Ack(Z(1, 1)))
    assert d.peer.last_committed == Z(1, 1)


def test_proposals_are_numbered_by_the_host() -> None:
    d = leading()
    d.peer.propose(Z(1, 1), [b"x"])
    with pytest.raises(BadArgumentsError, match="the next zxid is 0x1_00000002"):
        d.peer.propose(Z(1, 1), [b"again"])
    d.peer.propose(Z(1, 2), [b"y"])
    d.peer.propose(Z(1, 3), [])
    assert d.drain().count("APPEND") == 2
    assert d.peer.next_zxid == Z(1, 3)


@pytest.mark.parametrize("phase", ["LOOKING", "FOLLOWING", "elected"])
def test_only_an_established_leader_takes_proposals(phase: str) -> None:
    d = {
        "LOOKING": lambda: Dialogue(1),
        "FOLLOWING": lambda: Dialogue(1).join(3),
        "elected": elected,
    }[phase]()
    assert d.peer.next_zxid is None
    with pytest.raises(NotLeadingError) as caught:
        d.peer.propose(Z(1, 1), [b"x"])
    assert caught.value.leader == (3 if phase == "FOLLOWING" else None)
    assert d.drain() == ""


# --- patience


def test_those_who_got_newleader_are_pinged() -> None:
    d = leading()
    d.hears(2, FollowerInfo(0))
    assert d.ticks(LIMITS.ping_ticks) == "early     1  PING 1"
    d.hears(2, d.ack_epoch(0))
    assert d.ticks(LIMITS.ping_ticks) == script("""
        early     1  PING 2
        early     2  PING 2""")


@pytest.mark.parametrize("phase", ["STRANGER", "WAIT_ACKEPOCH", "WAIT_ACK"])
def test_each_step_to_an_epoch_has_the_init_limit(phase: str) -> None:
    d = in_phase(phase)
    d.ticks(LIMITS.init_limit_ticks)
    assert d.peer.role is Role.LEADING
    d.ticks(1)
    assert d.peer.role is Role.LOOKING
    assert "no quorum in" in d.roles[-1]


def test_a_silent_learner_is_dropped_and_may_come_back() -> None:
    d = Dialogue(5, voters=(1, 2, 3, 4, 5), linked=(1, 2, 3, 4)).lead(1, 2, 3)
    for _ in range(LIMITS.sync_limit_ticks // LIMITS.ping_ticks):
        d.ticks(LIMITS.ping_ticks)
        d.hears(1, Ping(1))
        d.hears(2, Ping(1))
        assert d.readies[-1].closes == []
    assert d.ticks(1) == "close     3"
    assert d.proposes(b"x").count("PROPOSAL") == 2
    d.lost(3)
    d.linked(3)
    assert d.hears(3, FollowerInfo(1)) == "message   3  LEADERINFO epoch=1"


def test_a_learner_that_answers_pings_but_acknowledges_nothing_is_dropped() -> None:
    d = Dialogue(5, voters=(1, 2, 3, 4, 5), linked=(1, 2, 3, 4)).lead(1, 2, 3)
    d.proposes(b"x")
    for follower in (1, 2):
        d.hears(follower, Ack(Z(1, 1)))
    closed: list[int] = []
    for _ in range(LIMITS.sync_limit_ticks // LIMITS.ping_ticks + 1):
        d.ticks(LIMITS.ping_ticks)
        closed += d.readies[-1].closes
        for follower in (1, 2, 3):
            d.hears(follower, Ping(1))
    assert closed == [3]
    assert d.peer.established


def test_a_slow_learner_whose_acknowledgements_keep_coming_is_kept() -> None:
    d = leading()
    d.proposes(*[b"x"] * 10)
    for counter in range(1, 11):
        d.ticks(LIMITS.sync_limit_ticks - 1)
        d.hears(1, Ack(Z(1, counter)))
    assert d.peer.last_committed == Z(1, 10)


def test_a_leader_waits_no_longer_when_the_voters_elect_somebody_else() -> None:
    # ZOOKEEPER-3109
    d = elected()
    d.hears(1, FollowerInfo(0))
    later = d.round + 1
    d.hears(2, Vote(Role.LOOKING, 2, 0, 0, later - 1))
    d.hears(2, Vote(Role.LOOKING, 2, 0, 0, later))
    assert d.peer.role is Role.LEADING  # 1 is still there
    d.hears(1, Vote(Role.LOOKING, 2, 0, 0, later))
    assert d.peer.role is Role.LOOKING
    assert d.readies[-1].closes == [1]


def test_a_leader_waits_no_longer_when_the_voters_follow_somebody_else() -> None:
    d = elected()
    later = d.round + 1
    d.hears(1, Vote(Role.FOLLOWING, 3, 0, 0, later))
    d.hears(2, Vote(Role.FOLLOWING, 2, 0, 0, later - 1))
    d.hears(2, Vote(Role.LEADING, 2, 0, 0, later))
    assert d.peer.role is Role.LEADING  # 1 is for this node
    d.hears(1, Vote(Role.FOLLOWING, 2, 0, 0, later))
    assert d.peer.role is Role.LOOKING


def test_an_established_leader_does_not_care_who_looks() -> None:
    d = leading()
    for follower in (1, 2):
        d.hears(follower, Vote(Role.LOOKING, 2, 0, 0, d.round + 1))
    assert d.peer.established


# --- what a learner may not say, and when


ALLOWED: dict[str, dict[str, ZabMessage]] = {
    "STRANGER": {"FOLLOWERINFO": FollowerInfo(1)},
    "WAIT_ACKEPOCH": {
        "FOLLOWERINFO": FollowerInfo(1), "ACKEPOCH": AckEpoch(1, Z(1, 3), 0, (Z(1, 3),)), "PING": Ping(1),
    },
    "WAIT_SYNC": {"PING": Ping(1)},
    "SNAPPING": {"SNAPACK": SnapAck(4), "PING": Ping(1)},
    "CATCHING_UP": {"SYNCACK": SyncAck(Z(1, 2)), "PING": Ping(1)},
    "WAIT_ACK": {"SYNCACK": SyncAck(Z(1, 3)), "ACK": Ack(Z(2, 0)), "PING": Ping(1)},
    "ACTIVE": {"ACK": Ack(Z(2, 1)), "PING": Ping(1)},
}  # fmt: skip
"""What a learner may say in each stage of its conversation (protocol.md 1.12)."""

ANYTHING: dict[str, ZabMessage] = {
    "FOLLOWERINFO": FollowerInfo(1), "ACKEPOCH": AckEpoch(1, Z(1, 3), 0, (Z(1, 3),)), "SNAPACK": SnapAck(4),
    "ACK": Ack(Z(2, 0)), "PING": Ping(1), "DIFF": Diff(0), "PROPOSAL": batch(2, 1), "NEWLEADER": NewLeader(2),
    "UPTODATE": UpToDate(0), "SYNCACK": SyncAck(Z(1, 3)), "REPAIRED": Repaired(2), "HANDOFF": HandOff(2, 2),
}  # fmt: skip


@pytest.mark.parametrize("phase", ALLOWED)
@pytest.mark.parametrize("name", ANYTHING)
def test_what_a_learner_may_say_in_each_stage(phase: str, name: str) -> None:
    d = in_phase(phase)
    d.ticks(LIMITS.ping_ticks)  # the first round of PINGs
    d.hears(1, ALLOWED[phase].get(name, ANYTHING[name]))
    assert d.rejected == ([] if name in ALLOWED[phase] else [1])
    assert d.peer.role is Role.LEADING


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        pytest.param("WAIT_ACKEPOCH", AckEpoch(1, Z(1, 3), 0, (Z(1, 2),)), id="an end that is not the last zxid"),
        pytest.param("WAIT_ACKEPOCH", AckEpoch(1, Z(1, 0), 0, (Z(1, 0),)), id="a log that ends with the phantom"),
        pytest.param("WAIT_ACKEPOCH", AckEpoch(1, Z(1, 3), 0, (Z(2, 1), Z(1, 3))), id="epochs that go back"),
        pytest.param("SNAPPING", SnapAck(5), id="more than was sent"),
        pytest.param("CATCHING_UP", SyncAck(Z(1, 1)), id="SYNCACK of what it had before"),
        pytest.param("CATCHING_UP", SyncAck(Z(1, 3)), id="SYNCACK of what was not sent yet"),
        pytest.param("CATCHING_UP", SyncAck(Z(1, 0xFFFF)), id="SYNCACK of what is in a gap of the log"),
        pytest.param("CATCHING_UP", Ack(Z(2, 0)), id="ACK of an epoch whose history is not through"),
        pytest.param("WAIT_ACK", Ack(Z(1, 3)), id="a first ACK that is not (epoch, 0)"),
        pytest.param("WAIT_ACK", Ack(Z(3, 0)), id="ACK of another epoch"),
        pytest.param("ACTIVE", Ack(Z(2, 0)), id="(epoch, 0) again"),
        pytest.param("ACTIVE", Ack(Z(1, 3)), id="ACK that does not go on"),
        pytest.param("ACTIVE", Ack(Z(1, 9)), id="ACK of what lies in a gap of the log"),
        pytest.param("ACTIVE", Ack(Z(2, 3)), id="ACK of what was never proposed"),
        pytest.param("ACTIVE", Ping(1), id="PING of a round that never was"),
    ],
)
def test_what_contradicts_the_conversation_is_rejected(phase: str, message: ZabMessage) -> None:
    d = in_phase(phase)
    committed = d.peer.last_committed
    d.hears(1, message)
    assert d.rejected == [1]
    assert (d.peer.role, d.peer.last_committed) == (Role.LEADING, committed)


def test_the_same_acknowledgement_twice_is_rejected() -> None:
    d = in_phase("ACTIVE")
    d.hears(1, Ack(Z(2, 1)), Ack(Z(2, 1)))
    assert d.rejected == [1]
