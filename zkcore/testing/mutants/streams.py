"""Bugs of synchronisation: histories with holes, records too many, snapshots half there."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from zkcore.testing.mutants.mutant import Mutant, Real, sends_early
from zkcore.zab import feeding
from zkcore.zab.feeding import Feeding
from zkcore.zab.history import History
from zkcore.zab.learner import Learner
from zkcore.zab.learner_view import LearnerView, Stage
from zkcore.zab.messages import Ack, Diff, NewLeader, PeerId, Proposal, Snap, Trunc
from zkcore.zab.peer import Peer
from zkcore.zab.ready import Append, Event, Restored, SaveEpochs, SnapshotRef, Truncate, Write
from zkcore.zab.state import Outbox, State
from zkcore.zab.sync_plan import LogSummary, SyncPlan
from zkcore.zxid import Zxid, counter_of

__all__ = ["STREAMS"]


# --- what is saved, and in which order --------------------------------------------------------------------------------


def _trunc_not_written(real: Real) -> Real:
    def write(self: Outbox, write: Write) -> None:
        if not isinstance(write, Truncate):
            real(self, write)

    return write


def _epoch_first(real: Real) -> Real:
    def on_new_leader(self: Learner, sender: PeerId, message: NewLeader) -> object:
        complaint = real(self, sender, message)
        writes = self._state.out._ready.writes
        if complaint is None:
            writes.sort(key=lambda write: not isinstance(write, SaveEpochs))
        return complaint

    return on_new_leader


def _epoch_from_the_start(real: Real) -> Real:
    def begin(self: Learner, sender: PeerId, message: Diff | Trunc) -> object:
        complaint = real(self, sender, message)
        if complaint is None:
            self._state.save_epochs(accepted=max(self._state.accepted_epoch, self._epoch), current=self._epoch)
        return complaint

    return begin


def _interrupted_sync_kept(real: Real) -> Real:
    def undo_interrupted_sync(self: Peer) -> None:
        if not hasattr(self, "_role"):  # at the start it is undone
            real(self)

    return undo_interrupted_sync


# --- what is sent -----------------------------------------------------------------------------------------------------


def _propose_twice(real: Real) -> Real:
    def has_room(self: Feeding, peer: PeerId) -> bool:
        return 2 * self._learners[peer].unacked_bytes < self._window

    def feed(self: Feeding) -> bool:
        before = {peer: learner.sent for peer, learner in self._learners.items()}
        fed: bool = real(self)
        for peer, message in list(self._state.out._ready.early):
            if isinstance(message, Proposal) and message.first > before[peer] and has_room(self, peer):
                self._state.out.early(peer, message)
        return fed

    return feed


def _repeated_accepted(_: Real) -> Real:
    def on_repeated(self: Learner, sender: PeerId, message: Proposal) -> None:
        self._state.out.write(Append(message.first, message.payloads))
        self._must_ack = True

    return on_repeated


def _skip_until_acked(real: Real) -> Real:
    def feed(self: Feeding) -> bool:
        for learner in self._learners.values():
            if learner.stage is Stage.WAIT_ACK:
                learner.sent = self._state.history.last
        return bool(real(self))

    return feed


def _newleader_first(real: Real) -> Real:
    def feed(self: Feeding) -> bool:
        for peer, learner in self._learners.items():
            if learner.stage is Stage.CATCHING_UP:
                self._state.out.send(peer, NewLeader(self._state.current_epoch))
                learner.synced_to = learner.sent
                learner.stage = Stage.WAIT_ACK
        return bool(real(self))

    return feed


def _cut_too_far(real: Real) -> Real:
    def plan_sync(leader: LogSummary, learner: LogSummary, *, snapshot: Zxid) -> SyncPlan | None:
        plan: SyncPlan | None = real(leader, learner, snapshot=snapshot)
        if plan is not None and plan.cut and counter_of(plan.point) > 1 and plan.point > leader.base:
            return evolve(plan, point=plan.point - 1)
        return plan

    return plan_sync


# --- windows ----------------------------------------------------------------------------------------------------------


def _no_window(real: Real) -> Real:
    def init(self: Feeding, state: State, learners: Any) -> None:
        real(self, state, learners)
        self._window = 1 << 62

    return init


def _what_does_not_fit_is_skipped(real: Real) -> Real:
    def send_records(self: Feeding, peer: PeerId, learner: LearnerView, end: Zxid) -> None:
        real(self, peer, learner, end)
        learner.sent = end

    return send_records


# --- snapshots and compaction -----------------------------------------------------------------------------------------


def _pieces_of_any_snapshot(real: Real) -> Real:
    def begin_snapshot(self: Feeding, peer: PeerId, learner: LearnerView, ref: SnapshotRef) -> None:
        if learner.partial is not None:
            learner.partial = ref.zxid, learner.partial[1]
        real(self, peer, learner, ref)

    return begin_snapshot


def _any_snapshot_goes_on(real: Real) -> Real:
    def on_snap(self: Learner, sender: PeerId, message: Snap) -> object:
        if message.offset:
            self._state.partial = (sender, message.zxid, message.offset)
        return real(self, sender, message)

    return on_snap


def _forget_to_the_end(_: Real) -> Real:
    def records_before(self: History, zxid: Zxid, count: int) -> Zxid:
        return self.durable

    return records_before


def _forget_unchecked(_: Real) -> Real:
    def compact(self: History, ref: SnapshotRef, upto: Zxid) -> None:
        self.snapshot = ref.zxid
        self.base = upto
        self._ends = [end for end in self._ends if end >= upto]

    return compact


def _nobody_reads(_: Real) -> Any:
    return property(lambda self: self._state.history.last)


def _restored_untold(real: Real) -> Real:
    def tell(self: Outbox, event: Event) -> None:
        if not isinstance(event, Restored):
            real(self, event)

    return tell


STREAMS: dict[str, Mutant] = {
    "newleader-acked-early": Mutant(
        "a follower acknowledges NEWLEADER before the history is on its disk (ZOOKEEPER-4646)",
        ((Learner, "_on_new_leader", sends_early(Ack)),),
    ),
    "current-epoch-before-history": Mutant(
        "the epoch is made current before the last of its history is on the disk (ZOOKEEPER-4643)",
        ((Learner, "_on_new_leader", _epoch_first),),
    ),
    "current-epoch-from-the-start": Mutant(
        "the epoch is made current as soon as its leader begins to send the history",
        ((Learner, "_on_diff", _epoch_from_the_start), (Learner, "_on_trunc", _epoch_from_the_start)),
    ),
    "trunc-skipped": Mutant(
        "the log is cut in memory, and on the disk it is not (ZOOKEEPER-3701)",
        ((Outbox, "write", _trunc_not_written),),
    ),
    "trunc-too-far": Mutant(
        "a leader has more cut from a follower's log than it must (ZOOKEEPER-1156)",
        ((feeding, "plan_sync", _cut_too_far),),
    ),
    "interrupted-sync-carried-on": Mutant(
        "what an interrupted synchronisation left in the log stays there when the role changes",
        ((Peer, "_undo_interrupted_sync", _interrupted_sync_kept),),
    ),
    "duplicate-proposal-accepted": Mutant(
        "the leader repeats proposals, which is legal, and followers log them again (ambiguity 2 of the paper)",
        ((Feeding, "feed", _propose_twice), (Learner, "_on_repeated", _repeated_accepted)),
    ),
    "forward-when-acked": Mutant(
        "a follower misses what is proposed between NEWLEADER and its acknowledgement (ambiguity 1 of the paper)",
        ((Feeding, "feed", _skip_until_acked),),
    ),
    "newleader-first": Mutant(
        "NEWLEADER is sent before the history that it stands for (ZOOKEEPER-3104)",
        ((Feeding, "feed", _newleader_first),),
    ),
    "window-ignored": Mutant(
        "a slow follower is sent everything at once",
        ((Feeding, "__init__", _no_window),),
    ),
    "laggard-skipped": Mutant(
        "a follower never gets what did not fit into its window",
        ((Feeding, "_send_records", _what_does_not_fit_is_skipped),),
    ),
    "snapshots-mixed": Mutant(
        "a snapshot is continued with the pieces of a later one",
        ((Feeding, "_begin_snapshot", _pieces_of_any_snapshot), (Learner, "_on_snap", _any_snapshot_goes_on)),
    ),
    "compacted-too-far": Mutant(
        "the log is forgotten beyond the snapshot",
        ((History, "records_before", _forget_to_the_end), (History, "compact", _forget_unchecked)),
    ),
    "compacted-under-a-reader": Mutant(
        "a leader forgets records that a learner is being sent",
        ((Feeding, "needed_from", _nobody_reads),),
    ),
    "restored-untold": Mutant(
        "the application is not told that a snapshot has replaced the state",
        ((Outbox, "tell", _restored_untold),),
    ),
}
