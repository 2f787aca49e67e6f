"""Several locks at once: all of them or none.

It stands in all the lines at once: one transaction creates its contenders. So of two that want some of the same paths
one is before the other in every line they share; nobody waits for one that came later, and nobody can wait in a circle.
It holds when it is in front everywhere, and leaves in one transaction, too.

The lines are those of the `Lock`s at these paths: one may hold a single path while another waits for several.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import BadArgumentsError, MultiError, NodeExistsError, NoNodeError, SessionError
from zkcore.recipes.contender import Attempt, Contender, contenders, create_or_find
from zkcore.recipes.holding import Holdable, Line
from zkcore.recipes.waiting import FOR_EVER, Patience, ask
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.requests import CreateWithParents, DeleteIfPresent, Multi
from zkcore.zxid import Zxid

__all__ = ["MultiLock"]

MAX_PATHS = 1000
"""All are entered in one transaction, which cannot be of any size."""


class _Joint:
    """One attempt to have one's turn in several lines; a Turn. Its path is that of its contender in the first of
    them: the others come and go with it."""

    def __init__(self, attempts: list[Attempt], paths: tuple[str, ...]) -> None:
        self._attempts = attempts
        self._paths = paths

    @property
    def path(self) -> str:
        return self._attempts[0].path

    @property
    def token(self) -> Zxid:
        return self._attempts[0].token

    async def take(self, port: Port, patience: Patience) -> bool:
        """See Turn. Who is in front of one line stays there, so the lines are waited for one after the other."""
        await self._enter(port, patience)
        for attempt in self._attempts:
            if not await attempt.wait_for_turn(port, patience):
                return False
        return True

    async def leave(self, port: Port) -> None:
        """See Turn."""
        try:
            paths = [attempt.path for attempt in self._attempts if await attempt.is_there(port)]
            if paths:
                await ask(port, Multi(map(DeleteIfPresent, paths)), FOR_EVER)
        except SessionError:
            pass  # the end of the session deletes them

    async def _enter(self, port: Port, patience: Patience) -> None:
        enter: Multi = Multi(attempt.request for attempt in self._attempts)
        while True:
            try:
                answers: Any = await create_or_find(port, enter, patience, self._find)
            except MultiError as error:
                if not isinstance(error.error, NoNodeError):
                    raise error.error from None
                await self._make_lines(port, patience)
                continue
            for attempt, created in zip(self._attempts, answers or (), strict=answers is not None):
                attempt.entered(created)
            return

    async def _find(self, port: Port, patience: Patience) -> bool:
        """One transaction created them: where one is, all were created."""
        return any([await attempt.find(port, patience) for attempt in self._attempts])

    async def _make_lines(self, port: Port, patience: Patience) -> None:
        for path in self._paths:
            try:
                await ask(port, CreateWithParents(path, acl=DEFAULT_ACL), patience)
            except NodeExistsError:
                pass


class _Lines(Line):
    """The lines at several paths, entered together."""

    def __init__(self, client: Client, paths: tuple[str, ...], *, identifier: str | None) -> None:
        super().__init__(client, paths[0], what="the lock", identifier=identifier)
        self.what = f"one of the {len(paths)} locks"
        self.paths = paths

    def turn(self, name: str) -> _Joint:
        """See Line."""
        return _Joint([Attempt(path, self._mark, name, self._identifier) for path in self.paths], self.paths)


class MultiLock(Holdable):
    """The locks at all `paths`, held together or not at all. The znodes are created where they are missing.

    ::

        async with zkcore.MultiLock(zk, ["/accounts/ada", "/accounts/bob"]) as lease:
            await transfer(token=lease.fencing_token)

    It is used as a `Lock`, and excludes every Lock and MultiLock of one of the paths. Making one does no I/O. Several
    tasks may use one. The order in which the paths are given means nothing: whoever came first goes first, in each
    line, so that no two wait for each other. While it waits it stands in all lines, and holds up those who came later.

    Guaranteed for every single path: what `Lock` guarantees. The lease has one fencing token, which is good for each of
    them: higher than that of everybody who held that path before, lower than that of everybody who will.
    """

    def __init__(self, client: Client, paths: Iterable[str], *, identifier: str | None = None) -> None:
        if isinstance(paths, str):
            raise BadArgumentsError(f"the paths of a MultiLock are several, so give a list of them, not {paths!r}")
        self.paths = tuple(paths)
        if not 1 <= len(self.paths) <= MAX_PATHS:
            raise BadArgumentsError(f"a lock of {len(self.paths)} paths; it is for 1 to {MAX_PATHS}")
        for path in self.paths:
            validate(path)
        if len(set(self.paths)) < len(self.paths) or "/" in self.paths:
            raise BadArgumentsError(
                "the paths of a MultiLock differ from each other, and from the root; give each once"
            )
        self._line = _Lines(client, self.paths, identifier=identifier)

    def __repr__(self) -> str:
        return f"<MultiLock {' '.join(self.paths)} {'held' if self.held else 'not held'}>"

    async def holders(self) -> dict[str, Contender | None]:
        """By path who is in front of its line, None for nobody: as of the replica that serves this client, and each a
        moment ago. Of those who wait for several paths one may be in front of some of them."""
        port, mark = self._line.client.port, "-lock-"
        return {path: next(iter(await contenders(port, path, mark)), None) for path in self.paths}
