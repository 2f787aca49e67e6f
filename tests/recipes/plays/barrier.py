"""Plays of the barrier."""

from __future__ import annotations

from collections import Counter

from playing import CROWD, GRACE, WITH_EXPIRY, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(WITH_EXPIRY)
async def nobody_passes_a_barrier_before_all_are_there(world: AppWorld) -> None:
    waits: dict[str, list[list[float]]] = {name: [] for name in CROWD}
    counts: Counter[str] = Counter()

    def were_all_there(since: float) -> bool:
        """Whether each of them waited at some time since then."""
        return all(any(end >= since for _, end in waits[name]) for name in CROWD)

    def work(name: str) -> Work:
        async def go_round(client: zkcore.Client) -> None:
            began = world.now
            waits[name].append([began, float("inf")])  # that of an app that crashed never ends: it may have passed
            mine = waits[name][-1]
            try:
                await zkcore.Barrier(client, "/barrier", parties=len(CROWD)).wait()
                assert were_all_there(began), f"{name} passes early"
                counts[name] += 1
                mine[1] = world.now
            except zkcore.SessionError:
                mine[1] = world.now + GRACE  # the ensemble may find out later than its client
                raise
            except BaseException:
                mine[1] = world.now
                raise

        return go_round

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
