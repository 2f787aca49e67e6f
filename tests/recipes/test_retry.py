"""What is asked again, what is not, and that nothing happens twice: over a Port whose every answer the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from scripted import Asking, Point, Run, Waiting, World

import zkcore
import zkcore.sync as blocking
from zkcore import Retry, WriteRetry
from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.client.retry import RetryPort
from zkcore.errors import (
    BadArgumentsError,
    ConnectionLostError,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    SessionExpiredError,
    ThrottledError,
)
from zkcore.recipes.waiting import FOR_EVER, ask_once
from zkcore.tree.once import WINDOW
from zkcore.tree.requests import Create, Once


def fail(*actions: str | None) -> Callable[[Run, Point], str | None]:
    """The first requests meet these, the others nothing."""
    left = list(actions)

    def script(run: Run, point: Point) -> str | None:
        return left.pop(0) if left and isinstance(point, Asking) else None

    return script


def ask(world: World, call: Any, *, seconds: float = 60.0) -> Run:
    """A call that goes as far as it can in so much time."""
    run = world.start(call)
    for _ in range(int(seconds * 100)):
        world.sleep(0.01)
        if run.is_over:
            break
    return run


def numbered(world: World) -> list[str]:
    return [name for name in world.children("/") if name.startswith("n-")]


LOST = ["lost before", "lost after", "throttled"]


@pytest.mark.parametrize("writes", WriteRetry)
@pytest.mark.parametrize("action", LOST)
def test_a_read_is_asked_again_whatever_became_of_it(action: str, writes: WriteRetry) -> None:
    world = World()
    client = world.client().with_retry(Retry(writes=writes))
    world.script = fail(action, action, action)
    assert ask(world, client.exists("/")).outcome() is not None


@pytest.mark.parametrize("action", LOST)
def test_a_write_is_carried_out_once_by_default(action: str) -> None:
    world = World()
    client = world.client().with_retry()
    world.script = fail(action, action)
    assert ask(world, client.create("/n-", sequence=True)).outcome() == "/n-0000000000"
    assert numbered(world) == ["n-0000000000"]
    world.script = fail(action)
    ask(world, client.delete("/n-0000000000")).outcome()
    assert numbered(world) == []
    t = client.transaction()
    t.create("/n-", sequence=True)
    world.script = fail(action)
    assert ask(world, t.commit()).outcome() == ("/n-0000000001",)
    assert numbered(world) == ["n-0000000001"]


def test_a_write_that_may_happen_twice_does() -> None:
    world = World()
    client = world.client().with_retry(Retry(writes=WriteRetry.AGAIN))
    world.script = fail("lost after", "lost after")
    assert ask(world, client.create("/n-", sequence=True)).outcome() == "/n-0000000002"
    assert len(numbered(world)) == 3
    world.script = fail("lost after")
    with pytest.raises(NoNodeError):
        ask(world, client.delete("/n-0000000000")).outcome()
    assert not any(isinstance(request, Once) for _, request in world.asked)


def test_a_write_that_must_not_is_told_that_nobody_knows_and_asked_again_where_it_was_refused() -> None:
    world = World()
    client = world.client().with_retry(Retry(writes=WriteRetry.NEVER))
    for action in ("lost before", "lost after"):
        world.script = fail(action)
        with pytest.raises(ConnectionLostError):
            ask(world, client.create(f"/{action[5:]}")).outcome()
    assert world.children("/") == ["after", "zookeeper"]
    world.script = fail("throttled", "throttled")
    assert ask(world, client.create("/a")).outcome() == "/a"


def test_an_answer_is_an_answer() -> None:
    world = World()
    client = world.client().with_retry()
    with pytest.raises(NoNodeError):
        ask(world, client.get("/missing")).outcome()
    world.run(client.create("/a"))
    with pytest.raises(NodeExistsError):
        ask(world, client.create("/a")).outcome()
    asked = len(world.asked)
    world.script = fail("expired")
    with pytest.raises(SessionExpiredError):
        ask(world, client.create("/b")).outcome()
    assert len(world.asked) == asked


def test_of_what_is_carried_out_once_no_more_is_under_way_than_the_ensemble_remembers() -> None:
    world = World()
    client = world.client()
    again = client.with_retry(Retry(deadline=None))
    stuck = Retry(deadline=5.0)
    slow = world.start(client.with_retry(stuck).create("/slow-", sequence=True))
    slow.at.is_stuck = True  # type: ignore[union-attr]
    runs = [world.start(again.create("/n-", sequence=True)) for _ in range(3 * WINDOW)]
    world.settle()
    answered = [run for run in runs if run.is_over]
    assert 0 < len(answered) < WINDOW
    late = world.start(client.with_retry(Retry(deadline=1.0)).create("/late"))
    world.sleep(2)
    with pytest.raises(ThrottledError, match="for too long"):
        late.outcome()
    world.sleep(10)
    assert [run.outcome() for run in runs] == [f"/{name}" for name in numbered(world)]
    with pytest.raises(OperationTimeoutError):
        slow.outcome()


def test_who_waits_for_others_hears_of_the_end_of_the_session() -> None:
    world = World()
    client = world.client()
    again = client.with_retry(Retry(deadline=None))
    world.script = lambda run, point: "stuck before" if isinstance(point, Asking) else None
    runs = [world.start(again.create("/n-", sequence=True)) for _ in range(3 * WINDOW)]
    world.settle()
    world.expire(client)
    world.settle()
    waited = [run for run in runs if not isinstance(run.at, Asking)]
    assert len(waited) > WINDOW
    for run in waited:
        with pytest.raises(SessionExpiredError):
            run.outcome()


def test_a_request_that_recipes_ask_for_once_keeps_its_number() -> None:
    world = World()
    port = world.client().with_retry().port
    world.script = fail("lost after", "lost after")
    ask(world, ask_once(port, Create("/n-", mode=2), FOR_EVER)).outcome()
    assert numbered(world) == ["n-0000000000"]
    assert {(type(request), type(request.request)) for _, request in world.asked if isinstance(request, Once)} == {
        (Once, Create)
    }


def test_tries_and_time_come_to_an_end() -> None:
    world = World()
    client = world.client()
    begun = world.time
    world.script = lambda run, point: "throttled" if isinstance(point, Asking) else None
    with pytest.raises(ThrottledError):
        ask(world, client.with_retry(Retry(deadline=5.0)).create("/a")).outcome()
    assert 1.0 <= world.time - begun <= 5.1
    asked: list[Point] = []

    def refuse(run: Run, point: Point) -> str | None:
        if isinstance(point, Asking):
            asked.append(point)
            return "throttled"
        return None

    world.script = refuse
    with pytest.raises(ThrottledError):
        ask(world, client.with_retry(Retry(max_tries=3)).create("/a")).outcome()
    assert len(asked) == 3
    begun = world.time
    world.script = lambda run, point: "stuck before" if isinstance(point, Asking) else None
    with pytest.raises(OperationTimeoutError):
        ask(world, client.with_retry(Retry(deadline=5.0)).create("/a")).outcome()
    assert 4.9 <= world.time - begun <= 5.1
    begun = world.time
    with pytest.raises(OperationTimeoutError):
        ask(world, client.with_retry(Retry(deadline=5.0)).port.request(Create("/a"), timeout=1.0)).outcome()
    assert 0.9 <= world.time - begun <= 1.1


def test_the_pauses_are_drawn_and_their_bound_grows() -> None:
    world = World()
    retry = Retry(deadline=None, max_tries=7, delay=1.0, backoff=3.0, max_delay=10.0)
    run = world.start(world.client().with_retry(retry).create("/a"))
    world.script = lambda run, point: "throttled" if isinstance(point, Asking) else None
    drawn: list[float] = []
    for _ in range(6):
        world.settle()
        assert isinstance(run.at, Waiting)
        assert run.at.until is not None
        drawn.append(run.at.until - world.time)
        world.sleep(drawn[-1])
    with pytest.raises(ThrottledError):
        run.outcome()
    assert len(set(drawn)) == 6, "not by chance"
    for pause, bound in zip(drawn, [1.0, 3.0, 9.0, 10.0, 10.0, 10.0], strict=True):
        assert 0.0 <= pause <= bound
    assert max(drawn) > 3.0


def test_the_end_of_the_session_ends_a_pause() -> None:
    world = World()
    client = world.client()
    world.script = fail("throttled")
    run = world.start(client.with_retry(Retry(delay=1000.0, max_delay=1000.0, deadline=None)).create("/a"))
    world.settle()
    world.expire(client)
    world.settle()
    with pytest.raises(SessionExpiredError):
        run.outcome()


def test_cleanups_and_work_in_the_background_are_asked_again_too() -> None:
    world = World()
    port = world.client().with_retry().port
    seen: list[type] = []

    async def make(port: Port) -> None:
        seen.append(type(port))
        await Client(port).create("/n-", sequence=True)

    world.script = fail("lost after", "lost before", "lost after", "throttled")
    ask(world, port.shield(make)).outcome()
    ask(world, port.tidy_up(make)).outcome()
    port.spawn(make, name="make")
    world.sleep(10)
    assert seen == [RetryPort] * 3
    assert len(numbered(world)) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"deadline": 0}, {"deadline": -1.0}, {"max_tries": 0}, {"delay": 0.0}, {"backoff": 0.5}, {"max_delay": -1.0},
        {"deadline": float("nan")},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadArgumentsError, match=next(iter(options))):
        Retry(**options)


def test_a_failover_goes_unnoticed_in_both_faces() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            again = zk.with_retry()
            writing = [asyncio.create_task(again.create("/n-", sequence=True)) for _ in range(20)]
            await asyncio.sleep(0)
            cluster.kill(await cluster.wait_for_leader())
            names = [await each for each in writing]
            assert sorted(name[1:] for name in names) == [
                name for name in await zk.get_children("/") if name.startswith("n-")
            ]

    asyncio.run(main())
    with blocking.local_cluster(3) as cluster, cluster.client() as zk:
        again = zk.with_retry(Retry(deadline=20.0))
        assert again.create("/a", b"x") == "/a"
        cluster.kill(cluster.wait_for_leader())
        again.set("/a", b"y", version=0)
        assert again.get("/a").data == b"y"
