"""What a client is served by a replica that has no leader: it reads what the replica has, and changes nothing.

ZooKeeper calls that the read-only mode. What is shown was so once; how long ago, nobody here can know. Nothing is
applied meanwhile, so no watch goes off. As soon as something is, the client is sent away: it comes again with its
watches and with what it has seen, here or elsewhere, and hears what it has missed.

The session of such a client may live elsewhere, or be none at all. Nobody is told that the client is alive.

This module must not know sockets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zkcore.errors import ReadOnlyError
from zkcore.jute.records import Id
from zkcore.replica.levels import Sync
from zkcore.replica.replica import Replica
from zkcore.replica.rules import add_ids
from zkcore.tree.acl import Caller
from zkcore.tree.requests import Request
from zkcore.tree.sessions import opens
from zkcore.tree.watches import Watches

__all__ = ["Reading", "owns"]


def owns(replica: Replica, session: int, password: bytes) -> bool:
    """Whether the password is that of the session, as far as the replica can tell: there may be sessions that it has
    not heard of, and who claims such a one reads no more than anybody else."""
    tree = replica.tree
    return session not in tree.sessions or opens(tree.session_keys.get(session, b""), session, password)


class Reading:
    """One client that reads from `replica`, known by `ids`."""

    def __init__(self, replica: Replica, session: int, ids: Iterable[Id]) -> None:
        self._replica = replica
        self._tree = replica.tree
        self.zxid = replica.tree.last_zxid
        """What it is shown."""
        self._caller = Caller(session, add_ids((), ids))
        self._watches = Watches(history=0, most=replica.rules.watch_most)
        self._watches.restart(self.zxid)

    @property
    def is_current(self) -> bool:
        """Whether there is nothing newer here by now."""
        return self._replica.tree is self._tree and self._tree.last_zxid == self.zxid

    def identify(self, ids: Iterable[Id]) -> None:
        """It is known by these, too. Raises BadArgumentsError for too many."""
        self._caller = Caller(self._caller.session, add_ids(self._caller.ids, ids))

    def answer(self, request: Request[Any]) -> Any:
        """Raises ReadOnlyError for what is not a read, and what a read raises."""
        if request.writes or isinstance(request, Sync):
            raise ReadOnlyError(path=getattr(request, "path", None))
        return self._watches.read(self._tree, request, session=self._caller.session, caller=self._caller)
