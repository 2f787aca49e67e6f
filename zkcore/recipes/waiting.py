"""How recipes ask and wait: with patience, again where an answer was lost, and woken by what they have read.

Nobody here waits for time to pass in the hope that something has changed. A wait rests on a watch: it is set by the
very read that found nothing, so no change falls between the two; it outlives the loss of a replica, and goes off as
well when the session ends, so that whoever waits is told.

This module must not know what is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, TypeVar

from zkcore.client.once import once
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    NodeExistsError,
    NoNodeError,
    OutcomeForgottenError,
    OutcomeUnknownError,
    ThrottledError,
)
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.applied import WatchEvent
from zkcore.tree.requests import CreateWithParents, Exists, GetChildren, GetData, NodeData, Request

__all__ = ["FOR_EVER", "Patience", "Watch", "ask", "ask_once", "get_or_create", "nonce", "once", "pause"]

T = TypeVar("T")

_GRACE_SECONDS = 0.1
"""A request of a call with a timeout gets at least this long: not to wait is not the same as not to ask."""

_PAUSE_SECONDS = 0.1
"""About so long later what found no room is asked for again."""


class Patience:
    """How long a call may take: `timeout` seconds from now; None for as long as it takes, 0 for not waiting.

    Raises BadArgumentsError for a timeout that is negative, or no number.
    """

    def __init__(self, port: Port, timeout: float | None) -> None:
        if timeout is not None and not timeout >= 0:
            raise BadArgumentsError(f"a timeout of {timeout} seconds; give None to wait for ever, or 0 not to wait")
        self._now = port.now
        self._deadline = None if timeout is None else port.now() + timeout

    @property
    def left_to_wait(self) -> float | None:
        """Seconds to wait for others; None for ever."""
        return None if self._deadline is None else max(self._deadline - self._now(), 0.0)

    @property
    def left(self) -> float | None:
        """Seconds that a request may take; None for ever."""
        return None if self._deadline is None else max(self._deadline - self._now(), _GRACE_SECONDS)

    @property
    def is_over(self) -> bool:
        return self._deadline is not None and self._now() >= self._deadline


class _Endless(Patience):
    """The patience of who cleans up, whatever his port."""

    def __init__(self) -> None:
        self._deadline = None


FOR_EVER: Patience = _Endless()
"""Ends only with the session."""


class Watch:
    """What was read, and whether it may have changed since.

    ::

        watch = Watch(port)
        try:
            while True:
                names = await watch.ask(GetChildren(path, watch=True), patience)
                if ...: return ...
                if not await watch.changed(patience): return None
        finally:
            watch.end()
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._signal = port.signal()
        self._paths: list[str] = []

    async def ask(self, request: Exists | GetChildren | GetData, patience: Patience) -> Any:
        """The answer to a read that asks for a watch; several may be asked between two waits."""
        self._paths.append(request.path)
        return await ask(self._port, request, patience, watch=self._on_change)

    async def changed(self, patience: Patience, *, at_most: float = inf) -> bool:
        """Wait until something of what was asked may have changed, or `at_most` seconds; False where patience ran out
        first."""
        left = patience.left_to_wait
        timeout = at_most if left is None else min(left, at_most)
        try:
            found = await self._port.wait(self._signal, timeout=None if timeout == inf else timeout)
            return found is not None or not patience.is_over
        finally:
            self.end()

    def end(self) -> None:
        """Nobody waits for it any more. What is asked from now on is watched anew."""
        while self._paths:
            self._port.unwatch(self._paths.pop(), self._on_change)
        self._signal.clear()

    def wake(self) -> None:
        """Have whoever waits look again."""
        self._signal.set()

    def _on_change(self, _: WatchEvent | None) -> None:
        self._signal.set()


async def ask(
    port: Port, request: Request[T], patience: Patience, *, watch: Callable[[WatchEvent | None], None] | None = None
) -> T:
    """The answer to a request that does no harm when it is carried out twice, or too late: asked again where the answer
    was lost, and after a pause where there was no room.

    Raises what the request does; of OutcomeUnknownError and ThrottledError the last one when patience has run out.
    """
    while True:
        try:
            return await port.request(request, watch=watch, timeout=patience.left)
        except OutcomeForgottenError:
            raise
        except OutcomeUnknownError:
            if patience.is_over:
                raise
        except ThrottledError:
            if patience.is_over:
                raise
            await pause(port)


async def wait_until(
    port: Port, request: Exists | GetChildren, holds: Callable[[Any], bool], patience: Patience
) -> bool:
    """Ask `request`, which watches what it reads, until `holds` of the answer. False where patience ran out first: also
    where nobody answered in time."""
    watch = Watch(port)
    try:
        while not holds(await watch.ask(request, patience)):
            if not await watch.changed(patience):
                return False
        return True
    except OutcomeUnknownError:
        return False
    finally:
        watch.end()


async def ask_once(port: Port, request: Request[T], patience: Patience) -> T:
    """As `ask`, for a request that must not be carried out twice.

    Raises OutcomeForgottenError where so many others were asked meanwhile that the ensemble does not remember.
    """
    answer: Any = await ask(port, once(port, request), patience)
    return answer  # type: ignore[no-any-return]


async def get_or_create(port: Port, path: str, data: bytes, patience: Patience) -> NodeData:
    """What a znode holds in which all who use a recipe agree; where it is missing it is created with `data`."""
    while True:
        try:
            return await ask(port, GetData(path), patience)
        except NoNodeError:
            pass
        try:
            await ask(port, CreateWithParents(path, data, acl=DEFAULT_ACL), patience)
        except NodeExistsError:
            continue


async def pause(port: Port) -> None:
    """A moment, so that what is refused at once is not asked for all the time."""
    await port.wait(timeout=_PAUSE_SECONDS * (0.5 + port.rng.random()))


def nonce(port: Port) -> str:
    """A number of one's own, drawn by chance: by it one finds again what one has made."""
    return f"{port.rng.getrandbits(64):016x}"
