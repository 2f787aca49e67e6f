"""Three replicas in one process, memory storage: committed 100-byte sets and local reads, beside PySyncObj in the
same run.

    python benchmarks/inprocess.py [--rounds 5] [--seconds 2] [--without-peer]

PySyncObj (the `bench` extra) runs as three objects in one process, too, at its default settings and at its best
tuning (`appendEntriesPeriod=0.01`). Rounds alternate between the systems, so that a noisy minute hits all of them.
Throughput is a median of rounds, latencies are those of the median round; CPU microseconds for each operation stand
beside both, because they depend less on what else the machine is doing. The calibration loop tells how fast the
machine was at the time.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import platform
import socket
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import frozen
from calibration import describe

import zkcore

DATA = b"x" * 100
WINDOW = 1000


@frozen
class Result:
    """One round: operations, seconds, CPU seconds, and the latency of each where it was measured."""

    operations: int
    seconds: float
    cpu_seconds: float
    latencies: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    @property
    def cpu_micros(self) -> float:
        return self.cpu_seconds / self.operations * 1e6

    def percentile(self, share: float) -> float:
        """A latency in microseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e6


# --- zkcore ----------------------------------------------------------------------------------------------------------


async def zkcore_awaited(client: zkcore.Client, seconds: float) -> Result:
    latencies: list[float] = []
    clock = time.perf_counter
    cpu, begin = time.process_time(), clock()
    end = begin + seconds
    now = begin
    while now < end:
        await client.set("/bench", DATA)
        then, now = now, clock()
        latencies.append(now - then)
    return Result(len(latencies), now - begin, time.process_time() - cpu, tuple(latencies))


async def zkcore_outstanding(client: zkcore.Client, seconds: float) -> Result:
    """WINDOW tasks, each awaiting one set after the other."""
    latencies: list[float] = []
    clock = time.perf_counter

    async def writer() -> None:
        now = clock()
        while now < end:
            await client.set("/bench", DATA)
            then, now = now, clock()
            latencies.append(now - then)

    cpu, begin = time.process_time(), clock()
    end = begin + seconds
    await asyncio.gather(*(writer() for _ in range(WINDOW)))
    return Result(len(latencies), clock() - begin, time.process_time() - cpu, tuple(latencies))


async def zkcore_reads(client: zkcore.Client, seconds: float) -> Result:
    clock = time.perf_counter
    cpu, begin = time.process_time(), clock()
    count = 0
    while clock() < begin + seconds:
        for _ in range(1000):
            await client.get("/bench")
        count += 1000
    return Result(count, clock() - begin, time.process_time() - cpu)


def run_zkcore(measure: Callable[[zkcore.Client, float], Any], seconds: float) -> Result:
    async def main() -> Result:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as client:
            await client.create("/bench", DATA)
            await measure(client, 0.2)  # warm up
            result: Result = await measure(client, seconds)
            return result

    return asyncio.run(main())


# --- PySyncObj -------------------------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Divergences(logging.Handler):
    """Counts what PySyncObj logs of applied entries that it truncated, and keeps the rest of its log from the
    terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += "truncating already-applied" in record.getMessage()


class PySyncObj:
    """Three PySyncObj objects in this process, each with a replicated dictionary."""

    def __init__(self, options: dict[str, Any]) -> None:
        from pysyncobj import SyncObj, SyncObjConf
        from pysyncobj.batteries import ReplDict

        addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        self._dicts, self._nodes = [], []
        for me in addresses:
            replicated = ReplDict()
            others = [other for other in addresses if other != me]
            self._nodes.append(SyncObj(me, others, SyncObjConf(**options), consumers=[replicated]))
            self._dicts.append(replicated)
        deadline = time.monotonic() + 30
        while not all(node.isReady() and node._getLeader() is not None for node in self._nodes):
            if time.monotonic() > deadline:
                raise TimeoutError("PySyncObj found no leader")
            time.sleep(0.05)
        leader = str(self._nodes[0]._getLeader())
        self.leading = self._dicts[addresses.index(leader)]

    def close(self) -> None:
        for node in self._nodes:
            node.destroy()
        time.sleep(0.3)  # its threads end by themselves

    def awaited(self, seconds: float) -> Result:
        latencies: list[float] = []
        cpu, begin = time.process_time(), time.perf_counter()
        now = begin
        while now < begin + seconds:
            self.leading.set("key", DATA, sync=True, timeout=10)
            then, now = now, time.perf_counter()
            latencies.append(now - then)
        return Result(len(latencies), now - begin, time.process_time() - cpu, tuple(latencies))

    def outstanding(self, seconds: float) -> Result:
        slots = threading.Semaphore(WINDOW)
        latencies: list[float] = []
        clock = time.perf_counter

        def asked_at(then: float) -> Callable[[object, object], None]:
            def on_answer(_: object, error: object) -> None:
                if error == 0:
                    latencies.append(clock() - then)
                slots.release()

            return on_answer

        cpu, begin = time.process_time(), clock()
        while (now := clock()) < begin + seconds:
            if not slots.acquire(timeout=10):
                raise TimeoutError("PySyncObj answers no more")
            self.leading.set("key", DATA, callback=asked_at(now))
        for _ in range(WINDOW):
            if not slots.acquire(timeout=10):
                raise TimeoutError("PySyncObj answers no more")
        return Result(len(latencies), clock() - begin, time.process_time() - cpu, tuple(latencies))


def run_pysyncobj(options: dict[str, Any], measure: Callable[[PySyncObj, float], Result], seconds: float) -> Result:
    system = PySyncObj(options)
    try:
        measure(system, 0.5)  # warm up
        return measure(system, seconds)
    finally:
        system.close()


# --- the table -------------------------------------------------------------------------------------------------------

TUNED = {"appendEntriesPeriod": 0.01}

Row = tuple[str, str, Callable[[float], Result]]


def rows(*, with_peer: bool) -> list[Row]:
    ours: list[Row] = [
        ("zkcore", "one awaited set", lambda seconds: run_zkcore(zkcore_awaited, seconds)),
        ("zkcore", f"{WINDOW} outstanding sets", lambda seconds: run_zkcore(zkcore_outstanding, seconds)),
        ("zkcore", "awaited local get", lambda seconds: run_zkcore(zkcore_reads, seconds)),
    ]
    peers: list[Row] = [
        ("PySyncObj", "one awaited set", lambda s: run_pysyncobj({}, PySyncObj.awaited, s)),
        ("PySyncObj", f"{WINDOW} outstanding sets", lambda s: run_pysyncobj({}, PySyncObj.outstanding, s)),
        ("PySyncObj tuned", "one awaited set", lambda s: run_pysyncobj(TUNED, PySyncObj.awaited, s)),
        ("PySyncObj tuned", f"{WINDOW} outstanding sets", lambda s: run_pysyncobj(TUNED, PySyncObj.outstanding, s)),
    ]
    return ours + peers if with_peer else ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--without-peer", action="store_true")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, zkcore {zkcore.__version__}; medians of {arguments.rounds} rounds")
    print(describe("before"))
    divergences = Divergences()
    logging.getLogger().addHandler(divergences)
    table = rows(with_peer=not arguments.without_peer)
    results: list[list[Result]] = [[] for _ in table]
    for _ in range(arguments.rounds):
        for (_, _, measure), found in zip(table, results, strict=True):
            found.append(measure(arguments.seconds))
    print(describe("after"), end="\n\n")
    print(f"{'':16} {'':22} {'per second':>11} {'p50 us':>9} {'p99 us':>9} {'CPU us each':>11}")
    rates: dict[tuple[str, str], float] = {}
    for (system, what, _), found in zip(table, results, strict=True):
        middle = sorted(found, key=lambda result: result.rate)[len(found) // 2]
        rates[system, what] = statistics.median(result.rate for result in found)
        cells = [f"{middle.percentile(share):9.1f}" if middle.latencies else " " * 9 for share in (0.5, 0.99)]
        print(f"{system:16} {what:22} {rates[system, what]:11,.0f} {' '.join(cells)} {middle.cpu_micros:11.2f}")
    outstanding = f"{WINDOW} outstanding sets"
    for peer in ("PySyncObj", "PySyncObj tuned"):
        if (peer, outstanding) in rates:
            ratio = rates["zkcore", outstanding] / rates[peer, outstanding]
            print(f"\nzkcore commits {ratio:.1f} times the {outstanding} of {peer}", end="")
    print()
    if divergences.seen:
        print(f"PySyncObj logged {divergences.seen} times that it truncated entries it had applied already")


if __name__ == "__main__":
    main()
