"""What Prometheus is shown: true values of nodes that run, when it asks; and what it says without the extra."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from ports import Ports

import zkcore
import zkcore.sync
from zkcore.extras.prometheus import METRICS, NodeCollector, register

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(bounded())


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(ImportError, match=r"pip install 'zkcore\[prometheus\]'"):
        NodeCollector()


def test_the_guide_has_every_metric_and_its_labels() -> None:
    rows = re.findall(r"^\| `zkcore_(\w+)`(?: \(`(\w+)`\))? \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [
        (metric.name + "_total" * (metric.kind == "counter"), *(metric.labels or ("",))) for metric in METRICS
    ]


def test_names_are_told_once_and_have_their_units_last() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert all(not name.endswith("_total") for name in names)
    assert {metric.labels for metric in METRICS} == {(), ("role",), ("mode",), ("how",), ("member",)}


def test_a_scrape_shows_what_has_happened() -> None:
    prometheus = pytest.importorskip("prometheus_client")

    async def main() -> None:
        registry = prometheus.CollectorRegistry()

        def value(name: str, node: int, **labels: str) -> float:
            return registry.get_sample_value(f"zkcore_{name}", {"node": str(node), **labels})

        async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            register(*cluster.nodes.values(), registry=registry)
            for number in range(10):
                await zk.create(f"/{number}", b"x")
            leader = await cluster.wait_for_leader()
            (follower, other) = (me for me in cluster.nodes if me != leader)
            assert value("role", leader, role="leading") == 1
            assert value("role", leader, role="following") == 0
            assert value("role", follower, role="following") == 1
            assert value("up", leader) == value("ready", leader) == value("epoch", leader) == 1
            assert value("synced_followers", leader) == 2
            assert value("member_lag_records", leader, member=str(follower)) is not None
            assert value("voters", follower) == 3
            assert value("observers", follower) == value("configuration_version", follower) == 0
            assert value("configuration_changing", follower) == value("configurations_total", follower) == 0
            assert value("requests_total", leader) == 10
            assert value("request_seconds_total", leader) >= value("request_seconds_max", leader) > 0
            assert value("saves_total", leader) >= 10
            assert value("transactions_total", leader) == 11
            assert value("znodes", leader) == len(cluster.nodes[leader].replica.tree)
            assert value("last_zxid", leader) == cluster.nodes[leader].replica.tree.last_zxid
            assert value("sessions", leader) == value("sessions_opened_total", leader) == 1
            assert value("outstanding_requests", leader) == value("read_only", leader) == value("damaged", leader) == 0
            assert value("syncs_total", follower, mode="diff") == 1
            assert value("leader_changes_total", follower) == 1
            session = zk.session_id
            cluster.kill(leader)
            await zk.create("/after")
            assert value("up", leader) == value("ready", leader) == 0
            assert value("quorum_losses_total", follower) == value("quorum_losses_total", other) == 1
            assert value("elections_total", follower) >= 1
            assert value("link_losses_total", follower) >= 1
            assert value("sessions_moved_total", follower) + value("sessions_moved_total", other) == 1
            text = prometheus.generate_latest(registry).decode()
            assert "# TYPE zkcore_requests_total counter" in text
            assert f"{session:x}" not in text
            assert "/after" not in text

    run(main)


def test_a_node_that_is_stuck_is_not_waited_for_and_one_that_does_not_run_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("prometheus_client")
    monkeypatch.setattr("zkcore.extras.prometheus._PATIENCE_SECONDS", 0.01)
    ports = Ports()
    config = zkcore.NodeConfig(
        me=1, members={1: ports.take()}, security=zkcore.Plaintext(), storage=zkcore.MemoryStorage()
    )
    node = zkcore.sync.start_node(config)

    def samples() -> dict[str, float]:
        return {
            sample.name: sample.value for family in NodeCollector(node).collect() for sample in family.samples
        }

    assert samples() == {}
    with node, node.client() as zk:
        zk.create("/a")
        assert samples()["zkcore_requests_total"] == 1
        held, seen = threading.Event(), threading.Event()

        def hold() -> None:
            with node.unblocked.node.host.lock:
                held.set()
                seen.wait(10)

        holding = threading.Thread(target=hold)
        holding.start()
        held.wait(10)
        assert samples() == {"zkcore_up": 0, "zkcore_ready": 0}
        seen.set()
        holding.join()
    assert samples() == {}
    ports.close()
