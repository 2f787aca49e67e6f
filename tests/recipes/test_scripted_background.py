"""Work in the background of a recipe that is driven by hand: it is a run of its own, and goes as a task would."""

from __future__ import annotations

import pytest
from scripted import World

from zkcore.client.client import Client
from zkcore.client.port import Background, Port
from zkcore.errors import NoNodeError, SessionExpiredError


async def keep(port: Port) -> None:
    """Make a claim, and give it back when it ends."""
    client = Client(port)
    await client.create("/claim")
    try:
        await port.wait(port.session.lost)
        await client.exists("/")
    finally:
        await client.delete("/claim")


def test_it_begins_when_it_is_its_turn_and_has_cleaned_up_when_it_is_stopped() -> None:
    world = World()
    port = world.client().port
    background = port.spawn(keep, name="keeper")
    assert world.children("/") == ["zookeeper"]
    world.settle()
    assert world.children("/") == ["claim", "zookeeper"]
    assert not background.ended.is_set()
    world.run(background.stop())
    assert world.children("/") == ["zookeeper"]
    assert background.ended.is_set()
    assert (background.name, background.error) == ("keeper", None)


def test_what_is_cancelled_before_it_began_does_nothing() -> None:
    world = World()
    background = world.client().port.spawn(keep, name="keeper")
    background.cancel()
    world.settle()
    assert background.ended.is_set()
    assert world.asked == []


def test_what_it_raises_is_kept() -> None:
    world = World()

    async def fail(port: Port) -> None:
        await Client(port).get("/missing")

    background = world.client().port.spawn(fail, name="failing")
    world.settle()
    assert isinstance(background.error, NoNodeError)
    world.run(background.stop())


def test_it_hears_of_the_end_of_its_session_by_itself() -> None:
    world = World()
    client = world.client()
    background = client.port.spawn(keep, name="keeper")
    world.settle()
    world.expire(client)
    world.settle()
    assert isinstance(background.error, SessionExpiredError)
    with pytest.raises(SessionExpiredError):
        client.port.spawn(keep, name="another")


def test_it_cannot_wait_for_its_own_end() -> None:
    world = World()
    refused: list[RuntimeError] = []

    async def work(port: Port) -> None:
        with pytest.raises(RuntimeError) as raised:
            await mine[0].stop()
        refused.append(raised.value)

    mine: list[Background] = [world.client().port.spawn(work, name="work")]
    world.settle()
    assert len(refused) == 1
    assert mine[0].ended.is_set()
