"""Who owns a key, how fast, and how evenly: HashRing beside uhashring, hash_ring, clandestined and a bare bisect.

    python benchmarks/ring.py [--rounds 7] [--keys 100000] [--sets 20]

All in one run, in rounds that alternate between the systems, so that a noisy minute hits all of them. Times are CPU
time; a figure is the median of the rounds, a ratio the median of the ratios within each round. "bare bisect" is what
anybody would write: a sorted list of mmh3 points, 160 a node as uhashring has, and bisect; measured both as a function
and written into the loop. The targets are printed at the end, with what was reached.

The peers are the `bench` extra. hash_ring is Python 2 source, and is converted in memory with lib2to3, which Python
has up to 3.12; where a peer is not to be had, it is left out.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import mmh3

from zkcore.ring import HashRing, Rendezvous

SIZES = (10, 100, 1000)


def names(count: int, prefix: str = "node") -> list[str]:
    return [f"{prefix}-{number:04d}.example.com:7000" for number in range(count)]


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds."""
    gc.collect()
    begin = time.process_time()
    work()
    return time.process_time() - begin


# --- the systems -----------------------------------------------------------------------------------------------------


class Bare:
    """A sorted list of points and bisect, and nothing else."""

    def __init__(self, nodes: Iterable[str], points: int = 160) -> None:
        ring = sorted((mmh3.hash(f"{node}-{i}", 0, False), node) for node in nodes for i in range(points))
        self.points = [point for point, _ in ring]
        self.nodes = [node for _, node in ring] + [ring[0][1]]

    def get(self) -> Callable[[str], str]:
        points, nodes, hash, search = self.points, self.nodes, mmh3.hash, bisect
        return lambda key: nodes[search(points, hash(key, 0, False))]

    def inline(self, keys: list[str]) -> Callable[[], None]:
        points, nodes, hash, search = self.points, self.nodes, mmh3.hash, bisect

        def loop() -> None:
            for key in keys:
                nodes[search(points, hash(key, 0, False))]

        return loop


def load_hash_ring() -> Any:
    """hash_ring's class, converted to Python 3; None where that is not possible."""
    spec = find_spec("hash_ring")
    if spec is None or not spec.submodule_search_locations or find_spec("lib2to3") is None:
        return None
    source = Path(next(iter(spec.submodule_search_locations)), "hash_ring.py").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "hash_ring_converted.py")
        copy.write_text(source, encoding="utf-8")
        command = [sys.executable, "-W", "ignore", "-m", "lib2to3", "-wn", str(copy)]
        subprocess.run(command, check=True, capture_output=True)
        text = copy.read_text(encoding="utf-8").replace("m.update(key)", "m.update(key.encode())")
        for old in ("list(map(ord, m.digest()))", "map(ord, m.digest())"):
            text = text.replace(old, "list(m.digest())")
        copy.write_text(text, encoding="utf-8")
        found = spec_from_file_location("hash_ring_converted", copy)
        assert found is not None
        assert found.loader is not None
        module = module_from_spec(found)
        found.loader.exec_module(module)
    return module.HashRing


def systems() -> dict[str, Callable[[list[str]], Callable[[str], Any]]]:
    """For each system how a look-up function is made for so many nodes."""
    made: dict[str, Callable[[list[str]], Callable[[str], Any]]] = {
        "zkcore HashRing": lambda nodes: HashRing(nodes).owner,
        "zkcore Rendezvous": lambda nodes: Rendezvous(nodes).owner,
        "bare bisect, 160 points": lambda nodes: Bare(nodes).get(),
        "bare bisect, 640 points": lambda nodes: Bare(nodes, 640).get(),
    }
    if find_spec("uhashring"):
        import uhashring

        made["uhashring"] = lambda nodes: uhashring.HashRing(nodes=nodes).get_node
        made["uhashring, mmh3"] = lambda nodes: uhashring.HashRing(
            nodes=nodes, hash_fn=lambda key: mmh3.hash(key, signed=False)
        ).get_node
    if (hash_ring := load_hash_ring()) is not None:
        made["hash_ring"] = lambda nodes: hash_ring(nodes).get_node
    if find_spec("clandestined"):
        import clandestined

        made["clandestined"] = lambda nodes: clandestined.RendezvousHash(nodes).find_node
    return made


SLOW = {"zkcore Rendezvous", "clandestined"}
"""They ask every node for every key, so they get fewer keys, and no thousand nodes."""

Rounds = dict[str, list[float]]


def loop(get: Callable[[str], Any], keys: list[str]) -> Callable[[], None]:
    def work() -> None:
        for key in keys:
            get(key)

    return work


def median_ratio(rounds: Rounds, other: str, ours: str) -> float:
    if other not in rounds:
        return float("nan")
    return statistics.median(a / b for a, b in zip(rounds[other], rounds[ours], strict=True))


# --- what is measured ------------------------------------------------------------------------------------------------


def lookups(count: int, keys: list[str], rounds: int) -> Rounds:
    """Nanoseconds for each key."""
    work: dict[str, tuple[Callable[[], object], int]] = {}
    for name, make in systems().items():
        if name in SLOW and count > 100:
            continue
        asked = keys[:1000] if name in SLOW else keys
        work[name] = loop(make(names(count)), asked), len(asked)
    ring = HashRing(names(count))
    work["zkcore HashRing, bulk"] = (lambda: ring.owners(keys)), len(keys)
    work["bare bisect, in the loop"] = Bare(names(count)).inline(keys), len(keys)
    found: Rounds = {name: [] for name in work}
    for _ in range(rounds):
        for name, (one, asked_keys) in work.items():
            found[name].append(cpu(one) / asked_keys * 1e9)
    return found


def changes(count: int, rounds: int) -> Rounds:
    """Milliseconds to build, to add one node and to remove it."""
    found: Rounds = {}
    for _ in range(rounds):
        change_ours(count, found)
        if find_spec("uhashring"):
            change_peer(count, found)
    return found


def timed(found: Rounds, name: str, work: Callable[[], Any]) -> Any:
    made: list[Any] = []
    found.setdefault(name, []).append(cpu(lambda: made.append(work())) * 1e3)
    return made[0]


def change_ours(count: int, found: Rounds) -> None:
    ring = timed(found, "zkcore build", lambda: HashRing(names(count)))
    grown = timed(found, "zkcore add", lambda: ring.with_node("extra:7000"))
    timed(found, "zkcore remove", lambda: grown.without_node("extra:7000"))


def change_peer(count: int, found: Rounds) -> None:
    import uhashring

    ring = timed(found, "uhashring build", lambda: uhashring.HashRing(nodes=names(count)))
    timed(found, "uhashring add", lambda: ring.add_node("extra:7000"))
    timed(found, "uhashring remove", lambda: ring.remove_node("extra:7000"))


def memory(count: int) -> dict[str, float]:
    """KiB of one ring."""
    found = {}
    for name, make in systems().items():
        if name in ("zkcore HashRing", "uhashring"):
            nodes = names(count)
            gc.collect()
            tracemalloc.start()
            get = make(nodes)
            gc.collect()
            found[name] = tracemalloc.get_traced_memory()[0] / 1024
            tracemalloc.stop()
            del get
    return found


def peaks(sets: int, count: int = 100) -> dict[str, float]:
    """Peak to mean over a million keys, the mean of so many sets of names."""
    keys = [f"user:{number}:profile" for number in range(1_000_000)]
    made = systems()
    found: dict[str, list[float]] = {}
    for number in range(sets):
        nodes = names(count, f"set{number}")
        loads = Counter(HashRing(nodes).owners(keys))
        found.setdefault("zkcore HashRing", []).append(max(loads.values()) * count / len(keys))
        if "uhashring" in made and number < 3:  # a million of its keys take seconds
            loads = Counter(map(made["uhashring"](nodes), keys))
            found.setdefault("uhashring", []).append(max(loads.values()) * count / len(keys))
    return {name: statistics.mean(values) for name, values in found.items()}


# --- the table -------------------------------------------------------------------------------------------------------


def show(title: str, found: Rounds, unit: str) -> None:
    print(f"\n{title}")
    for name, values in found.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"  {name:26} {middle:11,.1f} {unit}   ({low:,.1f} to {high:,.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--sets", type=int, default=20)
    arguments = parser.parse_args()
    keys = [f"user:{number}:profile" for number in range(arguments.keys)]
    rounds = arguments.rounds
    print(f"Python {platform.python_version()}, mmh3 {version('mmh3')}; medians of {rounds} rounds of CPU time")
    targets: list[tuple[str, float, str, float]] = []
    for count in SIZES:
        found = lookups(count, keys, rounds)
        show(f"one key, {count} nodes", found, "ns")
        if count == 100:
            ours, bulk = "zkcore HashRing", "zkcore HashRing, bulk"
            targets.append(("owner() at 100 nodes, times uhashring", median_ratio(found, "uhashring", ours), ">=", 8))
            for bare in ("bare bisect, 160 points", "bare bisect, in the loop"):
                targets.append((f"owner() at 100 nodes, times {bare}", median_ratio(found, bare, ours), ">=", 2))
            targets.append(("owners() per key, times owner()", median_ratio(found, ours, bulk), ">=", 1))
        built = changes(count, rounds)
        show(f"build and change, {count} nodes", built, "ms")
        kept = memory(count)
        print("\n  memory: " + ", ".join(f"{name} {size:,.0f} KiB" for name, size in kept.items()))
        if "uhashring" not in kept:
            continue
        per_point = median_ratio(built, "uhashring build", "zkcore build") * HashRing.POINTS / 160
        targets.append((f"build per point at {count} nodes, times uhashring", per_point, ">=", 1))
        ratio = kept["zkcore HashRing"] / kept["uhashring"]
        targets.append((f"memory at {count} nodes, of uhashring's", ratio, "<=", 1.5))
        if count == 1000:
            for what in ("add", "remove"):
                times = median_ratio(built, f"uhashring {what}", f"zkcore {what}")
                targets.append((f"{what} a node at 1,000, times uhashring", times, ">=", 4))
    evenness = peaks(arguments.sets)
    print("\npeak to mean, 100 nodes, a million keys: " + ", ".join(f"{n} {v:.3f}" for n, v in evenness.items()))
    targets.append((f"peak to mean, mean of {arguments.sets} sets", evenness["zkcore HashRing"], "<=", 1.12))
    print("\ntargets")
    for what, reached, sign, wanted in targets:
        met = reached >= wanted if sign == ">=" else reached <= wanted
        print(f"  {'met   ' if met else 'MISSED'} {what:52} {reached:7.2f}  ({sign} {wanted})")


if __name__ == "__main__":
    main()
