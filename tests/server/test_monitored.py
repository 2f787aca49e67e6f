"""What `mntr` tells monitors: ZooKeeper's keys, with true values."""

from __future__ import annotations

import asyncio

import zkcore

KEYS = frozenset({
    "version", "server_state", "peer_state", "avg_latency", "max_latency", "min_latency", "packets_received",
    "packets_sent", "num_alive_connections", "outstanding_requests", "znode_count", "watch_count",
    "ephemerals_count", "approximate_data_size", "global_sessions", "uptime", "looking_count",
    "stale_sessions_expired", "avg_fsynctime", "cnt_fsynctime", "sum_fsynctime", "max_fsynctime", "avg_snapshottime",
    "cnt_snapshottime", "sum_snapshottime", "learners", "quorum_size", "synced_followers", "synced_observers",
})  # fmt: skip
"""Those of Apache ZooKeeper 3.8 that zkcore has something to say to."""

OURS = frozenset({"configuration", "configuration_version", "configuration_changing", "learner_lags"})
"""Those that ZooKeeper does not have."""


async def mntr(node: zkcore.Node) -> dict[str, str]:
    async with zkcore.ClientListener(node.host, "127.0.0.1:0", words=["mntr"]) as listener:
        host, _, port = listener.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"mntr")
        said = (await reader.read()).decode()
        writer.close()
    return dict(line.removeprefix("zk_").split("\t") for line in said.splitlines())


def test_monitors_are_told_true_values_under_the_names_of_zookeeper() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(3, observers=1) as cluster, cluster.client() as zk:
            for number in range(5):
                await zk.create(f"/{number}")
            doomed = await cluster.client().start()
            await cluster.kill_session(doomed.session_id)
            leader = await cluster.wait_for_leader()
            while doomed.session_id in cluster.nodes[leader].host.replica.tree.sessions:  # it ends with the next tick
                await asyncio.sleep(0.001)
            while sum(each.stage == "ACTIVE" for each in cluster.nodes[leader].status().learners) < 3:
                await asyncio.sleep(0.001)
            leading = await mntr(cluster.nodes[leader])
            assert leading.keys() == KEYS | OURS
            told = {name: leading[name] for name in ("quorum_size", "synced_followers", "synced_observers", "learners")}
            assert told == {"quorum_size": "3", "synced_followers": "2", "synced_observers": "1", "learners": "3"}
            assert leading["configuration"] == "voters 1 2 3 observers 4"
            assert (leading["configuration_version"], leading["configuration_changing"]) == ("0", "0")
            lags = dict(pair.split(":") for pair in leading["learner_lags"].split())
            assert lags.keys() == {str(me) for me in cluster.nodes if me != leader}
            assert leading["stale_sessions_expired"] == "1"
            assert int(leading["looking_count"]) >= 1
            assert int(leading["cnt_fsynctime"]) >= 6
            assert float(leading["avg_fsynctime"]) >= 0
            assert leading["cnt_snapshottime"] == "0"
            assert 0 <= int(leading["uptime"]) < 60_000
            follower = next(me for me in cluster.ensemble.voters if me != leader)
            assert (await mntr(cluster.nodes[follower])).keys() == (KEYS | OURS) - told.keys() - {"learner_lags"}

    asyncio.run(asyncio.wait_for(main(), 30))
