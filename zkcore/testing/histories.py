"""What simulated clients did and what they were told, kept for the linearizability checker.

A History takes down calls and returns of operations, at the cost of an append each. `ZnodeHistory` fills one from what
clients ask of a few znodes without children. Neither knows the committed sequence: all they have is what a client has,
so what is found in them is found independently of zxids (clients.py judges by those).

Not every history can be searched in reasonable time, but every beginning of a linearizable one is linearizable. So a
key whose history grows too long, or too wide, is closed: what comes later is not recorded, and what was under way then
has an unknown outcome.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from attrs import Factory, define

from zkcore.errors import BadVersionError, NodeExistsError, NoNodeError, ZkcoreError
from zkcore.testing import linearizability as model
from zkcore.testing.linearizability import UNKNOWN, Operation, Refusal
from zkcore.tree.requests import Create, Delete, Exists, GetData, NodeData, Request, SetData
from zkcore.tree.znode import CreateMode

__all__ = ["MOST_AT_ONCE", "MOST_OPERATIONS", "Entry", "History", "ZnodeHistory"]

MOST_OPERATIONS = 300
"""A key is closed when it has so many."""

MOST_AT_ONCE = 12
"""And when more than so many are under way, those of unknown outcome included."""


@define(eq=False)
class _Record:
    """The history of one key."""

    entries: list[Entry] = Factory(list)
    under_way: int = 0
    closed: bool = False


@define(eq=False)
class Entry:
    """One operation, as far as it is known."""

    record: _Record
    key: Hashable
    client: Hashable
    call: Any
    invoked: int
    counts: bool
    returned: int | None = None
    result: Any = UNKNOWN
    happened: bool = True


class History:
    """Operations on any number of keys, by any number of clients. Times are integers that never go back; of two calls
    or returns at the same time the one that is recorded first came first."""

    def __init__(self, *, most_operations: int = MOST_OPERATIONS, most_at_once: int = MOST_AT_ONCE) -> None:
        self._most_operations = most_operations
        self._most_at_once = most_at_once
        self._records: dict[Hashable, _Record] = {}
        self._latest = -1

    def invoke(self, now: int, client: Hashable, key: Hashable, call: Any, *, counts: bool = True) -> Entry | None:
        """`client` makes `call` now. None where the key is closed. What does not count may go on for ever without
        making the history too wide: events that everybody waits for and nobody asked for."""
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
        if record.closed:
            return None
        if record.under_way == self._most_at_once or len(record.entries) == self._most_operations:
            record.closed = True
            return None
        entry = Entry(record, key, client, call, self._stamp(now), counts)
        record.entries.append(entry)
        record.under_way += counts
        return entry

    def returned(self, now: int, entry: Entry, result: Any) -> None:
        """The call of `entry` has `result` now."""
        if self._end(now, entry):
            entry.result = result

    def settled(self, now: int, entry: Entry) -> None:
        """Nobody knows whether `entry` has happened, but later than now it will not."""
        self._end(now, entry)

    def refused(self, now: int, entry: Entry) -> None:
        """`entry` has not happened and never will."""
        if self._end(now, entry):
            entry.happened = False

    def _end(self, now: int, entry: Entry) -> bool:
        record = entry.record
        if record.closed or entry.returned is not None:
            return False
        entry.returned = self._stamp(now)
        record.under_way -= entry.counts
        return True

    def _stamp(self, now: int) -> int:
        """Now, or a moment later: two things that happened one after the other have different times."""
        self._latest = max(now, self._latest + 1)
        return self._latest

    def operations(self) -> Iterator[Operation]:
        """What `check` wants."""
        for record in self._records.values():
            for entry in record.entries:
                if entry.happened:
                    yield Operation(
                        entry.key, entry.call, entry.invoked, entry.returned, entry.result, client=entry.client
                    )


@define(eq=False)
class _Session:
    """What is open of one client's session."""

    waiting: dict[int, tuple[Request[Any], Entry]] = Factory(dict)
    lost: list[Entry] = Factory(list)
    ends: dict[str, Entry] = Factory(dict)


class ZnodeHistory(History):
    """The history of the znodes `paths` as that of Registers (linearizability.py). No znode may ever be below them, and
    they must be changed by recorded clients alone; their ephemerals go when their sessions end, which is an operation
    that everybody may see and nobody waits for."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__()
        self._paths = frozenset(paths)
        self._sessions: dict[int, _Session] = {}

    def asked(self, now: int, client: int, session: int, *, xid: int, request: Request[Any]) -> None:
        """A client asks for a write, or for a read that must be linearizable."""
        mine = self._sessions.get(client)
        if mine is None:
            mine = self._sessions[client] = _Session()
        path = getattr(request, "path", None)
        if path not in self._paths or getattr(request, "mode", 0) == CreateMode.PERSISTENT_SEQUENTIAL:
            return  # a sequential one creates another znode than it names
        call = _call_of(request, session)
        if isinstance(call, model.Create) and call.owner is not None and path not in mine.ends:
            end = self.invoke(now, client, path, model.End(session), counts=False)
            if end is not None:
                mine.ends[path] = end
        entry = self.invoke(now, client, path, call)
        if entry is not None:
            mine.waiting[xid] = request, entry

    def answered(self, now: int, client: int, *, xid: int, result: object, error: ZkcoreError | None) -> None:
        """The client has the answer to what it asked as `xid`."""
        mine = self._sessions.get(client)
        if mine is None:
            return
        request, entry = mine.waiting.pop(xid, (None, None))
        if request is None or entry is None:
            return
        told = _result_of(request, result, error)
        if told is not UNKNOWN:
            self.returned(now, entry, told)
        elif error is not None and error.applied == "no":
            self.refused(now, entry)
        else:
            mine.lost.append(entry)

    def left(self, client: int) -> None:
        """The client's session is not served any more: what it waits for may happen or not."""
        mine = self._sessions.get(client)
        if mine is not None:
            mine.lost += [entry for _, entry in mine.waiting.values()]
            mine.waiting.clear()

    def attached(self, now: int, client: int) -> None:
        """The session is served again. What was under way before has happened, or never will."""
        self.left(client)
        mine = self._sessions.get(client)
        if mine is not None:
            for entry in mine.lost:
                self.settled(now, entry)
            mine.lost.clear()

    def ended(self, now: int, client: int) -> None:
        """The client is told that its session is over: nothing will come of its requests, and its ephemerals are gone,
        by now if not before."""
        self.attached(now, client)
        mine = self._sessions.pop(client, None)
        if mine is not None:
            for path, before in mine.ends.items():
                by_now = self.invoke(now, client, path, before.call, counts=False)
                if by_now is not None:
                    self.returned(now, by_now, None)


def _call_of(request: Request[Any], session: int) -> Any:
    if isinstance(request, Create):
        ephemeral = request.mode == CreateMode.EPHEMERAL
        return model.Create(request.data, session if ephemeral else None)
    if isinstance(request, SetData):
        return model.Write(request.data, None if request.version == -1 else request.version)
    if isinstance(request, Delete):
        return model.Delete(None if request.version == -1 else request.version)
    return model.Read() if isinstance(request, GetData) else model.Look()


def _result_of(request: Request[Any], result: Any, error: ZkcoreError | None) -> Any:
    """The answer as that of a Register; UNKNOWN for an error that says nothing of the znode."""
    if isinstance(error, NoNodeError) and not isinstance(request, Create):  # which lacks its parent
        return Refusal.MISSING
    if isinstance(error, NodeExistsError):
        return Refusal.EXISTS
    if isinstance(error, BadVersionError):
        return Refusal.VERSION
    if error is not None:
        return UNKNOWN
    if isinstance(request, Create):
        return result.stat.version
    if isinstance(request, SetData):
        return result.version
    if isinstance(request, Delete):
        return None
    if isinstance(request, GetData):
        assert isinstance(result, NodeData)
        return model.Held(result.data, result.stat.version)
    assert isinstance(request, Exists)
    return Refusal.MISSING if result is None else result.version
