"""An ensemble that loses its quorum for good in the middle of everything, and goes on as another one.

What `recover` says beforehand is held against what clients were told, and the new ensemble grows, changes and crashes
like any other. More of it by hand:
`PYTHONPATH=tests/replica python tests/replica/test_replica_recovered.py FIRST COUNT`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from changing_world import SERVERS, World

from zkcore.errors import StorageError
from zkcore.replica.answers import Replied
from zkcore.replica.recovery import Recovery, recover
from zkcore.storage import FileStorage
from zkcore.tree.acl import EMBEDDED
from zkcore.tree.requests import Created, Exists, Reconfigure
from zkcore.zab.quorum import EnsembleConfig


class Disaster(World):
    """On real directories below `where`."""

    def __init__(self, seed: int, where: Path) -> None:
        self.where = where
        self.cluster = "before"
        self.logs: dict[int, tuple[int, set[int]]] = {}
        super().__init__(seed, make_storage=self._make_storage)

    def _make_storage(self, me: int, *, new: bool = True) -> FileStorage:
        return FileStorage(
            self.where / str(me), node=me, cluster=self.cluster, ensemble=self.config, new=new, segment_bytes=1 << 13
        )

    def written(self) -> dict[str, int]:
        """What clients were told is written, and as of which zxid."""
        return {
            told.result.path: told.result.stat.czxid
            for events in self.told.values()
            for told in events
            if isinstance(told, Replied) and isinstance(told.result, Created) and told.result.stat is not None
        }

    def lose_the_quorum(self) -> Recovery:
        """Everything stops at once, and of some members the directories are all that is left."""
        for me in list(self.replicas):
            self.kill(me)
        for me, storage in self.storages.items():
            saved = storage.load()
            self.logs[me] = saved.snapshot, {each.zxid for each in storage.entries(saved.base, 1 << 30)}
            storage.close()
        self.now += 60_000  # people look, and decide
        while True:
            left = self.rng.sample(SERVERS, self.rng.randrange(1, len(SERVERS)))
            try:
                return recover([self.where / str(me) for me in left], cluster="after", force=True)
            except StorageError as error:
                if "are a quorum of" not in str(error):
                    raise

    def had(self, zxid: int, told: Recovery) -> bool:
        """Whether any of those whose directories were left had it."""
        left = [self.logs[each.node] for each in (told.chosen, *told.others)]
        return any(zxid <= snapshot or zxid in log for snapshot, log in left)

    def begin_anew(self, told: Recovery) -> None:
        """The survivor that was chosen is the ensemble; the others join it with empty directories."""
        one, self.cluster, self.clients = told.chosen.node, told.cluster, {}
        self.config = EnsembleConfig([one])
        self.storages[one] = self._make_storage(one, new=False)
        self.start(one)
        self.run(lambda: self.replicas[one].serving)
        assert self.replicas[one].members == told.members

    def grow(self, one: int) -> None:
        others = [me for me in SERVERS if me != one]
        self.config = EnsembleConfig([one], observers=others)
        for me in others:
            shutil.rmtree(self.where / str(me))
            self.storages[me] = self._make_storage(me)
            self.start(me)
        joining = ",".join(f"server.{me}=0.0.0.0:0:0:observer" for me in others)
        self.ask(one, self.open(one, 60_000, ids=(EMBEDDED,)), Reconfigure(joining=joining))

    def close(self) -> None:
        for storage in self.storages.values():
            storage.close()


def simulate(seed: int, where: Path, *, steps: int = 80) -> tuple[int, int]:
    """How many writes that were answered are kept, and how many are lost."""
    world = Disaster(seed, where)
    for _ in range(steps):
        world.act_at_random()
    old = world.written()
    told = world.lose_the_quorum()
    world.begin_anew(told)
    tree = world.replicas[told.chosen.node].tree
    kept = {path for path, zxid in old.items() if zxid <= told.maybe_lost_after}
    for path, zxid in old.items():
        stat = tree.read(Exists(path))
        assert (stat is not None) is (path in kept), f"{path} as of {zxid:#x}, and kept is what is up to {told}"
        assert stat is None or stat.czxid == zxid
        assert (stat is not None) is world.had(zxid, told)
        assert zxid < told.members.version
    world.grow(told.chosen.node)
    for _ in range(steps):
        world.act_at_random()
    world.check()
    new = {path: zxid for path, zxid in world.written().items() if old.get(path) != zxid}
    assert all(zxid > told.members.version for zxid in new.values())
    world.close()
    return len(kept), len(old) - len(kept)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_is_kept_and_the_new_ensemble_is_like_any_other(seed: int, tmp_path: Path) -> None:
    kept, _ = simulate(seed, tmp_path)
    assert kept > 0


if __name__ == "__main__":
    first, count = map(int, sys.argv[1:])
    kept = lost = 0
    for number in range(first, first + count):
        print(number, end="\r")
        with TemporaryDirectory() as directory:
            more, less = simulate(number, Path(directory))
        kept, lost = kept + more, lost + less
    print(f"{count} seeds from {first}: of the writes that were answered {kept} are kept, and {lost} lost")
