"""The blocking face of `zkcore.recipes.holding`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

from zkcore.recipes.holding import Hold as AsyncHold
from zkcore.recipes.holding import Holdable as AsyncHoldable
from zkcore.recipes.holding import OnLost
from zkcore.recipes.lease import Lease as AsyncLease
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Hold", "Holdable", "LeaseContext"]


class LeaseContext:
    """The blocking face of a context manager that gives a Lease, and is `_inner`."""

    _inner: AbstractAsyncContextManager[AsyncLease]

    def __enter__(self) -> Lease:
        return Lease(run(self._inner.__aenter__()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._inner.__aexit__(kind, error, trace))


class Hold(LeaseContext):
    """One hold of a lock, or one term of a leader, as a context manager that gives its Lease. It is entered once.

    Its end raises LeaseLostError where the lease was lost by then, and nothing else was raised.
    """

    def __init__(self, inner: AsyncHold) -> None:
        self._inner = inner


@mirrors(AsyncHoldable)
class Holdable(LeaseContext):
    """What can be acquired and released, with the signatures of `threading.Lock`."""

    _inner: AsyncHoldable

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def held(self) -> bool:
        """Whether this object holds it, as far as it can know. Local."""
        return self._inner.held

    @property
    def lease(self) -> Lease | None:
        """The lease of what this object holds; None where it holds nothing, or has lost it."""
        inner = self._inner.lease
        return None if inner is None else Lease(inner)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Wait for it. False where it was not free within `timeout` seconds, or at once if not `blocking`; None or -1
        waits for ever. An interrupted wait leaves no contender behind.

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
