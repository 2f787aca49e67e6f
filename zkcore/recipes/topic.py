"""The topic: messages to everybody who subscribes, each of whom gets all of them in one order.

Below the path of a topic there are two znodes.

- `messages`: a znode for each message that is kept, in the order of the transactions that published them. To publish is
  one transaction, which also writes `messages` anew: so a subscriber watches one znode, and reads only what is newer
  than what it has.
- `dropped`: the zxid of the newest message that is kept no longer.

A subscriber is nobody's concern but its own: it is a place in that order, known by a zxid, and keeps nothing in the
tree. So a slow one holds nobody up. What was dropped before it came to it, it is told of (MessagesMissedError): the
messages of a topic are numbered without gaps, and where it begins from a zxid `dropped` tells.

This module must not know what messages mean, nor who subscribes.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, NamedTuple, Self, TypeVar

from attrs import frozen

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    ConfigMismatchError,
    ItemTooLargeError,
    MessagesMissedError,
    MultiError,
    NoNodeError,
    OutcomeUnknownError,
    SessionError,
)
from zkcore.recipes.codec import Codec, bytes_codec, from_bytes, to_bytes
from zkcore.recipes.contender import made_at
from zkcore.recipes.stored import unchanged
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask, ask_once, get_or_create
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import (
    Create,
    CreateIfAbsent,
    Delete,
    Exists,
    GetData,
    ListChildren,
    Multi,
    Request,
    SetData,
)
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid, format_zxid

__all__ = ["Published", "Subscription", "Topic"]

T = TypeVar("T")

_MARK = "m-"
_PAGE = 64
"""So many messages are read with one request."""

_DROPPED_AT_ONCE = 100

_LOOKS_EVERY = 8
"""A publisher sees to what is kept after that part of the history."""


@frozen
class Published(Generic[T]):
    """A message of a topic, as every subscriber gets it."""

    item: T
    """What was published."""
    zxid: Zxid
    """The transaction that published it: messages come in that order, and a subscriber that has dealt with this one
    goes on from here (`Topic.subscribe`)."""


class _Raw(NamedTuple):
    number: int
    zxid: Zxid
    data: bytes


class Topic(Generic[T]):
    """A topic at `path`; what is above is created where it is missing.

    ::

        topic = zkcore.Topic(zk, "/topics/prices", codec=zkcore.json_codec)
        await topic.publish({"bread": 3})
        async for message in await topic.subscribe():              # what is published from now on
            print(message.item, message.zxid)
        async for message in await topic.subscribe(since=zxid):    # and what was published since then

    Making one does no I/O. `history` is how many messages are kept, for subscribers that are slow, or were away; a few
    more may be for a while. All must have made it with the same one (ConfigMismatchError). `codec` turns messages into
    bytes. All that is kept is in the memory of every replica.

    Guaranteed: a message is published once, however often that must be asked for; every subscriber gets every message
    from where it began, once and in the order of their zxids, or is told with MessagesMissedError that there are some
    that it cannot get any more.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
        history: int = 1000,
    ) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("a topic needs a path of its own, not the root")
        if not 1 <= history <= 100_000:
            raise BadArgumentsError(f"a history of {history} messages; keep between 1 and 100000")
        self.path = path
        self.history = history
        self._client = client
        self._codec = codec
        self._messages = f"{path}/messages"
        self._dropped = f"{path}/dropped"
        self._is_there = False
        self._has_published = False

    def __repr__(self) -> str:
        return f"<Topic {self.path} history={self.history}>"

    async def publish(self, item: T, *, timeout: float | None = None) -> Zxid:
        """Publish a message; the transaction that did it.

        Raises CodecError, ItemTooLargeError, ConfigMismatchError, OutcomeUnknownError where nobody answered within
        `timeout` seconds, and SessionExpiredError or SessionClosedError. Where it is cancelled, the message may have
        been published.
        """
        port = self._client.port
        patience = Patience(port, timeout)
        data = to_bytes(self._codec, item, where=self.path)
        if len(data) + 3 * len(self.path.encode()) + 500 > MAX_DATA:
            raise ItemTooLargeError(
                f"{self.path}: a message of {len(data)} bytes is more than fits into one request; store the data "
                "elsewhere and publish its address"
            )
        await self._ensure(port, patience)
        create = Create(f"{self._messages}/{_MARK}", data, acl=DEFAULT_ACL, mode=CreateMode.PERSISTENT_SEQUENTIAL)
        try:
            answer = await ask_once(port, Multi([create, SetData(self._messages, b"")]), patience)
        except MultiError as error:
            raise error.error from None
        created: Any = answer[0]
        number = _number(created.path.rpartition("/")[2])
        if not self._has_published or number % max(self.history // _LOOKS_EVERY, 1) == 0:
            await self._drop(port, patience)
        self._has_published = True
        return created.stat.czxid  # type: ignore[no-any-return]

    async def subscribe(self, *, since: Zxid | None = None) -> Subscription[T]:
        """An iterator over what is published from now on; with `since` over what was published after that
        transaction, as far as it is kept, and from now on. 0 is from the beginning.

        What was published just before may be among what is given out, where the replica that serves this client has
        not heard of it yet. Raises ConfigMismatchError, BadArgumentsError, and SessionExpiredError or
        SessionClosedError.
        """
        if since is not None and (not isinstance(since, int) or isinstance(since, bool) or since < 0):
            raise BadArgumentsError(f"since {since!r}; give the zxid of a message, or 0 for all that is kept")
        port = self._client.port
        await self._ensure(port, FOR_EVER)
        if since is None:
            stat = await ask(port, Exists(self._messages), FOR_EVER)
            since = 0 if stat is None else stat.mzxid
        return Subscription(port, self.path, self._codec, since)

    # --- within

    async def _ensure(self, port: Port, patience: Patience) -> None:
        """See that the znodes of the topic are there and say what this object does."""
        if self._is_there:
            return
        data, _ = await get_or_create(port, self.path, f"topic {self.history}".encode(), patience)
        word, _, number = data.decode(errors="replace").partition(" ")
        if word != "topic" or not (number.isascii() and number.isdigit()):
            raise ConfigMismatchError(f"{self.path} holds {data[:40]!r}, so it is no topic; choose another path")
        if int(number) != self.history:
            raise ConfigMismatchError(
                f"the topic {self.path} has a history of {number}, not {self.history}; give all who use it the same"
            )
        for path in (self._messages, self._dropped):
            await ask(port, CreateIfAbsent(path, b"0", acl=DEFAULT_ACL), patience)
        self._is_there = True

    async def _drop(self, port: Port, patience: Patience) -> None:
        """Delete what is beyond the history, the oldest first. What goes wrong is left to the next who publishes: the
        message is published."""
        try:
            while await self._drop_some(port, patience):
                pass
        except (OutcomeUnknownError, SessionError, NoNodeError):
            pass

    async def _drop_some(self, port: Port, patience: Patience) -> bool:
        """Whether there may be more of it."""
        _, mark = await ask(port, GetData(self._dropped), patience)
        listing = ListChildren(self._messages, prefix=_MARK, limit=_DROPPED_AT_ONCE, with_stat=True)
        page = await ask(port, listing, patience)
        excess = page.children[: max(page.stat.num_children - self.history, 0)]
        stats = [child.stat for child in excess if child.stat is not None]
        if not stats:
            return False
        newest = max(stat.czxid for stat in stats)
        changes: list[Request[Any]] = [unchanged(self._dropped, mark.mzxid), SetData(self._dropped, b"%d" % newest)]
        for child, stat in zip(excess, stats, strict=True):
            path = f"{self._messages}/{child.name}"
            changes += [made_at(path, stat.czxid), Delete(path)]
        try:
            await ask(port, Multi(changes), patience)
        except MultiError:
            return False  # somebody else does it
        return len(excess) == len(page.children)


class Subscription(Generic[T]):
    """An asynchronous iterator over the messages of a topic, made by `Topic.subscribe`. It has no end but `aclose`; the
    end of the session is raised as SessionExpiredError or SessionClosedError.

    Where messages were dropped before it came to them it raises MessagesMissedError, once, and one that cannot be
    decoded as CodecError, once: the iteration can go on behind either. One task at a time may wait for the next
    message.
    """

    def __init__(self, port: Port, path: str, codec: Codec[T], since: Zxid) -> None:
        self._port = port
        self._path = path
        self._codec = codec
        self._watch = Watch(port)
        self._read: deque[_Raw] = deque()
        self._seen = since  # nothing up to there is wanted any more
        self._number: int | None = None  # that of the message read last
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Subscription to {self._path} at {format_zxid(self.zxid)}>"

    @property
    def zxid(self) -> Zxid:
        """How far it has come: of the message given out last, where another subscription can go on."""
        return self._seen

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Published[T]:
        watch = self._watch
        try:
            while not self._is_closed:
                if self._read:
                    return self._take(self._read.popleft())
                stat = await watch.ask(Exists(f"{self._path}/messages", watch=True), FOR_EVER)
                if stat is None or stat.mzxid > self._seen:  # else nothing was published since
                    await self._fetch()
                if not self._read and not self._is_closed:
                    await watch.changed(FOR_EVER)
        finally:
            watch.end()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End it; whoever waits for the next message is told so."""
        self._is_closed = True
        self._watch.wake()

    def _take(self, raw: _Raw) -> Published[T]:
        self._seen = raw.zxid
        return Published(from_bytes(self._codec, raw.data, where=f"{self._path} at {format_zxid(raw.zxid)}"), raw.zxid)

    async def _fetch(self) -> None:
        """Read what comes next. Raises MessagesMissedError, once, where something before it is gone. Where it is
        interrupted, nothing was read."""
        missed = None
        while missed is None:
            read, number = await self._read_on()
            if not read:
                self._number = number
                return
            missed = await self._missed_between(number, read[0])
        self._read.extend(read)
        self._number = read[-1].number
        if missed:
            raise MessagesMissedError(
                f"{self._path}: messages before {format_zxid(read[0].zxid)} were dropped before this subscriber came "
                "to them; ask for the next to go on behind them, and keep a longer history or be quicker"
            )

    async def _read_on(self) -> tuple[list[_Raw], int | None]:
        """The first messages behind the place where it is, up to a gap, and the number of the one before them that is
        kept. An Apache ZooKeeper reads each by itself, so that one that was listed may be gone when it is read."""
        read: list[_Raw] = []
        number = self._number
        after: str | None = "" if number is None else f"{_MARK}{number:010d}"
        while after is not None and not read:
            listing = ListChildren(
                f"{self._path}/messages", after=after, prefix=_MARK, limit=_PAGE, with_stat=True, with_data=True
            )
            page = await ask(self._port, listing, FOR_EVER)
            for name, stat, data in page.children:
                if stat is None:
                    continue
                if read and _number(name) != read[-1].number + 1:
                    return read, number
                if stat.czxid > self._seen:
                    read.append(_Raw(_number(name), stat.czxid, data or b""))
                else:
                    number = _number(name)
            after = page.after
        return read, number

    async def _missed_between(self, number: int | None, first: _Raw) -> int | None:
        """How many are gone that came before `first`, and after the one of that number, or where there is none after
        the place where it began. None where that cannot be told, since `first` itself is gone by now."""
        if number is not None:
            return first.number - number - 1
        data, _ = await ask(self._port, GetData(f"{self._path}/dropped"), FOR_EVER)
        dropped = int(data)
        return None if dropped >= first.zxid else int(dropped > self._seen)


def _number(name: str) -> int:
    return int(name.removeprefix(_MARK))
