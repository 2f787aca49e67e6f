"""zkcore for blocking code: `import zkcore.sync as zkcore`, and leave out every `await`.

The faces here mirror the client and the recipes file by file. There is one implementation: the same coroutines run on
the calling thread, over a Port that blocks (`zkcore.sync.port`).
"""

from zkcore.client.port import SessionState, Signal
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigurationError,
    ConnectionLostError,
    FrameTooLargeError,
    InvalidACLError,
    InvariantViolation,
    LeaseLostError,
    LockNotHeldError,
    LockTimeoutError,
    MalformedFrameError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NotLeadingError,
    OperationTimeoutError,
    OutcomeUnknownError,
    ProtocolError,
    RecipeError,
    RequestError,
    SessionClosedError,
    SessionError,
    SessionExpiredError,
    SessionMovedError,
    StorageCorruptError,
    StorageError,
    StorageFailedError,
    StorageFullError,
    ThrottledError,
    TransferFailedError,
    UnimplementedError,
    UnsupportedError,
    VersionMismatchError,
    ZkcoreError,
)
from zkcore.jute.records import Stat
from zkcore.replica.levels import Read
from zkcore.sync.client import Client, LocalCluster, local_cluster
from zkcore.sync.lease import Lease
from zkcore.sync.lock import Lock
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import NodeData
from zkcore.zab.limits import Limits

__all__ = [
    "BadArgumentsError",
    "BadVersionError",
    "Client",
    "ConfigurationError",
    "ConnectionLostError",
    "EventType",
    "FrameTooLargeError",
    "InvalidACLError",
    "InvariantViolation",
    "Lease",
    "LeaseLostError",
    "Limits",
    "LocalCluster",
    "Lock",
    "LockNotHeldError",
    "LockTimeoutError",
    "MalformedFrameError",
    "NoChildrenForEphemeralsError",
    "NoNodeError",
    "NodeData",
    "NodeExistsError",
    "NotEmptyError",
    "NotLeadingError",
    "OperationTimeoutError",
    "OutcomeUnknownError",
    "ProtocolError",
    "Read",
    "RecipeError",
    "RequestError",
    "SessionClosedError",
    "SessionError",
    "SessionExpiredError",
    "SessionMovedError",
    "SessionState",
    "Signal",
    "Stat",
    "StorageCorruptError",
    "StorageError",
    "StorageFailedError",
    "StorageFullError",
    "ThrottledError",
    "TransferFailedError",
    "UnimplementedError",
    "UnsupportedError",
    "VersionMismatchError",
    "WatchEvent",
    "ZkcoreError",
    "local_cluster",
]
