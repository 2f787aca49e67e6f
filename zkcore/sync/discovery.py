"""The blocking face of `zkcore.recipes.discovery`."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from zkcore.recipes.choosing import Choice, Instance
from zkcore.recipes.discovery import Discovery as AsyncDiscovery
from zkcore.recipes.discovery import Using
from zkcore.ring.hashing import Key
from zkcore.sync.changes import Changes
from zkcore.sync.client import Client
from zkcore.sync.node import EmbeddedClient
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Discovery"]


@mirrors(AsyncDiscovery)
class Discovery:
    """`zkcore.Discovery` for blocking code: brought up to date by the cluster's thread, and looked at by any.

    ::

        with zkcore.Discovery(zk, "/services/web", reconnect=cluster.client) as web:
            instance = web.choose()                             # from local memory
            with web.using() as instance:                       # it counts as under way until the end
                ask(instance.address)
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        by: Choice = Choice.ROUND_ROBIN,
        factor: float = 1.25,
        reconnect: Callable[[], EmbeddedClient] | None = None,
    ) -> None:
        # What reconnects later does so on the cluster's thread, where nothing may block.
        unblocked = None if reconnect is None else lambda: reconnect()._inner
        self._inner = AsyncDiscovery(client.unblocked, path, by=by, factor=factor, reconnect=unblocked)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """Where the instances are."""
        return self._inner.path

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All there are, in the order of their names, also those that are not up. Raises NotStartedError."""
        return self._inner.instances

    @property
    def is_live(self) -> bool:
        """Whether it is brought up to date, as soon as somebody answers."""
        return self._inner.is_live

    @property
    def age(self) -> float:
        """All that had happened so many seconds ago is in what is shown. Raises NotStartedError."""
        return self._inner.age

    def start(self) -> Self:
        run(self._inner.start())
        return self

    def close(self) -> None:
        run(self._inner.close())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def choose(self, key: Key | None = None) -> Instance:
        return self._inner.choose(key)

    def using(self, key: Key | None = None) -> Using:
        return self._inner.using(key)

    def changes(self) -> Changes[tuple[Instance, ...]]:
        return Changes(self._inner.changes())

    def wait_for(self, count: int = 1, *, timeout: float | None = None) -> bool:
        return run(self._inner.wait_for(count, timeout=seconds(timeout)))
