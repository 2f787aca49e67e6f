"""What a replica does for the sessions it serves: it keeps their requests in order and answers them.

Every session has a queue of the requests that have no answer yet. A write leaves it when its transaction is applied,
recognised by session and number; a read when nothing stands before it and the tree is as new as it must be. So the
answers of a session come in the order of its requests, and a session reads its own writes.

A read that needs the leader's word holds up the writes that follow it in its session (`released` says when they may
go): they could be applied before it is answered, and it would show what was asked for after it. So does a change of the
members, which takes two records: others may be applied before the second, which is its answer.

This module must not know how a request becomes a transaction.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any, ClassVar

from attrs import Factory, define, field, frozen

from zkcore.errors import SessionClosedError, ZkcoreError
from zkcore.jute.records import Id
from zkcore.replica.answers import (
    Attached,
    Detached,
    Replied,
    SessionAnswer,
    SessionCreated,
    SessionEnded,
    SessionRemoved,
    WatchFired,
)
from zkcore.replica.levels import ReadLevel, Sync
from zkcore.replica.reading import Gated
from zkcore.tree.acl import Caller
from zkcore.tree.applied import Applied
from zkcore.tree.requests import Reconfigure, Request
from zkcore.tree.tree import Tree
from zkcore.tree.watch_audience import audience_of
from zkcore.tree.watches import Watches
from zkcore.zxid import Zxid, format_zxid

__all__ = ["MAX_XID", "Connection", "Serving", "following_xid"]

MAX_XID = 0x7FFFFFFF
"""The largest number of a request, a signed 32-bit one."""


def following_xid(xid: int) -> int:
    """The number of the request after number `xid`: they count from 1, and begin again after the largest."""
    return xid + 1 if xid < MAX_XID else 1


@frozen
class _Refusal:
    """Stands in a queue for a request that will get no transaction, until its turn to be answered."""

    error: ZkcoreError
    holds_up: bool
    """What is refused is a gate."""
    writes: ClassVar[bool] = False


@define(eq=False)
class Connection:
    """One session served here: its requests that are not answered yet, in order."""

    session: int
    next_xid: int
    caller: Caller = field(kw_only=True)
    """The session and its ids, as all its requests need them: made once."""
    unanswered: deque[tuple[int, Request[Any] | Gated | _Refusal]] = Factory(deque)
    gates: int = 0
    """How many of them hold up the writes behind them."""
    attached: bool = True
    paused: bool = False
    """Nothing is told of its watches before the next answer, or until it is resumed."""
    claim: int = 0
    """The nonce of the claim by which it is being attached."""
    attached_from: Zxid | None = None
    """Attached once this much is applied; None while the leader has not answered the claim."""
    alive: bool = True
    """What the leader has answered: an end, too, is told once that much is applied."""


class Serving:
    """The connections of one replica. What clients are to be told gathers in `answers`."""

    def __init__(self, tree: Tree, watches: Watches) -> None:
        self.tree = tree
        """The replica's state, which it replaces when it restores a snapshot."""
        self.answers: list[SessionAnswer] = []
        self.released: list[tuple[Connection, int, Request[Any]]] = []
        """Writes that nothing holds up any more, with their numbers; see `take_released`."""
        self.behind: list[tuple[Zxid, int]] = []
        """A heap of the sessions that wait for something to be applied here: what, and who."""
        self._connections: dict[int, Connection] = {}
        self.attaching: list[Connection] = []
        """Those that are not attached yet."""
        self.watches = watches

    # --- connections

    def find(self, session: int) -> Connection | None:
        return self._connections.get(session)

    def get(self, session: int) -> Connection:
        """The connection of a session that is attached. Raises SessionClosedError."""
        connection = self._connections.get(session)
        if connection is None or not connection.attached:
            raise SessionClosedError(f"session {session:#x} is not served by this replica; attach it first")
        return connection

    def open(self, caller: Caller) -> Connection:
        """A new session; its creation is request number 0."""
        connection = self._connections[caller.session] = Connection(caller.session, 0, caller=caller)
        return connection

    def begin_attach(self, caller: Caller, next_xid: int, claim: int) -> None:
        """Serve the session as soon as the leader has answered `claim` and what it names is applied."""
        session = caller.session
        self.drop(session)  # where the client was here before and went without a word, its watches still are
        connection = Connection(session, next_xid, caller=caller, attached=False, claim=claim)
        self._connections[session] = connection
        self.attaching.append(connection)

    def on_claimed(self, connection: Connection, zxid: Zxid, *, alive: bool) -> None:
        """The leader has answered the claim."""
        connection.attached_from = zxid
        connection.alive = alive

    def finish_attaching(self) -> None:
        """Attach whom nothing holds up any more. What ended a session is applied, too, before its client is told."""
        still: list[Connection] = []
        for connection in self.attaching:
            if self._connections.get(connection.session) is not connection:
                continue
            if connection.attached_from is None or connection.attached_from > self.tree.last_zxid:
                still.append(connection)
            elif connection.alive:
                connection.attached = True
                self.answers.append(Attached(connection.session))
            else:
                self._end(connection)
        self.attaching = still

    def drop(self, session: int) -> None:
        """The client has gone, and is told nothing more."""
        self.answers = [answer for answer in self.answers if answer.session != session]
        self._forget(session)

    def detach(self, connection: Connection, why: str) -> None:
        """The session is served here no longer."""
        self._forget(connection.session)
        self.answers.append(Detached(connection.session, why))

    def detach_all(self, why: str) -> None:
        for connection in list(self._connections.values()):
            self.detach(connection, why)
        self.released.clear()
        self.behind.clear()

    def _end(self, connection: Connection) -> None:
        self._forget(connection.session)
        self.answers.append(SessionEnded(connection.session))

    def _forget(self, session: int) -> None:
        self._connections.pop(session, None)
        self.watches.drop_session(session)

    def explain(self) -> tuple[str, ...]:
        """In words: who is served here, and what their requests wait for."""
        lines = [
            f"sessions served here: {len(self._connections) - len(self.attaching)}; "
            f"being attached: {len(self.attaching)}"
        ]
        waiting = [each.unanswered for each in self._connections.values() if each.unanswered]
        if not waiting:
            return tuple(lines)
        lines.append(f"requests without an answer: {sum(map(len, waiting))}, of {len(waiting)} sessions")
        heads = [unanswered[0][1] for unanswered in waiting]
        reads = [head for head in heads if isinstance(head, Gated)]
        asking = sum(read.needs is None for read in reads)
        if len(heads) > len(reads):
            lines.append(f"sessions that wait for a write to be committed and applied here: {len(heads) - len(reads)}")
        if asking:
            lines.append(f"sessions that wait for the leader to say how new a read must be: {asking}")
        if len(reads) > asking:
            furthest = format_zxid(max(read.needs or 0 for read in reads))
            lines.append(
                f"sessions that wait for this replica to apply more: {len(reads) - asking}; "
                f"it has {format_zxid(self.tree.last_zxid)} and they need up to {furthest}"
            )
        return tuple(lines)

    # --- requests

    def enqueue(self, connection: Connection, request: Request[Any]) -> int:
        """The number of a new request. A read with nothing before it is answered at once."""
        xid = connection.next_xid
        connection.next_xid = following_xid(xid)
        connection.unanswered.append((xid, request))
        if type(request) is Reconfigure:
            connection.gates += 1
        if not request.writes and len(connection.unanswered) == 1:
            self._answer_reads(connection)
        return xid

    def enqueue_gated(self, connection: Connection, request: Request[Any], level: ReadLevel) -> Gated:
        """A new read that needs the leader's word: tell it to `pass_on`."""
        gated = Gated(connection.session, request, level)
        connection.unanswered.append((connection.next_xid, gated))
        connection.next_xid = following_xid(connection.next_xid)
        connection.gates += 1
        return gated

    def pass_on(self, answered: list[Gated]) -> None:
        """The leader has said what these need."""
        for gated in answered:
            connection = self._connections.get(gated.session)
            if connection is not None:
                self._answer_reads(connection)

    def take_released(self) -> list[tuple[Connection, int, Request[Any]]]:
        """The writes that may go now. Those of a session that has left this place, or come anew, go nowhere."""
        released = [one for one in self.released if self._connections.get(one[0].session) is one[0]]
        self.released.clear()
        return released

    def goes_behind_released(self, connection: Connection, xid: int, request: Request[Any]) -> bool:
        """Have a new write go behind those that an input released since the last drain: it must not overtake them.
        False where there are none."""
        if not self.released:
            return False
        self.released.append((connection, xid, request))
        return True

    def catch_up(self) -> None:
        """More is applied: answer who waited for that."""
        while self.behind and self.behind[0][0] <= self.tree.last_zxid:
            connection = self._connections.get(heapq.heappop(self.behind)[1])
            if connection is not None:
                self._answer_reads(connection)

    def refuse(self, connection: Connection, xid: int, error: ZkcoreError) -> None:
        """The write `xid` will get no transaction: answer it with `error` when its turn comes."""
        for index, (other, request) in enumerate(connection.unanswered):
            if other == xid and request.writes:
                connection.unanswered[index] = xid, _Refusal(error, type(request) is Reconfigure)
                self._answer_reads(connection)
                return

    def on_applied(self, applied: Applied) -> None:
        """A transaction was just applied: fire watches, then answer whoever asked for it."""
        if applied.changes:
            hides = applied.removed or self.tree.hides_anything  # else everybody may be told of everything
            audience = audience_of(self.tree, applied, self._ids_of) if hides else None
            for session, event in self.watches.trigger(applied, audience):
                self.answers.append(WatchFired(session, event))
        connection = self._connections.get(applied.session)
        if connection is None or not connection.unanswered or connection.unanswered[0][0] != applied.cxid:
            return  # nobody's here, or a request from a connection that the session had before
        request = connection.unanswered[0][1]
        assert isinstance(request, Request)
        try:
            result = self.tree.result(request, applied)
        except ZkcoreError as error:
            self._reply(connection, None, error)
        else:
            self._reply(connection, result, None)
        if connection.gates and type(request) is Reconfigure:
            self._release(connection)
        if connection.unanswered:
            self._answer_reads(connection)

    def _ids_of(self, session: int) -> tuple[Id, ...]:
        connection = self._connections.get(session)
        return () if connection is None else connection.caller.ids

    def replace_tree(self, tree: Tree) -> None:
        """The state was restored from a snapshot. Nobody is served here then."""
        self.tree = tree
        self.watches.restart(tree.last_zxid)

    def pause(self, connection: Connection) -> None:
        """Tell the session nothing of its watches."""
        connection.paused = True
        self.watches.pause(connection.session)

    def resume(self, connection: Connection) -> None:
        """Tell it what it missed, and everything from now on."""
        connection.paused = False
        for missed in self.watches.resume(self.tree, connection.session):
            self.answers.append(WatchFired(connection.session, missed))

    def on_session_created(self, session: int, timeout_ms: int, *, tell: bool) -> None:
        """The transaction just applied began the session."""
        if tell:
            self.answers.append(SessionCreated(session, timeout_ms, session in self._connections))

    def on_session_closed(self, session: int, *, expired: bool, tell: bool) -> None:
        """The transaction just applied ended the session."""
        connection = self._connections.get(session)
        if connection is not None:
            self._end(connection)
        if tell:
            self.answers.append(SessionRemoved(session, expired, connection is not None))

    def _answer_reads(self, connection: Connection) -> None:
        """The reads that waited for the writes before them, and what was refused."""
        unanswered = connection.unanswered
        while unanswered and not (request := unanswered[0][1]).writes:
            if isinstance(request, Gated):
                if request.needs is None:
                    return
                if request.needs > self.tree.last_zxid:
                    heapq.heappush(self.behind, (request.needs, connection.session))
                    return
            try:
                result = self.answer(connection, request)
            except ZkcoreError as error:
                self._reply(connection, None, error)
            else:
                self._reply(connection, result, None)
            if isinstance(request, Gated) or (isinstance(request, _Refusal) and request.holds_up):
                self._release(connection)

    def answer(self, connection: Connection, request: Request[Any] | Gated | _Refusal) -> Any:
        """The answer to what stands first in the queue of a session, or needs not stand there. Raises RequestError."""
        if not isinstance(request, Request):
            if request.error is not None:
                raise request.error
            assert isinstance(request, Gated)
            request = request.request
        if isinstance(request, Sync):
            return self.tree.last_zxid
        return self.watches.read(self.tree, request, session=connection.session, caller=connection.caller)

    def _release(self, connection: Connection) -> None:
        """The head of the queue, a gate, was answered: the writes behind it may go, up to the next one."""
        connection.gates -= 1
        for xid, request in connection.unanswered:
            if isinstance(request, Gated):
                break
            if isinstance(request, Request) and request.writes:
                self.released.append((connection, xid, request))
                if type(request) is Reconfigure:
                    break

    def _reply(self, connection: Connection, result: object, error: ZkcoreError | None) -> None:
        xid, _ = connection.unanswered.popleft()
        if connection.paused:
            self.resume(connection)  # no answer overtakes an event
        self.answers.append(Replied(connection.session, xid, result, error, self.tree.last_zxid))
