"""Phase 0: Fast Leader Election, the role of a node that looks for a leader (protocol.md 1.4).

Everybody votes for the best candidate heard of so far, beginning with themselves; the order is (epoch, zxid, id), so
all come to agree without any randomness. A node that has a leader already answers a looking one with its own vote, so
that a newcomer joins instead of disturbing.

Only who could lead has a vote that counts. An observer, and a member that is damaged, votes for nobody and listens:
whoever gets that vote answers with its own.

Who votes, and how many are a quorum, is said for each candidate by its own log, and travels with its votes; for a
leader by its own vote (protocol.md 1.10).

The result is a hint. Nothing here is needed for safety: whether the elected node really has the newest history is
checked again in discovery, against what is durable (leader.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zkcore.zab.messages import NOBODY, PeerId, Role, Vote
from zkcore.zab.quorum import Configuration
from zkcore.zab.state import Elected, Outcome, State

__all__ = ["Election", "own_vote"]


def own_vote(state: State) -> Vote:
    """The vote of `state.me` for itself, or for nobody where that would count for nothing."""
    if not state.counts:
        return Vote(Role.LOOKING, NOBODY, 0, 0, state.round, state.damage is not None, state.membership)
    mine = state.history.last, state.current_epoch
    return Vote(Role.LOOKING, state.me, *mine, state.round, membership=state.membership)


def _rank(vote: Vote) -> tuple[int, int, int]:
    return vote.peer_epoch, vote.zxid, vote.leader


def _same_candidate(one: Vote, other: Vote) -> bool:
    return _rank(one) == _rank(other)


class Election:
    """Looks for a leader until `outcome` is set.

    Two tables, as in ZooKeeper: `_received` holds the votes of this round, `_outside` what nodes that already follow or
    lead say, whatever their round.
    """

    role = Role.LOOKING
    phase = "LOOKING"
    established = False

    def __init__(self, state: State) -> None:
        self._state = state
        self.outcome: Outcome | None = None
        self._received: dict[PeerId, Vote] = {}
        self._outside: dict[PeerId, Vote] = {}
        self._answered: dict[PeerId, tuple[Vote, Vote]] = {}  # whose vote that does not count, and with which
        self._resend_after = state.limits.vote_resend_ticks
        self._resend_in = self._resend_after
        self._finalize_in: int | None = None
        self.handlers: dict[type, Callable[[PeerId, Any], str | None]] = {}
        self._begin_round(state.round + 1)

    @property
    def agreed(self) -> tuple[PeerId, ...]:
        """Who votes as this node does."""
        return tuple(sorted(peer for peer, vote in self._received.items() if _same_candidate(vote, self._state.vote)))

    # --- inputs

    def tick(self, ticks: int) -> None:
        self._resend_in -= ticks
        if self._resend_in <= 0:
            self._resend_after = min(2 * self._resend_after, self._state.limits.vote_resend_max_ticks)
            self._send_all()
        if self._finalize_in is not None:
            self._finalize_in -= ticks
            if self._finalize_in <= 0:
                self._decide("a quorum agrees, and nobody knew better")

    @property
    def ticks_until_due(self) -> int:
        due = self._resend_in if self._finalize_in is None else min(self._resend_in, self._finalize_in)
        return max(due, 1)

    def on_vote(self, sender: PeerId, vote: Vote) -> None:
        state = self._state
        config = state.config_of(vote.membership)
        if vote.state is not Role.LOOKING:
            self._on_settled(sender, vote)
        elif config is None:
            self._on_outdated(sender, vote)
        elif not state.counts_by(config):
            if config.can_lead(vote.leader):
                self._listen(sender, vote, config)
        elif vote.damaged or not (config.can_lead(sender) or state.config.can_lead(sender)) or vote.leader == NOBODY:
            self._answer(sender, vote)
        elif config.can_lead(vote.leader) and not self._knows_better_than(vote):
            self._on_looking(sender, vote)

    def _on_outdated(self, sender: PeerId, vote: Vote) -> None:
        """A vote by members of long ago counts for nobody. Its sender will hear from us who they are now; but not in a
        round that it has left behind."""
        state = self._state
        if state.counts and state.config.can_lead(sender) and not vote.damaged and vote.round > state.round:
            self._begin_round(vote.round)

    def _knows_better_than(self, vote: Vote) -> bool:
        """One that counts by what the candidate knows, and by its own log no more: where that log is the newer one the
        candidate would have to give up on meeting it, again and again. Who counts has a better vote to give."""
        state = self._state
        return not state.counts and (vote.peer_epoch, vote.zxid) < (state.current_epoch, state.history.last)

    def heard(self, sender: PeerId) -> str | None:
        """Nothing to do: nobody is waited for by name."""
        return None

    def on_lost(self, peer: PeerId) -> None:
        """A vote from a node that is gone says nothing about the next leader, and a candidate that is gone cannot
        become it: begin again without them."""
        for table in (self._received, self._outside, self._answered):
            table.pop(peer, None)
        if self._state.vote.leader == peer:
            self._begin_round(self._state.round + 1)
        else:
            self._count()

    def on_linked(self, peer: PeerId) -> None:
        """Nothing to do: the Peer sends the vote to whoever was linked."""

    def on_durable(self) -> None:
        """Nothing to do: an election writes nothing."""

    def flush(self) -> None:
        """Nothing to do: a vote is sent as soon as it changes."""

    def leave(self) -> None:
        """Nothing to do: there are no conversations to end."""

    # --- votes

    def _answer(self, sender: PeerId, vote: Vote) -> None:
        """Tell the sender of a vote that does not count here how we vote; once. Each side may go by other members, and
        take the other for the one that does not count: they would answer each other without an end."""
        told = vote, self._state.vote
        if self._answered.get(sender) != told:
            self._answered[sender] = told
            self._state.out.send(sender, self._state.vote)

    def _on_looking(self, sender: PeerId, vote: Vote) -> None:
        state = self._state
        self._outside.pop(sender, None)  # whatever it had, it has no leader now
        if state.vote.leader == NOBODY:
            self._begin_round(vote.round, better=vote)  # it was in none, and hears now that it votes
        elif vote.round < state.round:
            self._answer(sender, vote)
            return
        elif vote.round > state.round:
            self._begin_round(vote.round, better=vote)
        elif _rank(vote) > _rank(state.vote):
            self._vote_for(vote)
        self._received[sender] = vote
        self._count()

    def _listen(self, sender: PeerId, vote: Vote, config: Configuration) -> None:
        """Keep the last word of everybody, of whatever round, until a quorum says the same."""
        self._outside.pop(sender, None)
        self._received[sender] = vote
        same = [peer for peer, other in self._received.items() if other == vote]
        if vote.leader != self._state.me and self._state.me in config.members and config.is_quorum(same):
            self._state.round = vote.round
            self.outcome = Elected(vote, "a quorum agrees")

    def _on_settled(self, sender: PeerId, vote: Vote) -> None:
        """Somebody has a leader. Join it where the leader itself says that it leads and a quorum says so, together with
        this node: else one link that blips would cost a bare quorum its leader. Zxid and
        round are not compared, they differ legally (ZOOKEEPER-1732, 1805)."""
        self._outside[sender] = vote
        if vote.round == self._state.round:
            self._received[sender] = vote
            if self._try_join(self._received, vote):
                return
        self._try_join(self._outside, vote)

    def _try_join(self, table: dict[PeerId, Vote], vote: Vote) -> bool:
        state = self._state
        supporters = [
            peer for peer, other in table.items()
            if other.leader == vote.leader and other.peer_epoch == vote.peer_epoch and not other.damaged
        ]  # fmt: skip
        if vote.leader == state.me:
            confirmed = vote.round == state.round and state.counts
            config: Configuration | None = state.config
        else:
            leader = table.get(vote.leader)
            confirmed = leader is not None and leader.state is Role.LEADING
            config = state.config_of(leader.membership) if leader is not None else None
        if not confirmed or config is None or state.me not in config.members or not config.can_lead(vote.leader):
            return False
        if state.counts_by(config):
            supporters.append(state.me)
        if not config.is_quorum(supporters):
            return False
        state.round = vote.round
        self.outcome = Elected(vote, "a quorum has this leader already")
        return True

    def _begin_round(self, round_: int, *, better: Vote | None = None) -> None:
        state = self._state
        state.round = round_
        self._received.clear()
        mine = own_vote(state)
        self._vote_for(better if better is not None and _rank(better) > _rank(mine) else mine)

    def _vote_for(self, candidate: Vote) -> None:
        state = self._state
        leader, zxid, epoch = candidate.leader, candidate.zxid, candidate.peer_epoch
        damaged = state.damage is not None
        state.vote = Vote(Role.LOOKING, leader, zxid, epoch, state.round, damaged, candidate.membership)
        config = state.config_of(candidate.membership)
        if leader != NOBODY and config is not None and state.counts_by(config):
            self._received[state.me] = state.vote
        self._send_all()
        self._count()

    def _send_all(self) -> None:
        self._resend_in = self._resend_after
        for peer in sorted(self._state.out.linked):  # members or not: somebody may know of others than we do
            self._state.out.send(peer, self._state.vote)

    def _count(self) -> None:
        """Decide at once where nobody who may still be there disagrees; else wait a little for a better vote."""
        if self.outcome is not None:
            return
        state = self._state
        agreed = self.agreed
        config = state.config_of(state.vote.membership)
        if config is None or state.me not in config.members or not config.is_quorum(agreed):
            self._finalize_in = None
        elif all(voter in agreed or voter in state.out.lost for voter in config.voters if config.can_lead(voter)):
            self._decide("everybody agrees")
        elif self._finalize_in is None:
            self._finalize_in = state.limits.finalize_ticks

    def _decide(self, why: str) -> None:
        self.outcome = Elected(self._state.vote, why)
