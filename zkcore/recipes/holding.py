"""Holding: what a lock and an election have in common. One stands in line, has a lease for a while, and gives it up.

This module must not know what is held.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from types import TracebackType

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, LockTimeoutError, OutcomeUnknownError
from zkcore.recipes.contender import Attempt, Contender, contenders, remove
from zkcore.recipes.lease import Lease
from zkcore.recipes.waiting import Patience, nonce
from zkcore.tree.paths import validate

__all__ = ["Hold", "Line", "OnLost"]


class OnLost(StrEnum):
    """What happens to the body of a `with` whose lease is lost before its end."""

    CANCEL = "cancel"
    """It is cancelled, where it runs in a task; and the end of the `with` raises LeaseLostError, also in blocking code,
    where nothing can be cancelled. An error of the body goes before it."""
    NOTHING = "nothing"
    """The body looks after itself: by `check`, `is_lost`, or waiting for `lost`."""


class Line:
    """The contenders below one path, and the leases that one object has of it. `what` names it in messages."""

    def __init__(self, client: Client, path: str, *, what: str, identifier: str | None) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError(f"{what} needs a path of its own, not the root")
        self.path = path
        self.what = what
        self.client = client
        self._mark = f"-{what.rpartition(' ')[2]}-"
        self._identifier = (identifier or "").encode()
        self._leases: list[Lease] = []

    @property
    def lease(self) -> Lease | None:
        """The first lease that is not lost; None where there is none."""
        return next((lease for lease in self._leases if not lease.is_lost()), None)

    @property
    def any_lease(self) -> Lease | None:
        """A lease that has not been released: one that is lost only where there is no other."""
        return min(self._leases, key=Lease.is_lost, default=None)

    async def contenders(self) -> tuple[Contender, ...]:
        """All who stand in line, the first of them in front."""
        return await contenders(self.client.port, self.path, self._mark)

    async def acquire(self, timeout: float | None) -> Lease | None:
        """A lease, when it is our turn; None where it was not within `timeout` seconds. However else it ends, there is
        no contender, or none for long."""
        port = self.client.port
        patience = Patience(port, timeout)
        attempt = Attempt(self.path, self._mark, nonce(port), self._identifier)
        try:
            await attempt.enter(port, patience)
            if await attempt.wait_for_turn(port, patience):
                lease = Lease(port, attempt.path, attempt.token, self._release)
                self._leases.append(lease)
                return lease
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes the contender
        except OutcomeUnknownError:
            pass  # nobody answered in time
        except BaseException:
            await port.tidy_up(attempt.leave)
            raise
        await port.tidy_up(attempt.leave)
        return None

    async def _release(self, lease: Lease) -> None:
        lease.end()
        try:
            self._leases.remove(lease)
        except ValueError:
            return  # another thread was faster
        await self.client.port.shield(lambda port: remove(port, lease.path))


class Hold:
    """One hold of a lock, or one term of a leader, as a context manager that gives its Lease. It is entered once.

    Entering raises LockTimeoutError where it was not our turn within the timeout. The end gives the lease up. What
    happens when it was lost before says OnLost.
    """

    def __init__(self, line: Line, timeout: float | None, on_lost: OnLost = OnLost.CANCEL) -> None:
        self._line = line
        self._timeout = timeout
        self._on_lost = OnLost(on_lost)
        self._lease: Lease | None = None
        self._guard: AbstractContextManager[None] = nullcontext()

    async def __aenter__(self) -> Lease:
        lease = await self._line.acquire(self._timeout)
        if lease is None:
            raise LockTimeoutError(
                f"{self._line.what} {self._line.path} was not free within {self._timeout} s; look who stands in line, "
                "or wait longer"
            )
        self._lease = lease
        if self._on_lost is OnLost.CANCEL:
            self._guard = self._line.client.port.guard(lease.lost)
            self._guard.__enter__()
        return lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lease = self._lease
        assert lease is not None
        was_cancelled_by_us = self._guard.__exit__(kind, error, trace)
        was_lost = lease.is_lost()
        await lease.release()
        if was_lost and self._on_lost is OnLost.CANCEL and (error is None or was_cancelled_by_us):
            raise lease.loss() from None
