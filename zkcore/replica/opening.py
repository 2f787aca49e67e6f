"""How a replica makes its Peer from what its storage holds.

A snapshot knows who the members are as of its zxid, and the Peer, which cannot read it, is told.
"""

from __future__ import annotations

from zkcore.errors import StorageFailedError
from zkcore.storage.storage import Storage, pieces_of
from zkcore.tree.snapshot import configuration_in
from zkcore.zab.limits import Limits
from zkcore.zab.membership import Membership, read_configuration
from zkcore.zab.messages import PeerId
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import SnapshotRef

__all__ = ["open_peer"]


def open_peer(me: PeerId, ensemble: EnsembleConfig, storage: Storage, limits: Limits) -> Peer:
    """A Peer begins by reading what the log says of the members. Where a record does not read back then, the storage is
    opened anew, and says what is lost. Raises StorageError where that does not help."""
    try:
        return _open(me, ensemble, storage, limits)
    except StorageFailedError:
        return _open(me, ensemble, storage, limits)


def _open(me: PeerId, ensemble: EnsembleConfig, storage: Storage, limits: Limits) -> Peer:
    saved = storage.load()
    if saved.snapshot:
        zxid, record = configuration_in(pieces_of(storage, SnapshotRef(saved.snapshot)))
        if zxid:
            return Peer(me, Membership(zxid, *read_configuration(record)), saved, storage, limits)
    return Peer(me, ensemble, saved, storage, limits)
