"""The blocking face of `zkcore.recipes.event`."""

from __future__ import annotations

from zkcore.recipes.event import Event as AsyncEvent
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Event"]


@mirrors(AsyncEvent)
class Event:
    """`zkcore.Event` for blocking code, with the signatures of `threading.Event`. Several threads may use one."""

    def __init__(self, client: Client, path: str) -> None:
        self._inner = AsyncEvent(client.unblocked, path)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode that is there while the event is set."""
        return self._inner.path

    def set(self) -> None:
        run(self._inner.set())

    def clear(self) -> None:
        run(self._inner.clear())

    def is_set(self) -> bool:
        return run(self._inner.is_set())

    def wait(self, timeout: float | None = None) -> bool:
        return run(self._inner.wait(seconds(timeout)))
