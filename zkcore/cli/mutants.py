"""`sim mutants`: plant every bug there is, one at a time, and see how many seeds it takes to find it.

Each is looked for from several places far apart in the row of seeds, so that one lucky seed proves nothing: it counts
as found where more than half of these searches find it. A seed that breaks an invariant without the bug as well is
passed over. Bugs too rare for that, and those that need a scene of their own, are found by a golden script that names
them as its guard.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from pathlib import Path
from statistics import median
from typing import NamedTuple

from attrs import frozen

from zkcore.cli.workers import spread
from zkcore.testing.checkers import Violation
from zkcore.testing.faults import Plan
from zkcore.testing.load import Program
from zkcore.testing.mutants import MUTANTS, planted
from zkcore.testing.scenario import Scenario
from zkcore.testing.scenario_guards import GUARDS, unguarded
from zkcore.testing.world import simulate

__all__ = ["add_to"]

NAMES = (*MUTANTS, *(name for name in GUARDS if name not in MUTANTS))
"""Of all bugs; those that only scripts can show come last."""

ROW = "{:31}{:10}{:>6}{:>9}{:>7}{:>7}{:>9}  {}"


Programs = Mapping[str, Callable[[Plan], Program]]


def add_to(actions: argparse._SubParsersAction[argparse.ArgumentParser], programs: Programs) -> None:
    """Add the action to those of `sim`. `programs` are what may run on the nodes, by name."""
    mutants = actions.add_parser("mutants", help="plant bugs and count the seeds it takes to find each")
    mutants.add_argument("--starts", type=int, default=5, metavar="N", help="searches for each (default: %(default)s)")
    mutants.add_argument(
        "--seeds", type=int, default=2000, metavar="N", help="the longest search (default: %(default)s seeds)"
    )
    mutants.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: %(default)s)")
    mutants.add_argument(
        "--mutant", action="append", choices=NAMES, metavar="NAME", help="only this one; may be repeated"
    )
    mutants.add_argument(
        "--scripts", type=Path, default=Path("tests/scenarios"), metavar="FOLDER",
        help="where the golden scripts are (default: %(default)s)",
    )  # fmt: skip
    mutants.set_defaults(run=lambda chosen: _run(chosen, programs))


# --- one search -------------------------------------------------------------------------------------------------------


class _Search(NamedTuple):
    """Look for a bug in some seeds."""

    name: str
    make_program: Callable[[Plan], Program]
    seeds: range


class _Catch(NamedTuple):
    """What came of a search: after how many seeds it broke which invariant, if any; the seeds that break one without
    the bug; and the CPU time."""

    tries: float
    invariant: str
    alarms: tuple[int, ...]
    cpu_s: float


def _search(search: _Search) -> _Catch:
    begun = time.process_time()
    make_program = search.make_program
    alarms: list[int] = []
    for tries, seed in enumerate(search.seeds, 1):
        with planted(search.name):
            violation = simulate(seed, make_program=make_program).violation
        if violation is None:
            continue
        if simulate(seed, make_program=make_program).violation is None:
            return _Catch(tries, violation.invariant, tuple(alarms), time.process_time() - begun)
        alarms.append(seed)
    return _Catch(inf, "", tuple(alarms), time.process_time() - begun)


def _search_scripts(name: str, folder: Path) -> _Catch:
    """Look for a bug in the scripts that guard against it."""
    begun = time.process_time()
    for path in sorted(folder.glob("*.txt")):
        script = Scenario(path.read_text(encoding="utf-8"), name=path.name)
        if script.notes.get("guard") == name:
            try:
                with unguarded(name):
                    seen = "" if script.rewritten(script.run()) == script.text else "transcript"
            except Violation as violation:
                seen = violation.invariant
            if seen:
                return _Catch(1, seen, (), time.process_time() - begun)
    return _Catch(inf, "", (), time.process_time() - begun)


# --- all of them ------------------------------------------------------------------------------------------------------


@frozen
class _Row:
    """What is known of one bug."""

    name: str
    drive: str
    catches: tuple[_Catch, ...]

    @property
    def median(self) -> float:
        return median(catch.tries for catch in self.catches)

    @property
    def found(self) -> bool:
        return self.median < inf

    def __str__(self) -> str:
        tries = sorted(catch.tries for catch in self.catches)
        found = sum(each < inf for each in tries)
        seeds = ("", "", "") if self.drive == "script" else (_count(self.median), _count(tries[0]), _count(tries[-1]))
        broken = " ".join(sorted({catch.invariant for catch in self.catches} - {""}))
        cpu_s = sum(catch.cpu_s for catch in self.catches)
        return ROW.format(self.name, self.drive, f"{found}/{len(tries)}", *seeds, f"{cpu_s:.1f}", broken or "NOT FOUND")


def _count(seeds: float) -> str:
    return "never" if seeds == inf else f"{seeds:g}"


def _run(chosen: argparse.Namespace, programs: Programs) -> int:
    names = chosen.mutant or NAMES
    print(ROW.format("planted bug", "drive", "found", "median", "least", "most", "CPU s", "breaks"), flush=True)
    rows: list[_Row] = []
    for row in _rows(names, chosen, programs):
        rows.append(row)
        print(row, flush=True)
    return _sum_up(rows)


def _rows(names: Sequence[str], chosen: argparse.Namespace, programs: Programs) -> Iterator[_Row]:
    """One for each name; a second one, of its script, for what is not found by seeds."""
    by_seeds = [name for name in names if name in MUTANTS]
    searches = [
        _Search(name, programs[MUTANTS[name].drive], range(start * chosen.seeds, (start + 1) * chosen.seeds))
        for name in by_seeds
        for start in range(chosen.starts)
    ]
    missed = [name for name in names if name not in MUTANTS]
    with spread(_search, searches, jobs=chosen.jobs) as catches:
        for name in by_seeds:
            row = _Row(name, MUTANTS[name].drive, tuple(islice(catches, chosen.starts)))
            if not row.found:
                missed.append(name)
            yield row
    for name in missed:
        yield _Row(name, "script", (_search_scripts(name, chosen.scripts),))


def _sum_up(rows: list[_Row]) -> int:
    """Print what all of it comes to; the exit status."""
    found = {row.name for row in rows if row.found}
    by_seeds = [row.median for row in rows if row.drive != "script" and row.found]
    lost = sorted({row.name for row in rows} - found)
    alarms = sorted({alarm for row in rows for catch in row.catches for alarm in catch.alarms})
    by_scripts = len(found) - len(by_seeds)
    print(f"\n{len(found) + len(lost)} planted bugs: {len(by_seeds)} found by seeds, {by_scripts} by scripts")
    if by_seeds:
        print(f"seeds to find one: median {median(by_seeds):g}, most {max(by_seeds):g}")
    if lost:
        print(f"NOT FOUND: {', '.join(lost)}")
    if alarms:
        print(f"FALSE ALARMS, seeds that break an invariant without any bug planted: {', '.join(map(str, alarms))}")
    return int(bool(lost or alarms))
