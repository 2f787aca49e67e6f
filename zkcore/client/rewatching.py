"""Watching again after a reconnect: what a session watches, in requests that are small enough to be taken.

This module must not know who asks, nor whom the watches are for.
"""

from __future__ import annotations

from collections.abc import Iterator

from zkcore.tree.watch_requests import CatchUp, SetWatches2

__all__ = ["again"]

_MOST_BYTES = 0x20000
"""Of paths in one request, as ZooKeeper's own client has it."""

_KINDS = ("data", "exist", "child", "persistent", "recursive")


def again(wanted: CatchUp | None, *, is_ours: bool) -> Iterator[CatchUp | SetWatches2]:
    """The requests that watch everything in `wanted`, for a server of ours or for an Apache ZooKeeper."""
    if wanted is None:
        return
    kind = CatchUp if is_ours else SetWatches2
    batch: dict[str, list[str]] = {}
    size = 0
    for name in _KINDS:
        for path in getattr(wanted, name):
            if size > _MOST_BYTES:
                yield kind(wanted.since, **batch)
                batch, size = {}, 0
            batch.setdefault(name, []).append(path)
            size += len(path.encode()) + 4
    yield kind(wanted.since, **batch)
