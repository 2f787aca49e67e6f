"""ZooKeeper's four-letter words: who says one on a fresh connection, and nothing else, is told how the server is.

Operators and their tools know them, so every answer has ZooKeeper's form, as far as there is something to tell: tools
read `Mode:`, `Zxid:` and `Node count:` of `srvr`, and the tabbed lines of `mntr`. A word that is not allowed is
answered with a line that says so.

This module must not know sockets.
"""

from __future__ import annotations

import os
import platform
import struct
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol

from attrs import define

from zkcore.events.kinds import SessionExpired, SnapshotSaved
from zkcore.replica.host import Host
from zkcore.version import VERSION
from zkcore.zab.messages import PeerId, Role
from zkcore.zab.quorum import Transition
from zkcore.zxid import Zxid

__all__ = ["ALLOWED", "LEAD", "MAX_SAID", "TRACE_MASK", "Facts", "OneClient", "Traffic", "answer"]

ALLOWED = frozenset({"srvr"})
"""The words that are allowed where nobody says otherwise, as in ZooKeeper."""

LEAD = "lead"
"""A word that ZooKeeper does not have: the leader hands over, to the member whose number is the byte behind it, or
where that is 0 to the one that lacks least. Since anybody can say it, "*" does not allow it."""


TRACE_MASK = 306
"""What `gtmk` tells before anybody has set something else: ZooKeeper's own default."""
MAX_SAID = 12
"""The longest that is said, in bytes: `stmk` and a mask."""

_MASK = struct.Struct(">q")
_SPEAKS = "3.9.3"
"""The ZooKeeper whose protocol this is: clients look here for what a server can do."""


@define
class Traffic:
    """What went through a connection, or through all of a listener. Latencies are seconds from a request to its
    answer."""

    received: int = 0
    sent: int = 0
    answered: int = 0
    latency_least: float = 0.0
    latency_sum: float = 0.0
    latency_most: float = 0.0

    def answer(self, seconds: float) -> None:
        """One request was answered."""
        if seconds < self.latency_least or not self.answered:
            self.latency_least = seconds
        if seconds > self.latency_most:
            self.latency_most = seconds
        self.answered += 1
        self.latency_sum += seconds

    def reset(self) -> None:
        """Begin to count anew."""
        self.__init__()  # type: ignore[misc]

    @property
    def latency_ms(self) -> str:
        """Least, mean and most."""
        mean = self.latency_sum / self.answered if self.answered else 0.0
        return f"{self.latency_least * 1000:.0f}/{mean * 1000:.4f}/{self.latency_most * 1000:.0f}"


class OneClient(Protocol):
    """What is told of a connection."""

    where: str
    session: int
    timeout_ms: int
    since: float
    last_zxid: Zxid
    traffic: Traffic

    @property
    def waiting(self) -> int: ...


class Facts(Protocol):
    """What is told of a server."""

    host: Host
    traffic: Traffic
    settings: Mapping[str, object]
    trace_mask: int
    """What `stmk` has set. It is kept and told, and nothing else: what is logged here, `logging` decides."""

    @property
    def clients(self) -> Collection[OneClient]: ...

    @property
    def serves_readers(self) -> bool: ...

    def hand_over(self, target: PeerId) -> str: ...


def answer(said: bytes, facts: Facts, *, allowed: Collection[str]) -> str | None:
    """The answer to the word with which `said` begins; None where that is none. "*" among the `allowed` allows all of
    them but `LEAD`."""
    name = said[:4].decode("ascii", "replace")
    told = _WORDS.get(name)
    if told is None and name != LEAD:
        return None
    if name not in allowed and ("*" not in allowed or name == LEAD):
        return f"{name} is not executed because it is not in the whitelist.\n"
    if name == "stmk":
        mask = said[4 : 4 + _MASK.size]
        if len(mask) < _MASK.size:  # not all there when the word was: as in ZooKeeper, nothing is set, and nothing said
            return ""
        (facts.trace_mask,) = _MASK.unpack(mask)
    if name == LEAD:
        return facts.hand_over(said[4]) if len(said) > 4 else ""
    return told(facts) if told is not None else None


def _is_serving(facts: Facts) -> bool:
    return facts.host.running and facts.host.replica.serving


def _mode(facts: Facts) -> str:
    replica = facts.host.replica
    if not _is_serving(facts):
        return "read-only"
    if replica.leader == replica.me:
        return "standalone" if len(replica.members.config.members) == 1 else "leader"
    return "observer" if replica.status().role is Role.OBSERVING else "follower"


def _while_serving(tell: Callable[[Facts], str]) -> Callable[[Facts], str]:
    def told(facts: Facts) -> str:
        if not (_is_serving(facts) or facts.serves_readers):
            return "This ZooKeeper instance is not currently serving requests\n"
        return tell(facts)

    return told


def _version() -> str:
    return f"{_SPEAKS}-zkcore-{VERSION}"


def _srvr(facts: Facts) -> str:
    replica, traffic = facts.host.replica, facts.traffic
    reads = "" if _is_serving(facts) else "READ-ONLY mode; serving only read-only clients\n"
    return (
        f"Zookeeper version: {_version()}, built on {platform.python_implementation()} {platform.python_version()}\n"
        f"{reads}"
        f"Latency min/avg/max: {traffic.latency_ms}\nReceived: {traffic.received}\nSent: {traffic.sent}\n"
        f"Connections: {len(facts.clients)}\nOutstanding: {_outstanding(facts)}\n"
        f"Zxid: {replica.tree.last_zxid:#x}\nMode: {_mode(facts)}\nNode count: {len(replica.tree)}\n"
    )


def _stat(facts: Facts) -> str:
    head, _, rest = _srvr(facts).partition("\n")
    clients = "".join(
        f" {client.where}[1](queued={client.waiting},recved={client.traffic.received},sent={client.traffic.sent})\n"
        for client in facts.clients
    )
    return f"{head}\nClients:\n{clients}\n{rest}"


def _cons(facts: Facts) -> str:
    lines = [
        f" {client.where}[1](queued={client.waiting},recved={client.traffic.received},sent={client.traffic.sent},"
        f"sid={client.session & 0xFFFFFFFFFFFFFFFF:#x},to={client.timeout_ms},lzxid={client.last_zxid:#x},"
        f"lat={client.traffic.latency_ms})\n"
        for client in facts.clients
    ]
    return "".join(lines) + "\n"


def _outstanding(facts: Facts) -> int:
    return sum(client.waiting for client in facts.clients)


def _conf(facts: Facts) -> str:
    return "".join(f"{name}={value}\n" for name, value in facts.settings.items())


def _envi(facts: Facts) -> str:
    uname = platform.uname()
    lines = {
        "zookeeper.version": _version(), "host.name": uname.node, "python.version": platform.python_version(),
        "python.implementation": platform.python_implementation(), "os.name": uname.system, "os.arch": uname.machine,
        "os.version": uname.release, "process.id": os.getpid(), "python.executable": sys.executable,
    }  # fmt: skip
    return "Environment:\n" + "".join(f"{name}={value}\n" for name, value in lines.items())


def _dump(facts: Facts) -> str:
    """The sessions of the ensemble, and the ephemerals of each."""
    tree = facts.host.replica.tree
    lines = [f"Sessions ({len(tree.sessions)}):"]
    lines += [_hex(session) for session in sorted(tree.sessions)]
    owners = [(session, tree.ephemerals(session)) for session in sorted(tree.sessions)]
    owners = [(session, paths) for session, paths in owners if paths]
    lines.append(f"Sessions with Ephemerals ({len(owners)}):")
    for session, paths in owners:
        lines += [f"{_hex(session)}:", *(f"\t{path}" for path in paths)]
    return "\n".join(lines) + "\n"


def _hex(session: int) -> str:
    return f"{session & 0xFFFFFFFFFFFFFFFF:#x}"


def _mntr(facts: Facts) -> str:
    replica, traffic = facts.host.replica, facts.traffic
    tree, status = replica.tree, replica.status()
    mean = traffic.latency_sum / traffic.answered if traffic.answered else 0.0
    told: dict[str, object] = {
        "version": f"{_version()}, built on {platform.python_implementation()} {platform.python_version()}",
        "server_state": _mode(facts),
        "peer_state": f"{status.role.name.lower()} - {status.phase.lower()}",
        "avg_latency": f"{mean * 1000:.4f}",
        "max_latency": f"{traffic.latency_most * 1000:.0f}",
        "min_latency": f"{traffic.latency_least * 1000:.0f}",
        "packets_received": traffic.received,
        "packets_sent": traffic.sent,
        "num_alive_connections": len(facts.clients),
        "outstanding_requests": _outstanding(facts),
        "znode_count": len(tree),
        "watch_count": sum(1 for _ in replica.watches.all()),
        "ephemerals_count": sum(len(tree.ephemerals(session)) for session in tree.sessions),
        "approximate_data_size": tree.size_bytes,
        "global_sessions": len(tree.sessions),
    }
    told |= _measured(facts.host)
    told["configuration"] = status.config
    told["configuration_version"] = f"{status.version:x}"
    told["configuration_changing"] = int(isinstance(status.config, Transition))
    if status.role is Role.LEADING:
        synced = [learner.peer for learner in status.learners if learner.stage == "ACTIVE"]
        told["learners"] = len(status.learners)
        told["quorum_size"] = len(status.config.voters)
        told["synced_followers"] = sum(peer in status.config.voters for peer in synced)
        told["synced_observers"] = sum(peer in status.config.observers for peer in synced)
        told["learner_lags"] = " ".join(f"{learner.peer}:{learner.lag}" for learner in status.learners)
    return "".join(f"zk_{name}\t{value}\n" for name, value in told.items())


def _measured(host: Host) -> dict[str, object]:
    """What the node has counted since it began. Times are milliseconds, as ZooKeeper's."""
    measures, tally = host.telling.measures, host.telling.tally
    snapshots = tally.events[SnapshotSaved]
    told: dict[str, object] = {
        "uptime": round(host.telling.uptime_seconds * 1000),
        "looking_count": tally.elections,
        "stale_sessions_expired": tally.events[SessionExpired],
    }
    for name, count, seconds in (
        ("fsynctime", measures.saves, measures.save_seconds),
        ("snapshottime", snapshots, tally.snapshot_seconds),
    ):
        told[f"avg_{name}"] = f"{seconds * 1000 / count if count else 0.0:.4f}"
        told[f"cnt_{name}"] = count
        told[f"sum_{name}"] = round(seconds * 1000)
    told["max_fsynctime"] = round(measures.save_seconds_most * 1000)
    return told


def _watched(facts: Facts) -> Iterator[tuple[str, int]]:
    return iter(dict.fromkeys(facts.host.replica.watches.all()))


def _wchs(facts: Facts) -> str:
    pairs = list(_watched(facts))
    return (
        f"{len({session for _, session in pairs})} connections watching {len({path for path, _ in pairs})} paths\n"
        f"Total watches:{len(pairs)}\n"
    )


def _wchc(facts: Facts) -> str:
    found: dict[str, list[str]] = defaultdict(list)
    for path, session in _watched(facts):
        found[_hex(session)].append(path)
    return _grouped(found)


def _wchp(facts: Facts) -> str:
    found: dict[str, list[str]] = defaultdict(list)
    for path, session in _watched(facts):
        found[path].append(_hex(session))
    return _grouped(found)


def _grouped(found: Mapping[str, list[str]]) -> str:
    return "".join(f"{name}\n" + "".join(f"\t{each}\n" for each in sorted(found[name])) for name in sorted(found))


def _dirs(facts: Facts) -> str:
    size = getattr(facts.host.replica.storage, "size_bytes", 0)
    return f"datadir_size: {size}\nlogdir_size: {size}\n"


def _srst(facts: Facts) -> str:
    facts.traffic.reset()
    return "Server stats reset.\n"


def _crst(facts: Facts) -> str:
    for client in facts.clients:
        client.traffic.reset()
    return "Connection stats reset.\n"


def _hash(facts: Facts) -> str:
    tree = facts.host.replica.tree
    return f"{tree.last_zxid:#x}: {tree.digest & 0xFFFFFFFFFFFFFFFF:#x}\n"


_WORDS: dict[str, Callable[[Facts], str]] = {
    "ruok": lambda facts: "imok" if facts.host.running else "",
    "isro": lambda facts: "rw" if _is_serving(facts) else "ro" if facts.serves_readers else "null",
    "envi": _envi,
    "gtmk": lambda facts: str(facts.trace_mask),
    "stmk": lambda facts: str(facts.trace_mask),
    "conf": _while_serving(_conf),
    "cons": _while_serving(_cons),
    "crst": _while_serving(_crst),
    "dirs": _while_serving(_dirs),
    "dump": _while_serving(_dump),
    "hash": _while_serving(_hash),
    "mntr": _while_serving(_mntr),
    "srst": _while_serving(_srst),
    "srvr": _while_serving(_srvr),
    "stat": _while_serving(_stat),
    "wchc": _while_serving(_wchc),
    "wchp": _while_serving(_wchp),
    "wchs": _while_serving(_wchs),
}
"""What each word is answered with."""
