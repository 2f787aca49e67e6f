"""The rules of an ensemble beside those of access: how large the tree may become, and what the leader cleans up."""

from __future__ import annotations

import pytest
from virtual import Ensemble

from zkcore.errors import ConfigurationError, QuotaExceededError, UnimplementedError
from zkcore.jute.codec import decode_from
from zkcore.jute.records import DeleteTxn, TxnHeader
from zkcore.replica.rules import Rules
from zkcore.tree.prepare import Guard
from zkcore.tree.requests import (
    Create,
    CreateContainer,
    CreateTTL,
    Delete,
    Exists,
    GetData,
    Multi,
    Request,
    SetData,
)
from zkcore.tree.writes import CleanUp
from zkcore.zab.limits import Limits

MINUTE = 60_000
HOUR = 3_600_000


def elected(*, rules: Rules | None = None, limits: Limits | None = None) -> tuple[Ensemble, int, int]:
    """Three replicas, which of them leads, and a session of an hour at a follower."""
    world = Ensemble(rules=rules, limits=limits)
    leader = world.elect()
    return world, leader, world.open(world.followers()[0], HOUR)


def do(world: Ensemble, session: int, *requests: Request[object]) -> None:
    for request in requests:
        world.ask(world.followers()[0], session, request)


def holds(world: Ensemble, path: str) -> bool:
    """Whether all replicas have it; none of them may differ."""
    (answer,) = {replica.tree.persisted(path) is not None for replica in world.replicas.values()}
    return answer


# --- how large the tree may become


def test_there_are_no_more_znodes_than_the_rules_allow() -> None:
    world, _, session = elected(rules=Rules(guard=Guard(max_znodes=6)))  # four of them are there from the beginning
    do(world, session, Create("/a"), Create("/b"))
    with pytest.raises(QuotaExceededError, match="limit on the size of the tree"):
        do(world, session, Create("/c"))
    do(world, session, Delete("/a"), Create("/c"))
    assert [holds(world, path) for path in ("/a", "/b", "/c")] == [False, True, True]


def test_there_are_no_more_bytes_than_the_rules_allow() -> None:
    world, _, session = elected(rules=Rules(guard=Guard(max_bytes=3000)))
    do(world, session, Create("/a", bytes(2000)))
    with pytest.raises(QuotaExceededError):
        do(world, session, SetData("/a", bytes(3000)))
    do(world, session, SetData("/a", bytes(10)), Create("/b", bytes(1500)))


def test_a_new_leader_keeps_to_the_rules() -> None:
    world, leader, session = elected(rules=Rules(guard=Guard(max_znodes=5)))
    do(world, session, Create("/a"))
    world.kill(leader)
    world.elect()
    me = world.followers()[0]
    again = world.open(me)
    with pytest.raises(QuotaExceededError):
        world.ask(me, again, Create("/b"))


def test_a_hard_quota_holds_for_what_is_below_its_znode() -> None:
    world, _, session = elected()
    quota = "/zookeeper/quota/small"
    do(
        world, session, Create("/small"), Create(quota), Create(f"{quota}/zookeeper_stats"),
        Create(f"{quota}/zookeeper_limits", b"count=-1,bytes=-1;byteHardLimit=10;countHardLimit=3"),
    )  # fmt: skip
    do(world, session, Create("/small/a", bytes(10)), Create("/small/b"))
    for refused in (Create("/small/c"), SetData("/small/b", b"1"), Multi([Create("/x"), SetData("/small/b", b"1")])):
        with pytest.raises(Exception, match="quota"):
            do(world, session, refused)
    do(world, session, Create("/elsewhere", bytes(100)), SetData("/small/a", b""), SetData("/small/b", b"1"))
    stats = world.ask(world.followers()[0], session, GetData(f"{quota}/zookeeper_stats")).data
    assert stats == b"count=3,bytes=1"


# --- what is cleaned up


def test_a_container_goes_some_time_after_its_last_child() -> None:
    world, _, session = elected()
    do(world, session, CreateContainer("/used"), CreateContainer("/unused"), Create("/used/child"))
    world.pass_ms(MINUTE + 100)
    assert holds(world, "/used")
    do(world, session, Delete("/used/child"))
    world.pass_ms(MINUTE + 100)
    assert not holds(world, "/used")
    assert holds(world, "/unused")


def test_a_znode_goes_some_time_after_its_time_to_live() -> None:
    world, _, session = elected()
    do(world, session, CreateTTL("/brief", ttl_ms=1000), CreateTTL("/long", ttl_ms=10 * MINUTE))
    world.pass_ms(MINUTE + 100)
    assert not holds(world, "/brief")
    assert holds(world, "/long")


def test_a_znode_that_is_changed_in_time_lives_on() -> None:
    world, _, session = elected(rules=Rules(clean_every_ms=1000))
    do(world, session, CreateTTL("/brief", ttl_ms=5000))
    for _ in range(5):
        world.pass_ms(4000)
        do(world, session, SetData("/brief", b"still here"))
    assert holds(world, "/brief")
    world.pass_ms(7000)
    assert not holds(world, "/brief")


def test_a_znode_that_is_changed_after_it_was_found_is_not_deleted() -> None:
    """The change is proposed in the same batch as the deletion, and before it."""
    world, leader, session = elected(rules=Rules(clean_every_ms=1000))
    here = world.open(leader, HOUR)
    do(world, session, CreateTTL("/brief", ttl_ms=500))
    replica = world.replicas[leader]
    replica.submit(here, SetData("/brief", b"just in time"), world.now)
    world.now += 2000
    replica.tick(100, world.now)
    world.act(leader)
    world.settle()
    assert world.ask(leader, here, GetData("/brief")).data == b"just in time"


def test_a_container_that_gets_a_child_after_it_was_found_is_not_deleted() -> None:
    world, leader, session = elected(rules=Rules(clean_every_ms=1000))
    here = world.open(leader, HOUR)
    do(world, session, CreateContainer("/box"), Create("/box/first"), Delete("/box/first"))
    replica = world.replicas[leader]
    replica.submit(here, Create("/box/second"), world.now)
    replica.tick(100, world.now)
    world.act(leader)
    world.settle()
    assert holds(world, "/box/second")


def test_only_the_leader_cleans_up_and_the_next_one_goes_on() -> None:
    world, leader, session = elected()
    do(world, session, CreateTTL("/brief", ttl_ms=1))
    world.pass_ms(MINUTE - 5000)
    world.kill(leader)
    world.elect()
    world.pass_ms(MINUTE - 5000)
    assert holds(world, "/brief"), "the new leader begins to count when it leads"
    world.pass_ms(10_000)
    assert not holds(world, "/brief")
    assert cleanings(world) == 1


def cleanings(world: Ensemble) -> int:
    """How many deletions by the leader itself the log of a replica holds."""
    storage = world.storages[world.followers()[0]]
    types = [decode_from(TxnHeader, entry.payload, at=0)[0].type for entry in storage.entries(0, 1 << 30)]
    return types.count(DeleteTxn.TYPE_CLEANED)


def test_much_is_cleaned_up_in_portions_and_no_more_at_a_time_than_the_rules_say() -> None:
    world, leader, session = elected(rules=Rules(clean_every_ms=1000, clean_most=150))
    for first in range(0, 200, 50):
        do(world, session, Multi([CreateTTL(f"/n{first + n:03d}", ttl_ms=1) for n in range(50)]))
    world.run(lambda: not holds(world, "/n000"))
    left = len(world.replicas[leader].tree)
    assert left == 4 + 100, "a portion in the first tick"
    do(world, session, SetData("/n120", b"in use again"))
    world.pass_ms(500)
    assert holds(world, "/n120"), "it was found, and is not due any more"
    assert len(world.replicas[leader].tree) == 4 + 51, "and the rest the next time"
    world.pass_ms(1000)
    assert len(world.replicas[leader].tree) == 4


def test_what_is_to_be_cleaned_up_waits_while_too_much_is_outstanding() -> None:
    world, leader, session = elected(rules=Rules(clean_every_ms=1000), limits=Limits(outstanding_proposals=4))
    do(world, session, *(CreateTTL(f"/n{number}", ttl_ms=1) for number in range(20)))
    one, two = world.followers()
    world.hold((one, leader), (two, leader))  # nothing can be committed
    replica = world.replicas[leader]
    for _ in range(12):
        world.now += 100
        replica.tick(10, world.now)
        world.act(leader)
    assert replica.peer.is_full
    assert any(line.endswith("to be proposed: 4") for line in replica.explain()), "there is room for no more"
    assert len(replica.tree) == 24
    world.release((one, leader), (two, leader))
    world.pass_ms(2500)
    assert len(world.replicas[leader].tree) == 4


def test_nobody_else_can_ask_for_a_cleaning() -> None:
    world, leader, session = elected()
    do(world, session, Create("/a"))
    here = world.open(leader)
    mzxid = world.replicas[leader].tree.read(Exists("/a")).mzxid  # type: ignore[union-attr]
    with pytest.raises(UnimplementedError):
        world.ask(leader, here, CleanUp("/a", mzxid))
    with pytest.raises(UnimplementedError):
        do(world, session, CleanUp("/a", mzxid))
    assert holds(world, "/a")


@pytest.mark.parametrize("wrong", [{"clean_every_ms": 0}, {"clean_most": 0}])
def test_rules_must_make_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        Rules(**wrong)  # type: ignore[arg-type]
