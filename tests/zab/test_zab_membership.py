"""Other members (protocol.md 1.10): the records that say so, and what an ensemble makes of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from zkcore.errors import BadArgumentsError, ConfigurationError
from zkcore.storage.storage import MemoryStorage
from zkcore.testing.handwired import HandWired
from zkcore.testing.undisturbed import run
from zkcore.transport.wire import decode, encode
from zkcore.zab import changing
from zkcore.zab.learner_view import LearnerView
from zkcore.zab.limits import Limits
from zkcore.zab.membership import Membership, Memberships, configuration_record, read_configuration
from zkcore.zab.messages import Damage, LeaderInfo, Message, PeerId, Role, Snap, Vote
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import Configuration, EnsembleConfig, Transition
from zkcore.zab.ready import NOTHING, Append, Saved, SaveEpochs
from zkcore.zxid import make_zxid

A = EnsembleConfig((1, 2, 3))
B = EnsembleConfig((3, 4, 5), observers=(1, 9))
GROUPED = EnsembleConfig((1, 2, 3, 4), groups=((1, 2), (3, 4)), weights={2: 0, 3: 70_000})
ALL = (A, B, GROUPED, Transition(A, B), Transition(GROUPED, A))


# --- what can be in force


def test_a_transition_takes_quorums_of_both() -> None:
    both = Transition(A, B)
    assert (both.voters, both.observers, both.members) == ((1, 2, 3, 4, 5), (9,), (1, 2, 3, 4, 5, 9))
    assert not both.is_quorum({1, 2, 3})
    assert not both.is_quorum({3, 4, 5})
    assert both.is_quorum({1, 3, 4})
    assert both.agreed({1: 7, 2: 9, 3: 5, 4: 6, 5: 2}) == 5
    assert both.newest is B
    assert A.newest is A
    assert both.can_lead(1)
    assert both.can_lead(5)
    assert not both.can_lead(9)


@pytest.mark.parametrize("config", ALL)
def test_a_record_is_read_as_it_was_written(config: Configuration) -> None:
    assert read_configuration(configuration_record(config, b"a note")) == (config, b"a note")


@pytest.mark.parametrize("config", ALL)
def test_a_record_that_is_cut_short_is_refused(config: Configuration) -> None:
    record = configuration_record(config)
    for size in range(len(record)):
        with pytest.raises(ConfigurationError):
            read_configuration(record[:size])


@pytest.mark.parametrize("config", ALL)
@pytest.mark.parametrize("message", [Vote(Role.LEADING, 3, 7, 1, 2), LeaderInfo(4), Snap(9, 3)])
def test_members_travel_behind_a_message_and_nothing_where_there_are_none(
    message: Message, config: Configuration
) -> None:
    kind, plain = type(message), encode(message)
    told = kind(**{name: getattr(message, name) for name in kind.__match_args__[:-1]}, membership=Membership(5, config))
    assert decode(encode(told)) == told
    assert encode(told).startswith(plain)
    assert decode(plain) == message


def test_the_newest_record_counts_until_it_is_cut() -> None:
    known = Memberships(Membership(0, A))
    assert not known.on_appended(1, (b"x", b"y"))
    assert known.on_appended(3, (b"x", configuration_record(Transition(A, B), b"n")))
    assert (known.newest.zxid, known.newest.config, known.newest.note) == (4, Transition(A, B), b"n")
    assert known.at(3).config == A
    known.on_truncated(3)
    assert known.newest.config == A
    known.on_appended(4, (configuration_record(Transition(A, B)), b"x", configuration_record(B)))
    known.on_compacted(5)
    assert (known.first.zxid, known.newest.zxid) == (4, 6)
    known.on_truncated(5)
    assert known.newest.zxid == 4


def test_one_that_makes_no_sense_changes_nothing() -> None:
    known = Memberships(Membership(0, A))
    with pytest.raises(ConfigurationError):
        known.on_appended(1, (configuration_record(B), configuration_record(B)[:-2]))
    assert known.newest.zxid == 0


# --- ensembles


class Changing:
    """An ensemble wired by hand, all of it up."""

    def __init__(self, voters: tuple[PeerId, ...], *, spares: tuple[PeerId, ...], limits: Limits | None = None) -> None:
        self.wired = HandWired(EnsembleConfig(voters), limits, spares=spares)
        for me in self.wired.members:
            self.wired.start(me)
        assert run(self.wired, 3000, until=lambda: self.leader is not None)

    @property
    def leader(self) -> Peer | None:
        peers = [self.wired.peer(me) for me in self.wired.up]
        return next((peer for peer in peers if peer.next_zxid is not None), None)

    def ask(self, voters: tuple[PeerId, ...], observers: tuple[PeerId, ...] = ()) -> str:
        """Ask the leader for these members; what it says to that, and nothing where it agrees."""
        leader = self.leader
        assert leader is not None
        said = len(self.wired.lines)
        self.wired.reconfigure(leader.status().me, EnsembleConfig(voters, observers=observers))
        return next((line for line in self.wired.lines[said:] if "refuses" in line), "")

    def become(self, voters: tuple[PeerId, ...], observers: tuple[PeerId, ...] = ()) -> None:
        """The same, and wait until all members have it, and have found their places."""
        assert self.ask(voters, observers) == ""
        assert run(self.wired, 3000, until=lambda: self.is_settled(EnsembleConfig(voters, observers=observers)))
        self.wired.check_storages()

    def is_settled(self, config: EnsembleConfig) -> bool:
        leader = self.leader
        members = [self.wired.peer(me) for me in config.members if me in self.wired.up]
        return leader is not None and leader.status().me in config.voters and all(
            peer.established and peer.status().config == config and peer.epoch == leader.epoch
            and peer.last_delivered == leader.last_logged
            and peer.role is (Role.LEADING if peer is leader else Role.FOLLOWING if me in config.voters
                              else Role.OBSERVING)
            for me, peer in zip([me for me in config.members if me in self.wired.up], members, strict=True)
        )  # fmt: skip


def test_no_transaction_is_taken_for_other_members() -> None:
    leader = Changing((1,), spares=(2,)).leader
    assert leader is not None
    first = leader.next_zxid
    assert first is not None
    with pytest.raises(BadArgumentsError, match="call reconfigure"):
        leader.propose(first, [b"one", configuration_record(EnsembleConfig((2,)))])
    assert leader.next_zxid == first
    assert not leader.drain()


def test_one_becomes_three_and_five_and_three_and_one() -> None:
    e = Changing((1,), spares=(2, 3, 4, 5))
    e.become((1,), observers=(2, 3, 4, 5))
    e.become((1, 2, 3), observers=(4, 5))
    e.become((1, 2, 3, 4, 5))
    e.become((3, 4, 5))
    e.become((5,))
    assert e.wired.peer(5).role is Role.LEADING
    e.wired.propose(5, [b"alone"])
    assert e.wired.peer(5).last_committed == e.wired.peer(5).last_logged


def test_a_leader_that_removes_itself_hands_over_first() -> None:
    e = Changing((1, 2, 3), spares=())
    leader = e.leader
    assert leader is not None
    assert leader.status().me == 3
    e.become((1, 2))
    assert any("HANDOFF" in line for line in e.wired.lines)
    assert not any("no quorum was heard" in line for line in e.wired.lines)


def test_a_change_needs_those_who_are_in_line() -> None:
    e = Changing((1, 2, 3), spares=(4, 5))
    assert "NewConfigNoQuorumError" in e.ask((3, 4, 5))
    assert e.ask((1, 2, 3, 4)) == ""  # a quorum of these is there


def test_there_is_one_change_at_a_time() -> None:
    e = Changing((1, 2, 3), spares=(4,))
    assert e.ask((1, 2, 3), observers=(4,)) == ""
    assert "ReconfigInProgressError" in e.ask((1, 2))


def test_a_change_is_for_the_version_that_was_named() -> None:
    from zkcore.errors import BadVersionError, NotLeadingError

    e = Changing((1, 2, 3), spares=())
    e.become((2, 3))
    leader = e.leader
    assert leader is not None
    assert leader.next_zxid is not None
    version = leader.status().version
    with pytest.raises(BadVersionError, match=f"of version {version:#x}, not of 0x0"):
        leader.reconfigure(leader.next_zxid, A, expected=0)
    leader.reconfigure(leader.next_zxid, A, expected=version)
    with pytest.raises(NotLeadingError):
        e.wired.peer(1).reconfigure(1, A)


def test_who_was_away_while_all_others_were_replaced_finds_the_leader() -> None:
    e = Changing((1, 2, 3), spares=(4, 5))
    e.become((1, 2, 3), observers=(4, 5))
    e.wired.crash(1)
    e.become((1, 4, 5))
    e.wired.crash(2)
    e.wired.crash(3)
    e.wired.start(1)  # which knows of 1, 2 and 3 as voters
    assert e.wired.peer(1).status().config == EnsembleConfig((1, 2, 3), observers=(4, 5))
    assert run(e.wired, 3000, until=lambda: e.is_settled(EnsembleConfig((1, 4, 5))))


def test_new_voters_promise_to_whom_they_must_even_before_they_know() -> None:
    e = Changing((1,), spares=(2, 3))
    e.become((1,), observers=(2, 3))
    e.wired.unlink(1, 2)
    e.wired.unlink(1, 3)
    leader = e.leader
    assert leader is not None
    assert leader.next_zxid is not None
    e.wired.link(1, 2)
    e.wired.link(1, 3)
    assert run(e.wired, 3000, until=lambda: e.is_settled(EnsembleConfig((1,), observers=(2, 3))))
    assert e.ask((1, 2, 3)) == ""
    e.wired.crash(1)  # it alone has the record on disk
    e.wired.start(1)
    assert run(e.wired, 3000, until=lambda: e.is_settled(EnsembleConfig((1, 2, 3))))


def test_what_is_in_force_is_found_again_in_the_log() -> None:
    e = Changing((1, 2, 3), spares=(4,))
    e.become((1, 2, 3), observers=(4,))
    for me in (1, 2, 3, 4):
        e.wired.crash(me)
    for me in (1, 2, 3, 4):
        e.wired.start(me)
        assert e.wired.peer(me).status().config == EnsembleConfig((1, 2, 3), observers=(4,))


def test_a_learner_that_gets_a_snapshot_is_told_what_was_in_force_there() -> None:
    e = Changing((1, 2, 3), spares=(4,), limits=Limits(retained_records=1))
    e.become((1, 2, 3), observers=(4,))
    e.wired.crash(4)
    e.become((1, 2), observers=(4,))
    leader = e.leader
    assert leader is not None
    for payload in (b"a", b"b", b"c"):
        e.wired.propose(leader.status().me, [payload])
        run(e.wired, 5)
    for me in (1, 2):
        e.wired.snapshot(me)
    e.wired.wipe(4)
    e.wired.start(4)
    assert run(e.wired, 3000, until=lambda: e.is_settled(EnsembleConfig((1, 2), observers=(4,))))
    assert any("4 <- " in line and "SNAP at" in line and "members" in line for line in e.wired.lines)


def test_a_snapshot_may_say_that_one_is_no_member_any_more() -> None:
    storage = MemoryStorage()
    peer = Peer(3, Membership(7, EnsembleConfig((1, 2))), storage.load(), storage)
    assert "this node is no member since 0x0_00000007: it waits to be added again" in peer.explain()
    with pytest.raises(ConfigurationError, match="server 3 is not among the members"):
        Peer(3, EnsembleConfig((1, 2)), Saved(), storage)


def test_who_take_each_other_for_no_voter_answer_each_other_once() -> None:
    """3 votes for 2 by members that 3 is not among, and 2 has lost its weight: neither vote counts with the other."""
    before, now = EnsembleConfig((1, 2, 4)), EnsembleConfig((1, 2, 4), observers=(3,), weights={1: 0, 2: 0})
    two = Peer(2, Membership(9, now), Saved(base=9, last=9, snapshot=9), MemoryStorage())
    change = Transition(EnsembleConfig((1, 3, 4)), before)
    three = Peer(3, Membership(5, change), Saved(base=5, last=5, snapshot=5), MemoryStorage())
    peers = {2: two, 3: three}
    under_way: list[tuple[PeerId, PeerId, Message]] = []

    def drain(me: PeerId) -> None:
        while (ready := peers[me].drain()) is not NOTHING:
            under_way.extend((me, to, message) for to, message in (*ready.early, *ready.messages) if to in peers)

    three.report_linked(2)
    drain(3)
    three.receive(2, Vote(Role.LOOKING, 2, 9, 0, 1, membership=Membership(7, before)))
    drain(3)
    assert three.status().vote.leader == 2
    two.report_linked(3)
    drain(2)
    del under_way[0]  # what 3 said before 2 had heard of it
    for _ in range(20):
        if under_way:
            sender, to, message = under_way.pop(0)
            peers[to].receive(sender, message)
            drain(to)
    assert not under_way


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("sender", [3, 4])
def test_who_is_in_a_later_round_by_members_of_long_ago_is_met_there(sender: PeerId, damaged: bool) -> None:
    """Else it would take no notice of any vote, and never hear who the members are."""
    members = Membership(9, EnsembleConfig((1, 2, 3), observers=(4,)))
    peer = Peer(2, members, Saved(1, 1, base=9, last=9, snapshot=9), MemoryStorage())
    peer.report_linked(sender)
    said(peer)
    peer.receive(sender, Vote(Role.LOOKING, sender, 3, 1, 7, damaged=damaged))
    votes = [(vote.leader, vote.round) for vote in said(peer) if isinstance(vote, Vote)]
    assert votes == ([(2, 7)] if sender == 3 and not damaged else [])


# --- votes of those who vote no more


def looking(me: PeerId, config: EnsembleConfig, other: PeerId) -> Peer:
    """A peer that has these members in its log as 1_5, linked with another, and has told it its vote."""
    storage = MemoryStorage()
    storage.save([SaveEpochs(1, 1), Append(make_zxid(1, 1), (*[b"x"] * 4, configuration_record(config)))])
    peer = Peer(me, EnsembleConfig((1, 2, 3)), storage.load(), storage)
    peer.report_linked(other)
    said(peer)
    return peer


def said(peer: Peer) -> list[Message]:
    """What it sends, until there is nothing more."""
    sent: list[Message] = []
    while ready := peer.drain():
        sent += [message for _, message in (*ready.early, *ready.messages)]
    return sent


def test_who_votes_no_more_elects_nobody_who_knows_less_than_it_does() -> None:
    one = looking(1, EnsembleConfig((2, 3)), 2)
    one.receive(2, Vote(Role.LOOKING, 2, make_zxid(1, 4), 1, 1))
    assert said(one) == []  # 2 would have to give up on meeting it, and begin again
    one.receive(2, Vote(Role.LOOKING, 2, make_zxid(2, 1), 2, 1))
    assert [vote.leader for vote in said(one) if isinstance(vote, Vote)] == [2]


@pytest.mark.parametrize("damage", Damage)
def test_one_that_gets_a_weight_after_it_forgot_its_promises_does_not_count_at_once(damage: Damage) -> None:
    """It registered while it had none, and whoever gives no promises has forgotten none."""
    learner = LearnerView(False, True, 0)
    learner.damage = damage
    state: Any = SimpleNamespace(config=EnsembleConfig((1, 2, 3), weights={3: 0}))
    leader = changing.Changing(state, {3: learner}, {})
    assert leader.reseat(2) == []
    assert learner.counts
    state.config = EnsembleConfig((1, 2, 3))
    assert leader.reseat(2) == []
    assert learner.counts is (damage is Damage.LOG)
