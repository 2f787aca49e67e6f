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
from contextvars import Context, ContextVar, copy_context
from enum import Enum, auto
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any, NoReturn, TypeVar
from weakref import WeakSet

from zkcore.errors import ZkcoreError
from zkcore.testing.trace import NANOSECONDS, random_stream

__all__ = [
    "BoundaryError",
    "DeadlockError",
    "ForeignLoopError",
    "Life",
    "LivelockError",
    "LoopClosedError",
    "Process",
    "SimulationError",
    "VirtualLoop",
    "home",
    "where_tasks_wait",
]

_log = logging.getLogger("zkcore.testing")

T = TypeVar("T")

MOST_STEPS_AT_ONCE = 100_000
"""After so many steps without a step of the clock the code under test is taken for an endless loop."""

_STEPS_BETWEEN_COLLECTIONS = 200_000

_DEVIATIONS = (0.0, 0.1, 1.0)
"""How often a seed lets another callback run than the one that is ready for longest: it draws one of these."""

_EXECUTOR_SECONDS = 0.01
"""What is given to an executor runs at some moment within this."""


class SimulationError(ZkcoreError):
    """Something the virtual loop cannot do, or the code under test will never do."""


class BoundaryError(SimulationError):
    """Something outside of the virtual loop was asked for: a socket, a thread, a process, a signal."""


class DeadlockError(SimulationError):
    """Nothing is ready and no timer is set: the tasks wait for something that cannot come."""


class LivelockError(SimulationError):
    """Steps follow each other and time stands still: a task never sleeps, or two wake each other for ever."""


class ForeignLoopError(SimulationError, RuntimeError):
    """What lives on a virtual loop was used from another event loop, or from none."""


class LoopClosedError(SimulationError, RuntimeError):
    """What lived on a virtual loop was used after its test had ended."""


class Life(Enum):
    """How a process is."""

    RUNNING = auto()
    PAUSED = auto()
    DEAD = auto()


class Process:
    """What is paused or crashes as one. `context` is that in which its callbacks run, `number` is for traces."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.life = Life.RUNNING
        self.parked: deque[_Handle | _Timer] = deque()
        self.context = copy_context()
        self.context.run(_HOME.set, self)

    def __repr__(self) -> str:
        return f"<Process {self.name} {self.life.name.lower()}>"


_HOME: ContextVar[Process | None] = ContextVar("zkcore_process", default=None)


def home() -> Process | None:
    """The process that the running code belongs to."""
    return _HOME.get()


class _Handle(asyncio.Handle):
    """A callback that is ready. `plain` ones keep their order among themselves."""

    __slots__ = ("home", "plain")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        super().__init__(callback, args, loop, context)
        self.plain = context is None
        self.home: Process | None = self._context.get(_HOME)  # type: ignore[attr-defined]


class _Timer(asyncio.TimerHandle):
    __slots__ = ("home", "plain")

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.plain = False
        self.home: Process | None = self._context.get(_HOME)  # type: ignore[attr-defined]


class VirtualFuture(asyncio.Future[T]):
    """A future whose hash is its number: a set of them has the same order in every run."""

    def __init__(self, *, loop: VirtualLoop) -> None:
        self._number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class VirtualTask(asyncio.Task[T]):
    """A task with such a hash, and the process that it belongs to."""

    def __init__(
        self, coro: Coroutine[Any, Any, T], *, loop: VirtualLoop, name: str | None, context: Context | None
    ) -> None:
        self._number = loop.next_number()
        self.home = (context if context is not None else copy_context()).get(_HOME)
        if name is None:
            name = f"{self.home.name if self.home is not None else 'task'}/{self._number}"
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.AbstractEventLoop):
    """See the module. Use it as any loop, `run_until_complete(main())` and `close()`; or let `AppWorld` do it.

    `on_step(home)` is called after each callback, with the process that it belonged to. What it raises ends the run.
    """

    def __init__(self, seed: int = 0, *, on_step: Callable[[Process | None], None] | None = None) -> None:
        self.seed = seed
        self.now_ns = 0
        self.steps = 0
        self.on_step = on_step
        self.on_error: Callable[[str, BaseException | None], None] | None = None
        """Gets what asyncio would log: errors of callbacks, and of tasks that nobody asks."""
        self._order: Random = random_stream(seed, "order")
        self._deviation = self._order.choice(_DEVIATIONS)
        self._executor_delays = random_stream(seed, "executor")
        self._ready: deque[_Handle | _Timer] = deque()
        self._timers: list[tuple[int, int, _Timer]] = []
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
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread:
            self._refuse("call_soon_threadsafe() from another thread")
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
        timer = _Timer(when_ns / NANOSECONDS, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]  # so that the loop hears of it when it is cancelled
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
        return VirtualFuture(loop=self)

    def create_task(  # type: ignore[override]
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
        return VirtualTask(coro, loop=self, name=name, context=context)  # type: ignore[arg-type]

    def set_task_factory(self, factory: Callable[..., asyncio.Future[Any]] | None) -> None:  # type: ignore[override]
        self._task_factory = factory

    def get_task_factory(self) -> Callable[..., asyncio.Future[Any]] | None:  # type: ignore[override]
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

    def set_default_executor(self, executor: object) -> None:
        self._refuse("set_default_executor()")

    # --- running

    def run_until_complete(self, future: Any) -> Any:
        """The result of `future`, or what it raises; DeadlockError and LivelockError where it cannot end."""
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
        ready = self._ready
        if not ready:
            self._jump()
        handle = self._pick()
        if handle._cancelled:  # type: ignore[union-attr]
            return
        home = handle.home
        if home is not None and home.life is not Life.RUNNING:
            if home.life is Life.PAUSED:
                home.parked.append(handle)
            return
        self.steps += 1
        self._steps_at_once += 1
        if self._steps_at_once > MOST_STEPS_AT_ONCE:
            raise LivelockError(
                f"{MOST_STEPS_AT_ONCE} steps at {self.time():.3f} s and the time stands still; a loop that never sleeps? "
                f"The last step was {handle!r}.\n{where_tasks_wait(self)}"
            )
        if self.steps % _STEPS_BETWEEN_COLLECTIONS == 0:
            gc.collect()
        handle._run()
        if self.on_step is not None:
            self.on_step(home)

    def _pick(self) -> _Handle | _Timer:
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
        while timers and timers[0][2].cancelled():
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
            timer._scheduled = False  # type: ignore[attr-defined]
            if not timer.cancelled():
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
        """Drop everything. Coroutines that have not ended are closed, as garbage would be: nobody hears of it."""
        if self._closed:
            return
        if self.is_running():
            raise RuntimeError("a running loop cannot be closed")
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        for task in _tasks_of(self):
            _end_silently(task)
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
        self._remains += [task for task in _tasks_of(self) if task.home is process]

    # --- errors

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._closed:
            return
        message, error = str(context.get("message")), context.get("exception")
        _log.error("virtual loop: %s", message, exc_info=error)
        if self.on_error is not None:
            self.on_error(message, error)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def set_exception_handler(self, handler: object) -> None:
        self._refuse("set_exception_handler()")

    def get_exception_handler(self) -> None:
        return None

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        if enabled:
            self._refuse("asyncio's debug mode")

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

    def _refuse(self, what: str) -> NoReturn:
        raise BoundaryError(
            f"{what}: there is no such thing on virtual time. Put an object of your own in its place in the test, or "
            "test this part on a real event loop"
        )


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(self: VirtualLoop, *args: object, **options: object) -> NoReturn:
        self._refuse(f"{name}()")

    refuse.__name__ = name
    return refuse


for _name in (
    "add_reader remove_reader add_writer remove_writer sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into "
    "sock_sendall sock_sendto sock_connect sock_accept sock_sendfile create_connection create_server sendfile start_tls "
    "create_unix_connection create_unix_server connect_accepted_socket create_datagram_endpoint connect_read_pipe "
    "connect_write_pipe subprocess_shell subprocess_exec add_signal_handler remove_signal_handler getaddrinfo "
    "getnameinfo"
).split():
    setattr(VirtualLoop, _name, _refusal(_name))


def _tasks_of(loop: VirtualLoop) -> list[VirtualTask[Any]]:
    """Those that have not ended, in the order in which they began."""
    tasks = [task for task in asyncio.all_tasks(loop) if isinstance(task, VirtualTask)]
    return sorted(tasks, key=hash)


def _end_silently(task: VirtualTask[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = task.get_coro()
    for _ in range(100):  # as often as it waits for something in a `finally`
        try:
            coroutine.close()  # type: ignore[union-attr]
        except BaseException:
            continue
        return


def where_tasks_wait(loop: VirtualLoop) -> str:
    """A line for each task that has not ended: where it waits, the outermost place first."""
    lines = []
    for task in _tasks_of(loop):
        places: list[str] = []
        coroutine: Any = task.get_coro()
        while coroutine is not None and (frame := getattr(coroutine, "cr_frame", None)) is not None:
            file = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
            places.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
            coroutine = coroutine.cr_await
        lines.append(f"  {task.get_name()}: {' > '.join(places) or 'nowhere'}")
    return "\n".join(lines) or "  (no task at all)"
