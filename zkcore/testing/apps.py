"""The apps of an AppWorld: groups of a user's coroutines that are paused and crash together.

This module must not know nodes, nor what goes wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from zkcore.errors import BadArgumentsError
from zkcore.testing.far_client import FarHost
from zkcore.testing.processes import Life, Process
from zkcore.testing.promises import WorldFailure

if TYPE_CHECKING:
    from zkcore.testing.app_world import AppWorld

__all__ = ["App"]

T = TypeVar("T")


class App:
    """A process of yours: tasks and clients that are paused and crash together. Made by `AppWorld.app`."""

    def __init__(self, name: str, world: AppWorld) -> None:
        self.name = name
        self._world = world
        self._mains: list[tuple[Callable[..., Coroutine[Any, Any, object]], tuple[Any, ...]]] = []
        self.process = Process(name, world.loop.next_number())
        self.far: list[FarHost] = []

    def __repr__(self) -> str:
        return f"<App {self.name} {self.process.life.name.lower()}>"

    @property
    def up(self) -> bool:
        """Whether it has not crashed. It may be paused."""
        return self.process.life is not Life.DEAD

    def spawn(self, main: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> asyncio.Task[T]:
        """Run the coroutine function `main(*args)` in this app, now and again after each crash and restart. What it
        raises fails the world."""
        if not callable(main):
            if asyncio.iscoroutine(main):
                main.close()
            raise BadArgumentsError(
                f"spawn wants a coroutine function and its arguments, not {main!r}: a restart calls it again"
            )
        if not self.up:
            raise BadArgumentsError(f"{self.name} has crashed; restart it first, with what was spawned before")
        self._mains.append((main, args))
        return self._spawn(main, args)

    def _spawn(self, main: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...]) -> asyncio.Task[T]:
        task = self._world.loop.create_task(main(*args), context=self.process.context.copy())
        task.add_done_callback(self._on_done, context=self._world.context)
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            failure = WorldFailure(f"{task.get_name()} failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._world.fail(failure)

    def begin_anew(self) -> None:
        """For the world: a new process, with the same mains."""
        self.process = Process(self.name, self._world.loop.next_number())
        self.far = []
        for main, args in self._mains:
            self._spawn(main, args)
