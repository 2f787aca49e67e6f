"""Consistent hashing: who owns a key, who is next, and what moves when nodes come and go. Useful alone.

`Placement` is the face of all algorithms: `HashRing`, the one to take unless there is a reason; `Rendezvous`, for few
nodes and exact weights; `Jump`, for numbered shards; `Maglev`, for the evenest table; `BoundedLoad` over any of them,
for a limit that no node exceeds; `Partitioned`, for keys in a fixed number of partitions.
"""

from zkcore.ring.arcs import Arcs, Diff, Range
from zkcore.ring.bounded import Assignment, BoundedLoad
from zkcore.ring.errors import (
    BadArgumentsError,
    BadKeyError,
    NodeExistsError,
    NoNodeError,
    PlanError,
    RingError,
    UnsatisfiableError,
    UnsupportedError,
)
from zkcore.ring.hashing import MD5_32, MMH3_32, MMH3_64, HashFunction, Key
from zkcore.ring.hashring import HashRing
from zkcore.ring.jump import Jump
from zkcore.ring.maglev import Maglev
from zkcore.ring.members import Member
from zkcore.ring.migration import Migration, MigrationPlan, Move, Phase, Step
from zkcore.ring.partitions import Partitioned
from zkcore.ring.placement import Holder, Placement
from zkcore.ring.rendezvous import Rendezvous
from zkcore.ring.statistics import Balance, balance, moved_fraction

__all__ = [
    "MD5_32",
    "MMH3_32",
    "MMH3_64",
    "Arcs",
    "Assignment",
    "BadArgumentsError",
    "BadKeyError",
    "Balance",
    "BoundedLoad",
    "Diff",
    "HashFunction",
    "HashRing",
    "Holder",
    "Jump",
    "Key",
    "Maglev",
    "Member",
    "Migration",
    "MigrationPlan",
    "Move",
    "NoNodeError",
    "NodeExistsError",
    "Partitioned",
    "Phase",
    "Placement",
    "PlanError",
    "Range",
    "Rendezvous",
    "RingError",
    "Step",
    "UnsatisfiableError",
    "UnsupportedError",
    "balance",
    "moved_fraction",
]
