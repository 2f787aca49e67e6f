"""The contract of a Peer with its host: what is confirmed when, and in which order things are asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dialogue import Dialogue, Z, batch, script, stored

from zkcore.errors import BadArgumentsError, ConfigurationError, InvariantViolation
from zkcore.storage.storage import MemoryStorage
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Ack, Commit, FollowerInfo, LeaderInfo, Ping, Role, UpToDate, Vote
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Delivered, Ready, Saved, SnapshotRef


def leading() -> Dialogue:
    return Dialogue(3, linked=(1, 2)).lead()


# --- how it begins


def test_a_peer_must_be_a_member() -> None:
    with pytest.raises(ConfigurationError, match="server 4 is not among the members"):
        Peer(4, EnsembleConfig((1, 2), observers=(3,)), Saved(), MemoryStorage())
    assert Peer(3, EnsembleConfig((1, 2), observers=(3,)), Saved(), MemoryStorage())


def test_epochs_that_contradict_each_other_are_not_started_from() -> None:
    with pytest.raises(InvariantViolation, match="current epoch 5 is beyond the accepted one"):
        Peer(1, EnsembleConfig((1, 2, 3)), Saved(accepted_epoch=4, current_epoch=5), MemoryStorage())


def test_a_peer_begins_with_the_snapshot_of_its_log() -> None:
    d = Dialogue(1, storage=stored((1, 5), base=Z(1, 3)), linked=())
    assert [str(event) for event in d.readies[0].events] == ["restored snapshot 0x1_00000003"]
    assert d.peer.last_committed == Z(1, 3)


# --- the order of a Ready


def test_a_ready_holds_what_to_do_in_the_order_in_which_to_do_it() -> None:
    assert [name for name in Ready.__slots__ if not name.startswith("__")] == [
        "early", "events", "writes", "messages", "closes",
    ]  # fmt: skip
    d = Dialogue(3, linked=(1, 2)).lead(1)
    d.proposes(b"x")
    d.peer.receive(1, Ack(Z(1, 1)))
    d.peer.receive(2, Vote(Role.LOOKING, 2, 0, 0, 1))
    d.peer.receive(2, Ack(Z(9, 9)))
    d.peer.propose(Z(1, 2), [b"y"])
    assert d.drain() == script("""
        early     1  PROPOSAL 0x1_00000002..0x1_00000002
        early     1  COMMIT 0x1_00000001
        event     rejected 2: ACK out of turn
        event     delivered 0x1_00000001..0x1_00000001
        write     APPEND 0x1_00000002..0x1_00000002
        message   2  VOTE LEADING for 3 zxid=0x0_00000000 epoch=1 round=1
        close     2""")


def test_a_ready_is_true_when_there_is_something_to_do() -> None:
    assert not Ready()
    for field in ("early", "events", "writes", "messages", "closes"):
        assert Ready(**{field: [object()]})


def test_a_link_never_reorders() -> None:
    d = Dialogue(3, linked=(1, 2)).lead(1)
    d.hears(2, FollowerInfo(1))
    d.peer.receive(2, d.ack_epoch(None))  # what 2 is told now leaves behind the writes ...
    d.peer.propose(Z(1, 1), [b"x"])  # ... and so does what is made for it later, though it promises nothing
    assert d.drain() == script("""
        early     1  PROPOSAL 0x1_00000001..0x1_00000001
        write     APPEND 0x1_00000001..0x1_00000001
        message   2  DIFF from 0x0_00000000
        message   2  PROPOSAL 0x1_00000001..0x1_00000001
        message   2  NEWLEADER epoch=1""")
    assert d.proposes(b"y").count("early") == 2  # the next Ready is another one


# --- confirmation


INPUTS: dict[str, Callable[[Peer], None]] = {
    "tick": lambda peer: peer.tick(),
    "receive": lambda peer: peer.receive(1, Ping(1)),
    "report_linked": lambda peer: peer.report_linked(2),
    "report_lost": lambda peer: peer.report_lost(1),
    "propose": lambda peer: peer.propose(Z(1, 2), [b"y"]),
    "compact": lambda peer: peer.compact(SnapshotRef(Z(1, 1))),
}


@pytest.mark.parametrize("name", INPUTS)
def test_nothing_may_be_fed_while_a_ready_is_out(name: str) -> None:
    d = leading()
    d.peer.propose(Z(1, 1), [b"x"])
    assert d.take()
    with pytest.raises(RuntimeError, match="a Ready is out"):
        INPUTS[name](d.peer)
    assert d.peer.last_logged == Z(1, 1)
    d.drain()
    if name != "compact":  # 1_1 is not committed yet
        INPUTS[name](d.peer)


def test_only_the_next_drain_confirms_what_was_saved() -> None:
    d = Dialogue(1, voters=(1,), linked=())
    d.peer.propose(Z(1, 1), [b"x"])
    d.take()
    assert d.peer.last_committed == 0  # it is saved, but the Peer was not told
    assert d.take().events == [Delivered(Z(1, 1), (b"x",))]
    assert d.peer.last_committed == Z(1, 1)


def test_a_leader_serves_only_when_the_news_of_it_was_acted_upon() -> None:
    d = Dialogue(3, linked=(1, 2), storage=stored((1, 2))).stand()
    d.promise(1, accepted=1)
    d.peer.receive(1, Ack(Z(2, 0)))
    ready = d.take()
    assert [str(event) for event in ready.events] == [
        "delivered 0x1_00000001..0x1_00000002",
        "established LEADING leader=3 epoch=2: a quorum holds the history",
    ]
    assert d.peer.established
    assert d.peer.next_zxid is None
    d.drain()
    assert d.peer.next_zxid == Z(2, 1)


def test_a_leader_that_stopped_serves_no_more_at_once() -> None:
    d = leading()
    d.peer.tick(Limits().sync_limit_ticks + 1)
    assert d.peer.next_zxid is None
    assert not d.peer.established


# --- a change of role


def test_a_change_of_role_drops_messages_but_nothing_else() -> None:
    d = Dialogue(1).join(3)
    for message in (batch(1, 1), Commit(Z(1, 1)), Ping(3), batch(1, 5)):
        d.peer.receive(3, message)  # a write, a PING to answer, and a rejection with its close
    d.peer.report_lost(3)
    d.peer.report_linked(3)
    assert d.drain() == script("""
        event     rejected 3: PROPOSAL 0x1_00000005 leaves a gap after 0x1_00000001 (ZOOKEEPER-4925)
        event     LOOKING epoch=1: the link to leader 3 broke
        write     APPEND 0x1_00000001..0x1_00000001
        message   2  VOTE LOOKING for 1 zxid=0x1_00000001 epoch=1 round=2
        message   3  VOTE LOOKING for 1 zxid=0x1_00000001 epoch=1 round=2
        ---
        event     delivered 0x1_00000001..0x1_00000001""")


def test_a_change_of_role_drops_what_the_old_role_had_to_say_to_anybody() -> None:
    d = leading()
    d.peer.receive(2, Vote(Role.LOOKING, 2, 0, 0, 1))  # would be told that 3 leads
    d.peer.propose(Z(1, 1), [b"x"])
    d.peer.tick(Limits().sync_limit_ticks + 1)
    assert d.drain() == script("""
        event     LOOKING epoch=1: no quorum was heard for 200 ticks
        write     APPEND 0x1_00000001..0x1_00000001
        close     1
        close     2""")


def test_a_leader_that_leaves_closes_the_link_of_every_learner() -> None:
    d = Dialogue(5, voters=(1, 2, 3, 4, 5), linked=(1, 2, 3, 4)).lead(1, 2)
    d.hears(4, FollowerInfo(1))
    d.peer.tick(Limits().sync_limit_ticks + 1)
    d.peer.report_lost(2)  # whoever is lost already is not closed
    assert d.drain() == script("""
        event     LOOKING epoch=1: no quorum was heard for 200 ticks
        message   3  VOTE LOOKING for 5 zxid=0x0_00000000 epoch=1 round=2
        close     1
        close     4""")


# --- links


def test_a_peer_that_is_being_closed_is_neither_heard_nor_spoken_to() -> None:
    d = leading()
    d.hears(2, Ack(Z(9, 9)))
    assert d.hears(2, Ack(Z(9, 9)), Vote(Role.LOOKING, 2, 0, 0, 1), FollowerInfo(0)) == ""
    assert d.proposes(b"x") == script("""
        early     1  PROPOSAL 0x1_00000001..0x1_00000001
        write     APPEND 0x1_00000001..0x1_00000001""")
    assert d.ticks(Limits().ping_ticks) == "early     1  PING 1"
    assert d.lost(2) == ""
    assert d.linked(2).startswith("message   2  VOTE LEADING")
    assert d.hears(2, FollowerInfo(0)) == "message   2  LEADERINFO epoch=1"


def test_nothing_is_made_for_a_peer_once_it_is_being_closed() -> None:
    d = Dialogue(3, linked=(1, 2)).lead(1)
    d.hears(2, FollowerInfo(1))
    d.hears(2, d.ack_epoch(None))
    d.peer.receive(2, Ack(Z(1, 0)))  # UPTODATE for 2 waits to be drained
    d.peer.receive(2, Ack(Z(9, 9)))
    d.peer.propose(Z(1, 1), [b"x"])
    ready = d.take()
    assert ready.messages == [(2, UpToDate(0))]
    assert [to for to, _ in ready.early] == [1]
    assert ready.closes == [2]


def test_what_was_not_drained_for_a_lost_peer_is_dropped() -> None:
    d = leading()
    d.peer.propose(Z(1, 1), [b"x"])
    d.peer.receive(2, Vote(Role.LOOKING, 2, 0, 0, 1))
    d.peer.receive(2, Ack(Z(9, 9)))
    d.peer.report_lost(2)
    assert d.drain() == script("""
        early     1  PROPOSAL 0x1_00000001..0x1_00000001
        event     rejected 2: ACK 0x9_00000009, not after 0x0_00000000 or never proposed
        write     APPEND 0x1_00000001..0x1_00000001""")


def test_a_loss_of_what_was_not_linked_is_no_news() -> None:
    d = Dialogue(1, linked=(2,))
    assert d.lost(3) == ""
    assert d.hears(2, Vote(Role.LOOKING, 2, 0, 0, 1)) != ""
    assert d.peer.role is Role.LOOKING  # 3 was never heard of, so it may still know better


def test_what_comes_without_a_link_is_ignored() -> None:
    d = Dialogue(1, linked=(2,))
    assert d.hears(3, Vote(Role.LOOKING, 3, 0, 0, 1), LeaderInfo(7)) == ""


def test_who_claims_to_be_oneself_is_shown_the_door() -> None:
    d = Dialogue(1)
    assert d.linked(1) == script("""
        event     rejected 1: it is not a member of the ensemble
        close     1""")
    assert d.hears(1, Vote(Role.LOOKING, 3, 0, 9, 1)) == ""


def test_who_is_no_member_is_told_our_vote_since_it_may_know_of_other_members() -> None:
    d = Dialogue(1)
    mine = "message   9  VOTE LOOKING for 1 zxid=0x0_00000000 epoch=0 round=1"
    assert d.linked(9) == mine
    assert d.hears(9, Vote(Role.LOOKING, 9, 0, 9, 1)) == mine
    assert d.hears(9, FollowerInfo(0)) == script("""
        event     rejected 9: it is not a member of the ensemble
        close     9""")


def test_a_host_may_ask_whether_a_peer_counts_and_break_with_it_for_reasons_of_its_own() -> None:
    d = leading()
    d.linked(9)
    assert [other for other in range(10) if d.peer.hears(other)] == [1, 2]
    d.peer.reject(2, "it forwards nonsense")
    assert not d.peer.hears(2)
    assert d.drain() == script("""
        event     rejected 2: it forwards nonsense
        close     2""")
    d.lost(1)
    assert not d.peer.hears(1)


# --- delivery


def test_no_more_is_delivered_at_once_than_the_budget_allows() -> None:
    limits = Limits(deliver_bytes=6, read_bytes=4)
    d = Dialogue(1, storage=stored((1, 5)), limits=limits).join(3, epoch=2, committed=Z(1, 1))
    d.hears(3, Commit(Z(1, 5)))
    assert d.delivered == [b"1.1", b"1.2", b"1.3"]  # three bytes each: one drain loop, two records
    assert d.peer.ticks_until_due == 1  # the rest waits for the next input, and that must not wait long
    assert d.ticks(1) == script("""
        event     delivered 0x1_00000004..0x1_00000004
        event     delivered 0x1_00000005..0x1_00000005""")
    assert d.peer.ticks_until_due > 1


def test_the_news_of_a_leader_waits_for_the_last_of_its_history() -> None:
    d = Dialogue(3, linked=(1, 2), storage=stored((1, 5)), limits=Limits(deliver_bytes=3)).stand()
    d.promise(1, accepted=1)
    d.hears(1, Ack(Z(2, 0)))
    while len(d.delivered) < 5:
        assert d.peer.next_zxid is None
        assert not d.peer.established
        d.ticks(1)
    assert d.peer.established
    assert d.peer.next_zxid == Z(2, 1)


def test_a_record_larger_than_the_budget_is_delivered_alone() -> None:
    d = Dialogue(1, voters=(1,), linked=(), limits=Limits(deliver_bytes=2))
    d.peer.propose(Z(1, 1), [b"aaaaaa", b"bbbbbb"])
    d.drain()
    assert d.delivered == [b"aaaaaa"]
    d.ticks(1)
    assert d.delivered == [b"aaaaaa", b"bbbbbb"]


# --- compaction


def test_the_log_goes_up_to_a_snapshot_of_what_was_delivered() -> None:
    limits = Limits(retained_records=1)
    d = Dialogue(1, storage=stored((1, 5)), limits=limits).join(3, epoch=2, committed=Z(1, 4))
    d.storage.save_snapshot(SnapshotRef(Z(1, 3)), [b"state"])
    d.peer.compact(SnapshotRef(Z(1, 3)))
    assert d.drain() == "write     COMPACT to snapshot 0x1_00000003, log from 0x1_00000002"
    d.peer.compact(SnapshotRef(Z(1, 3)))
    d.peer.compact(SnapshotRef(Z(1, 2)))
    assert d.drain() == ""  # no newer than the one there is: ignored
    assert d.log() == [Z(1, 3), Z(1, 4), Z(1, 5)]


@pytest.mark.parametrize("zxid", [Z(1, 5), Z(1, 9), Z(2, 0)])
def test_a_snapshot_of_what_was_not_delivered_cannot_be_a_base(zxid: int) -> None:
    d = Dialogue(1, storage=stored((1, 5))).join(3, epoch=2, committed=Z(1, 4))
    with pytest.raises(BadArgumentsError, match="not of a state that was delivered here"):
        d.peer.compact(SnapshotRef(zxid))


# --- what it says of itself


def test_the_status_prints_on_one_line() -> None:
    d = leading()
    d.proposes(b"x")
    assert str(d.peer.status()) == (
        "3 established LEADING leader=3 epoch=1 logged=0x1_00000001 committed=0x0_00000000"
    )
    assert d.peer.status().linked == (1, 2)
    assert str(Dialogue(1).peer.status()).startswith("1 LOOKING leader=- epoch=0")


def test_no_time_is_no_tick() -> None:
    d = Dialogue(1)
    d.peer.tick(0)
    assert d.drain() == ""
    assert d.peer.ticks_until_due == Limits().vote_resend_ticks
