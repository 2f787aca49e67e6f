"""The semaphore: so many may hold a permit at a time, in the order of arrival.

A permit is an ephemeral znode below `<path>/permits`, created in a transaction that is refused where there are as many
as there may be: the ensemble counts, not the clients. Where nobody waits, that one transaction is all. Who finds no
permit stands in line below `<path>/line`; only who is in front there watches the permits, and gets his in a transaction
that takes him out of the line. So what comes free wakes one contender, and the one behind it comes to the front.

The semaphore's own znode says how many permits it was made with, and how many there are by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigMismatchError,
    LockNotHeldError,
    MultiError,
    NoNodeError,
    SessionExpiredError,
)
from zkcore.jute.records import Stat
from zkcore.recipes.contender import Attempt, Contender, contenders
from zkcore.recipes.holding import Holdable, Line
from zkcore.recipes.lease import Lease
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask, ask_once, get_or_create
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.requests import (
    CheckStat,
    Condition,
    CreateIfAbsent,
    Delete,
    Exists,
    GetChildren,
    GetData,
    Multi,
    Relation,
    Request,
    SetData,
    StatField,
)
from zkcore.zxid import Zxid

__all__ = ["BoundedSemaphore", "Semaphore"]

MAX_PERMITS = (1 << 31) - 1

_MARK = "-permit-"


class _State(NamedTuple):
    """What the semaphore's own znode says."""

    value: int
    permits: int
    version: int


class _Permits(Line):
    """The permits that one object holds, and what its contenders agree with."""

    def __init__(self, client: Client, path: str, *, word: str, value: int, identifier: str | None) -> None:
        super().__init__(client, path, what="the semaphore", identifier=identifier)
        self.identifier = self._identifier
        self.line = f"{path}/line"
        self.permits = f"{path}/permits"
        self._word = word
        self._value = value

    def turn(self, name: str) -> _Admission:
        """See Line."""
        return _Admission(self, name)

    async def contenders(self) -> tuple[Contender, ...]:
        """Who holds a permit."""
        return await contenders(self.client.port, self.permits, _MARK)

    async def agree(self, port: Port, patience: Patience) -> _State:
        """What the semaphore's znode says; it is created where it is missing. Raises ConfigMismatchError where that is
        not what this object was made with."""
        said = f"{self._word} {self._value} {self._value}".encode()
        data, stat = await get_or_create(port, self.path, said, patience)
        return self.state_of(data, stat)

    async def make_folders(self, port: Port, patience: Patience) -> None:
        """Create what is below the semaphore's znode, which is there."""
        folders = [CreateIfAbsent(path, acl=DEFAULT_ACL) for path in (self.permits, self.line)]
        try:
            await ask(port, Multi(folders), patience)
        except MultiError as error:
            if not isinstance(error.error, NoNodeError):  # deleted meanwhile: who agrees makes it anew
                raise error.error from None

    def state_of(self, data: bytes, stat: Stat) -> _State:
        """What `data` says. Raises ConfigMismatchError."""
        word, *numbers = data.decode(errors="replace").split(" ")
        if not (len(numbers) == 2 and all(number.isascii() and number.isdigit() for number in numbers)):
            raise ConfigMismatchError(f"{self.path} holds {data[:40]!r}, so it is no semaphore; choose another path")
        value, permits = map(int, numbers)
        if (word, value) != (self._word, self._value):
            raise ConfigMismatchError(
                f"the {word} {self.path} was made with a value of {value}, which is no {self._word} of {self._value}; "
                "give all who use it the same, or delete its znodes while nobody does"
            )
        return _State(value, permits, stat.version)


class _Admission:
    """One attempt to get a permit; a Turn."""

    def __init__(self, semaphore: _Permits, name: str) -> None:
        self._semaphore = semaphore
        self._permit = Attempt(semaphore.permits, _MARK, name, semaphore.identifier)
        self._waiter = Attempt(semaphore.line, "-waiter-", name, semaphore.identifier)
        self._waits = False

    @property
    def path(self) -> str:
        return self._permit.path

    @property
    def token(self) -> Zxid:
        return self._permit.token

    async def take(self, port: Port, patience: Patience) -> bool:
        """See Turn."""
        semaphore = self._semaphore
        nobody_waits = CheckStat(semaphore.line, [Condition(StatField.NUM_CHILDREN, Relation.EQUAL, 0)])
        while True:
            state = await semaphore.agree(port, patience)
            try:
                if await self._try(port, patience, state, nobody_waits):
                    return True
                break
            except NoNodeError:
                await semaphore.make_folders(port, patience)
        if patience.is_over:
            return False
        self._waits = True
        await self._waiter.enter(port, patience)
        return await self._waiter.wait_for_turn(port, patience) and await self._wait_in_front(port, patience)

    async def leave(self, port: Port) -> None:
        """See Turn."""
        await self._permit.leave(port)
        if self._waits:
            await self._waiter.leave(port)

    async def _wait_in_front(self, port: Port, patience: Patience) -> bool:
        semaphore = self._semaphore
        watch = Watch(port)
        try:
            while True:
                data, stat = await watch.ask(GetData(semaphore.path, watch=True), patience)
                state = semaphore.state_of(data, stat)
                permits = await watch.ask(GetChildren(semaphore.permits, watch=True), patience)
                if len(permits) >= state.permits:
                    if not await watch.changed(patience):
                        return False
                elif await self._try(port, patience, state, Delete(self._waiter.path)):
                    self._waits = False
                    return True
                watch.end()
        except NoNodeError:
            raise SessionExpiredError(
                f"{self._waiter.path} is gone, or what is above it: the session ended, or somebody deleted it"
            ) from None
        finally:
            watch.end()

    async def _try(self, port: Port, patience: Patience, state: _State, condition: Request[Any]) -> bool:
        """Get a permit, if there is one to get and `condition` holds. Raises NoNodeError."""
        room = Condition(StatField.NUM_CHILDREN, Relation.LESS, state.permits)
        conditions: Sequence[Request[Any]] = [CheckStat(self._semaphore.permits, [room]), condition]
        try:
            await self._permit.enter(port, patience, conditions=conditions)
        except MultiError as error:
            if isinstance(error.error, BadVersionError):
                return False
            raise error.error from None
        return True


class Semaphore(Holdable):
    """A semaphore at `path` with `value` permits, with the manners of `asyncio.Semaphore` and `threading.Semaphore`.

    ::

        semaphore = zkcore.Semaphore(zk, "/limits/api", value=3)
        async with semaphore:                 # no more than three at a time
            await call()

    Making one does no I/O. Whoever is first creates the znodes; one that was made with another value, or as a
    BoundedSemaphore, is refused with ConfigMismatchError. Several tasks may use one: each acquisition is a permit with
    a Lease of its own. It is not reentrant. A permit whose holder's session ends comes free. `identifier` is stored
    with the permit.

    Guaranteed: of the leases whose `check` does not raise there are never more than there are permits, as far as clocks
    run at rates that differ by less than one per cent; permits are given out in the order of arrival, and each has a
    higher fencing token than all that were given out before.

    Since several hold at a time, and one for longer than another, a resource cannot refuse the lower token of two.
    Guard what is in the tree with `FenceGuard.transaction(lease, ...)`; for what is elsewhere take a lock for each
    permit.
    """

    _word = "semaphore"
    _least = 0

    def __init__(self, client: Client, path: str, *, value: int = 1, identifier: str | None = None) -> None:
        if not self._least <= value <= MAX_PERMITS:
            raise BadArgumentsError(f"a {self._word} of {value} permits; it has {self._least} to {MAX_PERMITS}")
        self._line: _Permits = _Permits(client, path, word=self._word, value=value, identifier=identifier)
        self.path = path
        self.value = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} of {self.value}, {len(self.leases)} held>"

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases of the permits that this object holds and has not lost, the oldest first."""
        return tuple(lease for lease in self._line.leases if not lease.is_lost())

    async def release(self, n: int = 1) -> None:
        """Give `n` permits back, first those that this object holds the longest. Where it holds fewer, the others are
        made anew, for everybody and for good, as `threading.Semaphore` does it.

        Raises LockNotHeldError where a permit was lost with the session before, and BadArgumentsError where `n` is not
        at least 1, or more than there can be. Cancelling it does not stop what has begun.
        """
        own = await self._give_back(n)
        if own < n:
            await self._add(n - own)

    async def holders(self) -> tuple[Contender, ...]:
        """Who holds a permit, in the order in which they got them: as of the replica that serves this client, and a
        moment ago."""
        return await self._line.contenders()

    async def available(self) -> int:
        """How many permits nobody holds: as of the replica that serves this client, and a moment ago."""
        port = self._line.client.port
        state = await self._line.agree(port, FOR_EVER)
        held = await ask(port, Exists(self._line.permits), FOR_EVER)
        return max(state.permits - (0 if held is None else held.num_children), 0)

    async def _give_back(self, n: int) -> int:
        """Release `n` leases, or all there are; how many that were."""
        if n < 1:
            raise BadArgumentsError(f"{n} permits to give back; give a number, at least 1")
        leases = sorted(self._line.leases, key=Lease.is_lost)[:n]
        was_lost = any(lease.is_lost() for lease in leases)
        for lease in leases:
            await lease.release()
        if was_lost:
            raise LockNotHeldError(f"a permit of {self.path} was lost with the session, before it was released")
        return len(leases)

    async def _add(self, n: int) -> None:
        port = self._line.client.port
        while True:
            state = await self._line.agree(port, FOR_EVER)
            if state.permits + n > MAX_PERMITS:
                raise BadArgumentsError(f"{self.path} has {state.permits} permits; {MAX_PERMITS} is the most")
            said = f"{self._word} {state.value} {state.permits + n}".encode()
            try:
                await ask_once(port, SetData(self.path, said, version=state.version), FOR_EVER)
                return
            except (BadVersionError, NoNodeError):
                continue


class BoundedSemaphore(Semaphore):
    """A Semaphore whose permits are never more than `value`: to release more than this object holds is an error."""

    _word = "bounded-semaphore"
    _least = 1

    async def release(self, n: int = 1) -> None:
        """Give `n` permits back, first those that this object holds the longest.

        Raises LockNotHeldError where it holds fewer, and then none is given back; or where one was lost with the
        session before. BadArgumentsError where `n` is not at least 1. Cancelling it does not stop what has begun.
        """
        own = len(self._line.leases)
        if own < n:
            raise LockNotHeldError(
                f"{own} permits of {self.path} are held by this object, which cannot give {n} back; acquire first, and "
                "release each once"
            )
        await self._give_back(n)
