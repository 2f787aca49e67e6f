"""Plays of the barrier, as one that is passed and as one that is entered and left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

from attrs import define
from playing import CROWD, FAULTS, GRACE, WITH_EXPIRY, Work, crowd, everybody_goes_on, nobody_is_left, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

NEVER = float("inf")


@define
class _Wait:
    """Until `ended` the ensemble may take its party for one that waits, or is inside."""

    began: float
    ended: float = NEVER


class Waits:
    """Who has waited when, as far as the barrier can know."""

    def __init__(self, world: AppWorld) -> None:
        self._world = world
        self._all: dict[str, list[_Wait]] = {name: [] for name in CROWD}

    @contextmanager
    def waiting(self, name: str, client: zkcore.Client) -> Iterator[_Wait]:
        for wait in self._all[name]:  # one that crashed is gone before long
            wait.ended = min(wait.ended, self._world.now + GRACE)
        wait = _Wait(self._world.now)
        self._all[name].append(wait)
        try:
            yield wait
        except GeneratorExit:
            raise  # a crash
        except BaseException:
            # Where nobody could be told, the ensemble finds out later than the client.
            is_told = client.state is zkcore.SessionState.CONNECTED
            wait.ended = self._world.now + (0 if is_told else GRACE)
            raise
        wait.ended = self._world.now

    def were_all_there(self, since: float) -> bool:
        """Whether there were so many at some time since then; one who came back counts twice for a while."""
        return sum(wait.ended >= since for waits in self._all.values() for wait in waits) >= len(CROWD)

    def are_ghosts_there(self, now: float) -> bool:
        """Whether a party of the past may be taken for one that waits."""
        return any(wait.ended >= now for waits in self._all.values() for wait in waits[:-1])


@play(WITH_EXPIRY)
async def nobody_passes_a_barrier_before_all_are_there(world: AppWorld) -> None:
    waits = Waits(world)
    counts: Counter[str] = Counter()

    def work(name: str) -> Work:
        async def go_round(client: zkcore.Client) -> None:
            with waits.waiting(name, client) as wait:
                await zkcore.Barrier(client, "/barrier", parties=len(CROWD)).wait()
                assert waits.were_all_there(wait.began), f"{name} passes early"
                counts[name] += 1

        return go_round

    apps = crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    await apps.rest()
    await nobody_is_left(world, "/barrier")
    await the_last_one_lets_all_pass(world)


async def the_last_one_lets_all_pass(world: AppWorld) -> None:
    async with AsyncExitStack() as clients:
        waiting: list[asyncio.Task[int]] = []
        for _ in CROWD:
            assert not any(task.done() for task in waiting), "somebody passes early"
            client = await clients.enter_async_context(world.client())
            waiting.append(asyncio.create_task(zkcore.Barrier(client, "/barrier", parties=len(CROWD)).wait()))
            await world.sleep(1)
        assert sorted(await asyncio.gather(*waiting)) == list(range(len(CROWD)))


@play(FAULTS)
async def nobody_leaves_a_barrier_before_all_are_done(world: AppWorld) -> None:
    waits = Waits(world)
    counts: Counter[str] = Counter()
    rng = world.rng("work")
    inside: dict[str, tuple[float, zkcore.Client]] = {}

    def work(name: str) -> Work:
        async def go_in_and_out(client: zkcore.Client) -> None:
            barrier = zkcore.Barrier(client, "/barrier", parties=len(CROWD))
            try:
                with waits.waiting(name, client) as wait:
                    async with barrier:
                        assert waits.were_all_there(wait.began), f"{name} passes early"
                        inside[name] = wait.began, client
                        await asyncio.sleep(rng.choice((0.01, 1.0)))
                        inside.pop(name)
                    assert not at_work(), f"{name} leaves before {at_work()} are done"
                    counts[name] += 1
            finally:
                inside.pop(name, None)

        return go_in_and_out

    def at_work() -> list[str]:
        """Those who are inside and not gone, for all that the ensemble can know; and in the same round as who asks:
        with a ghost among those who passed it may be another."""
        return [
            name
            for name, (began, client) in inside.items()
            if client.port.session.alive_until > world.now and not waits.are_ghosts_there(began)
        ]

    apps = crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    await apps.rest()
    await nobody_is_left(world, "/barrier")
