"""The blocking face of `zkcore.recipes.singleton_job`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from zkcore.errors import BadArgumentsError
from zkcore.recipes.schedule import Schedule
from zkcore.recipes.singleton_job import JobRecord, Tick
from zkcore.recipes.singleton_job import SingletonJob as AsyncSingletonJob
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run

__all__ = ["SingletonJob"]

Job: TypeAlias = Callable[[Tick], object]
"""What is done when it is due, on the thread that serves."""


@mirrors(AsyncSingletonJob)
class SingletonJob:
    """`zkcore.SingletonJob` for blocking code.

    ::

        def clean_up(tick: zkcore.Tick) -> None:
            delete_old_rows(before=tick.due - 86400, token=tick.token)

        job = zkcore.SingletonJob(zk, "/jobs/clean-up", clean_up, schedule=zkcore.Cron("0 3 * * *"), name="web-1")
        threading.Thread(target=job.serve).start()      # in every worker: one of them does it
    """

    def __init__(self, client: Client, path: str, job: Job, *, schedule: Schedule, name: str = "") -> None:
        if not callable(job):
            raise BadArgumentsError(f"the job of {path} is {job!r}; give a function to call when it is due")

        async def call(tick: Tick) -> object:
            lease: Any = Lease(tick.lease)
            return job(attrs.evolve(tick, lease=lease))

        self._inner = AsyncSingletonJob(client.unblocked, path, call, schedule=schedule, name=name)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode with the last tick."""
        return self._inner.path

    @property
    def is_leader(self) -> bool:
        """Whether this instance does the job, as far as it can know. Local."""
        return self._inner.is_leader

    def serve(self) -> None:
        """Stand by, and do the job on this thread whenever it is due and this is the one to do it: until the client is
        closed. Nothing can cancel the job when the session is lost: it looks at the lease of its tick, or finds out by
        the token. Raises what `zkcore.SingletonJob.serve` does."""
        run(self._inner.serve())

    def record(self) -> JobRecord | None:
        return run(self._inner.record())

    def leader(self) -> str | None:
        return run(self._inner.leader())
