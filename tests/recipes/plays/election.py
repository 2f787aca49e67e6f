"""Plays of the election."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import (
    ENDED,
    FAULTS,
    WITH_EXPIRY,
    Leases,
    Work,
    crowd,
    everybody_goes_on,
    nobody_is_left,
    play,
    storm,
)

import zkcore
from zkcore.testing.app_world import AppWorld


@play(FAULTS)
async def one_leads_and_in_the_end_everybody_sees_who(world: AppWorld) -> None:
    leases = Leases(world)
    rng = world.rng("resigning")
    seen: dict[str, zkcore.Contender | None] = {}
    saw_itself: Counter[str] = Counter()

    def work(name: str) -> Work:
        async def lead(client: zkcore.Client) -> None:
            election = zkcore.Election(client, "/leader", identifier=name)
            observing = asyncio.create_task(observe(election))
            try:
                async with election.lead() as term:
                    leases.begin(name, term)
                    candidates = await election.candidates()
                    assert term.is_lost() or candidates[0].fencing_token == term.fencing_token
                    await asyncio.sleep(0.4)
                    term.check()
                    if rng.random() < 0.5:
                        await election.resign()
                        assert not election.is_leader
                await asyncio.sleep(0.1)
            except zkcore.NotLeaderError:
                pass  # the term was lost before it was resigned
            finally:
                observing.cancel()
                await asyncio.wait([observing])

        async def observe(election: zkcore.Election) -> None:
            try:
                async for leader in election.observe():
                    seen[name] = leader
                    saw_itself[name] += leader is not None and leader.identifier == name
            except ENDED:
                pass

        return lead

    apps = crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, leases.counts)
    await everybody_goes_on(world, saw_itself)
    newest = max(leases.tokens)
    await world.eventually(
        "everybody sees later leaders",
        lambda: all(leader is not None and leader.fencing_token > newest for leader in seen.values()),
        within=60,
    )
    await apps.rest()
    await nobody_is_left(world, "/leader")


@play(WITH_EXPIRY)
async def whoever_led_before_is_not_obeyed_any_more(world: AppWorld) -> None:
    """What a leader does is run, and cancelled when its term is lost; where that comes too late, the token tells."""
    orders = world.fenced_resource("orders", value=0)
    counts: Counter[str] = Counter()
    world.always("no order is lost", lambda: orders.value == len(orders.history))

    def work(name: str) -> Work:
        async def stand(client: zkcore.Client) -> None:
            election = zkcore.Election(client, "/leader", identifier=name)
            counts[name] += await election.run(give_orders, election, 3)

        return stand

    async def give_orders(election: zkcore.Election, number: int) -> int:
        for _ in range(number):
            term = election.term
            if term is None:
                return 0  # it was lost just now
            if not await asyncio.shield(asyncio.create_task(order(term.fencing_token))):
                return 0  # a later leader was here
        return 1

    async def order(token: int) -> bool:
        """What has begun is not cancelled with the term, as by one who does not yield."""
        try:
            newest = await orders.read(token=token)
            await asyncio.sleep(0.2)
            await orders.write(newest + 1, token=token)
        except zkcore.StaleTokenError:
            return False
        return True

    apps = crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    await apps.rest()
    await nobody_is_left(world, "/leader")
