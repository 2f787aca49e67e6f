"""The directories of an ensemble whose members all run in one process: one for each, beside one another.

They are made together, when the ensemble is new, or found together. Where some are missing, those members have lost
everything; where all are, nobody can tell a new ensemble from a forgotten mount, and so they are not begun.

This module must not know what the members do.
"""

from __future__ import annotations

import os
from pathlib import Path

from zkcore.errors import StorageError
from zkcore.storage.file import FileStorage, Fsync
from zkcore.storage.files import Directory
from zkcore.storage.members import name_of
from zkcore.storage.opening import remove_begun
from zkcore.storage.records import RECORDS
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["Directories"]


class Directories:
    """Those below `parent`, for the members of `ensemble`: `node-1` and so on."""

    def __init__(
        self, parent: str | os.PathLike[str], ensemble: EnsembleConfig, *, cluster: str = "", fsync: Fsync
    ) -> None:
        self._parent = Path(parent)
        self._ensemble = ensemble
        self._cluster = cluster or name_of(ensemble)
        self._fsync: Fsync = fsync

    def of(self, me: PeerId) -> Path:
        """Where member `me` saves to."""
        return self._parent / f"node-{me}"

    def open(self, me: PeerId, *, new: bool = False) -> FileStorage:
        """The storage of `me`. Raises StorageError."""
        return FileStorage(
            self.of(me), node=me, cluster=self._cluster, ensemble=self._ensemble, new=new, fsync=self._fsync
        )

    @property
    def added(self) -> list[PeerId]:
        """The numbers of those beside the members of the beginning that have a storage here."""
        found = (path.name.removeprefix("node-") for path in self._parent.glob("node-*") if (path / RECORDS).exists())
        numbers = [int(number) for number in found if number.isascii() and number.isdigit()]
        return sorted(number for number in numbers if number not in self._ensemble.members)

    def open_added(self, me: PeerId, *, ensemble: EnsembleConfig | None = None) -> FileStorage:
        """The storage of one of those; a new one, where it begins with an `ensemble`. Raises StorageError."""
        return FileStorage(
            self.of(me), node=me, cluster=self._cluster, ensemble=ensemble, new=ensemble is not None, fsync=self._fsync
        )

    def open_all(self, *, new: bool) -> dict[PeerId, FileStorage]:
        """The storages of all members. Raises StorageError where one cannot be opened; then none is, and none that is
        `new` was made."""
        there = [me for me in self._ensemble.members if (self.of(me) / RECORDS).exists()]
        if new and there:
            raise StorageError(
                f"{self.of(there[0])} holds a storage already: leave out new=True, or give another directory"
            )
        if not new and not there:
            raise StorageError(
                f"{self._parent} holds none of the storages of its {len(self._ensemble.members)} members. Correct the "
                f"path, or mount what belongs there; for a new ensemble say new=True"
            )
        opened: dict[PeerId, FileStorage] = {}
        try:
            for me in self._ensemble.members:
                if not new:
                    self.of(me).mkdir(exist_ok=True)
                opened[me] = self.open(me, new=new)
        except BaseException:
            for me, storage in opened.items():
                storage.close()
                if new:
                    self._remove(me)
            raise
        return opened

    def _remove(self, me: PeerId) -> None:
        directory = Directory(self.of(me))
        remove_begun(directory)
        directory.close()
