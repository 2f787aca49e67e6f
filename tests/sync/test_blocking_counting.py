"""Counting, ids and atomic functions from several threads at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

import zkcore.sync as zkcore

T = TypeVar("T")


@pytest.fixture(scope="module")
def zk() -> Iterator[zkcore.Client]:
    with zkcore.local_cluster(3) as cluster, cluster.client() as client:
        yield client


def at_once(work: Callable[[], T]) -> list[T]:
    with ThreadPoolExecutor(4) as pool:
        return [future.result(timeout=30) for future in [pool.submit(work) for _ in range(4)]]


def test_threads_add_to_one_counter(zk: zkcore.Client) -> None:
    counter = zkcore.Counter(zk, "/counter")
    at_once(lambda: [counter.next() for _ in range(10)])
    assert counter.get() == 40
    assert counter.add(-40) == 0
    value = zkcore.AtomicValue(zk, "/value", initial="a", codec=zkcore.text_codec)
    assert value.compare_and_set("a", "b")
    assert value.update(lambda now: now + "c") == "bc"
    value.set("d")
    assert value.get() == "d"


def test_threads_share_a_generator_and_get_other_ids(zk: zkcore.Client) -> None:
    ids = zkcore.IdGenerator(zk, "/ids", block=7)
    given = [id for some in at_once(lambda: [ids.next() for _ in range(100)] + list(ids.next_block(3))) for id in some]
    assert len(set(given)) == 4 * 103
    with zkcore.TimeIdGenerator(zk, "/times") as times:
        assert times.lease is not None
        assert times.worker == 0
        made = [id for some in at_once(lambda: [times.next() for _ in range(2000)]) for id in some]
        assert zkcore.TimeIdGenerator.parts(made[0]).worker == 0
    assert len(set(made)) == 8000
    with pytest.raises(zkcore.NotStartedError):
        times.next()


def test_threads_move_money_atomically(zk: zkcore.Client) -> None:
    zk.create("/ada", b"100")
    zk.create("/bob", b"0")

    @zk.atomically
    def move(t: zkcore.AtomicTransaction, amount: int) -> int:
        left = int(t.get("/ada")) - amount
        t.set("/ada", b"%d" % left)
        t.set("/bob", b"%d" % (int(t.get("/bob")) + amount))
        return left

    done = [each for some in at_once(lambda: [move(1) for _ in range(5)]) for each in some]
    assert sorted(each.value for each in done) == list(range(80, 100))
    assert len({each.zxid for each in done}) == 20
    assert zk.get("/bob", read=zkcore.Read.at_least(max(each.zxid for each in done))).data == b"20"


def test_a_blocking_attempt_has_all_verbs_and_can_be_limited(zk: zkcore.Client) -> None:
    @zk.atomically(attempts=5, timeout=-1)
    def rebuild(t: zkcore.AtomicTransaction) -> list[str]:
        if t.exists("/built"):
            t.delete("/built")
        else:
            t.create("/built")
        return t.get_children("/zookeeper")

    assert rebuild().value == ["config", "quota"]
    assert zk.exists("/built") is not None
    assert rebuild().attempts == 1
    assert zk.exists("/built") is None
    with zk.transaction() as t:
        t.create("/one")
    assert zk.exists("/one", read=zkcore.Read.at_least(t.zxid)) is not None
