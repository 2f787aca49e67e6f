"""Sharding: partitions of a key space, each owned by one member at a time, by a lease with a fencing token.

Whom a partition is assigned to stands in the tree, in one table, so every member sees the same; its version is the zxid
of the transaction that wrote it. The oldest member plans: it computes the next table (`shard_table.py`) from what it
sees, and replaces the one it has seen, by compare-and-set and only while it is a member. Two who think that they are
the oldest do no harm: one of them is refused, and looks again.

The table gives nobody anything. A member owns what it has claimed: by an ephemeral znode, created in a transaction that
is refused unless the table is still the one that says so, and unless the claim before is gone. That goes when its owner
has drained the partition and gives it up, or with its session. So there are never two, and a later owner has a higher
token.

This module must not know what a partition holds, nor how the ring chooses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias

from attrs import evolve

from zkcore.client.client import Client
from zkcore.client.port import Background, Port, Signal
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigMismatchError,
    LeaseLostError,
    MultiError,
    NodeExistsError,
    NoNodeError,
    NotMemberError,
    NotStartedError,
    SessionError,
)
from zkcore.recipes.contender import made_at, remove_made
from zkcore.recipes.entered import Entered
from zkcore.recipes.guarded import Guarded
from zkcore.recipes.lease import Lease, WithSession
from zkcore.recipes.membership import Membership
from zkcore.recipes.shard_map import PARTITIONS, Route, ShardMap, ShardState, decode_settings, encode_settings
from zkcore.recipes.shard_table import Placing, ShardMember, Wanted, next_table, plan_of, staying
from zkcore.recipes.stored import unchanged
from zkcore.recipes.waiting import FOR_EVER, ask, get_or_create, once
from zkcore.ring.errors import RingError
from zkcore.ring.hashing import Key
from zkcore.ring.migration import MigrationPlan
from zkcore.ring.rendezvous import Rendezvous
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.requests import Create, CreateWithParents, Multi, Request, SetData
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["OnAcquire", "OnRelease", "Sharding"]

OnAcquire: TypeAlias = "Callable[[int, Zxid], Awaitable[object]]"
"""Takes over a partition, with the token of its claim."""

OnRelease: TypeAlias = "Callable[[int], Awaitable[object]]"
"""Drains a partition: once it returns, another member may own it."""

_CLAIMS_AT_ONCE = 64
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 1.0, 30.0


async def _nothing(*_: object) -> None:
    pass


class _Holding:
    """One partition that this member has claimed."""

    def __init__(self, lease: Lease, stop: Signal) -> None:
        self.lease = lease
        self.stop = stop
        self.is_acquired = False
        self.background: Background | None = None


_ENTERED: Entered[Guarded] = Entered("zkcore_shardings_entered")


class Sharding:
    """This process as a member of the sharding at `path`, which owns some of its partitions.

    ::

        async def load(partition, token): ...                      # from now on it is ours
        async def drain(partition): ...                            # write down what is under way

        async with zkcore.Sharding(
            zk, "/shards", name="host-7", partitions=64, rack="r1", address="10.0.0.7:80",
            on_acquire=load, on_release=drain,
        ) as shards:
            route = shards.route("user:17")

    Making one does no I/O. `name` is the member's, of which there is one at a time. All members give the same
    `partitions`, ten or more for each member that there will ever be, and `replicas`: how many members in racks of
    their own a partition has, its owner and those that stand by (`ShardMap.standbys`). `weight` is how much this one is
    to own, relative to the others.

    `on_acquire(partition, token)` is awaited when a partition has been claimed, and `on_release(partition)` before it
    is given up, or after it was lost with the session; it follows every `on_acquire` that has returned. What they write
    goes with the token. An `on_acquire` that raises is logged and kept in `failures`; the claim is given up, and made
    again a little later. A partition that drains for ever moves never: who may hang limits himself.

    Where members come and go, only what must move does: what the dead owned, and what the ring (`placement`, by default
    Rendezvous, of the members) gives to others; the latter in steps of `at_once` moves, each from one member to one
    other. Those two are those of whichever member plans, the oldest.

    To be a member is to hold a lease: it is lost when the session is, and the body of the `with` is cancelled then. Its
    end hands over what is owned, for `leave_within` seconds at most; then it drains what is left, and leaves.

    Guaranteed: of all leases of a partition whose `check` does not raise, at most one is held at a time, as far as
    clocks run at rates that differ by less than one per cent; a later one has a higher fencing token, always.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        name: str,
        partitions: int,
        weight: float = 1.0,
        rack: str = "",
        address: str = "",
        replicas: int = 1,
        on_acquire: OnAcquire = _nothing,
        on_release: OnRelease = _nothing,
        placement: Placing = Rendezvous,
        at_once: int = 1,
        leave_within: float = 30.0,
    ) -> None:
        self.map = ShardMap(client, path)
        """Who owns what: of all members."""
        for what, number, most in (
            ("partitions", partitions, PARTITIONS[-1]),
            ("replicas", replicas, 1000),
            ("at_once", at_once, PARTITIONS[-1]),
        ):
            if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= most:
                raise BadArgumentsError(f"{what}={number!r}; give a whole number from 1 to {most}")
        if not leave_within >= 0:
            raise BadArgumentsError(f"leave_within={leave_within!r} seconds; give 0 to leave at once, or more")
        self.path = path
        self._client = client
        self._port = client.port
        self._me = _checked(ShardMember(name, weight, rack, address))
        self._settings = (partitions, replicas)
        self._membership = Membership(client, f"{path}/members", name=name, data=self._me.encode())
        self._on_acquire, self._on_release = on_acquire, on_release
        self._placement, self._at_once = placement, at_once
        self._leave_within = leave_within
        self._news = client.port.signal()
        self._leaving = client.port.signal()
        self._background: Background | None = None
        self._lease: Lease | None = None
        self._life = WithSession(client.port)
        self._error: Exception | None = None
        self._wanted: Wanted | None = None
        self._held: dict[int, _Holding] = {}
        self._retries: dict[int, tuple[int, float]] = {}  # how often it failed, and not before when to try again
        self.failures: dict[int, Exception] = {}
        """By partition why `on_acquire` failed when it was called last."""
        self.map.tell(self._news.set)

    def __repr__(self) -> str:
        return f"<Sharding {self.path} as {self._me.name}, owns {len(self.owned)} of {self._settings[0]}>"

    # --- looking

    @property
    def name(self) -> str:
        """Of this member."""
        return self._me.name

    @property
    def lease(self) -> Lease | None:
        """How long this object is a member: `lost` is set when it is none any more. None where it is none."""
        lease = self._lease
        return None if lease is None or lease.released or lease.is_lost() else lease

    @property
    def owned(self) -> Mapping[int, Lease]:
        """The partitions that this member has taken over, and not given up or lost, with the lease of each."""
        return {
            partition: holding.lease
            for partition, holding in sorted(self._held.items())
            if holding.is_acquired and not holding.lease.is_lost()
        }

    def route(self, key: Key) -> Route:
        """Who owns `key`: as `ShardMap.route`."""
        return self.map.route(key)

    async def wait_until_owned(self, *, timeout: float | None = None) -> bool:
        """As `ShardMap.wait_until_owned`."""
        return await self.map.wait_until_owned(timeout=timeout)

    def plan(self) -> MigrationPlan:
        """What is yet to move, and in which steps: from the table there is to what the ring wants for the members there
        are. Nothing happens by it. Raises NotStartedError, and NotMemberError where no member stays."""
        state = self.map.state
        wanted = self._wanted_by(state)
        if wanted is None or state.table is None:
            raise NotMemberError(f"nothing of {self.path} is assigned yet, or all its members leave")
        return plan_of(state.table.owners, wanted.owners, at_once=self._at_once)

    # --- life

    async def start(self) -> Lease:
        """Become a member, and own what is assigned from now on. Raises NodeExistsError where there is a member of that
        name; ConfigMismatchError where the others have other numbers of partitions or replicas; and
        SessionExpiredError or SessionClosedError. Cancelling it leaves no member behind."""
        if self._background is not None:
            raise NotStartedError(f"{self!r} was started before; close it first, or make a new one")
        port = self._port
        await self._agree(port)
        await self.map.start()
        try:
            joined = await self._membership.join()
            self._life = WithSession(port)
            self._lease = Lease(port, joined.path, joined.fencing_token, self._close, life=self._life)
            self._leaving.clear()
            self._background = port.spawn(self._keep, name=f"sharding {self.path}")
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except BaseException:
            self.map.cancel()
            raise
        return self._lease

    async def close(self) -> None:
        """Hand over what is owned, and be a member no more. Raises what ended it before, if anything but its session
        did. Cancelling it does not stop it."""
        lease = self._lease
        if lease is not None:
            await lease.release()
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def update(self, *, weight: float | None = None, address: str | None = None) -> None:
        """Own more or less from now on, or be reached elsewhere. Raises NotMemberError, and BadArgumentsError for what
        is no weight."""
        if self.lease is None:
            raise NotMemberError(f"only a member of {self.path} has something to update; start first")
        changed = self._me
        if weight is not None:
            changed = _checked(evolve(changed, weight=weight))
        if address is not None:
            changed = evolve(changed, address=address)
        await self._membership.update(changed.encode())
        self._me = changed

    async def __aenter__(self) -> Self:
        _ENTERED.push(self, Guarded(self._port, await self.start()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        body = _ENTERED.pop(self)
        if body is not None:
            try:
                await body.end(kind, error, trace)
            except LeaseLostError as lost:
                raise self._error or lost from None
        else:  # entered in another context, as fixtures of tests are
            await self.close()

    # --- within

    async def _agree(self, port: Port) -> None:
        data, _ = await get_or_create(port, self.path, encode_settings(*self._settings), FOR_EVER)
        if decode_settings(data) != self._settings:
            partitions, replicas = self._settings
            raise ConfigMismatchError(
                f"{self.path} was made with {data.decode(errors='replace')}, not with {partitions} partitions and "
                f"{replicas} replicas; give those, or another path"
            )
        try:
            await ask(port, CreateWithParents(f"{self.path}/claims", b"", acl=DEFAULT_ACL), FOR_EVER)
        except NodeExistsError:
            pass

    async def _close(self, lease: Lease) -> None:
        lease.end()
        background, self._background = self._background, None
        self._leaving.set()
        self._news.set()
        if background is not None:
            await self._port.wait(background.ended)

    async def _keep(self, port: Port) -> None:
        """In the background: do what the views ask for, until this member has left or its session ends."""
        assert self._lease is not None
        try:
            leave_at: float | None = None
            while not port.session.lost.is_set() and not (leave_at is not None and self._may_leave(leave_at)):
                self._news.clear()
                if self._leaving.is_set() and leave_at is None:
                    leave_at = port.now() + self._leave_within
                    self._me = evolve(self._me, is_leaving=True)
                    await self._announce(port)
                await self._act(port, self.map.state)
                await port.wait(self._news, port.session.lost, timeout=self._at_most(port, leave_at))
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes all
        except SessionError:
            pass
        except Exception as error:
            self._error = error
            await self._end(port)
            raise
        except BaseException:
            await self._end(port)
            raise
        await self._end(port)

    def _at_most(self, port: Port, leave_at: float | None) -> float | None:
        """Until when there may be something to do, whatever is heard."""
        now = port.now()
        times = [at - now for _, at in self._retries.values() if at > now]
        if leave_at is not None:
            times.append(max(leave_at - now, 0.0))
        return min(times, default=None)

    async def _announce(self, port: Port) -> None:
        """Have everybody know that this member leaves."""
        assert self._lease is not None
        path = self._lease.path
        try:
            await ask(
                port, Multi([made_at(path, self._lease.fencing_token), SetData(path, self._me.encode())]), FOR_EVER
            )
        except MultiError:
            pass  # somebody deleted it; there is nobody to leave

    def _may_leave(self, leave_at: float) -> bool:
        """Whether all is handed over, or there is nobody to take it, or no more time."""
        state = self.map.state
        others = any(not member.is_leaving for member in state.members.values())
        mine = state.table is not None and self._me.name in state.table.owners
        return not others or self._port.now() >= leave_at or not (mine or self._held)

    async def _act(self, port: Port, state: ShardState) -> None:
        """Do what a state asks for: plan, give up, claim. What it does is seen in a later one."""
        assert self._lease is not None
        me = state.members.get(self._me.name)
        if me is None or me.fencing_token != self._lease.fencing_token:
            if state.zxid < self._lease.fencing_token:
                return  # older than our joining
            raise NotMemberError(f"{self._lease.path} is gone: somebody deleted it, or wrote what is no member's")
        if min(state.members.values(), key=_token) is me:
            await self._plan(port, state)
        if state.table is None:
            return
        assigned = {partition for partition, owner in enumerate(state.table.owners) if owner == self._me.name}
        for partition, holding in self._held.items():
            if partition not in assigned:
                holding.stop.set()
        now = port.now()
        self._retries = {partition: retry for partition, retry in self._retries.items() if partition in assigned}
        free = [
            partition
            for partition in sorted(assigned)
            if partition not in self._held
            and state.routes[partition] is None
            and self._retries.get(partition, (0, now))[1] <= now
        ]
        for first in range(0, len(free), _CLAIMS_AT_ONCE):
            await self._claim(port, free[first : first + _CLAIMS_AT_ONCE], state.version)

    async def _plan(self, port: Port, state: ShardState) -> None:
        """Replace the table by the next one, if nobody has since what was seen."""
        assert self._lease is not None
        wanted = self._wanted_by(state)
        if wanted is None:
            return  # all leave
        claims = {route.partition: route.owner for route in state.routes if route is not None}
        following = next_table(
            state.table, state.members, claims, wanted, replicas=state.replicas, at_once=self._at_once
        )
        if following == state.table:
            return
        path, data = f"{self.path}/table", following.encode()
        replace: list[Request[Any]] = [Create(path, data, acl=DEFAULT_ACL)]
        if state.version:
            replace = [unchanged(path, state.version), SetData(path, data)]
        await self._try(port, Multi([self._still_member, *replace]))  # asked again it is refused, if it was done

    def _wanted_by(self, state: ShardState) -> Wanted | None:
        if self._wanted is None or self._wanted.nodes != staying(state.members.values()):
            self._wanted = Wanted.by(state.members.values(), self._placement, state.partitions)
        return self._wanted

    @property
    def _still_member(self) -> Request[Any]:
        assert self._lease is not None
        return made_at(self._lease.path, self._lease.fencing_token)

    async def _try(self, port: Port, request: Request[Any]) -> Any:
        """The answer to a transaction; None where what it rests on has changed, which a later state will show."""
        try:
            return await ask(port, request, FOR_EVER)
        except MultiError as error:
            if isinstance(error.error, BadVersionError | NoNodeError | NodeExistsError):
                return None
            raise error.error from None

    # --- owning

    async def _claim(self, port: Port, partitions: list[int], version: Zxid) -> None:
        """Own them from now on, if the table is still the same and nobody else does."""
        creates = [
            Create(self._claim_of(partition), self._me.name.encode(), acl=DEFAULT_ACL, mode=CreateMode.EPHEMERAL)
            for partition in partitions
        ]
        request = once(port, Multi([self._still_member, unchanged(f"{self.path}/table", version), *creates]))
        try:
            answers = await self._try(port, request)
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except BaseException:
            await port.tidy_up(partial(self._unclaim, request))
            raise
        if answers is None:
            return
        for partition, created in zip(partitions, answers[2:], strict=True):
            lease = Lease(port, created.path, created.stat.czxid, self._give_back)
            holding = self._held[partition] = _Holding(lease, port.signal())
            holding.background = port.spawn(
                partial(self._own, partition, holding), name=f"partition {partition} of {self.path}"
            )

    def _claim_of(self, partition: int) -> str:
        return f"{self.path}/claims/{partition:05}"

    async def _unclaim(self, request: Request[Any], port: Port) -> None:
        """Take back an interrupted claim. Asked again, the request says whether it was made."""
        try:
            answers = await self._try(port, request)
        except SessionError:
            return  # the end of the session has removed it
        for created in (answers or ())[2:]:
            await remove_made(port, created.path, created.stat.czxid)

    async def _own(self, partition: int, holding: _Holding, port: Port) -> None:
        """In the background: one partition, from its claim to its end."""
        lease = holding.lease
        try:
            await self._on_acquire(partition, lease.fencing_token)
            holding.is_acquired = True
            self._retries.pop(partition, None)
            self.failures.pop(partition, None)
            self._news.set()
            await port.wait(holding.stop, lease.lost)
        except GeneratorExit:
            raise  # nobody runs this coroutine any more
        except Exception as error:
            self.failures[partition] = error
            count = self._retries.get(partition, (0, 0.0))[0]
            pause = min(_FIRST_RETRY_SECONDS * 2**count, _LONGEST_RETRY_SECONDS)
            self._retries[partition] = count + 1, port.now() + pause
            await self._give_up(port, partition, holding)
            raise
        except BaseException:
            await self._give_up(port, partition, holding)
            raise
        await self._give_up(port, partition, holding)

    async def _give_up(self, port: Port, partition: int, holding: _Holding) -> None:
        """Drain a partition, if it was taken over, and only then let another have it."""
        lease = holding.lease
        try:
            if holding.is_acquired:
                await self._on_release(partition)
        finally:
            holding.is_acquired = False
            lease.end()
            await remove_made(port, lease.path, lease.fencing_token)
            self._held.pop(partition, None)
            self._news.set()

    async def _give_back(self, lease: Lease) -> None:
        raise NotMemberError(f"{lease.path} is given up when it is assigned to another member, or when this one leaves")

    async def _end(self, port: Port) -> None:
        """Give up all that is left, and leave."""
        assert self._lease is not None
        if not self._lease.released:
            self._life.lost.set()
        backgrounds = [holding.background for holding in self._held.values()]
        for holding in list(self._held.values()):
            holding.stop.set()
        for background in backgrounds:
            if background is not None:
                await port.wait(background.ended)
        await remove_made(port, self._lease.path, self._lease.fencing_token)
        self.map.cancel()  # not before: whoever waited for the end may have been cancelled, and this goes on


def _token(member: ShardMember) -> Zxid:
    return member.fencing_token


def _checked(member: ShardMember) -> ShardMember:
    try:
        member.node()
    except RingError as error:
        raise BadArgumentsError(str(error)) from None
    for what, said in (("rack", member.rack), ("address", member.address)):
        if not isinstance(said, str):
            raise BadArgumentsError(f"{what}={said!r} of member {member.name}; give a text")
    return member
