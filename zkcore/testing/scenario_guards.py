"""The rules that the golden scripts are about, taken away one by one: proof that each script guards its rule.

A script in tests/scenarios names its guard, either one of these or one of the planted bugs of the simulator
(mutants.py), and the invariants by which its absence is seen. What is here needs a scene of its own to do harm, or was
not worth looking for in random runs. Patches have the same shape as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from zkcore.testing.checkers import chain
from zkcore.testing.disk import held_in
from zkcore.testing.handwired import STATE, HandWired
from zkcore.testing.mutants import MUTANTS, Patch, patched, planted
from zkcore.zab import history as history_module
from zkcore.zab import learner as learner_module
from zkcore.zab.election import Election, _same_candidate
from zkcore.zab.feeding import Feeding
from zkcore.zab.leader import Leader
from zkcore.zab.learner import Learner, Phase
from zkcore.zab.learner_view import LearnerView, Stage
from zkcore.zab.messages import Ack, Commit, Diff, NewLeader, PeerId, Proposal, Snap, SyncAck, UpToDate, Vote
from zkcore.zab.peer import Peer
from zkcore.zab.ready import Append, Event, Ready, SaveEpochs, SnapshotRef, Truncate, Write
from zkcore.zab.state import Outbox
from zkcore.zab.sync_plan import divergence
from zkcore.zxid import Zxid, counter_of, make_zxid

__all__ = ["GUARDS", "unguarded"]

Real = Callable[..., Any]


# --- what a leader sends ----------------------------------------------------------------------------------------------


def _sent_as_if_shared(known_below: Callable[[Feeding], Zxid]) -> Callable[[Real], Real]:
    """A learner whose last zxid is below the leader's own is believed to have nothing that the leader lacks."""

    def mutate(real: Real) -> Real:
        def begin(self: Feeding, peer: PeerId, learner: LearnerView) -> object:
            log, history = learner.log, self._state.history
            assert log is not None
            if log.last in history or log.last >= known_below(self):
                return real(self, peer, learner)
            self._state.out.send(peer, Diff(log.last))
            self._begin_history(learner, divergence(history.summary, log))
            return None

        return begin

    return mutate


def _hole(real: Real) -> Real:
    def begin_history(self: Feeding, learner: LearnerView, point: Zxid) -> None:
        real(self, learner, point)
        if counter_of(point) and point + 1 < learner.target:
            learner.sent = point + 1

    return begin_history


def _no_gaps_seen(_: Real) -> Real:
    return lambda zxid, previous: zxid > previous


def _commits_when_active(real: Real) -> Real:
    def send_commits(self: Feeding) -> None:
        for learner in self._learners.values():
            if learner.stage is Stage.WAIT_ACK:
                learner.commit_sent = min(self._state.committed, learner.sent)
        real(self)

    return send_commits


def _up_to_what_was_acked(_: Real) -> Real:
    def tell_up_to_date(self: Leader, peer: PeerId, learner: LearnerView) -> None:
        learner.commit_sent = min(self._state.committed, learner.sent)
        self._state.out.send(peer, UpToDate(min(learner.synced_to, learner.commit_sent)))

    return tell_up_to_date


# --- when a leader gives up -------------------------------------------------------------------------------------------


def _nothing(_: Real) -> Real:
    return lambda *_: None


def _never(_: Real) -> Any:
    return property(lambda self: False)


# --- what a learner makes of it ---------------------------------------------------------------------------------------


def _diff_taken_as_read(real: Real) -> Real:
    """ZooKeeper set its last zxid to the leader's as soon as it had read DIFF."""

    def on_diff(self: Learner, sender: PeerId, message: Diff) -> object:
        complaint = real(self, sender, message)
        history, claimed = self._state.history, self._state.vote.zxid
        if complaint is None and claimed > history.last:
            history.last = claimed
            history._ends[-1:] = [claimed]
        return complaint

    return on_diff


def _not_logged_in_sync(real: Real) -> Real:
    def on_proposal(self: Learner, sender: PeerId, message: Proposal) -> object:
        complaint = real(self, sender, message)
        writes = self._state.out._ready.writes
        if self._phase is Phase.SYNCING and writes and isinstance(writes[-1], Append):
            writes.pop()
        return complaint

    return on_proposal


def _snapshot_in_memory(real: Real) -> Real:
    def on_snap(self: Learner, sender: PeerId, message: Snap) -> object:
        complaint = real(self, sender, message)
        if complaint is None:
            history = self._state.history
            history.last, history._ends = message.zxid, [message.zxid]
        return complaint

    return on_snap


def _ack_overtakes(real: Real) -> Real:
    def flush(self: Learner) -> None:
        messages = self._state.out._ready.messages
        before = len(messages)
        real(self)
        if len(messages) > before and isinstance(messages[-1][1], Ack):
            messages.insert(0, messages.pop())

    return flush


def _sync_acked_early(real: Real) -> Real:
    def flush(self: Learner) -> None:
        messages = self._state.out._ready.messages
        before = len(messages)
        real(self)
        if len(messages) > before and isinstance(messages[-1][1], SyncAck):
            self._state.out._ready.early.append(messages.pop())

    return flush


def _epoch_before_history(real: Real) -> Real:
    def on_new_leader(self: Learner, sender: PeerId, message: NewLeader) -> object:
        complaint = real(self, sender, message)
        writes = self._state.out._ready.writes
        if complaint is None and isinstance(writes[-1], SaveEpochs):
            writes.insert(0, writes.pop())
        return complaint

    return on_new_leader


def _commit_out_of_turn(real: Real) -> Real:
    def on_commit(self: Learner, sender: PeerId, message: Commit) -> object:
        if self._phase is Phase.ACKED:
            return "COMMIT before UPTODATE"
        return real(self, sender, message)

    return on_commit


# --- what stays when a role ends --------------------------------------------------------------------------------------


def _appended_by_a_ghost(real: Real) -> Real:
    """The writer of a role that has ended goes on: what it had last is written again behind a truncation."""

    def write(self: Outbox, write: Write) -> None:
        real(self, write)
        if isinstance(write, Truncate) and (ghost := vars(self).pop("ghost", None)) is not None:
            real(self, ghost)
        elif isinstance(write, Append):
            vars(self)["ghost"] = write

    return write


def _delivers_what_is_logged(real: Real) -> Real:
    def deliver(self: Peer) -> None:
        committed, self._state.committed = self._state.committed, self._state.history.durable
        real(self)
        self._state.committed = committed

    return deliver


# --- elections --------------------------------------------------------------------------------------------------------


def _joins_equal_votes_only(real: Real) -> Real:
    def try_join(self: Election, table: dict[PeerId, Vote], vote: Vote) -> bool:
        alike = {
            peer: other for peer, other in table.items() if _same_candidate(vote, other) and vote.round == other.round
        }
        joined: bool = real(self, alike, vote)
        return joined

    return try_join


# --- hosts and disks --------------------------------------------------------------------------------------------------


def _error_ignored(_: Real) -> Real:
    def fail(self: HandWired, node: Any, ready: Ready[Event]) -> None:
        node.fails = None
        self._finish(node, ready)
        self._drain(node)

    return fail


def _snapshot_of_what_is_logged(_: Real) -> Real:
    def snapshot(self: HandWired, me: PeerId) -> None:
        node, peer = self._node(me), self.peer(me)
        zxid, digest = node.state
        for entry in node.storage.entries(zxid, 1 << 40):
            zxid, digest = entry.zxid, chain(digest, entry.zxid, entry.payload)
        node.storage.save_snapshot(SnapshotRef(zxid), [STATE.pack(zxid, digest)])
        self._feed(node, lambda: peer.compact(SnapshotRef(zxid)))

    return snapshot


def _compact_unchecked(_: Real) -> Real:
    def compact(self: Peer, snapshot: SnapshotRef) -> None:
        self._begin_input()
        self._compaction = snapshot

    return compact


def _loss_unnoticed(real: Real) -> Real:
    def lose(self: HandWired, me: PeerId, after: Zxid) -> None:
        self._down(me).storage.lose(after, noticed=False)
        self.oracle.damaged(me, self._node(me).storage.load(), held_in(self._node(me).storage))

    return lose


GUARDS: dict[str, tuple[str, tuple[Patch, ...]]] = {
    "range-taken-for-history": (
        "a learner whose last zxid lies before the leader's is sent a DIFF, whatever is in its log (ZOOKEEPER-1154)",
        ((Feeding, "begin", _sent_as_if_shared(lambda feeding: feeding._state.history.last)),),
    ),
    "phantom-outranks": (
        "a leader takes (epoch, 0) for its last zxid, and what a learner has below it for its own (ZOOKEEPER-2832)",
        ((Feeding, "begin", _sent_as_if_shared(lambda feeding: make_zxid(feeding._state.current_epoch, 0))),),
    ),
    "hole-sent": (
        "a leader skips a record, and a follower does not mind the gap (ZOOKEEPER-4925)",
        (
            (Feeding, "_begin_history", _hole),
            (learner_module, "follows", _no_gaps_seen),
            (history_module, "follows", _no_gaps_seen),
        ),
    ),
    "uptodate-says-what-was-acked": (
        "UPTODATE commits what the learner had acknowledged, not what is committed (ambiguity 3 of the paper)",
        ((Leader, "_tell_up_to_date", _up_to_what_was_acked), (Feeding, "send_commits", _commits_when_active)),
    ),
    "counter-runs-on": (
        "a leader goes on when the counter of its epoch is used up (ZOOKEEPER-1277)",
        ((Leader, "_is_epoch_full", _never),),
    ),
    "waits-for-who-left": (
        "a leader that is not established waits for voters that elect somebody else (ZOOKEEPER-3109)",
        ((Leader, "on_vote", _nothing),),
    ),
    "never-yields": (
        "a leader stays, whoever has promised a newer epoch",
        ((Leader, "_count_attempt", _nothing),),
    ),
    "diff-taken-as-read": (
        "a learner claims the leader's last zxid as soon as it has read DIFF (ZOOKEEPER-2355)",
        ((Learner, "_on_diff", _diff_taken_as_read),),
    ),
    "diff-kept-in-memory": (
        "the records of a synchronisation are not logged (ZOOKEEPER-2678)",
        ((Learner, "_on_proposal", _not_logged_in_sync),),
    ),
    "snapshot-in-memory": (
        "a learner takes the state of a snapshot over before it has it on disk (ZOOKEEPER-3642)",
        ((Learner, "_on_snap", _snapshot_in_memory),),
    ),
    "sync-acked-early": (
        "a learner says that it has saved part of the history before it has (ZOOKEEPER-3023)",
        ((Learner, "flush", _sync_acked_early),),
    ),
    "epoch-before-history": (
        "the epoch is made current before its history is on the disk (ZOOKEEPER-4643)",
        ((Learner, "_on_new_leader", _epoch_before_history),),
    ),
    "ack-overtakes": (
        "an acknowledgement of records is sent before that of NEWLEADER (ZOOKEEPER-4685)",
        ((Learner, "flush", _ack_overtakes),),
    ),
    "commit-out-of-turn": (
        "a follower does not expect COMMIT between NEWLEADER and UPTODATE (ZOOKEEPER-4394)",
        ((Learner, "_on_commit", _commit_out_of_turn),),
    ),
    "ghost-writes": (
        "what an ended role was writing is written once more after the truncation of the next (ZOOKEEPER-4712)",
        ((Outbox, "write", _appended_by_a_ghost),),
    ),
    "delivers-what-is-logged": (
        "records are applied before they are committed (ZOOKEEPER-2845)",
        ((Peer, "_deliver", _delivers_what_is_logged),),
    ),
    "interrupted-sync-kept": (
        "records of an epoch that never became current are kept at the start",
        ((Peer, "_undo_interrupted_sync", _nothing),),
    ),
    "joins-equal-votes-only": (
        "a newcomer wants to hear equal votes, zxid and round included (ZOOKEEPER-1732)",
        ((Election, "_try_join", _joins_equal_votes_only),),
    ),
    "error-ignored": (
        "a host goes on after its storage failed (ZOOKEEPER-3701, 4882)",
        ((HandWired, "_fail", _error_ignored),),
    ),
    "snapshot-of-what-is-logged": (
        "a snapshot is taken of everything that is logged, committed or not (ZOOKEEPER-1549)",
        ((HandWired, "snapshot", _snapshot_of_what_is_logged), (Peer, "compact", _compact_unchecked)),
    ),
    "loss-unnoticed": (
        "a log is used without the snapshot it continues (ZOOKEEPER-2325)",
        ((HandWired, "lose", _loss_unnoticed),),
    ),
    "diff-race": (
        "the epoch is made current before its history is on disk, and acknowledged before either (ZOOKEEPER-4785)",
        ((Learner, "_on_new_leader", _epoch_before_history), *MUTANTS["newleader-acked-early"][1]),
    ),
}
"""What is taken away, and where."""


@contextmanager
def unguarded(name: str | None) -> Iterator[None]:
    """Without the rule called `name`, one of GUARDS or of the planted bugs; None takes nothing away. Raises
    KeyError."""
    if name is None or name not in GUARDS:
        with planted(name):
            yield
        return
    with patched(GUARDS[name][1]):
        yield
