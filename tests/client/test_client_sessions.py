"""What an ensemble grants to the sessions of clients in this process, and how they are ended by others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

import zkcore
import zkcore.sync
from zkcore import NotLeadingError, Rules, SessionState, Timeouts

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, which must come within 20 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


@pytest.mark.parametrize(("asked", "granted"), [(0.1, 5.0), (7.0, 7.0), (60.0, 9.0)])
def test_a_client_counts_on_the_timeout_that_was_granted(asked: float, granted: float) -> None:
    async def main() -> None:
        rules = Rules(timeouts=Timeouts(minimum_ms=5000, maximum_ms=9000))
        async with zkcore.local_cluster(3, rules=rules) as cluster, cluster.client(timeout=asked) as zk:
            assert zk.session_timeout == granted
            left = zk.port.session.alive_until - zk.port.now()
            assert granted * 0.8 < left < granted
            leader = cluster.leader
            assert leader is not None
            cluster.kill(leader)
            await zk.create("/a")
            assert zk.session_timeout == granted

    run(main())


def test_a_session_is_killed_wherever_it_is_served() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3) as cluster:
            follower = next(me for me in cluster.nodes if me != cluster.leader)
            async with cluster.nodes[follower].client() as doomed, cluster.client() as other:
                await doomed.create("/mine", ephemeral=True)
                assert {found.session for found in cluster.sessions()} == {doomed.session_id, other.session_id}
                assert await cluster.kill_session(doomed.session_id)
                await doomed.port.wait(doomed.port.session.lost)
                assert doomed.state is SessionState.LOST
                assert await other.exists("/mine", read=zkcore.Read.LINEARIZABLE) is None
                assert not await cluster.kill_session(doomed.session_id)
                with pytest.raises(NotLeadingError):
                    await cluster.nodes[follower].kill_session(other.session_id)

    run(main())


def test_without_a_leader_no_session_is_killed() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            node = cluster.nodes[1]
            cluster.kill(1)
            with pytest.raises(NotLeadingError):
                await cluster.kill_session(zk.session_id)
            with pytest.raises(NotLeadingError):
                await node.kill_session(zk.session_id)
            cluster.start_node(1)
            await zk.create("/a")

    run(main())


def test_sessions_are_killed_in_blocking_code_too() -> None:
    with zkcore.sync.local_cluster(1) as cluster, cluster.client() as zk:
        assert [found.session for found in cluster.sessions()] == [zk.session_id]
        assert zk.session_timeout == 10.0
        assert cluster.kill_session(zk.session_id)
        with pytest.raises(zkcore.SessionError):
            _write_until_the_end(zk)


def _write_until_the_end(zk: zkcore.sync.Client) -> None:
    while True:
        zk.create("/n", sequence=True)
