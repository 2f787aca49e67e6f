"""What the world may import: pinned by name, documented, and the same in blocking code."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import zkcore
import zkcore.sync
from zkcore import errors

EXPORTED_BLOCKING = [
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
    "JoinRefusedError",
    "JobRecord",
    "JobState",
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

EXPORTED = [
    *EXPORTED_BLOCKING,
    "ClientListener",
    "EnsembleConfig",
    "FileStorage",
    "Inbox",
    "ListenerLimits",
    "LocalNetwork",
    "MemoryStorage",
    "Node",
    "Port",
    "Replica",
    "Role",
    "Storage",
    "TcpTransport",
    "Transport",
]


MIRRORED = {
    "AtomicTransaction": zkcore.AtomicTransaction,
    "AtomicValue": zkcore.AtomicValue,
    "Barrier": zkcore.Barrier,
    "BoundedSemaphore": zkcore.BoundedSemaphore,
    "Cache": zkcore.Cache,
    "Claim": zkcore.Claim,
    "Client": zkcore.Client,
    "Config": zkcore.Config,
    "CountDownLatch": zkcore.CountDownLatch,
    "Counter": zkcore.Counter,
    "Discovery": zkcore.Discovery,
    "Election": zkcore.Election,
    "EmbeddedClient": zkcore.EmbeddedClient,
    "Event": zkcore.Event,
    "Everywhere": zkcore.Everywhere,
    "Execution": zkcore.Execution,
    "FenceGuard": zkcore.FenceGuard,
    "IdGenerator": zkcore.IdGenerator,
    "Lease": zkcore.Lease,
    "LocalCluster": zkcore.LocalCluster,
    "Lock": zkcore.Lock,
    "Mailbox": zkcore.Mailbox,
    "Membership": zkcore.Membership,
    "Message": zkcore.Message,
    "Migrations": zkcore.Migrations,
    "MultiLock": zkcore.MultiLock,
    "PersistentEphemeral": zkcore.PersistentEphemeral,
    "PriorityQueue": zkcore.PriorityQueue,
    "Queue": zkcore.Queue,
    "RLock": zkcore.RLock,
    "RateLimiter": zkcore.RateLimiter,
    "ReadWriteLock": zkcore.ReadWriteLock,
    "Reads": zkcore.Reads,
    "Registration": zkcore.Registration,
    "Semaphore": zkcore.Semaphore,
    "ShardMap": zkcore.ShardMap,
    "Sharding": zkcore.Sharding,
    "SingletonJob": zkcore.SingletonJob,
    "TcpNode": zkcore.TcpNode,
    "TimeIdGenerator": zkcore.TimeIdGenerator,
    "Topic": zkcore.Topic,
    "Transaction": zkcore.Transaction,
    "ZookeeperClient": zkcore.ZookeeperClient,
}
"""The blocking classes, and those they are faces of."""

OWN = {
    "AtomicValue": {"path"},
    "Barrier": {"parties", "path"},
    "BoundedSemaphore": {"path", "value"},
    "Cache": {"path"},
    "Claim": {"deliveries", "item", "lease"},
    "Client": {"unblocked"},
    "Config": {"path"},
    "CountDownLatch": {"path"},
    "Counter": {"path"},
    "Discovery": {"path"},
    "Election": {"path"},
    "EmbeddedClient": {"unblocked"},
    "Event": {"path"},
    "Everywhere": {"path"},
    "Execution": {"action", "path", "zxid"},
    "IdGenerator": {"path"},
    "Lease": {"fencing_token", "path", "unblocked"},
    "Lock": {"path"},
    "Mailbox": {"name", "path"},
    "Membership": {"path"},
    "Migrations": {"path"},
    "MultiLock": {"paths"},
    "PersistentEphemeral": {"path"},
    "PriorityQueue": {"maxsize", "path"},
    "Queue": {"maxsize", "path"},
    "RLock": {"path"},
    "ReadWriteLock": {"path"},
    "RateLimiter": {"burst", "path", "rate"},
    "Registration": {"path"},
    "Semaphore": {"path", "value"},
    "ShardMap": {"path"},
    "Sharding": {"failures", "map", "path"},
    "SingletonJob": {"path"},
    "TcpNode": {"unblocked"},
    "TimeIdGenerator": {"path"},
    "Topic": {"history", "path"},
    "ZookeeperClient": {"unblocked"},
}
"""What only the blocking face has as a property: the way from it to its namesake, and what that has as a plain
attribute."""

ABSENT = {
    "EmbeddedClient": {"port"},
    "Lease": {"end", "hand_to", "loss"},
    "LocalCluster": {"nodes"},
    "ShardMap": {"cancel", "tell"},
    "TcpNode": {"node"},
    "ZookeeperClient": {"chroot_path", "port", "whole"},
}
"""What blocking code has no use for, or may not touch from its own thread."""

SET_ASIDE = {"blocking", "block"}
"""The parameters that only blocking methods have, as those of the standard library. Where one has them its `timeout`
may stand in its place, too."""


def error_classes() -> Iterator[type[zkcore.ZkcoreError]]:
    for _, member in inspect.getmembers(errors, inspect.isclass):
        if issubclass(member, zkcore.ZkcoreError):
            yield member


def public_members(owner: type) -> dict[str, object]:
    """Methods and properties that zkcore itself gives to `owner`, inherited ones included."""
    return {
        name: inspect.getattr_static(owner, name)
        for kind in reversed(owner.__mro__)
        if kind.__module__.startswith("zkcore")
        for name, member in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
    }


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "names"), [(zkcore, EXPORTED), (zkcore.sync, EXPORTED_BLOCKING)])
def test_the_exported_names_are_these_and_no_others(module: ModuleType, names: list[str]) -> None:
    assert module.__all__ == sorted(names)
    for name in names:
        assert hasattr(module, name), name


def test_every_module_exports_what_it_says() -> None:
    for found in pkgutil.walk_packages(zkcore.__path__, "zkcore."):
        if found.name != "zkcore.__main__":
            module = pkgutil.resolve_name(found.name)
            for name in getattr(module, "__all__", ()):
                assert hasattr(module, name), f"{found.name} has no {name}"


def test_the_version_is_a_release() -> None:
    assert all(part.isdigit() for part in zkcore.__version__.split("."))


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(EXPORTED) | set(EXPORTED_BLOCKING)))
def test_what_is_exported_is_documented(name: str) -> None:
    for module in (zkcore, zkcore.sync):
        exported = getattr(module, name, None)
        if inspect.isclass(exported) or inspect.isfunction(exported):
            assert (exported.__doc__ or "").strip(), f"{module.__name__}.{name}"


@pytest.mark.parametrize("name", [name for name in EXPORTED if inspect.isclass(getattr(zkcore, name))])
def test_public_methods_are_documented(name: str) -> None:
    """Those of protocols that say it all by their name and type (`Signal.set`) need no words."""
    exported = getattr(zkcore, name)
    if getattr(exported, "_is_protocol", False):
        return
    silent = [method for method, member in public_members(exported).items() if not (member.__doc__ or "").strip()]
    assert silent == []


# --- errors -----------------------------------------------------------------------------------------------------------


def test_every_error_is_exported() -> None:
    names = {kind.__name__ for kind in error_classes()}
    assert names <= set(EXPORTED)
    assert {name for name in EXPORTED if name.endswith("Error")} <= names


@pytest.mark.parametrize("kind", list(error_classes()), ids=lambda kind: kind.__name__)
def test_an_error_says_its_code_whether_it_was_applied_and_whether_to_try_again(
    kind: type[zkcore.ZkcoreError],
) -> None:
    assert kind.code is None or (isinstance(kind.code, int) and -128 <= kind.code < 0)
    assert kind.applied in ("no", "unknown")
    assert (kind.applied == "unknown") == issubclass(kind, zkcore.OutcomeUnknownError)
    assert isinstance(kind.retryable, bool)


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in error_classes() if "code" in vars(kind) and kind.code is not None]
    assert sorted(codes) == sorted(set(codes))
    assert set(codes) == set(errors.BY_CODE)


# --- the blocking face ------------------------------------------------------------------------------------------------


def test_every_blocking_class_has_a_namesake() -> None:
    classes = {name for name in EXPORTED_BLOCKING if inspect.isclass(getattr(zkcore.sync, name))}
    shared = {name for name in classes if getattr(zkcore.sync, name) is getattr(zkcore, name)}
    assert classes - shared == MIRRORED.keys()
    # Values and errors are the same in both, so that nobody has to import zkcore beside its blocking face.
    assert shared >= {"SessionState", "Stat"} | {kind.__name__ for kind in error_classes()}


@pytest.mark.parametrize("name", MIRRORED)
def test_a_blocking_class_has_what_its_namesake_has(name: str) -> None:
    face, inner = public_members(getattr(zkcore.sync, name)), public_members(MIRRORED[name])
    assert face.keys() - inner.keys() == OWN.get(name, set())
    assert inner.keys() - face.keys() == ABSENT.get(name, set())
    for member in face.keys() & inner.keys():
        assert isinstance(face[member], property) == isinstance(inner[member], property), member


@pytest.mark.parametrize("name", MIRRORED)
def test_blocking_methods_take_what_their_namesakes_take(name: str) -> None:
    face, inner = public_members(getattr(zkcore.sync, name)), public_members(MIRRORED[name])
    for member in face.keys() & inner.keys():
        if inspect.isfunction(face[member]):
            assert signature_of(member, face[member]) == signature_of(member, inner[member]), member


def signature_of(name: str, method: object) -> list[tuple[str, object, object, str]]:
    """Name, default and type of each parameter that both faces have, and whether it may stand in its place."""
    assert inspect.isfunction(method)
    parameters = inspect.signature(method).parameters.values()
    kinds = {each.name: each.kind for each in parameters}
    if "timeout" in kinds and (kinds.keys() & SET_ASIDE or kinds["timeout"] is inspect.Parameter.KEYWORD_ONLY):
        kinds["timeout"] = inspect.Parameter.KEYWORD_ONLY
    shared = [each for each in parameters if each.name not in SET_ASIDE]
    return [(each.name, kinds[each.name], each.default, str(each.annotation)) for each in shared]


@pytest.mark.parametrize("name", ["local_cluster", "start_node"])
def test_the_functions_that_make_clusters_and_nodes_take_the_same(name: str) -> None:
    face, inner = getattr(zkcore.sync, name), getattr(zkcore, name)
    assert inspect.signature(face).parameters == inspect.signature(inner).parameters


def test_blocking_classes_can_be_entered_as_their_namesakes_can() -> None:
    for name, inner in MIRRORED.items():
        face = getattr(zkcore.sync, name)
        assert hasattr(face, "__enter__") == hasattr(inner, "__aenter__"), name
        assert hasattr(face, "__exit__") == hasattr(inner, "__aexit__"), name


def test_nothing_blocking_is_a_coroutine() -> None:
    for name in MIRRORED:
        for method, member in public_members(getattr(zkcore.sync, name)).items():
            assert not inspect.iscoroutinefunction(member), f"{name}.{method}"
