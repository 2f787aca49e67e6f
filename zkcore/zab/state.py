"""What a Peer keeps across its roles, and the outbox into which a role speaks.

Whatever exists only while a node follows, leads or looks lives in that role's object and is thrown away with it. What
is left is here: the epochs and the log (the durable facts), how far transactions are known to be committed and were
delivered, which links are up, and the Ready that is being filled.
"""

from __future__ import annotations

from attrs import Factory, define, evolve, frozen

from zkcore.zab.history import History
from zkcore.zab.limits import Limits
from zkcore.zab.membership import Membership, Memberships
from zkcore.zab.messages import Damage, Message, PeerId, Role, Vote
from zkcore.zab.quorum import Configuration
from zkcore.zab.ready import (
    NOTHING,
    Append,
    Event,
    InstallSnapshot,
    Ready,
    SaveEpochs,
    SnapshotRef,
    Truncate,
    Write,
)
from zkcore.zxid import Zxid

__all__ = ["MAX_EPOCH_JUMP", "Complaint", "Elected", "Left", "Outbox", "Outcome", "State"]


MAX_EPOCH_JUMP = 1 << 24
"""No node misses so many epochs: a peer that says so talks nonsense, and must not use up the 32 bits there are."""


@frozen
class Elected:
    """The election ended: `vote` names the leader."""

    vote: Vote
    why: str


@frozen
class Left:
    """Following or leading ended; the node looks for a leader again."""

    why: str


Complaint = str | None
"""What a message of a peer broke, if anything."""

Outcome = Elected | Left
"""How a role ends. The Peer looks for it after every input (peer.py)."""


class Outbox:
    """Fills a Ready and keeps its rules: the order on each link, and silence towards peers that are being closed."""

    def __init__(self) -> None:
        self.linked: set[PeerId] = set()
        self.lost: set[PeerId] = set()  # reported lost since they were last linked; a peer never heard of is not in it
        self._closing: set[PeerId] = set()
        self._ready: Ready[Event] = Ready()
        self._behind: set[PeerId] = set()  # have something in `messages` already, so nothing of theirs may go early

    def early(self, to: PeerId, message: Message) -> None:
        """Send what promises nothing."""
        if to in self.linked and to not in self._closing:
            (self._ready.messages if to in self._behind else self._ready.early).append((to, message))

    def send(self, to: PeerId, message: Message) -> None:
        """Send what promises something: after the writes."""
        if to in self.linked and to not in self._closing:
            self._ready.messages.append((to, message))
            self._behind.add(to)

    def tell(self, event: Event) -> None:
        self._ready.events.append(event)

    def write(self, write: Write) -> None:
        self._ready.writes.append(write)

    def close(self, peer: PeerId) -> None:
        """Break the link, unless there is none. Until it is reported lost the peer is neither heard nor spoken to."""
        if peer in self.linked and peer not in self._closing:
            self._closing.add(peer)
            self._ready.closes.append(peer)

    def is_closing(self, peer: PeerId) -> bool:
        return peer in self._closing

    def on_linked(self, peer: PeerId) -> None:
        self.linked.add(peer)
        self.lost.discard(peer)

    def on_lost(self, peer: PeerId) -> None:
        """The link is gone, and what was meant for it with it."""
        self.linked.discard(peer)
        self.lost.add(peer)
        self._closing.discard(peer)
        self._behind.discard(peer)
        ready = self._ready
        ready.early = [pair for pair in ready.early if pair[0] != peer]
        ready.messages = [pair for pair in ready.messages if pair[0] != peer]
        ready.closes = [other for other in ready.closes if other != peer]

    def drop_messages(self) -> None:
        """A role ended: what it still wanted to say is void. What it told, wrote and closed stands."""
        self._ready.early.clear()
        self._ready.messages.clear()
        self._behind.clear()

    def take(self) -> Ready[Event]:
        """The Ready as filled so far, or NOTHING; the next begins."""
        ready = self._ready
        if not ready:
            return NOTHING
        self._ready = Ready()
        self._behind.clear()
        return ready


@define(eq=False)
class State:
    """See the module."""

    me: PeerId
    memberships: Memberships
    limits: Limits
    history: History
    accepted_epoch: int
    current_epoch: int
    vote: Vote
    """The vote that others get to hear: the candidate while looking, the leader afterwards."""
    committed: Zxid
    """Everything up to here is known to be committed. Not durable: it is learnt again."""
    damage: Damage | None = None
    """What of this node's storage is lost, and not yet made good."""
    delivered: Zxid = 0
    partial: tuple[PeerId, Zxid, int] | None = None
    """Whose snapshot is put aside, of which zxid, and how many bytes: the same leader goes on from there."""
    epoch_to_exceed: int = 0
    """An epoch that a voter was seen to have promised in vain: the next one proposed here must be above it."""
    round: int = 0
    """How many elections this node knows of (ZooKeeper's logical clock)."""
    out: Outbox = Factory(Outbox)

    def save_epochs(self, *, accepted: int | None = None, current: int | None = None) -> None:
        """Set one epoch or both, here and on disk."""
        self.accepted_epoch = self.accepted_epoch if accepted is None else accepted
        self.current_epoch = self.current_epoch if current is None else current
        self.out.write(SaveEpochs(self.accepted_epoch, self.current_epoch))

    # --- the log, and the configurations in it

    def append(self, first: Zxid, payloads: tuple[bytes, ...]) -> int:
        """Add records to the log, here and on disk; how many bytes they are. Raises ConfigurationError for one that
        names members and makes no sense; nothing has happened then."""
        self.memberships.on_appended(first, payloads)
        size = self.history.append(first, payloads)
        self.out.write(Append(first, payloads))
        return size

    def truncate(self, zxid: Zxid) -> None:
        """Cut the log after `zxid`, here and on disk."""
        self.history.truncate(zxid)
        self.memberships.on_truncated(zxid)
        self.out.write(Truncate(zxid))

    def install(self, ref: SnapshotRef, size: int, membership: Membership | None) -> None:
        """Begin anew after a snapshot, here and on disk; `membership` is in force there."""
        self.history.install(ref)
        self.memberships.on_installed(membership)
        self.out.write(InstallSnapshot(ref, size))

    @property
    def config(self) -> Configuration:
        """Who the members are, by the log."""
        return self.memberships.newest.config

    @property
    def membership(self) -> Membership | None:
        """The same with its version, for others to know; None where the members are those we began with."""
        newest = self.memberships.newest
        return newest if newest.zxid else None

    def config_of(self, membership: Membership | None) -> Configuration | None:
        """What another peer means by what it calls `membership`. None where nobody knows any more what the members
        were in the beginning: then whoever still goes by that is not to be followed."""
        if membership is not None:
            return membership.config
        first = self.memberships.first
        return first.config if first.zxid == 0 else None

    @property
    def ballot(self) -> Vote:
        """The vote as others get to hear it: of who has a leader, with its own role and members of now."""
        if self.vote.state is Role.LOOKING:
            return self.vote
        role = self.vote.state if self.vote.state is Role.LEADING else self.learner_role
        if role is self.vote.state and self.vote.membership is self.membership:
            return self.vote
        return evolve(self.vote, state=role, membership=self.membership)

    @property
    def counts(self) -> bool:
        """Whether this node may be elected, and its vote and promise count."""
        return self.damage is None and self.config.can_lead(self.me)

    def counts_by(self, config: Configuration) -> bool:
        """Whether its vote and promise may count for somebody whose members are these: a new voter does not know yet
        that it is one (protocol.md 1.10)."""
        return self.counts or (self.damage is None and config.can_lead(self.me))

    @property
    def learner_role(self) -> Role:
        """What this node is when it does not lead."""
        return Role.FOLLOWING if self.me in self.config.voters else Role.OBSERVING

    @property
    def others(self) -> list[PeerId]:
        """The other members, ascending."""
        return [member for member in self.config.members if member != self.me]
