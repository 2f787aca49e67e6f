"""Which znodes are whose children, in order.

A family is a string, the names of all children behind each other; one that is too large for that is several tuples of
full paths, each a run of the order, so that adding a child costs the copy of a run. These paths are the very strings
under which the znodes are kept: names of their own would cost a string per znode. Strings, and dicts with nothing else
in them, the garbage collector never looks at, and tuples of strings no more once it has seen them; so its full
collections do not stop the writes of a large tree. The families are spread over many dicts, since a large one pauses
all for as long as it takes to grow.

This module must not know whether a znode exists.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Reversible, Sequence
from itertools import chain, islice
from typing import TypeAlias

from zkcore.errors import InvariantViolation
from zkcore.tree.paths import parent_of

__all__ = ["Families"]

_RUN = 128
"""The most paths in a run."""

_SHARDS = 256

_AND = "\0"
"""Stands between the names of a family. No path has it (`transactions.py`)."""

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


def _start_of(parent: str) -> int:
    """Where in the path of a child its name begins."""
    return len(parent) + 1 if parent != "/" else 1


class Families:
    """The children of every znode that has any."""

    def __init__(self) -> None:
        self._shards: list[dict[str, str]] = [{} for _ in range(_SHARDS)]
        self._large: dict[str, _Runs] = {}

    def of(self, parent: str) -> Reversible[str]:
        """The paths of the children of `parent`, in order. Look at it before the next change, and no longer."""
        family = self._shards[hash(parent) & 255].get(parent)
        return self._large.get(parent, ()) if family is None else _paths(parent, family)

    def count(self, parent: str) -> int:
        """How many children `parent` has."""
        family = self._shards[hash(parent) & 255].get(parent)
        return len(self._large.get(parent, ())) if family is None else family.count(_AND) + 1

    def after(self, parent: str, path: str) -> Iterator[str]:
        """The children of `parent` that come after `path`, in order."""
        return self._start(parent, path, bisect_right)

    def since(self, parent: str, path: str) -> Iterator[str]:
        """The children of `parent` from `path` on, in order."""
        return self._start(parent, path, bisect_left)

    def _start(self, parent: str, path: str, bisect: _Bisect) -> Iterator[str]:
        if (large := self._large.get(parent)) is not None:
            return large.start(path, bisect)
        family = self._shards[hash(parent) & 255].get(parent)
        paths = _paths(parent, family) if family is not None else []
        return islice(paths, bisect(paths, path), None)

    def add(self, parent: str, path: str) -> None:
        """`path`, which is not there yet, is a child of `parent`."""
        if (large := self._large.get(parent)) is not None:
            large.add(path)
            return
        shard = self._shards[hash(parent) & 255]
        family = shard.get(parent)
        name = path[_start_of(parent) :]
        if family is None:
            shard[parent] = name
        elif family.count(_AND) + 1 == _RUN:
            del shard[parent]
            large = self._large[parent] = _Runs(_paths(parent, family))
            large.add(path)
        elif name > family[family.rfind(_AND) + 1 :]:  # behind all others, as most are
            shard[parent] = family + _AND + name
        else:
            names = family.split(_AND)
            insort(names, name)
            shard[parent] = _AND.join(names)

    def remove(self, parent: str, path: str) -> None:
        """`path`, which is there, is a child of `parent` no longer."""
        shard = self._shards[hash(parent) & 255]
        if (large := self._large.get(parent)) is not None:
            large.remove(path)
            if len(large) <= _RUN // 2:
                del self._large[parent]
                shard[parent] = _joined(parent, large)
            return
        family, name = _AND + shard[parent] + _AND, path[_start_of(parent) :]
        at = family.index(_AND + name + _AND)
        if len(family) == len(name) + 2:
            del shard[parent]
        else:
            shard[parent] = (family[:at] + family[at + len(name) + 1 :])[1:-1]

    def fill(self, paths: Sequence[str]) -> None:
        """Make the families of `paths`, which are all there are besides the root, in one go."""
        for parent, family in _gathered(paths).items():
            family.sort()
            if len(family) <= _RUN:
                self._shards[hash(parent) & 255][parent] = _joined(parent, family)
            else:
                self._large[parent] = _Runs(family)

    def check(self, paths: Sequence[str]) -> None:
        """Raise InvariantViolation unless the families are those of `paths`."""
        held = {parent: list(family) for parent, family in self._large.items()}
        held |= {parent: _paths(parent, family) for shard in self._shards for parent, family in shard.items()}
        if held != {parent: sorted(family) for parent, family in _gathered(paths).items()}:
            raise InvariantViolation("the lists of children differ from the znodes there are")
        for parent, large in self._large.items():
            if not large.is_sound():
                raise InvariantViolation(f"the runs of the children of {parent} are not as they are counted")


def _paths(parent: str, family: str) -> list[str]:
    start = f"{parent}/" if parent != "/" else "/"
    return [start + name for name in family.split(_AND)]


def _joined(parent: str, paths: Iterable[str]) -> str:
    start = _start_of(parent)
    return _AND.join([path[start:] for path in paths])


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
