"""zkcore for blocking code: `import zkcore.sync as zkcore`, and leave out every `await`.

The faces here mirror the client and the recipes file by file. There is one implementation: the same coroutines run on
the calling thread, over a Port that blocks (`zkcore.sync.port`).
"""

from zkcore.client.atomically import Committed
from zkcore.client.port import SessionState, Signal
from zkcore.client.retry import Retry, WriteRetry
from zkcore.client.tcp_node import NodeConfig
from zkcore.errors import (
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    BrokenBarrierError,
    ClockError,
    CodecError,
    ConfigMismatchError,
    ConfigurationError,
    ConnectionLostError,
    CounterOverflowError,
    DeadlockError,
    ForeignLoopError,
    ForkedError,
    FrameTooLargeError,
    IdsExhaustedError,
    InvalidACLError,
    InvalidScheduleError,
    InvalidValueError,
    InvariantViolation,
    ItemTooLargeError,
    JoinRefusedError,
    LatchCountError,
    LeaseLostError,
    LockNotHeldError,
    LockTimeoutError,
    MalformedFrameError,
    MessagesMissedError,
    MultiError,
    NewConfigNoQuorumError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoInstancesError,
    NoMembersError,
    NoNodeError,
    NoOwnerError,
    NotClaimedError,
    NotEmptyError,
    NothingToCacheError,
    NotLeaderError,
    NotLeadingError,
    NotMemberError,
    NotStartedError,
    NoWatcherError,
    OperationTimeoutError,
    OutcomeForgottenError,
    OutcomeUnknownError,
    ProtocolError,
    QueueEmptyError,
    QueueFullError,
    QueueShutDownError,
    QuotaExceededError,
    ReadOnlyError,
    RecipeError,
    ReconfigDisabledError,
    ReconfigInProgressError,
    RequestError,
    SessionClosedError,
    SessionError,
    SessionExpiredError,
    SessionMovedError,
    StaleTokenError,
    StorageCorruptError,
    StorageError,
    StorageFailedError,
    StorageFullError,
    ThrottledError,
    TransactionConflictError,
    TransferFailedError,
    UnimplementedError,
    UnknownActionError,
    UnplaceableError,
    UnsupportedError,
    VersionMismatchError,
    ZkcoreError,
)
from zkcore.jute.records import ACL, Id, Stat
from zkcore.recipes.cache import CacheChange, CacheView
from zkcore.recipes.choosing import Choice, Instance, Status
from zkcore.recipes.codec import Codec, json_codec, text_codec
from zkcore.recipes.config import Versioned
from zkcore.recipes.contender import Contender
from zkcore.recipes.dead_letters import DeadLetter
from zkcore.recipes.everywhere import Call
from zkcore.recipes.execution import Outcome, OutcomeState, Report
from zkcore.recipes.fence import SqliteTokens
from zkcore.recipes.holding import OnLost
from zkcore.recipes.mailbox import Letter
from zkcore.recipes.membership import Member
from zkcore.recipes.migrations import MigrationStep
from zkcore.recipes.schedule import Cron, Every, Schedule
from zkcore.recipes.shard_map import Route, ShardState
from zkcore.recipes.shard_table import ShardMember, ShardTable
from zkcore.recipes.singleton_job import JobRecord, JobState, Tick
from zkcore.recipes.time_ids import TimeId
from zkcore.recipes.topic import Published
from zkcore.replica.leading import LiveSession
from zkcore.replica.levels import Read
from zkcore.replica.members import Members
from zkcore.replica.recovery import Recovery, recover
from zkcore.replica.rules import Rules
from zkcore.sync.atomic_value import AtomicValue
from zkcore.sync.atomically import AtomicTransaction
from zkcore.sync.barrier import Barrier
from zkcore.sync.cache import Cache
from zkcore.sync.client import Client
from zkcore.sync.config import Config
from zkcore.sync.counter import Counter
from zkcore.sync.discovery import Discovery
from zkcore.sync.election import Election
from zkcore.sync.event import Event
from zkcore.sync.everywhere import Everywhere, Execution
from zkcore.sync.fence import FenceGuard
from zkcore.sync.ids import IdGenerator
from zkcore.sync.latch import CountDownLatch
from zkcore.sync.lease import Lease
from zkcore.sync.lock import Lock
from zkcore.sync.mailbox import Mailbox, Message
from zkcore.sync.membership import Membership
from zkcore.sync.migrations import Migrations
from zkcore.sync.multilock import MultiLock
from zkcore.sync.node import EmbeddedClient, LocalCluster, local_cluster
from zkcore.sync.persistent_ephemeral import PersistentEphemeral
from zkcore.sync.queue import Claim, PriorityQueue, Queue
from zkcore.sync.rate_limiter import RateLimiter
from zkcore.sync.reads import Reads
from zkcore.sync.registration import Registration
from zkcore.sync.rlock import RLock
from zkcore.sync.rwlock import ReadWriteLock
from zkcore.sync.semaphore import BoundedSemaphore, Semaphore
from zkcore.sync.shard_map import ShardMap
from zkcore.sync.sharding import Sharding
from zkcore.sync.singleton_job import SingletonJob
from zkcore.sync.tcp_node import TcpNode, start_node
from zkcore.sync.time_ids import TimeIdGenerator
from zkcore.sync.topic import Topic
from zkcore.sync.transaction import Transaction
from zkcore.sync.zookeeper import ZookeeperClient, connect
from zkcore.transport.limits import LinkLimits
from zkcore.transport.security import Plaintext, SharedSecret, Tls
from zkcore.tree.acl import Access, DigestScheme, Permission, digest_id, scrypt_id
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.prepare import Guard
from zkcore.tree.requests import (
    Child,
    ChildKind,
    ChildPage,
    Children,
    Condition,
    Created,
    NodeACL,
    NodeData,
    Relation,
    StatField,
)
from zkcore.tree.sessions import Timeouts
from zkcore.tree.watch_requests import Resync, WatcherType
from zkcore.zab.limits import Limits
from zkcore.zab.peer import PeerStatus

__all__ = [
    "ACL",
    "Access",
    "AtomicTransaction",
    "AtomicValue",
    "AuthFailedError",
    "BadArgumentsError",
    "BadVersionError",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Cache",
    "CacheChange",
    "CacheView",
    "Call",
    "Child",
    "ChildKind",
    "ChildPage",
    "Children",
    "Choice",
    "Claim",
    "Client",
    "ClockError",
    "Codec",
    "CodecError",
    "Committed",
    "Condition",
    "Config",
    "ConfigMismatchError",
    "ConfigurationError",
    "ConnectionLostError",
    "Contender",
    "CountDownLatch",
    "Counter",
    "CounterOverflowError",
    "Created",
    "Cron",
    "DeadLetter",
    "DeadlockError",
    "DigestScheme",
    "Discovery",
    "Election",
    "EmbeddedClient",
    "Event",
    "EventType",
    "Every",
    "Everywhere",
    "Execution",
    "FenceGuard",
    "ForeignLoopError",
    "ForkedError",
    "FrameTooLargeError",
    "Guard",
    "Id",
    "IdGenerator",
    "IdsExhaustedError",
    "Instance",
    "InvalidACLError",
    "InvalidScheduleError",
    "InvalidValueError",
    "InvariantViolation",
    "ItemTooLargeError",
    "JobRecord",
    "JobState",
    "JoinRefusedError",
    "LatchCountError",
    "Lease",
    "LeaseLostError",
    "Letter",
    "Limits",
    "LinkLimits",
    "LiveSession",
    "LocalCluster",
    "Lock",
    "LockNotHeldError",
    "LockTimeoutError",
    "Mailbox",
    "MalformedFrameError",
    "Member",
    "Members",
    "Membership",
    "Message",
    "MessagesMissedError",
    "MigrationStep",
    "Migrations",
    "MultiError",
    "MultiLock",
    "NewConfigNoQuorumError",
    "NoAuthError",
    "NoChildrenForEphemeralsError",
    "NoInstancesError",
    "NoMembersError",
    "NoNodeError",
    "NoOwnerError",
    "NoWatcherError",
    "NodeACL",
    "NodeConfig",
    "NodeData",
    "NodeExistsError",
    "NotClaimedError",
    "NotEmptyError",
    "NotLeaderError",
    "NotLeadingError",
    "NotMemberError",
    "NotStartedError",
    "NothingToCacheError",
    "OnLost",
    "OperationTimeoutError",
    "Outcome",
    "OutcomeForgottenError",
    "OutcomeState",
    "OutcomeUnknownError",
    "PeerStatus",
    "Permission",
    "PersistentEphemeral",
    "Plaintext",
    "PriorityQueue",
    "ProtocolError",
    "Published",
    "Queue",
    "QueueEmptyError",
    "QueueFullError",
    "QueueShutDownError",
    "QuotaExceededError",
    "RLock",
    "RateLimiter",
    "Read",
    "ReadOnlyError",
    "ReadWriteLock",
    "Reads",
    "RecipeError",
    "ReconfigDisabledError",
    "ReconfigInProgressError",
    "Recovery",
    "Registration",
    "Relation",
    "Report",
    "RequestError",
    "Resync",
    "Retry",
    "Route",
    "Rules",
    "Schedule",
    "Semaphore",
    "SessionClosedError",
    "SessionError",
    "SessionExpiredError",
    "SessionMovedError",
    "SessionState",
    "ShardMap",
    "ShardMember",
    "ShardState",
    "ShardTable",
    "Sharding",
    "SharedSecret",
    "Signal",
    "SingletonJob",
    "SqliteTokens",
    "StaleTokenError",
    "Stat",
    "StatField",
    "Status",
    "StorageCorruptError",
    "StorageError",
    "StorageFailedError",
    "StorageFullError",
    "TcpNode",
    "ThrottledError",
    "Tick",
    "TimeId",
    "TimeIdGenerator",
    "Timeouts",
    "Tls",
    "Topic",
    "Transaction",
    "TransactionConflictError",
    "TransferFailedError",
    "UnimplementedError",
    "UnknownActionError",
    "UnplaceableError",
    "UnsupportedError",
    "VersionMismatchError",
    "Versioned",
    "WatchEvent",
    "WatcherType",
    "WriteRetry",
    "ZkcoreError",
    "ZookeeperClient",
    "connect",
    "digest_id",
    "json_codec",
    "local_cluster",
    "recover",
    "scrypt_id",
    "start_node",
    "text_codec",
]
