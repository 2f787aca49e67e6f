"""Reentrant locks, read-write locks, semaphores, several locks at once and latches between threads."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator

import pytest

import zkcore.recipes.rwlock
import zkcore.sync as blocking
import zkcore.sync.rwlock
from zkcore.errors import DeadlockError, LatchCountError, LockNotHeldError


@pytest.fixture
def client() -> Iterator[blocking.Client]:
    with blocking.local_cluster(1) as cluster, cluster.client() as client:
        yield client


def in_threads(*works: object) -> None:
    """Run each on a thread of its own, to its end. What it raises fails the test, since pytest watches threads."""
    threads = [threading.Thread(target=work, daemon=True) for work in works]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "it hangs"


def test_a_reentrant_lock_behaves_like_that_of_threading(client: blocking.Client) -> None:
    for lock in (threading.RLock(), blocking.RLock(client, "/r")):
        assert lock.acquire() is True
        assert lock.acquire(blocking=False) is True
        others: list[bool] = []
        errors: list[BaseException] = []

        def other(lock: object = lock, others: list[bool] = others, errors: list[BaseException] = errors) -> None:
            assert hasattr(lock, "acquire")
            assert hasattr(lock, "release")
            others.append(lock.acquire(timeout=0.05))
            try:
                lock.release()
            except RuntimeError as error:
                errors.append(error)

        in_threads(other)
        assert others == [False]
        assert len(errors) == 1
        lock.release()
        lock.release()
        with pytest.raises(RuntimeError):
            lock.release()


def test_threads_use_one_reentrant_lock_one_at_a_time(client: blocking.Client) -> None:
    lock = blocking.RLock(client, "/r")
    inside, tokens = [0], list[int]()

    def work() -> None:
        for _ in range(10):
            with lock as lease, lock:
                inside[0] += 1
                assert inside[0] == 1
                tokens.append(lease.fencing_token)
                inside[0] -= 1

    in_threads(*[work] * 4)
    assert len(set(tokens)) == 40
    assert not lock.held


def test_threads_read_together_and_one_writes_alone_and_reads_on(client: blocking.Client) -> None:
    lock = blocking.ReadWriteLock(client, "/rw")
    together, downgraded, late = threading.Barrier(2), threading.Event(), threading.Event()

    def read() -> None:
        with lock.reader:
            together.wait(20)

    in_threads(read, read)

    def write() -> None:
        with lock.writer as lease:
            assert lock.writer.acquire(blocking=False) is True
            lock.writer.release()
            assert [each.shared for each in lock.holders()] == [False]
            with pytest.raises(DeadlockError):
                lock.reader.acquire()
            lock.writer.downgrade()
            downgraded.set()
            assert late.wait(20)
            lease.check()
        with pytest.raises(LockNotHeldError):
            lock.writer.downgrade()

    def read_on() -> None:
        assert downgraded.wait(20)
        with lock.reader, lock.reader:
            assert len(lock.contenders()) == 2
            with pytest.raises(DeadlockError):
                lock.writer.acquire(blocking=False)
            late.set()

    in_threads(write, read_on)
    assert lock.holders() == ()


def test_a_semaphore_behaves_like_that_of_threading(client: blocking.Client) -> None:
    for semaphore in (threading.Semaphore(2), blocking.Semaphore(client, "/s", value=2)):
        assert semaphore.acquire() is True
        assert semaphore.acquire(blocking=False) is True
        assert semaphore.acquire(blocking=False) is False
        assert semaphore.acquire(timeout=0.02) is False
        with pytest.raises(ValueError, match="non-blocking"):
            semaphore.acquire(blocking=False, timeout=1)
        semaphore.release(3)
        assert [semaphore.acquire(blocking=False) for _ in range(4)] == [True, True, True, False]
        with pytest.raises(ValueError, match=r"1|one"):
            semaphore.release(0)


def test_threads_hold_permits_and_see_who_else_does(client: blocking.Client) -> None:
    semaphore = blocking.BoundedSemaphore(client, "/b", value=2, identifier="me")
    together = threading.Barrier(2)

    def work() -> None:
        with semaphore as lease:
            together.wait(20)
            assert semaphore.available() == 0
            assert {each.identifier for each in semaphore.holders()} == {"me"}
            assert lease.fencing_token in {each.fencing_token for each in semaphore.leases}
            together.wait(20)

    in_threads(work, work)
    with pytest.raises(LockNotHeldError):
        semaphore.release()
    assert (semaphore.available(), semaphore.value, semaphore.path) == (2, 2, "/b")


def test_threads_take_several_locks_in_any_order(client: blocking.Client) -> None:
    inside = [0]

    def work(*paths: str) -> None:
        lock = blocking.MultiLock(client, paths)
        for _ in range(10):
            with lock as lease:
                inside[0] += 1
                assert inside[0] == 1
                holders = lock.holders()
                assert {holder.fencing_token for holder in holders.values() if holder} == {lease.fencing_token}
                inside[0] -= 1

    in_threads(lambda: work("/a", "/b"), lambda: work("/b", "/a"), lambda: work("/c", "/a", "/b"))


def test_threads_wait_at_a_latch(client: blocking.Client) -> None:
    latch = blocking.CountDownLatch(client, "/ready", count=2)
    assert latch.wait(timeout=0.01) is False
    seen: list[bool] = []
    in_threads(lambda: seen.append(latch.wait()), latch.count_down, latch.count_down)
    assert seen == [True]
    assert latch.count() == 0
    with pytest.raises(LatchCountError):
        latch.count_down()


@pytest.mark.parametrize("name", ["ReadLock", "WriteLock"])
def test_the_two_parts_of_a_read_write_lock_have_what_their_namesakes_have(name: str) -> None:
    face, source = (getattr(module, name) for module in (zkcore.sync.rwlock, zkcore.recipes.rwlock))
    for member, own in inspect.getmembers(source, inspect.isfunction):
        if not member.startswith("_"):
            assert getattr(face, member).__doc__, member
            assert inspect.iscoroutinefunction(own) <= (not inspect.iscoroutinefunction(getattr(face, member)))
