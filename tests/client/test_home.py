"""A client in the wrong place: a forked process, another event loop, or none; and timeouts that are none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

import zkcore
import zkcore.sync as blocking
from zkcore.client.cluster import local_cluster
from zkcore.errors import BadArgumentsError, ForeignLoopError, ForkedError, SessionClosedError
from zkcore.sync.port import run as run_blocking
from zkcore.testing import boundary

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes can fork")


def in_child(*calls: Callable[[], object]) -> list[str]:
    """What each call does in a forked process: the name of the error it raises and its text, or "nothing"."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for call in calls:
                try:
                    call()
                    told = "nothing"
                except BaseException as error:
                    told = f"{type(error).__name__}: {error}"
                os.write(writing, told.encode() + b"\0")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told_by_child = pipe.read()
    os.waitpid(child, 0)
    return told_by_child.decode().split("\0")[:-1]


@needs_fork
def test_in_a_forked_process_blocking_code_is_told_at_once() -> None:
    with blocking.local_cluster(3) as cluster, cluster.client() as client:
        client.create("/a", b"x")
        lock = blocking.Lock(client, "/lock")
        refused = [
            lambda: client.get("/a"),
            lambda: client.get("/a", read=blocking.Read.LOCAL),
            lambda: client.create("/b"),
            lambda: lock.acquire(timeout=5),
            lambda: blocking.Queue(client, "/queue").put(b"x"),
            lambda: blocking.Membership(client, "/group").join(),
            lambda: cluster.client().start(),
            lambda: cluster.leader,
            lambda: client.chroot("/a").get_children("/"),
        ]
        told = in_child(*refused, client.close, cluster.close)
        for each in told[: len(refused)]:
            assert each.startswith("ForkedError: "), each
            assert f"process {os.getpid()}" in each
            assert "after the fork" in each
        assert told[len(refused) :] == ["nothing", "nothing"]
        assert client.get("/a").data == b"x"
        client.create("/b")
        assert client.get_children("/") == ["a", "b", "zookeeper"]
        assert lock.acquire(timeout=5)


@needs_fork
def test_in_a_forked_process_coroutines_are_told_too() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), local_cluster(1) as cluster, cluster.client() as client:
            await client.create("/a")

            def drive(coroutine: Any) -> None:
                """As the loop would that the child has a copy of."""
                try:
                    coroutine.send(None)
                finally:
                    coroutine.close()

            told = in_child(
                lambda: drive(client.get("/a")),
                lambda: drive(client.create("/b")),
                lambda: drive(zkcore.Lock(client, "/l").acquire()),
                lambda: asyncio.run(client.port.wait(timeout=0)),  # type: ignore[arg-type]
            )
            assert [each.split(":")[0] for each in told] == ["ForkedError"] * 4
            assert await client.exists("/a") is not None

    asyncio.run(main())


def test_from_another_event_loop_a_client_is_refused() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), local_cluster(1) as cluster, cluster.client() as client:
            port = client.port

            async def work(port: zkcore.Port) -> None:
                raise AssertionError

            async def spawn() -> None:
                port.spawn(work, name="work")

            calls: list[Callable[[], Any]] = [
                lambda: client.get("/"),
                lambda: client.create("/a"),
                lambda: client.add_auth("digest", "a:b"),
                lambda: zkcore.Lock(client, "/lock").acquire(),
                lambda: zkcore.Queue(client, "/queue").put(b"x"),
                lambda: zkcore.Membership(client, "/group").join(),
                lambda: port.wait(timeout=0),
                lambda: port.shield(work),
                lambda: port.tidy_up(work),
                spawn,
                client.close,
            ]
            for call in calls:
                with pytest.raises(ForeignLoopError, match="make a client for this loop"):
                    await asyncio.to_thread(lambda call=call: asyncio.run(call()))
            with pytest.raises(ForeignLoopError):
                await asyncio.to_thread(lambda: run_blocking(client.get("/")))
            assert client.state is zkcore.SessionState.CONNECTED
            assert await client.get_children("/") == ["zookeeper"]

    asyncio.run(main())


def test_a_world_says_the_same() -> None:
    assert issubclass(boundary.ForeignLoopError, ForeignLoopError)
    assert issubclass(ForkedError, RuntimeError)


def test_after_the_end_a_client_says_what_to_do() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), local_cluster(1) as cluster:
            client = cluster.client()
            with pytest.raises(SessionClosedError, match="await start"):
                await client.get("/")
            async with client:
                pass
            for call in (client.get("/"), client.create("/a"), zkcore.Lock(client, "/l").acquire()):
                with pytest.raises(SessionClosedError, match="open a new one"):
                    await call
            await client.close()

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [-1, -0.5, float("nan")])
def test_a_negative_timeout_is_refused(timeout: float) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), local_cluster(1) as cluster, cluster.client() as client:
            lock = zkcore.Lock(client, "/l")
            for call in (
                lambda: client.port.wait(timeout=timeout),
                lambda: client.with_retry().port.wait(timeout=timeout),
                lambda: client.port.request(zkcore.tree.requests.Create("/a"), timeout=timeout),
                lambda: lock.acquire(timeout=timeout),
            ):
                with pytest.raises(BadArgumentsError, match="None to wait for ever"):
                    await call()
            with pytest.raises(BadArgumentsError, match="session timeout"):
                cluster.client(timeout=timeout)
            assert await client.exists("/a") is None

    asyncio.run(main())


def test_threads_that_share_a_blocking_client_are_no_strangers() -> None:
    with blocking.local_cluster(1) as cluster, cluster.client() as client:
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(client.create("/a")))
        thread.start()
        thread.join(20)
        assert seen == ["/a"]
