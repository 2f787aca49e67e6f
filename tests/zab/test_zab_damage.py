"""A member whose disk lost something (protocol.md 1.14): when it counts, and when it does so again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dialogue import Dialogue, Z, batch, script, stored
from ensemble import Ensemble

from zkcore.errors import BadArgumentsError
from zkcore.storage.storage import MemoryStorage
from zkcore.zab.limits import Limits
from zkcore.zab.membership import Membership, configuration_record
from zkcore.zab.messages import (
    NOBODY,
    Ack,
    AckEpoch,
    Commit,
    Damage,
    Diff,
    FollowerInfo,
    HandOff,
    LeaderInfo,
    NewLeader,
    Ping,
    Proposal,
    Repaired,
    Role,
    SyncAck,
    UpToDate,
    Vote,
)
from zkcore.zab.quorum import EnsembleConfig, Transition
from zkcore.zab.ready import SaveEpochs

FIVE = (1, 2, 3, 4, 5)
LOOKING, FOLLOWING, LEADING = Role.LOOKING, Role.FOLLOWING, Role.LEADING
LIMITS = Limits()


def lost_log() -> MemoryStorage:
    """1_4 and 1_5 do not read back; that epoch 3 was accepted does."""
    storage = stored((1, 5), accepted=3)
    storage.lose(Z(1, 3))
    return storage


def lost_all() -> MemoryStorage:
    storage = stored((1, 5), accepted=3)
    storage.wipe()
    return storage


def damaged(storage: MemoryStorage) -> Dialogue:
    return Dialogue(1, storage=storage)


def leader_with_wiped(
    wiped: int = 2, *, followers: tuple[int, ...] = (1,), voters: tuple[int, ...] = (1, 2, 3)
) -> Dialogue:
    """The highest of `voters` leads epoch 1, established with `followers`; `wiped` has lost everything, and has just
    accepted the epoch."""
    leader = voters[-1]
    d = Dialogue(leader, voters=voters, linked=voters[:-1]).lead(*followers)
    d.bring_in(wiped, damage=Damage.EPOCHS)
    d.hears(wiped, Ack(Z(1, 0)))
    return d


def pings(d: Dialogue) -> int:
    """A round of PINGs leaves; its number."""
    d.ticks(LIMITS.ping_ticks)
    return max(message.round for other in d.others for message in d.said_to(other) if isinstance(message, Ping))


def counts(d: Dialogue, learner: int) -> bool:
    return next(each.counts for each in d.peer.status().learners if each.peer == learner)


# --- the election


@pytest.mark.parametrize("storage", [lost_log, lost_all])
def test_a_damaged_member_votes_for_nobody(storage: Callable[[], MemoryStorage]) -> None:
    d = damaged(storage())
    votes = [message for message in d.said_to(2) if isinstance(message, Vote)]
    assert {(vote.leader, vote.damaged) for vote in votes} == {(NOBODY, True)}


@pytest.mark.parametrize("storage", [lost_log, lost_all])
def test_a_damaged_member_follows_whom_a_quorum_votes_for(storage: Callable[[], MemoryStorage]) -> None:
    d = damaged(storage())
    d.hears(3, Vote(LOOKING, 3, 0, 0, 7))
    assert d.peer.role is LOOKING
    d.hears(2, Vote(LOOKING, 3, 0, 0, 7))
    assert d.peer.leader == 3
    assert Vote(FOLLOWING, 3, 0, 0, 7, damaged=True) in d.said_to(2)


@pytest.mark.parametrize("storage", [lost_log, lost_all])
def test_a_damaged_member_is_not_itself_one_of_the_quorum_that_it_joins(storage: Callable[[], MemoryStorage]) -> None:
    d = damaged(storage())
    d.hears(3, Vote(LEADING, 3, 0, 1, 7))
    assert d.peer.role is LOOKING
    d.hears(2, Vote(FOLLOWING, 3, 0, 1, 7))
    assert d.peer.leader == 3


@pytest.mark.parametrize("storage", [lost_log, lost_all])
def test_a_damaged_member_never_leads_whoever_says_so(storage: Callable[[], MemoryStorage]) -> None:
    d = damaged(storage())
    for other in (2, 3):
        d.hears(other, Vote(LOOKING, 1, Z(9, 9), 9, d.round))
        d.hears(other, Vote(FOLLOWING, 1, Z(9, 9), 9, d.round))
    d.ticks(200)
    assert d.peer.role is LOOKING


@pytest.mark.parametrize("state", [LOOKING, FOLLOWING])
def test_the_vote_of_a_damaged_member_is_not_counted(state: Role) -> None:
    d = Dialogue(3, linked=(1, 2))
    d.hears(1, Vote(state, 3, 0, 0, d.round, damaged=True))
    d.ticks(15)
    assert d.peer.role is LOOKING
    d.hears(2, Vote(state, 3, 0, 0, d.round))
    d.ticks(15)
    assert d.peer.role is LEADING


def test_a_damaged_follower_does_not_make_the_quorum_of_the_leader_it_has() -> None:
    d = Dialogue(1, voters=FIVE, linked=(2, 3, 4, 5))
    d.hears(5, Vote(LEADING, 5, 0, 1, 7))
    d.hears(4, Vote(FOLLOWING, 5, 0, 1, 7, damaged=True))
    assert d.peer.role is LOOKING
    d.hears(3, Vote(FOLLOWING, 5, 0, 1, 7))
    assert d.peer.leader == 5


def test_a_damaged_member_that_looks_is_told_who_is_wanted_or_leads() -> None:
    asked = Vote(LOOKING, NOBODY, 0, 0, 1, damaged=True)
    d = Dialogue(3, linked=(1, 2))
    assert "VOTE LOOKING for 3" in d.hears(1, asked)
    d.lead(2)
    assert "VOTE LEADING for 3" in d.hears(1, asked)


def test_a_sole_voter_that_lost_everything_never_leads() -> None:
    for storage in (lost_log(), lost_all()):
        d = Dialogue(1, voters=(1,), linked=(), storage=storage)
        d.ticks(1000)
        assert d.peer.role is LOOKING
        assert d.storage.load().damage is not None


def test_of_two_voters_both_are_needed_whole() -> None:
    # the other may have promised, or acknowledged, anything to the one whose disk is gone
    ensemble = Ensemble((1, 2), {1: stored((1, 3)), 2: lost_all()})
    for _ in range(300):
        ensemble.step()
        assert {host.peer.role for host in ensemble.hosts.values() if host.peer is not None} == {LOOKING}


# --- promises


@pytest.mark.parametrize("storage", [lost_log, lost_all])
def test_a_damaged_member_promises_nothing(storage: Callable[[], MemoryStorage]) -> None:
    d = damaged(storage()).follow(3)
    before = d.storage.load()
    said = d.hears(3, LeaderInfo(7))
    assert said.startswith("message   3  ACKEPOCH current=- last=")
    assert said.endswith(f"lost its {before.damage}")
    assert d.storage.load() == before


def test_a_member_that_knows_its_epochs_still_refuses_an_earlier_one() -> None:
    d = damaged(lost_log()).follow(3)
    d.hears(3, LeaderInfo(2))
    assert "3 is accepted" in d.roles[-1]


@pytest.mark.parametrize("damage", Damage)
def test_the_answer_of_a_damaged_member_is_no_promise_to_the_leader(damage: Damage) -> None:
    d = Dialogue(3, linked=(1, 2), storage=stored((1, 2))).stand()
    d.hears(1, FollowerInfo(1))
    d.hears(1, AckEpoch(None, Z(1, 9), 0, (Z(1, 9),), damage=damage))  # nor does its longer log unseat anybody
    assert (d.peer.role, d.peer.epoch) == (LEADING, 1)
    d.hears(2, FollowerInfo(1))
    d.hears(2, d.ack_epoch(1))
    assert d.peer.epoch == 2


# --- the log was lost, and the epochs are known


def test_a_lost_log_is_whole_again_with_newleader() -> None:
    d = damaged(lost_log()).follow(3)
    d.hears(3, LeaderInfo(7))
    d.hears(3, Diff(Z(1, 3)), batch(1, 4, 5))
    assert d.storage.load().damage is Damage.LOG
    assert d.hears(3, NewLeader(7)) == script("""
        write     EPOCHS accepted=7 current=7
        write     REPAIR
        message   3  ACK 0x7_00000000""")
    assert d.storage.load().damage is None
    assert d.peer.status().damage is None
    d.hears(3, UpToDate(Z(1, 5)))
    assert "damaged" not in d.hears(2, Vote(LOOKING, 2, 0, 0, 1))


def test_a_crash_before_the_repair_leaves_the_damage() -> None:
    for kept in (0, 1):
        d = damaged(lost_log()).follow(3)
        d.hears(3, LeaderInfo(7))
        d.hears(3, Diff(Z(1, 3)), batch(1, 4, 5))
        d.peer.receive(3, NewLeader(7))
        writes = d.peer.drain().writes
        assert isinstance(writes[0], SaveEpochs)
        d.storage.save_prefix(writes, kept)
        again = damaged(d.storage)
        assert again.peer.status().damage is Damage.LOG


def test_a_leader_lost_before_newleader_leaves_the_damage() -> None:
    d = damaged(lost_log()).follow(3)
    d.hears(3, LeaderInfo(7))
    d.hears(3, Diff(Z(1, 3)), batch(1, 4, 5))
    d.relinked(3)
    assert d.storage.load().damage is Damage.LOG
    d.follow(2)
    assert "lost its LOG" in d.hears(2, LeaderInfo(8))


def test_who_has_its_log_again_counts_and_may_take_over() -> None:
    d = Dialogue(3, linked=(1, 2)).lead(1)
    d.proposes(b"x")
    d.bring_in(2, damage=Damage.LOG)
    with pytest.raises(BadArgumentsError):
        d.peer.transfer(2)
    d.hears(2, Ack(Z(1, 0)))
    assert d.peer.last_committed == Z(1, 1)  # what it was sent before NEWLEADER
    assert HandOff(2, 1) not in d.said_to(2)
    d.peer.transfer(2)
    assert "HANDOFF to 2" in d.drain()


# --- the epochs were lost


def test_who_lost_its_epochs_accepts_one_and_remains_damaged() -> None:
    d = damaged(lost_all()).join(3, epoch=4)
    assert (d.storage.load().accepted_epoch, d.storage.load().current_epoch) == (4, 4)
    assert d.peer.status().damage is d.storage.load().damage is Damage.EPOCHS
    assert d.hears(3, batch(4, 1), Commit(Z(4, 1))).count("ACK 0x4_00000001") == 1
    assert d.delivered == [b"4.1"]


def test_its_acknowledgements_commit_nothing() -> None:
    d = leader_with_wiped()
    d.proposes(b"x")
    d.hears(2, Ack(Z(1, 1)))
    assert d.peer.last_committed == 0
    d.hears(1, Ack(Z(1, 1)))
    assert d.peer.last_committed == Z(1, 1)


def test_its_acceptance_of_the_epoch_does_not_establish_it() -> None:
    d = Dialogue(5, voters=FIVE, linked=(1, 2, 3, 4)).stand().promise(1, 2)
    d.bring_in(3, damage=Damage.EPOCHS)
    for learner in (1, 3):
        d.hears(learner, Ack(Z(1, 0)))
    assert not d.peer.established
    d.hears(2, Ack(Z(1, 0)))
    assert d.peer.established


def test_its_answers_keep_no_leader_in_office_and_prove_no_read() -> None:
    d = leader_with_wiped()
    d.peer.read_index("q")
    d.drain()
    for _ in range(4):
        d.hears(2, Ping(pings(d)))
    d.hears(2, Ping(1))
    d.ticks(1)
    assert d.peer.role is LOOKING
    assert "read index dropped" in [str(event) for event in d.events]


def test_it_is_fed_and_told_of_commits_all_the_same() -> None:
    d = leader_with_wiped()
    assert UpToDate(0) in d.said_to(2)
    assert "early     2  PROPOSAL 0x1_00000001" in d.proposes(b"x")
    assert "early     2  COMMIT 0x1_00000001" in d.hears(1, Ack(Z(1, 1)))


def test_it_counts_again_when_every_other_voter_answered_a_ping_sent_since() -> None:
    d = leader_with_wiped()
    d.proposes(b"x")
    d.hears(2, Ack(Z(1, 1)))
    assert not counts(d, 2)
    said = d.hears(1, Ping(pings(d)))
    assert "message   2  REPAIRED epoch=1" in said
    assert counts(d, 2)
    assert d.peer.last_committed == Z(1, 1)  # with what it had acknowledged before


def test_the_round_of_pings_that_it_waits_for_leaves_at_once() -> None:
    assert "early     1  PING" in leader_with_wiped().ticks(1)


def test_an_answer_to_a_ping_that_was_sent_before_is_not_enough() -> None:
    d = Dialogue(3, linked=(1, 2)).lead(1)
    number = pings(d)
    d.bring_in(2, damage=Damage.EPOCHS)
    d.hears(2, Ack(Z(1, 0)))
    assert "REPAIRED" not in d.hears(1, Ping(number))
    assert not counts(d, 2)


def test_every_other_voter_must_be_heard() -> None:
    d = leader_with_wiped(4, followers=(1, 2, 3), voters=FIVE)
    number = pings(d)
    assert "REPAIRED" not in d.hears(1, Ping(number))
    assert "REPAIRED" not in d.hears(2, Ping(number))
    assert "REPAIRED" not in d.hears(2, Ping(number))
    assert "message   4  REPAIRED epoch=1" in d.hears(3, Ping(number))


def test_as_long_as_one_voter_stays_away_it_does_not_count() -> None:
    d = leader_with_wiped(4, followers=(1, 2), voters=FIVE)
    for _ in range(8):
        number = pings(d)
        for follower in (1, 2, 4):
            d.hears(follower, Ping(number))
    assert not counts(d, 4)
    d.bring_in(3)
    number = pings(d)
    assert "REPAIRED" not in d.hears(3, Ping(number))  # it has not accepted the epoch itself
    d.hears(3, Ack(Z(1, 0)))
    assert "message   4  REPAIRED epoch=1" in d.hears(3, Ping(pings(d)))


def test_nobody_waits_for_a_voter_that_nobody_promises_anything() -> None:
    config = EnsembleConfig((1, 2, 3, 4), weights={4: 0})
    d = Dialogue(3, config=config, linked=(1, 2))
    d.hears(1, d.vote(LOOKING, 3))
    d.hears(2, d.vote(LOOKING, 3))
    d.ticks(10)
    d.promise(1)
    d.hears(1, Ack(Z(1, 0)))
    d.bring_in(2, damage=Damage.EPOCHS)
    d.hears(2, Ack(Z(1, 0)))
    assert "message   2  REPAIRED epoch=1" in d.hears(1, Ping(pings(d)))


def test_two_that_forgot_wait_for_each_other_and_are_both_repaired() -> None:
    d = leader_with_wiped(4, followers=(1, 2), voters=FIVE)
    d.bring_in(3, damage=Damage.EPOCHS)
    d.hears(3, Ack(Z(1, 0)))
    number = pings(d)
    for follower in (1, 2, 3):
        d.hears(follower, Ping(number))
    assert (counts(d, 3), counts(d, 4)) == (False, True)
    d.hears(4, Ping(number))
    assert counts(d, 3)


def test_who_comes_back_before_it_was_repaired_begins_to_wait_anew() -> None:
    d = leader_with_wiped()
    number = pings(d)
    d.relinked(2)
    assert "REPAIRED" not in d.hears(1, Ping(number))
    d.bring_in(2, damage=Damage.EPOCHS)
    d.hears(2, Ack(Z(1, 0)))
    assert "REPAIRED" not in d.hears(1, Ping(number))
    assert "message   2  REPAIRED epoch=1" in d.hears(1, Ping(pings(d)))


def test_a_new_leader_begins_to_wait_anew() -> None:
    d = damaged(lost_all()).join(3, epoch=4)
    d.relinked(3)
    assert "damaged" in str(d.said_to(2)[-1])
    d.follow(2)
    assert d.hears(2, LeaderInfo(5)).endswith("lost its EPOCHS")


def test_nobody_that_forgot_takes_over() -> None:
    d = leader_with_wiped()
    with pytest.raises(BadArgumentsError, match="server 2 cannot take over"):
        d.peer.transfer(2)
    d.hears(1, Ping(pings(d)))
    d.peer.transfer(2)
    assert HandOff(2, 1) in [message for _, message in d.peer.drain().messages]
    d = damaged(lost_all()).join(3, epoch=4)
    d.hears(3, HandOff(1, 4))
    assert d.rejected == [3]


def test_repaired_makes_whole_and_is_written_down() -> None:
    d = damaged(lost_all()).join(3, epoch=4)
    assert d.hears(3, Repaired(4)) == "write     REPAIR"
    assert d.storage.load().damage is None
    assert d.peer.status().damage is None
    assert "damaged" not in d.hears(2, Vote(LOOKING, 2, 0, 0, 1))
    d.relinked(3)
    assert "VOTE LOOKING for 1" in str(d.said_to(2)[-1])


def test_repaired_may_come_before_uptodate() -> None:
    d = damaged(lost_all()).follow(3)
    d.hears(3, LeaderInfo(4))
    d.hears(3, Diff(0), NewLeader(4))
    assert d.hears(3, Repaired(4)) == "write     REPAIR"


@pytest.mark.parametrize("case", ["another epoch", "not damaged", "twice", "before NEWLEADER"])
def test_repaired_out_of_turn_is_refused(case: str) -> None:
    d = damaged(MemoryStorage() if case == "not damaged" else lost_all()).follow(3)
    d.hears(3, LeaderInfo(4))
    d.hears(3, Diff(0))
    if case != "before NEWLEADER":
        d.hears(3, NewLeader(4))
    if case == "twice":
        d.hears(3, Repaired(4))
        assert d.rejected == []
    d.hears(3, Repaired(5 if case == "another epoch" else 4))
    assert d.rejected == [3]


# --- one that gives no promises


def test_an_observer_that_lost_everything_is_whole_when_its_leader_says_so() -> None:
    storage = MemoryStorage()
    storage.wipe()
    config = EnsembleConfig((1, 2, 3), observers=(4,))
    d = Dialogue(4, config=config, linked=(1, 2, 3), storage=storage).join(3, epoch=4)
    assert d.peer.status().damage is Damage.EPOCHS
    assert d.hears(3, Repaired(4)) == "write     REPAIR"
    assert d.peer.status().damage is None


def test_its_leader_says_so_at_once() -> None:
    d = Dialogue(3, config=EnsembleConfig((1, 2, 3), observers=(4,)), linked=(1, 2, 4)).lead(1)
    d.bring_in(4, damage=Damage.EPOCHS)
    assert d.hears(4, Ack(Z(1, 0))) == script("""
        message   4  REPAIRED epoch=1
        message   4  UPTODATE committed=0x0_00000000""")


@pytest.mark.parametrize("damage", [None, Damage.LOG])
def test_one_that_forgot_no_promise_is_told_nothing(damage: Damage | None) -> None:
    d = Dialogue(3, config=EnsembleConfig((1, 2, 3), observers=(4,)), linked=(1, 2, 4)).lead(1)
    for peer in (2, 4):
        d.bring_in(peer, damage=damage)
        d.hears(peer, Ack(Z(1, 0)))
        assert Repaired(1) not in d.said_to(peer)


def test_one_that_its_own_log_makes_a_voter_still_is_whole_when_its_leaders_makes_it_none() -> None:
    """The leader's new members are not committed yet, and nobody else hears of them before."""
    d = Dialogue(4, voters=(1, 2, 3, 4), linked=(1, 2, 3)).lead(2, 3)
    first = d.peer.next_zxid
    assert first is not None
    members = EnsembleConfig((2, 3, 4), observers=(1,))
    d.peer.reconfigure(first, members)
    d.drain()
    for follower in (2, 3):
        d.hears(follower, Ack(first))  # the second record leaves with that
    assert d.peer.membership == Membership(first + 1, members)
    assert d.peer.last_committed == first
    d.bring_in(1, damage=Damage.EPOCHS)
    d.hears(1, SyncAck(first))
    assert "message   1  REPAIRED epoch=1" in d.hears(1, Ack(Z(1, 0)))


def test_one_that_may_come_to_a_weight_waits_for_its_leaders_word() -> None:
    """By its own log it gives no promises. The leader's log knows of other members, which it has not got yet."""
    config = EnsembleConfig((1, 2, 3, 4), weights={4: 0})
    storage = MemoryStorage()
    storage.wipe()
    d = Dialogue(4, config=config, linked=(1, 2, 3), storage=storage).join(3, epoch=4)
    d.hears(3, Proposal(Z(4, 1), (configuration_record(Transition(config, EnsembleConfig((1, 2, 3, 4)))),)))
    assert "damaged" in d.hears(2, Vote(LOOKING, 2, 0, 0, 1))
    assert d.hears(3, Repaired(4)) == "write     REPAIR"
    assert d.rejected == []


# --- among themselves


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("how", ["tail", "log", "disk"])
def test_a_damaged_member_is_taken_back_and_counts_and_leads_again(size: int, how: str) -> None:
    ensemble = Ensemble(range(1, size + 1))
    ensemble.run(ensemble.all_serve)
    words = [b"w%d" % number for number in range(6)]
    for word in words:
        ensemble.propose(word)
        ensemble.run(lambda: ensemble.leader is not None)
    ensemble.run(lambda: ensemble.all_have(words))
    ensemble.crash(1)
    storage = ensemble.hosts[1].storage
    if how == "disk":
        storage.wipe()
    else:
        storage.lose(Z(1, 4) if how == "tail" else 0)
    ensemble.run(ensemble.all_serve)
    ensemble.start(1)
    ensemble.run(lambda: ensemble.all_serve() and storage.load().damage is None)
    ensemble.run(lambda: ensemble.all_have(words))
    for member in range(size, size - size // 2, -1):
        ensemble.crash(member)  # so many that the one that was damaged is needed
    ensemble.run(lambda: ensemble.leader is not None and ensemble.all_serve())
    ensemble.propose(b"more")
    ensemble.run(lambda: ensemble.all_have([*words, b"more"]))


def test_what_was_committed_is_not_forgotten_with_the_disk_that_held_it() -> None:
    # 1 and 3 committed; then the disk of 1 is lost and 3 is down: 2, which has nothing, must not begin without them
    ensemble = Ensemble((1, 2, 3))
    ensemble.run(ensemble.all_serve)
    ensemble.crash(2)
    ensemble.run(ensemble.all_serve)
    ensemble.propose(b"a")
    ensemble.run(lambda: ensemble.all_have([b"a"]))
    ensemble.crash(1)
    ensemble.hosts[1].storage.wipe()
    ensemble.crash(3)
    ensemble.start(1)
    ensemble.start(2)
    for _ in range(300):
        ensemble.step()
        assert ensemble.leader is None
    ensemble.start(3)
    ensemble.run(lambda: ensemble.all_serve() and ensemble.all_have([b"a"]))


def test_proposals_reach_who_lost_its_epochs_like_everybody() -> None:
    d = leader_with_wiped()
    d.proposes(b"x")
    assert Proposal(Z(1, 1), (b"x",)) in d.said_to(2)
