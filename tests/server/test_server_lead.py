"""The word `lead`, which ZooKeeper does not have: a leader is told to hand over, where that is allowed by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import zkcore


def run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(bounded())


async def say(node: zkcore.Node, said: bytes, *, words: str = "lead") -> str:
    async with zkcore.ClientListener(node.host, "127.0.0.1:0", words=[words]) as listener:
        host, _, port = listener.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        answer = await reader.read()
        writer.close()
    return answer.decode()


def test_a_leader_hands_over_to_whom_it_is_told_or_to_anybody() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3) as cluster:
            for number in range(2):
                leader = await cluster.wait_for_leader()
                target = max(me for me in cluster.nodes if me != leader)
                said = await say(cluster.nodes[leader], b"lead" + bytes([0 if number else target]))
                assert said == f"node {leader} hands over\n"
                while cluster.leader in (leader, None):
                    await asyncio.sleep(0.001)
                assert number or cluster.leader == target

    run(main)


def test_who_cannot_hand_over_says_why() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3, observers=1) as cluster:
            leader = await cluster.wait_for_leader()
            follower = next(me for me in cluster.ensemble.voters if me != leader)
            while not cluster.nodes[follower].is_ready():
                await asyncio.sleep(0.001)
            assert await say(cluster.nodes[follower], b"lead\0") == (
                f"node {follower} does not lead; ask node {leader}\n"
            )
            assert await say(cluster.nodes[leader], b"lead" + bytes([leader])) == f"node {leader} leads already\n"
            for target in (4, 9):
                said = await say(cluster.nodes[leader], b"lead" + bytes([target]))
                assert said.startswith(f"node {target} cannot take over: voters in line with node {leader} are ")
            assert await say(cluster.nodes[leader], b"lead") == "", "to whom is not there yet"
            assert "not in the whitelist" in await say(cluster.nodes[leader], b"lead\0", words="*")
            assert cluster.leader == leader

    run(main)
