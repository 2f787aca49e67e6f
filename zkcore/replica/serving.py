"""What a replica does for the sessions it serves: it keeps their requests in order and answers them.

Every session has a queue of the requests that have no answer yet. A write leaves it when its transaction is applied,
recognised by session and number; a read when nothing stands before it. So the answers of a session come in the order of
its requests, and a session reads its own writes.

This module must not know how a request becomes a transaction.
"""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from attrs import Factory, define, frozen

from zkcore.errors import SessionClosedError, ZkcoreError
from zkcore.replica.answers import Answer, Attached, Detached, Replied, SessionEnded, WatchFired
from zkcore.tree.applied import Applied
from zkcore.tree.requests import Request, T
from zkcore.tree.tree import Tree
from zkcore.tree.watches import Watches
from zkcore.zxid import Zxid

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
    writes: ClassVar[bool] = False


@define(eq=False)
class Connection:
    """One session served here: its requests that are not answered yet, in order."""

    session: int
    next_xid: int
    unanswered: deque[tuple[int, Request[Any] | _Refusal]] = Factory(deque)
    attached: bool = True
    claim: int = 0
    """The nonce of the claim by which it is being attached."""
    attached_from: Zxid | None = None
    """Attached once this much is applied; None while the leader has not answered the claim."""


class Serving:
    """The connections of one replica. What clients are to be told gathers in `answers`."""

    def __init__(self) -> None:
        self.tree = Tree()
        """The replica's state, which it replaces when it restores a snapshot."""
        self.answers: list[Answer] = []
        self._connections: dict[int, Connection] = {}
        self._attaching: list[Connection] = []
        self._watches = Watches()

    # --- connections

    def find(self, session: int) -> Connection | None:
        return self._connections.get(session)

    def get(self, session: int) -> Connection:
        """The connection of a session that is attached. Raises SessionClosedError."""
        connection = self._connections.get(session)
        if connection is None or not connection.attached:
            raise SessionClosedError(f"session {session:#x} is not served by this replica; attach it first")
        return connection

    def open(self, session: int) -> Connection:
        """A new session; its creation is request number 0."""
        connection = self._connections[session] = Connection(session, 0)
        return connection

    def begin_attach(self, session: int, next_xid: int, claim: int) -> None:
        """Serve the session as soon as the leader has answered `claim` and what it names is applied."""
        self.drop(session)  # where the client was here before and went without a word, its watches still are
        connection = Connection(session, next_xid, attached=False, claim=claim)
        self._connections[session] = connection
        self._attaching.append(connection)

    def on_claimed(self, connection: Connection, zxid: Zxid, *, alive: bool) -> None:
        """The leader has answered the claim."""
        connection.attached_from = zxid
        if not alive:
            self._end(connection)

    @property
    def is_attaching(self) -> bool:
        return bool(self._attaching)

    def finish_attaching(self) -> None:
        """Attach whom nothing holds up any more."""
        still: list[Connection] = []
        for connection in self._attaching:
            if self._connections.get(connection.session) is not connection:
                continue
            if connection.attached_from is not None and connection.attached_from <= self.tree.last_zxid:
                connection.attached = True
                self.answers.append(Attached(connection.session))
            else:
                still.append(connection)
        self._attaching = still

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

    def _end(self, connection: Connection) -> None:
        self._forget(connection.session)
        self.answers.append(SessionEnded(connection.session))

    def _forget(self, session: int) -> None:
        self._connections.pop(session, None)
        self._watches.drop_session(session)

    # --- requests

    def enqueue(self, connection: Connection, request: Request[Any]) -> int:
        """The number of a new request. A read with nothing before it is answered at once."""
        xid = connection.next_xid
        connection.next_xid = following_xid(xid)
        connection.unanswered.append((xid, request))
        if not request.writes and len(connection.unanswered) == 1:
            self._answer_reads(connection)
        return xid

    def refuse(self, connection: Connection, xid: int, error: ZkcoreError) -> None:
        """Request `xid` will get no transaction: answer it with `error` when its turn comes."""
        for index, (other, _) in enumerate(connection.unanswered):
            if other == xid:
                connection.unanswered[index] = xid, _Refusal(error)
                self._answer_reads(connection)
                return

    def read(self, session: int, request: Request[T]) -> T:
        """The answer to a read, from the state as it is; a watch it asks for is set. Raises RequestError."""
        return self._watches.read(self.tree, request, session=session)

    def on_applied(self, applied: Applied) -> None:
        """A transaction was just applied: fire watches, then answer whoever asked for it."""
        for session, event in self._watches.trigger(applied):
            self.answers.append(WatchFired(session, event))
        connection = self._connections.get(applied.session)
        if connection is None or not connection.unanswered or connection.unanswered[0][0] != applied.cxid:
            return  # nobody's here, or a request from a connection that the session had before
        request = connection.unanswered[0][1]
        assert not isinstance(request, _Refusal)
        try:
            result = self.tree.result(request, applied)
        except ZkcoreError as error:
            self._reply(connection, None, error)
        else:
            self._reply(connection, result, None)
        if connection.unanswered:
            self._answer_reads(connection)

    def on_session_closed(self, session: int) -> None:
        """The transaction just applied ended the session."""
        connection = self._connections.get(session)
        if connection is not None:
            self._end(connection)

    def _answer_reads(self, connection: Connection) -> None:
        """The reads that waited for the writes before them, and what was refused."""
        while connection.unanswered and not (request := connection.unanswered[0][1]).writes:
            try:
                if isinstance(request, _Refusal):
                    raise request.error
                result = self.read(connection.session, request)
            except ZkcoreError as error:
                self._reply(connection, None, error)
            else:
                self._reply(connection, result, None)

    def _reply(self, connection: Connection, result: object, error: ZkcoreError | None) -> None:
        xid, _ = connection.unanswered.popleft()
        self.answers.append(Replied(connection.session, xid, result, error))
