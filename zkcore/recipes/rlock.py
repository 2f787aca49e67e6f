"""The reentrant lock: who holds it may acquire it again, and the next one gets it when all of it is released.

In the tree it is a lock as any, with one contender for each owner: that an owner acquires again is known here alone,
and costs no request. So it stands in one line with the `Lock`s of the same path.
"""

from __future__ import annotations

from collections.abc import Hashable

from zkcore.client.client import Client
from zkcore.recipes.holding import Line
from zkcore.recipes.lock import Lock

__all__ = ["RLock"]


class RLock(Lock):
    """A reentrant lock at `path`, a znode that is created where it is missing, with the manners of `threading.RLock`.

    ::

        lock = zkcore.RLock(zk, "/locks/accounts")
        async with lock as lease:
            async with lock:                      # at once, and no request
                await resource.write(data, token=lease.fencing_token)

    Its owner is the task that acquires it, in blocking code the thread; where an `owner` is given, whatever it is,
    whoever uses this object is that one owner: for work that goes from task to task. (Threads that share one must take
    turns.) Each acquisition counts, and has a Lease of its own with the same fencing token. Who has lost it cannot
    acquire it again (LeaseLostError): the outer level has to end first. Only its owner can `release` it, but a Lease
    can be released by anybody. What `Lock` guarantees holds between owners. Two objects are two locks to their owner:
    make one, and share it.

    `asyncio.wait_for` runs what it waits for in a task of its own, which is then the owner: use `timeout`, or
    `asyncio.timeout`.
    """

    def __init__(
        self, client: Client, path: str, *, identifier: str | None = None, owner: Hashable | None = None
    ) -> None:
        self.path = path
        self._line = Line(
            client,
            path,
            what="the lock",
            identifier=identifier,
            owner=(lambda: client.port.caller()) if owner is None else (lambda: owner),
        )

    def __repr__(self) -> str:
        return f"<RLock {self.path} {'held' if self.held else 'not held'}>"
