"""How to bring a learner's log in line with the leader's: a pure function of two summaries.

Two logs that share a zxid share everything before it (protocol.md 2, X12). So the last zxid they share can be read off
the ends of their epochs::

    leader   1_1 .. 1_50 | 3_1 .. 3_7            ends  1_50  3_7
    learner  1_1 .. 1_44 | 2_1 .. 2_3            ends  1_44  2_3
                       ^ epoch 1 is the newest they have in common, and the shorter run of it ends at 1_44

Everything after that point in the learner's log was never committed, and is cut (protocol.md 1.6).
"""

from __future__ import annotations

from itertools import pairwise

from attrs import frozen

from zkcore.zxid import Zxid, counter_of, epoch_of

__all__ = ["LogSummary", "SyncPlan", "plan_sync"]


@frozen
class LogSummary:
    """What must be known of a log to compare it with another: `base`, the zxid before its first record, and the last
    zxid of every epoch in it, ascending, beginning with the base's epoch unless the base is 0."""

    base: Zxid
    epoch_ends: tuple[Zxid, ...]

    @property
    def last(self) -> Zxid:
        return self.epoch_ends[-1] if self.epoch_ends else self.base

    def complaint(self) -> str | None:
        """What is wrong with this summary, if a peer made it up."""
        ends = self.epoch_ends
        if any(counter_of(zxid) == 0 for zxid in (*ends, self.base) if zxid):
            return "a log holds no record 0 of an epoch"
        if any(epoch_of(one) >= epoch_of(other) for one, other in pairwise(ends)):
            return "the epochs of a log do not ascend"
        if self.base and (not ends or ends[0] < self.base or epoch_of(ends[0]) != epoch_of(self.base)):
            return "a log does not begin with the epoch of its base"
        return None


@frozen
class SyncPlan:
    """Send the records after `point`. `cut`: the learner first removes its own records after it.
    `snapshot`: the learner first replaces its state by the leader's snapshot, which is as of `point`."""

    point: Zxid
    cut: bool = False
    snapshot: bool = False


def divergence(one: LogSummary, other: LogSummary) -> Zxid:
    """The last zxid that both logs have, or had before they were compacted; 0 where they have no epoch in common."""
    ends = {epoch_of(end): end for end in one.epoch_ends}
    return max((min(end, ends[epoch_of(end)]) for end in other.epoch_ends if epoch_of(end) in ends), default=0)


def plan_sync(leader: LogSummary, learner: LogSummary, *, snapshot: Zxid) -> SyncPlan | None:
    """How the leader, whose newest snapshot is as of `snapshot`, syncs the learner. The base of the learner's summary
    is what it cannot go back behind. None where nothing can be done: that base is not in the leader's history although
    everything below a base is committed. Then one of the two has lost committed transactions."""
    point = divergence(leader, learner)
    if point >= leader.base and point >= learner.base:
        return SyncPlan(point, cut=point < learner.last)
    if leader.base > learner.base:
        return SyncPlan(snapshot, snapshot=True)
    return None
