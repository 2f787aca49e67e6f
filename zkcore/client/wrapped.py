"""A Port over another Port, to change what is asked through it and nothing else.

This module must not know what is changed, nor what kind of Port is below.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from random import Random
from typing import Any, TypeVar

from zkcore.client.port import Background, Port, Session, Signal, StateListener, Watcher
from zkcore.replica.levels import Read, ReadLevel
from zkcore.tree.requests import Request

__all__ = ["WrappedPort"]

T = TypeVar("T")


class WrappedPort:
    """A Port that does everything as `inner` does. What runs on a Port of its own, a cleanup or work in the background,
    is given that Port wrapped by `wrap`."""

    def __init__(self, inner: Port, wrap: Callable[[Port], Port]) -> None:
        self._inner = inner
        self._wrap = wrap

    @property
    def inner(self) -> Port:
        """What is wrapped."""
        return self._inner

    def wrap(self, port: Port) -> Port:
        """Another Port, wrapped like this one."""
        return self._wrap(port)

    @property
    def rng(self) -> Random:
        return self._inner.rng

    @property
    def session(self) -> Session:
        return self._inner.session

    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        return await self._inner.request(op, watch=watch, timeout=timeout, read=read)

    async def authenticate(self, scheme: str, credentials: bytes) -> None:
        await self._inner.authenticate(scheme, credentials)

    def unwatch(self, path: str, watch: Watcher | None) -> None:
        self._inner.unwatch(path, watch)

    def listen(self, listener: StateListener) -> None:
        self._inner.listen(listener)

    def unlisten(self, listener: StateListener) -> None:
        self._inner.unlisten(listener)

    async def wait(self, *signals: Signal, timeout: float | None = None) -> Signal | None:
        return await self._inner.wait(*signals, timeout=timeout)

    def signal(self) -> Signal:
        return self._inner.signal()

    def guard(self, lost: Signal) -> AbstractContextManager[None]:
        return self._inner.guard(lost)

    def caller(self) -> object:
        return self._inner.caller()

    def now(self) -> float:
        return self._inner.now()

    def wall(self) -> float:
        return self._inner.wall()

    async def shield(self, cleanup: Callable[[Port], Coroutine[Any, Any, T]]) -> T:
        return await self._inner.shield(lambda port: cleanup(self._wrap(port)))

    async def tidy_up(self, cleanup: Callable[[Port], Coroutine[Any, Any, None]]) -> None:
        await self._inner.tidy_up(lambda port: cleanup(self._wrap(port)))

    def spawn(self, work: Callable[[Port], Coroutine[Any, Any, None]], *, name: str) -> Background:
        return self._inner.spawn(lambda port: work(self._wrap(port)), name=name)
