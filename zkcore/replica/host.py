"""The asyncio shell of a replica: timers, saving, and the queue in front of it.

A Host does for one Replica what its contract asks (`zkcore.zab.peer`) and nothing else. All inputs, from the
transport and from clients, are queued; a turn feeds what has gathered and drains until nothing is left. While a save
runs on a thread the queue simply grows: the next turn is the next batch.

Hosts that share an event loop share a Pump, which takes turns among them in one callback: a proposal, its
acknowledgements and its commit then need no trip through the loop's queue. Requests never pump by themselves: all
that is ready in one pass of the loop is one batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum, auto
from typing import Any, Protocol

from zkcore.errors import ConnectionLostError, SessionClosedError, StorageError, StorageFullError, ZkcoreError
from zkcore.replica.answers import Answer, Attached, Detached, Replied, SessionEnded, Touched, WatchFired
from zkcore.replica.replica import Replica
from zkcore.transport.transport import Inbox, Transport
from zkcore.tree.applied import WatchEvent
from zkcore.tree.requests import Request
from zkcore.zab.messages import Message, PeerId
from zkcore.zab.ready import NOTHING, Delivered, Event, PeerRejected, Ready, Write
from zkcore.zxid import Zxid

__all__ = ["Host", "HostListener", "Pump", "Served"]

_log = logging.getLogger("zkcore.node")

_MAX_ROUNDS = 64
"""Turns the pump gives before it lets the event loop do something else."""

_SOON_SECONDS = 0.1
"""While requests flow, ticks are at most this late."""

_REOPEN_SECONDS = 1.0
"""How long a node with a full storage waits before it tries again."""


class Served(Protocol):
    """A client as its host sees it. Called on the host's event loop; must return at once and never raise."""

    def on_opened(self, session: int) -> None:
        """The session has this id; the next `on_replied` says whether it exists."""

    def on_replied(self, result: object, error: ZkcoreError | None) -> None:
        """The answer to the oldest request that has none yet."""

    def on_watch(self, event: WatchEvent) -> None:
        """A watch went off."""

    def on_touched(self, token: int, alive: bool) -> None:
        """The leader's answer to `touch`."""

    def on_attached(self) -> None:
        """The session is served here now."""

    def on_detached(self, why: str) -> None:
        """The session is not served here (any more)."""

    def on_ended(self) -> None:
        """The session is over."""


HostListener = Callable[["Host", Event], None]
"""Gets the events of the core that are not Delivered: role changes, rejected peers, restored snapshots."""


class _Input(IntEnum):
    RECEIVE = auto()
    LINKED = auto()
    LOST = auto()
    SUBMIT = auto()
    TOUCH = auto()
    OPEN = auto()
    ATTACH = auto()
    DETACH = auto()


# As plain globals they cost no attribute look-up on the hot path.
_RECEIVE, _LINKED, _LOST, _SUBMIT, _TOUCH, _OPEN, _ATTACH, _DETACH = _Input


class Pump:
    """Gives turns to the hosts of one event loop, in one callback for all of them."""

    def __init__(self) -> None:
        self._hosts: list[Host] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._scheduled = False

    def add(self, host: Host) -> None:
        """Called on the event loop that is to run the host."""
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise RuntimeError("the hosts of one pump must run on one event loop; give each loop a pump of its own")
        self._loop = loop
        self._thread = threading.get_ident()
        self._hosts.append(host)

    def remove(self, host: Host) -> None:
        self._hosts.remove(host)

    def wake(self) -> None:
        """There is something to do. May be called from any thread."""
        if self._scheduled or self._loop is None:
            return
        if threading.get_ident() == self._thread:
            self._scheduled = True
            self._loop.call_soon(self._run)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_here)

    def _wake_here(self) -> None:
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        for _ in range(_MAX_ROUNDS):
            idle = True
            for host in tuple(self._hosts):
                if host.has_work:
                    idle = False
                    host.turn()
            if idle:
                self._scheduled = False
                # Another thread may have queued something since the last look.
                if any(host.has_work for host in self._hosts):
                    self.wake()
                return
        assert self._loop is not None
        self._loop.call_soon(self._run)


class _HostInbox:
    """The Inbox of a Host: puts what arrives into the queue. Every method may be called from any thread."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self.queue: deque[tuple[Any, ...]] = deque()
        self.lock = threading.RLock()
        self.losing: dict[PeerId, int] = {}  # losses queued that the Peer has not been fed yet, by peer

    def receive(self, sender: PeerId, message: Message) -> None:
        self.queue.append((_RECEIVE, sender, message))
        self._pump.wake()

    def report_linked(self, peer: PeerId) -> None:
        self.queue.append((_LINKED, peer))
        self._pump.wake()

    def report_lost(self, peer: PeerId) -> None:
        with self.lock:
            self.losing[peer] = self.losing.get(peer, 0) + 1
            self.queue.append((_LOST, peer))
        self._pump.wake()


class Host:
    """Runs one replica on an asyncio event loop.

    `connect` makes the transport, given the inbox it is to fill. With `save_on_thread` a save does not stop the loop.
    All methods but the inbox's belong to the loop that `start` was called on.
    """

    def __init__(
        self,
        replica: Replica,
        connect: Callable[[Inbox], Transport],
        *,
        pump: Pump | None = None,
        save_on_thread: bool = False,
        snapshot_every: int = 100_000,
    ) -> None:
        self.replica = replica
        self.listeners: list[HostListener] = []
        self._pump = pump if pump is not None else Pump()
        self._inbox = _HostInbox(self._pump)
        self._connect = connect
        self._transport: Transport | None = None
        self._save_on_thread = save_on_thread
        self._snapshot_every = snapshot_every
        self._since_snapshot = 0
        self._clients: dict[int, Served] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._saving = False
        self._down = False  # the storage failed, and the replica waits to be opened again, or for ever
        self.failure: Exception | None = None
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_soon = False
        self._is_timer_turn = False
        self._tick_seconds = replica.limits.tick_ms / 1000

    def __repr__(self) -> str:
        return f"<Host {self.replica.status()}>"

    # --- life

    def start(self) -> None:
        """Begin. Needs a running event loop."""
        if self._loop is not None:
            raise RuntimeError("this host was started before; make a new one")
        self._loop = asyncio.get_running_loop()
        self._ticked_at = self._loop.time()
        self._pump.add(self)
        self._transport = self._connect(self._inbox)
        self.turn()

    def stop(self) -> None:
        """End at once, as a crash would: nothing is flushed that was not saved. Clients are told that they are
        detached. The transport is the owner's to stop."""
        if self._loop is None or self._transport is None:
            return
        self._transport = None
        self._down = True
        self._pump.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        for session in list(self._clients):
            self._take(session).on_detached("the node was stopped")

    @property
    def running(self) -> bool:
        return self._transport is not None and not self._down

    # --- what clients ask for; on the loop

    def open(self, client: Served, timeout_ms: int) -> None:
        """Begin a session for `client`."""
        self._queue((_OPEN, client, timeout_ms))

    def attach(self, client: Served, session: int, *, last_zxid: Zxid, next_xid: int) -> None:
        """Take up `session` for `client`. See `Replica.attach`."""
        self._queue((_ATTACH, client, session, last_zxid, next_xid))

    def detach(self, session: int) -> None:
        """The client goes away; its session lives on."""
        self._clients.pop(session, None)
        self._queue((_DETACH, session))

    def submit(self, session: int, request: Request[Any]) -> None:
        """A request. Dropped where the session is no longer served here: its client was told."""
        self._queue((_SUBMIT, session, request))

    def touch(self, session: int, token: int) -> None:
        """A heartbeat. Dropped as `submit`."""
        self._queue((_TOUCH, session, token))

    def _queue(self, item: tuple[Any, ...]) -> None:
        self._inbox.queue.append(item)
        self._pump.wake()

    # --- turns

    @property
    def has_work(self) -> bool:
        """Whether a turn would do anything."""
        return bool(self._inbox.queue) and not self._saving

    def turn(self) -> None:
        """Feed everything that has gathered, let time pass, and drain."""
        if self._saving or self._loop is None:
            return
        if self._down:
            self._turn_away()
            return
        try:
            self._feed_all(self._loop)
            self._drain()
        except StorageError as error:
            self._on_storage_error(error)
        except Exception as error:
            self._halt(error)

    def _feed_all(self, loop: asyncio.AbstractEventLoop) -> None:
        queue, replica = self._inbox.queue, self.replica
        now = int(time.time() * 1000)
        for _ in range(len(queue)):
            item = queue.popleft()
            kind = item[0]
            if kind is _RECEIVE:
                replica.receive(item[1], item[2], now)
            elif kind is _SUBMIT:
                try:
                    replica.submit(item[1], item[2], now)
                except SessionClosedError:
                    pass  # detached since: its client was told, and has given up this request
            else:
                self._feed(kind, item, now)
        passed = int((loop.time() - self._ticked_at) / self._tick_seconds)
        if passed > 0:
            self._ticked_at += passed * self._tick_seconds
            # After a stall time in which nobody could be heard must not count against them.
            replica.tick(min(passed, replica.limits.sync_limit_ticks // 2), now)

    def _feed(self, kind: _Input, item: tuple[Any, ...], now: int) -> None:
        replica = self.replica
        try:
            if kind is _LINKED:
                replica.report_linked(item[1])
            elif kind is _LOST:
                self._feed_lost(item[1])
            elif kind is _TOUCH:
                replica.touch(item[1], item[2], now)
            elif kind is _DETACH:
                replica.detach(item[1])
            elif kind is _OPEN:
                session = replica.open(item[2], now)
                self._clients[session] = item[1]
                item[1].on_opened(session)
            else:
                replica.attach(item[2], last_zxid=item[3], next_xid=item[4], now=now)
                self._clients[item[2]] = item[1]
        except SessionClosedError:
            pass  # a heartbeat of a session that was detached since
        except ConnectionLostError as error:
            item[1].on_detached(str(error))

    def _feed_lost(self, peer: PeerId) -> None:
        self.replica.report_lost(peer)
        self._count_lost(peer)

    def _count_lost(self, peer: PeerId) -> None:
        with self._inbox.lock:
            left = self._inbox.losing[peer] - 1
            if left:
                self._inbox.losing[peer] = left
            else:
                del self._inbox.losing[peer]

    def _drain(self) -> None:
        replica = self.replica
        while (ready := replica.drain()) is not NOTHING:
            for to, message in ready.early:
                self._send(to, message)
            if ready.events:
                self._tell(ready.events)
            if ready.writes:
                if self._save_on_thread:
                    self._save_elsewhere(ready)
                    return
                replica.storage.save(ready.writes)
            self._finish(ready)
        if self._since_snapshot >= self._snapshot_every:
            self._snapshot()
            self._drain()
            return
        self._arm()

    def _finish(self, ready: Ready[Event | Answer]) -> None:
        for to, message in ready.messages:
            self._send(to, message)
        for peer in ready.closes:
            with self._inbox.lock:
                if peer not in self._inbox.losing and self._transport is not None:
                    self._transport.close(peer)

    def _send(self, to: PeerId, message: Message) -> None:
        """Between the moment a loss is queued and the moment the Peer has been fed it nothing is sent to that peer: it
        would travel on the next link, to a conversation that has not begun."""
        inbox = self._inbox
        with inbox.lock:
            if to not in inbox.losing and self._transport is not None:
                self._transport.send(to, message)

    def _save_elsewhere(self, ready: Ready[Event | Answer]) -> None:
        assert self._loop is not None
        self._saving = True
        saving = self._loop.run_in_executor(None, self._save, ready.writes)
        saving.add_done_callback(lambda _: self._on_saved(ready, saving))

    def _save(self, writes: Sequence[Write]) -> None:
        self.replica.storage.save(writes)

    def _on_saved(self, ready: Ready[Event | Answer], saving: asyncio.Future[None]) -> None:
        self._saving = False
        if self._transport is None:
            return
        try:
            saving.result()
            self._finish(ready)
            self._drain()
        except StorageError as error:
            self._on_storage_error(error)
        except Exception as error:
            self._halt(error)
        self._pump.wake()

    def _arm(self) -> None:
        """See to it that a turn comes when the next tick is due. A timer that fires early does no harm.

        To ask after each of many turns a second what is due would cost more than the answer is worth: while a replica
        serves, a timer that fires soon is left alone.
        """
        if self._timer_is_soon and self.replica.serving:
            return
        assert self._loop is not None
        now = self._loop.time()
        due = self._ticked_at + self.replica.ticks_until_due * self._tick_seconds
        self._timer_is_soon = not self._is_timer_turn
        if self._timer_is_soon:
            due = min(due, now + _SOON_SECONDS)
        if self._timer is None or self._timer.when() > due + self._tick_seconds / 2:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_is_soon = False
        self._is_timer_turn = not self.has_work  # quiet: the next turn comes when it is due, and not before
        self.turn()
        self._is_timer_turn = False
        self._pump.wake()

    # --- telling

    def _tell(self, events: Sequence[Event | Answer]) -> None:
        for event in events:
            kind = type(event)
            if kind is Replied:
                client = self._clients.get(event.session)  # type: ignore[union-attr]
                if client is not None:
                    client.on_replied(event.result, event.error)  # type: ignore[union-attr]
            elif kind is Delivered:
                self._since_snapshot += len(event.payloads)  # type: ignore[union-attr]
            else:
                self._tell_rest(event)

    def _tell_rest(self, event: Event | Answer) -> None:
        if isinstance(event, Detached):
            self._take(event.session).on_detached(event.why)
        elif isinstance(event, SessionEnded):
            self._take(event.session).on_ended()
        elif isinstance(event, WatchFired | Touched | Attached):
            client = self._clients.get(event.session, _NOBODY)
            if isinstance(event, WatchFired):
                client.on_watch(event.event)
            elif isinstance(event, Touched):
                client.on_touched(event.token, event.alive)
            else:
                client.on_attached()
        elif not isinstance(event, Replied):
            self._tell_listeners(event)

    def _tell_listeners(self, event: Event) -> None:
        level = logging.WARNING if isinstance(event, PeerRejected) else logging.INFO
        _log.log(level, "node %s: %s", self.replica.me, event, extra={"zk_node": self.replica.me})
        for listener in self.listeners:
            try:
                listener(self, event)
            except Exception:
                _log.exception("a listener of node %s failed on %s", self.replica.me, event)

    def _take(self, session: int) -> Served:
        return self._clients.pop(session, _NOBODY)

    # --- storage

    def _snapshot(self) -> None:
        self._since_snapshot = 0
        ref, pieces = self.replica.snapshot()
        try:
            self.replica.storage.save_snapshot(ref, pieces)
        except StorageError as error:
            _log.warning("node %s could not save %s: %s", self.replica.me, ref, error)
        else:
            self.replica.compact(ref)

    def _on_storage_error(self, error: StorageError) -> None:
        """The Peer is void, with everything it had not saved. A full storage may have room again a little later; one
        that failed is opened anew once, and if it stays broken the node stays down."""
        _log.error("node %s: %s", self.replica.me, error)
        self._go_down(error)
        assert self._loop is not None
        delay = _REOPEN_SECONDS if isinstance(error, StorageFullError) else 0
        self._loop.call_later(delay, self._reopen)

    def _halt(self, error: Exception) -> None:
        """A broken invariant, or a bug: what is in memory cannot be trusted, so nothing more is done with it."""
        _log.critical("node %s halts: %s", self.replica.me, error, exc_info=error)
        self._go_down(error)
        if self._transport is not None:
            for peer in self.replica.ensemble.voters:
                if peer != self.replica.me:
                    self._transport.close(peer)

    def _go_down(self, error: Exception) -> None:
        self._down = True
        self.failure = error
        for session in list(self._clients):
            self._take(session).on_detached(f"the node failed: {error}")

    def _reopen(self) -> None:
        if self._transport is None:
            return
        try:
            self.replica.recover()
        except StorageError as error:
            self.failure = error
            _log.error("node %s stays down: %s", self.replica.me, error)
            return
        self._down, self.failure = False, None
        for peer in self.replica.ensemble.voters:
            if peer != self.replica.me:
                self._transport.close(peer)
        self.turn()

    def _turn_away(self) -> None:
        """Down: what peers say is lost (all links are broken before the replica is opened again), and clients must look
        elsewhere."""
        while self._inbox.queue:
            item = self._inbox.queue.popleft()
            if item[0] is _LOST:
                self._count_lost(item[1])
            elif item[0] in (_OPEN, _ATTACH):
                item[1].on_detached("the node is down")


class _Nobody:
    """Stands for a client that has gone."""

    def on_opened(self, session: int) -> None: ...
    def on_replied(self, result: object, error: ZkcoreError | None) -> None: ...
    def on_watch(self, event: WatchEvent) -> None: ...
    def on_touched(self, token: int, alive: bool) -> None: ...
    def on_attached(self) -> None: ...
    def on_detached(self, why: str) -> None: ...
    def on_ended(self) -> None: ...


_NOBODY = _Nobody()
