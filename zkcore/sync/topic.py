"""The blocking face of `zkcore.recipes.topic`."""

from __future__ import annotations

from typing import Generic, TypeVar

from zkcore.recipes.codec import Codec, bytes_codec
from zkcore.recipes.topic import Published
from zkcore.recipes.topic import Subscription as AsyncSubscription
from zkcore.recipes.topic import Topic as AsyncTopic
from zkcore.sync.changes import Changes
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run, seconds
from zkcore.zxid import Zxid

__all__ = ["Subscription", "Topic"]

T = TypeVar("T")


@mirrors(AsyncTopic)
class Topic(Generic[T]):
    """`zkcore.Topic` for blocking code. Several threads may use one.

    ::

        topic = zkcore.Topic(zk, "/topics/prices", codec=zkcore.json_codec)
        topic.publish({"bread": 3})
        for message in topic.subscribe():              # what is published from now on
            print(message.item, message.zxid)
        for message in topic.subscribe(since=zxid):    # and what was published since then
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
        history: int = 1000,
    ) -> None:
        self._inner = AsyncTopic(client.unblocked, path, codec=codec, history=history)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode of the topic."""
        return self._inner.path

    @property
    def history(self) -> int:
        """How many messages are kept."""
        return self._inner.history

    def publish(self, item: T, *, timeout: float | None = None) -> Zxid:
        return run(self._inner.publish(item, timeout=seconds(timeout)))

    def subscribe(self, *, since: Zxid | None = None) -> Subscription[T]:
        return Subscription(run(self._inner.subscribe(since=since)))


class Subscription(Changes[Published[T]]):
    """An iterator over the messages of a topic, made by `Topic.subscribe`. It blocks until there is one, and has no end
    but `close`, which any thread may call; the end of the session is raised as SessionExpiredError or
    SessionClosedError.

    Where messages were dropped before it came to them it raises MessagesMissedError, once, and one that cannot be
    decoded as CodecError, once: the iteration can go on behind either.
    """

    def __init__(self, inner: AsyncSubscription[T]) -> None:
        super().__init__(inner)
        self._subscription = inner

    def __repr__(self) -> str:
        return repr(self._subscription)

    @property
    def zxid(self) -> Zxid:
        """How far it has come: of the message given out last, where another subscription can go on."""
        return self._subscription.zxid
