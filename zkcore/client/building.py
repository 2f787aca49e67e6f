"""The requests of the verbs that write, looked at before anything is sent.

This module must not know how a request is made, nor what becomes of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from zkcore.errors import BadArgumentsError
from zkcore.jute.records import ACL
from zkcore.replica.members import Members
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import (
    Create,
    CreateContainer,
    CreateIfAbsent,
    CreateTTL,
    CreateWithParents,
    Delete,
    DeleteIfPresent,
    Reconfigure,
    SetData,
)
from zkcore.tree.znode import MAX_TTL, CreateMode
from zkcore.zab.messages import PeerId

__all__ = ["creation", "deletion", "reconfiguration", "replacement", "with_parents"]

_MODES = {
    (False, False): CreateMode.PERSISTENT,
    (True, False): CreateMode.EPHEMERAL,
    (False, True): CreateMode.PERSISTENT_SEQUENTIAL,
    (True, True): CreateMode.EPHEMERAL_SEQUENTIAL,
}


def creation(
    path: str,
    value: bytes,
    *,
    acl: Iterable[ACL] | None,
    ephemeral: bool,
    sequence: bool,
    container: bool,
    ttl: float | None,
    exist_ok: bool = False,
) -> Create | CreateContainer | CreateTTL | CreateIfAbsent:
    """See `Client.create`. Raises BadArgumentsError, and TypeError for data that is not bytes."""
    validate(path + "0" if sequence else path)  # a sequential znode may have no name but its number
    _check_data(value, path)
    entries = DEFAULT_ACL if acl is None else tuple(acl)
    if exist_ok and (sequence or ttl is not None):
        raise BadArgumentsError(
            f"{path}: exist_ok is not for a znode with a number, which is always new, nor with a ttl; leave it out",
            path=path,
        )
    if ttl is not None and not (ephemeral or container):
        mode = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL if sequence else CreateMode.PERSISTENT_WITH_TTL
        return CreateTTL(path, value, acl=entries, mode=mode, ttl_ms=_milliseconds(ttl, path))
    if (container and (ephemeral or sequence)) or ttl is not None:
        raise BadArgumentsError(f"{path}: a znode is ephemeral, a container, or has a ttl; choose one", path=path)
    mode = CreateMode.CONTAINER if container else _MODES[ephemeral, sequence]
    if exist_ok:
        return CreateIfAbsent(path, value, acl=entries, mode=mode)
    if container:
        return CreateContainer(path, value, acl=entries)
    return Create(path, value, acl=entries, mode=mode)


def with_parents(request: Create | CreateContainer | CreateTTL | CreateIfAbsent) -> CreateWithParents | None:
    """The one transaction that makes a znode and what is missing above it; None where there is none, for a ttl."""
    if isinstance(request, CreateTTL):
        return None
    return CreateWithParents(request.path, request.data, acl=request.acl, mode=request.mode)


def replacement(path: str, value: bytes, *, version: int) -> SetData:
    """See `Client.set`. Raises BadArgumentsError, and TypeError for data that is not bytes."""
    validate(path)
    return SetData(path, _check_data(value, path), version=version)


def deletion(path: str, *, version: int, missing_ok: bool = False) -> Delete | DeleteIfPresent:
    """See `Client.delete`. Raises BadArgumentsError."""
    validate(path)
    return DeleteIfPresent(path, version) if missing_ok else Delete(path, version)


def reconfiguration(
    joining: str | None, leaving: str | Iterable[PeerId] | None, new_members: str | Members | None, from_config: int
) -> Reconfigure:
    """See `Client.reconfig`. Raises TypeError."""
    if leaving is not None and not isinstance(leaving, str):
        leaving = ",".join(str(number) for number in leaving)
    if isinstance(new_members, Members):
        new_members = ",".join(new_members.lines())
    return Reconfigure(
        joining=joining or "", leaving=leaving or "", new_members=new_members or "", from_config=from_config
    )


def _check_data(data: bytes, path: str) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError(f"the data of a znode is bytes, not {type(data).__name__}; encode it first")
    if len(data) > MAX_DATA:
        raise BadArgumentsError(
            f"{path}: {len(data)} bytes are over the limit of {MAX_DATA} for one znode; split the data over several",
            path=path,
        )
    return data


def _milliseconds(ttl: float, path: str) -> int:
    if not 0.001 <= ttl <= MAX_TTL / 1000:
        raise BadArgumentsError(f"{path}: a ttl of {ttl} seconds; it is between 0.001 and {MAX_TTL // 1000}", path=path)
    return round(ttl * 1000)
