"""Which znodes are whose children, in order.

A small family is a tuple, which costs little and which the garbage collector soon leaves alone; a large one is a sorted
list, where adding one costs little. Both hold full paths, the very strings under which the znodes are kept: names of
their own would cost a string per znode. The families are spread over many dicts, since a large one pauses all for as
long as it takes to grow.

This module must not know whether a znode exists.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeAlias, cast

from sortedcontainers import SortedList

from zkcore.errors import InvariantViolation
from zkcore.tree.paths import parent_of

__all__ = ["Families"]

_SMALL = 32
_SHARDS = 256

_Family: TypeAlias = tuple[str, ...] | SortedList


class Families:
    """The children of every znode that has any."""

    def __init__(self) -> None:
        self._shards: list[dict[str, _Family]] = [{} for _ in range(_SHARDS)]

    def of(self, parent: str) -> Sequence[str]:
        """The paths of the children of `parent`, in order. Look at it before the next change, and no longer."""
        return cast(Sequence[str], self._shards[hash(parent) & 255].get(parent, ()))

    def count(self, parent: str) -> int:
        """How many children `parent` has."""
        return len(self._shards[hash(parent) & 255].get(parent, ()))

    def after(self, parent: str, path: str) -> Iterator[str]:
        """The children of `parent` that come after `path`, in order."""
        family = self._shards[hash(parent) & 255].get(parent, ())
        if isinstance(family, tuple):
            return islice(family, bisect_right(family, path), None)
        return cast(Iterator[str], family.irange(path, inclusive=(False, True)))

    def since(self, parent: str, path: str) -> Iterator[str]:
        """The children of `parent` from `path` on, in order."""
        family = self._shards[hash(parent) & 255].get(parent, ())
        if isinstance(family, tuple):
            return islice(family, bisect_left(family, path), None)
        return cast(Iterator[str], family.irange(path))

    def add(self, parent: str, path: str) -> None:
        """`path`, which is not there yet, is a child of `parent`."""
        shard = self._shards[hash(parent) & 255]
        family = shard.get(parent)
        if family is None:
            shard[parent] = (path,)
        elif not isinstance(family, tuple):
            family.add(path)
        elif len(family) < _SMALL:
            at = bisect_left(family, path)
            shard[parent] = (*family[:at], path, *family[at:])
        else:
            shard[parent] = SortedList((*family, path))

    def remove(self, parent: str, path: str) -> None:
        """`path`, which is there, is a child of `parent` no longer."""
        shard = self._shards[hash(parent) & 255]
        family = shard[parent]
        if isinstance(family, tuple):
            at = bisect_left(family, path)
            family = (*family[:at], *family[at + 1 :])
            if family:
                shard[parent] = family
            else:
                del shard[parent]
        else:
            family.remove(path)
            if len(family) <= _SMALL // 2:
                shard[parent] = tuple(family)

    def fill(self, paths: Sequence[str]) -> None:
        """Make the families of `paths`, which are all there are besides the root, in one go."""
        for parent, family in _gathered(paths).items():
            self._shards[hash(parent) & 255][parent] = (
                tuple(sorted(family)) if len(family) <= _SMALL else SortedList(family)
            )

    def check(self, paths: Sequence[str]) -> None:
        """Raise InvariantViolation unless the families are those of `paths`."""
        held: dict[str, list[str]] = {}
        for shard in self._shards:
            for parent, family in shard.items():
                held[parent] = list(family)
        if held != {parent: sorted(family) for parent, family in _gathered(paths).items()}:
            raise InvariantViolation("the lists of children differ from the znodes there are")
        for shard in self._shards:
            for family in shard.values():
                if not isinstance(family, tuple):
                    family._check()


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
