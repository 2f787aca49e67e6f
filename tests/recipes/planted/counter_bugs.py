"""Bugs of what is counted: numbers, ids in blocks, and ids in the order of time."""

from __future__ import annotations

from typing import Any, cast

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes import stored as stored_module
from zkcore.recipes.ids import IdGenerator
from zkcore.recipes.lease import Lease
from zkcore.recipes.stored import Raw, Stored
from zkcore.recipes.time_ids import TimeIdGenerator
from zkcore.recipes.waiting import FOR_EVER, ask
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Check, Request, SetData

SUM = "a_counter_is_the_sum_of_what_was_added"
ONCE = "an_id_is_given_out_once"
TIME = "an_id_of_time_is_made_once_and_by_nobody_who_has_lost_his_number"


def _asked_again(_: Real) -> Real:
    async def settle(port: Port, request: Request[Any]) -> Any:
        return await ask(port, request, FOR_EVER)

    return settle


def _whatever_is_stored(_: Real) -> Real:
    def unchanged(path: str, zxid: int) -> Check:
        return Check(path)

    return unchanged


def _remembered(real: Real) -> Real:
    async def _reserve(self: Any, least: int, most: int) -> range:
        if not hasattr(self, "behind"):
            block = cast(range, await real(self, least, most))
        else:
            block = range(self.behind, self.behind + most)
            stored: Stored = self._next_free._stored
            await ask(stored._client.port, SetData(self.path, b"%d" % block.stop), FOR_EVER)
        self.behind = block.stop
        return block

    return _reserve


def _nothing(_: Real) -> Real:
    def check(self: Lease) -> None:
        pass

    return check


def _never_used(_: Real) -> Real:
    def _decoded(self: TimeIdGenerator, raw: Raw | None) -> int:
        return -1

    return _decoded


def _kept_to_itself(_: Real) -> Real:
    async def _raise_mark(self: Any, port: Port, lease: Lease, time_ms: int) -> None:
        self._mark_ms = time_ms

    return _raise_mark


plant(
    "counter-added-twice",
    "what was added and not answered is added again",
    (stored_module, "settle", _asked_again),
    play=SUM,
    seed=5,
)
plant(
    "counter-overwritten",
    "a sum is stored whatever somebody else has stored meanwhile",
    (stored_module, "unchanged", _whatever_is_stored),
    play=SUM,
    seed=0,
)
plant(
    "id-block-reused",
    "a generator reserves its next block behind its last one, as it remembers it, however long it was paused",
    (IdGenerator, "_reserve", _remembered),
    play=ONCE,
    seed=0,
)
plant(
    "time-id-after-lease",
    "a worker makes ids without looking whether it still has its number",
    (Lease, "check", _nothing),
    play=TIME,
    seed=1,
)
plant(
    "time-id-mark-ignored",
    "the next worker of a number begins where its own clock is",
    (TimeIdGenerator, "_decoded", _never_used),
    play=TIME,
    seed=20,
)
plant(
    "time-id-mark-untold",
    "a worker goes on without having the ensemble know how far",
    (TimeIdGenerator, "_raise_mark", _kept_to_itself),
    play=TIME,
    seed=0,
)
