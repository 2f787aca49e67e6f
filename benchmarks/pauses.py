"""How long writes wait while a node takes a snapshot of its tree.

    python benchmarks/pauses.py [--znodes 1000000] [--directory DIRECTORY]

One client sets one znode after the other: first with no snapshot, then until each node has taken three. For each set,
what the event loop's thread did meanwhile, in CPU time, and how long it took by the clock, which on a busy machine has
others' work in it. Between the sets, now and then, a full garbage collection is asked for, as it may come at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from calibration import describe
from tree import DATA, Alone, paths_of

import zkcore
from zkcore.client.client import Client
from zkcore.client.embedded import EmbeddedPort
from zkcore.replica.host import Host
from zkcore.replica.pump import Pump
from zkcore.replica.replica import Replica
from zkcore.storage.file import FileStorage
from zkcore.storage.storage import MemoryStorage, Storage
from zkcore.transport.transport import LocalNetwork
from zkcore.tree.requests import Create
from zkcore.tree.snapshot import dump
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import InstallSnapshot, SaveEpochs, SnapshotChunk, SnapshotRef

SETS = 20_000
SETS_BETWEEN_COLLECTIONS = 1_000


def snapshot_of(znodes: int) -> tuple[SnapshotRef, list[bytes], tuple[str, ...]]:
    alone, paths = Alone(), paths_of(znodes)
    families = dict.fromkeys(path.rpartition("/")[0] for path in paths)
    alone.run([Create("/load"), *(Create(family) for family in families)])
    for start in range(0, len(paths), 10_000):
        alone.run([Create(path, DATA) for path in paths[start : start + 10_000]])
    return SnapshotRef(alone.tree.last_zxid), list(dump(alone.tree)), paths


def install(storage: Storage, ref: SnapshotRef, chunks: list[bytes]) -> None:
    storage.save([SaveEpochs(1, 1)])
    offset = 0
    for chunk in chunks:
        storage.save([SnapshotChunk(ref, offset, chunk)])
        offset += len(chunk)
    storage.save([InstallSnapshot(ref, offset)])


async def measure(client: Client, paths: Sequence[str], hosts: Sequence[Host], *, snapshots: int) -> None:
    taken = [{host.replica.status().snapshot} for host in hosts]
    waits: list[tuple[float, float]] = []
    number = 0
    begin, cpu, wall = time.process_time(), time.thread_time(), time.perf_counter()
    while number < SETS or min(map(len, taken)) <= snapshots:
        await client.set(paths[number * 7919 % len(paths)], DATA)
        number += 1
        if number % SETS_BETWEEN_COLLECTIONS == 0:
            gc.collect()
        now = time.thread_time(), time.perf_counter()
        waits.append((now[0] - cpu, now[1] - wall))
        cpu, wall = now
        for seen, host in zip(taken, hosts, strict=True):
            seen.add(host.replica.status().snapshot)
    spent = (time.process_time() - begin) / number
    what = f"while each node took {snapshots} snapshots" if snapshots else "without a snapshot"
    print(f"  {what}: {number:,} sets, {spent * 1e6:.0f} us of CPU each")
    for which, name in enumerate(("CPU", "clock")):
        found = sorted(wait[which] * 1000 for wait in waits)
        middle, late = found[number // 2], found[number * 999 // 1000]
        print(f"    {name:6} longest {found[-1]:6.1f} ms   p99.9 {late:6.2f} ms   p50 {middle:6.3f} ms", flush=True)


async def play(storages: Sequence[Storage], paths: Sequence[str], *, every: int, snapshots: int) -> None:
    ensemble, network, pump = EnsembleConfig(range(1, len(storages) + 1)), LocalNetwork(), Pump()

    def host_of(me: PeerId, storage: Storage) -> Host:
        return Host(
            Replica(me, ensemble, storage),
            lambda inbox: network.attach(me, inbox),
            pump=pump,
            save_on_thread=not isinstance(storage, MemoryStorage),
            snapshot_every=every,
        )

    hosts = [host_of(me, storage) for me, storage in enumerate(storages, 1)]
    for host in hosts:
        host.start()
    port = EmbeddedPort(lambda: sorted(hosts, key=lambda host: host.replica.leader != host.replica.me), timeout=30)
    await port.start()
    await measure(Client(port), paths, hosts, snapshots=snapshots)
    port.abandon()
    for host in hosts:
        host.stop()
        await host.wait_saved()


def play_both(what: str, storages: Sequence[Storage], paths: Sequence[str]) -> None:
    print(what)
    asyncio.run(play(storages, paths, every=1 << 60, snapshots=0))
    gc.collect()
    asyncio.run(play(storages, paths, every=1000, snapshots=3))
    gc.collect()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="on the disk to be measured; a temporary one by default")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, zkcore {zkcore.__version__}; {options.znodes:,} znodes of 100 bytes")
    print(describe("before"), end="\n\n")
    ref, chunks, paths = snapshot_of(options.znodes)
    with (
        tempfile.TemporaryDirectory(prefix="zkcore-pauses-", dir=options.directory) as folder,
        FileStorage(Path(folder) / "node", node=1, cluster="benchmark", new=True) as storage,
    ):
        install(storage, ref, chunks)
        play_both("one node, a FileStorage", [storage], paths)
    storages = [MemoryStorage() for _ in range(3)]
    for memory in storages:
        install(memory, ref, chunks)
    del chunks
    play_both("three nodes of one process, each with a MemoryStorage", storages, paths)
    print()
    print(describe("after"))


if __name__ == "__main__":
    main()
