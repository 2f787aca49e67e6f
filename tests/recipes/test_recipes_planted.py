"""Every bug planted in a recipe is found by the play that is there for it.

A bug is looked for from a seed on that found it when this was written. A change of the recipes or of the world moves
such seeds, so it may take a few more to find it. By hand, bugs are looked for from several places far apart in the row
of seeds, so that one lucky seed proves nothing: one counts as found where more than half of these searches find it::

    python tests/recipes/test_recipes_planted.py 5                     # searches for every bug
    python tests/recipes/test_recipes_planted.py 5 orphan-contender    # or for those that are named
"""

from __future__ import annotations

import sys
import time
from math import inf
from statistics import median

import pytest
from planting import BUGS, search
from playing import load

WITHIN = 60
"""So many seeds are tried from the one on that is known, in case that has become another world."""

LONGEST = 500
"""Seeds of one search by hand."""

ROW = "{:31}{:>6}{:>8}{:>7}{:>7}{:>8}  {}"

load("plays")
load("planted")


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_planted_in_a_recipe_is_found(name: str) -> None:
    bug = BUGS[name]
    assert search(bug, range(bug.seed, bug.seed + WITHIN)) is not None


def row(name: str, starts: int) -> tuple[str, bool]:
    """What is known of a bug after so many searches, as a line; and whether it is found."""
    begun = time.process_time()
    catches = [search(BUGS[name], range(first, first + LONGEST)) for first in range(0, starts * LONGEST, LONGEST)]
    found = [each for each in catches if each is not None]
    tries = sorted(each.tries if each is not None else inf for each in catches)
    middle, least, most = (f"{each:g}" for each in (median(tries), tries[0], tries[-1]))
    alarms = [f"FALSE ALARM of seed {seed}" for each in found for seed in each.alarms]
    shown = "; ".join([*alarms, found[0].failure if found else "NOT FOUND", f"seed {found[0].seed}" if found else ""])
    cpu_s = time.process_time() - begun
    line = ROW.format(name, f"{len(found)}/{starts}", middle, least, most, f"{cpu_s:.1f}", shown)
    return line, median(tries) < inf and not alarms


def main(starts: str = "5", *names: str) -> int:
    print(ROW.format("planted bug", "found", "median", "least", "most", "CPU s", "seen as"), flush=True)
    lost = []
    for name in names or BUGS:
        line, is_found = row(name, int(starts))
        print(line, flush=True)
        if not is_found:
            lost.append(name)
    print(f"NOT FOUND, or not alone: {', '.join(lost)}" if lost else "all are found")
    return int(bool(lost))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
