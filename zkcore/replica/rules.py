"""The rules of an ensemble: what its replicas let their clients do.

All replicas must be given the same: what the leader refuses or takes, it judges for all of them, and each judges the
reads of its own clients.

This module must not know how a request comes to be judged.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import Attribute, Factory, field, frozen

from zkcore.errors import BadArgumentsError, ConfigurationError
from zkcore.jute.records import Id
from zkcore.tree.acl import Access
from zkcore.tree.prepare import Guard
from zkcore.tree.sessions import Timeouts

__all__ = ["MAX_IDS", "MAX_TIMEOUT_MS", "Rules", "add_ids", "are_bounded"]

MAX_TIMEOUT_MS = 0x7FFFFFFF
"""A session's timeout is a 32-bit number of milliseconds: almost 25 days."""

MAX_IDS = 32
"""The most ids by which one client is known."""

_MAX_IDS_LENGTH = 8192  # of all of them together, in characters: they travel with every write


def _positive(_: object, attribute: Attribute[int], value: int) -> None:
    if value < 1:
        raise ConfigurationError(f"Rules.{attribute.name} is {value}; it must be at least 1")


@frozen(kw_only=True)
class Rules:
    """See the module. Raises ConfigurationError for a number below 1."""

    access: Access = field(factory=Access)
    """Who may do what: the schemes by which clients are known, the superuser, the default ACL."""
    guard: Guard = Factory(Guard)
    """How large the tree may become."""
    timeouts: Timeouts = field(factory=lambda: Timeouts(minimum_ms=1, maximum_ms=MAX_TIMEOUT_MS))
    """Between which timeouts a session gets the one that its client asks for. (ZooKeeper: 2 to 20 of its ticks.)"""
    watch_history: int = field(default=10_000, validator=_positive)
    """So many changes each replica remembers, to tell a persistent watch what it missed."""
    watch_most: int = field(default=1_000, validator=_positive)
    """So many missed events a session is told at once; where there are more, it is told to look for itself (Resync)."""
    reconfig: bool = True
    """Whether clients may change the members of the ensemble (`Client.reconfig`): those in the process of a replica,
    and whoever has WRITE on `/zookeeper/config`, which without further ado is the superuser alone."""
    clean_every_ms: int = field(default=60_000, validator=_positive)
    """How often the leader deletes containers that have become empty, and znodes past their time to live."""
    clean_most: int = field(default=10_000, validator=_positive)
    """How many of them at most each time."""


def are_bounded(ids: tuple[Id, ...]) -> bool:
    """Whether a client may be known by so many ids."""
    return len(ids) <= MAX_IDS and sum([len(id.scheme) + len(id.id) for id in ids]) <= _MAX_IDS_LENGTH


def add_ids(known: tuple[Id, ...], more: Iterable[Id]) -> tuple[Id, ...]:
    """The ids of a client that is found to be known by `more`, too, each once. Raises BadArgumentsError where there are
    too many, and for what is no id; TypeError for what is no Id at all."""
    ids = tuple(dict.fromkeys((*known, *more)))
    for id in ids:
        if not isinstance(id, Id):
            raise TypeError(f"a client is known by values of type Id, not by {id!r}")
        try:
            f"{id.scheme}:{id.id}".encode()
        except UnicodeEncodeError as error:
            raise BadArgumentsError(f"{id!r} cannot be written down: {error}") from error
    if not are_bounded(ids):
        raise BadArgumentsError(
            f"a client is known by {MAX_IDS} ids at most, of {_MAX_IDS_LENGTH} characters together, not by {len(ids)}"
        )
    return ids
