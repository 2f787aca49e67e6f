"""The blocking faces: the same verbs on the caller's thread, and what threads add to it."""

from __future__ import annotations

import inspect
import queue as standard
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

import zkcore
import zkcore.sync as blocking
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    BrokenBarrierError,
    InvalidValueError,
    LeaseLostError,
    LockNotHeldError,
    LockTimeoutError,
    NoNodeError,
    NotLeaderError,
    NotMemberError,
    OutcomeUnknownError,
    SessionClosedError,
    SessionError,
    StaleTokenError,
)
from zkcore.replica.levels import Read
from zkcore.sync.port import LoopThread, run


@pytest.fixture
def cluster() -> Iterator[blocking.LocalCluster]:
    with blocking.local_cluster(3) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: blocking.LocalCluster) -> Iterator[blocking.Client]:
    with cluster.client() as client:
        yield client


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """`work` on a thread of its own. What it raises fails the test, since pytest watches threads."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def finish(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "it hangs"


# --- verbs


def test_the_verbs_block_and_answer(client: blocking.Client) -> None:
    assert client.create("/a", b"one") == "/a"
    assert client.create("/b/c", makepath=True) == "/b/c"
    data, stat = client.get("/a")
    assert (data, stat.version) == (b"one", 0)
    assert client.set("/a", b"two", version=0).version == 1
    assert client.get_children("/b") == ["c"]
    client.delete("/b/c")
    assert client.exists("/b/c") is None
    client.ensure_path("/x/y")
    assert client.state is blocking.SessionState.CONNECTED
    assert client.session_id != 0
    with pytest.raises(NoNodeError):
        client.get("/missing")
    with pytest.raises(BadVersionError):
        client.delete("/a", version=7)
    with pytest.raises(BadArgumentsError):
        client.create("no path")


def test_reads_are_as_fresh_as_they_are_asked_to_be(cluster: blocking.LocalCluster, client: blocking.Client) -> None:
    with cluster.client() as other:
        client.create("/a", b"one")
        zxid = client.last_zxid
        for read in (Read.LINEARIZABLE, Read.at_least(zxid)):
            assert other.get("/a", read=read).data == b"one"
        for number in range(10):
            client.set("/a", b"%d" % number)
            assert other.sync() >= client.get("/a").stat.mzxid
            for level in (Read.LOCAL, Read.SESSION):
                assert other.get("/a", read=level).data == b"%d" % number
        assert other.exists("/a", read=Read.LINEARIZABLE) is not None
        assert other.get_children("/a", read=Read.LOCAL) == []
        with pytest.raises(BadArgumentsError):
            other.exists("/a", read=Read.at_least(1 << 50))


def test_several_threads_share_one_client(client: blocking.Client) -> None:
    client.create("/n")
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: client.create("/n/", sequence=True), range(100)))
    assert len(set(names)) == 100
    assert len(client.get_children("/n")) == 100


def test_every_face_has_the_verbs_and_the_arguments_of_its_source() -> None:
    for face, source in (
        (blocking.EmbeddedClient, zkcore.EmbeddedClient),
        (blocking.Lock, zkcore.Lock),
        (blocking.Lease, zkcore.Lease),
        (blocking.LocalCluster, zkcore.LocalCluster),
    ):
        for name, member in inspect.getmembers(face, inspect.isfunction):
            if name.startswith("_") or name in ("acquire", "close", "start"):
                continue
            there = inspect.signature(getattr(source, name))
            assert list(inspect.signature(member).parameters) == list(there.parameters), f"{face.__name__}.{name}"
            assert member.__doc__, f"{face.__name__}.{name} says nothing"


# --- not started, closed, and interrupted


def test_what_is_not_started_or_closed_says_so_at_once(cluster: blocking.LocalCluster) -> None:
    unused = blocking.local_cluster(1)
    with pytest.raises(SessionClosedError):
        unused.client()
    unused.close()
    client = cluster.client()
    for call in (lambda: client.get("/"), lambda: blocking.Lock(client, "/l"), lambda: client.session_id):
        with pytest.raises(SessionClosedError):
            call()
    client.close()
    with client:
        client.create("/a")
        with pytest.raises(SessionClosedError):
            client.start()
    with pytest.raises(SessionClosedError):
        client.get("/a")
    with pytest.raises(SessionClosedError):
        cluster.start()


def test_threads_that_wait_while_the_cluster_is_closed_are_told() -> None:
    cluster = blocking.local_cluster(3).start()
    client = cluster.client().start()
    holder = cluster.client().start()
    blocking.Lock(holder, "/l").acquire()
    ended: list[BaseException] = []
    watched = threading.Event()

    def wait_for(call: Callable[[], object]) -> None:
        try:
            call()
        except (SessionError, OutcomeUnknownError) as error:
            ended.append(error)

    waiting = [in_thread(lambda: wait_for(blocking.Lock(client, "/l").acquire)) for _ in range(3)]
    while len(client.get_children("/l")) < 4:
        watched.wait(0.001)
    cluster.close()
    finish(*waiting)
    assert len(ended) == 3
    for call in (lambda: client.get("/"), cluster.client, lambda: cluster.kill(1), lambda: cluster.wait_for_leader()):
        with pytest.raises(SessionClosedError):
            call()
    cluster.close()


def test_threads_of_a_closed_cluster_are_gone() -> None:
    before = set(threading.enumerate())
    with blocking.local_cluster(1) as cluster, cluster.client() as client:
        client.create("/a")
        assert set(threading.enumerate()) != before
    assert set(threading.enumerate()) <= before


class InterruptedThread(LoopThread):
    """Ctrl-C comes while the call number `at` waits for its answer."""

    def __init__(self, inner: LoopThread, at: int, *, after: bool) -> None:
        self._inner = inner
        self._at = at
        self._after = after
        self.calls = 0

    def call(self, coroutine: Coroutine[Any, Any, Any], *, goes_on: bool = False) -> Any:
        self.calls += 1
        if self.calls - 1 != self._at:
            return self._inner.call(coroutine, goes_on=goes_on)
        if self._after:
            with suppress(zkcore.ZkcoreError):
                self._inner.call(coroutine)
        else:
            coroutine.close()
        raise KeyboardInterrupt


@pytest.mark.parametrize("after", [True, False])
def test_an_interrupted_acquire_leaves_no_contender_wherever_it_was(client: blocking.Client, after: bool) -> None:
    for at in range(20):
        port: Any = client.unblocked.port
        real = port._thread
        port._thread = broken = InterruptedThread(real, at, after=after)
        lock = blocking.Lock(client, "/l")
        try:
            assert lock.acquire() is True
        except KeyboardInterrupt:
            pass
        finally:
            port._thread = real
        if broken.calls <= at:
            assert at >= 1  # the reads of it stay on this thread
            lock.release()
            return
        assert not lock.held
        assert blocking.Lock(client, "/l").acquire(timeout=5) is True, f"an orphan of the interruption at {at}"
        for name in client.get_children("/l"):
            client.delete(f"/l/{name}")
    raise AssertionError("it never came to an end")


def test_a_coroutine_that_suspends_is_not_run_in_blocking_code() -> None:
    class Suspends:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def wrong() -> None:
        await Suspends()

    async def right() -> int:
        return 7

    with pytest.raises(RuntimeError):
        run(wrong())
    assert run(right()) == 7


# --- the lock, with the manners of threading.Lock


def test_the_signature_of_acquire_is_that_of_threading() -> None:
    assert list(inspect.signature(blocking.Lock.acquire).parameters) == ["self", "blocking", "timeout"]
    defaults = [parameter.default for parameter in inspect.signature(blocking.Lock.acquire).parameters.values()]
    assert defaults[1:] == [True, None]


def test_it_behaves_like_a_lock_of_threading(client: blocking.Client) -> None:
    ours = blocking.Lock(client, "/l")
    for lock in (threading.Lock(), ours):
        assert lock.acquire() is True
        assert lock.locked() is True
        assert lock.acquire(False) is False
        assert lock.acquire(blocking=False) is False
        assert lock.acquire(timeout=0) is False
        assert lock.acquire(True, 0.01) is False
        with pytest.raises(ValueError):
            lock.acquire(False, 1)
        with pytest.raises(ValueError):
            lock.acquire(timeout=-2)
        lock.release()
        assert lock.locked() is False
        assert lock.acquire(False, -1) is True
        lock.release()
        with pytest.raises(RuntimeError):
            lock.release()
    assert client.get_children("/l") == []


def test_one_thread_at_a_time(client: blocking.Client) -> None:
    lock = blocking.Lock(client, "/l")
    inside: list[int] = []
    tokens: list[int] = []

    def work() -> None:
        for _ in range(5):
            with lock as lease:
                inside.append(1)
                assert len(inside) == 1
                tokens.append(lease.fencing_token)
                lease.check()
                inside.pop()

    finish(*[in_thread(work) for _ in range(6)])
    assert len(tokens) == 30
    assert tokens == sorted(set(tokens))
    assert not lock.held
    assert client.get_children("/l") == []


def test_who_looks_whether_it_is_held_disturbs_nobody_who_acquires_it(client: blocking.Client) -> None:
    lock = blocking.Lock(client, "/l")
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            assert lock.held in (True, False)
            repr(lock)

    looking = in_thread(look)
    for _ in range(50):
        lock.acquire()
        assert lock.held
        lock.release()
    stop.set()
    finish(looking)
    assert client.get_children("/l") == []


def test_a_lease_may_be_released_by_another_thread_and_by_two_at_once(client: blocking.Client) -> None:
    for _ in range(20):
        lease = blocking.Lock(client, "/l").__enter__()
        start = threading.Barrier(2)

        def release(lease: blocking.Lease = lease, start: threading.Barrier = start) -> None:
            start.wait(10)
            lease.release()

        finish(in_thread(release), in_thread(release))
        assert lease.released
        assert blocking.Lock(client, "/l").locked() is False


def test_a_lost_lease_says_so_and_so_does_its_end(cluster: blocking.LocalCluster, client: blocking.Client) -> None:
    silent = cluster.client(timeout=0.1).start()
    lock = blocking.Lock(silent, "/l")

    def work() -> None:
        with lock as lease:
            silent.freeze()
            with blocking.Lock(client, "/l") as later:
                assert later.fencing_token > lease.fencing_token
                assert lease.is_lost()
                assert "lost" in repr(lease)
                with pytest.raises(LeaseLostError):
                    lease.check()

    with pytest.raises(LeaseLostError):
        work()
    with pytest.raises(LockNotHeldError):
        lock.release()


def test_a_hold_in_blocking_code_has_a_timeout_and_shows_who_is_in_line(client: blocking.Client) -> None:
    lock = blocking.Lock(client, "/l", identifier="first")
    with lock.hold(timeout=5) as lease:
        holder = lock.holder()
        assert holder is not None
        assert (holder.identifier, holder.fencing_token) == ("first", lease.fencing_token)
        with pytest.raises(LockTimeoutError), blocking.Lock(client, "/l").hold(timeout=0.01):
            raise AssertionError("two hold the lock")
        assert len(lock.contenders()) == 1
    assert lock.holder() is None


def test_threads_lead_one_after_the_other_and_one_looks_on(client: blocking.Client) -> None:
    changes = blocking.Election(client, "/e").observe()
    assert next(changes) is None
    tokens: list[int] = []
    seen = threading.Event()

    def lead(name: str) -> None:
        with blocking.Election(client, "/e", identifier=name).lead() as term:
            tokens.append(term.fencing_token)
            assert seen.wait(10)

    threads = [in_thread(lambda name=name: lead(name)) for name in "ab"]  # type: ignore[misc]
    leader = next(changes)
    seen.set()
    finish(*threads)
    assert leader is not None
    assert leader.fencing_token == tokens[0]
    assert tokens == sorted(set(tokens))
    waiting = in_thread(lambda: list(changes))
    changes.close()
    finish(waiting)
    with pytest.raises(NotLeaderError):
        blocking.Election(client, "/e").resign()


def test_a_leader_does_its_work_on_its_own_thread_and_hears_at_the_end_that_the_term_was_lost(
    cluster: blocking.LocalCluster, client: blocking.Client
) -> None:
    election = blocking.Election(client, "/e")

    def reign(number: int) -> tuple[int, bool]:
        assert election.is_leader
        return number, threading.current_thread() is threading.main_thread()

    assert election.run(reign, 42) == (42, True)
    assert not election.is_leader
    with pytest.raises(BadArgumentsError, match="a function and then its arguments"):
        election.run(None)  # type: ignore[arg-type]
    silent = cluster.client(timeout=0.1).start()

    def sleep() -> None:
        silent.freeze()
        with election.lead():
            pass  # the next is elected while this one goes on

    with pytest.raises(LeaseLostError):
        blocking.Election(silent, "/e").run(sleep)


def test_threads_meet_at_a_barrier_and_wait_for_an_event(client: blocking.Client) -> None:
    barrier, event = blocking.Barrier(client, "/b", parties=3), blocking.Event(client, "/e")
    assert event.wait(0) is False
    numbers: list[int] = []
    inside: list[int] = []

    def work() -> None:
        numbers.append(barrier.wait(-1))
        with barrier as number:
            inside.append(number)
        assert len(inside) == 3
        assert event.wait(20) is True

    threads = [in_thread(work) for _ in range(3)]
    event.set()
    finish(*threads)
    assert sorted(numbers) == sorted(inside) == [0, 1, 2]
    event.clear()
    assert event.is_set() is False
    assert barrier.n_waiting() == 0
    barrier.abort()
    assert barrier.broken() is True
    with pytest.raises(RuntimeError):
        barrier.wait()
    barrier.reset()
    with pytest.raises(BrokenBarrierError):
        barrier.wait(timeout=0)


def test_a_queue_between_threads_behaves_like_one_of_the_standard_library(client: blocking.Client) -> None:
    ours: Any = blocking.Queue(client, "/q", maxsize=2, codec=blocking.json_codec)
    for queue in (standard.Queue(2), ours):
        assert queue.empty()
        queue.put(1)
        queue.put(2, False)
        assert queue.full()
        for call in (lambda: queue.put(3, block=False), lambda: queue.put(3, True, 0.01), lambda: queue.put_nowait(3)):  # noqa: B023
            with pytest.raises(standard.Full):
                call()
        assert [queue.get(), queue.get(True, 5)] == [1, 2]
        for call in (lambda: queue.get(False), lambda: queue.get(timeout=0.01), queue.get_nowait):  # noqa: B023
            with pytest.raises(standard.Empty):
                call()
        assert queue.qsize() == 0
    taken: list[int] = []
    taking = in_thread(lambda: taken.extend(ours.get() for _ in range(20)))
    for number in range(20):
        ours.put(number)
    finish(taking)
    assert taken == list(range(20))
    ours.put_many(["a", "b"])
    with suppress(ValueError), ours.claim() as claim:
        assert (claim.item, claim.lease.released) == ("a", False)
        raise ValueError
    with ours.claim(block=False) as claim:
        assert claim.item == "a"
    with ours.claim(timeout=-1) as claim:
        claim.release()
    assert ours.join(timeout=0) is False
    assert ours.get() == "b"
    assert ours.join() is True


def test_threads_change_a_config_at_once_and_one_waits_for_what_it_comes_to(client: blocking.Client) -> None:
    config: Any = blocking.Config(client, "/c", codec=blocking.json_codec, validate=lambda value: value + 0)
    config.set(0)
    changes = config.watch()
    assert next(changes).value == 0
    finish(*[in_thread(lambda: config.update(lambda value: value + 1)) for _ in range(5)])
    assert next(changes).value == config.get().value == 5
    assert config.wait_for(lambda value: value == 5, timeout=-1).version == 5
    assert config.wait_for(lambda value: value == 6, timeout=0) is None
    assert config.rollback(2).value == 2
    assert [each.version for each in config.history()] == list(range(7))
    with pytest.raises(InvalidValueError):
        config.set("text")


def test_threads_join_and_leave_a_group(client: blocking.Client) -> None:
    group = blocking.Membership(client, "/g", name="a", data=b"1")
    changes = blocking.Membership(client, "/g").changes()
    assert next(changes) == frozenset()
    with group as lease:
        assert {member.name for member in next(changes)} == {"a"}
        assert group.is_member
        assert group.lease is not None
        assert group.lease.fencing_token == lease.fencing_token
        group.update(b"2")
        assert [member.data for member in group.members()] == [b"2"]
    assert next(changes) == frozenset()
    group.join()
    group.leave()
    with pytest.raises(NotMemberError):
        group.leave()


def test_a_guard_that_threads_share_lets_none_in_between_the_check_and_the_write() -> None:
    guard = blocking.FenceGuard()
    written: list[int] = []
    inside: list[int] = []

    def write(token: int) -> None:
        inside.append(token)
        assert len(inside) == 1
        written.append(token)
        inside.pop()

    def work(first: int) -> None:
        for token in range(first, 2000, 4):
            with suppress(StaleTokenError):
                guard.write(token, lambda token=token: write(token))  # type: ignore[misc]

    finish(*[in_thread(lambda first=first: work(first)) for first in range(1, 5)])  # type: ignore[misc]
    assert written == sorted(set(written))
    with pytest.raises(StaleTokenError):
        guard.check(1)


def test_leaders_hand_over_and_nodes_explain_themselves_in_blocking_code() -> None:
    with blocking.local_cluster(3, observers=1) as cluster, cluster.client() as client:
        client.create("/a")
        old = cluster.wait_for_leader()
        new = cluster.transfer()
        assert new != old
        assert cluster.transfer(old) == old
        client.sync()
        cluster.stop_node(old)
        client.set("/a", b"still here")
        assert f"node {old}: down" in cluster.explain()
        cluster.start_node(old)
        with pytest.raises(BadArgumentsError):
            cluster.transfer(4)


def test_nodes_are_killed_and_started_from_any_thread(cluster: blocking.LocalCluster, client: blocking.Client) -> None:
    client.create("/a", b"1")
    leader = cluster.wait_for_leader()
    cluster.kill(leader)
    assert client.get("/a").data == b"1"
    assert cluster.wait_for_leader() != leader
    cluster.start_node(leader)
    with pytest.raises(BadArgumentsError):
        cluster.start_node(leader)
    assert cluster.leader in (1, 2, 3)
    assert "3 of 3" in repr(cluster)
