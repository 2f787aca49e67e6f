"""The table of a sharding: which steps lead from whom partitions are assigned to, to where the ring wants them."""

from __future__ import annotations

from random import Random

import pytest
from attrs import evolve

from zkcore.recipes.shard_table import ShardMember, ShardTable, Wanted, next_table, plan_of, position_of
from zkcore.ring import MMH3_32, BoundedLoad, HashRing, Partitioned, Rendezvous

PARTITIONS = 24


class Play:
    """Members, and a table that is replaced step by step; they claim at once what is assigned to them."""

    def __init__(self, *, replicas: int = 1, at_once: int = 1) -> None:
        self.members: dict[str, ShardMember] = {}
        self.table: ShardTable | None = None
        self.claims: dict[int, str] = {}
        self._replicas, self._at_once = replicas, at_once

    def join(self, *names: str, weight: float = 1.0, rack: str = "") -> None:
        for name in names:
            self.members[name] = ShardMember(name, weight, rack)

    def die(self, name: str) -> None:
        del self.members[name]
        self.claims = {partition: owner for partition, owner in self.claims.items() if owner != name}

    @property
    def wanted(self) -> Wanted:
        found = Wanted.by(self.members.values(), Rendezvous, PARTITIONS)
        assert found is not None
        return found

    @property
    def owners(self) -> tuple[str, ...]:
        assert self.table is not None
        return self.table.owners

    def step(self) -> bool:
        """Plan once; whether that changed anything."""
        following = next_table(
            self.table, self.members, self.claims, self.wanted, replicas=self._replicas, at_once=self._at_once
        )
        changed, self.table = following != self.table, following
        return changed

    def claim(self) -> None:
        self.claims = dict(enumerate(self.owners))

    def settle(self) -> None:
        for _ in range(100):
            if not self.step():
                return
            self.claim()
        raise AssertionError("it never comes to an end")


def test_the_first_table_is_what_the_ring_wants() -> None:
    play = Play()
    play.join("a", "b", "c")
    play.settle()
    assert list(play.owners) == Rendezvous(["a", "b", "c"]).owners(range(PARTITIONS))
    assert set(play.owners) == {"a", "b", "c"}


def test_what_the_dead_owned_is_given_to_others_at_once_and_nothing_else_moves() -> None:
    play = Play()
    play.join("a", "b", "c", "d")
    play.settle()
    before = play.owners
    play.die("b")
    assert play.step()
    for old, new in zip(before, play.owners, strict=True):
        assert new == old if old != "b" else new != "b"


def test_whoever_comes_is_given_what_the_ring_wants_move_by_move() -> None:
    play = Play()
    play.join("a", "b", "c")
    play.settle()
    play.join("d")
    steps = 0
    while True:
        before = play.owners
        if not play.step():
            break
        moved = {(old, new) for old, new in zip(before, play.owners, strict=True) if old != new}
        assert len(moved) == 1, "one move at a time"
        assert {new for _, new in moved} == {"d"}, "nothing goes to anybody else"
        assert not play.step(), "the next one waits until it is claimed"
        play.claim()
        steps += 1
    assert steps == 3
    assert play.owners == play.wanted.owners


def test_several_moves_at_once_where_that_is_asked_for() -> None:
    play = Play(at_once=2)
    play.join("a", "b", "c")
    play.settle()
    play.join("d")
    before = play.owners
    play.step()
    assert len({old for old, new in zip(before, play.owners, strict=True) if old != new}) == 2


def test_a_partition_that_nobody_has_claimed_keeps_others_from_moving() -> None:
    play = Play()
    play.join("a", "b", "c")
    play.settle()
    play.claims.pop(7)
    play.join("d")
    assert not play.step()
    play.claim()
    assert play.step()


def test_who_leaves_hands_over_what_it_has_and_takes_nothing() -> None:
    play = Play()
    play.join("a", "b", "c")
    play.settle()
    before = play.owners
    play.members["a"] = evolve(play.members["a"], is_leaving=True)
    play.settle()
    for old, new in zip(before, play.owners, strict=True):
        assert new == old if old != "a" else new != "a"
    play.join("d")
    play.settle()
    assert "a" not in play.owners


def test_nobody_stays_where_all_leave() -> None:
    assert Wanted.by([ShardMember("a", is_leaving=True)], Rendezvous, PARTITIONS) is None


def test_who_is_back_before_anybody_noticed_keeps_all() -> None:
    play = Play()
    play.join("a", "b")
    play.settle()
    before = play.owners
    play.die("a")
    play.join("a")
    assert not play.step()
    assert play.owners == before


def test_where_the_table_is_gone_it_is_made_of_the_claims() -> None:
    play = Play()
    play.join("a", "b", "c")
    play.settle()
    play.join("d")
    play.step()
    before = play.owners
    play.claim()
    play.claims.pop(7)
    play.table = None
    play.step()
    assert [owner for each, owner in enumerate(play.owners) if each != 7] == [
        owner for each, owner in enumerate(before) if each != 7
    ]


def test_a_weight_is_a_share() -> None:
    members = {name: ShardMember(name, weight) for name, weight in (("a", 1.0), ("b", 3.0))}
    wanted = Wanted.by(members.values(), Rendezvous, 4096)
    assert wanted is not None
    assert 0.7 < wanted.owners.count("b") / 4096 < 0.8


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_only_members_own_and_it_comes_to_rest_where_the_ring_wants_it(seed: int) -> None:
    rng = Random(seed)
    play = Play(at_once=rng.choice((1, 3)), replicas=rng.choice((1, 2)))
    names = list("abcdef")
    play.join("a")
    for _ in range(60):
        name = rng.choice(names)
        if name not in play.members:
            play.join(name, rack=rng.choice(("", "r1", "r2")))
        elif len(play.members) > 1 and rng.random() < 0.7:
            play.die(name)
        before = play.table
        play.step()
        assert set(play.owners) <= play.members.keys()
        for partition, owner in enumerate(play.owners):
            old = owner if before is None else before.owners[partition]
            assert owner == old or old not in play.members or owner == play.wanted.owners[partition]
            if rng.random() < 0.8 and play.claims.get(partition) in (None, owner):
                play.claims[partition] = owner
            elif rng.random() < 0.8:
                play.claims.pop(partition, None)  # drained
    play.claim()
    play.settle()
    assert play.owners == play.wanted.owners


# --- racks


def test_standbys_are_in_racks_of_their_own() -> None:
    play = Play(replicas=3)
    for name, rack in (("a", "r1"), ("b", "r1"), ("c", "r2"), ("d", "r3"), ("e", "r3")):
        play.join(name, rack=rack)
    play.settle()
    assert play.table is not None
    for owner, standbys in zip(play.owners, play.table.standbys, strict=True):
        racks = [play.members[name].rack for name in (owner, *standbys)]
        assert len(racks) == len(set(racks)) == 3


def test_the_first_standby_takes_over() -> None:
    play = Play(replicas=2)
    for name, rack in (("a", "r1"), ("b", "r1"), ("c", "r2"), ("d", "r3")):
        play.join(name, rack=rack)
    play.settle()
    assert play.table is not None
    before = play.table
    play.die("a")
    play.step()
    for owner, standbys, new in zip(before.owners, before.standbys, play.owners, strict=True):
        assert new == (standbys[0] if owner == "a" else owner)


def test_there_are_as_many_standbys_as_there_are_racks_for() -> None:
    play = Play(replicas=3)
    for name in ("a", "b", "c"):
        play.join(name, rack="r1")
    play.join("d", rack="r2")
    play.settle()
    assert play.table is not None
    assert {len(standbys) for standbys in play.table.standbys} == {1}


# --- as bytes


def test_a_table_says_itself_in_bytes() -> None:
    table = ShardTable(("a", "b", "a"), (("b",), (), ("c", "b")))
    assert ShardTable.decode(table.encode(), 3) == table
    assert ShardTable.decode(table.encode(), 4) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"names":["a"],"owners":[1],"standbys":[[]]}', b"3"])
def test_what_is_no_table_is_none(data: bytes) -> None:
    assert ShardTable.decode(data, 1) is None


def test_a_member_says_itself_in_bytes() -> None:
    member = ShardMember("a", 2.5, "r1", "10.0.0.7:80", True, 17)
    assert ShardMember.decode("a", member.encode(), 17) == member


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"weight":-1,"rack":"","address":"","leaving":false}'])
def test_what_is_no_member_is_none(data: bytes) -> None:
    assert ShardMember.decode("a", data, 17) is None


# --- as the ring has it


def test_partitions_are_those_of_the_ring() -> None:
    ring = Partitioned(HashRing(["a"]), partitions=PARTITIONS)
    for partition in range(PARTITIONS):
        first = position_of(partition, PARTITIONS)
        assert first * PARTITIONS >> MMH3_32.bits == partition
        assert partition == 0 or (first - 1) * PARTITIONS >> MMH3_32.bits == partition - 1
    assert ring.partition("user:17") == MMH3_32.position("user:17") * PARTITIONS >> MMH3_32.bits


def test_a_plan_says_what_moves_from_whom_to_whom() -> None:
    plan = plan_of("abab", "abba", at_once=1)
    assert {(move.source, move.target) for move in plan.moves} == {("a", "b"), ("b", "a")}
    assert plan.share == pytest.approx(0.5)


def test_a_placement_of_ones_own_may_bind_the_load() -> None:
    members = [ShardMember(name) for name in "abc"]
    wanted = Wanted.by(members, lambda nodes: BoundedLoad(Rendezvous(nodes), factor=1.0), PARTITIONS)
    assert wanted is not None
    assert sorted(wanted.owners.count(name) for name in "abc") == [8, 8, 8]
