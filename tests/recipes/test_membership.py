"""The membership: who is there, and how the others learn of it."""

from __future__ import annotations

from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import Asking, Point, Run, World

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, LeaseLostError, NodeExistsError, NotMemberError, SessionExpiredError
from zkcore.recipes.membership import Member, Membership
from zkcore.tree.requests import Create, Delete, Multi
from zkcore.tree.znode import CreateMode

PATH = "/groups/workers"


def new(world: World, name: str | None = None, data: bytes = b"", client: Client | None = None) -> Membership:
    return Membership(client or world.client(), PATH, name=name, data=data)


def seen(members: frozenset[Member]) -> dict[str, bytes]:
    return {member.name: member.data for member in members}


def test_members_come_have_data_and_go() -> None:
    world = World()
    looking = new(world)
    assert world.run(looking.members()) == frozenset()
    groups = [new(world, name, data) for name, data in (("a", b"1"), ("b", b"2"))]
    leases = [world.run(group.join()) for group in groups]
    assert seen(world.run(looking.members())) == {"a": b"1", "b": b"2"}
    assert leases[0].fencing_token < leases[1].fencing_token
    world.run(groups[0].update(b"3"))
    world.run(groups[1].leave())
    assert seen(world.run(looking.members())) == {"a": b"3"}
    assert [group.is_member for group in groups] == [True, False]
    again = world.run(groups[1].join())
    assert again.fencing_token > leases[1].fencing_token


def test_without_a_name_each_gets_one_of_its_own() -> None:
    world = World()
    client = world.client()
    for _ in range(3):
        world.run(new(world, client=client).join())
    assert len(world.run(new(world).members())) == 3


def test_who_is_gone_without_leaving_is_gone_with_its_session() -> None:
    world = World()
    client = world.client()
    group = new(world, "a", client=client)
    lease = world.run(group.join())
    world.expire(client)
    assert world.run(new(world).members()) == frozenset()
    assert lease.is_lost()
    assert not group.is_member
    with pytest.raises(NotMemberError):
        world.run(group.update(b""))
    with pytest.raises(NotMemberError, match="lost with the session"):
        world.run(group.leave())
    with pytest.raises(NotMemberError):
        world.run(group.leave())


def test_a_name_is_taken_once_at_a_time() -> None:
    world = World()
    group = new(world, "a")
    world.run(group.join())
    for other in (new(world, "a"), group):
        with pytest.raises(NodeExistsError, match="another name"):
            world.run(other.join())
    assert group.is_member
    world.run(group.leave())
    world.run(new(world, "a").join())


def test_znodes_that_are_no_members_are_not_taken_for_any() -> None:
    world = World()
    world.run(new(world, "a").join())
    world.do(world.client().session_id, Create(f"{PATH}/notes", b""))
    assert set(seen(world.run(new(world).members()))) == {"a"}


@pytest.mark.parametrize("ending", ["left before", "lost", "plain"])
def test_the_end_of_a_with_leaves_or_tells_of_the_loss(ending: str) -> None:
    world = World()
    client = world.client()

    async def body() -> None:
        async with new(world, "a", client=client) as lease:
            assert seen(await new(world).members()) == {"a": b""}
            if ending == "left before":
                await lease.release()
            elif ending == "lost":
                world.expire(client)

    run = world.start(body())
    world.settle()
    assert isinstance(run.error, LeaseLostError) if ending == "lost" else run.error is None
    assert world.run(new(world).members()) == frozenset()


# --- looking on


def test_who_looks_on_sees_who_comes_changes_and_goes() -> None:
    world = World()
    client = world.client()
    changes = new(world, client=client).changes()
    noted: list[dict[str, bytes]] = []

    async def look() -> None:
        async for members in changes:
            noted.append(seen(members))

    run = world.start(look())
    world.settle()
    a, b = new(world, "a"), new(world, "b")
    for step in (a.join(), b.join(), a.update(b"1"), a.leave()):
        world.run(step)
        world.settle()
    world.run(b.leave())
    world.settle()
    nobody: dict[str, bytes] = {}
    assert noted == [nobody, {"a": b""}, {"a": b"", "b": b""}, {"a": b"1", "b": b""}, {"b": b""}, nobody]
    world.expire(client)
    world.settle()
    with pytest.raises(SessionExpiredError):
        run.outcome()


# --- bad input


@pytest.mark.parametrize(
    ("path", "name"), [("", None), ("/", None), ("/g", ""), ("/g", "a/b"), ("/g", ".."), ("/g", "\0")]
)
def test_a_group_has_a_path_and_a_member_a_name(path: str, name: str | None) -> None:
    with pytest.raises(BadArgumentsError):
        Membership(World().client(), path, name=name)


def test_a_member_that_somebody_deleted_is_told_when_it_updates() -> None:
    world = World()
    group = new(world, "a")
    lease = world.run(group.join())
    world.do(world.client().session_id, Delete(lease.path))
    world.run(new(world, "a", b"another").join())
    with pytest.raises(NotMemberError, match="deleted it"):
        world.run(group.update(b"mine"))
    world.run(group.leave())
    assert seen(world.run(new(world).members())) == {"a": b"another"}, "it is nobody else's to change or to delete"


# --- everything at every await


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", ["a", None])
def test_a_fault_while_joining_leaves_a_member_or_none(action: str, name: str | None) -> None:
    for at in range(20):
        world = World()
        client = world.client()
        group = new(world, name, client=client)
        run, hit = attempt(world, group.join(), action, at)
        count = len(world.run(new(world).members()))
        assert count == (1 if run.error is None else 0), f"{action} at {at}"
        assert group.is_member == (run.error is None)
        if not hit:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_leaving_leaves_no_member(action: str) -> None:
    for at in range(20):
        world = World()
        group = new(world, "a")
        world.run(group.join())
        _, hit = attempt(world, group.leave(), action, at)
        assert world.run(new(world).members()) == frozenset(), f"{action} at {at}"
        assert not group.is_member
        if not hit:
            return
    raise AssertionError("it never came to an end")


def test_a_join_that_is_interrupted_takes_away_no_other_member_of_that_name() -> None:
    world = World()
    world.run(new(world, "a", b"first").join())
    run = world.start(new(world, "a").join())
    world.interrupt(run)
    world.settle()
    assert seen(world.run(new(world).members())) == {"a": b"first"}


def test_a_leave_whose_answer_was_lost_takes_no_later_member_of_that_name_away() -> None:
    world = World()
    group = new(world, "a")
    lease = world.run(group.join())
    later = world.client()
    state = ["waiting"]

    def script(run: Run, point: Point) -> str | None:
        op: Any = point.op if isinstance(point, Asking) else None
        if isinstance(op, Multi) and op.operations[-1] == Delete(lease.path):
            if state == ["waiting"]:
                state[0] = "lost"
                return "lost after"
            world.do(later.session_id, Create(lease.path, b"later", mode=CreateMode.EPHEMERAL))
        return None

    world.script = script
    world.run(group.leave())
    assert seen(world.run(new(world).members())) == {"a": b"later"}
