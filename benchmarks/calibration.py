"""How fast the machine is just now: a bare loop, to be timed beside every figure.

A figure says something of the code only beside what the machine does at that minute; two runs, or two machines, compare
by the ratio.
"""

from __future__ import annotations

import time

__all__ = ["calibrate", "describe"]


def calibrate() -> float:
    """Million iterations of an empty loop for each CPU second."""
    begin = time.process_time()
    for _ in range(3_000_000):
        pass
    return 3 / (time.process_time() - begin)


def describe(when: str) -> str:
    """The line that a benchmark prints `before` and `after` its figures."""
    return f"calibration {when}: {calibrate():.0f} million empty iterations a CPU second"
