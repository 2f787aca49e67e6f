"""The singleton job: what is due on a schedule is done by one of many processes, and by another when that one dies.

All who could do it stand for election (`election.py`); the leader waits until something is due and does it. What was
due, and what became of it, stands in one znode, which only the leader of the moment writes: each time with the
condition that its contender is still in line. So whoever leads next knows where to go on: what was begun and is not
done is done again, and what is done never is.

Wall clocks say when something is due, that of the leader for all; nobody's safety rests on them. A time that has been
dealt with is never due again, whatever the clock of the next leader says.

This module must not know what the job does, nor how a schedule is made (`schedule.py`).
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Awaitable, Callable
from enum import StrEnum
from math import isfinite
from typing import TypeAlias

import attrs
from attrs import frozen

from zkcore.client.client import Client
from zkcore.client.port import Port, SessionState
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    InvalidScheduleError,
    LeaseLostError,
    MultiError,
    NoNodeError,
    SessionClosedError,
)
from zkcore.recipes.contender import made_at
from zkcore.recipes.election import Election
from zkcore.recipes.lease import Lease
from zkcore.recipes.schedule import Schedule
from zkcore.recipes.waiting import FOR_EVER, ask
from zkcore.tree.requests import GetData, Multi, SetData
from zkcore.zxid import Zxid

__all__ = ["JobRecord", "JobState", "SingletonJob", "Tick"]

_LONGEST_WAIT = 60.0
"""The wall clock is looked at again after so many seconds: it may have been set."""

_TRACEBACK = 16384
"""So many characters of a traceback are kept, the last ones."""


@frozen
class Tick:
    """One time that a job is due, as it is called with it."""

    due: float
    """When it was due, in seconds since 1970. Where more was due while nobody could do it, this is the first of it, and
    stands for all."""
    attempt: int
    """Counts from 1; higher where an earlier instance died in the midst of it, and may have done a part."""
    lease: Lease
    """The term of this instance. It is cancelled where the term is lost."""

    @property
    def token(self) -> Zxid:
        """The fencing token of the term: hand it to what the job writes to, and have that refuse a lower one."""
        return self.lease.fencing_token


class JobState(StrEnum):
    """What became of the last tick."""

    WAITING = "waiting"
    """There was none yet."""
    RUNNING = "running"
    """It was begun. Where nobody leads, the next who does begins it again."""
    DONE = "done"
    FAILED = "failed"
    """The job raised. It is called again when it is due again."""


@frozen
class JobRecord:
    """What stands in the tree of a job: its last tick."""

    state: JobState
    due: float
    """When it was due, in seconds since 1970."""
    until: float
    """What was due up to then is dealt with, by this tick or one before."""
    attempt: int
    by: str
    """The name of the instance."""
    token: Zxid
    """Its fencing token."""
    traceback: str = ""
    """Of what it raised, where it FAILED."""


Job: TypeAlias = Callable[[Tick], Awaitable[object]]
"""What is done when it is due."""


class SingletonJob:
    """A job at `path`, done by one of all the processes that `serve` it, whenever `schedule` says.

    ::

        async def clean_up(tick: zkcore.Tick) -> None:
            await delete_old_rows(before=tick.due - 86400, token=tick.token)

        job = zkcore.SingletonJob(zk, "/jobs/clean-up", clean_up, schedule=zkcore.Cron("0 3 * * *"), name="web-1")
        serving = asyncio.create_task(job.serve())      # in every worker: one of them does it

    Making one does no I/O. `name` is what others see of this instance.

    Guaranteed: of all instances whose lease is not lost one at most is at work; the job is called for each time that is
    due, once, and again only where an instance died before it had ended, then with a higher token. What was due while
    nobody could do it is made up for by one call. What the job raises is recorded, and the next tick comes all the
    same.
    """

    def __init__(self, client: Client, path: str, job: Job, *, schedule: Schedule, name: str = "") -> None:
        if not callable(job):
            raise BadArgumentsError(f"the job of {path} is {job!r}; give a function to call when it is due")
        if not callable(getattr(schedule, "next_after", None)):
            raise InvalidScheduleError(f"{schedule!r} is no schedule; give a Cron, an Every, or what has `next_after`")
        self._election = Election(client, f"{path}/leader", identifier=name)
        self.path = path
        self._client = client
        self._job = job
        self._schedule = schedule
        self._name = name

    def __repr__(self) -> str:
        return f"<SingletonJob {self.path} {'leading' if self._election.is_leader else 'not leading'}>"

    @property
    def is_leader(self) -> bool:
        """Whether this instance does the job, as far as it can know. Local."""
        return self._election.is_leader

    async def serve(self) -> None:
        """Stand by, and do the job whenever it is due and this is the one to do it: until it is cancelled, or the
        client is closed.

        Raises LeaseLostError where the session is lost (the job is cancelled then, if it runs), SessionExpiredError,
        InvalidScheduleError where the schedule gives what is no later time, and CodecError where something else stands
        at `path`.
        """
        port = self._client.port
        try:
            async with self._election.lead() as term:
                await self._reign(port, term)
        except (LeaseLostError, SessionClosedError):
            if port.session.state is not SessionState.CLOSED:
                raise

    async def record(self) -> JobRecord | None:
        """The last tick, and what became of it: as of the replica that serves this client, and a moment ago. None where
        nobody has served it yet. Raises CodecError."""
        try:
            data, _ = await ask(self._client.port, GetData(self.path), FOR_EVER)
        except NoNodeError:
            return None
        return self._read(data) if data else None

    async def leader(self) -> str | None:
        """The name of the instance that does the job, None for nobody; as of a moment ago."""
        leader = await self._election.leader()
        return None if leader is None else leader.identifier

    # --- within

    async def _reign(self, port: Port, term: Lease) -> None:
        record = await self._begin(port, term)
        while True:
            if record.state is JobState.RUNNING:
                due, attempt = record.due, record.attempt + 1
            else:
                due, attempt = self._next(record.until), 1
                await self._wait_until(port, term, due)
            now = max(due, port.wall(), record.until)
            record = JobRecord(JobState.RUNNING, due, now, attempt, self._name, term.fencing_token)
            await self._write(port, term, record)
            record = await self._call(record, Tick(due, attempt, term))
            await self._write(port, term, record)

    async def _begin(self, port: Port, term: Lease) -> JobRecord:
        """Where the leaders before have come to; the schedule begins with the first of them."""
        first = JobRecord(JobState.WAITING, 0, port.wall(), 0, "", 0)
        data, _ = await ask(port, GetData(self.path), FOR_EVER)
        if data:
            return self._read(data)
        await self._write(port, term, first)
        return first

    async def _call(self, record: JobRecord, tick: Tick) -> JobRecord:
        """Do the job; what came of it."""
        tick.lease.check()
        try:
            await self._job(tick)
        except Exception as error:
            told = "".join(traceback.format_exception(error))[-_TRACEBACK:]
            return attrs.evolve(record, state=JobState.FAILED, traceback=told)
        return attrs.evolve(record, state=JobState.DONE)

    async def _wait_until(self, port: Port, term: Lease, due: float) -> None:
        while (left := due - port.wall()) > 0:
            await port.wait(term.lost, timeout=min(left, _LONGEST_WAIT))
            term.check()

    async def _write(self, port: Port, term: Lease, record: JobRecord) -> None:
        """Replace what stands in the tree, as the leader. Raises LeaseLostError where this is the leader no more."""
        data = json.dumps(attrs.asdict(record)).encode()
        try:
            await ask(port, Multi([made_at(term.path, term.fencing_token), SetData(self.path, data)]), FOR_EVER)
        except MultiError:
            raise term.loss() from None

    def _next(self, until: float) -> float:
        due = self._schedule.next_after(until)
        if not (isinstance(due, int | float) and isfinite(due) and due > until):
            raise InvalidScheduleError(
                f"{self._schedule!r} says that {due!r} comes after {until}; a schedule gives a later time, in seconds"
            )
        return due

    def _read(self, data: bytes) -> JobRecord:
        try:
            found = json.loads(data)
            return JobRecord(**{**found, "state": JobState(found["state"])})
        except (ValueError, TypeError, KeyError) as error:
            raise CodecError(
                f"{self.path} holds {data[:40]!r}, which is no record of a job; choose another path"
            ) from error
