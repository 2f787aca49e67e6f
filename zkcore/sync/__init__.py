"""zkcore for blocking code: `import zkcore.sync as zkcore`, and leave out every `await`.

The faces here mirror the client and the recipes file by file. There is one implementation: the same coroutines run on
the calling thread, over a Port that blocks (`zkcore.sync.port`).
"""

from zkcore.client.port import SessionState, Signal
from zkcore.errors import (
    AuthFailedError,
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
    MultiError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NotLeadingError,
    NoWatcherError,
    OperationTimeoutError,
    OutcomeForgottenError,
    OutcomeUnknownError,
    ProtocolError,
    QuotaExceededError,
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
from zkcore.jute.records import ACL, Id, Stat
from zkcore.replica.leading import LiveSession
from zkcore.replica.levels import Read
from zkcore.replica.rules import Rules
from zkcore.sync.client import Client, LocalCluster, local_cluster
from zkcore.sync.lease import Lease
from zkcore.sync.lock import Lock
from zkcore.sync.transaction import Transaction
from zkcore.tree.acl import Access, DigestScheme, Permission, digest_id, scrypt_id
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.prepare import Guard
from zkcore.tree.requests import NodeACL, NodeData
from zkcore.tree.sessions import Timeouts
from zkcore.tree.watch_requests import Resync
from zkcore.zab.limits import Limits

__all__ = [
    "ACL",
    "Access",
    "AuthFailedError",
    "BadArgumentsError",
    "BadVersionError",
    "Client",
    "ConfigurationError",
    "ConnectionLostError",
    "DigestScheme",
    "EventType",
    "FrameTooLargeError",
    "Guard",
    "Id",
    "InvalidACLError",
    "InvariantViolation",
    "Lease",
    "LeaseLostError",
    "Limits",
    "LiveSession",
    "LocalCluster",
    "Lock",
    "LockNotHeldError",
    "LockTimeoutError",
    "MalformedFrameError",
    "MultiError",
    "NoAuthError",
    "NoChildrenForEphemeralsError",
    "NoNodeError",
    "NoWatcherError",
    "NodeACL",
    "NodeData",
    "NodeExistsError",
    "NotEmptyError",
    "NotLeadingError",
    "OperationTimeoutError",
    "OutcomeForgottenError",
    "OutcomeUnknownError",
    "Permission",
    "ProtocolError",
    "QuotaExceededError",
    "Read",
    "RecipeError",
    "RequestError",
    "Resync",
    "Rules",
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
    "Timeouts",
    "Transaction",
    "TransferFailedError",
    "UnimplementedError",
    "UnsupportedError",
    "VersionMismatchError",
    "WatchEvent",
    "ZkcoreError",
    "digest_id",
    "local_cluster",
    "scrypt_id",
]
