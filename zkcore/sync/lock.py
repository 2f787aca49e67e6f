"""The blocking face of `zkcore.recipes.lock`."""

from __future__ import annotations

from zkcore.recipes.contender import Contender
from zkcore.recipes.holding import OnLost
from zkcore.recipes.lock import Lock as AsyncLock
from zkcore.sync.client import Client
from zkcore.sync.holding import Hold, LeaseContext
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Lock"]


@mirrors(AsyncLock)
class Lock(LeaseContext):
    """`zkcore.Lock` for blocking code, with the signatures of `threading.Lock`. Several threads may use one Lock.

    ::

        with zkcore.Lock(zk, "/locks/report") as lease:
            resource.write(data, token=lease.fencing_token)
    """

    _inner: AsyncLock

    def __init__(self, client: Client, path: str, *, identifier: str | None = None) -> None:
        self._inner = AsyncLock(client.unblocked, path, identifier=identifier)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode whose children wait for the lock."""
        return self._inner.path

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, as far as it can know. Local."""
        return self._inner.held

    @property
    def lease(self) -> Lease | None:
        """The lease of what this object holds; None where it holds nothing, or has lost it."""
        inner = self._inner.lease
        return None if inner is None else Lease(inner)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Wait for the lock. False where it was not free within `timeout` seconds, or at once if not `blocking`; None
        or -1 waits for ever. An interrupted wait leaves no contender behind.

        Raises SessionExpiredError or SessionClosedError, and ValueError for a timeout without blocking.
        """
        if not blocking:
            if timeout not in (-1, None):
                raise ValueError("can't specify a timeout for a non-blocking call")
            return run(self._inner.acquire(timeout=0))
        return run(self._inner.acquire(timeout=seconds(timeout)))

    def release(self) -> None:
        run(self._inner.release())

    def hold(self, *, timeout: float | None = None, on_lost: OnLost = OnLost.CANCEL) -> Hold:
        return Hold(self._inner.hold(timeout=seconds(timeout), on_lost=on_lost))

    def locked(self) -> bool:
        return run(self._inner.locked())

    def holder(self) -> Contender | None:
        return run(self._inner.holder())

    def contenders(self) -> tuple[Contender, ...]:
        return run(self._inner.contenders())
