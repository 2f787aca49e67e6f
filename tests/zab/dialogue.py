"""One Peer fed by hand, and what it says read as text.

A `Dialogue` hosts a Peer as its contract wants it: it feeds, drains until nothing is left, and saves what is to be
saved. Everything the Peer asked for is noted down, one line each, under the field of the Ready it was in::

    early     2  PROPOSAL 0x1_00000001..0x1_00000001
    event     delivered 0x1_00000001..0x1_00000001
    write     APPEND 0x1_00000001..0x1_00000001
    message   2  ACK 0x1_00000001
    close     2

A line `---` separates one Ready from the next. Every method that feeds answers with the transcript of its drain loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import dedent
from typing import Any

from zkcore.storage.storage import MemoryStorage
from zkcore.zab.limits import Limits
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Diff,
    FollowerInfo,
    LeaderInfo,
    Message,
    NewLeader,
    PeerId,
    Proposal,
    Role,
    UpToDate,
    Vote,
    ZabMessage,
)
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import (
    Append,
    Compact,
    Delivered,
    Event,
    PeerRejected,
    Ready,
    RoleChanged,
    Saved,
    SaveEpochs,
    SnapshotRef,
)
from zkcore.zxid import Zxid, counter_of, epoch_of, make_zxid

Z = make_zxid


def payload(zxid: Zxid) -> bytes:
    """What the tests log under `zxid`: another content under the same zxid would show."""
    return b"%d.%d" % (epoch_of(zxid), counter_of(zxid))


def batch(epoch: int, first: int, last: int | None = None) -> Proposal:
    """The proposal of the records `first` to `last` of an epoch, each with its usual payload."""
    zxids = [Z(epoch, counter) for counter in range(first, (first if last is None else last) + 1)]
    return Proposal(zxids[0], tuple(map(payload, zxids)))


def stored(
    *runs: tuple[int, int], accepted: int | None = None, current: int | None = None, base: Zxid = 0,
    at: Zxid | None = None, snapshot: bytes = b"state",
) -> MemoryStorage:
    """A storage whose log holds, for each (epoch, last counter), the records of that epoch from its first on.

    The epochs saved are those of the last record unless given. With a `base` the log before it was compacted away, and
    there is a `snapshot` as of the base, or of the later record `at`.
    """  # fmt: skip
    storage = MemoryStorage()
    for epoch, last in runs:
        records = batch(epoch, 1, last)
        storage.save([Append(records.first, records.payloads)])
    newest = runs[-1][0] if runs else 0
    current = newest if current is None else current
    storage.save([SaveEpochs(max(current, newest) if accepted is None else accepted, current)])
    if base or at:
        ref = SnapshotRef(base if at is None else at)
        storage.save_snapshot(ref, [snapshot])
        storage.save([Compact(ref, base)])
    return storage


def described(saved: Saved, current: int | None, **more: Any) -> AckEpoch:
    """What a learner whose storage holds `saved` answers to LEADERINFO."""
    ends = tuple(end for end in saved.epoch_ends if end >= saved.snapshot)
    return AckEpoch(current, saved.last, saved.snapshot, ends, **{"damage": saved.damage, **more})


def lines_of(ready: Ready[Any]) -> list[str]:
    """A Ready as it prints, in the order in which a host acts on it."""
    return [
        *(f"early     {to}  {message}" for to, message in ready.early),
        *(f"event     {event}" for event in ready.events),
        *(f"write     {write}" for write in ready.writes),
        *(f"message   {to}  {message}" for to, message in ready.messages),
        *(f"close     {peer}" for peer in ready.closes),
    ]


def script(text: str) -> str:
    """A transcript written into a test."""
    return dedent(text).strip()


class Dialogue:
    """A Peer, its storage, and everything it ever asked for."""

    def __init__(
        self, me: PeerId = 1, *, voters: Iterable[PeerId] = (1, 2, 3), config: EnsembleConfig | None = None,
        storage: MemoryStorage | None = None, limits: Limits | None = None, linked: Sequence[PeerId] = (2, 3),
    ) -> None:  # fmt: skip
        self.me = me
        self.storage = storage if storage is not None else MemoryStorage()
        self.config = config if config is not None else EnsembleConfig(tuple(voters))
        self.peer = Peer(me, self.config, self.storage.load(), self.storage, limits)
        self.others = [voter for voter in self.config.voters if voter != me]
        self.readies: list[Ready[Any]] = []
        self.drain()
        for other in linked:
            self.linked(other)

    # --- feeding, each with a drain behind it

    def hears(self, sender: PeerId, *messages: ZabMessage) -> str:
        """All of `messages` in one batch."""
        for message in messages:
            self.peer.receive(sender, message)
        return self.drain()

    def ticks(self, ticks: int = 1) -> str:
        self.peer.tick(ticks)
        return self.drain()

    def linked(self, *peers: PeerId) -> str:
        for peer in peers:
            self.peer.report_linked(peer)
        return self.drain()

    def lost(self, *peers: PeerId) -> str:
        for peer in peers:
            self.peer.report_lost(peer)
        return self.drain()

    def proposes(self, *payloads: bytes) -> str:
        first = self.peer.next_zxid
        assert first is not None, "it does not lead"
        self.peer.propose(first, payloads)
        return self.drain()

    # --- draining

    def take(self) -> Ready[Any]:
        """One Ready, saved but not confirmed."""
        ready = self.peer.drain()
        if ready:
            self.storage.save(ready.writes)
            self.readies.append(ready)
        return ready

    def drain(self) -> str:
        """Act on everything until nothing is left."""
        before = len(self.readies)
        while self.take():
            pass
        return "\n---\n".join("\n".join(lines_of(ready)) for ready in self.readies[before:])

    # --- looking back

    @property
    def delivered(self) -> list[bytes]:
        """Every payload that was ever delivered, in order."""
        return [each for event in self.events if isinstance(event, Delivered) for each in event.payloads]

    @property
    def roles(self) -> list[str]:
        """Every change of role, as it prints."""
        return [str(event) for event in self.events if isinstance(event, RoleChanged)]

    @property
    def events(self) -> list[Event]:
        """Everything it ever told."""
        return [event for ready in self.readies for event in ready.events]

    def said_to(self, peer: PeerId, since: int = 0) -> list[Message]:
        """Everything it told `peer`, from the Ready number `since` on, as it leaves on the link."""
        return [m for ready in self.readies[since:] for to, m in (*ready.early, *ready.messages) if to == peer]

    @property
    def round(self) -> int:
        """The round of the last vote that left."""
        said = [m for ready in self.readies for _, m in (*ready.early, *ready.messages) if isinstance(m, Vote)]
        return said[-1].round if said else 1

    @property
    def rejected(self) -> list[PeerId]:
        """Whom it rejected, in order."""
        return [event.peer for event in self.events if isinstance(event, PeerRejected)]

    def log(self) -> list[Zxid]:
        """The zxids that the storage holds after its base."""
        return [entry.zxid for entry in self.storage.entries(self.storage.load().base, 1 << 40)]

    # --- the roads to a role, for tests that are about what happens there

    def vote(self, state: Role, leader: PeerId, *, epoch: int | None = None, round: int | None = None) -> Vote:
        """A vote for `leader` that is as good as this node's own log, in its present round."""
        saved = self.storage.load()
        return Vote(
            state,
            leader,
            saved.last,
            saved.current_epoch if epoch is None else epoch,
            self.round if round is None else round,
        )

    def follow(self, leader: PeerId = 3) -> Dialogue:
        """Be told by everybody that `leader` leads; FOLLOWERINFO has then left."""
        for other in self.others:
            self.hears(other, self.vote(Role.LEADING if other == leader else Role.FOLLOWING, leader))
        assert self.peer.leader == leader
        return self

    def join(self, leader: PeerId = 3, *, epoch: int = 1, committed: Zxid | None = None) -> Dialogue:
        """Follow `leader` into the broadcast of `epoch`, with a log like its own."""
        self.follow(leader)
        last = self.peer.last_logged
        self.hears(leader, LeaderInfo(epoch))
        self.hears(leader, Diff(last), NewLeader(epoch))
        self.hears(leader, UpToDate(last if committed is None else committed))
        self.catch_up()
        assert self.peer.established
        return self

    def stand(self) -> Dialogue:
        """Win the election: discovery has begun."""
        for other in self.others:
            if self.peer.role is Role.LOOKING:
                self.hears(other, self.vote(Role.LOOKING, self.me))
        assert self.peer.role is Role.LEADING
        return self

    def promise(self, *followers: PeerId, accepted: int = 0) -> Dialogue:
        """`followers`, whose logs are like this node's, register, and promise the epoch."""
        for follower in followers:
            self.hears(follower, FollowerInfo(accepted))
        for follower in followers:
            self.hears(follower, self.ack_epoch(0))
        return self

    def ack_epoch(self, current: int | None) -> AckEpoch:
        """What a follower with a log like this node's answers to LEADERINFO."""
        return described(self.storage.load(), current)

    def relinked(self, peer: PeerId) -> str:
        """The link to `peer` broke, and a fresh one is up."""
        return self.lost(peer) + self.linked(peer)

    def lead(self, *followers: PeerId) -> Dialogue:
        """Lead an established epoch, with `followers` (all others, unless named) in the broadcast."""
        followers = followers or tuple(self.others)
        self.stand()
        self.promise(*followers)
        for follower in followers:
            self.hears(follower, Ack(Z(self.peer.epoch, 0)))
        self.catch_up()
        assert self.peer.next_zxid is not None
        return self

    def catch_up(self) -> None:
        """With a small budget of delivery: until all that is committed is delivered."""
        while (status := self.peer.status()).last_delivered < min(status.last_committed, status.last_logged):
            self.ticks(1)

    def bring_in(
        self, learner: PeerId, *runs: tuple[int, int], base: Zxid = 0, at: Zxid | None = None, **more: Any
    ) -> str:
        """`learner`, whose storage is `stored(...)`, registers with this established leader; what it is sent then."""
        saved = stored(*runs, base=base, at=at).load()
        self.hears(learner, FollowerInfo(saved.accepted_epoch))
        return self.hears(learner, described(saved, None, **more))


def elected(*runs: tuple[int, int], base: Zxid = 0, at: Zxid | None = None, **limits: int) -> Dialogue:
    """Node 3, which won the election over 1 and 2."""
    storage = stored(*runs, base=base, at=at, snapshot=b"abcdefgh")
    return Dialogue(3, linked=(1, 2), storage=storage, limits=Limits(**limits)).stand()


def leading(*runs: tuple[int, int], base: Zxid = 0, at: Zxid | None = None, **limits: int) -> Dialogue:
    """The same, established with 1; 2 has not registered."""
    d = elected(*runs, base=base, at=at, **limits)
    epoch = runs[-1][0] if runs else 0
    d.hears(1, FollowerInfo(epoch))
    d.hears(1, d.ack_epoch(epoch))
    d.hears(1, Ack(Z(epoch + 1, 0)))
    d.catch_up()
    assert d.peer.next_zxid is not None
    return d
