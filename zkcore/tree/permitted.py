"""The one way to a znode for somebody who reads: it must be there, and its ACL must allow it.

This module must not know which requests there are.
"""

from __future__ import annotations

from zlib import crc32

from zkcore.errors import NoAuthError, NoNodeError
from zkcore.tree.acl import Access, Caller, Permission
from zkcore.tree.state import State

__all__ = ["READ", "readable"]

READ = int(Permission.READ)


def readable(state: State, access: Access, path: str, caller: Caller, permission: int = READ) -> bytes:
    """The record of a znode for which `caller` has one of the permissions in `permission`.

    Raises NoNodeError before NoAuthError. What is no path is the path of nothing, as it is to ZooKeeper, whose clients
    refuse it before they ask.
    """
    try:
        index = crc32(path.encode()) & 255
    except UnicodeEncodeError:  # half a surrogate pair: the name of nothing
        index = 0
    record = state.shards[index].get(path)
    if record is None:
        raise NoNodeError(path=path)
    acls = state.acls[index]
    if acls and not access.allows(acls.get(path), permission, caller.ids):
        raise NoAuthError(path=path)
    return record
