"""Who may be told of what a transaction changed: the ACLs, as watches ask for them.

A watch may have been set long before the znode had the ACL it has now, so the right to read is looked at when something
happens, and again when it is told later. What counts is the ACL right after the change, and for a deletion the one
right before.

This module must not know who watches.
"""

from __future__ import annotations

from collections.abc import Callable

from zkcore.jute.records import ACL, Id
from zkcore.tree.acl import Permission
from zkcore.tree.applied import Applied, EventType, WatchEvent
from zkcore.tree.paths import parent_of
from zkcore.tree.tree import Tree
from zkcore.tree.watch_history import Audience, Reader

__all__ = ["audience_of"]


def audience_of(tree: Tree, applied: Applied, ids_of: Callable[[int], tuple[Id, ...]]) -> Audience | None:
    """Who may be told of the events of `applied`, the last transaction applied to `tree`; None where everybody may be
    told of them all.

    `ids_of` gives the ids by which a session is known when it is asked. Where one transaction deletes a znode and
    makes it anew, the events of either are judged by the ACL that was theirs; only that of a znode made and made again
    is judged by the last one.
    """

    if not applied.removed and _is_open(tree, applied):
        return None
    removed = dict(applied.removed)
    access = tree.access  # the readers outlive this call, and shall not keep a whole tree

    def acl_of(event: WatchEvent) -> tuple[ACL, ...] | None:
        path = event.path
        if event.type is EventType.NODE_DELETED or (path in removed and tree.persisted(path) is None):
            return removed.get(path)
        return tree.acl(path)

    def audience(event: WatchEvent) -> Reader | None:
        acl = acl_of(event)
        if acl is None:
            return None
        return lambda session: access.allows(acl, Permission.READ, ids_of(session))

    return audience


def _is_open(tree: Tree, applied: Applied) -> bool:
    """Most znodes have no ACL of their own: then nobody need be asked about, and the history keeps nothing of it."""
    for kind, path in applied.changes:
        if tree.acl(path) is not None:
            return False
        if kind is not EventType.NODE_DATA_CHANGED and tree.acl(parent_of(path)) is not None:
            return False
    return True
