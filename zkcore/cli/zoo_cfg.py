"""ZooKeeper's configuration file, and what of it a node of ours goes by.

The keys are ZooKeeper's, and mean what they mean there; those that begin with `zkcore.` are ours. What no key can mean
is an error that names the line; a key that nobody knows, or that asks for what is not there, is a warning.

ZooKeeper's file has no way to say how the members know each other but a Java keystore. So an ensemble needs one of::

    zkcore.secretFile=/etc/zkcore/secret            # one for all, readable by the owner alone
    zkcore.certificate=...  zkcore.key=...  zkcore.authorities=...  [zkcore.identity={host}]
    zkcore.plaintext=true                           # nobody else is on that network

One that was restored or recovered has a name of its own, `zkcore.cluster`.

This module must not know how a node is run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from attrs import evolve, field, frozen

from zkcore.errors import ConfigurationError
from zkcore.jute.records import Id
from zkcore.replica.members import Member, read_member
from zkcore.replica.rules import Rules
from zkcore.server.four_letter import ALLOWED
from zkcore.server.limits import ListenerLimits
from zkcore.storage.file import Fsync
from zkcore.storage.records import MAX_NAME_BYTES
from zkcore.transport.address import Address, parse_address
from zkcore.transport.security import Plaintext, Security, SharedSecret, Tls
from zkcore.tree.acl import Access, CertificateScheme, DigestScheme, IpScheme, ScryptScheme
from zkcore.tree.sessions import Timeouts
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId

__all__ = ["ZooCfg", "read_zoo_cfg"]

T = TypeVar("T")

TICK_MS = 10
"""What the core counts in; ZooKeeper's tick is only a unit of the file."""

_MANY = 1 << 30

_TLS_FILES = ("certificate", "key", "authorities")

_KNOWN_AND_UNUSED = frozenset({
    "electionAlg", "cnxTimeout", "standaloneEnabled", "leaderServes", "preAllocSize", "globalOutstandingLimit",
    "syncEnabled", "commitLogCount", "snapSizeLimitInKb", "quorumCnxnThreadsSize", "tcpKeepAlive", "maxCnxns",
    "localSessionsEnabled", "localSessionsUpgradingEnabled", "snapshot.trust.empty", "zookeeper.db.autocreate",
    "fsync.warningthresholdms", "autopurge.snapRetainCount", "autopurge.purgeInterval", "dynamicConfigFile",
    "admin.enableServer", "admin.serverPort", "admin.serverAddress", "admin.commandURL", "admin.idleTimeout",
    "metricsProvider.className", "metricsProvider.httpPort", "metricsProvider.exportJvmInfo",
})  # fmt: skip
"""Keys of ZooKeeper that ask for nothing a node of ours would do otherwise, or must not do."""


class _Line(NamedTuple):
    number: int
    key: str
    value: str


@frozen(kw_only=True)
class ZooCfg:
    """What a file says. Times are in milliseconds."""

    path: Path
    me: PeerId
    members: dict[PeerId, Member] = field(factory=dict)
    """Empty for a server that stands alone."""
    cluster: str = ""
    """What the ensemble is called; without a name its voters stand for it."""
    groups: tuple[tuple[PeerId, ...], ...] = ()
    weights: dict[PeerId, int] = field(factory=dict)
    data_dir: Path
    client: Address | None
    """Where clients are served; None for nowhere."""
    bind: str | None = None
    limits: Limits
    rules: Rules
    listener: ListenerLimits
    words: frozenset[str]
    snapshot_every: int
    fsync: Fsync
    security: Security | None
    """How members know each other; None where there are no others."""
    settings: dict[str, str]
    """What the file says, key by key, without what is secret."""
    warnings: tuple[str, ...]


def read_zoo_cfg(path: str | Path) -> ZooCfg:
    """The configuration in the file. Raises ConfigurationError, which names the file and the line."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the configuration cannot be read: {error}") from error
    return _Reader(file, text).read()


class _Reader:
    """Takes the keys of one file, one after the other; what is left over in the end is unknown."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines: dict[str, _Line] = {}
        self._warnings: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            said = line.strip()
            if not said or said[0] in "#!":
                continue
            key, equals, value = said.partition("=")
            found = _Line(number, key.strip(), value.strip())
            if not equals or not found.key:
                raise self._error(found, f"{said!r} is no setting; write key=value")
            if found.key in self._lines:
                earlier = self._lines[found.key].number
                raise self._error(found, f"{found.key} is set in line {earlier}, too; leave one of them")
            self._lines[found.key] = found

    def read(self) -> ZooCfg:
        settings = {
            line.key: "*" if "digest" in line.key.lower() or "password" in line.key.lower() else line.value
            for line in self._lines.values()
        }
        tick = self._take("tickTime", _at_least(1), 3000)
        data_dir = self._data_dir()
        members, groups, weights = self._members(), self._groups(), self._weights()
        me = self._me(data_dir, members)
        self._check_role(members, me)
        client = self._client(members.get(me))
        cfg = ZooCfg(
            path=self._path,
            me=me,
            members=members,
            cluster=self._take("zkcore.cluster", _name, ""),
            groups=groups,
            weights=weights,
            data_dir=data_dir,
            client=client,
            bind=self._bind(members, me),
            limits=self._limits(tick),
            rules=self._rules(tick),
            listener=self._listener(tick),
            words=self._take("4lw.commands.whitelist", _words, ALLOWED),
            snapshot_every=self._take("snapCount", _at_least(2), 100_000),
            fsync="always" if self._take("forceSync", _yes, True) else "never",
            security=self._security(alone=not members),
            settings=settings,
            warnings=(),
        )
        self._check_rest()
        return evolve(cfg, warnings=tuple(self._warnings))

    # --- taking keys

    def _error(self, line: _Line, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}, line {line.number}: {why}")

    def _take(self, key: str, parse: Callable[[str], T], default: T) -> T:
        line = self._lines.pop(key, None)
        if line is None:
            return default
        try:
            return parse(line.value)
        except (ValueError, ConfigurationError) as error:
            raise self._error(line, f"{key} is {line.value!r}; {error}") from error

    def _take_all(self, prefix: str) -> list[_Line]:
        return [self._lines.pop(key) for key in list(self._lines) if key.startswith(prefix)]

    def _warn(self, line: _Line, why: str) -> None:
        self._warnings.append(f"{self._path}, line {line.number}: {why}")

    def _check_rest(self) -> None:
        for key, line in self._lines.items():
            if key == "extendedTypesEnabled" and _is(line.value, "false"):
                self._warn(line, "containers and znodes with a time to live are always there")
            elif key == "dataLogDir":
                self._warn(line, "dataLogDir is not used: the log is kept in dataDir, beside the snapshots")
            elif key.startswith(("ssl.", "sslQuorum", "secureClientPort", "serverCnxnFactory", "portUnification")):
                self._warn(line, f"{key} names what only a JVM can read, and is not used; see zkcore.certificate")
            elif key not in _KNOWN_AND_UNUSED and key != "extendedTypesEnabled":
                self._warn(line, f"{key} is unknown, and means nothing; check how it is spelled")

    # --- what they say

    def _data_dir(self) -> Path:
        if "dataDir" not in self._lines:
            raise ConfigurationError(f"{self._path}: dataDir is missing; say where the data is to be")
        return self._take("dataDir", _path_of, Path())

    def _members(self) -> dict[PeerId, Member]:
        members: dict[PeerId, Member] = {}
        taken: dict[Address, PeerId] = {}
        for line in self._take_all("server."):
            number = self._number_of(line)
            try:
                member = read_member(line.value)
                if not member.is_somewhere:
                    raise ValueError("give the address at which the others reach it")
            except (ValueError, ConfigurationError) as error:
                raise self._error(line, f"{line.key} is {line.value!r}; {error}") from error
            if member.address in taken:
                raise self._error(line, f"{line.key} has the address of server.{taken[member.address]}")
            taken[member.address] = number
            members[number] = member
        return members

    def _number_of(self, line: _Line) -> int:
        number = line.key.partition(".")[2]
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= 255):
            raise self._error(line, f"{line.key} names no server; a server's number is between 1 and 255")
        return int(number)

    def _groups(self) -> tuple[tuple[PeerId, ...], ...]:
        groups = []
        for line in self._take_all("group."):
            try:
                groups.append(tuple(int(member) for member in line.value.split(":")))
            except ValueError:
                raise self._error(line, f"{line.key} is {line.value!r}; write the members as 1:2:3") from None
        return tuple(groups)

    def _weights(self) -> dict[PeerId, int]:
        weights = {}
        for line in self._take_all("weight."):
            try:
                weights[self._number_of(line)] = _at_least(0)(line.value)
            except ValueError as error:
                raise self._error(line, f"{line.key} is {line.value!r}; {error}") from None
        return weights

    def _me(self, data_dir: Path, members: dict[PeerId, Member]) -> PeerId:
        if not members:
            return 1
        file = data_dir / "myid"
        try:
            said = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{file} cannot be read ({error}); it holds the number of this server, one of {sorted(members)}"
            ) from error
        if not (said.isascii() and said.isdigit()) or int(said) not in members:
            raise ConfigurationError(
                f"{file} says {said[:40]!r}, and the servers are {sorted(members)}; write the number of this one"
            )
        return int(said)

    def _check_role(self, members: dict[PeerId, Member], me: PeerId) -> None:
        line = self._lines.get("peerType")
        role = self._take("peerType", _one_of("participant", "observer"), "")
        if line is not None and members and members[me].observes != (role == "observer"):
            raise self._error(line, f"peerType is {role}, and server.{me} says otherwise")

    def _client(self, mine: Member | None) -> Address | None:
        port = self._take("clientPort", _port, None)
        host = self._take("clientPortAddress", _host, "0.0.0.0")
        if mine is not None and mine.client is not None:
            return mine.client
        return None if port is None else Address(host, port)

    def _listener(self, tick: int) -> ListenerLimits:
        """As in ZooKeeper, a server waits for a leader for two seconds, or a tick, before it serves reads alone."""
        reads = self._take("readonlymode.enabled", _true, False)
        return ListenerLimits(
            connections_per_address=self._take("maxClientCnxns", _at_least(0), 60) or _MANY,
            read_only_seconds=max(2.0, tick / 1000) if reads else None,
        )

    def _bind(self, members: dict[PeerId, Member], me: PeerId) -> str | None:
        everywhere = self._take("quorumListenOnAllIPs", _true, False)
        return f"0.0.0.0:{members[me].address.port}" if everywhere and members else None

    def _limits(self, tick: int) -> Limits:
        init = self._take("initLimit", _at_least(1), 10) * tick // TICK_MS
        sync = self._take("syncLimit", _at_least(1), 5) * tick // TICK_MS
        default = Limits()
        if sync < 2:
            raise ConfigurationError(
                f"{self._path}: a syncLimit of {sync * TICK_MS} ms leaves no time for a heartbeat; give 20 or more"
            )
        return Limits(
            tick_ms=TICK_MS,
            init_limit_ticks=max(init, 1),
            sync_limit_ticks=sync,
            ping_ticks=min(default.ping_ticks, sync // 4 or 1),
        )

    def _rules(self, tick: int) -> Rules:
        least = self._take("minSessionTimeout", int, -1)
        most = self._take("maxSessionTimeout", int, -1)
        least, most = (2 * tick if least == -1 else least), (20 * tick if most == -1 else most)
        try:
            timeouts = Timeouts(minimum_ms=least, maximum_ms=most)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._path}: minSessionTimeout and maxSessionTimeout: {error}") from error
        superuser = self._take("superDigest", _super_digest, None)
        if superuser is None:
            superuser = self._take("DigestAuthenticationProvider.superDigest", _super_digest, None)
        access = Access([DigestScheme(superuser=superuser), ScryptScheme(), IpScheme(), CertificateScheme()])
        return Rules(access=access, timeouts=timeouts, reconfig=self._take("reconfigEnabled", _true, False))

    def _security(self, *, alone: bool) -> Security | None:
        kinds: list[Security] = []
        line = self._lines.get("zkcore.secretFile")
        secret = self._take("zkcore.secretFile", _path_of, None)
        if line is not None and secret is not None:
            try:
                kinds.append(SharedSecret.from_file(secret))
            except ConfigurationError as error:
                raise self._error(line, str(error)) from error
        certificate, key, authorities = (self._take(f"zkcore.{name}", str, "") for name in _TLS_FILES)
        identity = self._take("zkcore.identity", str, "{host}")
        if certificate or key or authorities:
            if not (certificate and key and authorities):
                raise ConfigurationError(f"{self._path}: TLS needs all of zkcore.{', zkcore.'.join(_TLS_FILES)}")
            kinds.append(Tls(certificate=certificate, key=key, authorities=authorities, identity=identity))
        if self._take("zkcore.plaintext", _true, False):
            kinds.append(Plaintext())
        if len(kinds) > 1:
            raise ConfigurationError(f"{self._path}: the members know each other in one way; leave one of those named")
        if not kinds and not alone:
            raise ConfigurationError(
                f"{self._path}: say how the members know each other: with zkcore.secretFile, or zkcore.certificate, "
                "zkcore.key and zkcore.authorities; or not at all, with zkcore.plaintext=true"
            )
        return kinds[0] if kinds else None


# --- values ----------------------------------------------------------------------------------------------------------


def _is(value: str, word: str) -> bool:
    return value.lower() == word


def _at_least(least: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit()) or int(value) < least:
            raise ValueError(f"give a whole number, at least {least}")
        return int(value)

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in words:
            raise ValueError(f"it is {' or '.join(words)}")
        return value.lower()

    return parse


def _true(value: str) -> bool:
    return _one_of("true", "false")(value) == "true"


def _yes(value: str) -> bool:
    return _one_of("yes", "no")(value) == "yes"


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or not 0 <= int(value) <= 65535:
        raise ValueError("give a port, 1 to 65535, or 0 for any that is free")
    return int(value)


def _host(value: str) -> str:
    return parse_address(f"[{value}]:1" if ":" in value else f"{value}:1", key="the host").host


def _path_of(value: str) -> Path:
    if not value:
        raise ValueError("give a path")
    return Path(value)


def _name(value: str) -> str:
    if not 0 < len(value.encode()) <= MAX_NAME_BYTES:
        raise ValueError(f"a name has 1 to {MAX_NAME_BYTES} bytes")
    return value


def _words(value: str) -> frozenset[str]:
    return frozenset(word.strip() for word in value.split(",") if word.strip())


def _super_digest(value: str) -> Id:
    user, colon, digest = value.partition(":")
    if not (user and colon and digest):
        raise ValueError("it is user:hash, as ZooKeeper's DigestAuthenticationProvider prints it")
    return Id("digest", value)
