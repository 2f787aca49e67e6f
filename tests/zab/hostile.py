"""An ensemble one of whose members says whatever comes into its head.

It has no Peer. It hears what the others tell it, answers as a learner or a leader would, only that it has nothing to
show for what it claims, and it says things nobody asked for, with numbers that are those of the others or nearly. The
others are honest, crash now and then, and are watched by the Oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dialogue import Z
from ensemble import Ensemble

from zkcore.testing.checkers import Oracle
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
    Message,
    NewLeader,
    PeerId,
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
from zkcore.zab.ready import Event, PeerRejected, SnapshotRef, Write
from zkcore.zxid import Zxid, epoch_of

__all__ = ["HostileEnsemble", "invented"]

LIMITS = Limits(
    snapshot_chunk_bytes=4, snapshot_bytes_per_tick=8, read_bytes=8, deliver_bytes=16, tail_bytes=8, window_bytes=8,
    outstanding_proposals=6, retained_records=2, transfer_ticks=40, last_counter=12,
)  # fmt: skip


class HostileEnsemble(Ensemble):
    """`hostile` is a member of `config`. With `watched` every invariant is checked among the others, which holds only
    where nothing that `hostile` says can make a quorum."""

    def __init__(self, config: EnsembleConfig, hostile: PeerId, *, watched: bool) -> None:
        self.hostile = hostile
        self.heard: list[tuple[PeerId, ZabMessage]] = []
        self.oracle = Oracle(config, window_bytes=LIMITS.window_bytes) if watched else None
        self.promised: dict[PeerId, int] = dict.fromkeys(config.members, 0)
        super().__init__(config, limits=LIMITS)

    # --- links, and what an Ensemble does not have

    def start(self, me: PeerId) -> None:
        if me == self.hostile:
            return
        if self.oracle is not None:
            self.oracle.started(me, self.hosts[me].storage.load())
            for other in self.hosts:
                if other != me:
                    self.oracle.linked(me, other)
        super().start(me)
        self.hosts[me].inbox.append(("linked", self.hostile, None))

    def breaks(self, me: PeerId, other: PeerId) -> None:
        if self.oracle is not None:
            self.oracle.linked(me, other)
        super().breaks(me, other)
        self.hosts[self.hostile].inbox.clear()
        self.hosts[self.hostile].losses.clear()

    def sends(self, me: PeerId, to: PeerId, message: Message) -> None:
        if isinstance(message, AckEpoch) and message.current_epoch is not None:
            accepted = self.hosts[me].storage.load().accepted_epoch
            assert accepted > self.promised[me], "an epoch is promised twice, or one that is not saved"
            self.promised[me] = accepted
        if isinstance(message, Ack | SyncAck) and message.zxid != Z(epoch_of(message.zxid), 0):
            assert message.zxid <= self.hosts[me].storage.load().last, "an acknowledgement of what is not saved"
        if to == self.hostile:
            self.heard.append((me, message))  # type: ignore[arg-type]
            return
        if self.oracle is not None and not self.hosts[me].losses[to]:
            self.oracle.sent(me, to, message)
        super().sends(me, to, message)

    def tells(self, me: PeerId, event: Event) -> None:
        if self.oracle is not None and not (isinstance(event, PeerRejected) and event.peer == self.hostile):
            self.oracle.told(me, event)
        super().tells(me, event)

    def saves(self, me: PeerId, writes: Sequence[Write]) -> None:
        super().saves(me, writes)
        if self.oracle is not None and writes:
            for write in writes:
                self.oracle.wrote(me, write)
            self.oracle.save_ended(me)

    @property
    def honest(self) -> list[PeerId]:
        """Those that are up and mean what they say."""
        return [me for me, host in self.hosts.items() if host.peer is not None]

    @property
    def leader(self) -> PeerId | None:
        """Of those who may propose the one in the latest epoch: an earlier one has not noticed yet."""
        serving = [me for me in self.honest if self.peer(me).next_zxid is not None]
        return max(serving, key=lambda me: self.peer(me).epoch, default=None)

    # --- what is done to it

    def says(self, to: PeerId, message: ZabMessage) -> None:
        self.hosts[to].inbox.append(("message", self.hostile, message))

    def answers(self, lie: int) -> None:
        """What was heard longest ago is answered as it should be, but for `lie`."""
        if self.heard:
            sender, message = self.heard.pop(0)
            for answer in _answers(message, self.peer(sender).last_logged if sender in self.honest else 0, lie):
                if sender in self.honest:
                    self.says(sender, answer)

    def leaves(self) -> None:
        """The hostile member is gone for good."""
        for me in self.honest:
            self._lose(self.hosts[me], self.hostile)

    def relinks(self, to: PeerId) -> None:
        self.breaks(to, self.hostile)

    def compacts(self, me: PeerId) -> None:
        host, delivered = self.hosts[me], self.peer(me).last_delivered
        if delivered > host.storage.load().snapshot:
            host.storage.save_snapshot(SnapshotRef(delivered), [b" ".join(host.state)])
            self.peer(me).compact(SnapshotRef(delivered))
            self.act(me)


def _answers(message: ZabMessage, last: Zxid, lie: int) -> list[ZabMessage]:
    """What an honest member might say to `message`, if it had what it needs for that; `lie` 0 is the plainest."""
    current = (0, None, epoch_of(last), 1)[lie % 4]
    replies: dict[type, Callable[..., list[ZabMessage]]] = {
        Vote: lambda m: [Vote(list(Role)[lie % 4], m.leader, m.zxid, m.peer_epoch, m.round)],
        LeaderInfo: lambda m: [
            AckEpoch(current, last, 0, (last,) if last else (), damage=Damage.EPOCHS if lie == 5 else None)
        ],
        FollowerInfo: lambda m: [LeaderInfo(m.accepted_epoch + 1 + lie % 3)],
        AckEpoch: lambda m: [
            [Diff(m.last_zxid)], [Trunc(m.base)], [Snap(last + 1), SnapData(0, b"lies", True)],
            [Diff(m.last_zxid), NewLeader(epoch_of(m.last_zxid) + 1)],
        ][lie % 4],
        SyncAck: lambda m: [NewLeader(epoch_of(m.zxid) + lie % 2)],
        SnapData: lambda m: [SnapAck(m.offset + len(m.data))],
        Proposal: lambda m: [Ack(m.last) if lie % 2 else SyncAck(m.last)],
        NewLeader: lambda m: [Ack(Z(m.epoch, 0))],
        Ack: lambda m: [UpToDate(last if lie % 2 else m.zxid), Commit(last)],
        Ping: lambda m: [m],
        HandOff: lambda m: [FollowerInfo(m.epoch)],
    }  # fmt: skip
    reply = replies.get(type(message))
    return reply(message) if reply is not None else []


def invented(ensemble: HostileEnsemble, about: PeerId, *, kind: int, one: int, other: int) -> ZabMessage:
    """A message of any kind, with numbers that are those of `about`, or nearly: chosen by `one` and `other`."""
    status = ensemble.peer(about).status()
    zxids = [
        status.last_logged, status.last_committed, status.last_logged + 1, status.last_logged + 3,
        max(status.last_logged - 1, 0), Z(status.current_epoch, 0), Z(status.current_epoch, 1),
        Z(status.current_epoch + 1, 1), status.snapshot, 0,
    ]  # fmt: skip
    epochs = [status.current_epoch, status.accepted_epoch, status.accepted_epoch + 1, 0, status.accepted_epoch + 9]
    members = [*ensemble.config.members, NOBODY]
    zxid, epoch = zxids[one % len(zxids)], epochs[other % len(epochs)]
    peer = members[other % len(members)]
    state = list(Role)[one % 4]
    makers: list[Callable[[], ZabMessage]] = [
        lambda: Vote(state, peer, zxid, epoch, status.vote.round + one % 3),
        lambda: Vote(Role.LEADING, ensemble.hostile, zxid, epoch, status.vote.round),
        lambda: FollowerInfo(epoch),
        lambda: LeaderInfo(epoch),
        lambda: AckEpoch(epoch if one % 2 else None, zxid, 0, (zxid,) if zxid else ()),
        lambda: Diff(zxid),
        lambda: Trunc(zxid),
        lambda: Snap(zxid),
        lambda: SnapData(4 * (other % 3), b"xyz", one % 2 == 0),
        lambda: SnapAck(4 * (other % 4)),
        lambda: SyncAck(zxid),
        lambda: NewLeader(epoch),
        lambda: UpToDate(zxid),
        lambda: Proposal(zxid, (b"lie",) * (1 + other % 2)),
        lambda: Ack(zxid),
        lambda: Commit(zxid),
        lambda: Ping(other % 5),
        lambda: Repaired(epoch),
        lambda: HandOff(peer, epoch),
    ]
    return makers[kind % len(makers)]()
