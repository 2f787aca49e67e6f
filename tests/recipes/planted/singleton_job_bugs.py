"""Bugs of the singleton job, beside those of all that stand in line (lock_bugs.py)."""

from __future__ import annotations

import attrs
from planting import plant

from zkcore.client.port import Port
from zkcore.recipes.contender import Attempt
from zkcore.recipes.lease import Lease
from zkcore.recipes.singleton_job import JobRecord, JobState, SingletonJob
from zkcore.recipes.waiting import Patience
from zkcore.testing.mutants.mutant import Real

JOB = "one_does_what_is_due_and_what_is_done_is_never_done_again"


def _everybody_leads(_: Real) -> Real:
    async def wait_for_turn(self: Attempt, port: Port, patience: Patience) -> bool:
        return True

    return wait_for_turn


def _begins_with_its_own_clock(real: Real) -> Real:
    async def _begin(self: SingletonJob, port: Port, term: Lease) -> JobRecord:
        record: JobRecord = await real(self, port, term)
        return attrs.evolve(record, state=JobState.WAITING, until=port.wall() - 2)

    return _begin


def _takes_what_was_begun_for_undone(real: Real) -> Real:
    async def _begin(self: SingletonJob, port: Port, term: Lease) -> JobRecord:
        record: JobRecord = await real(self, port, term)
        is_over = record.state in (JobState.DONE, JobState.FAILED)
        return attrs.evolve(record, state=JobState.RUNNING) if is_over else record

    return _begin


plant(
    "two-instances",
    "everybody who stands by does the job",
    (Attempt, "wait_for_turn", _everybody_leads),
    play=JOB,
    seed=0,
)
plant(
    "tick-by-its-own-clock",
    "a new leader goes on from its own clock, and not from where the last had come to",
    (SingletonJob, "_begin", _begins_with_its_own_clock),
    play=JOB,
    seed=0,
)
plant(
    "done-again",
    "a new leader does again what the last has done",
    (SingletonJob, "_begin", _takes_what_was_begun_for_undone),
    play=JOB,
    seed=0,
)
