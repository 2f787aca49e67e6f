"""Bugs of sharding."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from planting import plant

from zkcore.client.port import Port
from zkcore.recipes import sharding as sharding_module
from zkcore.recipes.contender import remove, remove_made
from zkcore.recipes.shard_map import ShardState
from zkcore.recipes.shard_table import ShardTable, Wanted
from zkcore.recipes.sharding import Sharding
from zkcore.testing.mutants.mutant import Real

OWNED = "each_partition_has_one_owner_and_always_has_one_again"
TOKENS = "a_later_owner_has_a_higher_token"


def _takes_what_is_assigned(real: Real) -> Real:
    async def act(self: Sharding, port: Port, state: ShardState) -> None:
        routes = list(state.routes)
        table = state.table
        for route in state.routes:
            if route is None or table is None or route.owner == self.name:
                continue
            if table.owners[route.partition] == self.name:
                await remove(port, self._claim_of(route.partition))
                routes[route.partition] = None
        await real(self, port, evolve(state, routes=tuple(routes)))

    return act


def _given_up_undrained(real: Real) -> Real:
    async def give_up(self: Sharding, port: Port, partition: int, holding: Any) -> None:
        await remove_made(port, holding.lease.path, holding.lease.fencing_token)
        await real(self, port, partition, holding)

    return give_up


def _kept_for_the_dead(real: Real) -> Real:
    def next_table(table: ShardTable | None, *arguments: Any, **options: Any) -> ShardTable:
        following: ShardTable = real(table, *arguments, **options)
        return following if table is None else table

    return next_table


def _one_after_the_other(real: Any) -> Any:
    def by(cls: type[Wanted], *arguments: Any) -> Wanted | None:
        wanted: Wanted | None = real.__func__(cls, *arguments)
        if wanted is None:
            return None
        names = [node.name for node in wanted.nodes]
        return evolve(wanted, owners=tuple([names[each % len(names)] for each in range(len(wanted.owners))]))

    return classmethod(by)


def _told_the_version_of_the_table(real: Real) -> Real:
    def __init__(self: Sharding, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        on_acquire = self._on_acquire
        self._on_acquire = lambda partition, _: on_acquire(partition, self.map.state.version)

    return __init__


plant(
    "shard-taken",
    "whoever is assigned a partition takes it, whether or not it was given up",
    (Sharding, "_act", _takes_what_is_assigned),
    play=OWNED,
    seed=0,
)
plant(
    "shard-undrained",
    "a partition is given up before it is drained",
    (Sharding, "_give_up", _given_up_undrained),
    play=OWNED,
    seed=0,
)
plant(
    "shard-of-the-dead",
    "what is assigned to a member that has died stays so",
    (sharding_module, "next_table", _kept_for_the_dead),
    play=OWNED,
    seed=4,
)
plant(
    "shard-modulo",
    "partitions are assigned to the members one after the other, and most of them move when one comes",
    (Wanted, "by", _one_after_the_other),
    play=OWNED,
    seed=0,
)
plant(
    "shard-token-of-the-table",
    "the token of an owner is the version of the table, which may be the same for two of them",
    (Sharding, "__init__", _told_the_version_of_the_table),
    play=TOKENS,
    seed=0,
)
