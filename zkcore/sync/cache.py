"""The blocking face of `zkcore.recipes.cache`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

from zkcore.recipes.cache import Cache as AsyncCache
from zkcore.recipes.cache import CacheChange, CacheView
from zkcore.sync.changes import Changes
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run, seconds
from zkcore.tree.requests import NodeData
from zkcore.zxid import Zxid

__all__ = ["Cache"]


@mirrors(AsyncCache)
class Cache(Mapping[str, NodeData]):
    """`zkcore.Cache` for blocking code: brought up to date by the cluster's thread, and looked at by any.

    ::

        with zkcore.Cache(zk, "/config") as cache:
            print(cache["/config/limits"].data, len(cache))
            for change in cache.changes():
                print(change.created, change.deleted)

    To look several times at one state, take its `view`.
    """

    def __init__(self, client: Client, path: str, *, missing_ok: bool = False) -> None:
        self._inner = AsyncCache(client.unblocked, path, missing_ok=missing_ok)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """What is cached, with all below it."""
        return self._inner.path

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

    @property
    def view(self) -> CacheView:
        """What it shows now, to look at several times. Raises NotStartedError, as all that looks."""
        return self._inner.view

    @property
    def zxid(self) -> Zxid:
        """The transaction after which the tree was what is shown."""
        return self._inner.zxid

    @property
    def is_live(self) -> bool:
        """Whether it is brought up to date."""
        return self._inner.is_live

    @property
    def age(self) -> float:
        """Seconds since the session was last known to live: what has happened since may be missing."""
        return self._inner.age

    def __getitem__(self, path: str) -> NodeData:
        return self._inner[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)

    def sync(self) -> Zxid:
        return run(self._inner.sync())

    def wait_for(self, predicate: Callable[[CacheView], object], *, timeout: float | None = None) -> bool:
        return run(self._inner.wait_for(predicate, timeout=seconds(timeout)))

    def changes(self) -> Changes[CacheChange]:
        return Changes(self._inner.changes())
