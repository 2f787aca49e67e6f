"""Standing in line: what everything has in common of which one may hold at a time.

Every attempt creates one ephemeral sequential znode below the path of the line; the lowest has its turn, and every
other waits for the one just before it, so that an end wakes one contender and not all. The end of a session deletes
its contenders, so nobody waits for the dead.

The name of a contender begins with a number of its own, drawn by chance: where the answer to its creation is lost, the
contender finds itself by it, and no orphan is left to hold what nobody knows to have (kazoo #732).

This module must not know what the line is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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

__all__ = ["Attempt", "Contender", "contenders", "made_at", "remove", "remove_made", "sequence"]


@frozen
class Contender:
    """One who stands in line, as everybody sees it."""

    path: str
    """Its znode."""
    identifier: str
    """What it said of itself."""
    fencing_token: Zxid
    """The zxid at which its znode was created: what its lease has, once it is its turn."""


def sequence(name: str, mark: str) -> int | None:
    """Where a contender stands in line; None for a child that is no contender. The digits alone decide: what stands
    before them is chance."""
    nonce, found, digits = name.rpartition(mark)
    return int(digits) if nonce and found and digits.isascii() and digits.isdigit() else None


async def contenders(port: Port, line: str, mark: str) -> tuple[Contender, ...]:
    """All who stand in line, the first of them in front."""
    found: list[tuple[int, Contender]] = []
    after: str | None = ""
    while after is not None:
        try:
            page = await ask(port, ListChildren(line, after=after, with_stat=True, with_data=True), FOR_EVER)
        except NoNodeError:
            break
        for name, stat, data in page.children:
            place = sequence(name, mark)
            if place is not None and stat is not None:
                identifier = (data or b"").decode(errors="replace")
                found.append((place, Contender(f"{line}/{name}", identifier, stat.czxid)))
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


class Attempt:
    """One attempt to have one's turn, known by its `nonce`: `enter`, `wait_for_turn`, and in the end `leave`.

    Every method takes the port to work with: who cleans up has another than who began. With `conditions` the contender
    is created in one transaction with them, and the line is not.
    """

    def __init__(
        self, line: str, mark: str, nonce: str, data: bytes, *, conditions: Sequence[Request[Any]] = ()
    ) -> None:
        self._line = line
        self._mark = mark
        self._prefix = nonce + mark
        kind = Create if conditions else CreateWithParents
        create = kind(f"{line}/{self._prefix}", data, acl=DEFAULT_ACL, mode=CreateMode.EPHEMERAL_SEQUENTIAL)
        self._request: Request[Any] = Multi([*conditions, create]) if conditions else create
        self._name = ""
        self.token: Zxid = 0
        """The zxid of its creation."""

    @property
    def path(self) -> str:
        """The contender, once it has entered."""
        return f"{self._line}/{self._name}"

    async def enter(self, port: Port, patience: Patience) -> None:
        """Create the contender, and the line where it is missing. Raises MultiError where a condition does not hold,
        and it was not created. When it raises anything else, it may have been."""
        perhaps_created = False
        while True:
            try:
                # Once attached again everything that will ever be applied is, so looking is conclusive.
                if perhaps_created and await self.find(port, patience):
                    return
                perhaps_created = True
                answer = await port.request(self._request, timeout=patience.left)
                created: Created = answer if isinstance(answer, Created) else answer[-1]
                self._name, self.token = created.path.rpartition("/")[2], created.stat.czxid
                return
            except OutcomeUnknownError:
                if patience.is_over:
                    raise
            except ThrottledError:
                if patience.is_over:
                    raise
                await pause(port)

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
        """Until there is nobody before us; False where patience ran out first. Only the predecessor is watched: its end
        is what may make it our turn."""
        watch = Watch(port)
        try:
            while True:
                before = await self._predecessor(port, patience)
                if before is None:
                    return True
                if patience.is_over:
                    return False
                if await watch.ask(Exists(f"{self._line}/{before}", watch=True), patience) is None:
                    watch.end()
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
        before = [(place, name) for name in names if (place := sequence(name, self._mark)) is not None and place < mine]
        return max(before)[1] if before else None

    async def leave(self, port: Port) -> None:
        """Remove the contender, if it came to be. Ends when it is gone, or with the session."""
        try:
            if self._name or await self.find(port, FOR_EVER):
                await remove(port, self.path)
        except SessionError:
            pass  # the end of the session deletes it
