"""Messages on three servers of every kind, while leaders are killed: mailboxes, and topics."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count

import pytest
from backends import Backend, disturb, use

import zkcore
from zkcore.client.client import Client
from zkcore.errors import OutcomeUnknownError, UnsupportedError

COUNT = 30
HOPELESS = {3, 14}
LAST = -1


class Post:
    """What "one" sends to "two", and what becomes of it."""

    def __init__(self, cluster: Backend) -> None:
        self.cluster = cluster
        self.sent: set[int] = set()
        self.all_is_sent = False
        self.hopeless = set(HOPELESS)
        self.done: Counter[int] = Counter()
        self.answers: set[int] = set()
        self.most = 0
        self.forgotten: list[str] = []

    @property
    def is_over(self) -> bool:
        return self.all_is_sent and set(self.done) == self.answers == self.sent

    def box(self, client: Client, name: str) -> zkcore.Mailbox[int]:
        maxsize = 8 if self.cluster.is_complete else 0
        return zkcore.Mailbox(client, "/mail", name, maxsize=maxsize, codec=zkcore.json_codec, max_deliveries=3)

    async def send(self, client: Client) -> None:
        """So many, and as long as leaders are killed."""
        disturbing = asyncio.create_task(disturb(self.cluster))
        while len(self.sent) < COUNT or not disturbing.done():
            try:
                await self.box(client, "one").send("two", len(self.sent))
                self.sent.add(len(self.sent))
            except zkcore.OutcomeForgottenError:
                self.forgotten.append("send")
        await disturbing
        self.all_is_sent = True

    async def receive(self, client: Client) -> None:
        box = self.box(client, "two")
        while not self.is_over:
            item = None
            try:
                async with box.receive(timeout=0.01) as message:
                    assert message.sender == "one"
                    if message.item in self.hopeless or (message.item % 5 == 0 and message.deliveries == 1):
                        raise ValueError("out of paper")
                    await message.reply(message.item)
                    item = message.item
                self.done[item] += 1
            except zkcore.OutcomeForgottenError:
                self.forgotten.append("reply or end")
                self.done.update([] if item is None else [item])
            except (zkcore.QueueEmptyError, OutcomeUnknownError, ValueError):
                pass

    async def hear(self, client: Client) -> None:
        """Read the answers, until it is cancelled."""
        async with self.box(client, "one").messages() as messages:
            while True:
                try:
                    self.answers.add((await anext(messages)).item)
                except zkcore.OutcomeForgottenError:
                    self.forgotten.append("end")

    async def look_after(self, client: Client) -> None:
        """Once all that is hopeless is among the dead letters, it is so no more, and all of them are sent again."""
        box = self.box(client, "two")
        while not self.is_over:
            letters = await box.dead_letters()
            if self.hopeless <= {letter.item.item for letter in letters}:
                self.hopeless.clear()
            for letter in letters:
                assert (letter.item.sender, letter.deliveries) == ("one", 3)
                if letter.item.item not in self.hopeless:
                    try:
                        await box.requeue(letter)
                    except (zkcore.OutcomeForgottenError, zkcore.NoNodeError):
                        assert not self.cluster.is_complete
            self.most = max(self.most, await box.size())
            await asyncio.sleep(0.005)


def test_every_message_is_dealt_with_or_a_dead_letter_while_leaders_are_killed(backend: Backend) -> None:
    """Where it is forgotten what became of a message it is sent again, and then may be there twice."""

    async def test(cluster: Backend) -> None:
        post = Post(cluster)
        one, two, *workers = [await cluster.client().start() for _ in range(4)]
        hearing = asyncio.create_task(post.hear(one))
        await asyncio.gather(post.send(one), post.look_after(two), *map(post.receive, workers))
        hearing.cancel()
        await asyncio.wait([hearing])
        assert post.most > 0
        if cluster.is_complete:
            assert set(post.done.values()) == {1}, "one that was acknowledged came again"
            assert post.most <= 8
            assert post.forgotten == []

    use(backend, test)


def test_a_full_mailbox_takes_no_more_and_who_cannot_count_says_so_before_anything_is_made(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as client:
            box: zkcore.Mailbox[bytes] = zkcore.Mailbox(client, "/mail", "one", maxsize=2)
            if cluster.is_complete:
                await box.send("two", b"first")
                await box.send("two", b"second")
                with pytest.raises(zkcore.QueueFullError):
                    await box.send("two", b"third", timeout=0)
                return
            with pytest.raises(UnsupportedError, match="give maxsize=0"):
                await box.send("two", b"first")
            with pytest.raises(UnsupportedError, match="give maxsize=0"):
                async with box.receive(timeout=0):
                    pass
            assert await client.get_children("/") == []
            unbounded: zkcore.Mailbox[bytes] = zkcore.Mailbox(client, "/mail", "two", maxsize=0)
            await unbounded.send("two", b"first")
            async with unbounded.receive(timeout=0) as message:
                assert message.item == b"first"

    use(backend, test)


def topic(client: Client, *, history: int = 1000) -> zkcore.Topic[int]:
    return zkcore.Topic(client, "/topic", codec=zkcore.json_codec, history=history)


def test_every_subscriber_gets_every_message_in_one_order_while_leaders_are_killed(backend: Backend) -> None:
    """Where it is forgotten what became of a message, it is there once or not at all."""

    async def test(cluster: Backend) -> None:
        clients = [await cluster.client().start() for _ in range(4)]
        numbers, forgotten = count(), list[int]()
        published: dict[int, int] = {}  # by zxid, what is known to be published

        async def publish(client: Client, *items: int) -> None:
            for item in items:
                try:
                    published[await topic(client).publish(item)] = item
                except zkcore.OutcomeForgottenError:
                    forgotten.append(item)

        async def publish_on(client: Client) -> None:
            while not disturbing.done():
                await publish(client, next(numbers))

        async def follow(subscription: zkcore.Subscription[int]) -> list[tuple[int, int]]:
            got: list[tuple[int, int]] = []
            while not got or got[-1][1] != LAST:
                message = await anext(subscription)
                got.append((message.zxid, message.item))
            return got

        await publish(clients[0], *(next(numbers) for _ in range(5)))
        middle = sorted(published)[2]
        from_now = asyncio.create_task(follow(await topic(clients[0]).subscribe()))
        from_the_middle = asyncio.create_task(follow(await topic(clients[1]).subscribe(since=middle)))
        disturbing = asyncio.create_task(disturb(cluster))
        await asyncio.gather(disturbing, *map(publish_on, clients[2:]))
        await publish(clients[3], LAST)
        whole = await follow(await topic(clients[2]).subscribe(since=0))
        assert whole == sorted(set(whole))
        assert published.items() <= dict(whole).items()
        assert await from_the_middle == [each for each in whole if each[0] > middle]
        got = await from_now
        assert got == whole[whole.index(got[0]) :]
        assert {item for _, item in got} >= set(published.values()) - set(range(5))
        again = [item for zxid, item in whole if zxid not in published]
        assert set(again) <= set(forgotten)
        assert len(set(again)) == len(again), "one was published twice"
        assert not (forgotten and cluster.is_complete)

    use(backend, test)


def test_a_slow_subscriber_is_told_of_all_that_it_missed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as publisher, cluster.client() as subscriber:
            got: list[int] = []
            gaps = 0

            async def follow() -> None:
                nonlocal gaps
                was_told = False
                subscription = await topic(subscriber, history=3).subscribe(since=0)
                while not got or got[-1] < COUNT - 1:
                    try:
                        message = await anext(subscription)
                    except zkcore.MessagesMissedError:
                        was_told = True
                        gaps += 1
                        continue
                    expected = got[-1] + 1 if got else 0
                    assert message.item > expected if was_told else message.item == expected
                    was_told = False
                    got.append(message.item)

            async def publish() -> None:
                for number in range(COUNT):
                    await topic(publisher, history=3).publish(number)

            following = asyncio.create_task(follow())
            await publish()
            await following
            late = await topic(subscriber, history=3).subscribe(since=0)
            with pytest.raises(zkcore.MessagesMissedError):
                await anext(late)
            assert [(await anext(late)).item for _ in range(3)] == [COUNT - 3, COUNT - 2, COUNT - 1]

    use(backend, test)
