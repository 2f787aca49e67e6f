"""`sim run` and `sim replay`: simulate ensembles from seeds, and look at one of them closely.

`run` stops at the first seed that breaks an invariant and says how to replay it; `replay` runs that seed again, event
for event, and prints what happened.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any, NamedTuple

from attrs import Factory, define

from zkcore.testing.faults import Plan
from zkcore.testing.load import BarePeers, Program
from zkcore.testing.mutants import MUTANTS, planted
from zkcore.testing.replicas import Replicas
from zkcore.testing.world import Report, simulate

__all__ = ["add_to"]

PROGRAMS: dict[str, Callable[[Plan], Program]] = {"peers": BarePeers, "replicas": Replicas}

BATCH = 20
"""Seeds that one worker runs before it reports."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `sim`."""
    sim = commands.add_parser("sim", help="simulate ensembles under faults", description=__doc__.splitlines()[0])
    actions = sim.add_subparsers(metavar="ACTION", required=True)

    run = actions.add_parser("run", help="run many seeds; exits with 1 at the first violation")
    run.add_argument("--seeds", type=int, default=200, metavar="N", help="how many seeds to run (default: %(default)s)")
    run.add_argument("--first-seed", type=int, default=0, metavar="N", help="the first of them (default: %(default)s)")
    run.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: %(default)s)")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.set_defaults(run=_run)

    replay = actions.add_parser("replay", help="run one seed again and print its trace")
    replay.add_argument("--seed", type=int, required=True, metavar="N")
    shown = replay.add_mutually_exclusive_group()
    shown.add_argument("--last", type=int, default=100, metavar="N", help="print so many lines (default: %(default)s)")
    shown.add_argument("--full", action="store_true", help="print every line")
    replay.set_defaults(run=_replay)

    for parser in (run, replay):
        parser.add_argument(
            "--mutant", choices=sorted(MUTANTS), metavar="NAME",
            help="plant this bug first, to see whether it is found: " + ", ".join(sorted(MUTANTS)),
        )  # fmt: skip
        parser.add_argument(
            "--drive", choices=sorted(PROGRAMS), default="replicas",
            help="what runs on the nodes: replicas with clients on them, or the core alone (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--without", action="append", default=[], metavar="INVARIANT", help="do not check this one; may be repeated"
        )


@define
class _Totals:
    """The sum of many reports."""

    seeds: int = 0
    events: int = 0
    committed: int = 0
    virtual_ns: int = 0
    slowest_converge_ns: int = 0
    cpu_s: float = 0.0
    faults: Counter[str] = Factory(Counter)

    def add(self, reports: list[Report], cpu_s: float) -> None:
        self.cpu_s += cpu_s
        for report in reports:
            self.seeds += 1
            self.events += report.events
            self.committed += report.committed
            self.virtual_ns += report.virtual_ns
            self.slowest_converge_ns = max(self.slowest_converge_ns, report.converge_ns)
            self.faults.update(report.faults)

    def as_dict(self) -> dict[str, Any]:
        cpu_s = max(self.cpu_s, 1e-9)
        return {
            "seeds": self.seeds,
            "events": self.events,
            "committed": self.committed,
            "virtual_seconds": round(self.virtual_ns / 1e9, 1),
            "slowest_recovery_seconds": round(self.slowest_converge_ns / 1e9, 1),
            "cpu_seconds": round(self.cpu_s, 2),
            "seeds_per_cpu_second": round(self.seeds / cpu_s, 1),
            "events_per_cpu_second": round(self.events / cpu_s),
            "faults": dict(sorted(self.faults.items())),
        }


class _Batch(NamedTuple):
    """The work of one worker for a while."""

    seeds: range
    mutant: str | None
    drive: str
    without: frozenset[str]


def _simulate_batch(batch: _Batch) -> tuple[list[Report], float]:
    """Run seeds until one of them breaks an invariant; also how much CPU time that took."""
    reports: list[Report] = []
    begun = time.process_time()
    with planted(batch.mutant):
        for seed in batch.seeds:
            reports.append(simulate(seed, without=batch.without, make_program=PROGRAMS[batch.drive]))
            if reports[-1].violation is not None:
                break
    return reports, time.process_time() - begun


def _batches(chosen: argparse.Namespace) -> Iterator[_Batch]:
    end = chosen.first_seed + chosen.seeds
    for first in range(chosen.first_seed, end, BATCH):
        seeds = range(first, min(first + BATCH, end))
        yield _Batch(seeds, chosen.mutant, chosen.drive, frozenset(chosen.without))


def _run(chosen: argparse.Namespace) -> int:
    totals = _Totals()
    failed: Report | None = None
    if chosen.jobs > 1:
        with get_context("spawn").Pool(chosen.jobs) as pool:
            failed = _collect(pool.imap(_simulate_batch, _batches(chosen)), totals)
    else:
        failed = _collect(map(_simulate_batch, _batches(chosen)), totals)
    replay = None if failed is None else _replay_command(failed.seed, chosen)
    if chosen.json:
        found = None if failed is None else {"seed": failed.seed, "violation": str(failed.violation), "replay": replay}
        print(json.dumps({**totals.as_dict(), "failure": found}))
    else:
        for name, value in totals.as_dict().items():
            print(f"{name.replace('_', ' ') + ':':26}{value}")
        if failed is not None:
            print(f"\nseed {failed.seed} breaks {failed.violation}\nreplay it with: {replay}")
    return 0 if failed is None else 1


def _collect(results: Iterator[tuple[list[Report], float]], totals: _Totals) -> Report | None:
    """Add the results up; the first report with a violation ends it."""
    for reports, cpu_s in results:
        totals.add(reports, cpu_s)
        if reports[-1].violation is not None:
            return reports[-1]
    return None


def _replay_command(seed: int, chosen: argparse.Namespace) -> str:
    words = ["python", "-m", "zkcore", "sim", "replay", "--seed", str(seed)]
    if chosen.drive != "replicas":
        words += ["--drive", chosen.drive]
    if chosen.mutant is not None:
        words += ["--mutant", chosen.mutant]
    for invariant in chosen.without:
        words += ["--without", invariant]
    return shlex.join(words)


def _replay(chosen: argparse.Namespace) -> int:
    with planted(chosen.mutant):
        report = simulate(
            chosen.seed, keep_trace=True, without=frozenset(chosen.without), make_program=PROGRAMS[chosen.drive]
        )
    lines = report.lines or []
    shown = lines if chosen.full else lines[-max(chosen.last, 0) :]
    if len(shown) < len(lines):
        print(f"... {len(lines) - len(shown)} earlier lines; --full prints them")
    for line in shown:
        print(line)
    digest = report.digest & (1 << 64) - 1
    print(f"\nseed {report.seed}: {report.voters} voters, {report.events} events, trace {digest:016x}")
    if report.violation is None:
        print("no invariant is broken")
        return 0
    print(f"broken: {report.violation}")
    return 1
