"""The queue: in order, bounded, each item to one consumer, and back where a claimant failed."""

from __future__ import annotations

import queue as standard
from collections.abc import Callable
from typing import Any

import pytest
from faults import ACTIONS, attempt
from queues import PATH, claim, drain, fill, new
from scripted import Asking, Point, Run, World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    ConfigMismatchError,
    ItemTooLargeError,
    LeaseLostError,
    QueueEmptyError,
    QueueFullError,
)
from zkcore.recipes.codec import text_codec
from zkcore.recipes.queue import Queue
from zkcore.tree import requests
from zkcore.tree.requests import Create, Delete, DeleteTree, Multi, Request
from zkcore.tree.znode import CreateMode


def test_items_come_out_in_the_order_in_which_they_were_put() -> None:
    world = World()
    first, second = new(world), new(world)
    for number in range(5):
        world.run((first, second)[number % 2].put(number))
    world.run(second.put_many([5, 6, 7]))
    assert world.run(first.qsize()) == 8
    assert drain(world) == list(range(8))
    assert world.run(first.empty()) is True


def test_who_waits_for_an_item_gets_the_next_one_and_nobody_else_does() -> None:
    world = World()
    waiting = [world.start(new(world).get()) for _ in range(3)]
    world.settle()
    fill(world, "a")
    world.settle()
    assert [run.result for run in waiting if run.is_over] == ["a"]
    fill(world, "b", "c")
    world.settle()
    assert sorted(run.outcome() for run in waiting) == ["a", "b", "c"]


@pytest.mark.parametrize("timeout", [0, 0.5])
def test_an_empty_queue_says_so_in_time_with_an_error_of_the_standard_library(timeout: float) -> None:
    world = World()
    run = world.start(new(world).get(timeout=timeout))
    world.sleep(timeout)
    with pytest.raises(standard.Empty):
        run.outcome()


def test_a_bounded_queue_takes_no_more_than_it_has_room_for() -> None:
    world = World()
    queue = new(world, maxsize=2)
    world.run(queue.put_many([1, 2]))
    assert world.run(queue.full()) is True
    with pytest.raises(standard.Full):
        world.run(queue.put_nowait(3))
    waiting = world.start(queue.put(3))
    late = world.start(new(world, maxsize=2).put(4, timeout=1))
    world.settle()
    assert not waiting.is_over
    assert world.run(new(world).get()) == 1
    world.settle()
    assert waiting.is_over != late.is_over
    world.sleep(1)
    assert late.is_over
    assert world.run(queue.qsize()) == 2


def test_several_items_are_put_together_or_not_at_all() -> None:
    world = World()
    queue = new(world, maxsize=3)
    world.run(queue.put_many([1, 2]))
    with pytest.raises(QueueFullError):
        world.run(queue.put_many([3, 4], timeout=0))
    assert world.run(queue.qsize()) == 2
    world.run(queue.put_many([]))
    assert drain(world) == [1, 2]


# --- claims


def test_a_claimed_item_is_nobody_elses_and_is_gone_when_the_work_is_done() -> None:
    world = World()
    fill(world, "a", "b")
    client = world.client()

    async def work() -> str:
        async with new(world, client).claim() as claimed:
            assert await new(world).get() == "b"
            with pytest.raises(QueueEmptyError):
                await new(world).get_nowait()
            claimed.lease.check()
            return str(claimed.item)

    assert world.run(work()) == "a"
    assert world.run(new(world).qsize()) == 0
    assert world.children(f"{PATH}/claims") == []


@pytest.mark.parametrize("end", ["raised", "released", "expired", "cancelled"])
def test_what_was_claimed_and_not_done_is_the_first_again_and_has_a_higher_token(end: str) -> None:
    world = World()
    fill(world, "a", "b")
    client = world.client()
    run, first = claim(world, client)
    waiting = world.start(new(world).join())
    if end == "raised":
        run.throw(ValueError("of its own"))
    elif end == "cancelled":
        world.interrupt(run)
    elif end == "released":
        world.run(first.release())
    else:
        world.expire(client)
    world.settle()
    _, again = claim(world)
    assert again.item == "a"
    assert again.lease.fencing_token > first.lease.fencing_token
    with pytest.raises(LeaseLostError):
        world.run(first.ack())
    world.run(again.ack())
    world.run(again.release())
    assert not waiting.is_over
    assert drain(world) == ["b"]
    world.settle()
    assert waiting.outcome() is True


def test_who_waits_is_woken_when_a_claim_is_given_up() -> None:
    world = World()
    fill(world, "a")
    _, held = claim(world)
    waiting = world.start(new(world).get())
    world.settle()
    assert not waiting.is_over
    world.run(held.release())
    world.settle()
    assert waiting.outcome() == "a"


def test_a_claim_that_was_lost_cannot_be_acknowledged_and_takes_nobody_elses_away() -> None:
    world = World()
    fill(world, "a")
    client = world.client()
    run, _ = claim(world, client)
    world.expire(client)
    _, again = claim(world)
    world.interrupt(run)
    again.lease.check()
    assert world.run(new(world).qsize()) == 1
    assert len(world.children(f"{PATH}/claims")) == 1


def test_a_claim_that_somebody_deleted_is_lost_and_takes_nobody_elses_away() -> None:
    world = World()
    fill(world, "a")
    _, first = claim(world)
    world.do(world.client().session_id, Delete(first.lease.path))
    _, again = claim(world)
    assert again.lease.path == first.lease.path
    with pytest.raises(LeaseLostError):
        world.run(first.ack())
    again.lease.check()
    assert len(world.children(f"{PATH}/claims")) == 1
    world.run(again.release())
    assert drain(world) == ["a"]


def test_who_takes_sees_to_it_once_that_the_queue_is_there_and_again_where_it_was_deleted() -> None:
    world = World()
    fill(world, "a", "b")
    queue = new(world)
    assert world.run(queue.get()) == "a"
    world.asked.clear()
    assert world.run(queue.get()) == "b"
    assert len([request for _, request in world.asked if request.writes]) == 1
    world.do(world.client().session_id, DeleteTree(PATH, 100))
    assert drain(world, queue) == []
    fill(world, "c")
    assert drain(world, queue) == ["c"]


@pytest.mark.parametrize("claimed", [0, 1, 70])
def test_what_is_claimed_hides_nothing_that_is_free(claimed: int) -> None:
    world = World()
    fill(world, *range(claimed + 2))
    for _ in range(claimed):
        claim(world)
    assert drain(world) == [claimed, claimed + 1]


class LostOnce:
    """Loses the answer to the first request that `hits`, and does something before it is sent again."""

    def __init__(self, hits: Callable[[Request[Any]], bool], then: Callable[[], object]) -> None:
        self._hits, self._then = hits, then
        self._state = "waiting"

    def __call__(self, run: Run, point: Point) -> str | None:
        if not isinstance(point, Asking) or not self._hits(point.op):
            return None
        if self._state == "waiting":
            self._state = "lost"
            return "lost after"
        if self._state == "lost":
            self._state = "over"
            self._then()
        return None


def test_a_release_whose_answer_was_lost_takes_no_later_claim_away() -> None:
    world = World()
    fill(world, "a")
    _, first = claim(world)
    later = world.client()
    path = first.lease.path
    world.script = LostOnce(
        lambda op: isinstance(op, Multi) and op.operations[-1] == Delete(path),
        lambda: world.do(later.session_id, Create(path, b"later", mode=CreateMode.EPHEMERAL)),
    )
    world.run(first.release())
    assert world.children(f"{PATH}/claims") == [path.rpartition("/")[2]]


def test_an_item_that_is_put_back_is_not_put_back_twice() -> None:
    world = World()
    fill(world, "a")
    (name,) = world.children(f"{PATH}/items")
    path = f"{PATH}/items/{name}"
    getting = world.start(new(world).get())
    world.script = lambda run, point: (
        "interrupted after" if isinstance(point, Asking) and isinstance(point.op, requests.Once) else None
    )
    while isinstance(getting.at, Asking):
        world.step(getting)
    assert world.children(f"{PATH}/items") == []
    world.script = LostOnce(
        lambda op: isinstance(getattr(op, "request", None), Create),
        lambda: world.do(world.client().session_id, Delete(path)),
    )
    world.settle()
    assert world.children(f"{PATH}/items") == []


def test_items_are_looked_for_behind_many_that_are_claimed() -> None:
    world = World()
    fill(world, *range(70))
    for number in range(66):
        _, held = claim(world)
        assert held.item == number
    assert drain(world) == [66, 67, 68, 69]


def test_join_waits_until_everything_is_done_or_gives_up() -> None:
    world = World()
    assert world.run(new(world).join()) is True
    fill(world, "a")
    giving_up = world.start(new(world).join(timeout=2))
    world.sleep(2)
    assert giving_up.outcome() is False


# --- bad input


@pytest.mark.parametrize("path", ["", "/", "jobs"])
def test_a_queue_needs_a_path_of_its_own(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        Queue(World().client(), path)


def test_a_maxsize_is_not_negative_and_all_who_put_have_the_same() -> None:
    world = World()
    with pytest.raises(BadArgumentsError):
        new(world, maxsize=-1)
    fill(world, "a", maxsize=3)
    with pytest.raises(ConfigMismatchError, match="maxsize of 3, not 4"):
        world.run(new(world, maxsize=4).put("b"))
    assert drain(world) == ["a"], "who only takes need not know"


def test_a_znode_that_is_no_queue_is_refused() -> None:
    world = World()
    world.do(world.client().session_id, Create(PATH, b"mine"))
    for call in (new(world).put(1), new(world).get()):
        with pytest.raises(ConfigMismatchError, match="no queue"):
            world.run(call)


def test_an_item_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    world = World()
    queue = Queue(world.client(), PATH, maxsize=2, codec=text_codec)
    for items in (["x" * (1 << 20)], ["x" * 600_000] * 2):
        with pytest.raises(ItemTooLargeError, match="put"):
            world.run(queue.put_many(items))
    with pytest.raises(BadArgumentsError, match="never fit"):
        world.run(queue.put_many(["a", "b", "c"]))
    assert world.asked == []


def test_a_codec_that_fails_says_what_it_could_not_do_and_loses_no_claimed_item() -> None:
    world = World()
    with pytest.raises(CodecError, match="cannot encode set"):
        world.run(new(world).put({1}))
    plain = Queue(world.client(), PATH)
    with pytest.raises(CodecError, match="makes bytes"):
        world.run(plain.put("text"))  # type: ignore[arg-type]
    world.run(plain.put(b"{"))
    with pytest.raises(CodecError, match="written with another codec"):
        world.run(new(world).claim().__aenter__())
    assert world.run(plain.qsize()) == 1
    assert world.children(f"{PATH}/claims") == []


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_is_not_negative(timeout: float) -> None:
    world = World()
    for call in (new(world).put(1, timeout=timeout), new(world).get(timeout=timeout), new(world).join(timeout=timeout)):
        with pytest.raises(BadArgumentsError):
            world.run(call)


# --- everything at every await


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("what", ["put", "get", "claim"])
def test_a_fault_at_any_await_neither_doubles_an_item_nor_loses_one(action: str, what: str) -> None:
    async def work(client: Client) -> list[str]:
        queue = new(world, client)
        if what == "put":
            await queue.put("new")
        elif what == "get":
            return [await queue.get()]
        else:
            async with queue.claim() as claimed:
                return [claimed.item]
        return []

    for at in range(40):
        world = World()
        fill(world, "old")
        client = world.client()
        run, hit = attempt(world, work(client), action, at, also=(LeaseLostError,) if action == "expired" else ())
        left = drain(world)
        if what == "put":
            # What was interrupted or ended may have been put, once.
            assert left in ([["old", "new"]] if run.error is None else [["old"], ["old", "new"]]), f"{action} at {at}"
        elif run.error is None:
            assert run.result + left == ["old"], f"{action} at {at}"
        elif what == "claim":
            assert left in (["old"], []), f"{action} at {at}"  # what was done may not have been acknowledged
        elif action != "expired":
            assert left == ["old"], f"{action} at {at}"
        assert not world.tree.ephemerals(client.session_id), f"{action} at {at}"
        if not hit:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")
