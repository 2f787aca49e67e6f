"""The log, a subscriber: every event is a record of the standard library's logging, and which one a table says.

The records have the number of the node as `zk_node`, and the kind of event as `zk_event`. Nothing here sets up
handlers that print: that is the application's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from zkcore.events import kinds
from zkcore.events.kinds import NodeEvent

__all__ = ["log"]

# Where the application sets up no logging, nothing is printed: what matters to it is an event, or an error.
logging.getLogger("zkcore").addHandler(logging.NullHandler())

_NODE = logging.getLogger("zkcore.node")
_PEER = logging.getLogger("zkcore.peer")
_SESSION = logging.getLogger("zkcore.session")
_STORAGE = logging.getLogger("zkcore.storage")

_Level: TypeAlias = int | Callable[[Any], int]


def _where_served(event: kinds.SessionOpened | kinds.SessionExpired | kinds.SessionClosed) -> int:
    """All nodes tell of a session: the line that counts is that of the one who serves it."""
    return logging.INFO if event.served_here else logging.DEBUG


def _unless_it_opens(event: kinds.StorageFailed) -> int:
    return logging.ERROR if event.opens_anew else logging.CRITICAL


_TABLE: dict[type[NodeEvent], tuple[logging.Logger, _Level]] = {
    kinds.NodeStarted: (_NODE, logging.DEBUG),
    kinds.NodeStopped: (_NODE, logging.DEBUG),
    kinds.NodeHalted: (_NODE, logging.CRITICAL),
    kinds.RoleChanged: (_NODE, logging.INFO),
    kinds.LeaderChanged: (_NODE, logging.INFO),
    kinds.QuorumLost: (_NODE, logging.WARNING),
    kinds.QuorumRegained: (_NODE, logging.INFO),
    kinds.Synced: (_NODE, logging.INFO),
    kinds.TransferFailed: (_NODE, logging.INFO),
    kinds.PeerRejected: (_NODE, logging.WARNING),
    kinds.ConfigurationChanging: (_NODE, logging.INFO),
    kinds.ConfigurationActivated: (_NODE, logging.INFO),
    kinds.MemberJoined: (_NODE, logging.INFO),
    kinds.MemberLeft: (_NODE, logging.INFO),
    kinds.MemberCaughtUp: (_PEER, logging.INFO),
    kinds.MemberSuspected: (_PEER, logging.WARNING),
    kinds.JoinWaits: (_NODE, logging.WARNING),
    kinds.Joined: (_NODE, logging.INFO),
    kinds.PromotionRefused: (_NODE, logging.WARNING),
    kinds.Removed: (_NODE, logging.ERROR),
    kinds.LinkUp: (_PEER, logging.INFO),
    kinds.LinkDown: (_PEER, logging.INFO),
    kinds.LinkRefused: (_PEER, logging.WARNING),
    kinds.SessionOpened: (_SESSION, _where_served),
    kinds.SessionMoved: (_SESSION, logging.INFO),
    kinds.SessionExpired: (_SESSION, logging.INFO),
    kinds.SessionClosed: (_SESSION, _where_served),
    kinds.SnapshotBegun: (_STORAGE, logging.DEBUG),
    kinds.SnapshotSaved: (_STORAGE, logging.INFO),
    kinds.SnapshotFailed: (_STORAGE, logging.WARNING),
    kinds.SnapshotRestored: (_STORAGE, logging.INFO),
    kinds.StorageReadOnly: (_STORAGE, logging.ERROR),
    kinds.StorageFailed: (_STORAGE, _unless_it_opens),
    kinds.StorageWritable: (_STORAGE, logging.WARNING),
    kinds.DamageFound: (_STORAGE, logging.ERROR),
    kinds.DamageRepaired: (_STORAGE, logging.WARNING),
    kinds.SlowSave: (_STORAGE, logging.WARNING),
    kinds.SlowRequest: (_SESSION, logging.WARNING),
}


def log(event: NodeEvent) -> None:
    """Make a record of `event`."""
    logger, level = _TABLE[type(event)]
    number = level if isinstance(level, int) else level(event)
    if logger.isEnabledFor(number):
        logger.log(
            number, "%s", event, extra={"zk_node": event.node, "zk_event": type(event).__name__},
            exc_info=event.error if isinstance(event, kinds.NodeHalted) else None,
        )  # fmt: skip
