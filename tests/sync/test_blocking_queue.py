"""The blocking queues: the manners of the standard library, and workers that are threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

import zkcore.sync as zkcore

PATIENCE = 20


@pytest.fixture
def client() -> Iterator[zkcore.Client]:
    with zkcore.local_cluster(3) as cluster, cluster.client() as client:
        yield client


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def test_priorities_and_delays(client: zkcore.Client) -> None:
    queue: Any = zkcore.PriorityQueue(client, "/q", maxsize=4, codec=zkcore.json_codec)
    queue.put("third")
    queue.put_nowait("first", priority=1)
    queue.put("second", True, 5, priority=2)
    queue.put_many(["later"], delay=3600)
    with pytest.raises(zkcore.QueueFullError):
        queue.put("too many", False)
    assert queue.full()
    assert [queue.get() for _ in range(3)] == ["first", "second", "third"]
    with pytest.raises(zkcore.QueueEmptyError):
        queue.get(block=False)
    assert queue.qsize() == 1
    assert (queue.path, queue.maxsize, repr(queue)) == ("/q", 4, "<PriorityQueue /q maxsize=4>")
    other: Any = zkcore.Queue(client, "/other", codec=zkcore.json_codec)
    other.put("soon", delay=0.05)
    assert other.get(timeout=PATIENCE) == "soon"


def test_what_fails_too_often_is_put_aside_and_put_again(client: zkcore.Client) -> None:
    queue: Any = zkcore.Queue(client, "/q", codec=zkcore.json_codec, max_deliveries=2)
    queue.put("job")
    for number in (1, 2):
        with suppress(RuntimeError), queue.claim(block=False) as claim:
            assert claim.deliveries == number
            raise RuntimeError("out of paper")
    (letter,) = queue.dead_letters()
    assert (letter.item, letter.deliveries, letter.reason) == ("job", 2, "RuntimeError: out of paper")
    queue.requeue(letter)
    with queue.claim() as claim:
        claim.progress()
        queue.task_done()
        with pytest.raises(ValueError, match="claimed"):
            queue.task_done()
    assert queue.join() is True
    queue.put("other")
    with queue.claim() as claim:
        claim.release(delay=3600)
    assert queue.join(timeout=0) is False
    assert queue.dead_letters() == ()
    queue.discard(letter)


def test_threads_work_until_the_queue_is_shut_down_and_empty(
    client: zkcore.Client, threads: ThreadPoolExecutor
) -> None:
    queue: Any = zkcore.Queue(client, "/q", codec=zkcore.json_codec)

    def work() -> list[int]:
        mine: zkcore.Queue[int] = zkcore.Queue(client, "/q", codec=zkcore.json_codec)
        done = []
        while True:
            try:
                with mine.claim() as claim:
                    done.append(claim.item)
            except zkcore.QueueShutDownError:
                return done

    working = [threads.submit(work) for _ in range(3)]
    queue.put_many(range(20))
    queue.shutdown()
    with pytest.raises(zkcore.QueueShutDownError):
        queue.put(20)
    assert sorted(number for each in working for number in each.result(PATIENCE)) == list(range(20))
    assert queue.join() is True
    queue.shutdown(True)


def test_a_thread_that_hangs_loses_its_claim_and_is_told_so_at_the_end(
    client: zkcore.Client, threads: ThreadPoolExecutor
) -> None:
    queue: Any = zkcore.Queue(client, "/q", codec=zkcore.json_codec)
    queue.put("job")
    hanging, go_on = threading.Event(), threading.Event()
    tokens: list[int] = []

    def hang() -> None:
        with queue.claim(visibility_timeout=0.2) as claim:
            tokens.append(claim.lease.fencing_token)
            hanging.set()
            assert go_on.wait(PATIENCE)
            assert claim.lease.is_lost()
            with pytest.raises(zkcore.LeaseLostError):
                claim.progress()

    worker = threads.submit(hang)
    assert hanging.wait(PATIENCE)
    with queue.claim(timeout=PATIENCE) as claim:
        assert claim.item == "job"
        assert claim.lease.fencing_token > tokens[0]
    go_on.set()
    with pytest.raises(zkcore.LeaseLostError):
        worker.result(PATIENCE)
    assert queue.empty()


def test_a_thread_that_gets_on_keeps_its_claim(client: zkcore.Client, threads: ThreadPoolExecutor) -> None:
    queue: Any = zkcore.Queue(client, "/q", codec=zkcore.json_codec)
    queue.put("job")
    with queue.claim(visibility_timeout=1) as claim:
        waiting = threads.submit(queue.get, True, PATIENCE)
        _, begun = client.get(claim.lease.path)
        while client.get(claim.lease.path).stat.version < begun.version + 2:  # renewed again and again
            claim.progress()
        assert not waiting.done()
        claim.release()
    assert waiting.result(PATIENCE) == "job"
