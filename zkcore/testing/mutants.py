"""Planted bugs: proof that the simulator finds what it claims to look for.

Each is a patch of the core, applied from outside for as long as a `with planted(name):` lasts. The core has no switch
for any of them. Most are bugs that ZooKeeper has had; where there is a number, it is that of the bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import evolve

from zkcore.replica.forward import Claim
from zkcore.replica.leading import Leading
from zkcore.replica.serving import Serving
from zkcore.tree.applied import Applied, WatchEvent
from zkcore.tree.tree import Tree
from zkcore.tree.watches import Watches
from zkcore.zab import election
from zkcore.zab.feeding import Feeding
from zkcore.zab.history import History
from zkcore.zab.leader import Leader
from zkcore.zab.learner import Learner
from zkcore.zab.learner_view import Stage
from zkcore.zab.messages import Ack, AckEpoch, LeaderInfo, NewLeader, PeerId, Proposal, Vote
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.reads import ReadRounds
from zkcore.zab.ready import Append, ReadReady, SaveEpochs, Truncate, Write
from zkcore.zab.state import Outbox, State
from zkcore.zxid import Zxid

__all__ = ["MUTANTS", "planted"]

Patch = tuple[object, str, Callable[[Callable[..., Any]], Callable[..., Any]]]
"""A class or module, the name of a function in it, and what makes the mutant from the function as it is."""


def _ack_before_durable(_: Callable[..., Any]) -> Callable[..., Any]:
    def flush(self: Learner) -> None:
        if self._must_ack:
            self._must_ack = False
            self._state.out.early(self.leader, Ack(self._state.history.last))

    return flush


def _newleader_acked_early(real: Callable[..., Any]) -> Callable[..., Any]:
    def on_new_leader(self: Learner, sender: PeerId, message: NewLeader) -> object:
        complaint = real(self, sender, message)
        ready = self._state.out._ready
        acks = [pair for pair in ready.messages if isinstance(pair[1], Ack)]
        ready.messages = [pair for pair in ready.messages if not isinstance(pair[1], Ack)]
        ready.early.extend(acks)
        return complaint

    return on_new_leader


def _epoch_not_durable(real: Callable[..., Any]) -> Callable[..., Any]:
    def save_epochs(self: State, *, accepted: int | None = None, current: int | None = None) -> None:
        if current is None and accepted is not None:
            self.accepted_epoch = accepted
        else:
            real(self, accepted=accepted, current=current)

    return save_epochs


def _commit_without_quorum(_: Callable[..., Any]) -> Callable[..., Any]:
    def agreed(self: EnsembleConfig, acked: dict[PeerId, Zxid]) -> Zxid:
        return max(acked.values())

    return agreed


def _durable_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def append(self: History, first: Zxid, payloads: tuple[bytes, ...]) -> None:
        real(self, first, payloads)
        self.durable = self.last

    return append


def _trunc_not_written(real: Callable[..., Any]) -> Callable[..., Any]:
    def write(self: Outbox, write: Write) -> None:
        if not isinstance(write, Truncate):
            real(self, write)

    return write


def _epoch_first(real: Callable[..., Any]) -> Callable[..., Any]:
    def on_new_leader(self: Learner, sender: PeerId, message: NewLeader) -> object:
        writes = self._state.out._ready.writes
        before = len(writes)
        complaint = real(self, sender, message)
        if len(writes) > before and isinstance(writes[-1], SaveEpochs):
            writes.insert(before, writes.pop())
        return complaint

    return on_new_leader


def _propose_twice(real: Callable[..., Any]) -> Callable[..., Any]:
    def feed(self: Feeding) -> None:
        before = {peer: learner.sent for peer, learner in self._learners.items()}
        real(self)
        for peer, message in list(self._state.out._ready.early):
            if isinstance(message, Proposal) and message.first > before[peer] and peer % 2:
                self._state.out.early(peer, message)

    return feed


def _repeated_accepted(_: Callable[..., Any]) -> Callable[..., Any]:
    def on_repeated(self: Learner, sender: PeerId, message: Proposal) -> None:
        self._state.out.write(Append(message.first, message.payloads))
        self._must_ack = True

    return on_repeated


def _no_quorum_check(real: Callable[..., Any]) -> Callable[..., Any]:
    def tick(self: Leader, ticks: int) -> None:
        real(self, ticks)
        if self.established:
            self.outcome = None

    return tick


def _elect_anybody(_: Callable[..., Any]) -> Callable[..., Any]:
    def rank(vote: Vote) -> tuple[int, int]:
        return (vote.leader + vote.round) % 5, vote.leader

    return rank


def _recency_unchecked(real: Callable[..., Any]) -> Callable[..., Any]:
    def on_ack_epoch(self: Leader, sender: PeerId, message: AckEpoch) -> object:
        promised = message.current_epoch is not None
        return real(self, sender, evolve(message, current_epoch=0) if promised else message)

    return on_ack_epoch


def _promise_again(real: Callable[..., Any]) -> Callable[..., Any]:
    def on_leader_info(self: Learner, sender: PeerId, message: LeaderInfo) -> object:
        if message.epoch == self._state.accepted_epoch > self._state.current_epoch:
            self._state.accepted_epoch -= 1
        return real(self, sender, message)

    return on_leader_info


def _established_alone(real: Callable[..., Any]) -> Callable[..., Any]:
    def try_establish(self: Leader) -> None:
        self._acked_new_leader.update(self._state.config.voters)
        real(self)

    return try_establish


def _skip_until_acked(real: Callable[..., Any]) -> Callable[..., Any]:
    def feed(self: Feeding) -> None:
        for learner in self._learners.values():
            if learner.stage is Stage.WAIT_ACK:
                learner.sent = self._state.history.last
        real(self)

    return feed


def _read_unconfirmed(_: Callable[..., Any]) -> Callable[..., Any]:
    def take_ready(self: ReadRounds) -> list[ReadReady]:
        ready = [ReadReady(token, done.committed) for done in self._under_way for token in done.tokens]
        self._under_way.clear()
        return ready

    return take_ready


def _watches_lost(_: Callable[..., Any]) -> Callable[..., Any]:
    def trigger(self: Watches, applied: Applied) -> list[tuple[int, WatchEvent]]:
        return []

    return trigger


def _attached_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def finish_attaching(self: Serving) -> None:
        for connection in self._attaching:
            connection.attached_from = 0
        real(self)

    return finish_attaching


def _moved_accepted(real: Callable[..., Any]) -> Callable[..., Any]:
    def arrive(self: Leading, origin: PeerId, session: int, xid: int, request: Any) -> None:
        if not isinstance(request, Claim):
            self._owners.pop(session, None)
        real(self, origin, session, xid, request)

    return arrive


def _timeouts_run_on(real: Callable[..., Any]) -> Callable[..., Any]:
    def init(self: Leading, tree: Tree, *, tick_ms: int) -> None:
        real(self, tree, tick_ms=tick_ms)
        for session in tree.sessions:
            self._tracker.add(session, 1)

    return init


MUTANTS: dict[str, tuple[str, tuple[Patch, ...]]] = {
    "ack-before-durable": (
        "a follower acknowledges proposals before they are on its disk",
        ((Learner, "flush", _ack_before_durable),),
    ),
    "newleader-acked-early": (
        "a follower acknowledges NEWLEADER before the history is on its disk (ZOOKEEPER-4646)",
        ((Learner, "_on_new_leader", _newleader_acked_early),),
    ),
    "epoch-not-durable": (
        "a promised epoch is kept in memory only (ZOOKEEPER-335)",
        ((State, "save_epochs", _epoch_not_durable),),
    ),
    "commit-without-quorum": (
        "the leader commits what one member holds",
        ((EnsembleConfig, "agreed", _commit_without_quorum),),
    ),
    "deliver-before-durable": (
        "records count as durable as soon as they are handed to the disk (ZOOKEEPER-4882)",
        ((History, "append", _durable_at_once),),
    ),
    "trunc-skipped": (
        "the log is cut in memory, and on the disk it is not (ZOOKEEPER-3701)",
        ((Outbox, "write", _trunc_not_written),),
    ),
    "current-epoch-before-history": (
        "the epoch is made current before its history is on the disk (ZOOKEEPER-4643)",
        ((Learner, "_on_new_leader", _epoch_first),),
    ),
    "duplicate-proposal-accepted": (
        "the leader repeats proposals, which is legal, and followers log them again",
        ((Feeding, "feed", _propose_twice), (Learner, "_on_repeated", _repeated_accepted)),
    ),
    "stale-leader-serves": (
        "a leader does not step down when no quorum is heard",
        ((Leader, "tick", _no_quorum_check),),
    ),
    "recency-unchecked": (
        "the election picks anybody, which is legal, and a leader goes on although a follower has a newer history",
        ((election, "_rank", _elect_anybody), (Leader, "_on_ack_epoch", _recency_unchecked)),
    ),
    "promise-given-again": (
        "a follower promises an epoch that it has promised before",
        ((Learner, "_on_leader_info", _promise_again),),
    ),
    "established-alone": (
        "a leader begins to serve before a quorum holds its history",
        ((Leader, "_try_establish", _established_alone),),
    ),
    "forward-when-acked": (
        "a follower misses what is proposed between NEWLEADER and its acknowledgement (ambiguity 1 of the paper)",
        ((Feeding, "feed", _skip_until_acked),),
    ),
    "read-unconfirmed": (
        "a leader answers a linearizable read without asking whether it still leads",
        ((ReadRounds, "take_ready", _read_unconfirmed),),
    ),
    "watches-lost": (
        "changes do not set watches off (only replicas have them)",
        ((Watches, "trigger", _watches_lost),),
    ),
    "attached-at-once": (
        "a session is attached before what it requested elsewhere is decided (only replicas have sessions)",
        ((Serving, "finish_attaching", _attached_at_once),),
    ),
    "moved-accepted": (
        "a leader takes requests from where a session no longer is (only replicas have sessions)",
        ((Leading, "arrive", _moved_accepted),),
    ),
    "timeouts-run-on": (
        "a new leader does not give the sessions it finds their full timeout (only replicas have sessions)",
        ((Leading, "__init__", _timeouts_run_on),),
    ),
}
"""What each planted bug does, and where."""


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """With the bug called `name` in the core, for the whole process; None plants nothing. Raises KeyError."""
    real = []
    try:
        for owner, method, mutate in MUTANTS[name][1] if name is not None else ():
            original = getattr(owner, method)
            real.append((owner, method, original))
            setattr(owner, method, mutate(original))
        yield
    finally:
        for owner, method, original in reversed(real):
            setattr(owner, method, original)
