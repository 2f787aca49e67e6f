"""The table of a sharding: which member each partition is assigned to, and which step comes next on the way from there
to where the ring wants it.

Whoever plans computes the next table from what is in the tree: the table there is, who is a member, and who has claimed
what. Nothing else is kept of a migration, so it goes on where it was when its planner dies. Each step is the first of
the plan from here to the ring (`zkcore.ring.MigrationPlan`): a partition whose owner is gone is given to another at
once; what moves from one living member to another does so a few moves at a time, and none begins before the last is
done.

This module does no I/O, and must not know what a znode is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import frozen

from zkcore.ring.arcs import Arcs
from zkcore.ring.hashing import MMH3_32
from zkcore.ring.members import Member as Node
from zkcore.ring.migration import Migration, MigrationPlan
from zkcore.ring.placement import Placement
from zkcore.zxid import Zxid

__all__ = ["Placing", "ShardMember", "ShardTable", "Wanted", "next_table", "plan_of", "position_of", "staying"]

Placing: TypeAlias = "Callable[[Sequence[Node]], Placement]"
"""What makes a placement of the members, such as `zkcore.ring.Rendezvous`."""

RACK = "rack"
"""The label of the ring's nodes."""


@frozen
class ShardMember:
    """A member of a sharding, as everybody sees it."""

    name: str
    weight: float = 1.0
    """How much it is to own, relative to the others."""
    rack: str = ""
    """What it shares its fate with; empty where that is nobody."""
    address: str = ""
    """Where it is to be reached, in words of the application's own."""
    is_leaving: bool = False
    """Whether it hands over what it owns, and takes no more."""
    fencing_token: Zxid = 0
    """The zxid at which it joined."""

    def node(self) -> Node:
        """It as the ring knows it. Raises BadArgumentsError of the ring."""
        return Node(self.name, self.weight, {RACK: self.rack or f"that of {self.name} alone"})

    def encode(self) -> bytes:
        """What its znode says."""
        return _encode(weight=self.weight, rack=self.rack, address=self.address, leaving=self.is_leaving)

    @classmethod
    def decode(cls, name: str, data: bytes, token: Zxid) -> ShardMember | None:
        """None for what no member has written."""
        try:
            said = json.loads(data)
            member = cls(name, said["weight"], str(said["rack"]), str(said["address"]), bool(said["leaving"]), token)
            member.node()
        except (ValueError, TypeError, KeyError):
            return None
        return member


@frozen
class ShardTable:
    """One version of who owns what."""

    owners: tuple[str, ...]
    """By partition, the member it is assigned to. It owns it as soon as it has claimed it."""
    standbys: tuple[tuple[str, ...], ...]
    """By partition, who is to be ready to take it over, first the one that does when its owner is gone."""

    def encode(self) -> bytes:
        """What its znode says: names once, and their numbers."""
        names = sorted({*self.owners, *(name for names in self.standbys for name in names)})
        numbers = {name: number for number, name in enumerate(names)}
        return _encode(
            names=names,
            owners=[numbers[name] for name in self.owners],
            standbys=[[numbers[name] for name in each] for each in self.standbys],
        )

    @classmethod
    def decode(cls, data: bytes, partitions: int) -> ShardTable | None:
        """None for what is no table of so many partitions: it is made anew then."""
        try:
            said = json.loads(data)
            names = said["names"]
            owners = tuple([str(names[number]) for number in said["owners"]])
            standbys = tuple([tuple([str(names[number]) for number in each]) for each in said["standbys"]])
        except (ValueError, TypeError, KeyError, IndexError):
            return None
        return cls(owners, standbys) if len(owners) == len(standbys) == partitions else None


@frozen
class Wanted:
    """Whom the ring gives each partition, for the members that stay."""

    nodes: tuple[Node, ...]
    placement: Placement
    owners: tuple[str, ...]

    @classmethod
    def by(cls, members: Iterable[ShardMember], placing: Placing, partitions: int) -> Wanted | None:
        """None where nobody stays. Raises RingError for what the placement does not take."""
        nodes = staying(members)
        if not nodes:
            return None
        placement = placing(nodes)
        return cls(nodes, placement, tuple(placement.owners(range(partitions))))


def staying(members: Iterable[ShardMember]) -> tuple[Node, ...]:
    """The members that take partitions, as the ring knows them, in the order of their names."""
    return tuple([member.node() for member in sorted(members, key=_name) if not member.is_leaving])


def next_table(
    table: ShardTable | None,
    members: Mapping[str, ShardMember],
    claims: Mapping[int, str],
    wanted: Wanted,
    *,
    replicas: int,
    at_once: int,
) -> ShardTable:
    """The table that follows `table`, which may be the same.

    `claims` says who has claimed which partition. `at_once` so many moves between living members are under way at most.
    """
    placement, partitions = wanted.placement, len(wanted.owners)
    owners = list(wanted.owners)
    for partition in range(partitions):
        before = claims.get(partition) if table is None else table.owners[partition]
        if before is not None and before in members:
            owners[partition] = before
        elif table is not None:
            heirs = [name for name in table.standbys[partition] if name in placement]
            owners[partition] = heirs[0] if heirs else wanted.owners[partition]
    # Whoever has not claimed yet what is assigned to it is under way with it.
    waits = {(claims.get(partition), owner) for partition, owner in enumerate(owners) if claims.get(partition) != owner}
    if len(waits) < at_once and owners != list(wanted.owners):
        for move in Migration(plan_of(owners, wanted.owners, at_once=at_once - len(waits))).begin():
            for partition in range(partitions):
                if move.target is not None and position_of(partition, partitions) in move:
                    owners[partition] = move.target
    racks = {name: member.node().labels[RACK] for name, member in members.items()}
    standbys = [
        _standbys(placement, partition, owner, racks, replicas - 1) if replicas > 1 else ()
        for partition, owner in enumerate(owners)
    ]
    return ShardTable(tuple(owners), tuple(standbys))


def plan_of(owners: Sequence[str], wanted: Sequence[str], *, at_once: int) -> MigrationPlan:
    """How partitions get from their owners to those that are wanted."""
    marks = {name: name for name in (*owners, *wanted)}
    return MigrationPlan.between(_arcs(owners), _arcs(wanted), marks=marks, minimum=1, at_once=at_once)


def position_of(partition: int, partitions: int) -> int:
    """The first of the positions, by MMH3_32, whose keys are in a partition; as `zkcore.ring.Partitioned` has them."""
    return -(-(partition << MMH3_32.bits) // partitions)


def _arcs(owners: Sequence[str]) -> Arcs:
    count = len(owners)
    return Arcs.merged(MMH3_32, ((position_of(partition, count), (owner,)) for partition, owner in enumerate(owners)))


def _standbys(
    placement: Placement, partition: int, owner: str, racks: Mapping[str, str], count: int
) -> tuple[str, ...]:
    """As many as there are racks for: none shares one with the owner, or with another."""
    taken = {racks[owner]}
    found: list[str] = []
    for name in placement.preference(partition):
        if len(found) == count:
            break
        if racks[name] not in taken:
            taken.add(racks[name])
            found.append(name)
    return tuple(found)


def _name(member: ShardMember) -> str:
    return member.name


def _encode(**said: Any) -> bytes:
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
