"""Who is told: subscribers harm nobody, and streams are bounded, say what is missing, and end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from zkcore.errors import BadArgumentsError
from zkcore.events import Dispatcher, Dropped, LinkUp, NodeEvent


def link(peer: int) -> LinkUp:
    return LinkUp(node=1, peer=peer)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())


def test_all_who_have_subscribed_are_told_in_the_order_of_subscribing() -> None:
    events, told = Dispatcher(), []
    events.subscribe(lambda event: told.append(("first", event)))
    events.subscribe(lambda event: told.append(("second", event)))
    events.tell(link(2))
    assert told == [("first", link(2)), ("second", link(2))]


def test_a_subscriber_that_raises_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    events, told = Dispatcher(), []

    def broken(event: NodeEvent) -> None:
        raise ValueError("a bug of the application")

    events.subscribe(broken)
    events.subscribe(told.append)
    with caplog.at_level(logging.ERROR, "zkcore.events"):
        events.tell(link(2))
    assert told == [link(2)]
    assert "a bug of the application" in caplog.text


def test_who_unsubscribes_hears_no_more_and_a_stranger_may() -> None:
    events, told = Dispatcher(), []
    events.subscribe(told.append)
    events.unsubscribe(print)
    events.tell(link(2))
    events.unsubscribe(told.append)
    events.tell(link(3))
    assert told == [link(2)]


def test_who_subscribes_while_an_event_is_told_hears_of_the_next_one() -> None:
    events, told = Dispatcher(), []

    def subscribe(event: NodeEvent) -> None:
        if event == link(2):
            events.subscribe(told.append)

    events.subscribe(subscribe)
    events.tell(link(2))
    events.tell(link(3))
    assert told == [link(3)]


def test_a_stream_has_everything_since_it_was_made_and_ends_with_the_dispatcher() -> None:
    async def main() -> None:
        events = Dispatcher()
        events.tell(link(2))
        stream = events.stream()
        events.tell(link(3))
        events.tell(link(4))
        events.close()
        events.tell(link(5))
        assert [event async for event in stream] == [link(3), link(4)]
        assert [event async for event in events.stream()] == []

    run(main)


def test_a_stream_that_nobody_asks_drops_the_oldest_and_says_how_many() -> None:
    async def main() -> None:
        events = Dispatcher()
        stream = events.stream(most=3)
        for peer in range(10):
            events.tell(link(peer))
        assert [await anext(stream) for _ in range(3)] == [Dropped(7), link(7), link(8)]
        for peer in range(10, 13):
            events.tell(link(peer))
        assert [await anext(stream) for _ in range(4)] == [Dropped(1), link(10), link(11), link(12)]
        assert str(Dropped(7)) == "7 events were dropped"

    run(main)


@pytest.mark.parametrize("most", [0, -1])
def test_a_stream_keeps_at_least_one(most: int) -> None:
    with pytest.raises(BadArgumentsError, match="give 1 or more"):
        Dispatcher().stream(most=most)


def test_who_waits_for_the_next_event_is_woken_by_it_and_by_the_end() -> None:
    async def main() -> None:
        events = Dispatcher()
        async with events.stream() as stream:
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            events.tell(link(2))
            assert await waiting == link(2)
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await waiting
        events.tell(link(3))
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(main)


def test_another_thread_may_tell() -> None:
    async def main() -> None:
        events = Dispatcher()
        stream = events.stream()

        def tell() -> None:
            for peer in range(500):
                events.tell(link(peer))
            events.close()

        teller = threading.Thread(target=tell)
        teller.start()
        assert [event async for event in stream] == [link(peer) for peer in range(500)]
        teller.join()

    run(main)
