"""Every kind of event prints on one line, is logged at a level that a table says, and is counted."""

from __future__ import annotations

import logging

import attrs
import pytest

from zkcore import events
from zkcore.events import NodeEvent, SyncMode, Tally
from zkcore.events.logs import log
from zkcore.zab.messages import Damage, Role
from zkcore.zab.quorum import EnsembleConfig

VALUES: dict[str, object] = {
    "node": 1, "peer": 2, "leader": 3, "previous": None, "target": 2, "epoch": 4, "role": Role.LOOKING,
    "established": False, "why": "that is why", "where": "here:1", "called": True, "session": 0x1F, "timeout_ms": 4000,
    "served_here": True, "zxid": 0x300000007, "bytes": 10, "seconds": 2.5, "mode": SyncMode.SNAP, "opens_anew": True,
    "damage": Damage.LOG, "harms": ("a", "b"), "suppressed": 7, "under_way": True, "request": "Create",
    "path": "/secret", "error": ValueError("broken"), "member": 2, "votes": True, "version": 0x300000007,
    "config": EnsembleConfig([1, 2], observers=[4]), "replaced": EnsembleConfig([1]), "seed": "zk1:2888",
    "members": "voters 1 2 of 0x7",
}  # fmt: skip

KINDS = [
    kind for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, NodeEvent) and kind is not NodeEvent
]  # fmt: skip


def an(kind: type[NodeEvent], **other: object) -> NodeEvent:
    values = {**VALUES, **other}
    return kind(**{field.name: values[field.name] for field in attrs.fields(kind)})


def test_there_are_many() -> None:
    assert len(KINDS) >= 28
    assert {kind.__name__ for kind in KINDS} <= set(events.__all__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_prints_on_one_line_names_its_node_and_is_frozen(kind: type[NodeEvent]) -> None:
    event = an(kind)
    assert str(event).startswith("node 1")
    assert "\n" not in str(event)
    assert "/secret" not in str(event) + repr(event)
    assert event == an(kind)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.node = 2  # type: ignore[misc]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_logged_with_its_node_and_kind(kind: type[NodeEvent], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "zkcore"):
        log(an(kind))
    (record,) = caplog.records
    assert record.getMessage() == str(an(kind))
    assert (record.zk_node, record.zk_event) == (1, kind.__name__)  # type: ignore[attr-defined]
    assert record.name in {"zkcore.node", "zkcore.peer", "zkcore.session", "zkcore.storage"}


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (an(events.QuorumLost), logging.WARNING),
        (an(events.SessionClosed), logging.INFO),
        (an(events.SessionClosed, served_here=False), logging.DEBUG),
        (an(events.StorageFailed), logging.ERROR),
        (an(events.StorageFailed, opens_anew=False), logging.CRITICAL),
        (an(events.NodeHalted), logging.CRITICAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, NodeEvent) else None,
)
def test_how_loud_an_event_is_depends_on_what_it_says(
    event: NodeEvent, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "zkcore"):
        log(event)
    assert [record.levelno for record in caplog.records] == [level]
    assert bool(caplog.records[0].exc_info) == isinstance(event, events.NodeHalted)


def test_what_was_left_untold_is_said_and_an_event_of_a_leader_reads_well() -> None:
    assert str(an(events.SlowSave)).endswith("to save has taken 2.5 s so far (and 7 more before)")
    assert str(an(events.SlowSave, suppressed=0, under_way=False)) == "node 1: its disk is slow: to save took 2.5 s"
    assert str(an(events.LeaderChanged)) == "node 1 follows node 3 in epoch 4"
    assert str(an(events.LeaderChanged, leader=1)) == "node 1 leads in epoch 4"
    assert str(an(events.MemberJoined)) == "node 1: node 2 has joined, and votes"
    assert str(an(events.ConfigurationChanging)) == (
        "node 1: the members are being changed from voters 1 to voters 1 2 observers 4"
    )
    assert str(an(events.LinkRefused, called=False, suppressed=0)) == (
        "node 1: no link with node 2 at here:1: that is why"
    )


def test_a_tally_counts_kinds_and_sums_what_belongs_to_them() -> None:
    tally = Tally()
    for event in (
        an(events.Synced), an(events.Synced, mode=SyncMode.DIFF, bytes=1), an(events.RoleChanged),
        an(events.RoleChanged, role=Role.LEADING), an(events.SnapshotSaved), an(events.SnapshotSaved),
        an(events.NodeStarted), an(events.StorageWritable),
    ):  # fmt: skip
        tally(event)
    assert tally.events[events.Synced] == 2
    assert tally.syncs == {SyncMode.SNAP: 1, SyncMode.DIFF: 1}
    assert tally.sync_bytes == {SyncMode.SNAP: 10, SyncMode.DIFF: 1}
    assert tally.elections == 3, "the core begins with one, at the start and after it lost its storage"
    assert (tally.snapshot_bytes, tally.snapshot_seconds) == (20, 5.0)
