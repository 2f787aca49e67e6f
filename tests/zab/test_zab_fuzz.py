"""Whatever other peers say, a Peer never raises, and never asks for what its storage must refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dialogue import Dialogue, Z, stored
from hypothesis import event, given, settings
from hypothesis import strategies as st

from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Commit,
    Diff,
    FollowerInfo,
    LeaderInfo,
    NewLeader,
    Ping,
    Proposal,
    Role,
    Snap,
    SnapAck,
    SnapData,
    Trunc,
    UpToDate,
    Vote,
)
from zkcore.zxid import MAX_COUNTER, counter_of

LIMITS = Limits(snapshot_chunk_bytes=4, read_bytes=8, deliver_bytes=8, tail_bytes=8, last_counter=6)

LOG = ((1, 4), (3, 3))
"""The log of the node that is fuzzed; numbers are drawn so that they often fit to it, or nearly."""


def leader_of_3() -> Dialogue:
    return Dialogue(3, linked=(1, 2), storage=stored(*LOG, base=Z(1, 2)), limits=LIMITS)


def follower_of_3() -> Dialogue:
    return Dialogue(1, storage=stored(*LOG, base=Z(1, 2)), limits=LIMITS)


def syncing(*more: Any) -> Dialogue:
    d = follower_of_3().follow(3)
    d.hears(3, LeaderInfo(4), *more)
    return d


ROLES: dict[str, Callable[[], Dialogue]] = {
    "looking": follower_of_3,
    "registering": lambda: follower_of_3().follow(3),
    "waiting for its history": syncing,
    "collecting": lambda: syncing(Diff(Z(3, 3))),
    "in a snapshot": lambda: syncing(Snap(Z(4, 2)), SnapData(0, b"ab", False)),
    "following": lambda: follower_of_3().join(3, epoch=4, committed=Z(1, 3)),
    "in discovery": lambda: leader_of_3().stand(),
    "proposing an epoch": lambda: leader_with(FollowerInfo(3)),
    "synchronising": lambda: leader_with(FollowerInfo(3), AckEpoch(3, Z(3, 3), 0, (Z(1, 4), Z(3, 3)))),
    "sending a snapshot": lambda: leader_with(FollowerInfo(3), AckEpoch(3, Z(1, 1), 0, (Z(1, 1),))),
    "leading": lambda: leader_of_3().lead(1),
}


def leader_with(*messages: Any) -> Dialogue:
    d = leader_of_3().stand()
    d.hears(1, *messages)
    return d


EPOCHS = [0, 1, 2, 3, 4, 5, 0xFFFFFFFE, 0xFFFFFFFF]
epochs = st.sampled_from(EPOCHS)
ZXIDS = [
    0, Z(1, 0), Z(1, 2), Z(1, 4), Z(1, 5), Z(1, MAX_COUNTER), Z(2, 1), Z(3, 0), Z(3, 1), Z(3, 3), Z(3, 4),
    Z(4, 0), Z(4, 1), Z(4, 2), Z(4, MAX_COUNTER - 1), Z(4, MAX_COUNTER), Z(5, 1),
]  # fmt: skip
"""What is in the log, what is just not, and the ends of epochs."""

zxids = st.sampled_from(ZXIDS)
rounds = st.sampled_from([-1, 0, 1, 2, 1 << 63])
peers = st.sampled_from([1, 1, 2, 3, 3])
batches = st.lists(st.binary(max_size=5), min_size=1, max_size=4).map(tuple)


@st.composite
def ack_epochs(draw: st.DrawFn) -> AckEpoch:
    ends = tuple(draw(st.lists(zxids, max_size=3)))
    if draw(st.integers(0, 3)):
        ends = tuple(sorted({zxid >> 32: zxid for zxid in ends}.values()))
    last = ends[-1] if ends and draw(st.integers(0, 3)) else draw(zxids)
    base = draw(st.sampled_from([0, 0, *ends[:1]]) | zxids)
    return AckEpoch(draw(st.none() | epochs), last, base, ends)


MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    Vote: st.builds(Vote, st.sampled_from(Role), peers | st.just(9), zxids, epochs, rounds),
    FollowerInfo: st.builds(FollowerInfo, epochs),
    LeaderInfo: st.builds(LeaderInfo, epochs),
    AckEpoch: ack_epochs(),
    Diff: st.builds(Diff, zxids),
    Trunc: st.builds(Trunc, zxids),
    Snap: st.builds(Snap, zxids),
    SnapData: st.builds(SnapData, st.integers(0, 6), st.binary(max_size=4), st.booleans()),
    SnapAck: st.builds(SnapAck, st.integers(0, 10)),
    NewLeader: st.builds(NewLeader, epochs),
    UpToDate: st.builds(UpToDate, zxids),
    Proposal: st.builds(Proposal, zxids, batches),
    Ack: st.builds(Ack, zxids),
    Commit: st.builds(Commit, zxids),
    Ping: st.builds(Ping, st.integers(0, 3)),
}
messages = st.one_of(*MESSAGES.values())

inputs = st.one_of(
    st.tuples(st.just("hears"), peers | st.just(9), messages),
    st.tuples(st.just("hears"), peers, messages),
    st.tuples(st.just("relinks"), peers, st.none()),
    st.tuples(st.just("ticks"), st.just(0), st.sampled_from([1, 5, 30, 110])),
    st.tuples(st.just("proposes"), st.just(0), batches),
)


def feed(d: Dialogue, kind: str, peer: int, what: Any) -> None:
    if kind == "hears":
        d.hears(peer, what)
    elif kind == "ticks":
        d.ticks(what)
    elif kind == "relinks":
        d.lost(peer)
        d.linked(peer)
    elif d.peer.next_zxid is not None and counter_of(d.peer.next_zxid) + len(what) <= LIMITS.last_counter:
        d.proposes(*what)


def check(d: Dialogue, delivered_before: int) -> None:
    """Memory and disk are one, the epochs are in order, and delivery goes only forward."""
    saved, status = d.storage.load(), d.peer.status()
    assert (saved.base, saved.last) == (status.log_base, status.last_logged)
    assert (saved.accepted_epoch, saved.current_epoch) == (status.accepted_epoch, status.current_epoch)
    assert delivered_before <= status.last_delivered <= max(status.last_logged, saved.base)
    assert all(counter_of(zxid) > 0 for zxid in (*saved.epoch_ends, status.last_committed) if zxid)
    assert d.peer.ticks_until_due >= 1


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(ROLES)), st.lists(inputs, min_size=1, max_size=12))
def test_no_message_of_a_peer_does_harm(role: str, fed: list[tuple[str, int, Any]]) -> None:
    d = ROLES[role]()
    for kind, peer, what in fed:
        before = d.peer.status().last_delivered
        feed(d, kind, peer, what)
        check(d, before)
        for other in d.readies[-1].closes if d.readies else []:
            d.lost(other)
            d.linked(other)
    event(f"{role}: {'rejected somebody' if d.rejected else 'rejected nobody'}")


def near_misses() -> list[Any]:
    """One message of every type about every zxid and epoch."""
    found: list[Any] = [kind(zxid) for kind in (Diff, Trunc, Snap, UpToDate, Ack, Commit) for zxid in ZXIDS]
    found += [kind(epoch) for kind in (FollowerInfo, LeaderInfo, NewLeader) for epoch in EPOCHS]
    found += [Proposal(zxid, (b"x",) * count) for zxid in ZXIDS for count in (1, 3)]
    for zxid in ZXIDS:
        found += [AckEpoch(current, zxid, base, (zxid,)) for current in (None, 3) for base in (0, zxid)]
        found.append(AckEpoch(3, zxid, 0, (Z(1, 4), zxid)))
    found += [SnapData(offset, data, last) for offset in (0, 2) for data in (b"", b"xy") for last in (False, True)]
    found += [SnapAck(offset) for offset in range(10)]
    found += [Ping(round) for round in (0, 1, 1 << 63)]
    found += [Vote(state, leader, zxid, 3, 1) for state in Role for leader in (1, 2, 3, 9) for zxid in ZXIDS]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_every_near_miss_is_heard_or_rejected_in_every_role(role: str) -> None:
    for message in near_misses():
        d = ROLES[role]()
        partner = 1 if d.me == 3 else 3
        before = d.peer.status().last_delivered
        d.hears(partner, message)
        check(d, before)
        for what in (NewLeader(4), UpToDate(Z(3, 3)), Commit(Z(3, 3)), Ack(Z(4, 0))):  # what would make it count
            d.hears(partner, what)
        check(d, before)


def test_no_peer_can_use_up_the_epochs() -> None:
    d = leader_of_3()
    d.follow(2)
    d.hears(2, LeaderInfo(0xFFFFFFFE))
    d.lost(2)
    d.linked(2)
    if d.peer.role is not Role.LOOKING:  # it was not answered yet, as far as it is concerned: it waits in vain
        d.ticks(LIMITS.init_limit_ticks + 1)
        d.lost(2)
        d.linked(2)
    d.stand()
    d.hears(1, FollowerInfo(3))
    check(d, 0)
