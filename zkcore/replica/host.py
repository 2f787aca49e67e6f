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
from collections.abc import Callable
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
)
from zkcore.events.dispatcher import Dispatcher
from zkcore.jute.records import Id
from zkcore.replica.answers import Answer
from zkcore.replica.attending import Attendance
from zkcore.replica.levels import Read, ReadLevel
from zkcore.replica.pump import HostInbox, Input, Pump
from zkcore.replica.relinking import Relinks
from zkcore.replica.replica import Replica
from zkcore.replica.served import Served
from zkcore.replica.snapshotting import Snapshots
from zkcore.replica.telling import SLOW_SECONDS, Telling
from zkcore.replica.transfers import Transfers
from zkcore.storage.storage import MemoryStorage
from zkcore.transport.transport import Inbox, Transport
from zkcore.tree.requests import Request
from zkcore.zab.messages import Message, PeerId
from zkcore.zab.ready import NOTHING, Delivered, Event, ReadDropped, ReadReady, Ready, Restored
from zkcore.zxid import Zxid

__all__ = ["Host", "HostListener"]

_log = logging.getLogger("zkcore.node")

_SOON_SECONDS = 0.1
"""While requests flow, ticks are at most this late."""

_WATCH_SECONDS = 0.25
"""How often a save that lasts is looked after."""

_REOPEN_SECONDS = 1.0
"""How often a node with a full storage looks whether there is room again."""


HostListener = Callable[["Host", Event], None]
"""Gets the core's RoleChanged, PeerRejected, Restored and TransferFailed events: for clients in this process, who look
for a host that serves. Everybody else subscribes to `Telling.events`."""


# As plain globals they cost no attribute look-up on the hot path.
_RECEIVE, _LINKED, _LOST, _SUBMIT, _TOUCH, _OPEN, _ATTACH, _DETACH, _TRANSFER, _KILL, _COMPACT = Input


class Host:
    """Runs one replica on an asyncio event loop.

    `connect` makes the transport, given the inbox it is to fill. With `save_on_thread` a save does not stop the loop;
    a snapshot, of which one is taken after `snapshot_every` transactions, is saved on a thread wherever it may have to
    wait for a disk, and never stops the loop for longer than a slice of it takes (`snapshotting.py`).
    `wall` gives the seconds since 1970. What happens is told to `events`, and so is what takes longer than
    `slow_request_seconds` from a request to its answer, or `slow_save_seconds` to be made durable.
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
        events: Dispatcher | None = None,
        slow_request_seconds: float = SLOW_SECONDS,
        slow_save_seconds: float = SLOW_SECONDS,
    ) -> None:
        self.replica = replica
        self._wall = wall
        self.listeners: list[HostListener] = []
        self.telling = Telling(
            replica, events, slow_request_seconds=slow_request_seconds, slow_save_seconds=slow_save_seconds
        )
        self._pump = pump if pump is not None else Pump()
        self._inbox = HostInbox(self._pump)
        self._connect = connect
        self._transport: Transport | None = None
        self._snapshots = Snapshots(
            replica, self._pump, every=snapshot_every, telling=self.telling,
            on_thread=save_on_thread or not isinstance(replica.storage, MemoryStorage),
            on_saved=lambda ref: self._queue((_COMPACT, ref)), on_broken=self._halt,
        )  # fmt: skip
        self._attendance = Attendance(self.telling)
        self._transfers = Transfers()
        self._relinks = Relinks(replica)
        self.lock = threading.RLock()
        """Held while anything changes that a read looks at, or sets: a reader on another thread holds it, too, and sees
        a transaction whole or not at all."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clock: Callable[[], float] = time.monotonic  # the loop's, once there is one
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
        self._timer_due = 0.0
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
        self._clock = self._loop.time
        self._ticked_at = self._timer_due = self._clock()
        self._pump.add(self)
        self._transport = self._connect(self._inbox)
        self._relinks.tell(self._transport)
        self.telling.on_started(self._clock)
        self.turn()

    def stop(self) -> None:
        """End at once, as a crash would: nothing is flushed that was not saved. Clients are told that they are
        detached. The transport is the owner's to stop."""
        if self._loop is None or self._transport is None:
            return
        self._transport = None
        self._down = True
        self._pump.remove(self)
        self._snapshots.abandon()
        for timer in (self._timer, self._reopening):
            if timer is not None:
                timer.cancel()
        if self._saver is not None:
            self._saver.shutdown(wait=False)
        self._turn_away()
        self._transfers.fail("the node was stopped")
        with self.lock:
            self._attendance.turn_away("the node was stopped")
        self.telling.on_stopped()

    async def wait_saved(self) -> None:
        """Until a save that was under way at `stop`, or a snapshot, has ended: only then may the storage be opened by
        another."""
        if under_way := [each for each in (self._saving, self._snapshots.ended) if each is not None]:
            await asyncio.wait(under_way)

    @property
    def running(self) -> bool:
        return self._transport is not None and not self._down

    @property
    def alive(self) -> bool:
        """Whether it runs, or will again without anybody's help."""
        return self._transport is not None and not self.failed

    @property
    def failed(self) -> bool:
        """Whether the node is down and will not come back by itself; `failure` says why."""
        return self._down and self._transport is not None and self._reopening is None

    @property
    def overdue_seconds(self) -> float:
        """For how long the timer of this host should have gone off: a moment, unless the event loop is stuck. May be
        asked for from any thread."""
        return max(self._clock() - self._timer_due, 0.0) if self.running else 0.0

    @property
    def outstanding(self) -> int:
        """How many requests of the sessions served here have no answer. To be asked under `lock`."""
        return sum(map(len, self._attendance.waiting))

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
        return (*lines, f"a save has been under way for {self._clock() - self._saving_since:.1f} s")

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
        self._attendance.take(session)
        self._queue((_DETACH, session))

    def submit(self, session: int, request: Request[Any], read: ReadLevel = Read.SESSION) -> None:
        """A request. Dropped where the session is no longer served here: its client was told. A client whose request
        `Replica.submit` does not take is detached."""
        self._queue((_SUBMIT, session, request, read, self._clock()))

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
                    self._attendance.on_asked(item)
                except SessionClosedError:
                    pass  # detached since: its client was told, and has given up this request
                except (ThrottledError, BadArgumentsError) as error:
                    replica.detach(item[1])
                    self._attendance.take(item[1]).on_detached(str(error))
            else:
                self._feed(kind, item, now)
        at = loop.time()
        self.telling.look_around(self._attendance.waiting, at)
        passed = int((at - self._ticked_at) / self._tick_seconds)
        if passed > 0:
            self._ticked_at += passed * self._tick_seconds
            # After a stall time in which nobody could be heard must not count against them.
            replica.tick(min(passed, replica.limits.sync_limit_ticks // 2), now)

    def _feed(self, kind: Input, item: tuple[Any, ...], now: int) -> None:
        replica = self.replica
        try:
            if kind is _LINKED:
                replica.report_linked(item[1])
                self.telling.on_linked(item[1], item[2])
            elif kind is _LOST:
                self._feed_lost(item[1])
                self.telling.on_lost(item[1], item[2])
            elif kind is _TOUCH:
                replica.touch(item[1], item[2], now)
            elif kind is _DETACH:
                replica.detach(item[1])
            elif kind is _OPEN:
                session = replica.open(item[2], now, password=item[3], ids=item[4])
                self._attendance.begin(session, item[1])
                item[1].on_opened(session)
            elif kind is _TRANSFER:
                self._transfers.begin(replica, item[1], item[2])
            elif kind is _KILL:
                self._feed_kill(item[1], item[2], now)
            elif kind is _COMPACT:
                replica.compact(item[1])
            else:
                _, client, session, password, last_zxid, next_xid, ids = item
                replica.attach(
                    session, password=password, last_zxid=last_zxid, next_xid=next_xid, ids=ids, now=now
                )
                self._attendance.begin(session, client)
        except SessionClosedError:
            pass  # a heartbeat of a session that was detached since
        except (ConnectionLostError, AuthFailedError, BadArgumentsError, ThrottledError) as error:
            item[1].on_detached(str(error))

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
        if self._transport is None:
            return  # somebody who was told something stopped this host
        replica = self.replica
        while (ready := replica.drain()) is not NOTHING:
            for to, message in ready.early:
                self._send(to, message)
            if ready.events:
                if self._attendance.tell(ready.events, self._clock(), self._tell):
                    self._pump.answered = True
                if self._transport is None:
                    return  # somebody who was told something stopped this host
                self.told_zxid = replica.tree.last_zxid
            if ready.writes:
                if self._saver is not None:
                    self._save_elsewhere(ready, self._saver)
                    return
                began = self._clock()
                replica.storage.save(ready.writes)
                self._on_durable(began)
            self._finish(ready)
        if self.telling.watches_damage:
            self.telling.look_after_damage()
        self._snapshots.take_if_due()
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
        self._saving_since = self._clock()
        self._saving = self._loop.run_in_executor(saver, self.replica.storage.save, ready.writes)
        self._saving.add_done_callback(lambda saving: self._on_saved(ready, saving))

    def _on_saved(self, ready: Ready[Event | Answer], saving: asyncio.Future[None]) -> None:
        self._saving = None
        if self._transport is None:
            return
        try:
            saving.result()
            self._on_durable(self._saving_since)
            self._finish(ready)
            with self.lock:
                self._drain()
        except StorageError as error:
            self._on_storage_error(error)
        except Exception as error:
            self._halt(error)
        self._pump.wake()

    def _on_durable(self, began: float) -> None:
        self._saved = True
        self.telling.on_saved(self._clock() - began)

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
            self._timer_due = due

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_is_soon = False
        if self._saving is not None:
            self._watch_saving()
            return
        self._is_timer_turn = not self.has_work  # quiet: the next turn comes when it is due, and not before
        self.turn()
        self._is_timer_turn = False
        self._pump.wake()

    def _watch_saving(self) -> None:
        """No turn comes before the save has ended; but that it lasts is to be seen, and that the loop turns."""
        assert self._loop is not None
        now = self._clock()
        self.telling.on_saving(now - self._saving_since)
        self.telling.look_at_waiting(self._attendance.waiting, now)
        self._timer_due = now + _WATCH_SECONDS
        self._timer = self._loop.call_at(self._timer_due, self._on_timer)

    # --- telling

    def _tell(self, event: Event) -> None:
        if type(event) is Delivered:
            self._snapshots.since += len(event.payloads)
            self.telling.measures.transactions += len(event.payloads)
        elif not isinstance(event, ReadReady | ReadDropped):
            if isinstance(event, Restored):
                self._snapshots.abandon()  # of a state that was replaced by a newer one
            self._relinks.on_event(event, self._transport)
            self.telling.on_event(event)
            self._transfers.on_event(self.replica.me, event)
            for listener in self.listeners:
                try:
                    listener(self, event)
                except Exception:
                    _log.exception("a listener of node %s failed on %s", self.replica.me, event)

    # --- storage

    def _on_storage_error(self, error: StorageError) -> None:
        """The Peer is void, with everything it had not saved, and the others learn at once that they must do without
        it. A storage that failed is opened anew, and if then nothing can be saved the node stays down; a full one may
        have room again a little later."""
        self._go_down(error)
        self._break_links()
        assert self._loop is not None
        if isinstance(error, StorageFullError):
            self.telling.on_read_only(error)
            self._reopening = self._loop.call_later(_REOPEN_SECONDS, self._reopen)
        elif self._saved:
            self.telling.on_storage_failed(error, opens_anew=True)
            self._reopening = self._loop.call_later(0, self._reopen)
        else:
            self.telling.on_storage_failed(error, opens_anew=False)

    def _halt(self, error: Exception) -> None:
        """A broken invariant, or a bug: what is in memory cannot be trusted, so nothing more is done with it."""
        self._go_down(error)
        self._break_links()
        self.telling.on_halted(error)

    def _go_down(self, error: Exception) -> None:
        self._down = True
        self.failure = error
        self._snapshots.abandon()
        self._transfers.fail(f"the node failed: {error}")
        self._attendance.turn_away(f"the node failed: {error}")

    def _reopen(self) -> None:
        if self._snapshots.ended is not None:  # a thread has not let go of the storage yet
            self._snapshots.ended.add_done_callback(lambda _: self._reopen())
            return
        self._reopening = None
        if self._transport is None:
            return
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
        self._down, self.failure = False, None
        self._saved = False
        self._snapshots.since = 0
        self._break_links()
        self.telling.on_reopened()
        self.turn()

    def _break_links(self) -> None:
        for peer in self.replica.peer.membership.config.members:
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
