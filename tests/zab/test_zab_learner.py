"""A follower (protocol.md 1.5 to 1.8): dialogues with its leader."""

from __future__ import annotations

import pytest
from dialogue import Dialogue, Z, batch, script, stored

from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    Ack,
    Commit,
    Diff,
    HandOff,
    LeaderInfo,
    NewLeader,
    Ping,
    Proposal,
    Repaired,
    Role,
    Snap,
    SnapAck,
    SnapData,
    SyncAck,
    Trunc,
    UpToDate,
    Vote,
    ZabMessage,
)
from zkcore.zab.ready import SnapshotRef

LIMITS = Limits()


def follower(*runs: tuple[int, int], base: int = 0, accepted: int | None = None) -> Dialogue:
    """Node 1, which was just told that 3 leads."""
    return Dialogue(1, storage=stored(*runs, base=base, accepted=accepted)).follow(3)


def accepted(*runs: tuple[int, int], epoch: int = 2, base: int = 0) -> Dialogue:
    """The same, after it promised `epoch`."""
    d = follower(*runs, base=base)
    d.hears(3, LeaderInfo(epoch))
    return d


# --- registering


def test_a_follower_registers_until_it_is_answered() -> None:
    d = follower((1, 3))
    for _ in range(3):
        assert d.peer.ticks_until_due == LIMITS.register_ticks
        assert d.ticks(LIMITS.register_ticks) == "message   3  FOLLOWERINFO accepted=1"


def test_a_follower_registers_again_on_a_fresh_link() -> None:
    d = follower()
    d.lost(3)
    assert d.ticks(LIMITS.register_ticks) == ""
    assert d.linked(3) == script("""
        message   3  VOTE FOLLOWING for 3 zxid=0x0_00000000 epoch=0 round=1
        message   3  FOLLOWERINFO accepted=0""")


def test_the_leader_is_told_where_every_epoch_of_the_log_ends() -> None:
    d = follower((1, 3), (4, 2), base=Z(1, 2))
    assert d.hears(3, LeaderInfo(7)) == script("""
        write     EPOCHS accepted=7 current=4
        message   3  ACKEPOCH current=4 last=0x4_00000002 base=0x1_00000002 ends=[0x1_00000003,0x4_00000002]""")


def test_an_epoch_below_the_accepted_one_is_refused() -> None:
    d = follower((1, 3), accepted=5)
    assert d.hears(3, LeaderInfo(4)) == script("""
        event     LOOKING epoch=1: leader 3 proposes epoch 4, 5 is accepted
        message   2  VOTE LOOKING for 1 zxid=0x1_00000003 epoch=1 round=2
        close     3""")


# --- synchronisation


def test_diff_adds_to_the_log() -> None:
    d = accepted((1, 3))
    assert d.hears(3, Diff(Z(1, 3))) == ""
    assert d.hears(3, batch(1, 4, 5)) == script("""
        write     APPEND 0x1_00000004..0x1_00000005
        message   3  SYNCACK 0x1_00000005""")
    assert d.hears(3, NewLeader(2)) == script("""
        write     EPOCHS accepted=2 current=2
        message   3  ACK 0x2_00000000""")
    assert d.log() == [Z(1, n) for n in range(1, 6)]


def test_trunc_cuts_at_once() -> None:
    d = accepted((1, 3), (2, 2), epoch=5)
    assert d.hears(3, Trunc(Z(1, 2))) == "write     TRUNCATE to 0x1_00000002"
    assert d.hears(3, batch(3, 1)) == script("""
        write     APPEND 0x3_00000001..0x3_00000001
        message   3  SYNCACK 0x3_00000001""")
    assert d.hears(3, NewLeader(5)) == script("""
        write     EPOCHS accepted=5 current=5
        message   3  ACK 0x5_00000000""")
    assert d.log() == [Z(1, 1), Z(1, 2), Z(3, 1)]


def test_trunc_to_the_end_of_the_log_writes_nothing() -> None:
    d = accepted((1, 3))
    assert d.hears(3, Trunc(Z(1, 3)), NewLeader(2)).count("write") == 1
    assert d.rejected == []


def test_one_syncack_for_everything_that_a_batch_brought() -> None:
    d = accepted()
    assert d.hears(3, Diff(0), batch(1, 1), batch(1, 2), batch(1, 3)).count("SYNCACK") == 1
    assert SyncAck(Z(1, 3)) in d.said_to(3)


def test_a_history_that_came_with_newleader_is_acknowledged_with_it() -> None:
    d = accepted()
    assert d.hears(3, Diff(0), batch(1, 1, 3), NewLeader(2)) == script("""
        write     APPEND 0x1_00000001..0x1_00000003
        write     EPOCHS accepted=2 current=2
        message   3  ACK 0x2_00000000""")


def test_a_snapshot_is_put_aside_piece_by_piece_and_installed_with_the_last_one() -> None:
    d = accepted((1, 3), epoch=5)
    assert d.hears(3, Snap(Z(4, 7))) == ""
    assert d.hears(3, SnapData(0, b"abcd", False)) == script("""
        write     CHUNK of snapshot 0x4_00000007 0+4
        message   3  SNAPACK 4""")
    assert d.storage.load().last == Z(1, 3)
    assert d.hears(3, SnapData(4, b"ef", True)) == script("""
        write     CHUNK of snapshot 0x4_00000007 4+2
        write     INSTALL snapshot 0x4_00000007 6 bytes
        message   3  SNAPACK 6
        ---
        event     restored snapshot 0x4_00000007""")
    assert d.hears(3, batch(4, 8), NewLeader(5)) == script("""
        write     APPEND 0x4_00000008..0x4_00000008
        write     EPOCHS accepted=5 current=5
        message   3  ACK 0x5_00000000""")
    assert d.storage.read_snapshot(SnapshotRef(Z(4, 7)), 0, 99) == b"abcdef"
    assert d.hears(3, UpToDate(Z(4, 8))) == script("""
        event     delivered 0x4_00000008..0x4_00000008
        event     established FOLLOWING leader=3 epoch=5: a quorum holds the history""")


def test_a_follower_serves_from_uptodate_on() -> None:
    d = accepted((1, 3))
    d.hears(3, Diff(Z(1, 3)), NewLeader(2))
    assert not d.peer.established
    assert d.hears(3, UpToDate(Z(1, 3))) == script("""
        event     delivered 0x1_00000001..0x1_00000003
        event     established FOLLOWING leader=3 epoch=2: a quorum holds the history""")


# --- broadcast


def test_one_acknowledgement_for_everything_logged_in_a_batch() -> None:
    d = Dialogue(1).join(3)
    assert d.hears(3, batch(1, 1), batch(1, 2, 3), Commit(Z(1, 1))) == script("""
        write     APPEND 0x1_00000001..0x1_00000001
        write     APPEND 0x1_00000002..0x1_00000003
        message   3  ACK 0x1_00000003
        ---
        event     delivered 0x1_00000001..0x1_00000001""")


def test_a_repeated_proposal_is_dropped_and_what_it_adds_is_not() -> None:
    d = Dialogue(1).join(3)
    d.hears(3, batch(1, 1, 3))
    assert d.hears(3, batch(1, 2, 3)) == ""
    assert d.hears(3, batch(1, 2, 5)) == script("""
        write     APPEND 0x1_00000004..0x1_00000005
        message   3  ACK 0x1_00000005""")


def test_pings_are_answered_with_their_round() -> None:
    d = Dialogue(1).join(3)
    assert d.hears(3, Ping(7)) == "message   3  PING 7"


# --- patience


def test_a_leader_that_never_answers_is_given_up_after_the_init_limit() -> None:
    d = follower()
    d.ticks(LIMITS.init_limit_ticks)
    assert d.peer.role is Role.FOLLOWING
    assert "event     LOOKING epoch=0: leader 3 was silent for 501 ticks" in d.ticks(1)


def test_a_leader_without_a_link_is_given_up_after_the_sync_limit() -> None:
    d = follower()
    d.lost(3)
    d.ticks(LIMITS.sync_limit_ticks)
    assert d.peer.role is Role.FOLLOWING
    assert "event     LOOKING epoch=0: there is no link to leader 3" in d.ticks(1)


def test_an_established_leader_is_given_up_after_the_sync_limit() -> None:
    d = Dialogue(1).join(3)
    d.ticks(LIMITS.sync_limit_ticks)
    d.hears(3, Ping(1))
    d.ticks(LIMITS.sync_limit_ticks)
    assert d.peer.role is Role.FOLLOWING
    assert d.peer.ticks_until_due == 1
    d.ticks(1)
    assert d.peer.role is Role.LOOKING


@pytest.mark.parametrize("step", range(4))
def test_once_the_leader_has_answered_its_loss_ends_the_role(step: int) -> None:
    d = follower()
    for message in [LeaderInfo(1), Diff(0), NewLeader(1), UpToDate(0)][: step + 1]:
        d.hears(3, message)
    assert "event     LOOKING" in d.lost(3)


def test_the_loss_of_somebody_else_does_not_matter() -> None:
    d = Dialogue(1).join(3)
    assert d.lost(2) == ""
    assert d.peer.established


def test_a_leader_that_begins_to_look_is_left_before_it_has_answered() -> None:
    d = follower()
    d.hears(3, Vote(Role.LOOKING, 3, 0, 0, d.round + 1))
    assert d.peer.role is Role.LOOKING


# --- what a leader may not say, and when


def in_phase(phase: str) -> Dialogue:
    """Node 1 with the log 1_1 .. 1_3, in a phase of its conversation with leader 3 about epoch 2."""
    d = follower((1, 3))
    steps: dict[str, tuple[ZabMessage, ...]] = {
        "REGISTERING": (),
        "WAIT_SYNC": (LeaderInfo(2),),
        "SYNCING": (LeaderInfo(2), Diff(Z(1, 3))),
        "SNAPPING": (LeaderInfo(2), Snap(Z(1, 9)), SnapData(0, b"ab", False)),
        "ACKED": (LeaderInfo(2), Diff(Z(1, 3)), NewLeader(2)),
        "BROADCAST": (LeaderInfo(2), Diff(Z(1, 3)), NewLeader(2), UpToDate(Z(1, 3))),
    }
    d.hears(3, *steps[phase])
    return d


ALLOWED: dict[str, dict[str, ZabMessage]] = {
    "REGISTERING": {"LEADERINFO": LeaderInfo(2)},
    "WAIT_SYNC": {"DIFF": Diff(Z(1, 3)), "TRUNC": Trunc(Z(1, 2)), "SNAP": Snap(Z(1, 9))},
    "SYNCING": {"PROPOSAL": batch(1, 4), "COMMIT": Commit(Z(1, 3)), "NEWLEADER": NewLeader(2)},
    "SNAPPING": {"SNAPDATA": SnapData(2, b"cd", True)},
    "ACKED": {"PROPOSAL": batch(2, 1), "COMMIT": Commit(Z(1, 3)), "PING": Ping(1), "UPTODATE": UpToDate(Z(1, 3))},
    "BROADCAST": {"PROPOSAL": batch(2, 1), "COMMIT": Commit(Z(1, 3)), "PING": Ping(1), "HANDOFF": HandOff(2, 2)},
}  # fmt: skip
"""What a leader may say in each phase (protocol.md 1.12)."""

ANYTHING = {name: message for allowed in ALLOWED.values() for name, message in allowed.items()} | {
    "ACK": Ack(Z(2, 0)), "SYNCACK": SyncAck(Z(1, 3)), "SNAPACK": SnapAck(2), "REPAIRED": Repaired(2),
}  # fmt: skip


@pytest.mark.parametrize("phase", ALLOWED)
@pytest.mark.parametrize("name", ANYTHING)
def test_what_a_leader_may_say_in_each_phase(phase: str, name: str) -> None:
    d = in_phase(phase)
    d.hears(3, ALLOWED[phase].get(name, ANYTHING[name]))
    assert d.rejected == ([] if name in ALLOWED[phase] else [3])
    assert (d.peer.role, d.peer.leader) == (Role.FOLLOWING, 3 if d.rejected or name != "HANDOFF" else 2)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        pytest.param("REGISTERING", LeaderInfo(0xFFFFFFFF), id="the epoch after which there is none"),
        pytest.param("WAIT_SYNC", Diff(Z(1, 2)), id="DIFF from elsewhere"),
        pytest.param("WAIT_SYNC", Trunc(Z(1, 4)), id="TRUNC to what is not here"),
        pytest.param("WAIT_SYNC", Trunc(Z(1, 0)), id="TRUNC to the phantom"),
        pytest.param("WAIT_SYNC", Snap(Z(3, 1)), id="SNAP of an epoch beyond the leader's"),
        pytest.param("WAIT_SYNC", Snap(Z(2, 0)), id="SNAP of the phantom"),
        pytest.param("WAIT_SYNC", Snap(Z(1, 9), 4), id="SNAP that goes on with what is not here"),
        pytest.param("SYNCING", batch(1, 5), id="a gap"),
        pytest.param("SYNCING", batch(3, 1), id="a record of an epoch beyond the leader's"),
        pytest.param("SYNCING", Proposal(Z(1, 4), ()), id="nothing proposed"),
        pytest.param("SYNCING", Commit(Z(1, 4)), id="a commit before its proposal"),
        pytest.param("SYNCING", NewLeader(3), id="NEWLEADER of another epoch"),
        pytest.param("SNAPPING", SnapData(1, b"x", False), id="a piece that overlaps"),
        pytest.param("SNAPPING", SnapData(3, b"x", False), id="a piece too far on"),
        pytest.param("SNAPPING", NewLeader(2), id="NEWLEADER with half a snapshot"),
        pytest.param("SNAPPING", Snap(Z(1, 12)), id="another snapshot in the midst of one"),
        pytest.param("ACKED", batch(1, 4), id="a record of an older epoch after NEWLEADER"),
        pytest.param("ACKED", UpToDate(Z(1, 4)), id="UPTODATE of what was never proposed"),
        pytest.param("ACKED", UpToDate(Z(2, 0)), id="UPTODATE of the phantom"),
        pytest.param("BROADCAST", batch(2, 2), id="a gap in the broadcast"),
        pytest.param("BROADCAST", Proposal(Z(2, 0), (b"x",)), id="a proposal of the phantom"),
        pytest.param("BROADCAST", Commit(Z(2, 1)), id="a commit of nothing"),
        pytest.param("BROADCAST", HandOff(2, 1), id="a hand-over of another epoch"),
        pytest.param("BROADCAST", HandOff(3, 2), id="a hand-over to the leader itself"),
        pytest.param("BROADCAST", HandOff(9, 2), id="a hand-over to a stranger"),
    ],
)  # fmt: skip
def test_what_contradicts_the_log_is_rejected(phase: str, message: ZabMessage) -> None:
    d = in_phase(phase)
    before = d.storage.load()
    assert d.hears(3, message).endswith("close     3")
    assert d.rejected == [3]
    assert d.storage.load() == before


def test_a_commit_within_a_gap_of_the_log_is_rejected() -> None:
    d = Dialogue(1, storage=stored((1, 5), (2, 3))).join(3, epoch=3, committed=Z(1, 2))
    d.hears(3, Commit(Z(1, 0xFFFF)))
    assert d.rejected == [3]
    assert d.peer.last_committed == Z(1, 2)


@pytest.mark.parametrize("first", [Z(5, 0xFFFFFFFF), Z(5, 0xFFFFFFFE)])
def test_a_batch_that_runs_into_the_next_epoch_is_rejected(first: int) -> None:
    d = accepted(epoch=6)
    d.hears(3, Snap(Z(5, 0xFFFFFFFE)), SnapData(0, b"state", True))
    d.hears(3, Proposal(first, (b"a", b"b", b"c")))
    assert d.rejected == [3]


def test_only_the_leader_has_anything_to_say_to_a_follower() -> None:
    d = Dialogue(1).join(3)
    assert d.hears(2, batch(1, 1)) == script("""
        event     rejected 2: it is not the leader, 3 is
        close     2""")
    assert d.peer.established


def test_what_is_known_to_be_committed_is_never_cut() -> None:
    d = Dialogue(1, storage=stored((1, 5))).join(3, epoch=2, committed=Z(1, 4))
    d.lost(3)
    d.linked(3)
    d.follow(3)
    d.hears(3, LeaderInfo(3))
    d.hears(3, Trunc(Z(1, 3)))
    assert d.rejected == [3]


def test_a_snapshot_and_history_that_end_before_what_is_committed_are_refused() -> None:
    # one record is delivered for each input here, so what is delivered trails what is known to be committed
    d = Dialogue(1, storage=stored((1, 40)), limits=Limits(deliver_bytes=1)).join(3, epoch=2, committed=Z(1, 1))
    d.hears(3, Commit(Z(1, 40)))
    d.lost(3)
    d.linked(3)
    d.follow(3)
    d.hears(3, LeaderInfo(3), Snap(Z(1, 30)), SnapData(0, b"state", True))
    assert d.rejected == []
    d.hears(3, NewLeader(3))
    assert d.rejected == [3]
    assert d.storage.load().current_epoch == 2
