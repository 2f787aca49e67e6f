"""Plays of migrations."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import CROWD, FAULTS, Leases, Work, crowd, everybody_goes_on, nobody_is_left, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

STEPS = tuple(f"step-{number}" for number in range(8))


class OutOfPaperError(Exception):
    """What a step could not do."""


@play(FAULTS)
async def each_step_is_done_once_and_in_order(world: AppWorld) -> None:
    """Everybody migrates when it starts. Steps take their time, some fail; whoever runs one dies, or is cancelled."""
    leases = Leases(world)
    finished: dict[str, int] = {}  # of each step, the highest token with which it came to its end
    done: set[str] = set()  # those that are recorded, as somebody was told
    counts: Counter[str] = Counter()

    def work(name: str) -> Work:
        rng = world.rng(f"failing/{name}")

        async def migrate(client: zkcore.Client) -> None:
            async def run(step: zkcore.MigrationStep) -> None:
                if not leases.tokens or step.token != leases.tokens[-1]:
                    leases.begin(name, step.lease)
                number = STEPS.index(step.name)
                assert step.name not in done, f"{name} runs {step.name}, which is done"
                assert finished.keys() >= set(STEPS[:number]), f"{name} runs {step.name} before those in front of it"
                assert step.is_again or step.name not in finished, f"{name} runs {step.name} as if for the first time"
                done.update(STEPS[:number])  # it comes only behind those that are recorded
                await asyncio.sleep(rng.uniform(0.2, 0.8))
                if rng.random() < 0.2:
                    raise OutOfPaperError
                step.lease.check()
                finished[step.name] = step.token

            migrations = zkcore.Migrations(client, "/migrations", dict.fromkeys(STEPS, run))
            try:
                ran = await migrations.migrate(timeout=20)
                assert finished.keys() == set(STEPS)
                assert await migrations.applied() == STEPS
                done.update(STEPS)
                counts[name] += 1
                assert set(ran) <= done
                await asyncio.sleep(0.5)
            except (OutOfPaperError, zkcore.LockTimeoutError):
                pass

        return migrate

    apps = crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts, within=120)
    assert set(CROWD) <= counts.keys()
    await apps.rest()
    await nobody_is_left(world, "/migrations/lock")
