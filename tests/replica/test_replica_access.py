"""Who asks: the ids of a client, on their way from where it is served to the leader, which judges by them."""

from __future__ import annotations

import pytest
from attrs import evolve
from virtual import Ensemble

from zkcore.errors import BadArgumentsError, InvalidACLError, NoAuthError, SessionClosedError
from zkcore.jute.records import ACL, OPEN_ACL, READ_ACL, Id
from zkcore.replica.answers import Attached
from zkcore.replica.forward import Submit, pack
from zkcore.replica.rules import MAX_IDS, Rules
from zkcore.tree.acl import DEFAULT_ACL, Access, DigestScheme, Permission, digest_id
from zkcore.tree.requests import Create, Delete, GetACL, GetData, SetACL, SetData, WhoAmI, encode_request
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Forward
from zkcore.zab.ready import PeerRejected

ADA, BOB = digest_id("ada", "pw"), digest_id("bob", "pw")
HOME = Id("ip", "10.0.0.7")
ADAS = (ACL(Permission.READ | Permission.WRITE | Permission.ADMIN, ADA),)
RULES = Rules(access=Access([DigestScheme(superuser=digest_id("root", "pw"))], default=READ_ACL))

AT_EITHER = pytest.mark.parametrize("at_the_leader", [True, False])


def scene(*, at_the_leader: bool, rules: Rules | None = None) -> tuple[Ensemble, int, int]:
    """An ensemble, a replica that leads or does not, and another one."""
    world = Ensemble(rules=rules)
    leader = world.elect()
    follower, other = world.followers()
    return (world, leader, follower) if at_the_leader else (world, follower, other)


@AT_EITHER
def test_a_client_is_known_by_the_ids_its_host_gives(at_the_leader: bool) -> None:
    world, me, _ = scene(at_the_leader=at_the_leader)
    session = world.open(me, ids=(HOME,))
    assert world.ask(me, session, WhoAmI()) == (HOME,)
    world.replicas[me].identify(session, [ADA, HOME])
    assert world.ask(me, session, WhoAmI()) == (HOME, Id("digest", "ada"))
    assert world.replicas[me].read(session, WhoAmI()) == (HOME, Id("digest", "ada"))


@AT_EITHER
def test_writes_are_judged_by_the_ids_of_who_asks(at_the_leader: bool) -> None:
    world, me, _ = scene(at_the_leader=at_the_leader)
    ada, bob = world.open(me, ids=(ADA,)), world.open(me, ids=(BOB,))
    world.ask(me, ada, Create("/adas", b"", acl=ADAS))
    with pytest.raises(NoAuthError):
        world.ask(me, bob, SetData("/adas", b"bob's"))
    assert world.ask(me, ada, SetData("/adas", b"hers")).version == 1


@AT_EITHER
def test_reads_are_judged_by_the_ids_of_who_asks(at_the_leader: bool) -> None:
    world, me, _ = scene(at_the_leader=at_the_leader)
    ada, bob = world.open(me, ids=(ADA,)), world.open(me, ids=(BOB,))
    world.ask(me, ada, Create("/adas", b"secret", acl=ADAS))
    assert world.ask(me, ada, GetData("/adas")).data == b"secret"
    with pytest.raises(NoAuthError):
        world.ask(me, bob, GetData("/adas"))
    with pytest.raises(NoAuthError):
        world.replicas[me].read(bob, GetData("/adas"))


@AT_EITHER
def test_who_authenticates_later_is_judged_by_that_from_then_on(at_the_leader: bool) -> None:
    world, me, _ = scene(at_the_leader=at_the_leader)
    session = world.open(me)
    with pytest.raises(InvalidACLError):
        world.ask(me, session, Create("/mine", b"", acl=(ACL(31, Id("auth", "")),)))
    world.replicas[me].identify(session, world.replicas[me].rules.access.authenticate("digest", b"ada:pw"))
    world.ask(me, session, Create("/mine", b"", acl=(ACL(31, Id("auth", "")),)))
    assert world.ask(me, session, GetACL("/mine")).acl == (ACL(31, ADA),)


def test_what_a_client_was_known_by_stays_behind_when_it_moves() -> None:
    world, one, two = scene(at_the_leader=False)
    session = world.open(one, ids=(HOME, ADA))
    world.attach(two, session, ids=(BOB,))
    world.settle()
    assert world.heard(two, session) == [Attached(session)]
    assert world.ask(two, session, WhoAmI()) == (Id("digest", "bob"),)


@AT_EITHER
def test_the_superuser_of_the_rules_may_do_everything(at_the_leader: bool) -> None:
    world, me, _ = scene(at_the_leader=at_the_leader, rules=RULES)
    ada = world.open(me, ids=(ADA,))
    root = world.open(me, ids=RULES.access.authenticate("digest", b"root:pw"))
    world.ask(me, ada, Create("/adas", b"secret", acl=ADAS))
    assert world.ask(me, root, GetData("/adas")).data == b"secret"
    assert world.ask(me, root, SetACL("/adas", OPEN_ACL)).aversion == 1
    world.ask(me, root, Delete("/adas"))


def test_the_default_acl_is_that_of_the_rules() -> None:
    world, me, _ = scene(at_the_leader=False, rules=RULES)
    session = world.open(me)
    world.ask(me, session, Create("/a", b"", acl=DEFAULT_ACL))
    assert world.ask(me, session, GetACL("/a")).acl == READ_ACL
    with pytest.raises(NoAuthError):
        world.ask(me, session, SetData("/a", b"1"))


def test_a_tree_made_from_a_snapshot_is_under_the_same_rules() -> None:
    world = Ensemble(rules=RULES, limits=Limits(retained_records=1))
    leader = world.elect()
    late = world.followers()[0]
    root = world.open(leader, ids=RULES.access.authenticate("digest", b"root:pw"))
    world.kill(late)
    for number in range(5):
        world.ask(leader, root, Create(f"/n{number}", b"", acl=ADAS))
    ref, pieces = world.replicas[leader].snapshot()
    world.storages[leader].save_snapshot(ref, pieces)
    world.replicas[leader].compact(ref)
    world.act(leader)
    world.storages[late].wipe()
    world.start(late)
    world.run(lambda: world.replicas[late].leader == leader)
    assert world.replicas[late].tree.access is RULES.access
    again = world.open(late, ids=RULES.access.authenticate("digest", b"root:pw"))
    assert world.ask(late, again, GetData("/n4")).data == b""


# --- bounds


@AT_EITHER
@pytest.mark.parametrize("entry", [ACL(31, Id("digest", "\ud800:x")), ACL(1 << 40, Id("world", "anyone"))])
def test_an_acl_that_cannot_be_written_down_is_refused(at_the_leader: bool, entry: ACL) -> None:
    world, me, _ = scene(at_the_leader=at_the_leader)
    session = world.open(me)
    with pytest.raises((InvalidACLError, BadArgumentsError)):
        world.ask(me, session, Create("/a", b"", acl=(entry,)))
    assert world.ask(me, session, Create("/a", b"")).path == "/a"


@pytest.mark.parametrize(
    "ids",
    [
        [Id("ip", f"10.0.0.{number}") for number in range(MAX_IDS + 1)],
        [Id("x509", "CN=" + "a" * 10_000)],
        [Id("x509", "CN=\ud800")],
    ],
    ids=["too many", "too long", "no characters"],
)
def test_ids_are_bounded_and_can_be_written_down(ids: list[Id]) -> None:
    world, me, other = scene(at_the_leader=False)
    session = world.open(me)
    with pytest.raises(BadArgumentsError):
        world.replicas[me].identify(session, ids)
    with pytest.raises(BadArgumentsError):
        world.open(me, ids=tuple(ids))
    with pytest.raises(BadArgumentsError):
        world.attach(other, session, ids=tuple(ids))
    assert world.ask(me, session, WhoAmI()) == ()


def test_only_a_client_served_here_can_be_identified_or_read() -> None:
    world, me, other = scene(at_the_leader=False)
    session = world.open(me)
    with pytest.raises(SessionClosedError):
        world.replicas[other].identify(session, [ADA])
    with pytest.raises(SessionClosedError):
        world.replicas[other].read(session, WhoAmI())


def test_a_replica_that_forwards_too_many_ids_is_rejected() -> None:
    world, follower, _ = scene(at_the_leader=False)
    leader = world.replicas[follower].leader
    assert leader is not None
    session = world.open(follower)
    sent = Submit(session, 1, *encode_request(Create("/a", b"")), ids=(HOME,))
    too_many = evolve(sent, ids=tuple(Id("ip", str(number)) for number in range(MAX_IDS + 1)))
    world.replicas[leader].receive(follower, Forward(pack(too_many)), world.now)
    world.act(leader)
    assert any(isinstance(told, PeerRejected) for told in world.told[leader])
    world.run(lambda: world.replicas[follower].leader == leader)
    assert world.replicas[leader].tree.persisted("/a") is None
