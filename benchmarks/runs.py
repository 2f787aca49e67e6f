"""How a benchmark beside other systems begins and ends: its options, on what it runs, and which system is not there."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from calibration import describe
from servers import end_with_sigterm

import zkcore

__all__ = ["described", "options", "parser"]


def parser(doc: str | None, *, rounds: int, quick: str) -> argparse.ArgumentParser:
    """One with `--rounds` and `--quick`."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--quick", action="store_true", help=quick)
    return made


def options(doc: str | None, *, seconds: float, each: str) -> argparse.Namespace:
    """The options of a benchmark that measures loads of so many `seconds`, of `each` of something in a round."""
    loads = parser(doc, rounds=3, quick="one short round, warm or not: whether it runs at all")
    loads.add_argument("--seconds", type=float, default=seconds, help=f"of each {each} in a round")
    loads.add_argument("--warm-up", type=float, default=30.0, help="seconds of load before ZooKeeper is measured")
    chosen = loads.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.warm_up = 1, 0.5, 2.0
    return chosen


@contextmanager
def described(rounds: str, *, missing: Mapping[str, str]) -> Iterator[None]:
    """Say on what the measuring within runs, before it and after it; and of the systems that are `missing` why, of each
    that is not."""
    end_with_sigterm()
    print(f"Python {platform.python_version()} ({sys.executable}), zkcore {zkcore.__version__}", end="; ")
    print(f"{rounds}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for system, why in missing.items():
        if why:
            print(f"without {system}: {why}")
    print(describe("before"))
    yield
    print(f"{describe('after')}; load {os.getloadavg()[0]:.1f}", end="\n\n")
