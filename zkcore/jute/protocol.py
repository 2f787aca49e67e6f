"""The records of ZooKeeper's client protocol that stand around requests and their answers, for both sides of it.

Servers of ours say more to clients who ask for it: those who have looked for `EXTENSIONS`, where no ZooKeeper has a
znode. On that connection there are from then on the answers and events that ZooKeeper has no layout for.

This module must not know requests, nor what is answered to them.
"""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen

from zkcore.jute.codec import Boolean, Buffer, Int, Long, NullableBuffer, UString, record
from zkcore.jute.records import ACL, Stat

__all__ = [
    "AUTH", "CONNECTED", "EXTENSIONS", "PING", "RESYNC", "SASL", "SYNC", "AuthPacket", "ClientInfo", "ClientInfos",
    "ConnectRequest", "ConnectResponse", "ListedChild", "ListedPage", "MissedEvent", "MissedEvents", "MultiHeader",
    "NodeAcls", "Number", "OnePath", "RawData", "ReconfigRequest", "ReplyHeader", "RequestHeader", "SeveralPaths",
    "WatcherEvent", "Xid",
]  # fmt: skip

PING, AUTH, SASL, SYNC = 11, 100, 102, 9

EXTENSIONS = "/zookeeper/zkcore"
"""What a client of ours asks the existence of to find out who serves it."""

CONNECTED = 3
"""The state that is told with every event of a watch."""

RESYNC = 605
"""In the place of the type of an event: a persistent watch cannot tell everything any more."""


class Xid(IntEnum):
    """The numbers of requests that do not count."""

    EVENT = -1
    PING = -2
    AUTH = -4
    SET_WATCHES = -8


@record
@frozen
class ConnectRequest:
    """A client's greeting, behind which newer ones have one byte more."""

    version: Int
    last_zxid: Long
    timeout_ms: Int
    session: Long
    password: Buffer


@record
@frozen
class ConnectResponse:
    """The answer to a greeting."""

    version: Int
    timeout_ms: Int
    session: Long
    password: Buffer


@record
@frozen
class RequestHeader:
    """What every request begins with."""

    xid: Int
    opcode: Int


@record
@frozen
class ReplyHeader:
    """What every answer and every event begins with."""

    xid: Int
    zxid: Long
    error: Int


@record
@frozen
class AuthPacket:
    """Who a client says it is."""

    type: Int
    scheme: UString
    credentials: NullableBuffer


@record
@frozen
class WatcherEvent:
    """What a watch tells."""

    type: Int
    state: Int
    path: UString


@record
@frozen
class MultiHeader:
    """What each answer of several begins with, and what stands behind the last."""

    type: Int
    done: Boolean
    error: Int


@record
@frozen
class OnePath:
    """A path."""

    path: UString


@record
@frozen
class SeveralPaths:
    """Paths, or names."""

    paths: tuple[UString, ...]


@record
@frozen
class Number:
    """A number."""

    number: Int


@record
@frozen
class NodeAcls:
    """The ACL of a znode."""

    acls: tuple[ACL, ...]


@record
@frozen
class ReconfigRequest:
    """Other members, as ZooKeeper reads that: what is not null is asked for."""

    joining: NullableBuffer
    leaving: NullableBuffer
    new_members: NullableBuffer
    from_config: Long


@record
@frozen
class RawData:
    """The data of a znode."""

    data: NullableBuffer


@record
@frozen
class ClientInfo:
    """As whom somebody is known."""

    scheme: UString
    user: UString


@record
@frozen
class ClientInfos:
    """All of them."""

    infos: tuple[ClientInfo, ...]


# --- what ZooKeeper does not have -------------------------------------------------------------------------------------


@record
@frozen
class ListedChild:
    """One of the children in a page. Of `stats` and `data` there is one or none."""

    name: UString
    stats: tuple[Stat, ...]
    has_data: Boolean
    data: Buffer


@record
@frozen
class ListedPage:
    """Some of a znode's children, its Stat, and what to ask for the next page with; '' behind the last."""

    children: tuple[ListedChild, ...]
    stat: Stat
    after: UString


@record
@frozen
class MissedEvent:
    """An event of a watch that is told later; of a RESYNC also since when it is not complete."""

    type: Int
    path: UString
    zxid: Long
    since: Long


@record
@frozen
class MissedEvents:
    """All that a session missed."""

    events: tuple[MissedEvent, ...]
