"""What the protocol promises, one test for each promise; docs/protocol.md says why each is needed.

D1 to D11 are rows of the table in 1.7: what must be durable before something else happens. In a Ready that means: the
write stands in `writes`, and what needs it stands in `messages` of the same Ready, or in anything of a later one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dialogue import Dialogue, Z, batch, lines_of, script, stored

from zkcore.errors import BadArgumentsError, NotLeadingError
from zkcore.storage.storage import MemoryStorage
from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Commit,
    Diff,
    FollowerInfo,
    LeaderInfo,
    NewLeader,
    Ping,
    Proposal,
    Role,
    Snap,
    SnapData,
    Trunc,
    UpToDate,
    Vote,
    ZabMessage,
)
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Append, Ready, SnapshotRef

FIVE = (1, 2, 3, 4, 5)
LIMITS = Limits()


def one_ready(d: Dialogue) -> Ready:
    """The Ready of what was just fed, not confirmed."""
    ready = d.take()
    assert ready
    return ready


def sent(ready: Ready, kind: type) -> list[str]:
    """In which fields of a Ready messages of this kind are."""
    return ["early" for _, m in ready.early if isinstance(m, kind)] + [
        "messages" for _, m in ready.messages if isinstance(m, kind)
    ]


# --- 1.1: three questions that the paper leaves open


def test_1_1_proposals_go_to_all_who_were_sent_newleader_not_only_to_those_who_acknowledged_it() -> None:
    d = Dialogue(3, linked=(1, 2)).lead(1)
    d.hears(2, FollowerInfo(1))
    d.hears(2, d.ack_epoch(None))
    assert "early     2  PROPOSAL 0x1_00000001" in d.proposes(b"x")


def test_1_1_a_learner_that_joins_while_something_is_proposed_gets_it_exactly_once() -> None:
    for joins_first in (True, False):
        d = Dialogue(3, linked=(1, 2)).lead(1)
        d.hears(2, FollowerInfo(1))
        if joins_first:
            d.peer.receive(2, AckEpoch(None, 0, 0, ()))
        d.peer.propose(Z(1, 1), [b"x"])
        if not joins_first:
            d.peer.receive(2, AckEpoch(None, 0, 0, ()))
        ready = one_ready(d)
        # NEWLEADER needs no more than what was there when the synchronisation began, and may well stand behind more
        to_2 = [m for to, m in (*ready.early, *ready.messages) if to == 2]
        assert to_2 == [Diff(0), Proposal(Z(1, 1), (b"x",)), NewLeader(1)]


def test_1_1_uptodate_carries_what_is_committed_by_now_not_what_was_acknowledged() -> None:
    d = Dialogue(3, linked=(1, 2)).lead(1)
    d.hears(2, FollowerInfo(1))
    d.hears(2, d.ack_epoch(None))  # it is sent an empty history
    d.proposes(b"x")
    d.hears(1, Ack(Z(1, 1)))
    assert d.hears(2, Ack(Z(1, 0))) == "message   2  UPTODATE committed=0x1_00000001"


# --- 1.3: what a crash inside a synchronisation leaves behind


SYNCS: dict[str, tuple[ZabMessage, ...]] = {
    "DIFF": (Diff(Z(2, 2)), batch(2, 3), batch(4, 1, 3)),
    "TRUNC": (Trunc(Z(1, 2)), batch(1, 3, 5), batch(4, 1, 3)),
    "SNAP": (Snap(Z(4, 1)), SnapData(0, b"state", True), batch(4, 2, 3)),
}


def before_sync() -> Dialogue:
    """Node 1 with the log 1_1 .. 1_3, 2_1, 2_2, which has promised epoch 5 to node 3."""
    d = Dialogue(1, storage=stored((1, 3), (2, 2))).follow(3)
    d.hears(3, LeaderInfo(5))
    return d


def in_sync(sync: str) -> Dialogue:
    """The same, sent all its history by that leader, and then NEWLEADER, in one batch that is not drained yet."""
    d = before_sync()
    for message in (*SYNCS[sync], NewLeader(5)):
        d.peer.receive(3, message)
    return d


def crashes_in(sync: str) -> list[MemoryStorage]:
    """Every storage that a crash inside the save of NEWLEADER may leave; the last one is whole."""
    left = []
    writes = in_sync(sync).peer.drain().writes
    for kept, write in enumerate([*writes, None]):
        for records in range(len(write.payloads) if isinstance(write, Append) else 1):
            d = in_sync(sync)
            d.storage.save_prefix(d.peer.drain().writes, kept, records_kept=records)
            left.append(d.storage)
    return left


@pytest.mark.parametrize("sync", SYNCS)
def test_1_3_an_interrupted_synchronisation_is_undone_at_the_start(sync: str) -> None:
    leader = {Z(1, n) for n in range(1, 6)} | {Z(2, n) for n in range(1, 4)} | {Z(4, n) for n in range(1, 4)}
    *interrupted, whole = crashes_in(sync)
    assert whole.load().current_epoch == 5
    assert len(interrupted) >= 4
    undone = 0
    for storage in interrupted:
        saved = storage.load()
        before = [entry.zxid for entry in storage.entries(saved.base, 1 << 40)]
        assert saved.current_epoch == 2
        d = Dialogue(1, storage=storage)
        first = d.readies[0].writes if d.readies and d.readies[0].writes else []
        undone += bool(first)
        after = storage.load()
        assert after.last >> 32 <= 2 or after.last == after.base, "a record that it has no epoch for stays"
        assert after.current_epoch == 2, "the epoch is never raised to fit the log (ZOOKEEPER-4643)"
        if any(str(write).startswith("TRUNCATE") for write in first):
            assert saved.last >> 32 > 2, "only what is beyond the current epoch is cut"
        assert d.log() == [zxid for zxid in before if zxid >> 32 <= 2], "what has its epoch may be committed, and stays"
        assert set(d.log()) <= leader
        assert d.peer.last_logged == after.last
    assert undone > 0


def test_1_3_a_base_of_a_later_epoch_stays() -> None:
    storage = next(each for each in crashes_in("SNAP") if each.load().base)
    assert (storage.load().base, storage.load().last, storage.load().current_epoch) == (Z(4, 1), Z(4, 1), 2)
    d = Dialogue(1, storage=storage)
    assert lines_of(d.readies[0]) == ["event     restored snapshot 0x4_00000001"]
    assert storage.load().base == Z(4, 1)


@pytest.mark.parametrize("sync", SYNCS)
@pytest.mark.parametrize("drained", [True, False])
@pytest.mark.parametrize("arrived", range(1, 4))
def test_1_3_an_interrupted_synchronisation_is_undone_when_the_leader_is_lost(
    sync: str, drained: bool, arrived: int
) -> None:
    d = before_sync()
    for message in SYNCS[sync][:arrived]:
        d.peer.receive(3, message)
        if drained:
            d.drain()
    d.peer.report_lost(3)
    d.drain()
    kept = {
        "DIFF": [Z(2, 2), Z(2, 3), Z(2, 3)],
        "TRUNC": [Z(1, 2), Z(1, 5), Z(1, 5)],
        "SNAP": [Z(2, 2), Z(4, 1), Z(4, 1)],  # a snapshot is of what is committed, and stays whatever its epoch
    }
    saved = d.storage.load()
    assert (saved.last, saved.current_epoch) == (kept[sync][arrived - 1], 2)
    assert d.peer.last_logged == saved.last
    assert f"for 1 zxid=0x{saved.last >> 32}_{saved.last & 0xFFFF:08x} epoch=2" in str(d.said_to(2)[-1])


def test_1_3_what_the_next_leader_is_told_is_the_log_without_the_interrupted_synchronisation() -> None:
    d = before_sync()
    d.hears(3, *SYNCS["DIFF"])
    d.relinked(3)
    d.follow(2)
    assert "last=0x2_00000003 base=0x0_00000000 ends=[0x1_00000003,0x2_00000003]" in d.hears(2, LeaderInfo(6))


# --- 1.4


def test_1_4_members_advertise_the_epoch_that_was_established() -> None:
    # ZOOKEEPER-1732: otherwise a newcomer hears different epochs for one leader, and never finds a quorum
    asked = Vote(Role.LOOKING, 1, 0, 0, 1)
    d = Dialogue(3, linked=(1, 2)).lead(1)
    assert "epoch=1 round" in d.hears(2, asked)
    d = Dialogue(2, linked=(1, 3)).join(3, epoch=1)
    assert "epoch=1 round" in d.hears(1, asked)


# --- 1.5: an epoch belongs to one leader


def test_1_5_an_epoch_is_promised_only_once() -> None:
    d = Dialogue(1).follow(3)
    assert "ACKEPOCH current=0" in d.hears(3, LeaderInfo(1))
    d.lost(3)
    d.linked(3)
    d.follow(2)
    assert d.hears(2, LeaderInfo(1)) == "message   2  ACKEPOCH current=- last=0x0_00000000 base=0x0_00000000 ends=[]"


def test_1_5_the_promise_outlives_a_crash() -> None:
    d = Dialogue(1).follow(3)
    d.hears(3, LeaderInfo(1))
    d = Dialogue(1, storage=d.storage).follow(2)
    assert "ACKEPOCH current=-" in d.hears(2, LeaderInfo(1))


def test_1_5_what_is_no_promise_does_not_count() -> None:
    d = Dialogue(3, linked=(1, 2)).stand()
    d.hears(1, FollowerInfo(0))
    assert d.hears(1, d.ack_epoch(None)) == ""
    assert d.peer.epoch == 0
    d.hears(2, FollowerInfo(0))
    d.hears(2, d.ack_epoch(0))
    assert d.peer.epoch == 1


def test_1_5_who_has_promised_a_later_epoch_refuses() -> None:
    d = Dialogue(1, storage=stored(accepted=7)).follow(3)
    assert "event     LOOKING epoch=0: leader 3 proposes epoch 6, 7 is accepted" in d.hears(3, LeaderInfo(6))


@pytest.mark.parametrize(
    ("ack", "gives_up"),
    [
        (AckEpoch(2, Z(2, 3), 0, (Z(1, 4), Z(2, 3))), True),  # a longer log
        (AckEpoch(3, Z(1, 1), 0, (Z(1, 1),)), True),  # a newer epoch, though the log is shorter
        (AckEpoch(2, Z(2, 2), 0, (Z(1, 4), Z(2, 2))), False),
        (AckEpoch(1, Z(1, 9), 0, (Z(1, 9),)), False),
        (AckEpoch(None, Z(2, 3), 0, (Z(1, 4), Z(2, 3))), False),  # no promise, so no part in the proof
    ],
)
def test_1_5_a_leader_gives_up_when_a_promise_comes_from_a_newer_history(ack: AckEpoch, gives_up: bool) -> None:
    d = Dialogue(3, linked=(1, 2), storage=stored((1, 4), (2, 2))).stand()
    d.hears(1, FollowerInfo(2))
    d.hears(1, ack)
    assert (d.peer.role is Role.LOOKING) is gives_up
    if gives_up:
        assert "voter 1 has a newer history" in d.roles[-1]
        assert d.storage.load().current_epoch == 2


def test_1_5_a_leader_steps_down_for_a_voter_that_promised_too_much() -> None:
    # Otherwise that voter could never come back: it must refuse every epoch this leader has.
    d = Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4)).lead(1, 2)
    for _ in range(2):
        d.hears(4, FollowerInfo(7))
        d.lost(4)
        d.linked(4)
        assert d.peer.established
    d.hears(4, FollowerInfo(7))
    assert d.peer.role is Role.LOOKING
    for follower in (1, 2, 4):
        d.lost(follower)
        d.linked(follower)
    d.stand()
    d.hears(1, FollowerInfo(1))
    assert "LEADERINFO epoch=8" in d.hears(2, FollowerInfo(1))  # without hearing of 4 again


# --- 1.6: synchronisation


def test_1_6_the_epoch_is_written_last() -> None:
    # ZOOKEEPER-4643, 4785: an epoch on disk before its history makes this node outrank those who have it
    for sync, expected in {
        "DIFF": ["APPEND", "APPEND", "EPOCHS"],
        "TRUNC": ["TRUNCATE", "APPEND", "APPEND", "EPOCHS"],
        "SNAP": ["CHUNK", "INSTALL", "APPEND", "EPOCHS"],
    }.items():
        assert [str(write).split()[0] for write in one_ready(in_sync(sync)).writes] == expected


def test_1_6_the_first_acknowledgement_is_that_of_newleader() -> None:
    # ZOOKEEPER-4685
    d = Dialogue(1).follow(3)
    d.hears(3, LeaderInfo(1))
    d.hears(3, Diff(0))
    said = d.hears(3, NewLeader(1), batch(1, 1), batch(1, 2))
    assert [line for line in said.splitlines() if "ACK" in line] == [
        "message   3  ACK 0x1_00000000", "message   3  ACK 0x1_00000002",
    ]  # fmt: skip


def test_1_6_proposals_and_commits_between_newleader_and_uptodate_are_taken() -> None:
    # ZOOKEEPER-4394
    d = Dialogue(1).follow(3)
    d.hears(3, LeaderInfo(1))
    d.hears(3, Diff(0), NewLeader(1))
    assert d.hears(3, batch(1, 1), Commit(Z(1, 1))) == script("""
        write     APPEND 0x1_00000001..0x1_00000001
        message   3  ACK 0x1_00000001""")
    assert "delivered 0x1_00000001" in d.hears(3, UpToDate(0))


def test_1_6_a_gap_is_never_logged() -> None:
    # ZOOKEEPER-4925
    for phase in ("before NEWLEADER", "after NEWLEADER", "after UPTODATE"):
        d = Dialogue(1, storage=stored((1, 3))).follow(3)
        d.hears(3, LeaderInfo(2))
        d.hears(3, Diff(Z(1, 3)))
        if phase != "before NEWLEADER":
            d.hears(3, NewLeader(2))
        if phase == "after UPTODATE":
            d.hears(3, UpToDate(Z(1, 3)))
        d.hears(3, batch(2, 2), batch(2, 3))
        assert d.rejected == [3]
        assert d.log() == [Z(1, 1), Z(1, 2), Z(1, 3)]


def test_1_6_the_epoch_is_in_force_when_a_quorum_acknowledged_newleader() -> None:
    d = Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4), storage=stored((1, 2))).stand()
    d.promise(1, 2, 3, accepted=1)
    d.hears(1, Ack(Z(2, 0)))
    assert (d.peer.established, d.peer.last_committed) == (False, 0)
    said = d.hears(2, Ack(Z(2, 0)))
    assert d.peer.established
    assert d.peer.last_committed == Z(1, 2)
    assert [line for line in said.splitlines() if "UPTODATE" in line] == [
        f"message   {to}  UPTODATE committed=0x1_00000002" for to in (1, 2)
    ]


# --- 1.7: what must be durable before what


def test_d1_an_epoch_is_proposed_behind_the_save_of_it() -> None:
    d = Dialogue(3, linked=(1, 2)).stand()
    d.peer.receive(1, FollowerInfo(0))
    ready = one_ready(d)
    assert [str(write) for write in ready.writes] == ["EPOCHS accepted=1 current=0"]
    assert sent(ready, LeaderInfo) == ["messages"]


def test_d2_a_promise_is_given_behind_the_save_of_it() -> None:
    d = Dialogue(1).follow(3)
    d.peer.receive(3, LeaderInfo(4))
    ready = one_ready(d)
    assert [str(write) for write in ready.writes] == ["EPOCHS accepted=4 current=0"]
    assert sent(ready, AckEpoch) == ["messages"]


def test_d3_what_is_appended_after_a_cut_stands_behind_it() -> None:
    assert script("""
        write     TRUNCATE to 0x1_00000002
        write     APPEND""") in in_sync("TRUNC").drain()


def test_d4_a_snapshot_is_whole_before_it_replaces_anything() -> None:
    d = Dialogue(1, storage=stored((1, 3), (2, 2))).follow(3)
    d.hears(3, LeaderInfo(5))
    d.hears(3, Snap(Z(4, 1)), SnapData(0, b"st", False))
    assert d.log()[-1] == Z(2, 2)
    d.hears(3, NewLeader(5))
    assert d.rejected == [3]
    assert d.log()[-1] == Z(2, 2)


@pytest.mark.parametrize("sync", SYNCS)
def test_d5_the_current_epoch_stands_behind_all_of_its_history(sync: str) -> None:
    writes = [line for line in in_sync(sync).drain().splitlines() if line.startswith("write")]
    assert writes[-1] == "write     EPOCHS accepted=5 current=5"
    assert writes[-2] == "write     APPEND 0x4_0000000" + ("2" if sync == "SNAP" else "1") + "..0x4_00000003"
    assert len([line for line in writes if "EPOCHS" in line]) == 1


def test_d5_a_leader_saves_its_epoch_before_it_sends_newleader() -> None:
    d = Dialogue(3, linked=(1, 2)).stand()
    d.hears(1, FollowerInfo(0))
    d.peer.receive(1, d.ack_epoch(0))
    ready = one_ready(d)
    assert [str(write) for write in ready.writes] == ["EPOCHS accepted=1 current=1"]
    assert sent(ready, NewLeader) == ["messages"]


def test_d6_newleader_is_acknowledged_behind_the_save_of_the_epoch() -> None:
    d = Dialogue(1).follow(3)
    d.hears(3, LeaderInfo(1))
    d.peer.receive(3, Diff(0))
    d.peer.receive(3, NewLeader(1))
    ready = one_ready(d)
    assert str(ready.writes[-1]) == "EPOCHS accepted=1 current=1"
    assert sent(ready, Ack) == ["messages"]


def test_d7_a_record_is_acknowledged_behind_the_save_of_it() -> None:
    d = Dialogue(1).join(3)
    d.peer.receive(3, batch(1, 1, 2))
    d.peer.receive(3, Ping(1))
    ready = one_ready(d)
    assert [str(write) for write in ready.writes] == ["APPEND 0x1_00000001..0x1_00000002"]
    assert sent(ready, Ack) == ["messages"]
    assert sent(ready, Ping) == ["messages"]


def test_d8_a_leader_counts_itself_only_for_what_it_has_saved() -> None:
    # This leader is a quorum by its weight, so nothing but its own disk keeps its proposals from being committed.
    config = EnsembleConfig((1, 2, 3), weights={3: 3})
    d = Dialogue(3, config=config, linked=(1, 2)).lead(1)
    d.peer.propose(Z(1, 1), [b"x"])
    d.drain()
    d.peer.propose(Z(1, 2), [b"y"])
    d.peer.receive(1, Ack(Z(1, 1)))
    assert d.peer.last_committed == Z(1, 1)
    ready = d.take()
    assert (ready.early, d.peer.last_committed) == ([(1, Proposal(Z(1, 2), (b"y",)))], Z(1, 1))
    assert one_ready(d).early == [(1, Commit(Z(1, 2)))]


def test_d8_a_leader_counts_itself_for_its_epoch_only_when_it_is_saved() -> None:
    d = Dialogue(1, voters=(1,), linked=())
    first, second = d.readies
    assert [str(write) for write in first.writes][-1] == "EPOCHS accepted=1 current=1"
    assert [event for event in map(str, first.events) if "established" in event] == []
    assert [event for event in map(str, second.events) if "established" in event] != []


def test_d9_nothing_is_committed_that_a_quorum_has_not_acknowledged() -> None:
    d = Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4)).lead()
    said = d.proposes(b"x")
    said += d.hears(4, Ack(Z(1, 1)))
    assert "COMMIT" not in said
    assert d.delivered == []
    assert d.hears(2, Ack(Z(1, 1))).count("COMMIT 0x1_00000001") == 4
    assert d.delivered == [b"x"]


def test_d10_nothing_is_delivered_that_is_not_saved_here() -> None:
    # ZOOKEEPER-4882
    d = Dialogue(1).join(3)
    d.peer.receive(3, batch(1, 1))
    d.peer.receive(3, Commit(Z(1, 1)))
    ready = one_ready(d)
    assert d.peer.last_committed == Z(1, 1)
    assert ready.events == []
    assert [str(event) for event in one_ready(d).events] == ["delivered 0x1_00000001..0x1_00000001"]


def test_d10_a_snapshot_is_told_of_only_when_it_is_installed() -> None:
    d = Dialogue(1, storage=stored((1, 3))).follow(3)
    d.hears(3, LeaderInfo(5))
    for message in (Snap(Z(4, 1)), SnapData(0, b"state", True), NewLeader(5), UpToDate(Z(4, 1))):
        d.peer.receive(3, message)
    assert one_ready(d).events == []
    assert "restored snapshot 0x4_00000001" in map(str, one_ready(d).events)


def test_d11_only_a_delivered_state_becomes_a_base() -> None:
    d = Dialogue(1).join(3)
    d.hears(3, batch(1, 1, 2), Commit(Z(1, 1)))
    with pytest.raises(BadArgumentsError, match="not of a state that was delivered here"):
        d.peer.compact(SnapshotRef(Z(1, 2)))


def test_1_7_nothing_learnt_before_uptodate_is_committed() -> None:
    d = Dialogue(1, storage=stored((1, 2))).follow(3)
    d.hears(3, LeaderInfo(2))
    d.hears(3, Diff(Z(1, 2)), batch(1, 3), Commit(Z(1, 3)), NewLeader(2))
    d.hears(3, Commit(Z(1, 3)))
    assert d.delivered == []
    assert d.peer.last_committed == 0
    # the leader vanishes, and the next one never had these records: they may go
    d.lost(3)
    d.linked(3)
    d.follow(2)
    d.hears(2, LeaderInfo(3))
    d.hears(2, Trunc(Z(1, 1)), batch(2, 1), NewLeader(3), UpToDate(Z(2, 1)))
    assert d.delivered == [b"1.1", b"2.1"]
    assert d.rejected == []


def test_1_7_what_was_tentative_is_committed_with_uptodate() -> None:
    d = Dialogue(1, storage=stored((1, 2))).follow(3)
    d.hears(3, LeaderInfo(2))
    d.hears(3, Diff(Z(1, 2)), NewLeader(2), batch(2, 1), Commit(Z(2, 1)))
    d.hears(3, UpToDate(Z(1, 2)))
    assert d.peer.last_committed == Z(2, 1)


def test_1_7_what_was_delivered_is_never_cut() -> None:
    # protocol.md 2, N7
    d = Dialogue(1, storage=stored((1, 3))).join(3, epoch=2, committed=Z(1, 3))
    d.lost(3)
    d.linked(3)
    d.follow(2)
    d.hears(2, LeaderInfo(3))
    d.hears(2, Trunc(Z(1, 2)))
    assert d.rejected == [2]
    assert d.log()[-1] == Z(1, 3)


# --- 1.8: broadcast


def test_1_8_the_first_record_of_an_epoch_has_counter_1_and_the_phantom_is_in_no_log() -> None:
    d = Dialogue(3, linked=(1, 2), storage=stored((1, 2)))
    d.stand()
    d.promise(1, accepted=1)
    d.hears(1, Ack(Z(2, 0)))
    assert d.peer.epoch == 2
    assert d.peer.last_logged == Z(1, 2)
    assert d.peer.next_zxid == Z(2, 1)
    again = Dialogue(3, linked=(1,), storage=d.storage)
    assert "zxid=0x1_00000002 epoch=2" in again.hears(1, Vote(Role.LOOKING, 1, 0, 0, 0))
    again.linked(2)
    again.follow(2)
    assert "current=2 last=0x1_00000002" in again.hears(2, LeaderInfo(9))


def test_1_8_a_leader_hands_over_before_its_counter_runs_out() -> None:
    # ZOOKEEPER-1277
    d = Dialogue(3, linked=(1, 2), limits=Limits(last_counter=3)).lead(1)
    d.proposes(b"1", b"2")
    d.proposes(b"3")
    assert d.peer.next_zxid is None
    with pytest.raises(NotLeadingError):
        d.peer.propose(Z(1, 4), [b"4"])
    assert d.hears(1, Ack(Z(1, 3))) == script("""
        early     1  COMMIT 0x1_00000003
        event     delivered 0x1_00000001..0x1_00000002
        event     delivered 0x1_00000003..0x1_00000003
        message   1  HANDOFF to 1 epoch=1""")


def test_1_8_a_leader_without_a_successor_begins_a_new_count_itself() -> None:
    d = Dialogue(1, voters=(1,), linked=(), limits=Limits(last_counter=3))
    d.proposes(b"1", b"2")
    d.proposes(b"3", b"4")
    assert any("epoch 1 has no zxids left" in role for role in d.roles)
    assert d.peer.next_zxid == Z(2, 1)
    d.proposes(b"5")
    assert d.delivered == [b"1", b"2", b"3", b"4", b"5"]


def test_1_8_a_batch_that_does_not_fit_is_not_proposed_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    d = Dialogue(3, linked=(1, 2)).lead(1)
    monkeypatch.setattr("zkcore.zab.leader.MAX_COUNTER", 3)  # four thousand million proposals are too many for a test
    with pytest.raises(BadArgumentsError, match="4 proposals are more than epoch 1 has zxids left"):
        d.peer.propose(Z(1, 1), [b"1", b"2", b"3", b"4"])
    assert d.drain() == ""
    assert d.proposes(b"1", b"2", b"3") != ""


# --- 1.9: time


def test_1_9_a_leader_that_a_quorum_does_not_answer_steps_down() -> None:
    d = Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4)).lead(1, 2, 3)
    d.ticks(LIMITS.sync_limit_ticks)
    d.hears(1, Ping(1))
    assert d.peer.established
    d.ticks(1)
    assert d.peer.role is Role.LOOKING  # 5 and 1 are no quorum
    assert d.peer.next_zxid is None


def test_1_9_a_leader_that_a_quorum_answers_stays() -> None:
    d = Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4)).lead(1, 2, 3)
    for number in range(20):
        d.ticks(LIMITS.ping_ticks)
        for follower in (1, 2):
            d.hears(follower, Ping(number))
    assert d.peer.established


def test_1_9_those_who_only_wait_for_their_history_do_not_keep_a_leader_in_office() -> None:
    d = Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4)).lead(1, 2)
    for follower in (3, 4):
        d.hears(follower, FollowerInfo(1))
    d.ticks(LIMITS.sync_limit_ticks)
    for follower in (3, 4):
        d.hears(follower, FollowerInfo(1))
    d.ticks(1)
    assert d.peer.role is Role.LOOKING


def test_1_9_a_voter_alone_never_loses_its_office() -> None:
    d = Dialogue(1, voters=(1,), linked=())
    for _ in range(30):
        d.ticks(LIMITS.sync_limit_ticks)
    assert d.peer.established
    assert d.proposes(b"x").endswith("event     delivered 0x1_00000001..0x1_00000001")


def test_1_9_ticks_until_due_never_lets_a_timer_pass() -> None:
    # what many ticks at once do, single ticks do at the same time or never
    for make in (
        lambda: Dialogue(1),
        lambda: Dialogue(1).follow(3),
        lambda: Dialogue(1).join(3),
        lambda: Dialogue(3, linked=(1, 2)).stand(),
        lambda: Dialogue(3, linked=(1, 2)).lead(1),
    ):
        slow, quick = make(), make()
        for _ in range(12):
            due = quick.peer.ticks_until_due
            leapt = quick.ticks(due)
            single = [slow.ticks() for _ in range(due)]
            assert set(single[:-1]) <= {""}
            assert single[-1] == leapt


# --- 1.13: read-index


def answers(ready: str) -> list[str]:
    return [line.removeprefix("event     ") for line in ready.splitlines() if "read index" in line]


def test_1_13_a_question_is_answered_by_a_quorum_that_was_asked_after_it() -> None:
    d = Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4)).lead(1, 2, 3)
    d.proposes(b"x")
    for follower in (1, 2):
        d.hears(follower, Ack(Z(1, 1)))
    d.ticks(LIMITS.ping_ticks)
    d.peer.read_index("q")
    assert d.drain() == "\n".join(f"early     {to}  PING 2" for to in (1, 2, 3))
    assert answers(d.hears(1, Ping(1)) + d.hears(2, Ping(1)) + d.hears(3, Ping(1))) == []  # asked before
    assert answers(d.hears(1, Ping(2))) == []
    assert answers(d.hears(1, Ping(2))) == []  # the same voter again
    assert answers(d.hears(2, Ping(2))) == ["read index 0x1_00000001"]
    assert answers(d.hears(3, Ping(2))) == []


def test_1_13_all_questions_of_a_batch_share_a_round_and_none_is_lost_with_the_leader() -> None:
    d = Dialogue(3, linked=(1, 2)).lead()
    d.peer.read_index("one")
    d.peer.read_index("two")
    assert d.drain().count("PING 1") == 2
    d.peer.read_index("three")
    d.peer.tick(LIMITS.sync_limit_ticks + 1)
    assert answers(d.drain()) == ["read index dropped"] * 3


@pytest.mark.parametrize("make", [lambda: Dialogue(1), lambda: Dialogue(1).join(3), lambda: Dialogue(1).stand()])
def test_1_13_only_a_leader_that_serves_can_answer(make: Callable[[], Dialogue]) -> None:
    d = make()
    d.peer.read_index("q")
    assert answers(d.drain()) == ["read index dropped"]


def test_1_13_a_voter_alone_needs_nobody() -> None:
    d = Dialogue(1, voters=(1,), linked=())
    d.proposes(b"x")
    d.peer.read_index("q")
    assert d.drain() == "event     read index 0x1_00000001"


# --- same inputs, same outputs


def test_a_peer_is_a_function_of_its_inputs() -> None:
    def run() -> list[list[str]]:
        storage = stored((1, 3), (2, 2), base=Z(1, 1))
        d = Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4), storage=storage)
        d.lead(2, 1, 4, 3)
        d.proposes(b"x", b"y")
        for follower in (3, 1, 4):
            d.hears(follower, Ack(Z(3, 2)))
        d.ticks(LIMITS.sync_limit_ticks + 1)
        return [lines_of(ready) for ready in d.readies]

    assert run() == run()


def test_two_peers_share_nothing() -> None:
    config = EnsembleConfig((1, 2, 3))
    one, other = (Peer(me, config, MemoryStorage().load(), MemoryStorage()) for me in (1, 2))
    one.report_linked(2)
    assert one.status().linked == (2,)
    assert other.status().linked == ()
