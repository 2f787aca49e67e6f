"""Claiming: an item is one worker's while it works on it, and is deleted when the work is done.

Where the work fails, the session ends, or the worker does not get on, the item is there for the next, where it stood.
Where it was given out as often as it may be, it becomes a dead letter, in the very transaction that gives it up.

This module must not know how items are kept, nor in which order.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, TypeVar

from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    LeaseLostError,
    MultiError,
    NoNodeError,
    NotClaimedError,
    QueueEmptyError,
    SessionError,
)
from zkcore.recipes.codec import Codec, from_bytes
from zkcore.recipes.contender import made_at, remove_made
from zkcore.recipes.entered import Entered
from zkcore.recipes.guarded import Guarded
from zkcore.recipes.lease import Lease
from zkcore.recipes.places import check_delay, claim_of, holding_back
from zkcore.recipes.renewal import Renewal
from zkcore.recipes.stock import Found, Stock, has_raced
from zkcore.recipes.waiting import FOR_EVER, Patience, ask, ask_once, nonce
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.requests import Create, Delete, GetData, Multi, Request, SetData
from zkcore.tree.znode import CreateMode

__all__ = ["Claim", "Claiming", "claimed_here"]

T = TypeVar("T")

_ENTERED: Entered[Claim[Any]] = Entered("zkcore_claims_entered")


class Claim(Generic[T]):
    """One item that was claimed: nobody else gets it while `lease` is held.

    Made by `Queue.claim`, whose end acknowledges it. `item` may have been given out before, where an earlier claimant
    failed: after it did its work, perhaps, and before it could say so.
    """

    def __init__(self, delivery: Delivery, item: T) -> None:
        self._delivery = delivery
        self.item = item
        """What was put."""
        self.lease = delivery.lease
        """How long the claim is held; its fencing token is higher than that of every earlier claim of the same item."""
        self.deliveries = delivery.deliveries
        """How often the item was claimed, this time included. A claimant that was interrupted before it saw the item
        counts, too."""

    def __repr__(self) -> str:
        return f"<Claim of {self._delivery.name} {self.lease!r}>"

    def progress(self) -> None:
        """The work gets on: a claim with a visibility timeout is renewed, in the background. Call it as often as you
        like; it is local. Raises LeaseLostError where the claim was lost, or given up. A claim without a visibility
        timeout lasts as long as the session anyway."""
        self.lease.check()
        if self._delivery.renewal is not None:
            self._delivery.renewal.progress()

    async def ack(self) -> None:
        """The work is done: delete the item. Raises LeaseLostError where the claim was lost, or given up: then somebody
        else may have got it. Cancelling it does not stop it."""
        if self.lease.released:
            self.lease.check()
        await self._delivery.acknowledge()

    async def release(self, *, delay: float = 0) -> None:
        """Give the item back, to be given out again where it stood; with a `delay` not before so many seconds have
        passed, on the clocks of those who look for items. It becomes a dead letter where it was given out
        `max_deliveries` times. Doing it twice, or after `ack`, does nothing. Raises BadArgumentsError."""
        check_delay(delay)
        if not self.lease.released:
            await self._delivery.give_up("it was released", delay=delay)


class Delivery:
    """One claim of an item, as the queue sees it: what ends it one way or the other, and only once."""

    def __init__(
        self, stock: Stock, found: Found, data: bytes, lease_path: str, token: int, *, renewal: Renewal | None
    ) -> None:
        port = stock.client.port
        self._stock = stock
        self.data = data
        self.name = found.name
        self.deliveries = found.stat.version + 1
        self.renewal = renewal
        self.lease = Lease(port, lease_path, token, self._release, life=renewal)

    async def acknowledge(self) -> None:
        """The item goes. Raises LeaseLostError."""
        self._end()
        await self._stock.client.port.shield(self._acknowledge)

    async def give_up(self, reason: str, *, delay: float = 0) -> None:
        """The item is there for the next, after `delay` seconds; or is a dead letter."""
        self._end()
        await self._stock.client.port.shield(lambda port: self._give_up(port, reason, delay))

    async def _release(self, lease: Lease) -> None:
        await self.give_up("it was released")

    def _end(self) -> None:
        self.lease.end()
        if self.renewal is not None:
            self.renewal.end()

    async def _acknowledge(self, port: Port) -> None:
        lease = self.lease
        deletions = [Delete(lease.path), Delete(f"{self._stock.items}/{self.name}")]
        try:
            await ask_once(port, Multi([made_at(lease.path, lease.fencing_token), *deletions]), FOR_EVER)
        except (MultiError, SessionError) as error:
            raise LeaseLostError(
                f"the claim {lease.path} was lost before it was acknowledged; somebody else gets the item, "
                "and will do the work again"
            ) from error

    async def _give_up(self, port: Port, reason: str, delay: float) -> None:
        stock, lease = self._stock, self.lease
        what: list[Request[Any]] = [made_at(lease.path, lease.fencing_token), Delete(lease.path)]
        if stock.max_deliveries is not None and self.deliveries >= stock.max_deliveries:
            what += stock.burial(self.name, self.data, self.deliveries, reason)
        elif delay:
            what.append(Create(lease.path, holding_back(port.wall() + delay), acl=DEFAULT_ACL))
        try:
            await ask(port, Multi(what), FOR_EVER)
        except MultiError:
            # The claim is gone; or there is no room for what is to be, and then who looks next finds out.
            await remove_made(port, lease.path, lease.fencing_token)
        except SessionError:
            pass  # the end of the session has removed the claim


class Claiming(Generic[T]):
    """A claim as a context manager that gives a Claim; see `Queue.claim`. It is entered once. The body is cancelled
    when the claim is lost, and the `with` ends in LeaseLostError, as that of a lock."""

    def __init__(
        self, stock: Stock, codec: Codec[T], *, timeout: float | None, visibility_timeout: float | None
    ) -> None:
        if visibility_timeout is not None and not 0 < visibility_timeout < float("inf"):
            raise BadArgumentsError(
                f"a visibility timeout of {visibility_timeout} seconds; give a positive one, or None for a claim that "
                "lasts as long as the session"
            )
        self._stock = stock
        self._codec = codec
        self._timeout = timeout
        self._visibility_timeout = visibility_timeout
        self._claim: Claim[T] | None = None
        self._body: Guarded | None = None

    async def __aenter__(self) -> Claim[T]:
        stock = self._stock
        port = stock.client.port
        delivery = await stock.take(port, Patience(port, self._timeout), self._try_to_claim)
        if delivery is None:
            raise QueueEmptyError(f"{stock.path} had no item to give in time")
        try:
            item = from_bytes(self._codec, delivery.data, where=stock.path)
        except CodecError as error:
            await delivery.give_up(str(error))
            raise
        self._claim = Claim(delivery, item)
        _ENTERED.push(stock, self._claim)
        self._body = Guarded(port, delivery.lease)
        return self._claim

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        claim, body = self._claim, self._body
        assert claim is not None
        assert body is not None
        _ENTERED.remove(self._stock, claim)

        async def give_up() -> None:
            if not claim.lease.released:
                if error is None:
                    await claim.ack()
                else:
                    await claim._delivery.give_up(f"{type(error).__name__}: {error}")

        await body.end(kind, error, trace, give_up)

    async def _try_to_claim(self, port: Port, found: Found, patience: Patience) -> Delivery | None:
        """The item, claimed; None where somebody else has it, or had it."""
        stock, name = self._stock, found.name
        item, path = f"{stock.items}/{name}", f"{stock.claims}/{name}"
        mine = claim_of(nonce(port), self._visibility_timeout)
        try:
            data, stat = await ask(port, GetData(item), patience)
        except NoNodeError:
            return None
        if stat.czxid != found.stat.czxid:
            return None
        claim: list[Request[Any]] = [
            *stock.freeing(name, found.held),
            stock.as_seen(found),
            SetData(item, data),
            Create(path, mine, acl=DEFAULT_ACL, mode=CreateMode.EPHEMERAL),
        ]
        sent_at = port.now()
        try:
            answer = await ask_once(port, Multi(claim), patience)
            created: Any = answer[-1]
            renewal = self._renewal(port, path, created.stat.czxid, mine, sent_at)
        except MultiError as error:
            if has_raced(error):
                return None
            raise error.error from None
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes the claim
        except BaseException:
            await port.tidy_up(lambda port: _unclaim(port, path, mine))
            raise
        return Delivery(stock, found, data, path, created.stat.czxid, renewal=renewal)

    def _renewal(self, port: Port, path: str, token: int, data: bytes, sent_at: float) -> Renewal | None:
        if self._visibility_timeout is None:
            return None
        timeout = self._visibility_timeout
        renewal = Renewal(port, path, token, data=data, visibility_timeout=timeout, sent_at=sent_at)
        renewal.begin()
        return renewal


def claimed_here(stock: Stock) -> Claim[Any]:
    """The claim that this task or thread is in the body of, the innermost. Raises NotClaimedError."""
    claim = _ENTERED.innermost(stock)
    if claim is None or claim.lease.released:
        raise NotClaimedError(
            f"nothing of {stock.path} is claimed here, or it is acknowledged already; what `get` gives out is done for "
            "the queue, so work that it shall wait for is claimed: `with queue.claim() as claim`"
        )
    return claim


async def _unclaim(port: Port, path: str, mine: bytes) -> None:
    """Remove a claim, if it came to be."""
    try:
        data, stat = await ask(port, GetData(path), FOR_EVER)
        if data == mine:
            await remove_made(port, path, stat.czxid)
    except (NoNodeError, SessionError):
        pass
