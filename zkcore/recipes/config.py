"""The config: one value that everybody shares, whose every change has a version, is checked before it is made, and can
be taken back.

The value is the data of a znode, as bytes that other tools can read. A change is one transaction: it replaces the value
if it is still of the version that was read, keeps the old one as a child, and drops the oldest child there is no more
room for. It is carried out once however often it must be sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import frozen

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    InvalidValueError,
    ItemTooLargeError,
    NoNodeError,
    OutcomeUnknownError,
)
from zkcore.recipes.changes import Changes
from zkcore.recipes.codec import Codec, bytes_codec, from_bytes, to_bytes
from zkcore.recipes.stored import Raw, Stored
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import Create, Delete, Exists, GetChildren, GetData, Request
from zkcore.zxid import Zxid

__all__ = ["Config", "Versioned"]

T = TypeVar("T")

_OLD = "old-"


@frozen
class Versioned(Generic[T]):
    """A value of a config."""

    value: T
    version: int
    """Counts the changes, from 0."""
    zxid: Zxid
    """The transaction that made it: for all configs of an ensemble one number that only grows."""


class Config(Generic[T]):
    """A value at `path`; what is above is created where it is missing.

    ::

        config = zkcore.Config(zk, "/config/limits", codec=zkcore.json_codec, validate=check_limits)
        await config.set({"rate": 10})
        await config.update(lambda limits: {**limits, "rate": limits["rate"] * 2})
        async for now in config.watch():
            print(now)

    Making one does no I/O. `validate` is called with every value before it is sent, also with one that is taken back,
    and raises what is wrong with it. `history` is how many values of the past are kept.

    Guaranteed: versions count up by one; of several changes made at once none is lost, and none is made twice.
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
        self._stored = Stored(client, path, what="a config")
        if not 0 <= history <= 1000:
            raise BadArgumentsError(f"a history of {history} values; keep between 0 and 1000")
        self.path = path
        self._client = client
        self._codec = codec
        self._validate = validate
        self._history = history

    def __repr__(self) -> str:
        return f"<Config {self.path}>"

    # --- reading

    async def get(self) -> Versioned[T]:
        """The value: as of the replica that serves this client, and a moment ago. Raises NoNodeError where nothing was
        set, and CodecError."""
        return self._shown(await self._read())

    async def history(self) -> tuple[Versioned[T], ...]:
        """The values of the past that are kept, the oldest first, and the present one. Where the value changes while
        they are read, the present one is that of the call, and of the others those are missing that were dropped
        meanwhile, the oldest. Raises NoNodeError and CodecError."""
        return tuple([self._shown(each) for each in await self._read_all()])

    def watch(self) -> Changes[Versioned[T] | None]:
        """An iterator: first the present value, then the newest whenever there is a newer one, and None while there is
        none. A value that cannot be decoded is raised as CodecError, once; the iteration can go on behind it."""
        return Changes(self._client.port, self._look, lambda raw: None if raw is None else self._shown(raw))

    async def wait_for(
        self, predicate: Callable[[T], object], *, timeout: float | None = None
    ) -> Versioned[T] | None:
        """Wait until the value is one of which `predicate` is true; None where it was not within `timeout` seconds. A
        value that came and went quickly may not have been looked at."""
        patience = Patience(self._client.port, timeout)
        watch = Watch(self._client.port)
        try:
            while True:
                raw = await self._look(watch, patience)
                if raw is not None:
                    shown = self._shown(raw)
                    if predicate(shown.value):
                        return shown
                if not await watch.changed(patience):
                    return None
        except OutcomeUnknownError:
            return None  # nobody answered in time
        finally:
            watch.end()

    # --- writing

    async def set(self, value: T, *, version: int | None = None) -> Versioned[T]:
        """Replace the value, or set the first one; what it came to be. With a `version` only if it still is of that.

        Raises BadVersionError (it has another version), NoNodeError (a version was given, and nothing was set),
        InvalidValueError, CodecError, ItemTooLargeError, and SessionExpiredError or SessionClosedError. Where it ends
        in OutcomeUnknownError, or is cancelled, it may have been set.
        """
        data = self._checked(value)
        while True:
            try:
                old = await self._read()
            except NoNodeError:
                if version is not None:
                    raise
                if (made := await self._stored.replace(None, data)) is not None:
                    return self._shown(made)
                continue
            if version is not None and version != old.version:
                raise BadVersionError(
                    f"{self.path} has version {old.version}, not {version}; read it again, or use `update`",
                    path=self.path,
                )
            if (made := await self._try_to_replace(old, data)) is not None:
                return self._shown(made)

    async def update(self, change: Callable[[T], T]) -> Versioned[T]:
        """Replace the value by what `change` makes of it; what it came to be. Where somebody else changes it meanwhile,
        `change` is called again with what they made of it.

        Raises what `set` does, NoNodeError where nothing was set, and what `change` raises.
        """
        while True:
            old = await self._read()
            data = self._checked(change(self._shown(old).value))
            if (made := await self._try_to_replace(old, data)) is not None:
                return self._shown(made)

    async def rollback(self, version: int) -> Versioned[T]:
        """Set again what the value of `version` was, as a new version; what it came to be. Raises what `set` does, and
        NoNodeError where that version is not kept."""
        for raw in await self._read_all():
            if raw.version == version:
                return await self.set(self._shown(raw).value)
        raise NoNodeError(
            f"{self.path}: version {version} is not kept; `history()` tells which ones are", path=self.path
        )

    # --- within

    def _shown(self, raw: Raw) -> Versioned[T]:
        return Versioned(from_bytes(self._codec, raw.data, where=self.path), raw.version, raw.zxid)

    def _checked(self, value: T) -> bytes:
        if self._validate is not None:
            try:
                self._validate(value)
            except Exception as error:
                raise InvalidValueError(f"{self.path}: the value is not valid: {error}; nothing was set") from error
        return to_bytes(self._codec, value, where=self.path)

    async def _read(self) -> Raw:
        raw = await self._stored.read()
        if raw is None:
            raise NoNodeError(path=self.path)
        return raw

    async def _read_all(self) -> list[Raw]:
        """The present value, and those before it that are kept, the oldest first; without gaps, however quickly the
        value changes. What is kept is dropped from the oldest on, so behind one that is gone there is nothing left."""
        port = self._client.port
        found = [await self._read()]
        for name in reversed(await self._kept(port)):
            _, version, zxid = name.split("-")
            if int(zxid, 16) >= found[0].zxid:
                continue  # the present value is an old one by now, or there is a newer one
            try:
                data, _ = await ask(port, GetData(f"{self.path}/{name}"), FOR_EVER)
            except NoNodeError:
                break
            found.append(Raw(data, int(version), int(zxid, 16)))
        return found[::-1]

    async def _kept(self, port: Port) -> list[str]:
        names = await ask(port, GetChildren(self.path), FOR_EVER)
        return sorted(name for name in names if name.startswith(_OLD))

    async def _look(self, watch: Watch, patience: Patience = FOR_EVER) -> Raw | None:
        while True:
            try:
                data, stat = await watch.ask(GetData(self.path, watch=True), patience)
                return Raw(data, stat.version, stat.mzxid)
            except NoNodeError:
                if await watch.ask(Exists(self.path, watch=True), patience) is None:
                    return None

    async def _try_to_replace(self, old: Raw, data: bytes) -> Raw | None:
        """The value as it came to be; None where it was no longer `old`."""
        if not self._history:
            return await self._stored.replace(old, data)
        name = f"{_OLD}{old.version:010d}-{old.zxid:016x}"
        keep: list[Request[object]] = [Create(f"{self.path}/{name}", old.data, acl=DEFAULT_ACL)]
        kept = await self._kept(self._client.port)
        keep += [Delete(f"{self.path}/{each}") for each in kept[: max(len(kept) + 1 - self._history, 0)]]
        if len(data) + len(old.data) + 200 * (1 + len(keep)) > MAX_DATA:
            raise ItemTooLargeError(
                f"{self.path}: {len(data)} bytes, with the old value that is kept, are more than fit into one request; "
                "store the data elsewhere and its address here, or keep no history"
            )
        return await self._stored.replace(old, data, also=keep)
