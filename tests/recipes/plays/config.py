"""Plays of the config."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import WITH_EXPIRY, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(WITH_EXPIRY)
async def a_config_loses_no_change_and_makes_none_twice(world: AppWorld) -> None:
    """Each counts its own changes in one value that all share."""
    asked: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    last: dict[str, int] = {}  # of those who know how their last change ended

    def work(name: str) -> Work:
        async def add(client: zkcore.Client) -> None:
            config = zkcore.Config(client, "/config", codec=zkcore.json_codec)
            asked[name] += 1
            before = last.pop(name, None)
            try:
                now = await config.update(lambda value: {**value, name: value.get(name, 0) + 1})
            except zkcore.NoNodeError:
                try:
                    await client.create("/config", b"{}")
                except zkcore.NodeExistsError:
                    pass
                return
            assert now.version == sum(now.value.values()), "a change was lost"
            assert before is None or now.value[name] == before + 1, "a change was made twice"
            assert now.value[name] <= asked[name]
            last[name] = now.value[name]
            counts[name] += 1
            await asyncio.sleep(0.2)

        return add

    apps = crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    await apps.rest()
    async with world.client() as client:
        kept = await zkcore.Config(client, "/config", codec=zkcore.json_codec).history()
    assert [each.version for each in kept] == [sum(each.value.values()) for each in kept]
    assert [each.version for each in kept] == list(range(kept[0].version, kept[-1].version + 1))
    assert len(kept) == min(kept[-1].version, 10) + 1
