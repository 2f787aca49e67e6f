"""The consensus core, for those who host it themselves. `Peer` states the contract."""

from zkcore.zab.limits import Limits
from zkcore.zab.messages import Forward, Message, PeerId, Role, ZabMessage
from zkcore.zab.peer import Peer, PeerStatus
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import (
    Append,
    Compact,
    Delivered,
    Entry,
    InstallSnapshot,
    LogReader,
    PeerRejected,
    ReadDropped,
    ReadReady,
    Ready,
    Restored,
    RoleChanged,
    Saved,
    SaveEpochs,
    SnapshotChunk,
    SnapshotRef,
    Truncate,
    Write,
)

__all__ = [
    "Append",
    "Compact",
    "Delivered",
    "EnsembleConfig",
    "Entry",
    "Forward",
    "InstallSnapshot",
    "Limits",
    "LogReader",
    "Message",
    "Peer",
    "PeerId",
    "PeerRejected",
    "PeerStatus",
    "ReadDropped",
    "ReadReady",
    "Ready",
    "Restored",
    "Role",
    "RoleChanged",
    "SaveEpochs",
    "Saved",
    "SnapshotChunk",
    "SnapshotRef",
    "Truncate",
    "Write",
    "ZabMessage",
]
