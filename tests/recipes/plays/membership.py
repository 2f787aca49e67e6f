"""Plays of the membership."""

from __future__ import annotations

import asyncio

from playing import CROWD, WITH_EXPIRY, Work, crowd, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(WITH_EXPIRY)
async def in_the_end_everybody_sees_everybody(world: AppWorld) -> None:
    views: dict[str, frozenset[str]] = {}

    def work(name: str) -> Work:
        async def join(client: zkcore.Client) -> None:
            group = zkcore.Membership(client, "/group", name=name)
            try:
                async with group:
                    async for members in group.changes():
                        views[name] = frozenset(member.name for member in members)
            except zkcore.NodeExistsError:
                await asyncio.sleep(0.5)  # this app as it was before, whose session has not expired yet

        return join

    crowd(world, work)
    await storm(world)
    await world.eventually(
        "everybody sees everybody", lambda: [views.get(name) for name in CROWD] == [frozenset(CROWD)] * 5, within=60
    )
    gone, *left = CROWD
    world.crash(gone)
    await world.eventually(
        "everybody sees who is gone", lambda: all(views[name] == frozenset(left) for name in left), within=60
    )
