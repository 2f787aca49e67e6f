"""What is committed, applied to the state of a replica: transactions, records that name the members, and snapshots.

This module must not know how it was committed.
"""

from __future__ import annotations

from collections.abc import Sequence

from zkcore.replica.leading import Leading
from zkcore.replica.roster import Roster
from zkcore.replica.serving import Serving
from zkcore.storage.storage import Storage, pieces_of
from zkcore.tree.acl import Access
from zkcore.tree.applied import Applied
from zkcore.tree.requests import CloseSession, CreateSession
from zkcore.tree.snapshot import restore
from zkcore.zab.membership import is_configuration
from zkcore.zab.ready import SnapshotRef
from zkcore.zxid import Zxid

__all__ = ["Applying"]

_CREATE_SESSION = CreateSession.opcode
_CLOSE_SESSION = CloseSession.opcode


class Applying:
    """Applies to the tree of `serving`, which tells its clients, and has `roster` know the members."""

    def __init__(self, serving: Serving, roster: Roster) -> None:
        self._serving = serving
        self._roster = roster

    def apply(self, first: Zxid, payloads: Sequence[bytes], leading: Leading | None, *, tell: bool) -> None:
        """The `payloads` are committed from `first` on. `leading` is there where this replica leads; `tell` where there
        is a leader, and sessions that come and go are news."""
        serving, tree = self._serving, self._serving.tree
        known = tree.last_zxid  # a new Peer delivers again what the one before had delivered
        zxid = first
        for payload in payloads:
            if zxid > known:
                if is_configuration(payload):
                    applied = self._roster.apply(tree, zxid, payload)
                else:
                    applied = tree.apply(zxid, payload)
                serving.on_applied(applied)
                if applied.type == _CREATE_SESSION or applied.type == _CLOSE_SESSION:
                    self._on_session_change(applied, leading, tell=tell)
            zxid += 1
        if serving.behind:
            serving.catch_up()

    def _on_session_change(self, applied: Applied, leading: Leading | None, *, tell: bool) -> None:
        session = applied.session
        if applied.type == _CLOSE_SESSION:
            # Clients number their requests from 1; 0 is the leader's own, who has waited for the session in vain.
            self._serving.on_session_closed(session, expired=applied.cxid == 0, tell=tell)
            if leading is not None:
                leading.on_session_closed(session)
        elif (timeout_ms := self._serving.tree.sessions.get(session)) is not None:
            self._serving.on_session_created(session, timeout_ms, tell=tell)
            if leading is not None:
                leading.on_session_created(session, timeout_ms)

    def restore(self, storage: Storage, snapshot: SnapshotRef, access: Access) -> None:
        """The state is that of a snapshot, unless it is further on already."""
        if snapshot.zxid <= self._serving.tree.last_zxid:
            return
        tree = restore(pieces_of(storage, snapshot), access=access)
        self._roster.restore(tree)
        self._serving.replace_tree(tree)
