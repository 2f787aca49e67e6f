"""Who asks an Apache ZooKeeper for what it has.

This module must not know what is made of the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from zkcore.client.port import Session
from zkcore.errors import BadArgumentsError, BadVersionError, NoNodeError
from zkcore.tree.requests import CheckStat, Exists, Request

__all__ = ["Plain", "version_where"]

T = TypeVar("T")


class Plain(Protocol):
    """Who asks a ZooKeeper for what it has."""

    @property
    def session(self) -> Session: ...

    async def ask(self, request: Request[T]) -> T:
        """The answer. Raises what `zkcore.client.port.Port.request` does."""

    async def ask_all(self, requests: Sequence[Request[Any]]) -> list[Any]:
        """The answers to several reads that are asked together, and in the place of one that fails its
        RequestError."""


async def version_where(plain: Plain, check: CheckStat) -> int:
    """The version of a znode of whose Stat everything holds. Raises NoNodeError, BadVersionError."""
    for condition in check.conditions:
        if not condition.is_known:
            raise BadArgumentsError(f"{condition} names no field of a Stat, or no relation", path=check.path)
    stat = await plain.ask(Exists(check.path))
    if stat is None:
        raise NoNodeError(path=check.path)
    if not all(condition.holds(stat) for condition in check.conditions):
        raise BadVersionError(path=check.path)
    return stat.version
