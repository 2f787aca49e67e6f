"""Configurations as records of the log: who the members are, from which zxid on (protocol.md 1.10).

A configuration record is a payload that begins with a mark no transaction of an application begins with. Of two
configurations it says that the one is to be replaced by the other, which then takes quorums of both; of one, that it is
in force alone. Behind that the application may put a note of its own, which means nothing here.

In force at a peer is the newest record in its log. `Memberships` keeps track of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, error

from attrs import field, frozen

from zkcore.errors import ConfigurationError
from zkcore.zab.quorum import Configuration, EnsembleConfig, Transition
from zkcore.zxid import Zxid, format_zxid

__all__ = ["Membership", "Memberships", "configuration_record", "is_configuration", "read_configuration"]

_MARK = b"\xff" * 8 + b"members\x01"
"""The beginning of every record: as the header of a transaction it would name a session that cannot be."""

_COUNTS = Struct(">BBBB")  # voters, observers, groups, weights; each of them follows
_WEIGHT = Struct(">BI")


@frozen
class Membership:
    """`config` is in force from the record `zxid` on, its version. Version 0 is what a peer was started with."""

    zxid: Zxid
    config: Configuration
    note: bytes = field(default=b"", eq=False, repr=False)
    """What the application has put behind it, where this was read from the log."""

    def __str__(self) -> str:
        return f"members {self.config} of {format_zxid(self.zxid)}"


def configuration_record(config: Configuration, note: bytes = b"") -> bytes:
    """The payload of the record that brings `config` into force."""
    if isinstance(config, Transition):
        return b"".join((_MARK, b"\x01", _encode(config.new), _encode(config.old), note))
    return b"".join((_MARK, b"\x00", _encode(config), note))


def is_configuration(payload: bytes) -> bool:
    """Whether `payload` is a configuration record."""
    return payload.startswith(_MARK)


def read_configuration(payload: bytes) -> tuple[Configuration, bytes]:
    """What `configuration_record` was given: the configuration, and the note. Raises ConfigurationError for anything
    else."""
    at = len(_MARK)
    if not is_configuration(payload) or payload[at : at + 1] not in (b"\x00", b"\x01"):
        raise ConfigurationError("this is no configuration record")
    try:
        new, end = _decode(payload, at + 1)
        if payload[at] == 0:
            return new, payload[end:]
        old, end = _decode(payload, end)
    except (error, IndexError) as problem:
        raise ConfigurationError(f"a configuration record is cut short: {problem}") from None
    return Transition(old, new), payload[end:]


def _encode(config: EnsembleConfig) -> bytes:
    head = _COUNTS.pack(len(config.voters), len(config.observers), len(config.groups), len(config.weights))
    groups = b"".join(bytes((len(group), *group)) for group in config.groups)
    weights = b"".join(_WEIGHT.pack(*weight) for weight in config.weights)
    return b"".join((head, bytes(config.voters), bytes(config.observers), groups, weights))


def _decode(data: bytes, at: int) -> tuple[EnsembleConfig, int]:
    """The configuration that begins at `at`, and where it ends."""
    voters, observers, groups, weights = _COUNTS.unpack_from(data, at)
    at += _COUNTS.size
    ids, at = data[at : at + voters + observers], at + voters + observers
    if at > len(data):
        raise IndexError("members are missing")
    divided = []
    for _ in range(groups):
        end = at + 1 + data[at]
        if end > len(data):
            raise IndexError("a group is missing")
        divided.append(tuple(data[at + 1 : end]))
        at = end
    weighed = [_WEIGHT.unpack_from(data, at + number * _WEIGHT.size) for number in range(weights)]
    config = EnsembleConfig(ids[:voters], observers=ids[voters:], groups=divided, weights=weighed)
    return config, at + weights * _WEIGHT.size


class Memberships:
    """The configurations that a log names, from the one as of its snapshot on. `first` is that one."""

    def __init__(self, first: Membership) -> None:
        self._known = [first]
        self.newest = first

    @property
    def first(self) -> Membership:
        """As of the snapshot, or what the peer was started with."""
        return self._known[0]

    def at(self, zxid: Zxid) -> Membership:
        """In force for a log that ends with `zxid`, which is not before the snapshot."""
        return next((each for each in reversed(self._known) if each.zxid <= zxid), self._known[0])

    def on_appended(self, first: Zxid, payloads: Sequence[bytes]) -> bool:
        """The log goes on with these. Whether there was a configuration among them. Raises ConfigurationError where
        one makes no sense; nothing has happened then."""
        found = [
            Membership(zxid, *read_configuration(payload))
            for zxid, payload in enumerate(payloads, first)
            if is_configuration(payload) and zxid > self._known[0].zxid
        ]
        if not found:
            return False
        self._known += found
        self.newest = found[-1]
        return True

    def on_truncated(self, zxid: Zxid) -> None:
        """The log ends with `zxid`. What is as of the snapshot is committed, and stays."""
        while len(self._known) > 1 and self._known[-1].zxid > zxid:
            self._known.pop()
        self.newest = self._known[-1]

    def on_compacted(self, snapshot: Zxid) -> None:
        """The snapshot is as of `snapshot` now."""
        while len(self._known) > 1 and self._known[1].zxid <= snapshot:
            del self._known[0]

    def on_installed(self, first: Membership | None) -> None:
        """The log begins anew after a snapshot; `first` is as of that, None where it knows of no change."""
        self._known = [first if first is not None else self._known[0]]
        self.newest = self._known[0]
