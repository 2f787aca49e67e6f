"""Replicas with clients on them: the program that puts everything but sockets and threads under simulation.

A few clients open sessions, write and read a handful of paths, with reads of every level, set watches, move from
replica to replica, fall silent and close. What they are told is judged by the Reference (clients.py), at once and by
zxids; and at the end, by times alone, by a search for an order in which it can have happened (linearizability.py). Wall
clocks are wrong by up to an hour, since nothing may depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from zkcore.errors import BadArgumentsError, SessionClosedError, ThrottledError, ZkcoreError
from zkcore.replica.answers import Answer, Attached, Detached, Replied, SessionEnded, Touched, WatchFired
from zkcore.replica.levels import Read, ReadLevel, Sync
from zkcore.replica.members import Members
from zkcore.replica.replica import Replica
from zkcore.testing.clients import Client, Reference
from zkcore.testing.histories import ZnodeHistory
from zkcore.testing.linearizability import Register, Verdict, check
from zkcore.testing.load import Machine
from zkcore.testing.trace import NANOSECONDS, random_stream
from zkcore.tree.applied import WatchEvent
from zkcore.tree.requests import CloseSession, Create, Delete, Exists, GetData, Request, SetData
from zkcore.tree.znode import CreateMode
from zkcore.zab.messages import Message, PeerId
from zkcore.zab.peer import Peer
from zkcore.zab.ready import Delivered, Event, Ready, Restored, Saved
from zkcore.zxid import Zxid

if TYPE_CHECKING:
    from zkcore.testing.faults import Plan
    from zkcore.testing.node import Node

__all__ = ["Replicas"]

_ANSWERS = (Attached, Detached, Replied, SessionEnded, Touched, WatchFired)

_LEAVES = ("/a/x", "/b/x", "/c")
_PATHS = ("/a", "/b", *_LEAVES, "/c", "/c")
_MOST_STEPS = 20_000
_PASSWORD = b"one for everybody"[:16]
_EPOCH_MS = 1_600_000_000_000
_HOUR_MS = 3_600_000
_SLOWEST = 0.8 * 1_000_000
"""Nanoseconds of a millisecond of session timeout, by the fastest clock that a plan gives to a node."""


class _Machine:
    """A Replica with the inputs of a Peer: `now` is the wall clock of its node."""

    def __init__(self, node: Node, replica: Replica, wall_ms: int) -> None:
        self.replica = replica
        self.report_linked = replica.report_linked
        self.report_lost = replica.report_lost
        self.compact = replica.compact
        self.drain: Callable[[], Ready[Any]] = replica.drain
        self._node = node
        self._wall_ms = wall_ms

    @property
    def now_ms(self) -> int:
        return self._wall_ms + self._node.now // 1_000_000

    @property
    def ticks_until_due(self) -> int:
        return self.replica.ticks_until_due

    def tick(self, ticks: int = 1) -> None:
        self.replica.tick(ticks, self.now_ms)

    def receive(self, sender: PeerId, message: Message) -> None:
        self.replica.receive(sender, message, self.now_ms)


def _replica(node: Node) -> Replica:
    assert isinstance(node.machine, _Machine)
    return node.machine.replica


class Replicas:
    """The Program: see the module, and `zkcore.testing.load.Program`."""

    def __init__(self, plan: Plan) -> None:
        self._config = plan.config
        self._limits = plan.limits
        self._transfer_share = plan.transfer_share
        rng = random_stream(plan.seed, "clients")
        self._walls = {me: _EPOCH_MS + rng.randrange(-_HOUR_MS, _HOUR_MS) for me in plan.config.members}
        self.timeout_ms = rng.choice((300, 2000, 10_000))
        self.clients = [Client(number) for number in range(1, 2 + rng.randrange(6))]
        self._by_session: dict[int, Client] = {}
        self._writes = self._looks = 0
        self._reference: Reference | None = None
        self.history = ZnodeHistory(_LEAVES)
        self.verdict: Verdict | None = None
        """What the search for an order came to, at the end."""

    def _judge(self, node: Node) -> Reference:
        if self._reference is None:
            self._reference = Reference(node.oracle)
            first = Members(self._config)
            if not first.stands_alone:
                self._reference.tree.show_members(first.text().encode())
        return self._reference

    def start(self, node: Node, saved: Saved) -> Machine:
        if isinstance(node.survivor, _Machine):
            node.survivor.replica.recover()  # which detaches the clients
            return node.survivor
        for client in self.clients:
            if client.node == node.me:
                self._leave(client)
        replica = Replica(node.me, self._config, node.disk.storage, limits=self._limits)
        return _Machine(node, replica, self._walls[node.me])

    def peer(self, machine: Machine) -> Peer:
        assert isinstance(machine, _Machine)
        return machine.replica.peer

    def serves(self, node: Node) -> bool:
        return _replica(node).serving

    def position(self, node: Node) -> Zxid:
        return _replica(node).tree.last_zxid

    def snapshot(self, node: Node) -> bytes:
        return b"".join(_replica(node).snapshot()[1])

    # --- what clients do

    def step(self, node: Node, rng: Random) -> None:
        """One act of one client; now and then the leader hands over."""
        replica = _replica(node)
        if not replica.serving:
            return
        assert isinstance(node.machine, _Machine)
        if replica.next_zxid is not None and rng.random() < self._transfer_share:
            self._transfer(node, replica, rng)
        here = [client for client in self.clients if client.node == node.me]
        if not here or rng.random() < 0.1:
            self._draw_newcomer(node, rng)
            return
        client = rng.choice(here)
        if not client.ready:
            return
        assert client.session is not None
        act = rng.random()
        if act < 0.05:
            replica.detach(client.session)
            self._leave(client)
            return
        try:
            if act < 0.15:
                replica.touch(client.session, node.now, node.machine.now_ms)
            else:
                request = self._draw_request(rng)
                if request.writes:
                    self.submit(node, client, request, linearizable=True)
                    client.closing = client.closing or isinstance(request, CloseSession)
                else:
                    self._read(node, client, request, rng)
        except SessionClosedError:
            pass  # it was detached by what was fed just before; the client is about to be told
        except ThrottledError:
            node.sightings.see("throttled")

    def _transfer(self, node: Node, replica: Replica, rng: Random) -> None:
        try:
            replica.transfer(rng.choice(self._config.members) if rng.random() < 0.5 else None)
        except BadArgumentsError:
            node.sightings.see("transfer refused")

    def _draw_newcomer(self, node: Node, rng: Random) -> None:
        """A client without a replica comes here, or one that has heard nothing of its own for a while."""
        coming = [client for client in self.clients if client.node != node.me]
        homeless = [client for client in coming if client.node is None]
        if not coming or (not homeless and rng.random() > 0.1):
            return
        self.come(node, rng.choice(homeless or coming))

    def come(self, node: Node, client: Client) -> None:
        """`client` leaves where it is, and tries to be served by `node`."""
        assert isinstance(node.machine, _Machine)
        machine = node.machine
        self._leave(client)
        try:
            if client.session is None:
                client.session = machine.replica.open(self.timeout_ms, machine.now_ms, password=_PASSWORD)
                self._by_session[client.session] = client
            else:
                machine.replica.attach(
                    client.session, password=_PASSWORD, last_zxid=client.seen, next_xid=client.next_xid,
                    now=machine.now_ms,
                )  # fmt: skip
        except ZkcoreError:
            return  # no leader, or not as far as the client: it tries again some time
        client.node = node.me

    def _read(self, node: Node, client: Client, request: Request[Any], rng: Random) -> None:
        """A read of any level."""
        draw = rng.random()
        if draw < 0.4:
            self.submit(node, client, request)
        elif draw < 0.65:
            self.submit(node, client, request, read=Read.LINEARIZABLE, linearizable=True)
        elif draw < 0.8:
            self.submit(node, client, Sync(), read=Read.LINEARIZABLE)
            self.submit(node, client, request, linearizable=True)
        elif draw < 0.9:
            self.submit(node, client, request, read=Read.at_least(self._judge(node).answered))
        else:
            self._read_at_once(node, client, request)

    def submit(
        self, node: Node, client: Client, request: Request[Any], *, read: ReadLevel = Read.SESSION,
        linearizable: bool = False,
    ) -> None:  # fmt: skip
        """`client`, which is served by `node`, asks for something. `linearizable` requests are those that must fit into
        one order of all of them."""
        assert isinstance(node.machine, _Machine)
        assert client.session is not None
        xid = node.machine.replica.submit(client.session, request, node.machine.now_ms, read=read)
        self._judge(node).submitted(client, xid, request, read=read)
        if linearizable:
            self.history.asked(node.now, client.number, client.session, xid=xid, request=request)

    def _read_at_once(self, node: Node, client: Client, request: Request[Any]) -> None:
        assert client.session is not None
        result, failed = None, None
        try:
            result = _replica(node).read(client.session, request)
        except SessionClosedError:
            raise
        except ZkcoreError as error:
            failed = error
        self._judge(node).read_at_once(client, request, result, failed)

    def _draw_request(self, rng: Random) -> Request[Any]:
        path = rng.choice(_PATHS)
        draw = rng.random()
        if draw < 0.01:
            return CloseSession()
        if draw < 0.3:
            mode = rng.choice((CreateMode.PERSISTENT, CreateMode.EPHEMERAL, CreateMode.PERSISTENT_SEQUENTIAL))
            return Create(path, self._new_data(), mode=mode)
        if draw < 0.55:
            return SetData(path, self._new_data(), version=-1 if rng.random() < 0.7 else rng.randrange(4))
        if draw < 0.65:
            return Delete(path)
        watch = rng.random() < 0.3
        return GetData(path, watch) if draw < 0.9 else Exists(path, watch)

    def _new_data(self) -> bytes:
        """No two writes have the same data, so a read tells which it saw."""
        self._writes += 1
        return b"%d" % self._writes

    # --- what clients are told

    def tell(self, node: Node, event: Event | Answer) -> None:
        if type(event) is Delivered or isinstance(event, Restored):
            self._catch_up(node)
            self._looks += 1
            if self._looks % 20 == 0:
                self._check_tree(node)
        elif isinstance(event, _ANSWERS):
            client = self._by_session.get(event.session)
            if client is not None and client.session == event.session and client.node == node.me:
                self._answer(node, client, event)  # else nobody listens there any more

    def _answer(self, node: Node, client: Client, event: Answer) -> None:
        judge = self._judge(node)
        if isinstance(event, Replied):
            if event.xid == 0:
                client.ready = client.known = event.error is None
                if event.error is not None:
                    client.end()  # there was no room for a session; it tries again some time
            else:
                judge.replied(client, event.xid, event.result, event.error)
                self.history.answered(
                    node.now, client.number, xid=event.xid, result=event.result, error=event.error
                )
        elif isinstance(event, WatchFired):
            assert isinstance(event.event, WatchEvent)  # nobody is ever paused here
            judge.watch_fired(client, event.event)
        elif isinstance(event, Attached):
            judge.attached(client, _replica(node).tree.last_zxid)
            self.history.attached(node.now, client.number)
            client.ready = client.known = True
        elif isinstance(event, Detached):
            self._leave(client)
        elif isinstance(event, Touched) and event.alive:
            client.alive_until = max(client.alive_until, event.token + int(self.timeout_ms * _SLOWEST))
        elif isinstance(event, SessionEnded | Touched):
            self._check_end(node, client, event)
            self.history.ended(node.now, client.number)
            client.end()

    def _leave(self, client: Client) -> None:
        client.leave()
        self.history.left(client.number)

    def _catch_up(self, node: Node) -> None:
        for closed in self._judge(node).catch_up():
            self._check_lease(node, self._by_session[closed], closed)

    def _check_end(self, node: Node, client: Client, event: Answer) -> None:
        """What is not committed may be lost with its leader, and the session live on with all its ephemerals. One that
        the client has not heard of yet has none."""
        self._catch_up(node)
        if client.known and client.session in self._judge(node).tree.sessions:
            node.oracle.fail("X18", f"client {client.number} is told {event}, and its session lives")

    def _check_lease(self, node: Node, client: Client, closed: int) -> None:
        """A session of `client` was closed just now. A heartbeat that was confirmed, it may count on."""
        if client.session == closed and not client.closing and node.now < client.alive_until:
            early = (client.alive_until - node.now) / NANOSECONDS
            node.oracle.fail("X18", f"the session of client {client.number} expires {early:.3f} s too early")

    # --- the end

    def idle(self) -> bool:
        return all(client.ready and not client.waiting for client in self.clients if client.node is not None)

    def check(self, nodes: Iterable[Node]) -> None:
        """All trees are the reference's, and whole."""
        for node in nodes:
            _replica(node).tree.check()
            self._check_tree(node)
        self._judge(node).check_end()
        found = check(self.history.operations(), Register(), max_steps=_MOST_STEPS)
        self.verdict = found.verdict
        if found.verdict is Verdict.BROKEN:
            node.oracle.fail("linearizable", found.why)

    def _check_tree(self, node: Node) -> None:
        """Where it is as far as the reference's, the tree of `node` is equal to it."""
        tree, reference = _replica(node).tree, self._judge(node).tree
        if tree.last_zxid == reference.last_zxid and tree.freeze() != reference.freeze():
            node.oracle.fail("X14", f"the tree of node {node.me} is not what the committed transactions make")
