"""Work in the background of a recipe: how it begins, how it ends, and that nothing of it is left or lost."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

import zkcore
import zkcore.sync as blocking
from zkcore.client.client import Client
from zkcore.client.cluster import local_cluster
from zkcore.client.embedded import EmbeddedPort
from zkcore.client.node import EmbeddedClient
from zkcore.client.port import Port
from zkcore.errors import SessionClosedError, SessionExpiredError
from zkcore.sync.port import run as run_blocking
from zkcore.testing.app_world import AppWorld

T = TypeVar("T")


def with_client(use: Callable[[EmbeddedClient], Coroutine[Any, Any, T]]) -> T:
    """What `use` makes of a client of one node, within 20 seconds."""

    async def main() -> T:
        async with asyncio.timeout(20), local_cluster(1) as cluster, cluster.client() as client:
            return await use(client)

    return asyncio.run(main())


class Worker:
    """Work that goes on until it is cancelled, and then takes its time to tidy up, with requests."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.errors: list[Exception] = []

    async def __call__(self, port: Port) -> None:
        client = Client(port)
        self.did.append("began")
        try:
            await client.create("/claim", ephemeral=True)
            await port.wait(port.session.lost)
            self.did.append("the session ended")
            await client.exists("/")
        finally:
            try:
                await client.delete("/claim")
                self.did.append("gave back")
            except zkcore.ZkcoreError as error:
                self.errors.append(error)
            await port.wait(timeout=0.001)
            self.did.append("ended")


async def sleep(port: Port) -> None:
    """Work that nothing ends but a cancellation."""
    await port.wait(port.signal())


async def has_claimed(client: Client) -> None:
    while await client.exists("/claim") is None:
        await asyncio.sleep(0.001)


def test_work_goes_on_beside_its_caller_and_ends_when_it_returns() -> None:
    async def use(client: EmbeddedClient) -> None:
        async def work(port: Port) -> None:
            await Client(port).create("/a")

        background = client.port.spawn(work, name="the work")
        assert not background.ended.is_set()
        assert await client.exists("/a") is None, "it has begun within the call"
        assert repr(background) == "<Background the work goes on>"
        await client.port.wait(background.ended)
        assert await client.exists("/a") is not None
        assert (background.name, background.error) == ("the work", None)
        assert repr(background) == "<Background the work ended>"
        background.cancel()
        await background.stop()

    with_client(use)


def test_what_is_stopped_has_cleaned_up() -> None:
    async def use(client: EmbeddedClient) -> None:
        worker = Worker()
        background = client.port.spawn(worker, name="worker")
        await has_claimed(client)
        await background.stop()
        assert background.ended.is_set()
        assert worker.did == ["began", "gave back", "ended"]
        assert background.error is None
        assert await client.exists("/claim") is None

    with_client(use)


def test_who_only_asks_it_to_end_is_not_held_up_and_whoever_is_no_longer_awaiting_it_stops_nothing() -> None:
    async def use(client: EmbeddedClient) -> None:
        worker = Worker()
        background = client.port.spawn(worker, name="worker")
        await has_claimed(client)
        await asyncio.to_thread(background.cancel)
        stopping = asyncio.create_task(background.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await client.port.wait(background.ended)
        assert worker.did == ["began", "gave back", "ended"]

    with_client(use)


def test_an_error_is_logged_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    async def use(client: EmbeddedClient) -> None:
        async def work(port: Port) -> None:
            raise ValueError("a bug")

        background = client.port.spawn(work, name="the cache of /a")
        await client.port.wait(background.ended)
        assert isinstance(background.error, ValueError)
        await background.stop()
        (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.getMessage() == "the cache of /a failed"
        assert record.exc_info is not None
        assert record.exc_info[1] is background.error
        assert repr(background) == "<Background the cache of /a failed: ValueError('a bug')>"

    with_client(use)


def test_closing_the_client_waits_for_the_end_of_its_work_while_there_is_a_session() -> None:
    async def main() -> None:
        async with asyncio.timeout(20), local_cluster(1) as cluster:
            client = await cluster.client().start()
            worker = Worker()
            background = client.port.spawn(worker, name="worker")
            await has_claimed(client)
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0)
            with pytest.raises(SessionClosedError, match="being closed; another was not begun"):
                client.port.spawn(worker, name="another")
            await closing
            assert worker.did == ["began", "gave back", "ended"]
            assert background.ended.is_set()
            with pytest.raises(SessionClosedError):
                client.port.spawn(worker, name="another")

    asyncio.run(main())


def test_work_that_does_not_end_is_not_waited_for_longer_than_the_session_lives() -> None:
    async def main() -> None:
        async with asyncio.timeout(20), local_cluster(1) as cluster:
            client = await cluster.client(timeout=0.2).start()
            over = asyncio.Event()

            async def work(port: Port) -> None:
                while not over.is_set():
                    try:
                        await over.wait()
                    except asyncio.CancelledError:
                        pass

            background = client.port.spawn(work, name="stubborn")
            await asyncio.sleep(0)
            await client.close()
            assert client.state is zkcore.SessionState.CLOSED
            assert not background.ended.is_set()
            over.set()
            await client.port.wait(background.ended)

    asyncio.run(main())


def test_work_that_closes_its_own_client_does_not_wait_for_itself() -> None:
    async def main() -> None:
        async with asyncio.timeout(20), local_cluster(1) as cluster:
            client = await cluster.client().start()
            worker = Worker()
            client.port.spawn(worker, name="worker")
            await has_claimed(client)

            async def work(port: Port) -> None:
                with pytest.raises(RuntimeError, match="would wait for its own end"):
                    await background.stop()
                await client.close()

            background = client.port.spawn(work, name="the end")
            await client.port.wait(background.ended)
            assert background.error is None
            assert client.state is zkcore.SessionState.CLOSED
            assert worker.did[-1] == "ended"

    asyncio.run(main())


def test_work_learns_of_the_end_of_its_session_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), local_cluster(1) as cluster:
            client = await cluster.client().start()
            worker = Worker()
            background = client.port.spawn(worker, name="worker")
            await has_claimed(client)
            await cluster.kill_session(client.session_id)
            await client.port.wait(background.ended)
            assert worker.did == ["began", "the session ended", "ended"]
            assert [type(error) for error in worker.errors] == [SessionExpiredError]
            assert isinstance(background.error, SessionExpiredError)
            with pytest.raises(SessionExpiredError):
                client.port.spawn(worker, name="another")
            await client.close()

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_client_that_goes_without_a_word_leaves_nothing_working() -> None:
    async def main() -> None:
        async with asyncio.timeout(20), local_cluster(1) as cluster:
            client = await cluster.client().start()
            worker = Worker()
            working = client.port.spawn(worker, name="worker")
            sleeping = client.port.spawn(sleep, name="sleeper")
            await has_claimed(client)
            port: EmbeddedPort = client.port
            client.abandon()
            await port.wait(working.ended)
            await port.wait(sleeping.ended)
            assert [type(error) for error in worker.errors] == [SessionClosedError]

    asyncio.run(main())


# --- blocking code


def test_in_blocking_code_it_works_on_the_thread_of_the_cluster() -> None:
    with blocking.local_cluster(1) as cluster, cluster.client() as client:
        threads: list[threading.Thread] = []
        worker = Worker()

        async def work(port: Port) -> None:
            threads.append(threading.current_thread())
            await worker(port)

        port = client.unblocked.port
        background = port.spawn(work, name="worker")
        assert repr(background) == "<Background worker goes on>"
        while client.exists("/claim") is None:
            pass
        run_blocking(background.stop())
        run_blocking(background.stop())
        assert background.ended.is_set()
        assert (background.name, background.error) == ("worker", None)
        assert worker.did == ["began", "gave back", "ended"]
        assert threads != [threading.current_thread()]

        async def fail(port: Port) -> None:
            raise ValueError("a bug")

        background = port.spawn(fail, name="failing")
        run_blocking(port.wait(background.ended))
        assert isinstance(background.error, ValueError)


def test_closing_a_blocking_client_waits_for_its_work() -> None:
    with blocking.local_cluster(1) as cluster:
        client = cluster.client().start()
        worker = Worker()
        background = client.unblocked.port.spawn(worker, name="worker")
        while client.exists("/claim") is None:
            pass
        background.cancel()
        client.close()
        assert background.ended.is_set()
        assert worker.did == ["began", "gave back", "ended"]


# --- worlds


def test_in_a_world_it_belongs_to_the_app_of_its_client() -> None:
    async def story(world: AppWorld) -> None:
        ticks: list[float] = []

        async def tick(port: Port) -> None:
            while True:
                await port.wait(timeout=1.0)
                ticks.append(world.now)

        async def app() -> None:
            async with world.client() as client:
                client.port.spawn(tick, name="ticks")
                await world.sleep(10)
            ended.append(world.now)

        ended: list[float] = []
        world.app("one").spawn(app)
        await world.sleep(4.5)
        assert len(ticks) == 4
        world.pause("one")
        await world.sleep(2)
        assert len(ticks) == 4
        world.resume("one")
        await world.sleep(10)
        assert len(ended) == 1
        assert len(ticks) > 4
        assert max(ticks) < ended[0]
        ticks.clear()
        world.app("two").spawn(app)
        await world.sleep(3.5)
        world.crash("two")
        count = len(ticks)
        await world.sleep(20)
        assert len(ticks) == count == 3

    world = AppWorld(1)
    world.run(story, world)
