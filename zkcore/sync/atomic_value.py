"""The blocking face of `zkcore.recipes.atomic_value`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from zkcore.recipes.atomic_value import AtomicValue as AsyncAtomicValue
from zkcore.recipes.codec import Codec, bytes_codec
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run

__all__ = ["AtomicValue"]

T = TypeVar("T")


@mirrors(AsyncAtomicValue)
class AtomicValue(Generic[T]):
    """`zkcore.AtomicValue` for blocking code. Several threads may use one.

    ::

        cursor = zkcore.AtomicValue(zk, "/import/cursor", initial=0, codec=zkcore.json_codec)
        cursor.update(lambda now: max(now, 17))
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        initial: T,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
    ) -> None:
        self._inner = AsyncAtomicValue(client.unblocked, path, initial=initial, codec=codec)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode that holds the value."""
        return self._inner.path

    def get(self) -> T:
        return run(self._inner.get())

    def set(self, value: T) -> None:
        run(self._inner.set(value))

    def compare_and_set(self, expected: T, value: T) -> bool:
        return run(self._inner.compare_and_set(expected, value))

    def update(self, change: Callable[[T], T]) -> T:
        return run(self._inner.update(change))
