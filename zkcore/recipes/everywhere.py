"""Everywhere: a named action is run by every member of a group, once, and whoever asked for it is told what came of it.

Below the path there are two folders.

- `members`: those who serve, as ephemeral znodes (`membership.py`) whose data names the actions that they know.
- `runs`: a znode for each execution that is kept. Its data begins with a line that says what is to be run and by whom:
  the members of the moment, each with the token that it has only as long as it stays; the argument follows. Below it
  each of them writes that it has begun, before it calls the action, and what came of it (`execution.py`).

What a member writes is one transaction with the condition that it still is the member it was. So of a member that is
gone it can be told for good whether it had begun; and who comes back under the same name is another member, which was
not asked. Nobody is counted as done before its result is in the tree.

This module must not know what the actions do.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import frozen

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
from zkcore.recipes.codec import Codec, bytes_codec, from_bytes, to_bytes
from zkcore.recipes.contender import made_at
from zkcore.recipes.execution import BEGUN, DONE, FAILED, OK, Execution, Report
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
from zkcore.zxid import Zxid

__all__ = ["Call", "Everywhere", "Handler"]

T = TypeVar("T")

_RUN = "run-"

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
        if await self._begin(port, lease, f"{path}/{BEGUN}{name}"):
            data = await self._call(header["action"], payload, zxid, lease)
            create = Create(f"{path}/{DONE}{name}", data, acl=DEFAULT_ACL)
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
            return OK + data
        except Exception as error:
            return FAILED + "".join(traceback.format_exception(error))[-_TRACEBACK:].encode(errors="replace")

    async def _drop(self, port: Port) -> None:
        """Delete what is beyond the history, the oldest first. What goes wrong is left to the next who begins one."""
        try:
            names = await ask(port, GetChildren(f"{self.path}/runs"), FOR_EVER)
            for name in sorted(names)[: max(len(names) - self._history, 0)]:
                await ask(port, DeleteTree(f"{self.path}/runs/{name}", 100_000), FOR_EVER)
        except (NoNodeError, OutcomeUnknownError, SessionError):
            pass


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
