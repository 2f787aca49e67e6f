"""Requests that ZooKeeper does not have, and that its users build from several, with all the races between them.

This module must not know how they become transactions (`preparing_more.py`), nor how they are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from operator import eq, ge, gt, le, lt, ne
from typing import ClassVar, NamedTuple

from attrs import field, frozen

from zkcore.jute.codec import Boolean, Int, Long, NullableBuffer, UString, record
from zkcore.jute.records import ACL, OPEN_ACL, Stat
from zkcore.tree.request import Request, check_types, tuple_of
from zkcore.tree.writes import Created

__all__ = [
    "MAX_TREE", "CheckAbsent", "CheckStat", "Child", "ChildKind", "ChildPage", "Condition", "CreateIfAbsent",
    "CreateWithParents", "DeleteIfPresent", "DeleteTree", "ListChildren", "Relation", "StatField",
]  # fmt: skip

MAX_TREE = 1000
"""How many znodes one DeleteTree deletes, if it does not say otherwise."""


class StatField(IntEnum):
    """The fields of a Stat, in the order in which it has them."""

    CZXID = 0
    MZXID = 1
    CTIME = 2
    MTIME = 3
    VERSION = 4
    CVERSION = 5
    AVERSION = 6
    EPHEMERAL_OWNER = 7
    DATA_LENGTH = 8
    NUM_CHILDREN = 9
    PZXID = 10


class Relation(IntEnum):
    """How a field of a Stat must compare to a number."""

    EQUAL = 0
    NOT_EQUAL = 1
    LESS = 2
    AT_MOST = 3
    GREATER = 4
    AT_LEAST = 5


_RELATIONS: dict[int, Callable[[int, int], bool]] = {
    Relation.EQUAL: eq, Relation.NOT_EQUAL: ne, Relation.LESS: lt, Relation.AT_MOST: le, Relation.GREATER: gt,
    Relation.AT_LEAST: ge,
}  # fmt: skip
_FIELDS = {int(each): each.name.lower() for each in StatField}


@record
@frozen
class Condition:
    """What must hold of a Stat: `Condition(StatField.MZXID, Relation.AT_MOST, zxid)`. Numbers do for the names."""

    field: Int
    relation: Int
    value: Long

    @property
    def is_known(self) -> bool:
        """Whether its numbers name a field of a Stat, and a relation."""
        return self.field in _FIELDS and self.relation in _RELATIONS

    def holds(self, stat: Stat) -> bool:
        """Whether it holds of `stat`, where it is known."""
        return _RELATIONS[self.relation](getattr(stat, _FIELDS[self.field]), self.value)


def _conditions(given: Iterable[Condition]) -> tuple[Condition, ...]:
    conditions = tuple(given)
    for condition in conditions:
        if not isinstance(condition, Condition):
            raise TypeError(f"a CheckStat has Conditions, not {condition!r}")
    return conditions


@record
@frozen
class CheckAbsent(Request[None]):
    """Make sure that there is no such znode; of use inside a Multi. Errors: BadArgumentsError, NodeExistsError."""

    opcode: ClassVar[int] = 1013
    writes: ClassVar[bool] = True

    path: UString

    def __attrs_post_init__(self) -> None:
        check_types(self.path)


@record
@frozen
class CheckStat(Request[None]):
    """Make sure that all `conditions` hold of the Stat of a znode; of use inside a Multi.

    Errors: BadArgumentsError, NoNodeError, NoAuthError (READ), BadVersionError.
    """

    opcode: ClassVar[int] = 1113
    writes: ClassVar[bool] = True

    path: UString
    conditions: tuple[Condition, ...] = field(converter=_conditions)

    def __attrs_post_init__(self) -> None:
        check_types(self.path)


@record
@frozen
class CreateIfAbsent(Request[Created]):
    """Create a znode; where there is one, leave it as it is and answer with its Stat. `mode` is not sequential.

    Errors: as Create, but for NodeExistsError; NoAuthError (READ) where there is one.
    """

    opcode: ClassVar[int] = 1015
    writes: ClassVar[bool] = True

    path: UString
    data: NullableBuffer = b""
    acl: tuple[ACL, ...] = field(default=OPEN_ACL, converter=tuple_of, kw_only=True)
    mode: Int = field(default=0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_types(self.path, self.data, number=self.mode)


@record
@frozen
class CreateWithParents(Request[Created]):
    """Create a znode, and every znode above it that is missing, without data and with the same ACL, in one transaction.
    Errors: as Create, but for NoNodeError."""

    opcode: ClassVar[int] = 1115
    writes: ClassVar[bool] = True

    path: UString
    data: NullableBuffer = b""
    acl: tuple[ACL, ...] = field(default=OPEN_ACL, converter=tuple_of, kw_only=True)
    mode: Int = field(default=0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_types(self.path, self.data, number=self.mode)


@record
@frozen
class DeleteIfPresent(Request[bool]):
    """Delete a znode that has no children, if there is one; whether there was. Errors: as Delete, but for the
    NoNodeError."""

    opcode: ClassVar[int] = 1002
    writes: ClassVar[bool] = True

    path: UString
    version: Int = -1

    def __attrs_post_init__(self) -> None:
        check_types(self.path, number=self.version)


@record
@frozen
class DeleteTree(Request[int]):
    """Delete a znode and all below it in one transaction; how many they were.

    Errors: BadArgumentsError, NoNodeError, NoAuthError (DELETE, on the parent and on every znode that has children),
    NotEmptyError where there are more than `most`.
    """

    opcode: ClassVar[int] = 1102
    writes: ClassVar[bool] = True

    path: UString
    most: Int = MAX_TREE

    def __attrs_post_init__(self) -> None:
        check_types(self.path, number=self.most)


class ChildKind(IntEnum):
    """Which children a ListChildren lists."""

    ANY = 0
    PERSISTENT = 1
    """All that are not ephemeral."""
    EPHEMERAL = 2


class Child(NamedTuple):
    """One of the children that a ListChildren lists. `stat` and `data` are None where they were not asked for, or may
    not be read."""

    name: str
    stat: Stat | None
    data: bytes | None


class ChildPage(NamedTuple):
    """Some of a znode's children, in order, and its own Stat. `after` is what to ask for the next page with, None
    behind the last."""

    children: tuple[Child, ...]
    stat: Stat
    after: str | None


@record
@frozen
class ListChildren(Request[ChildPage]):
    """Children of a znode in pages: the first `limit` whose names come after `after` and begin with `prefix`, of one
    `kind`, with what else is asked for of each.

    A page may have fewer, and a next one all the same: where it would be longer than a reply may be, or where many
    children had to be passed over. Each page is of the moment it is asked for. Errors: BadArgumentsError for a limit
    or kind there is not, NoNodeError, NoAuthError (READ).
    """

    opcode: ClassVar[int] = 1012
    writes: ClassVar[bool] = False

    path: UString
    after: UString = field(default="", kw_only=True)
    prefix: UString = field(default="", kw_only=True)
    limit: Int = field(default=1000, kw_only=True)
    kind: Int = field(default=int(ChildKind.ANY), kw_only=True)
    with_stat: Boolean = field(default=False, kw_only=True)
    with_data: Boolean = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_types(self.path, number=self.limit)
        check_types(self.after, number=self.kind)
        check_types(self.prefix)
