"""Ids in the order of time: 64 bits of which the high ones are the time, made without asking anybody.

    0 | 41 bits: milliseconds since 2025 | 10 bits: worker | 12 bits: sequence

It is the layout of Twitter's Snowflake. What makes such ids unique is that no two workers have one number at the same
time, and that no worker goes through the same millisecond twice. Clocks and configuration files promise neither. Here
both are kept by the ensemble:

- The number of a worker is an ephemeral znode below `<path>/workers`: a lease. Who has lost it makes no more ids.
- What that lease cannot stop is a worker that was paused behind its last look at it. So each number has a mark,
  `<path>/mark-<number>`, the last millisecond for which there may be ids. A worker goes no further than its mark. It
  raises the mark ahead of time, in a transaction that happens only while the lease is held. The next who gets the
  number begins behind the mark. So whenever an id comes out, nobody else can make the same.

Time is the later of the clock and of what was used before: a clock that is set back a little changes nothing. When the
two are too far apart ids would say the wrong time, and none are made.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    ClockError,
    IdsExhaustedError,
    NodeExistsError,
    NoNodeError,
    NotStartedError,
)
from zkcore.recipes.codec import from_bytes
from zkcore.recipes.contender import made_at, remove_made
from zkcore.recipes.counter import Decimal
from zkcore.recipes.lease import Lease
from zkcore.recipes.membership import Membership
from zkcore.recipes.stored import Raw, Stored
from zkcore.recipes.waiting import FOR_EVER, ask, back_off
from zkcore.tree.requests import Exists, GetChildren, ListChildren

__all__ = ["TimeId", "TimeIdGenerator"]

_SEQUENCE_BITS, _WORKER_BITS, _TIME_BITS = 12, 10, 41
_SEQUENCE, _WORKERS, _END_MS = 1 << _SEQUENCE_BITS, 1 << _WORKER_BITS, 1 << _TIME_BITS

EPOCH_MS = 1_735_689_600_000
"""Where the time of ids begins, in milliseconds since 1970: with the year 2025."""

LEAD_MS = 3_000
"""So far ahead a mark is raised: while ids are made, the ensemble is asked that often."""

TOLERANCE_MS = 5_000
"""Ids may be so far ahead of the clock: it takes a lead, and some difference between the clocks of machines."""

_MARKS = Decimal(-1)


class TimeId(NamedTuple):
    """What an id says."""

    time: datetime
    """When it was made, to the millisecond, in UTC: by the clock of who made it."""
    worker: int
    sequence: int


class TimeIdGenerator:
    """Ids of 63 bits, in the order of time, from as many as 1024 workers at a time at `path`; what is above is created
    where it is missing.

    ::

        async with zkcore.TimeIdGenerator(zk, "/ids/events") as ids:
            event = await ids.next()

    Making one does no I/O; entering it takes the number of a worker, and its end gives it back. Several tasks may use
    one. Ids last until 2094, 4096 for a worker's every millisecond.

    Guaranteed: no id is given out twice, whatever clocks, pauses and failovers do. Those of one generator grow. Those
    of different ones are ordered as far as the clocks of their machines agree. After its lease was lost, none is given
    out.
    """

    def __init__(self, client: Client, path: str) -> None:
        Stored(client, path, what="a generator of ids")
        self.path = path
        self._client = client
        self._lease: Lease | None = None
        self._worker = 0
        self._stored = self._mark_of(0)
        self._raw: Raw | None = None
        self._mark_ms = -1  # for which this lease was promised ids
        self._last = -1  # the last id that was given out, without the number of the worker

    def __repr__(self) -> str:
        return f"<TimeIdGenerator {self.path} {'not started' if self._lease is None else self._lease!r}>"

    @property
    def lease(self) -> Lease | None:
        """How long the number of the worker is held; None before the start and after the end."""
        return self._lease

    @property
    def worker(self) -> int:
        """The number of the worker. Raises NotStartedError."""
        self._started()
        return self._worker

    async def start(self) -> Self:
        """Take the number of a worker. Raises IdsExhaustedError where all are taken, CodecError where something else is
        stored there, and SessionExpiredError or SessionClosedError. Cancelling it leaves no number taken."""
        if self._lease is not None:
            raise BadArgumentsError(f"{self!r} was started before; make a new one")
        port = self._client.port
        for worker in await self._free_workers(port):
            try:
                await self._take(port, worker)
            except NodeExistsError:
                continue  # somebody was faster
            return self
        raise IdsExhaustedError(
            f"{self.path}: all {_WORKERS} numbers of workers are taken; give one back, or wait until a session expires"
        )

    async def close(self) -> None:
        """Give the number back. Cancelling it does not stop it."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release()

    async def next(self) -> int:
        """An id, higher than all that came before from here.

        Raises LeaseLostError where the number may be somebody else's by now (go on with a new client), ClockError where
        the clock is too far behind what was used, IdsExhaustedError at the end of time, NotStartedError,
        OutcomeUnknownError, and SessionExpiredError or SessionClosedError.
        """
        port = self._client.port
        while True:
            lease = self._started()
            lease.check()
            now_ms = int(port.wall() * 1000) - EPOCH_MS
            following = max(self._last + 1, now_ms * _SEQUENCE)
            time_ms = following // _SEQUENCE
            self._check_time(time_ms, now_ms)
            if time_ms <= self._mark_ms:
                self._last = following
                return (time_ms * _WORKERS + self._worker) * _SEQUENCE + following % _SEQUENCE
            await self._raise_mark(port, lease, min(time_ms + LEAD_MS, _END_MS - 1))

    @staticmethod
    def parts(id: int) -> TimeId:
        """What `id`, which a generator made, says. Raises BadArgumentsError for what is none."""
        if not 0 <= id < 1 << _TIME_BITS + _WORKER_BITS + _SEQUENCE_BITS:
            raise BadArgumentsError(f"{id!r} is no id that a TimeIdGenerator made")
        time_ms, rest = divmod(id, _WORKERS * _SEQUENCE)
        time = datetime.fromtimestamp((time_ms + EPOCH_MS) / 1000, UTC)
        return TimeId(time, *divmod(rest, _SEQUENCE))

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- within

    def _started(self) -> Lease:
        if self._lease is None:
            raise NotStartedError(f"the generator of {self.path} has no number; start it, or use it in a `with`")
        return self._lease

    async def _take(self, port: Port, worker: int) -> None:
        lease = await Membership(self._client, f"{self.path}/workers", name=str(worker)).join()
        try:
            stored = self._mark_of(worker)
            raw = await stored.read()
            used = self._decoded(raw)
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session gives the number back
        except BaseException:
            await port.tidy_up(lambda port: remove_made(port, lease.path, lease.fencing_token))
            raise
        self._lease, self._worker, self._stored, self._raw = lease, worker, stored, raw
        self._mark_ms = -1
        self._last = max(self._last, (used + 1) * _SEQUENCE - 1)

    def _check_time(self, time_ms: int, now_ms: int) -> None:
        if time_ms - now_ms > TOLERANCE_MS:
            raise ClockError(
                f"the clock of this machine is {(time_ms - now_ms) / 1000:.3f} s behind the ids that were made at "
                f"{self.path}; set it right, or wait so long"
            )
        if time_ms >= _END_MS:
            raise IdsExhaustedError(f"{self.path}: {_TIME_BITS} bits do not hold the time of this machine; look at it")

    def _mark_of(self, worker: int) -> Stored:
        return Stored(self._client, f"{self.path}/mark-{worker}", what="a mark")

    def _decoded(self, raw: Raw | None) -> int:
        """The last millisecond for which there may be ids; -1 for none."""
        return -1 if raw is None else from_bytes(_MARKS, raw.data, where=self._stored.path)

    async def _free_workers(self, port: Port) -> list[int]:
        """The numbers that nobody has, those first whose time is past by our clock."""
        marks: dict[str, int] = {}
        held: set[str] = set()
        try:
            page = await ask(port, ListChildren(self.path, prefix="mark-", limit=_WORKERS, with_data=True), FOR_EVER)
            marks = {name: from_bytes(_MARKS, data or b"", where=self.path) for name, _, data in page.children}
            held = set(await ask(port, GetChildren(f"{self.path}/workers"), FOR_EVER))
        except NoNodeError:
            pass  # the first of all
        now_ms = int(port.wall() * 1000) - EPOCH_MS
        free = [worker for worker in range(_WORKERS) if str(worker) not in held]
        return sorted(free, key=lambda worker: (max(marks.get(f"mark-{worker}", -1) - now_ms, 0), worker))

    async def _raise_mark(self, port: Port, lease: Lease, time_ms: int) -> None:
        """Have ids up to `time_ms` promised to this lease, and to no later one. What somebody else wrote is taken note
        of only to be replaced: what may be used is what this lease itself has written."""
        conflicts = 0
        while self._lease is lease and self._mark_ms < time_ms:
            old = self._raw
            mark_ms = max(time_ms, self._decoded(old))
            own = made_at(lease.path, lease.fencing_token)
            made = await self._stored.replace(old, _MARKS.encode(mark_ms), also=[own])
            if made is not None:
                if self._lease is lease:
                    self._raw, self._mark_ms = made, max(self._mark_ms, mark_ms)
                return
            stat = await ask(port, Exists(lease.path), FOR_EVER)
            if stat is None or stat.czxid != lease.fencing_token:
                raise lease.loss()
            self._raw = await self._stored.read()
            conflicts += 1
            await back_off(port, conflicts)
