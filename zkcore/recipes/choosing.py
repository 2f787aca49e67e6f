"""Choosing: which instance of a service is to do the next piece of work.

Every way to choose is a function made of the instances there are, once for each time that they change, so that a choice
itself is a few steps in local memory. What is under way with whom is counted by whoever chooses; what all others have
under way they do not know, but for what an instance says of its own load.

This module does no I/O, and must not know how instances are found.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from math import ceil, isfinite
from typing import Any, TypeAlias

from attrs import field, frozen

from zkcore.errors import BadArgumentsError
from zkcore.ring.hashing import Key
from zkcore.ring.hashring import HashRing
from zkcore.zxid import Zxid

__all__ = ["Choice", "Choose", "Instance", "Status", "UnderWay", "chooser", "ring_of"]


class Choice(StrEnum):
    """How an instance is chosen of those that are up."""

    ROUND_ROBIN = "round robin"
    """One after the other."""
    RANDOM = "random"
    """By chance, each as often as every other."""
    WEIGHTED = "weighted"
    """By chance, in proportion to the weights."""
    LEAST_LOADED = "least loaded"
    """The one with the lowest load for its weight: what it says of itself, and what is under way with it from here."""
    STICKY = "sticky"
    """The same for the same key, by consistent hashing: another one only where that is gone, or has more under way from
    here than its share times a factor."""


class Status(StrEnum):
    """How an instance is, by its own word."""

    UP = "up"
    """It takes work."""
    DRAINING = "draining"
    """It finishes what it has, and takes nothing more."""
    DOWN = "down"
    """It is there, and cannot work at the moment."""


@frozen
class Instance:
    """One process that offers a service, as everybody sees it."""

    name: str
    address: str
    """Where it is to be reached, in words of the application's own."""
    metadata: Mapping[str, str] = field(factory=dict, hash=False)
    weight: float = 1.0
    """How much it takes, relative to the others."""
    status: Status = Status.UP
    load: float = 0.0
    """How much it has to do, by its own word and in its own measure."""
    fencing_token: Zxid = 0
    """The zxid at which it was registered: one that comes again has a higher one."""

    def check(self) -> None:
        """Raises BadArgumentsError for what makes no sense."""
        if not isinstance(self.address, str):
            raise BadArgumentsError(f"address={self.address!r} of instance {self.name}; give a text")
        texts = [each for pair in self.metadata.items() for each in pair]
        if not all(isinstance(each, str) for each in texts):
            raise BadArgumentsError(f"metadata={self.metadata!r} of instance {self.name}; give names and texts")
        if not _is_number(self.weight) or self.weight <= 0:
            raise BadArgumentsError(f"weight={self.weight!r} of instance {self.name}; give a number above 0")
        if not _is_number(self.load) or self.load < 0:
            raise BadArgumentsError(f"load={self.load!r} of instance {self.name}; give a number from 0 on")

    def encode(self) -> bytes:
        """What its znode says."""
        said = {
            "address": self.address,
            "load": self.load,
            "metadata": dict(self.metadata),
            "status": self.status,
            "weight": self.weight,
        }
        return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, name: str, data: bytes, token: Zxid) -> Instance | None:
        """None for what no instance has written."""
        try:
            said = json.loads(data)
            found = cls(
                name, said["address"], said["metadata"], said["weight"], Status(said["status"]), said["load"], token
            )
            found.check()
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


class UnderWay:
    """What is under way with whom. Threads may share it: each step is one that nothing comes between."""

    def __init__(self) -> None:
        self._all: list[None] = []
        self._by_name: dict[str, list[None]] = {}

    @property
    def total(self) -> int:
        return len(self._all)

    def of(self, name: str) -> int:
        """How much is under way with one."""
        return len(self._by_name.get(name, ()))

    def begin(self, name: str) -> list[None]:
        """Some work begins: what to `end` it with."""
        mine = self._by_name.setdefault(name, [])
        self._all.append(None)
        mine.append(None)
        return mine

    def end(self, begun: list[None]) -> None:
        """It has ended, whichever way. The one who does it may be forgotten by then."""
        self._all.pop()
        begun.pop()

    def forget(self, names: Sequence[str]) -> None:
        """Keep no count of those who are not among these, and have nothing under way."""
        for name in list(self._by_name):
            if name not in names and not self._by_name[name]:
                self._by_name.pop(name)


Choose: TypeAlias = "Callable[[Key | None], Instance]"
"""The instance for a key; ways that need none take None."""


def chooser(
    by: Choice,
    instances: Sequence[Instance],
    *,
    turns: Iterator[int],
    chance: Callable[[], float],
    under_way: UnderWay,
    ring: HashRing,
    factor: float,
) -> Choose:
    """What chooses one of `instances`, of which there is at least one. `turns` count up, `chance` draws from 0 to 1,
    and `ring` has just these."""
    if by is Choice.ROUND_ROBIN:
        return _round_robin(instances, turns)
    if by is Choice.RANDOM:
        count = len(instances)
        return lambda key: instances[int(chance() * count)]
    if by is Choice.WEIGHTED:
        return _weighted(instances, chance)
    if by is Choice.LEAST_LOADED:
        return _least_loaded(instances, turns, under_way)
    return _sticky(instances, ring, under_way, factor)


def _round_robin(instances: Sequence[Instance], turns: Iterator[int]) -> Choose:
    count = len(instances)

    def choose(key: Key | None) -> Instance:
        return instances[next(turns) % count]

    return choose


def _weighted(instances: Sequence[Instance], chance: Callable[[], float]) -> Choose:
    upto = list(accumulate(each.weight for each in instances))
    total, last = upto[-1], len(instances) - 1

    def choose(key: Key | None) -> Instance:
        return instances[min(bisect_right(upto, chance() * total), last)]

    return choose


def _least_loaded(instances: Sequence[Instance], turns: Iterator[int], under_way: UnderWay) -> Choose:
    count = len(instances)

    def choose(key: Key | None) -> Instance:
        first = next(turns)  # of those that are alike each has its turn
        return min(
            (instances[(first + each) % count] for each in range(count)),
            key=lambda instance: (instance.load + under_way.of(instance.name)) / instance.weight,
        )

    return choose


def _sticky(instances: Sequence[Instance], ring: HashRing, under_way: UnderWay, factor: float) -> Choose:
    by_name = {each.name: each for each in instances}
    total_weight = sum(each.weight for each in instances)
    owner = ring.owner

    def has_room(name: str) -> bool:
        share = factor * (under_way.total + 1) * by_name[name].weight / total_weight
        return under_way.of(name) < ceil(share)

    def choose(key: Key | None) -> Instance:
        if key is None:
            raise BadArgumentsError("a sticky choice is by a key; give one, as in choose(user)")
        name = owner(key)
        if under_way.total and not has_room(name):
            name = next((each for each in ring.preference(key) if has_room(each)), name)
        return by_name[name]

    return choose


def ring_of(before: HashRing, instances: Sequence[Instance]) -> HashRing:
    """A ring of just these, made of the one before by what has changed: that costs less than to make one anew."""
    weights: dict[str, Any] = {each.name: each.weight for each in instances}
    ring = before
    for name in before.nodes:
        if name not in weights:
            ring = ring.without_node(name)
    for name, weight in weights.items():
        if name not in ring:
            ring = ring.with_node(name, weight)
        elif ring.members[name].weight != weight:
            ring = ring.with_weight(name, weight)
    return ring
