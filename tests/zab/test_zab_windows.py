"""The stream of a learner (protocol.md 1.6): what it is sent, how much at a time, and what stands where in it."""

from __future__ import annotations

import pytest
from dialogue import Dialogue, Z, batch, elected, leading, script, stored
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Commit,
    FollowerInfo,
    Message,
    NewLeader,
    PeerId,
    Ping,
    Proposal,
    Role,
    SyncAck,
    UpToDate,
)
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zxid import Zxid, follows

# Every record has three bytes in these tests: two of them fill a window of four.
TWO = {"window_bytes": 4, "read_bytes": 3}


def records(messages: list[Message]) -> list[Zxid]:
    """The zxids of everything proposed in `messages`."""
    return [m.first + i for m in messages if isinstance(m, Proposal) for i in range(len(m.payloads))]


# --- the window


def test_a_learner_that_acknowledges_nothing_is_sent_no_more_than_its_window() -> None:
    d = leading((1, 9), **TWO)
    assert d.bring_in(2) == script("""
        message   2  DIFF from 0x0_00000000
        message   2  PROPOSAL 0x1_00000001..0x1_00000001
        message   2  PROPOSAL 0x1_00000002..0x1_00000002""")
    d.proposes(b"x")
    d.hears(1, Ack(Z(2, 1)))
    d.ticks(60)
    assert records(d.said_to(2)) == [Z(1, 1), Z(1, 2)]


def test_an_acknowledgement_makes_room_for_as_much_as_it_covers() -> None:
    d = leading((1, 9), **TWO)
    d.bring_in(2)
    assert d.hears(2, SyncAck(Z(1, 1))) == "early     2  PROPOSAL 0x1_00000003..0x1_00000003"
    assert d.hears(2, SyncAck(Z(1, 3))) == script("""
        early     2  PROPOSAL 0x1_00000004..0x1_00000004
        early     2  PROPOSAL 0x1_00000005..0x1_00000005""")


def test_a_record_larger_than_the_window_is_sent_alone() -> None:
    d = leading(window_bytes=2, read_bytes=2)
    for _ in range(3):
        d.proposes(b"a large record")
    d.hears(1, Ack(Z(1, 1)))
    d.bring_in(2)
    for counter in (1, 2):
        assert records(d.said_to(2)) == [Z(1, n) for n in range(1, counter + 1)]
        d.hears(2, SyncAck(Z(1, counter)))
    assert records(d.said_to(2)) == [Z(1, 1), Z(1, 2), Z(1, 3)]


def test_the_window_holds_in_the_broadcast_too_and_what_is_beyond_is_read_from_the_log() -> None:
    d = leading(**TWO, tail_bytes=1)
    for _ in range(6):
        d.proposes(b"abc")
    assert records(d.said_to(1)) == [Z(1, 1), Z(1, 2)]
    assert d.hears(1, Ack(Z(1, 2))) == script("""
        early     1  PROPOSAL 0x1_00000003..0x1_00000003
        early     1  PROPOSAL 0x1_00000004..0x1_00000004
        early     1  COMMIT 0x1_00000002
        event     delivered 0x1_00000001..0x1_00000001
        event     delivered 0x1_00000002..0x1_00000002""")
    d.hears(1, Ack(Z(1, 4)))
    assert records(d.said_to(1)) == [Z(1, n) for n in range(1, 7)]


def test_a_learner_that_is_behind_does_not_hold_up_the_others() -> None:
    d = leading((1, 9), **TWO)
    d.bring_in(2)
    for counter in range(1, 6):
        assert f"early     1  PROPOSAL 0x2_{counter:08x}" in d.proposes(b"abc")
        assert f"early     1  COMMIT 0x2_{counter:08x}" in d.hears(1, Ack(Z(2, counter)))
    assert records(d.said_to(2)) == [Z(1, 1), Z(1, 2)]


def test_everybody_who_is_fed_the_same_records_gets_the_same_message() -> None:
    # a transport encodes it once
    d = Dialogue(3, linked=(1, 2)).lead()
    d.proposes(b"x", b"y")
    to_1, to_2 = (d.said_to(peer)[-1] for peer in (1, 2))
    assert isinstance(to_1, Proposal)
    assert to_1 is to_2


def test_a_learner_that_never_acknowledges_is_dropped_though_it_answers() -> None:
    d = leading((1, 2), **TWO)
    d.bring_in(2, (1, 2))
    d.hears(2, Ack(Z(2, 0)))
    for _ in range(3):
        d.proposes(b"abc")
    for counter in range(1, 4):
        d.hears(1, Ack(Z(2, counter)))
    closed: list[PeerId] = []
    for number in range(1, 6):
        d.ticks(50)
        closed += d.readies[-1].closes
        for peer in (1, 2):
            d.hears(peer, Ping(number))
    assert closed == [2]


# --- where NEWLEADER stands


def test_newleader_stands_right_behind_the_last_record_of_the_history() -> None:
    d = leading((1, 4), **TWO)
    d.bring_in(2)
    assert NewLeader(2) not in d.said_to(2)
    assert d.hears(2, SyncAck(Z(1, 1))) == "early     2  PROPOSAL 0x1_00000003..0x1_00000003"
    assert d.hears(2, SyncAck(Z(1, 2))) == script("""
        early     2  PROPOSAL 0x1_00000004..0x1_00000004
        message   2  NEWLEADER epoch=2
        message   2  COMMIT 0x1_00000004""")  # it does not wait until the last of it is saved


def test_newleader_does_not_wait_for_what_was_proposed_since() -> None:
    # else a learner could chase a busy leader for ever, and would be no help meanwhile
    d = leading((1, 3), **TWO)
    d.bring_in(2)
    for _ in range(5):
        d.proposes(b"abc")
    d.hears(2, SyncAck(Z(1, 2)))
    assert d.said_to(2)[-4:] == [batch(1, 3), Proposal(Z(2, 1), (b"abc",)), NewLeader(2), Commit(Z(1, 3))]


def test_an_empty_history_is_through_at_once() -> None:
    assert leading().bring_in(2) == script("""
        message   2  DIFF from 0x0_00000000
        message   2  NEWLEADER epoch=1""")


def test_the_acknowledgement_of_newleader_acknowledges_the_history_before_it() -> None:
    d = leading((1, 4), **TWO)
    d.bring_in(2, (1, 2))
    assert NewLeader(2) in d.said_to(2)
    d.proposes(b"abc")
    assert records(d.said_to(2)) == [Z(1, 3), Z(1, 4)]  # the window is full
    assert d.hears(2, Ack(Z(2, 0))) == script("""
        message   2  UPTODATE committed=0x1_00000004
        message   2  PROPOSAL 0x2_00000001..0x2_00000001""")
    assert [learner.acked for learner in d.peer.status().learners if learner.peer == 2] == [Z(1, 4)]


def test_what_is_acknowledged_by_syncack_makes_no_quorum() -> None:
    # before NEWLEADER a learner has promised nothing about what it holds
    d = elected((1, 3))
    d.promise(1, accepted=1)
    d.hears(2, FollowerInfo(1))
    d.hears(2, AckEpoch(1, Z(1, 1), 0, (Z(1, 1),)))
    d.hears(2, SyncAck(Z(1, 3)))
    assert not d.peer.established
    d.hears(1, Ack(Z(2, 0)))
    d.proposes(b"x")
    d.hears(2, SyncAck(Z(2, 1)))
    d.proposes(b"y")  # when that is saved here the leader counts again
    assert d.peer.last_committed == Z(1, 3)
    d.hears(2, Ack(Z(2, 0)))  # now it has accepted the epoch, and with it everything it holds
    assert d.peer.last_committed == Z(2, 1)


# --- COMMIT and UPTODATE say nothing of what was not sent


def test_a_commit_goes_no_further_than_what_that_learner_was_sent() -> None:
    d = Dialogue(3, linked=(1, 2), limits=Limits(**TWO)).lead()
    for counter in range(1, 5):
        d.proposes(b"abc")
        d.hears(1, Ack(Z(1, counter)))
    assert d.said_to(2)[-1] == Commit(Z(1, 2))
    assert Commit(Z(1, 3)) not in d.said_to(2)
    assert d.hears(2, Ack(Z(1, 1))).splitlines() == [
        "early     2  PROPOSAL 0x1_00000003..0x1_00000003",
        "early     2  COMMIT 0x1_00000003",
    ]


def test_uptodate_goes_no_further_than_what_that_learner_was_sent() -> None:
    d = leading((1, 1), **TWO)
    d.bring_in(2)  # one record and NEWLEADER; there is room for one more
    for counter in range(1, 5):
        d.proposes(b"abc")
        d.hears(1, Ack(Z(2, counter)))
    assert d.hears(2, Ack(Z(2, 0))) == script("""
        message   2  UPTODATE committed=0x2_00000001
        message   2  PROPOSAL 0x2_00000002..0x2_00000002
        message   2  COMMIT 0x2_00000002""")


# --- all of it in any order


class Reader:
    """A learner that checks every message of its stream as it comes, and acknowledges when it is told to."""

    def __init__(
        self, d: Dialogue, me: PeerId, *, start: Zxid, target: Zxid, window: int, observes: bool = False
    ) -> None:
        self.d, self.me, self.target, self.window, self.observes = d, me, target, window, observes
        self.tip = self.acked = start
        self.owed: list[tuple[Zxid, int]] = []  # proposals not acknowledged, with their bytes
        self.got: list[tuple[Zxid, bytes]] = []
        self.history: Zxid | None = None  # what came before NEWLEADER
        self.active = False
        self.read = 0

    def catch_up(self) -> None:
        said = self.d.said_to(self.me)
        new, self.read = said[self.read :], len(said)
        for message in new:
            if isinstance(message, Proposal):
                self.on_proposal(message)
            elif isinstance(message, NewLeader):
                assert self.tip >= self.target, "NEWLEADER before the history is through"
                assert self.history is None, "NEWLEADER twice"
                self.history = self.tip
            elif isinstance(message, Commit | UpToDate):
                assert message.zxid <= self.tip, "a commit of what was not sent"

    def on_proposal(self, message: Proposal) -> None:
        assert sum(size for _, size in self.owed) < self.window, "sent into a full window"
        assert follows(message.first, self.tip), "a gap, or a record twice"
        if self.observes:
            assert message.last <= self.d.peer.last_committed
        self.tip = message.last
        self.owed.append((message.last, sum(map(len, message.payloads))))
        self.got += [(message.first + i, payload) for i, payload in enumerate(message.payloads)]

    def acknowledge(self, share: float) -> None:
        if self.history is not None and not self.active:
            self.active = True
            self.on_acked(self.history)
            self.d.hears(self.me, Ack(Z(self.d.peer.epoch, 0)))
            return
        ends = [last for last, _ in self.owed]
        if not ends:
            return
        zxid = ends[int(share * (len(ends) - 1))]
        self.on_acked(zxid)
        self.d.hears(self.me, Ack(zxid) if self.active else SyncAck(zxid))

    def on_acked(self, zxid: Zxid) -> None:
        self.acked = zxid
        self.owed = [(last, size) for last, size in self.owed if last > zxid]


STEPS = st.one_of(
    st.tuples(st.just("propose"), st.integers(1, 4)),
    st.tuples(st.just("ack"), st.floats(0, 1)),
    st.tuples(st.just("commit"), st.floats(0, 1)),
)


@settings(max_examples=150, deadline=None)
@given(
    length=st.integers(0, 12), start=st.integers(0, 12), window=st.integers(1, 20), read=st.integers(1, 12),
    observes=st.booleans(), steps=st.lists(STEPS, max_size=25),
)  # fmt: skip
def test_every_stream_is_whole_in_order_and_within_its_window(
    length: int, start: int, window: int, read: int, observes: bool, steps: list[tuple[str, float]]
) -> None:
    limits = Limits(window_bytes=window, read_bytes=read, tail_bytes=5)
    config = EnsembleConfig((1, 3), observers=(2,)) if observes else EnsembleConfig((1, 2, 3))
    past = stored((1, length)) if length else stored(accepted=1, current=1)
    d = Dialogue(3, config=config, linked=(1, 2), storage=past, limits=limits).stand().promise(1, accepted=1)
    d.hears(1, Ack(Z(2, 0)))
    d.catch_up()
    target = d.peer.last_logged
    have = min(start, length)
    d.bring_in(2, (1, have)) if have else d.bring_in(2)
    good = Reader(d, 1, start=target, target=target, window=window)
    slow = Reader(d, 2, start=Z(1, have) if have else 0, target=target, window=window, observes=observes)
    good.read, good.active, good.history = len(d.said_to(1)), True, 0
    assert d.peer.role is Role.LEADING
    for kind, value in steps:
        if kind == "propose":
            d.proposes(*[b"%d" % n for n in range(int(value))])
        elif kind == "ack":
            slow.acknowledge(value)
        else:
            good.acknowledge(value)
        good.catch_up()
        slow.catch_up()
    for _ in range(200):
        if good.tip == slow.tip == d.peer.last_logged == d.peer.last_committed and slow.active:
            break
        good.acknowledge(1)
        slow.acknowledge(1)
        good.catch_up()
        slow.catch_up()
    everything = [(entry.zxid, entry.payload) for entry in d.storage.entries(0, 1 << 30)]
    assert slow.got == everything[have:]
    assert good.got == everything[length:]
    assert d.rejected == []


@pytest.mark.parametrize("fields", ["early", "messages"])
def test_a_stream_keeps_its_order_whatever_field_of_a_ready_it_is_in(fields: str) -> None:
    d = leading((1, 3), **TWO)
    d.bring_in(2, (1, 2))
    if fields == "messages":  # what was made for 2 in this batch promises something, so nothing may overtake it
        d.peer.receive(2, Ack(Z(2, 0)))
    d.peer.propose(Z(2, 1), [b"abc"])
    ready = d.take()
    assert Proposal(Z(2, 1), (b"abc",)) in [m for to, m in getattr(ready, fields) if to == 2]
