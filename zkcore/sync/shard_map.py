"""The blocking face of `zkcore.recipes.shard_map`."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from zkcore.recipes.shard_map import Route, ShardState
from zkcore.recipes.shard_map import ShardMap as AsyncShardMap
from zkcore.ring.hashing import Key
from zkcore.sync.changes import Changes
from zkcore.sync.client import Client
from zkcore.sync.node import EmbeddedClient
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["ShardMap"]


@mirrors(AsyncShardMap)
class ShardMap:
    """`zkcore.ShardMap` for blocking code: brought up to date by the cluster's thread, and looked at by any.

    ::

        with zkcore.ShardMap(zk, "/shards") as shards:
            route = shards.route("user:17")
            send(route.address, request, token=route.fencing_token)
    """

    def __init__(self, client: Client, path: str, *, reconnect: Callable[[], EmbeddedClient] | None = None) -> None:
        # What reconnects later does so on the cluster's thread, where nothing may block.
        unblocked = None if reconnect is None else lambda: reconnect()._inner
        self._inner = AsyncShardMap(client.unblocked, path, reconnect=unblocked)

    @classmethod
    def of(cls, inner: AsyncShardMap) -> Self:
        """The face of one that there is."""
        face = cls.__new__(cls)
        face._inner = inner
        return face

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """Where the sharding is."""
        return self._inner.path

    @property
    def state(self) -> ShardState:
        """All there is to see, at one zxid. Raises NotStartedError."""
        return self._inner.state

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

    def partition(self, key: Key) -> int:
        return self._inner.partition(key)

    def route(self, key: Key) -> Route:
        return self._inner.route(key)

    def standbys(self, key: Key) -> tuple[str, ...]:
        return self._inner.standbys(key)

    def changes(self) -> Changes[ShardState]:
        return Changes(self._inner.changes())

    def wait_until_owned(self, *, timeout: float | None = None) -> bool:
        return run(self._inner.wait_until_owned(timeout=seconds(timeout)))
