"""The blocking face of `zkcore.recipes.mailbox`."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self, TypeVar

from zkcore.recipes.codec import Codec, bytes_codec
from zkcore.recipes.dead_letters import DeadLetter
from zkcore.recipes.mailbox import Letter
from zkcore.recipes.mailbox import Mailbox as AsyncMailbox
from zkcore.recipes.mailbox import Message as AsyncMessage
from zkcore.recipes.mailbox import Messages as AsyncMessages
from zkcore.recipes.mailbox import Receiving as AsyncReceiving
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Mailbox", "Message", "Messages", "Receiving"]

T = TypeVar("T")


@mirrors(AsyncMailbox)
class Mailbox(Generic[T]):
    """`zkcore.Mailbox` for blocking code. Several threads may use one.

    ::

        mine = zkcore.Mailbox(zk, "/mail", "host-7", codec=zkcore.json_codec)
        mine.send("host-8", {"please": "restart"})
        with mine.receive() as message:              # acknowledged at the end; comes again where this fails
            work(message.item, token=message.lease.fencing_token)
            message.reply({"done": True})
        with mine.messages() as messages:            # one after the other: asking for the next acknowledges
            for message in messages:
                work(message.item)
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
        self._inner = AsyncMailbox(
            client.unblocked, path, name, maxsize=maxsize, codec=codec, max_deliveries=max_deliveries
        )

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode below which the mailboxes are."""
        return self._inner.path

    @property
    def name(self) -> str:
        """Whose mailbox it is."""
        return self._inner.name

    def send(self, to: str, item: T, *, timeout: float | None = None, delay: float = 0) -> None:
        run(self._inner.send(to, item, timeout=seconds(timeout), delay=delay))

    def receive(self, *, timeout: float | None = None, visibility_timeout: float | None = None) -> Receiving[T]:
        return Receiving(self._inner.receive(timeout=seconds(timeout), visibility_timeout=visibility_timeout))

    def messages(self, *, visibility_timeout: float | None = None) -> Messages[T]:
        return Messages(self._inner.messages(visibility_timeout=visibility_timeout))

    def size(self) -> int:
        return run(self._inner.size())

    def dead_letters(self) -> tuple[DeadLetter[Letter[T]], ...]:
        return run(self._inner.dead_letters())

    def requeue(self, letter: DeadLetter[Letter[T]], *, timeout: float | None = None) -> None:
        run(self._inner.requeue(letter, timeout=seconds(timeout)))

    def discard(self, letter: DeadLetter[Letter[T]]) -> None:
        run(self._inner.discard(letter))

    def shutdown(self) -> None:
        run(self._inner.shutdown())


@mirrors(AsyncMessage)
class Message(Generic[T]):
    """`zkcore.Message` for blocking code."""

    def __init__(self, inner: AsyncMessage[T]) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def sender(self) -> str:
        """The name of the mailbox that sent it."""
        return self._inner.sender

    @property
    def item(self) -> T:
        """What was sent."""
        return self._inner.item

    @property
    def lease(self) -> Lease:
        """How long it is this receiver's; its fencing token is higher than that of every earlier receiver."""
        return Lease(self._inner.lease)

    @property
    def deliveries(self) -> int:
        """How often it was given out, this time included."""
        return self._inner.deliveries

    def progress(self) -> None:
        self._inner.progress()

    def ack(self) -> None:
        run(self._inner.ack())

    def release(self, *, delay: float = 0) -> None:
        run(self._inner.release(delay=delay))

    def reply(self, item: T, *, timeout: float | None = None) -> None:
        run(self._inner.reply(item, timeout=seconds(timeout)))


class Receiving(Generic[T]):
    """One message, as a context manager; see `Mailbox.receive`. It is entered once."""

    def __init__(self, inner: AsyncReceiving[T]) -> None:
        self._inner = inner

    def __enter__(self) -> Message[T]:
        return Message(run(self._inner.__aenter__()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._inner.__aexit__(kind, error, trace))


class Messages(Generic[T]):
    """The messages of a mailbox, one after the other; see `Mailbox.messages`. One thread at a time may use it."""

    def __init__(self, inner: AsyncMessages[T]) -> None:
        self._inner = inner

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message[T]:
        try:
            return Message(run(self._inner.__anext__()))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._inner.__aexit__(kind, error, trace))
