"""Plays of the mailbox."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

from playing import CROWD, FAULTS, WITH_EXPIRY, Work, crowd, impatient, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


class Post:
    """What was sent, and what became of it. A message is done once it is acknowledged, and only then."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.sent: set[int] = set()
        self.dealing: set[int] = set()
        """Those whose work is done, and which may have been acknowledged."""
        self.done: set[int] = set()
        self.tokens: Counter[int] = Counter()
        self.begun: list[int] = []

    def begin(self, name: str, message: zkcore.Message[list[object]]) -> int:
        """`name` got it."""
        number, to = message.item
        assert isinstance(number, int)
        message.lease.check()  # it may have been claimed before a pause that was too long for it
        assert to == name, f"{name} gets what was sent to {to}"
        assert number not in self.done, f"{number} is given out again after it was acknowledged"
        assert message.lease.fencing_token > self.tokens[number], f"{number} comes again with no higher token"
        self.tokens[number] = message.lease.fencing_token
        self.begun.append(number)
        return number


@play(WITH_EXPIRY)
async def what_is_sent_is_dealt_with_by_who_it_was_sent_to(world: AppWorld) -> None:
    """Everybody writes to everybody, and some receivers fail, while anything may happen."""
    post = Post()
    rng = world.rng("letters")
    stopped: list[bool] = []

    def work(name: str) -> Work:
        async def correspond(client: zkcore.Client) -> None:
            box: zkcore.Mailbox[list[object]] = zkcore.Mailbox(
                client, "/mail", name, codec=zkcore.json_codec, maxsize=8, max_deliveries=None
            )
            try:
                if not stopped:
                    number, to = next(post.numbers), rng.choice(CROWD)
                    await box.send(to, [number, to], timeout=0.5)
                    post.sent.add(number)
                async with impatient(rng), box.receive(timeout=0.3) as message:
                    number = post.begin(name, message)
                    assert message.sender in CROWD
                    await asyncio.sleep(0.2)
                    if rng.random() < 0.2 and not stopped:
                        raise RuntimeError("out of paper")
                    post.dealing.add(number)
                    await message.ack()
                    post.done.add(number)
            except (zkcore.QueueEmptyError, zkcore.QueueFullError, RuntimeError):
                await asyncio.sleep(0.2)

        return correspond

    crowd(world, work)
    await storm(world)
    stopped.append(True)
    await world.eventually("all that was sent is dealt with", lambda: post.sent <= post.dealing, within=90)


@play(FAULTS)
async def who_reads_one_after_the_other_acknowledges_what_it_has_read(world: AppWorld) -> None:
    """One mailbox, read by all: the iterator acknowledges a message when the next is asked for, and not before."""
    post = Post()
    stopped: list[bool] = []

    def work(name: str) -> Work:
        async def correspond(client: zkcore.Client) -> None:
            box: zkcore.Mailbox[list[object]] = zkcore.Mailbox(
                client, "/mail", "all", codec=zkcore.json_codec, max_deliveries=None
            )
            if name == CROWD[0] and not stopped:
                number = next(post.numbers)
                await box.send("all", [number, "all"])
                post.sent.add(number)
                await asyncio.sleep(0.2)
                return
            last: int | None = None
            async with box.messages() as messages:
                async for message in messages:
                    if last is not None:
                        post.done.add(last)
                    last = post.begin("all", message)
                    await asyncio.sleep(0.2)
                    message.lease.check()
                    post.dealing.add(last)

        return correspond

    crowd(world, work)
    await storm(world)
    stopped.append(True)
    await world.eventually("all that was sent is dealt with", lambda: post.sent <= post.dealing, within=90)
