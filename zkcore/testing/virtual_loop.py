"""An asyncio event loop on virtual time, decided by a seed: for tests of code that waits.

Time passes only when nothing is ready to run: then the clock jumps to the next timer, so an hour of sleeping costs
nothing. Which of several ready callbacks runs first the seed decides, as the scheduler of a busy machine would; only
those given to `call_soon` without a context keep their order, as asyncio promises. Two loops of one seed that run the
same code do the same, step by step, whatever PYTHONHASHSEED: tasks and futures have hashes of their own, so that even
the order in a set of them is the same.

Callbacks belong to processes (`Process`), told apart by their contexts: what a process starts belongs to it. A process
can be paused, as by SIGSTOP: none of its callbacks run, and time goes on; and it can crash: none ever runs again, no
`finally`, no CancelledError.

There are no sockets, subprocesses, signals or other threads here: whoever asks for one gets a BoundaryError. What the
loop does not rule is the rest of Python: `time.time()` and `time.monotonic()` are those of the machine. Code to be
tested should ask `asyncio.get_running_loop().time()`.

This module must not know anything of zkcore but its root of exceptions.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any, NoReturn, TypeVar
from weakref import WeakSet

from zkcore.testing.boundary import (
    Boundary,
    BoundaryError,
    DeadlockError,
    ForeignLoopError,
    LivelockError,
    LoopClosedError,
    refuse,
)
from zkcore.testing.processes import (
    Handle,
    Life,
    Process,
    Timer,
    VirtualFuture,
    VirtualTask,
    end_silently,
    tasks_of,
    where_tasks_wait,
)
from zkcore.testing.trace import NANOSECONDS, random_stream

__all__ = ["VirtualLoop"]

_log = logging.getLogger("zkcore.testing")

T = TypeVar("T")

MOST_STEPS_AT_ONCE = 100_000
"""After so many steps without a step of the clock the code under test is taken for an endless loop."""

_STEPS_BETWEEN_COLLECTIONS = 200_000

_DEVIATIONS = (0.0, 0.1, 1.0)
"""How often a seed lets another callback run than the one that is ready for longest: it draws one of these."""

_EXECUTOR_SECONDS = 0.01
"""What is given to an executor runs at some moment within this."""


class VirtualLoop(Boundary):
    """See the module. Use it as any loop, `run_until_complete(main())` and `close()`; or let `AppWorld` do it.

    `on_step(home)` is called after each callback, with the process that it belonged to. What it raises ends the run.
    """

    def __init__(self, seed: int = 0, *, on_step: Callable[[Process | None], None] | None = None) -> None:
        self.seed = seed
        self.now_ns = 0
        self.steps = 0
        self.on_step = on_step
        self.on_error: Callable[[dict[str, Any]], None] | None = None
        """Gets what asyncio gives to exception handlers: errors of callbacks (`handle` says which), and of tasks that
        nobody asks."""
        self._order: Random = random_stream(seed, "order")
        self._deviation = self._order.choice(_DEVIATIONS)
        self._executor_delays = random_stream(seed, "executor")
        self._ready: deque[Handle | Timer] = deque()
        self._timers: list[tuple[int, int, Timer]] = []
        self._cancelled_timers = 0
        self._sequence = 0
        self._numbers = 0
        self._steps_at_once = 0
        self._thread = 0
        self._stopping = False
        self._closed = False
        self._remains: list[VirtualTask[Any]] = []  # of processes that crashed
        self._generators: WeakSet[AsyncGenerator[Any, Any]] = WeakSet()
        self._task_factory: Callable[..., asyncio.Future[Any]] | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"at {self.time():.3f} s"
        return f"<VirtualLoop of seed {self.seed} {state}>"

    def next_number(self) -> int:
        """A number for the next task, future or whatever needs a name."""
        self._numbers += 1
        return self._numbers

    # --- callbacks and time

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.now_ns / NANOSECONDS

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if self._closed:
            self._raise_closed()
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread:
            refuse("call_soon_threadsafe() from another thread")
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._call_at(self.now_ns + round(delay * NANOSECONDS), callback, args, context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        # Never early: whoever computes what is due from the time, in floats, would find nothing and wait for no time.
        return self._call_at(int(when * NANOSECONDS) + 2, callback, args, context)

    def _call_at(
        self, when_ns: int, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        if self._closed:
            self._raise_closed()
        timer = Timer(when_ns / NANOSECONDS, callback, args, self, context)
        self._sequence += 1
        heappush(self._timers, (when_ns, self._sequence, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cancelled_timers += 1
        if self._cancelled_timers > 64 and 2 * self._cancelled_timers > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapify(self._timers)
            self._cancelled_timers = 0

    # --- futures and tasks

    def create_future(self) -> asyncio.Future[Any]:
        return VirtualFuture(self.next_number(), loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: object,
    ) -> asyncio.Task[T]:
        if self._closed:
            coro.close()
            self._raise_closed()
        if self._task_factory is not None:
            return self._task_factory(self, coro, context=context)  # type: ignore[return-value]
        number = self.next_number()
        return VirtualTask(coro, number=number, loop=self, name=name, context=context)  # type: ignore[arg-type]

    def set_task_factory(self, factory: Callable[..., asyncio.Future[Any]] | None) -> None:
        self._task_factory = factory

    def get_task_factory(self) -> Callable[..., asyncio.Future[Any]] | None:
        return self._task_factory

    def run_in_executor(  # type: ignore[override]
        self, executor: object, function: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """There are no threads: `function` runs in one step of the loop, a little later."""
        future: asyncio.Future[T] = self.create_future()

        def call() -> None:
            if future.cancelled():
                return
            try:
                result = function(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self._executor_delays.random() * _EXECUTOR_SECONDS, call)
        return future

    # --- running

    def run_until_complete(self, future: Any) -> Any:
        """The result of `future`, or what it raises; DeadlockError and LivelockError where it cannot end."""
        __tracebackhide__ = True
        main = asyncio.ensure_future(future, loop=self)
        main.add_done_callback(self._on_main_done)
        try:
            self.run_forever()
        finally:
            main.remove_done_callback(self._on_main_done)
        if not main.done():
            raise RuntimeError("the loop was stopped before its main task was done")
        return main.result()

    def _on_main_done(self, _: object) -> None:
        self._stopping = True

    def run_forever(self) -> None:
        """Until `stop`."""
        __tracebackhide__ = True
        if self._closed:
            self._raise_closed()
        if asyncio._get_running_loop() is not None:
            raise BoundaryError(
                "an event loop is running here already, and a virtual one cannot run inside it; start it from plain "
                "code, or let the test be an `async def` that uses the fixture zk_world"
            )
        self._thread = threading.get_ident()
        hooks = sys.get_asyncgen_hooks()
        collecting = gc.isenabled()
        gc.disable()  # what finalizers do must happen at the same step in every run
        sys.set_asyncgen_hooks(firstiter=self._generators.add, finalizer=self._on_generator_dropped)
        asyncio._set_running_loop(self)
        try:
            while not self._stopping:
                self._step()
        finally:
            self._stopping = False
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)
            if collecting:
                gc.enable()

    def _step(self) -> None:
        __tracebackhide__ = True
        if not self._ready:
            self._jump()
        if self._steps_at_once >= MOST_STEPS_AT_ONCE:
            raise LivelockError(
                f"{MOST_STEPS_AT_ONCE} steps at {self.time():.3f} s, and the time stands still; a task that never "
                f"sleeps, or two that wake each other? Next is {self._ready[0]!r}.\n{where_tasks_wait(self)}"
            )
        handle = self._pick()
        home = handle.home
        if handle._cancelled:
            return
        if home is not None and home.life is not Life.RUNNING:
            if home.life is Life.PAUSED:
                home.parked.append(handle)
            return
        self.steps += 1
        self._steps_at_once += 1
        if self.steps % _STEPS_BETWEEN_COLLECTIONS == 0:
            gc.collect()
        assert handle._callback is not None
        try:
            handle._context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.call_exception_handler({"message": f"{handle!r} failed", "exception": error, "handle": handle})
        if self.on_step is not None:
            self.on_step(home)

    def _pick(self) -> Handle | Timer:
        ready = self._ready
        if len(ready) == 1 or not self._deviation:
            return ready.popleft()
        drawn = self._order.random() / self._deviation
        if drawn >= 1:
            return ready.popleft()
        index = int(drawn * len(ready))
        if ready[index].plain:
            index = next(place for place, handle in enumerate(ready) if handle.plain)
        handle = ready[index]
        del ready[index]
        return handle

    def _jump(self) -> None:
        """Nothing is ready: to the next timer, and all that are due with it."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
            self._cancelled_timers = max(self._cancelled_timers - 1, 0)
        if not timers:
            raise DeadlockError(
                f"at {self.time():.3f} s nothing is ready, no timer is set, and the main task has not ended; whoever "
                f"should wake these is gone, or was never started:\n{where_tasks_wait(self)}"
            )
        due = timers[0][0]
        if due > self.now_ns:
            self.now_ns = due
            self._steps_at_once = 0
        while timers and timers[0][0] <= due:
            timer = heappop(timers)[2]
            timer._scheduled = False
            if not timer._cancelled:
                self._ready.append(timer)

    def check_here(self) -> None:
        """Raises LoopClosedError after `close`, and ForeignLoopError unless it is this loop that runs the caller."""
        if self._closed:
            self._raise_closed()
        if asyncio._get_running_loop() is not self:
            raise ForeignLoopError(
                "this belongs to the virtual time of a simulated world, and was used from another event loop or from "
                "plain code; call it from the test itself or from what the test spawned, and start no loop of your own"
            )

    def stop(self) -> None:
        self._stopping = True

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Drop everything. Coroutines that have not ended are closed, as garbage would be: nobody hears of it. The
        youngest are the first, since they work with what their elders have opened."""
        if self._closed:
            return
        if self.is_running():
            raise RuntimeError("a running loop cannot be closed")
        self._closed = True
        tasks = tasks_of(self)  # what is ready, or timed, may be all that keeps them
        self._ready.clear()
        self._timers.clear()
        for task in reversed(tasks):
            end_silently(task)
        self._remains.clear()

    # --- processes

    def pause(self, process: Process) -> None:
        """From now on nothing of `process` runs until `resume`."""
        if process.life is Life.RUNNING:
            process.life = Life.PAUSED

    def resume(self, process: Process) -> None:
        """Let it run what has gathered."""
        if process.life is Life.PAUSED:
            process.life = Life.RUNNING
            self._ready.extend(process.parked)
            process.parked.clear()

    def crash(self, process: Process) -> None:
        """Nothing of it runs ever again. Its coroutines are kept, so that their garbage does not speak."""
        process.life = Life.DEAD
        process.parked.clear()
        self._remains += [task for task in tasks_of(self) if task.home is process]

    # --- errors

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._closed:
            return
        _log.error("on virtual time: %s", context.get("message"), exc_info=context.get("exception"))
        if self.on_error is not None:
            self.on_error(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        return None

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        if enabled:
            refuse("asyncio's debug mode")

    # --- generators and executors at the end

    def _on_generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators.discard(generator)
        if not self._closed:
            self.create_task(generator.aclose())

    async def shutdown_asyncgens(self) -> None:
        for generator in list(self._generators):
            await generator.aclose()

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        return None

    # --- what there is not

    def _raise_closed(self) -> NoReturn:
        raise LoopClosedError(
            "this virtual loop is closed: its test is over; make what you need, clients too, anew in each test"
        )
