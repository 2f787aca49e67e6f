"""How recipes wait: woken by what they have read. How they ask is in `zkcore.client.asking`, and given on here.

Nobody here waits for time to pass in the hope that something has changed. A wait rests on a watch: it is set by the
very read that found nothing, so no change falls between the two; it outlives the loss of a replica, and goes off as
well when the session ends, so that whoever waits is told.

This module must not know what is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from zkcore.client.asking import FOR_EVER, Patience, ask, ask_once, back_off, nonce, pause, settle
from zkcore.client.once import once
from zkcore.client.port import Port
from zkcore.errors import NodeExistsError, NoNodeError, OutcomeUnknownError
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.applied import WatchEvent
from zkcore.tree.requests import CreateWithParents, Exists, GetChildren, GetData, NodeData

__all__ = [
    "FOR_EVER", "Patience", "Watch", "ask", "ask_once", "back_off", "get_or_create", "nonce", "once", "pause", "settle",
    "wait_until",
]  # fmt: skip


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
