"""The cache from several threads: what they look at is one state, whatever the cluster's thread does meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import zkcore.sync as zkcore


def test_threads_look_at_a_cache_while_it_changes() -> None:
    with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        zk.create("/app", b"0")
        zk.create("/app/twin", b"0")
        with zkcore.Cache(zk, "/app") as cache:
            assert cache.path == "/app"
            done = threading.Event()
            mixtures: list[object] = []

            def look() -> None:
                while not done.wait(0.001):
                    view = cache.view
                    if view["/app"].data != view["/app/twin"].data:
                        mixtures.append(view)
                    for path in cache:
                        cache.get(path)

            threads = [threading.Thread(target=look, daemon=True) for _ in range(2)]
            for thread in threads:
                thread.start()
            for number in range(1, 60):
                with other.transaction() as t:
                    t.set("/app", b"%d" % number)
                    t.set("/app/twin", b"%d" % number)
                if number % 20 == 0:
                    zk.create(f"/app/{number}")
            assert cache.wait_for(lambda nodes: nodes["/app"].data == b"59", timeout=30)
            done.set()
            for thread in threads:
                thread.join(20)
            assert mixtures == []
            other.create("/app/new")
            assert cache.sync() >= cache.zxid
            assert len(cache) == 5
            assert "/app/new" in cache
            changes = cache.changes()
            assert next(changes).created == cache.keys()
            other.delete("/app/new")
            assert next(changes).deleted == {"/app/new"}
            changes.close()
            assert (cache.is_live, cache.age < 10) == (True, True)
        assert not cache.is_live
        assert len(cache) == 4
        with pytest.raises(zkcore.SessionClosedError):
            cache.sync()


def test_a_cache_of_nothing_says_so_on_the_callers_thread() -> None:
    with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
        cache = zkcore.Cache(zk, "/app")
        with pytest.raises(zkcore.NothingToCacheError):
            cache.start()
        with pytest.raises(zkcore.NotStartedError):
            len(cache)
        with zkcore.Cache(zk, "/app", missing_ok=True) as patient:
            assert patient.zxid >= 0
            zk.create("/app", b"x")
            assert patient.wait_for(lambda nodes: "/app" in nodes, timeout=30)
            waiting: list[object] = []
            thread = threading.Thread(target=lambda: waiting.append(next(iter_last(patient))), daemon=True)
            thread.start()
            zk.delete("/app")
            thread.join(20)
            assert waiting


def iter_last(cache: zkcore.Cache) -> Iterator[zkcore.CacheChange]:
    """Changes up to the one that empties the cache."""
    for change in cache.changes():
        if not change.view:
            yield change
