"""The mailbox: messages to one who is known by name, kept until they are dealt with.

A mailbox is a queue (`queue.py`) below the name of who it is for, so a message waits for its receiver as an item does
for its consumer: it is claimed, given back where the work fails, and put aside as a dead letter where it fails too
often. What a mailbox adds is who sent it, and how to answer: the data of a message begins with a line that names its
sender; what the codec made of it follows.

This module must not know how messages are kept, nor when they are given out again.
"""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self, TypeVar

from attrs import frozen

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, QueueShutDownError
from zkcore.recipes.claiming import Claim, Claiming
from zkcore.recipes.codec import Codec, bytes_codec, from_bytes, to_bytes
from zkcore.recipes.dead_letters import DeadLetter
from zkcore.recipes.lease import Lease
from zkcore.recipes.queue import Queue
from zkcore.tree.paths import validate

__all__ = ["Letter", "Mailbox", "Message", "Messages", "Receiving"]

T = TypeVar("T")


@frozen
class Letter(Generic[T]):
    """What was sent, and by whom. A value: what dead letters of a mailbox have as their `item`."""

    sender: str
    """The name of the mailbox that it was sent by, where an answer would go."""
    item: T


class _Envelope(Generic[T]):
    """The codec of letters: a line with the sender, and what `codec` makes of the rest."""

    def __init__(self, codec: Codec[T]) -> None:
        self._codec = codec

    def __repr__(self) -> str:
        return repr(self._codec)

    def encode(self, letter: Letter[T], /) -> bytes:
        data = to_bytes(self._codec, letter.item, where=f"a message of {letter.sender}")
        return letter.sender.encode() + b"\n" + data

    def decode(self, data: bytes, /) -> Letter[T]:
        sender, found, rest = data.partition(b"\n")
        if not found:
            raise ValueError("it does not begin with the name of a sender")
        name = sender.decode()
        return Letter(name, from_bytes(self._codec, rest, where=f"a message of {name}"))


class Mailbox(Generic[T]):
    """The mailbox of `name` below `path`, for those who receive what is sent to that name, and send in it.

    ::

        mine = zkcore.Mailbox(zk, "/mail", "host-7", codec=zkcore.json_codec)
        await mine.send("host-8", {"please": "restart"})
        async with mine.receive() as message:              # acknowledged at the end; comes again where this fails
            await work(message.item, token=message.lease.fencing_token)
            await message.reply({"done": True})
        async with mine.messages() as messages:            # one after the other: asking for the next acknowledges
            async for message in messages:
                await work(message.item)

    Making one does no I/O, and a mailbox is there from the first message on, whether its receiver is or not. `maxsize`
    is how many messages it holds, those that are being dealt with included; who sends to a full one waits for room. One
    that was given out `max_deliveries` times and not acknowledged becomes a dead letter. `codec` turns messages into
    bytes. Give all who use the mailboxes of a path the same of each.

    Guaranteed: a message is there once, however often its sending must be repeated; it is given out at least once, and
    after it was acknowledged never again; those that nobody has begun with come in the order in which they were sent.
    Several may receive from one mailbox: each message goes to one of them. One of a receiver that died comes again when
    its session has expired.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        name: str,
        *,
        maxsize: int = 1000,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
        max_deliveries: int | None = 10,
    ) -> None:
        self.path = path
        self.name = name
        self._client = client
        self._codec = codec
        self._maxsize = maxsize
        self._max_deliveries = max_deliveries
        self._queues: dict[str, Queue[Letter[T]]] = {}
        self._own = self._queue_of(name)

    def __repr__(self) -> str:
        return f"<Mailbox {self.path}/{self.name}>"

    # --- sending

    async def send(self, to: str, item: T, *, timeout: float | None = None, delay: float = 0) -> None:
        """Put a message into the mailbox of `to`, waiting for room; with a `delay` nobody gets it before so many
        seconds have passed, as with `Queue.put`.

        Raises QueueFullError where there was no room within `timeout` seconds, QueueShutDownError, CodecError,
        ItemTooLargeError, ConfigMismatchError, BadArgumentsError, OutcomeUnknownError where nobody answered in time,
        and SessionExpiredError or SessionClosedError. Where it is cancelled, the message may have been sent.
        """
        await self._queue_of(to).put(Letter(self.name, item), timeout=timeout, delay=delay)

    # --- receiving

    def receive(self, *, timeout: float | None = None, visibility_timeout: float | None = None) -> Receiving[T]:
        """The first message that nobody deals with, as a context manager that gives a Message. Its end acknowledges it;
        where the body raises, the message goes back, and where its lease is lost the body is cancelled.

        Entering raises QueueEmptyError where there was none within `timeout` seconds, QueueShutDownError, CodecError
        for one that cannot be decoded (it goes back, and becomes a dead letter in the end), and SessionExpiredError or
        SessionClosedError. The `visibility_timeout` is that of `Queue.claim`.
        """
        claiming = self._own.claim(timeout=timeout, visibility_timeout=visibility_timeout)
        return Receiving(self, claiming)

    def messages(self, *, visibility_timeout: float | None = None) -> Messages[T]:
        """An iterator over the messages, as a context manager. To ask for the next one acknowledges the one before, and
        so does the end; where the body raises, the message that it had goes back. It ends when the mailbox is shut down
        and empty. Raises what `receive` does, and LeaseLostError where a message was lost before it was acknowledged:
        somebody else gets it. The iteration can go on behind that, and behind CodecError."""
        return Messages(self, visibility_timeout)

    # --- looking

    async def size(self) -> int:
        """How many messages there are, those that are dealt with or delayed included: as of the replica that serves
        this client."""
        return await self._own.qsize()

    async def dead_letters(self) -> tuple[DeadLetter[Letter[T]], ...]:
        """The messages that were given out `max_deliveries` times and never acknowledged, in the order in which they
        were given up."""
        return await self._own.dead_letters()

    async def requeue(self, letter: DeadLetter[Letter[T]], *, timeout: float | None = None) -> None:
        """Put a dead letter into the mailbox again, as a new message of who sent it. Raises NoNodeError where it is
        gone, and what `send` does."""
        await self._own.requeue(letter, timeout=timeout)

    async def discard(self, letter: DeadLetter[Letter[T]]) -> None:
        """Delete a dead letter, if it is still there."""
        await self._own.discard(letter)

    async def shutdown(self) -> None:
        """Take no more messages, for good. Who receives gets what there is, and then QueueShutDownError."""
        await self._own.shutdown()

    # --- within

    def _queue_of(self, name: str) -> Queue[Letter[T]]:
        found = self._queues.get(name)
        if found is None:
            if not name or "/" in name or "\n" in name:
                raise BadArgumentsError(f"{name!r} is no name of a mailbox; choose one without '/' and line breaks")
            validate(f"{self.path}/{name}")
            found = self._queues[name] = Queue(
                self._client,
                f"{self.path}/{name}",
                maxsize=self._maxsize,
                codec=_Envelope(self._codec),
                max_deliveries=self._max_deliveries,
            )
        return found


class Message(Generic[T]):
    """One message that was received: nobody else gets it while `lease` is held. It may have been given out before,
    where an earlier receiver failed: after it did its work, perhaps, and before it could say so."""

    def __init__(self, mailbox: Mailbox[T], claim: Claim[Letter[T]]) -> None:
        self._mailbox = mailbox
        self._claim = claim

    def __repr__(self) -> str:
        return f"<Message of {self.sender} {self.lease!r}>"

    @property
    def sender(self) -> str:
        """The name of the mailbox that sent it."""
        return self._claim.item.sender

    @property
    def item(self) -> T:
        """What was sent."""
        return self._claim.item.item

    @property
    def lease(self) -> Lease:
        """How long it is this receiver's; its fencing token is higher than that of every earlier receiver."""
        return self._claim.lease

    @property
    def deliveries(self) -> int:
        """How often it was given out, this time included."""
        return self._claim.deliveries

    def progress(self) -> None:
        """The work gets on, as `Claim.progress`. Local. Raises LeaseLostError."""
        self._claim.progress()

    async def ack(self) -> None:
        """It is dealt with: delete it. Raises LeaseLostError where it was lost, or given up: then somebody else may
        have got it. Cancelling it does not stop it."""
        await self._claim.ack()

    async def release(self, *, delay: float = 0) -> None:
        """Give it back, to be given out again where it stood, not before `delay` seconds have passed; as
        `Claim.release`."""
        await self._claim.release(delay=delay)

    async def reply(self, item: T, *, timeout: float | None = None) -> None:
        """Send `item` to who sent this. Raises what `Mailbox.send` does. A message that comes again is answered
        again."""
        await self._mailbox.send(self.sender, item, timeout=timeout)


class Receiving(Generic[T]):
    """One message, as a context manager; see `Mailbox.receive`. It is entered once."""

    def __init__(self, mailbox: Mailbox[T], claiming: Claiming[Letter[T]]) -> None:
        self._mailbox = mailbox
        self._claiming = claiming

    async def __aenter__(self) -> Message[T]:
        return Message(self._mailbox, await self._claiming.__aenter__())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._claiming.__aexit__(kind, error, trace)


class Messages(Generic[T]):
    """The messages of a mailbox, one after the other; see `Mailbox.messages`. One task at a time may use it."""

    def __init__(self, mailbox: Mailbox[T], visibility_timeout: float | None) -> None:
        self._mailbox = mailbox
        self._visibility_timeout = visibility_timeout
        self._now: Receiving[T] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[T]:
        await self._end(None, None, None)
        receiving = self._mailbox.receive(visibility_timeout=self._visibility_timeout)
        try:
            message = await receiving.__aenter__()
        except QueueShutDownError:
            raise StopAsyncIteration from None
        self._now = receiving
        return message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(kind, error, trace)

    async def _end(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Acknowledge the message that was given last; or give it back, where there is an error."""
        receiving, self._now = self._now, None
        if receiving is not None:
            await receiving.__aexit__(kind, error, trace)
