"""The recipes with five contenders each, in worlds where nodes and apps crash, sleep, and are cut off, by a seed.

The suite takes a sample of each play. By hand it is as many seeds as one likes, of all plays, or of those that are
named, or of a recipe's::

    python tests/recipes/test_recipes_seeds.py 500              # from 0
    python tests/recipes/test_recipes_seeds.py 1000:500 lock    # from 1000
"""

from __future__ import annotations

import sys
import time

import pytest
from playing import PLAYS, chosen, load, run

SAMPLE = 1
"""Seeds of each play that the suite takes; more are played by hand."""

load("plays")


@pytest.mark.parametrize("name", PLAYS)
def test_the_recipes_keep_their_promises_whatever_happens(name: str) -> None:
    run(name, range(SAMPLE))


def main(count: str, *names: str) -> None:
    first, _, number = count.rpartition(":")
    seeds = range(int(first or 0), int(first or 0) + int(number))
    for name in chosen(names):
        begun = time.process_time()
        run(name, seeds)
        cpu_s = time.process_time() - begun
        print(f"{name}: kept for {len(seeds)} seeds from {seeds.start}, {cpu_s:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
