"""Plays of the config."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import WITH_EXPIRY, Work, crowd, everybody_goes_on, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(WITH_EXPIRY)
async def a_config_loses_no_change_and_makes_none_twice(world: AppWorld) -> None:
    asked, made = Counter[str](), list[int]()
    counts: Counter[str] = Counter()

    def work(name: str) -> Work:
        async def add(client: zkcore.Client) -> None:
            config = zkcore.Config(client, "/config", codec=zkcore.json_codec)
            asked[name] += 1
            try:
                now = await config.update(lambda value: value + 1)
            except zkcore.NoNodeError:
                try:
                    await client.create("/config", b"0")
                except zkcore.NodeExistsError:
                    pass
                return
            assert now.version == now.value, "a change was lost or made twice"
            made.append(now.value)
            counts[name] += 1
            await asyncio.sleep(0.2)

        return add

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    assert len(made) == len(set(made))
    assert max(made) <= sum(asked.values())
