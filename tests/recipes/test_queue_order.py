"""The queue: priorities, and items that are not to be given out yet."""

from __future__ import annotations

from typing import Any

import pytest
from faults import ACTIONS, attempt
from queues import PATH, claim, drain, fill, new, new_priority
from scripted import Asking, World

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, ConfigMismatchError, LeaseLostError, NoAuthError, QueueEmptyError
from zkcore.jute.records import ACL, Id
from zkcore.recipes.places import delayed, due, ends, holding_back, prioritized, undelayed, visibility_of
from zkcore.recipes.queue import PriorityQueue, Queue
from zkcore.tree.requests import Multi, SetACL

# --- places


def test_the_names_of_items_are_in_the_order_in_which_they_are_given_out() -> None:
    numbers = ("0000000007", "0000000012")
    places = [prioritized(priority) + digits for priority in (0, 9, 10, 999_999) for digits in numbers]
    assert places == sorted(places)
    waiting = [delayed(place, until) for until in (1.0, 1_800_000_000.0, 1_800_000_000.001) for place in ("i-", "j-")]
    assert waiting == sorted(waiting)


def test_a_delayed_item_tells_when_it_is_due_never_too_early_and_what_it_will_be() -> None:
    name = delayed(prioritized(7), 1_800_000_000.0004) + "0000000012"
    assert due(name) == 1_800_000_000.001
    assert undelayed(name) == prioritized(7)


def test_a_claim_that_says_nothing_of_time_is_not_taken_over() -> None:
    assert visibility_of(b"0123456789abcdef") == ends(b"") == ends(b"until when") == float("inf")
    assert ends(holding_back(5.0001)) == 5.001


# --- priorities


def test_the_lowest_priority_comes_first_and_of_one_priority_the_one_that_was_put_first() -> None:
    world = World()
    queue = new_priority(world)
    for item, priority in (("c", 5), ("e", 10), ("a", 0), ("d", 5), ("f", 999_999)):
        world.run(queue.put(item, priority=priority))
    world.run(queue.put_many(["g", "h"]))
    world.run(new_priority(world).put_nowait("b", priority=1))
    assert drain(world, queue) == ["a", "b", "c", "d", "e", "g", "h", "f"]


def test_an_item_that_was_claimed_and_given_up_keeps_its_priority() -> None:
    world = World()
    queue = new_priority(world)
    world.run(queue.put("second", priority=2))
    world.run(queue.put("first", priority=1))
    held = world.run(queue.claim().__aenter__())
    assert held.item == "first"
    world.run(held.release())
    assert drain(world, queue) == ["first", "second"]


@pytest.mark.parametrize("priority", [-1, 1_000_000, 1.5, "1", None])
def test_a_priority_is_a_whole_number_in_its_range(priority: Any) -> None:
    world = World()
    queue = new_priority(world)
    for call in (queue.put(1, priority=priority), queue.put_many([1], priority=priority)):
        with pytest.raises(BadArgumentsError, match="whole number from 0"):
            world.run(call)
    assert world.asked == []


def test_the_kinds_of_queue_do_not_mix() -> None:
    world = World()
    fill(world, "a")
    for call in (new_priority(world).put("b"), new_priority(world).get(), new_priority(world).dead_letters()):
        with pytest.raises(ConfigMismatchError, match="is a queue, not a priority-queue"):
            world.run(call)
    other = PriorityQueue(world.client(), "/other")
    world.run(other.put(b"a"))
    with pytest.raises(ConfigMismatchError, match="is a priority-queue, not a queue"):
        world.run(Queue(world.client(), "/other").get())


# --- delays


def test_a_delayed_item_is_given_out_when_it_is_due_and_not_before() -> None:
    world = World()
    queue = new(world)
    world.run(queue.put("later", delay=5))
    world.run(queue.put("now"))
    assert world.run(queue.qsize()) == 2
    assert drain(world) == ["now"]
    world.sleep(4.999)
    assert drain(world) == []
    world.sleep(0.001)
    assert drain(world) == ["later"]


@pytest.mark.parametrize("how", ["get", "claim"])
def test_who_waits_is_woken_when_the_next_item_is_due(how: str) -> None:
    world = World()
    waiting = world.start(new(world).get() if how == "get" else new(world).claim().__aenter__())
    world.settle()
    world.run(new(world).put("second", delay=7))
    world.run(new(world).put("first", delay=3))
    world.sleep(2.9)
    assert not waiting.is_over
    world.sleep(0.1)
    assert "first" in repr(waiting.outcome()) if how == "get" else waiting.outcome().item == "first"


def test_patience_ends_before_the_item_is_due() -> None:
    world = World()
    world.run(new(world).put("later", delay=5))
    waiting = world.start(new(world).get(timeout=2))
    world.sleep(2)
    with pytest.raises(QueueEmptyError):
        waiting.outcome()


def test_items_that_are_due_join_the_end_of_the_line_in_the_order_in_which_they_were_due() -> None:
    world = World()
    queue = new(world)
    for number in range(40):
        world.run(queue.put(number, delay=40 - number))
    world.run(queue.put_many(["a", "b"]))
    world.sleep(100)
    assert world.run(queue.get()) == "a"
    world.run(queue.put("c"))
    assert drain(world) == ["b", *reversed(range(40)), "c"]


def test_an_item_that_is_due_is_among_those_of_its_priority() -> None:
    world = World()
    queue = new_priority(world)
    world.run(queue.put("urgent", priority=1, delay=3))
    world.run(queue.put("usual", priority=5))
    assert world.run(queue.get()) == "usual"
    world.run(queue.put("usual", priority=5))
    world.sleep(3)
    assert drain(world, queue) == ["urgent", "usual"]


def test_delayed_items_take_up_room_and_are_waited_for() -> None:
    world = World()
    queue = new(world, maxsize=1)
    world.run(queue.put("later", delay=5))
    assert world.run(queue.full()) is True
    joining = world.start(new(world).join())
    world.sleep(5)
    assert not joining.is_over
    assert drain(world) == ["later"]
    world.settle()
    assert joining.outcome() is True


def test_large_items_that_are_due_do_not_all_join_in_one_request() -> None:
    world = World()
    queue = Queue(world.client(), PATH)
    for letter, size in zip(b"abcd", (500_000, 1_000_000, 500_000, 10), strict=True):
        world.run(queue.put(bytes([letter]) * size, delay=1))
    world.sleep(1)
    assert [data[:1] for data in (world.run(queue.get()) for _ in range(4))] == [b"a", b"b", b"c", b"d"]


def test_items_that_may_not_be_read_are_not_moved_and_lost() -> None:
    world = World()
    world.run(new(world).put("later", delay=1))
    (name,) = world.children(f"{PATH}/items")
    world.do(world.client().session_id, SetACL(f"{PATH}/items/{name}", [ACL(2, Id("world", "anyone"))]))
    world.sleep(1)
    with pytest.raises(NoAuthError):
        world.run(new(world).get_nowait())
    assert world.children(f"{PATH}/items") == [name]


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), 1e12])
def test_a_delay_is_neither_negative_nor_endless(delay: float) -> None:
    world = World()
    fill(world, "a")
    _, held = claim(world)
    world.asked.clear()
    for call in (new(world).put(1, delay=delay), new_priority(world).put(1, delay=delay), held.release(delay=delay)):
        with pytest.raises(BadArgumentsError, match="a delay of"):
            world.run(call)
    assert world.asked == []
    held.lease.check()


# --- holding back


def test_what_is_released_with_a_delay_comes_again_after_it_where_it_stood() -> None:
    world = World()
    fill(world, "a", "b", "c")
    _, held = claim(world)
    world.run(held.release(delay=5))
    waiting = world.start(new(world).join())
    assert world.run(new(world).get()) == "b"
    world.sleep(4.9)
    assert not waiting.is_over
    _, other = claim(world)
    assert other.item == "c"
    world.sleep(0.1)
    _, again = claim(world)
    assert (again.item, again.deliveries) == ("a", 2)
    assert again.lease.fencing_token > held.lease.fencing_token
    world.run(again.ack())
    world.run(other.ack())
    world.settle()
    assert waiting.outcome() is True
    assert world.children(f"{PATH}/claims") == []


@pytest.mark.parametrize("how", ["get", "claim"])
def test_who_waits_is_woken_when_an_item_is_no_longer_held_back(how: str) -> None:
    world = World()
    fill(world, "a")
    _, held = claim(world)
    world.run(held.release(delay=5))
    waiting = world.start(new(world).get() if how == "get" else new(world).claim().__aenter__())
    world.sleep(4.9)
    assert not waiting.is_over
    world.sleep(0.1)
    assert (waiting.outcome() if how == "get" else waiting.outcome().item) == "a"


# --- everything at every await


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("what", ["put", "get", "move", "release"])
def test_a_fault_at_any_await_neither_doubles_a_delayed_item_nor_loses_it(action: str, what: str) -> None:
    async def work(client: Client) -> list[str]:
        queue = new(world, client)
        if what == "put":
            await queue.put("new", delay=3)
        elif what == "release":
            async with queue.claim() as claimed:
                await claimed.release(delay=3)
        else:
            return [await queue.get()]
        return []

    for at in range(60):
        world = World()
        if what == "move":
            world.run(new(world).put_many(["old"], delay=3))
            world.sleep(3)
        else:
            fill(world, "old")
        client = world.client()
        run, hit = attempt(world, work(client), action, at, also=(LeaseLostError,) if action == "expired" else ())
        world.sleep(3)
        left = drain(world)
        got = [] if run.error is not None else run.result
        expected = ["old", "new"] if what == "put" else ["old"]
        if run.error is None:
            assert got + left == expected, f"{action} at {at}"
        elif action != "expired" or what not in ("get", "move"):
            assert left in (["old"], expected), f"{action} at {at}"
        assert world.children(f"{PATH}/claims") == [], f"{action} at {at}"
        if not hit:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")


def test_of_several_who_find_an_item_due_one_moves_it() -> None:
    world = World()
    for number in range(3):
        world.run(new(world).put(number, delay=1))
    world.sleep(1)

    getting = world.start(new(world).get())
    while not (isinstance(getting.at, Asking) and type(getting.at.op) is Multi and len(getting.at.op.operations) == 9):
        world.step(getting)
    faster = world.start(new(world).get())
    while not faster.is_over:
        world.step(faster)
    world.settle()
    assert (faster.outcome(), getting.outcome()) == (0, 1)
    assert drain(world) == [2]
