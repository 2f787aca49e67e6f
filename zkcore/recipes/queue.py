"""The queue: each item to one consumer, first in, first out, or the lowest priority first.

To put is one transaction, which for a bounded queue is refused where there is no room; to take is one transaction,
which is refused where the item was taken before. Both are carried out once however often they must be sent, so an
answer that is lost neither doubles an item nor loses one.

An item can be taken in two ways. `get` deletes it: at most once. `claim` has it belong to a worker until the work is
done (`claiming.py`): at least once. How items are kept, delayed and looked for says `stock.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    ItemTooLargeError,
    MultiError,
    NoNodeError,
    OutcomeForgottenError,
    OutcomeUnknownError,
    QueueEmptyError,
    SessionError,
)
from zkcore.recipes.claiming import Claiming, claimed_here
from zkcore.recipes.codec import Codec, bytes_codec, from_bytes, to_bytes
from zkcore.recipes.dead_letters import DeadLetter, dead_letters, discard, requeue
from zkcore.recipes.places import PLAIN, check_delay, prioritized
from zkcore.recipes.stock import Found, Stock, has_raced
from zkcore.recipes.waiting import FOR_EVER, Patience, ask, ask_once, once
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.requests import Create, Delete, Exists, GetData, Multi, Request

__all__ = ["PriorityQueue", "Queue"]

T = TypeVar("T")

DEFAULT_PRIORITY = 100
"""As in kazoo."""


class _Shared(Generic[T]):
    """What all kinds of queue have, which differ in the places of their items."""

    kind: ClassVar[str]

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        maxsize: int = 0,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
        max_deliveries: int | None = None,
    ) -> None:
        self._stock = Stock(client, path, self.kind, maxsize=maxsize, max_deliveries=max_deliveries)
        self.path = path
        self.maxsize = maxsize
        self._client = client
        self._codec = codec

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} maxsize={self.maxsize}>"

    async def _put(self, items: Iterable[T], place: str, delay: float, timeout: float | None) -> None:
        check_delay(delay)
        stock, port = self._stock, self._client.port
        data = [to_bytes(self._codec, item, where=self.path) for item in items]
        if sum(map(len, data)) + (100 + len(self.path)) * len(data) > stock.most_bytes:
            raise ItemTooLargeError(
                f"{self.path}: {sum(map(len, data))} bytes in {len(data)} items are more than fit into one request; "
                "put fewer at once, or store the data elsewhere and put its address"
            )
        if 0 < self.maxsize < len(data):
            raise BadArgumentsError(f"{len(data)} items never fit at once into {self!r}; put fewer at once")
        creations = [stock.creation(port, place, each, delay) for each in data]
        await stock.put(port, creations, Patience(port, timeout))

    # --- taking

    async def get(self, *, timeout: float | None = None) -> T:
        """Take the first item out of the queue, waiting for one. Raises QueueEmptyError where there was none within
        `timeout` seconds, QueueShutDownError where there will be none, CodecError for one that cannot be decoded (it is
        among the `dead_letters` then), and SessionExpiredError or SessionClosedError.

        Where it is cancelled, the item stays, or comes back to where it stood. Where this process or its session ends
        in the midst of it, an item may be gone that nobody got; `claim` never loses one.
        """
        port = self._client.port
        got = await self._stock.take(port, Patience(port, timeout), self._try_to_get)
        if got is None:
            raise QueueEmptyError(f"{self.path} had no item to give in time")
        return got[0]

    async def get_nowait(self) -> T:
        """Take the first item without waiting. Raises what `get` does."""
        return await self.get(timeout=0)

    def claim(self, *, timeout: float | None = None, visibility_timeout: float | None = None) -> Claiming[T]:
        """The first item that nobody has claimed, as a context manager that gives a Claim. Its end deletes the item;
        where the body raises, the item goes back, and where the claim was lost before, it has. Entering it raises what
        `get` does; where the item cannot be decoded it goes back.

        The claim lasts as long as the session. With a `visibility_timeout`, in seconds, it also ends when its worker
        hangs: when `Claim.progress` was not called for so long another may take the item over, and one who waits for an
        item has done so after two and a half times as long. Others time it on their own clocks, from when they first
        see it, and an object remembers that from one call to the next: use one for all of them. The worker knows before
        any of them: its lease is lost, and its body cancelled. Raises BadArgumentsError.
        """
        return Claiming(self._stock, self._codec, timeout=timeout, visibility_timeout=visibility_timeout)

    async def task_done(self) -> None:
        """Acknowledge the claim in whose body this task or thread is, for those used to the standard library: as
        `Claim.ack`, and as the end of the body. What `get` gives out is done when it is out: nobody would hear of it if
        its consumer failed, so there is nothing to wait for. Raises NotClaimedError, a ValueError, where nothing is
        claimed here, and LeaseLostError."""
        await claimed_here(self._stock).ack()

    # --- looking

    async def qsize(self) -> int:
        """How many items there are, those that are claimed or delayed included: as of the replica that serves this
        client."""
        stat = await ask(self._client.port, Exists(self._stock.items), FOR_EVER)
        return 0 if stat is None else stat.num_children

    async def empty(self) -> bool:
        """Whether there are no items, claimed and delayed ones included."""
        return await self.qsize() == 0

    async def full(self) -> bool:
        """Whether there is no room."""
        return 0 < self.maxsize <= await self.qsize()

    async def join(self, *, timeout: float | None = None) -> bool:
        """Wait until all that anybody has put, in whatever process, is done; False where it was not within `timeout`
        seconds. Done is what was got, what was claimed and acknowledged, and what became a dead letter; not what is
        claimed or delayed. What is put meanwhile counts: a worker that puts more before it acknowledges is waited for.

        An item whose `get` is cancelled may count as got, and come back.
        """
        port = self._client.port
        try:
            return await self._stock.empty_out(port, Patience(port, timeout))
        except OutcomeUnknownError:
            return False  # nobody answered in time

    # --- the end, and what is left

    async def shutdown(self, immediate: bool = False) -> None:
        """Shut the queue down for everybody, for good. Nobody can put any more; who takes gets what there is, and
        QueueShutDownError when nothing is left that could come: not as long as something is claimed, or delayed.
        `immediate` leaves nothing to take: all items that nobody works on are deleted, and those whose claim fails
        afterwards. Who waits is told. To use the path again, delete it with all below."""
        await self._stock.shut_down(self._client.port, immediate=immediate)

    async def dead_letters(self) -> tuple[DeadLetter[T], ...]:
        """The items that were claimed `max_deliveries` times and never acknowledged, in the order in which they were
        given up. All of them are read at once."""
        return await dead_letters(self._client.port, self._stock, self._codec)

    async def requeue(self, letter: DeadLetter[T], *, timeout: float | None = None) -> None:
        """Put a dead letter again, behind what is there of its priority, as if it had never been given out; and remove
        it, in the same transaction. Raises NoNodeError where it is gone, and what `put` does."""
        await requeue(self._client.port, self._stock, letter, timeout)

    async def discard(self, letter: DeadLetter[T]) -> None:
        """Delete a dead letter for good. Where it is gone, this does nothing."""
        await discard(self._client.port, letter)

    # --- within

    async def _try_to_get(self, port: Port, found: Found, patience: Patience) -> tuple[T] | None:
        """The item, deleted; None where somebody else has it, or had it. Raises CodecError, and then it is given up."""
        stock = self._stock
        path = f"{stock.items}/{found.name}"
        try:
            data, stat = await ask(port, GetData(path), patience)
        except NoNodeError:
            return None
        if stat.czxid != found.stat.czxid:
            return None
        try:
            item = from_bytes(self._codec, data, where=self.path)
        except CodecError as error:
            if await stock.bury(port, found, patience, deliveries=found.stat.version + 1, reason=str(error)):
                raise
            return None
        free = stock.freeing(found.name, found.held)
        request = once(port, Multi([*free, stock.as_seen(found), Delete(path)]))
        try:
            await ask(port, request, patience)
            return (item,)
        except MultiError as error:
            if has_raced(error):
                return None
            raise error.error from None
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except BaseException:
            await port.tidy_up(lambda port: _put_back(port, path, data, request))
            raise


class Queue(_Shared[T]):
    """A queue at `path`, a znode that is created where it is missing, with the manners of `asyncio.Queue`.

    ::

        queue = zkcore.Queue(zk, "/jobs", maxsize=100, codec=zkcore.json_codec)
        await queue.put({"job": 7})
        await queue.put({"job": 8}, delay=60)   # nobody gets it before a minute has passed
        async with queue.claim() as claim:      # comes back to the queue where this fails
            await work(claim.item)
        item = await queue.get()                # gone from the queue at once

    Making one does no I/O. `maxsize` is how many items there may be, those that are claimed or delayed included; 0 is
    no limit. All who put must have made it with the same one (ConfigMismatchError). `codec` turns items into bytes.
    An item that was claimed `max_deliveries` times and not acknowledged becomes a dead letter (`dead_letters`); None
    gives it out for ever. Give all who take the same.

    Guaranteed: items are given out in the order in which they were put, delayed ones in that in which they were due,
    each to one consumer; one that was claimed and not acknowledged comes before those put after it, and none is lost. A
    queue holds thousands of items well, and is no place for millions: every replica has all of them in memory.
    """

    kind = "queue"

    async def put(self, item: T, *, timeout: float | None = None, delay: float = 0) -> None:
        """Add an item, waiting for room. With a `delay`, in seconds, it is there from the beginning, and given out to
        nobody before so much time has passed; then it stands behind what was there when a consumer found it due. Wall
        clocks decide: ours when it is due, and the consumers' when that is. Nobody's safety rests on them.

        Raises QueueFullError where there was no room within `timeout` seconds, QueueShutDownError, OutcomeUnknownError
        where nobody answered in time, CodecError, ItemTooLargeError, ConfigMismatchError, BadArgumentsError, and
        SessionExpiredError or SessionClosedError. Where it is cancelled, the item may have been put.
        """
        await self._put([item], PLAIN, delay, timeout)

    async def put_many(self, items: Iterable[T], *, timeout: float | None = None, delay: float = 0) -> None:
        """Add several items in one transaction: all of them, one behind the other, or none. Raises what `put` does."""
        await self._put(items, PLAIN, delay, timeout)

    async def put_nowait(self, item: T) -> None:
        """Add an item without waiting for room. Raises what `put` does."""
        await self.put(item, timeout=0)


class PriorityQueue(_Shared[T]):
    """A queue whose items have priorities: the lowest comes first, and of one priority the one that was put first.

    ::

        queue = zkcore.PriorityQueue(zk, "/jobs", codec=zkcore.text_codec)
        await queue.put("clean up")
        await queue.put("put out the fire", priority=1)
        assert await queue.get() == "put out the fire"

    In everything else it is a `Queue`. Only the priority decides, never the item, which need not be comparable. Items
    of a low priority wait for as long as there are others of a higher one.
    """

    kind = "priority-queue"

    async def put(
        self, item: T, *, timeout: float | None = None, priority: int = DEFAULT_PRIORITY, delay: float = 0
    ) -> None:
        """Add an item of a `priority` from 0, which comes first, to 999999; else as `Queue.put`. With a `delay` it is
        among those of its priority when it is due. Raises what `Queue.put` does."""
        await self._put([item], prioritized(priority), delay, timeout)

    async def put_many(
        self, items: Iterable[T], *, timeout: float | None = None, priority: int = DEFAULT_PRIORITY, delay: float = 0
    ) -> None:
        """Add several items of one priority in one transaction: all of them, one behind the other, or none. Raises what
        `put` does."""
        await self._put(items, prioritized(priority), delay, timeout)

    async def put_nowait(self, item: T, *, priority: int = DEFAULT_PRIORITY) -> None:
        """Add an item without waiting for room. Raises what `put` does."""
        await self.put(item, priority=priority, timeout=0)


async def _put_back(port: Port, path: str, data: bytes, deletion: Request[Any]) -> None:
    """Undo a `get` that was interrupted: who waited for the item does not get it. Its deliveries are counted anew."""
    try:
        if await ask(port, Exists(path), FOR_EVER) is None:
            await ask(port, deletion, FOR_EVER)  # of an item that is gone: it says whether it was this one's doing
            await ask_once(port, Create(path, data, acl=DEFAULT_ACL), FOR_EVER)
    except (MultiError, SessionError, OutcomeForgottenError):
        pass  # it was somebody else, or nobody can tell; or there is nobody any more who could
