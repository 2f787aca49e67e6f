"""The blocking face of `zkcore.recipes.holding`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

from zkcore.recipes.holding import Hold as AsyncHold
from zkcore.recipes.lease import Lease as AsyncLease
from zkcore.sync.lease import Lease
from zkcore.sync.port import run

__all__ = ["Hold", "LeaseContext"]


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
