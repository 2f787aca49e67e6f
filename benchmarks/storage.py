"""What it costs to make things durable: the file storage beside bare write and fdatasync on the same disk.

    python benchmarks/storage.py [--directory DIR] [--rounds 5] [--records 1000000] [--znodes 1000000]

The disk decides most of these figures, so each stands beside what the disk alone gives, measured in the same round, and
a ratio is the median of the ratios within the rounds. "Bare" is one pwrite of random bytes into a reserved file and
one fdatasync. Scanning and starting are read from memory, if it is large enough: what is measured is what checking
costs, in seconds of the CPU. The targets are printed at the end, with what was reached.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from zkcore.storage import FileStorage
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import Create, CreateSession
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.tree import Tree
from zkcore.zab.ready import Append, Compact, SnapshotRef
from zkcore.zxid import make_zxid

RECORD = os.urandom(140)
SECONDS = 1.0
RESERVED_BYTES = 64 << 20


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def repeated(work: Callable[[], object], *, seconds: float = SECONDS) -> float:
    """Seconds for one, over about `seconds`."""
    count, begin = 0, time.perf_counter()
    while (took := time.perf_counter() - begin) < seconds:
        work()
        count += 1
    return took / count


class Bare:
    """What the disk gives: reserved files, written front to back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin()

    def _begin(self) -> None:
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(self.descriptor, 0, RESERVED_BYTES)
        os.fsync(self.descriptor)
        self.at = 0

    def save(self, data: bytes) -> None:
        if self.at + len(data) > RESERVED_BYTES:
            os.close(self.descriptor)
            os.unlink(self.path)
            self._begin()
        os.pwrite(self.descriptor, data, self.at)
        os.fdatasync(self.descriptor)
        self.at += len(data)


class Appender:
    """A storage, and the next zxid."""

    def __init__(self, path: Path) -> None:
        self.storage = FileStorage(path, node=1, cluster="benchmark", new=True)
        self.next = make_zxid(1, 1)

    def save(self, count: int) -> None:
        self.storage.save([Append(self.next, (RECORD,) * count)])
        self.next += count


def batches(folder: Path, rounds: int) -> dict[int, float]:
    """The share of the bare disk's records per second, by the size of the batch."""
    shares = {}
    for size in (1, 64 << 10, 1 << 20):
        count = max(size // len(RECORD), 1)
        ratios, rates = [], []
        bare, appender = Bare(folder / f"bare-{size}"), Appender(folder / f"log-{size}")
        data = os.urandom(max(size, len(RECORD)))
        for _ in range(rounds):
            alone = repeated(partial(bare.save, data))
            saved = repeated(partial(appender.save, count))
            ratios.append(alone / saved)
            rates.append(count / saved)
        shares[size] = statistics.median(ratios)
        print(f"  batches of {count:5} records: {statistics.median(rates):10,.0f} records/s, "
              f"{shares[size]:.0%} of the bare disk's")  # fmt: skip
    return shares


def executor(folder: Path) -> None:
    """What a thread adds to a save."""
    appender = Appender(folder / "executor")

    async def on_thread() -> float:
        loop, saver = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        count, begin = 0, time.perf_counter()
        while (took := time.perf_counter() - begin) < SECONDS:
            await loop.run_in_executor(saver, appender.save, 1)
            count += 1
        return took / count

    inline, thread = repeated(lambda: appender.save(1)), asyncio.run(on_thread())
    print(f"  one record: {inline * 1e6:,.0f} us on the loop, {thread * 1e6:,.0f} us by way of a thread")


def scan(folder: Path, records: int) -> float:
    """Records per second that are found and checked when a storage is opened. Each was saved by itself."""
    path = folder / "scan"
    with FileStorage(path, node=1, cluster="benchmark", new=True, fsync="never") as storage:
        for place in range(records):
            storage.save([Append(make_zxid(1, 1) + place, (RECORD,))])
    begin, cpu = time.perf_counter(), time.process_time()
    with FileStorage(path, node=1, cluster="benchmark") as storage:
        took, cpu = time.perf_counter() - begin, time.process_time() - cpu
        assert storage.load().last == make_zxid(1, records)
    print(f"  {records:,} records, each saved alone: {took:.2f} s, {cpu:.2f} of the CPU: {records / cpu:,.0f}/CPU-s")
    return records / cpu


def tree_of(znodes: int) -> Tree:
    """Znodes of 100 bytes, 1,000 to a parent."""
    tree = Tree()
    preparer, zxid = Preparer(tree), make_zxid(1, 0)
    parents = [f"/{number:06}" for number in range(-(-znodes // 1000))]
    paths = [f"{parents[number // 1000]}/{number % 1000:03}" for number in range(znodes)]
    for request in (CreateSession(4000), *(Create(path, bytes(100)) for path in (*parents, *paths))):
        zxid += 1
        tree.apply(zxid, preparer.prepare(zxid, zxid & 0xFFFFFF, 1, 1, request))
    return tree


def start(folder: Path, znodes: int) -> None:
    """How long a start from a snapshot takes: checking the file, and making the tree."""
    tree = tree_of(znodes)
    path = folder / "start"
    with FileStorage(path, node=1, cluster="benchmark", new=True) as storage:
        storage.save([Append(make_zxid(1, 1), (RECORD,))])
        ref = SnapshotRef(make_zxid(1, 1))
        saved = timed(partial(storage.save_snapshot, ref, dump(tree)))
        storage.save([Compact(ref)])
    del tree
    began = time.perf_counter()
    storage = FileStorage(path, node=1, cluster="benchmark")
    opened = time.perf_counter() - began
    restored = restore(pieces(storage, ref))
    print(f"  {znodes:,} znodes: saved in {saved:.2f} s; opened and checked in {opened:.2f} s, "
          f"read and restored in {time.perf_counter() - began - opened:.2f} s")  # fmt: skip
    assert len(restored) >= znodes
    storage.close()


def pieces(storage: FileStorage, ref: SnapshotRef) -> Iterator[bytes]:
    offset = 0
    while piece := storage.read_snapshot(ref, offset, 1 << 20):
        yield piece
        offset += len(piece)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, help="on the disk to be measured; a temporary one by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--znodes", type=int, default=1_000_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="zkcore-storage-", dir=options.directory))
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {folder}")
    try:
        print("appending")
        shares = batches(folder, options.rounds)
        print("saving off the event loop")
        executor(folder)
        print("scanning")
        rate = scan(folder, options.records)
        print("starting from a snapshot")
        start(folder, options.znodes)
    finally:
        shutil.rmtree(folder)
    for what, reached, target in (
        ("one record, times a bare fdatasync", 1 / shares[1], 1.5),
        ("64 KiB batches, share of the bare disk", shares[64 << 10], 0.35),
        ("1 MiB batches, share of the bare disk", shares[1 << 20], 0.5),
        ("scan, records per CPU second", rate, 150_000),
    ):
        good = reached <= target if target == 1.5 else reached >= target
        print(f"{what}: {reached:,.2f}, target {target:,}: {'met' if good else 'missed'}")


if __name__ == "__main__":
    main()
