"""Sharding for blocking code: what is called back may block, and what raises is told."""

from __future__ import annotations

import pytest

import zkcore.sync as zkcore


def test_members_in_blocking_code_take_over_and_hand_over() -> None:
    with zkcore.local_cluster(1) as cluster, cluster.client() as zk, cluster.client() as other:
        told: list[tuple[str, str, int]] = []

        def member(client: zkcore.Client, name: str) -> zkcore.Sharding:
            def load(partition: int, token: int) -> None:
                client.create(f"/data/{partition}", exist_ok=True, makepath=True)  # a callback may make blocking calls
                told.append((name, "has", partition))

            def drain(partition: int) -> None:
                told.append((name, "gives", partition))

            return zkcore.Sharding(
                client, "/shards", name=name, partitions=8, address=f"at {name}", on_acquire=load, on_release=drain
            )

        with member(zk, "a") as a:
            assert a.wait_until_owned(timeout=20)
            with zkcore.ShardMap(other, "/shards") as shards, member(other, "b") as b:
                changes = shards.changes()
                state = next(state for state in changes if state.is_whole and "b" in state.table.owners)
                changes.close()
                route = next(route for route in state.routes if route.owner == "b")
                assert route.address == "at b"
                assert shards.route("x").partition == shards.partition("x") == a.map.partition("x")
                assert a.failures == {}
                assert b.plan().moves == ()
                b.update(address="elsewhere")
                assert b.lease is not None
                assert (b.name, b.path, shards.path) == ("b", "/shards", "/shards")
            assert ("b", "gives", route.partition) in told
            assert told.index(("a", "gives", route.partition)) < told.index(("b", "has", route.partition))
            assert a.wait_until_owned(timeout=20)
            assert a.route("x").owner == "a"
            assert not shards.is_live
            assert shards.age >= 0
        assert b.lease is None
        assert {partition for name, what, partition in told if (name, what) == ("a", "has")} == set(range(8))


def test_what_raises_in_a_callback_is_kept_and_others_go_on() -> None:
    def load(partition: int, token: int) -> None:
        if partition == 1:
            raise OSError("no disk")

    with (
        zkcore.local_cluster(1) as cluster,
        cluster.client() as zk,
        zkcore.Sharding(zk, "/shards", name="a", partitions=2, on_acquire=load) as a,
    ):
        changes = a.map.changes()
        next(state for state in changes if state.routes[0] is not None)
        while 1 not in a.failures:
            next(changes)
        assert "no disk" in str(a.failures[1])
        assert set(a.owned) <= {0}
        with pytest.raises(zkcore.ConfigMismatchError):
            zkcore.Sharding(zk, "/shards", name="b", partitions=3).start()
