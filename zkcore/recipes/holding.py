"""Holding: what all kinds of locks and an election have in common. One stands in line, has a lease for a while, and
gives it up.

This module must not know what is held.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Protocol

from zkcore.client.client import Client
from zkcore.client.port import Port, Signal
from zkcore.errors import BadArgumentsError, LockNotHeldError, LockTimeoutError, OutcomeUnknownError
from zkcore.recipes.contender import Attempt, Contender, contenders
from zkcore.recipes.entered import Entered
from zkcore.recipes.guarded import Guarded
from zkcore.recipes.lease import Lease
from zkcore.recipes.waiting import Patience, nonce
from zkcore.tree.paths import validate
from zkcore.zxid import Zxid

__all__ = ["Hold", "Holdable", "Line", "OnLost", "Turn"]


class OnLost(StrEnum):
    """What happens to the body of a `with` whose lease is lost before its end."""

    CANCEL = "cancel"
    """It is cancelled, where it runs in a task; and the end of the `with` raises LeaseLostError, also in blocking code,
    where nothing can be cancelled. An error of the body goes before it."""
    NOTHING = "nothing"
    """The body looks after itself: by `check`, `is_lost`, or waiting for `lost`."""


class Turn(Protocol):
    """One attempt to have one's turn, which an Attempt is. It may stand in several lines, or in none."""

    @property
    def path(self) -> str:
        """The contender, once it is its turn."""

    @property
    def token(self) -> Zxid:
        """The zxid of the contender's creation."""

    async def take(self, port: Port, patience: Patience) -> bool:
        """Enter, and wait for one's turn; False where patience ran out first."""

    async def leave(self, port: Port) -> None:
        """Undo it, also the half of it that came to be. Ends when that is done, or with the session."""


class _Held(NamedTuple):
    turn: Turn
    owner: object


class Line:
    """The contenders below one path, and the leases that one object has of it. `what` names it in messages.

    With an `owner`, which says whose a call is, it is reentrant: an owner that has a lease gets another of the same
    contender at once, and the contender leaves with the last of them. Where the line is another one than that of a
    lock, `turn` is overridden.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        what: str,
        identifier: str | None,
        owner: Callable[[], object] | None = None,
    ) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError(f"{what} needs a path of its own, not the root")
        self.path = path
        self.what = what
        self.client = client
        self._mark = f"-{what.rpartition(' ')[2]}-"
        self._identifier = (identifier or "").encode()
        self._owner = owner
        self._held: dict[Lease, _Held] = {}
        self._entering: dict[object, Signal] = {}

    @property
    def leases(self) -> list[Lease]:
        """Those that have not been released, the oldest first."""
        return list(self._held)

    @property
    def lease(self) -> Lease | None:
        """The first lease that is not lost; None where there is none."""
        return next((lease for lease in self.leases if not lease.is_lost()), None)

    @property
    def any_lease(self) -> Lease | None:
        """The first lease that has not been released: one that is lost only where there is no other."""
        return min(self.leases, key=Lease.is_lost, default=None)

    @property
    def own_lease(self) -> Lease | None:
        """As `any_lease`; where the line is reentrant, the innermost of the owner that asks."""
        owner = None if self._owner is None else self._owner()
        own = [lease for lease, held in list(self._held.items()) if held.owner is owner]
        return min(reversed(own), key=Lease.is_lost, default=None)

    async def contenders(self) -> tuple[Contender, ...]:
        """All who stand in line, the first of them in front."""
        return await contenders(self.client.port, self.path, self._mark)

    def turn(self, name: str) -> Turn:
        """An attempt, known by `name`."""
        return Attempt(self.path, self._mark, name, self._identifier)

    async def acquire(self, timeout: float | None) -> Lease | None:
        """A lease, when it is our turn; None where it was not within `timeout` seconds. However else it ends, there is
        no contender, or none for long. Raises LeaseLostError where the owner has a lease, and it is lost."""
        port = self.client.port
        patience = Patience(port, timeout)
        if self._owner is None:
            return await self._acquire(patience, None)
        owner, mine = self._owner(), port.signal()
        while True:
            # Who has entered says so before it is told to have ended: nobody stands in line behind its own contender.
            entering = self._entering.setdefault(owner, mine)
            if entering is mine:
                break
            if await port.wait(entering, timeout=patience.left_to_wait) is None:
                return None
        try:
            return self._again(owner) or await self._acquire(patience, owner)
        finally:
            del self._entering[owner]
            mine.set()

    async def _acquire(self, patience: Patience, owner: object) -> Lease | None:
        port = self.client.port
        turn = self.turn(nonce(port))
        try:
            if await turn.take(port, patience):
                return self._begin(turn, owner)
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes the contender
        except OutcomeUnknownError:
            pass  # nobody answered in time
        except BaseException:
            await port.tidy_up(turn.leave)
            raise
        await port.tidy_up(turn.leave)
        return None

    def _begin(self, turn: Turn, owner: object) -> Lease:
        lease = Lease(self.client.port, turn.path, turn.token, self._release)
        self._held[lease] = _Held(turn, owner)
        return lease

    def _again(self, owner: object) -> Lease | None:
        """Another lease of the contender that `owner` has, None where it has none. Raises LeaseLostError."""
        for lease, held in list(self._held.items()):
            if held.owner is owner:
                lease.check()
                return self._begin(held.turn, owner)
        return None

    async def _release(self, lease: Lease) -> None:
        lease.end()
        held = self._held.pop(lease, None)  # None where another thread was faster
        if held is not None and not any(other.turn is held.turn for other in list(self._held.values())):
            await self.client.port.shield(held.turn.leave)

    def hand_to(self, other: Line, lease: Lease) -> None:
        """`lease`, and with it all of the same contender, are of the other line from now on."""
        held = self._held.get(lease)
        for each, place in list(self._held.items()):
            if held is not None and place.turn is held.turn:
                other._held[each] = place
                each.hand_to(other._release)
                del self._held[each]


class Hold:
    """One hold of a lock, or one term of a leader, as a context manager that gives its Lease. It is entered once.

    Entering raises LockTimeoutError where it was not our turn within the timeout. The end gives the lease up. What
    happens when it was lost before says OnLost.
    """

    def __init__(self, line: Line, timeout: float | None, on_lost: OnLost = OnLost.CANCEL) -> None:
        self._line = line
        self._timeout = timeout
        self._on_lost = OnLost(on_lost)
        self._body: Guarded | None = None

    async def __aenter__(self) -> Lease:
        lease = await self._line.acquire(self._timeout)
        if lease is None:
            raise LockTimeoutError(
                f"{self._line.what} {self._line.path} was not free within {self._timeout} s; look who stands in line, "
                "or wait longer"
            )
        self._body = Guarded(self._line.client.port, lease, tells=self._on_lost is OnLost.CANCEL)
        return lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._body is not None
        await self._body.end(kind, error, trace)


_ENTERED: Entered[Hold] = Entered("zkcore_locks_entered")


class Holdable:
    """What can be acquired and released over a Line, and entered as a context manager. It is the part that all kinds of
    locks have in common."""

    _line: Line

    @property
    def held(self) -> bool:
        """Whether this object holds it, as far as it can know. Local."""
        return self.lease is not None

    @property
    def lease(self) -> Lease | None:
        """The lease of what this object holds: after `acquire`, the way to its fencing token. None where it holds
        nothing, or has lost it."""
        return self._line.lease

    async def acquire(self, *, timeout: float | None = None) -> bool:
        """Wait for it. False where it was not free within `timeout` seconds; None waits for ever, 0 not at all.

        Cancelling it leaves no contender behind. Raises SessionExpiredError or SessionClosedError, and
        BadArgumentsError for a negative timeout.
        """
        return await self._line.acquire(timeout) is not None

    async def release(self) -> None:
        """Give it to the next. Raises LockNotHeldError where this object does not hold it, or has lost it.

        Cancelling it does not stop the release.
        """
        line = self._line
        lease = line.own_lease
        if lease is None:
            raise LockNotHeldError(f"{line.what} {line.path} is not held; acquire it first, and release it once")
        lost = lease.is_lost()
        await lease.release()
        if lost:
            raise LockNotHeldError(f"{line.what} {line.path} was lost with the session, before it was released")

    def hold(self, *, timeout: float | None = None, on_lost: OnLost = OnLost.CANCEL) -> Hold:
        """It as a context manager with a timeout, which gives the Lease. Entering it raises LockTimeoutError where it
        was not free within `timeout` seconds. `on_lost` says what happens to the body when the lease is lost."""
        return Hold(self._line, timeout, on_lost)

    async def __aenter__(self) -> Lease:
        hold = Hold(self._line, None)
        lease = await hold.__aenter__()
        _ENTERED.push(self, hold)
        return lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hold = _ENTERED.pop(self)
        if hold is not None:
            await hold.__aexit__(kind, error, trace)
        elif (lease := self._line.any_lease) is not None:  # entered in another context, as fixtures of tests are
            await lease.release()
