"""The records that ZooKeeper's clients, servers and files share, byte for byte as its `zookeeper.jute` lays them out.

A transaction is a `TxnHeader` followed by the body that its type names. This is the payload that ZAB carries and the
log keeps. The bodies tell results, never intentions (the new version, the full path of a sequential znode), so that
applying one twice does no harm.

This module must not know how records become bytes (`codec.py`), nor what a tree does with them.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import astuple, frozen

from zkcore.jute.codec import Boolean, Int, Long, NullableBuffer, UString, record

__all__ = [
    "ACL", "ANYONE", "OPEN_ACL", "CloseSessionTxn", "CreateSessionTxn", "CreateTxn", "DeleteTxn", "ErrorTxn", "Id",
    "SetDataTxn", "Stat", "TxnHeader",
]  # fmt: skip


@record
@frozen
class Id:
    """Somebody, as a scheme of authentication names them."""

    scheme: UString
    id: UString

    def __str__(self) -> str:
        return f"{self.scheme}:{self.id}"


@record
@frozen
class ACL:
    """What `id` may do: the sum of READ 1, WRITE 2, CREATE 4, DELETE 8, ADMIN 16."""

    perms: Int
    id: Id

    def __str__(self) -> str:
        return f"{self.id}:{self.perms}"


ANYONE = Id("world", "anyone")
OPEN_ACL = (ACL(31, ANYONE),)
"""Everybody may do everything."""


@record
@frozen(eq=False, repr=False)
class Stat:
    """What is known of a znode besides its data: 68 bytes, in wire order.

    The times are milliseconds since 1970 by the clock of the leader of the moment. `cversion` counts creations and
    deletions of children, `aversion` changes of the ACL; `pzxid` is the last transaction that changed the children.
    `ephemeral_owner` is the session of an ephemeral znode, and 0 for every other.
    """

    czxid: Long
    mzxid: Long
    ctime: Long
    mtime: Long
    version: Int
    cversion: Int
    aversion: Int
    ephemeral_owner: Long
    data_length: Int
    num_children: Int
    pzxid: Long

    # Equality and printing are written out because a tree answers with a subclass that decodes on access, and the two
    # must not differ in either.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stat):
            return NotImplemented
        return astuple(self) == astuple(other)

    def __hash__(self) -> int:
        return hash(astuple(self))

    def __repr__(self) -> str:
        return (
            f"Stat(czxid={self.czxid:#x}, mzxid={self.mzxid:#x}, ctime={self.ctime}, mtime={self.mtime}, "
            f"version={self.version}, cversion={self.cversion}, aversion={self.aversion}, "
            f"ephemeral_owner={self.ephemeral_owner:#x}, data_length={self.data_length}, "
            f"num_children={self.num_children}, pzxid={self.pzxid:#x})"
        )


# --- transactions ----------------------------------------------------------------------------------------------------


@record
@frozen
class TxnHeader:
    """Whose transaction it is: the session, the number the session gave its request, the zxid, the leader's wall clock
    in milliseconds since 1970, and the type of the body that follows."""

    session: Long
    cxid: Int
    zxid: Long
    time: Long
    type: Int


@record
@frozen
class CreateTxn:
    """A znode comes into being. `parent_cversion` is the parent's stored count of creations from now on, or -1 for one
    more than it was."""

    TYPE: ClassVar[int] = 1
    TYPE2: ClassVar[int] = 15
    """A create whose requester asked for the Stat too; the body is the same."""

    path: UString
    data: NullableBuffer
    acl: tuple[ACL, ...]
    ephemeral: Boolean
    parent_cversion: Int


@record
@frozen
class DeleteTxn:
    """A znode ends."""

    TYPE: ClassVar[int] = 2

    path: UString


@record
@frozen
class SetDataTxn:
    """A znode has this data and this version from now on."""

    TYPE: ClassVar[int] = 5

    path: UString
    data: NullableBuffer
    version: Int


@record
@frozen
class ErrorTxn:
    """The request failed with ZooKeeper's error `code`: nothing changes, but the failure has its place in the order."""

    TYPE: ClassVar[int] = -1

    code: Int


@record
@frozen
class CreateSessionTxn:
    """The session of the header begins, with this timeout in milliseconds."""

    TYPE: ClassVar[int] = -10

    timeout: Int


@record
@frozen
class CloseSessionTxn:
    """The session of the header ends, and these ephemeral znodes with it."""

    TYPE: ClassVar[int] = -11

    paths: tuple[UString, ...]
