"""The stock of a queue: the znodes that it is made of, and how they are looked through.

Below the path of a queue there are three folders.

- `items`: a znode for each item, whose name is its place (`places.py`). The version of an item counts its deliveries,
  since each claim writes it anew. A delayed item has another place until it is due; who looks for an item and finds it
  due has it join the end of the line, in one transaction.
- `claims`: a znode of the item's name for each that is not to be given out. An ephemeral one belongs to a worker, and
  goes with its session; one with a visibility timeout may be taken over as well, when nothing has renewed it for that
  long *on the clock of whoever looks*. A persistent one holds an item back until a time.
- `dead`: the items that were given out too often (`dead_letters.py`).

The data of `items` says whether the queue is shut down, and puts are refused by its version. Every change is one
transaction that is refused where what it rests on has changed, so none of these clocks decides who has an item.

This module must not know what items mean, nor what becomes of one that is taken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Any, NamedTuple, TypeAlias, TypeVar

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigMismatchError,
    MultiError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    QueueFullError,
    QueueShutDownError,
    UnsupportedError,
)
from zkcore.jute.records import Stat
from zkcore.recipes.contender import made_at
from zkcore.recipes.places import DELAYED, DELAYED_END, delayed, due, ends, undelayed, visibility_of
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask, ask_once
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.prepare import MAX_DATA
from zkcore.tree.requests import (
    CheckAbsent,
    CheckStat,
    Condition,
    Create,
    CreateIfAbsent,
    CreateWithParents,
    Delete,
    GetChildren,
    GetData,
    ListChildren,
    Multi,
    Relation,
    Request,
    SetData,
    StatField,
)
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Attempt", "Found", "Held", "Stock", "has_raced"]

A = TypeVar("A")

MAX_ITEM = MAX_DATA - 2048
"""Bytes of one item, or of several that are put at once, less what the paths take: whatever is done with it later has
to fit into one request, too."""

_PAGE, _SPARE = 64, 4
"""So many of the first items are looked at at once, at most, and more than there are claims: one should be free."""

_MOVED = 16
"""So many delayed items join the line at once, where they are due."""

_SWEPT = 100
"""So many items are deleted at once, where all are."""

_LOST = "the claim was lost: its session ended, or the worker did not get on"

_DRAINING = b"shut down"
_AT_ONCE = b"shut down at once"


class Held(NamedTuple):
    """A claim as it was seen. In `left` seconds it may be taken over: infinitely many for one that lasts as long as its
    session, none where that is so now."""

    czxid: Zxid
    mzxid: Zxid
    left: float
    is_worker: bool
    """Whether somebody works on the item; otherwise it is held back."""


class Found(NamedTuple):
    """An item that nobody has, as it was seen; and the claim on it that may be taken over, if there is one."""

    name: str
    stat: Stat
    held: Held | None


Attempt: TypeAlias = Callable[[Port, Found, Patience], Awaitable[A | None]]
"""What tries to take an item; None where it was too late."""


def has_raced(error: MultiError) -> bool:
    """Whether a transaction was refused because somebody else was faster."""
    return isinstance(error.error, BadVersionError | NoNodeError | NodeExistsError)


class Stock:
    """The stock below `path`, of a `kind` of queue. See the module."""

    def __init__(self, client: Client, path: str, kind: str, *, maxsize: int, max_deliveries: int | None) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("a queue needs a path of its own, not the root")
        if maxsize < 0:
            raise BadArgumentsError(f"a maxsize of {maxsize}; give 0 for no limit")
        if max_deliveries is not None and max_deliveries < 1:
            raise BadArgumentsError(f"{max_deliveries} deliveries at most; give at least 1, or None for no limit")
        self.client = client
        self.path = path
        self.kind = kind
        self.maxsize = maxsize
        self.max_deliveries = max_deliveries
        self.items = f"{path}/items"
        self.claims = f"{path}/claims"
        self.dead = f"{path}/dead"
        self.most_bytes = MAX_ITEM - 8 * len(path.encode())
        self._is_there = False
        self._is_found = False  # by who takes, who need not agree in the maxsize
        self._sightings: dict[str, tuple[Zxid, float]] = {}  # of each claim: how it was seen, and since when

    # --- what it is

    async def ensure(self, port: Port, patience: Patience, *, check: bool = True) -> None:
        """See that the znodes of the queue are there and say what this object does."""
        if self._is_there:
            return
        while True:
            try:
                data, _ = await ask(port, GetData(self.path), patience)
                break
            except NoNodeError:
                pass
            await self._create(port, patience)
        word, _, number = data.decode(errors="replace").partition(" ")
        if not word.endswith("queue") or not (number.isascii() and number.isdigit()):
            raise ConfigMismatchError(f"{self.path} holds {data[:40]!r}, so it is no queue; choose another path")
        if word != self.kind:
            raise ConfigMismatchError(f"{self.path} is a {word}, not a {self.kind}; use the class that its peers use")
        if check and int(number) != self.maxsize:
            raise ConfigMismatchError(
                f"the queue {self.path} has a maxsize of {number}, not {self.maxsize}; give all who put the same"
            )
        folders = [CreateIfAbsent(path, acl=DEFAULT_ACL) for path in (self.items, self.claims, self.dead)]
        await ask(port, Multi(folders), patience)
        self._is_there = check

    async def _create(self, port: Port, patience: Patience) -> None:
        """Say what the queue is, unless somebody else has. Raises UnsupportedError, and makes nothing, where nobody can
        see to its maxsize."""
        if self.maxsize:
            room = Condition(StatField.NUM_CHILDREN, Relation.AT_MOST, self.maxsize)
            try:
                await ask(port, Multi([CheckStat(self.path, [room])]), patience)
            except MultiError:
                pass  # it can be asked; there is nothing yet to ask it of
            except UnsupportedError as error:
                raise UnsupportedError(
                    f"{self.path}: nobody here can see to a maxsize of {self.maxsize}, so give maxsize=0. {error}"
                ) from None
        try:
            said = f"{self.kind} {self.maxsize}".encode()
            await ask(port, CreateWithParents(self.path, said, acl=DEFAULT_ACL), patience)
        except NodeExistsError:
            pass

    # --- putting

    def creation(self, port: Port, place: str, data: bytes, delay: float = 0) -> Create:
        """The creation of an item, called `place` and the digits, once it is due."""
        name = delayed(place, port.wall() + delay) if delay else place
        return Create(f"{self.items}/{name}", data, acl=DEFAULT_ACL, mode=CreateMode.PERSISTENT_SEQUENTIAL)

    async def put(
        self, port: Port, creations: Sequence[Create], patience: Patience, *, with_them: Sequence[Request[Any]] = ()
    ) -> None:
        """Carry out all `creations`, when there is room, and `with_them` what else must happen or be so. Raises
        QueueFullError, QueueShutDownError, and what the others are refused with."""
        await self.ensure(port, patience)
        conditions = [Condition(StatField.VERSION, Relation.EQUAL, 0)]
        if self.maxsize:
            conditions.append(Condition(StatField.NUM_CHILDREN, Relation.AT_MOST, self.maxsize - len(creations)))
        request: Multi = Multi([CheckStat(self.items, conditions), *with_them, *creations])
        watch = Watch(port)
        try:
            while not await _try_to_put(port, request, patience):
                data, _ = await watch.ask(GetData(self.items, watch=True), patience)
                if data:
                    raise QueueShutDownError(f"{self.path} is shut down and takes no more; use another path")
                names = await watch.ask(GetChildren(self.items, watch=True), patience)
                if 0 < self.maxsize < len(names) + len(creations) and not await watch.changed(patience):
                    raise QueueFullError(f"{self.path} holds {len(names)} items, and had no room in time")
                watch.end()
        finally:
            watch.end()

    # --- taking

    def as_seen(self, found: Found) -> CheckStat:
        """That the item is the one that was found, and was not given out since."""
        same = [
            Condition(StatField.CZXID, Relation.EQUAL, found.stat.czxid),
            Condition(StatField.VERSION, Relation.EQUAL, found.stat.version),
        ]
        return CheckStat(f"{self.items}/{found.name}", same)

    def freeing(self, name: str, held: Held | None) -> list[Request[Any]]:
        """That nobody has the item: the claim on it that may be taken over is as it was seen, and goes; or there is
        none."""
        path = f"{self.claims}/{name}"
        if held is None:
            return [CheckAbsent(path)]
        seen = [
            Condition(StatField.CZXID, Relation.EQUAL, held.czxid),
            Condition(StatField.MZXID, Relation.EQUAL, held.mzxid),
        ]
        return [CheckStat(path, seen), Delete(path)]

    def burial(self, name: str, data: bytes, deliveries: int, reason: str) -> list[Request[Any]]:
        """An item becomes a dead letter."""
        head = f"{deliveries} {' '.join(reason.split())[:200]}\n".encode(errors="replace")
        return [Delete(f"{self.items}/{name}"), Create(f"{self.dead}/{name}", head + data, acl=DEFAULT_ACL)]

    async def take(self, port: Port, patience: Patience, attempt: Attempt[A]) -> A | None:
        """What `attempt` makes of the first item for which it makes anything; None where patience ran out first. Raises
        QueueShutDownError where there will be none any more."""
        watch = Watch(port)
        try:
            taken = await self._find_and_take(port, patience, attempt)
            while taken is None:
                await self._watch_all(watch, patience)
                taken, left = await self._take_first(port, patience, attempt)
                if taken is None:
                    if not await watch.changed(patience, at_most=left):
                        return None
                    taken, _ = await self._take_first(port, patience, attempt)
            return taken
        finally:
            watch.end()

    async def _find_and_take(self, port: Port, patience: Patience, attempt: Attempt[A]) -> A | None:
        """As `_take_first`. That the queue is there is seen to once, and where somebody has deleted it since."""
        if self._is_found:
            try:
                return (await self._take_first(port, patience, attempt))[0]
            except NoNodeError:
                self._is_there = False
        await self.ensure(port, patience, check=False)
        self._is_found = True
        return (await self._take_first(port, patience, attempt))[0]

    async def _watch_all(self, watch: Watch, patience: Patience) -> None:
        for folder in (self.items, self.claims):
            await watch.ask(GetChildren(folder, watch=True), patience)
        await watch.ask(GetData(self.items, watch=True), patience)

    async def _take_first(self, port: Port, patience: Patience, attempt: Attempt[A]) -> tuple[A | None, float]:
        """What `attempt` makes of the first item; or None, and in how many seconds there may be one although nothing
        changes."""
        left = await self._bring_in(port, patience)
        claims = await self.look_at_claims(port, patience)
        left = min([left, *(held.left for held in claims.values() if held.left > 0)])
        after: str | None = DELAYED_END
        limit = min(len(claims) + _SPARE, _PAGE)
        while after is not None:
            page = await ask(port, ListChildren(self.items, after=after, limit=limit, with_stat=True), patience)
            if page.stat.version:
                await self._heed_shutdown(port, patience, is_empty=not page.stat.num_children)
            for name, stat, _ in page.children:
                held = claims.get(name)
                if stat is None or (held is not None and held.left > 0):
                    continue
                found = Found(name, stat, held)
                if self.max_deliveries is not None and stat.version >= self.max_deliveries:
                    # Nobody was there to give it up when its last claim ended.
                    await self.bury(port, found, patience, deliveries=stat.version, reason=_LOST)
                elif (taken := await attempt(port, found, patience)) is not None:
                    return taken, 0.0
                if held is not None:
                    left = 0.0  # it was renewed, which no watch tells of: look again
            after = page.after
        return None, left

    async def look_at_claims(self, port: Port, patience: Patience) -> dict[str, Held]:
        """All claims, by the names of their items."""
        claims: dict[str, Held] = {}
        sightings: dict[str, tuple[Zxid, float]] = {}
        after: str | None = ""
        while after is not None:
            page = await ask(port, ListChildren(self.claims, after=after, with_stat=True, with_data=True), patience)
            now = port.now()
            for name, stat, data in page.children:
                if stat is None:
                    claims[name] = Held(0, 0, inf, True)
                elif not stat.ephemeral_owner:
                    claims[name] = Held(stat.czxid, stat.mzxid, ends(data or b"") - port.wall(), False)
                else:
                    mzxid, since = self._sightings.get(name, (0, now))
                    sightings[name] = (stat.mzxid, since if mzxid == stat.mzxid else now)
                    left = sightings[name][1] + visibility_of(data or b"") - now
                    claims[name] = Held(stat.czxid, stat.mzxid, left, True)
            after = page.after
        self._sightings = sightings
        return claims

    async def _bring_in(self, port: Port, patience: Patience) -> float:
        """Have the delayed items that are due join the line; in how many seconds the next one is."""
        while True:
            page = await ask(port, ListChildren(self.items, prefix=DELAYED, limit=1), patience)
            if not page.children:
                return inf
            left = due(page.children[0].name) - port.wall()
            if left > 0:
                return left
            await self._move(port, patience)

    async def _move(self, port: Port, patience: Patience) -> None:
        """Have some of those that are due join the line, in the order in which they were."""
        listing = ListChildren(self.items, prefix=DELAYED, limit=_MOVED, with_stat=True, with_data=True)
        page = await ask(port, listing, patience)
        moves: list[Request[Any]] = []
        size = 0
        for name, stat, data in page.children:
            path = f"{self.items}/{name}"
            if stat is None or data is None:
                raise NoAuthError(path=path)
            size += len(data)
            if due(name) > port.wall() or (moves and size > self.most_bytes // 2):
                break
            moves += [made_at(path, stat.czxid), Delete(path), self.creation(port, undelayed(name), data)]
        try:
            await ask(port, Multi(moves), patience)
        except MultiError as error:
            if isinstance(error.error, NodeExistsError) or not has_raced(error):
                raise error.error from None  # others cannot be why

    async def bury(self, port: Port, found: Found, patience: Patience, *, deliveries: int, reason: str) -> bool:
        """Give an item up, if it is as it was found; whether it was so."""
        name, _, held = found
        try:
            data, _ = await ask(port, GetData(f"{self.items}/{name}"), patience)
            burial = self.burial(name, data, deliveries, reason)
            await ask(port, Multi([*self.freeing(name, held), self.as_seen(found), *burial]), patience)
        except NoNodeError:
            return False  # somebody else did it
        except MultiError as error:
            if not has_raced(error):
                raise error.error from None
            return False
        return True

    # --- the end

    async def _heed_shutdown(self, port: Port, patience: Patience, *, is_empty: bool) -> None:
        data, _ = await ask(port, GetData(self.items), patience)
        if is_empty or data == _AT_ONCE:
            raise QueueShutDownError(f"{self.path} is shut down, and gives out no more; stop working for it")

    async def shut_down(self, port: Port, *, immediate: bool) -> None:
        """Take no more items; and `immediate`, give none out, and delete those that nobody works on."""
        await self.ensure(port, FOR_EVER, check=False)
        word = _AT_ONCE if immediate else _DRAINING
        while True:
            data, stat = await ask(port, GetData(self.items), FOR_EVER)
            if data in (word, _AT_ONCE):
                break
            try:
                await ask(port, SetData(self.items, word, version=stat.version), FOR_EVER)
            except BadVersionError:
                pass  # somebody else did it, or the answer was lost
        if immediate:
            await self._sweep(port, FOR_EVER)

    async def _sweep(self, port: Port, patience: Patience) -> float:
        """Delete all items that nobody works on; in how many seconds there may be more although nothing changes."""
        after: str | None = ""
        left = inf
        while after is not None:
            claims = await self.look_at_claims(port, patience)
            left = min([held.left for held in claims.values() if held.is_worker], default=inf)
            page = await ask(port, ListChildren(self.items, after=after, limit=_SWEPT, with_stat=True), patience)
            deletions: list[Request[Any]] = []
            for name, stat, _ in page.children:
                held = claims.get(name)
                if stat is not None and (held is None or not held.is_worker or held.left <= 0):
                    path = f"{self.items}/{name}"
                    deletions += [*self.freeing(name, held), made_at(path, stat.czxid), Delete(path)]
            try:
                if deletions:
                    await ask(port, Multi(deletions), patience)
                after = page.after
            except MultiError as error:
                if not has_raced(error):
                    raise error.error from None
        return max(left, 0.0)

    async def empty_out(self, port: Port, patience: Patience) -> bool:
        """Wait until there are no items; False where patience ran out first."""
        await self.ensure(port, patience, check=False)
        watch = Watch(port)
        try:
            while True:
                data, _ = await watch.ask(GetData(self.items, watch=True), patience)
                left = inf
                if data == _AT_ONCE:  # nobody takes what comes back
                    await watch.ask(GetChildren(self.claims, watch=True), patience)
                    left = await self._sweep(port, patience)
                if not await watch.ask(GetChildren(self.items, watch=True), patience):
                    return True
                if not await watch.changed(patience, at_most=left):
                    return False
        finally:
            watch.end()


async def _try_to_put(port: Port, request: Multi, patience: Patience) -> bool:
    try:
        await ask_once(port, request, patience)
    except MultiError as error:
        if error.index == 0 and isinstance(error.error, BadVersionError):
            return False
        raise error.error from None
    return True
