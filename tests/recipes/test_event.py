"""The event: set, cleared, waited for; with everything that can go wrong at every await of it."""

from __future__ import annotations

import pytest
from faults import ACTIONS, attempt
from scripted import World

from zkcore.errors import BadArgumentsError
from zkcore.recipes.event import Event
from zkcore.tree.requests import Delete

PATH = "/events/ready"


def test_all_who_wait_are_woken_when_it_is_set_and_it_stays_set_without_its_maker() -> None:
    world = World()
    maker = world.client()
    waiting = [world.start(Event(world.client(), PATH).wait()) for _ in range(5)]
    world.settle()
    assert not any(run.is_over for run in waiting)
    world.run(Event(maker, PATH).set())
    world.settle()
    assert [run.outcome() for run in waiting] == [True] * 5
    world.expire(maker)
    assert world.run(Event(world.client(), PATH).is_set()) is True
    assert world.run(Event(world.client(), PATH).wait(timeout=0)) is True


def test_setting_what_is_set_and_clearing_what_is_clear_does_nothing() -> None:
    world = World()
    event = Event(world.client(), PATH)
    world.run(event.clear())
    for _ in range(2):
        world.run(event.set())
    assert world.run(event.is_set()) is True
    for _ in range(2):
        world.run(event.clear())
    assert world.run(event.is_set()) is False


@pytest.mark.parametrize("timeout", [0, 0.5, 3])
def test_a_wait_ends_in_time(timeout: float) -> None:
    world = World()
    run = world.start(Event(world.client(), PATH).wait(timeout))
    world.sleep(timeout)
    assert run.outcome() is False


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_is_not_negative(timeout: float) -> None:
    world = World()
    with pytest.raises(BadArgumentsError):
        world.run(Event(world.client(), PATH).wait(timeout))


@pytest.mark.parametrize("path", ["", "/", "ready", "/ready/"])
def test_an_event_needs_a_path_of_its_own(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        Event(World().client(), path)


@pytest.mark.parametrize("lost", ["lost before", "lost after"])
def test_an_answer_that_is_lost_does_not_set_again_what_was_cleared_meanwhile(lost: str) -> None:
    world = World()
    other = world.client()
    event = Event(world.client(), PATH)
    world.run(event.set())
    world.run(event.clear())
    answers = [lost]
    world.script = lambda run, point: answers.pop() if answers else None
    setting = world.start(event.set())
    world.script(setting, setting.at)  # type: ignore[arg-type]
    answers.append(lost)
    cleared: list[bool] = []

    def clear_in_between(run: object, point: object) -> str | None:
        if answers:
            return answers.pop()
        if lost == "lost after" and not cleared:
            cleared.append(True)
            world.do(other.session_id, Delete(PATH))
        return None

    world.script = clear_in_between
    world.settle()
    assert setting.is_over
    assert world.run(event.is_set()) is (lost == "lost before")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("what", ["set", "clear", "wait"])
def test_a_fault_at_any_await(action: str, what: str) -> None:
    for at in range(20):
        world = World()
        client = world.client()
        event = Event(client, PATH)
        if what != "set":
            world.run(event.set())
        run, hit = attempt(world, getattr(event, what)(), action, at)
        if run.error is None:
            assert world.run(Event(world.client(), PATH).is_set()) is (what != "clear"), f"{action} at {at}"
        if not hit:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")
