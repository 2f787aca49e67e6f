"""Metrics for Prometheus, read when they are scraped: the extra `zkcore[prometheus]` brings what this needs.

    from zkcore.extras.prometheus import register

    register(node)                                  # or several: register(*cluster.nodes.values())
    prometheus_client.start_http_server(9100)

Nothing is counted for this that is not counted anyway, so a node that nobody scrapes pays nothing. Labels are the
numbers of the nodes, and names from short lists, never paths or sessions: the number of series does not grow with what
clients do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from attrs import frozen

from zkcore.client.node import Node
from zkcore.client.tcp_node import TcpNode
from zkcore.errors import SessionClosedError
from zkcore.events import kinds
from zkcore.replica.telling import Telling
from zkcore.sync.tcp_node import TcpNode as BlockingTcpNode
from zkcore.zab.messages import Role
from zkcore.zab.quorum import Transition
from zkcore.zab.status import PeerStatus, SyncMode

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["NodeCollector", "register"]

_AnyNode = Node | TcpNode | BlockingTcpNode

_PATIENCE_SECONDS = 1.0
"""For so long a scrape waits for the turn of a node to end."""


@frozen
class _Seen:
    """One node at the moment of a scrape."""

    node: Node
    telling: Telling
    status: PeerStatus


Samples = Iterable[tuple[tuple[str, ...], float]]
"""The values of the labels behind `node`, and the value."""


@frozen
class _Metric:
    name: str
    words: str
    kind: str
    """"gauge" or "counter"; a counter's samples end in _total."""
    labels: tuple[str, ...]
    read: Callable[[_Seen], Samples]


def _one(read: Callable[[_Seen], float]) -> Callable[[_Seen], Samples]:
    return lambda seen: [((), float(read(seen)))]


def _role(seen: _Seen) -> Samples:
    return [((role.name.lower(),), float(seen.status.role is role)) for role in Role]


def _lags(seen: _Seen) -> Samples:
    return [((str(learner.peer),), float(learner.lag)) for learner in seen.status.learners]


def _by_mode(read: Callable[[_Seen], Any]) -> Callable[[_Seen], Samples]:
    return lambda seen: [((mode.name.lower(),), float(read(seen)[mode])) for mode in SyncMode]


def _sessions_ended(seen: _Seen) -> Samples:
    events = seen.telling.tally.events
    return [
        (("expired",), float(events[kinds.SessionExpired])),
        (("closed",), float(events[kinds.SessionClosed])),
    ]


def _gauge(name: str, words: str, read: Callable[[_Seen], float]) -> _Metric:
    return _Metric(name, words, "gauge", (), _one(read))


def _counter(name: str, words: str, read: Callable[[_Seen], float]) -> _Metric:
    return _Metric(name, words, "counter", (), _one(read))


def _measured(kind: str, name: str, words: str, measure: str) -> _Metric:
    return _Metric(name, words, kind, (), _one(lambda seen: getattr(seen.telling.measures, measure)))


def _told(name: str, words: str, event: type[kinds.NodeEvent]) -> _Metric:
    return _counter(name, words, lambda seen: seen.telling.tally.events[event])


METRICS: tuple[_Metric, ...] = (
    _gauge("up", "Whether the node is alive: a new start would not help it.", lambda seen: seen.node.is_alive()),
    _gauge("ready", "Whether it serves clients.", lambda seen: seen.node.is_ready()),
    _Metric("role", "1 for the role it has, 0 for the others.", "gauge", ("role",), _role),
    _gauge("epoch", "The epoch of the history it has.", lambda seen: seen.status.current_epoch),
    _gauge("last_zxid", "The newest transaction that it has applied.", lambda seen: seen.node.replica.tree.last_zxid),
    _gauge("log_lag_records", "Records in its log that are not known to be committed, within one epoch.", lambda seen: (
        max(seen.status.last_logged - seen.status.last_committed, 0)
        if seen.status.last_logged >> 32 == seen.status.last_committed >> 32 else 0
    )),
    _gauge("read_only", "Whether its storage is full.", lambda seen: seen.node.host.read_only),
    _gauge("damaged", "Whether something it had saved is lost, and not made good yet.", lambda seen: (
        seen.status.damage is not None
    )),
    _gauge("linked_peers", "Members that it is linked with.", lambda seen: len(seen.status.linked)),
    _gauge("synced_followers", "Of a leader: those that have what it has, and count for a quorum.", lambda seen: (
        sum(learner.counts and learner.stage == "ACTIVE" for learner in seen.status.learners)
    )),
    _Metric("member_lag_records", (
        "Of a leader: records that the learner has not acknowledged, those behind a snapshot it is sent among them."
    ), "gauge", ("member",), _lags),
    _gauge("configuration_version", "The zxid from which on the members in its log are these, 0 from the beginning.", (
        lambda seen: seen.status.version
    )),
    _gauge("configuration_changing", "Whether they are being changed, which takes quorums of both.", lambda seen: (
        isinstance(seen.status.config, Transition)
    )),
    _gauge("voters", "Members that vote, before or after the change where there is one.", lambda seen: (
        len(seen.status.config.voters)
    )),
    _gauge("observers", "Members that observe.", lambda seen: len(seen.status.config.observers)),
    _gauge("sessions", "Sessions of the ensemble.", lambda seen: len(seen.node.replica.tree.sessions)),
    _gauge("znodes", "Znodes in its tree.", lambda seen: len(seen.node.replica.tree)),
    _gauge("tree_size_bytes", "Bytes of the paths and data in its tree.", lambda seen: (
        seen.node.replica.tree.size_bytes
    )),
    _gauge("outstanding_requests", "Requests of sessions that it serves, without an answer.", lambda seen: (
        seen.node.host.outstanding
    )),
    _measured("counter", "transactions", "Transactions that were committed, and applied here.", "transactions"),
    _measured("counter", "requests", (
        "Requests that had their answer, and had to wait for a turn of the node."
    ), "answers"),
    _measured("counter", "request_seconds", "How long these waited, together.", "answer_seconds"),
    _measured("gauge", "request_seconds_max", "How long the slowest of them waited.", "answer_seconds_most"),
    _measured("counter", "slow_requests", "Requests that waited longer than slow_request_seconds.", "slow_answers"),
    _measured("counter", "saves", "Batches that were made durable.", "saves"),
    _measured("counter", "save_seconds", "How long these took, together.", "save_seconds"),
    _measured("gauge", "save_seconds_max", "How long the slowest of them took.", "save_seconds_most"),
    _measured("counter", "slow_saves", "Batches that took longer than slow_save_seconds.", "slow_saves"),
    _told("snapshots", "Snapshots that were saved.", kinds.SnapshotSaved),
    _counter("snapshot_seconds", "How long these took, together.", lambda seen: seen.telling.tally.snapshot_seconds),
    _counter("snapshot_bytes", "Bytes of these, before compression.", lambda seen: seen.telling.tally.snapshot_bytes),
    _counter("elections", "How often it began to look for a leader.", lambda seen: seen.telling.tally.elections),
    _told("leader_changes", "How often it began to serve under a leader.", kinds.LeaderChanged),
    _told("quorum_losses", "How often it stopped serving for want of one.", kinds.QuorumLost),
    _Metric("syncs", "How often a leader brought it in line, by diff, trunc or snap.", "counter", ("mode",), (
        _by_mode(lambda seen: seen.telling.tally.syncs)
    )),
    _Metric("sync_bytes", "Bytes that came for that.", "counter", ("mode",), (
        _by_mode(lambda seen: seen.telling.tally.sync_bytes)
    )),
    _told("sessions_opened", "Sessions that the ensemble opened while this node served.", kinds.SessionOpened),
    _Metric("sessions_ended", "Sessions that expired, or were closed by their clients.", "counter", ("how",), (
        _sessions_ended
    )),
    _told("sessions_moved", "Sessions that this node has taken up.", kinds.SessionMoved),
    _told("link_losses", "Links with other members that were lost.", kinds.LinkDown),
    _told("rejected_peers", "How often a member broke the protocol.", kinds.PeerRejected),
    _told("suspicions", "How often it has suspected a member, as a leader.", kinds.MemberSuspected),
    _told("configurations", "How often other members came into force.", kinds.ConfigurationActivated),
    _told("storage_repairs", "How often the others have made damage good.", kinds.DamageRepaired),
    _told("storage_failures", "How often its storage failed.", kinds.StorageFailed),
)  # fmt: skip
"""All there is. docs/guide.md has them as a table, and a test compares the two."""


def _library() -> Any:
    try:
        import prometheus_client.core
    except ImportError as error:
        raise ImportError(
            "metrics for Prometheus need the package prometheus_client: pip install 'zkcore[prometheus]'"
        ) from error
    return prometheus_client.core


class NodeCollector:
    """A collector over some nodes, for a registry of prometheus_client. A node that does not run has no samples, and
    one whose event loop is stuck has only `up` and `ready`. Raises ImportError where that package is missing."""

    def __init__(self, *nodes: _AnyNode) -> None:
        self._nodes = nodes
        self._library = _library()

    def describe(self) -> Iterator[Any]:
        """The metrics without samples: so no node is looked at when the collector is registered."""
        return self._families([])

    def collect(self) -> Iterator[Any]:
        """The metrics of all nodes, as they are now. May be called from any thread."""
        return self._families([(str(node.me), _read(node)) for node in map(_inner, self._nodes) if node is not None])

    def _families(self, found: list[tuple[str, dict[str, Samples]]]) -> Iterator[Any]:
        families = {"gauge": self._library.GaugeMetricFamily, "counter": self._library.CounterMetricFamily}
        for metric in METRICS:
            family = families[metric.kind](f"zkcore_{metric.name}", metric.words, labels=("node", *metric.labels))
            for node, samples in found:
                for labels, value in samples.get(metric.name, ()):
                    family.add_metric((node, *labels), value)
            yield family


def _inner(node: _AnyNode) -> Node | None:
    if isinstance(node, Node):
        return node
    try:
        return (node if isinstance(node, TcpNode) else node.unblocked).node
    except SessionClosedError:
        return None


def _read(node: Node) -> dict[str, Samples]:
    """All that can be read: what a turn of the node changes, between two of them."""
    lock = node.host.lock
    if not lock.acquire(timeout=_PATIENCE_SECONDS):
        return {name: [((), 0.0)] for name in ("up", "ready")}
    try:
        seen = _Seen(node, node.host.telling, node.status())
        return {metric.name: list(metric.read(seen)) for metric in METRICS}
    finally:
        lock.release()


def register(*nodes: _AnyNode, registry: CollectorRegistry | None = None) -> NodeCollector:
    """Register a collector over `nodes` with `registry`, by default that of prometheus_client; `registry.unregister`
    ends it. Raises ImportError where that package is missing."""
    collector = NodeCollector(*nodes)
    (registry if registry is not None else collector._library.REGISTRY).register(collector)
    return collector
