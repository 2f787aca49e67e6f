"""Placement: the one face of all algorithms. Who owns a key, who is next, and what changes when nodes come and go.

An algorithm says how it orders the nodes for a key (`preference`) and how another version of it is made (`with_node`,
`without_node`, `with_weight`). Everything else follows from those, and an algorithm replaces what it can do faster. A
placement is a value: it never changes, and every change makes another one.

Some algorithms cut the circle of hash positions into arcs with one owner each (`HashRing`, `Maglev`, `Partitioned`).
Those know `position` and `arcs`, and what rests on them: `diff`, `plan`, `shares`, `plot`. The others raise
UnsupportedError there; wrapped in `Partitioned` they have arcs too.

This module knows no algorithm, and no network: that a node is down is something it is told.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Protocol, Self

from attrs import frozen

from zkcore.ring.arcs import Arcs, Diff
from zkcore.ring.errors import BadArgumentsError, NoNodeError, UnsatisfiableError, UnsupportedError
from zkcore.ring.hashing import Key
from zkcore.ring.members import Member, label_of
from zkcore.ring.migration import MigrationPlan
from zkcore.ring.picture import picture

__all__ = ["Holder", "Placement"]


@frozen
class Holder:
    """A node that serves a key now. `stands_in_for` is the owner or replica that is down, whose place it takes."""

    node: str
    stands_in_for: str | None = None


class Placement(Protocol):
    """Which node a key belongs to, in one version of a set of nodes."""

    __slots__ = ()

    # --- what an algorithm says

    @property
    @abstractmethod
    def members(self) -> Mapping[str, Member]:
        """The nodes by name, with weights and labels. Not to be changed."""

    @abstractmethod
    def preference(self, key: Key) -> Iterator[str]:
        """All nodes, the owner first, then who is next. Raises BadKeyError and, without nodes, NoNodeError."""

    @abstractmethod
    def with_node(self, node: str, weight: float = 1.0, *, labels: Mapping[str, str] | None = None) -> Self:
        """This placement and one more node. Raises NodeExistsError and BadArgumentsError."""

    @abstractmethod
    def without_node(self, node: str) -> Self:
        """This placement without `node`. Raises NoNodeError."""

    @abstractmethod
    def with_weight(self, node: str, weight: float) -> Self:
        """This placement with another weight for `node`. Raises NoNodeError and BadArgumentsError."""

    # --- what follows

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes."""
        return tuple(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, node: object) -> bool:
        return node in self.members

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def owner(self, key: Key) -> str:
        """The node that `key` belongs to. Raises BadKeyError and, without nodes, NoNodeError."""
        return next(self.preference(key))

    def owners(self, keys: Iterable[Key]) -> list[str]:
        """The owner of each key, in the order of the keys."""
        return [self.owner(key) for key in keys]

    def replicas(self, key: Key, n: int, *, distinct_by: str | None = None) -> tuple[str, ...]:
        """The `n` nodes that keep `key`, its owner first, no node twice. With `distinct_by`, a label such as "rack", no
        two of them have the same value of it, and a node later in the order of preference takes the place of one whose
        rack is taken.

        Raises UnsatisfiableError when there are not so many nodes, or racks.
        """
        self._check_count(n)
        return self._first(self.preference(key), n, distinct_by=distinct_by)

    def holders(
        self, key: Key, n: int, *, down: Collection[str], distinct_by: str | None = None
    ) -> tuple[Holder, ...]:
        """Who serves `key` while the nodes in `down` do not: the replicas, and in the place of each that is down the
        next node in the order of preference that is up. Who owns the key does not change by that: when a node is back,
        it has its place again, and its stand-in hands back what it took.

        With `distinct_by` the rule of racks holds among those who serve. Raises UnsatisfiableError when too few nodes
        are up for that.
        """
        if isinstance(down, str | bytes):
            raise BadArgumentsError(f"`down` is a collection of nodes, not the one text {down!r}")
        chosen = self.replicas(key, n, distinct_by=distinct_by)
        used = {self._mark(node, distinct_by) for node in chosen if node not in down}
        spare = (node for node in self.preference(key) if node not in down)
        holders = []
        for node in chosen:
            if node not in down:
                holders.append(Holder(node))
                continue
            stand_in = next((other for other in spare if self._mark(other, distinct_by) not in used), None)
            if stand_in is None:
                raise UnsatisfiableError(f"key {key!r}: nobody who is up can stand in for node {node!r}")
            used.add(self._mark(stand_in, distinct_by))
            holders.append(Holder(stand_in, node))
        return tuple(holders)

    # --- the circle as a whole

    def position(self, key: Key) -> int:
        """Where `key` lies on the circle. Raises BadKeyError, and UnsupportedError where there is no circle."""
        raise self._unsupported("has no positions; Partitioned gives it some")

    def arcs(self, n: int = 1, *, distinct_by: str | None = None) -> Arcs:
        """The circle cut where replicas change: for each arc the `n` nodes that keep its keys, in order.

        Raises UnsupportedError where there is no circle, and UnsatisfiableError as `replicas` does.
        """
        raise self._unsupported("has no arcs; Partitioned gives it some")

    def diff(self, other: Placement, n: int = 1, *, distinct_by: str | None = None) -> Diff:
        """The ranges of positions whose `n` replicas are others in `other`, with both. Raises UnsupportedError where
        there are no arcs, or those of the two cannot be compared."""
        return self.arcs(n, distinct_by=distinct_by).diff(other.arcs(n, distinct_by=distinct_by))

    def shares(self) -> dict[str, float]:
        """The part of the circle that each node owns, from 0 to 1. Raises UnsupportedError where there are no arcs."""
        return {**dict.fromkeys(self.members, 0.0), **self.arcs().shares()}

    def plan(
        self, other: Placement, n: int = 1, *, distinct_by: str | None = None, minimum: int | None = None,
        at_once: int = 1, lost: Collection[str] = (),
    ) -> MigrationPlan:  # fmt: skip
        """How to move the data from here to `other`, `at_once` moves at a time, where each key has `n` replicas, in
        different racks with `distinct_by`. No key ever has fewer than `minimum` of them, as many as `n` unless said
        otherwise; `lost` nodes have none any more. Nothing happens yet: see MigrationPlan.

        Where there are not so many nodes yet, there are as many replicas as nodes. Raises UnsupportedError where there
        are no arcs, UnsatisfiableError as `replicas` does, and PlanError when the promises cannot be kept.
        """
        old = self.arcs(min(n, len(self)) if len(self) else n, distinct_by=distinct_by)
        new = other.arcs(n, distinct_by=distinct_by)
        marks = {
            name: name if distinct_by is None else label_of(member, distinct_by)
            for name, member in {**self.members, **other.members}.items()
        }
        return MigrationPlan.between(
            old, new, marks=marks, minimum=n if minimum is None else minimum, at_once=at_once, lost=lost
        )

    def plot(self) -> str:
        """A picture of who owns which part of the circle, as SVG text. Raises UnsupportedError where there are no arcs,
        and UnsatisfiableError without nodes."""
        weights = {name: member.weight for name, member in self.members.items()}
        return picture(self.arcs(), weights, title=f"{type(self).__name__} of {len(self)} nodes")

    # --- for the algorithms

    def _check_count(self, n: int) -> None:
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise BadArgumentsError(f"the number of replicas is 1 or more, not {n!r}")
        if n > len(self.members):
            raise UnsatisfiableError(f"{n} replicas are asked for, but there are only {len(self.members)} nodes")

    def _first(self, nodes: Iterator[str], n: int, *, distinct_by: str | None) -> tuple[str, ...]:
        """The first `n` of `nodes` that differ in `distinct_by`."""
        found = tuple(islice(self._distinct(nodes, distinct_by), n))
        if len(found) < n:
            raise UnsatisfiableError(
                f"{n} replicas with different labels {distinct_by!r} are asked for, "
                f"but there are only {len(found)}, as on {', '.join(found)}"
            )
        return found

    def _mark(self, node: str, distinct_by: str | None) -> str:
        """What no two replicas may share."""
        return node if distinct_by is None else label_of(self.members[node], distinct_by)

    def _distinct(self, nodes: Iterator[str], distinct_by: str | None) -> Iterator[str]:
        if distinct_by is None:
            yield from nodes
            return
        taken = set()
        for node in nodes:
            mark = self._mark(node, distinct_by)
            if mark not in taken:
                taken.add(mark)
                yield node

    def _nobody(self, key: object) -> NoNodeError:
        return NoNodeError(f"key {key!r} has no owner: there are no nodes")

    def _unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{type(self).__name__} {what}")
