"""A host's snapshots: each is drawn from the tree slice by slice, between everything else that the event loop does.

To encode a large tree takes seconds, in which a host must go on; so the loop gives one slice a turn at a time, each of
a few milliseconds at most. Whoever saves them asks for each: a slow disk slows the drawing down, and nothing piles up.

- On a thread of its own, beside that of the saves, `Storage.save_snapshot` writes one slice while the next is drawn.
- A storage in memory needs no thread. What was drawn is gathered, and saved in the turn that has drawn the last slice.

The tree itself is read on the loop alone: encoding on a thread would not be quicker, and would make the loop wait for
the interpreter's lock again and again.

This module must not know what a snapshot is made of, nor what is done with the log before it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue

from zkcore.errors import StorageError
from zkcore.replica.pump import Pump
from zkcore.replica.replica import Replica
from zkcore.replica.telling import SnapshotSaving, Telling
from zkcore.storage.storage import Storage
from zkcore.zab.ready import SnapshotRef

__all__ = ["Snapshots"]

_SLICE_BYTES = 1 << 16


class Snapshots:
    """When a host takes its snapshots, and the one under way. Belongs to the host's event loop.

    One is due after `every` transactions. `on_saved` is told what is durable, `on_broken` of what should not happen;
    where the storage takes none, that is told, and it is tried again when the next is due.
    """

    def __init__(
        self,
        replica: Replica,
        pump: Pump,
        *,
        every: int,
        on_thread: bool,
        telling: Telling,
        on_saved: Callable[[SnapshotRef], None],
        on_broken: Callable[[Exception], None],
    ) -> None:
        self.since = 0
        """The transactions since the last one was begun."""
        self._replica = replica
        self._pump = pump
        self._every = every
        self._on_thread = on_thread
        self._telling = telling
        self._on_saved = on_saved
        self._on_broken = on_broken
        self._under_way: _Snapshotting | None = None

    @property
    def ended(self) -> asyncio.Future[None] | None:
        """Done when nothing uses the storage any more; None where nothing does."""
        return self._under_way.ended if self._under_way is not None else None

    def take_if_due(self) -> None:
        """Begin to take one, unless one is under way. Hosts that share a pump take turns."""
        replica, turns = self._replica, self._pump.snapshotting
        if self.since < self._every or self._under_way is not None:
            return
        if replica.tree.last_zxid > replica.peer.last_delivered:
            return  # the tree outlived a failure of the storage, and the new Peer has not come as far yet
        if self not in turns:
            turns.append(self)
        if turns[0] is not self:
            return
        self.since = 0
        ref, pieces = replica.snapshot()
        name = f"zkcore-{replica.me}-snapshot" if self._on_thread else None
        saving = self._telling.counted(ref, pieces)
        self._under_way = _Snapshotting(replica.storage, ref, saving, on_ended=self._on_ended, name=name)

    def abandon(self) -> None:
        """Give up the one under way, or the turn. Until `ended` it still uses the storage."""
        if self._under_way is not None:
            self._under_way.abandon()
        elif self in self._pump.snapshotting:
            self._pump.snapshotting.remove(self)

    def _on_ended(self, error: Exception | None) -> None:
        snapshot, self._under_way = self._under_way, None
        self._pump.snapshotting.remove(self)
        assert snapshot is not None
        if snapshot.abandoned:
            return
        if error is None:
            snapshot.saving.on_saved()
            self._on_saved(snapshot.ref)
        elif isinstance(error, StorageError):
            snapshot.saving.on_failed(error)
        else:
            self._on_broken(error)


class _Abandoned(Exception):
    """Nobody wants the rest."""


class _Snapshotting:
    """One snapshot, from the first slice until it is durable or given up.

    `on_ended` is called once, on the event loop: with what went wrong, or None. With `name` it is saved on a thread of
    that name. All methods belong to the loop.
    """

    def __init__(
        self,
        storage: Storage,
        ref: SnapshotRef,
        saving: SnapshotSaving,
        *,
        on_ended: Callable[[Exception | None], None],
        name: str | None,
    ) -> None:
        self.ref = ref
        self.saving = saving
        self.abandoned = False
        """What is saved all the same, because it was nearly done, is of no interest."""
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the storage is let go of; `on_ended` was called just before."""
        self._storage = storage
        self._pieces = iter(saving)
        self._on_ended = on_ended
        self._gathered: list[bytes] = []
        self._slices: SimpleQueue[bytes | Exception] = SimpleQueue()
        self._next: asyncio.Handle | None = None
        if name is None:
            self._next = self._loop.call_soon(self._gather)
        else:
            # A daemon: one that waits for a loop that was never closed must not keep the process from ending. To the
            # storage that is a crash.
            threading.Thread(target=self._save, name=name, daemon=True).start()

    def abandon(self) -> None:
        """Save nothing more. It has ended a little later: the storage is used until then."""
        if self.abandoned or self.ended.done():
            return
        self.abandoned = True
        if self._next is None:
            self._slices.put(_Abandoned())
        else:
            self._next.cancel()
            self._end(_Abandoned())

    def _slice(self) -> bytes:
        """The next slice; empty at the end."""
        drawn: list[bytes] = []
        size = 0
        for piece in self._pieces:
            drawn.append(piece)
            size += len(piece)
            if size >= _SLICE_BYTES:
                break
        return b"".join(drawn)

    def _end(self, error: Exception | None) -> None:
        self._pieces = iter(())
        self._on_ended(error)
        self.ended.set_result(None)

    # --- without a thread

    def _gather(self) -> None:
        assert self._next is not None
        try:
            if drawn := self._slice():
                self._gathered.append(drawn)
                self._next = self._loop.call_soon(self._gather)
                return
            self._storage.save_snapshot(self.ref, self._gathered)
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    # --- with one

    def _draw(self) -> None:
        """Called on the loop, as often as the thread asks."""
        if self.abandoned:
            return
        try:
            self._slices.put(self._slice())
        except Exception as error:
            self._slices.put(error)

    def _save(self) -> None:
        failure: Exception | None = None
        try:
            self._storage.save_snapshot(self.ref, self._asked_for())
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody is left who could be told
            self._loop.call_soon_threadsafe(self._end, failure)

    def _asked_for(self) -> Iterator[bytes]:
        self._ask()
        while drawn := self._slices.get():
            if isinstance(drawn, Exception):
                raise drawn
            self._ask()
            yield drawn

    def _ask(self) -> None:
        self._loop.call_soon_threadsafe(self._draw)
