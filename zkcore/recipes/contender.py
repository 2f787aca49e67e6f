"""Standing in line: what everything has in common of which one may hold at a time.

Every attempt creates one ephemeral sequential znode below the path of the line; the lowest has its turn, and every
other waits for the one just before it, so that an end wakes one contender and not all. The end of a session deletes
its contenders, so nobody waits for the dead.

The name of a contender begins with a number of its own, drawn by chance: where the answer to its creation is lost, the
contender finds itself by it, and no orphan is left to hold what nobody knows to have (kazoo #732).

This module must not know what the line is for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from attrs import frozen

from zkcore.client.port import Port
from zkcore.errors import (
    MultiError,
    NoNodeError,
    OutcomeUnknownError,
    SessionError,
    SessionExpiredError,
    ThrottledError,
)
from zkcore.jute.records import Stat
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask, pause
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.requests import (
    CheckStat,
    Condition,
    Create,
    Created,
    CreateWithParents,
    Delete,
    Exists,
    GetChildren,
    ListChildren,
    Multi,
    Relation,
    Request,
    StatField,
)
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Attempt", "Contender", "contenders", "create_or_find", "made_at", "remove", "remove_made", "sequence"]

T = TypeVar("T")


@frozen
class Contender:
    """One who stands in line, as everybody sees it."""

    path: str
    """Its znode."""
    identifier: str
    """What it said of itself."""
    fencing_token: Zxid
    """The zxid at which its znode was created: what its lease has, once it is its turn."""
    shared: bool = False
    """Whether it holds, or is to hold, together with others of its kind, as readers do."""


def _never(name: str, stat: Stat) -> bool:
    return False


def sequence(name: str, mark: str) -> int | None:
    """Where a contender stands in line; None for a child that is no contender. The digits alone decide: what stands
    before them is chance."""
    nonce, found, digits = name.rpartition(mark)
    return int(digits) if nonce and found and digits.isascii() and digits.isdigit() else None


def _place(name: str, marks: Sequence[str]) -> int | None:
    return next((place for mark in marks if (place := sequence(name, mark)) is not None), None)


async def contenders(
    port: Port, line: str, *marks: str, shared: Callable[[str, Stat], bool] = _never
) -> tuple[Contender, ...]:
    """All who stand in line, the first of them in front. `shared` says of a name and its Stat what Contender does."""
    found: list[tuple[int, Contender]] = []
    after: str | None = ""
    while after is not None:
        try:
            page = await ask(port, ListChildren(line, after=after, with_stat=True, with_data=True), FOR_EVER)
        except NoNodeError:
            break
        for name, stat, data in page.children:
            place = _place(name, marks)
            if place is not None and stat is not None:
                identifier = (data or b"").decode(errors="replace")
                found.append((place, Contender(f"{line}/{name}", identifier, stat.czxid, shared(name, stat))))
        after = page.after
    return tuple(contender for _, contender in sorted(found, key=lambda pair: pair[0]))


async def remove(port: Port, path: str) -> None:
    """Delete a znode of one's own whose name is never used again. Ends when it is gone, or with the session."""
    try:
        await ask(port, Delete(path), FOR_EVER)
    except (NoNodeError, SessionError):
        pass  # the end of the session has deleted it


def made_at(path: str, czxid: Zxid) -> CheckStat:
    """That the znode is the one that was created then, and no later one of the same name; of use inside a Multi."""
    return CheckStat(path, [Condition(StatField.CZXID, Relation.EQUAL, czxid)])


async def remove_made(port: Port, path: str, czxid: Zxid) -> None:
    """As `remove`, for a name that somebody may use again: only the znode that was created then is deleted."""
    try:
        await ask(port, Multi([made_at(path, czxid), Delete(path)]), FOR_EVER)
    except (MultiError, SessionError):
        pass  # it is gone


async def create_or_find(
    port: Port, request: Request[T], patience: Patience, find: Callable[[Port, Patience], Awaitable[bool]]
) -> T | None:
    """The answer to a request that creates what one can find again; None where an answer was lost, and `find` has found
    it. When it raises OutcomeUnknownError or is interrupted, it may have been created; else it was not."""
    perhaps_created = False
    while True:
        try:
            # Once attached again everything that will ever be applied is, so looking is conclusive.
            if perhaps_created and await find(port, patience):
                return None
            perhaps_created = True
            return await port.request(request, timeout=patience.left)
        except OutcomeUnknownError:
            if patience.is_over:
                raise
        except ThrottledError:
            if patience.is_over:
                raise
            await pause(port)


class Attempt:
    """One attempt to have one's turn, known by its `nonce`: `take` it, or `enter` and `wait_for_turn`; and in the end
    `leave`.

    Every method takes the port to work with: who cleans up has another than who began. `waits_for` are the marks of
    those whom it lets go first, where they came before it; its own where none are given. `passes` says by the Stat of
    the last of them whether it is in the way no longer, and then nobody is who stands before it.
    """

    def __init__(
        self,
        line: str,
        mark: str,
        nonce: str,
        data: bytes,
        *,
        waits_for: Sequence[str] = (),
        passes: Callable[[Stat], bool] | None = None,
    ) -> None:
        self._line = line
        self._mark = mark
        self._prefix = nonce + mark
        self._data = data
        self._waits_for = waits_for or (mark,)
        self._passes = passes
        self._name = ""
        self.token: Zxid = 0
        """The zxid of its creation."""

    @property
    def path(self) -> str:
        """The contender, once it has entered."""
        return f"{self._line}/{self._name}"

    @property
    def request(self) -> Create:
        """What creates it, where the line is there."""
        return Create(
            f"{self._line}/{self._prefix}", self._data, acl=DEFAULT_ACL, mode=CreateMode.EPHEMERAL_SEQUENTIAL
        )

    def entered(self, created: Created) -> None:
        """It was created."""
        self._name, self.token = created.path.rpartition("/")[2], created.stat.czxid

    async def take(self, port: Port, patience: Patience) -> bool:
        """Enter, and wait for one's turn; False where patience ran out first."""
        await self.enter(port, patience)
        return await self.wait_for_turn(port, patience)

    async def enter(self, port: Port, patience: Patience, *, conditions: Sequence[Request[Any]] = ()) -> None:
        """Create the contender, and the line where it is missing. With `conditions` it is created in one transaction
        with them, and the line is not: MultiError where one does not hold, and it was not created. When it raises
        anything else, it may have been."""
        create = self.request
        if conditions:
            answers = await create_or_find(port, Multi([*conditions, create]), patience, self.find)
            created: Any = None if answers is None else answers[-1]
        else:
            whole = CreateWithParents(create.path, create.data, acl=create.acl, mode=create.mode)
            created = await create_or_find(port, whole, patience, self.find)
        if created is not None:
            self.entered(created)

    async def find(self, port: Port, patience: Patience) -> bool:
        """Look whether the contender is there."""
        try:
            page = await ask(port, ListChildren(self._line, prefix=self._prefix, with_stat=True), patience)
        except NoNodeError:
            return False
        for name, stat, _ in page.children:
            assert stat is not None
            self._name, self.token = name, stat.czxid
            return True
        return False

    async def wait_for_turn(self, port: Port, patience: Patience) -> bool:
        """Until there is nobody before us whom we wait for; False where patience ran out first. Only the last of them
        is watched: its end is what may make it our turn."""
        watch = Watch(port)
        try:
            while True:
                before = await self._predecessor(port, patience)
                if before is None:
                    return True
                if patience.is_over:
                    return False
                stat = await watch.ask(Exists(f"{self._line}/{before}", watch=True), patience)
                if stat is None:
                    watch.end()
                elif self._passes is not None and self._passes(stat):
                    return True
                elif not await watch.changed(patience):
                    return False
        finally:
            watch.end()

    async def _predecessor(self, port: Port, patience: Patience) -> str | None:
        try:
            names = await ask(port, GetChildren(self._line), patience)
        except NoNodeError:
            names = ()
        if self._name not in names:
            raise SessionExpiredError(f"the contender {self.path} is gone: the session ended, or it was deleted")
        mine = sequence(self._name, self._mark)
        assert mine is not None
        marks = self._waits_for
        before = [(place, name) for name in names if (place := _place(name, marks)) is not None and place < mine]
        return max(before)[1] if before else None

    async def leave(self, port: Port) -> None:
        """Remove the contender, if it came to be. Ends when it is gone, or with the session."""
        try:
            if await self.is_there(port):
                await remove(port, self.path)
        except SessionError:
            pass  # the end of the session deletes it

    async def is_there(self, port: Port) -> bool:
        """Whether it came to be; it may be gone again."""
        return bool(self._name) or await self.find(port, FOR_EVER)
