"""What must always be true of an ensemble, checked from outside after every step (protocol.md 2).

The Oracle watches three things and believes nothing else: the writes that really reached a disk, the messages that
really left a node, and what was told to the application. From those it rebuilds what is durable where, which
transactions exist, and which of them are committed; a node's own opinion of itself is never asked.

Every check is incremental and cheap, so all of them run after every event:

- Two logs that share a zxid share everything before it (X12). By induction it is enough that each zxid has one payload
  and each first zxid of an epoch one predecessor, wherever it is logged.
- Given that, "the committed transactions are in this log" (X7, X8) needs a look at the last one only, and "every
  committed transaction is on the disks of a quorum" (X9) as well.
- `committed` is tagged with the epoch of the leader that committed each element; the tags never go down. A stalled
  leader may gather promises for an epoch after a later one has committed, legally: against a leader of epoch e only
  what leaders of earlier epochs committed is held.

- Every node delivers `committed` in its order (X3), and no element of that leaves out one of its epoch or goes back to
  an earlier one; that a node has both of two transactions or the earlier (X4), and the orders of one primary and of all
  (X5, X6), follow.

- Who a quorum is, each log says itself (protocol.md 1.10). What is committed is held against the configurations that
  are in its leader's log at its place or later.

A broken invariant raises Violation, out of whatever call brought it to light.
"""

from __future__ import annotations

from bisect import bisect_right
from zlib import crc32

from zkcore.testing.configs import Configs, decides
from zkcore.testing.conversations import Conversations
from zkcore.testing.durable import Durable, Violation
from zkcore.zab.membership import is_configuration
from zkcore.zab.messages import Commit, Damage, HandOff, Message, NewLeader, PeerId, Proposal, Role, UpToDate
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import (
    Append,
    Compact,
    Delivered,
    Event,
    InstallSnapshot,
    PeerRejected,
    Repair,
    Restored,
    RoleChanged,
    Saved,
    SaveEpochs,
    SnapshotChunk,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid, epoch_of, follows, format_zxid

__all__ = ["Oracle", "Violation", "chain"]


def chain(state: int, zxid: Zxid, payload: bytes) -> int:
    """The digest of a state after one more transaction."""
    return crc32(payload, crc32(zxid.to_bytes(8, "big"), state))


class Oracle:
    """Everything that is known about one ensemble, whose `Limits.window_bytes` is `window_bytes`: the members of
    `config` are in it in the beginning, and `spares` may come in. `without` names invariants that are not to be
    checked."""

    def __init__(
        self,
        config: EnsembleConfig,
        *,
        spares: tuple[PeerId, ...] = (),
        window_bytes: int = 8 << 20,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.nodes = members = (*config.members, *spares)
        self.window_bytes = window_bytes
        self.without = without
        self.configs = Configs(self, config)
        self.durable = {member: Durable() for member in members}
        self.born: dict[Zxid, bytes] = {}
        self.before: dict[int, Zxid] = {}  # what comes before the first zxid of an epoch, in every log
        self.committed: list[Zxid] = []
        self.chains: list[int] = []  # the digest of the state after each committed transaction
        self.tag = 0  # the epoch of the leader that committed the newest; it never goes down
        self.tags: list[tuple[int, int]] = []  # (epoch, how many were committed when its leader first committed more)
        self.established: dict[int, PeerId] = {}
        self.delivered: dict[PeerId, int] = dict.fromkeys(members, 0)  # how many of `committed`, in this incarnation
        self.leads: dict[PeerId, bool] = dict.fromkeys(members, False)  # or did, and has not followed anybody since
        self.led: dict[PeerId, int] = dict.fromkeys(members, 0)  # the newest epoch it served in, in this incarnation
        self.talk = Conversations(self)

    def fail(self, invariant: str, message: str) -> None:
        """Raise the violation, unless this invariant is switched off."""
        if invariant not in self.without:
            raise Violation(invariant, message)

    # --- incarnations and links

    def started(self, node: PeerId, saved: Saved) -> None:
        """A new incarnation begins from what its storage says it holds. It must be what was saved."""
        durable = self.durable[node]
        expected = Saved(
            durable.accepted, durable.current, durable.base, durable.last, durable.epoch_ends(durable.base),
            durable.snapshot, durable.damage,
        )  # fmt: skip
        if saved != expected:
            self.fail("storage", f"node {node} saved {expected} and loads {saved}")
        durable.syncing = False
        self.leads[node] = False
        self.led[node] = 0
        self.talk.forget_role(node)
        self.delivered[node] = self._position(saved.snapshot) if saved.snapshot else 0
        self.configs.check_superseded()

    def damaged(self, node: PeerId, saved: Saved, zxids: list[Zxid]) -> None:
        """The disk of `node`, which is down, has lost something; what is left of it is `saved`, and the records
        `zxids`. Where a snapshot was lost, and the one before it and its log are still there, these are older ones.
        Only a storage that says that it is damaged is forgiven what it lacks."""
        durable = self.durable[node]
        lost = self.durable[node] = Durable()
        lost.before = durable if saved.damage is not None else None
        if saved.damage is None:
            self.talk.forget_promises(node, saved.accepted_epoch)
        lost.accepted, lost.current, lost.damage = saved.accepted_epoch, saved.current_epoch, saved.damage
        lost.base, lost.snapshot = saved.base, saved.snapshot
        lost.last = saved.last
        lost.zxids = zxids

    def linked(self, one: PeerId, other: PeerId) -> None:
        """A fresh link begins, and with it fresh conversations in both directions."""
        self.talk.begin(one, other)

    # --- writes

    def wrote(self, node: PeerId, write: Write) -> None:
        """`write` is durable at `node` now."""
        durable = self.durable[node]
        if isinstance(write, Append):
            self._appended(node, durable, write)
        elif isinstance(write, SaveEpochs):
            self._saved_epochs(node, durable, write)
        elif isinstance(write, Truncate):
            self._truncated(node, durable, write)
        elif isinstance(write, InstallSnapshot):
            self._check_base(node, write.ref)
            if durable.pieces != (write.ref.zxid, write.size):
                self.fail("N5", f"node {node} installs {write} and has {durable.pieces} of it")
            durable.install(write.ref.zxid)
            self._check_quorum(f"node {node} installed {write.ref}")
        elif isinstance(write, Repair):
            self._repaired(node, durable)
        elif isinstance(write, SnapshotChunk):
            offset = durable.pieces[1] if durable.pieces[0] == write.ref.zxid and write.offset else 0
            if write.offset != offset:
                self.fail("N5", f"node {node} writes {write} after {offset} bytes")
            durable.pieces = (write.ref.zxid, write.offset + len(write.data))
        elif isinstance(write, Compact):
            self._compacted(node, durable, write)

    def save_ended(self, node: PeerId) -> None:
        """All writes of one Ready of `node` are durable."""
        durable = self.durable[node]
        beyond = epoch_of(durable.last) > durable.current and durable.last != durable.snapshot
        if beyond and not durable.syncing:
            self.fail("N2", f"node {node} holds {format_zxid(durable.last)} with current epoch {durable.current}")

    def _appended(self, node: PeerId, durable: Durable, write: Append) -> None:
        first, previous = write.first, durable.last
        if not follows(first, previous):
            self.fail("N3", f"node {node} logs {format_zxid(first)} after {format_zxid(previous)}")
        self._check_predecessor(node, first, previous)
        self.bear(node, first, write.payloads)
        durable.append(first, len(write.payloads))

    def _saved_epochs(self, node: PeerId, durable: Durable, write: SaveEpochs) -> None:
        if write.current > write.accepted or write.accepted < durable.accepted or write.current < durable.current:
            self.fail("N1", f"node {node} saves {write} over {durable.accepted}, {durable.current}")
        if write.current > durable.current:
            durable.syncing = False
            zxid = self.committed_before(write.current)
            if not durable.holds(zxid):
                self.fail("X11", f"node {node} saves {write} without {format_zxid(zxid)}, which is committed")
        durable.accepted, durable.current = write.accepted, write.current

    def _repaired(self, node: PeerId, durable: Durable) -> None:
        """From now on the ensemble counts on this disk again: it must hold what it is to vouch for."""
        zxid = self.committed_before(durable.current)
        if not durable.keeps(zxid):
            self.fail("X9", f"node {node} counts as repaired without {format_zxid(zxid)}, which is committed")
        config = self.configs.committed
        epoch = durable.current
        if durable.damage is Damage.EPOCHS and self.configs.may_lead(node, epoch):
            away = [v for v in config.voters if config.can_lead(v) and self.durable[v].current < epoch]
            if away:
                self.fail("X13", f"node {node} counts again in epoch {epoch}, which {away} have not accepted")
            self.talk.forget_own_promise(node, epoch)
        durable.damage = None
        durable.before = None
        self.configs.check_superseded()

    def _truncated(self, node: PeerId, durable: Durable, write: Truncate) -> None:
        if not durable.holds(write.zxid) or write.zxid < durable.snapshot:
            self.fail("N7", f"node {node} cuts after {format_zxid(write.zxid)}, which is not in its log")
        if self.committed and write.zxid < self.committed[-1]:
            lost = durable.first_after(write.zxid)
            if lost is not None and durable.keeps(lost) and self.is_committed(lost):
                self.fail("N7", f"node {node} cuts {format_zxid(lost)}, which is committed")
        if self.delivered[node] and write.zxid < self.committed[self.delivered[node] - 1]:
            self.fail("N7", f"node {node} cuts after {format_zxid(write.zxid)}, below what it delivered")
        durable.truncate(write.zxid)
        self._check_quorum(f"node {node} cut its log after {format_zxid(write.zxid)}")

    def _compacted(self, node: PeerId, durable: Durable, write: Compact) -> None:
        self._check_base(node, write.ref)
        if not durable.holds(write.ref.zxid) or self._position(write.ref.zxid) > self.delivered[node]:
            self.fail("N5", f"node {node} compacts to {write.ref}, which it has not delivered")
        if not durable.base <= write.upto <= write.ref.zxid or (write.upto and not durable.holds(write.upto)):
            self.fail("N5", f"node {node} forgets the log up to {format_zxid(write.upto)} for {write.ref}")
        durable.compact(write.ref.zxid, write.upto)

    def _check_base(self, node: PeerId, ref: SnapshotRef) -> None:
        if not self.is_committed(ref.zxid):
            self.fail("N5", f"node {node} takes {ref} for its base, and that is not committed")

    def _check_predecessor(self, node: PeerId, first: Zxid, previous: Zxid) -> None:
        if first & 0xFFFFFFFF == 1:
            known = self.before.setdefault(epoch_of(first), previous)
            if known != previous:
                zxids = f"{format_zxid(first)} after {format_zxid(previous)}"
                self.fail("X12", f"node {node} logs {zxids}, elsewhere it comes after {format_zxid(known)}")

    def bear(self, node: PeerId, first: Zxid, payloads: tuple[bytes, ...]) -> None:
        """These transactions exist, at `node` at least; the first to have them is the leader that made them."""
        born = self.born
        for zxid, payload in enumerate(payloads, first):
            known = born.get(zxid)
            if known is None:
                if self.established.get(epoch_of(zxid)) != node:
                    self.fail("X2", f"node {node} has {format_zxid(zxid)} from nowhere: it does not lead that epoch")
                born[zxid] = payload
                if is_configuration(payload):
                    self.configs.born(node, zxid, payload)
            elif known is not payload and known != payload:
                self.fail("X2", f"node {node} has another payload for {format_zxid(zxid)}")

    # --- messages

    def sent(self, node: PeerId, to: PeerId, message: Message) -> None:
        """`message` leaves `node` now."""
        self.talk.sent(node, to, message)

    def leads_epoch(self, node: PeerId, epoch: int) -> None:
        """`node` shows that a quorum promised it `epoch`."""
        leader = self.established.get(epoch)
        if leader is None:
            self.established[epoch] = node
            self._check_leader_has(node, epoch, "X7")
        elif leader != node:
            self.fail("X1", f"nodes {leader} and {node} both lead epoch {epoch}")

    # --- commits

    def is_committed(self, zxid: Zxid) -> bool:
        position = self._position(zxid)
        return position > 0 and self.committed[position - 1] == zxid

    def _position(self, zxid: Zxid) -> int:
        """How many committed transactions are not beyond `zxid`."""
        return bisect_right(self.committed, zxid)

    def holders(self, zxid: Zxid) -> list[PeerId]:
        """The nodes on whose disks `zxid` is, or was before they were damaged."""
        return [node for node, durable in self.durable.items() if durable.vouches_for(zxid)]

    def commit(self, node: PeerId, zxid: Zxid) -> None:
        """The leader `node` treats everything up to `zxid` as committed."""
        if zxid == 0 or (self.committed and zxid <= self.committed[-1]):
            if zxid and not self.is_committed(zxid):
                self.fail("X10", f"leader {node} commits {format_zxid(zxid)}, which was passed over")
            return
        holders = self.holders(zxid)
        epoch = self.durable[node].current if self.leads[node] else self.led[node]
        self.configs.deciding = self.configs.for_commit(node, epoch, zxid)
        if not self._is_decided(holders):
            self.fail("X9", f"leader {node} commits {format_zxid(zxid)}, durable only at {holders}")
        if epoch < self.tag:
            self.fail("X10", f"leader {node} of epoch {epoch} commits {format_zxid(zxid)} after epoch {self.tag} did")
        for later, leader in self.established.items():
            if later > epoch and not self.durable[leader].holds(zxid) and not self.durable[leader].vouches_for(zxid):
                self.fail("X7", f"epoch {epoch} commits {format_zxid(zxid)}, leader {leader} of {later} lacks it")
        source = next((self.durable[h] for h in holders if self.durable[h].holds(zxid)), self.durable[node])
        if epoch > self.tag:
            self.tags.append((epoch, len(self.committed)))
            self.tag = epoch
        self._grow(node, source, zxid)

    def _grow(self, node: PeerId, source: Durable, zxid: Zxid) -> None:
        last = self.committed[-1] if self.committed else 0
        if not source.holds(last):
            self.fail("X8", f"leader {node} commits {format_zxid(zxid)} in a log without {format_zxid(last)}")
        state = self.chains[-1] if self.chains else 0
        for each in source.between(last, zxid):
            if not follows(each, last):
                self.fail("X5", f"{format_zxid(each)} is committed behind {format_zxid(last)}")
            last = each
            state = chain(state, each, self.born[each])
            self.committed.append(each)
            self.chains.append(state)
        self.configs.committed_up_to(zxid)

    def committed_before(self, epoch: int) -> Zxid:
        """The last transaction that a leader of an earlier epoch committed."""
        count = len(self.committed)
        for tag, before in reversed(self.tags):
            if tag < epoch:
                break
            count = before
        return self.committed[count - 1] if count else 0

    def _check_leader_has(self, node: PeerId, epoch: int, invariant: str) -> None:
        zxid = self.committed_before(epoch)
        if not self.durable[node].holds(zxid):
            self.fail(invariant, f"leader {node} of epoch {epoch} lacks {format_zxid(zxid)}, committed before")

    def _is_decided(self, holders: list[PeerId]) -> bool:
        """Whether what these have is on a quorum, by those who decided on the newest that is committed."""
        return any(decides(config, holders) for config in self.configs.deciding)

    def _check_quorum(self, after: str) -> None:
        if self.committed:
            last = self.committed[-1]
            holders = self.holders(last)
            if not self._is_decided(holders):
                self.fail("X9", f"{after}: {format_zxid(last)} is committed and durable only at {holders}")

    # --- what the application is told

    def told(self, node: PeerId, event: Event) -> None:
        """The host of `node` tells `event` to the application."""
        if isinstance(event, Delivered):
            self._told_delivered(node, event)
        elif isinstance(event, RoleChanged):
            self._told_role(node, event)
        elif isinstance(event, PeerRejected):
            if not self.configs.may_refuse(node, event.peer):
                self.fail("N8", f"node {node} {event}")
        elif isinstance(event, Restored):
            zxid = event.snapshot.zxid
            if not self.is_committed(zxid) or self._position(zxid) < self.delivered[node]:
                self.fail("N5", f"node {node} {event}, which is not committed or goes back")
            self.delivered[node] = self._position(zxid)

    def _told_delivered(self, node: PeerId, event: Delivered) -> None:
        durable = self.durable[node]
        if not durable.holds(event.last):
            self.fail("N4", f"node {node} {event}, and its disk ends at {format_zxid(durable.last)}")
        last = self.committed[-1] if self.committed else 0
        if event.last > last:
            # A leader may commit so that nobody else hears of it, and deliver it slowly, even as a follower.
            if not self.leads[node] and epoch_of(event.last) > self.led[node]:
                self.fail("X3", f"node {node} {event}, committed is only {format_zxid(last)}")
            self.commit(node, event.last)
        position = self.delivered[node]
        expected = self.committed[position : position + len(event.payloads)]
        if expected != list(range(event.first, event.first + len(event.payloads))):
            after = format_zxid(self.committed[position - 1]) if position else "nothing"
            self.fail("X3", f"node {node} {event} after {after}, which is not what is committed there")
        for zxid, payload in enumerate(event.payloads, event.first):
            if self.born.get(zxid) != payload:
                self.fail("X2", f"node {node} delivers another payload for {format_zxid(zxid)}")
        self.delivered[node] = position + len(event.payloads)

    def _told_role(self, node: PeerId, event: RoleChanged) -> None:
        if event.role is not Role.LOOKING:
            self.leads[node] = event.role is Role.LEADING
        if not event.established:
            self.talk.forget_role(node)
            self.durable[node].syncing = False
        if event.established and event.role is Role.LEADING:
            self.led[node] = event.epoch
            self.leads_epoch(node, event.epoch)
            self._check_leader_has(node, event.epoch, "X8")

    def check_state(self, node: PeerId, zxid: Zxid, digest: int) -> None:
        """The application of `node`, having applied everything up to `zxid`, has this digest (X14)."""
        position = self._position(zxid)
        expected = self.chains[position - 1] if position else 0
        if digest != expected:
            self.fail("X14", f"node {node} has state {digest:#x} at {format_zxid(zxid)}, others have {expected:#x}")

    # --- used by the conversations

    def proposes(self, node: PeerId, message: Proposal) -> None:
        self.bear(node, message.first, message.payloads)

    def announces(self, node: PeerId, message: NewLeader) -> None:
        self.leads_epoch(node, message.epoch)

    def commits(self, node: PeerId, message: Commit | UpToDate) -> None:
        self.commit(node, message.zxid)

    def hands_over(self, node: PeerId, message: HandOff) -> None:
        last = self.durable[node].last
        if last and not self.is_committed(last):
            self.fail("N6", f"node {node} sends {message} before {format_zxid(last)} is committed")
