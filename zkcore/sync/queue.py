"""The blocking face of `zkcore.recipes.queue`."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Generic, TypeVar

from zkcore.recipes.codec import Codec, bytes_codec
from zkcore.recipes.queue import Claim as AsyncClaim
from zkcore.recipes.queue import Claiming as AsyncClaiming
from zkcore.recipes.queue import Queue as AsyncQueue
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Claim", "Claiming", "Queue"]

T = TypeVar("T")


@mirrors(AsyncQueue)
class Queue(Generic[T]):
    """`zkcore.Queue` for blocking code, with the signatures of `queue.Queue`. Several threads may use one.

    ::

        queue = zkcore.Queue(zk, "/jobs", maxsize=100, codec=zkcore.json_codec)
        queue.put({"job": 7})
        with queue.claim() as claim:      # comes back to the queue where this fails
            work(claim.item)
        item = queue.get()                # gone from the queue at once
    """

    def __init__(self, client: Client, path: str, *, maxsize: int = 0, codec: Codec[T] = bytes_codec) -> None:  # type: ignore[assignment]
        self._inner = AsyncQueue(client.unblocked, path, maxsize=maxsize, codec=codec)

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

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        run(self._inner.put(item, timeout=seconds(timeout) if block else 0))

    def put_many(self, items: Iterable[T], block: bool = True, timeout: float | None = None) -> None:
        run(self._inner.put_many(items, timeout=seconds(timeout) if block else 0))

    def put_nowait(self, item: T) -> None:
        run(self._inner.put_nowait(item))

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        return run(self._inner.get(timeout=seconds(timeout) if block else 0))

    def get_nowait(self) -> T:
        return run(self._inner.get_nowait())

    def claim(self, block: bool = True, timeout: float | None = None) -> Claiming[T]:
        return Claiming(self._inner.claim(timeout=seconds(timeout) if block else 0))

    def qsize(self) -> int:
        return run(self._inner.qsize())

    def empty(self) -> bool:
        return run(self._inner.empty())

    def full(self) -> bool:
        return run(self._inner.full())

    def join(self, *, timeout: float | None = None) -> bool:
        return run(self._inner.join(timeout=seconds(timeout)))


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

    def ack(self) -> None:
        run(self._inner.ack())

    def release(self) -> None:
        run(self._inner.release())


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
