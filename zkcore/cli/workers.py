"""Worker processes for the actions of `sim` that simulate many seeds."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

__all__ = ["spread"]

T = TypeVar("T")
W = TypeVar("W")


@contextmanager
def spread(do: Callable[[W], T], work: Iterable[W], *, jobs: int) -> Iterator[Iterator[T]]:
    """What comes of each piece of `work`, in order: done here as it is asked for, or by `jobs` processes. These leave
    Ctrl-C to this process, which then ends them."""
    if jobs <= 1:
        yield map(do, work)
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pool = get_context("spawn").Pool(jobs)
    finally:
        signal.signal(signal.SIGINT, heard)
    with pool:
        yield pool.imap(do, work)
