"""What clients may see: the checks on answers, reads, watches and the fate of sessions (protocol.md 2, X17 and X18).

The Reference applies every committed transaction once, in the order of the Oracle, to a tree of its own. So it knows
the history of every path and what became of every request, and an answer can be judged at the moment it is given:

- A write that was answered is committed, once, with that result; and behind every write that was answered to anybody
  before it was submitted.
- A read shows a state that was current at some point of the committed sequence, not before anything the same session
  has seen or written, and not after what it asked for later. A linearizable one shows all that was committed anywhere
  when it was asked for, and so does every read after a sync; one at least as new as a zxid shows that.
- Data newer than what a watch was set on is not seen before the watch goes off, and a watch goes off once.
- After a session was attached, nothing that it had requested elsewhere is applied any more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Any, NamedTuple

from zkcore.errors import NoNodeError, SessionExpiredError, ZkcoreError
from zkcore.replica.levels import AtLeast, Read, ReadLevel, Sync
from zkcore.testing.checkers import Oracle
from zkcore.tree.applied import Applied, EventType, WatchEvent
from zkcore.tree.requests import Create, Created, Exists, GetData, NodeData, Request, SetData
from zkcore.tree.tree import Tree
from zkcore.zab.messages import PeerId
from zkcore.zxid import Zxid, format_zxid

__all__ = ["Client", "Reference"]


class _Asked(NamedTuple):
    """A request without an answer."""

    xid: int
    request: Request[Any]
    answered: Zxid
    """The newest write that was answered to anybody when this was asked."""
    least: Zxid
    """The answer to a read is not older than this."""
    proposed: Zxid
    """Something that was proposed when this was asked; only looked at for a sync."""


class Client:
    """One client: a session, where it is served, and what it has asked and seen."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.session: int | None = None
        self.node: PeerId | None = None
        self.ready = False  # the session exists and is served at `node`
        self.known = False  # the client was told that the session exists
        self.next_xid = 1
        self.first_xid = 1  # of the requests on the present connection
        self.waiting: deque[_Asked] = deque()
        self.seen: Zxid = 0
        self.closing = False  # it asked for the end of its session
        self.alive_until = 0  # the virtual time up to which a confirmed heartbeat says the session cannot expire
        self.watches: dict[str, Zxid | None] = {}  # path -> the mzxid it was set on, None where there was no znode

    def leave(self) -> None:
        """The session is not served at `node` any more; what waits may be applied or not."""
        self.node = None
        self.ready = False
        self.first_xid = self.next_xid
        self.waiting.clear()
        self.watches.clear()

    def end(self) -> None:
        """The session is over. The next one begins with nothing seen."""
        self.leave()
        self.session = None
        self.next_xid = self.first_xid = 1
        self.seen = self.alive_until = 0
        self.closing = self.known = False


class Reference:
    """The committed sequence, applied once, and what it says about every answer."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.tree = Tree()
        self._applied: dict[tuple[int, int], tuple[Zxid, Applied]] = {}
        # For every path: (zxid, data or None) for each change; before the first there was no znode.
        self._history: dict[str, list[tuple[Zxid, bytes | None]]] = {}
        self._authors: dict[Zxid, tuple[int, int]] = {}  # session and xid
        self.answered: Zxid = 0
        """The newest write that was answered to anybody."""
        self._refused: list[tuple[int, int]] = []
        self._attached: dict[int, list[tuple[int, Zxid]]] = {}  # by session: first xid from then on, applied by then
        self._count = 0

    def catch_up(self) -> list[int]:
        """Apply what was committed since the last time. Returns the sessions that were closed by it."""
        committed = self._oracle.committed
        if self._count == len(committed):
            return []
        closed: list[int] = []
        while self._count < len(committed):
            zxid = committed[self._count]
            self._count += 1
            sessions = len(self.tree.sessions)
            applied = self.tree.apply(zxid, self._oracle.born[zxid])
            if len(self.tree.sessions) < sessions:
                closed.append(applied.session)
            if applied.cxid:
                if (applied.session, applied.cxid) in self._applied:
                    self._oracle.fail("X17", f"a request is applied twice: {applied}")
                self._applied[applied.session, applied.cxid] = zxid, applied
                self._authors[zxid] = applied.session, applied.cxid
            for kind, path in applied.changes:
                data = None if kind is EventType.NODE_DELETED else self.tree.read(GetData(path)).data
                self._history.setdefault(path, []).append((zxid, data))
        return closed

    # --- requests

    def submitted(
        self, client: Client, xid: int, request: Request[Any], *, read: ReadLevel = Read.SESSION
    ) -> None:
        """`client` asks for something, a read as fresh as `read`."""
        oracle = self._oracle
        least = proposed = 0
        if isinstance(read, AtLeast):
            least = read.zxid
        elif read is Read.LINEARIZABLE:
            least = oracle.committed[-1] if oracle.committed else 0
            proposed = max(least, next(reversed(oracle.born), 0))
        client.next_xid = xid + 1
        client.waiting.append(_Asked(xid, request, self.answered, least, proposed))

    def replied(self, client: Client, xid: int, result: object, error: ZkcoreError | None) -> None:
        """Judge the answer to the oldest request of `client`."""
        if xid < client.first_xid:
            self._oracle.fail("X18", f"client {client.number} gets an answer to {xid}, asked on a connection before")
            return
        if not client.waiting or client.waiting[0].xid != xid:
            self._oracle.fail("X17", f"client {client.number} gets an answer to {xid} out of order")
        self.catch_up()
        asked = client.waiting.popleft()
        if asked.request.writes:
            self._replied_write(client, asked, result, error)
        elif isinstance(asked.request, Sync):
            self._replied_sync(client, asked, result, error)
        else:
            self._replied_read(client, asked, result, error)

    def read_at_once(self, client: Client, request: Request[Any], result: object, error: ZkcoreError | None) -> None:
        """Judge the answer to a read that waited for nothing."""
        self.catch_up()
        self._replied_read(client, _Asked(client.next_xid, request, 0, 0, 0), result, error)

    def _replied_write(self, client: Client, asked: _Asked, result: object, error: ZkcoreError | None) -> None:
        assert client.session is not None
        xid, request, before = asked.xid, asked.request, asked.answered
        found = self._applied.get((client.session, xid))
        if found is None:
            if error is None or error.applied != "no":
                self._oracle.fail("X17", f"client {client.number} is told of a write that is not committed: {request}")
            self._refused.append((client.session, xid))
            return
        zxid, applied = found
        if applied.error != (0 if error is None else error.code):
            self._oracle.fail("X17", f"client {client.number} is told {error!r} of {applied}")
        if zxid <= before or zxid <= client.seen:
            newest = format_zxid(max(before, client.seen))
            self._oracle.fail("X17", f"{applied} was submitted after {newest} was known, and comes before it")
        if error is None:
            self._check_result(request, zxid, applied, result)
        client.seen = zxid
        self.answered = max(self.answered, zxid)

    def _check_result(self, request: Request[Any], zxid: Zxid, applied: Applied, result: object) -> None:
        if isinstance(request, Create):
            right = isinstance(result, Created) and (result.path, result.stat.czxid) == (applied.path, zxid)
        elif isinstance(request, SetData):
            right = getattr(result, "mzxid", None) == zxid
        else:
            right = result is None
        if not right:
            self._oracle.fail("X17", f"the answer to {request}, {applied}, is {result}")

    def _replied_sync(self, client: Client, asked: _Asked, result: object, error: ZkcoreError | None) -> None:
        """Everything is applied that was committed when it was asked for, and what was proposed and came to be."""
        committed = self._oracle.committed
        came = bisect_right(committed, asked.proposed)
        least = max(client.seen, committed[came - 1] if came else 0)
        if error is not None or not isinstance(result, int) or not least <= result <= self.tree.last_zxid:
            wanted = format_zxid(least)
            self._oracle.fail("X17", f"client {client.number} has synced to {error or result}, and not to {wanted}")
            return
        client.seen = result

    def _replied_read(self, client: Client, asked: _Asked, result: object, error: ZkcoreError | None) -> None:
        request = asked.request
        assert isinstance(request, GetData | Exists)
        if isinstance(result, NodeData):
            mzxid: Zxid | None = result.stat.mzxid
            self._check_version(client, asked, result.stat.mzxid, result.data)
        elif result is not None:
            mzxid = getattr(result, "mzxid", 0)
            self._check_version(client, asked, mzxid or 0, None)
        elif error is None or isinstance(error, NoNodeError):
            mzxid = None
            self._check_absent(client, asked)
        else:
            self._oracle.fail("X17", f"client {client.number} reads {request.path} and is told {error!r}")
            return
        self._check_watch(client, request.path, mzxid)
        if request.watch and (error is None):
            client.watches.setdefault(request.path, mzxid)

    def _check_version(self, client: Client, asked: _Asked, mzxid: Zxid, data: bytes | None) -> None:
        """The version of `mzxid` existed, and was not replaced before what the client must see."""
        path = asked.request.path  # type: ignore[attr-defined]
        least = max(client.seen, asked.least)
        history = self._history.get(path, [])
        for index, (zxid, written) in enumerate(history):
            if zxid == mzxid and written is not None and (data is None or data == written):
                until = history[index + 1][0] if index + 1 < len(history) else None
                if until is not None and until <= least:
                    seen = format_zxid(least)
                    self._oracle.fail("X17", f"client {client.number} must see {seen}, and reads {path} as before it")
                self._check_not_later(client, asked, mzxid)
                client.seen = max(least, mzxid)
                return
        self._oracle.fail("X17", f"client {client.number} reads {path} as of {format_zxid(mzxid)}, which never was")

    def _check_absent(self, client: Client, asked: _Asked) -> None:
        """There was a time, not before what the client must see, without such a znode."""
        path = asked.request.path  # type: ignore[attr-defined]
        least = max(client.seen, asked.least)
        since: Zxid | None = 0
        for zxid, data in self._history.get(path, []):
            if since is not None and data is not None and zxid > least:
                break
            since = zxid if data is None else None
        if since is None:
            self._oracle.fail("X17", f"client {client.number} finds no {path}, which was there all the time")
            return
        self._check_not_later(client, asked, since)
        client.seen = max(least, since)

    def _check_not_later(self, client: Client, asked: _Asked, zxid: Zxid) -> None:
        session, xid = self._authors.get(zxid, (0, 0))
        if session == client.session and xid > asked.xid:
            self._oracle.fail("X17", f"client {client.number} sees in {asked.xid} what it asked for as {xid}")

    # --- watches and sessions

    def _check_watch(self, client: Client, path: str, mzxid: Zxid | None) -> None:
        if path in client.watches and client.watches[path] != mzxid:
            self._oracle.fail("X18", f"client {client.number} sees {path} change before its watch goes off")

    def watch_fired(self, client: Client, event: WatchEvent) -> None:
        """Judge a watch event."""
        if client.watches.pop(event.path, 0) == 0:
            self._oracle.fail("X18", f"client {client.number} has no watch for {event}")

    def attached(self, client: Client, applied_here: Zxid) -> None:
        """The session goes on where everything up to `applied_here` is applied."""
        assert client.session is not None
        if applied_here < client.seen:
            self._oracle.fail("X17", f"client {client.number} is attached where less is applied than it has seen")
        self._attached.setdefault(client.session, []).append((client.next_xid, applied_here))

    def check_end(self) -> None:
        """What can be judged only when all is over."""
        self.catch_up()
        for key in self._refused:
            if key in self._applied:
                self._oracle.fail("X17", f"refused, and applied all the same: {self._applied[key][1]}")
        for (session, xid), (zxid, applied) in self._applied.items():
            if applied.error == SessionExpiredError.code:
                continue  # it arrived when the session was over, and so long after that it does not matter whose it was
            for first, applied_here in self._attached.get(session, ()):
                if xid < first and zxid > applied_here:
                    where = format_zxid(applied_here)
                    self._oracle.fail("X17", f"the session was attached at {where}, and then an old request {applied}")
