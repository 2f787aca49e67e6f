"""The end of a guarded body: cancelling a task once a signal is set, as `asyncio.timeout` does once the time is up."""

from __future__ import annotations

import asyncio
from types import TracebackType

from zkcore.client.port import Signal
from zkcore.client.signals import AsyncSignal

__all__ = ["Guard"]


class Guard:
    """Cancels the task that entered it when `lost` is set, once. It swallows that cancellation at its end, and no
    other: who entered it finds out by `lost` what has happened, and says so in an error of its own."""

    def __init__(self, lost: AsyncSignal) -> None:
        self._lost = lost
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._fired = False
        self._waiter: asyncio.Future[Signal] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("only the body of a task can be guarded")
        self._cancelling = self._task.cancelling()
        self._waiter = asyncio.get_running_loop().create_future()
        self._waiter.add_done_callback(self._on_lost)
        self._lost.add_waiter(self._waiter)
        if self._lost.is_set():
            self._waiter.set_result(self._lost)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        assert self._task is not None
        assert self._waiter is not None
        task, self._task = self._task, None  # from now on a callback that is on its way cancels nobody
        self._lost.remove_waiter(self._waiter)
        self._waiter.cancel()
        if not self._fired:
            return False
        only_ours = task.uncancel() <= self._cancelling
        return only_ours and kind is not None and issubclass(kind, asyncio.CancelledError)

    def _on_lost(self, waiter: asyncio.Future[Signal]) -> None:
        if not waiter.cancelled() and self._task is not None:
            self._fired = True
            self._task.cancel()
