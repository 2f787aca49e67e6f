"""The blocking faces of `zkcore.recipes.queue` and `zkcore.recipes.claiming`."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Generic, TypeVar

from zkcore.recipes.claiming import Claim as AsyncClaim
from zkcore.recipes.claiming import Claiming as AsyncClaiming
from zkcore.recipes.codec import Codec, bytes_codec
from zkcore.recipes.dead_letters import DeadLetter
from zkcore.recipes.queue import DEFAULT_PRIORITY
from zkcore.recipes.queue import PriorityQueue as AsyncPriorityQueue
from zkcore.recipes.queue import Queue as AsyncQueue
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Claim", "Claiming", "PriorityQueue", "Queue"]

T = TypeVar("T")


@mirrors(AsyncQueue)
class _Shared(Generic[T]):
    """What both queues have."""

    _inner: AsyncQueue[T] | AsyncPriorityQueue[T]

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode below which the items are."""
        return self._inner.path

    @property
    def maxsize(self) -> int:
        """How many items there may be; 0 is no limit."""
        return self._inner.maxsize

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        return run(self._inner.get(timeout=_patience(block, timeout)))

    def get_nowait(self) -> T:
        return run(self._inner.get_nowait())

    def claim(
        self, block: bool = True, timeout: float | None = None, *, visibility_timeout: float | None = None
    ) -> Claiming[T]:
        patience = _patience(block, timeout)
        return Claiming(self._inner.claim(timeout=patience, visibility_timeout=visibility_timeout))

    def task_done(self) -> None:
        run(self._inner.task_done())

    def qsize(self) -> int:
        return run(self._inner.qsize())

    def empty(self) -> bool:
        return run(self._inner.empty())

    def full(self) -> bool:
        return run(self._inner.full())

    def join(self, *, timeout: float | None = None) -> bool:
        return run(self._inner.join(timeout=seconds(timeout)))

    def shutdown(self, immediate: bool = False) -> None:
        run(self._inner.shutdown(immediate))

    def dead_letters(self) -> tuple[DeadLetter[T], ...]:
        return run(self._inner.dead_letters())

    def requeue(self, letter: DeadLetter[T], *, timeout: float | None = None) -> None:
        run(self._inner.requeue(letter, timeout=seconds(timeout)))

    def discard(self, letter: DeadLetter[T]) -> None:
        run(self._inner.discard(letter))


@mirrors(AsyncQueue)
class Queue(_Shared[T]):
    """`zkcore.Queue` for blocking code, with the signatures of `queue.Queue`. Several threads may use one.

    ::

        queue = zkcore.Queue(zk, "/jobs", maxsize=100, codec=zkcore.json_codec)
        queue.put({"job": 7})
        with queue.claim() as claim:      # comes back to the queue where this fails
            work(claim.item)
        item = queue.get()                # gone from the queue at once
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        maxsize: int = 0,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
        max_deliveries: int | None = None,
    ) -> None:
        inner = AsyncQueue(client.unblocked, path, maxsize=maxsize, codec=codec, max_deliveries=max_deliveries)
        self._inner: AsyncQueue[T] = inner

    def put(self, item: T, block: bool = True, timeout: float | None = None, *, delay: float = 0) -> None:
        run(self._inner.put(item, timeout=_patience(block, timeout), delay=delay))

    def put_many(
        self, items: Iterable[T], block: bool = True, timeout: float | None = None, *, delay: float = 0
    ) -> None:
        run(self._inner.put_many(items, timeout=_patience(block, timeout), delay=delay))

    def put_nowait(self, item: T) -> None:
        run(self._inner.put_nowait(item))


@mirrors(AsyncPriorityQueue)
class PriorityQueue(_Shared[T]):
    """`zkcore.PriorityQueue` for blocking code. Several threads may use one.

    ::

        queue = zkcore.PriorityQueue(zk, "/jobs", codec=zkcore.text_codec)
        queue.put("clean up")
        queue.put("put out the fire", priority=1)
        assert queue.get() == "put out the fire"
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        maxsize: int = 0,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
        max_deliveries: int | None = None,
    ) -> None:
        inner = AsyncPriorityQueue(client.unblocked, path, maxsize=maxsize, codec=codec, max_deliveries=max_deliveries)
        self._inner: AsyncPriorityQueue[T] = inner

    def put(
        self,
        item: T,
        block: bool = True,
        timeout: float | None = None,
        *,
        priority: int = DEFAULT_PRIORITY,
        delay: float = 0,
    ) -> None:
        run(self._inner.put(item, priority=priority, timeout=_patience(block, timeout), delay=delay))

    def put_many(
        self,
        items: Iterable[T],
        block: bool = True,
        timeout: float | None = None,
        *,
        priority: int = DEFAULT_PRIORITY,
        delay: float = 0,
    ) -> None:
        run(self._inner.put_many(items, priority=priority, timeout=_patience(block, timeout), delay=delay))

    def put_nowait(self, item: T, *, priority: int = DEFAULT_PRIORITY) -> None:
        run(self._inner.put_nowait(item, priority=priority))


@mirrors(AsyncClaim)
class Claim(Generic[T]):
    """`zkcore.Claim` for blocking code."""

    def __init__(self, inner: AsyncClaim[T]) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def item(self) -> T:
        """What was put."""
        return self._inner.item

    @property
    def lease(self) -> Lease:
        """How long the claim is held; its fencing token is higher than that of every earlier claim of the same item."""
        return Lease(self._inner.lease)

    @property
    def deliveries(self) -> int:
        """How often the item was claimed, this time included."""
        return self._inner.deliveries

    def progress(self) -> None:
        self._inner.progress()

    def ack(self) -> None:
        run(self._inner.ack())

    def release(self, *, delay: float = 0) -> None:
        run(self._inner.release(delay=delay))


class Claiming(Generic[T]):
    """A claim as a context manager that gives a Claim; see `Queue.claim`. It is entered once."""

    def __init__(self, inner: AsyncClaiming[T]) -> None:
        self._inner = inner

    def __enter__(self) -> Claim[T]:
        return Claim(run(self._inner.__aenter__()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._inner.__aexit__(kind, error, trace))


def _patience(block: bool, timeout: float | None) -> float | None:
    """The timeout of a call that waits only if it is to block."""
    return seconds(timeout) if block else 0
