"""Discovery and registration: who is found, and what happens to those who look when they lose their session."""

from __future__ import annotations

from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    LeaseLostError,
    NodeExistsError,
    NoInstancesError,
    NotMemberError,
    NotStartedError,
    SessionClosedError,
    SessionExpiredError,
)
from zkcore.recipes.choosing import Choice, Status
from zkcore.recipes.discovery import Discovery
from zkcore.recipes.registration import Registration
from zkcore.tree.requests import Create, Delete
from zkcore.tree.znode import CreateMode

PATH = "/services/web"


class Next:
    """What the next session is opened with, once it may be."""

    def __init__(self, world: World) -> None:
        self._client = world.client()
        self.may_open = self._client.port.signal()
        self.is_closed = False

    @property
    def port(self) -> Any:
        return self._client.port

    async def start(self) -> None:
        await self._client.port.wait(self.may_open)

    async def close(self) -> None:
        self.is_closed = True


def register(world: World, name: str, client: Client | None = None, **options: Any) -> Registration:
    settings = {"address": f"at {name}", "drain_seconds": 0, **options}
    me = Registration(client or world.client(), PATH, name=name, **settings)
    world.run(me.start())
    return me


def look(world: World, client: Client | None = None, **options: Any) -> Discovery:
    web = Discovery(client or world.client(), PATH, **options)
    world.run(web.start())
    return web


def names(web: Discovery) -> str:
    return "".join(each.name for each in web.instances)


def test_instances_are_found_and_chosen_until_they_leave() -> None:
    world = World()
    a = register(world, "a", metadata={"zone": "east"})
    web = look(world)
    b = register(world, "b")
    world.settle()
    assert names(web) == "ab"
    assert [web.choose().name for _ in range(4)] == ["a", "b", "a", "b"]
    assert web.choose().metadata == {"zone": "east"}
    assert web.instances[0].fencing_token == a.lease.fencing_token  # type: ignore[union-attr]
    world.run(a.close())
    world.settle()
    assert names(web) == "b"
    assert {web.choose().address for _ in range(3)} == {"at b"}
    world.run(b.close())
    world.settle()
    with pytest.raises(NoInstancesError, match="none is registered"):
        web.choose()


def test_one_that_drains_or_is_down_is_shown_and_not_chosen() -> None:
    world = World()
    a, web = register(world, "a", status=Status.DOWN), look(world)
    with pytest.raises(NoInstancesError, match="a is down"):
        web.choose()
    world.run(a.update(status=Status.UP, load=3, weight=2, address="there", metadata={"x": "y"}))
    world.settle()
    chosen = web.choose()
    assert (chosen.load, chosen.weight, chosen.address, chosen.metadata) == (3, 2, "there", {"x": "y"})
    world.run(a.drain())
    world.settle()
    assert (names(web), a.status) == ("a", Status.DRAINING)
    with pytest.raises(NoInstancesError, match="a is draining"):
        web.choose()


def test_the_end_drains_before_it_leaves() -> None:
    world = World()
    a, web = register(world, "a", drain_seconds=5), look(world)
    run = world.start(a.close())
    world.settle()
    assert not run.is_over
    assert web.instances[0].status is Status.DRAINING
    world.sleep(5)
    world.settle()
    run.outcome()
    assert names(web) == ""
    with pytest.raises(NotMemberError):
        world.run(a.close())


def test_a_body_that_ends_drains_too_and_is_told_of_a_loss() -> None:
    world = World()
    client = world.client()

    async def body(is_lost: bool) -> None:
        async with Registration(client, PATH, address="", name="a", drain_seconds=2) as me:
            assert me.lease is not None
            if is_lost:
                world.expire(client)

    web = look(world)
    run = world.start(body(False))
    world.settle()
    assert web.instances[0].status is Status.DRAINING
    world.sleep(2)
    world.settle()
    run.outcome()
    run = world.start(body(True))
    world.settle()
    with pytest.raises(LeaseLostError):
        run.outcome()
    assert names(web) == ""


def test_who_does_not_wait_for_the_drain_leaves_at_once() -> None:
    world = World()
    a, web = register(world, "a", drain_seconds=5), look(world)
    run = world.start(a.close())
    world.settle()
    world.interrupt(run)
    world.settle()
    assert names(web) == ""


def test_who_is_gone_without_a_word_is_gone_with_its_session() -> None:
    world = World()
    client = world.client()
    register(world, "a", client)
    web = look(world)
    assert names(web) == "a"
    world.expire(client)
    world.settle()
    assert names(web) == ""


def test_what_is_under_way_counts_until_its_end() -> None:
    world = World()
    for name in "ab":
        register(world, name)
    web = look(world, by=Choice.LEAST_LOADED)
    with web.using() as one, web.using() as two:
        assert {one.name, two.name} == {"a", "b"}
        with pytest.raises(RuntimeError), web.using():
            raise RuntimeError
    assert web._under_way.total == 0


def test_a_key_sticks() -> None:
    world = World()
    for name in "abc":
        register(world, name)
    web = look(world, by=Choice.STICKY)
    home = web.choose("user:17")
    assert {web.choose("user:17").name for _ in range(10)} == {home.name}
    gone = next(each for each in "abc" if each != home.name)
    world.do(world.client().session_id, Delete(f"{PATH}/{gone}"))
    world.settle()
    assert web.choose("user:17") == home
    with web.using("user:17"), web.using("user:17"), web.using("user:17") as third:
        assert third.name != home.name, "that has its share"
    with pytest.raises(BadArgumentsError, match="key"):
        web.choose()


def test_it_goes_on_in_the_next_session_and_says_how_old_it_is() -> None:
    world = World()
    register(world, "a")
    client, opened = world.client(), []

    def reconnect() -> Next:
        opened.append(Next(world))
        return opened[-1]

    web = look(world, client, reconnect=reconnect)
    assert web.age == 0
    world.expire(client)
    world.settle()
    world.sleep(20)
    register(world, "b")
    assert (web.choose().name, names(web), web.is_live) == ("a", "a", True)
    assert web.age >= 20
    opened[0].may_open.set()
    world.settle()
    assert names(web) == "ab"
    assert web.age == 0
    world.run(web.close())
    world.settle()
    assert opened[-1].is_closed
    assert not web.is_live
    assert web.choose().name in "ab"
    with pytest.raises(SessionClosedError):
        world.run(web.wait_for())


def test_without_a_way_to_the_next_session_it_ends_and_goes_on_showing() -> None:
    world = World()
    register(world, "a")
    client = world.client()
    web = look(world, client)
    world.expire(client)
    world.settle()
    world.sleep(30)
    assert (web.choose().name, web.is_live, web.age >= 30) == ("a", False, True)
    with pytest.raises(SessionExpiredError, match="reconnect"):
        world.run(web.wait_for())


def test_waiting_for_instances_and_looking_on() -> None:
    world = World()
    web = look(world)
    changes = web.changes()
    assert world.run(changes.__anext__()) == ()
    assert not world.run(web.wait_for(timeout=0))
    run = world.start(web.wait_for(2))
    for name in "ab":
        register(world, name)
        world.settle()
    assert run.outcome()
    assert [each.name for each in world.run(changes.__anext__())] == ["a", "b"]


def test_what_is_no_instance_is_not_found() -> None:
    world = World()
    register(world, "a")
    session = world.client().session_id
    world.do(session, Create(f"{PATH}/b", b"junk", mode=CreateMode.EPHEMERAL))
    world.do(session, Create(f"{PATH}/c", b"{}"))
    assert names(look(world)) == "a"


# --- bad input


@pytest.mark.parametrize(
    "options",
    [
        {"weight": 0}, {"weight": -1}, {"weight": float("nan")}, {"weight": True}, {"load": -1}, {"load": "much"},
        {"address": 17}, {"metadata": {"a": 1}}, {"metadata": {1: "a"}}, {"drain_seconds": -1}, {"name": "a/b"},
    ],
)  # fmt: skip
def test_an_instance_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadArgumentsError):
        Registration(World().client(), PATH, **{"address": "", **options})


@pytest.mark.parametrize("options", [{"factor": 0.5}, {"factor": float("inf")}, {"factor": "2"}])
def test_a_choice_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadArgumentsError):
        Discovery(World().client(), PATH, **options)
    with pytest.raises(BadArgumentsError):
        Discovery(World().client(), "/")
    with pytest.raises(ValueError, match="by turns"):
        Discovery(World().client(), PATH, by="by turns")  # type: ignore[arg-type]


def test_names_and_beginnings() -> None:
    world = World()
    a = register(world, "a")
    with pytest.raises(NodeExistsError, match="another name"):
        register(world, "a")
    with pytest.raises(BadArgumentsError, match="weight"):
        world.run(a.update(weight=0))
    web = Discovery(world.client(), PATH)
    for looked in (lambda: web.choose(), lambda: web.instances, lambda: web.age):
        with pytest.raises(NotStartedError):
            looked()
    world.run(web.start())
    with pytest.raises(NotStartedError, match="before"):
        world.run(web.start())


# --- everything at every await


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_looking_begins_leaves_what_works_or_nothing(action: str) -> None:
    for at in range(20):
        world = World()
        register(world, "a")
        client = world.client()
        web = Discovery(client, PATH)
        run, hit = attempt(world, web.start(), action, at, session=client.session_id)
        if run.error is None and action != "expired":
            register(world, "b")
            world.settle()
            assert names(web) == "ab", f"{action} at {at}"
        if not hit:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")
