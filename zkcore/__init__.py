"""Apache ZooKeeper's coordination model as a library that an application imports.

The packages, from what stands on all others down to what knows nobody::

    cli         python -m zkcore
    sync        the client and the recipes for blocking code
    recipes     what people build on a coordination service: locks, elections, queues, ...
    client      the verbs of ZooKeeper over a Port; nodes and clusters in this process
    server      ZooKeeper's client protocol: kazoo and zkCli.sh can use a node
    replica     the one place where the core, the tree, the storage and the links meet
    transport   what carries messages; storage, what keeps them
    tree        znodes, sessions, watches: requests become transactions, transactions are applied
    zab         the consensus core: election, discovery, synchronisation, broadcast
    jute        records as bytes
    ring        consistent hashing: who owns a key; a leaf that knows nobody
    zxid        transaction ids; errors, one tree of exceptions

and `testing`, which simulates all of it from a seed. Only downward imports exist, and a test sees to that.
"""

from zkcore.client.atomically import AtomicTransaction, Committed
from zkcore.client.client import Client
from zkcore.client.cluster import LocalCluster, local_cluster
from zkcore.client.node import EmbeddedClient, Node
from zkcore.client.port import Port, SessionState, Signal
from zkcore.client.reads import Reads
from zkcore.client.retry import Retry, WriteRetry
from zkcore.client.tcp_node import NodeConfig, TcpNode, start_node
from zkcore.client.transaction import Transaction
from zkcore.client.zookeeper import ZookeeperClient, connect
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
from zkcore.recipes.atomic_value import AtomicValue
from zkcore.recipes.barrier import Barrier
from zkcore.recipes.choosing import Choice, Instance, Status
from zkcore.recipes.claiming import Claim
from zkcore.recipes.codec import Codec, json_codec, text_codec
from zkcore.recipes.config import Config, Versioned
from zkcore.recipes.contender import Contender
from zkcore.recipes.counter import Counter
from zkcore.recipes.dead_letters import DeadLetter
from zkcore.recipes.discovery import Discovery
from zkcore.recipes.election import Election
from zkcore.recipes.event import Event
from zkcore.recipes.fence import FenceGuard, SqliteTokens
from zkcore.recipes.holding import OnLost
from zkcore.recipes.ids import IdGenerator
from zkcore.recipes.latch import CountDownLatch
from zkcore.recipes.lease import Lease
from zkcore.recipes.lock import Lock
from zkcore.recipes.membership import Member, Membership
from zkcore.recipes.multilock import MultiLock
from zkcore.recipes.queue import PriorityQueue, Queue
from zkcore.recipes.registration import Registration
from zkcore.recipes.rlock import RLock
from zkcore.recipes.rwlock import ReadWriteLock
from zkcore.recipes.semaphore import BoundedSemaphore, Semaphore
from zkcore.recipes.shard_map import Route, ShardMap, ShardState
from zkcore.recipes.shard_table import ShardMember, ShardTable
from zkcore.recipes.sharding import Sharding
from zkcore.recipes.time_ids import TimeId, TimeIdGenerator
from zkcore.replica.leading import LiveSession
from zkcore.replica.levels import Read
from zkcore.replica.members import Members
from zkcore.replica.recovery import Recovery, recover
from zkcore.replica.replica import Replica
from zkcore.replica.rules import Rules
from zkcore.server.limits import ListenerLimits
from zkcore.server.listener import ClientListener
from zkcore.storage.file import FileStorage
from zkcore.storage.storage import MemoryStorage, Storage
from zkcore.transport.limits import LinkLimits
from zkcore.transport.security import Plaintext, SharedSecret, Tls
from zkcore.transport.tcp import TcpTransport
from zkcore.transport.transport import Inbox, LocalNetwork, Transport
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
from zkcore.version import VERSION
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Role
from zkcore.zab.peer import PeerStatus
from zkcore.zab.quorum import EnsembleConfig

__version__ = VERSION
__version__ = "0.1.0"
from zkcore.recipes.cache import Cache, CacheChange, CacheView
from zkcore.recipes.everywhere import Call, Everywhere
from zkcore.recipes.execution import Execution, Outcome, OutcomeState, Report
from zkcore.recipes.mailbox import Letter, Mailbox, Message
from zkcore.recipes.migrations import Migrations, MigrationStep
from zkcore.recipes.persistent_ephemeral import PersistentEphemeral
from zkcore.recipes.rate_limiter import RateLimiter
from zkcore.recipes.schedule import Cron, Every, Schedule
from zkcore.recipes.singleton_job import JobRecord, JobState, SingletonJob, Tick
from zkcore.recipes.topic import Published, Topic

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
    "ClientListener",
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
    "EnsembleConfig",
    "Event",
    "EventType",
    "Every",
    "Everywhere",
    "Execution",
    "FenceGuard",
    "FileStorage",
    "ForeignLoopError",
    "ForkedError",
    "FrameTooLargeError",
    "Guard",
    "Id",
    "IdGenerator",
    "IdsExhaustedError",
    "Inbox",
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
    "ListenerLimits",
    "LiveSession",
    "LocalCluster",
    "LocalNetwork",
    "Lock",
    "LockNotHeldError",
    "LockTimeoutError",
    "Mailbox",
    "MalformedFrameError",
    "Member",
    "Members",
    "Membership",
    "MemoryStorage",
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
    "Node",
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
    "Port",
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
    "Replica",
    "Report",
    "RequestError",
    "Resync",
    "Retry",
    "Role",
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
    "Storage",
    "StorageCorruptError",
    "StorageError",
    "StorageFailedError",
    "StorageFullError",
    "TcpNode",
    "TcpTransport",
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
    "Transport",
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
