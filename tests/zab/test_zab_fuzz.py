"""Whatever other peers say, a Peer never raises, and never asks for what its storage must refuse.

The numbers are drawn so that they often fit what the Peer has, or nearly. By default the same examples are tried every
time; with ZKCORE_FUZZ_EXAMPLES=20000, say, in the environment so many others are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, get_args

import pytest
from dialogue import Dialogue, Z, payload, stored
from hypothesis import event, given, settings
from hypothesis import strategies as st

from zkcore.errors import BadArgumentsError, NotLeadingError, ThrottledError
from zkcore.storage.storage import MemoryStorage
from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    NOBODY,
    Ack,
    AckEpoch,
    Commit,
    Damage,
    Diff,
    FollowerInfo,
    HandOff,
    LeaderInfo,
    NewLeader,
    Ping,
    Proposal,
    Repaired,
    Role,
    Snap,
    SnapAck,
    SnapData,
    SyncAck,
    Trunc,
    UpToDate,
    Vote,
    ZabMessage,
)
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import SnapshotRef
from zkcore.zxid import MAX_COUNTER, counter_of

EXAMPLES = os.environ.get("ZKCORE_FUZZ_EXAMPLES")
FUZZ = settings(max_examples=int(EXAMPLES or 400), derandomize=EXAMPLES is None, deadline=None)

LIMITS = Limits(
    snapshot_chunk_bytes=4, snapshot_bytes_per_tick=6, read_bytes=8, deliver_bytes=8, tail_bytes=8, window_bytes=6,
    outstanding_proposals=4, outstanding_bytes=12, retained_records=2, transfer_ticks=20, last_counter=6,
)  # fmt: skip
CONFIG = EnsembleConfig((1, 2, 3), observers=(4,))

LOG = ((1, 4), (3, 3))
"""The log of the node that is fuzzed."""


def node(me: int, storage: MemoryStorage | None = None) -> Dialogue:
    past = storage if storage is not None else stored(*LOG, base=Z(1, 2), at=Z(1, 3))
    others = [member for member in CONFIG.members if member != me]
    return Dialogue(me, config=CONFIG, linked=others, storage=past, limits=LIMITS)


def damaged(damage: Damage) -> Dialogue:
    storage = stored(*LOG, base=Z(1, 2), at=Z(1, 3))
    if damage is Damage.LOG:
        storage.lose(Z(3, 1))
    else:
        storage.wipe()
    return node(1, storage)


def after(d: Dialogue, peer: int, *messages: ZabMessage) -> Dialogue:
    for message in messages:
        d.hears(peer, message)
    return d


def syncing(*more: ZabMessage) -> Dialogue:
    return after(node(1).follow(3), 3, LeaderInfo(4), *more)


def leader(*messages: ZabMessage) -> Dialogue:
    return after(node(3).stand(), 1, *messages)


def established(*messages: ZabMessage, learner: int = 2) -> Dialogue:
    return after(node(3).lead(1), learner, *messages)


def handing_over(*, announced: bool) -> Dialogue:
    d = node(3).lead(1)
    if not announced:
        d.proposes(b"x")
    d.peer.transfer(1)
    d.drain()
    return d


SAME = AckEpoch(3, Z(3, 3), Z(1, 3), (Z(1, 4), Z(3, 3)))
BEHIND = AckEpoch(3, Z(1, 3), Z(1, 3), (Z(1, 3),))
EMPTY = AckEpoch(3, 0, 0, ())
FORGETFUL = AckEpoch(None, Z(3, 3), Z(1, 3), (Z(1, 4), Z(3, 3)), damage=Damage.EPOCHS)

ROLES: dict[str, Callable[[], Dialogue]] = {
    "looking": lambda: node(1),
    "registering": lambda: node(1).follow(3),
    "waiting for its history": syncing,
    "catching up": lambda: syncing(Diff(Z(3, 3))),
    "in a snapshot": lambda: syncing(Snap(Z(4, 2)), SnapData(0, b"ab", False)),
    "half a snapshot": lambda: after_loss(syncing(Snap(Z(4, 2)), SnapData(0, b"ab", False))),
    "accepted": lambda: syncing(Diff(Z(3, 3)), NewLeader(4)),
    "following": lambda: node(1).join(3, epoch=4, committed=Z(1, 3)),
    "observing": lambda: node(4).join(3, epoch=4, committed=Z(3, 3)),
    "an observer looking": lambda: node(4),
    "damaged log, looking": lambda: damaged(Damage.LOG),
    "damaged log, catching up": lambda: after(damaged(Damage.LOG).follow(3), 3, LeaderInfo(4), Diff(Z(3, 1))),
    "wiped, looking": lambda: damaged(Damage.EPOCHS),
    "wiped, following": lambda: damaged(Damage.EPOCHS).join(3, epoch=4),
    "in discovery": leader,
    "proposing an epoch": lambda: leader(FollowerInfo(3)),
    "synchronising": lambda: leader(FollowerInfo(3), SAME),
    "filling a window": lambda: leader(FollowerInfo(3), BEHIND),
    "sending a snapshot": lambda: leader(FollowerInfo(3), EMPTY),
    "leading": lambda: node(3).lead(1),
    "leading while a snapshot is sent": lambda: established(FollowerInfo(3), EMPTY),
    "leading one that forgot": lambda: established(FollowerInfo(0), FORGETFUL, Ack(Z(4, 0))),
    "leading an observer": lambda: established(FollowerInfo(3), SAME, Ack(Z(4, 0)), learner=4),
    "about to hand over": lambda: handing_over(announced=False),
    "handing over": lambda: handing_over(announced=True),
}


PLACES = {
    "looking": "LOOKING", "registering": "REGISTERING", "waiting for its history": "WAIT_SYNC",
    "catching up": "SYNCING",
    "in a snapshot": "SNAPPING", "half a snapshot": "REGISTERING", "accepted": "ACKED", "following": "BROADCAST",
    "observing": "BROADCAST", "an observer looking": "LOOKING", "damaged log, looking": "LOOKING",
    "damaged log, catching up": "SYNCING", "wiped, looking": "LOOKING", "wiped, following": "BROADCAST",
    "in discovery": "DISCOVERY", "proposing an epoch": "EPOCH_PROPOSED WAIT_ACKEPOCH",
    "synchronising": "SYNCHRONIZATION WAIT_ACK", "filling a window": "SYNCHRONIZATION CATCHING_UP",
    "sending a snapshot": "SYNCHRONIZATION SNAPPING", "leading": "BROADCAST ACTIVE",
    "leading while a snapshot is sent": "BROADCAST ACTIVE SNAPPING",
    "leading one that forgot": "BROADCAST ACTIVE ACTIVE",
    "leading an observer": "BROADCAST ACTIVE ACTIVE", "about to hand over": "BROADCAST ACTIVE",
    "handing over": "BROADCAST ACTIVE",
}  # fmt: skip
"""Where each of these is: its phase, and the stages of those who learn from it."""


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_where_it_should_be(role: str) -> None:
    d = ROLES[role]()
    status = d.peer.status()
    assert " ".join([status.phase, *(learner.stage for learner in status.learners)]) == PLACES[role]
    assert d.rejected == []


def after_loss(d: Dialogue) -> Dialogue:
    d.relinked(3)
    return d.follow(3)


EPOCHS = [0, 1, 2, 3, 4, 5, 0xFFFFFFFE, 0xFFFFFFFF]
epochs = st.sampled_from(EPOCHS)
ZXIDS = [
    0, Z(1, 0), Z(1, 2), Z(1, 3), Z(1, 4), Z(1, 5), Z(1, MAX_COUNTER), Z(2, 1), Z(3, 0), Z(3, 1), Z(3, 3), Z(3, 4),
    Z(4, 0), Z(4, 1), Z(4, 2), Z(4, 3), Z(4, MAX_COUNTER - 1), Z(4, MAX_COUNTER), Z(5, 1), (1 << 64) - 1,
]  # fmt: skip
"""What is in the log, what is just not, and the ends of epochs."""

zxids = st.sampled_from(ZXIDS)
offsets = st.sampled_from([0, 1, 2, 4, 5, 6, 8, (1 << 63) - 1, 1 << 63])
rounds = st.sampled_from([-1, 0, 1, 2, 3, 1 << 63])
peers = st.sampled_from([1, 1, 2, 3, 3, 4])
batches = st.lists(st.binary(max_size=5), min_size=1, max_size=4).map(tuple)
damages = st.sampled_from([None, None, *Damage])


@st.composite
def ack_epochs(draw: st.DrawFn) -> AckEpoch:
    ends = tuple(draw(st.lists(zxids, max_size=3)))
    if draw(st.integers(0, 3)):
        ends = tuple(sorted({zxid >> 32: zxid for zxid in ends}.values()))
    last = ends[-1] if ends and draw(st.integers(0, 3)) else draw(zxids)
    base = draw(st.sampled_from([0, 0, *ends[:1]]) | zxids)
    partial = draw(st.none() | st.tuples(zxids, offsets))
    return AckEpoch(draw(st.none() | epochs), last, base, ends, partial, draw(damages))


MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    Vote: st.builds(
        Vote, st.sampled_from(Role), peers | st.sampled_from([NOBODY, 9, 255]), zxids, epochs, rounds, st.booleans()
    ),
    FollowerInfo: st.builds(FollowerInfo, epochs),
    LeaderInfo: st.builds(LeaderInfo, epochs),
    AckEpoch: ack_epochs() | st.sampled_from([SAME, BEHIND, EMPTY, FORGETFUL]),
    Diff: st.builds(Diff, zxids),
    Trunc: st.builds(Trunc, zxids),
    Snap: st.builds(Snap, zxids, st.just(0) | offsets),
    SnapData: st.builds(SnapData, offsets, st.binary(max_size=4), st.booleans()),
    SnapAck: st.builds(SnapAck, offsets),
    SyncAck: st.builds(SyncAck, zxids),
    NewLeader: st.builds(NewLeader, epochs),
    UpToDate: st.builds(UpToDate, zxids),
    Proposal: st.builds(Proposal, zxids, batches | st.just(())),
    Ack: st.builds(Ack, zxids),
    Commit: st.builds(Commit, zxids),
    Ping: st.builds(Ping, rounds),
    Repaired: st.builds(Repaired, epochs),
    HandOff: st.builds(HandOff, peers | st.sampled_from([NOBODY, 9]), epochs),
}
messages = st.one_of(*MESSAGES.values())


def test_every_message_there_is_is_fuzzed() -> None:
    assert set(MESSAGES) == set(get_args(ZabMessage))


inputs = st.one_of(
    st.tuples(st.just("hears"), peers | st.just(9), messages),
    st.tuples(st.just("hears"), peers, messages),
    st.tuples(st.just("hears all at once"), peers, st.lists(messages, min_size=2, max_size=4)),
    st.tuples(st.just("relinks"), peers, st.none()),
    st.tuples(st.just("ticks"), st.just(0), st.sampled_from([1, 5, 30, 110])),
    st.tuples(st.just("proposes"), st.just(0), batches),
    st.tuples(st.just("transfers"), peers | st.sampled_from([9, 0]), st.none()),
    st.tuples(st.just("compacts"), st.integers(0, 3), st.none()),
    st.tuples(st.just("reads"), st.just(0), st.none()),
)


def feed(d: Dialogue, kind: str, peer: int, what: Any) -> None:
    if kind == "hears":
        d.hears(peer, what)
    elif kind == "hears all at once":
        d.hears(peer, *what)
    elif kind == "ticks":
        d.ticks(what)
    elif kind == "relinks":
        d.relinked(peer)
    elif kind == "reads":
        d.peer.read_index("q")
        d.drain()
    elif kind == "transfers":
        transfer(d, peer or None)
    elif kind == "compacts":
        compact(d, peer)
    elif d.peer.next_zxid is not None and not d.peer.is_full:
        d.proposes(*what)
    else:
        with pytest.raises((NotLeadingError, ThrottledError)):
            d.peer.propose(d.peer.next_zxid or Z(4, 1), what)


def transfer(d: Dialogue, target: int | None) -> None:
    try:
        d.peer.transfer(target)
    except (NotLeadingError, BadArgumentsError):
        pass  # the host asked for what cannot be: that is no affair of other peers
    d.drain()


def compact(d: Dialogue, back: int) -> None:
    """The host saved a snapshot of what was delivered, or of a state a little older."""
    delivered = d.peer.last_delivered - back
    if delivered in {entry.zxid for entry in d.storage.entries(d.storage.load().base, 1 << 30)}:
        d.storage.save_snapshot(SnapshotRef(delivered), [payload(delivered)])
        d.peer.compact(SnapshotRef(delivered))
        d.drain()


def check(d: Dialogue, delivered_before: int) -> None:
    """Memory and disk are one, the epochs are in order, delivery goes only forward, and it can say how it is."""
    saved, status = d.storage.load(), d.peer.status()
    assert (saved.base, saved.snapshot, saved.last) == (status.log_base, status.snapshot, status.last_logged)
    assert (saved.accepted_epoch, saved.current_epoch) == (status.accepted_epoch, status.current_epoch)
    assert saved.damage is status.damage
    assert delivered_before <= status.last_delivered <= max(status.last_logged, saved.snapshot)
    assert status.last_delivered <= status.last_committed or status.last_delivered == saved.snapshot
    assert all(counter_of(zxid) > 0 for zxid in (*saved.epoch_ends, status.last_committed) if zxid)
    assert d.peer.ticks_until_due >= 1
    assert all(d.peer.explain())


@FUZZ
@given(st.sampled_from(sorted(ROLES)), st.lists(inputs, min_size=1, max_size=12))
def test_no_message_of_a_peer_does_harm(role: str, fed: list[tuple[str, int, Any]]) -> None:
    d = ROLES[role]()
    for kind, peer, what in fed:
        before = d.peer.status().last_delivered
        feed(d, kind, peer, what)
        check(d, before)
        for other in d.readies[-1].closes if d.readies else []:
            d.relinked(other)
    event(f"{role}: {'rejected somebody' if d.rejected else 'rejected nobody'}")


def near_misses() -> list[ZabMessage]:
    """One message of every type about every zxid and epoch."""
    found: list[Any] = [kind(zxid) for kind in (Diff, Trunc, Snap, SyncAck, UpToDate, Ack, Commit) for zxid in ZXIDS]
    found += [kind(epoch) for kind in (FollowerInfo, LeaderInfo, NewLeader, Repaired) for epoch in EPOCHS]
    found += [HandOff(peer, epoch) for peer in (NOBODY, 1, 2, 3, 4, 9) for epoch in (3, 4, 5)]
    found += [Proposal(zxid, (b"x",) * count) for zxid in ZXIDS for count in (1, 3)]
    for zxid in ZXIDS[::2]:
        found += [AckEpoch(current, zxid, base, (zxid,)) for current in (None, 3) for base in (0, zxid)]
        found.append(AckEpoch(3, zxid, 0, (Z(1, 4), zxid)))
        found += [AckEpoch(None, zxid, 0, (zxid,), (Z(1, 3), 4), damage) for damage in Damage]
        found.append(Snap(zxid, 2))
    found += [SnapData(offset, data, last) for offset in (0, 2) for data in (b"", b"xy") for last in (False, True)]
    found += [SnapAck(offset) for offset in range(6)]
    found += [Ping(round) for round in (0, 1, 1 << 63)]
    found += [Vote(state, leader, zxid, 3, 1) for state in Role for leader in (0, 2, 3, 9) for zxid in ZXIDS[::6]]
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
    d = node(3)
    d.follow(2)
    d.hears(2, LeaderInfo(0xFFFFFFFE))
    d.relinked(2)
    if d.peer.role is not Role.LOOKING:  # it was not answered yet, as far as it is concerned: it waits in vain
        d.ticks(LIMITS.init_limit_ticks + 1)
        d.relinked(2)
    d.stand()
    d.hears(1, FollowerInfo(3))
    check(d, 0)
