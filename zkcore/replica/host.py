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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zkcore.errors import (
    AuthFailedError,
    BadArgumentsError,
    ConnectionLostError,
    NotLeadingError,
    SessionClosedError,
    StorageError,
    StorageFullError,
    ThrottledError,
    TransferFailedError,
)
from zkcore.jute.records import Id
from zkcore.replica.answers import Answer, Attached, Detached, Replied, SessionEnded, Touched, WatchFired
from zkcore.replica.levels import Read, ReadLevel
from zkcore.replica.pump import HostInbox, Input, Pump
from zkcore.replica.replica import Replica
from zkcore.replica.served import NOBODY, Served
from zkcore.transport.transport import Inbox, Transport
from zkcore.tree.requests import Request
from zkcore.zab.messages import Message, PeerId
from zkcore.zab.ready import (
    NOTHING,
    Delivered,
    Event,
    PeerRejected,
    ReadDropped,
    ReadReady,
    Ready,
    RoleChanged,
    TransferFailed,
)
from zkcore.zxid import Zxid

__all__ = ["Host", "HostListener"]

_log = logging.getLogger("zkcore.node")

_SOON_SECONDS = 0.1
"""While requests flow, ticks are at most this late."""

_REOPEN_SECONDS = 1.0
"""How often a node with a full storage looks whether there is room again."""


HostListener = Callable[["Host", Event], None]
"""Gets the core's RoleChanged, PeerRejected, Restored and TransferFailed events."""


# As plain globals they cost no attribute look-up on the hot path.
_RECEIVE, _LINKED, _LOST, _SUBMIT, _TOUCH, _OPEN, _ATTACH, _DETACH, _TRANSFER, _KILL = Input


class Host:
    """Runs one replica on an asyncio event loop.

    `connect` makes the transport, given the inbox it is to fill. With `save_on_thread` a save does not stop the loop.
    `wall` gives the seconds since 1970.
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
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.replica = replica
        self._wall = wall
        self.listeners: list[HostListener] = []
        self._pump = pump if pump is not None else Pump()
        self._inbox = HostInbox(self._pump)
        self._connect = connect
        self._transport: Transport | None = None
        self._snapshot_every = snapshot_every
        self._since_snapshot = 0
        self._clients: dict[int, Served] = {}
        self._transfers: list[asyncio.Future[PeerId]] = []
        self.lock = threading.RLock()
        """Held while anything changes that a read looks at, or sets: a reader on another thread holds it, too, and sees
        a transaction whole or not at all."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._saver = ThreadPoolExecutor(1, f"zkcore-{replica.me}") if save_on_thread else None
        self._saving: asyncio.Future[None] | None = None
        self._saving_since = 0.0
        self._saved = True  # something was, since the storage was opened
        self._reopening: asyncio.TimerHandle | None = None
        self._down = False  # the storage failed, and the replica waits to be opened again, or for ever
        self.failure: Exception | None = None
        self.told_zxid: Zxid = 0
        """Of everything up to this transaction clients were told what their watches have to tell."""
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
        for timer in (self._timer, self._reopening):
            if timer is not None:
                timer.cancel()
        if self._saver is not None:
            self._saver.shutdown(wait=False)
        self._turn_away()
        self._fail_transfers("the node was stopped")
        with self.lock:
            for session in list(self._clients):
                self._take(session).on_detached("the node was stopped")

    async def wait_saved(self) -> None:
        """Until a save that was under way at `stop` has ended: only then may the storage be opened by another."""
        if self._saving is not None:
            await asyncio.wait([self._saving])

    @property
    def running(self) -> bool:
        return self._transport is not None and not self._down

    @property
    def failed(self) -> bool:
        """Whether the node is down and will not come back by itself; `failure` says why."""
        return self._down and self._transport is not None and self._reopening is None

    @property
    def read_only(self) -> bool:
        """Whether the storage is full: the node takes no part in anything until there is room, then it comes back by
        itself. What was delivered stays as it is, in `replica.tree`."""
        return self._down and isinstance(self.failure, StorageFullError)

    def explain(self) -> tuple[str, ...]:
        """`Replica.explain`, and what is the matter with the storage."""
        if self._down and self._transport is not None:
            return (f"read-only: {self.failure}" if self.read_only else f"down: {self.failure}",)
        lines = self.replica.explain()
        if self._saving is None or self._loop is None:
            return lines
        return (*lines, f"a save has been under way for {self._loop.time() - self._saving_since:.1f} s")

    # --- what clients ask for; on the loop

    def open(self, client: Served, timeout_ms: int, *, password: bytes, ids: tuple[Id, ...] = ()) -> None:
        """Begin a session for `client`, known by `ids`. See `Replica.open`."""
        self._queue((_OPEN, client, timeout_ms, password, ids))

    def attach(
        self, client: Served, session: int, *, password: bytes, last_zxid: Zxid, next_xid: int,
        ids: tuple[Id, ...] = (),
    ) -> None:  # fmt: skip
        """Take up `session` for `client`. See `Replica.attach`."""
        self._queue((_ATTACH, client, session, password, last_zxid, next_xid, ids))

    def detach(self, session: int) -> None:
        """The client goes away, and hears nothing more; its session lives on."""
        self._clients.pop(session, None)
        self._queue((_DETACH, session))

    def submit(self, session: int, request: Request[Any], read: ReadLevel = Read.SESSION) -> None:
        """A request. Dropped where the session is no longer served here: its client was told. A client whose request
        `Replica.submit` does not take is detached."""
        self._queue((_SUBMIT, session, request, read))

    def touch(self, session: int, token: int) -> None:
        """A heartbeat. Dropped as `submit`."""
        self._queue((_TOUCH, session, token))

    async def transfer(self, target: PeerId | None = None) -> PeerId:
        """Hand the leadership over to `target`, by default to the follower that lacks least; who leads then. Requests
        that arrive meanwhile wait.

        Raises NotLeadingError where this node does not lead, BadArgumentsError for a `target` that cannot take over
        now, and TransferFailedError where nobody took over: this node leads on, or has stopped leading for another
        reason. Cancelling it stops the wait, not the transfer.
        """
        if self._loop is None or not self.running:
            raise NotLeadingError(None)
        moved: asyncio.Future[PeerId] = self._loop.create_future()
        self._queue((_TRANSFER, target, moved))
        return await moved

    async def kill_session(self, session: int) -> bool:
        """End a session, as if it had expired. Whether there is one. Raises NotLeadingError where this node does not
        lead."""
        if self._loop is None or not self.running:
            raise NotLeadingError(None)
        killed: asyncio.Future[bool] = self._loop.create_future()
        self._queue((_KILL, session, killed))
        return await killed

    def _queue(self, item: tuple[Any, ...]) -> None:
        self._inbox.queue.append(item)
        self._pump.wake()

    # --- turns

    @property
    def has_work(self) -> bool:
        """Whether a turn would do anything."""
        return bool(self._inbox.queue) and self._saving is None

    def turn(self) -> None:
        """Feed everything that has gathered, let time pass, and drain."""
        with self.lock:
            self._turn()

    def _turn(self) -> None:
        if self._saving is not None or self._loop is None:
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
        now = int(self._wall() * 1000)
        for _ in range(len(queue)):
            item = queue.popleft()
            kind = item[0]
            if kind is _RECEIVE:
                replica.receive(item[1], item[2], now)
            elif kind is _SUBMIT:
                try:
                    replica.submit(item[1], item[2], now, read=item[3])
                except SessionClosedError:
                    pass  # detached since: its client was told, and has given up this request
                except (ThrottledError, BadArgumentsError) as error:
                    replica.detach(item[1])
                    self._take(item[1]).on_detached(str(error))
            else:
                self._feed(kind, item, now)
        passed = int((loop.time() - self._ticked_at) / self._tick_seconds)
        if passed > 0:
            self._ticked_at += passed * self._tick_seconds
            # After a stall time in which nobody could be heard must not count against them.
            replica.tick(min(passed, replica.limits.sync_limit_ticks // 2), now)

    def _feed(self, kind: Input, item: tuple[Any, ...], now: int) -> None:
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
                session = replica.open(item[2], now, password=item[3], ids=item[4])
                self._clients[session] = item[1]
                item[1].on_opened(session)
            elif kind is _TRANSFER:
                self._feed_transfer(item[1], item[2])
            elif kind is _KILL:
                self._feed_kill(item[1], item[2], now)
            else:
                _, client, session, password, last_zxid, next_xid, ids = item
                replica.attach(
                    session, password=password, last_zxid=last_zxid, next_xid=next_xid, ids=ids, now=now
                )
                self._clients[session] = client
        except SessionClosedError:
            pass  # a heartbeat of a session that was detached since
        except (ConnectionLostError, AuthFailedError, BadArgumentsError, ThrottledError) as error:
            item[1].on_detached(str(error))

    def _feed_transfer(self, target: PeerId | None, moved: asyncio.Future[PeerId]) -> None:
        try:
            self.replica.transfer(target)
            self._transfers.append(moved)
        except (NotLeadingError, BadArgumentsError) as error:
            if not moved.done():
                moved.set_exception(error)

    def _feed_kill(self, session: int, killed: asyncio.Future[bool], now: int) -> None:
        if killed.done():
            return
        try:
            killed.set_result(self.replica.kill(session, now))
        except NotLeadingError as error:
            killed.set_exception(error)

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
                if self._transport is None:
                    return  # somebody who was told something stopped this host
                self.told_zxid = replica.tree.last_zxid
            if ready.writes:
                if self._saver is not None:
                    self._save_elsewhere(ready, self._saver)
                    return
                replica.storage.save(ready.writes)
                self._saved = True
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

    def _save_elsewhere(self, ready: Ready[Event | Answer], saver: ThreadPoolExecutor) -> None:
        """On a thread of this host's own: the application may fill the loop's with calls that wait for this very
        save."""
        assert self._loop is not None
        self._saving_since = self._loop.time()
        self._saving = self._loop.run_in_executor(saver, self.replica.storage.save, ready.writes)
        self._saving.add_done_callback(lambda saving: self._on_saved(ready, saving))

    def _on_saved(self, ready: Ready[Event | Answer], saving: asyncio.Future[None]) -> None:
        self._saving = None
        if self._transport is None:
            return
        try:
            saving.result()
            self._saved = True
            self._finish(ready)
            with self.lock:
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
                self._pump.answered = True
                client = self._clients.get(event.session, NOBODY)  # type: ignore[union-attr]
                client.on_replied(event.result, event.error, event.zxid)  # type: ignore[union-attr]
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
            client = self._clients.get(event.session, NOBODY)
            if isinstance(event, WatchFired):
                client.on_watch(event.event)
            elif isinstance(event, Touched):
                client.on_touched(event.token, event.alive)
            else:
                client.on_attached()
        elif not isinstance(event, Replied | Delivered | ReadReady | ReadDropped):
            self._tell_listeners(event)

    def _tell_listeners(self, event: Event) -> None:
        level = logging.WARNING if isinstance(event, PeerRejected) else logging.INFO
        _log.log(level, "node %s: %s", self.replica.me, event, extra={"zk_node": self.replica.me})
        if self._transfers:
            self._tell_transfers(event)
        for listener in self.listeners:
            try:
                listener(self, event)
            except Exception:
                _log.exception("a listener of node %s failed on %s", self.replica.me, event)

    def _tell_transfers(self, event: Event) -> None:
        """The leadership has moved when this node follows a leader that is established, whoever it is."""
        if isinstance(event, TransferFailed):
            self._fail_transfers(str(event))
        elif isinstance(event, RoleChanged):
            if event.leader is None or event.leader == self.replica.me:
                self._fail_transfers(f"the leadership ended, and nobody has taken over: {event.why}")
            elif event.established:
                for moved in self._transfers:
                    if not moved.done():
                        moved.set_result(event.leader)
                self._transfers.clear()

    def _fail_transfers(self, why: str) -> None:
        for moved in self._transfers:
            if not moved.done():
                moved.set_exception(TransferFailedError(why))
        self._transfers.clear()

    def _take(self, session: int) -> Served:
        return self._clients.pop(session, NOBODY)

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
        """The Peer is void, with everything it had not saved, and the others learn at once that they must do without
        it. A storage that failed is opened anew, and if then nothing can be saved the node stays down; a full one may
        have room again a little later."""
        self._go_down(error)
        self._break_links()
        assert self._loop is not None
        if isinstance(error, StorageFullError):
            _log.error("node %s is read-only until there is room: %s", self.replica.me, error)
            self._reopening = self._loop.call_later(_REOPEN_SECONDS, self._reopen)
        elif self._saved:
            _log.error("node %s opens its storage anew: %s", self.replica.me, error)
            self._reopening = self._loop.call_later(0, self._reopen)
        else:
            _log.critical("node %s stays down: %s", self.replica.me, error)

    def _halt(self, error: Exception) -> None:
        """A broken invariant, or a bug: what is in memory cannot be trusted, so nothing more is done with it."""
        _log.critical("node %s halts: %s", self.replica.me, error, exc_info=error)
        self._go_down(error)
        self._break_links()

    def _go_down(self, error: Exception) -> None:
        self._down = True
        self.failure = error
        self._fail_transfers(f"the node failed: {error}")
        for session in list(self._clients):
            self._take(session).on_detached(f"the node failed: {error}")

    def _reopen(self) -> None:
        self._reopening = None
        try:
            with self.lock:
                self.replica.recover()
        except StorageFullError as error:
            self.failure = error
            assert self._loop is not None
            self._reopening = self._loop.call_later(_REOPEN_SECONDS, self._reopen)
            return
        except Exception as error:
            self._halt(error)
            return
        if self.read_only:
            _log.warning("node %s has room again", self.replica.me)
        self._down, self.failure = False, None
        self._saved = False
        self._since_snapshot = 0
        self._break_links()
        self.turn()

    def _break_links(self) -> None:
        for peer in self.replica.ensemble.members:
            if peer != self.replica.me and self._transport is not None:
                self._transport.close(peer)

    def _turn_away(self) -> None:
        """Down: what peers say is lost (all links are broken before the replica is opened again), and clients must look
        elsewhere."""
        while self._inbox.queue:
            item = self._inbox.queue.popleft()
            if item[0] is _LOST:
                self._count_lost(item[1])
            elif item[0] in (_OPEN, _ATTACH):
                item[1].on_detached("the node is down")
            elif item[0] in (_TRANSFER, _KILL) and not item[2].done():
                item[2].set_exception(NotLeadingError(None))
