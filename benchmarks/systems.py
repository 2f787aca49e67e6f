"""What runs the recipes that `recipes.py` measures: zkcore, a ZooKeeper with clients of kazoo, PySyncObj; and a clock.

Each system has a number of clients and runs what it is given with all of them: for a moment to warm up, then timed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from attrs import frozen
from inprocess import free_ports
from servers import APACHE, Servers, missing

import zkcore
import zkcore.sync as blocking

__all__ = [
    "CLIENTS", "DATA", "Awaited", "Called", "Micros", "PySyncObj", "Stopwatch", "ZooKeeper", "run_blocking",
    "run_zkcore",
]  # fmt: skip

CLIENTS = 11
"""Of zkcore and of ZooKeeper: one who holds, and ten who wait."""
DATA = b"x" * 100
WARM_UP_SETS = 300
"""On each connection, before anything is measured."""


class Stopwatch:
    """Adds up one round: what stands in `with stopwatch.over(operations)` is timed, and nothing else is."""

    def __init__(self, seconds: float, cpu_clock: Callable[[], float] = time.process_time) -> None:
        self._most = seconds
        self._cpu_clock = cpu_clock
        self._begin = time.perf_counter()
        self._operations = 0
        self._seconds = 0.0
        self._cpu_seconds = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether the round is not over: it also ends when what is not timed has taken several times as long."""
        return self._seconds < self._most and time.perf_counter() < self._begin + 5 * self._most

    def over(self, operations: int) -> Stopwatch:
        self._operations += operations
        return self

    def __enter__(self) -> None:
        self._cpu_then = self._cpu_clock()
        self._then = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds += time.perf_counter() - self._then
        self._cpu_seconds += self._cpu_clock() - self._cpu_then

    @property
    def micros(self) -> Micros:
        return Micros(self._seconds / self._operations * 1e6, self._cpu_seconds / self._operations * 1e6)


@frozen
class Micros:
    """One operation: on the clock, and of CPU."""

    wall: float
    cpu: float


Awaited = Callable[[Sequence[zkcore.Client], Stopwatch], Awaitable[None]]
Called = Callable[[Sequence[Any], Stopwatch], None]


# --- zkcore -------------------------------------------------------------------------------------------------------


def run_zkcore(measure: Awaited, seconds: float, *, on_disk: bool) -> Micros:
    async def main() -> Micros:
        async with AsyncExitStack() as stack:
            where = stack.enter_context(tempfile.TemporaryDirectory()) if on_disk else None
            cluster = await stack.enter_async_context(zkcore.local_cluster(3, data_dir=where, new=on_disk))
            clients = [await stack.enter_async_context(cluster.client()) for _ in range(CLIENTS)]
            await measure(clients, Stopwatch(seconds / 4))  # warm up
            stopwatch = Stopwatch(seconds)
            await measure(clients, stopwatch)
            return stopwatch.micros

    return asyncio.run(main())


def run_blocking(measure: Called, seconds: float, *, on_disk: bool) -> Micros:
    with ExitStack() as stack:
        where = stack.enter_context(tempfile.TemporaryDirectory()) if on_disk else None
        cluster = stack.enter_context(blocking.local_cluster(3, data_dir=where, new=on_disk))
        clients = [stack.enter_context(cluster.client())]
        measure(clients, Stopwatch(seconds / 4))  # warm up
        stopwatch = Stopwatch(seconds)
        measure(clients, stopwatch)
        return stopwatch.micros


# --- kazoo ---------------------------------------------------------------------------------------------------------


class ZooKeeper:
    """Three servers, and clients of kazoo, all connected to the leader."""

    def __init__(self, *, force_sync: bool) -> None:
        self._servers = Servers(APACHE, 3, force_sync=force_sync)
        self.clients: list[Any] = []

    @staticmethod
    def missing() -> str:
        """Why there can be none here; "" where there can."""
        if importlib.util.find_spec("kazoo") is None:
            return "no kazoo in this environment: pip install kazoo"
        return missing()

    def __enter__(self) -> ZooKeeper:
        with ExitStack() as parts:
            servers = parts.enter_context(self._servers)
            parts.callback(self._disconnect)
            self._connect(servers.ports[servers.leader])
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def _connect(self, port: int) -> None:
        from kazoo.client import KazooClient

        for _ in range(CLIENTS):
            client = KazooClient(hosts=f"127.0.0.1:{port}", timeout=30)
            self.clients.append(client)
            client.start(timeout=30)
            client.ensure_path("/bench/warm")
            for asked in [client.set_async("/bench/warm", DATA) for _ in range(WARM_UP_SETS)]:
                asked.get(timeout=30)

    def _disconnect(self) -> None:
        for client in self.clients:
            client.stop()
            client.close()

    def run(self, measure: Called, seconds: float) -> Micros:
        measure(self.clients, Stopwatch(seconds / 4))
        stopwatch = Stopwatch(seconds, self._servers.cpu_clock)
        measure(self.clients, stopwatch)
        return stopwatch.micros


# --- PySyncObj -----------------------------------------------------------------------------------------------------


class PySyncObj:
    """Three objects in this process with a lock manager each, the leader's first. They work all the time, so they are
    there only while they are measured."""

    def __init__(self, options: dict[str, Any]) -> None:
        from pysyncobj import SyncObj, SyncObjConf
        from pysyncobj.batteries import ReplLockManager

        addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        self._managers, self._nodes = [], []
        for me in addresses:
            manager = ReplLockManager(autoUnlockTime=75, selfID=me)
            others = [other for other in addresses if other != me]
            self._nodes.append(SyncObj(me, others, SyncObjConf(**options), consumers=[manager]))
            self._managers.append(manager)
        deadline = time.monotonic() + 30
        while not all(node.isReady() and node._getLeader() is not None for node in self._nodes):
            if time.monotonic() > deadline:
                raise TimeoutError("PySyncObj found no leader")
            time.sleep(0.05)
        leader = addresses.index(str(self._nodes[0]._getLeader()))
        self._managers.insert(0, self._managers.pop(leader))

    def __enter__(self) -> PySyncObj:
        return self

    def __exit__(self, *_: object) -> None:
        for manager in self._managers:
            manager.destroy()
        for node in self._nodes:
            node.destroy()
        time.sleep(0.3)  # its threads end by themselves

    def run(self, measure: Called, seconds: float) -> Micros:
        measure(self._managers, Stopwatch(seconds / 4))
        stopwatch = Stopwatch(seconds)
        measure(self._managers, stopwatch)
        return stopwatch.micros
