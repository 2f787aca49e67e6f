"""What the nodes of a cluster tell while its members are changed, as an iterator over events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import zkcore
from zkcore.events import (
    ConfigurationActivated,
    ConfigurationChanging,
    MemberCaughtUp,
    MemberJoined,
    MemberLeft,
    MemberSuspected,
    NodeEvent,
)
from zkcore.zab.quorum import EnsembleConfig

OLD, NEW = EnsembleConfig([1, 2, 3], observers=[4]), EnsembleConfig([1, 2, 3, 4], observers=[5])


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(bounded())


def test_a_change_of_the_members_is_told_by_all_of_them_and_how_they_are_by_the_leader() -> None:
    async def main() -> None:
        cluster = zkcore.local_cluster(3, observers=1, limits=zkcore.Limits(sync_limit_ticks=40, ping_ticks=5))
        heard: dict[int, list[NodeEvent]] = {}
        suspected: list[MemberSuspected] = []
        async with cluster.events.stream() as events, cluster, cluster.client() as zk:
            leader = await cluster.wait_for_leader()
            in_line: set[int] = set()
            async for event in events:
                if isinstance(event, MemberCaughtUp):
                    assert event.node == leader
                    in_line.add(event.member)
                    if len(in_line) == 3:
                        break
            made = await zk.reconfig(joining="server.4=0.0.0.0:0:0:participant,server.5=nobody:1:1:observer")
            async for event in events:
                if isinstance(event, MemberSuspected):
                    suspected.append(event)
                elif isinstance(event, ConfigurationChanging | ConfigurationActivated | MemberJoined | MemberLeft):
                    heard.setdefault(event.node, []).append(event)
                activated = sum(isinstance(told[-1], ConfigurationActivated) for told in heard.values())
                if activated == 4 and suspected:
                    break
            (only,) = suspected
            assert (only.node, only.member, only.why) == (leader, 5, "it does not follow")
            for node, told in heard.items():
                changing, joined, after = told
                assert changing == ConfigurationChanging(
                    node=node, version=made.stat.mzxid - 1, replaced=OLD, config=NEW
                )
                assert joined == MemberJoined(node=node, member=5, votes=False)
                assert after == ConfigurationActivated(node=node, version=made.stat.mzxid, config=NEW)
            await zk.reconfig(leaving="5")
            async for event in events:
                if isinstance(event, MemberLeft):
                    assert event.member == 5
                    break

    run(main)
