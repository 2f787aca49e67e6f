"""A Port whose every answer the test decides, and a world without an event loop to run recipes in.

A recipe awaits nothing but its Port. So its coroutines can be driven by hand: each await shows what is asked for, and
the test answers it, loses the answer (before or after it was carried out), ends the session, or interrupts the
coroutine, as a cancellation or Ctrl-C would. The znodes are real: the requests go to a Tree in memory.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, copy_context
from random import Random
from types import TracebackType
from typing import Any, TypeVar

from zkcore.client.client import Client
from zkcore.client.port import Port, SessionState, Signal, StateListener, Watcher
from zkcore.client.watcher import WatcherTable
from zkcore.errors import (
    ConnectionLostError,
    OperationTimeoutError,
    OutcomeForgottenError,
    SessionExpiredError,
    ThrottledError,
    ZkcoreError,
)
from zkcore.replica.levels import Read, ReadLevel, Sync
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import CloseSession, CreateSession, GetChildren, Once, Request
from zkcore.tree.tree import Tree
from zkcore.tree.watches import Watches
from zkcore.zxid import Zxid

T = TypeVar("T")

TIMEOUT = 10.0
"""Of every session, in seconds."""


class Interrupted(BaseException):
    """What a cancelled coroutine sees: no Exception, so that nobody mistakes it for an answer."""


class Flag:
    """A Signal of one thread."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set


class Asking:
    """Suspended until a request is answered."""

    def __init__(self, port: ScriptedPort, op: Request[Any], watch: Watcher | None, until: float | None) -> None:
        self.port, self.op, self.watch, self.until = port, op, watch, until
        self.is_stuck = False  # no answer will come

    def __str__(self) -> str:
        return type(self.op).__name__

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self)


class Waiting:
    """Suspended until one of the signals is set, or the time is up."""

    def __init__(self, signals: tuple[Signal, ...], until: float | None) -> None:
        self.signals, self.until = signals, until

    def __str__(self) -> str:
        return "wait"

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self)


class Joining:
    """Suspended until a cleanup is done."""

    def __init__(self, cleanup: Run) -> None:
        self.cleanup = cleanup

    def __str__(self) -> str:
        return "shield"

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self)


Point = Asking | Waiting | Joining


RUNNING: ContextVar[Run] = ContextVar("running")
"""The Run whose coroutine asks."""


class Run:
    """One coroutine on its way. `at` is where it is suspended; None once it is over."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._context = copy_context()  # of its own, as every task and every thread has
        self._context.run(RUNNING.set, self)
        self.at: Point | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended = Flag()
        self.is_cancelled = False  # and will hear of it when it is its turn
        self.resume(None)

    @property
    def is_over(self) -> bool:
        return self.at is None

    def resume(self, value: Any) -> None:
        self._go(lambda: self._coroutine.send(value))

    def throw(self, error: BaseException) -> None:
        self._go(lambda: self._coroutine.throw(error))

    def _go(self, go: Callable[[], Point]) -> None:
        self.at = None
        try:
            self.at = self._context.run(go)
        except StopIteration as done:
            self.result = done.value
            self.ended.set()
        except (ZkcoreError, ValueError, Interrupted) as error:
            self.error = error
            self.ended.set()

    def outcome(self) -> Any:
        """What the coroutine returned; or raise what it raised."""
        assert self.is_over, f"it hangs at {self.at}"
        if self.error is not None:
            raise self.error
        return self.result


class ScriptedBackground:
    """A Background that is a run of its own. It begins when it is its turn, as a task does."""

    def __init__(self, world: World, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self.name = name
        self._run = world.start(self._begin(work))
        self._is_cancelled = False

    async def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        turn = Flag()
        turn.set()
        await Waiting((turn,), None)
        await work()

    @property
    def ended(self) -> Flag:
        return self._run.ended

    @property
    def error(self) -> BaseException | None:
        return None if isinstance(self._run.error, Interrupted) else self._run.error

    def cancel(self) -> None:
        if not self._is_cancelled:
            self._is_cancelled = self._run.is_cancelled = True

    async def stop(self) -> None:
        if self._run.is_over and not self.ended.is_set():
            raise RuntimeError("it would wait for its own end")
        self.cancel()
        await Joining(self._run)


class ScriptedGuard:
    """Cancels the run that entered it once `lost` is set, when it is its turn, as a task is cancelled."""

    def __init__(self, world: World, lost: Signal) -> None:
        self._world = world
        self._lost = lost
        self._run: Run | None = None
        self._has_fired = False

    def __enter__(self) -> None:
        self._run = RUNNING.get()
        self._world.guards.append(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        assert self._run is not None
        self._world.guards.remove(self)
        if self._has_fired:
            self._run.is_cancelled = False
        return self._has_fired and isinstance(error, Interrupted)

    def look(self, run: Run) -> None:
        """It is the turn of `run`."""
        if run is self._run and self._lost.is_set() and not self._has_fired:
            self._has_fired = run.is_cancelled = True


class ScriptedSession:
    """What `Port.session` shows."""

    def __init__(self, world: World, number: int) -> None:
        self.id = number
        self.state = SessionState.CONNECTED
        self.timeout = TIMEOUT
        self.lost = Flag()
        self.alive_until = world.time + 1e6
        self._world = world

    @property
    def last_zxid(self) -> Zxid:
        return self._world.tree.last_zxid


class ScriptedPort:
    """A Port of the world; see the module."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.rng = Random(number)
        self.session = ScriptedSession(world, number)
        self.watchers = WatcherTable()
        self.listeners: list[StateListener] = []

    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        if self.session.lost.is_set():
            raise SessionExpiredError("the session is lost")
        result: T = await Asking(self, op, watch, None if timeout is None else self._world.time + timeout)
        return result

    def unwatch(self, path: str, watch: Watcher | None) -> None:
        if watch is None:
            self.watchers.remove_all(path)
        else:
            self.watchers.remove(path, watch)

    def listen(self, listener: StateListener) -> None:
        self.listeners.append(listener)

    def unlisten(self, listener: StateListener) -> None:
        self.listeners = [each for each in self.listeners if each != listener]

    async def wait(self, *signals: Signal, timeout: float | None = None) -> Signal | None:
        found: Signal | None = await Waiting(signals, None if timeout is None else self._world.time + timeout)
        return found

    def signal(self) -> Flag:
        return Flag()

    def guard(self, lost: Signal) -> AbstractContextManager[None]:
        return ScriptedGuard(self._world, lost) if self._world.cancels else nullcontext()

    def caller(self) -> object:
        return RUNNING.get()

    def now(self) -> float:
        return self._world.time

    def wall(self) -> float:
        return self._world.time

    async def shield(self, cleanup: Callable[[Port], Coroutine[Any, Any, T]]) -> T:
        run = self._world.start(cleanup(self))
        await Joining(run)
        result: T = run.outcome()
        return result

    async def tidy_up(self, cleanup: Callable[[Port], Coroutine[Any, Any, None]]) -> None:
        await Joining(self._world.start(cleanup(self)))

    def spawn(self, work: Callable[[Port], Coroutine[Any, Any, None]], *, name: str) -> ScriptedBackground:
        if self.session.lost.is_set():
            raise SessionExpiredError("the session is lost")
        return ScriptedBackground(self._world, lambda: work(self), name)


Script = Callable[[Run, Point], str | None]
"""What shall happen to a coroutine at a point: None, or one of

- lost before, lost after: the answer is lost, before or after the request was carried out;
- forgotten before, forgotten after: the same, and of one that is carried out once nobody remembers what became of it;
- stuck before, stuck after: the answer is lost, and nobody says so;
- throttled: the request is refused for now, and not carried out;
- interrupted before, interrupted after: the coroutine is cancelled;
- expired: the session ends.
"""


made: list[World] = []
"""The world of this test, or of the last that had one: a coroutine must not be left to the garbage collector."""


@atexit.register
def tidy() -> None:
    """End the last world."""
    while made:
        made.pop().end()


class World:
    """Znodes, time, and the coroutines that are on their way."""

    def __init__(self) -> None:
        tidy()
        made.append(self)
        self.time = 1000.0
        self.tree = Tree()
        self.asked: list[tuple[int, Request[Any]]] = []
        self.script: Script = lambda run, point: None
        self.runs: list[Run] = []
        self.guards: list[ScriptedGuard] = []
        self.cancels = False  # whether guards do, as those of tasks, or cannot, as those of threads
        self._preparer = Preparer(self.tree)
        self._watches = Watches()
        self._ports: dict[int, ScriptedPort] = {}
        self._zxid = 1 << 32

    # --- clients

    def client(self) -> Client:
        """A client with a session of its own."""
        number = len(self._ports) + 1
        self._ports[number] = ScriptedPort(self, number)
        self.do(number, CreateSession(int(TIMEOUT * 1000)))
        return Client(self._ports[number])

    def do(self, session: int, op: Request[T]) -> T:
        """Carry a request out, and tell who watches."""
        if isinstance(op, Sync):
            return self.tree.last_zxid  # type: ignore[return-value]
        if not op.writes:
            return self._watches.read(self.tree, op, session=session)
        self._zxid += 1
        payload = self._preparer.prepare(self._zxid, int(self.time * 1000), session, 1, op)
        applied = self.tree.apply(self._zxid, payload)
        for watching, event in self._watches.trigger(applied):
            self._ports[watching].watchers.fire(event)
        return self.tree.result(op, applied)

    def expire(self, client: Client) -> None:
        """The ensemble ends the session, and its client hears of it."""
        port = self._ports[client.session_id]
        self.do(port.session.id, CloseSession())
        port.session.lost.set()
        self._watches.drop_session(client.session_id)
        port.watchers.fire_all()
        self.tell(client, SessionState.LOST)

    def tell(self, client: Client, state: SessionState) -> None:
        """The session of `client` is in another state."""
        port = self._ports[client.session_id]
        port.session.state = state
        for listener in port.listeners:
            listener(state)

    def children(self, path: str) -> list[str]:
        return list(self.tree.read(GetChildren(path)))

    # --- coroutines

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Run:
        """A coroutine begins; it has come to its first await."""
        run = Run(coroutine)
        self.runs.append(run)
        return run

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine returns or raises, when everything has gone as far as it can."""
        run = self.start(coroutine)
        self.settle()
        return run.outcome()

    def settle(self) -> None:
        """Let every coroutine go as far as it can while no time passes."""
        moved = True
        while moved:
            moved = False
            for run in list(self.runs):
                moved = self.step(run) or moved
        self.runs = [run for run in self.runs if not run.is_over]

    def step_any(self, rng: Random) -> bool:
        """Let one coroutine, drawn by chance, go to its next await; False where none can while no time passes."""
        return any(self.step(run) for run in rng.sample(self.runs, len(self.runs)))

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.settle()

    def step(self, run: Run) -> bool:
        """Let one coroutine go to its next await, if it can."""
        for guard in self.guards:
            guard.look(run)
        point = run.at
        if point is not None and run.is_cancelled:
            run.is_cancelled = False
            run.throw(Interrupted())
            return True
        if point is None or not self._is_ready(point):
            return False
        if isinstance(point, Asking) and point.is_stuck:
            run.throw(OperationTimeoutError("no answer in time"))
            return True
        action = self.script(run, point)
        if action == "interrupted before":
            run.throw(Interrupted())
        elif isinstance(point, Asking):
            self._answer(run, point, action)
        elif isinstance(point, Waiting):
            run.resume(next((signal for signal in point.signals if signal.is_set()), None))
        else:
            run.resume(None)
        return True

    def _is_ready(self, point: Point) -> bool:
        if isinstance(point, Asking):
            return not point.is_stuck or (point.until is not None and point.until <= self.time)
        if isinstance(point, Waiting):
            due = point.until is not None and point.until <= self.time
            return due or any(signal.is_set() for signal in point.signals)
        return point.cleanup.ended.is_set()

    def end(self) -> None:
        """Cancel whatever still waits: a coroutine must not be left to the garbage collector."""
        self.script = lambda run, point: None
        while waiting := [run for run in self.runs if isinstance(run.at, Asking | Waiting)]:
            self.interrupt(waiting[0])

    def interrupt(self, run: Run) -> None:
        """Cancel a coroutine where it is suspended."""
        run.throw(Interrupted())
        self.settle()

    def _answer(self, run: Run, point: Asking, action: str | None) -> None:
        port, op = point.port, point.op
        client = Client(port)
        if port.session.lost.is_set():
            run.throw(SessionExpiredError("the session is lost"))
            return
        if action == "expired":
            self.expire(client)
            run.throw(SessionExpiredError("the session is lost"))
            return
        error: BaseException | None = None
        result: Any = None
        if action == "throttled":
            run.throw(ThrottledError())
            return
        if action not in ("lost before", "forgotten before", "stuck before"):
            self.asked.append((port.session.id, op))
            try:
                result = self.do(port.session.id, op)
            except ZkcoreError as refused:
                error = refused
        if action in ("stuck before", "stuck after"):
            point.is_stuck = True
            run.at = point
            return
        if action in ("forgotten before", "forgotten after") and isinstance(op, Once):
            error = OutcomeForgottenError("nobody remembers")
        elif action in ("lost before", "lost after", "forgotten before", "forgotten after"):
            error = ConnectionLostError("the answer was lost")
        elif action == "interrupted after":
            error = Interrupted()
        elif error is None and point.watch is not None:
            port.watchers.add(op, point.watch, result)
        if error is not None:
            run.throw(error)
        else:
            run.resume(result)
