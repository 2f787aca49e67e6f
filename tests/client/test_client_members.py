"""Clients that change the members of the ensemble, and look at them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from attrs import evolve

import zkcore
import zkcore.sync
from zkcore import EnsembleConfig, Members, Rules
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    NewConfigNoQuorumError,
    NoNodeError,
    ReconfigDisabledError,
)

T = TypeVar("T")

CONFIG = "/zookeeper/config"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, which must come within 20 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


def bystander(cluster: zkcore.LocalCluster) -> int:
    """A node that does not lead."""
    return next(node.me for node in cluster.nodes.values() if node.status().leader not in (node.me, None))


def test_members_leave_and_come_back() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            began = await zk.members()
            assert (began.config, began.version) == (EnsembleConfig([1, 2, 3]), 0)
            gone = bystander(cluster)
            data, stat = await zk.reconfig(leaving=[gone], from_config=0)
            members = await zk.members()
            assert data == members.text().encode() == (await zk.get(CONFIG)).data
            assert gone not in members.config.members
            assert stat.mzxid == members.version > 0
            with pytest.raises(BadVersionError, match="not of 0; read them again"):
                await zk.reconfig(leaving="1", from_config=0)
            with pytest.raises(BadArgumentsError, match=f"server {gone} cannot leave"):
                await zk.reconfig(leaving=[gone])
            with pytest.raises(NewConfigNoQuorumError):
                await zk.reconfig(new_members=Members(EnsembleConfig([1, 2, 3, 4, 5, 6, 7])))

    run(main())


def test_one_that_stands_alone_names_nobody_until_it_is_given_an_address() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            assert (await zk.get_config()).data == b""
            with pytest.raises(zkcore.ConfigurationError, match="at least one voter"):
                await zk.members()
            await zk.reconfig(joining="server.1=zk1:2888:2888:participant;2181")
            assert (await zk.members()).addresses == {1: "zk1:2888"}

    run(main())


def test_all_members_are_given_as_a_value() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            aside = bystander(cluster)
            left = [me for me in (1, 2, 3) if me != aside]
            wanted = Members(EnsembleConfig(left, observers=[aside], weights={left[0]: 2}))
            await zk.reconfig(new_members=wanted)
            found = await zk.members()
            assert found == evolve(wanted, version=found.version)

    run(main())


def test_a_change_is_told_to_who_watches() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            told: list[Any] = []
            part = zk.chroot("/app")
            await part.get_config(told.append)
            gone = bystander(cluster)
            await part.with_retry().reconfig(leaving=[gone])
            assert [(event.type.name, event.path) for event in told] == [("NODE_DATA_CHANGED", CONFIG)]
            assert gone not in (await zk.with_retry().chroot("/app").members()).config.members
            with pytest.raises(NoNodeError):
                await part.get(CONFIG)  # the part of the tree has none of its own

    run(main())


def test_requests_behind_a_change_wait_for_it() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            gone = bystander(cluster)
            changed, created, children = await asyncio.gather(
                zk.reconfig(leaving=[gone]), zk.create("/behind", include_data=True), zk.get_children("/")
            )
            assert created.stat.czxid > changed.stat.mzxid
            assert "behind" in children

    run(main())


def test_where_the_rules_say_so_nobody_may() -> None:
    async def main() -> None:
        rules = Rules(reconfig=False)
        async with zkcore.local_cluster(3, rules=rules) as cluster, cluster.client() as zk:
            assert await zk.who_am_i() == ()
            with pytest.raises(ReconfigDisabledError, match=r"Rules\.reconfig"):
                await zk.reconfig(leaving="3")

    run(main())


def test_blocking() -> None:
    with zkcore.sync.local_cluster(3) as cluster, cluster.client() as zk:
        events: list[Any] = []
        assert zk.get_config(events.append).stat.mzxid == 0
        gone = next(me for me in (1, 2, 3) if me != cluster.leader)
        assert zk.reconfig(leaving=[gone]).stat.mzxid == zk.members().version > 0
