"""Bugs of the semaphore."""

from __future__ import annotations

from planting import plant

from zkcore.client.port import Port
from zkcore.errors import MultiError
from zkcore.recipes.semaphore import _Admission, _Permits
from zkcore.recipes.waiting import Patience
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import CheckStat, Delete, GetChildren, Request

PLAY = "never_more_hold_it_than_there_are_permits_and_all_get_on"


def _one_more(real: Real) -> Real:
    def state_of(self: _Permits, data: bytes, stat: object) -> object:
        state = real(self, data, stat)
        return state._replace(permits=state.permits + 1)

    return state_of


def _counted_by_the_client(real: Real) -> Real:
    async def try_to(
        self: _Admission, port: Port, patience: Patience, state: object, condition: Request[object]
    ) -> bool:
        if isinstance(condition, Delete):
            return await real(self, port, patience, state, condition)  # type: ignore[no-any-return]
        permits = await port.request(GetChildren(self._semaphore.permits))
        if len(permits) >= state.permits:  # type: ignore[attr-defined]
            return False
        try:
            await self._permit.enter(port, patience, conditions=[condition])
        except MultiError:
            return False  # somebody has come to wait
        return True

    return try_to


def _stays_in_line(real: Real) -> Real:
    async def try_to(
        self: _Admission, port: Port, patience: Patience, state: object, condition: Request[object]
    ) -> bool:
        if isinstance(condition, Delete):
            condition = CheckStat(condition.path, [])
        return await real(self, port, patience, state, condition)  # type: ignore[no-any-return]

    return try_to


def _leaves_half(_: Real) -> Real:
    async def leave(self: _Admission, port: Port) -> None:
        await self._permit.leave(port)

    return leave


plant(
    "one-permit-more",
    "one more gets a permit than there are",
    (_Permits, "state_of", _one_more),
    play=PLAY,
    seed=0,
)
plant(
    "permits-counted-by-clients",
    "who finds nobody in line counts the permits itself, and others do so at the same time",
    (_Admission, "_try", _counted_by_the_client),
    play=PLAY,
    seed=0,
)
plant(
    "stays-in-line",
    "who got a permit stays in line as well, in front of all others",
    (_Admission, "_try", _stays_in_line),
    play=PLAY,
    seed=0,
)
plant(
    "waiter-orphan",
    "who gives up leaves its place in the line to the end of the session",
    (_Admission, "leave", _leaves_half),
    play=PLAY,
    seed=0,
)
