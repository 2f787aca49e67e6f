"""The body of a `with` that holds a lease: it is cancelled when the lease is lost, and its end tells of the loss.

This module must not know what is held.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from zkcore.client.port import Port
from zkcore.recipes.lease import Lease

__all__ = ["Guarded"]


class Guarded:
    """The body, from here to `end`, in which `lease` is held. Where `tells` is False it looks after itself."""

    def __init__(self, port: Port, lease: Lease, *, tells: bool = True) -> None:
        self.lease = lease
        self._tells = tells
        self._guard: AbstractContextManager[None] = port.guard(lease.lost) if tells else nullcontext()
        self._guard.__enter__()

    async def end(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        give_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Release the lease, or do what else gives it up, which then raises itself where that comes too late.

        Raises LeaseLostError where the lease was lost, unless the body ends in an error of its own.
        """
        # The body may have given it up by itself, and been cancelled in the midst of that: then it is not lost, and
        # the task must not end by a cancellation that nobody asked for.
        was_cancelled_by_us = self._guard.__exit__(kind, error, trace)
        was_lost = self._tells and error is None and give_up is None and self.lease.is_lost()
        await (give_up or self.lease.release)()
        if was_cancelled_by_us or was_lost:
            raise self.lease.loss() from None
