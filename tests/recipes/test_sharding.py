"""Sharding: members, partitions and who owns them, with every answer in the hands of the test."""

from __future__ import annotations

from typing import Any

import pytest
from faults import ACTIONS, attempt
from scripted import Asking, Point, Run, World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    ConfigMismatchError,
    LeaseLostError,
    NodeExistsError,
    NoNodeError,
    NoOwnerError,
    NotMemberError,
    NotStartedError,
    SessionExpiredError,
    UnplaceableError,
)
from zkcore.recipes.shard_map import ShardMap
from zkcore.recipes.sharding import Sharding
from zkcore.ring import BadKeyError
from zkcore.tree.requests import Create, Delete, Multi, Once, SetData

PATH = "/app/shards"
PARTITIONS = 8
KEYS = [f"user:{number}" for number in range(100)]


class Node:
    """A member, and what it was told."""

    def __init__(self, world: World, name: str, **options: Any) -> None:
        self.world = world
        self.client: Client = world.client()
        self.told: list[tuple[str, int]] = []
        self.may_drain = world.client().port.signal()
        self.may_drain.set()
        self.breaks_at: set[int] = set()
        settings = {"partitions": PARTITIONS, "on_acquire": self.load, "on_release": self.drain, **options}
        self.shards = Sharding(self.client, PATH, name=name, **settings)

    async def load(self, partition: int, token: int) -> None:
        assert self.client.port.session.last_zxid >= token
        if partition in self.breaks_at:
            raise ValueError(f"no disk for {partition}")
        self.told.append(("has", partition))

    async def drain(self, partition: int) -> None:
        await self.client.port.wait(self.may_drain)
        self.told.append(("gives", partition))

    def start(self) -> Node:
        self.world.run(self.shards.start())
        self.world.settle()
        return self

    @property
    def owns(self) -> set[int]:
        return set(self.shards.owned)


def members(world: World, *names: str, **options: Any) -> list[Node]:
    return [Node(world, name, **options).start() for name in names]


def owned_by(nodes: list[Node]) -> dict[int, str]:
    found: dict[int, str] = {}
    for node in nodes:
        for partition in node.owns:
            assert partition not in found, "two owners"
            found[partition] = node.shards.name
    return found


def left(world: World, what: str) -> list[str]:
    try:
        return world.children(f"{PATH}/{what}")
    except NoNodeError:
        return []


def test_one_member_owns_all_and_says_so_by_token() -> None:
    world = World()
    (node,) = members(world, "a")
    assert node.owns == set(range(PARTITIONS))
    assert sorted(node.told) == [("has", each) for each in range(PARTITIONS)]
    for key in KEYS:
        route = node.shards.route(key)
        assert route.owner == "a"
        assert route.partition == node.shards.map.partition(key)
        assert route.fencing_token == node.shards.owned[route.partition].fencing_token
    assert world.run(node.shards.wait_until_owned(timeout=0))


def test_who_comes_takes_over_what_was_drained_and_nothing_else_moves() -> None:
    world = World()
    nodes = members(world, "a", "b")
    before = owned_by(nodes)
    assert len(before) == PARTITIONS
    nodes += members(world, "c")
    after = owned_by(nodes)
    assert len(after) == PARTITIONS
    moved = {partition for partition in after if after[partition] != before[partition]}
    assert moved == nodes[2].owns != set()
    for partition in moved:
        old = nodes[0] if before[partition] == "a" else nodes[1]
        assert ("gives", partition) in old.told


def test_nobody_takes_over_what_is_not_drained_yet() -> None:
    world = World()
    nodes = members(world, "a")
    nodes[0].may_drain.clear()
    nodes += members(world, "b")
    assert nodes[1].owns == set()
    assert nodes[0].owns == set(range(PARTITIONS)), "it owns what it drains"
    assert {nodes[1].shards.route(key).owner for key in KEYS} == {"a"}
    nodes[0].may_drain.set()
    world.settle()
    assert nodes[1].owns
    assert len(owned_by(nodes)) == PARTITIONS


def test_what_the_dead_owned_is_owned_again_and_nothing_else_moves() -> None:
    world = World()
    nodes = members(world, "a", "b", "c")
    before = owned_by(nodes)
    tokens = {route.partition: route.fencing_token for route in nodes[0].shards.map.state.routes if route is not None}
    world.expire(nodes[1].client)
    world.settle()
    assert nodes[1].owns == set()
    assert {partition for what, partition in nodes[1].told if what == "gives"} >= {
        partition for partition, owner in before.items() if owner == "b"
    }, "it is told of what it lost"
    after = owned_by([nodes[0], nodes[2]])
    assert len(after) == PARTITIONS
    for route in nodes[0].shards.map.state.routes:
        assert route is not None
        if before[route.partition] == "b":
            assert route.fencing_token > tokens[route.partition]
        else:
            assert (route.owner, route.fencing_token) == (before[route.partition], tokens[route.partition])


def test_the_end_hands_over_before_it_leaves() -> None:
    world = World()
    nodes = members(world, "a", "b")
    owned = nodes[0].owns
    world.run(nodes[0].shards.close())
    assert nodes[0].owns == set()
    assert nodes[1].owns == set(range(PARTITIONS))
    assert {("gives", each) for each in owned} <= set(nodes[0].told)
    assert set(nodes[1].shards.map.state.members) == {"b"}
    assert nodes[0].shards.lease is None
    world.run(nodes[1].shards.close())
    assert left(world, "claims") == left(world, "members") == []


def test_whoever_does_not_wait_for_the_end_does_not_stop_it() -> None:
    world = World()
    nodes = members(world, "a", "b")
    run = world.start(nodes[0].shards.close())
    world.interrupt(run)
    world.settle()
    assert set(nodes[1].shards.map.state.members) == {"b"}
    assert nodes[1].owns == set(range(PARTITIONS))


def test_who_cannot_hand_over_leaves_all_the_same() -> None:
    world = World()
    nodes = [*members(world, "a", leave_within=3), Node(world, "b")]
    nodes[1].breaks_at = set(range(PARTITIONS))
    nodes[1].start()
    assert nodes[0].owns, "no more is moved while something has no owner"
    run = world.start(nodes[0].shards.close())
    world.settle()
    assert not run.is_over
    world.sleep(3.1)
    world.settle()
    assert run.is_over
    assert nodes[0].owns == set()
    assert nodes[1].shards.failures


def test_what_could_not_be_taken_over_is_tried_again() -> None:
    world = World()
    node = Node(world, "a")
    node.breaks_at = {3}
    node.start()
    assert node.owns == set(range(PARTITIONS)) - {3}
    assert "no disk for 3" in str(node.shards.failures[3])
    assert not world.run(node.shards.wait_until_owned(timeout=0))
    with pytest.raises(NoOwnerError, match="partition 3"):
        node.shards.route(next(key for key in KEYS if node.shards.map.partition(key) == 3))
    world.sleep(1.1)
    world.settle()
    assert 3 not in node.owns
    node.breaks_at.clear()
    world.sleep(2.1)
    world.settle()
    assert node.owns == set(range(PARTITIONS))
    assert node.shards.failures == {}
    assert ("gives", 3) not in node.told


def test_a_weight_can_be_changed() -> None:
    world = World()
    nodes = members(world, "a", "b", partitions=64)
    before = len(nodes[0].owns)
    world.run(nodes[0].shards.update(weight=9, address="here"))
    world.settle()
    assert len(nodes[0].owns) > before + 10
    assert len(owned_by(nodes)) == 64
    route = next(route for key in KEYS if (route := nodes[1].shards.route(key)).owner == "a")
    assert route.address == "here"
    with pytest.raises(BadArgumentsError, match="weight"):
        world.run(nodes[0].shards.update(weight=0))


def test_a_member_that_somebody_deleted_is_told() -> None:
    world = World()
    nodes = members(world, "a", "b")
    lease = nodes[0].shards.lease
    assert lease is not None
    world.do(nodes[1].client.session_id, Delete(lease.path))
    world.settle()
    assert lease.is_lost()
    assert nodes[0].owns == set()
    assert nodes[1].owns == set(range(PARTITIONS))
    with pytest.raises(NotMemberError, match="deleted"):
        world.run(nodes[0].shards.close())


def test_what_is_no_table_is_made_anew_and_nothing_moves() -> None:
    world = World()
    nodes = members(world, "a", "b")
    before = owned_by(nodes)
    for node in nodes:
        node.told.clear()
    world.do(nodes[1].client.session_id, SetData(f"{PATH}/table", b"junk"))
    world.settle()
    assert owned_by(nodes) == before
    assert nodes[0].told == nodes[1].told == []
    assert nodes[0].shards.map.state.is_whole


def test_the_plan_says_what_is_yet_to_move() -> None:
    world = World()
    nodes = members(world, "a")
    assert nodes[0].shards.plan().moves == ()
    nodes[0].may_drain.clear()
    nodes += members(world, "b", "c")
    assert {move.target for move in nodes[0].shards.plan().moves} < {"b", "c"}
    nodes[0].may_drain.set()
    world.settle()
    assert nodes[0].shards.plan().moves == ()


def test_the_body_of_a_with_is_told_that_it_is_over() -> None:
    world = World()
    node = Node(world, "a")

    async def body() -> None:
        async with node.shards as shards:
            assert shards.lease is not None
            world.expire(node.client)

    run = world.start(body())
    world.settle()
    with pytest.raises(LeaseLostError):
        run.outcome()


def test_it_can_be_started_again() -> None:
    world = World()
    (node,) = members(world, "a")
    with pytest.raises(NotStartedError):
        world.run(node.shards.start())
    world.run(node.shards.close())
    node.start()
    assert node.owns == set(range(PARTITIONS))


# --- those who look on


def test_a_map_shows_owners_and_changes_to_who_is_no_member() -> None:
    world = World()
    shards = ShardMap(world.client(), PATH)
    with pytest.raises(NotStartedError):
        shards.route("x")
    world.run(shards.start())
    with pytest.raises(NoOwnerError, match="nobody has joined"):
        shards.route("x")
    nodes = members(world, "a", address="10.0.0.7:80")
    assert world.run(shards.wait_until_owned())
    assert shards.route("x").address == "10.0.0.7:80"
    assert shards.route(17) == shards.route("17") == shards.route(b"17")
    with pytest.raises(BadKeyError):
        shards.route(1.5)  # type: ignore[arg-type]
    state = shards.state
    nodes += members(world, "b")
    world.settle()
    assert shards.state.version > state.version
    assert state.routes != shards.state.routes
    assert {route.owner for route in shards.state.routes if route is not None} == {"a", "b"}
    changes = shards.changes()
    assert world.run(changes.__anext__()) == shards.state
    world.run(shards.close())
    assert shards.route("x").partition == shards.partition("x")
    assert not shards.is_live


def test_a_map_says_how_old_it_is() -> None:
    world = World()
    members(world, "a")
    client = world.client()
    shards = ShardMap(client, PATH)
    world.run(shards.start())
    assert shards.age == 0
    world.sleep(1)
    assert shards.age == pytest.approx(1)
    world.sleep(5)
    world.settle()
    assert shards.age < 1, "a new proof was asked for"
    world.expire(client)
    world.settle()
    world.sleep(100)
    assert shards.age >= 100
    assert shards.route("x").owner == "a"
    with pytest.raises(SessionExpiredError):
        world.run(shards.wait_until_owned())


def test_standbys_are_in_other_racks_and_too_few_racks_are_told() -> None:
    world = World()
    nodes = members(world, "a", "b", replicas=2, rack="r1")
    with pytest.raises(UnplaceableError, match=r"racks are r1"):
        nodes[0].shards.map.standbys("x")
    assert nodes[0].shards.route("x").owner, "it is owned all the same"
    nodes += members(world, "c", replicas=2, rack="r2")
    assert len(owned_by(nodes)) == PARTITIONS
    for key in KEYS:
        (standby,) = nodes[0].shards.map.standbys(key)
        assert (standby == "c") == (nodes[0].shards.route(key).owner != "c")


# --- bad input


@pytest.mark.parametrize(
    "options",
    [
        {"partitions": 0}, {"partitions": True}, {"partitions": 1 << 20}, {"replicas": 0}, {"at_once": 0},
        {"weight": 0}, {"weight": -1.0}, {"weight": float("nan")}, {"weight": float("inf")}, {"weight": "much"},
        {"rack": None}, {"address": 17}, {"leave_within": -1}, {"name": ""}, {"name": "a/b"},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"name": "a", "partitions": 8, **options}
    with pytest.raises(BadArgumentsError):
        Sharding(World().client(), PATH, **given)


@pytest.mark.parametrize("path", ["/", "", "shards"])
def test_a_sharding_has_a_path_of_its_own(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        Sharding(World().client(), path, name="a", partitions=8)


def test_all_members_agree_in_the_numbers() -> None:
    world = World()
    members(world, "a")
    for options in ({"partitions": 9}, {"replicas": 2}):
        with pytest.raises(ConfigMismatchError, match=r"with 9 partitions|and 2 replicas"):
            Node(world, "b", **options).start()
    with pytest.raises(NodeExistsError, match="another name"):
        Node(world, "a").start()


def test_a_placement_that_raises_ends_its_member_and_no_other() -> None:
    world = World()

    def placing(_: Any) -> Any:
        raise ValueError("no ring today")

    broken = Node(world, "a", placement=placing)
    broken.start()
    (node,) = members(world, "b")
    assert node.owns == set(range(PARTITIONS))
    with pytest.raises(ValueError, match="no ring today"):
        world.run(broken.shards.close())


# --- everything at every await


@pytest.mark.parametrize("action", ACTIONS)
def test_a_fault_while_starting_leaves_a_member_or_none(action: str) -> None:
    for at in range(0, 60, 2):
        world = World()
        node = Node(world, "a")
        run, hit = attempt(world, node.shards.start(), action, at)
        world.sleep(1)
        world.settle()
        names = left(world, "members")
        if run.error is None and action != "expired":
            assert names == ["a"], f"{action} at {at}"
            assert node.owns == set(range(PARTITIONS)), f"{action} at {at}"
        elif run.error is not None:
            assert names == [], f"{action} at {at}"
            assert left(world, "claims") == []
        if not hit:
            assert run.error is None
            return
    raise AssertionError("it never came to an end")


def writes_the_table(point: Point) -> bool:
    request = point.op if isinstance(point, Asking) else None
    inner = request.request if isinstance(request, Once) else request
    return isinstance(inner, Multi) and any(
        isinstance(each, Create | SetData) and each.path == f"{PATH}/table" for each in inner.operations
    )


@pytest.mark.parametrize("action", ["forgotten before", "forgotten after"])
def test_nobody_need_remember_what_became_of_a_plan(action: str) -> None:
    for at in range(3):
        world = World()
        plans: list[Run] = []

        def script(run: Run, point: Point, at: int = at, plans: list[Run] = plans) -> str | None:
            if not writes_the_table(point):
                return None
            plans.append(run)
            return action if len(plans) == at + 1 else None

        world.script = script
        nodes = members(world, "a", "b", "c")
        assert len(plans) > at
        assert len(owned_by(nodes)) == PARTITIONS
        assert nodes[0].shards.plan().moves == ()
        assert all(node.shards.lease is not None for node in nodes)
