"""Requests that read, one record each.

This module must not know how they are answered (`reading.py`), nor who may ask.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from attrs import frozen

from zkcore.jute.codec import Boolean, UString, record
from zkcore.jute.records import ACL, Id, Stat
from zkcore.tree.request import Request, check_types

__all__ = [
    "Children", "Exists", "GetACL", "GetAllChildrenNumber", "GetChildren", "GetChildren2", "GetData", "GetEphemerals",
    "NodeACL", "NodeData", "NullData", "WhoAmI",
]  # fmt: skip


class NodeData(NamedTuple):
    """The answer to a get. Null data reads as b""."""

    data: bytes
    stat: Stat


class NullData(NodeData):
    """The same where the data is null, which ZooKeeper's protocol tells from nothing. It says so itself, since by the
    time it is written down the znode may have been changed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"NodeData(data={self.data!r}, stat={self.stat!r})"


class Children(NamedTuple):
    """The answer to a GetChildren2: the names in order, and the Stat of the parent."""

    names: tuple[str, ...]
    stat: Stat


class NodeACL(NamedTuple):
    """The answer to a GetACL."""

    acl: tuple[ACL, ...]
    stat: Stat


@record
@frozen
class Exists(Request[Stat | None]):
    """The Stat of a znode, or None. With `watch`, its creation, change or deletion will be told, whether or not it
    exists now. Errors: BadArgumentsError for a path with a NUL, NoAuthError (READ)."""

    opcode: ClassVar[int] = 3
    writes: ClassVar[bool] = False

    path: UString
    watch: Boolean = False

    def __attrs_post_init__(self) -> None:
        check_types(self.path)


@record
@frozen
class GetData(Request[NodeData]):
    """The data and the Stat of a znode. With `watch`, its change or deletion will be told.
    Errors: NoNodeError, NoAuthError (READ)."""

    opcode: ClassVar[int] = 4
    writes: ClassVar[bool] = False

    path: UString
    watch: Boolean = False

    def __attrs_post_init__(self) -> None:
        check_types(self.path)


@record
@frozen
class GetACL(Request[NodeACL]):
    """The ACL of a znode and its Stat. Who may not ADMIN it sees names, and in place of what proves them an x.
    Errors: NoNodeError, NoAuthError (READ or ADMIN)."""

    opcode: ClassVar[int] = 6
    writes: ClassVar[bool] = False

    path: UString

    def __attrs_post_init__(self) -> None:
        check_types(self.path)


@record
@frozen
class GetChildren(Request[tuple[str, ...]]):
    """The names of a znode's children, in order. With `watch`, a child's coming or going, or the end of the znode,
    will be told. Errors: NoNodeError, NoAuthError (READ)."""

    opcode: ClassVar[int] = 8
    writes: ClassVar[bool] = False

    path: UString
    watch: Boolean = False

    def __attrs_post_init__(self) -> None:
        check_types(self.path)


@record
@frozen
class GetChildren2(Request[Children]):
    """As GetChildren, with the Stat of the znode."""

    opcode: ClassVar[int] = 12
    writes: ClassVar[bool] = False

    path: UString
    watch: Boolean = False

    def __attrs_post_init__(self) -> None:
        check_types(self.path)


@record
@frozen
class GetEphemerals(Request[tuple[str, ...]]):
    """The paths of the session's own ephemeral znodes that begin with `prefix`, in order. The prefix is a string, as
    in ZooKeeper: `/a` finds `/ab` too. Errors: none."""

    opcode: ClassVar[int] = 103
    writes: ClassVar[bool] = False

    prefix: UString = "/"

    def __attrs_post_init__(self) -> None:
        check_types(self.prefix)


@record
@frozen
class GetAllChildrenNumber(Request[int]):
    """How many znodes there are below a znode, at any depth. Cost: a walk over all of them.
    Errors: NoNodeError, NoAuthError (READ)."""

    opcode: ClassVar[int] = 104
    writes: ClassVar[bool] = False

    path: UString

    def __attrs_post_init__(self) -> None:
        check_types(self.path)


@record
@frozen
class WhoAmI(Request[tuple[Id, ...]]):
    """As whom the asker is known: each scheme, and the name in it without what proves it. Errors: none."""

    opcode: ClassVar[int] = 107
    writes: ClassVar[bool] = False
