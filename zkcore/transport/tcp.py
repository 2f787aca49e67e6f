"""Members on several machines: a `Transport` over TCP, on asyncio.

One connection for each pair of members; the one with the larger number dials, again and again until there is a link,
and again when it is lost. Names are resolved at every dial, so a member may move. How two members greet each other is
told in handshake.py, how a connection is run in link.py; here it is decided who is let in, and which link counts.

Nobody is believed before the handshake, and strangers are bounded in everything: connections, those that have not
greeted yet, the time for it, and how often one address may come. Trouble is told once in a while, not every time.

This module must not know what the messages mean.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import socket
from collections.abc import Coroutine, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from zkcore.errors import ConfigurationError
from zkcore.events.dispatcher import Dispatcher
from zkcore.events.kinds import LinkRefused
from zkcore.events.logs import log
from zkcore.forks import only_here
from zkcore.transport.address import Address, parse_address
from zkcore.transport.asking import Answer, Answering
from zkcore.transport.handshake import MAX_CLUSTER_BYTES, Terms
from zkcore.transport.limits import LinkLimits
from zkcore.transport.link import LOOKS, Link
from zkcore.transport.places import Places
from zkcore.transport.rates import Buckets, Seldom
from zkcore.transport.security import Security, SharedSecret, Tls, mode_of
from zkcore.transport.threads import made
from zkcore.transport.tls import TlsFiles, names_in
from zkcore.transport.transport import Inbox
from zkcore.transport.wire import encode
from zkcore.zab.messages import Message, PeerId

__all__ = ["TcpTransport", "close_all", "listen_at"]

_log = logging.getLogger("zkcore.peer")

_BACKLOG = 128
_RESOLVERS = 254
"""So many names may be resolved at the same time, one for each other member. Threads come when they are needed."""
_ANSWER_SECONDS = 60.0
"""How long a question may take, with its answer."""
_PAUSE_SECONDS = 0.1
"""Between two attempts to accept where the system has no more descriptors."""


class TcpTransport:
    """The transport of member `me` of `cluster`. `members` says for every member, this one included, where the others
    reach it: "host:port".

    Await `listen`, give `start` to the node, and await `stop` when that is stopped; or use it as an async context
    manager::

        async with zkcore.TcpTransport(1, members, cluster="orders", security=security) as transport:
            async with zkcore.Node(1, ensemble, storage=storage, transport=transport.start) as node:
                ...

    `bind` is where to listen if that is elsewhere, as behind a forwarded port; its host may be "0.0.0.0" or "::" for
    all of this machine. `events`, those of the node, are told of links that did not come about; by default they are
    only logged. Everything belongs to the event loop of `listen`. Raises ConfigurationError, naming what to change.
    """

    def __init__(
        self,
        me: PeerId,
        members: Mapping[PeerId, str],
        *,
        cluster: str,
        security: Security,
        bind: str | None = None,
        limits: LinkLimits | None = None,
        events: Dispatcher | None = None,
    ) -> None:
        if me not in members:
            raise ConfigurationError(f"member {me} is not among the members {sorted(members)}; add its address")
        if not isinstance(cluster, str) or not 0 < len(cluster.encode()) <= MAX_CLUSTER_BYTES:
            raise ConfigurationError(f"cluster is {cluster!r}; a name has 1 to {MAX_CLUSTER_BYTES} bytes")
        self.me = me
        self.places = Places(me, members, cluster=cluster, security=security)
        """Who the members are and where. Look, but do not touch."""
        self._bind = parse_address(bind, key="bind") if bind is not None else self.places[me]
        self._bind_key = "bind" if bind is not None else f"members[{me}]"
        self._limits = limits if limits is not None else LinkLimits()
        secret = security.secret if isinstance(security, SharedSecret) else b""
        self._terms = Terms(me=me, cluster=cluster, mode=mode_of(security), secret=secret)
        self._tls = TlsFiles(security, identity=self.places.identity(me)) if isinstance(security, Tls) else None
        self._inbox: Inbox | None = None
        self._stopped = False
        self._listeners: list[socket.socket] = []
        self._links: dict[PeerId, Link] = {}
        self._connections: set[Link] = set()  # all that have a socket
        self._callers: set[Link] = set()  # those of them that others have made
        self._tasks: set[asyncio.Task[None]] = set()
        self._dialled: dict[PeerId, asyncio.Event] = {}  # set where there is news of a member that is dialled
        self._look: asyncio.TimerHandle | None = None
        self._resolver: ThreadPoolExecutor | None = None
        self._dials = Buckets(per_second=self._limits.dials_per_second, burst=self._limits.dials_at_once)
        self._seldom = Seldom(self._limits.log_every_seconds)
        self._events = events if events is not None else Dispatcher(log)
        self._answering = Answering(self.places, self._spawn)

    def __repr__(self) -> str:
        return f"<TcpTransport of member {self.me}, linked with {sorted(self._links)}>"

    # --- life

    async def listen(self) -> Self:
        """Take the port. Raises ConfigurationError where that cannot be done."""
        self._loop = asyncio.get_running_loop()
        self._listeners = await made(lambda: listen_at(self._bind, self._bind_key), undo=close_all)
        return self

    def start(self, inbox: Inbox) -> Self:
        """Begin to link; what happens is told to `inbox`. This transport."""
        if not self._listeners or self._inbox is not None:
            raise RuntimeError("await listen() once, then start this transport once")
        self._inbox = inbox
        self._answering.begin()
        for listener in self._listeners:
            self._spawn(self._accept(listener))
        # Of its own: the application may fill the loop's, and a name may take long to resolve.
        self._resolver = ThreadPoolExecutor(_RESOLVERS, f"zkcore-{self.me}-names")
        self._dial_all()
        self._look_again()
        return self

    async def stop(self) -> None:
        """Break all links and give the port back."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        if self._look is not None:
            self._look.cancel()
        if self._resolver is not None:
            self._resolver.shutdown(wait=False, cancel_futures=True)
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            close_all(self._listeners)
            self._listeners = []
            left = list(self._connections)
            for link in left:
                link.abort()
        await asyncio.gather(*(link.gone for link in left))

    async def __aenter__(self) -> Self:
        return await self.listen()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("member %s: the transport is broken: %s", self.me, error, exc_info=error)

    # --- Transport

    def send(self, to: PeerId, message: Message) -> None:
        """See `Transport.send`. A message that does not fit into a frame breaks the link: none is left out."""
        link = self._links.get(to)
        if link is None:
            return
        try:
            body = encode(message)
        except ValueError as error:
            link.end(str(error))
            return
        if len(body) > self._limits.frame_bytes:
            link.end(f"a message of {len(body)} bytes; at most {self._limits.frame_bytes} are sent")
            return
        link.send(body)

    def close(self, to: PeerId) -> None:
        """See `Transport.close`."""
        link = self._links.get(to)
        if link is not None:
            link.end("closed by this member")

    def set_members(self, members: Mapping[PeerId, str], *, version: int, sure: bool) -> None:
        """See `Relinking`."""
        for peer in self.places.change(members, version=version, sure=sure):
            if peer in self._dialled:
                self._dialled[peer].set()
        if self._inbox is not None and not self._stopped:
            self._dial_all()

    def answer_with(self, answer: Answer) -> None:
        """From now on `answer` is for those who ask something (asking.py)."""
        self._answering.answer_with(answer)

    # --- what becomes of connections

    def why_refused(self, peer: PeerId, link: Link) -> str | None:
        """See `LinkOwner`."""
        if link.asks:
            return None  # by its certificate, if need be, it is known when it says where it is
        why = self.places.why_unwelcome(peer)
        if why is not None:
            return why
        if link in self._callers and peer < self.me:
            return f"member {peer} waits until member {self.me} dials: of two members the larger number does"
        return self.places.why_mistaken(peer, names_in(link.certificate())) if self._tls is not None else None

    def on_linked(self, link: Link) -> None:
        """See `LinkOwner`. The newest link counts: its dialler knows that there is no other."""
        if link.asks:
            self._answering.on_linked(link, patience=_ANSWER_SECONDS)
            return
        peer, inbox = link.peer, self._inbox
        assert peer is not None
        assert inbox is not None
        older = self._links.get(peer)
        if older is not None:
            older.end("there is a newer one; where that happens often, two processes run as one member")
        self._links[peer] = link
        inbox.report_linked(peer, link.where)

    def on_message(self, link: Link, message: Message) -> None:
        """See `LinkOwner`."""
        if link.asks:
            self._answering.on_asked(link, message)
            return
        assert link.peer is not None
        assert self._inbox is not None
        self._inbox.receive(link.peer, message)

    def on_ended(self, link: Link, why: str) -> None:
        """See `LinkOwner`."""
        peer = link.peer
        if self._answering.on_ended(link):
            return
        if peer is not None and self._links.get(peer) is link:
            del self._links[peer]
            assert self._inbox is not None
            self._inbox.report_lost(peer, why)
        elif link in self._callers:
            claimed = peer if peer in self.places else None
            host = link.where.rpartition(":")[0]
            self._refused(("called", host, claimed), claimed, where=link.where, why=why, called=True)
        else:
            self._refused(("dialled", peer), peer, where=link.where, why=why, called=False)

    def _look_again(self) -> None:
        self._look = self._loop.call_later(self._limits.patience_seconds / LOOKS, self._look_again)
        for link in list(self._links.values()):
            link.look()

    def _refused(self, key: Hashable, peer: PeerId | None, *, where: str, why: str, called: bool) -> None:
        unsaid = self._seldom.may_say(key, self._loop.time())
        if unsaid is not None and not self._stopped:
            self._events.tell(
                LinkRefused(node=self.me, peer=peer, where=where, why=why, called=called, suppressed=unsaid)
            )

    def _track(self, link: Link) -> None:
        self._connections.add(link)
        link.gone.add_done_callback(lambda _: self._forget(link))

    def _forget(self, link: Link) -> None:
        self._connections.discard(link)
        self._callers.discard(link)

    # --- being called

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, (host, port, *_) = await self._loop.sock_accept(listener)
            except OSError as error:
                self._refused("accept", None, where="anybody", why=f"none can be accepted: {error}", called=True)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            why = self._why_no_room(host)
            if why is None:
                self._greet(connection, str(Address(host, port)))
            else:
                connection.close()
                self._refused(("no room", why), None, where=host, why=why, called=True)

    def _why_no_room(self, host: str) -> str | None:
        limits = self._limits
        if not self._dials.take(host, self._loop.time()):
            return f"more than {limits.dials_per_second:g} a second from one address"
        if len(self._callers) >= limits.connections:
            return f"there are {limits.connections}"
        if sum(not link.up for link in self._callers) >= limits.handshakes:
            return f"{limits.handshakes} have not greeted yet"
        return None

    def _greet(self, connection: socket.socket, where: str) -> None:
        link = Link(self, self._terms, limits=self._limits, dials=None, where=where)
        self._callers.add(link)
        self._track(link)
        self._spawn(self._take_call(link, connection))

    async def _take_call(self, link: Link, connection: socket.socket) -> None:
        context = self._tls.contexts().accepting if self._tls is not None else None
        seconds = self._limits.handshake_seconds if context is not None else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: link, connection, ssl=context, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=seconds
            )
        except OSError as error:
            link.end(f"no TLS: {_meaning(error)}")
        finally:
            link.give_up()

    # --- dialling

    def _dial_all(self) -> None:
        """Begin to dial those who are not dialled yet."""
        for peer in self.places.below:
            if peer not in self._dialled:
                self._dialled[peer] = asyncio.Event()
                self._spawn(self._keep_linked(peer, self._dialled[peer]))

    async def _keep_linked(self, peer: PeerId, news: asyncio.Event) -> None:
        """As long as `peer` is a member, or its link lasts."""
        limits = self._limits
        wait = limits.redial_seconds
        while peer in self.places:
            news.clear()
            if await self._dial(peer):
                wait = limits.redial_seconds
            if self.me not in self.places:
                wait = limits.redial_most_seconds  # this member was removed: it may be added again, and else be quiet
            try:
                async with asyncio.timeout(wait * random.uniform(0.5, 1)):
                    await news.wait()
                wait = limits.redial_seconds
            except TimeoutError:
                wait = min(2 * wait, limits.redial_most_seconds)
        del self._dialled[peer]

    async def _dial(self, peer: PeerId) -> bool:
        """Whether there was a link with `peer`, which is lost again."""
        address = self.places[peer]
        try:
            async with asyncio.timeout(self._limits.handshake_seconds):
                hosts = await self._resolve(address)
        except (OSError, TimeoutError) as error:
            why = f"{address.host} cannot be resolved: {error or 'no answer'}"
            self._refused(("dialled", peer), peer, where=str(address), why=why, called=False)
            return False
        for host in hosts:
            link = Link(self, self._terms, limits=self._limits, dials=peer, where=str(Address(host, address.port)))
            self._track(link)
            try:
                await self._connect(link, host, address.port)
                await link.settled
                if link.up:
                    await link.ended
                    return True
            except OSError as error:
                link.end(str(_meaning(error)))
            finally:
                link.give_up()
        return False

    async def _connect(self, link: Link, host: str, port: int) -> None:
        """Raises OSError, of which TimeoutError is one."""
        context = self._tls.contexts().dialling if self._tls is not None else None
        seconds = self._limits.handshake_seconds if context is not None else None
        name = self.places.identity(link.peer) if context is not None and link.peer is not None else None
        async with asyncio.timeout(self._limits.handshake_seconds):
            await self._loop.create_connection(
                lambda: link, host, port, ssl=context, server_hostname=name,
                ssl_handshake_timeout=seconds, ssl_shutdown_timeout=seconds,
            )  # fmt: skip

    async def _resolve(self, address: Address) -> list[str]:
        if address.is_numeric:
            return [address.host]
        assert self._resolver is not None
        return await self._loop.run_in_executor(self._resolver, _look_up, address)


def _look_up(address: Address) -> list[str]:
    """The numbers of a host. Raises OSError."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{address.host} is no name of a host: {error}") from error
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def listen_at(address: Address, key: str, *, elsewhere: str = "bind") -> list[socket.socket]:
    """A listening socket for each of the numbers of a host. Raises ConfigurationError, which names `key`, and what may
    say to listen `elsewhere`."""
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            only_here(listener)
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setblocking(False)
            listener.bind(where)
            listener.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        close_all(listeners)
        raise ConfigurationError(f"{key} is {address}: {_why_not_bound(error, elsewhere)}") from error
    return listeners


def close_all(listeners: list[socket.socket]) -> None:
    """Give the ports back."""
    for listener in listeners:
        listener.close()


def _why_not_bound(error: OSError | UnicodeError, elsewhere: str) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"the host cannot be resolved ({error}); correct it, or say with {elsewhere} where to listen"
    if error.errno == errno.EADDRINUSE:
        return "the port is taken; stop the process that has it (perhaps this member runs already), or give another"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no such address; say with {elsewhere} where to listen"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "this user may not listen on that port; give one above 1023"
    return f"it is not possible to listen there: {error}"


def _meaning(error: OSError) -> object:
    return getattr(error, "verify_message", None) or error
