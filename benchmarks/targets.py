"""What a benchmark is to show, beside what it has shown: the last lines that it prints."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from attrs import frozen

__all__ = ["Target", "ratio"]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of the ratios within the rounds, since a noisy minute hits all of a round; None without a peer."""
    pairs = [one / other for one, other in zip(ours, theirs, strict=False) if other]
    return statistics.median(pairs) if pairs else None


@frozen
class Target:
    """`reached` is None where it could not be measured; `wanted` is the least, or with `at_most` the most."""

    what: str
    reached: float | None
    wanted: float
    at_most: bool = False

    def __str__(self) -> str:
        wanted = f"{'<=' if self.at_most else '>='} {self.wanted:g}"
        if self.reached is None:
            return f"{self.what}: not measured, target {wanted}"
        met = self.reached <= self.wanted if self.at_most else self.reached >= self.wanted
        return f"{self.what}: {self.reached:.2f}, target {wanted}: {'met' if met else 'missed'}"
