"""What a node tells of itself, as values: roles, quorums, members, sessions, links, snapshots, storages, what was slow.

A node has one Dispatcher, `node.events`. Whoever wants to know subscribes a callable, or iterates over a `stream`; the
log (`logs.py`) and the counts behind the metrics (`tally.py`) are subscribers like any other::

    node.events.subscribe(print)

    async with node.events.stream() as events:
        async for event in events:
            if isinstance(event, zkcore.events.QuorumLost):
                ...

Every event is frozen, has the number of its `node`, and prints as one line. No event has data of znodes or credentials
in it; where there is the path of a znode, its field says so.

The core does not know this package. What it has to say is in its Ready and its status, and the host makes events of it
(`zkcore.replica.telling`).
"""

from zkcore.events.dispatcher import Dispatcher, Dropped, EventStream, Subscriber
from zkcore.events.kinds import (
    ConfigurationActivated,
    ConfigurationChanging,
    DamageFound,
    DamageRepaired,
    Joined,
    JoinWaits,
    LeaderChanged,
    LinkDown,
    LinkRefused,
    LinkUp,
    MemberCaughtUp,
    MemberJoined,
    MemberLeft,
    MemberSuspected,
    NodeEvent,
    NodeHalted,
    NodeStarted,
    NodeStopped,
    PeerRejected,
    PromotionRefused,
    QuorumLost,
    QuorumRegained,
    Removed,
    RoleChanged,
    SessionClosed,
    SessionExpired,
    SessionMoved,
    SessionOpened,
    SlowRequest,
    SlowSave,
    SnapshotBegun,
    SnapshotFailed,
    SnapshotRestored,
    SnapshotSaved,
    StorageFailed,
    StorageReadOnly,
    StorageWritable,
    Synced,
    TransferFailed,
)
from zkcore.events.tally import Tally
from zkcore.zab.status import SyncMode

__all__ = [
    "ConfigurationActivated",
    "ConfigurationChanging",
    "DamageFound",
    "DamageRepaired",
    "Dispatcher",
    "Dropped",
    "EventStream",
    "JoinWaits",
    "Joined",
    "LeaderChanged",
    "LinkDown",
    "LinkRefused",
    "LinkUp",
    "MemberCaughtUp",
    "MemberJoined",
    "MemberLeft",
    "MemberSuspected",
    "NodeEvent",
    "NodeHalted",
    "NodeStarted",
    "NodeStopped",
    "PeerRejected",
    "PromotionRefused",
    "QuorumLost",
    "QuorumRegained",
    "Removed",
    "RoleChanged",
    "SessionClosed",
    "SessionExpired",
    "SessionMoved",
    "SessionOpened",
    "SlowRequest",
    "SlowSave",
    "SnapshotBegun",
    "SnapshotFailed",
    "SnapshotRestored",
    "SnapshotSaved",
    "StorageFailed",
    "StorageReadOnly",
    "StorageWritable",
    "Subscriber",
    "SyncMode",
    "Synced",
    "Tally",
    "TransferFailed",
]
