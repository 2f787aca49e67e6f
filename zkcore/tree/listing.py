"""Pages of children: filtered, with their data and Stats, and never longer than a reply may be.

The cost of a page is what it lists and passes over, whatever the size of the family.

This module must not know how a page reaches who asked for it.
"""

from __future__ import annotations

from zkcore.errors import BadArgumentsError
from zkcore.tree.acl import Access, Caller
from zkcore.tree.extensions import Child, ChildKind, ChildPage, ListChildren
from zkcore.tree.permitted import READ, readable
from zkcore.tree.state import State
from zkcore.tree.znode import STAT_SIZE, ZnodeStat, owner_of, session_of

__all__ = ["list_children"]

_MOST_SEEN = 10_000
"""How many children a page looks at: a filter that lets nobody pass must not hold up all others."""

_MOST_BYTES = 0x80000
"""With this much in it a page is full; one more znode of the largest size still fits a reply."""

_KINDS = frozenset(int(kind) for kind in ChildKind)


def list_children(state: State, access: Access, request: ListChildren, caller: Caller) -> ChildPage:
    """The page that `request` asks for."""
    path, after, prefix = request.path, request.after, request.prefix
    if request.limit < 1 or request.kind not in _KINDS:
        raise BadArgumentsError(f"a page of {request.limit} children of kind {request.kind}", path=path)
    readable(state, access, path, caller)
    stem = path if path == "/" else path + "/"
    # What begins with the prefix stands together.
    family = state.families.after(path, stem + after) if after >= prefix else state.families.since(path, stem + prefix)
    plain = request.kind == ChildKind.ANY and not (request.with_stat or request.with_data)
    start = len(stem)
    children: list[Child] = []
    size = 0
    last = after
    for seen, inner in enumerate(family):
        name = inner[start:]
        if not name.startswith(prefix):
            break
        if len(children) == request.limit or size > _MOST_BYTES or seen == _MOST_SEEN:
            return ChildPage(tuple(children), state.stat(path), last)
        last = name
        child = Child(name, None, None) if plain else _child(state, access, request, caller, (inner, name))
        if child is not None:
            children.append(child)
            size += len(name) + len(child.data or b"") + STAT_SIZE
    return ChildPage(tuple(children), state.stat(path), None)


def _child(
    state: State, access: Access, request: ListChildren, caller: Caller, child: tuple[str, str]
) -> Child | None:
    path, name = child
    record = state.find(path)
    assert record is not None
    ephemeral = session_of(owner_of(record)) != 0
    if request.kind != ChildKind.ANY and ephemeral != (request.kind == ChildKind.EPHEMERAL):
        return None
    may_read = access.allows(state.acl_of(path), READ, caller.ids)
    stat = ZnodeStat(record, state.families.count(path)) if request.with_stat and may_read else None
    return Child(name, stat, record[:-STAT_SIZE] if request.with_data and may_read else None)
