"""Reads that are answered on the thread that asks: which are, that none is out of order, and that no watch is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

import zkcore.sync as blocking
from zkcore import Read, WatchEvent
from zkcore.errors import NoAuthError, NoNodeError, OutcomeUnknownError, SessionClosedError, SessionError, ZkcoreError
from zkcore.sync.port import LoopThread


@pytest.fixture
def cluster() -> Iterator[blocking.LocalCluster]:
    with blocking.local_cluster(3) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: blocking.LocalCluster) -> Iterator[blocking.EmbeddedClient]:
    with cluster.client(timeout=60) as client:
        yield client


def crossings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is put on the event loop from now on."""
    seen: list[str] = []
    call = LoopThread.call

    def counted(self: LoopThread, coroutine: Coroutine[Any, Any, Any], *, goes_on: bool = False) -> Any:
        seen.append(coroutine.__qualname__)
        return call(self, coroutine, goes_on=goes_on)

    monkeypatch.setattr(LoopThread, "call", counted)
    return seen


def in_threads(count: int, work: Callable[[int], object]) -> list[threading.Thread]:
    """`work` on so many threads. What it raises fails the test, since pytest watches threads."""
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def finish(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it hangs"


def test_a_read_that_waits_for_nothing_stays_on_its_thread(
    client: blocking.EmbeddedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create("/a", b"x")
    seen = crossings(monkeypatch)
    told: SimpleQueue[WatchEvent | None] = SimpleQueue()
    assert client.get("/a", told.put).data == b"x"
    for read in (Read.LOCAL, Read.SESSION, Read.at_least(client.last_zxid)):
        assert client.exists("/a", read=read) is not None
    with pytest.raises(NoNodeError):
        client.get("/missing")
    assert seen == []
    client.exists("/a", read=Read.LINEARIZABLE)
    client.set("/a", b"y")
    assert len(seen) == 2
    event = told.get(timeout=20)
    assert event is not None
    assert event.path == "/a"


def test_a_read_of_the_session_waits_for_what_was_asked_before_and_a_local_one_does_not(
    cluster: blocking.LocalCluster, client: blocking.EmbeddedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create("/a", b"x")
    hosts = [node.host for node in cluster._inner.nodes.values()]
    for host in hosts:
        monkeypatch.setattr(host, "_turn", lambda: None)  # nothing is answered
    writing = threading.Thread(target=lambda: client.set("/a", b"y"), daemon=True)
    unanswered = client.unblocked.port._inner._unanswered  # type: ignore[attr-defined]
    writing.start()
    while not unanswered:
        pass
    assert client.get("/a", read=Read.LOCAL).data == b"x"
    answered: list[bytes] = []
    seen = crossings(monkeypatch)
    reading = in_threads(1, lambda _: answered.append(client.get("/a").data))
    while not seen:
        pass
    assert answered == []
    for host in hosts:
        monkeypatch.delattr(host, "_turn")
    finish([writing, *reading])
    assert answered == [b"y"]


def test_who_may_not_read_may_not_read_here(client: blocking.EmbeddedClient) -> None:
    client.create("/a", acl=[blocking.ACL(blocking.Permission.WRITE, blocking.Id("world", "anyone"))])
    for read in (Read.LOCAL, Read.SESSION):
        with pytest.raises(NoAuthError):
            client.get("/a", read=read)


def test_an_interrupted_request_is_not_overtaken(
    client: blocking.EmbeddedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create("/a", b"x")
    call = LoopThread.call

    def interrupted(self: LoopThread, coroutine: Coroutine[Any, Any, Any], *, goes_on: bool = False) -> Any:
        call(self, coroutine, goes_on=goes_on)
        raise KeyboardInterrupt

    monkeypatch.setattr(LoopThread, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.set("/a", b"y")
    monkeypatch.setattr(LoopThread, "call", call)
    seen = crossings(monkeypatch)
    assert client.get("/a", read=Read.LOCAL).data == b"y"
    assert seen == []
    assert [client.get("/a").data, client.get("/a").data] == [b"y", b"y"]
    assert len(seen) == 1, "the first goes behind what may be on its way, and no other"


def test_threads_see_transactions_whole_and_never_the_past(
    cluster: blocking.LocalCluster, client: blocking.EmbeddedClient
) -> None:
    client.create("/one", b"0")
    client.create("/two", b"0")
    over = threading.Event()
    rounds = 60

    def write(_: int) -> None:
        with cluster.client(timeout=60) as writer:
            for number in range(1, rounds + 1):
                with writer.transaction() as t:
                    t.set("/one", b"%d" % number)
                    t.set("/two", b"%d" % number)
        over.set()

    def read(number: int) -> None:
        newest = 0
        level = (Read.LOCAL, Read.SESSION)[number % 2]
        while not over.is_set():
            with client.multi_read(read=level) as r:
                r.get("/one")
                r.get("/two")
            (one, _), (two, _) = r.results  # type: ignore[misc]
            assert one == two, "half of a transaction"
            seen = int(client.get("/one", read=level).data)
            assert newest <= int(one) <= seen
            newest = seen
            if number == 0:
                client.create("/mine", b"%d" % newest, exist_ok=True)
                assert client.exists("/mine") is not None, "its own write"
                client.delete("/mine")

    finish(in_threads(4, read) + in_threads(1, write))
    assert client.get("/one", read=Read.LINEARIZABLE).data == b"%d" % rounds


@pytest.mark.parametrize("kill", [False, True])
def test_no_watch_set_by_a_thread_is_lost(cluster: blocking.LocalCluster, kill: bool) -> None:
    rounds = 200
    with cluster.client(timeout=60) as client, cluster.client(timeout=60) as writer:
        again = writer.with_retry()
        client.create("/n", b"0")

        def follow(number: int) -> None:
            seen = 0
            while seen < rounds:
                changed: SimpleQueue[WatchEvent | None] = SimpleQueue()
                try:
                    seen = int(client.get("/n", changed.put).data)
                    if seen < rounds:
                        assert changed.get(timeout=30) is not None, "a watch was lost"
                except OutcomeUnknownError:
                    assert kill

        def write(_: int) -> None:
            for number in range(1, rounds + 1):
                again.set("/n", b"%d" % number)
                if kill and number == rounds // 2:
                    leader = cluster.wait_for_leader()
                    cluster.kill(leader)
                    cluster.start_node(leader)

        finish(in_threads(4, follow) + in_threads(1, write))


def test_whoever_set_a_watch_before_the_end_hears_of_the_end(cluster: blocking.LocalCluster) -> None:
    for _ in range(10):
        client = cluster.client().start()
        set_: list[SimpleQueue[WatchEvent | None]] = []
        begun = threading.Event()

        def watch(number: int, client: blocking.Client, set_: list[Any], begun: threading.Event) -> None:
            while True:
                told: SimpleQueue[WatchEvent | None] = SimpleQueue()
                try:
                    client.exists(f"/{number}", told.put)
                except (SessionError, OutcomeUnknownError):
                    return
                set_.append(told)
                begun.set()

        watching = [
            threading.Thread(target=watch, args=(number, client, set_, begun), daemon=True) for number in range(3)
        ]
        for thread in watching:
            thread.start()
        assert begun.wait(20)
        client.close()
        finish(watching)
        assert [told.get(timeout=20) for told in set_] == [None] * len(set_)


def test_after_the_end_there_is_nothing_to_read(cluster: blocking.LocalCluster) -> None:
    client = cluster.client().start()
    other = cluster.client().start()
    client.close()
    with pytest.raises(SessionClosedError):
        client.get("/")
    cluster.close()
    for read in (Read.LOCAL, Read.SESSION):
        with pytest.raises(ZkcoreError):
            other.get("/", read=read)
