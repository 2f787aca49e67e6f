"""What may be said when: the checks on messages, made at the instant each leaves its node.

Two kinds. What a message promises must be durable already at its sender (N6, the D-rules of protocol.md 1.7). And on
each link a conversation must keep its form (N9, N10): proposals without a gap and no more of them than the learner's
window has room for (L5), commits only of what was proposed there, acknowledgements that rise and begin with (epoch, 0).
A repeated proposal is legal: the learner drops it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zkcore.testing.configs import decides
from zkcore.zab.messages import (
    Ack,
    AckEpoch,
    Commit,
    Diff,
    HandOff,
    LeaderInfo,
    Message,
    NewLeader,
    PeerId,
    Proposal,
    Snap,
    SnapAck,
    SyncAck,
    Trunc,
    UpToDate,
)
from zkcore.zxid import Zxid, counter_of, epoch_of, follows, format_zxid

if TYPE_CHECKING:
    from zkcore.testing.checkers import Oracle

__all__ = ["Conversations"]


class _Link:
    """What was said in one direction of one link."""

    __slots__ = ("acked", "epoch", "history", "saved", "snapshot", "tip", "unacked", "unacked_bytes")

    def __init__(self) -> None:
        self.epoch = 0  # of the LEADERINFO sent here
        self.tip: Zxid | None = None  # the last zxid the learner got here; None before synchronisation
        self.acked: Zxid | None = None
        self.snapshot: Zxid = 0  # the snapshot announced here
        self.history: Zxid = 0  # what the learner had got when NEWLEADER was sent
        self.saved: Zxid = 0  # the learner's last SYNCACK
        self.unacked: deque[tuple[Zxid, int]] = deque()  # what was sent and not acknowledged: last zxid and bytes
        self.unacked_bytes = 0

    def on_acked(self, zxid: Zxid) -> None:
        """The other side has let it be known that it has everything up to `zxid`."""
        while self.unacked and self.unacked[0][0] <= zxid:
            self.unacked_bytes -= self.unacked.popleft()[1]


class Conversations:
    """All links of one ensemble."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        members = oracle.nodes
        self._links = {
            (one, other): _Link() for one in members for other in members if one != other
        }  # fmt: skip
        # The newest epoch each node promised, whom it promised it to, and in which of its terms as leader.
        self._promised: dict[PeerId, tuple[int, PeerId, int]] = dict.fromkeys(members, (0, 0, 0))
        self._promises: dict[tuple[int, PeerId], list[PeerId]] = {}  # who promised this epoch to this leader
        self._recency: dict[tuple[int, PeerId], tuple[int, Zxid]] = {}  # current epoch and last zxid with a promise
        self._terms: dict[PeerId, int] = dict.fromkeys(members, 0)
        self._checks: dict[type, Callable[[PeerId, PeerId, _Link, Any], None]] = {
            LeaderInfo: self._leader_info,
            AckEpoch: self._ack_epoch,
            Diff: self._sync_from,
            Trunc: self._sync_from,
            Snap: self._snap,
            SnapAck: self._snap_ack,
            SyncAck: self._sync_ack,
            NewLeader: self._new_leader,
            Proposal: self._proposal,
            Ack: self._ack,
            Commit: self._commit,
            UpToDate: self._commit,
            HandOff: self._hand_off,
        }

    def begin(self, one: PeerId, other: PeerId) -> None:
        """A fresh link: nothing was said on it."""
        self._links[one, other] = _Link()
        self._links[other, one] = _Link()

    def forget_role(self, node: PeerId) -> None:
        """`node` has a new role, or is a new incarnation."""
        self._terms[node] += 1

    def forget_promises(self, node: PeerId, after: int) -> None:
        """`node` is back where it had accepted epoch `after`, and does not know; whoever allowed that has made sure
        that it may give those promises again."""
        self._promised[node] = min(self._promised[node], (after, 0, 0))

    def forget_own_promise(self, node: PeerId, after: int) -> None:
        """`node` has forgotten its promises, and counts again in epoch `after`, which all who could lead have followed
        since. So an epoch above that for which it had asked itself was accepted by nobody else (protocol.md 1.14)."""
        epoch, leader, _ = self._promised[node]
        if leader == node and epoch > after:
            self._promised[node] = after, 0, 0
            self._recency.pop((epoch, node), None)

    def sent(self, node: PeerId, to: PeerId, message: Message) -> None:
        """See Oracle.sent."""
        check = self._checks.get(type(message))
        if check is not None:
            check(node, to, self._links[node, to], message)

    def _lacks(self, node: PeerId, message: Message, what: str) -> None:
        self._oracle.fail("N6", f"node {node} sends {message} before {what} is durable")

    # --- discovery

    def _promise(self, node: PeerId, leader: PeerId, epoch: int) -> None:
        """`node` accepts `epoch` of `leader`. Repeating it to oneself within one term as leader is no new promise."""
        before = self._promised[node]
        promise = (epoch, leader, self._terms[node] if node == leader else 0)
        if before == promise and node == leader:
            return
        if epoch <= before[0]:
            self._oracle.fail("X13", f"node {node} promises epoch {epoch} to {leader} after {before[0]} to {before[1]}")
        self._promised[node] = promise
        self._promises.setdefault((epoch, leader), []).append(node)

    def _leader_info(self, node: PeerId, to: PeerId, link: _Link, message: LeaderInfo) -> None:
        if self._oracle.durable[node].accepted < message.epoch:
            self._lacks(node, message, "its accepted epoch")
        if self._oracle.established.get(message.epoch) != node:  # established: the promise was made and counted
            self._promise(node, node, message.epoch)
        durable = self._oracle.durable[node]
        self._recency.setdefault((message.epoch, node), (durable.current, durable.last))
        link.epoch = message.epoch

    def _ack_epoch(self, node: PeerId, to: PeerId, link: _Link, message: AckEpoch) -> None:
        durable = self._oracle.durable[node]
        epoch = self._links[to, node].epoch
        if epoch == 0:
            self._oracle.fail("N8", f"node {node} sends {message} without LEADERINFO from {to}")
        if message.current_epoch is not None and durable.accepted < epoch:
            self._lacks(node, message, f"accepted epoch {epoch}")
        described = (message.last_zxid, message.base, message.epoch_ends)
        if described != (durable.last, durable.snapshot, durable.epoch_ends(durable.snapshot)):
            self._lacks(node, message, "the log it describes")
        if message.partial is not None and message.partial != durable.pieces:
            self._lacks(node, message, "that part of a snapshot")
        if message.damage is not durable.damage:
            self._oracle.fail("N6", f"node {node} sends {message}, and its disk has lost its {durable.damage}")
        if message.current_epoch is not None:
            if message.current_epoch != durable.current:
                self._lacks(node, message, "that current epoch")
            if durable.damage is not None or not any(
                node in config.voters for config in self._oracle.configs.records.values()
            ):
                self._oracle.fail("X13", f"node {node} sends {message}, and has no promise to give")
            self._promise(node, to, epoch)
            self._recency[epoch, node] = message.current_epoch, message.last_zxid

    # --- synchronisation

    def _sync_from(self, node: PeerId, to: PeerId, link: _Link, message: Diff | Trunc) -> None:
        link.tip = message.zxid
        self._oracle.durable[to].syncing = True

    def _snap(self, node: PeerId, to: PeerId, link: _Link, message: Snap) -> None:
        link.tip = link.snapshot = message.zxid
        self._oracle.durable[to].syncing = True
        if not self._oracle.is_committed(message.zxid):
            self._oracle.fail("N5", f"node {node} sends {message}, which is not committed")

    def _snap_ack(self, node: PeerId, to: PeerId, link: _Link, message: SnapAck) -> None:
        durable, snapshot = self._oracle.durable[node], self._links[to, node].snapshot
        if durable.snapshot != snapshot and durable.pieces != (snapshot, message.offset):  # it may be installed already
            self._lacks(node, message, "that much of the snapshot")

    def _sync_ack(self, node: PeerId, to: PeerId, link: _Link, message: SyncAck) -> None:
        if not self._oracle.durable[node].holds(message.zxid):
            self._lacks(node, message, "that record")
        if message.zxid <= link.saved:
            self._oracle.fail("N9", f"node {node} sends {message} after {format_zxid(link.saved)}")
        link.saved = message.zxid
        self._links[to, node].on_acked(message.zxid)

    def _hand_off(self, node: PeerId, to: PeerId, link: _Link, message: HandOff) -> None:
        self._oracle.hands_over(node, message)

    def _new_leader(self, node: PeerId, to: PeerId, link: _Link, message: NewLeader) -> None:
        # A leader that is a quorum by itself has sent LEADERINFO to nobody; its own promise is its accepted epoch.
        promises = list(dict.fromkeys((*self._promises.get((message.epoch, node), ()), node)))
        durable = self._oracle.durable[node]
        self._recency.setdefault((message.epoch, node), (durable.current, durable.last))
        config = self._oracle.configs.before(node, message.epoch)
        if not decides(config, promises):
            self._oracle.fail("X1", f"node {node} leads epoch {message.epoch}, promised only by {promises}")
        recency, epoch = self._recency, message.epoch
        behind = [peer for peer in promises if recency[epoch, peer] <= recency[epoch, node]]
        if not decides(config, behind):
            self._oracle.fail("X15", f"node {node} leads epoch {epoch}, and only {behind} have no newer history")
        link.history = link.tip if link.tip is not None else 0
        self._oracle.announces(node, message)

    # --- broadcast

    def _proposal(self, node: PeerId, to: PeerId, link: _Link, message: Proposal) -> None:
        tip = link.tip
        if tip is None or (message.first > tip and not follows(message.first, tip)):
            after = "before synchronisation" if tip is None else f"after {format_zxid(tip)}"
            self._oracle.fail("N9", f"node {node} sends {message} to {to} {after}")
        self._oracle.proposes(node, message)
        if not self._oracle.configs.is_fed_at_once(node, self._oracle.durable[node].current, to):
            self._oracle.commit(node, message.last)  # an observer gets nothing else
        if link.unacked_bytes >= self._oracle.window_bytes:
            self._oracle.fail("L5", f"node {node} sends {message} to {to}, which owes {link.unacked_bytes} bytes")
        link.tip = message.last if tip is None else max(tip, message.last)
        size = sum(map(len, message.payloads))
        link.unacked.append((message.last, size))
        link.unacked_bytes += size

    def _ack(self, node: PeerId, to: PeerId, link: _Link, message: Ack) -> None:
        durable = self._oracle.durable[node]
        zxid = message.zxid
        if counter_of(zxid) == 0:
            if link.acked is not None:
                self._oracle.fail("N9", f"node {node} sends {message} again")
            if durable.current != epoch_of(zxid):
                self._lacks(node, message, f"current epoch {epoch_of(zxid)}")
            self._check_history(node, to, message)
        else:
            if link.acked is None:
                self._oracle.fail("N10", f"node {node} sends {message} before it accepted the epoch")
            elif zxid <= link.acked:
                self._oracle.fail("N9", f"node {node} sends {message} after {format_zxid(link.acked)}")
            if not durable.keeps(zxid):
                self._lacks(node, message, "that record")
            self._links[to, node].on_acked(zxid)
        link.acked = zxid

    def _check_history(self, node: PeerId, to: PeerId, message: Ack) -> None:
        """Who accepts the epoch has what its leader had, and nothing that its leader did not send (X11)."""
        durable, sent = self._oracle.durable[node], self._links[to, node]
        if sent.tip is None or durable.last > sent.tip or not durable.holds(sent.history):
            has, was_sent = format_zxid(durable.last), format_zxid(sent.history)
            self._oracle.fail("X11", f"node {node} sends {message} with a log up to {has}, and was sent {was_sent}")
        sent.on_acked(sent.history)

    def _commit(self, node: PeerId, to: PeerId, link: _Link, message: Commit | UpToDate) -> None:
        if link.tip is None or message.zxid > link.tip:
            self._oracle.fail("N9", f"node {node} sends {message} to {to}, which was not sent that far")
        self._oracle.commits(node, message)
