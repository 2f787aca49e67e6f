"""A request that is under way by ZooKeeper's protocol: who waits for it, and what it is.

This module must not know how it is sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define

from zkcore.client.port import Watcher
from zkcore.errors import RequestError, ThrottledError, ZkcoreError
from zkcore.tree.requests import Multi, Request

__all__ = ["AGREEMENT", "Asked", "answers_to", "forget", "refuse_all"]


AGREEMENT: Multi = Multi([])
"""A transaction of nothing: when it is answered a quorum has agreed to it, and the server has applied all before it. An
Apache ZooKeeper's own sync does not show that: a leader answers it that has been deposed, or has not applied yet what
its followers have."""


@define(eq=False)
class Asked:
    """A request under way. `future` is None where nobody waits: the session itself has asked."""

    future: asyncio.Future[Any] | None
    request: Request[Any]
    watch: Watcher | None
    xid: int = 0

    @property
    def is_waited_for(self) -> bool:
        return self.future is not None and not self.future.done()

    @property
    def changes_something(self) -> bool:
        return self.request.writes and self.request is not AGREEMENT


def forget(future: asyncio.Future[Any] | None) -> None:
    """Nobody waits for it any more, whatever comes of it."""
    if future is not None and not future.cancel() and not future.cancelled():
        future.exception()


def refuse_all(requests: deque[Asked], error: ZkcoreError) -> None:
    """End them with `error`, each with one of its own."""
    while requests:
        asked = requests.popleft()
        if asked.future is not None and not asked.future.done():
            asked.future.set_exception(type(error)(str(error)))


async def answers_to(
    requests: Iterable[Request[Any]], submit: Callable[[Request[Any]], asyncio.Future[Any]]
) -> list[Any]:
    """The answers to reads that are all submitted together, and in the place of one that fails its RequestError. Raises
    what else comes of them, and ThrottledError; then nobody waits for the others any more."""
    futures: list[asyncio.Future[Any]] = []
    answers: list[Any] = []
    try:
        for request in requests:
            futures.append(submit(request))
        for future in futures:
            try:
                answers.append(await future)
            except ThrottledError:
                raise
            except RequestError as error:
                answers.append(error)
    except BaseException:
        for future in futures:
            forget(future)
        raise
    return answers
