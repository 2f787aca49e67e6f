"""The blocking Port, and how a coroutine is run on it.

A recipe is a coroutine that awaits nothing but its Port. The methods of this Port block the calling thread instead of
suspending, so such a coroutine runs from its beginning to its end in one `send(None)`: plain calls on the caller's
thread, with no second implementation and no thread for each call. What it blocks on happens on the event loop of the
cluster's own thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import Any, TypeVar

from zkcore.client.async_port import NOT_HERE, AsyncPort
from zkcore.client.port import Background, Port, Session, Signal, StateListener, Watcher
from zkcore.errors import SessionClosedError
from zkcore.forks import Process
from zkcore.replica.levels import Read, ReadLevel
from zkcore.tree.requests import Request

__all__ = ["BlockingPort", "LoopThread", "mirrors", "run", "seconds"]

T = TypeVar("T")
C = TypeVar("C", bound=type)


def mirrors(source: type) -> Callable[[C], C]:
    """Class decorator for a blocking face: its methods have the docstrings of their namesakes in `source`."""

    def take_docs(face: C) -> C:
        for name, member in vars(face).items():
            if not name.startswith("_") and not member.__doc__ and hasattr(source, name):
                member.__doc__ = getattr(source, name).__doc__
        return face

    return take_docs


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that awaits nothing but a BlockingPort."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine suspended in blocking code; it awaited something that is not a blocking Port")


def seconds(timeout: float | None) -> float | None:
    """The timeout of blocking code, where -1 means for ever as it does in `threading`."""
    return None if timeout == -1 else timeout


class LoopThread:
    """An event loop on a thread of its own. `call` runs a coroutine there and waits for it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._process = Process()
        self._open = True
        self._opening = threading.Lock()  # nothing is put on the loop once it is to stop
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T], *, goes_on: bool = False) -> T:
        """The result of `coroutine`. Interrupting the wait (Ctrl-C) cancels it, unless it `goes_on`. Raises
        SessionClosedError where the loop was stopped, RuntimeError where it is the loop's own thread that calls: it
        would wait for itself; ForkedError in a process that was forked since: the thread is not there."""
        if not self._process.is_here:
            coroutine.close()
            self._process.check()
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError(
                "a blocking call from the thread of the event loop would wait for itself; hand it to another thread"
            )
        with self._opening:
            if not self._open:
                coroutine.close()
                raise SessionClosedError("the cluster is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise SessionClosedError("the cluster was closed") from None
        except BaseException:
            if not goes_on:
                future.cancel()
            raise

    def do(self, action: Callable[[], T]) -> T:
        """The result of a plain function, called on the loop."""

        async def act() -> T:
            return action()

        return self.call(act())

    @property
    def is_here(self) -> bool:
        """Whether the thread belongs to this process, and not to one that this was forked from."""
        return self._process.is_here

    def stop(self) -> None:
        """Cancel what still runs and end the thread."""
        with self._opening:
            if not self._open:
                return
            self._open = False
            ended = asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop)
        ended.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _cancel_all(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class BlockingBackground:
    """A Background (`zkcore.client.port`) as blocking code has it: its `stop` blocks."""

    def __init__(self, inner: Background, thread: LoopThread) -> None:
        self._inner = inner
        self._thread = thread

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def ended(self) -> Signal:
        return self._inner.ended

    @property
    def error(self) -> BaseException | None:
        return self._inner.error

    def cancel(self) -> None:
        self._inner.cancel()

    async def stop(self) -> None:
        """Blocks until it has ended."""
        if not self._inner.ended.is_set():
            self._thread.call(self._inner.stop())


class BlockingPort:
    """A Port (`zkcore.client.port`) whose coroutines complete without suspending, over the asyncio Port `inner`."""

    def __init__(self, inner: AsyncPort, thread: LoopThread) -> None:
        self._inner = inner
        self._thread = thread
        self._interrupted = 0  # calls whose request may still be on its way to the event loop
        self._overtaken = 0  # so many of them have surely arrived

    @property
    def rng(self) -> Random:
        return self._inner.rng

    @property
    def session(self) -> Session:
        return self._inner.session

    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        """Blocks until the answer is there. `watch` is called on the cluster's thread. A read that has to wait for
        nothing is answered on the calling thread."""
        interrupted = self._interrupted
        if not op.writes and (read is Read.LOCAL or interrupted == self._overtaken):
            answer = self._inner.read_here(op, watch=watch, read=read)
            if answer is not NOT_HERE:
                return answer
        try:
            return self._thread.call(self._inner.request(op, watch=watch, timeout=timeout, read=read))
        except Exception:
            raise
        except BaseException:
            self._interrupted += 1
            raise
        finally:
            self._overtaken = max(self._overtaken, interrupted)  # what was on its way before us was there before us

    async def authenticate(self, scheme: str, credentials: bytes) -> None:
        self._thread.call(self._inner.authenticate(scheme, credentials))

    def unwatch(self, path: str, watch: Watcher | None) -> None:
        self._thread.do(lambda: self._inner.unwatch(path, watch))

    def listen(self, listener: StateListener) -> None:
        """`listener` is called on the cluster's thread."""
        self._thread.do(lambda: self._inner.listen(listener))

    def unlisten(self, listener: StateListener) -> None:
        self._thread.do(lambda: self._inner.unlisten(listener))

    async def wait(self, *signals: Signal, timeout: float | None = None) -> Signal | None:
        """Blocks until one of the signals is set, or `timeout` seconds have passed."""
        for signal in signals:
            if signal.is_set():
                return signal
        return self._thread.call(self._inner.wait(*signals, timeout=timeout))

    def signal(self) -> Signal:
        return self._inner.signal()

    def guard(self, lost: Signal) -> AbstractContextManager[None]:
        return nullcontext()

    def caller(self) -> object:
        return threading.current_thread()

    def now(self) -> float:
        return self._inner.now()

    def wall(self) -> float:
        return self._inner.wall()

    async def shield(self, cleanup: Callable[[Port], Coroutine[Any, Any, T]]) -> T:
        """`cleanup` runs on the cluster's thread: what interrupts the caller does not stop it."""
        return self._thread.call(self._inner.shield(cleanup), goes_on=True)

    async def tidy_up(self, cleanup: Callable[[Port], Coroutine[Any, Any, None]]) -> None:
        """As `shield`, and not waited for while the session is suspended."""
        self._thread.call(self._inner.tidy_up(cleanup), goes_on=True)

    def spawn(self, work: Callable[[Port], Coroutine[Any, Any, None]], *, name: str) -> BlockingBackground:
        """`work` runs on the cluster's thread, over the asyncio Port."""
        return BlockingBackground(self._thread.do(lambda: self._inner.spawn(work, name=name)), self._thread)
