"""The guard of a body: one cancellation when the signal is set, told from all others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

import zkcore
from zkcore.client.guard import Guard
from zkcore.client.signals import AsyncSignal
from zkcore.zab.limits import Limits


def new_signal() -> AsyncSignal:
    return AsyncSignal(asyncio.get_running_loop(), threading.get_ident())


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 20))


@pytest.mark.parametrize("when", ["before", "inside"])
def test_a_body_ends_when_the_signal_is_set_and_the_task_goes_on(when: str) -> None:
    async def main() -> None:
        lost, ended = new_signal(), False
        if when == "before":
            lost.set()
        with Guard(lost):
            asyncio.get_running_loop().call_soon(lost.set)
            try:
                await asyncio.Event().wait()
            finally:
                ended = True
        assert ended
        await asyncio.sleep(0)

    run(main())


@pytest.mark.parametrize("when", ["at the end", "after the end"])
def test_a_signal_that_is_set_too_late_cancels_nobody(when: str) -> None:
    async def main() -> None:
        lost = new_signal()
        with Guard(lost):
            if when == "at the end":
                lost.set()
        lost.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
def test_what_the_body_raises_by_itself_goes_through(kind: type[BaseException]) -> None:
    async def main() -> None:
        with pytest.raises(kind), Guard(new_signal()):
            raise kind

    run(main())


def test_a_timeout_around_it_is_told_as_a_timeout() -> None:
    async def main() -> None:
        async def body() -> None:
            async with asyncio.timeout(0.01):
                with Guard(new_signal()):
                    await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await body()

    run(main())


def test_it_needs_a_task() -> None:
    async def main() -> None:
        lost = new_signal()
        failed: list[BaseException] = []

        def outside() -> None:
            try:
                Guard(lost).__enter__()
            except RuntimeError as error:
                failed.append(error)

        asyncio.get_running_loop().call_soon(outside)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert "body of a task" in str(failed[0])

    run(main())


def test_a_session_is_counted_on_for_one_per_cent_and_one_tick_less_than_its_timeout() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1, limits=Limits(tick_ms=200)) as cluster, cluster.client(timeout=4) as zk:
            left = zk.port.session.alive_until - zk.port.now()
            assert left <= 4 * 0.99 - 0.2

    run(main())
