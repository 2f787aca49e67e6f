"""The Peer: one member of an ensemble, as a state machine that neither waits nor looks outside.

**The contract.** Feed inputs; then, until `drain()` returns an empty Ready: send `early`, tell `events`, save
`writes`, send `messages`, close `closes`.

Only the next `drain()` confirms a Ready: what its `writes` held is then durable, and a leader counts its own
acknowledgement. Until then every input raises RuntimeError. A host that saves off its event loop queues what arrives
meanwhile, and the queue is the next batch: group commit with no extra machinery.

A minimal host, with everything that is not the Peer's business left out::

    peer = Peer(1, EnsembleConfig([1, 2, 3]), storage.load(), storage)
    while True:
        feed(peer)                                   # tick, receive, report_linked, report_lost, propose
        while ready := peer.drain():
            for to, message in ready.early: transport.send(to, message)
            for event in ready.events: application.tell(event)
            if ready.writes: storage.save(ready.writes)
            for to, message in ready.messages: transport.send(to, message)
            for other in ready.closes: transport.close(other)

**How it works.** At any moment the Peer has one role, an object (election.py, learner.py, leader.py) that gets every
input and speaks into the Outbox (state.py). A role that is finished says so in `outcome`; the Peer then throws it
away, with what it still wanted to say, and makes the next. What outlives roles is the State. Delivery is here, too:
whatever is committed and durable is delivered, whoever leads.

The Peer never raises on what a remote peer sent: it tells `PeerRejected` and breaks the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigurationError,
    InvariantViolation,
    NotLeadingError,
    ThrottledError,
)
from zkcore.zab.election import Election
from zkcore.zab.history import History
from zkcore.zab.leader import Leader
from zkcore.zab.learner import Learner
from zkcore.zab.limits import Limits
from zkcore.zab.membership import Membership, Memberships, is_configuration
from zkcore.zab.messages import FollowerInfo, PeerId, Role, Vote, ZabMessage
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import (
    NOTHING,
    Compact,
    Delivered,
    Event,
    LogReader,
    PeerRejected,
    ReadDropped,
    Ready,
    Restored,
    RoleChanged,
    Saved,
    SnapshotRef,
)
from zkcore.zab.state import Elected, State
from zkcore.zab.status import PeerStatus, explain
from zkcore.zxid import Zxid, format_zxid

__all__ = ["Peer", "PeerStatus"]

AnyRole: TypeAlias = Election | Learner | Leader

MAX_ROUND_JUMP = 1 << 32
"""No node misses so many elections: a vote that says so is nonsense, and must not use up the rounds."""


class Peer:
    """A voter or an observer. See the module for the contract.

    `saved` is what `Storage.load` returned, `log` the same storage. `config` is who the members were in the beginning,
    or where the snapshot in `saved` knows of a change, the Membership in it; what the log says comes on top. Raises
    ConfigurationError where `me` was not a member in the beginning, and InvariantViolation where the epochs in `saved`
    contradict each other.
    """

    def __init__(
        self,
        me: PeerId,
        config: EnsembleConfig | Membership,
        saved: Saved,
        log: LogReader,
        limits: Limits | None = None,
    ) -> None:
        first = config if isinstance(config, Membership) else Membership(0, config)
        members = first.config.members
        if first.zxid == 0 and me not in members:
            raise ConfigurationError(f"server {me} is not among the members {members}; add it, or start another")
        if saved.current_epoch > saved.accepted_epoch:
            raise InvariantViolation(f"the current epoch {saved.current_epoch} is beyond the accepted one")
        limits = limits if limits is not None else Limits()
        history = History(saved, log, tail_bytes=limits.tail_bytes)
        nobody = Vote(Role.LOOKING, me, saved.last, saved.current_epoch, 0)
        self._state = State(
            me, Memberships(first), limits, history, saved.accepted_epoch, saved.current_epoch, vote=nobody,
            committed=saved.snapshot, damage=saved.damage,
        )  # fmt: skip
        self._compaction: SnapshotRef | None = None  # asked for, and put off while the log is needed
        for run in history.runs(saved.snapshot, saved.last, max_bytes=limits.read_bytes):
            self._state.memberships.on_appended(run.first, run.payloads)
        self._undo_interrupted_sync()
        self._unconfirmed = False  # a Ready is out ...
        self._wrote = False  # ... and holds writes
        self._budget = limits.deliver_bytes
        self._role: AnyRole = Election(self._state)
        self._announced = False  # the RoleChanged to established was told ...
        self._serving = False  # ... and confirmed
        self._change_roles()  # a single voter is its own quorum

    def _undo_interrupted_sync(self) -> None:
        """Records of an epoch that never became current are what is left of a synchronisation that was cut short:
        nothing that was acknowledged. To raise the epoch instead would claim a history that is not whole
        (ZOOKEEPER-4643)."""
        history = self._state.history
        point = history.last_within(self._state.current_epoch)
        if point < history.last:
            self._state.truncate(point)

    # --- what it is

    @property
    def next_zxid(self) -> Zxid | None:
        """The zxid the next proposal must have; None unless this node is an established leader that has delivered all
        its initial history."""
        return self._role.next_zxid if self._serving and isinstance(self._role, Leader) else None

    @property
    def is_full(self) -> bool:
        """Whether `propose` would raise ThrottledError: as much is outstanding as `Limits` allow."""
        return isinstance(self._role, Leader) and self._role.is_full

    @property
    def ticks_until_due(self) -> int:
        """How many ticks may pass before `tick` must be called; at least 1."""
        return 1 if self._is_behind else self._role.ticks_until_due

    @property
    def role(self) -> Role:
        return self._role.role

    @property
    def leader(self) -> PeerId | None:
        """Whom this node follows, or itself; None while it looks."""
        return None if isinstance(self._role, Election) else self._role.leader

    @property
    def established(self) -> bool:
        """Whether a leader with a quorum behind it was found, and everything it had committed then delivered here."""
        return self._announced

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self._state.current_epoch

    @property
    def membership(self) -> Membership:
        """In force here: what the newest configuration record in the log says, committed or not. The note behind it is
        there where the record was read here, and not received as part of a snapshot."""
        return self._state.memberships.newest

    @property
    def last_logged(self) -> Zxid:
        return self._state.history.last

    @property
    def last_committed(self) -> Zxid:
        return self._state.committed

    @property
    def last_delivered(self) -> Zxid:
        return self._state.delivered

    def status(self) -> PeerStatus:
        """A value for people and monitors."""
        state, role = self._state, self._role
        return PeerStatus(
            me=state.me,
            config=state.config,
            version=state.memberships.newest.zxid,
            role=self.role,
            phase=role.phase,
            established=self._announced,
            leader=self.leader,
            vote=state.vote,
            accepted_epoch=state.accepted_epoch,
            current_epoch=state.current_epoch,
            log_base=state.history.base,
            snapshot=state.history.snapshot,
            last_logged=state.history.last,
            last_committed=state.committed,
            last_delivered=state.delivered,
            damage=state.damage,
            linked=tuple(peer for peer in state.others if peer in state.out.linked),
            agreed=role.agreed,
            learners=role.learner_statuses() if isinstance(role, Leader) else (),
            sync=role.sync if isinstance(role, Learner) else None,
            handing_over_to=role.handing_over_to if isinstance(role, Leader) else None,
            is_full=self.is_full,
        )

    def explain(self) -> tuple[str, ...]:
        """In words: why this node does not lead, why there is no quorum, who lags and by how much."""
        return explain(self.status())

    # --- inputs

    def tick(self, ticks: int = 1) -> None:
        """`ticks` ticks have passed. After a stall, first feed what arrived, then tick at most half of
        `Limits.sync_limit_ticks`: time in which nobody could be heard must not count against them."""
        self._begin_input()
        if ticks > 0:
            self._role.tick(ticks)
            self._change_roles()

    def receive(self, sender: PeerId, message: ZabMessage) -> None:
        """`message` arrived on the link from `sender`, whom the transport authenticated."""
        self._begin_input()
        state = self._state
        if state.out.is_closing(sender):
            return
        if not self._is_heard(sender, message):
            self._reject(sender, "it is not a member of the ensemble")
            return
        if sender not in state.out.linked:
            return  # of a link that is gone, or that an earlier Peer of this node had
        kind = type(message)
        handler = self._role.handlers.get(kind)
        if handler is not None:
            complaint = self._role.heard(sender) or handler(sender, message)
        elif isinstance(message, Vote):
            complaint = self._on_vote(sender, message)
        elif kind is FollowerInfo:
            complaint = None  # two nodes may each follow the other for a moment
        else:
            complaint = f"{kind.__name__} means nothing to a node that is {self._role.role}"
        if complaint is not None:
            self._reject(sender, complaint)
        self._change_roles()

    def hears(self, peer: PeerId) -> bool:
        """Whether what comes from `peer` counts: it is a member, and its link is up and not being closed."""
        out = self._state.out
        return peer in out.linked and not out.is_closing(peer) and self._is_heard(peer)

    def reject(self, peer: PeerId, why: str) -> None:
        """`peer` sent something of the host's own that makes no sense: tell PeerRejected and break the link."""
        self._begin_input()
        self._reject(peer, why)

    def report_linked(self, peer: PeerId) -> None:
        """A fresh link to `peer` is up. It is told the last vote, and a leader not heard yet FOLLOWERINFO."""
        self._begin_input()
        state = self._state
        state.out.on_linked(peer)
        if peer == state.me:
            self._reject(peer, "it is not a member of the ensemble")
            return
        state.out.send(peer, state.ballot)
        self._role.on_linked(peer)
        self._change_roles()

    def report_lost(self, peer: PeerId) -> None:
        """The link to `peer` broke. What was not drained for it is dropped."""
        self._begin_input()
        if peer not in self._state.out.linked:
            return
        self._state.out.on_lost(peer)
        self._role.on_lost(peer)
        self._change_roles()

    def propose(self, first: Zxid, payloads: Sequence[bytes]) -> None:
        """Broadcast transactions. `first` must be `next_zxid`, the zxid for which the first was prepared.

        Raises NotLeadingError where `next_zxid` is None, ThrottledError while too much is outstanding (`is_full`), and
        BadArgumentsError for another `first`, for more transactions than the epoch has zxids left, or for one that
        reads as a configuration record. Nothing has happened then.
        """
        role = self._check_proposal(first)
        if any(map(is_configuration, payloads)):
            raise BadArgumentsError("a transaction must not begin as a configuration record does; call reconfigure")
        if payloads:
            role.propose(first, tuple(payloads))

    def _check_proposal(self, first: Zxid) -> Leader:
        self._begin_input()
        role = self._role
        if not self._serving or not isinstance(role, Leader) or role.next_zxid is None:
            raise NotLeadingError(None if self.leader == self._state.me else self.leader)
        if first != role.next_zxid:
            raise BadArgumentsError(
                f"the next zxid is {format_zxid(role.next_zxid)}, the proposal begins at {format_zxid(first)}"
            )
        if role.is_full:
            raise ThrottledError()
        return role

    def reconfigure(
        self, first: Zxid, config: EnsembleConfig, note: bytes = b"", *, expected: Zxid | None = None
    ) -> None:
        """Propose that the members shall be those of `config` from now on (protocol.md 1.10). `first` must be
        `next_zxid`. It takes two records: what is delivered for `first`, and later another, behind which the change is
        made; both carry `note`. The zxid of that other one is the version of the new configuration. `expected` is the
        version that is to be replaced, None for any.

        Raises what `propose` does; ReconfigInProgressError while the change before is under way, BadVersionError where
        another version than `expected` is in force, and NewConfigNoQuorumError where those who are in line with this
        leader are no quorum of `config`. Nothing has happened then.
        """
        role = self._check_proposal(first)
        if expected is not None and expected != self._state.memberships.newest.zxid:
            raise BadVersionError(
                f"the members are those of version {self._state.memberships.newest.zxid:#x}, not of {expected:#x}"
            )
        role.reconfigure(first, config, note)

    def transfer(self, target: PeerId | None = None) -> None:
        """Hand the leadership over to `target`, by default to the voter that lacks least (protocol.md 1.11).

        From now on `next_zxid` is None. RoleChanged tells the end of this leadership, or TransferFailed that it goes
        on. Raises NotLeadingError where this node does not lead, and BadArgumentsError for a `target` that is not in
        line with it, or where another one is taking over already.
        """
        self._begin_input()
        if not self._serving or not isinstance(self._role, Leader):
            raise NotLeadingError(None if self.leader == self._state.me else self.leader)
        self._role.transfer(target)

    def read_index(self, token: Any) -> None:
        """Ask for proof that this node leads at this moment. ReadReady(token, zxid) answers once a quorum has
        confirmed it (see reads.py), ReadDropped(token) where it does not lead, or stops before."""
        self._begin_input()
        if self._serving and isinstance(self._role, Leader):
            self._role.read_index(token)
        else:
            self._state.out.tell(ReadDropped(token))

    def compact(self, snapshot: SnapshotRef) -> None:
        """The storage holds `snapshot`: a restart may begin with it, and most of the log up to it may go. The last
        `Limits.retained_records` of that stay, for learners that are a little late. It is put off until this node is
        in line with a leader, and while it leads and somebody is being sent the snapshot before. Ignored for one that
        is no newer than that.

        Raises BadArgumentsError for a snapshot of something that was not delivered here (protocol.md 1.7, D11).
        """
        self._begin_input()
        if snapshot.zxid <= self._state.history.snapshot:
            return
        if snapshot.zxid > self._state.delivered or snapshot.zxid not in self._state.history:
            raise BadArgumentsError(f"{snapshot} is not of a state that was delivered here")
        self._compaction = snapshot

    # --- output

    def drain(self) -> Ready[Event]:
        """Confirm the Ready before, and take the next. See the module."""
        state = self._state
        if self._unconfirmed:
            self._unconfirmed = False
            self._serving = self._announced
            if not self._wrote:
                # Nothing was fed since, and nothing became durable: the drain before has told all there is.
                self._budget = state.limits.deliver_bytes
                return NOTHING
            state.history.confirm()
            self._role.on_durable()
        before = state.delivered
        if before < state.committed or not self._announced:
            self._deliver()
        if self._serving and isinstance(self._role, Leader):
            self._role.try_end_change()
        self._role.flush()
        self._change_roles()
        if state.delivered != before:
            state.history.release(state.delivered)  # only now: observers were fed from it
        if self._compaction is not None:
            self._compact(self._compaction)
        ready = state.out.take()
        if ready is NOTHING:
            self._budget = state.limits.deliver_bytes
        else:
            self._unconfirmed = True
            self._wrote = bool(ready.writes)
        return ready

    # --- within

    def _begin_input(self) -> None:
        if self._unconfirmed:
            raise RuntimeError("a Ready is out: act on it and call drain() until it is empty before the next input")

    def _is_heard(self, peer: PeerId, message: ZabMessage | None = None) -> bool:
        """Whether what comes from `peer` is for us: it is a member, or whom we follow, or one that was a member when it
        came to follow us. A vote may come from a member that we have not heard of, and go to one (protocol.md 1.10)."""
        if peer in self._state.config.members or peer == self.leader:
            return peer != self._state.me
        return isinstance(message, Vote) or (isinstance(self._role, Leader) and self._role.leads(peer))

    def _on_vote(self, sender: PeerId, vote: Vote) -> str | None:
        if not 0 <= vote.round <= self._state.round + MAX_ROUND_JUMP:
            return f"VOTE of round {vote.round}"
        if vote.state is Role.LOOKING and not isinstance(self._role, Election):
            self._state.out.send(sender, self._state.ballot)
        self._role.on_vote(sender, vote)
        return None

    def _reject(self, peer: PeerId, why: str) -> None:
        self._state.out.tell(PeerRejected(peer, why))
        self._state.out.close(peer)

    def _compact(self, snapshot: SnapshotRef) -> None:
        history = self._state.history
        needed = self._role.needed_from if isinstance(self._role, Leader) else history.last
        if needed is None or not self._role.established:  # what ACKEPOCH has told of the log must stay true
            return
        self._compaction = None
        if snapshot.zxid <= history.snapshot or snapshot.zxid not in history:
            return  # another snapshot was installed meanwhile
        retained = history.records_before(snapshot.zxid, self._state.limits.retained_records)
        upto = max(min(retained, needed), history.base)
        history.compact(snapshot, upto)
        self._state.memberships.on_compacted(snapshot.zxid)
        self._state.out.write(Compact(snapshot, upto))

    def _change_roles(self) -> None:
        while self._role.outcome is not None:
            self._change_role()

    def _change_role(self) -> None:
        state, outcome = self._state, self._role.outcome
        self._announced = self._serving = False
        self._role.leave()
        state.out.drop_messages()
        self._undo_interrupted_sync()
        assert outcome is not None
        if not isinstance(outcome, Elected):
            self._tell_role(Role.LOOKING, None, established=False, why=outcome.why)
            self._role = Election(state)
            return
        vote = outcome.vote
        role = Role.LEADING if vote.leader == state.me else state.learner_role
        damaged = state.damage is not None
        state.vote = Vote(role, vote.leader, vote.zxid, vote.peer_epoch, state.round, damaged, state.membership)
        self._tell_role(role, vote.leader, established=False, why=outcome.why)
        for peer in sorted(state.out.linked):
            state.out.send(peer, state.vote)
        self._role = Leader(state) if role is Role.LEADING else Learner(state, vote.leader)

    def _tell_role(self, role: Role, leader: PeerId | None, *, established: bool, why: str) -> None:
        self._state.out.tell(RoleChanged(role, leader, self._state.current_epoch, established, why))

    @property
    def _is_behind(self) -> bool:
        state = self._state
        return state.delivered < state.committed and state.delivered < state.history.durable

    def _deliver(self) -> None:
        """Tell what is committed and durable here, both (D10 of protocol.md 1.7), as far as the budget goes."""
        state, history = self._state, self._state.history
        if state.delivered < history.durable_snapshot:
            state.delivered = history.durable_snapshot
            state.out.tell(Restored(SnapshotRef(history.durable_snapshot)))
        upto = min(state.committed, history.durable)
        if state.delivered < upto and self._budget > 0:
            for run in history.runs(state.delivered, upto, max_bytes=min(self._budget, state.limits.read_bytes)):
                part = run if run.size <= self._budget else run.fitting(self._budget)
                state.out.tell(Delivered(part.first, part.payloads))
                state.delivered = part.last
                self._budget -= part.size
                if self._budget <= 0 or part is not run:
                    break
        role = self._role
        if self._announced or isinstance(role, Election) or not role.established or state.delivered < role.serve_from:
            return
        self._announced = True
        self._tell_role(role.role, role.leader, established=True, why="a quorum holds the history")
