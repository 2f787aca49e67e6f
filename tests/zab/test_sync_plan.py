"""How two logs are brought in line, checked against the lists of all their records."""

from __future__ import annotations

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.zab.sync_plan import LogSummary, SyncPlan, divergence, plan_sync
from zkcore.zxid import Zxid, epoch_of, make_zxid

Z = make_zxid


def run(epoch: int, last: int, *, first: int = 1) -> list[Zxid]:
    return [Z(epoch, counter) for counter in range(first, last + 1)]


@frozen
class FullLog:
    """Every zxid a log ever held, how much of it was compacted away, and where its snapshot is."""

    zxids: tuple[Zxid, ...]
    base: Zxid = 0
    snapshot: Zxid = 0

    @property
    def last(self) -> Zxid:
        return self.zxids[-1] if self.zxids else 0

    @property
    def as_leader(self) -> LogSummary:
        """All of it can be sent that was not compacted away."""
        return self._from(self.base)

    @property
    def as_learner(self) -> LogSummary:
        """Nothing of it can be cut that is in the snapshot."""
        return self._from(self.snapshot)

    def _from(self, base: Zxid) -> LogSummary:
        ends = {epoch_of(zxid): zxid for zxid in self.zxids if zxid >= base}
        return LogSummary(base, tuple(ends.values()))


def plan_of(leader: FullLog, learner: FullLog) -> SyncPlan | None:
    return plan_sync(leader.as_leader, learner.as_learner, snapshot=leader.snapshot)


# --- the cases one by one


def log(*zxids: list[Zxid], base: Zxid = 0, at: Zxid | None = None) -> FullLog:
    """A log that was compacted up to `base`, with a snapshot there, or `at` a later record."""
    return FullLog(tuple(zxid for each in zxids for zxid in each), base, base if at is None else at)


@pytest.mark.parametrize(
    ("leader", "learner", "plan"),
    [
        pytest.param(log(), log(), SyncPlan(0), id="both empty"),
        pytest.param(log(run(1, 5)), log(run(1, 5)), SyncPlan(Z(1, 5)), id="alike"),
        pytest.param(log(run(1, 5)), log(), SyncPlan(0), id="the learner is new"),
        pytest.param(log(run(1, 5)), log(run(1, 3)), SyncPlan(Z(1, 3)), id="the learner is behind"),
        pytest.param(log(run(1, 5)), log(run(1, 7)), SyncPlan(Z(1, 5), cut=True), id="the learner is ahead"),
        pytest.param(
            log(run(1, 50), run(3, 7)), log(run(1, 44), run(2, 3)), SyncPlan(Z(1, 44), cut=True), id="a ghost epoch"
        ),
        pytest.param(
            log(run(1, 2), run(4, 1)), log(run(1, 2), run(2, 1)), SyncPlan(Z(1, 2), cut=True), id="ZOOKEEPER-2832"
        ),
        pytest.param(log(), log(run(1, 2)), SyncPlan(0, cut=True), id="nothing of the learner's was committed"),
        pytest.param(log(run(2, 2)), log(run(1, 2)), SyncPlan(0, cut=True), id="no epoch in common"),
        pytest.param(
            log(run(1, 9), base=Z(1, 5)), log(run(1, 5)), SyncPlan(Z(1, 5)), id="the learner ends at the leader's base"
        ),
        pytest.param(
            log(run(1, 9), base=Z(1, 5)), log(run(1, 4)), SyncPlan(Z(1, 5), snapshot=True), id="one record too old"
        ),
        pytest.param(
            log(run(1, 9), base=Z(1, 5)), log(), SyncPlan(Z(1, 5), snapshot=True), id="new, and the log is compacted"
        ),
        pytest.param(
            log(run(1, 9), run(3, 2), base=Z(3, 1)),
            log(run(1, 9), run(2, 4)),
            SyncPlan(Z(3, 1), snapshot=True),
            id="a ghost epoch, and the leader forgot where it began",
        ),
        pytest.param(
            log(run(1, 9)), log(run(1, 9), base=Z(1, 9)), SyncPlan(Z(1, 9)), id="the learner compacted everything"
        ),
        pytest.param(
            log(run(1, 9)), log(run(1, 9), run(2, 3), base=Z(1, 9)), SyncPlan(Z(1, 9), cut=True),
            id="cut down to the learner's base",
        ),
        pytest.param(
            log(run(1, 9), base=Z(1, 3), at=Z(1, 7)), log(run(1, 4)), SyncPlan(Z(1, 4)),
            id="the learner ends behind the leader's snapshot, and the log reaches back to it",
        ),
        pytest.param(
            log(run(1, 9), base=Z(1, 3), at=Z(1, 7)), log(run(1, 2)), SyncPlan(Z(1, 7), snapshot=True),
            id="too old even for what was retained",
        ),
        pytest.param(
            log(run(1, 9), base=Z(1, 3), at=Z(1, 7)), log(run(1, 5), run(2, 4), base=Z(1, 1), at=Z(1, 5)),
            SyncPlan(Z(1, 5), cut=True), id="both have snapshots, and part between them",
        ),
        pytest.param(
            log(run(1, 9)), log(run(1, 9), base=Z(1, 2), at=Z(1, 9)), SyncPlan(Z(1, 9)),
            id="the learner's log reaches back behind its snapshot",
        ),
        pytest.param(
            log(run(1, 5)), log(run(1, 9), base=Z(1, 2), at=Z(1, 7)), None,
            id="the leader lost what is in the learner's snapshot",
        ),
        pytest.param(log(run(1, 5)), log(run(1, 9), base=Z(1, 7)), None, id="the leader lost what was committed"),
        pytest.param(log(), log(run(1, 9), base=Z(1, 7)), None, id="the leader lost everything"),
    ],
)  # fmt: skip
def test_every_case(leader: FullLog, learner: FullLog, plan: SyncPlan | None) -> None:
    assert plan_of(leader, learner) == plan


@pytest.mark.parametrize(
    ("base", "ends", "wrong"),
    [
        (0, (), False),
        (0, (Z(1, 5), Z(3, 2)), False),
        (Z(1, 2), (Z(1, 5), Z(3, 2)), False),
        (Z(1, 5), (Z(1, 5),), False),
        (0, (Z(3, 2), Z(1, 5)), True),  # epochs go back
        (0, (Z(1, 2), Z(1, 5)), True),  # an epoch ends twice
        (Z(1, 5), (), True),  # the base's own epoch is missing
        (Z(1, 5), (Z(1, 4),), True),  # it ends before it begins
        (Z(1, 5), (Z(2, 4),), True),
        (0, (Z(1, 0),), True),  # the phantom is in no log
        (0, (Z(1, 5), Z(2, 0)), True),
        (Z(1, 0), (Z(1, 5),), True),
    ],
)
def test_a_summary_that_no_log_can_have(base: Zxid, ends: tuple[Zxid, ...], wrong: bool) -> None:
    assert (LogSummary(base, ends).complaint() is not None) is wrong


# --- and all of them


@st.composite
def matching_logs(draw: st.DrawFn) -> tuple[FullLog, FullLog]:
    """Two logs of one ensemble. An epoch has one leader, so what two logs hold of it is the same but for its length,
    and where they share a record they share all before it (protocol.md 2, X12)."""
    counts = st.integers(1, 4)
    shared: list[Zxid] = []
    epoch = 0
    for _ in range(draw(st.integers(0, 3))):
        epoch += draw(st.integers(1, 2))
        shared += run(epoch, draw(counts))
    logs = [list(shared), list(shared)]
    if shared:  # one of the two may go on in the last epoch they share
        longer, last = logs[draw(st.integers(0, 1))], shared[-1]
        longer += [last + more for more in range(1, draw(st.integers(0, 3)) + 1)]
    for _ in range(draw(st.integers(0, 3))):  # from here on every epoch is one log's alone
        epoch += 1
        logs[draw(st.integers(0, 1))] += run(epoch, draw(counts))
    return draw(compacted(logs[0])), draw(compacted(logs[1]))


@st.composite
def compacted(draw: st.DrawFn, zxids: list[Zxid]) -> FullLog:
    snapshot = draw(st.sampled_from([0, *zxids]))
    return FullLog(tuple(zxids), draw(st.sampled_from([z for z in (0, *zxids) if z <= snapshot])), snapshot)


@settings(max_examples=200)
@given(matching_logs())
def test_the_plan_is_the_one_that_full_lists_give(logs: tuple[FullLog, FullLog]) -> None:
    leader, learner = logs
    point = max({0, *leader.zxids} & {0, *learner.zxids})
    plan = plan_of(leader, learner)
    if leader.base <= point >= learner.snapshot:
        assert plan == SyncPlan(point, cut=point < learner.last)
    elif leader.base > learner.snapshot:
        assert plan == SyncPlan(leader.snapshot, snapshot=True)
    else:
        assert plan is None


@settings(max_examples=200)
@given(matching_logs())
def test_there_is_a_plan_wherever_nothing_committed_was_lost(logs: tuple[FullLog, FullLog]) -> None:
    leader, learner = logs
    if learner.snapshot in (0, *leader.zxids):  # a snapshot is of what is committed, and that the leader has
        assert plan_of(leader, learner) is not None


@settings(max_examples=200)
@given(matching_logs())
def test_a_learner_that_follows_the_plan_has_the_log_of_the_leader(logs: tuple[FullLog, FullLog]) -> None:
    leader, learner = logs
    plan = plan_of(leader, learner)
    if plan is None:
        return
    sent = [zxid for zxid in leader.zxids if zxid > plan.point]
    assert plan.point >= leader.base, "it sends what it no longer has"
    if plan.snapshot:
        assert plan.point == leader.snapshot
        assert plan.point > learner.snapshot, "it sends a snapshot that is not ahead of the learner's"
        kept = [zxid for zxid in leader.zxids if zxid <= plan.point]
    else:
        assert plan.point >= learner.snapshot, "it cuts what is committed"
        kept = [zxid for zxid in learner.zxids if zxid <= plan.point] if plan.cut else list(learner.zxids)
    assert kept + sent == list(leader.zxids)


@given(matching_logs())
def test_two_logs_part_in_the_same_place_from_both_sides(logs: tuple[FullLog, FullLog]) -> None:
    one, other = logs
    assert divergence(one.as_leader, other.as_learner) == divergence(other.as_learner, one.as_leader)
