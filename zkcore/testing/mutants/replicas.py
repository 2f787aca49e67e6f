"""Bugs above the core: requests, sessions, watches. Only whole replicas with clients on them show these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zkcore.jute.records import CloseSessionTxn
from zkcore.replica import applying
from zkcore.replica.answers import WatchFired
from zkcore.replica.forward import Claim, Forwarded
from zkcore.replica.leading import Leading
from zkcore.replica.levels import ReadLevel
from zkcore.replica.reading import Gated, Questions
from zkcore.replica.replica import Replica
from zkcore.replica.rules import Rules
from zkcore.replica.serving import Connection, Serving
from zkcore.testing.mutants.mutant import Mutant, Patch, Real
from zkcore.tree import tree as tree_module
from zkcore.tree.applied import Applied, WatchEvent
from zkcore.tree.outstanding import Outstanding, Znode
from zkcore.tree.requests import Request
from zkcore.tree.state import State
from zkcore.tree.tree import Tree
from zkcore.tree.watches import Watches
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.ready import ReadReady
from zkcore.zxid import Zxid

__all__ = ["REPLICAS"]


# --- requests ---------------------------------------------------------------------------------------------------------


def _looks_at_what_is_applied(real: Real) -> Real:
    def look(self: Outstanding, path: str) -> Znode:
        outstanding, self._znodes = self._znodes, {}
        znode: Znode = real(self, path)
        self._znodes = outstanding
        return znode

    return look


def _forwarded_twice(real: Real) -> Real:
    def to_leader(self: Replica, message: Forwarded) -> None:
        real(self, message)
        real(self, message)

    return to_leader


def _reads_overtake(real: Real) -> Real:
    def enqueue(self: Serving, connection: Connection, request: Request[Any]) -> int:
        waiting = list(connection.unanswered)
        if not request.writes:
            connection.unanswered.clear()
        xid: int = real(self, connection, request)
        if not request.writes:
            connection.unanswered.extend(waiting)
        return xid

    return enqueue


def _answers_whoever_waits(real: Real) -> Real:
    def on_applied(self: Serving, applied: Applied) -> None:
        connection = self.find(applied.session)
        if connection is not None and connection.unanswered:
            applied = applied._replace(cxid=connection.unanswered[0][0])
        real(self, applied)

    return on_applied


# --- watches ----------------------------------------------------------------------------------------------------------


def _watches_lost(_: Real) -> Real:
    def trigger(self: Watches, *arguments: Any) -> list[tuple[int, WatchEvent]]:
        return []

    return trigger


def _watches_last(real: Real) -> Real:
    def on_applied(self: Serving, applied: Applied) -> None:
        before = len(self.answers)
        real(self, applied)
        new = self.answers[before:]
        self.answers[before:] = sorted(new, key=lambda answer: isinstance(answer, WatchFired))

    return on_applied


# --- sessions ---------------------------------------------------------------------------------------------------------


def _attached_at_once(real: Real) -> Real:
    def finish_attaching(self: Serving) -> None:
        for connection in self.attaching:
            connection.attached_from = 0
        real(self)

    return finish_attaching


def _moved_accepted(real: Real) -> Real:
    def arrive(self: Leading, origin: PeerId, session: int, xid: int, request: Any, *ids: Any) -> None:
        if not isinstance(request, Claim):
            self._owners.pop(session, None)
        real(self, origin, session, xid, request, *ids)

    return arrive


def _sessions_kept(_: Real) -> Real:
    def detach_all(self: Serving, why: str) -> None:
        pass

    return detach_all


def _timeouts_run_on(real: Real) -> Real:
    def init(self: Leading, tree: Tree, limits: Limits, rules: Rules) -> None:
        real(self, tree, limits, rules)
        for session in tree.sessions:
            self._tracker.add(session, 1)

    return init


def _unconfirmed(_: Real) -> Real:
    def confirm(self: Replica, origin: PeerId, answer: Any) -> None:
        self._on_confirmed(ReadReady(self._confirming.token(origin, answer), self.peer.last_committed))

    return confirm


def _every_session_is_alive(real: Real) -> Real:
    def touch(self: Leading, session: int) -> bool:
        real(self, session)
        return True

    return touch


def _told_before_it_is_committed(real: Real) -> Real:
    def touch(self: Leading, session: int) -> bool:
        return bool(real(self, session))

    return touch


def _none_to_delete(_: Real) -> Real:
    def ephemerals(self: Outstanding, session: int) -> list[str]:
        return []

    return ephemerals


def _only_the_session_goes(real: dict[int, Any]) -> dict[int, Any]:
    def close_session(state: State, zxid: Zxid, time: int, session: int, values: Any) -> Any:
        state.sessions.pop(session, None)
        return 0, "", (), ()

    decode, _ = real[CloseSessionTxn.TYPE]
    return {**real, CloseSessionTxn.TYPE: (decode, close_session)}


def _sessions_not_restored(real: Real) -> Real:
    def restore(pieces: Iterable[bytes]) -> Tree:
        tree: Tree = real(pieces)
        tree.state.sessions.clear()
        return tree

    return restore


# --- reads that need the leader's word --------------------------------------------------------------------------------


def _level_ignored(_: Real) -> Real:
    def needs_leader(self: Replica, read: ReadLevel) -> bool:
        return False

    return needs_leader


def _not_waited_for(real: Real) -> Real:
    def on_index(self: Gated, committed: Zxid, proposed: Zxid) -> None:
        real(self, committed, proposed)
        self.needs = 0

    return on_index


def _joins_the_question(real: Real) -> Real:
    def on_index(self: Questions, nonce: int, committed: Zxid, proposed: Zxid) -> list[Gated]:
        if nonce == self._nonce:
            self._asked += self.waiting
            self.waiting = []
        answered: list[Gated] = real(self, nonce, committed, proposed)
        return answered

    return on_index


def _in_replicas(what: str, *patches: Patch) -> Mutant:
    return Mutant(what, patches, drive="replicas")


REPLICAS: dict[str, Mutant] = {
    "prepared-blindly": _in_replicas(
        "a leader prepares a transaction without regard to those that are under way",
        (Outstanding, "look", _looks_at_what_is_applied),
    ),
    "forwarded-twice": _in_replicas(
        "a follower forwards a request twice",
        (Replica, "_to_leader", _forwarded_twice),
    ),
    "reads-overtake": _in_replicas(
        "a read is answered before the writes that its session sent earlier",
        (Serving, "enqueue", _reads_overtake),
    ),
    "answers-whoever-waits": _in_replicas(
        "a transaction answers the first request that waits in its session, whichever that is",
        (Serving, "on_applied", _answers_whoever_waits),
    ),
    "watches-lost": _in_replicas(
        "changes do not set watches off",
        (Watches, "trigger", _watches_lost),
    ),
    "watches-last": _in_replicas(
        "a client hears of a change before its watch goes off",
        (Serving, "on_applied", _watches_last),
    ),
    "attached-at-once": _in_replicas(
        "a session is attached before what it requested elsewhere is decided",
        (Serving, "finish_attaching", _attached_at_once),
    ),
    "moved-accepted": _in_replicas(
        "a leader takes requests from where a session no longer is",
        (Leading, "arrive", _moved_accepted),
    ),
    "sessions-kept": _in_replicas(
        "a replica that has lost its leader goes on serving its sessions",
        (Serving, "detach_all", _sessions_kept),
    ),
    "timeouts-run-on": _in_replicas(
        "a new leader does not give the sessions it finds their full timeout",
        (Leading, "__init__", _timeouts_run_on),
    ),
    "touch-unconfirmed": _in_replicas(
        "a leader confirms a heartbeat without asking whether it still leads",
        (Replica, "_confirm", _unconfirmed),
    ),
    "ended-session-alive": _in_replicas(
        "a heartbeat is confirmed to a session whose end is on its way",
        (Leading, "touch", _every_session_is_alive),
    ),
    "end-told-too-early": _in_replicas(
        "a client is told that its session has ended before that is committed",
        (Leading, "touch", _told_before_it_is_committed),
    ),
    "ephemerals-left": _in_replicas(
        "the ephemeral znodes of a session outlive it (ZOOKEEPER-1208)",
        (Outstanding, "ephemerals", _none_to_delete),
        (tree_module, "TRANSACTIONS", _only_the_session_goes),
    ),
    "read-level-ignored": _in_replicas(
        "a replica answers a linearizable read from what it has",
        (Replica, "_needs_leader", _level_ignored),
    ),
    "index-not-waited-for": _in_replicas(
        "a linearizable read is answered before this replica has applied what the leader said",
        (Gated, "on_index", _not_waited_for),
    ),
    "question-joined": _in_replicas(
        "a linearizable read shares a question that was asked before it",
        (Questions, "on_index", _joins_the_question),
    ),
    "sessions-not-restored": _in_replicas(
        "a state restored from a snapshot has no sessions",
        (applying, "restore", _sessions_not_restored),
    ),
}
"""What each planted bug does, and where."""
