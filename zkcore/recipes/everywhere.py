"""Everywhere: a named action is run by every member of a group, once, and whoever asked for it is told what came of it.

Below the path there are two folders.

- `members`: those who serve, as ephemeral znodes (`membership.py`) whose data names the actions that they know.
- `runs`: a znode for each execution that is kept. Its data begins with a line that says what is to be run and by whom:
  the members of the moment, each with the token that it has only as long as it stays; the argument follows. Below it
  each of them writes `begun-` and its name before it calls the action, and `done-` and its name with what came of it
  afterwards.

What a member writes is one transaction with the condition that it still is the member it was. So of a member that is
gone it can be told for good whether it had begun; and who comes back under the same name is another member, which was
not asked. Nobody is counted as done before its result is in the tree.

This module must not know what the actions do.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import field, frozen

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    ItemTooLargeError,
    MultiError,
    NoMembersError,
    NoNodeError,
    NotMemberError,
    OutcomeUnknownError,
    SessionError,
    UnknownActionError,
)
from zkcore.recipes.changes import Changes
from zkcore.recipes.codec import Codec, bytes_codec, from_bytes, to_bytes
from zkcore.recipes.contender import made_at
from zkcore.recipes.lease import Lease
from zkcore.recipes.membership import Member, Membership
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask, ask_once, nonce
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import (
    Create,
    CreateIfAbsent,
    CreateWithParents,
    DeleteTree,
    GetChildren,
    GetData,
    ListChildren,
    Multi,
)
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid, format_zxid

__all__ = ["Call", "Everywhere", "Execution", "Outcome", "OutcomeState", "Report"]

T = TypeVar("T")

_RUN, _BEGUN, _DONE = "run-", "begun-", "done-"
_OK, _FAILED = b"ok\n", b"failed\n"

_MOST_BYTES = MAX_DATA - 4096
"""Of an argument with the names of who is asked, and of a result."""

_TRACEBACK = 16384
"""So many characters of a traceback are kept, the last ones."""


@frozen
class Call(Generic[T]):
    """What a member is to do, as its handler gets it."""

    action: str
    argument: T
    token: Zxid
    """The transaction that began the execution: of two the later has the higher one, on all members alike. Hand it to
    what refuses those of the past."""
    lease: Lease
    """How long this is a member; when it is lost, nobody waits for the result any more."""


Handler: TypeAlias = Callable[[Call[Any]], Awaitable[Any]]
"""What does an action; what it returns is the result."""


class OutcomeState(StrEnum):
    """How far one member has come with an execution."""

    WAITING = "waiting"
    """It has not begun."""
    RUNNING = "running"
    """It has begun, and written no result yet."""
    DONE = "done"
    FAILED = "failed"
    """The handler raised, or there was none of that name."""
    LOST = "lost"
    """It ceased to be a member after it had begun: it may have done all of it, or a part."""
    GONE = "gone"
    """It ceased to be a member before it had begun: it did nothing, and never will."""


_OVER = frozenset({OutcomeState.DONE, OutcomeState.FAILED, OutcomeState.LOST, OutcomeState.GONE})


@frozen
class Outcome(Generic[T]):
    """What came of an execution on one member."""

    state: OutcomeState
    traceback: str = ""
    """Of what the handler raised, where it FAILED."""
    data: bytes | None = None
    """The result as bytes, where it is DONE."""
    _codec: Codec[T] | None = field(default=None, repr=False, eq=False)

    @property
    def result(self) -> T | None:
        """What the handler returned; None where it is not DONE. Raises CodecError."""
        if self.data is None or self._codec is None:
            return None
        return from_bytes(self._codec, self.data, where="a result")


@frozen
class Report(Generic[T]):
    """How far an execution has come. A value."""

    outcomes: Mapping[str, Outcome[T]]
    """Of every member that was asked, by name."""
    joined: frozenset[str]
    """Who came after it began, and was not asked."""

    @property
    def is_complete(self) -> bool:
        """Whether nobody is waited for any more: everyone is done, has failed, or is gone."""
        return all(outcome.state in _OVER for outcome in self.outcomes.values())

    @property
    def is_done(self) -> bool:
        """Whether everyone who was asked has done it, and nobody came meanwhile who was not."""
        return not self.joined and all(each.state is OutcomeState.DONE for each in self.outcomes.values())

    @property
    def results(self) -> dict[str, T | None]:
        """What the handlers returned, by the names of the members that are DONE. Raises CodecError."""
        return {name: each.result for name, each in self.outcomes.items() if each.state is OutcomeState.DONE}


class Everywhere(Generic[T]):
    """Actions that all members of a group at `path` run; what is above is created where it is missing.

    ::

        async def reload(call: zkcore.Call) -> object:
            return await load(call.argument, token=call.token)

        everywhere = zkcore.Everywhere(zk, "/fleet", name="host-7", actions={"reload": reload}, codec=zkcore.json_codec)
        serving = asyncio.create_task(everywhere.serve())                  # a member as long as it serves
        report = await everywhere.run("reload", {"version": 2}, timeout=10)
        for name, outcome in report.outcomes.items():
            print(name, outcome.state, outcome.result, outcome.traceback)

    Making one does no I/O. `name` is the member's, of which there is one at a time; without one it gets a name of
    chance. `actions` are what it can run; who only asks needs neither. `codec` turns arguments and results into bytes.
    Of the executions the last `history` are kept.

    Guaranteed: every member that was there when an execution began calls its handler at most once, and exactly once
    unless it ceases to be a member before; members run several executions one after the other, all in the same order.
    An execution is complete when the result of every member that was asked is in the tree, or the member is gone.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        name: str | None = None,
        actions: Mapping[str, Handler] | None = None,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
        history: int = 100,
    ) -> None:
        if not 1 <= history <= 10_000:
            raise BadArgumentsError(f"a history of {history} executions; keep between 1 and 10000")
        self._actions = dict(actions or {})
        for action, handler in self._actions.items():
            if not isinstance(action, str) or not action or not callable(handler):
                raise BadArgumentsError(f"the action {action!r}: {handler!r}; give names and functions to call")
        data = json.dumps(sorted(self._actions)).encode()
        self._group = Membership(client, f"{path}/members", name=name, data=data)
        self.path = path
        self._client = client
        self._codec = codec
        self._history = history
        self._watch: Watch | None = None  # of who serves
        self._is_stopping = False

    def __repr__(self) -> str:
        return f"<Everywhere {self.path} {'serving' if self._group.is_member else 'not serving'}>"

    # --- asking

    async def start(
        self, action: str, argument: T, *, where: Callable[[str], object] | None = None
    ) -> Execution[T]:
        """Have `action` run by every member, or by those of whose names `where` is true. Does not wait for them.

        Raises NoMembersError where there is nobody, UnknownActionError where one of them does not know the action (then
        nobody runs it), CodecError, ItemTooLargeError, OutcomeUnknownError, and SessionExpiredError or
        SessionClosedError. Where it is cancelled, it may have begun: `executions` tells.
        """
        port = self._client.port
        payload = to_bytes(self._codec, argument, where=self.path)
        members = await self._group.members()
        asked = sorted((each for each in members if where is None or where(each.name)), key=lambda each: each.name)
        if not asked:
            raise NoMembersError(
                f"{self.path} has {len(members)} members, and none of them is to run {action!r}; have one `serve`, or "
                "look at what `where` lets through"
            )
        if ignorant := [each.name for each in asked if action not in _known_by(each)]:
            raise UnknownActionError(
                f"{action!r} is not among the actions of {', '.join(ignorant[:5])}, so nobody runs it; register it "
                f"there, or leave them out with `where`"
            )
        header = {
            "action": action,
            "members": {each.name: each.fencing_token for each in asked},
            "seen": max(each.fencing_token for each in members),
        }
        data = json.dumps(header).encode() + b"\n" + payload
        if len(data) > _MOST_BYTES:
            raise ItemTooLargeError(
                f"{self.path}: an argument of {len(payload)} bytes for {len(asked)} members is more than fits into one "
                "request; store it elsewhere and give its address"
            )
        create = CreateWithParents(
            f"{self.path}/runs/{_RUN}", data, acl=DEFAULT_ACL, mode=CreateMode.PERSISTENT_SEQUENTIAL
        )
        created: Any = await ask_once(port, create, FOR_EVER)
        await self._drop(port)
        return Execution(self._client, self.path, created.path, created.stat.czxid, header, self._codec)

    async def run(
        self,
        action: str,
        argument: T,
        *,
        where: Callable[[str], object] | None = None,
        timeout: float | None = None,
    ) -> Report[T]:
        """`start` and wait until it is complete; what came of it. After `timeout` seconds it is what has come of it by
        then, and members go on. Raises what `start` and `Execution.wait` do."""
        patience = Patience(self._client.port, timeout)
        execution = await self.start(action, argument, where=where)
        return await execution.wait(timeout=patience.left_to_wait)

    async def executions(self) -> tuple[Execution[T], ...]:
        """Those that are kept, the oldest first, whoever began them."""
        found = []
        for name, zxid, header, _ in await self._runs(self._client.port, ""):
            found.append(Execution(self._client, self.path, f"{self.path}/runs/{name}", zxid, header, self._codec))
        return tuple(found)

    async def members(self) -> dict[str, tuple[str, ...]]:
        """Who serves, and which actions each of them knows: as of the replica that serves this client, and a moment
        ago."""
        return {each.name: _known_by(each) for each in await self._group.members()}

    # --- serving

    async def serve(self) -> None:
        """Be a member, and run what is asked for, until `stop` or until it is cancelled. Handlers are called one after
        the other; what one raises is recorded for who asked, and concerns nobody else.

        Raises NodeExistsError where there is a member of that name, LeaseLostError where the session is lost (what runs
        then is cancelled), NotMemberError where somebody deleted the member, and SessionExpiredError or
        SessionClosedError. To be a member again, call it again.
        """
        port = self._client.port
        async with self._group as lease:
            watch = self._watch = Watch(port)
            after = ""
            try:
                await ask(port, CreateIfAbsent(f"{self.path}/runs", acl=DEFAULT_ACL), FOR_EVER)
                while not self._is_stopping:
                    await watch.ask(GetChildren(f"{self.path}/runs", watch=True), FOR_EVER)
                    for run, zxid, header, payload in await self._runs(port, after):
                        after = run
                        if not self._is_stopping and _is_asked(header, lease):
                            await self._carry_out(port, lease, f"{self.path}/runs/{run}", zxid, header, payload)
                    if not self._is_stopping:
                        await watch.changed(FOR_EVER)
                        lease.check()
            finally:
                watch.end()
                self._watch, self._is_stopping = None, False

    def stop(self) -> None:
        """Have `serve` return when the handler that runs has ended: this is a member no more. May be called from any
        thread; without effect where nobody serves."""
        if self._watch is not None:
            self._is_stopping = True
            self._watch.wake()

    # --- within

    async def _runs(self, port: Port, after: str) -> list[tuple[str, Zxid, dict[str, Any], bytes]]:
        """The executions behind the one of that name."""
        found = []
        page_after: str | None = after
        while page_after is not None:
            listing = ListChildren(
                f"{self.path}/runs", after=page_after, prefix=_RUN, with_stat=True, with_data=True
            )
            try:
                page = await ask(port, listing, FOR_EVER)
            except NoNodeError:
                break
            for name, stat, data in page.children:
                head, _, payload = (data or b"").partition(b"\n")
                if stat is not None and (header := _header(head)):
                    found.append((name, stat.czxid, header, payload))
            page_after = page.after
        return found

    async def _carry_out(
        self, port: Port, lease: Lease, path: str, zxid: Zxid, header: dict[str, Any], payload: bytes
    ) -> None:
        """Call the handler and write down what came of it, unless this was begun before."""
        name = lease.path.rpartition("/")[2]
        if await self._begin(port, lease, f"{path}/{_BEGUN}{name}"):
            data = await self._call(header["action"], payload, zxid, lease)
            create = Create(f"{path}/{_DONE}{name}", data, acl=DEFAULT_ACL)
            try:
                await ask(port, Multi([made_at(lease.path, lease.fencing_token), create]), FOR_EVER)
            except MultiError:
                pass  # it was written before; or the execution is kept no longer, and nobody asks

    async def _begin(self, port: Port, lease: Lease, path: str) -> bool:
        """Whether this is the call that may be made. Where the answer was lost it is found by what was written."""
        lease.check()
        mine = nonce(port).encode()
        begin = Multi([made_at(lease.path, lease.fencing_token), Create(path, mine, acl=DEFAULT_ACL)])
        try:
            await ask(port, begin, FOR_EVER)
            return True
        except MultiError as error:
            if error.index == 0:
                raise NotMemberError(f"{lease.path} is gone: somebody deleted it; serve again") from None
        try:
            data, _ = await ask(port, GetData(path), FOR_EVER)
        except NoNodeError:
            return False  # the execution is kept no longer
        return data == mine

    async def _call(self, action: str, payload: bytes, zxid: Zxid, lease: Lease) -> bytes:
        try:
            handler = self._actions.get(action)
            if handler is None:
                raise UnknownActionError(f"{action!r} is not among the actions of this member; register it")
            argument = from_bytes(self._codec, payload, where=self.path)
            data = to_bytes(self._codec, await handler(Call(action, argument, zxid, lease)), where=self.path)
            if len(data) > _MOST_BYTES:
                raise ItemTooLargeError(
                    f"a result of {len(data)} bytes is more than fits into one request; store it elsewhere and return "
                    "its address"
                )
            return _OK + data
        except Exception as error:
            return _FAILED + "".join(traceback.format_exception(error))[-_TRACEBACK:].encode(errors="replace")

    async def _drop(self, port: Port) -> None:
        """Delete what is beyond the history, the oldest first. What goes wrong is left to the next who begins one."""
        try:
            names = await ask(port, GetChildren(f"{self.path}/runs"), FOR_EVER)
            for name in sorted(names)[: max(len(names) - self._history, 0)]:
                await ask(port, DeleteTree(f"{self.path}/runs/{name}", 100_000), FOR_EVER)
        except (NoNodeError, OutcomeUnknownError, SessionError):
            pass


class Execution(Generic[T]):
    """One execution of an action, made by `Everywhere.start`."""

    def __init__(
        self, client: Client, group: str, path: str, zxid: Zxid, header: dict[str, Any], codec: Codec[T]
    ) -> None:
        self._client = client
        self._group = group
        self._codec = codec
        self._members: dict[str, Zxid] = header["members"]
        self._seen: Zxid = header["seen"]
        self.path = path
        """Its znode, below which the members write."""
        self.zxid = zxid
        """The transaction that began it: the `token` of its calls."""
        self.action: str = header["action"]

    def __repr__(self) -> str:
        return f"<Execution of {self.action} by {len(self._members)} members at {format_zxid(self.zxid)}>"

    async def report(self) -> Report[T]:
        """How far it has come. Raises NoNodeError where it is kept no longer."""
        return await self.wait(timeout=0)

    async def wait(self, *, timeout: float | None = None) -> Report[T]:
        """Wait until it is complete, at most `timeout` seconds; how far it has come then. Raises NoNodeError where it
        is kept no longer, OutcomeUnknownError where nobody answers in time (the execution goes on), and
        SessionExpiredError or SessionClosedError."""
        port = self._client.port
        patience = Patience(port, timeout)
        watch = Watch(port)
        try:
            while True:
                states, joined = await self._look(watch, patience)
                if _is_over(states) or not await watch.changed(patience):
                    return await self._report(states, joined, patience)
        finally:
            watch.end()

    def changes(self) -> Changes[Report[T]]:
        """An iterator over how far it has come: first how far it has now, then whenever somebody has begun, is done, or
        came or went. It does not end by itself: look at `Report.is_complete`. Raises what `wait` does."""
        return Changes(self._client.port, self._look_at_all)

    # --- within

    async def _look_at_all(self, watch: Watch) -> Report[T]:
        states, joined = await self._look(watch, FOR_EVER)
        return await self._report(states, joined, FOR_EVER)

    async def _look(self, watch: Watch, patience: Patience) -> tuple[dict[str, OutcomeState], frozenset[str]]:
        """Everybody's state, and who has joined. Who is there is read first: what those who are gone have written is
        there by then, all of it."""
        present = await self._present(watch, patience)
        try:
            written = set(await watch.ask(GetChildren(self.path, watch=True), patience))
        except NoNodeError:
            raise NoNodeError(
                f"{self.path} is kept no longer: so many executions were begun since; keep a longer history",
                path=self.path,
            ) from None
        states = {}
        for name, token in self._members.items():
            has_begun = f"{_BEGUN}{name}" in written
            if f"{_DONE}{name}" in written:
                states[name] = OutcomeState.DONE
            elif present.get(name) == token:
                states[name] = OutcomeState.RUNNING if has_begun else OutcomeState.WAITING
            else:
                states[name] = OutcomeState.LOST if has_begun else OutcomeState.GONE
        return states, frozenset(name for name, token in present.items() if token > self._seen)

    async def _present(self, watch: Watch, patience: Patience) -> dict[str, Zxid]:
        path = f"{self._group}/members"
        await watch.ask(GetChildren(path, watch=True), patience)
        present: dict[str, Zxid] = {}
        after: str | None = ""
        while after is not None:
            page = await ask(self._client.port, ListChildren(path, after=after, with_stat=True), patience)
            present |= {name: stat.czxid for name, stat, _ in page.children if stat is not None}
            after = page.after
        return present

    async def _report(
        self, states: Mapping[str, OutcomeState], joined: frozenset[str], patience: Patience
    ) -> Report[T]:
        outcomes: dict[str, Outcome[T]] = {name: Outcome(state) for name, state in states.items()}
        after: str | None = ""
        while after is not None:
            listing = ListChildren(self.path, after=after, prefix=_DONE, with_data=True)
            page = await ask(self._client.port, listing, patience)
            for child, _, data in page.children:
                name = child.removeprefix(_DONE)
                if states.get(name) is OutcomeState.DONE:
                    outcomes[name] = self._outcome(data or b"")
            after = page.after
        return Report(outcomes, joined)

    def _outcome(self, data: bytes) -> Outcome[T]:
        if data.startswith(_OK):
            return Outcome(OutcomeState.DONE, data=data[len(_OK) :], codec=self._codec)
        return Outcome(OutcomeState.FAILED, data.removeprefix(_FAILED).decode(errors="replace"))


def _is_over(states: Mapping[str, OutcomeState]) -> bool:
    return all(state in _OVER for state in states.values())


def _known_by(member: Member) -> tuple[str, ...]:
    try:
        return tuple(json.loads(member.data))
    except (ValueError, TypeError):
        return ()


def _header(line: bytes) -> dict[str, Any] | None:
    """What the first line of an execution says; None where it is none."""
    try:
        header = json.loads(line)
        return header if isinstance(header["members"], dict) and header["action"] and header["seen"] else None
    except (ValueError, TypeError, KeyError):
        return None


def _is_asked(header: dict[str, Any], lease: Lease) -> bool:
    return bool(header["members"].get(lease.path.rpartition("/")[2]) == lease.fencing_token)
