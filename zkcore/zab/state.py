"""What a Peer keeps across its roles, and the outbox into which a role speaks.

Whatever exists only while a node follows, leads or looks lives in that role's object and is thrown away with it. What
is left is here: the epochs and the log (the durable facts), how far transactions are known to be committed and were
delivered, which links are up, and the Ready that is being filled.
"""

from __future__ import annotations

from attrs import Factory, define, frozen

from zkcore.zab.history import History
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Damage, Message, PeerId, Role, Vote
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import NOTHING, Event, Ready, SaveEpochs, Write
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
    config: EnsembleConfig
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

    @property
    def counts(self) -> bool:
        """Whether this node may be elected, and its vote and promise count."""
        return self.damage is None and self.config.can_lead(self.me)

    @property
    def learner_role(self) -> Role:
        """What this node is when it does not lead."""
        return Role.FOLLOWING if self.me in self.config.voters else Role.OBSERVING

    @property
    def others(self) -> list[PeerId]:
        """The other members, ascending."""
        return [member for member in self.config.members if member != self.me]
