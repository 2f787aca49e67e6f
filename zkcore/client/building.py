"""The requests of the verbs that write, looked at before anything is sent.

This module must not know how a request is made, nor what becomes of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from zkcore.errors import BadArgumentsError
from zkcore.jute.records import ACL
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import Create, CreateContainer, CreateTTL, Delete, SetData
from zkcore.tree.znode import MAX_TTL, CreateMode

__all__ = ["creation", "deletion", "replacement"]

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
) -> Create | CreateContainer | CreateTTL:
    """See `Client.create`. Raises BadArgumentsError, and TypeError for data that is not bytes."""
    validate(path + "0" if sequence else path)  # a sequential znode may have no name but its number
    _check_data(value, path)
    entries = DEFAULT_ACL if acl is None else tuple(acl)
    if ttl is not None and not (ephemeral or container):
        mode = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL if sequence else CreateMode.PERSISTENT_WITH_TTL
        return CreateTTL(path, value, acl=entries, mode=mode, ttl_ms=_milliseconds(ttl, path))
    if container and not (ephemeral or sequence or ttl is not None):
        return CreateContainer(path, value, acl=entries)
    if container or ttl is not None:
        raise BadArgumentsError(f"{path}: a znode is ephemeral, a container, or has a ttl; choose one", path=path)
    return Create(path, value, acl=entries, mode=_MODES[ephemeral, sequence])


def replacement(path: str, value: bytes, *, version: int) -> SetData:
    """See `Client.set`. Raises BadArgumentsError, and TypeError for data that is not bytes."""
    validate(path)
    return SetData(path, _check_data(value, path), version=version)


def deletion(path: str, *, version: int) -> Delete:
    """See `Client.delete`. Raises BadArgumentsError."""
    validate(path)
    return Delete(path, version)


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
