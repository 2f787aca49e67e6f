"""ZooKeeper's client protocol: our servers beside Apache ZooKeeper's, and our client beside kazoo, in one run.

    python benchmarks/client_protocol.py [--quick] [--rounds 3] [--seconds 1] [--warm-up 30]

Servers: one of each kind, and three of each, all of which sync their log; ours are `python -m zkcore serve`. All get
the same bytes from the same client, which costs next to nothing (`frames.py`): sets and gets of 100 bytes, pipelined
(at three servers over a connection to each) and awaited (at the leader). Apache ZooKeeper's are warmed up first.

Clients: `zkcore.connect` and kazoo (the `bench` extra), both in this process, on the same server: the one of each kind.
Pipelined is as many requests under way; ours are tasks which each await one after the other, kazoo's have callbacks.
How much slower than bare frames an awaited set is says what the client adds to it.

Rounds alternate between all. Rates, latencies (the median of each round) and CPU microseconds are medians of rounds;
the CPU is that of the servers and of this process. A ratio is the median of those within the rounds. The CPU says more
than the clock where the machine has other things to do: the load stands beside the calibration loop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from frames import Frames, create, get_data, run_awaited, run_pipelined, set_data
from inprocess import Result
from runs import described, options
from servers import APACHE, ZKCORE, Kind, Servers, missing
from targets import Target, ratio

import zkcore

PATH, DATA = "/bench", b"x" * 100
SET, GET = set_data(PATH, DATA), get_data(PATH)
WINDOW = 900
"""Requests under way, whoever asks; a third of them at each of three servers."""

OURS, KAZOO, FRAMES = "zkcore.connect", "kazoo", "bare frames"
LOADS = ("sets, pipelined", "gets, pipelined", "set, awaited", "get, awaited")
PIPELINED_SET, PIPELINED_GET, AWAITED_SET, AWAITED_GET = LOADS

Key = tuple[str, str]
"""Whose servers and how many, or whose client at which; and the load."""
Found = dict[Key, list[Result]]


# --- servers ---------------------------------------------------------------------------------------------------------


def of(servers: Servers) -> str:
    count = len(servers.ports)
    return f"{'three servers' if count == 3 else 'one server'} of {servers.kind.name}"


def prepare(servers: Servers, warm_up: float) -> None:
    with Frames(servers.ports[servers.leader]) as frames:
        frames.ask(create(PATH, DATA))
    for request, share in ((SET, 0.7), (GET, 0.3)):
        run_pipelined(
            servers.ports, request, window=WINDOW, seconds=warm_up * share, cpu_clock=servers.cpu_clock
        )


def measure_frames(servers: Servers, seconds: float, keep: Callable[[str, str, Result], None]) -> None:
    leader, cpu_clock = servers.ports[servers.leader], servers.cpu_clock
    for load, request in ((PIPELINED_SET, SET), (PIPELINED_GET, GET)):
        found = run_pipelined(servers.ports, request, window=WINDOW, seconds=seconds, cpu_clock=cpu_clock)
        keep(of(servers), load, found)
    for load, request in ((AWAITED_SET, SET), (AWAITED_GET, GET)):
        keep(of(servers), load, run_awaited(leader, request, seconds=seconds, cpu_clock=cpu_clock))


# --- clients ---------------------------------------------------------------------------------------------------------


def measure_ours(servers: Servers, seconds: float, keep: Callable[[str, str, Result], None]) -> None:
    name = f"{OURS} at {of(servers)}"

    async def main() -> None:
        async with zkcore.connect(f"zk://127.0.0.1:{servers.ports[0]}") as client:

            async def set_once() -> None:
                await client.set(PATH, DATA)

            async def get_once() -> None:
                await client.get(PATH)

            for load, once in ((PIPELINED_SET, set_once), (PIPELINED_GET, get_once)):
                keep(name, load, await pipelined(once, seconds, servers.cpu_clock))
            for load, once in ((AWAITED_SET, set_once), (AWAITED_GET, get_once)):
                keep(name, load, await awaited(once, seconds, servers.cpu_clock))

    asyncio.run(main())


async def pipelined(once: Callable[[], Any], seconds: float, cpu_clock: Callable[[], float]) -> Result:
    clock = time.perf_counter
    count = 0

    async def go_on() -> None:
        nonlocal count
        while clock() < end:
            await once()
            count += 1

    cpu, begin = cpu_clock(), clock()
    end = begin + seconds
    await asyncio.gather(*(go_on() for _ in range(WINDOW)))
    return Result(count, clock() - begin, cpu_clock() - cpu)


async def awaited(once: Callable[[], Any], seconds: float, cpu_clock: Callable[[], float]) -> Result:
    clock = time.perf_counter
    latencies: list[float] = []
    cpu = cpu_clock()
    now = begin = clock()
    while now < begin + seconds:
        await once()
        then, now = now, clock()
        latencies.append(now - then)
    return Result(len(latencies), now - begin, cpu_clock() - cpu, tuple(latencies))


def measure_kazoo(servers: Servers, seconds: float, keep: Callable[[str, str, Result], None]) -> None:
    from kazoo.client import KazooClient

    name = f"{KAZOO} at {of(servers)}"
    client = KazooClient(hosts=f"127.0.0.1:{servers.ports[0]}", timeout=30)
    client.start(timeout=30)
    try:
        for load, ask in (
            (PIPELINED_SET, lambda: client.set_async(PATH, DATA)),
            (PIPELINED_GET, lambda: client.get_async(PATH)),
        ):
            keep(name, load, kazoo_pipelined(ask, seconds, servers.cpu_clock))
        for load, once in ((AWAITED_SET, lambda: client.set(PATH, DATA)), (AWAITED_GET, lambda: client.get(PATH))):
            keep(name, load, called(once, seconds, servers.cpu_clock))
    finally:
        client.stop()
        client.close()


def kazoo_pipelined(ask: Callable[[], Any], seconds: float, cpu_clock: Callable[[], float]) -> Result:
    slots, count = threading.Semaphore(WINDOW), 0

    def on_answer(_: object) -> None:
        nonlocal count
        count += 1
        slots.release()

    cpu, begin = cpu_clock(), time.perf_counter()
    while time.perf_counter() < begin + seconds:
        slots.acquire()
        ask().rawlink(on_answer)
    for _ in range(WINDOW):
        slots.acquire()
    return Result(count, time.perf_counter() - begin, cpu_clock() - cpu)


def called(once: Callable[[], Any], seconds: float, cpu_clock: Callable[[], float]) -> Result:
    latencies: list[float] = []
    cpu = cpu_clock()
    now = begin = time.perf_counter()
    while now < begin + seconds:
        once()
        then, now = now, time.perf_counter()
        latencies.append(now - then)
    return Result(len(latencies), now - begin, cpu_clock() - cpu, tuple(latencies))


# --- the run ---------------------------------------------------------------------------------------------------------

_HAS_KAZOO = importlib.util.find_spec("kazoo") is not None


def measure_all(rounds: int, seconds: float, warm_up: float) -> Found:
    found: Found = {}

    def keep(whose: str, load: str, result: Result) -> None:
        found.setdefault((whose, load), []).append(result)

    with ExitStack() as stack:
        kinds = (ZKCORE,) if missing() else (ZKCORE, APACHE)
        all_servers = [stack.enter_context(Servers(kind, count)) for count in (1, 3) for kind in kinds]
        for servers in all_servers:
            prepare(servers, warm_up if servers.kind is APACHE else min(warm_up, 2.0))
        for _ in range(rounds):
            for servers in all_servers:
                measure_frames(servers, seconds, keep)
                if len(servers.ports) == 1:
                    measure_ours(servers, seconds, keep)
                    if _HAS_KAZOO:
                        measure_kazoo(servers, seconds, keep)
    return found


# --- the table -------------------------------------------------------------------------------------------------------


def print_table(found: Found) -> None:
    print(f"{'a second (p50 us where awaited), CPU us':50}" + "".join(f" {load:>17}" for load in LOADS))
    for whose in dict.fromkeys(whose for whose, _ in found):
        print(f"{whose:50}" + "".join(f" {_cell(found[whose, load]):>17}" for load in LOADS))
    print()


def _cell(results: list[Result]) -> str:
    cpu = statistics.median(result.cpu_micros for result in results)
    if results[0].latencies:
        return f"({statistics.median(map(_p50, results)):,.0f}) {cpu:7,.0f}"
    return f"{statistics.median(map(_rate, results)):,.0f} {cpu:7.1f}"


def _rate(result: Result) -> float:
    return result.rate


def _p50(result: Result) -> float:
    return result.percentile(0.5)


def _cpu(result: Result) -> float:
    return result.cpu_micros


def targets_of(found: Found) -> list[Target]:
    def compare(one: str, other: str, load: str, figure: Callable[[Result], float]) -> float | None:
        ours, theirs = (list(map(figure, found.get((whose, load), ()))) for whose in (one, other))
        return ratio(ours, theirs)

    def name(count: str, kind: Kind) -> str:
        return f"{count} of {kind.name}"

    three, apache = (name("three servers", kind) for kind in (ZKCORE, APACHE))
    alone, apache_alone = (name("one server", kind) for kind in (ZKCORE, APACHE))
    cpu = compare(apache, three, PIPELINED_SET, _cpu)
    targets = [
        Target("sets, three servers, times Apache ZooKeeper's", compare(three, apache, PIPELINED_SET, _rate), 3),
        Target("  and so many times as much CPU costs one of Apache ZooKeeper", cpu, 3),
        Target("gets, three servers, times Apache ZooKeeper's", compare(three, apache, PIPELINED_GET, _rate), 1.5),
        Target("gets, one server, times Apache ZooKeeper's", compare(alone, apache_alone, PIPELINED_GET, _rate), 1.5),
    ]
    for server in (alone, apache_alone) if (apache_alone, PIPELINED_SET) in found else (alone,):
        ours, kazoo = f"{OURS} at {server}", f"{KAZOO} at {server}"
        latency = compare(ours, kazoo, AWAITED_GET, _p50)
        added = compare(ours, server, AWAITED_SET, _p50)
        targets += [
            Target(f"{ours}: sets, times kazoo's", compare(ours, kazoo, PIPELINED_SET, _rate), 3),
            Target(f"{ours}: gets, times kazoo's", compare(ours, kazoo, PIPELINED_GET, _rate), 3),
            Target(f"{ours}: awaited get, share of kazoo's", latency, 0.5, at_most=True),
            Target(f"{ours}: awaited set, times bare frames", added, 1.1, at_most=True),
        ]
    return targets


def main() -> None:
    arguments = options(__doc__, seconds=1.0, each="load")
    absent = "" if _HAS_KAZOO else "not in this environment: pip install kazoo"
    with described(f"medians of {arguments.rounds} rounds", missing={"Apache ZooKeeper": missing(), "kazoo": absent}):
        found = measure_all(arguments.rounds, arguments.seconds, arguments.warm_up)
    print_table(found)
    for target in targets_of(found):
        print(target)


if __name__ == "__main__":
    main()
