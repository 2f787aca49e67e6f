"""In what two snapshots differ, named znode by znode.

Two replicas at one zxid have the same bytes; where they have not, this says where to look. Two snapshots of one replica
at two zxids say what happened between.

This module must not know where snapshots are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

from zkcore.jute.records import ACL, OPEN_ACL
from zkcore.tree.snapshot import restore
from zkcore.tree.state import Frozen
from zkcore.tree.znode import data_of, persisted_of

__all__ = ["Difference", "diff"]


class Difference(NamedTuple):
    """One thing that is not the same: what (a path, `session 0x1`, `zxid` ...), and how it is in the first snapshot and
    in the second, None where it is not there at all."""

    what: str
    first: str | None
    second: str | None

    def __str__(self) -> str:
        return f"{self.what}: {self.first or 'missing'} | {self.second or 'missing'}"


def diff(first: Iterable[bytes], second: Iterable[bytes]) -> Iterator[Difference]:
    """What differs between two snapshots, given as `restore` takes them: first what is of the whole, then sessions,
    then znodes by path. Of each only what differs is told; data by its length and CRC, since it may be secret.

    Raises StorageCorruptError as `restore`.
    """
    one, other = restore(first).state.seen(), restore(second).state.seen()
    yield from _compare(_whole(one), _whole(other))
    yield from _compare(_sessions(one), _sessions(other))
    yield from _compare(_znodes(one), _znodes(other))


_Things = Mapping[str, Mapping[str, str]]
"""What there is, by name, and what is to be said of it."""


def _compare(one: _Things, other: _Things) -> Iterator[Difference]:
    for name in sorted(one.keys() | other.keys()):
        here, there = one.get(name), other.get(name)
        if here == there:
            continue
        fields = list(here or there or {})
        if here is not None and there is not None:
            fields = [field for field in fields if here[field] != there[field]]
        yield Difference(name, _told(here, fields), _told(there, fields))


def _told(thing: Mapping[str, str] | None, fields: list[str]) -> str | None:
    return None if thing is None else " ".join(f"{field}={thing[field]}" for field in fields)


def _whole(state: Frozen) -> _Things:
    since, members = state.configuration
    return {
        "zxid": {"last": f"{state.last_zxid:#x}"},
        "digest": {"tree": f"{state.digest:#x}"},
        "members": {"since": f"{since:#x}", "crc": f"{crc32(members):08x}"},
        "ended sessions": {"newest last": " ".join(f"{session:#x}" for session in state.ended)},
    }


def _sessions(state: Frozen) -> _Things:
    things = {f"session {session:#x}": {"timeout_ms": str(timeout)} for session, timeout in state.sessions.items()}
    for client, (floor, outcomes) in state.clients.items():
        numbers = " ".join(str(number) for number, _ in outcomes)
        told = crc32(b"".join(packed for _, packed in outcomes))
        things[f"client {client:#x}"] = {"floor": str(floor), "remembered": numbers, "crc": f"{told:08x}"}
    return things


def _znodes(state: Frozen) -> _Things:
    things: dict[str, dict[str, str]] = {}
    for shard, nulls, acls in zip(state.shards, state.nulls, state.acls, strict=True):
        for path, record in shard.items():
            data = data_of(record)
            told = "null" if path in nulls else f"{len(data)} bytes, crc {crc32(data):08x}"
            acl = ",".join(map(_told_entry, acls.get(path, OPEN_ACL)))
            stat = {name: str(value) for name, value in persisted_of(record)._asdict().items()}
            things[path] = {"data": told, **stat, "acl": acl}
    return things


def _told_entry(entry: ACL) -> str:
    return f"{entry.id.scheme}:{crc32(entry.id.id.encode()):08x}:{entry.perms}"
