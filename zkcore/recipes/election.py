"""The election: of all candidates one leads, the others stand by in the order of their arrival.

A candidate stands in line as the contender for a lock does, and leads for as long as it is in front. Its term is a
lease: it ends when the leader resigns or its session does, and its fencing token says to every resource which of two
leaders is the later one. That two processes *believe* to lead cannot be prevented where one of them is paused; that
both are obeyed can, and only by that token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, NoNodeError, NotLeaderError
from zkcore.recipes.changes import Changes
from zkcore.recipes.contender import Contender
from zkcore.recipes.holding import Hold, Line, OnLost
from zkcore.recipes.lease import Lease
from zkcore.recipes.waiting import FOR_EVER, Watch
from zkcore.tree.requests import Exists, GetChildren

__all__ = ["Election"]

T = TypeVar("T")

Reign: TypeAlias = Callable[..., Awaitable[T]]
"""What a leader does, from the beginning of its term to the end."""


class Election:
    """An election at `path`, a znode that is created where it is missing.

    ::

        election = zkcore.Election(zk, "/leader", identifier="host-7")
        async with election.lead() as term:
            await work(token=term.fencing_token)

    Making one does no I/O. `identifier` is what the others see of this candidate. A process that only looks who leads
    needs no identifier, and is no candidate.

    Guaranteed: of all terms whose `check` does not raise, at most one is under way at a time, as far as clocks run at
    rates that differ by less than one per cent; a later term has a higher fencing token, always.
    """

    def __init__(self, client: Client, path: str, *, identifier: str | None = None) -> None:
        self._line = Line(client, path, what="the election", identifier=identifier)
        self.path = path

    def __repr__(self) -> str:
        return f"<Election {self.path} {'leading' if self.is_leader else 'not leading'}>"

    @property
    def is_leader(self) -> bool:
        """Whether this object leads, as far as it can know. Local."""
        return self.term is not None

    @property
    def term(self) -> Lease | None:
        """The lease of the term that this object leads; None where it does not, or has lost it."""
        return self._line.lease

    def lead(self, *, timeout: float | None = None, on_lost: OnLost = OnLost.CANCEL) -> Hold:
        """A term as a context manager, which gives its Lease: entering it stands for election and waits, its end
        resigns.

        Entering raises LockTimeoutError where this candidate was not elected within `timeout` seconds (None waits for
        ever), SessionExpiredError or SessionClosedError, and BadArgumentsError for a negative timeout; it leaves no
        candidate behind. `on_lost` says what happens to the body when the term is lost.
        """
        return Hold(self._line, timeout, on_lost)

    async def run(self, reign: Reign[T], *args: object) -> T:
        """Stand for election, and once elected do `reign(*args)`; what it returns. Its end resigns. What it does needs
        the fencing token of `term`.

        It is cancelled when the term is lost, and LeaseLostError raised; who wants to lead again calls this again.
        Cancelling it cancels what is done, and leaves no candidate behind. Raises what `lead` and `reign` raise.
        """
        if not callable(reign):
            raise BadArgumentsError(f"run wants a function and then its arguments, not {reign!r}")
        async with self.lead():
            return await reign(*args)

    async def resign(self) -> None:
        """End the term that this object leads, in favour of the next candidate. Raises NotLeaderError where it leads
        none, or has lost it. Cancelling it does not stop it."""
        term = self._line.any_lease
        if term is None:
            raise NotLeaderError(f"nobody leads {self.path} by this object; enter `lead()` first, and resign once")
        lost = term.is_lost()
        await term.release()
        if lost:
            raise NotLeaderError(f"the term at {self.path} was lost with the session, before it was resigned")

    async def leader(self) -> Contender | None:
        """Who leads, None for nobody: as of the replica that serves this client, and a moment ago."""
        return next(iter(await self._line.contenders()), None)

    async def candidates(self) -> tuple[Contender, ...]:
        """The leader, and behind it who stands by, in the order in which they would follow."""
        return await self._line.contenders()

    def observe(self) -> Changes[Contender | None]:
        """An iterator over who leads: first who does now, then everyone who comes to, and None while nobody does. Of
        leaders that followed each other quickly only the last may be seen."""
        return Changes(self._line.client.port, self._look)

    async def _look(self, watch: Watch) -> Contender | None:
        """Who leads, watched: only the leader's end, or where there is none the first candidate's coming."""
        while True:
            watch.end()
            leader = await self.leader()
            if leader is not None:
                if await watch.ask(Exists(leader.path, watch=True), FOR_EVER) is not None:
                    return leader
                continue
            try:
                await watch.ask(GetChildren(self.path, watch=True), FOR_EVER)
            except NoNodeError:
                if await watch.ask(Exists(self.path, watch=True), FOR_EVER) is not None:
                    continue
            if await self.leader() is None:
                return None
