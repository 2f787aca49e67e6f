"""The door for ZooKeeper's clients: a port on which a node speaks their protocol.

Who comes is counted, in all and for each address, and let in or not; what is said on a connection is the business of
`connection.py`. One listener serves one host, and several may serve the same.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Self, cast

from zkcore.errors import ConfigurationError
from zkcore.forks import only_here
from zkcore.jute.records import Id
from zkcore.replica.host import Host
from zkcore.server.connection import ClientConnection
from zkcore.server.four_letter import ALLOWED, TRACE_MASK, Traffic, answer
from zkcore.server.limits import ListenerLimits
from zkcore.transport.address import Address, parse_address
from zkcore.transport.rates import Seldom
from zkcore.tree.acl import CertificateScheme
from zkcore.zab.messages import PeerId
from zkcore.zab.ready import Event, RoleChanged

__all__ = ["ClientListener"]

_log = logging.getLogger("zkcore.server")

_WARN_SECONDS = 10.0


class ClientListener:
    """Serves ZooKeeper's clients on `bind`, "host:port", for `host`, a node that is running::

        async with zkcore.ClientListener(node.host, "127.0.0.1:2181"):
            ...

    Port 0 takes any that is free; `address` says which. With `tls` clients speak TLS, and what their certificates say,
    if it asks for any, is an id of the scheme x509. `words` are the four-letter words that are answered, "*" for all of
    ZooKeeper's. Everything belongs to the event loop of the host. Raises ConfigurationError for an address that is
    none.
    """

    def __init__(
        self,
        host: Host,
        bind: str,
        *,
        tls: ssl.SSLContext | None = None,
        limits: ListenerLimits | None = None,
        words: Collection[str] = ALLOWED,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.host = host
        self.traffic = Traffic()
        self.settings: Mapping[str, object] = dict(settings or {})
        """What the word `conf` tells."""
        self.trace_mask = TRACE_MASK
        self.limits = limits if limits is not None else ListenerLimits()
        self._bind = parse_address(bind, key="bind", any_port=True)
        self._tls = tls
        self._words = frozenset(words)
        if self.limits.read_only_seconds is not None:
            self._words |= {"isro"}  # by that clients find the way back, as in ZooKeeper
        self._server: asyncio.Server | None = None
        self._connections: dict[ClientConnection, str] = {}  # with the address each comes from
        self._by_session: dict[int, ClientConnection] = {}
        self._by_address: Counter[str] = Counter()
        self._seldom = Seldom(_WARN_SECONDS)
        self._alone_since: float | None = None
        self._handing_over: asyncio.Task[PeerId] | None = None

    def __repr__(self) -> str:
        return f"<ClientListener {self._bind} with {len(self._connections)} connections>"

    # --- life

    async def start(self) -> Self:
        """Take the port. Raises ConfigurationError where that cannot be done."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self.meet, self._bind.host, self._bind.port, ssl=self._tls
            )
        except OSError as error:
            raise ConfigurationError(
                f"clients cannot be served on {self._bind}: {error}; stop who has the port, or give another"
            ) from error
        only_here(self._server)
        self._alone_since = None if self.host.replica.serving else loop.time()
        self.host.listeners.append(self._on_event)
        _log.info("node %s serves clients on %s", self.host.replica.me, self.address)
        return self

    async def stop(self) -> None:
        """Give the port back, and break all connections. Their sessions live on."""
        if self._server is None:
            return
        self._server.close()
        self.host.listeners.remove(self._on_event)
        self.drop_connections()
        await self._server.wait_closed()
        self._server = None

    def meet(self) -> ClientConnection:
        """What takes up a connection that is made."""
        return ClientConnection(self)

    def drop_connections(self) -> None:
        """Break all connections. Their sessions live on."""
        for connection in list(self._connections):
            connection.end("the server lets go of it")

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """Where clients find it, "host:port"."""
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the listener is not started; await start() or use it as a context manager")
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(Address(host, port))

    # --- what connections ask

    @property
    def clients(self) -> Collection[ClientConnection]:
        """All connections."""
        return self._connections.keys()

    @property
    def serves_readers(self) -> bool:
        """See `Owner`. A node that knows of nothing yet has nothing to show."""
        after, host = self.limits.read_only_seconds, self.host
        if after is None or host.replica.tree.last_zxid == 0:
            return False
        if host.read_only:
            return True
        if not host.running or host.replica.serving or self._alone_since is None:
            return False
        return asyncio.get_running_loop().time() - self._alone_since >= after

    def _on_event(self, host: Host, event: Event) -> None:
        """Who only reads is sent away when there is a leader: he comes again, and catches up."""
        if not isinstance(event, RoleChanged):
            return
        if not event.established:
            if self._alone_since is None:
                self._alone_since = asyncio.get_running_loop().time()
            return
        self._alone_since = None
        for connection in list(self._connections):
            if connection.reading is not None:
                connection.end("there is a leader again")

    def four_letters(self, said: bytes) -> str | None:
        """See `Owner`."""
        return answer(said, self, allowed=self._words)

    def hand_over(self, target: PeerId) -> str:
        """The answer to the word `LEAD`: it begins, or why not. What becomes of it is seen by who leads then."""
        replica = self.host.replica
        if replica.leader != replica.me or not self.host.running:
            where = f"ask node {replica.leader}" if replica.leader is not None else "nobody does"
            return f"node {replica.me} does not lead; {where}\n"
        if target == replica.me:
            return f"node {target} leads already\n"
        able = [each.peer for each in replica.status().learners if each.stage == "ACTIVE" and each.counts]
        if not able or (target and target not in able):
            ready = ", ".join(map(str, able)) or "none"
            return f"node {target or replica.me} cannot take over: voters in line with node {replica.me} are {ready}\n"
        self._handing_over = asyncio.get_running_loop().create_task(self.host.transfer(target or None))
        self._handing_over.add_done_callback(self._on_handed_over)
        return f"node {replica.me} hands over\n"

    def _on_handed_over(self, moved: asyncio.Task[PeerId]) -> None:
        if not moved.cancelled() and (error := moved.exception()) is not None:
            _log.warning("node %s was told to hand over, and does not: %s", self.host.replica.me, error)

    def admit(self, connection: ClientConnection, address: str) -> str | None:
        """See `Owner`."""
        self._connections[connection] = address
        self._by_address[address] += 1
        if len(self._connections) > self.limits.connections:
            return self._warn(f"there are {self.limits.connections} connections", address)
        if self._by_address[address] > self.limits.connections_per_address:
            return self._warn(f"there are {self.limits.connections_per_address} connections from it", address)
        return None

    def _warn(self, why: str, address: str) -> str:
        if self._seldom.may_say(why, asyncio.get_running_loop().time()) is not None:
            _log.warning("node %s: a client at %s is refused: %s", self.host.replica.me, address, why)
        return why

    def ids_of(self, connection: ClientConnection) -> tuple[Id, ...]:
        """See `Owner`."""
        address = self._connections[connection]
        ids = [Id("ip", address)]
        scheme = self.host.replica.rules.access.scheme("x509")
        certificate = connection.certificate
        if certificate and isinstance(scheme, CertificateScheme):
            ids += scheme.ids_of(subject_of(certificate))
        return tuple(ids)

    def on_session(self, connection: ClientConnection) -> None:
        """See `Owner`."""
        older = self._by_session.get(connection.session)
        if older is not None and older is not connection:
            older.end("its session was taken up at another connection")
        self._by_session[connection.session] = connection

    def on_gone(self, connection: ClientConnection) -> None:
        """See `Owner`."""
        address = self._connections.pop(connection, None)
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
        if self._by_session.get(connection.session) is connection:
            del self._by_session[connection.session]


_SHORT = {
    "commonName": "CN", "countryName": "C", "localityName": "L", "stateOrProvinceName": "ST",
    "organizationName": "O", "organizationalUnitName": "OU", "domainComponent": "DC", "userId": "UID",
    "streetAddress": "STREET",
}  # fmt: skip


def subject_of(certificate: Mapping[str, object]) -> str:
    """Who a certificate is for, as ZooKeeper's x509 scheme writes it (RFC 2253): the last part first."""
    parts = []
    for relative in reversed(cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()))):
        parts.append("+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in relative))
    return ",".join(parts)


def _escaped(value: str) -> str:
    escaped = "".join("\\" + each if each in ',+"\\<>;' else each for each in value)
    if escaped[:1] in ("#", " "):
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if len(value) > 1 and value.endswith(" ") else escaped
