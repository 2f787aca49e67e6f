"""Planted bugs: proof that the simulator finds what it claims to look for.

Each is a patch of zkcore, applied from outside for as long as a `with planted(name):` lasts. The code has no switch for
any of them. Many are bugs that ZooKeeper has had; where there is a number, it is that of the bug. The others take away
one rule of docs/protocol.md each. What the patches do stands in one file for each part of the protocol: epochs.py,
streams.py, commits.py, members.py, changes.py, and replicas.py for what is above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zkcore.testing.mutants.changes import CHANGES
from zkcore.testing.mutants.commits import COMMITS
from zkcore.testing.mutants.epochs import EPOCHS
from zkcore.testing.mutants.members import MEMBERS
from zkcore.testing.mutants.mutant import Mutant, Patch
from zkcore.testing.mutants.replicas import REPLICAS
from zkcore.testing.mutants.streams import STREAMS

__all__ = ["MUTANTS", "Mutant", "Patch", "patched", "planted"]

MUTANTS: dict[str, Mutant] = {**EPOCHS, **STREAMS, **COMMITS, **MEMBERS, **CHANGES, **REPLICAS}
"""All of them, by name."""


@contextmanager
def patched(patches: tuple[Patch, ...]) -> Iterator[None]:
    """With `patches` applied, for the whole process. Raises KeyError for a function that is not there."""
    real = []
    try:
        for owner, name, mutate in patches:
            original = vars(owner)[name]
            real.append((owner, name, original))
            setattr(owner, name, mutate(original))
        yield
    finally:
        for owner, name, original in reversed(real):
            setattr(owner, name, original)


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """With the bug called `name` in zkcore, for the whole process; None plants nothing. Raises KeyError."""
    with patched(MUTANTS[name].patches if name is not None else ()):
        yield
