"""The recipes, one beside the other in one run: embedded zkcore, kazoo on an Apache ZooKeeper, and PySyncObj's locks.

    python benchmarks/recipes.py [--rounds 3] [--seconds 0.4] [--only lock] [--on-disk] [--no-force-sync]

zkcore is three replicas in this process, with memory storage (`--on-disk`: in files that are synced), used by tasks
and, where that is as simple, by blocking code (`zkcore.sync`). kazoo (the `bench` extra) uses three servers of Debian's
package `zookeeper` on this machine, which sync their log (`--no-force-sync`: do not), and whose just-in-time compilers
are warm. PySyncObj (the same extra) is three objects in this process, at its default settings and at its best tuning
(`appendEntriesPeriod=0.01`); it has locks and no other recipe, and no more contenders than objects.

All clients of zkcore and of ZooKeeper are connected to the leader, where a write has the shortest way. Rounds
alternate between the systems. Every figure is a median of rounds, in microseconds for each operation: on the clock, and
of CPU, which for kazoo is that of the servers, too. Behind a figure stands how many times that of zkcore it is. The
calibration loop tells how fast the machine was at the time. A peer that is missing is left out.

A hand-over is timed from the release by who holds until the last in line has got it, each giving it on at once, and
divided by their number; standing in line is not timed. The eight of a barrier are timed from their coming until all
have passed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import platform
import statistics
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AsyncExitStack, ExitStack
from itertools import count
from typing import Any

from attrs import frozen
from calibration import describe
from inprocess import TUNED, Divergences
from systems import CLIENTS, DATA, Awaited, Called, Micros, PySyncObj, Stopwatch, ZooKeeper, run_blocking, run_zkcore

import zkcore
import zkcore.sync as blocking

WAITERS = CLIENTS - 1
PARTIES = 8
PERMITS = 10
TARGET = 10
"""So many times as fast as kazoo every recipe is to be."""

Action = Callable[[], Any]


# --- one after the other ----------------------------------------------------------------------------------------------


def awaited(make: Callable[[zkcore.Client], Action]) -> Awaited:
    async def measure(clients: Sequence[zkcore.Client], stopwatch: Stopwatch) -> None:
        act = make(clients[0])
        while stopwatch.goes_on:
            with stopwatch.over(1):
                await act()

    return measure


def called(make: Callable[[Any], Action]) -> Called:
    def measure(clients: Sequence[Any], stopwatch: Stopwatch) -> None:
        act = make(clients[0])
        while stopwatch.goes_on:
            with stopwatch.over(1):
                act()

    return measure


def enter_async(lock: Any) -> Action:
    async def act() -> None:
        async with lock:
            pass

    return act


def enter(lock: Any) -> Action:
    """Of zkcore.sync and of kazoo alike."""

    def act() -> None:
        with lock:
            pass

    return act


def put_get_async(queue: Any, **options: int) -> Action:
    async def act() -> None:
        await queue.put(DATA, **options)
        assert await queue.get() == DATA

    return act


def put_get(queue: Any, **options: int) -> Action:
    """Of zkcore.sync and of kazoo alike."""

    def act() -> None:
        queue.put(DATA, **options)
        assert queue.get() == DATA

    return act


def put_claim_async(client: zkcore.Client) -> Action:
    queue: zkcore.Queue[bytes] = zkcore.Queue(client, "/bench/claimed")

    async def act() -> None:
        await queue.put(DATA)
        async with queue.claim() as claim:
            assert claim.item == DATA

    return act


def put_claim(client: blocking.Client) -> Action:
    queue: blocking.Queue[bytes] = blocking.Queue(client, "/bench/claimed")

    def act() -> None:
        queue.put(DATA)
        with queue.claim() as claim:
            assert claim.item == DATA

    return act


def kazoo_put_consume(client: Any) -> Action:
    queue = client.LockingQueue("/bench/claimed")

    def act() -> None:
        queue.put(DATA)
        assert queue.get() == DATA
        assert queue.consume()

    return act


def add(counter: Any) -> Action:
    """Of zkcore, where it is awaited, of zkcore.sync and of kazoo."""
    return lambda: counter.add(1)


def kazoo_add(client: Any) -> Action:
    counter = client.Counter("/bench/counter")

    def act() -> None:
        nonlocal counter
        counter += 1

    return act


# --- hand-over ------------------------------------------------------------------------------------------------------


LINE = "/bench/line"


def handed_over_async(hold: Callable[[zkcore.Client], Any]) -> Awaited:
    """`hold` gives what is entered once, and stands in line below LINE for it."""

    async def measure(clients: Sequence[zkcore.Client], stopwatch: Stopwatch) -> None:
        first, *others = clients
        got = asyncio.Semaphore(0)

        async def stand_in_line(client: zkcore.Client) -> None:
            async with hold(client):
                got.release()

        while stopwatch.goes_on:
            async with AsyncExitStack() as held, asyncio.TaskGroup() as tasks:
                await held.enter_async_context(hold(first))
                for client in others:
                    tasks.create_task(stand_in_line(client))
                while len(await first.get_children(LINE)) <= WAITERS:
                    await asyncio.sleep(0)
                with stopwatch.over(WAITERS):
                    await held.aclose()
                    for _ in range(WAITERS):
                        await got.acquire()

    return measure


def handed_over(make: Callable[[Any], Any], run: Callable[[Any, Action], object]) -> Called:
    """The same for kazoo: `run` does something while it holds what `make` made."""

    def measure(clients: Sequence[Any], stopwatch: Stopwatch) -> None:
        first, *others = [make(client) for client in clients]
        got = threading.Semaphore(0)
        with ThreadPoolExecutor(WAITERS) as pool:

            def until_they_wait() -> None:
                waits.extend(pool.submit(run, lock, got.release) for lock in others)
                while len(clients[0].get_children(LINE)) <= WAITERS:
                    pass
                timed.enter_context(stopwatch.over(WAITERS))

            while stopwatch.goes_on:
                waits: list[Future[object]] = []
                with ExitStack() as timed:
                    run(first, until_they_wait)
                    for _ in range(WAITERS):
                        got.acquire()
                wait(waits)

    return measure


def kazoo_run_locked(lock: Any, act: Action) -> None:
    with lock:
        act()


# --- the barrier ----------------------------------------------------------------------------------------------------


async def barrier_async(clients: Sequence[zkcore.Client], stopwatch: Stopwatch) -> None:
    barriers = [zkcore.Barrier(client, "/bench/barrier", parties=PARTIES) for client in clients[:PARTIES]]
    while stopwatch.goes_on:
        with stopwatch.over(1):
            await asyncio.gather(*(barrier.wait() for barrier in barriers))


_NUMBERS = count()


def kazoo_barrier(clients: Sequence[Any], stopwatch: Stopwatch) -> None:
    """A path is used once: of kazoo's double barriers one who comes back may find the end of the last time."""
    with ThreadPoolExecutor(PARTIES) as pool:
        while stopwatch.goes_on:
            path = f"/bench/barriers/{next(_NUMBERS)}"
            clients[0].ensure_path(path)
            barriers = [client.DoubleBarrier(path, PARTIES) for client in clients[:PARTIES]]
            with stopwatch.over(1):
                list(pool.map(lambda barrier: barrier.enter(), barriers))
            assert all(barrier.participating for barrier in barriers)
            list(pool.map(lambda barrier: barrier.leave(), barriers))


# --- PySyncObj -------------------------------------------------------------------------------------------------------


def pysyncobj_lock(managers: Sequence[Any], stopwatch: Stopwatch) -> None:
    while stopwatch.goes_on:
        with stopwatch.over(1):
            assert managers[0].tryAcquire("lock", sync=True, timeout=10)
            managers[0].release("lock", sync=True, timeout=10)


def pysyncobj_handed_over(managers: Sequence[Any], stopwatch: Stopwatch) -> None:
    """Who waits can only ask again and again. Two do, for an object has one lock of a name, whoever uses it."""
    first, *others = managers
    got = threading.Semaphore(0)

    def stand_in_line(manager: Any) -> None:
        while not manager.tryAcquire("line", sync=True, timeout=10):
            asked.release()
        got.release()
        manager.release("line", sync=True, timeout=10)

    while stopwatch.goes_on:
        asked = threading.Semaphore(0)
        assert first.tryAcquire("line", sync=True, timeout=10)
        with ThreadPoolExecutor(len(others)) as pool:
            waits = [pool.submit(stand_in_line, manager) for manager in others]
            for _ in others:
                asked.acquire()
            with stopwatch.over(len(others)):
                first.release("line", sync=True, timeout=10)
                for _ in others:
                    got.acquire()
            wait(waits)


# --- the rows -------------------------------------------------------------------------------------------------------


@frozen
class Row:
    """What is measured of each system; None for one that has no such recipe, or that is not measured."""

    name: str
    zkcore: Awaited
    kazoo: Called
    blocking: Called | None = None
    pysyncobj: Called | None = None


ROWS = (
    Row(
        "lock, acquire + release",
        awaited(lambda client: enter_async(zkcore.Lock(client, "/bench/lock"))),
        called(lambda client: enter(client.Lock("/bench/lock"))),
        called(lambda client: enter(blocking.Lock(client, "/bench/lock"))),
        pysyncobj_lock,
    ),
    Row(
        "lock, hand-over, 10 waiting",
        handed_over_async(lambda client: zkcore.Lock(client, LINE)),
        handed_over(lambda client: client.Lock(LINE), kazoo_run_locked),
        pysyncobj=pysyncobj_handed_over,
    ),
    Row(
        "read-write lock, write",
        awaited(lambda client: enter_async(zkcore.ReadWriteLock(client, "/bench/shared").writer)),
        called(lambda client: enter(client.WriteLock("/bench/shared"))),
        called(lambda client: enter(blocking.ReadWriteLock(client, "/bench/shared").writer)),
    ),
    Row(
        "semaphore, acquire + release",
        awaited(lambda client: enter_async(zkcore.Semaphore(client, "/bench/permits", value=PERMITS))),
        called(lambda client: enter(client.Semaphore("/bench/permits", max_leases=PERMITS))),
        called(lambda client: enter(blocking.Semaphore(client, "/bench/permits", value=PERMITS))),
    ),
    Row(
        "election, hand-over, 10 waiting",
        handed_over_async(lambda client: zkcore.Election(client, LINE).lead()),
        handed_over(lambda client: client.Election(LINE), lambda election, act: election.run(act)),
    ),
    Row(
        "queue, put + get",
        awaited(lambda client: put_get_async(zkcore.Queue(client, "/bench/queue"))),
        called(lambda client: put_get(client.Queue("/bench/queue"))),
        called(lambda client: put_get(blocking.Queue(client, "/bench/queue"))),
    ),
    Row("queue, put + claim + ack", awaited(put_claim_async), called(kazoo_put_consume), called(put_claim)),
    Row(
        "priority queue, put + get",
        awaited(lambda client: put_get_async(zkcore.PriorityQueue(client, "/bench/urgent"), priority=7)),
        called(lambda client: put_get(client.Queue("/bench/urgent"), priority=7)),
        called(lambda client: put_get(blocking.PriorityQueue(client, "/bench/urgent"), priority=7)),
    ),
    Row("barrier of 8, enter", barrier_async, kazoo_barrier),
    Row(
        "counter, add",
        awaited(lambda client: add(zkcore.Counter(client, "/bench/counter"))),
        called(kazoo_add),
        called(lambda client: add(blocking.Counter(client, "/bench/counter"))),
    ),
)


# --- the table -------------------------------------------------------------------------------------------------------

OURS = "zkcore"
BLOCKING = "zkcore.sync"
KAZOO = "kazoo"
PYSYNCOBJ = {"PySyncObj": {}, "PySyncObj tuned": TUNED}

Found = dict[tuple[str, str], list[Micros]]


def measure_round(
    rows: Sequence[Row], zookeeper: ZooKeeper | None, found: Found, seconds: float, on_disk: bool
) -> None:
    def keep(row: Row, system: str, micros: Micros) -> None:
        found.setdefault((row.name, system), []).append(micros)

    for row in rows:
        keep(row, OURS, run_zkcore(row.zkcore, seconds, on_disk=on_disk))
        if row.blocking is not None:
            keep(row, BLOCKING, run_blocking(row.blocking, seconds, on_disk=on_disk))
        if zookeeper is not None:
            keep(row, KAZOO, zookeeper.run(row.kazoo, seconds))
    if importlib.util.find_spec("pysyncobj") is not None and any(row.pysyncobj for row in rows):
        for system, options in PYSYNCOBJ.items():
            with PySyncObj(options) as objects:
                for row in rows:
                    if row.pysyncobj is not None:
                        keep(row, system, objects.run(row.pysyncobj, seconds))


def print_table(rows: Sequence[Row], found: Found) -> None:
    def median(row: Row, system: str) -> Micros | None:
        rounds = found.get((row.name, system))
        if rounds is None:
            return None
        return Micros(statistics.median(one.wall for one in rounds), statistics.median(one.cpu for one in rounds))

    def cells(micros: Micros | None, ours: Micros) -> str:
        return f"{'-':>9} {'':6}" if micros is None else f"{micros.wall:9,.0f} {micros.wall / ours.wall:5.1f}x"

    def cpu(micros: Micros | None) -> str:
        return f"{'-':>7}" if micros is None else f"{micros.cpu:7,.0f}"

    missed: dict[str, list[str]] = {KAZOO: [], **{system: [] for system in PYSYNCOBJ}}
    print(f"{'us for each operation':32} {OURS:>8} {'CPU':>7} {BLOCKING:>16} {KAZOO:>16} {'CPU':>7}", end="")
    print("".join(f" {system:>16}" for system in PYSYNCOBJ))
    for row in rows:
        ours, kazoo = median(row, OURS), median(row, KAZOO)
        assert ours is not None
        print(f"{row.name:32} {ours.wall:8,.0f} {cpu(ours)} {cells(median(row, BLOCKING), ours)}", end=" ")
        print(f"{cells(kazoo, ours)} {cpu(kazoo)}", end="")
        for system in PYSYNCOBJ:
            print(f" {cells(median(row, system), ours)}", end="")
        print()
        for system, misses in missed.items():
            peer = median(row, system)
            if peer is not None and peer.wall < ours.wall * (TARGET if system == KAZOO else 1):
                misses.append(row.name)
    print()
    for system, misses in missed.items():
        if any((row.name, system) in found for row in rows):
            target = f"{TARGET} times as fast as {KAZOO}" if system == KAZOO else f"faster than {system}"
            print(f"zkcore is {target} in every row" if not misses else f"zkcore is not {target}: {'; '.join(misses)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each row and system in a round")
    parser.add_argument("--only", default="", metavar="WORD", help="the rows that have it in their name")
    parser.add_argument("--on-disk", action="store_true", help="zkcore in files, which are synced")
    parser.add_argument("--no-force-sync", action="store_true", help="ZooKeeper that does not sync its log")
    arguments = parser.parse_args()
    rows = [row for row in ROWS if arguments.only in row.name]
    print(f"Python {platform.python_version()}, zkcore {zkcore.__version__}; medians of {arguments.rounds} rounds")
    divergences = Divergences()
    logging.getLogger().addHandler(divergences)
    found: Found = {}
    with ExitStack() as stack:
        zookeeper = None
        if missing := ZooKeeper.missing():
            print(f"without kazoo: {missing}")
        else:
            zookeeper = stack.enter_context(ZooKeeper(force_sync=not arguments.no_force_sync))
        if importlib.util.find_spec("pysyncobj") is None:
            print("without PySyncObj: not in this environment: pip install pysyncobj")
        print(describe("before"))
        for _ in range(arguments.rounds):
            measure_round(rows, zookeeper, found, arguments.seconds, arguments.on_disk)
        print(describe("after"), end="\n\n")
    print_table(rows, found)
    if divergences.seen:
        print(f"PySyncObj logged {divergences.seen} times that it truncated entries it had applied already")


if __name__ == "__main__":
    main()
