"""The event loop on virtual time: asyncio as one knows it, time that costs nothing, an order that the seed decides."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from zkcore.testing.boundary import (
    BoundaryError,
    DeadlockError,
    ForeignLoopError,
    LivelockError,
    LoopClosedError,
)
from zkcore.testing.processes import Process
from zkcore.testing.virtual_loop import MOST_STEPS_AT_ONCE, VirtualLoop

HOUR = 3600.0


def run(main: Callable[[], Coroutine[Any, Any, Any]], *, seed: int = 0) -> Any:
    loop = VirtualLoop(seed)
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    virtual = VirtualLoop()
    yield virtual
    virtual.close()


# --- asyncio as one knows it ------------------------------------------------------------------------------------------


def test_sleeping_takes_virtual_time_to_the_nanosecond() -> None:
    async def main() -> list[float]:
        times = [now()]
        for seconds in (0.0, 0.1, HOUR):
            await asyncio.sleep(seconds)
            times.append(now())
        return times

    assert run(main) == [0.0, 0.0, 0.1, 3600.1]


def test_timers_never_fire_early() -> None:
    """A host that computes what is due from the time must find something due."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(1000):
            when = loop.time() + 0.01 * (number % 7) / 3
            fired = loop.create_future()
            loop.call_at(when, fired.set_result, None)
            await fired
            assert loop.time() > when
            assert loop.time() - when < 1e-8

    run(main)


def test_timeouts_and_wait_for() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(6)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 10)
        assert await asyncio.wait_for(asyncio.sleep(1, "in time"), 10) == "in time"
        return now()

    assert run(main) == pytest.approx(16)


def test_task_groups_cancel_the_others() -> None:
    async def main() -> list[str]:
        ended: list[str] = []

        async def sleeper(name: str) -> None:
            try:
                await asyncio.sleep(HOUR)
            finally:
                ended.append(name)

        async def failing() -> None:
            await asyncio.sleep(1)
            raise ValueError("one is enough")

        async def together() -> None:
            async with asyncio.TaskGroup() as group:
                for name in "abc":
                    group.create_task(sleeper(name))
                group.create_task(failing())

        with pytest.raises(ExceptionGroup) as caught:
            await together()
        assert caught.group_contains(ValueError)
        return sorted(ended)

    assert run(main) == ["a", "b", "c"]


def test_queues_events_locks_and_gather() -> None:
    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
        lock, full = asyncio.Lock(), asyncio.Event()

        async def produce() -> None:
            for number in range(10):
                async with lock:
                    await queue.put(number)
                full.set()

        async def consume() -> list[int]:
            await full.wait()
            return [await queue.get() for _ in range(10)]

        _, consumed = await asyncio.gather(produce(), consume())
        return consumed

    for seed in range(10):
        assert run(main, seed=seed) == list(range(10))


def test_generators_that_are_left_are_closed() -> None:
    async def main() -> list[str]:
        ended: list[str] = []

        async def numbers() -> AsyncIterator[int]:
            try:
                for number in range(10):
                    yield number
                    await asyncio.sleep(1)
            finally:
                await asyncio.sleep(1)
                ended.append("numbers")

        async for number in numbers():
            if number == 3:
                break
        await asyncio.sleep(5)
        return ended

    assert run(main) == ["numbers"]


def test_context_variables_go_with_the_task() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="?")

    async def main() -> list[str]:
        async def tell() -> str:
            await asyncio.sleep(1)
            return name.get()

        name.set("outer")
        first = asyncio.create_task(tell())
        name.set("later")
        return [await first, await asyncio.create_task(tell())]

    assert run(main) == ["outer", "later"]


def test_what_goes_to_a_thread_runs_here_a_little_later() -> None:
    async def main() -> None:
        before = now()
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        assert before < now() < before + 0.1
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    run(main)


def test_a_cancelled_timer_is_not_waited_for() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        for _ in range(1000):
            loop.call_later(HOUR, lambda: None).cancel()
        await asyncio.sleep(1)
        return now()

    assert run(main) == 1.0


# --- the order --------------------------------------------------------------------------------------------------------


def order_of_tasks(seed: int) -> str:
    async def main() -> str:
        seen: list[str] = []

        async def twice(name: str) -> None:
            seen.append(name)
            await asyncio.sleep(0)
            seen.append(name.upper())

        async with asyncio.TaskGroup() as group:
            for name in "abcd":
                group.create_task(twice(name))
        return "".join(seen)

    return str(run(main, seed=seed))


def test_tasks_that_are_ready_run_in_an_order_that_the_seed_decides() -> None:
    orders = [order_of_tasks(seed) for seed in range(60)]
    assert orders == [order_of_tasks(seed) for seed in range(60)]
    assert orders.count("abcdABCD") > 10  # some seeds keep to asyncio's own order
    assert len(set(orders)) > 20


def test_plain_callbacks_keep_their_order() -> None:
    """asyncio promises it for `call_soon`."""

    async def main() -> list[int]:
        seen: list[int] = []
        tasks: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        for number in range(20):
            loop.call_soon(seen.append, number)
            tasks.append(asyncio.create_task(asyncio.sleep(0)))
        await asyncio.gather(*tasks)
        return seen

    for seed in range(20):
        assert run(main, seed=seed) == list(range(20))


SET_OF_TASKS = """
import asyncio
from zkcore.testing.virtual_loop import VirtualLoop

async def main():
    async def work(number):
        try:
            await asyncio.sleep(number % 3)
        finally:
            ended.append(number)
    ended = []
    tasks = [asyncio.create_task(work(number)) for number in range(30)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    ended += [task.get_name() for task in done]
    futures = [asyncio.get_running_loop().create_future() for _ in range(30)]
    for number, future in enumerate(futures):
        future.set_result(number)
    done, _ = await asyncio.wait(futures)
    ended += [future.result() for future in done]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(work(number))
            await asyncio.sleep(1.5)
            raise ValueError
    except* ValueError:
        pass
    return ended

for seed in range(5):
    loop = VirtualLoop(seed)
    print(loop.run_until_complete(main()), loop.steps)
"""


def test_sets_of_tasks_have_the_same_order_in_every_process() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", SET_OF_TASKS], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "17")
    }
    assert len(printed) == 1


# --- what cannot go on ------------------------------------------------------------------------------------------------


def test_a_deadlock_says_which_task_waits_where() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(never(), name="sleepy")

    with pytest.raises(DeadlockError, match=r"sleepy: test_virtual_loop.py:\d+ never > locks.py:\d+ wait"):
        run(main)


def test_tasks_that_never_sleep_are_an_error() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(LivelockError, match=r"time stands still.*\n.*main"):
        run(main)


def test_many_steps_are_no_error_where_time_passes() -> None:
    async def main() -> None:
        for _ in range(MOST_STEPS_AT_ONCE // 2 + 1):
            await asyncio.sleep(0.001)  # two steps, the timer's and the task's

    run(main)


# --- the boundary -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reach_out",
    [
        lambda: asyncio.open_connection("localhost", 2181),
        lambda: asyncio.start_server(print, "localhost", 0),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 2181),
        lambda: asyncio.get_running_loop().add_signal_handler(2, print),
        lambda: asyncio.get_running_loop().add_reader(0, print),
        lambda: asyncio.get_running_loop().set_debug(True),
    ],
)
def test_what_leads_outside_is_refused(reach_out: Callable[[], Any]) -> None:
    async def main() -> None:
        await reach_out()

    with pytest.raises(BoundaryError, match="no such thing on virtual time"):
        run(main)


def test_another_thread_is_refused() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(lambda: None)  # from here it may be called
        refused: list[Exception] = []

        def call() -> None:
            try:
                loop.call_soon_threadsafe(lambda: None)
            except BoundaryError as error:
                refused.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert "from another thread" in str(refused[0])

    run(main)


def test_it_does_not_run_inside_another_loop() -> None:
    async def main() -> None:
        with pytest.raises(BoundaryError, match="an event loop is running here already"):
            run(lambda: asyncio.sleep(0))

    asyncio.run(main())


def test_use_from_elsewhere_and_use_after_the_end_have_errors_of_their_own(loop: VirtualLoop) -> None:
    with pytest.raises(ForeignLoopError, match="start no loop of your own"):
        loop.check_here()
    loop.close()
    for use in (loop.check_here, lambda: loop.call_soon(print), lambda: loop.call_later(1, print)):
        with pytest.raises(LoopClosedError, match="anew in each test"):
            use()
    with pytest.raises(LoopClosedError):
        loop.run_until_complete(asyncio.sleep(0))


# --- processes --------------------------------------------------------------------------------------------------------


def start(loop: VirtualLoop, process: Process, main: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
    return loop.create_task(main(), context=process.context.copy())


def test_a_paused_process_does_nothing_and_catches_up_afterwards(loop: VirtualLoop) -> None:
    sleepy, awake = Process("sleepy", 1), Process("awake", 2)
    seen: list[tuple[str, float]] = []

    async def tick(name: str) -> None:
        while True:
            await asyncio.sleep(1)
            seen.append((name, round(now(), 6)))

    async def main() -> None:
        await asyncio.sleep(1.5)
        loop.pause(sleepy)
        await asyncio.sleep(10)
        loop.resume(sleepy)
        await asyncio.sleep(1)

    start(loop, sleepy, lambda: tick("sleepy"))
    start(loop, awake, lambda: tick("awake"))
    loop.run_until_complete(main())
    assert [time for name, time in seen if name == "sleepy"] == [1.0, 11.5, 12.5]
    assert [time for name, time in seen if name == "awake"] == [float(number) for number in range(1, 13)]


def test_nothing_of_a_process_runs_after_its_crash(loop: VirtualLoop) -> None:
    crashing = Process("crashing", 1)
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            seen.append("cancelled")
        finally:
            seen.append("finally")

    async def main() -> None:
        await asyncio.sleep(1)
        loop.crash(crashing)
        await asyncio.sleep(10)
        assert seen == []

    start(loop, crashing, work)
    loop.run_until_complete(main())


def test_what_a_process_starts_belongs_to_it(loop: VirtualLoop) -> None:
    parent = Process("parent", 1)
    seen: list[str] = []

    async def child() -> None:
        await asyncio.sleep(2)
        seen.append("child")

    async def work() -> None:
        loop.call_later(2, seen.append, "timer")
        await asyncio.create_task(child())

    async def main() -> None:
        await asyncio.sleep(1)
        loop.crash(parent)
        await asyncio.sleep(10)

    start(loop, parent, work)
    loop.run_until_complete(main())
    assert seen == []


def test_names_of_tasks_are_the_same_in_every_world(loop: VirtualLoop) -> None:
    async def main() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(2)]
        await asyncio.gather(*tasks)
        return [task.get_name() for task in tasks]

    assert run(main) == run(main)
    process = Process("w1", 1)
    assert start(loop, process, main).get_name().startswith("w1/")
