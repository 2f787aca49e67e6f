"""Plays of the topic."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

from playing import CROWD, FAULTS, Work, crowd, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


class Story:
    """What was published, in which order, and how far everybody has read."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.zxids: dict[int, int] = {}
        """Of what anybody has seen, or has been told to have published, the transaction."""
        self.by_zxid: dict[int, int] = {}
        self.begun: set[int] = set()

    def note(self, number: int, zxid: int) -> None:
        assert self.zxids.setdefault(number, zxid) == zxid, f"{number} was published twice"
        assert self.by_zxid.setdefault(zxid, number) == number, "two messages of one transaction"
        assert number in self.begun, f"nobody published {number}"

    def between(self, first: int, last: int) -> set[int]:
        """What is known to be published behind one zxid, up to another."""
        return {number for number, zxid in self.zxids.items() if first < zxid <= last}


def topic_of(client: zkcore.Client, history: int) -> zkcore.Topic[int]:
    return zkcore.Topic(client, "/topic", codec=zkcore.json_codec, history=history)


@play(FAULTS)
async def every_subscriber_gets_every_message_in_one_order(world: AppWorld) -> None:
    """All publish and all subscribe; who comes back goes on where it was. Nothing is dropped in so short a time."""
    story = Story()
    places: Counter[str] = Counter()  # on a disk of each app's own, so to say
    read: dict[str, set[int]] = {name: set() for name in CROWD}
    stopped: list[bool] = []

    def work(name: str) -> Work:
        async def both(client: zkcore.Client) -> None:
            reading = asyncio.create_task(follow(client))
            try:
                while not stopped:
                    number = next(story.numbers)
                    story.begun.add(number)
                    story.note(number, await topic_of(client, 5000).publish(number))
                    await asyncio.sleep(0.3)
                await reading
            finally:
                reading.cancel()
                await asyncio.wait([reading])

        async def follow(client: zkcore.Client) -> None:
            async for message in await topic_of(client, 5000).subscribe(since=places[name]):
                assert message.zxid > places[name], f"{name} gets something twice, or out of order"
                missed = story.between(places[name], message.zxid) - {message.item}
                assert not missed, f"{name} does not get {missed}"
                story.note(message.item, message.zxid)
                places[name] = message.zxid
                read[name].add(message.item)

        return both

    crowd(world, work)
    await storm(world)
    stopped.append(True)
    await world.eventually(
        "everybody has read everything", lambda: all(read[name] >= story.zxids.keys() for name in CROWD), within=60
    )


@play(FAULTS)
async def who_is_slow_is_told_what_it_has_missed_and_nothing_is_missed_in_silence(world: AppWorld) -> None:
    """Hardly anything is kept, and subscribers take naps."""
    story = Story()
    rng = world.rng("naps")
    told: Counter[str] = Counter()
    read: Counter[str] = Counter()

    def work(name: str) -> Work:
        async def both(client: zkcore.Client) -> None:
            topic = topic_of(client, 4)
            subscription = await topic.subscribe(since=rng.choice([0, None]))
            place, is_told = subscription.zxid, False
            for _ in range(4):
                number = next(story.numbers)
                story.begun.add(number)
                story.note(number, await topic.publish(number))
                if rng.random() < 0.3:
                    await asyncio.sleep(rng.uniform(0, 2))
                for _ in range(rng.randrange(4)):
                    try:
                        async with asyncio.timeout(0.5):
                            message = await anext(subscription)
                    except TimeoutError:
                        break
                    except zkcore.MessagesMissedError:
                        is_told = True
                        told[name] += 1
                        continue
                    story.note(message.item, message.zxid)
                    missed = story.between(place, message.zxid) - {message.item}
                    assert is_told or not missed, f"{name} misses {missed}, and is not told"
                    assert message.zxid > place, f"{name} gets something twice, or out of order"
                    place, is_told = message.zxid, False
                    read[name] += 1
            async with world.client() as looker:
                assert len(await looker.get_children("/topic/messages")) <= 4 + 2 * len(CROWD), "too much is kept"

        return both

    crowd(world, work)
    await storm(world)
    before = Counter(read)
    await world.eventually("everybody reads on", lambda: all(read[name] > before[name] for name in CROWD), within=60)
    await world.eventually("somebody is told", lambda: sum(told.values()) > 0, within=60)
