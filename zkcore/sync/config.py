"""The blocking face of `zkcore.recipes.config`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from zkcore.recipes.codec import Codec, bytes_codec
from zkcore.recipes.config import Config as AsyncConfig
from zkcore.recipes.config import Versioned
from zkcore.sync.changes import Changes
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Config"]

T = TypeVar("T")


@mirrors(AsyncConfig)
class Config(Generic[T]):
    """`zkcore.Config` for blocking code. Several threads may use one.

    ::

        config = zkcore.Config(zk, "/config/limits", codec=zkcore.json_codec, validate=check_limits)
        config.set({"rate": 10})
        config.update(lambda limits: {**limits, "rate": limits["rate"] * 2})
        for now in config.watch():
            print(now)
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
        validate: Callable[[T], object] | None = None,
        history: int = 10,
    ) -> None:
        self._inner = AsyncConfig(client.unblocked, path, codec=codec, validate=validate, history=history)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode that holds the value."""
        return self._inner.path

    def get(self) -> Versioned[T]:
        return run(self._inner.get())

    def history(self) -> tuple[Versioned[T], ...]:
        return run(self._inner.history())

    def watch(self) -> Changes[Versioned[T] | None]:
        return Changes(self._inner.watch())

    def wait_for(self, predicate: Callable[[T], object], *, timeout: float | None = None) -> Versioned[T] | None:
        return run(self._inner.wait_for(predicate, timeout=seconds(timeout)))

    def set(self, value: T, *, version: int | None = None) -> Versioned[T]:
        return run(self._inner.set(value, version=version))

    def update(self, change: Callable[[T], T]) -> Versioned[T]:
        return run(self._inner.update(change))

    def rollback(self, version: int) -> Versioned[T]:
        return run(self._inner.rollback(version))
