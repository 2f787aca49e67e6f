"""A client in an AppWorld: the Port of embedded clients, at a distance from its nodes.

`EmbeddedPort` keeps a session alive over hosts that are objects in its own process. Here each of them is a FarHost:
what the Port asks of it travels to the real Host, and what that tells travels back, in channels that take their time
and on a connection that can break. A read is no look into a tree that happens to be near, but a request like any.

This module knows the inside of EmbeddedPort, since a test must run what is used in earnest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from random import Random
from typing import Any, Self, TypeVar, cast

from zkcore.client.embedded import EmbeddedPort
from zkcore.client.node import EmbeddedClient
from zkcore.client.port import Watcher
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.errors import OperationTimeoutError, SessionClosedError, ZkcoreError
from zkcore.jute.records import Id
from zkcore.replica.host import Host, HostListener
from zkcore.replica.levels import Read, ReadLevel, check_level
from zkcore.replica.served import Served
from zkcore.testing.channels import Channel
from zkcore.testing.virtual_loop import VirtualLoop
from zkcore.tree.requests import Request
from zkcore.tree.sessions import PASSWORD_SIZE
from zkcore.zxid import Zxid

__all__ = ["AppClient", "Connection", "FarHost", "FarPort"]

T = TypeVar("T")

_REFUSED_SECONDS = 0.05
"""A client that was refused by one node tries the next so much later."""

_NEWEST: Zxid = (1 << 63) - 1


class Connection:
    """What carries one session's requests to one node, and its answers back, until it breaks. From then on nothing
    passes; the client may hear of it only later (`break_`)."""

    def __init__(self, far: FarHost, client: Served) -> None:
        self._far = far
        self._client = client
        self._up = True
        self._left = False  # the client counts on it no longer
        self.session = 0

    # --- from the client to the node

    def ask(self, method: str, *args: Any, **options: Any) -> None:
        """Have `Host.<method>` called at the node."""
        if self._up:
            self._far.to_node.post(self._at_node, method, args, options)

    def _at_node(self, method: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if self._up:
            getattr(self._far.host, method)(*args, **options)

    def identify(self, session: int, ids: tuple[Id, ...]) -> None:
        """Have `Replica.identify` called at the node."""
        if self._up:
            self._far.to_node.post(self._identify_at_node, session, ids)

    def _identify_at_node(self, session: int, ids: tuple[Id, ...]) -> None:
        if self._up:
            self._far.host.replica.identify(session, ids)

    def leave(self) -> None:
        """The client goes, or has gone."""
        self._left = True
        self._far.forget(self)
        self._go_down()

    def break_(self, why: str, *, seconds: float = 0.0) -> None:
        """The client hears of it `seconds` later than it takes to tell."""
        if self._up:
            self._go_down()
            self._far.to_app.post(self._hear_broken, why, extra=seconds)

    def _hear_broken(self, why: str) -> None:
        if not self._left:
            self._left = True
            self._far.forget(self)
            self._client.on_detached(why)

    def _go_down(self) -> None:
        if self._up:
            self._up = False
            if self.session:
                self._far.to_node.post(self._far.host.detach, self.session)

    # --- from the node to the client (`zkcore.replica.served.Served`)

    def on_opened(self, session: int) -> None:
        self.session = session
        if self._up:
            self._tell("on_opened", session)
        else:
            self._far.host.detach(session)

    def on_replied(self, result: object, error: ZkcoreError | None, zxid: Zxid) -> None:
        self._tell("on_replied", result, error, zxid)

    def on_watch(self, event: Any) -> None:
        self._tell("on_watch", event)

    def on_touched(self, token: int, alive: bool) -> None:
        self._tell("on_touched", token, alive)

    def on_attached(self) -> None:
        self._tell("on_attached")

    def on_detached(self, why: str) -> None:
        """The node does not serve the session (any more)."""
        if self._up:
            self._up = False
            self._far.to_app.post(self._hear_broken, why, extra=_REFUSED_SECONDS)

    def on_ended(self) -> None:
        self._tell("on_ended")

    def _tell(self, method: str, *args: Any) -> None:
        if self._up:
            host = self._far.host
            self._far.to_app.post(self._at_app, host.replica.tree.last_zxid, host.told_zxid, method, args)

    def _at_app(self, seen: Zxid, told: Zxid, method: str, args: tuple[Any, ...]) -> None:
        if self._up and not self._left:
            self._far.seen, self._far.told_zxid = max(self._far.seen, seen), max(self._far.told_zxid, told)
            getattr(self._client, method)(*args)


class FarHost:
    """One node as one client sees it: what an EmbeddedPort asks of a Host. `reachable` says whether a connection can be
    made now."""

    def __init__(self, host: Host, *, to_node: Channel, to_app: Channel, reachable: Callable[[], bool]) -> None:
        self.host = host
        self.to_node = to_node
        self.to_app = to_app
        self.listeners: list[HostListener] = []  # of its role changes: from afar nobody hears of them
        self.replica = FarReplica(self)
        self.running = True  # as far as one can know
        self.lock = nullcontext()  # nobody reads there on a thread of his own
        self.seen: Zxid = 0
        """The newest state of which something has come from there."""
        self.told_zxid: Zxid = 0
        """See Host, as of the message that arrived last."""
        self.connection: Connection | None = None
        self._reachable = reachable

    def __repr__(self) -> str:
        return f"<FarHost of node {self.host.replica.me}>"

    def open(self, client: Served, *args: Any, **options: Any) -> None:
        """See Host."""
        self._connect("open", client, *args, **options)

    def attach(self, client: Served, session: int, **options: Any) -> None:
        """See Host."""
        self._connect("attach", client, session, **options)

    def _connect(self, method: str, client: Served, *args: Any, **options: Any) -> None:
        connection = self.connection = Connection(self, client)
        if method == "attach":
            connection.session = args[0]
        if self._reachable():
            connection.ask(method, connection, *args, **options)
        else:
            connection.break_("the node cannot be reached", seconds=10 * _REFUSED_SECONDS)

    def detach(self, session: int) -> None:
        """See Host."""
        if self.connection is not None:
            self.connection.leave()

    def submit(self, session: int, request: Request[Any], read: ReadLevel = Read.SESSION) -> None:
        """See Host."""
        if self.connection is not None:
            self.connection.ask("submit", session, request, read)

    def touch(self, session: int, token: int) -> None:
        """See Host."""
        if self.connection is not None:
            self.connection.ask("touch", session, token)

    def forget(self, connection: Connection) -> None:
        """It is up no longer."""
        if self.connection is connection:
            self.connection = None


class FarReplica:
    """What a Port looks up in a replica, as far as it can be known from afar: what does not change.

    Two things are nearer here than they would be: what a session missed of its watches while it moved, and that a watch
    is given up, take no time.
    """

    serving = True

    def __init__(self, far: FarHost) -> None:
        self._far = far
        self.limits = far.host.replica.limits
        self.rules = far.host.replica.rules
        self.tree = FarTree(far.host)

    def identify(self, session: int, ids: tuple[Id, ...]) -> None:
        """See Replica."""
        if self._far.connection is not None:
            self._far.connection.identify(session, ids)

    def read(self, session: int, request: Request[T]) -> T:
        """See Replica. Only for what leaves the tree alone. Raises SessionClosedError where the session has left."""
        return self._far.host.replica.read(session, request)


class FarTree:
    """Of a tree only what was granted to sessions can be known; whether it is new enough the node will say."""

    last_zxid = _NEWEST

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def sessions(self) -> Mapping[int, int]:
        """The timeouts of all sessions, in milliseconds."""
        return self._host.replica.tree.sessions


class FarPort(EmbeddedPort):
    """The Port of an AppClient."""

    def __init__(
        self,
        hosts: Callable[[], Sequence[FarHost]],
        *,
        timeout: float,
        rng: Random,
        wall: Callable[[], float],
    ) -> None:
        self._wall = wall
        super().__init__(cast("Callable[[], Sequence[Host]]", hosts), timeout=timeout)
        self.rng = rng
        self._password = rng.randbytes(PASSWORD_SIZE)

    def wall(self) -> float:
        return self._wall()

    def _newest(self) -> Zxid:
        far = cast("FarHost | None", self._host)
        return self._last_zxid if far is None else max(self._last_zxid, far.seen)

    def _catch_up(self, host: Host) -> None:
        try:
            super()._catch_up(host)
        except SessionClosedError:
            pass  # it is over there, and word of it is on its way

    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        """See `zkcore.client.port.Port.request`. No read is answered at once.

        Raises ForeignLoopError and LoopClosedError where it is not the world's own loop that runs the caller."""
        cast(VirtualLoop, self._loop).check_here()
        host = self._serving
        if host is None or op.writes:
            return await super().request(op, watch=watch, timeout=timeout, read=read)
        check_level(read)
        if len(self._unanswered) >= self._most_requests:
            self._check_throttled(op)
        answer: asyncio.Future[T] = self._loop.create_future()
        self._submit(host, (answer, op, watch, read))
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError as error:
            raise OperationTimeoutError(f"no answer within {timeout} s; it may have happened or not") from error


class AppClient(EmbeddedClient):
    """A Client of an AppWorld: see `zkcore.testing.app_world.AppWorld.client`."""

    def __init__(
        self, connect: Callable[[float], FarPort], *, timeout: float = DEFAULT_SESSION_TIMEOUT
    ) -> None:
        super().__init__(lambda: (), timeout=timeout)
        self._connect = connect

    async def start(self) -> Self:
        """See EmbeddedClient."""
        if self._port is not None:
            raise SessionClosedError("this client was started before; make a new one")
        self._port = self._connect(self._timeout)
        await self._port.start()
        return self
