"""The storage in files keeps the contract, in a directory and in a simulated one."""

from __future__ import annotations

from pathlib import Path

import pytest

from zkcore.storage import FileStorage, Storage
from zkcore.testing.contracts import StorageContract
from zkcore.testing.sim_files import SimFiles
from zkcore.zab.messages import Damage
from zkcore.zab.ready import Append, Compact, SaveEpochs, SnapshotRef
from zkcore.zxid import make_zxid as Z

Place = Path | SimFiles


class FileStorages(StorageContract):
    """Small segments, so that there are many."""

    compress = False

    @pytest.fixture(autouse=True)
    def _places(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.places: dict[FileStorage, Place] = {}

    def make_place(self) -> Place:
        return SimFiles()

    def make_storage(self) -> FileStorage:
        return self.open(self.make_place(), new=True)

    def open(self, place: Place, *, new: bool = False) -> FileStorage:
        storage = FileStorage(place, node=1, cluster="test", new=new, segment_bytes=1024, compress=self.compress)
        self.places[storage] = place
        return storage

    def reopen(self, storage: Storage) -> FileStorage:
        assert isinstance(storage, FileStorage)
        storage.close()
        return self.open(self.places[storage])


class TestFileStorageOnSimulatedFiles(FileStorages):
    def make_damaged_storage(self, damage: Damage) -> Storage:
        files = SimFiles()
        storage = self.open(files, new=True)
        storage.save([SaveEpochs(3, 3), Append(Z(1, 1), (b"a", b"b")), Append(Z(3, 1), (b"c",))])
        storage.save_snapshot(SnapshotRef(Z(1, 2)), [b"state"])
        storage.save([Compact(SnapshotRef(Z(1, 2)), Z(1, 1)), Append(Z(3, 2), (b"lost",))])
        storage.close()
        if damage is Damage.EPOCHS:
            files.wipe()
        else:
            name = max(name for name in files.names() if name.startswith("log-"))
            files.flip(name, 8 * files.content_of(name).index(b"lost"))
        return self.open(files)


class TestFileStorageInADirectory(FileStorages):
    compress = True
    histories = 3

    def make_place(self) -> Place:
        return self.tmp_path / str(len(self.places))
