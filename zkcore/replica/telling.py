"""What a Host tells of its node: events made of what the core says, and measures of what took how long.

The core says what happens in its Ready and its status; here that becomes events (`zkcore.events`), and what the host
alone knows is added: times, links, the storage, slowness. Measures are plain numbers, to be read from any thread at any
time; they cost an addition where something is measured.

This module must not know what is done about any of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from attrs import define

from zkcore.errors import ConfigurationError
from zkcore.events import kinds
from zkcore.events.dispatcher import Dispatcher
from zkcore.events.logs import log
from zkcore.events.tally import Tally
from zkcore.replica.answers import Attached, MembersChanged, SessionCreated, SessionRemoved
from zkcore.replica.minding import Minding
from zkcore.replica.replica import Replica
from zkcore.transport.rates import Seldom
from zkcore.zab.messages import Damage, PeerId, Role
from zkcore.zab.ready import Event, PeerRejected, Restored, RoleChanged, SnapshotRef, TransferFailed

__all__ = ["SLOW_SECONDS", "Asked", "Measures", "Telling"]

SLOW_SECONDS = 1.0
"""What takes longer is slow, where nobody says otherwise."""

_WARN_SECONDS = 10.0
"""Slowness of one kind is told once in so many seconds."""

Asked: TypeAlias = tuple[Any, ...]
"""What stands in the queue of a host for a request; behind it, when it was asked."""


@define
class Measures:
    """How much there was since the node started, and how long it took, in seconds."""

    transactions: int = 0
    """Committed, and applied here."""
    answers: int = 0
    """Of requests that had to wait for a turn of the node: all writes, and the reads that could not be answered at
    once."""
    answer_seconds: float = 0.0
    answer_seconds_most: float = 0.0
    slow_answers: int = 0
    saves: int = 0
    save_seconds: float = 0.0
    save_seconds_most: float = 0.0
    slow_saves: int = 0

    def count_save(self, seconds: float) -> None:
        """Something was made durable."""
        self.saves += 1
        self.save_seconds += seconds
        if seconds > self.save_seconds_most:
            self.save_seconds_most = seconds


class Telling:
    """Tells `events`, and with them the log and the tally, of the node that `replica` is. Raises ConfigurationError for
    thresholds that are none."""

    def __init__(
        self,
        replica: Replica,
        events: Dispatcher | None,
        *,
        slow_request_seconds: float,
        slow_save_seconds: float,
    ) -> None:
        for name, seconds in (("request", slow_request_seconds), ("save", slow_save_seconds)):
            if not seconds > 0:
                raise ConfigurationError(
                    f"slow_{name}_seconds is {seconds!r}; give seconds above 0, or infinity for no warnings"
                )
        self.events = events if events is not None else Dispatcher()
        self.tally = Tally()
        self.measures = Measures()
        self.slow_request_seconds = slow_request_seconds
        self.slow_save_seconds = slow_save_seconds
        self.watches_damage = False
        """Something is damaged, and may have become whole."""
        self._replica = replica
        self._me = replica.me
        self._minding = Minding(self.events.tell, replica.status(), replica.limits)
        self._clock: Callable[[], float] = time.monotonic
        self._seldom = Seldom(_WARN_SECONDS)
        self._damage: Damage | None = None
        self._leader: PeerId | None = None  # the last one under whom clients were served
        self._serves = False
        self._served_until: float | None = None  # since then there is no quorum
        self._role_since = 0.0
        self._down_since: float | None = None
        self._told_under_way = False  # of the save under way that it is slow
        self._looked_at = 0.0
        self._started_at: float | None = None
        self.events.subscribe(log)
        self.events.subscribe(self.tally)

    # --- life

    def on_started(self, clock: Callable[[], float]) -> None:
        """The node begins; `clock` gives the seconds of its event loop."""
        self._clock = clock
        self._started_at = self._role_since = self._looked_at = clock()
        self.events.tell(kinds.NodeStarted(node=self._me))
        self._look_for_damage()

    @property
    def uptime_seconds(self) -> float:
        """Since the node began."""
        return self._clock() - self._started_at if self._started_at is not None else 0.0

    def on_stopped(self) -> None:
        self.events.tell(kinds.NodeStopped(node=self._me))
        self.events.close()

    def on_halted(self, error: Exception) -> None:
        self.events.tell(kinds.NodeHalted(node=self._me, error=error))

    # --- what the core says

    def on_event(self, event: Event | Attached | SessionCreated | SessionRemoved | MembersChanged) -> None:
        """Tell what a Ready has told."""
        me, tell = self._me, self.events.tell
        match event:
            case RoleChanged():
                self._on_role(event)
            case PeerRejected(peer, why):
                tell(kinds.PeerRejected(node=me, peer=peer, why=why))
            case TransferFailed(target, why):
                tell(kinds.TransferFailed(node=me, target=target, why=why))
            case MembersChanged():
                self._minding.on_members(event)
            case Restored(snapshot):
                tell(kinds.SnapshotRestored(node=me, zxid=snapshot.zxid))
            case Attached(session):
                tell(kinds.SessionMoved(node=me, session=session))
            case SessionCreated(session, timeout_ms, here):
                tell(kinds.SessionOpened(node=me, session=session, timeout_ms=timeout_ms, served_here=here))
            case SessionRemoved(session, expired, here):
                kind = kinds.SessionExpired if expired else kinds.SessionClosed
                tell(kind(node=me, session=session, served_here=here))

    def _on_role(self, event: RoleChanged) -> None:
        self.events.tell(
            kinds.RoleChanged(
                node=self._me, role=event.role, leader=event.leader, epoch=event.epoch, established=event.established,
                why=event.why,
            )
        )  # fmt: skip
        now = self._clock()
        if not event.established:
            if self._serves and event.role is Role.LOOKING:
                self._serves = False
                self._served_until = now
                self.events.tell(kinds.QuorumLost(node=self._me, why=event.why))
            self._role_since = now
            return
        assert event.leader is not None
        self._tell_synced(event.leader, now)
        self._serves = True
        previous, self._leader = self._leader, event.leader
        self.events.tell(
            kinds.LeaderChanged(node=self._me, leader=event.leader, epoch=event.epoch, previous=previous)
        )
        if self._served_until is not None:
            without, self._served_until = now - self._served_until, None
            self.events.tell(kinds.QuorumRegained(node=self._me, seconds=without))

    def _tell_synced(self, leader: PeerId, now: float) -> None:
        sync = self._replica.status().sync
        if sync is not None:
            self.events.tell(
                kinds.Synced(
                    node=self._me, leader=leader, mode=sync.mode, bytes=sync.bytes, seconds=now - self._role_since
                )
            )

    def _look_for_damage(self) -> None:
        self._damage = self._replica.status().damage
        self.watches_damage = self._damage is not None
        if self._damage is not None:
            harms = tuple(map(str, getattr(self._replica.storage, "harms", ())))
            self.events.tell(kinds.DamageFound(node=self._me, damage=self._damage, harms=harms))

    def look_after_damage(self) -> None:
        """Where something was damaged: whether it is whole by now."""
        if self._damage is not None and self._replica.status().damage is None:
            damage, self._damage = self._damage, None
            self.watches_damage = False
            self.events.tell(kinds.DamageRepaired(node=self._me, damage=damage))

    # --- links

    def on_linked(self, peer: PeerId, where: str) -> None:
        self.events.tell(kinds.LinkUp(node=self._me, peer=peer, where=where))

    def on_lost(self, peer: PeerId, why: str) -> None:
        self.events.tell(kinds.LinkDown(node=self._me, peer=peer, why=why))

    # --- storage

    def on_read_only(self, error: Exception) -> None:
        self._on_down()
        self.events.tell(kinds.StorageReadOnly(node=self._me, why=str(error)))

    def on_storage_failed(self, error: Exception, *, opens_anew: bool) -> None:
        self._on_down()
        self.events.tell(kinds.StorageFailed(node=self._me, why=str(error), opens_anew=opens_anew))

    def _on_down(self) -> None:
        if self._down_since is None:
            self._down_since = self._clock()
        self._serves = False

    def on_reopened(self) -> None:
        """The storage was opened anew, and the core begins again."""
        since, self._down_since = self._down_since, None
        seconds = 0.0 if since is None else self._clock() - since
        self.events.tell(kinds.StorageWritable(node=self._me, seconds=seconds))
        self._look_for_damage()

    def counted(self, ref: SnapshotRef, pieces: Iterator[bytes]) -> SnapshotSaving:
        """The pieces of a snapshot that is to be saved now."""
        self.events.tell(kinds.SnapshotBegun(node=self._me, zxid=ref.zxid))
        return SnapshotSaving(self._me, self.events, ref, pieces, self._clock)

    def on_saved(self, seconds: float) -> None:
        """Something was made durable."""
        self.measures.count_save(seconds)
        if seconds > self.slow_save_seconds:
            self.measures.slow_saves += 1
            self._tell_slow_save(seconds, under_way=False)
        self._told_under_way = False

    def on_saving(self, seconds: float) -> None:
        """A save has been under way for so long."""
        if seconds > self.slow_save_seconds and not self._told_under_way:
            self._told_under_way = True
            self._tell_slow_save(seconds, under_way=True)

    def _tell_slow_save(self, seconds: float, *, under_way: bool) -> None:
        suppressed = self._seldom.may_say((kinds.SlowSave, under_way), self._clock())
        if suppressed is not None:
            self.events.tell(
                kinds.SlowSave(node=self._me, seconds=seconds, under_way=under_way, suppressed=suppressed)
            )

    # --- now and then

    def look_around(self, waiting: Iterable[deque[Asked]], now: float) -> None:
        """In every turn: whether a request waits for too long, and while this node leads how the other members are."""
        self.look_at_waiting(waiting, now)
        self._minding.look(now, self._replica.status, leads=self._replica.leader == self._me)

    # --- requests

    def on_slow_answer(self, asked: Asked, seconds: float) -> None:
        """A request had its answer after more than `slow_request_seconds`."""
        self.measures.slow_answers += 1
        self._tell_slow_request(asked, seconds, under_way=False)

    def look_at_waiting(self, waiting: Iterable[deque[Asked]], now: float) -> None:
        """Once in `slow_request_seconds`: the oldest of the requests that have no answer, if it waits for too long.
        `waiting` are the queues of sessions that have any."""
        if now - self._looked_at < self.slow_request_seconds:
            return
        self._looked_at = now
        oldest = min((queue[0] for queue in waiting if queue), key=lambda asked: float(asked[-1]), default=None)
        if oldest is not None and now - oldest[-1] > self.slow_request_seconds:
            self._tell_slow_request(oldest, now - oldest[-1], under_way=True)

    def _tell_slow_request(self, asked: Asked, seconds: float, *, under_way: bool) -> None:
        suppressed = self._seldom.may_say((kinds.SlowRequest, under_way), self._clock())
        if suppressed is None:
            return
        _, session, request, *_ = asked
        self.events.tell(
            kinds.SlowRequest(
                node=self._me, session=session, request=type(request).__name__, path=getattr(request, "path", None),
                seconds=seconds, under_way=under_way, suppressed=suppressed,
            )
        )  # fmt: skip


class SnapshotSaving:
    """The pieces of a snapshot on their way to the storage, counted; and what is told when that has ended."""

    def __init__(
        self, me: PeerId, events: Dispatcher, ref: SnapshotRef, pieces: Iterator[bytes], clock: Callable[[], float]
    ) -> None:
        self._me = me
        self._events = events
        self._ref = ref
        self._pieces = pieces
        self._clock = clock
        self._began = clock()
        self._bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._bytes += len(piece)
            yield piece

    def on_saved(self) -> None:
        self._events.tell(
            kinds.SnapshotSaved(
                node=self._me, zxid=self._ref.zxid, bytes=self._bytes, seconds=self._clock() - self._began
            )
        )

    def on_failed(self, error: Exception) -> None:
        self._events.tell(kinds.SnapshotFailed(node=self._me, zxid=self._ref.zxid, why=str(error)))
