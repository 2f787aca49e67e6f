"""How large a request may be, and that one that is larger harms nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from virtual import Ensemble

from zkcore.errors import BadArgumentsError, ThrottledError
from zkcore.jute.records import ACL, Id
from zkcore.replica.answers import Detached
from zkcore.replica.forward import Submit, pack
from zkcore.replica.leading import Leading
from zkcore.replica.rules import Rules
from zkcore.replica.sizes import MAX_REQUEST_BYTES, size_of
from zkcore.tree.extensions import CheckStat, Condition
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import (
    Create,
    CreateContainer,
    CreateWithParents,
    Delete,
    Exists,
    Multi,
    Once,
    Request,
    SetACL,
    SetData,
    encode_request,
)
from zkcore.tree.tree import Tree
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Forward

LONG = "/" + "a" * MAX_REQUEST_BYTES
MANY = tuple(ACL(31, Id("x509", f"CN={number:05d}" + "x" * 1000)) for number in range(1200))

TOO_LARGE = {
    "data": SetData("/a", bytes(MAX_REQUEST_BYTES)),
    "a path": Delete(LONG),
    "an ACL": SetACL("/a", MANY),
    "a container's ACL": CreateContainer("/b", b"", acl=MANY),
    "several together": Multi([SetData("/a", bytes(MAX_DATA // 2)) for _ in range(5)]),
    "several, retried": Once(7, 1, Multi([SetData("/a", bytes(MAX_DATA // 2)) for _ in range(5)])),
    "conditions": CheckStat("/a", [Condition(0, 0, 0)] * 100_000),
    "characters": Multi([Delete("/" + "\u4e2d" * (MAX_DATA // 2))]),
    "very many parents": CreateWithParents("/p" * 5000),
}


def elected() -> tuple[Ensemble, int, int]:
    """Three replicas: the leader and one of its followers."""
    world = Ensemble()
    return world, world.elect(), world.followers()[0]


@pytest.mark.parametrize("at_the_leader", [True, False])
@pytest.mark.parametrize("request_", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_request_that_is_too_large_is_refused_and_nobody_else_notices(
    request_: Request[Any], at_the_leader: bool
) -> None:
    if at_the_leader and request_ in (TOO_LARGE["conditions"], TOO_LARGE["characters"]):
        return  # it goes nowhere from there, so an estimate will do
    world, leader, follower = elected()
    me = leader if at_the_leader else follower
    session, other = world.open(me), world.open(me)
    world.ask(me, session, Create("/a"))
    with pytest.raises(BadArgumentsError, match="over the limit"):
        world.ask(me, session, request_)
    assert world.ask(me, other, Exists("/a")) is not None
    assert not any(isinstance(told, Detached) for told in world.told[me])
    assert world.ask(me, session, SetData("/a", b"1")).version == 1


@pytest.mark.parametrize("at_the_leader", [True, False])
@pytest.mark.parametrize("size", [MAX_DATA, MAX_DATA + 1])
def test_a_znode_of_the_largest_size_is_taken_and_no_larger_one(size: int, at_the_leader: bool) -> None:
    world, leader, follower = elected()
    me = leader if at_the_leader else follower
    session = world.open(me)
    if size <= MAX_DATA:
        assert world.ask(me, session, Create("/a", bytes(size))).stat.data_length == size
    else:
        with pytest.raises(BadArgumentsError):
            world.ask(me, session, Create("/a", bytes(size)))


def test_a_leader_refuses_what_another_replica_should_not_have_sent() -> None:
    world, leader, follower = elected()
    session = world.open(follower)
    large = Submit(session, 77, *encode_request(CreateWithParents("/p" * 5000)))
    world.replicas[leader].receive(follower, Forward(pack(large)), world.now)
    world.act(leader)
    world.settle()
    assert world.replicas[leader].tree.persisted("/p") is None
    assert world.ask(follower, session, Create("/a")).path == "/a"


@pytest.mark.parametrize(
    "request_",
    [
        SetData("/a", bytes(500)), Create("/a", bytes(500)), Delete("/" + 500 * "a"),
        Create("/a", b"", acl=[ACL(31, Id("x509", "CN=" + "x" * 500))]), Multi([SetData("/a", bytes(200))] * 3),
        Once(7, 1, SetData("/a", bytes(500))), CreateContainer("/a", bytes(500)),
    ],
)  # fmt: skip
def test_what_waits_is_counted_by_what_it_keeps(request_: Request[Any]) -> None:
    size = len(encode_request(request_)[1])
    assert size * 0.9 < size_of(request_) < size * 1.1
    leader = Leading(Tree(), Limits(outstanding_bytes=400), Rules())
    leader.arrive(1, 7, 1, request_)
    with pytest.raises(ThrottledError):
        leader.arrive(1, 7, 2, Delete("/a"))
