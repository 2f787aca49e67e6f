"""`sim scenario` and `sim shrink`: run golden scripts, and turn a failing seed into one.

`scenario` runs scripts and shows where they print something else than they expect; `shrink` leaves out of a failing
seed what is not needed, and prints the few steps that are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from difflib import unified_diff
from pathlib import Path

from zkcore.testing.checkers import Violation
from zkcore.testing.faults import Plan
from zkcore.testing.interpreter import ScenarioError
from zkcore.testing.load import Program
from zkcore.testing.mutants import MUTANTS
from zkcore.testing.scenario import Scenario
from zkcore.testing.scenario_guards import GUARDS, unguarded
from zkcore.testing.shrink import Shrunk, shrink

__all__ = ["add_to"]

Actions = argparse._SubParsersAction
Programs = Mapping[str, Callable[[Plan], Program]]


def add_to(actions: Actions[argparse.ArgumentParser], programs: Programs) -> None:
    """Add both to the actions of `sim`. `programs` are what may run on the nodes, by name."""
    scenario = actions.add_parser("scenario", help="run golden scripts; exits with 1 where one runs otherwise")
    scenario.add_argument("files", nargs="+", type=Path, metavar="FILE")
    scenario.add_argument("--rewrite", action="store_true", help="write what a script prints into it")
    scenario.set_defaults(run=_scenario)

    smaller = actions.add_parser("shrink", help="leave out of a failing seed what is not needed")
    smaller.add_argument("--seed", type=int, required=True, metavar="N")
    smaller.add_argument(
        "--drive", choices=sorted(programs), default="peers",
        help="what runs on the nodes; only `peers` are turned into a script (default: %(default)s)",
    )  # fmt: skip
    smaller.add_argument(
        "--budget", type=float, default=60.0, metavar="S", help="seconds of CPU time, about (default: %(default)s)"
    )
    smaller.add_argument("--storage", choices=("memory", "files"), help="as at `sim run`, where the seed was found")
    smaller.set_defaults(run=lambda chosen: _shrink(chosen, programs))

    for parser in (scenario, smaller):
        parser.add_argument(
            "--mutant", choices=sorted({*MUTANTS, *GUARDS}), metavar="NAME", help="with this bug in the core"
        )
        parser.add_argument(
            "--without", action="append", default=[], metavar="INVARIANT", help="do not check this one; may be repeated"
        )


def _scenario(chosen: argparse.Namespace) -> int:
    failed = 0
    for path in chosen.files:
        text = path.read_text(encoding="utf-8")
        try:
            with unguarded(chosen.mutant):
                script = Scenario(text, name=str(path))
                printed = script.rewritten(script.run(without=frozenset(chosen.without)))
        except (ScenarioError, Violation) as error:
            where = " ".join(getattr(error, "__notes__", ()))
            print(f"{error} {where}".rstrip())
            failed += 1
            continue
        if printed == text:
            print(f"{path}: as written")
        elif chosen.rewrite:
            path.write_text(printed, encoding="utf-8")
            print(f"{path}: rewritten")
        else:
            print(
                "\n".join(unified_diff(text.splitlines(), printed.splitlines(), str(path), "as it runs", lineterm=""))
            )
            failed += 1
    return 1 if failed else 0


def _shrink(chosen: argparse.Namespace, programs: Programs) -> int:
    with unguarded(chosen.mutant):
        shrunk = shrink(
            chosen.seed,
            make_program=programs[chosen.drive],
            without=frozenset(chosen.without),
            on_files=None if chosen.storage is None else chosen.storage == "files",
            budget_s=chosen.budget,
        )
        if shrunk is None:
            print(f"seed {chosen.seed} breaks nothing")
            return 0
        print(_told(shrunk, chosen))
    return 1


def _told(shrunk: Shrunk, chosen: argparse.Namespace) -> str:
    """The script as it runs; or where there is none, what is left of the world."""
    if shrunk.script:
        planted = [] if chosen.mutant is None else ["--mutant", chosen.mutant]
        switched_off = [word for invariant in chosen.without for word in ("--without", invariant)]
        replay = " ".join(["python -m zkcore sim scenario FILE", *planted, *switched_off])
        script = Scenario(f"# replay: {replay}\n{shrunk.as_scenario()}", name=f"seed {shrunk.seed}")
        return script.rewritten(script.run(without=frozenset(chosen.without))).rstrip()
    return "\n".join((
        f"seed {shrunk.seed} breaks {shrunk.violation}",
        f"with the strikes {' '.join(shrunk.strikes) or '-'}",
        f"and the load {' '.join(shrunk.loads) or '-'}",
        f"without noise from {', '.join(shrunk.quiet) or '-'}",
    ))  # fmt: skip
