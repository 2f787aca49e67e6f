"""The tree by itself: prepare and apply, reads, memory, snapshots, pages, pauses, on one core.

    python benchmarks/tree.py [--znodes 1000000] [--rounds 3]

Figures are CPU time unless a row says otherwise, medians of the rounds where something is done in rounds. The speed of
a bare loop is printed before and after, so that runs on other machines, or on a busy one, can be compared. Each target
stands beside its figure.
"""

from __future__ import annotations

import argparse
import gc
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator

from calibration import describe

import zkcore
from zkcore.jute.records import ACL, Id
from zkcore.tree.applied import Applied
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import (
    Create,
    CreateSession,
    Exists,
    GetChildren,
    GetData,
    ListChildren,
    Multi,
    Request,
    SetACL,
    SetData,
)
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.tree import Tree
from zkcore.tree.watches import Watches

DATA = bytes(100)
BATCH = 100
"""Requests that are prepared before the first of them is applied, as a leader's batch is."""

PER_FAMILY = 1000


def rss_bytes() -> int:
    """Memory in use now, where the system says; else the most there was."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


class Alone:
    """A leader without followers."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.preparer = Preparer(self.tree)
        self.zxid = 1 << 32
        self.run([CreateSession(4000)])

    def run(self, requests: list[Request[object]]) -> Applied | None:
        """Do all of it, and say what the last one did. What the others did is forgotten, as a leader forgets it: kept,
        it would be work for the garbage collector, a quarter of a set's time."""
        applied = None
        for start in range(0, len(requests), BATCH):
            payloads = []
            for request in requests[start : start + BATCH]:
                self.zxid += 1
                payloads.append((self.zxid, self.preparer.prepare(self.zxid, self.zxid & 0xFFFFFF, 1, 1, request)))
            for zxid, payload in payloads:
                applied = self.tree.apply(zxid, payload)
        return applied


def paths_of(znodes: int) -> tuple[str, ...]:
    # A tuple: a list of so many the garbage collector would walk each time.
    return tuple([f"/load/{number // PER_FAMILY:04}/{number % PER_FAMILY:06}" for number in range(znodes)])


def cpu_micros(work: Callable[[], object], times: int) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) / times * 1e6


def row(what: str, figure: str, target: str = "") -> None:
    print(f"{what:58} {figure:>22}   {target}", flush=True)


# --- the rows --------------------------------------------------------------------------------------------------------


def load(alone: Alone, paths: tuple[str, ...]) -> None:
    families = dict.fromkeys(path.rpartition("/")[0] for path in paths)
    alone.run([Create("/load"), *(Create(family) for family in families)])
    gc.collect()
    before = rss_bytes()
    begin = time.process_time()
    for start in range(0, len(paths), 10_000):
        alone.run([Create(path, DATA) for path in paths[start : start + 10_000]])
    spent = time.process_time() - begin
    row("create, 100 bytes", f"{len(paths) / spent:,.0f} /s")
    row("memory for each, just created", f"{(rss_bytes() - before) / len(paths):.0f} bytes")
    for start in range(0, len(paths), 10_000):
        alone.run([SetData(path, DATA) for path in paths[start : start + 10_000]])
    row("memory for each, after each was set once", f"{(rss_bytes() - before) / len(paths):.0f} bytes", "<= 400")


def writes(alone: Alone, paths: tuple[str, ...], rounds: int) -> None:
    count = min(len(paths), 100_000)
    scattered = [paths[number * 7919 % len(paths)] for number in range(count)]
    rates = []
    for _ in range(rounds):
        requests: list[Request[object]] = [SetData(path, DATA) for path in scattered]
        begin = time.process_time()
        alone.run(requests)
        rates.append(count / (time.process_time() - begin))
    row("prepare and apply: set, 100 bytes", f"{statistics.median(rates):,.0f} /s", ">= 120,000")
    mine = (ACL(31, Id("digest", "bob:x")),)
    acls = [SetACL(path, mine) for path in scattered[:10_000]]
    row("prepare and apply: set an ACL", f"{10_000 / cpu_micros(lambda: alone.run(list(acls)), 1) * 1e6:,.0f} /s")
    opened = [SetACL(path, Create("/").acl) for path in scattered[:10_000]]
    super_ids = (Id("super", ""),)
    for request in opened:
        alone.zxid += 1
        alone.tree.apply(alone.zxid, alone.preparer.prepare(alone.zxid, 0, 1, 1, request, super_ids))
    several = [Multi([SetData(path, DATA) for path in scattered[start : start + 10]]) for start in range(0, 20_000, 10)]
    spent = cpu_micros(lambda: alone.run(list(several)), 1)
    row("prepare and apply: sets, ten to a multi", f"{20_000 / spent * 1e6:,.0f} /s")


def reads(alone: Alone, paths: tuple[str, ...], rounds: int) -> None:
    tree = alone.tree
    for what, request in (("get", GetData(paths[7])), ("exists", Exists(paths[7]))):

        def many(request: Request[object] = request) -> None:
            for _ in range(100_000):
                tree.read(request)

        row(what, f"{statistics.median(cpu_micros(many, 100_000) for _ in range(rounds)):.2f} us", "<= 1.5")
    family = [f"/wide/{number:06}" for number in range(100_000)]
    alone.run([Create("/wide"), *(Create(path) for path in family)])
    page, everything = ListChildren("/wide", limit=100), GetChildren("/wide")
    first = statistics.median(cpu_micros(lambda: tree.read(page), 1) for _ in range(9))
    row("first page of 100 of 100,000 children", f"{first:.0f} us", "<= 100")
    row("all 100,000 children", f"{cpu_micros(lambda: tree.read(everything), 1):,.0f} us")


def watches(alone: Alone) -> None:
    tree, told = alone.tree, Watches()
    for session in range(10_000):
        told.read(tree, GetData("/load", watch=True), session=session)
    applied = alone.run([SetData("/load", b"x")])
    assert applied is not None
    spent = cpu_micros(lambda: told.trigger(applied), 1)
    row("one change seen by 10,000 watches, events made", f"{spent / 1000:.1f} ms", "<= 20")


def snapshots(alone: Alone, paths: tuple[str, ...]) -> None:
    begin = time.process_time()
    chunks = list(dump(alone.tree))
    row("snapshot", f"{time.process_time() - begin:.2f} s", "<= 4")
    begin = time.process_time()
    again = restore(chunks)
    row("restore", f"{time.process_time() - begin:.2f} s", "<= 4")
    assert again.digest == alone.tree.digest
    del again, chunks
    gc.collect()
    pauses = sorted(_pauses(alone, paths))
    row("a slice of a snapshot and 20 writes: longest", f"{pauses[-1][0] * 1000:.1f} ms", "<= 20")
    row("a slice of a snapshot and 20 writes: p99", f"{pauses[len(pauses) * 99 // 100][0] * 1000:.1f} ms")
    row("longest by the wall clock, with others' work", f"{max(wall for _, wall in pauses) * 1000:.1f} ms")


def _pauses(alone: Alone, paths: tuple[str, ...]) -> Iterator[tuple[float, float]]:
    """How long writes wait while a snapshot is taken between them, in CPU seconds and by the wall clock, growth and
    full collections included: one of those may come at any time, so now and then one is asked for."""
    begin, wall = time.process_time(), time.perf_counter()
    chunks = dump(alone.tree)
    for number, _ in enumerate(chunks):
        some = range(number * 10, number * 10 + 10)
        alone.run([SetData(paths[each * 7919 % len(paths)], DATA) for each in some])
        alone.run([Create(f"{paths[each * 7919 % len(paths)]}/grown", DATA) for each in some])
        if number % 100 == 99:
            gc.collect()
        yield time.process_time() - begin, time.perf_counter() - wall
        begin, wall = time.process_time(), time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, zkcore {zkcore.__version__}; {arguments.znodes:,} znodes of 100 bytes")
    print(describe("before"), end="\n\n")
    alone = Alone()
    paths = paths_of(arguments.znodes)
    load(alone, paths)
    writes(alone, paths, arguments.rounds)
    reads(alone, paths, arguments.rounds)
    watches(alone)
    snapshots(alone, paths)
    print()
    print(describe("after"))


if __name__ == "__main__":
    main()
