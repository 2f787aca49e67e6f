"""The blocking face of `zkcore.recipes.ids`."""

from __future__ import annotations

from zkcore.recipes.counter import HIGHEST
from zkcore.recipes.ids import IdGenerator as AsyncIdGenerator
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run

__all__ = ["IdGenerator"]


@mirrors(AsyncIdGenerator)
class IdGenerator:
    """`zkcore.IdGenerator` for blocking code. Several threads may use one.

    ::

        ids = zkcore.IdGenerator(zk, "/ids/orders", block=1000)
        order = ids.next()
    """

    def __init__(
        self, client: Client, path: str, *, block: int = 1000, start: int = 0, last: int = HIGHEST - 1
    ) -> None:
        self._inner = AsyncIdGenerator(client.unblocked, path, block=block, start=start, last=last)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode that holds the next id that nobody has reserved."""
        return self._inner.path

    def next(self) -> int:
        return run(self._inner.next())

    def next_block(self, count: int) -> range:
        return run(self._inner.next_block(count))
