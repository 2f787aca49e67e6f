"""Plays of the election."""

from __future__ import annotations

import asyncio

from playing import ENDED, FAULTS, Leases, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(FAULTS)
async def one_leads_and_in_the_end_everybody_sees_who(world: AppWorld) -> None:
    leases = Leases(world)
    seen: dict[str, zkcore.Contender | None] = {}

    def work(name: str) -> Work:
        async def lead(client: zkcore.Client) -> None:
            election = zkcore.Election(client, "/leader", identifier=name)
            observing = asyncio.create_task(observe(election))
            try:
                async with election.lead() as term:
                    leases.begin(name, term)
                    await asyncio.sleep(0.4)
                    term.check()
                await asyncio.sleep(0.1)
            finally:
                observing.cancel()
                await asyncio.wait([observing])

        async def observe(election: zkcore.Election) -> None:
            try:
                async for leader in election.observe():
                    seen[name] = leader
            except ENDED:
                pass

        return lead

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, leases.counts)
    newest = max(leases.tokens)
    await world.eventually(
        "everybody sees later leaders",
        lambda: all(leader is not None and leader.fencing_token > newest for leader in seen.values()),
        within=60,
    )
