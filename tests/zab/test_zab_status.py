"""What a Peer says of itself: as a value, and in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from dialogue import Dialogue, Z, leading, stored

from zkcore.storage.storage import MemoryStorage
from zkcore.zab.limits import Limits
from zkcore.zab.messages import NOBODY, Ack, Damage, Diff, FollowerInfo, LeaderInfo, NewLeader, Role, UpToDate, Vote
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.status import LearnerStatus, PeerStatus, explain

CONFIG = EnsembleConfig((1, 2, 3), observers=(4,))

LOOKING = PeerStatus(
    me=1, config=CONFIG, role=Role.LOOKING, phase="LOOKING", established=False, leader=None,
    vote=Vote(Role.LOOKING, 1, Z(1, 5), 1, 1), accepted_epoch=1, current_epoch=1, log_base=0, snapshot=0,
    last_logged=Z(1, 5), last_committed=Z(1, 3), last_delivered=Z(1, 3), damage=None, linked=(2, 3), agreed=(1, 2),
)  # fmt: skip
LEADING = evolve(
    LOOKING, role=Role.LEADING, phase="BROADCAST", established=True, leader=1, linked=(2, 3, 4), agreed=(1, 2, 3)
)
FOLLOWING = evolve(LOOKING, role=Role.FOLLOWING, phase="BROADCAST", established=True, leader=3)
ALL_WELL = tuple(LearnerStatus(peer, "ACTIVE", peer != 4, None, Z(1, 5), 0, 3) for peer in (2, 3, 4))


def looking(**more: Any) -> PeerStatus:
    return evolve(LOOKING, **more)


def leading_with(*learners: LearnerStatus, **more: Any) -> PeerStatus:
    """The leader with `learners` in the place of those that are well."""
    changed = {learner.peer: learner for learner in learners}
    return evolve(LEADING, learners=tuple(changed.get(each.peer, each) for each in ALL_WELL), **more)


# --- explain, line by line


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (looking(), "linked to [1, 2, 3]: a quorum of [1, 2, 3]; missing nobody"),
        (looking(linked=()), "linked to [1]: no quorum of [1, 2, 3]; missing [2, 3]"),
        (looking(linked=(4,)), "linked to [1]: no quorum of [1, 2, 3]; missing [2, 3]"),
        (looking(agreed=()), "agreeing on a leader: nobody: no quorum of [1, 2, 3]; missing [1, 2, 3]"),
        (looking(), "agreeing on a leader: [1, 2]: a quorum of [1, 2, 3]; missing [3]"),
        (
            looking(vote=Vote(Role.LOOKING, 3, Z(2, 7), 2, 1)),
            "the newest history heard of is that of server 3, 0x2_00000007 in epoch 2",
        ),
        (
            looking(damage=Damage.LOG),
            "records that were saved here are lost: no vote and no leading until a leader has sent them again",
        ),
        (
            looking(damage=Damage.EPOCHS),
            "what this node has promised is lost: no vote and no leading until it follows a leader and every other "
            "voter was heard",
        ),
        (looking(me=4), "an observer never leads"),
        (
            looking(config=EnsembleConfig((1, 2, 3), weights={1: 0})),
            "a voter of weight 0 never leads",
        ),
        (FOLLOWING, "server 3 leads epoch 1, and this node follows it"),
        (
            evolve(FOLLOWING, established=False, phase="SNAPPING"),
            "following server 3, which has not brought this node in line yet: SNAPPING",
        ),
        (evolve(FOLLOWING, established=False, phase="REGISTERING", linked=(2,)), "there is no link to server 3"),
        (
            leading_with(established=False, phase="EPOCH_PROPOSED", agreed=(1,)),
            "not established: in EPOCH_PROPOSED, done by [1]: no quorum of [1, 2, 3]; missing [2, 3]",
        ),
        (leading_with(handing_over_to=2), "server 2 is taking over: no proposals are accepted"),
        (
            leading_with(is_full=True),
            "too much is outstanding: no proposals are accepted until a quorum has acknowledged some",
        ),
        (evolve(LEADING, learners=ALL_WELL[1:], linked=(3, 4)), "voter 2 is away"),
        (evolve(LEADING, learners=ALL_WELL[1:]), "voter 2 is linked, but does not follow"),
        (evolve(LEADING, learners=ALL_WELL[:2], linked=(2, 3)), "observer 4 is away"),
        (
            leading_with(LearnerStatus(2, "ACTIVE", False, Damage.EPOCHS, Z(1, 5), 0, 3)),
            "server 2 has forgotten its promises and does not count until every other voter was heard",
        ),
        (
            leading_with(LearnerStatus(2, "CATCHING_UP", True, None, Z(1, 1), 4, 3)),
            "server 2 is being brought in line: CATCHING_UP, 4 records to go",
        ),
        (
            leading_with(LearnerStatus(2, "ACTIVE", True, None, Z(1, 1), 4, 17)),
            "server 2 lags by 4 records: it has 0x1_00000001, heard 17 ticks ago",
        ),
    ],
)
def test_each_reason_has_its_line(status: PeerStatus, line: str) -> None:
    assert line in explain(status)


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (leading_with(), 0),
        (FOLLOWING, 1),
        (looking(), 2),
        (looking(vote=Vote(Role.LOOKING, NOBODY, 0, 0, 1, damaged=True), damage=Damage.LOG), 3),
        (evolve(FOLLOWING, established=False, phase="SYNCING"), 1),
    ],
)
def test_what_is_well_is_not_explained(status: PeerStatus, lines: int) -> None:
    assert len(explain(status)) == lines


# --- and of a Peer that lives


def test_a_node_that_nobody_answers_says_whom_it_misses() -> None:
    assert Dialogue(1, linked=()).peer.explain() == (
        "linked to [1]: no quorum of [1, 2, 3]; missing [2, 3]",
        "agreeing on a leader: [1]: no quorum of [1, 2, 3]; missing [2, 3]",
    )


def test_a_follower_says_how_far_it_has_come() -> None:
    d = Dialogue(1).follow(3)
    phases = [d.peer.status().phase]
    for message in (LeaderInfo(1), Diff(0), NewLeader(1), UpToDate(0)):
        d.hears(3, message)
        phases.append(d.peer.status().phase)
    assert phases == ["REGISTERING", "WAIT_SYNC", "SYNCING", "ACKED", "BROADCAST"]
    assert d.peer.explain() == ("server 3 leads epoch 1, and this node follows it",)


def test_a_leader_says_how_far_it_has_come_and_who_did_their_part() -> None:
    d = Dialogue(3, linked=(1, 2)).stand()
    steps = [(d.peer.status().phase, d.peer.status().agreed)]
    for message in (FollowerInfo(0), d.ack_epoch(0), Ack(Z(1, 0))):
        d.hears(1, message)
        steps.append((d.peer.status().phase, d.peer.status().agreed))
    assert steps == [
        ("DISCOVERY", (3,)), ("EPOCH_PROPOSED", (3,)), ("SYNCHRONIZATION", (3,)), ("BROADCAST", (1, 3)),
    ]  # fmt: skip
    assert d.peer.explain() == ("voter 2 is linked, but does not follow",)


def test_a_leader_says_what_it_knows_of_each_learner() -> None:
    d = leading((1, 5), window_bytes=1, read_bytes=3)
    d.proposes(b"x")
    d.ticks(7)
    d.bring_in(2, (1, 3))
    assert d.peer.status().learners == (
        LearnerStatus(1, "ACTIVE", True, None, Z(1, 5), 1, 7),
        LearnerStatus(2, "CATCHING_UP", True, None, Z(1, 3), 3, 0),
    )
    assert d.peer.explain() == (
        "server 1 lags by 1 records: it has 0x1_00000005, heard 7 ticks ago",
        "server 2 is being brought in line: CATCHING_UP, 3 records to go",
    )


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda d: d.peer.transfer(1), "server 1 is taking over: no proposals are accepted"),
        (lambda d: None, "too much is outstanding: no proposals are accepted until a quorum has acknowledged some"),
    ],
)
def test_a_leader_says_why_it_takes_no_proposals(make: Callable[[Dialogue], None], line: str) -> None:
    d = leading(outstanding_proposals=1)
    d.proposes(b"x")
    make(d)
    d.drain()
    assert line in d.peer.explain()


def test_where_the_log_begins_and_the_snapshot_are_told() -> None:
    d = Dialogue(1, storage=stored((1, 9), base=Z(1, 3), at=Z(1, 6)))
    status = d.peer.status()
    assert (status.log_base, status.snapshot, status.last_logged) == (Z(1, 3), Z(1, 6), Z(1, 9))
    assert (status.accepted_epoch, status.current_epoch) == (1, 1)
    assert (status.last_committed, status.last_delivered) == (Z(1, 6), Z(1, 6))


def test_a_status_prints_what_was_lost() -> None:
    storage = MemoryStorage()
    storage.wipe()
    assert str(Dialogue(1, storage=storage).peer.status()).endswith("committed=0x0_00000000 lost its EPOCHS")


def test_nobody_is_full_who_does_not_lead() -> None:
    d = Dialogue(1, limits=Limits(outstanding_proposals=1)).join(3)
    assert not d.peer.is_full
    assert not d.peer.status().is_full
