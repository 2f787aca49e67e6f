"""Members changed at random: in the end all agree who they are, and on the rest.

More of it by hand: `PYTHONPATH=tests/replica python tests/replica/test_replica_changing.py FIRST COUNT`.
"""

from __future__ import annotations

import sys

import pytest
from changing_world import World


def simulate(seed: int, *, steps: int = 150) -> int:
    world = World(seed)
    for _ in range(steps):
        world.act_at_random()
    return world.check()


@pytest.mark.parametrize("seed", [*range(4), 14, 50])  # in the last two elections went on without an end
def test_whatever_happens_all_agree_in_the_end(seed: int) -> None:
    assert simulate(seed) > 0


if __name__ == "__main__":
    first, count = map(int, sys.argv[1:])
    made = 0
    for number in range(first, first + count):
        print(number, end="\r")
        made += simulate(number)
    print(f"{count} seeds from {first}: {made} changes made")
