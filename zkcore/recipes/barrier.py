"""The barrier: nobody passes before all parties are there, and, where it is entered, nobody leaves before all are done.

A party that arrives creates an ephemeral sequential znode below the barrier. Of those that wait the last one needed, in
the order of arrival, lets them pass: one transaction that writes so into the znode of each, and is refused where one of
them is gone, or has passed. So all pass or none, and all were there at one moment. Each party watches
its own znode only, and what has passed is in nobody's way: the barrier is ready for the next round.

The barrier's own znode says for how many parties it is, and whether it is broken. Breaking and resetting delete those
who wait, in the transaction that says so.
"""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    BrokenBarrierError,
    ConfigMismatchError,
    MultiError,
    NoNodeError,
    OutcomeUnknownError,
    SessionExpiredError,
)
from zkcore.jute.records import Stat
from zkcore.recipes.contender import Attempt, remove, sequence
from zkcore.recipes.entered import Entered
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask, ask_once, get_or_create, nonce
from zkcore.tree.paths import validate
from zkcore.tree.requests import (
    Check,
    CheckStat,
    Condition,
    Delete,
    Exists,
    GetChildren,
    GetData,
    ListChildren,
    Multi,
    Relation,
    SetData,
    StatField,
)
from zkcore.zxid import Zxid

__all__ = ["Barrier"]

MAX_PARTIES = 1000
"""All pass in one transaction, which cannot be of any size."""

_MARK = "-party-"
_BROKEN = "broken"
_WHOLE = "whole"


class _State(NamedTuple):
    """What the barrier's own znode says."""

    parties: int
    is_broken: bool
    version: int


class _Party(NamedTuple):
    """Who has arrived. `data` is empty as long as it waits."""

    place: int
    name: str
    data: bytes


class _Parties(NamedTuple):
    """Who is there, in the order of arrival; `pzxid` is that of the newest who came or went."""

    all: tuple[_Party, ...]
    pzxid: Zxid

    @property
    def waiting(self) -> list[str]:
        return [party.name for party in self.all if not party.data]


class _Pass(NamedTuple):
    """That a party has passed: as which, with whom, and by what znode."""

    number: int
    round: bytes
    path: str


_ENTERED: Entered[_Pass] = Entered("zkcore_barriers_entered")


class Barrier:
    """A barrier at `path` for `parties`, with the manners of `asyncio.Barrier` and `threading.Barrier`.

    ::

        barrier = zkcore.Barrier(zk, "/start", parties=3)
        await barrier.wait()                    # until three are there
        async with barrier as index:            # until three are there ...
            await work(index)                   # ... and at the end, until all three are done

    Making one does no I/O. Whoever is first creates the znode; one made for another number of parties is refused with
    ConfigMismatchError. The barrier can be used again and again. A party whose session ends, or whose wait is
    cancelled, has not arrived; the others go on waiting for another.

    Guaranteed: whoever passes, passes with `parties` - 1 others who all waited at the same moment, each of them with
    another index.
    """

    def __init__(self, client: Client, path: str, *, parties: int) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("a barrier needs a path of its own, not the root")
        if not 1 <= parties <= MAX_PARTIES:
            raise BadArgumentsError(f"a barrier for {parties} parties; it is for 1 to {MAX_PARTIES}")
        self.path = path
        self.parties = parties
        self._client = client

    def __repr__(self) -> str:
        return f"<Barrier {self.path} for {self.parties}>"

    async def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties are there; which of them this one is, from 0 to `parties` - 1.

        Raises BrokenBarrierError where the barrier is or comes to be broken, ConfigMismatchError, SessionExpiredError
        or SessionClosedError, and BadArgumentsError for a negative timeout. Where the parties were not there within
        `timeout` seconds the barrier is broken for all of them; that this party has not passed after all must be made
        sure of, so while the session is suspended it may take longer.
        """
        passed = await self._pass(timeout)
        await self._client.port.tidy_up(lambda port: remove(port, passed.path))
        return passed.number

    async def abort(self) -> None:
        """Break the barrier: who waits, and who comes, gets BrokenBarrierError until somebody resets it."""
        await self._change(self._client.port, _BROKEN)

    async def reset(self) -> None:
        """Make it whole again. Who waits gets BrokenBarrierError."""
        await self._change(self._client.port, _WHOLE)

    async def n_waiting(self) -> int:
        """How many wait: as of the replica that serves this client, and a moment ago."""
        try:
            return len((await self._look(self._client.port, FOR_EVER)).waiting)
        except NoNodeError:
            return 0

    async def broken(self) -> bool:
        """Whether it is broken: as of the replica that serves this client, and a moment ago."""
        try:
            return _state_of(*await ask(self._client.port, GetData(self.path), FOR_EVER), path=self.path).is_broken
        except NoNodeError:
            return False

    async def __aenter__(self) -> int:
        passed = await self._pass(None)
        _ENTERED.push(self, passed)
        return passed.number

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave, and wait until all who passed together have left or are gone. Who leaves with an exception does not
        wait for the others."""
        passed = _ENTERED.pop(self)
        if passed is None:
            raise BadArgumentsError(f"{self!r} was entered in another task or thread; leave it where you entered it")
        port = self._client.port
        await port.shield(lambda port: remove(port, passed.path))
        if error is None:
            await self._wait_for_others(port, passed)

    # --- arriving

    async def _pass(self, timeout: float | None) -> _Pass:
        port = self._client.port
        patience = Patience(port, timeout)
        name = nonce(port)
        attempt = Attempt(self.path, _MARK, name, b"")
        try:
            try:
                attempt, version = await self._arrive(port, name, patience)
                passed = await self._wait_to_pass(port, attempt, version, patience)
            except OutcomeUnknownError:
                passed = None  # nobody answered in time
            return passed or await self._give_up(port, attempt)
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes the party
        except BaseException:
            await port.tidy_up(attempt.leave)
            raise

    async def _arrive(self, port: Port, name: str, patience: Patience) -> tuple[Attempt, int]:
        """The party as it came to be, and the version of the barrier that it came to."""
        while True:
            state = await self._state(port, patience)
            if state.parties != self.parties:
                raise ConfigMismatchError(
                    f"the barrier {self.path} is for {state.parties} parties, not {self.parties}; "
                    "make all of them for the same number, or delete its znode"
                )
            if state.is_broken:
                raise self._broken_error()
            attempt = Attempt(self.path, _MARK, name, b"")
            try:
                await attempt.enter(port, patience, conditions=[Check(self.path, state.version)])
                return attempt, state.version
            except MultiError:
                continue  # it was broken, reset or deleted meanwhile

    async def _state(self, port: Port, patience: Patience) -> _State:
        """What the barrier's znode says; it is created where it is missing."""
        said = f"{self.parties} {_WHOLE}".encode()
        return _state_of(*await get_or_create(port, self.path, said, patience), path=self.path)

    async def _wait_to_pass(self, port: Port, attempt: Attempt, version: int, patience: Patience) -> _Pass | None:
        """None where patience ran out first."""
        mine = attempt.path.rpartition("/")[2]
        watch = Watch(port)
        try:
            while True:
                passed = await self._passed(port, attempt, version, patience, watch)
                if passed is not None:
                    return passed
                there = await self._look(port, patience)
                waiting = there.waiting
                if mine not in waiting:
                    watch.end()
                    continue  # it passed, or was deleted, between the two
                rank = waiting.index(mine)
                if rank == self.parties - 1:
                    watch.end()
                    await self._let_pass(port, waiting[: self.parties], patience)
                    continue
                if rank >= self.parties and not await self._watch_those_before(watch, there, patience):
                    watch.end()
                    continue
                if not await watch.changed(patience):
                    return None
        finally:
            watch.end()

    async def _passed(
        self, port: Port, attempt: Attempt, version: int, patience: Patience, watch: Watch
    ) -> _Pass | None:
        """Whether this party has passed; None while it waits."""
        try:
            data, _ = await watch.ask(GetData(attempt.path, watch=True), patience)
        except NoNodeError:
            if (await self._state(port, patience)).version != version:
                raise self._broken_error() from None
            raise SessionExpiredError(f"{attempt.path} is gone: the session ended, or somebody deleted it") from None
        if not data:
            return None
        index, _, round_ = data.partition(b" ")
        return _Pass(int(index), round_, attempt.path)

    async def _watch_those_before(self, watch: Watch, there: _Parties, patience: Patience) -> bool:
        """Have the wait end when the first of those who wait passes, or anybody comes or goes; False where that has
        happened already. Only who is one too many for this round needs it."""
        try:
            first, _ = await watch.ask(GetData(f"{self.path}/{there.waiting[0]}", watch=True), patience)
            names = await watch.ask(GetChildren(self.path, watch=True), patience)
        except NoNodeError:
            return False
        now = {name for name in names if sequence(name, _MARK) is not None}
        return not first and now == {party.name for party in there.all}

    async def _let_pass(self, port: Port, names: list[str], patience: Patience) -> None:
        """Let those pass who are there, if all of them still are: to break the barrier is to delete who waits. Whether
        it happened is seen at one's own znode."""
        round_ = nonce(port)
        told = [
            SetData(f"{self.path}/{name}", f"{index} {round_}".encode(), version=0) for index, name in enumerate(names)
        ]
        try:
            await ask(port, Multi(told), patience)
        except MultiError:
            pass  # somebody is gone, or has let them pass before; or the first answer was lost

    async def _give_up(self, port: Port, attempt: Attempt) -> _Pass:
        """Break the barrier because patience ran out; unless this party has passed by now."""
        try:
            return await port.shield(lambda port: self._break_or_pass(port, attempt))
        except OutcomeUnknownError:
            raise self._broken_error() from None

    async def _break_or_pass(self, port: Port, attempt: Attempt) -> _Pass:
        while True:
            if not await attempt.find(port, FOR_EVER):
                await self._change(port, _BROKEN)
                raise self._broken_error()
            data, _ = await ask(port, GetData(attempt.path), FOR_EVER)
            if data:
                index, _, round_ = data.partition(b" ")
                return _Pass(int(index), round_, attempt.path)
            await self._try_to_change(port, _BROKEN)

    # --- breaking, and leaving

    async def _change(self, port: Port, to: str) -> None:
        while not await self._try_to_change(port, to):
            pass

    async def _try_to_change(self, port: Port, to: str) -> bool:
        """Say that the barrier is broken, or whole, and delete who waits, in one transaction; False where somebody
        came, went or passed meanwhile."""
        state = await self._state(port, FOR_EVER)
        there = await self._look(port, FOR_EVER)
        if state.is_broken == (to == _BROKEN) and not there.waiting:
            return True
        same = CheckStat(self.path, [Condition(StatField.PZXID, Relation.EQUAL, there.pzxid)])
        told = SetData(self.path, f"{state.parties} {to}".encode(), version=state.version)
        gone = [Delete(f"{self.path}/{name}", 0) for name in there.waiting]
        try:
            await ask_once(port, Multi([same, told, *gone]), FOR_EVER)
        except MultiError:
            return False
        return True

    async def _wait_for_others(self, port: Port, passed: _Pass) -> None:
        """Until nobody is left who passed in the same round. One of them is watched at a time."""
        watch = Watch(port)
        try:
            while True:
                try:
                    there = await self._look(port, FOR_EVER)
                except NoNodeError:
                    return
                inside = [party.name for party in there.all if party.data.partition(b" ")[2] == passed.round]
                if not inside:
                    return
                if await watch.ask(Exists(f"{self.path}/{inside[0]}", watch=True), FOR_EVER) is None:
                    watch.end()
                else:
                    await watch.changed(FOR_EVER)
        finally:
            watch.end()

    async def _look(self, port: Port, patience: Patience) -> _Parties:
        """Who is there. Raises NoNodeError where there is no barrier."""
        found: list[_Party] = []
        page = await ask(port, ListChildren(self.path, with_data=True), patience)
        pzxid = page.stat.pzxid
        while True:
            for name, _, data in page.children:
                place = sequence(name, _MARK)
                if place is not None:
                    found.append(_Party(place, name, data or b""))
            if page.after is None:
                return _Parties(tuple(sorted(found)), pzxid)
            page = await ask(port, ListChildren(self.path, after=page.after, with_data=True), patience)

    def _broken_error(self) -> BrokenBarrierError:
        return BrokenBarrierError(f"the barrier {self.path} is broken; find out why, and have one party call `reset()`")


def _state_of(data: bytes, stat: Stat, *, path: str) -> _State:
    parties, _, word = data.decode(errors="replace").partition(" ")
    if not (parties.isascii() and parties.isdigit() and word in (_WHOLE, _BROKEN)):
        raise ConfigMismatchError(f"{path} holds {data[:40]!r}, so it is no barrier; choose another path")
    return _State(int(parties), word == _BROKEN, stat.version)
