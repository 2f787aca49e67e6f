"""Bugs of queues: of putting and taking, of priorities and delays, of claims, and of the end."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from planting import plant

from zkcore.client.port import Port
from zkcore.errors import MultiError, NodeExistsError, NoNodeError, SessionError
from zkcore.recipes import queue as queue_module
from zkcore.recipes import stock as stock_module
from zkcore.recipes.claiming import Delivery
from zkcore.recipes.contender import made_at
from zkcore.recipes.renewal import Renewal
from zkcore.recipes.stock import Found, Held, Stock
from zkcore.recipes.waiting import FOR_EVER, Patience, Watch, ask, pause
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import CheckAbsent, Delete, Multi, Request

TRADE = "a_queue_gives_nothing_out_twice_and_loses_nothing"
ORDERS = "priorities_and_delays_are_kept"
DUE = "who_waits_for_what_is_delayed_gets_it_when_it_is_due"
FAILURES = "what_fails_too_often_becomes_a_dead_letter_and_is_not_lost"
HANGING = "a_claim_lasts_as_long_as_its_worker_gets_on"
CLOSING = "a_queue_that_is_shut_down_gives_out_all_it_has"
CLOSING_AT_ONCE = "an_immediate_shutdown_gives_out_nothing_more_and_holds_up_no_join"


# --- putting and taking -----------------------------------------------------------------------------------------------


def _asks_again(_: Real) -> Real:
    async def ask_once(port: Port, request: Request[Any], patience: Patience) -> Any:
        return await ask(port, request, patience)

    return ask_once


def _never_looks_for_claims(_: Real) -> Real:
    async def look_at_claims(self: Stock, port: Port, patience: Patience) -> dict[str, Held]:
        return {}

    return look_at_claims


def _takes_what_is_claimed(_: Real) -> Real:
    def freeing(self: Stock, name: str, held: Held | None) -> list[Request[Any]]:
        return []

    return freeing


def _takes_without_asking_whether_it_was_first(real: Real) -> Real:
    async def _try_to_get(self: Any, port: Port, found: Found, patience: Patience) -> tuple[Any] | None:
        try:
            data, _ = await self._client.get(f"{self._stock.items}/{found.name}")
        except NoNodeError:
            return None
        taken: tuple[Any] | None = await real(self, port, found, patience)
        return (self._codec.decode(data),) if taken is None else taken

    return _try_to_get


plant(
    "put-again",
    "an item whose putting was not answered is put again",
    (stock_module, "ask_once", _asks_again),
    play=HANGING,
    seed=0,
)
plant(
    "delivered-twice",
    "an item is given out although the transaction that takes it was refused",
    (queue_module._Shared, "_try_to_get", _takes_without_asking_whether_it_was_first),
    play=TRADE,
    seed=0,
)
plant(
    "claimed-item-got",
    "what somebody has claimed is given to who gets as well",
    (Stock, "look_at_claims", _never_looks_for_claims),
    (Stock, "freeing", _takes_what_is_claimed),
    play=TRADE,
    seed=1,
)


# --- priorities and delays --------------------------------------------------------------------------------------------


def _without_zeros(_: Real) -> Real:
    def prioritized(priority: int) -> str:
        return f"i-{priority}-"

    return prioritized


def _half_a_second_early(real: Real) -> Real:
    def due(name: str) -> float:
        return float(real(name)) - 0.5

    return due


def _only_what_changes_counts(real: Real) -> Real:
    async def changed(self: Watch, patience: Patience, *, at_most: float = inf) -> bool:
        return bool(await real(self, patience))

    return changed


def _moved_in_two_steps(_: Real) -> Real:
    async def _move(self: Stock, port: Port, patience: Patience) -> None:
        page = await ask(
            port,
            stock_module.ListChildren(self.items, prefix="d-", limit=1, with_stat=True, with_data=True),
            patience,
        )
        for name, stat, data in page.children:
            path = f"{self.items}/{name}"
            if stock_module.due(name) > port.wall():
                return
            try:
                await ask(port, Multi([made_at(path, stat.czxid), Delete(path)]), patience)
            except MultiError:
                return
            await pause(port)
            await ask(port, self.creation(port, stock_module.undelayed(name), data or b""), patience)

    return _move


plant(
    "priority-inverted",
    "priorities are compared digit by digit, so that 10 comes before 2",
    (queue_module, "prioritized", _without_zeros),
    play=ORDERS,
    seed=9,
)
plant(
    "delayed-early",
    "what is delayed is given out half a second before it is due",
    (stock_module, "due", _half_a_second_early),
    play=ORDERS,
    seed=0,
)
plant(
    "due-unnoticed",
    "who waits for an item is woken by changes, and not because one is due",
    (Watch, "changed", _only_what_changes_counts),
    play=DUE,
    seed=0,
)
plant(
    "moved-in-two-steps",
    "an item that is due is deleted first, and put into the line then",
    (Stock, "_move", _moved_in_two_steps),
    play=DUE,
    seed=20,
)


# --- claims -----------------------------------------------------------------------------------------------------------


def _buried_in_two_steps(_: Real) -> Real:
    async def _give_up(self: Delivery, port: Port, reason: str, delay: float) -> None:
        stock, lease = self._stock, self.lease
        own: list[Request[Any]] = [made_at(lease.path, lease.fencing_token), Delete(lease.path)]
        is_last = self.deliveries >= (stock.max_deliveries or inf)
        removal, letter = stock.burial(self.name, self.data, self.deliveries, reason)
        try:
            await ask(port, Multi([*own, removal] if is_last else own), FOR_EVER)
            if is_last:
                await pause(port)
                await ask(port, letter, FOR_EVER)
        except (MultiError, NodeExistsError, SessionError):
            pass

    return _give_up


def _thrown_away(_: Real) -> Real:
    async def bury(self: Stock, port: Port, found: Found, patience: Patience, **_: Any) -> bool:
        path = f"{self.items}/{found.name}"
        try:
            await ask(port, Multi([*self.freeing(found.name, found.held), Delete(path)]), patience)
        except MultiError:
            return False
        return True

    return bury


def _aged_from_its_creation(real: Real) -> Real:
    async def look_at_claims(self: Stock, port: Port, patience: Patience) -> dict[str, Held]:
        seen = dict(self._sightings)
        claims: dict[str, Held] = await real(self, port, patience)
        now = port.now()
        for name, (mzxid, since) in list(self._sightings.items()):
            begun = seen[name][1] if name in seen and claims[name].czxid <= seen[name][0] else since
            self._sightings[name] = (mzxid, begun)
            claims[name] = claims[name]._replace(left=claims[name].left - (since - begun))
            assert now >= begun
        return claims

    return look_at_claims


def _taken_over_unseen(_: Real) -> Real:
    def freeing(self: Stock, name: str, held: Held | None) -> list[Request[Any]]:
        path = f"{self.claims}/{name}"
        return [CheckAbsent(path)] if held is None else [Delete(path)]

    return freeing


def _only_items_are_watched(_: Real) -> Real:
    async def _watch_all(self: Stock, watch: Watch, patience: Patience) -> None:
        await watch.ask(stock_module.GetChildren(self.items, watch=True), patience)

    return _watch_all


def _renewed_whatever_the_worker_does(_: Real) -> Real:
    async def _keep(self: Renewal, port: Port) -> None:
        while not (self._ended.is_set() or port.session.lost.is_set()):
            await port.wait(self._ended, port.session.lost, timeout=self._left(port, self._timeout / 3))
            if self._ended.is_set() or not await self._renew(port):
                break
        if not self._ended.is_set():
            self.lost.set()

    return _keep


plant(
    "buried-in-two-steps",
    "an item that becomes a dead letter is deleted first, and written among them then",
    (Delivery, "_give_up", _buried_in_two_steps),
    play=FAILURES,
    seed=0,
)
plant(
    "dead-letter-lost",
    "an item whose last claimant died is thrown away",
    (Stock, "bury", _thrown_away),
    play=FAILURES,
    seed=0,
)
plant(
    "stolen-from-a-live-worker",
    "claims of others are timed from their creation, renewed or not",
    (Stock, "look_at_claims", _aged_from_its_creation),
    play=HANGING,
    seed=0,
)
plant(
    "taken-over-unseen",
    "a claim is taken over that was renewed meanwhile",
    (Stock, "freeing", _taken_over_unseen),
    play=HANGING,
    seed=73,
)
plant(
    "renewed-without-progress",
    "a claim is renewed whatever its worker does",
    (Renewal, "_keep", _renewed_whatever_the_worker_does),
    play=HANGING,
    seed=0,
)
plant(
    "redelivery-lost",
    "who waits for an item hears of no claim that was given up",
    (Stock, "_watch_all", _only_items_are_watched),
    play=CLOSING,
    seed=32,
)


# --- the end ----------------------------------------------------------------------------------------------------------


def _puts_all_the_same(real: Real) -> Real:
    async def _try_to_put(port: Port, request: Multi, patience: Patience) -> bool:
        return bool(await real(port, Multi(request.operations[1:]), patience))

    return _try_to_put


def _leaves_what_is_claimed(real: Real) -> Real:
    async def _heed_shutdown(self: Stock, port: Port, patience: Patience, *, is_empty: bool) -> None:
        claims = await self.look_at_claims(port, patience)
        names = await ask(port, stock_module.GetChildren(self.items), patience)
        await real(self, port, patience, is_empty=set(names) <= claims.keys())

    return _heed_shutdown


def _joined_when_all_is_claimed(_: Real) -> Real:
    async def empty_out(self: Stock, port: Port, patience: Patience) -> bool:
        await self.ensure(port, patience, check=False)
        watch = Watch(port)
        try:
            while True:
                items: Sequence[str] = await watch.ask(stock_module.GetChildren(self.items, watch=True), patience)
                claims: Sequence[str] = await watch.ask(stock_module.GetChildren(self.claims, watch=True), patience)
                if set(items) <= set(claims):
                    return True
                if not await watch.changed(patience):
                    return False
        finally:
            watch.end()

    return empty_out


def _left_lying(_: Real) -> Real:
    async def empty_out(self: Stock, port: Port, patience: Patience) -> bool:
        await self.ensure(port, patience, check=False)
        watch = Watch(port)
        try:
            while await watch.ask(stock_module.GetChildren(self.items, watch=True), patience):
                if not await watch.changed(patience):
                    return False
            return True
        finally:
            watch.end()

    return empty_out


plant(
    "put-after-shutdown",
    "an item is put into a queue that is shut down",
    (stock_module, "_try_to_put", _puts_all_the_same),
    play=CLOSING,
    seed=0,
)
plant(
    "shutdown-leaves-claims",
    "workers are told that nothing will come while others may still give something back",
    (Stock, "_heed_shutdown", _leaves_what_is_claimed),
    play=CLOSING,
    seed=3,
)
plant(
    "joined-early",
    "what is claimed counts as done",
    (Stock, "empty_out", _joined_when_all_is_claimed),
    play=CLOSING,
    seed=0,
)
plant(
    "joined-never",
    "what comes back after an immediate shutdown is waited for",
    (Stock, "empty_out", _left_lying),
    play=CLOSING_AT_ONCE,
    seed=0,
)
