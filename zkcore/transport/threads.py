"""What must be made on a thread, since making it may take a while, and be there in whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["made"]

T = TypeVar("T")


async def made(make: Callable[[], T], *, undo: Callable[[T], None]) -> T:
    """The result of `make`, which is called on a thread. A thread cannot be stopped: where the wait for it is cancelled
    it is waited for all the same, and its result undone."""
    making = asyncio.get_running_loop().run_in_executor(None, make)
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        await asyncio.wait([making])
        if making.exception() is None:
            undo(making.result())
        raise
