"""The processes of a virtual loop, and what belongs to them: callbacks, timers, futures and tasks.

A process is known by a context variable: what runs in a context belongs to the process that the context names, and so
does all that is started from there.

This module must not know in which order things run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from enum import Enum, auto
from typing import Any, TypeVar

__all__ = [
    "Handle",
    "Life",
    "Process",
    "Timer",
    "VirtualFuture",
    "VirtualTask",
    "end_silently",
    "home",
    "tasks_of",
    "where_tasks_wait",
]

T = TypeVar("T")


class Life(Enum):
    """How a process is."""

    RUNNING = auto()
    PAUSED = auto()
    DEAD = auto()


class Process:
    """What is paused or crashes as one. `context` is that in which its callbacks run, `number` is for traces."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.life = Life.RUNNING
        self.parked: deque[Handle | Timer] = deque()
        self.context = copy_context()
        self.context.run(_HOME.set, self)

    def __repr__(self) -> str:
        return f"<Process {self.name} {self.life.name.lower()}>"


_HOME: ContextVar[Process | None] = ContextVar("zkcore_process", default=None)


def home() -> Process | None:
    """The process that the running code belongs to."""
    return _HOME.get()


class Handle(asyncio.Handle):
    """A callback that is ready. `plain` ones keep their order among themselves. Made a hundred thousand times in a
    world, so it sets what it inherits by itself."""

    __slots__ = ("home", "plain")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self.plain = context is None
        self._context = context = copy_context() if context is None else context
        self._loop = loop
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self.home: Process | None = context.get(_HOME)


class Timer(asyncio.TimerHandle):
    """A callback with its time."""

    __slots__ = ("home", "plain")

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self.plain = False
        self._context = context = copy_context() if context is None else context
        self._loop = loop
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = True  # so that the loop hears of it when it is cancelled
        self.home: Process | None = context.get(_HOME)


class VirtualFuture(asyncio.Future[T]):
    """A future whose hash is its number: a set of them has the same order in every run."""

    def __init__(self, number: int, *, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class VirtualTask(asyncio.Task[T]):
    """A task with such a hash, and the process that it belongs to."""

    def __init__(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        number: int,
        loop: asyncio.AbstractEventLoop,
        name: str | None,
        context: Context | None,
    ) -> None:
        self._number = number
        self.home = (context if context is not None else copy_context()).get(_HOME)
        if name is None:
            name = f"{self.home.name if self.home is not None else 'task'}/{number}"
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._number


def tasks_of(loop: asyncio.AbstractEventLoop) -> list[VirtualTask[Any]]:
    """Those that have not ended, in the order in which they began."""
    tasks = [task for task in asyncio.all_tasks(loop) if isinstance(task, VirtualTask)]
    return sorted(tasks, key=hash)


def end_silently(task: VirtualTask[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = task.get_coro()
    for _ in range(100):  # as often as it waits for something in a `finally`
        try:
            coroutine.close()
        except BaseException:
            continue
        return


def where_tasks_wait(loop: asyncio.AbstractEventLoop) -> str:
    """A line for each task that has not ended: where it waits, the outermost place first."""
    lines = []
    for task in tasks_of(loop):
        places: list[str] = []
        coroutine: Any = task.get_coro()
        while coroutine is not None and (frame := getattr(coroutine, "cr_frame", None)) is not None:
            file = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
            places.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
            coroutine = coroutine.cr_await
        lines.append(f"  {task.get_name()}: {' > '.join(places) or 'nowhere'}")
    return "\n".join(lines) or "  (no task at all)"
