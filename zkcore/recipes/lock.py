"""The lock: one holder at a time, in the order of arrival, each with a fencing token.

ZooKeeper's recipe: whoever wants the lock stands in line below its path (`contender.py`), and who is in front holds it.
"""

from __future__ import annotations

from types import TracebackType

from zkcore.client.client import Client
from zkcore.errors import LockNotHeldError
from zkcore.recipes.contender import Contender
from zkcore.recipes.entered import Entered
from zkcore.recipes.holding import Hold, Line, OnLost
from zkcore.recipes.lease import Lease

__all__ = ["Lock"]

_ENTERED: Entered[Hold] = Entered("zkcore_locks_entered")


class Lock:
    """A lock at `path`, a znode that is created where it is missing.

    Use it as a context manager, which gives the Lease::

        async with zkcore.Lock(zk, "/locks/report") as lease:
            await resource.write(data, token=lease.fencing_token)

    The body is cancelled when the lease is lost, and the `with` ends in LeaseLostError. Making a Lock does no I/O.
    Several tasks may use one: each attempt has its own contender and its own Lease. It is not reentrant: a task that
    holds it and acquires it again waits for itself. `identifier` is stored with the contender, for whoever looks who
    holds the lock.

    Guaranteed: of all leases on `path` whose `check` does not raise, at most one is held at a time, as far as clocks
    run at rates that differ by less than one per cent; contenders get the lock in the order of their arrival; a later
    lease has a higher fencing token, always.
    """

    def __init__(self, client: Client, path: str, *, identifier: str | None = None) -> None:
        self._line = Line(client, path, what="the lock", identifier=identifier)
        self.path = path

    def __repr__(self) -> str:
        return f"<Lock {self.path} {'held' if self.held else 'not held'}>"

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, as far as it can know. Local."""
        return self.lease is not None

    @property
    def lease(self) -> Lease | None:
        """The lease of what this object holds: after `acquire`, the way to its fencing token. None where it holds
        nothing, or has lost it."""
        return self._line.lease

    async def acquire(self, *, timeout: float | None = None) -> bool:
        """Wait for the lock. False where it was not free within `timeout` seconds; None waits for ever, 0 not at all.

        Cancelling it leaves no contender behind. Raises SessionExpiredError or SessionClosedError, and
        BadArgumentsError for a negative timeout.
        """
        return await self._line.acquire(timeout) is not None

    async def release(self) -> None:
        """Give the lock to the next. Raises LockNotHeldError where this object does not hold it, or has lost it.

        Cancelling it does not stop the release.
        """
        lease = self._line.any_lease
        if lease is None:
            raise LockNotHeldError(f"the lock {self.path} is not held; acquire it first, and release it once")
        lost = lease.is_lost()
        await lease.release()
        if lost:
            raise LockNotHeldError(f"the lock {self.path} was lost with the session, before it was released")

    def hold(self, *, timeout: float | None = None, on_lost: OnLost = OnLost.CANCEL) -> Hold:
        """The lock as a context manager with a timeout, which gives the Lease. Entering it raises LockTimeoutError
        where the lock was not free within `timeout` seconds. `on_lost` says what happens to the body when the lease is
        lost."""
        return Hold(self._line, timeout, on_lost)

    async def locked(self) -> bool:
        """Whether anybody holds the lock, or waits for it."""
        return bool(await self._line.contenders())

    async def holder(self) -> Contender | None:
        """Who holds the lock, None for nobody: as of the replica that serves this client, and a moment ago."""
        return next(iter(await self._line.contenders()), None)

    async def contenders(self) -> tuple[Contender, ...]:
        """Who holds the lock, and behind it who waits for it, in their order."""
        return await self._line.contenders()

    async def __aenter__(self) -> Lease:
        hold = Hold(self._line, None)
        lease = await hold.__aenter__()
        _ENTERED.push(self, hold)
        return lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hold = _ENTERED.pop(self)
        if hold is not None:
            await hold.__aexit__(kind, error, trace)
        elif (lease := self._line.any_lease) is not None:  # entered in another context, as fixtures of tests are
            await lease.release()
