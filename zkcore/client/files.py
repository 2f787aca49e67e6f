"""The directory of a member, and the members it begins with: those it is told, or those that it knows better.

Who the members are is in the log (protocol.md 1.10). A directory that knows no change is opened for the voters it was
made for, and refused for others; one that does goes by that, whatever it is told.
"""

from __future__ import annotations

import os

from zkcore.errors import ConfigurationError, StorageError
from zkcore.replica.members import Members
from zkcore.replica.opening import open_peer
from zkcore.storage.file import FileStorage, Fsync
from zkcore.storage.storage import Storage
from zkcore.zab.limits import Limits
from zkcore.zab.membership import Membership
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["members_in", "open_files"]


def open_files(
    directory: str | os.PathLike[str], me: PeerId, members: Members, *, cluster: str, new: bool, fsync: Fsync
) -> tuple[FileStorage, Members]:
    """The storage of member `me`, and who the members were when it began. Raises StorageError."""
    try:
        return FileStorage(
            directory, node=me, cluster=cluster, ensemble=members.config, new=new, fsync=fsync
        ), members  # fmt: skip
    except StorageError:
        if new or (found := _by_its_log(directory, me, cluster=cluster, fsync=fsync)) is None:
            raise
        return found


def _by_its_log(
    directory: str | os.PathLike[str], me: PeerId, *, cluster: str, fsync: Fsync
) -> tuple[FileStorage, Members] | None:
    """The same for one whose log names the members; None where it does not."""
    try:
        storage = FileStorage(directory, node=me, cluster=cluster, fsync=fsync)
    except StorageError:
        return None
    first = storage.ensemble
    if first is not None and members_in(storage, me, first).zxid:
        return storage, Members(first)
    storage.close()
    return None


def members_in(storage: Storage, me: PeerId, first: EnsembleConfig) -> Membership:
    """The members that the storage of `me` knows of, which was made for those of `first`."""
    try:
        return open_peer(me, first, storage, Limits()).membership
    except ConfigurationError:
        return Membership(0, first)
