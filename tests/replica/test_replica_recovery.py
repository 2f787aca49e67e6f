"""Replicas that come back: by their log, by a snapshot, after a storage that failed; and bytes that nobody sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import Ensemble

from zkcore.errors import ConnectionLostError, StorageCorruptError, StorageFailedError
from zkcore.replica.answers import Attached, Detached
from zkcore.replica.forward import (
    AskIndex,
    Claim,
    Claimed,
    Forwarded,
    Index,
    Refused,
    Submit,
    Touch,
    TouchReply,
    pack,
)
from zkcore.replica.levels import Read
from zkcore.replica.replica import Replica
from zkcore.storage.storage import MemoryStorage
from zkcore.tree.requests import Create, Exists, GetData, SetData, encode_request
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Forward, PeerId
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import NOTHING, PeerRejected, Restored


def write(world: Ensemble, me: int, count: int, *, prefix: str = "n") -> int:
    session = world.open(me)
    for number in range(count):
        world.ask(me, session, Create(f"/{prefix}{number:03d}", bytes(50)))
    return session


def compact(world: Ensemble, me: int) -> None:
    replica = world.replicas[me]
    ref, pieces = replica.snapshot()
    replica.storage.save_snapshot(ref, pieces)
    replica.compact(ref)
    world.act(me)


def settled(world: Ensemble) -> None:
    world.elect()
    world.pass_ms(1000)


def test_a_replica_that_was_away_is_brought_up_to_date_record_by_record() -> None:
    world = Ensemble()
    away = next(me for me in world.replicas if me != world.elect())
    write(world, world.elect(), 3)
    world.kill(away)
    write(world, world.elect(), 5, prefix="later")
    world.start(away)
    settled(world)
    assert not any(isinstance(told, Restored) for told in world.told[away])
    assert len(world.trees()) == 1


def test_a_replica_too_far_behind_gets_a_snapshot_and_the_same_tree_byte_for_byte() -> None:
    world = Ensemble(limits=Limits(snapshot_chunk_bytes=100, retained_records=1))
    leader = world.elect()
    away = world.followers()[0]
    write(world, leader, 3)
    world.kill(away)
    write(world, leader, 20, prefix="later")
    for me in world.replicas:
        compact(world, me)
    session = write(world, leader, 2, prefix="last")
    world.start(away)
    settled(world)
    assert any(isinstance(told, Restored) for told in world.told[away])
    assert len(world.trees()) == 1
    world.attach(away, session)
    world.settle()
    assert world.heard(away, session) == [Attached(session)]
    assert world.ask(away, session, Exists("/later019")) is not None


def test_a_replica_begins_again_from_its_snapshot_and_the_log_after_it() -> None:
    world = Ensemble(1)
    write(world, 1, 5)
    compact(world, 1)
    write(world, 1, 5, prefix="later")
    (before,) = world.trees()
    world.kill(1)
    world.start(1)
    settled(world)
    assert world.trees() == {before}


def test_a_snapshot_of_an_earlier_state_may_be_kept_while_the_tree_goes_on() -> None:
    world = Ensemble(1)
    session = write(world, 1, 5)
    ref, pieces = world.replicas[1].snapshot()
    (before,) = world.trees()
    world.ask(1, session, SetData("/n000", b"changed"))
    assert b"".join(pieces) == before
    assert ref.zxid < world.replicas[1].tree.last_zxid


def test_a_damaged_snapshot_is_told_and_not_served() -> None:
    world = Ensemble(1)
    write(world, 1, 5)
    ref, pieces = world.replicas[1].snapshot()
    world.storages[1].save_snapshot(ref, [*pieces, b"and more"])
    world.replicas[1].compact(ref)
    world.act(1)
    world.kill(1)
    replica = Replica(1, world.config, world.storages[1])
    with pytest.raises(StorageCorruptError):
        replica.drain()
    assert not replica.serving


# --- recover


def fail(world: Ensemble, me: int) -> None:
    """The storage of `me` fails in the next save, and works again; the replica recovers, with all links broken."""
    world.storages[me].fail("the disk is gone")
    with pytest.raises(StorageFailedError):
        world.open(me)
    world.acting.discard(me)
    world.storages[me].reopen()
    world.replicas[me].recover()
    for other in world.replicas:
        if other != me:
            world._break(me, other)
            world._link(me, other)
    world.act(me)


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_after_a_failure_of_its_storage_a_replica_keeps_what_it_had_and_applies_nothing_twice(victim: str) -> None:
    world = Ensemble(limits=Limits(deliver_bytes=120))
    leader = world.elect()
    me = leader if victim == "leader" else world.followers()[0]
    session = world.open(me)
    world.ask(me, session, Create("/counter", b""))
    for number in range(10):
        assert world.ask(me, session, SetData("/counter", b"%d" % number)).version == number + 1
    fail(world, me)
    assert isinstance(world.heard(me, session)[-1], Detached)
    assert world.replicas[me].tree.read(GetData("/counter")).data == b"9"
    with pytest.raises(ConnectionLostError):
        world.attach(me, session)
    while not world.replicas[me].serving:
        world.pass_ms(10)
        assert world.replicas[me].tree.read(GetData("/counter")).data == b"9", "it went back"
    settled(world)
    world.attach(me, session)
    world.settle()
    assert world.ask(me, session, SetData("/counter", b"last")).version == 11
    assert len(world.trees()) == 1


def test_a_snapshot_is_not_compacted_to_before_the_new_peer_has_delivered_it() -> None:
    world = Ensemble(limits=Limits(deliver_bytes=120))
    me = world.elect()
    write(world, me, 10)
    fail(world, me)
    compact(world, me)
    assert world.replicas[me].status().snapshot == 0
    settled(world)
    compact(world, me)
    assert world.replicas[me].status().snapshot > 0
    settled(world)
    assert len(world.trees()) == 1


# --- bytes that nobody sent

TOUCH = pack(Touch(1, 1))
NUMBERS = st.one_of(st.integers(-2, 3), st.sampled_from([-(1 << 63), (1 << 63) - 1]))
XIDS = st.sampled_from([-(1 << 31), -1, 0, 1, 2, 1000, (1 << 31) - 1])
OPCODES = st.sampled_from([-11, -10, 0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 14, 15, 999])
BODIES = st.one_of(st.binary(max_size=40), st.sampled_from([encode_request(Create("/a", b""))[1], b"\xff" * 8]))


@st.composite
def forwards(draw: st.DrawFn, session: int) -> bytes:
    """What a peer may send: nonsense, the messages of the protocol with any values, and these with a byte changed."""
    sessions = st.one_of(st.just(session), NUMBERS)
    kind = draw(st.sampled_from(["noise", Submit, Claim, Claimed, Refused, Touch, TouchReply, AskIndex, Index]))
    if kind == "noise":
        return bytes(draw(st.binary(max_size=30)))
    makers: dict[Any, Callable[[], Forwarded]] = {
        Submit: lambda: Submit(draw(sessions), draw(XIDS), draw(OPCODES), draw(BODIES)),
        Claim: lambda: Claim(draw(sessions), draw(NUMBERS), draw(BODIES)),
        Claimed: lambda: Claimed(draw(sessions), draw(NUMBERS), draw(st.booleans()), draw(NUMBERS)),
        Refused: lambda: Refused(draw(sessions), draw(XIDS), draw(st.sampled_from([-118, -6, -112, -101, 0, 77]))),
        Touch: lambda: Touch(draw(sessions), draw(NUMBERS)),
        TouchReply: lambda: TouchReply(draw(sessions), draw(NUMBERS), draw(st.booleans())),
        AskIndex: lambda: AskIndex(draw(NUMBERS)),
        Index: lambda: Index(draw(NUMBERS), draw(NUMBERS), draw(NUMBERS)),
    }
    data = bytearray(pack(makers[kind]()))
    if draw(st.booleans()):
        data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_whatever_a_member_sends_no_replica_raises_and_the_ensemble_goes_on(data: st.DataObject) -> None:
    world = Ensemble()
    leader = world.elect()
    one, two = world.followers()
    session = world.open(one)
    world.ask(one, session, Create("/a", b""))
    for _ in range(data.draw(st.integers(1, 6))):
        sender, to = data.draw(st.sampled_from([(one, leader), (two, leader), (leader, one), (two, one)]))
        world.replicas[to].receive(sender, Forward(data.draw(forwards(session))), world.now)
        world.act(to)
        if data.draw(st.booleans()):
            world.settle()
            if world.replicas[one].can_read(session):
                world.submit(one, session, SetData("/a", b"1"))
                world.submit(one, session, GetData("/a"), read=Read.LINEARIZABLE)
                world.submit(one, session, SetData("/a", b"2"))
    settled(world)
    assert len(world.trees()) == 1
    assert world.ask(two, world.open(two), Create("/b", b"")).path == "/b"


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\xff", b"\x01", TOUCH[:-1], TOUCH + b"\x00"])
def test_bytes_that_are_no_message_cost_the_sender_its_link(data: bytes) -> None:
    world = Ensemble()
    leader = world.elect()
    follower = world.followers()[0]
    world.replicas[leader].receive(follower, Forward(data), world.now)
    ready = world.replicas[leader].drain()
    assert [told.peer for told in ready.events if isinstance(told, PeerRejected)] == [follower]
    assert ready.closes == [follower]


@pytest.mark.parametrize("sender", [4, 99])
def test_who_is_no_member_is_not_heard(sender: PeerId) -> None:
    world = Ensemble()
    leader = world.elect()
    session = world.open(leader)
    stolen = Submit(session, 1, *encode_request(Create("/stolen", b"")))
    world.replicas[leader].receive(sender, Forward(pack(stolen)), world.now)
    world.act(leader)
    world.settle()
    assert world.ask(leader, session, Exists("/stolen")) is None


def test_a_replica_alone_serves_by_itself() -> None:
    replica = Replica(1, EnsembleConfig([1]), MemoryStorage())
    told = []
    while (ready := replica.drain()) is not NOTHING:
        told += ready.events
        replica.storage.save(ready.writes)
        assert not ready.early
        assert not ready.messages
    assert replica.serving
    assert replica.leader == 1
