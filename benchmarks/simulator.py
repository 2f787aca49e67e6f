"""The simulator: events and seeds for each CPU second, of the core alone and of whole replicas with clients on them.

    python benchmarks/simulator.py [--rounds 5] [--seeds 40] [--first-seed 0]

Each round simulates other seeds, and the same for both; before and after each it times a calibration loop, pushes and
pops on a heap, which is what any simulation in pure Python does at least. Figures are medians of rounds, with the
lowest and the highest. CPU seconds depend less than others on what else the machine is doing; what the calibration
loop does in the time of one event depends on the machine hardly at all.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from heapq import heappop, heappush

from attrs import Factory, define

from zkcore.testing.faults import Plan
from zkcore.testing.load import BarePeers, Program
from zkcore.testing.replicas import Replicas
from zkcore.testing.world import simulate

DRIVES: dict[str, Callable[[Plan], Program]] = {"the core alone": BarePeers, "whole replicas": Replicas}


def calibrate() -> float:
    """Pushes and pops, in pairs, for each CPU second, on a heap of 1000 events like those of a world."""
    heap: list[tuple[int, int, object]] = []
    count = 200_000
    begin = time.process_time()
    for number in range(count):
        heappush(heap, (number * 7919 % 1_000_003, number, None))
        if number >= 1000:
            heappop(heap)
    return count / (time.process_time() - begin)


@define
class Rates:
    """What the rounds of one drive came to."""

    events: list[float] = Factory(list)
    seeds: list[float] = Factory(list)
    calibration: list[float] = Factory(list)

    def measure(self, seeds: range, make_program: Callable[[Plan], Program]) -> None:
        before = calibrate()
        begin = time.process_time()
        events = 0
        for seed in seeds:
            report = simulate(seed, make_program=make_program)
            assert report.violation is None, f"seed {seed} breaks {report.violation}"
            events += report.events
        cpu_s = time.process_time() - begin
        self.events.append(events / cpu_s)
        self.seeds.append(len(seeds) / cpu_s)
        self.calibration.append((before + calibrate()) / 2)

    @property
    def pairs_for_an_event(self) -> list[float]:
        return [calibration / events for calibration, events in zip(self.calibration, self.events, strict=True)]


def describe(values: list[float], digits: int = 0) -> str:
    middle, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seeds", type=int, default=40, metavar="N", help="of each round (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N")
    chosen = parser.parse_args()
    rates = {drive: Rates() for drive in DRIVES}
    for number in range(chosen.rounds):
        first = chosen.first_seed + number * chosen.seeds
        for drive, make_program in DRIVES.items():
            rates[drive].measure(range(first, first + chosen.seeds), make_program)
    print(f"Python {platform.python_version()} on {platform.machine()}, {chosen.rounds} rounds of {chosen.seeds} seeds")
    for drive, measured in rates.items():
        print(f"\n{drive}:")
        print(f"  events per CPU second       {describe(measured.events)}")
        print(f"  seeds per CPU second        {describe(measured.seeds, 1)}")
        print(f"  calibration, pairs per s    {describe(measured.calibration)}")
        print(f"  such pairs for one event    {describe(measured.pairs_for_an_event, 1)}")


if __name__ == "__main__":
    main()
