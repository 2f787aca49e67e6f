"""Who the members of the ensemble are, as one replica knows: what is in force here, what its clients are shown, and
what its host has to be told.

In force for the core is what the newest record in its log says, committed or not (protocol.md 1.10). Clients are shown
what is committed, applied and made: the members after the last change that has ended.

This module must not know who asks for other members, nor what a host does about them.
"""

from __future__ import annotations

from zkcore.replica.answers import MembersChanged
from zkcore.replica.members import Change, Members
from zkcore.tree.applied import Applied
from zkcore.tree.tree import Tree
from zkcore.zab.membership import Membership
from zkcore.zxid import Zxid

__all__ = ["Roster"]


class Roster:
    """Those of one replica. The ensemble began with the members `first`, as far as this replica was told."""

    def __init__(self, first: Members) -> None:
        self.first = first
        self.members = first
        """After the last change that has ended here."""
        self.told: list[MembersChanged] = []
        """What the host has to be told; who tells it empties this."""
        self._told_of: Zxid = 0

    def begin(self, tree: Tree, newest: Membership) -> None:
        """The core begins, and its log says this last."""
        self._show_first(tree)
        self.follow(tree, newest)

    def follow(self, tree: Tree, newest: Membership) -> None:
        """This is in force: where it differs from what was told, because that was told before it was committed and is
        not in the log any more, or because it was there before, tell it."""
        if newest.zxid == self._told_of:
            return
        if newest.zxid == 0:
            change = Change(self.first, None)
        elif newest.zxid == tree.configuration[0]:  # what a leader has sent has no note
            change = Change.read(*tree.configuration)
        else:
            change = Change.of(newest)
        self._tell(change)

    def apply(self, tree: Tree, zxid: Zxid, record: bytes) -> Applied:
        """A configuration record is committed. Only the end of a change is an answer to who has asked for it, and shown
        to others."""
        change = Change.read(zxid, record)
        if zxid > self._told_of:
            self._tell(change)
        if change.replaced is not None:
            return tree.configure(zxid, record)
        self.members = change.members
        return tree.configure(
            zxid, record, text=change.members.text().encode(), time_ms=change.time_ms,
            session=change.session, cxid=change.xid,
        )  # fmt: skip

    def restore(self, tree: Tree) -> None:
        """The state is that of a snapshot now."""
        zxid, record = tree.configuration
        self._show_first(tree)
        if not zxid:
            return
        change = Change.read(zxid, record)
        self.members = change.members if change.replaced is None else change.replaced
        if zxid > self._told_of:
            self._tell(change)

    def _show_first(self, tree: Tree) -> None:
        """No record has said who those are: each replica shows what it was told itself. One that stands alone, and is
        nowhere, shows nothing, as a ZooKeeper does."""
        if not tree.configuration[0] and not self.first.stands_alone:
            tree.show_members(self.first.text().encode())

    def _tell(self, change: Change) -> None:
        self._told_of = change.members.version
        self.told.append(MembersChanged(change.members, change.replaced))
