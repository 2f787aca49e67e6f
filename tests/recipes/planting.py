"""What a bug planted in a recipe is, and how a play finds it.

As those of the simulator (`zkcore/testing/mutants`) these are patches of zkcore, applied from outside; no recipe has a
switch for any of them. The bugs of a recipe stand in a file of their own in `planted/`, and are found there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from playing import run

from zkcore.testing.mutants import Patch, patched

__all__ = ["BUGS", "Bug", "Catch", "failure", "plant", "search"]


class Bug(NamedTuple):
    """`what` goes wrong, the name of the `play` that must find it, a `seed` that does so soon, and `patches` that make
    it go wrong."""

    what: str
    play: str
    seed: int
    patches: tuple[Patch, ...]


BUGS: dict[str, Bug] = {}
"""All of them by name, once they are loaded."""


def plant(name: str, what: str, *patches: Patch, play: str, seed: int) -> None:
    """Add one to the BUGS."""
    assert name not in BUGS, "bugs have names of their own"
    BUGS[name] = Bug(what, play, seed, patches)


class Catch(NamedTuple):
    """The seed that found a bug, after how many tries, and by what; and the seeds that fail without the bug as well."""

    seed: int
    tries: int
    failure: str
    alarms: tuple[int, ...]


def failure(name: str, seed: int, patches: tuple[Patch, ...] = ()) -> str | None:
    """How the play ends with the bug in zkcore; None where nothing is found amiss."""
    with patched(patches):  # where that fails, what it patches is not there any more
        try:
            run(name, [seed])
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it is, the play would have failed
            first, *_ = f"{type(error).__name__}: {error}".splitlines()
            return first
    return None


def search(bug: Bug, seeds: Iterable[int]) -> Catch | None:
    """Look for a bug in some seeds, up to the first that finds it, and finds nothing without it."""
    alarms: list[int] = []
    for tries, seed in enumerate(seeds, 1):
        found = failure(bug.play, seed, bug.patches)
        if found is None:
            continue
        if failure(bug.play, seed) is None:
            return Catch(seed, tries, found, tuple(alarms))
        alarms.append(seed)
    return None
