"""The queue: items that are given out again and again become dead letters, and none of them is lost."""

from __future__ import annotations

from typing import Any

import pytest
from faults import ACTIONS, attempt
from queues import PATH, claim, drain, fill, new, new_priority
from scripted import World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    ItemTooLargeError,
    LeaseLostError,
    NoNodeError,
    QueueEmptyError,
    QueueFullError,
    QueueShutDownError,
)
from zkcore.recipes.queue import Queue
from zkcore.tree.requests import Delete, Multi


def fail(world: World, queue: Queue[Any]) -> None:
    """Claim something, and fail."""

    async def work() -> None:
        async with queue.claim(timeout=0):
            raise ValueError("out of\npaper")

    with pytest.raises(ValueError, match="paper"):
        world.run(work())


def buried(world: World) -> list[Any]:
    return [letter.item for letter in world.run(new(world).dead_letters())]


def test_what_failed_as_often_as_it_may_is_a_dead_letter_that_says_why() -> None:
    world = World()
    fill(world, "a", "b")
    queue = new(world, max_deliveries=3)
    for _ in range(2):
        fail(world, queue)
        assert buried(world) == []
    fail(world, queue)
    (letter,) = world.run(queue.dead_letters())
    assert (letter.item, letter.data, letter.deliveries) == ("a", b'"a"', 3)
    assert letter.reason == "ValueError: out of paper"
    assert drain(world) == ["b"]
    assert world.children(f"{PATH}/claims") == []
    assert world.run(new(world).join(timeout=0)) is True, "a dead letter is done"


@pytest.mark.parametrize("end", ["released", "released late", "cancelled", "expired", "codec"])
def test_every_claim_that_is_not_acknowledged_counts(end: str) -> None:
    world = World()
    world.run(Queue(world.client(), PATH).put(b"{" if end == "codec" else b'"a"'))
    for _ in range(2):
        client = world.client()
        queue = new(world, client, max_deliveries=2)
        if end == "codec":
            with pytest.raises(CodecError):
                world.run(queue.claim().__aenter__())
            continue
        run, held = claim(world, queue=queue, client=client)
        if end == "cancelled":
            world.interrupt(run)
        elif end == "expired":
            world.expire(client)
        else:
            world.run(held.release(delay=3 if end == "released late" else 0))
            world.sleep(3)
    with pytest.raises(QueueEmptyError):
        world.run(new(world, max_deliveries=2).get_nowait())
    (letter,) = world.run(new(world).dead_letters())
    assert letter.deliveries == 2
    assert letter.reason.startswith(
        {"expired": "the claim was lost", "codec": f"{PATH}: json_codec cannot decode", "cancelled": "Interrupted"}.get(
            end, "it was released"
        )
    )
    if end == "codec":
        assert letter.data == b"{"
        with pytest.raises(CodecError):
            _ = letter.item


def test_what_was_got_and_cannot_be_decoded_is_a_dead_letter_and_blocks_nobody() -> None:
    world = World()
    plain = Queue(world.client(), PATH)
    world.run(plain.put_many([b"{", b'"a"']))
    queue = new(world)
    with pytest.raises(CodecError, match="another codec"):
        world.run(queue.get())
    assert world.run(queue.get()) == "a"
    (letter,) = world.run(plain.dead_letters())
    assert (letter.item, letter.deliveries) == (b"{", 1)
    assert "json_codec cannot decode" in letter.reason
    world.run(plain.requeue(letter))
    assert world.run(plain.get()) == b"{"


@pytest.mark.parametrize("action", ACTIONS)
def test_what_cannot_be_decoded_is_never_lost(action: str) -> None:
    at, is_hit = 0, True
    while is_hit:
        world = World()
        world.run(Queue(world.client(), PATH).put(b"{"))
        queue = new(world)
        _, is_hit = attempt(world, queue.get(timeout=0.1), action, at, also=(CodecError, QueueEmptyError))
        kept = [name for folder in ("items", "dead") for name in world.children(f"{PATH}/{folder}")]
        assert len(kept) == 1, f"{action} at {at}"
        at += 1
    assert at > 3


def test_who_sets_no_limit_is_given_it_for_ever() -> None:
    world = World()
    fill(world, "a")
    for number in range(1, 6):
        _, held = claim(world)
        assert held.deliveries == number
        world.run(held.release())
    assert buried(world) == []


def test_dead_letters_are_in_the_order_in_which_they_were_given_up() -> None:
    world = World()
    queue = new_priority(world, max_deliveries=1)
    for priority in (3, 2, 1):
        world.run(queue.put(priority, priority=priority))
        fail(world, queue)  # type: ignore[arg-type]
    assert [letter.item for letter in world.run(queue.dead_letters())] == [3, 2, 1]


def test_a_dead_letter_can_be_put_again_with_its_priority_and_a_new_count() -> None:
    world = World()
    queue = new_priority(world, max_deliveries=1)
    world.run(queue.put("first", priority=1))
    fail(world, queue)  # type: ignore[arg-type]
    world.run(queue.put("second", priority=1))
    world.run(queue.put("third", priority=2))
    (letter,) = world.run(queue.dead_letters())
    world.run(queue.requeue(letter))
    assert world.run(queue.dead_letters()) == ()
    assert drain(world, queue) == ["second", "first", "third"]
    with pytest.raises(NoNodeError, match="somebody else"):
        world.run(queue.requeue(letter))
    world.run(queue.discard(letter))


def test_a_dead_letter_waits_for_room_and_is_not_put_into_what_is_shut_down() -> None:
    world = World()
    queue = new(world, maxsize=1, max_deliveries=1)
    world.run(queue.put("a"))
    fail(world, queue)
    world.run(queue.put("b"))
    (letter,) = world.run(queue.dead_letters())
    with pytest.raises(QueueFullError):
        world.run(queue.requeue(letter, timeout=0))
    waiting = world.start(queue.requeue(letter))
    assert world.run(new(world).get()) == "b"
    world.settle()
    assert waiting.is_over
    fail(world, queue)
    (letter,) = world.run(queue.dead_letters())
    world.run(queue.shutdown())
    with pytest.raises(QueueShutDownError):
        world.run(queue.requeue(letter))
    assert [each.item for each in world.run(queue.dead_letters())] == ["a"]
    world.run(queue.discard(letter))
    assert world.run(queue.dead_letters()) == ()


def test_an_item_of_the_largest_size_can_become_a_dead_letter_and_be_put_again() -> None:
    world = World()
    queue = Queue(world.client(), "/" + "q" * 300, max_deliveries=1)
    data = b"x" * ((1 << 20) - 1 - 2048 - 8 * 301 - 100 - 301)
    world.run(queue.put(data))
    with pytest.raises(ItemTooLargeError):
        world.run(queue.put(data + b"x"))

    async def work() -> None:
        async with queue.claim():
            raise ValueError("\N{SNOWMAN}" * 1000)

    with pytest.raises(ValueError):
        world.run(work())
    (letter,) = world.run(queue.dead_letters())
    assert letter.data == data
    world.run(queue.requeue(letter))
    assert world.run(queue.get()) == data


@pytest.mark.parametrize("count", [0, -1])
def test_an_item_is_given_out_once_at_least(count: int) -> None:
    with pytest.raises(BadArgumentsError, match="at least 1"):
        new(World(), max_deliveries=count)


def test_of_two_who_find_it_given_out_too_often_one_buries_it() -> None:
    world = World()
    fill(world, "a")
    client = world.client()
    claim(world, queue=new(world, client), client=client)
    world.expire(client)
    looking = [world.start(new(world, max_deliveries=1).get(timeout=1)) for _ in range(2)]
    moving = True
    while moving:
        moving = any(list(map(world.step, looking)))
    world.sleep(1)
    for run in looking:
        with pytest.raises(QueueEmptyError):
            run.outcome()
    assert buried(world) == ["a"]


# --- everything at every await


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("what", ["fail", "look", "requeue"])
def test_a_fault_at_any_await_neither_doubles_a_dead_letter_nor_loses_it(action: str, what: str) -> None:
    async def work(client: Client) -> None:
        queue = new(world, client, max_deliveries=1)
        if what == "fail":
            try:
                async with queue.claim():
                    raise ValueError
            except ValueError:
                pass
        elif what == "look":
            try:
                await queue.get(timeout=0.5)
            except QueueEmptyError:
                pass
        else:
            for letter in await queue.dead_letters():
                await queue.requeue(letter)

    for at in range(60):
        world = World()
        fill(world, "a")
        client = world.client()
        if what != "fail":
            run, _ = claim(world, client)
            world.expire(client)
            client = world.client()
        if what == "requeue":
            with pytest.raises(QueueEmptyError):
                world.run(new(world, max_deliveries=1).get_nowait())
        run, hit = attempt(world, work(client), action, at, also=(LeaseLostError,))
        left = len(drain(world, new(world, max_deliveries=1))) if what == "requeue" else len(drain(world))
        letters = buried(world)
        assert left + len(letters) == 1, f"{action} at {at}"
        if run.error is None and action != "expired":
            assert bool(letters) == (what != "requeue"), f"{action} at {at}"
        if not hit:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")


def test_a_claim_that_cannot_be_buried_is_given_back_all_the_same() -> None:
    world = World()
    fill(world, "a")
    world.do(world.client().session_id, Delete(f"{PATH}/dead"))
    queue = new(world, max_deliveries=1)
    queue._stock._is_there = True
    fail(world, queue)
    assert world.children(f"{PATH}/claims") == []
    assert drain(world) == ["a"]


def test_giving_up_is_one_transaction() -> None:
    world = World()
    fill(world, "a")
    _, held = claim(world, queue=new(world, max_deliveries=1))
    world.asked.clear()
    world.run(held.release())
    ((_, op),) = world.asked
    assert isinstance(op, Multi)
    assert len(op.operations) == 4
