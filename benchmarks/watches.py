"""Watches of one replica, alone on one core: what a change costs by those who watch it, and what a gap costs.

    python benchmarks/watches.py [--rounds 5]

Every figure is the median of the rounds, in CPU milliseconds of this process; in the row of the tasks they are those
of all three replicas and of all clients. The calibration loop tells how fast the machine was at the time; the budget is
beside what has one.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from calibration import describe

import zkcore
from zkcore.jute.codec import codec_of
from zkcore.jute.records import OPEN_ACL, CreateTxn, SetDataTxn, TxnHeader
from zkcore.tree.applied import Applied
from zkcore.tree.requests import GetData
from zkcore.tree.tree import Tree
from zkcore.tree.watch_requests import AddWatch, CatchUp, WatchMode
from zkcore.tree.watches import Watches

SESSIONS = 10_000
CLIENTS = 100
SETS = 20_000


class World:
    """/app/0 to /app/9, and watches."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.watches = Watches()
        self.zxid = 0
        self.apply(CreateTxn.TYPE, codec_of(CreateTxn).pack("/app", b"", OPEN_ACL, False, -1))
        for number in range(10):
            self.apply(CreateTxn.TYPE, codec_of(CreateTxn).pack(f"/app/{number}", b"", OPEN_ACL, False, -1))

    def apply(self, kind: int, body: bytes) -> Applied:
        self.zxid += 1
        payload = codec_of(TxnHeader).pack(1, 1, self.zxid, 0, kind) + body
        return self.tree.apply(self.zxid, payload)

    def set_data(self, path: str = "/app/0") -> Applied:
        return self.apply(SetDataTxn.TYPE, codec_of(SetDataTxn).pack(path, b"x" * 100, 1))


def timed(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1e3


# --- one change -------------------------------------------------------------------------------------------------------


def one_shot() -> float:
    world = World()
    for session in range(SESSIONS):
        world.watches.read(world.tree, GetData("/app/0", True), session=session)
    applied = world.set_data()
    took = timed(lambda: world.watches.trigger(applied))
    assert len(world.watches) == 0
    return took


def lasting(path: str, mode: WatchMode) -> float:
    world = World()
    for session in range(SESSIONS):
        world.watches.read(world.tree, AddWatch(path, mode), session=session)
    applied = world.set_data()
    took = timed(lambda: world.watches.trigger(applied))
    assert len(world.watches.trigger(world.set_data())) == SESSIONS
    return took


def restricted() -> float:
    """As `lasting`, where each watcher's right to read is asked for."""
    world = World()
    for session in range(SESSIONS):
        world.watches.read(world.tree, AddWatch("/app/0"), session=session)
    applied = world.set_data()
    return timed(lambda: world.watches.trigger(applied, lambda event: lambda session: session % 2 == 0))


def awaited() -> float:
    """A set, and 10,000 tasks of 100 clients that await it, until the last of them has run."""

    async def task(client: zkcore.Client, changed: asyncio.Future[object]) -> None:
        await client.get("/app", watch=changed.set_result)
        await changed

    async def main() -> float:
        async with zkcore.local_cluster(3) as cluster, AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(cluster.client()) for _ in range(CLIENTS)]
            await clients[0].create("/app")
            await asyncio.gather(*(client.sync() for client in clients))
            changes = [asyncio.get_running_loop().create_future() for _ in range(SESSIONS)]
            tasks = [asyncio.ensure_future(task(clients[n % CLIENTS], each)) for n, each in enumerate(changes)]
            await asyncio.sleep(0)
            begin = time.process_time()
            await clients[0].set("/app", b"x")
            await asyncio.gather(*tasks)
            return (time.process_time() - begin) * 1e3

    return asyncio.run(main())


# --- many changes -----------------------------------------------------------------------------------------------------


def unwatched(watch: AddWatch | None) -> float:
    """Microseconds of `trigger` for each set of a znode that nobody watches; `watch` is somewhere else."""
    world = World()
    if watch is not None:
        for session in range(SESSIONS):
            world.watches.read(world.tree, AddWatch(f"{watch.path}/{session}", watch.mode), session=session)
    sets = [world.set_data(f"/app/{number % 10}") for number in range(SETS)]

    def trigger_all() -> None:
        for applied in sets:
            world.watches.trigger(applied)

    return timed(trigger_all) / SETS * 1e3


def caught_up() -> float:
    """One session that missed 1,000 changes, of which a tenth is its business."""
    world = World()
    since = world.zxid
    for number in range(1000):
        world.watches.trigger(world.set_data(f"/app/{number % 10}"))
    request = CatchUp(since, recursive=["/app/0"])
    took = timed(lambda: world.watches.read(world.tree, request, session=1))
    assert len(world.watches.read(world.tree, request, session=2)) == 100
    return took


ROWS: list[tuple[str, Callable[[], float], str]] = [
    (f"a set seen by {SESSIONS:,} one-shot watches", one_shot, "ms of 20"),
    (f"a set seen by {SESSIONS:,} persistent watches", lambda: lasting("/app/0", WatchMode.PERSISTENT), "ms of 20"),
    (
        f"a set seen by {SESSIONS:,} recursive watches", lambda: lasting("/", WatchMode.PERSISTENT_RECURSIVE),
        "ms of 20",
    ),
    (f"a set seen by {SESSIONS:,} watches under an ACL", restricted, "ms of 20"),
    (f"a set until {SESSIONS:,} tasks that await it have run", awaited, "ms of 50"),
    ("an unwatched set, no watches at all", lambda: unwatched(None), "us"),
    (f"the same, {SESSIONS:,} persistent watches elsewhere", lambda: unwatched(AddWatch("/other")), "us"),
    (
        f"the same, {SESSIONS:,} recursive watches elsewhere",
        lambda: unwatched(AddWatch("/other", WatchMode.PERSISTENT_RECURSIVE)), "us",
    ),
    ("catching up with 1,000 changes", caught_up, "ms"),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, zkcore {zkcore.__version__}; medians of {arguments.rounds} rounds")
    print(describe("before"))
    found = [[measure() for _, measure, _ in ROWS] for _ in range(arguments.rounds)]
    print(describe("after"), end="\n\n")
    for (what, _, unit), figures in zip(ROWS, zip(*found, strict=True), strict=True):
        print(f"{what:52} {statistics.median(figures):8.2f} {unit}")


if __name__ == "__main__":
    main()
