"""`sim run`, `sim replay` and `sim hashes`: simulate ensembles from seeds, and look at one of them closely.

`run` stops at the first seed that breaks an invariant and says how to replay it; `replay` runs that seed again, event
for event, and prints what happened. A seed must be the same world whenever it is run: `run` repeats a share of them in
another process with another hash seed, and `hashes` prints what can be compared. `scenario` and `shrink` are in
scenario.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from zkcore.cli import mutants, scenario
from zkcore.cli.totals import Totals
from zkcore.cli.workers import spread
from zkcore.testing.faults import Plan
from zkcore.testing.load import BarePeers, ChangingPeers, Program
from zkcore.testing.mutants import MUTANTS, planted
from zkcore.testing.replicas import Replicas
from zkcore.testing.world import Report, simulate

__all__ = ["add_to"]

PROGRAMS: dict[str, Callable[[Plan], Program]] = {
    "peers": BarePeers, "members": ChangingPeers, "replicas": Replicas,
}  # fmt: skip

BATCH = 5
"""Seeds that one of several workers runs before it reports."""

INTERRUPTED = 130
"""The exit status of a process that Ctrl-C ended, as shells have it."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `sim`."""
    sim = commands.add_parser("sim", help="simulate ensembles under faults", description=__doc__.splitlines()[0])
    actions = sim.add_subparsers(metavar="ACTION", required=True)

    run = actions.add_parser("run", help="run many seeds; exits with 1 at the first violation")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.add_argument(
        "--recheck", type=_share, default=0.01, metavar="SHARE",
        help="run this share of the seeds again in another process, which must see the same (default: %(default)s)",
    )  # fmt: skip
    run.set_defaults(run=_run, every=1)

    replay = actions.add_parser("replay", help="run one seed again and print its trace")
    replay.add_argument("--seed", type=int, required=True, metavar="N")
    shown = replay.add_mutually_exclusive_group()
    shown.add_argument("--last", type=int, default=100, metavar="N", help="print so many lines (default: %(default)s)")
    shown.add_argument("--full", action="store_true", help="print every line")
    replay.set_defaults(run=_replay)

    hashes = actions.add_parser("hashes", help="print the hash of each seed's trace, to compare with another run")
    hashes.add_argument("--every", type=int, default=1, metavar="N", help="only seeds that N divides")
    hashes.set_defaults(run=_hashes)

    mutants.add_to(actions, PROGRAMS)
    scenario.add_to(actions, PROGRAMS)

    for parser in (run, hashes):
        parser.add_argument("--seeds", type=int, default=200, metavar="N", help="how many seeds (default: %(default)s)")
        parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="the first (default: %(default)s)")
        parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: %(default)s)")
    for parser in (run, replay, hashes):
        parser.add_argument(
            "--mutant", choices=sorted(MUTANTS), metavar="NAME",
            help="plant this bug first, to see whether it is found: " + ", ".join(sorted(MUTANTS)),
        )  # fmt: skip
        parser.add_argument(
            "--drive", choices=sorted(PROGRAMS), default="replicas",
            help="what runs on the nodes: replicas with clients on them; the core alone; or that, and its members "
            "change (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--storage", choices=("memory", "files"),
            help="what the nodes save to: in memory, or in files, with all that befalls those (default: files in every "
            "second seed)",
        )  # fmt: skip
        parser.add_argument(
            "--without", action="append", default=[], metavar="INVARIANT", help="do not check this one; may be repeated"
        )


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share


# --- many seeds, in this process or in others -------------------------------------------------------------------------


class _Batch(NamedTuple):
    """The work of one worker for a while."""

    seeds: range
    mutant: str | None
    drive: str
    without: frozenset[str]
    on_files: bool | None


class _Done(NamedTuple):
    """What came of a batch, and the CPU time it took."""

    reports: list[Report]
    cpu_s: float


def _simulate_batch(batch: _Batch) -> _Done:
    """Run seeds until one of them breaks an invariant."""
    reports: list[Report] = []
    begun = time.process_time()
    with planted(batch.mutant):
        for seed in batch.seeds:
            reports.append(
                simulate(
                    seed, without=batch.without, make_program=PROGRAMS[batch.drive], on_files=batch.on_files
                )
            )
            if reports[-1].violation is not None:
                break
    return _Done(reports, time.process_time() - begun)


def _batches(chosen: argparse.Namespace, size: int) -> Iterator[_Batch]:
    begin, end = chosen.first_seed, chosen.first_seed + chosen.seeds
    seeds = range(begin + -begin % chosen.every, end, chosen.every)
    for first in range(0, len(seeds), size):
        yield _Batch(
            seeds[first : first + size], chosen.mutant, chosen.drive, frozenset(chosen.without), _on_files(chosen)
        )


def _on_files(chosen: argparse.Namespace) -> bool | None:
    return None if chosen.storage is None else bool(chosen.storage == "files")


def _simulated(chosen: argparse.Namespace) -> AbstractContextManager[Iterator[_Done]]:
    """All batches, in the order of their seeds."""
    return spread(_simulate_batch, _batches(chosen, BATCH if chosen.jobs > 1 else 1), jobs=chosen.jobs)


# --- sim run ----------------------------------------------------------------------------------------------------------


def _run(chosen: argparse.Namespace) -> int:
    every = round(1 / chosen.recheck) if chosen.recheck else 0
    totals = Totals(keep_digests=every)
    failed: Report | None = None
    interrupted = False
    different: list[int] = []
    try:
        with _simulated(chosen) as simulated:
            failed = _collect(simulated, totals)
        if totals.digests:
            different = _recheck(chosen, totals.digests, every)
    except KeyboardInterrupt:
        interrupted = True
    replay = None if failed is None else _replay_command(failed.seed, chosen)
    if chosen.json:
        found = None if failed is None else {"seed": failed.seed, "violation": str(failed.violation), "replay": replay}
        rechecked = {"rechecked": sorted(totals.digests), "different": different}
        print(json.dumps({**totals.as_dict(), **rechecked, "interrupted": interrupted, "failure": found}))
    else:
        print(totals)
        if failed is not None:
            print(f"\nseed {failed.seed} breaks {failed.violation}\nreplay it with: {replay}")
        if different:
            print(f"\nNOT DETERMINISTIC: seeds {different} were other worlds in a process with another hash seed")
        elif totals.digests and not interrupted:
            print(f"\nthe same in another process: {len(totals.digests)} seeds")
        if interrupted:
            print("\ninterrupted: this is what was done by then")
    return INTERRUPTED if interrupted else int(failed is not None or bool(different))


def _collect(simulated: Iterator[_Done], totals: Totals) -> Report | None:
    """Add the results up; the first report with a violation ends it."""
    for done in simulated:
        totals.add(done.reports, done.cpu_s)
        if done.reports[-1].violation is not None:
            return done.reports[-1]
    return None


def _recheck(chosen: argparse.Namespace, digests: dict[int, int], every: int) -> list[int]:
    """Those of the seeds in `digests` that another process sees differently."""
    first, last = min(digests), max(digests)
    words = [sys.executable, "-m", "zkcore", "sim", "hashes", "--first-seed", str(first)]
    words += ["--seeds", str(last - first + 1), "--every", str(every), "--jobs", str(chosen.jobs)]
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    again = subprocess.run(words + _options(chosen), env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = dict(line.split() for line in again.stdout.splitlines())
    return [seed for seed, digest in digests.items() if found.get(str(seed)) != _hex(digest)]


def _options(chosen: argparse.Namespace) -> list[str]:
    """What tells one simulation of a seed from another, as arguments."""
    words = [] if chosen.drive == "replicas" else ["--drive", chosen.drive]
    if chosen.storage is not None:
        words += ["--storage", chosen.storage]
    if chosen.mutant is not None:
        words += ["--mutant", chosen.mutant]
    for invariant in chosen.without:
        words += ["--without", invariant]
    return words


def _replay_command(seed: int, chosen: argparse.Namespace) -> str:
    return shlex.join(["python", "-m", "zkcore", "sim", "replay", "--seed", str(seed), *_options(chosen)])


# --- sim hashes -------------------------------------------------------------------------------------------------------


def _hashes(chosen: argparse.Namespace) -> int:
    """Prints as far as it comes: a violation ends a seed, and its hash says where."""
    try:
        with _simulated(chosen) as simulated:
            for done in simulated:
                for report in done.reports:
                    print(report.seed, _hex(report.digest), flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _hex(digest: int) -> str:
    return f"{digest & (1 << 64) - 1:016x}"


# --- sim replay -------------------------------------------------------------------------------------------------------


def _replay(chosen: argparse.Namespace) -> int:
    with planted(chosen.mutant):
        report = simulate(
            chosen.seed, keep_trace=True, without=frozenset(chosen.without), make_program=PROGRAMS[chosen.drive],
            on_files=_on_files(chosen),
        )  # fmt: skip
    lines = report.lines or []
    shown = lines if chosen.full else lines[-max(chosen.last, 0) :]
    if len(shown) < len(lines):
        print(f"... {len(lines) - len(shown)} earlier lines; --full prints them")
    for line in shown:
        print(line)
    print(f"\nseed {report.seed}: {report.voters} voters, {report.events} events, trace {_hex(report.digest)}")
    if report.violation is None:
        print("no invariant is broken")
        return 0
    print(f"broken: {report.violation}")
    return 1
