"""A storage in memory that was damaged, for the tests here."""

from __future__ import annotations

from zkcore.storage import MemoryStorage
from zkcore.zab.messages import Damage
from zkcore.zab.ready import Append, Compact, SaveEpochs, SnapshotRef
from zkcore.zxid import make_zxid as Z


def damaged(storage: MemoryStorage, damage: Damage) -> MemoryStorage:
    """`storage`, new until now, after it was used, and lost its last record or everything."""
    storage.save([SaveEpochs(3, 3), Append(Z(1, 1), (b"a", b"b")), Append(Z(3, 1), (b"c", b"lost"))])
    storage.save_snapshot(SnapshotRef(Z(1, 2)), [b"state"])
    storage.save([Compact(SnapshotRef(Z(1, 2)), Z(1, 1))])
    if damage is Damage.LOG:
        storage.lose(Z(3, 1))
    else:
        storage.wipe()
    return storage
