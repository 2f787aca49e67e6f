"""ZooKeeper's requests that write, one record each.

This module must not know how they become transactions (`preparing.py`), nor who may ask.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from attrs import field, frozen

from zkcore.jute.codec import Buffer, Int, Long, NullableBuffer, UString, record
from zkcore.jute.records import ACL, OPEN_ACL, Stat
from zkcore.tree.reads import NodeData
from zkcore.tree.request import Request, check_types, tuple_of
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = [
    "Check", "CleanUp", "CloseSession", "Create", "CreateContainer", "CreateSession", "CreateTTL", "Created", "Delete",
    "PlainCreate", "Reconfigure", "SetACL", "SetData",
]  # fmt: skip


class Created(NamedTuple):
    """The answer to a create: the path as it came to be (sequential znodes get a number), and the Stat."""

    path: str
    stat: Stat


@record
@frozen
class Create(Request[Created]):
    """Create a znode (ZooKeeper's create2: the answer has the Stat).

    `mode` is a CreateMode or its number; those with a time to live need CreateTTL. Errors: BadArgumentsError,
    InvalidACLError, NoNodeError (the parent), NoAuthError (CREATE on the parent), NodeExistsError,
    NoChildrenForEphemeralsError, QuotaExceededError.
    """

    opcode: ClassVar[int] = 15
    writes: ClassVar[bool] = True

    path: UString
    data: NullableBuffer = b""
    acl: tuple[ACL, ...] = field(default=OPEN_ACL, converter=tuple_of, kw_only=True)
    mode: Int = field(default=0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_types(self.path, self.data, number=self.mode)


@record
@frozen
class PlainCreate(Request[str]):
    """As Create, answered with the path alone (ZooKeeper's older create, which its clients still send in a multi)."""

    opcode: ClassVar[int] = 1
    writes: ClassVar[bool] = True

    path: UString
    data: NullableBuffer = b""
    acl: tuple[ACL, ...] = field(default=OPEN_ACL, converter=tuple_of, kw_only=True)
    mode: Int = field(default=0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_types(self.path, self.data, number=self.mode)


@record
@frozen
class CreateContainer(Request[Created]):
    """Create a container: a znode that the leader deletes some time after the last of its children has gone. Whoever
    adds a child must expect NoNodeError. Of `mode` only counts whether it is sequential. Errors: as Create."""

    opcode: ClassVar[int] = 19
    writes: ClassVar[bool] = True

    path: UString
    data: NullableBuffer = b""
    acl: tuple[ACL, ...] = field(default=OPEN_ACL, converter=tuple_of, kw_only=True)
    mode: Int = field(default=int(CreateMode.CONTAINER), kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_types(self.path, self.data, number=self.mode)


@record
@frozen
class CreateTTL(Request[Created]):
    """Create a znode that the leader deletes some time after it has gone `ttl_ms` milliseconds without a change of its
    data and has no children. `mode` is one of the two with a time to live. Errors: as Create, and BadArgumentsError
    for any other mode and for a time that is not between 1 and MAX_TTL."""

    opcode: ClassVar[int] = 21
    writes: ClassVar[bool] = True

    path: UString
    data: NullableBuffer = b""
    acl: tuple[ACL, ...] = field(default=OPEN_ACL, converter=tuple_of, kw_only=True)
    mode: Int = field(default=int(CreateMode.PERSISTENT_WITH_TTL), kw_only=True)
    ttl_ms: Long = field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_types(self.path, self.data, number=self.mode)
        check_types("", number=self.ttl_ms)


@record
@frozen
class Delete(Request[None]):
    """Delete a znode that has no children, if `version` is -1 or the version it has.

    Errors: BadArgumentsError, NoNodeError, NoAuthError (DELETE on the parent), BadVersionError, NotEmptyError.
    """

    opcode: ClassVar[int] = 2
    writes: ClassVar[bool] = True

    path: UString
    version: Int = -1

    def __attrs_post_init__(self) -> None:
        check_types(self.path, number=self.version)


@record
@frozen
class SetData(Request[Stat]):
    """Replace the data of a znode, if `version` is -1 or the version it has.

    Errors: BadArgumentsError, NoNodeError, NoAuthError (WRITE), QuotaExceededError, BadVersionError.
    """

    opcode: ClassVar[int] = 5
    writes: ClassVar[bool] = True

    path: UString
    data: NullableBuffer
    version: Int = field(default=-1, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_types(self.path, self.data, number=self.version)


@record
@frozen
class SetACL(Request[Stat]):
    """Replace the ACL of a znode, if `version` is -1 or the `aversion` it has.

    Errors: BadArgumentsError, InvalidACLError, NoNodeError, NoAuthError (ADMIN), BadVersionError.
    """

    opcode: ClassVar[int] = 7
    writes: ClassVar[bool] = True

    path: UString
    acl: tuple[ACL, ...] = field(converter=tuple_of)
    version: Int = field(default=-1, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_types(self.path, number=self.version)


@record
@frozen
class Check(Request[None]):
    """Make sure that a znode has this version, or with -1 that it exists; of use inside a Multi.

    Errors: BadArgumentsError, NoNodeError, NoAuthError (READ), BadVersionError.
    """

    opcode: ClassVar[int] = 13
    writes: ClassVar[bool] = True

    path: UString
    version: Int = -1

    def __attrs_post_init__(self) -> None:
        check_types(self.path, number=self.version)


@record
@frozen
class CreateSession(Request[None]):
    """Begin the session in whose name this is sent, with a timeout in milliseconds and the key to its password (see
    `sessions.py`; b"" where it has none); a session that lives already gets these. Errors: BadArgumentsError."""

    opcode: ClassVar[int] = -10
    writes: ClassVar[bool] = True

    timeout_ms: Int
    key: Buffer = field(default=b"", kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        check_types("", self.key, number=self.timeout_ms)


@record
@frozen
class CloseSession(Request[None]):
    """End the session in whose name this is sent and delete its ephemeral znodes. Errors: SessionExpiredError."""

    opcode: ClassVar[int] = -11
    writes: ClassVar[bool] = True


@record
@frozen
class Reconfigure(Request[NodeData]):
    """Change who the members of the ensemble are; answered, when that is done, with the data and the Stat of
    `/zookeeper/config`. All is text, as ZooKeeper has it: `joining` are lines `server.N=host:port:port:role;port`,
    parted by commas, of members that come or are elsewhere, or something else, from now on; `leaving` the numbers of
    those that go. Or `new_members` are all the lines there will be. `from_config` is the version that is to be
    replaced, -1 for any.

    Errors: ReconfigDisabledError, NoAuthError (WRITE on `/zookeeper/config`), BadArgumentsError, BadVersionError,
    ReconfigInProgressError, NewConfigNoQuorumError.
    """

    opcode: ClassVar[int] = 16
    writes: ClassVar[bool] = True

    joining: UString = field(default="", kw_only=True)
    leaving: UString = field(default="", kw_only=True)
    new_members: UString = field(default="", kw_only=True)
    from_config: Long = field(default=-1, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for text in (self.joining, self.leaving, self.new_members):
            check_types(text, number=self.from_config)


@frozen
class CleanUp(Request[None]):
    """Delete an empty container, or a znode that outlived its time to live, if nobody changed it since `mzxid`.

    The leader asks for it itself, as session 0 (`cleaning.py`); it is never read from bytes. Errors: NoNodeError,
    NotEmptyError, BadVersionError.
    """

    opcode: ClassVar[int] = 20
    writes: ClassVar[bool] = True

    path: str
    mzxid: Zxid
