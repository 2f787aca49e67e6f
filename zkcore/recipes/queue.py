"""The queue: first in, first out, each item to one consumer.

Items are sequential znodes below `<path>/items`. To put is one transaction, which for a bounded queue is refused where
there is no room; to take is one transaction, which is refused where the item was taken before. Both are carried out
once however often they must be sent, so an answer that is lost neither doubles an item nor loses one.

An item can be taken in two ways. `get` deletes it: at most once. `claim` puts an ephemeral znode of the item's name
below `<path>/claims`, and deletes both when the work is done: at least once. Where the claimant gives up or its session
ends the claim goes, and the item is there for the next, where it stood.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigMismatchError,
    ItemTooLargeError,
    LeaseLostError,
    MultiError,
    NodeExistsError,
    NoNodeError,
    QueueEmptyError,
    QueueFullError,
    SessionError,
)
from zkcore.recipes.codec import Codec, bytes_codec, from_bytes, to_bytes
from zkcore.recipes.contender import made_at, remove_made
from zkcore.recipes.lease import Lease
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask, ask_once, nonce, once, wait_until
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import (
    CheckAbsent,
    CheckStat,
    Condition,
    Create,
    CreateIfAbsent,
    CreateWithParents,
    Delete,
    Exists,
    GetChildren,
    GetData,
    ListChildren,
    Multi,
    Relation,
    Request,
    StatField,
)
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Claim", "Claiming", "Queue"]

T = TypeVar("T")
A = TypeVar("A")

Attempt: TypeAlias = Callable[[Port, str, Zxid, Patience], Awaitable[A | None]]
"""What tries to take the item of a name, created at a zxid; None where it was too late."""

MAX_ITEM = MAX_DATA - 1024
"""Bytes of one item, or of several that are put at once: the request has to fit."""

_PAGE = 64
"""So many of the first items are looked at, until one is found that is free."""


class _Item(NamedTuple):
    """An item in the queue, and the zxid at which it was put there."""

    name: str
    czxid: Zxid
    data: bytes


class Queue(Generic[T]):
    """A queue at `path`, a znode that is created where it is missing, with the manners of `asyncio.Queue`.

    ::

        queue = zkcore.Queue(zk, "/jobs", maxsize=100, codec=zkcore.json_codec)
        await queue.put({"job": 7})
        async with queue.claim() as claim:      # comes back to the queue where this fails
            await work(claim.item)
        item = await queue.get()                # gone from the queue at once

    Making one does no I/O. `maxsize` is how many items there may be, those that are claimed included; 0 is no limit.
    All who put must have made it with the same one (ConfigMismatchError). `codec` turns items into bytes.

    Guaranteed: items are given out in the order in which they were put, each to one consumer; one that was claimed and
    not acknowledged comes before those put after it. A queue holds thousands of items well, and is no place for
    millions: every replica has all of them in memory.
    """

    def __init__(self, client: Client, path: str, *, maxsize: int = 0, codec: Codec[T] = bytes_codec) -> None:  # type: ignore[assignment]
        validate(path)
        if path == "/":
            raise BadArgumentsError("a queue needs a path of its own, not the root")
        if maxsize < 0:
            raise BadArgumentsError(f"a maxsize of {maxsize}; give 0 for no limit")
        self.path = path
        self.maxsize = maxsize
        self._client = client
        self._codec = codec
        self._items = f"{path}/items"
        self._claims = f"{path}/claims"
        self._is_there = False

    def __repr__(self) -> str:
        return f"<Queue {self.path} maxsize={self.maxsize}>"

    # --- putting

    async def put(self, item: T, *, timeout: float | None = None) -> None:
        """Add an item, waiting for room. Raises QueueFullError where there was none within `timeout` seconds,
        OutcomeUnknownError where nobody answered in time, CodecError, ItemTooLargeError, ConfigMismatchError, and
        SessionExpiredError or SessionClosedError.

        Where it is cancelled, the item may have been put.
        """
        await self.put_many([item], timeout=timeout)

    async def put_many(self, items: Iterable[T], *, timeout: float | None = None) -> None:
        """Add several items in one transaction: all of them, one behind the other, or none. Raises what `put` does."""
        data = [to_bytes(self._codec, item, where=self.path) for item in items]
        if sum(map(len, data)) + 100 * len(data) > MAX_ITEM:
            raise ItemTooLargeError(
                f"{self.path}: {sum(map(len, data))} bytes in {len(data)} items are more than fit into one request; "
                "put fewer at once, or store the data elsewhere and put its address"
            )
        if 0 < self.maxsize < len(data):
            raise BadArgumentsError(f"{len(data)} items never fit at once into {self!r}; put fewer at once")
        port = self._client.port
        patience = Patience(port, timeout)
        await self._ensure(port, patience)
        room = Condition(StatField.NUM_CHILDREN, Relation.AT_MOST, self.maxsize - len(data))
        put: Multi = Multi(
            [
                *([CheckStat(self._items, [room])] if self.maxsize else []),
                *(
                    Create(f"{self._items}/i-", each, acl=DEFAULT_ACL, mode=CreateMode.PERSISTENT_SEQUENTIAL)
                    for each in data
                ),
            ]
        )
        watch = Watch(port)
        try:
            while not await self._try_to_put(port, put, patience):
                names = await watch.ask(GetChildren(self._items, watch=True), patience)
                if len(names) + len(data) > self.maxsize and not await watch.changed(patience):
                    raise QueueFullError(f"{self.path} holds {len(names)} items, and had no room in time")
                watch.end()
        finally:
            watch.end()

    async def put_nowait(self, item: T) -> None:
        """Add an item without waiting for room. Raises what `put` does."""
        await self.put(item, timeout=0)

    # --- taking

    async def get(self, *, timeout: float | None = None) -> T:
        """Take the first item out of the queue, waiting for one. Raises QueueEmptyError where there was none within
        `timeout` seconds, CodecError (the item is gone then), and SessionExpiredError or SessionClosedError.

        Where it is cancelled, the item stays, or comes back to where it stood. Where this process or its session ends
        in the midst of it, an item may be gone that nobody got; `claim` never loses one.
        """
        port = self._client.port
        patience = Patience(port, timeout)
        found = await self._take(port, patience, self._try_to_get)
        if found is None:
            raise QueueEmptyError(f"{self.path} had no item to give in time")
        return from_bytes(self._codec, found.data, where=self.path)

    async def get_nowait(self) -> T:
        """Take the first item without waiting. Raises what `get` does."""
        return await self.get(timeout=0)

    def claim(self, *, timeout: float | None = None) -> Claiming[T]:
        """The first item that nobody has claimed, as a context manager that gives a Claim. Its end deletes the item;
        where the body raises, the item goes back, and where the claim was lost before, it has. Entering it raises what
        `get` does; where the item cannot be decoded it goes back."""
        return Claiming(self, timeout)

    # --- looking

    async def qsize(self) -> int:
        """How many items there are, those that are claimed included: as of the replica that serves this client."""
        stat = await ask(self._client.port, Exists(self._items), FOR_EVER)
        return 0 if stat is None else stat.num_children

    async def empty(self) -> bool:
        """Whether there are no items, claimed ones included."""
        return await self.qsize() == 0

    async def full(self) -> bool:
        """Whether there is no room."""
        return 0 < self.maxsize <= await self.qsize()

    async def join(self, *, timeout: float | None = None) -> bool:
        """Wait until all items are taken, and what was claimed is done; False where they were not within `timeout`
        seconds."""
        port = self._client.port
        patience = Patience(port, timeout)
        await self._ensure(port, patience, check=False)
        return await wait_until(port, GetChildren(self._items, watch=True), lambda items: not items, patience)

    # --- within

    async def _ensure(self, port: Port, patience: Patience, *, check: bool = True) -> None:
        """See that the znodes of the queue are there and say what this object does."""
        if self._is_there:
            return
        while True:
            try:
                data, _ = await ask(port, GetData(self.path), patience)
                break
            except NoNodeError:
                pass
            try:
                said = f"queue {self.maxsize}".encode()
                await ask(port, CreateWithParents(self.path, said, acl=DEFAULT_ACL), patience)
            except NodeExistsError:
                continue
        word, _, number = data.decode(errors="replace").partition(" ")
        if word != "queue" or not (number.isascii() and number.isdigit()):
            raise ConfigMismatchError(f"{self.path} holds {data[:40]!r}, so it is no queue; choose another path")
        if check and int(number) != self.maxsize:
            raise ConfigMismatchError(
                f"the queue {self.path} has a maxsize of {number}, not {self.maxsize}; give all who put the same"
            )
        folders = [CreateIfAbsent(path, acl=DEFAULT_ACL) for path in (self._items, self._claims)]
        await ask(port, Multi(folders), patience)
        self._is_there = check

    async def _try_to_put(self, port: Port, put: Multi, patience: Patience) -> bool:
        try:
            await ask_once(port, put, patience)
        except MultiError as error:
            if isinstance(error.error, BadVersionError):
                return False
            raise error.error from None
        return True

    async def _take(self, port: Port, patience: Patience, attempt: Attempt[A]) -> A | None:
        """What `attempt` makes of the first item for which it makes anything; None where patience ran out first."""
        await self._ensure(port, patience, check=False)
        watch = Watch(port)
        try:
            while True:
                taken = await self._take_first(port, patience, attempt)
                if taken is not None:
                    return taken
                items = await watch.ask(GetChildren(self._items, watch=True), patience)
                claims = await watch.ask(GetChildren(self._claims, watch=True), patience)
                if set(items) <= set(claims) and not await watch.changed(patience):
                    return None
                watch.end()
        finally:
            watch.end()

    async def _take_first(self, port: Port, patience: Patience, attempt: Attempt[A]) -> A | None:
        after: str | None = ""
        while after is not None:
            page = await ask(port, ListChildren(self._items, after=after, limit=_PAGE, with_stat=True), patience)
            claimed = set(await ask(port, GetChildren(self._claims), patience))
            for name, stat, _ in page.children:
                if name not in claimed and stat is not None:
                    taken = await attempt(port, name, stat.czxid, patience)
                    if taken is not None:
                        return taken
            after = page.after
        return None

    async def _try_to_get(self, port: Port, name: str, czxid: Zxid, patience: Patience) -> _Item | None:
        """The item, deleted; None where somebody else has it, or had it."""
        path = f"{self._items}/{name}"
        try:
            data, stat = await ask(port, GetData(path), patience)
        except NoNodeError:
            return None
        if stat.czxid != czxid:
            return None
        item = _Item(name, czxid, data)
        request = once(port, Multi([CheckAbsent(f"{self._claims}/{name}"), made_at(path, czxid), Delete(path)]))
        try:
            await ask(port, request, patience)
            return item
        except MultiError:
            return None
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except BaseException:
            await port.tidy_up(lambda port: self._put_back(port, item, request))
            raise

    async def _put_back(self, port: Port, item: _Item, deletion: Request[Any]) -> None:
        """Undo a `get` that was interrupted: who waited for the item does not get it."""
        path = f"{self._items}/{item.name}"
        try:
            if await ask(port, Exists(path), FOR_EVER) is None:
                await ask(port, deletion, FOR_EVER)  # of an item that is gone: it says whether it was this one's doing
                await ask_once(port, Create(path, item.data, acl=DEFAULT_ACL), FOR_EVER)
        except (MultiError, SessionError):
            pass  # it was somebody else; or there is nobody any more who could


class Claim(Generic[T]):
    """One item that was claimed: nobody else gets it while `lease` is held.

    Made by `Queue.claim`, whose end acknowledges it. `item` may have been given out before, where an earlier claimant
    failed: after it did its work, perhaps, and before it could say so.
    """

    def __init__(self, queue: Queue[T], item: T, name: str, lease: Lease) -> None:
        self._queue = queue
        self._name = name
        self.item = item
        """What was put."""
        self.lease = lease
        """How long the claim is held; its fencing token is higher than that of every earlier claim of the same item."""

    def __repr__(self) -> str:
        return f"<Claim of {self._name} {self.lease!r}>"

    async def ack(self) -> None:
        """The work is done: delete the item. Raises LeaseLostError where the claim was lost, or given up: then somebody
        else may have got it. Cancelling it does not stop it."""
        lease = self.lease
        if lease.released:
            lease.check()
        lease.end()
        await self._queue._client.port.shield(self._ack)

    async def release(self) -> None:
        """Give the item back, to be the first again. Doing it twice, or after `ack`, does nothing."""
        await self.lease.release()

    async def _ack(self, port: Port) -> None:
        queue, lease = self._queue, self.lease
        deletions = [Delete(lease.path), Delete(f"{queue._items}/{self._name}")]
        try:
            await ask_once(port, Multi([made_at(lease.path, lease.fencing_token), *deletions]), FOR_EVER)
        except (MultiError, SessionError) as error:
            raise LeaseLostError(
                f"the claim {lease.path} was lost before it was acknowledged; somebody else gets the item, "
                "and will do the work again"
            ) from error


class Claiming(Generic[T]):
    """A claim as a context manager that gives a Claim; see `Queue.claim`. It is entered once. The body is cancelled
    when the claim is lost, and the `with` ends in LeaseLostError, as that of a lock."""

    def __init__(self, queue: Queue[T], timeout: float | None) -> None:
        self._queue = queue
        self._timeout = timeout
        self._claim: Claim[T] | None = None
        self._guard: AbstractContextManager[None] = nullcontext()

    async def __aenter__(self) -> Claim[T]:
        queue = self._queue
        port = queue._client.port
        claim = await queue._take(port, Patience(port, self._timeout), self._try_to_claim)
        if claim is None:
            raise QueueEmptyError(f"{queue.path} had no item to give in time")
        self._claim = claim
        self._guard = port.guard(claim.lease.lost)
        self._guard.__enter__()
        return claim

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        claim = self._claim
        assert claim is not None
        was_cancelled_by_us = self._guard.__exit__(kind, error, trace)
        if error is None and not claim.lease.released:
            await claim.ack()
        else:
            was_lost = claim.lease.is_lost()
            await claim.release()
            if was_lost and was_cancelled_by_us:
                raise claim.lease.loss() from None

    async def _try_to_claim(self, port: Port, name: str, czxid: Zxid, patience: Patience) -> Claim[T] | None:
        """The claim; None where somebody else has the item, or had it."""
        queue, mine = self._queue, nonce(port).encode()
        path = f"{queue._claims}/{name}"
        create = Create(path, mine, acl=DEFAULT_ACL, mode=CreateMode.EPHEMERAL)
        try:
            answer = await ask_once(port, Multi([made_at(f"{queue._items}/{name}", czxid), create]), patience)
            created: Any = answer[-1]
            data, _ = await ask(port, GetData(f"{queue._items}/{name}"), patience)
            item = from_bytes(queue._codec, data, where=queue.path)
        except MultiError:
            return None
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes the claim
        except BaseException:
            await port.tidy_up(lambda port: _unclaim(port, path, mine))
            raise
        return Claim(queue, item, name, Lease(port, path, created.stat.czxid, self._give_back))

    async def _give_back(self, lease: Lease) -> None:
        lease.end()
        await self._queue._client.port.shield(lambda port: remove_made(port, lease.path, lease.fencing_token))


async def _unclaim(port: Port, path: str, mine: bytes) -> None:
    """Remove a claim, if it came to be."""
    try:
        data, stat = await ask(port, GetData(path), FOR_EVER)
        if data == mine:
            await remove_made(port, path, stat.czxid)
    except (NoNodeError, SessionError):
        pass
