"""What the leader cleans up: containers whose last child has gone, and znodes that have outlived their time to live.

From time to time the leader asks what is due and submits it, as session 0. Between the asking and the transaction the
znode may be used again: the transaction is for the znode as it was seen, and fails if it was changed meanwhile.
(ZooKeeper looks only for children, and can delete data that was written a moment ago.)

What is due may be much, and writes must not wait for it: it is found at once, and looked at one by one.

This module must not know who leads, nor how often it is asked. Asking costs what is due, not what there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from zkcore.tree.tree import Tree
from zkcore.tree.writes import CleanUp
from zkcore.tree.znode import persisted_of

__all__ = ["due"]


def due(tree: Tree, now_ms: int, *, most: int) -> Iterator[CleanUp]:
    """What is to be cleaned up at `now_ms`, the leader's wall clock in milliseconds since 1970: `most` requests at
    most. A container that never had a child stays, and so does what has children.

    Found when this is called; each is left out that is not due any more when it is drawn."""
    state = tree.state
    containers = list(islice(state.empty_containers, most))
    # Up to this very millisecond: ZooKeeper takes a znode that is older than its time to live.
    overdue = state.expiring.irange(maximum=(now_ms, ""), inclusive=(True, False))
    expired = list(islice((entry for entry in overdue if not state.families.count(entry[1])), most - len(containers)))
    return _still_due(tree, containers, expired)


def _still_due(tree: Tree, containers: list[str], expired: list[tuple[int, str]]) -> Iterator[CleanUp]:
    state = tree.state
    for path in containers:
        if path in state.empty_containers:
            yield _clean_up(tree, path)
    for entry in expired:
        if entry in state.expiring:
            yield _clean_up(tree, entry[1])


def _clean_up(tree: Tree, path: str) -> CleanUp:
    record = tree.state.find(path)
    assert record is not None
    return CleanUp(path, persisted_of(record).mzxid)
