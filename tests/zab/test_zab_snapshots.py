"""Snapshots (protocol.md 1.3, 1.6): how one is sent, goes on after a lost link, and what of the log it leaves."""

from __future__ import annotations

import pytest
from dialogue import Dialogue, Z, batch, leading, script, stored

from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    Ack,
    Diff,
    LeaderInfo,
    NewLeader,
    Snap,
    SnapAck,
    SnapData,
    SyncAck,
    Trunc,
    UpToDate,
)
from zkcore.zab.ready import SnapshotRef
from zkcore.zxid import Zxid

FIVE = (1, 2, 3, 4, 5)


def sending(**limits: int) -> Dialogue:
    """Leader 3 of five, established with 1 and 2, whose log 1_1 .. 1_9 begins with the snapshot `abcdefgh` at 1_5."""
    storage = stored((1, 9), base=Z(1, 5), snapshot=b"abcdefgh")
    several = Limits(**{"snapshot_chunk_bytes": 4, **limits})
    d = Dialogue(3, voters=FIVE, linked=(1, 2, 4, 5), storage=storage, limits=several).stand()
    d.promise(1, 2, accepted=1)
    for follower in (1, 2):
        d.hears(follower, Ack(Z(2, 0)))
    d.catch_up()
    return d


def compact(d: Dialogue, zxid: Zxid) -> str:
    """The host saved a snapshot of what was delivered, and says so."""
    d.storage.save_snapshot(SnapshotRef(zxid), [b"state at %d" % zxid])
    d.peer.compact(SnapshotRef(zxid))
    return d.drain()


# --- the leader's side


def test_a_snapshot_goes_out_one_acknowledged_piece_at_a_time_and_the_log_behind_it() -> None:
    d = leading((1, 9), base=Z(1, 5), snapshot_chunk_bytes=4, read_bytes=6)
    assert d.bring_in(2) == script("""
        message   2  SNAP at 0x1_00000005
        message   2  SNAPDATA 0+4""")
    assert d.ticks(50) == "early     1  PING 1"
    assert d.hears(2, SnapAck(4)) == "message   2  SNAPDATA 4+4"
    assert d.hears(2, SnapAck(8)) == script("""
        message   2  SNAPDATA 8+0 last
        message   2  PROPOSAL 0x1_00000006..0x1_00000007
        message   2  PROPOSAL 0x1_00000008..0x1_00000009
        message   2  NEWLEADER epoch=2
        message   2  COMMIT 0x1_00000009""")
    assert d.hears(2, SnapAck(8)) == ""


@pytest.mark.parametrize("again", [0, 2, 4, 6])
def test_every_piece_is_acknowledged_once_and_nothing_else_is(again: int) -> None:
    d = leading((1, 9), base=Z(1, 5), snapshot_chunk_bytes=2, snapshot_bytes_per_tick=4)
    d.bring_in(2)
    d.hears(2, SnapAck(2))  # the second piece leaves, and with it the budget of this tick
    d.hears(2, SnapAck(4))
    assert d.rejected == []
    d.hears(2, SnapAck(again))
    assert d.rejected == [2]


def test_what_was_not_sent_is_not_acknowledged() -> None:
    d = sending(snapshot_bytes_per_tick=4)
    d.bring_in(4)
    assert "SNAPDATA" not in d.bring_in(5)
    d.hears(5, SnapAck(0))
    assert d.rejected == [5]


def test_the_snapshot_is_the_newest_there_is_and_not_the_beginning_of_the_log() -> None:
    d = leading((1, 9), base=Z(1, 3), at=Z(1, 6))
    assert d.bring_in(2, (1, 2)) == script("""
        message   2  SNAP at 0x1_00000006
        message   2  SNAPDATA 0+8 last
        message   2  PROPOSAL 0x1_00000007..0x1_00000009
        message   2  NEWLEADER epoch=2
        message   2  COMMIT 0x1_00000009""")


def test_all_learners_together_get_no_more_of_snapshots_in_a_tick_than_the_budget() -> None:
    d = sending(snapshot_bytes_per_tick=4)
    d.bring_in(4)
    assert d.bring_in(5) == "message   5  SNAP at 0x1_00000005"
    assert d.hears(4, SnapAck(4)) == ""
    assert d.peer.ticks_until_due == 1
    assert d.ticks() == "message   5  SNAPDATA 0+4"  # it has waited longer
    assert d.ticks() == "message   4  SNAPDATA 4+4"
    assert d.peer.ticks_until_due > 1  # nobody waits for anything but acknowledgements


def test_a_quiet_time_saves_up_no_more_than_the_budget_of_one_tick() -> None:
    d = sending(snapshot_bytes_per_tick=4)
    d.ticks(40)
    d.bring_in(4)
    assert d.bring_in(5) == "message   5  SNAP at 0x1_00000005"


def test_a_learner_that_went_away_while_it_waited_is_sent_nothing() -> None:
    d = sending(snapshot_bytes_per_tick=4)
    d.bring_in(4)
    d.bring_in(5)
    d.relinked(5)
    assert d.ticks() == ""
    assert d.hears(4, SnapAck(4)) == "message   4  SNAPDATA 4+4"


def test_a_learner_that_came_back_while_it_waited_is_sent_one_piece_at_a_time() -> None:
    d = sending(snapshot_bytes_per_tick=4)
    d.bring_in(4)
    d.bring_in(5)
    d.relinked(5)
    d.bring_in(5)
    assert [d.ticks(), d.ticks()] == ["message   5  SNAPDATA 0+4", ""]


# --- going on after a lost link


def test_a_leader_goes_on_where_the_learner_says_it_broke_off() -> None:
    d = leading((1, 9), base=Z(1, 5), snapshot_chunk_bytes=4)
    assert d.bring_in(2, partial=(Z(1, 5), 4)) == script("""
        message   2  SNAP at 0x1_00000005 from 4
        message   2  SNAPDATA 4+4""")
    assert "SNAPDATA 8+0 last" in d.hears(2, SnapAck(8))


def test_a_part_of_a_size_that_no_file_has_is_refused() -> None:
    d = leading((1, 9), base=Z(1, 5))
    d.bring_in(2, partial=(Z(1, 5), 1 << 63))
    assert d.rejected == [2]


@pytest.mark.parametrize("size", [8, 99, (1 << 63) - 1])
def test_a_part_that_is_no_shorter_than_the_snapshot_brings_its_end(size: int) -> None:
    d = leading((1, 9), base=Z(1, 5), snapshot_chunk_bytes=4)
    assert f"message   2  SNAPDATA {size}+0 last" in d.bring_in(2, partial=(Z(1, 5), size))


def test_a_part_of_another_snapshot_is_no_use() -> None:
    d = leading((1, 9), base=Z(1, 5), snapshot_chunk_bytes=4)
    assert d.bring_in(2, partial=(Z(1, 4), 4)).startswith("message   2  SNAP at 0x1_00000005\n")


def half_a_snapshot() -> Dialogue:
    """Node 1, which got four bytes of a snapshot at 4_7 from leader 3, and then lost it."""
    d = Dialogue(1, storage=stored((1, 3))).follow(3)
    d.hears(3, LeaderInfo(5))
    d.hears(3, Snap(Z(4, 7)), SnapData(0, b"abcd", False))
    d.relinked(3)
    return d


def test_a_learner_tells_the_same_leader_how_much_it_has_and_goes_on() -> None:
    d = half_a_snapshot().follow(3)
    assert "has 4 bytes of 0x4_00000007" in d.hears(3, LeaderInfo(6))
    d.hears(3, Snap(Z(4, 7), 4))
    assert d.hears(3, SnapData(4, b"ef", True)) == script("""
        write     CHUNK of snapshot 0x4_00000007 4+2
        write     INSTALL snapshot 0x4_00000007 6 bytes
        message   3  SNAPACK 6
        ---
        event     restored snapshot 0x4_00000007""")
    assert d.storage.read_snapshot(SnapshotRef(Z(4, 7)), 0, 99) == b"abcdef"
    d.relinked(3)
    d.follow(3)
    assert " has " not in d.hears(3, LeaderInfo(7))


def test_another_leader_is_not_told_since_its_snapshot_may_differ() -> None:
    d = half_a_snapshot().follow(2)
    assert " has " not in d.hears(2, LeaderInfo(6))
    d.hears(2, Snap(Z(4, 7), 4))
    assert d.rejected == [2]


def test_a_leader_may_begin_anew_all_the_same() -> None:
    for again in (Snap(Z(4, 7)), Snap(Z(4, 9))):
        d = half_a_snapshot().follow(3)
        d.hears(3, LeaderInfo(6))
        d.hears(3, again, SnapData(0, b"xyz", True))
        assert d.storage.read_snapshot(SnapshotRef(again.zxid), 0, 99) == b"xyz"


@pytest.mark.parametrize("snap", [Snap(Z(4, 7), 3), Snap(Z(4, 7), 5), Snap(Z(4, 9), 4)])
def test_a_snapshot_that_does_not_go_on_with_what_is_here_is_refused(snap: Snap) -> None:
    d = half_a_snapshot().follow(3)
    d.hears(3, LeaderInfo(6))
    d.hears(3, snap)
    assert d.rejected == [3]


def test_what_another_leader_sent_takes_the_place_of_the_first_ones_part() -> None:
    d = half_a_snapshot().follow(2)
    d.hears(2, LeaderInfo(6))
    d.hears(2, Snap(Z(4, 7)), SnapData(0, b"x", False))
    d.relinked(2)
    d.follow(3)
    assert " has " not in d.hears(3, LeaderInfo(7))


def test_a_leader_that_only_announced_a_snapshot_takes_no_place() -> None:
    d = half_a_snapshot().follow(2)
    d.hears(2, LeaderInfo(6))
    d.hears(2, Snap(Z(4, 7)))
    d.relinked(2)
    d.follow(3)
    d.hears(3, LeaderInfo(7))
    d.hears(3, Snap(Z(4, 7), 4), SnapData(4, b"ef", True))
    assert d.storage.read_snapshot(SnapshotRef(Z(4, 7)), 0, 99) == b"abcdef"


def test_after_a_restart_nothing_is_known_of_the_pieces() -> None:
    d = Dialogue(1, storage=half_a_snapshot().storage).follow(3)
    assert " has " not in d.hears(3, LeaderInfo(6))


# --- the log behind the snapshot


@pytest.mark.parametrize(
    ("retained", "upto"),
    [(1, Z(3, 1)), (2, Z(1, 5)), (3, Z(1, 4)), (5, Z(1, 2)), (6, Z(1, 1)), (7, 0), (99, 0)],
)
def test_a_compaction_leaves_so_many_records_across_epochs(retained: int, upto: Zxid) -> None:
    limits = Limits(retained_records=retained)
    d = Dialogue(1, storage=stored((1, 5), (3, 4)), limits=limits).join(3, epoch=4, committed=Z(3, 4))
    compact(d, Z(3, 2))
    saved = d.storage.load()
    assert (saved.base, saved.snapshot, saved.last) == (upto, Z(3, 2), Z(3, 4))
    assert saved.base == d.peer.status().log_base


def test_a_compaction_never_reaches_back_behind_the_one_before() -> None:
    d = Dialogue(1, storage=stored((1, 9)), limits=Limits(retained_records=1)).join(3, epoch=2, committed=Z(1, 9))
    assert compact(d, Z(1, 5)).endswith("log from 0x1_00000004")
    d = Dialogue(1, storage=d.storage, limits=Limits(retained_records=99)).join(3, epoch=3, committed=Z(1, 9))
    assert compact(d, Z(1, 7)).endswith("log from 0x1_00000004")


@pytest.mark.parametrize(
    ("have", "answer"),
    [
        (2, "SNAP at 0x1_00000006"),
        (3, "DIFF from 0x1_00000003"),
        (4, "DIFF from 0x1_00000004"),
        (6, "DIFF from 0x1_00000006"),
    ],
)
def test_a_learner_that_is_a_little_late_gets_records_from_behind_the_snapshot(have: int, answer: str) -> None:
    d = leading((1, 9), base=Z(1, 3), at=Z(1, 6))
    assert d.bring_in(2, (1, have)).startswith(f"message   2  {answer}")


def test_a_learner_is_cut_behind_the_snapshot_of_the_leader() -> None:
    d = leading((1, 9), base=Z(1, 3), at=Z(1, 6))
    assert d.bring_in(2, (1, 4)).startswith("message   2  DIFF")
    d = leading((1, 9), (4, 1), base=Z(1, 3), at=Z(1, 6))
    assert d.bring_in(2, (1, 4), (2, 9)).startswith("message   2  TRUNC to 0x1_00000004")


def test_a_restart_begins_with_the_snapshot_and_delivers_only_what_comes_after_it() -> None:
    d = Dialogue(1, storage=stored((1, 9), base=Z(1, 3), at=Z(1, 6)))
    assert [str(event) for event in d.events] == ["restored snapshot 0x1_00000006"]
    d.join(3, epoch=2, committed=Z(1, 8))
    assert d.delivered == [b"1.7", b"1.8"]


def test_nothing_behind_the_snapshot_is_told_to_a_leader_nor_cut() -> None:
    d = Dialogue(1, storage=stored((1, 5), (2, 2), base=Z(1, 3), at=Z(1, 5))).follow(3)
    assert "last=0x2_00000002 base=0x1_00000005 ends=[0x1_00000005,0x2_00000002]" in d.hears(3, LeaderInfo(4))
    d.hears(3, Trunc(Z(1, 4)))
    assert d.rejected == [3]
    d.relinked(3)
    d.follow(3)
    d.hears(3, LeaderInfo(5))
    d.hears(3, Trunc(Z(1, 5)), NewLeader(5))
    assert d.rejected == [3]
    assert d.storage.load().last == Z(1, 5)


def test_a_snapshot_no_newer_than_the_own_is_refused_though_the_log_reaches_back_behind_it() -> None:
    d = Dialogue(1, storage=stored((1, 5), base=Z(1, 2), at=Z(1, 4))).follow(3)
    d.hears(3, LeaderInfo(4))
    d.hears(3, Snap(Z(1, 4)))
    assert d.rejected == [3]


def test_an_installed_snapshot_leaves_no_log_behind_it() -> None:
    d = Dialogue(1, storage=stored((1, 5), base=Z(1, 2), at=Z(1, 4))).follow(3)
    d.hears(3, LeaderInfo(4))
    d.hears(3, Snap(Z(3, 2)), SnapData(0, b"state", True))
    saved = d.storage.load()
    assert (saved.base, saved.snapshot, saved.last) == (Z(3, 2), Z(3, 2), Z(3, 2))


# --- compaction waits for those who need what would go


def test_a_compaction_waits_while_the_snapshot_before_is_sent() -> None:
    d = sending(retained_records=1)
    d.bring_in(4)
    assert compact(d, Z(1, 8)) == ""
    assert d.hears(4, SnapAck(4)) == "message   4  SNAPDATA 4+4"
    assert d.hears(4, SnapAck(8)) == script("""
        write     COMPACT to snapshot 0x1_00000008, log from 0x1_00000007
        message   4  SNAPDATA 8+0 last
        message   4  PROPOSAL 0x1_00000006..0x1_00000009
        message   4  NEWLEADER epoch=2
        message   4  COMMIT 0x1_00000009""")


def test_a_compaction_that_waited_is_made_when_the_learner_is_gone() -> None:
    d = sending(retained_records=1)
    d.bring_in(4)
    compact(d, Z(1, 8))
    assert d.lost(4) == "write     COMPACT to snapshot 0x1_00000008, log from 0x1_00000007"


def test_of_two_compactions_that_wait_the_later_is_made() -> None:
    d = sending(retained_records=1)
    d.bring_in(4)
    compact(d, Z(1, 7))
    compact(d, Z(1, 9))
    assert d.lost(4) == "write     COMPACT to snapshot 0x1_00000009, log from 0x1_00000008"


@pytest.mark.parametrize("role", ["looking", "following"])
def test_a_compaction_waits_until_the_node_is_in_line_with_a_leader(role: str) -> None:
    # what it has told another of its log must stay true until the two logs are one
    d = Dialogue(1, storage=stored((1, 5)), limits=Limits(retained_records=1)).join(3, epoch=2, committed=Z(1, 4))
    d.relinked(3)
    if role == "following":
        d.follow(3)
        d.hears(3, LeaderInfo(4))
    assert compact(d, Z(1, 3)) == ""
    if role == "looking":
        d.follow(3)
        d.hears(3, LeaderInfo(4))
    assert "COMPACT" not in d.hears(3, Diff(Z(1, 5)), NewLeader(4))
    assert "write     COMPACT to snapshot 0x1_00000003, log from 0x1_00000002" in d.hears(3, UpToDate(Z(1, 5)))


def test_records_that_a_learner_was_not_sent_yet_stay() -> None:
    d = sending(retained_records=1, window_bytes=1, read_bytes=3)
    d.bring_in(4, (1, 5))  # it was sent 1_6, and its window is full
    assert compact(d, Z(1, 9)).endswith("log from 0x1_00000006")
    for counter in range(6, 9):
        d.hears(4, SyncAck(Z(1, counter)))
    assert batch(1, 9) in d.said_to(4)


def test_a_compaction_that_a_received_snapshot_overtook_is_dropped() -> None:
    d = Dialogue(1, storage=stored((1, 5))).join(3, epoch=2, committed=Z(1, 4))
    d.relinked(3)
    d.follow(3)
    d.hears(3, LeaderInfo(4))
    d.hears(3, Snap(Z(3, 2)))
    d.storage.save_snapshot(SnapshotRef(Z(1, 4)), [b"state"])
    d.peer.compact(SnapshotRef(Z(1, 4)))
    d.peer.receive(3, SnapData(0, b"later", True))
    assert "COMPACT" not in d.drain()
    assert d.storage.load().snapshot == Z(3, 2)


# --- all of it once


def test_a_learner_is_served_after_a_snapshot_in_two_attempts() -> None:
    d = half_a_snapshot().follow(3)
    d.hears(3, LeaderInfo(6))
    d.hears(3, Snap(Z(4, 7), 4), SnapData(4, b"ef", True), batch(4, 8))
    d.hears(3, NewLeader(6), UpToDate(Z(4, 8)))
    assert d.peer.established
    assert d.delivered == [b"4.8"]
    d.relinked(3)
    d.follow(3)
    d.hears(3, LeaderInfo(7))
    d.hears(3, Diff(Z(4, 8)))
    assert d.rejected == []
