"""The server for tests of what uses kazoo: how it can be made slow."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from live import Session

from zkcore.errors import BadArgumentsError
from zkcore.jute.codec import encode
from zkcore.testing.lag import Lateness
from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server
from zkcore.tree.requests import Create, GetData, SetData
from zkcore.zab.limits import Limits

LONG = 3000.0
"""Seconds nobody lives to see."""


@pytest.fixture
def servers() -> Iterator[ZookeeperServer]:
    """Three nodes that give nobody up for being late."""
    with zookeeper_server(3, limits=Limits(sync_limit_ticks=1_000_000)) as running:
        yield running


@pytest.fixture
def connect(servers: ZookeeperServer) -> Iterator[Callable[[int], Session]]:
    opened: list[Any] = []

    def connect(node: int) -> Session:
        port = int(servers.hosts.split(",")[node - 1].rpartition(":")[2])
        return Session(SimpleNamespace(port=port, sessions=opened, before_first=0))

    yield connect
    for session in opened:
        session.drop()


def has_heard(session: Session) -> bool:
    return bool(select.select([session._link], [], [], 0)[0])


def test_clients_of_a_slow_node_hear_late_and_in_order(
    servers: ZookeeperServer, connect: Callable[[int], Session]
) -> None:
    slow, other = connect(2), connect(1)
    with servers.lag(LONG, node=2):
        sent = [slow._ask(15, encode(Create("/a"))), slow._ask(5, encode(SetData("/a", b"1")))]
        while other.ask([GetData("/a")])[0].error or other.ask([GetData("/a")])[0].body.buffer() != b"1":
            pass
        assert not has_heard(slow)
        with servers.lag(LONG):
            servers.drop_connections(1)
            with pytest.raises(ConnectionError):  # that it hangs up is heard at once
                other.catch_up()
        assert not has_heard(slow)
    assert [slow._answer(xid).error for xid in sent] == [0, 0]
    slow.catch_up()


def test_a_member_that_hears_late_shows_what_was(
    servers: ZookeeperServer, connect: Callable[[int], Session]
) -> None:
    late, leader = next(me for me in (1, 2, 3) if me != servers.leader), servers.leader
    assert leader is not None
    reader, writer = connect(late), connect(leader)
    with servers.lag_replication(late, LONG):
        assert writer.ask([Create("/a")])[0].error == 0
        assert writer.ask([GetData("/a")])[0].error == 0
        assert reader.ask([GetData("/a")])[0].error == -101
    while reader.ask([GetData("/a")])[0].error == -101:
        pass
    assert reader.ask([SetData("/a", b"1")])[0].error == 0


def test_a_lag_that_is_none_is_refused(servers: ZookeeperServer) -> None:
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadArgumentsError, match="a number of seconds above 0"), servers.lag(seconds):
            pass
    with pytest.raises(BadArgumentsError, match="node 4 is none of"), servers.lag_replication(4, 1):
        pass
    with servers.lag(1, node=1):
        servers.kill(1)
    servers.restart(1)


def test_what_waits_goes_in_order_and_not_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that stands still but where it is told to move."""
    done: list[str] = []

    async def main() -> None:
        now = 100.0
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: now)
        lateness = Lateness()
        line = lateness.line()
        line.put(lambda: done.append("at once"))
        assert done.pop() == "at once"
        with lateness.more(5):
            line.put(lambda: done.append("one"))
            with lateness.more(10):
                line.put(lambda: done.append("two"))
            line.put(lambda: done.append("three"))
            now = 104.9
            line._on_due()
            assert done == []
            now = 105.0
            line._on_due()
            assert done == ["one", "two", "three"]
            line.put(lambda: done.append("four"))
            line.clear()
            line.put(lambda: done.append("five"))
        assert done == ["one", "two", "three"]
        line.put(lambda: done.append("six"))  # behind what waits, though nothing is late any more
        line._on_due()
        assert done == ["one", "two", "three", "five", "six"]

    asyncio.run(main())
