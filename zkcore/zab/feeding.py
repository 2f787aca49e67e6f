"""How a leader feeds its learners: the snapshot, the history they lack, and every new proposal behind it.

All of it is one stream for each learner, cut into what the learner can take. A cursor, `sent`, says how far it has
come; no more than `Limits.window_bytes` are under way without an acknowledgement. What does not fit is not kept for the
learner: it is in the log, and read from there when there is room. So a learner that is slow costs nothing but its own
time, and one that falls silent is given up by its timers (leader.py).

The stream of a voter ends where the log ends; that of an observer where the committed part of it does. NEWLEADER stands
in it behind everything that the log, or that part, held when the synchronisation began. Choosing how to sync a learner
and putting it on the stream is one step: nothing can be proposed in between and be missed (protocol.md 1.1, 1.6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from zkcore.zab.learner_view import FED, LearnerView, Stage
from zkcore.zab.messages import Commit, Diff, NewLeader, PeerId, Proposal, Snap, SnapData, Trunc
from zkcore.zab.ready import SnapshotRef
from zkcore.zab.state import Complaint, State
from zkcore.zab.sync_plan import plan_sync
from zkcore.zxid import Zxid, format_zxid

__all__ = ["Feeding"]


class Feeding:
    """Feeds `learners`, the leader's own table of them."""

    def __init__(self, state: State, learners: Mapping[PeerId, LearnerView]) -> None:
        limits = state.limits
        self._state = state
        self._learners = learners
        self._window = limits.window_bytes
        self._budget = limits.snapshot_bytes_per_tick
        self._awaiting_piece: deque[tuple[PeerId, LearnerView]] = deque()
        self._fresh: dict[Zxid, Proposal] = {}  # the same message for all who are fed the same records
        self._fed: tuple[Zxid, Zxid] = (0, 0)  # how far the log went, and was committed, when all were fed last
        self._again = False  # somebody has come since, or has room again

    # --- synchronisation begins

    def begin(self, peer: PeerId, learner: LearnerView) -> Complaint:
        """Choose how to bring `peer` in line (protocol.md 1.6)."""
        assert learner.log is not None
        state = self._state
        plan = plan_sync(state.history.summary, learner.log, snapshot=state.history.snapshot)
        if plan is None:
            return (
                f"its log begins at {format_zxid(learner.log.base)}, which this leader never committed: one of the two "
                "has lost its data"
            )
        if plan.snapshot:
            self._begin_snapshot(peer, learner, SnapshotRef(plan.point))
            return None
        state.out.send(peer, Trunc(plan.point) if plan.cut else Diff(plan.point))
        self._begin_history(learner, plan.point)
        return None

    def _end(self, learner: LearnerView) -> Zxid:
        """The end of the stream, as of now."""
        return self._state.committed if learner.observes else self._state.history.last

    def _begin_history(self, learner: LearnerView, point: Zxid) -> None:
        learner.stage = Stage.CATCHING_UP
        learner.sent = learner.acked = point
        learner.target = max(self._end(learner), point)
        self._again = True

    # --- snapshots

    def _begin_snapshot(self, peer: PeerId, learner: LearnerView, ref: SnapshotRef) -> None:
        """From where the last attempt broke off, if it was the same snapshot."""
        known, offset = learner.partial if learner.partial is not None else (0, 0)
        learner.stage = Stage.SNAPPING
        learner.snapshot = ref
        learner.snapshot_sent = offset if known == ref.zxid else 0
        membership = self._state.memberships.at(ref.zxid)
        self._state.out.send(peer, Snap(ref.zxid, learner.snapshot_sent, membership if membership.zxid else None))
        self._awaiting_piece.append((peer, learner))

    def on_snap_ack(self, peer: PeerId, learner: LearnerView, offset: int) -> Complaint:
        """One piece at a time: a learner with a slow disk is not flooded."""
        if not learner.owes_snap_ack or offset != learner.snapshot_sent:
            return "SNAPACK out of turn"
        learner.owes_snap_ack = False
        if learner.stage is Stage.SNAPPING:
            self._awaiting_piece.append((peer, learner))
        return None

    def _send_pieces(self) -> None:
        """As far as the budget of this tick goes; whoever waits longest comes first."""
        for _ in range(len(self._awaiting_piece)):
            if self._budget <= 0:
                return
            peer, learner = self._awaiting_piece.popleft()
            if self._learners.get(peer) is learner:  # and not one who has registered again since
                self._send_piece(peer, learner)

    def _send_piece(self, peer: PeerId, learner: LearnerView) -> None:
        state, ref = self._state, learner.snapshot
        assert ref is not None
        size = state.limits.snapshot_chunk_bytes
        data = state.history.read_snapshot(ref, learner.snapshot_sent, size)
        state.out.send(peer, SnapData(learner.snapshot_sent, data, len(data) < size))
        learner.snapshot_sent += len(data)
        learner.owes_snap_ack = True
        self._budget -= len(data)
        if len(data) < size:
            self._begin_history(learner, ref.zxid)

    def tick(self, ticks: int) -> None:
        """The budget for snapshots grows again."""
        rate = self._state.limits.snapshot_bytes_per_tick
        self._budget = min(self._budget + ticks * rate, rate)

    @property
    def is_due(self) -> bool:
        """Whether somebody waits for the next tick."""
        return bool(self._awaiting_piece)

    @property
    def needed_from(self) -> Zxid | None:
        """The log after this zxid is needed by somebody; None where the snapshot is, too."""
        if any(learner.stage is Stage.SNAPPING for learner in self._learners.values()):
            return None
        fed = [learner.sent for learner in self._learners.values() if learner.stage in FED]
        return min(fed, default=self._state.history.last)

    # --- the stream

    def on_acked(self, learner: LearnerView, zxid: Zxid) -> None:
        """The learner has saved everything up to `zxid`: there may be room for more."""
        learner.on_acked(zxid)
        if learner.sent < self._state.history.last:
            self._again = True

    def feed(self) -> bool:
        """Send everybody what there is room for; whether there was anything to look at. Called once for each batch."""
        if self._awaiting_piece:
            self._send_pieces()
        state = self._state
        last, committed = fed = state.history.last, state.committed
        if fed == self._fed and not self._again:
            return False
        self._fed = fed
        self._again = False
        for peer, learner in self._learners.items():
            if learner.stage is not Stage.ACTIVE and learner.stage not in FED:
                continue
            end = committed if learner.observes else last
            if learner.sent < end and learner.unacked_bytes < self._window:
                self._send_records(peer, learner, end)
            if learner.stage is Stage.CATCHING_UP:
                if learner.sent < learner.target:
                    continue
                state.out.send(peer, NewLeader(state.current_epoch))
                learner.synced_to = learner.sent
                learner.stage = Stage.WAIT_ACK
        self._fresh.clear()
        return True

    def _send_records(self, peer: PeerId, learner: LearnerView, end: Zxid) -> None:
        out, fresh = self._state.out, self._fresh
        for run in self._state.history.runs(learner.sent, end, max_bytes=self._state.limits.read_bytes):
            proposal = fresh.get(run.first)
            if proposal is None or proposal.last != run.last:
                proposal = fresh[run.first] = Proposal(run.first, run.payloads)
            out.early(peer, proposal)
            learner.on_sent(run.last, run.size)
            if learner.unacked_bytes >= self._window:
                return

    def send_commits(self) -> None:
        """One COMMIT for everything that was committed in this batch, to each as far as it was sent it."""
        committed = self._state.committed
        message = Commit(committed)
        for peer, learner in self._learners.items():
            if learner.commit_sent < committed and (learner.stage is Stage.ACTIVE or learner.stage is Stage.WAIT_ACK):
                upto = committed if committed <= learner.sent else learner.sent
                if upto > learner.commit_sent:
                    learner.commit_sent = upto
                    self._state.out.early(peer, message if upto == committed else Commit(upto))
