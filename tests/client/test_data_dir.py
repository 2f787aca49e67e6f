"""A data_dir makes a node durable, and a whole cluster; what is new is said to be, and what is missing is a loss."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

import zkcore
import zkcore.sync
from zkcore.storage import directories
from zkcore.storage.backup import backup, restore
from zkcore.zab.messages import Damage

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await coroutine

    return asyncio.run(bounded())


def contents(path: Path) -> dict[str, bytes]:
    files = (each for each in path.rglob("*") if each.is_file())
    return {str(each.relative_to(path)): each.read_bytes().rstrip(b"\0") for each in files}


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes that nobody writes to need not be reserved here."""
    real = zkcore.FileStorage.__init__

    def small(self: zkcore.FileStorage, directory: Any, **options: Any) -> None:
        real(self, directory, **{"segment_bytes": 1 << 16, **options})

    monkeypatch.setattr(zkcore.FileStorage, "__init__", small)


# --- a node


def node(data_dir: Path, *, ensemble: zkcore.EnsembleConfig | None = None, **options: Any) -> zkcore.Node:
    network = zkcore.LocalNetwork()
    config = ensemble or zkcore.EnsembleConfig([1])
    return zkcore.Node(1, config, transport=lambda inbox: network.attach(1, inbox), data_dir=data_dir, **options)


async def written(data_dir: Path, path: str, **options: Any) -> list[str]:
    async with node(data_dir, **options) as one, one.client() as zk:
        await zk.create(path)
        return sorted(await zk.get_children("/"))


@pytest.mark.parametrize("fsync", ["always", 5, "never"])
def test_what_a_node_was_told_it_knows_in_its_next_life(tmp_path: Path, fsync: Any) -> None:
    assert "a" in run(written(tmp_path / "data", "/a", new=True, fsync=fsync))
    assert {"a", "b"} <= set(run(written(tmp_path / "data", "/b", fsync=fsync)))


def test_a_node_gives_up_its_directory_when_it_stops(tmp_path: Path) -> None:
    async def live() -> None:
        async with node(tmp_path / "data", new=True):
            with pytest.raises(zkcore.StorageError, match="in use"):
                node(tmp_path / "data")
        async with node(tmp_path / "data"):
            pass

    run(live())


def test_a_new_node_is_said_to_be_new_once(tmp_path: Path) -> None:
    with pytest.raises(zkcore.StorageError, match="does not exist"):
        node(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
    run(written(tmp_path / "data", "/a", new=True))
    before = contents(tmp_path)
    with pytest.raises(zkcore.StorageError, match="holds a storage already"):
        node(tmp_path / "data", new=True)
    assert contents(tmp_path) == before


def test_a_node_with_an_empty_directory_has_lost_everything(tmp_path: Path) -> None:
    lost = node(tmp_path)
    assert lost.status().damage is Damage.EPOCHS


def test_a_node_has_one_place_to_save_to(tmp_path: Path) -> None:
    network, config = zkcore.LocalNetwork(), zkcore.EnsembleConfig([1])
    with pytest.raises(zkcore.ConfigurationError, match="nowhere to save"):
        zkcore.Node(1, config, transport=lambda inbox: network.attach(1, inbox))
    with pytest.raises(zkcore.ConfigurationError, match="give one of them"):
        node(tmp_path, storage=zkcore.MemoryStorage())
    with pytest.raises(zkcore.ConfigurationError, match="not among the members"):
        node(tmp_path / "data", ensemble=zkcore.EnsembleConfig([2]), new=True)
    assert list(tmp_path.iterdir()) == []


# --- the ensemble it belongs to


def test_other_voters_are_refused_by_name_and_observers_may_come_and_go(tmp_path: Path) -> None:
    trio = zkcore.EnsembleConfig([1, 2, 3])
    node(tmp_path / "data", ensemble=trio, new=True)._close_files()
    before = contents(tmp_path)
    for ensemble, says in (
        (zkcore.EnsembleConfig([1, 3, 5]), "voters 2 are missing, voters 5 are new"),
        (zkcore.EnsembleConfig([1]), "voters 2 3 are missing"),
        (zkcore.EnsembleConfig([1, 2, 3], weights={2: 0}), "other groups or weights"),
    ):
        with pytest.raises(zkcore.StorageError, match=says) as refused:
            node(tmp_path / "data", ensemble=ensemble)
        assert str(tmp_path / "data" / "records") in str(refused.value)
    assert contents(tmp_path) == before
    for observers in ([4], [5, 6], []):
        more = zkcore.EnsembleConfig([1, 2, 3], observers=observers)
        node(tmp_path / "data", ensemble=more)._close_files()
    with pytest.raises(zkcore.StorageError, match="voters 2 3 are missing"):
        node(tmp_path / "data", ensemble=zkcore.EnsembleConfig([1], observers=[2, 3]))


# --- a cluster


async def lived(data_dir: Path, path: str, **options: Any) -> list[str]:
    async with zkcore.local_cluster(3, data_dir=data_dir, **options) as cluster, cluster.client() as zk:
        await zk.create(path, b"data")
        for me in list(cluster.nodes):
            cluster.kill(me)
            cluster.start_node(me)
            await cluster.wait_for_leader()
        await zk.sync()
        return sorted(await zk.get_children("/"))


def test_what_a_cluster_was_told_it_knows_in_its_next_life(tmp_path: Path) -> None:
    assert "a" in run(lived(tmp_path / "data", "/a", new=True))
    assert {"a", "b"} <= set(run(lived(tmp_path / "data", "/b")))
    assert sorted(each.name for each in (tmp_path / "data").iterdir()) == ["node-1", "node-2", "node-3"]


def test_the_blocking_face_is_as_durable(tmp_path: Path) -> None:
    for number in range(2):
        with (
            zkcore.sync.local_cluster(1, data_dir=tmp_path / "data", new=not number, fsync=50) as cluster,
            cluster.client() as zk,
        ):
            zk.create("/lives-", sequence=True)
            assert len(zk.get_children("/")) == number + 2  # and /zookeeper


def test_a_member_without_its_directory_is_made_whole_by_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(lived(tmp_path / "data", "/a", new=True))
    shutil.rmtree(tmp_path / "data" / "node-2")

    async def live() -> None:
        async with zkcore.local_cluster(3, data_dir=tmp_path / "data") as cluster:
            assert "node-2: the epochs are lost; this member does not vote before it is whole again" in caplog.text
            second = cluster.nodes[2]
            while second.status().damage is not None or second.replica.tree.persisted("/a") is None:
                await asyncio.sleep(0.005)

    run(live())


def test_a_place_without_any_member_is_no_beginning(tmp_path: Path) -> None:
    """Nobody can tell a new ensemble from a mount that was forgotten."""
    with pytest.raises(zkcore.StorageError, match="mount what belongs there"):
        run(lived(tmp_path, "/a"))
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_that_is_there_is_not_made_anew(tmp_path: Path) -> None:
    run(lived(tmp_path / "data", "/a", new=True))
    before = contents(tmp_path)
    with pytest.raises(zkcore.StorageError, match="node-1 holds a storage already"):
        run(lived(tmp_path / "data", "/a", new=True))
    assert contents(tmp_path) == before


def test_a_new_ensemble_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = directories.Directories.open

    def no_room(self: directories.Directories, me: int, *, new: bool = False) -> zkcore.FileStorage:
        if me == 3:
            raise zkcore.StorageFullError("no room")
        return real(self, me, new=new)

    with monkeypatch.context() as patched:
        patched.setattr(directories.Directories, "open", no_room)
        with pytest.raises(zkcore.StorageFullError):
            run(lived(tmp_path / "data", "/a", new=True))
    assert contents(tmp_path) == {}
    run(lived(tmp_path / "data", "/a", new=True))


def test_a_cluster_on_disk_takes_no_other_voters(tmp_path: Path) -> None:
    run(lived(tmp_path / "data", "/a", new=True))

    async def grown() -> None:
        async with zkcore.local_cluster(5, data_dir=tmp_path / "data"):
            pass

    with pytest.raises(zkcore.StorageError, match="voters 4 5 are new"):
        run(grown())


def test_a_new_ensemble_of_another_size_begins_with_a_backup_of_a_running_one(tmp_path: Path) -> None:
    async def old() -> None:
        async with zkcore.local_cluster(3, data_dir=tmp_path / "old", new=True) as cluster, cluster.client() as zk:
            await zk.create("/a", b"saved")
            await asyncio.to_thread(backup, tmp_path / "old" / f"node-{cluster.leader}", tmp_path / "backup")
            await zk.create("/b")

    async def restored() -> list[str]:
        async with (
            zkcore.local_cluster(5, data_dir=tmp_path / "restored", cluster="again") as cluster,
            cluster.client() as zk,
        ):
            assert await zk.get("/a") == (b"saved", (await zk.get("/a")).stat)
            return await zk.get_children("/")

    run(old())
    for me in range(1, 6):
        restore(tmp_path / "backup", tmp_path / "restored" / f"node-{me}", node=me, cluster="again")
    with pytest.raises(zkcore.StorageError, match="is of member 1 of 'again', not of member 1"):
        run(lived(tmp_path / "restored", "/a"))
    assert set(run(restored())) == {"a", "zookeeper"}
    with pytest.raises(zkcore.StorageError, match="voters 4 5 are missing"):
        run(lived(tmp_path / "restored", "/a", cluster="again"))
