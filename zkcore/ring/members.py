"""Nodes as a placement knows them: a name, a weight, and labels such as the rack.

This module knows no algorithm. It checks what users say about their nodes, once for all algorithms, and every complaint
names the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import TypeAlias

from attrs import evolve, field, frozen

from zkcore.ring.errors import BadArgumentsError, NodeExistsError, NoNodeError

__all__ = ["Member", "Nodes", "added", "label_of", "members_of", "reweighted", "without"]


@frozen
class Member:
    """A node: its name, its weight relative to the others, and labels that `distinct_by` can ask for.

    Raises BadArgumentsError for a name that is no text or empty, and for a weight that is not a positive number.
    """

    name: str
    weight: float = 1.0
    labels: Mapping[str, str] = field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise BadArgumentsError(f"the name of a node is a text that is not empty, not {self.name!r}")
        number = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if not number or not isfinite(self.weight) or self.weight <= 0:
            raise BadArgumentsError(f"node {self.name!r}: a weight is a number above zero, not {self.weight!r}")


Nodes: TypeAlias = Iterable[str | Member] | Mapping[str, float]
"""Names, members, or names with their weights."""


def members_of(nodes: Nodes) -> dict[str, Member]:
    """The members by name, in the order given. Raises NodeExistsError when a name comes twice."""
    if isinstance(nodes, str | bytes):
        raise BadArgumentsError(f"nodes are several names, not the one text {nodes!r}; write [{nodes!r}]")
    if isinstance(nodes, Mapping):
        return {name: Member(name, weight) for name, weight in nodes.items()}
    found: dict[str, Member] = {}
    for node in nodes:
        found = added(found, node if isinstance(node, Member) else Member(node), in_place=True)
    return found


def added(members: dict[str, Member], member: Member, *, in_place: bool = False) -> dict[str, Member]:
    """`members` and one more. Raises NodeExistsError."""
    if member.name in members:
        raise NodeExistsError(f"node {member.name!r} is there already; with_weight changes its weight")
    grown = members if in_place else dict(members)
    grown[member.name] = member
    return grown


def without(members: Mapping[str, Member], node: str) -> dict[str, Member]:
    """`members` without one. Raises NoNodeError."""
    _require(members, node)
    return {name: member for name, member in members.items() if name != node}


def reweighted(members: Mapping[str, Member], node: str, weight: float) -> dict[str, Member]:
    """`members`, one of another weight. Raises NoNodeError and BadArgumentsError."""
    _require(members, node)
    return {name: evolve(member, weight=weight) if name == node else member for name, member in members.items()}


def label_of(member: Member, label: str) -> str:
    """What `label` says of a node. Raises BadArgumentsError when it says nothing."""
    try:
        return member.labels[label]
    except KeyError:
        raise BadArgumentsError(f"node {member.name!r} has no label {label!r}") from None


def _require(members: Mapping[str, Member], node: str) -> None:
    if node not in members:
        raise NoNodeError(f"there is no node {node!r}")
