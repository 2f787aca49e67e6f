"""The lock: one holder at a time, in the order of arrival, each with a fencing token.

ZooKeeper's recipe: whoever wants the lock stands in line below its path (`contender.py`), and who is in front holds it.
"""

from __future__ import annotations

from zkcore.client.client import Client
from zkcore.recipes.contender import Contender
from zkcore.recipes.holding import Holdable, Line

__all__ = ["Lock"]


class Lock(Holdable):
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

    async def locked(self) -> bool:
        """Whether anybody holds the lock, or waits for it."""
        return bool(await self._line.contenders())

    async def holder(self) -> Contender | None:
        """Who holds the lock, None for nobody: as of the replica that serves this client, and a moment ago."""
        return next(iter(await self._line.contenders()), None)

    async def contenders(self) -> tuple[Contender, ...]:
        """Who holds the lock, and behind it who waits for it, in their order."""
        return await self._line.contenders()
