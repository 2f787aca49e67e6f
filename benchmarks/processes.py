"""Three processes that agree on every write: zkcore, Apache ZooKeeper and PySyncObj, side by side in one run.

    python benchmarks/processes.py [--quick] [--rounds 3] [--seconds 2] [--warm-up 30]

zkcore is three processes of an application, linked over TCP, with their data on disk and every save synced before it
counts; its clients are in the process of the leader, as they would be in the application's. Apache ZooKeeper is three
servers of Debian's package, which sync their log, too, and are warmed up first; the bytes of requests come from this
process, over a connection to each server, and cost next to nothing (`frames.py`). PySyncObj (the `bench` extra) is
three processes that keep all in memory, asked in that of the leader, at its default settings and at its best tuning
(`appendEntriesPeriod=0.01`); it never syncs, so it promises less.

Rounds alternate between the systems. Rates and CPU microseconds are medians of rounds; the CPU is that of all processes
that take part, whoever asks among them. Latencies are those of the median round. A ratio is the median of those within
the rounds. The CPU says more than the clock where the machine has other things to do: the load stands beside the
calibration loop, before and after. Reads of zkcore and PySyncObj are local, those of ZooKeeper come over the network.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol, Self

from attrs import frozen
from frames import Frames, create, get_data, run_awaited, run_pipelined, set_data
from inprocess import TUNED, Result
from members import PATH, Members, pysyncobj_member, zkcore_member
from runs import described, options
from servers import APACHE, Servers, missing
from targets import Target, ratio

OURS, APACHE_NAME, DEFAULT, BEST = "zkcore", "ZooKeeper", "PySyncObj", "PySyncObj tuned"


@frozen
class Row:
    """What is measured: a load of `members.py`, and its arguments but the seconds."""

    name: str
    load: str
    arguments: tuple[int, ...] = ()


SMALL, DEEP, LARGE, SINGLE, READS = ROWS = (
    Row("sets of 100 bytes, 1,000 under way", "pipelined", (1_000, 100)),
    Row("sets of 100 bytes, 10,000 under way", "pipelined", (10_000, 100)),
    Row("sets of 1 KiB, 1,000 under way", "pipelined", (1_000, 1024)),
    Row("one awaited set of 100 bytes", "awaited", (100,)),
    Row("gets of 100 bytes", "reads"),
)


class System(Protocol):
    def measure(self, load: str, *arguments: float) -> Result: ...


class ZooKeeper:
    """Three servers that are warm, and a connection to each."""

    def __init__(self, warm_up: float) -> None:
        self._warm_up = warm_up
        self._servers = Servers(APACHE, 3)

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            parts.enter_context(self._servers)
            with Frames(self._servers.ports[self._servers.leader]) as frames:
                frames.ask(create(PATH, b"x" * 100))
            self.measure("pipelined", 1_000, 100, self._warm_up * 0.8)
            self.measure("reads", self._warm_up * 0.2)
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def measure(self, load: str, *arguments: float) -> Result:
        *how, seconds = arguments
        ports, cpu_clock = self._servers.ports, self._servers.cpu_clock
        if load == "reads":
            return run_pipelined(ports, get_data(PATH), window=1_000, seconds=seconds, cpu_clock=cpu_clock)
        request = set_data(PATH, b"x" * int(how[-1]))
        if load == "awaited":
            return run_awaited(ports[self._servers.leader], request, seconds=seconds, cpu_clock=cpu_clock)
        return run_pipelined(ports, request, window=int(how[0]), seconds=seconds, cpu_clock=cpu_clock)


Found = dict[tuple[str, Row], list[Result]]


def measure_all(rounds: int, seconds: float, warm_up: float) -> Found:
    """Those that get slower the more they have to keep begin anew in every round."""
    found: Found = {}

    def measure(name: str, system: System) -> None:
        # The deepest queue comes last: not everybody recovers from it.
        for row in sorted(ROWS, key=lambda row: row is DEEP):
            found.setdefault((name, row), []).append(system.measure(row.load, *row.arguments, seconds))

    with ExitStack() as stack:
        ours = stack.enter_context(Members(zkcore_member))
        ours.measure("pipelined", 1_000, 100, seconds)
        apache = stack.enter_context(ZooKeeper(warm_up)) if not missing() else None
        for _ in range(rounds):
            measure(OURS, ours)
            if apache is not None:
                measure(APACHE_NAME, apache)
            for name, options in _PEERS.items():
                with _peer(options) as peer:
                    peer.measure("pipelined", 200, 100, seconds / 4)
                    measure(name, peer)
    return found


_HAS_PYSYNCOBJ = importlib.util.find_spec("pysyncobj") is not None
_PEERS: dict[str, dict[str, float]] = {DEFAULT: {}, BEST: TUNED} if _HAS_PYSYNCOBJ else {}


def _peer(options: dict[str, float]) -> AbstractContextManager[Members]:
    return Members(pysyncobj_member, **options)


# --- the table -------------------------------------------------------------------------------------------------------


def print_table(found: Found) -> None:
    systems = (OURS, APACHE_NAME, DEFAULT, BEST)
    print(f"{'a second, and CPU us of each':36}" + "".join(f" {name:>20}" for name in systems))
    for row in ROWS:
        print(f"{row.name:36}" + "".join(f" {_cell(found.get((name, row))):>20}" for name in systems))
    print(f"{'  p50, p99 of those awaited, us':36}" + "".join(
        f" {_latency(found.get((name, SINGLE))):>20}" for name in systems
    ), end="\n\n")  # fmt: skip


def _cell(results: list[Result] | None) -> str:
    if not results:
        return "-"
    rate = statistics.median(result.rate for result in results)
    return f"{rate:,.0f} {statistics.median(result.cpu_micros for result in results):8.1f}"


def _latency(results: list[Result] | None) -> str:
    if not results:
        return "-"
    middle = sorted(results, key=lambda result: result.rate)[len(results) // 2]
    return f"{middle.percentile(0.5):,.0f} {middle.percentile(0.99):9,.0f}"


def targets_of(found: Found) -> list[Target]:
    def figures(name: str, row: Row, figure: Callable[[Result], float]) -> list[float]:
        return [figure(result) for result in found.get((name, row), ())]

    def times(row: Row, *peers: str) -> float | None:
        """So many times as many as the best of the peers."""
        theirs = [figures(peer, row, lambda result: result.rate) for peer in peers]
        best = [max(rates) for rates in zip(*theirs, strict=True)]
        return ratio(figures(OURS, row, lambda result: result.rate), best)

    def cpu(row: Row, name: str) -> list[float]:
        return figures(name, row, lambda result: result.cpu_micros)

    ours = cpu(SMALL, OURS)
    p50s = [figures(name, SINGLE, lambda result: result.percentile(0.5)) for name in (OURS, APACHE_NAME)]
    return [
        Target(f"{SMALL.name}, times ZooKeeper's", times(SMALL, APACHE_NAME), 3),
        Target(f"{DEEP.name}, times ZooKeeper's", times(DEEP, APACHE_NAME), 3),
        Target("CPU us of such a set", statistics.median(ours), 40, at_most=True),
        Target("  and so many times as much costs one of ZooKeeper", ratio(cpu(SMALL, APACHE_NAME), ours), 3),
        Target(f"{SMALL.name}, times PySyncObj's best", times(SMALL, DEFAULT, BEST), 2),
        Target(f"{DEEP.name}, times PySyncObj's best", times(DEEP, DEFAULT, BEST), 1),
        Target("p50 of one awaited set, times ZooKeeper's", ratio(*p50s), 1, at_most=True),
    ]  # fmt: skip


def main() -> None:
    arguments = options(__doc__, seconds=2.0, each="row and system")
    absent = "" if _HAS_PYSYNCOBJ else "not in this environment: pip install pysyncobj"
    with described(f"medians of {arguments.rounds} rounds", missing={"ZooKeeper": missing(), "PySyncObj": absent}):
        found = measure_all(arguments.rounds, arguments.seconds, arguments.warm_up)
    print_table(found)
    for target in targets_of(found):
        print(target)


if __name__ == "__main__":
    main()
