"""The records that ZooKeeper's clients, servers and files share, byte for byte as its `zookeeper.jute` lays them out.

A transaction is a `TxnHeader` followed by the body that its type names. This is the payload that ZAB carries and the
log keeps. Behind the body may stand a `TxnDigest`. The bodies tell results, never intentions (the new version, the
full path of a sequential znode), so that applying one twice does no harm.

This module must not know how records become bytes (`codec.py`), nor what a tree does with them.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import astuple, frozen

from zkcore.jute.codec import Boolean, Buffer, Int, Long, NullableBuffer, UString, record

__all__ = [
    "ACL", "ANYONE", "OPEN_ACL", "READ_ACL", "AgainTxn", "CheckVersionTxn", "CloseSessionTxn", "CreateContainerTxn",
    "CreateSessionTxn", "CreateTTLTxn", "CreateTxn", "DeleteTxn", "ErrorTxn", "Id", "MultiTxn", "OnceTxn",
    "SetACLTxn",
    "SetDataTxn", "Stat", "Txn", "TxnDigest", "TxnHeader",
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
READ_ACL = (ACL(1, ANYONE),)
"""Everybody may read."""


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
class CreateContainerTxn:
    """A container comes into being."""

    TYPE: ClassVar[int] = 19

    path: UString
    data: NullableBuffer
    acl: tuple[ACL, ...]
    parent_cversion: Int


@record
@frozen
class CreateTTLTxn:
    """A znode comes into being that lives `ttl` milliseconds beyond its last change."""

    TYPE: ClassVar[int] = 21

    path: UString
    data: NullableBuffer
    acl: tuple[ACL, ...]
    parent_cversion: Int
    ttl: Long


@record
@frozen
class DeleteTxn:
    """A znode ends."""

    TYPE: ClassVar[int] = 2
    TYPE_CLEANED: ClassVar[int] = 20
    """It was an empty container or had outlived its time to live, and nobody asked; the body is the same."""

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
class SetACLTxn:
    """A znode has this ACL from now on, and this version of it."""

    TYPE: ClassVar[int] = 7

    path: UString
    acl: tuple[ACL, ...]
    version: Int


@record
@frozen
class CheckVersionTxn:
    """The znode was as it was expected: nothing changes. `version` means nothing to who applies it."""

    TYPE: ClassVar[int] = 13

    path: UString
    version: Int


@record
@frozen
class Txn:
    """One of the transactions inside another: its type and its body."""

    type: Int
    data: Buffer


@record
@frozen
class MultiTxn:
    """Several transactions with one zxid. Where one of them is an ErrorTxn none does anything, and those in front of
    the error count as ErrorTxn(0)."""

    TYPE: ClassVar[int] = 14

    txns: tuple[Txn, ...]


@record
@frozen
class OnceTxn:
    """The transaction inside is request `number` of `client`, whose outcome is remembered from now on. Not one of
    ZooKeeper's."""

    TYPE: ClassVar[int] = 1014

    client: Long
    number: Long
    txn: Txn


@record
@frozen
class AgainTxn:
    """Request `number` of `client` came once more, and is answered as before: nothing changes. Not one of
    ZooKeeper's."""

    TYPE: ClassVar[int] = 1114

    client: Long
    number: Long


@record
@frozen
class ErrorTxn:
    """The request failed with ZooKeeper's error `code`: nothing changes, but the failure has its place in the order."""

    TYPE: ClassVar[int] = -1

    code: Int


@record
@frozen
class CreateSessionTxn:
    """The session of the header begins, with this timeout in milliseconds. Behind it may stand, as so many bare bytes,
    the key to the session's password, which ZooKeeper does not have."""

    TYPE: ClassVar[int] = -10

    timeout: Int


@record
@frozen
class CloseSessionTxn:
    """The session of the header ends, and these ephemeral znodes with it."""

    TYPE: ClassVar[int] = -11

    paths: tuple[UString, ...]


@record
@frozen
class TxnDigest:
    """What the digest of the whole tree is once the transaction in front of it is applied, as a signed number."""

    VERSION: ClassVar[int] = 2

    version: Int
    tree_digest: Long
