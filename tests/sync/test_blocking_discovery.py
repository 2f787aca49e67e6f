"""Discovery for blocking code: threads choose while instances come and go."""

from __future__ import annotations

import threading

import pytest

import zkcore.sync as zkcore

PATH = "/services/web"


def test_threads_choose_while_instances_come_and_go() -> None:
    with zkcore.local_cluster(1) as cluster, cluster.client() as zk, cluster.client() as other:
        looking = zkcore.Discovery(zk, PATH, by=zkcore.Choice.LEAST_LOADED, reconnect=cluster.client)
        with looking as web, zkcore.Registration(other, PATH, address="at a", name="a", drain_seconds=0) as a:
            assert web.wait_for(timeout=20)
            done, wrong = threading.Event(), []

            def choose() -> None:
                while not done.is_set():
                    with web.using() as instance:
                        if instance.status is not zkcore.Status.UP:
                            wrong.append(instance)

            threads = [threading.Thread(target=choose, daemon=True) for _ in range(2)]
            for thread in threads:
                thread.start()
            for number in range(5):
                b = zkcore.Registration(other, PATH, address="at b", drain_seconds=0)
                b.start()
                b.update(load=number, weight=2, metadata={"number": str(number)})
                b.drain()
                assert b.status is zkcore.Status.DRAINING
                b.close()
            done.set()
            for thread in threads:
                thread.join(20)
            assert wrong == []
            changes = web.changes()
            while [each.name for each in next(changes)] != [a.name]:
                pass
            changes.close()
            assert web.choose() == web.instances[0]
            assert web.choose().fencing_token == a.lease.fencing_token
            assert (web.path, a.path, web.is_live, web.age < 20) == (PATH, PATH, True, True)
        assert a.lease is None
        assert not web.is_live


def test_nobody_to_choose_is_told_on_the_callers_thread() -> None:
    with zkcore.local_cluster(1) as cluster, cluster.client() as zk, zkcore.Discovery(zk, PATH) as web:
        with pytest.raises(zkcore.NoInstancesError):
            web.choose()
        assert not web.wait_for(timeout=0)
