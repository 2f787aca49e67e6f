"""Testing an application that uses kazoo: its servers are in the process of the test, and there is no JVM.

Each test has an ensemble of its own, which is there in milliseconds, and does what servers do to an application: it
ends a session, kills the leader, answers late. With pytest the fixture `zk_server` is the same:

    def test_a_job_is_taken_once(zk_server):
        jobs = Jobs(zk_server.hosts)

prints::

    a job is taken once
    a worker whose session expires is not at work any more
    a killed leader costs no job
    slow servers are waited for
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError

from zkcore.testing.zookeeper import zookeeper_server


class Jobs:
    """The application: workers mark the job they are at. It knows kazoo, and nothing of zkcore."""

    def __init__(self, hosts: str) -> None:
        self.zk = KazooClient(hosts=hosts, timeout=10)
        self.zk.start()
        self.zk.ensure_path("/jobs")

    def take(self, job: str) -> bool:
        """Whether it is ours now."""
        try:
            self.zk.retry(self.zk.create, f"/jobs/{job}", ephemeral=True)
        except NodeExistsError:
            stat = self.zk.exists(f"/jobs/{job}")  # by ourselves, perhaps, and the answer was lost
            return stat is not None and stat.owner_session_id == self.zk.client_id[0]
        return True

    def at_work(self) -> list[str]:
        """What somebody is at."""
        found: list[str] = self.zk.retry(self.zk.get_children, "/jobs")
        return sorted(found)


@contextmanager
def workers(hosts: str, count: int) -> Iterator[list[Jobs]]:
    """So many of them."""
    started = [Jobs(hosts) for _ in range(count)]
    try:
        yield started
    finally:
        for each in started:
            each.zk.stop()
            each.zk.close()


def test_a_job_is_taken_once() -> None:
    with zookeeper_server() as server, workers(server.hosts, 2) as (ada, bob):
        assert ada.take("report")
        assert not bob.take("report")
        assert bob.take("backup")


def test_a_worker_whose_session_expires_is_not_at_work_any_more() -> None:
    with zookeeper_server() as server, workers(server.hosts, 2) as (ada, bob):
        assert ada.take("report")
        session, _ = ada.zk.client_id
        assert server.expire_session(session)
        while "report" in bob.at_work():
            pass
        assert bob.take("report")


def test_a_killed_leader_costs_no_job() -> None:
    with zookeeper_server(3) as server, workers(server.hosts, 2) as (ada, bob):
        assert ada.take("report")
        leader = server.leader
        assert leader is not None
        server.kill(leader)
        assert bob.take("backup")
        assert bob.at_work() == ["backup", "report"]


def test_slow_servers_are_waited_for() -> None:
    with zookeeper_server() as server, workers(server.hosts, 1) as (ada,):
        with server.lag(5):
            asked = ada.zk.create_async("/jobs/slow", ephemeral=True)
            assert not asked.ready()
        assert asked.get(timeout=10) == "/jobs/slow"


logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # it tells of every connection that breaks
for test in (
    test_a_job_is_taken_once, test_a_worker_whose_session_expires_is_not_at_work_any_more,
    test_a_killed_leader_costs_no_job, test_slow_servers_are_waited_for,
):  # fmt: skip
    test()
    print(test.__name__.removeprefix("test_").replace("_", " "))
