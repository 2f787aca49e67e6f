"""The atomic value: one value that several processes compute from what it was.

It is the simplest of what is shared: no versions to look at, no history, one small transaction for each change. A value
that people set, that must be checked and can be taken back, and that others watch, is a `Config`; both stand on the
same ground (`stored.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from zkcore.client.client import Client
from zkcore.recipes.codec import Codec, bytes_codec, from_bytes, to_bytes
from zkcore.recipes.stored import Raw, Stored
from zkcore.recipes.waiting import back_off

__all__ = ["AtomicValue"]

T = TypeVar("T")


class AtomicValue(Generic[T]):
    """A value at `path`, which is `initial` until it is set; what is above is created where it is missing.

    ::

        cursor = zkcore.AtomicValue(zk, "/import/cursor", initial=0, codec=zkcore.json_codec)
        await cursor.update(lambda now: max(now, 17))
        if await cursor.compare_and_set(17, 18): ...

    Making one does no I/O.

    Guaranteed: of several changes made at once none is lost, and none is made twice. Where one of them ends in
    OutcomeUnknownError, or is cancelled, it was made once or not at all.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        initial: T,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
    ) -> None:
        self.path = path
        self._client = client
        self._stored = Stored(client, path, what="an atomic value")
        self._initial = initial
        self._codec = codec

    def __repr__(self) -> str:
        return f"<AtomicValue {self.path}>"

    async def get(self) -> T:
        """The value: as of the replica that serves this client, and a moment ago. Raises CodecError."""
        return self._shown(await self._stored.read())

    async def set(self, value: T) -> None:
        """Replace the value, whatever it is, also one that cannot be decoded. Raises CodecError, ItemTooLargeError,
        OutcomeUnknownError, and SessionExpiredError or SessionClosedError."""
        data = to_bytes(self._codec, value, where=self.path)
        conflicts = 0
        while True:
            old = await self._stored.read()
            if await self._stored.replace(old, data) is not None:
                return
            conflicts += 1
            await back_off(self._client.port, conflicts)

    async def compare_and_set(self, expected: T, value: T) -> bool:
        """Replace the value if it equals `expected`; whether it did. Raises what `set` does."""
        data = to_bytes(self._codec, value, where=self.path)
        conflicts = 0
        while True:
            old = await self._stored.read()
            if self._shown(old) != expected:
                return False
            if await self._stored.replace(old, data) is not None:
                return True
            conflicts += 1
            await back_off(self._client.port, conflicts)

    async def update(self, change: Callable[[T], T]) -> T:
        """Replace the value by what `change` makes of it; what it came to be. Where somebody else changes it meanwhile,
        `change` is called again with what they made of it. Raises what `set` does, and what `change` raises."""
        conflicts = 0
        while True:
            old = await self._stored.read()
            value = change(self._shown(old))
            if await self._stored.replace(old, to_bytes(self._codec, value, where=self.path)) is not None:
                return value
            conflicts += 1
            await back_off(self._client.port, conflicts)

    def _shown(self, raw: Raw | None) -> T:
        return self._initial if raw is None else from_bytes(self._codec, raw.data, where=self.path)
