"""A checker that cannot fail proves nothing: for every invariant, a history made by hand that breaks it.

Each case begins with the same lawful history of three voters and an observer: node 1 leads epoch 1, followed by 2,
while 3 and the observer, 4, are up and linked to nobody; two transactions are committed and delivered at 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zkcore.testing.checkers import Oracle, Violation
from zkcore.zab.membership import configuration_record
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Commit,
    Damage,
    Diff,
    HandOff,
    LeaderInfo,
    Message,
    NewLeader,
    Proposal,
    Role,
    Snap,
    SnapAck,
    SyncAck,
    Trunc,
    UpToDate,
)
from zkcore.zab.quorum import Configuration, EnsembleConfig, Transition
from zkcore.zab.ready import (
    Append,
    Compact,
    Delivered,
    InstallSnapshot,
    PeerRejected,
    Repair,
    Restored,
    RoleChanged,
    Saved,
    SaveEpochs,
    SnapshotChunk,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid, make_zxid


def z(epoch: int, counter: int) -> Zxid:
    return make_zxid(epoch, counter)


class History:
    """What happens to three voters and an observer, told to an Oracle step by step."""

    def __init__(self, without: frozenset[str] = frozenset()) -> None:
        self.oracle = Oracle(EnsembleConfig((1, 2, 3), observers=(4,)), window_bytes=100, without=without)
        for node in (1, 2, 3, 4):
            self.oracle.started(node, Saved())
        self.win(1, 1, follower=2)
        for node in (1, 2):
            self.save(node, Append(z(1, 1), (b"a", b"b")))
        self.send(1, 2, Proposal(z(1, 1), (b"a", b"b")))
        self.send(2, 1, Ack(z(1, 2)))
        self.send(1, 2, Commit(z(1, 2)))
        for node in (1, 2):
            self.oracle.told(node, Delivered(z(1, 1), (b"a", b"b")))

    def save(self, node: int, *writes: Write) -> None:
        for write in writes:
            self.oracle.wrote(node, write)
        self.oracle.save_ended(node)

    def send(self, node: int, to: int, *messages: Message) -> None:
        for message in messages:
            self.oracle.sent(node, to, message)

    def ack_epoch(self, node: int, current: int | None) -> AckEpoch:
        durable = self.oracle.durable[node]
        return AckEpoch(current, durable.last, durable.snapshot, durable.epoch_ends(durable.snapshot))

    def promise(self, leader: int, epoch: int, follower: int) -> None:
        """`leader` proposes `epoch`, and `follower` accepts it."""
        durable = self.oracle.durable
        self.oracle.linked(leader, follower)
        self.oracle.told(leader, RoleChanged(Role.LEADING, leader, durable[leader].current, False, "elected"))
        self.oracle.told(follower, RoleChanged(Role.FOLLOWING, leader, durable[follower].current, False, "elected"))
        self.save(leader, SaveEpochs(epoch, durable[leader].current))
        self.send(leader, follower, LeaderInfo(epoch))
        self.save(follower, SaveEpochs(epoch, durable[follower].current))
        self.send(follower, leader, self.ack_epoch(follower, durable[follower].current))

    def sync(self, leader: int, epoch: int, follower: int) -> None:
        """A synchronisation in which the follower has everything already."""
        self.save(leader, SaveEpochs(epoch, epoch))
        self.send(leader, follower, Diff(self.oracle.durable[follower].last), NewLeader(epoch))
        self.save(follower, SaveEpochs(epoch, epoch))
        self.send(follower, leader, Ack(z(epoch, 0)))

    def win(self, leader: int, epoch: int, *, follower: int) -> None:
        self.promise(leader, epoch, follower)
        self.sync(leader, epoch, follower)
        last = self.oracle.durable[leader].last
        self.send(leader, follower, UpToDate(last))
        self.oracle.told(leader, RoleChanged(Role.LEADING, leader, epoch, True, "a quorum holds the history"))

    def snapshot_of(self, node: int, zxid: Zxid) -> None:
        self.save(node, SnapshotChunk(SnapshotRef(zxid), 0, b"state"), InstallSnapshot(SnapshotRef(zxid), 5))


def epochs_go_back(h: History) -> None:
    h.save(1, SaveEpochs(0, 0))


def current_beyond_accepted(h: History) -> None:
    h.save(1, SaveEpochs(1, 2))


def record_beyond_the_current_epoch(h: History) -> None:
    h.oracle.established[2] = 3
    h.save(3, Append(z(2, 1), (b"x",)))


def gap_in_a_log(h: History) -> None:
    h.save(1, Append(z(1, 4), (b"x",)))


def delivered_before_durable(h: History) -> None:
    h.oracle.told(3, Delivered(z(1, 1), (b"a",)))


def snapshot_of_the_uncommitted(h: History) -> None:
    h.save(1, Append(z(1, 3), (b"c",)), Compact(SnapshotRef(z(1, 3))))


def snapshot_of_the_undelivered(h: History) -> None:
    h.save(3, SaveEpochs(1, 1), Append(z(1, 1), (b"a", b"b")), Compact(SnapshotRef(z(1, 1))))


def snapshot_with_a_piece_missing(h: History) -> None:
    h.save(3, SnapshotChunk(SnapshotRef(z(1, 2)), 0, b"sta"), InstallSnapshot(SnapshotRef(z(1, 2)), 5))


def snapshot_with_a_hole(h: History) -> None:
    h.save(3, SnapshotChunk(SnapshotRef(z(1, 2)), 0, b"sta"), SnapshotChunk(SnapshotRef(z(1, 2)), 4, b"e"))


def sends_an_uncommitted_snapshot(h: History) -> None:
    h.send(1, 3, Snap(z(1, 3)))


def restores_the_uncommitted(h: History) -> None:
    h.oracle.told(3, Restored(SnapshotRef(z(1, 3))))


def restores_the_past(h: History) -> None:
    h.oracle.told(1, Restored(SnapshotRef(z(1, 1))))


def acknowledges_what_is_not_durable(h: History) -> None:
    h.send(1, 2, Proposal(z(1, 3), (b"c",)))
    h.send(2, 1, Ack(z(1, 3)))


def acknowledges_an_epoch_not_durable(h: History) -> None:
    h.send(3, 1, Ack(z(1, 0)))


def acknowledges_what_a_crash_would_undo(h: History) -> None:
    """Records of a synchronisation count only once their epoch is current."""
    h.oracle.wrote(3, Append(z(1, 1), (b"a",)))
    h.oracle.talk._links[3, 1].acked = z(1, 0)
    h.send(3, 1, Ack(z(1, 1)))


def proposes_an_epoch_not_durable(h: History) -> None:
    h.send(1, 2, LeaderInfo(2))


def promises_an_epoch_not_durable(h: History) -> None:
    h.save(1, SaveEpochs(2, 1))
    h.send(1, 2, LeaderInfo(2))
    h.send(2, 1, h.ack_epoch(2, 1))


def describes_a_log_it_does_not_have(h: History) -> None:
    h.save(1, SaveEpochs(2, 1))
    h.send(1, 2, LeaderInfo(2))
    h.save(2, SaveEpochs(2, 1))
    h.send(2, 1, AckEpoch(1, z(1, 3), 0, (z(1, 3),)))


def describes_an_epoch_it_is_not_in(h: History) -> None:
    h.save(1, SaveEpochs(2, 1))
    h.send(1, 2, LeaderInfo(2))
    h.save(2, SaveEpochs(2, 1))
    h.send(2, 1, h.ack_epoch(2, 0))


def acknowledges_a_piece_not_durable(h: History) -> None:
    h.send(1, 3, Snap(z(1, 2)))
    h.send(3, 1, SnapAck(5))


def cuts_what_is_committed(h: History) -> None:
    h.oracle.started(2, Saved(1, 1, 0, z(1, 2), (z(1, 2),)))  # nothing delivered yet, in this incarnation
    h.save(2, Truncate(z(1, 1)))


def cuts_at_a_record_it_has_not(h: History) -> None:
    h.save(2, Truncate(z(1, 7)))


def cuts_below_what_it_delivered(h: History) -> None:
    h.oracle.durable[2].zxids.pop()  # so that the record itself is not there to be missed
    h.save(2, Truncate(z(1, 1)))


def rejects_a_correct_peer(h: History) -> None:
    h.oracle.told(1, PeerRejected(2, "out of turn"))


def accepts_an_epoch_nobody_proposed(h: History) -> None:
    h.oracle.linked(1, 2)
    h.send(2, 1, h.ack_epoch(2, 1))


def proposes_with_a_gap(h: History) -> None:
    h.send(1, 2, Proposal(z(1, 4), (b"x",)))


def proposes_before_synchronisation(h: History) -> None:
    h.send(1, 3, Proposal(z(1, 1), (b"a",)))


def commits_what_was_not_proposed_there(h: History) -> None:
    h.save(1, Append(z(1, 3), (b"c",)))
    h.send(1, 2, Commit(z(1, 3)))


def acknowledges_again(h: History) -> None:
    h.send(2, 1, Ack(z(1, 2)))


def accepts_the_epoch_again(h: History) -> None:
    h.send(2, 1, Ack(z(1, 0)))


def acknowledges_before_the_epoch(h: History) -> None:
    h.oracle.linked(1, 2)
    h.send(2, 1, Ack(z(1, 2)))


def two_lead_one_epoch(h: History) -> None:
    h.oracle.told(2, RoleChanged(Role.LEADING, 2, 1, True, "a quorum holds the history"))


def leads_without_promises(h: History) -> None:
    h.save(3, SaveEpochs(2, 2))
    h.send(3, 1, NewLeader(2))


def two_payloads_for_one_zxid(h: History) -> None:
    h.save(3, SaveEpochs(1, 1), Append(z(1, 1), (b"A",)))


def record_from_nowhere(h: History) -> None:
    h.save(2, Append(z(1, 3), (b"c",)))


def proposes_for_somebody_else(h: History) -> None:
    h.oracle.linked(2, 3)
    h.send(2, 3, Diff(z(1, 2)), Proposal(z(1, 3), (b"c",)))


def delivers_another_payload(h: History) -> None:
    h.save(3, SaveEpochs(1, 1), Append(z(1, 1), (b"a",)))
    h.oracle.told(3, Delivered(z(1, 1), (b"A",)))


def delivers_what_is_not_committed(h: History) -> None:
    h.save(1, Append(z(1, 3), (b"c",)))
    h.save(2, Append(z(1, 3), (b"c",)))
    h.oracle.told(2, Delivered(z(1, 3), (b"c",)))


def delivers_twice(h: History) -> None:
    h.oracle.told(1, Delivered(z(1, 2), (b"b",)))


def leaves_one_out(h: History) -> None:
    h.save(3, SaveEpochs(1, 1), Append(z(1, 1), (b"a", b"b")))
    h.oracle.told(3, Delivered(z(1, 2), (b"b",)))


def wins_without_what_is_committed(h: History) -> None:
    h.save(3, SaveEpochs(2, 2))  # so that it outranks those who have it
    h.promise(3, 3, 2)
    h.sync(3, 3, 2)


def wins_behind_one_that_promised(h: History) -> None:
    h.promise(3, 2, 2)
    h.sync(3, 2, 2)


def accepts_the_epoch_without_its_history(h: History) -> None:
    h.promise(1, 2, 3)
    h.save(1, SaveEpochs(2, 2))
    h.send(1, 3, Diff(0), Proposal(z(1, 1), (b"a", b"b")), NewLeader(2))
    h.save(3, Append(z(1, 1), (b"a",)), SaveEpochs(2, 2))
    h.send(3, 1, Ack(z(2, 0)))


def makes_an_epoch_current_without_its_history(h: History) -> None:
    h.save(3, SaveEpochs(2, 2))


def counts_again_before_all_others_were_heard(h: History) -> None:
    wiped(h, 2)
    h.snapshot_of(2, z(1, 2))
    h.save(2, SaveEpochs(1, 1), Repair())


def brought_in_line(h: History, node: int) -> None:
    """`node` was wiped, and counts again in epoch 1."""
    wiped(h, node)
    h.snapshot_of(node, z(1, 2))
    h.save(node, SaveEpochs(1, 1), Repair())


def promises_again_what_another_may_count_on(h: History) -> None:
    h.promise(1, 2, 3)
    brought_in_line(h, 3)
    h.promise(2, 2, 3)


def floods_a_learner(h: History) -> None:
    h.send(1, 2, Proposal(z(1, 3), (bytes(100),)), Proposal(z(1, 4), (b"one too many",)))


def leaves_an_interrupted_synchronisation_in_the_log(h: History) -> None:
    h.oracle.wrote(3, Append(z(1, 1), (b"a",)))
    h.oracle.started(3, Saved(0, 0, 0, z(1, 1), (z(1, 1),)))
    h.save(3, SaveEpochs(1, 0))


def forgets_more_than_the_snapshot_has(h: History) -> None:
    h.save(1, Compact(SnapshotRef(z(1, 1)), z(1, 2)))


def cuts_its_snapshot(h: History) -> None:
    h.save(1, Compact(SnapshotRef(z(1, 2)), z(1, 1)))
    h.save(1, Truncate(z(1, 1)))


def says_more_than_it_saved_of_the_history(h: History) -> None:
    h.send(1, 3, Diff(0), Proposal(z(1, 1), (b"a", b"b")))
    h.save(3, Append(z(1, 1), (b"a",)))
    h.send(3, 1, SyncAck(z(1, 2)))


def says_again_what_it_saved_of_the_history(h: History) -> None:
    h.send(1, 3, Diff(0), Proposal(z(1, 1), (b"a", b"b")))
    h.save(3, Append(z(1, 1), (b"a",)))
    h.send(3, 1, SyncAck(z(1, 1)), SyncAck(z(1, 1)))


def hands_over_what_is_not_committed(h: History) -> None:
    h.save(1, Append(z(1, 3), (b"c",)))
    h.send(1, 2, HandOff(2, 1))


def an_observer_gets_what_is_not_committed(h: History) -> None:
    h.save(1, Append(z(1, 3), (b"c",)))
    h.send(1, 4, Diff(z(1, 2)), Proposal(z(1, 3), (b"c",)))


def an_observer_promises(h: History) -> None:
    h.promise(1, 2, 4)


def wiped(h: History, node: int) -> None:
    saved = Saved(damage=Damage.EPOCHS)
    h.oracle.damaged(node, saved, [])
    h.oracle.started(node, saved)


def a_damaged_disk_promises(h: History) -> None:
    wiped(h, 3)
    h.oracle.linked(1, 3)
    h.send(1, 3, LeaderInfo(1))
    h.save(3, SaveEpochs(1, 0))
    h.send(3, 1, AckEpoch(0, 0, 0, (), None, Damage.EPOCHS))


def a_damaged_disk_is_not_mentioned(h: History) -> None:
    wiped(h, 3)
    h.oracle.linked(1, 3)
    h.send(1, 3, LeaderInfo(1))
    h.send(3, 1, AckEpoch(None, 0, 0, ()))


def a_damaged_disk_counts_again_without_what_it_had(h: History) -> None:
    wiped(h, 2)
    h.save(2, SaveEpochs(2, 2), Repair())


def forgets_that_it_was_damaged(h: History) -> None:
    saved = Saved(damage=Damage.EPOCHS)
    h.oracle.damaged(2, saved, [])
    h.oracle.started(2, Saved())


def serves_without_what_is_committed(h: History) -> None:
    h.save(3, SaveEpochs(2, 2))
    h.oracle.established[2] = 3
    h.oracle.told(3, RoleChanged(Role.LEADING, 3, 2, True, "a quorum holds the history"))


def commits_in_a_log_without_what_is_committed(h: History) -> None:
    for node in (1, 2):
        h.save(node, Append(z(1, 3), (b"c",)))
        h.oracle.durable[node].zxids.remove(z(1, 2))
    h.oracle.commit(1, z(1, 3))


def commits_what_a_later_leader_lacks(h: History) -> None:
    h.promise(2, 2, 3)
    h.sync(2, 2, 3)
    h.save(1, Append(z(1, 3), (b"c",)))
    h.save(3, SnapshotChunk(SnapshotRef(z(1, 2)), 0, b"s"), InstallSnapshot(SnapshotRef(z(1, 2)), 1))
    h.save(3, Append(z(1, 3), (b"c",)))
    h.oracle.commit(1, z(1, 3))


def commits_without_a_quorum(h: History) -> None:
    h.send(1, 2, Proposal(z(1, 3), (b"c",)))
    h.save(1, Append(z(1, 3), (b"c",)))
    h.send(1, 2, Commit(z(1, 3)))


def loses_the_quorum(h: History) -> None:
    h.save(1, Append(z(1, 3), (b"c",)))
    h.save(2, Append(z(1, 3), (b"c",)))
    h.oracle.commit(1, z(1, 3))
    h.snapshot_of(2, z(1, 2))



def commits_for_a_past_epoch(h: History) -> None:
    h.oracle.tag = 2
    h.save(1, Append(z(1, 3), (b"c",)))
    h.save(2, Append(z(1, 3), (b"c",)))
    h.oracle.commit(1, z(1, 3))


def commits_what_was_passed_over(h: History) -> None:
    h.oracle.committed.remove(z(1, 1))
    h.oracle.commit(1, z(1, 1))


def logs_part_and_meet_again(h: History) -> None:
    h.oracle.established[2] = 1
    h.save(1, SaveEpochs(2, 2), Append(z(2, 1), (b"x",)))
    h.save(3, SaveEpochs(2, 2), Append(z(2, 1), (b"x",)))


def promises_twice(h: History) -> None:
    h.promise(1, 2, 3)
    h.oracle.linked(1, 3)
    h.send(1, 3, LeaderInfo(2))
    h.send(3, 1, h.ack_epoch(3, 0))


def promises_to_two(h: History) -> None:
    h.promise(1, 2, 3)
    h.promise(2, 2, 3)


def promises_itself_what_it_promised_another(h: History) -> None:
    h.promise(1, 2, 2)
    h.send(2, 3, LeaderInfo(2))


def proposes_one_epoch_in_two_terms(h: History) -> None:
    h.promise(1, 2, 2)
    h.oracle.told(1, RoleChanged(Role.LOOKING, None, 1, False, "gave up"))
    h.oracle.told(1, RoleChanged(Role.LEADING, 1, 1, False, "elected"))
    h.send(1, 3, LeaderInfo(2))


def state_differs(h: History) -> None:
    h.oracle.check_state(2, z(1, 2), 12345)


def loads_less_than_was_saved(h: History) -> None:
    h.oracle.started(1, Saved(1, 1, 0, z(1, 1), (z(1, 1),)))


BEGUN = EnsembleConfig((1, 2, 3), observers=(4,))
FEWER = EnsembleConfig((1, 2), observers=(3, 4))


def propose(h: History, *configs: Configuration, at: tuple[int, ...] = (1,)) -> None:
    """The leader, 1, proposes these members one after the other, and its log and those of the others of `at` get
    them."""
    for config in configs:
        first = h.oracle.durable[1].last + 1
        for node in at:
            h.save(node, Append(first, (configuration_record(config),)))


def changes_members_without_the_new_in_line(h: History) -> None:
    propose(h, Transition(BEGUN, EnsembleConfig((3, 4))))


def changes_members_that_are_not_in_force(h: History) -> None:
    propose(h, Transition(FEWER, BEGUN))


def changes_members_during_a_change(h: History) -> None:
    propose(h, Transition(BEGUN, FEWER), Transition(FEWER, BEGUN), at=(1, 2))


def changes_members_again_before_the_end_is_durable(h: History) -> None:
    propose(h, Transition(BEGUN, FEWER), at=(1, 2))
    propose(h, FEWER, Transition(FEWER, EnsembleConfig((1,))))


def ends_a_change_that_is_not_durable(h: History) -> None:
    propose(h, Transition(BEGUN, FEWER), FEWER)


def ends_a_change_with_others(h: History) -> None:
    propose(h, Transition(BEGUN, FEWER), EnsembleConfig((1,)), at=(1, 2))


def ends_a_change_that_was_not_begun(h: History) -> None:
    propose(h, FEWER, at=(1, 2))


def ends_a_change_without_a_vote(h: History) -> None:
    propose(h, Transition(BEGUN, EnsembleConfig((2,))), EnsembleConfig((2,)), at=(1, 2))


def a_former_quorum_knows_nothing_of_the_change(h: History) -> None:
    """The record is lost at 2, whose disk does not say so; and 3 never had it."""
    propose(h, Transition(BEGUN, FEWER), at=(1, 2))
    h.oracle.commit(1, z(1, 3))
    saved = Saved(1, 1, 0, z(1, 2), (z(1, 2),))
    h.oracle.damaged(2, saved, [z(1, 1), z(1, 2)])
    h.oracle.started(2, saved)


BROKEN: list[tuple[str, Callable[[History], None]]] = [
    ("N1", epochs_go_back),
    ("N1", current_beyond_accepted),
    ("N2", record_beyond_the_current_epoch),
    ("N2", leaves_an_interrupted_synchronisation_in_the_log),
    ("N3", gap_in_a_log),
    ("N4", delivered_before_durable),
    ("N5", snapshot_of_the_uncommitted),
    ("N5", snapshot_of_the_undelivered),
    ("N5", snapshot_with_a_piece_missing),
    ("N5", snapshot_with_a_hole),
    ("N5", forgets_more_than_the_snapshot_has),
    ("N5", sends_an_uncommitted_snapshot),
    ("N5", restores_the_uncommitted),
    ("N5", restores_the_past),
    ("N6", acknowledges_what_is_not_durable),
    ("N6", acknowledges_an_epoch_not_durable),
    ("N6", acknowledges_what_a_crash_would_undo),
    ("N6", proposes_an_epoch_not_durable),
    ("N6", promises_an_epoch_not_durable),
    ("N6", describes_a_log_it_does_not_have),
    ("N6", describes_an_epoch_it_is_not_in),
    ("N6", acknowledges_a_piece_not_durable),
    ("N6", says_more_than_it_saved_of_the_history),
    ("N6", hands_over_what_is_not_committed),
    ("N6", a_damaged_disk_is_not_mentioned),
    ("N7", cuts_its_snapshot),
    ("N7", cuts_what_is_committed),
    ("N7", cuts_at_a_record_it_has_not),
    ("N7", cuts_below_what_it_delivered),
    ("N8", rejects_a_correct_peer),
    ("N8", accepts_an_epoch_nobody_proposed),
    ("N9", proposes_with_a_gap),
    ("N9", proposes_before_synchronisation),
    ("N9", commits_what_was_not_proposed_there),
    ("N9", acknowledges_again),
    ("N9", accepts_the_epoch_again),
    ("N9", says_again_what_it_saved_of_the_history),
    ("N10", acknowledges_before_the_epoch),
    ("X1", two_lead_one_epoch),
    ("X1", leads_without_promises),
    ("X2", two_payloads_for_one_zxid),
    ("X2", record_from_nowhere),
    ("X2", proposes_for_somebody_else),
    ("X2", delivers_another_payload),
    ("X3", delivers_what_is_not_committed),
    ("X3", delivers_twice),
    ("X3", leaves_one_out),
    ("X7", wins_without_what_is_committed),
    ("X8", serves_without_what_is_committed),
    ("X8", commits_in_a_log_without_what_is_committed),
    ("X7", commits_what_a_later_leader_lacks),
    ("X9", commits_without_a_quorum),
    ("X9", loses_the_quorum),
    ("X9", an_observer_gets_what_is_not_committed),
    ("X9", a_damaged_disk_counts_again_without_what_it_had),
    ("X10", commits_for_a_past_epoch),
    ("X10", commits_what_was_passed_over),
    ("X11", accepts_the_epoch_without_its_history),
    ("X11", makes_an_epoch_current_without_its_history),
    ("X12", logs_part_and_meet_again),
    ("X13", promises_twice),
    ("X13", promises_to_two),
    ("X13", promises_itself_what_it_promised_another),
    ("X13", proposes_one_epoch_in_two_terms),
    ("X13", an_observer_promises),
    ("X13", a_damaged_disk_promises),
    ("X13", counts_again_before_all_others_were_heard),
    ("X13", promises_again_what_another_may_count_on),
    ("X14", state_differs),
    ("X15", wins_behind_one_that_promised),
    ("X16", changes_members_without_the_new_in_line),
    ("X16", changes_members_that_are_not_in_force),
    ("X16", changes_members_during_a_change),
    ("X16", changes_members_again_before_the_end_is_durable),
    ("X16", ends_a_change_that_is_not_durable),
    ("X16", ends_a_change_with_others),
    ("X16", ends_a_change_that_was_not_begun),
    ("X16", ends_a_change_without_a_vote),
    ("X16", a_former_quorum_knows_nothing_of_the_change),
    ("L5", floods_a_learner),
    ("storage", forgets_that_it_was_damaged),
    ("storage", loads_less_than_was_saved),
]


@pytest.mark.parametrize(("invariant", "breaking"), BROKEN, ids=[breaking.__name__ for _, breaking in BROKEN])
def test_a_history_that_breaks_an_invariant_is_found(invariant: str, breaking: Callable[[History], None]) -> None:
    # Whoever accepts an epoch without its history is seen at once; the other rules must not depend on that.
    history = History(without=frozenset({"X11"} - {invariant}))
    with pytest.raises(Violation) as found:
        breaking(history)
    assert found.value.invariant == invariant


def test_the_lawful_history_goes_on_lawfully() -> None:
    """The next leader brings the third voter in line, by a cut of what was never committed, and by a snapshot."""
    h = History()
    h.save(1, Append(z(1, 3), (b"never committed",)))
    h.oracle.started(1, Saved(1, 1, 0, z(1, 3), (z(1, 3),)))
    h.promise(2, 2, 3)
    h.save(2, SaveEpochs(2, 2))
    h.oracle.linked(1, 2)
    h.send(2, 1, LeaderInfo(2))
    h.save(1, SaveEpochs(2, 1))
    h.send(1, 2, h.ack_epoch(1, 1))
    h.send(2, 1, Trunc(z(1, 2)), NewLeader(2))
    h.save(1, Truncate(z(1, 2)), SaveEpochs(2, 2))
    h.send(1, 2, Ack(z(2, 0)))
    h.oracle.told(2, RoleChanged(Role.LEADING, 2, 2, True, "a quorum holds the history"))
    h.send(2, 1, UpToDate(z(1, 2)), Proposal(z(2, 1), (b"c",)))
    h.save(2, Append(z(2, 1), (b"c",)))
    h.save(1, Append(z(2, 1), (b"c",)))
    h.send(1, 2, Ack(z(2, 1)))
    h.oracle.told(2, Delivered(z(2, 1), (b"c",)))
    h.save(2, Compact(SnapshotRef(z(2, 1))))
    h.send(2, 3, Snap(z(2, 1)))
    h.snapshot_of(3, z(2, 1))
    h.oracle.told(3, Restored(SnapshotRef(z(2, 1))))
    assert h.oracle.committed == [z(1, 1), z(1, 2), z(2, 1)]
    assert h.oracle.tag == 2
    assert h.oracle.committed_before(2) == z(1, 2)


def test_members_change_lawfully() -> None:
    h = History()
    propose(h, Transition(BEGUN, FEWER), at=(1, 2))
    h.oracle.commit(1, z(1, 3))
    propose(h, FEWER, at=(1, 2))
    h.oracle.commit(1, z(1, 4))
    assert h.oracle.configs.committed == FEWER
    h.save(3, SaveEpochs(1, 0))
    h.oracle.started(3, Saved(1, 0))  # it has not heard of that, and is no quorum


def test_who_was_wiped_may_ask_again_for_an_epoch_that_nobody_gave_it() -> None:
    h = History()
    for _ in range(2):
        h.oracle.linked(2, 3)
        h.oracle.told(3, RoleChanged(Role.LEADING, 3, h.oracle.durable[3].current, False, "elected"))
        h.save(3, SaveEpochs(2, h.oracle.durable[3].current))
        h.send(3, 2, LeaderInfo(2))
        brought_in_line(h, 3)
    assert h.oracle.durable[3].accepted == 1


def test_an_interrupted_synchronisation_is_no_promise() -> None:
    """Committed records that a crash inside a synchronisation left may be cut at the next start: nobody counted on
    them."""
    h = History()
    h.oracle.wrote(3, Append(z(1, 1), (b"a",)))
    h.oracle.started(3, Saved(0, 0, 0, z(1, 1), (z(1, 1),)))
    h.save(3, Truncate(0))
    assert h.oracle.durable[3].last == 0


def committed_and_not_told() -> History:
    """Leader 1 knows that a third transaction is committed, and has told nobody."""
    h = History()
    for node in (1, 2):
        h.save(node, Append(z(1, 3), (b"c",)))
    return h


def test_a_former_leader_may_deliver_what_it_committed() -> None:
    h = committed_and_not_told()
    h.oracle.told(1, RoleChanged(Role.FOLLOWING, 2, 1, False, "elected"))
    h.oracle.told(1, Delivered(z(1, 3), (b"c",)))
    assert h.oracle.committed[-1] == z(1, 3)
    assert h.oracle.tag == 1


def test_a_restarted_leader_may_not() -> None:
    h = committed_and_not_told()
    h.oracle.started(1, Saved(1, 1, 0, z(1, 3), (z(1, 3),)))
    h.oracle.told(1, Delivered(z(1, 1), (b"a", b"b")))
    with pytest.raises(Violation) as found:
        h.oracle.told(1, Delivered(z(1, 3), (b"c",)))
    assert found.value.invariant == "X3"


def test_a_checker_that_is_switched_off_says_nothing() -> None:
    h = History(without=frozenset({"N9"}))
    h.send(2, 1, Ack(z(1, 2)))
