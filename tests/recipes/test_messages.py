"""Mailboxes and topics, step by step: what is sent and published, given out, given back, dropped, and told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import World

import zkcore
import zkcore.sync
from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    ConfigMismatchError,
    ItemTooLargeError,
    MessagesMissedError,
    QueueEmptyError,
    QueueFullError,
)
from zkcore.recipes.codec import json_codec
from zkcore.recipes.mailbox import Mailbox
from zkcore.recipes.topic import Subscription, Topic
from zkcore.tree.requests import Delete

MAIL = "/mail"
TOPIC = "/topic"


def box(world: World, name: str, client: Client | None = None, **options: Any) -> Mailbox[Any]:
    return Mailbox(client or world.client(), MAIL, name, codec=json_codec, **options)


def topic(world: World, client: Client | None = None, history: int = 1000) -> Topic[Any]:
    return Topic(client or world.client(), TOPIC, codec=json_codec, history=history)


def receive(world: World, mailbox: Mailbox[Any], *, fail: bool = False) -> tuple[str, Any, int]:
    """Sender, item and deliveries of the first message, which is acknowledged unless its work is to fail."""

    async def work() -> tuple[str, Any, int]:
        async with mailbox.receive(timeout=0) as message:
            got.append((message.sender, message.item, message.deliveries))
            if fail:
                raise ValueError("out of paper")
        return got[0]

    got: list[tuple[str, Any, int]] = []
    if fail:
        with pytest.raises(ValueError, match="paper"):
            world.run(work())
    else:
        world.run(work())
    return got[0]


# --- mailboxes --------------------------------------------------------------------------------------------------------


def test_a_message_comes_with_its_sender_to_who_it_was_sent_to_and_to_nobody_else() -> None:
    world = World()
    one, two, three = (box(world, name) for name in ("one", "two", "three"))
    world.run(one.send("two", {"hello": 1}))
    world.run(three.send("two", "later"))
    assert receive(world, two) == ("one", {"hello": 1}, 1)
    assert world.run(two.size()) == 1
    with pytest.raises(QueueEmptyError):
        receive(world, one)
    assert receive(world, two) == ("three", "later", 1)
    assert repr(one) == "<Mailbox /mail/one>"


def test_a_reply_goes_to_the_sender() -> None:
    world = World()
    one, two = box(world, "one"), box(world, "two")
    world.run(one.send("two", 1))

    async def answer() -> None:
        async with two.receive() as message:
            message.progress()
            await message.reply(message.item + 1)

    world.run(answer())
    assert receive(world, one) == ("two", 2, 1)


def test_what_fails_too_often_is_a_dead_letter_that_knows_its_sender_and_can_be_sent_again() -> None:
    world = World()
    one, two = box(world, "one"), box(world, "two", max_deliveries=2)
    world.run(one.send("two", "hard"))
    for deliveries in (1, 2):
        assert receive(world, two, fail=True) == ("one", "hard", deliveries)
    with pytest.raises(QueueEmptyError):
        receive(world, two)
    (letter,) = world.run(two.dead_letters())
    assert (letter.item.sender, letter.item.item, letter.reason) == ("one", "hard", "ValueError: out of paper")
    world.run(two.requeue(letter))
    assert receive(world, two) == ("one", "hard", 1)
    world.run(two.discard(letter))


def test_a_full_mailbox_takes_no_more_and_no_other_is_concerned() -> None:
    world = World()
    one = box(world, "one", maxsize=2)
    for number in (1, 2):
        world.run(one.send("two", number))
    with pytest.raises(QueueFullError):
        world.run(one.send("two", 3, timeout=0))
    world.run(one.send("three", 3, timeout=0))


def test_who_iterates_acknowledges_by_asking_for_the_next_and_gives_back_what_failed() -> None:
    world = World()
    mailbox = box(world, "one")
    for number in range(4):
        world.run(mailbox.send("one", number))
    seen: list[int] = []

    async def read(fails_at: int) -> None:
        async with mailbox.messages() as messages:
            async for message in messages:
                seen.append(message.item)
                assert await mailbox.size() == 4 - message.item, "acknowledged too early, or too late"
                if message.item == fails_at:
                    raise ValueError("out of paper")

    with pytest.raises(ValueError, match="paper"):
        world.run(read(2))
    assert seen == [0, 1, 2]
    world.run(mailbox.shutdown())
    world.run(read(99))
    assert seen == [0, 1, 2, 2, 3]
    assert world.children("/mail/one/items") == []


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", ".."])
def test_what_is_no_name_of_a_mailbox_is_refused(name: str) -> None:
    world = World()
    with pytest.raises(BadArgumentsError):
        box(world, name)
    with pytest.raises(BadArgumentsError):
        world.run(box(world, "one").send(name, 1))


@pytest.mark.parametrize("data", [b"no line", b"one\n{", b"\xff\n1"])
def test_what_cannot_be_decoded_is_told_and_becomes_a_dead_letter(data: bytes) -> None:
    world = World()
    world.run(zkcore.Queue(world.client(), f"{MAIL}/one", maxsize=1000).put(data))
    mailbox = box(world, "one", max_deliveries=1)
    with pytest.raises(CodecError, match="another codec"):
        receive(world, mailbox)
    (letter,) = world.run(mailbox.dead_letters())
    assert letter.data == data


# --- topics -----------------------------------------------------------------------------------------------------------


def publish(world: World, *items: Any, history: int = 1000) -> list[int]:
    made = topic(world, history=history)
    return [world.run(made.publish(item)) for item in items]


def subscribe(world: World, **options: Any) -> Subscription[Any]:
    history = options.pop("history", 1000)
    subscription: Subscription[Any] = world.run(topic(world, history=history).subscribe(**options))
    return subscription


def read(world: World, subscription: Subscription[Any], count: int) -> list[Any]:
    return [world.run(anext(subscription)).item for _ in range(count)]


def has_more(world: World, subscription: Subscription[Any]) -> bool:
    run = world.start(anext(subscription))
    world.settle()
    if not run.is_over:
        world.interrupt(run)
        return False
    return True


def test_every_subscriber_gets_every_message_from_where_it_begins() -> None:
    world = World()
    zxids = publish(world, "a", "b")
    now, since, whole = subscribe(world), subscribe(world, since=zxids[0]), subscribe(world, since=0)
    publish(world, "c")
    assert read(world, now, 1) == ["c"]
    assert read(world, since, 2) == ["b", "c"]
    assert read(world, whole, 3) == ["a", "b", "c"]
    assert now.zxid == since.zxid == whole.zxid > zxids[1]
    assert not any(has_more(world, each) for each in (now, since, whole))


def test_who_waits_is_woken_and_a_closed_subscription_ends() -> None:
    world = World()
    subscription = subscribe(world)
    got: list[Any] = []

    async def follow() -> None:
        async for message in subscription:
            got.append(message.item)

    run = world.start(follow())
    for item in ("a", "b"):
        world.settle()
        publish(world, item)
    world.settle()
    assert got == ["a", "b"]
    world.run(subscription.aclose())
    world.settle()
    assert run.is_over


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_more_than_a_page_is_read_in_order(count: int) -> None:
    world = World()
    zxids = publish(world, *range(count))
    assert read(world, subscribe(world, since=0), count) == list(range(count))
    if count > 100:
        assert read(world, subscribe(world, since=zxids[99]), count - 100) == list(range(100, count))


def test_no_more_is_kept_than_the_history_and_a_little() -> None:
    world = World()
    publish(world, *range(50), history=16)
    assert len(world.children(f"{TOPIC}/messages")) <= 18
    publish(world, "by somebody else", history=16)  # who looks first of all
    assert len(world.children(f"{TOPIC}/messages")) == 16


def test_who_is_slow_is_told_once_and_goes_on_with_what_is_kept() -> None:
    world = World()
    slow = subscribe(world, since=0, history=4)
    publish(world, 0, history=4)
    assert read(world, slow, 1) == [0]
    publish(world, *range(1, 10), history=4)
    kept = len(world.children(f"{TOPIC}/messages"))
    with pytest.raises(MessagesMissedError, match="longer history"):
        world.run(anext(slow))
    assert read(world, slow, kept) == list(range(10 - kept, 10))


def test_who_begins_where_something_is_gone_is_told_and_who_begins_just_behind_it_is_not() -> None:
    world = World()
    zxids = publish(world, *range(10), history=4)
    kept = len(world.children(f"{TOPIC}/messages"))
    behind, before = zxids[9 - kept], zxids[8 - kept]
    assert read(world, subscribe(world, since=behind, history=4), kept) == list(range(10 - kept, 10))
    for since in (0, before):
        late = subscribe(world, since=since, history=4)
        with pytest.raises(MessagesMissedError):
            world.run(anext(late))
        assert read(world, late, kept) == list(range(10 - kept, 10))


def test_who_finds_a_gap_in_what_was_read_at_once_is_told() -> None:
    """As it comes where messages are listed first and then read, each by itself."""
    world = World()
    publish(world, *range(6))
    reading = subscribe(world, since=0)
    for name in world.children(f"{TOPIC}/messages")[2:4]:
        world.do(world.client().session_id, Delete(f"{TOPIC}/messages/{name}"))
    assert read(world, reading, 2) == [0, 1]
    with pytest.raises(MessagesMissedError):
        world.run(anext(reading))
    assert read(world, reading, 2) == [4, 5]


def test_one_that_cannot_be_decoded_is_told_and_the_next_comes_behind_it() -> None:
    world = World()
    plain: Topic[bytes] = Topic(world.client(), TOPIC)
    for data in (b"1", b"{", b"3"):
        world.run(plain.publish(data))
    subscription = subscribe(world, since=0)
    assert read(world, subscription, 1) == [1]
    with pytest.raises(CodecError):
        world.run(anext(subscription))
    assert read(world, subscription, 1) == [3]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_message_is_published_once_whatever_happens_to_who_publishes(action: str) -> None:
    at, is_hit = 0, True
    while is_hit:
        world = World()
        client = world.client()
        publish(world, "before", history=1)
        run, is_hit = attempt(world, topic(world, client, history=1).publish("new"), action, at)
        assert world.children(f"{TOPIC}/messages"), "nothing is left"
        items = read_all(world)
        if run.error is None:
            assert items[-1:] == ["new"]
        assert items.count("new") <= 1
        at += 1
    assert at > 3


def read_all(world: World) -> list[Any]:
    subscription, items = subscribe(world, since=0, history=1), []
    for _ in world.children(f"{TOPIC}/messages"):
        try:
            items += read(world, subscription, 1)
        except MessagesMissedError:
            items += read(world, subscription, 1)
    return items


@pytest.mark.parametrize("action", ["lost before", "lost after", "interrupted before", "interrupted after"])
def test_a_subscriber_loses_nothing_whatever_happens_to_it(action: str) -> None:
    at, is_hit = 0, True
    while is_hit:
        world = World()
        publish(world, "a", "b")
        subscription = subscribe(world, since=0)
        run, is_hit = attempt(world, subscription.__anext__(), action, at)
        got = [] if run.error is not None else [run.result.item]
        assert got + read(world, subscription, 2 - len(got)) == ["a", "b"]
        at += 1
    assert at > 2


def test_bad_use_of_a_topic_is_refused_with_what_to_do() -> None:
    world = World()
    with pytest.raises(BadArgumentsError, match="between 1"):
        topic(world, history=0)
    with pytest.raises(BadArgumentsError, match="root"):
        Topic(world.client(), "/")
    with pytest.raises(BadArgumentsError, match="zxid"):
        subscribe(world, since=-1)
    with pytest.raises(CodecError):
        publish(world, object())
    with pytest.raises(ItemTooLargeError, match="elsewhere"):
        publish(world, "x" * 2**20)
    publish(world, 1)
    with pytest.raises(ConfigMismatchError, match="history"):
        publish(world, 1, history=7)
    world.run(zkcore.Config(world.client(), "/other").set(b"{}"))
    with pytest.raises(ConfigMismatchError, match="no topic"):
        world.run(Topic(world.client(), "/other").publish(b"x"))


# --- for real -------------------------------------------------------------------------------------------------------


def test_messages_in_blocking_code() -> None:
    with zkcore.sync.local_cluster(1) as cluster, cluster.client() as zk:
        one: Any = zkcore.sync.Mailbox(zk, MAIL, "one", codec=json_codec)
        two: Any = zkcore.sync.Mailbox(zk, MAIL, "two", codec=json_codec)
        one.send("two", 1)
        with two.receive(timeout=5) as message:
            message.progress()
            assert (message.sender, message.item, message.deliveries, message.lease.is_lost()) == ("one", 1, 1, False)
            message.reply(2)
            message.ack()
        with one.receive(timeout=5) as message:
            message.release(delay=0)
        one.shutdown()
        with one.messages() as messages:
            assert [message.item for message in messages] == [2]
        assert (two.size(), two.dead_letters(), two.path, two.name) == (0, (), MAIL, "two")
        assert repr(two) == "<Mailbox /mail/two>"
        prices: Any = zkcore.sync.Topic(zk, TOPIC, codec=json_codec, history=10)
        assert (prices.path, prices.history, repr(prices)) == (TOPIC, 10, "<Topic /topic history=10>")
        subscription = prices.subscribe()
        zxid = prices.publish("a")
        assert (next(subscription).item, subscription.zxid) == ("a", zxid)
        assert "Subscription to /topic" in repr(subscription)
        subscription.close()
        assert list(subscription) == []


def test_a_topic_in_a_task() -> None:
    async def main() -> None:
        async with zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            prices: zkcore.Topic[int] = zkcore.Topic(zk, TOPIC, codec=json_codec)
            subscription = await prices.subscribe()
            waiting = asyncio.create_task(anext(subscription))
            await asyncio.sleep(0)
            zxid = await prices.publish(7)
            assert await waiting == zkcore.Published(7, zxid)

    asyncio.run(main())
