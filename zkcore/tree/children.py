"""Which znodes are whose children, in order.

A family is a tuple of full paths; one that is too large for that is several, each a run of the order, so that adding a
child costs the copy of a run. The paths are the very strings under which the znodes are kept: names of their own would
cost a string per znode. Tuples of strings the garbage collector leaves alone once it has seen them, so that its full
collections do not stop the writes of a large tree; lists it would walk every time. The families are spread over many
dicts, since a large one pauses all for as long as it takes to grow.

This module must not know whether a znode exists.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Reversible, Sequence
from itertools import chain, islice
from typing import TypeAlias

from zkcore.errors import InvariantViolation
from zkcore.tree.paths import parent_of

__all__ = ["Families"]

_RUN = 128
"""The most paths in a run."""

_SHARDS = 256

_Bisect: TypeAlias = Callable[[Sequence[str], str], int]


class _Runs:
    """A family that is larger than a run."""

    __slots__ = ("_count", "_lasts", "_runs")

    def __init__(self, paths: Sequence[str]) -> None:
        self._runs = [tuple(paths[start : start + _RUN]) for start in range(0, len(paths), _RUN)]
        self._lasts = [run[-1] for run in self._runs]
        self._count = len(paths)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._runs)

    def __reversed__(self) -> Iterator[str]:
        return chain.from_iterable(map(reversed, reversed(self._runs)))

    def start(self, path: str, bisect: _Bisect) -> Iterator[str]:
        """The paths from the place on at which `bisect` puts `path`."""
        number = bisect(self._lasts, path)
        if number == len(self._runs):
            return iter(())
        run = self._runs[number]
        return chain(islice(run, bisect(run, path), None), chain.from_iterable(islice(self._runs, number + 1, None)))

    def add(self, path: str) -> None:
        number = min(bisect_left(self._lasts, path), len(self._runs) - 1)
        run = self._runs[number]
        at = bisect_left(run, path)
        self._count += 1
        if at == _RUN:  # behind all others, as most sequential znodes are: what is full stays so
            self._runs.append((path,))
            self._lasts.append(path)
            return
        self._put(number, (*run[:at], path, *run[at:]))
        if len(run) == _RUN:
            self._split(number)

    def _split(self, number: int) -> None:
        run = self._runs[number]
        half = len(run) // 2
        self._runs.insert(number, run[:half])
        self._lasts.insert(number, run[half - 1])
        self._runs[number + 1] = run[half:]

    def remove(self, path: str) -> None:
        number = bisect_left(self._lasts, path)
        run = self._runs[number]
        at = bisect_left(run, path)
        run = run[:at] + run[at + 1 :]
        self._count -= 1
        if number and len(self._runs[number - 1]) + len(run) <= _RUN // 2:
            self._drop(number)
            self._put(number - 1, self._runs[number - 1] + run)
        elif run:
            self._put(number, run)
        else:
            self._drop(number)

    def _put(self, number: int, run: tuple[str, ...]) -> None:
        self._runs[number] = run
        self._lasts[number] = run[-1]

    def _drop(self, number: int) -> None:
        del self._runs[number], self._lasts[number]

    def is_sound(self) -> bool:
        """Whether the runs are of the size they should be, and what is kept beside them agrees."""
        sizes = [len(run) for run in self._runs]
        if not 0 < min(sizes) <= max(sizes) <= _RUN:
            return False
        return self._lasts == [run[-1] for run in self._runs] and self._count == sum(sizes)


_Family: TypeAlias = tuple[str, ...] | _Runs


class Families:
    """The children of every znode that has any."""

    def __init__(self) -> None:
        self._shards: list[dict[str, _Family]] = [{} for _ in range(_SHARDS)]

    def of(self, parent: str) -> Reversible[str]:
        """The paths of the children of `parent`, in order. Look at it before the next change, and no longer."""
        return self._shards[hash(parent) & 255].get(parent, ())

    def count(self, parent: str) -> int:
        """How many children `parent` has."""
        return len(self._shards[hash(parent) & 255].get(parent, ()))

    def after(self, parent: str, path: str) -> Iterator[str]:
        """The children of `parent` that come after `path`, in order."""
        return self._start(parent, path, bisect_right)

    def since(self, parent: str, path: str) -> Iterator[str]:
        """The children of `parent` from `path` on, in order."""
        return self._start(parent, path, bisect_left)

    def _start(self, parent: str, path: str, bisect: _Bisect) -> Iterator[str]:
        family = self._shards[hash(parent) & 255].get(parent, ())
        if isinstance(family, tuple):
            return islice(family, bisect(family, path), None)
        return family.start(path, bisect)

    def add(self, parent: str, path: str) -> None:
        """`path`, which is not there yet, is a child of `parent`."""
        shard = self._shards[hash(parent) & 255]
        family = shard.get(parent, ())
        if not isinstance(family, tuple):
            family.add(path)
            return
        at = bisect_left(family, path)
        family = (*family[:at], path, *family[at:])
        shard[parent] = family if len(family) <= _RUN else _Runs(family)

    def remove(self, parent: str, path: str) -> None:
        """`path`, which is there, is a child of `parent` no longer."""
        shard = self._shards[hash(parent) & 255]
        family = shard[parent]
        if not isinstance(family, tuple):
            family.remove(path)
            if len(family) <= _RUN // 2:
                shard[parent] = tuple(family)
            return
        at = bisect_left(family, path)
        family = family[:at] + family[at + 1 :]
        if family:
            shard[parent] = family
        else:
            del shard[parent]

    def fill(self, paths: Sequence[str]) -> None:
        """Make the families of `paths`, which are all there are besides the root, in one go."""
        for parent, family in _gathered(paths).items():
            family.sort()
            self._shards[hash(parent) & 255][parent] = tuple(family) if len(family) <= _RUN else _Runs(family)

    def check(self, paths: Sequence[str]) -> None:
        """Raise InvariantViolation unless the families are those of `paths`."""
        held = {parent: family for shard in self._shards for parent, family in shard.items()}
        if {parent: list(family) for parent, family in held.items()} != {
            parent: sorted(family) for parent, family in _gathered(paths).items()
        }:
            raise InvariantViolation("the lists of children differ from the znodes there are")
        for parent, family in held.items():
            if not isinstance(family, tuple) and not family.is_sound():
                raise InvariantViolation(f"the runs of the children of {parent} are not as they are counted")


def _gathered(paths: Sequence[str]) -> dict[str, list[str]]:
    gathered: dict[str, list[str]] = {}
    for path in paths:
        parent = parent_of(path)
        family = gathered.get(parent)
        if family is None:
            gathered[parent] = [path]
        else:
            family.append(path)
    return gathered
