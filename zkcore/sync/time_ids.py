"""The blocking face of `zkcore.recipes.time_ids`."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from zkcore.recipes.time_ids import TimeId
from zkcore.recipes.time_ids import TimeIdGenerator as AsyncTimeIdGenerator
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run

__all__ = ["TimeIdGenerator"]


@mirrors(AsyncTimeIdGenerator)
class TimeIdGenerator:
    """`zkcore.TimeIdGenerator` for blocking code. Several threads may use one.

    ::

        with zkcore.TimeIdGenerator(zk, "/ids/events") as ids:
            event = ids.next()
    """

    def __init__(self, client: Client, path: str) -> None:
        self._inner = AsyncTimeIdGenerator(client.unblocked, path)
        self._turn = threading.Lock()  # between two awaits a task is alone, and a thread is not

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode below which the workers have their numbers."""
        return self._inner.path

    @property
    def lease(self) -> Lease | None:
        """How long the number of the worker is held; None before the start and after the end."""
        inner = self._inner.lease
        return None if inner is None else Lease(inner)

    @property
    def worker(self) -> int:
        """The number of the worker. Raises NotStartedError."""
        return self._inner.worker

    def start(self) -> Self:
        with self._turn:
            run(self._inner.start())
        return self

    def close(self) -> None:
        with self._turn:
            run(self._inner.close())

    def next(self) -> int:
        with self._turn:
            return run(self._inner.next())

    @staticmethod
    def parts(id: int) -> TimeId:
        return AsyncTimeIdGenerator.parts(id)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
